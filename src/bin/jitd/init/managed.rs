//! The set-up for a provider's cluster: who the daemon and the gateway are there, and the kubeconfigs with which they get
//! in.
//!
//! The API servers of a provider accept no client authority. People go through the gateway, and the daemon and the gateway
//! each have an identity of the provider's. What only an administrator knows is a
//! [placeholder](jitd::placeholder), which every program refuses. Text only: it changes nothing. `files` writes the texts,
//! and `init` prints the steps; `docs/managed.md` has the reasons and the sources.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use jitd::hint::page;

use super::answers::{Answers, word};
use super::distribution::Distribution;
use super::files::filled;

/// A provider of managed clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Eks,
    Gke,
    Aks,
}

/// One of the two programs that reach the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Daemon,
    Gateway,
}

/// The credential plugin of a provider, as one of the programs runs it.
struct Plugin {
    command: &'static str,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
    install: &'static str,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Daemon => "jitd",
            Self::Gateway => "jit-gateway",
        }
    }

    /// Its name at a provider. A role of AWS has at most 64 characters, a host's name 53.
    fn role(self, host: &str) -> String {
        match self {
            Self::Daemon => format!("jitd-{host}"),
            Self::Gateway => format!("jit-gw-{host}"),
        }
    }

    /// The same in a placeholder.
    fn placeholder(self, what: &str) -> String {
        match self {
            Self::Daemon => format!("FILL_IN_DAEMON_{what}"),
            Self::Gateway => format!("FILL_IN_GATEWAY_{what}"),
        }
    }
}

impl Provider {
    /// The provider of these clusters; none if their API servers can be told to trust an authority.
    pub(super) fn of(distribution: Distribution) -> Option<Self> {
        match distribution {
            Distribution::Eks => Some(Self::Eks),
            Distribution::Gke => Some(Self::Gke),
            Distribution::Aks => Some(Self::Aks),
            _ => None,
        }
    }

    /// The user that the API server knows the program by.
    pub(super) fn user(self, program: Program, host: &str) -> String {
        match self {
            // The access entry says it. Without `username` it would contain the name of the session.
            Self::Eks => program.role(host),
            Self::Gke => program.placeholder("EMAIL"),
            Self::Aks => program.placeholder("OBJECT_ID"),
        }
    }

    fn plugin(self, program: Program, answers: &Answers) -> Plugin {
        let args = |args: &[&str]| args.iter().map(ToString::to_string).collect();
        match self {
            Self::Eks => {
                let role = format!("arn:aws:iam::FILL_IN_ACCOUNT_ID:role/{}", program.role(answers.host.as_str()));
                let region = region(&answers.server).unwrap_or("FILL_IN_REGION");
                Plugin {
                    command: "aws",
                    args: args(&[
                        "--region",
                        region,
                        "eks",
                        "get-token",
                        "--cluster-name",
                        "FILL_IN_EKS_CLUSTER",
                        "--role-arn",
                        &role,
                        "--output",
                        "json",
                    ]),
                    env: Vec::new(),
                    install: "install version 2 of the AWS CLI",
                }
            }
            Self::Gke => {
                let folder = match program {
                    Program::Daemon => "/etc/jitd",
                    Program::Gateway => "/etc/jit-gateway",
                };
                Plugin {
                    command: "gke-gcloud-auth-plugin",
                    args: args(&["--use_application_default_credentials"]),
                    env: vec![("GOOGLE_APPLICATION_CREDENTIALS", format!("{folder}/{}.google.json", answers.cluster))],
                    install: "install google-cloud-cli-gke-gcloud-auth-plugin",
                }
            }
            Self::Aks => Plugin {
                command: "kubelogin",
                args: args(&[
                    "get-token",
                    "--login",
                    "msi",
                    "--client-id",
                    &program.placeholder("CLIENT_ID"),
                    "--server-id",
                    AKS,
                ]),
                env: Vec::new(),
                install: "install kubelogin of Azure",
            },
        }
    }

    /// The kubeconfig of one of the programs.
    pub(super) fn kubeconfig(self, program: Program, answers: &Answers) -> String {
        let Plugin { command, args, env, install } = self.plugin(program, answers);
        let list = |items: Vec<String>| format!("[{}]", items.join(", "));
        let args = list(args.iter().map(|arg| word(arg)).collect());
        let env = env.iter().map(|(name, value)| format!("{{name: {name}, value: {}}}", word(value)));
        let words = [
            ("{program}", program.name().to_owned()),
            ("{cluster}", word(answers.cluster.as_str())),
            ("{manual}", page("managed.md")),
            ("{server}", word(&answers.server)),
            ("{ca}", STANDARD.encode(&answers.ca_pem)),
            ("{command}", command.to_owned()),
            ("{args}", args),
            ("{env}", list(env.collect())),
            ("{install}", word(install)),
        ];
        filled(include_str!("kubeconfig.yaml"), &words)
    }

    /// What an administrator does at the provider, one line each.
    pub(super) fn steps(self, host: &str, cluster: &str) -> Vec<String> {
        let [daemon, gateway] = [Program::Daemon, Program::Gateway].map(|program| program.role(host));
        let text = match self {
            Self::Eks => {
                let entry = |role: &str| {
                    format!(
                        "\x20 aws eks create-access-entry --cluster-name EKS_CLUSTER --type STANDARD --username {role} \\\n\
                         \x20   --principal-arn arn:aws:iam::ACCOUNT_ID:role/{role}\n"
                    )
                };
                format!(
                    "two IAM roles without any policy, which this host may assume: {daemon} and {gateway}\n\
                     an access entry for each, without groups and without an access policy:\n{}{}",
                    entry(&daemon),
                    entry(&gateway)
                )
            }
            Self::Gke => format!(
                "two service accounts without any role of IAM, whose rights would count beside those of the manifest:\n\
                 \x20 gcloud iam service-accounts create ACCOUNT      # one for jitd, one for jit-gateway\n\
                 a credential of each, a configuration of workload identity federation or a key:\n\
                 \x20 /etc/jitd/{cluster}.google.json and /etc/jit-gateway/{cluster}.google.json, readable for one account each"
            ),
            Self::Aks => {
                let identity = |name: &str| {
                    format!(
                        "\x20 az identity create --resource-group GROUP --name {name}\n\
                         \x20 az vm identity assign --resource-group GROUP --name VM --identities {name}\n\
                         \x20 az identity show --resource-group GROUP --name {name} --query '[clientId, principalId]'\n"
                    )
                };
                format!(
                    "the cluster with AKS-managed Entra ID and with Kubernetes RBAC for authorization\n\
                     two managed identities of this host, without any role of Azure; principalId is the object id:\n{}{}",
                    identity(&daemon),
                    identity(&gateway)
                )
            }
        };
        text.lines().map(ToOwned::to_owned).collect()
    }
}

/// The gateway's own configuration.
pub(super) fn gateway_config(answers: &Answers) -> String {
    filled(include_str!("gateway.yaml"), &[("{cluster}", word(answers.cluster.as_str()))])
}

/// The names of the gateway's files before they are installed in its own folder: the configuration and the kubeconfig.
pub(super) fn gateway_files(cluster: &str) -> [String; 2] {
    ["jit-gateway.yaml".to_owned(), format!("jit-gateway.{cluster}.kubeconfig")]
}

/// The region in the name of an EKS API server, such as `https://ABCD.gr7.eu-central-1.eks.amazonaws.com`.
fn region(server: &str) -> Option<&str> {
    let host = server.strip_prefix("https://")?.split([':', '/']).next()?;
    host.strip_suffix(".eks.amazonaws.com")?.rsplit('.').next().filter(|label| label.contains('-'))
}

/// The application that tokens for AKS are for, the same for all clusters
/// (<https://azure.github.io/kubelogin/concepts/aks.html>).
const AKS: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_taken_from_the_name_of_the_api_server_or_left_open() {
        for (server, expected) in [
            ("https://AB12.gr7.eu-central-1.eks.amazonaws.com", Some("eu-central-1")),
            ("https://AB12.yl4.us-gov-west-1.eks.amazonaws.com:443/", Some("us-gov-west-1")),
            ("https://eks.amazonaws.com", None),
            ("https://10.0.0.1:6443", None),
        ] {
            assert_eq!(region(server), expected, "{server}");
        }
    }
}

//! What `jitd check --cluster` examines in one cluster: whether it trusts our authority, whether the daemon has the
//! rights that it needs and no others, and whether the admission policies exist and take effect.
//!
//! ```text
//!  proof (a certificate without rights) ─► version, clock ─► trust ─► rights ─► roles ─► objects ─► admission ─► grants
//!  where people go through the gateway: ─► what it may do without any grant ─► WebSockets, if a rule needs them
//! ```
//! It must never change a cluster: it only reads, asks, and does dry runs. `jitd check` and `jitd doctor` print the
//! results.

mod admission;
mod clock;
mod difference;
mod gateway;
mod grants;
mod objects;
mod proof;
mod rights;
mod roles;
mod web_sockets;

use jiff::Timestamp;
use serde::Serialize;
use std::borrow::Cow;
use utoipa::ToSchema;

use crate::cluster::{Cluster, ClusterError, UserInfo};
use crate::grant::policy::Policy;
use crate::grant::request::ClusterName;
use crate::grant::{DaemonUser, names};
use crate::hint::Hint;
use crate::manifest::{self, Users};

pub use self::proof::prove;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CheckResult {
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// What was checked: a word, or an object's kind and name.
    pub check: String,
    /// The result.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How serious a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but somebody should look at it.
    Warning,
    /// It does not work, or not safely.
    Fault,
    /// It could not be checked, or need not be.
    Skipped,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
            Self::Skipped => "skipped",
        })
    }
}

impl CheckResult {
    /// A warning that the environment variable `variable` names a proxy, which jitd does not use.
    #[must_use]
    pub fn proxy(cluster: &ClusterName, variable: &str) -> Self {
        Self {
            cluster: cluster.to_string(),
            check: "connection".to_owned(),
            verdict: Verdict::Warning,
            found: format!("`{variable}` is set, but jitd connects without a proxy"),
            hint: Some("this host needs a direct connection to `server`".to_owned()),
        }
    }

    /// The trust in the authority is not checked, because nobody shows the API server a certificate of it.
    #[must_use]
    pub fn without_trust(cluster: &ClusterName) -> Self {
        Self {
            cluster: cluster.to_string(),
            check: "authority".to_owned(),
            verdict: Verdict::Skipped,
            found: "need not be trusted: the daemon has a kubeconfig, and people go through the gateway".to_owned(),
            hint: None,
        }
    }

    /// A fault of this cluster's configuration on this host.
    #[must_use]
    pub fn fault(cluster: &ClusterName, check: &str, error: &impl Hint) -> Self {
        let (found, hint) = (error.to_string(), error.hint().map(Cow::into_owned));
        Self { cluster: cluster.to_string(), check: check.to_owned(), verdict: Verdict::Fault, found, hint }
    }

    /// A fault that keeps the daemon from even trying to reach this cluster.
    #[must_use]
    pub fn unusable(cluster: &ClusterName, error: &impl Hint) -> Self {
        let result = Self::fault(cluster, "credential", error);
        let hint = result.hint.or_else(|| Some("`jitd doctor` shows what is missing on this host".to_owned()));
        Self { hint, ..result }
    }
}

impl std::fmt::Display for CheckResult {
    /// One line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<8}{} {}: {}", self.verdict, self.cluster, self.check, self.found)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; hint: {hint}"))
    }
}

/// Runs all checks of `cluster`, as the daemon of `host` under `policy`. `clock` reads the host's clock.
///
/// A check that fails is a fault; after a fault of the connection the other checks are not run.
pub async fn check(cluster: &Cluster, policy: &Policy, host: &str, clock: fn() -> Timestamp) -> Vec<CheckResult> {
    let mut check = Check { cluster, results: Vec::new() };
    match check.all(policy, host, clock).await {
        // One of the daemon's own rights is missing, so the checks that need it do not run.
        Err(error @ ClusterError::Forbidden { .. }) => check.failed(RIGHTS, &error),
        Err(error) => check.failed("connection", &error),
        Ok(()) => {}
    }
    check.results
}

/// The result about the daemon's rights.
const RIGHTS: &str = "rights";

/// The findings about the gateway.
const GATEWAY: &str = "gateway";

const OBJECTS: &str =
    "an admission policy, a webhook or a quota of the cluster denies it: adapt that for the objects of jitd";
const APPLY: &str = "apply the output of `jitd manifest` for this cluster";

struct Check<'a> {
    cluster: &'a Cluster,
    results: Vec<CheckResult>,
}

impl Check<'_> {
    fn tell(&mut self, verdict: Verdict, check: impl Into<String>, found: impl Into<String>, hint: Option<&str>) {
        self.results.push(CheckResult {
            cluster: self.cluster.name().to_string(),
            check: check.into(),
            verdict,
            found: found.into(),
            hint: hint.map(str::to_owned),
        });
    }

    fn ok(&mut self, check: impl Into<String>, found: impl Into<String>) {
        self.tell(Verdict::Ok, check, found, None);
    }

    fn fault(&mut self, check: impl Into<String>, found: impl Into<String>, hint: &str) {
        self.tell(Verdict::Fault, check, found, Some(hint));
    }

    fn failed(&mut self, check: &str, error: &ClusterError) {
        let hint = match error {
            // If the daemon has all its rights, something other than RBAC denied the request.
            ClusterError::Forbidden { .. } if self.lacks_rights() => Some(APPLY.into()),
            ClusterError::Forbidden { .. } => Some(OBJECTS.into()),
            _ => error.hint(),
        };
        self.tell(Verdict::Fault, check, error.to_string(), hint.as_deref());
    }

    /// Whether a right of the manifest is missing, or the rights were not checked yet.
    fn lacks_rights(&self) -> bool {
        let mut checked = self.results.iter().filter(|result| result.check == RIGHTS).peekable();
        checked.peek().is_none() || checked.any(|result| result.verdict != Verdict::Ok)
    }

    async fn all(&mut self, policy: &Policy, host: &str, clock: fn() -> Timestamp) -> Result<(), ClusterError> {
        let before = clock();
        let server = match self.cluster.about().await {
            Ok(about) => {
                self.ok("version", format!("{} at {}", about.version, self.cluster.endpoint().server()));
                about.clock
            }
            // An administrator removed the right to read the version, which by default everybody has.
            Err(ClusterError::Forbidden { .. }) => {
                self.fault("version", "the daemon may not read the API server's version", APPLY);
                self.cluster.clock().await?
            }
            Err(error) => return Err(error),
        };
        self.clock(server, before, clock());
        self.trust(host).await?;
        match self.cluster.limits_gateway().await {
            Err(error @ ClusterError::GatewayUnlimited { .. }) => self.failed(GATEWAY, &error),
            // That is reported already.
            Err(ClusterError::Forbidden { .. }) => {}
            limited => limited?,
        }

        let reaches = manifest::reaches(policy, self.cluster.name());
        let gateway = self.cluster.endpoint().gateway();
        let users = users(self.cluster, host);
        let objects = manifest::objects(policy, self.cluster.name(), users);
        self.needed_permissions(&objects).await?;
        self.excess_permissions(policy).await?;
        self.roles(&reaches).await?;
        for object in &objects {
            self.object(object, APPLY).await;
        }
        self.daemon_bindings(policy, users, &objects).await?;
        self.admission(&reaches, host, &objects).await?;
        self.grants(policy).await?;
        match gateway {
            Some(gateway) => {
                self.gateway(gateway, host, &reaches).await?;
                self.web_sockets(policy, host).await
            }
            None => Ok(()),
        }
    }

    async fn trust(&mut self, host: &str) -> Result<(), ClusterError> {
        let UserInfo { name, .. } = self.cluster.identity().await?;
        let expected = users(self.cluster, host).daemon();
        if name == expected {
            self.ok("trust", format!("our credential is accepted as `{name}`"));
            return Ok(());
        }
        let hint = self.name_for(&name, host);
        self.fault(
            "trust",
            format!("the API server knows us as `{}`, but the manifest is for `{expected}`", name.escape_default()),
            &hint,
        );
        Ok(())
    }

    /// What to write for a daemon that the API server knows as `name`.
    fn name_for(&self, name: &str, host: &str) -> String {
        let cluster = self.cluster.name();
        if users(self.cluster, host).gateway.is_some_and(|gateway| gateway.user.as_str() == name) {
            return "`kubeconfig` has the credential of the gateway: name a kubeconfig with a user of the daemon's own"
                .to_owned();
        }
        if name == names::daemon(host) {
            return format!("remove `daemonUser` from the entry of `{cluster}` in config.yaml");
        }
        match name.parse::<DaemonUser>() {
            Ok(user) => format!(
                "if that is the user that the daemon is to be, write `daemonUser: {}` into the entry of `{cluster}` in \
                 config.yaml, and apply the output of `jitd manifest {cluster}`",
                serde_json::Value::from(user.as_str())
            ),
            Err(_) => {
                "give the user of `kubeconfig` a name of its own in the cluster, or remove `kubeconfig` from the \
                       cluster's entry, so that the daemon issues its own credential"
                    .to_owned()
            }
        }
    }
}

/// Who the bastion is to be in the cluster.
fn users<'a>(cluster: &'a Cluster, host: &'a str) -> Users<'a> {
    Users { host, daemon: cluster.endpoint().daemon(), gateway: cluster.endpoint().gateway() }
}

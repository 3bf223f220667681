//! The instructions for adding a root certificate to a cluster's trust, by Kubernetes distribution.
//!
//! Text only: it changes nothing. `docs/trust.md` has the same instructions with reasons. `init` prints them.

use std::path::Path;

use clap::ValueEnum;

/// A Kubernetes distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    Kubeadm,
    K3s,
    Rke2,
    Talos,
    Openshift,
    Eks,
    Gke,
    Aks,
    /// Any other one that allows setting the flags of kube-apiserver.
    Other,
}

impl Distribution {
    /// The value for `--distribution`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Kubeadm => "kubeadm",
            Self::K3s => "k3s",
            Self::Rke2 => "rke2",
            Self::Talos => "talos",
            Self::Openshift => "openshift",
            Self::Eks => "eks",
            Self::Gke => "gke",
            Self::Aks => "aks",
            Self::Other => "other",
        }
    }

    /// Recognizes the distribution by a version such as `v1.33.1+k3s1`, or by the API server's name.
    pub(crate) fn found_in(version: Option<&str>, server: &str) -> Option<Self> {
        const VERSIONS: [(&str, Distribution); 4] = [
            ("+k3s", Distribution::K3s),
            ("+rke2", Distribution::Rke2),
            ("-eks-", Distribution::Eks),
            ("-gke.", Distribution::Gke),
        ];
        const DOMAINS: [(&str, Distribution); 2] =
            [(".eks.amazonaws.com", Distribution::Eks), (".azmk8s.io", Distribution::Aks)];
        let version = version.unwrap_or_default();
        let authority = server.strip_prefix("https://").unwrap_or(server);
        let host = authority.split(['/', ':']).next().unwrap_or_default();
        let by_version = VERSIONS.iter().find(|(mark, _)| version.contains(mark));
        let by_name = DOMAINS.iter().find(|(domain, _)| host.ends_with(domain));
        by_version.or(by_name).map(|(_, found)| *found)
    }

    /// The commands that make the cluster trust `root`, one line each.
    pub(crate) fn steps(self, root: &Path) -> Vec<String> {
        let root = root.display();
        let text = match self {
            Self::Kubeadm => format!(
                "copy {root} to each control plane node as jitd-root.crt, and run there:\n\
                 \x20 cat /etc/kubernetes/pki/ca.crt jitd-root.crt > /etc/kubernetes/pki/client-ca.crt\n\
                 \x20 in /etc/kubernetes/manifests/kube-apiserver.yaml: --client-ca-file=/etc/kubernetes/pki/client-ca.crt\n\
                 then once, so that upgrades keep the flag: kubectl -n kube-system edit configmap kubeadm-config\n\
                 \x20 under apiServer.extraArgs: - {{name: client-ca-file, value: /etc/kubernetes/pki/client-ca.crt}}\n\
                 \x20 (before kubeadm 1.31 it is a map: client-ca-file: /etc/kubernetes/pki/client-ca.crt)"
            ),
            Self::K3s => server_node(&root, "k3s", "k3s"),
            Self::Rke2 => server_node(&root, "rke2", "rke2-server"),
            Self::Talos => format!(
                "create a patch from {root} and apply it to each control plane node:\n\
                 \x20 printf 'cluster:\\n  acceptedCAs:\\n    - crt: %s\\n' \"$(base64 -w0 {root})\" > jitd.yaml\n\
                 \x20 talosctl -n NODE patch machineconfig --patch @jitd.yaml"
            ),
            Self::Openshift => format!(
                "as a cluster administrator:\n\
                 \x20 oc create configmap jitd-client-ca -n openshift-config --from-file=ca-bundle.crt={root}\n\
                 \x20 oc patch apiserver cluster --type=merge -p '{{\"spec\":{{\"clientCA\":{{\"name\":\"jitd-client-ca\"}}}}}}'\n\
                 \x20 oc get clusteroperator kube-apiserver      # until it is no longer progressing"
            ),
            // Nobody can add a client certificate authority there, and with the gateway nobody has to.
            Self::Eks | Self::Gke | Self::Aks => String::new(),
            Self::Other => format!(
                "append {root} to the file that kube-apiserver's --client-ca-file names,\n\
                 on each control plane node"
            ),
        };
        text.lines().map(ToOwned::to_owned).collect()
    }
}

/// k3s and RKE2 are set up in the same way.
fn server_node(root: &dyn std::fmt::Display, name: &str, unit: &str) -> String {
    let folder = format!("/var/lib/rancher/{name}/server/tls");
    format!(
        "copy {root} to each server node as jitd-root.crt, and run there:\n\
         \x20 cat {folder}/client-ca.crt jitd-root.crt > {folder}/client-ca-jitd.crt\n\
         \x20 in /etc/rancher/{name}/config.yaml: kube-apiserver-arg: [\"client-ca-file={folder}/client-ca-jitd.crt\"]\n\
         \x20 systemctl restart {unit}"
    )
}

#[cfg(test)]
mod tests {
    use super::super::managed::Provider;
    use super::*;

    #[test]
    fn a_version_or_a_name_shows_the_distribution() {
        for (version, server, expected) in [
            (Some("v1.33.1+k3s1"), "https://10.0.0.1:6443", Some(Distribution::K3s)),
            (Some("v1.31.4+rke2r1"), "https://10.0.0.1:9345", Some(Distribution::Rke2)),
            (Some("v1.30.4-eks-a737599"), "https://10.0.0.1", Some(Distribution::Eks)),
            (Some("v1.30.5-gke.1014001"), "https://10.0.0.1", Some(Distribution::Gke)),
            (None, "https://AB12.gr7.eu-central-1.eks.amazonaws.com", Some(Distribution::Eks)),
            (Some("v1.30.0"), "https://prod-dns-1a2b.hcp.westeurope.azmk8s.io:443", Some(Distribution::Aks)),
            (Some("v1.33.1"), "https://azmk8s.io.example.com:6443", None),
        ] {
            assert_eq!(Distribution::found_in(version, server), expected, "{version:?} {server}");
        }
    }

    /// Each distribution is printed as it is written on the command line.
    #[test]
    fn words_match_the_command_line() {
        for distribution in Distribution::value_variants() {
            let written = distribution.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(written.as_deref(), Some(distribution.word()));
            let root = Path::new("/var/lib/jitd/ca/prod/root.crt");
            assert_eq!(distribution.steps(root).is_empty(), Provider::of(*distribution).is_some());
        }
    }
}

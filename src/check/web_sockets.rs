//! Whether exec, attach and port-forward can be followed, where a rule needs that: only WebSockets can be, and not every API
//! server serves them, nor does every load balancer pass them on.
//!
//! It opens one without a pod, that of a watch. What it cannot see is said in `docs/gateway.md`: feature gates that are off,
//! and the way from the API server to the kubelets. `check` calls it.

use super::{Check, GATEWAY};
use crate::cluster::{Cluster, ClusterError, WebSocket};
use crate::grant::policy::Policy;
use crate::manifest;
use crate::rbac::risk::ServerVersion;

/// The rules that need WebSockets, by what for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needed {
    /// Those that record exec and attach, or end them when nobody uses them.
    consoles: Vec<String>,
    /// Those that limit the ports of port-forwards.
    ports: Vec<String>,
}

impl Check<'_> {
    /// Checks the API server's version, and opens a WebSocket.
    pub(super) async fn web_sockets(&mut self, policy: &Policy, host: &str) -> Result<(), ClusterError> {
        let needed = Needed::by(policy, self.cluster);
        if needed.is_nothing() {
            return Ok(());
        }
        let version = match self.cluster.version().await {
            Ok(version) => version.parse().ok(),
            // That is reported already.
            Err(ClusterError::Forbidden { .. }) => None,
            Err(error) => return Err(error),
        };
        let (what, older) = (needed.what(), version.map_or_else(Vec::new, |version| needed.older(version)));
        for found in &older {
            self.fault(
                GATEWAY,
                found,
                "upgrade the cluster, or change these rules: SPDY, which kubectl speaks otherwise, is refused",
            );
        }
        let opened = match self.cluster.opens_web_socket(&manifest::own_name(host)).await {
            Err(ClusterError::Forbidden { .. }) => return Ok(()),
            opened => opened?,
        };
        match opened {
            WebSocket::Opened if older.is_empty() => {
                self.ok(GATEWAY, format!("WebSockets reach the API server, which {what} need"));
            }
            WebSocket::Opened => {}
            WebSocket::Ignored => self.fault(
                GATEWAY,
                format!(
                    "no WebSocket reaches the API server, which {what} need: the request to upgrade is lost on the way"
                ),
                "let the load balancer or proxy pass on the headers `Connection` and `Upgrade`",
            ),
            WebSocket::Refused { code, why } => self.fault(
                GATEWAY,
                format!("no WebSocket reaches the API server, which {what} need: answered with {code}: {why}"),
                "let the load balancer or proxy pass on WebSockets",
            ),
        }
        Ok(())
    }
}

impl Needed {
    fn by(policy: &Policy, cluster: &Cluster) -> Self {
        let mut needed = Self::default();
        for (rule, terms) in policy.sessions(cluster.name()) {
            let lists = [(terms.follow_sessions(), &mut needed.consoles), (terms.limit_ports(), &mut needed.ports)];
            lists.into_iter().filter(|(needs, _)| *needs).for_each(|(_, rules)| rules.push(format!("`{rule}`")));
        }
        needed
    }

    fn is_nothing(&self) -> bool {
        self.consoles.is_empty() && self.ports.is_empty()
    }

    /// What needs them, as the subject of a sentence.
    fn what(&self) -> String {
        let of = |what: &str, rules: &[String]| (!rules.is_empty()).then(|| format!("{what} of {}", rules.join(", ")));
        let both = [of("exec and attach", &self.consoles), of("port-forwards", &self.ports)];
        both.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }

    /// What an API server of this version is too old for.
    fn older(&self, version: ServerVersion) -> Vec<String> {
        let each = [
            ("exec and attach", &self.consoles, ServerVersion::EXEC_IN_WEB_SOCKET),
            ("port-forwards", &self.ports, ServerVersion::PORT_FORWARD_IN_WEB_SOCKET),
        ];
        let older = each.into_iter().filter(|(_, rules, first)| !rules.is_empty() && version < *first);
        older
            .map(|(what, rules, first)| {
                format!("{what} of {} fail with kubectl: API servers serve its WebSockets from {first} on, this one is {version}", rules.join(", "))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_server_is_too_old_only_for_what_a_rule_needs() {
        let rules = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let both = Needed { consoles: rules(&["`prod`", "`db`"]), ports: rules(&["`db`"]) };
        let only_ports = Needed { consoles: Vec::new(), ..Needed { ports: rules(&["`db`"]), ..Needed::default() } };
        let count = |needed: &Needed, version: &str| needed.older(version.parse().unwrap()).len();
        for (version, of_both, of_ports) in
            [("v1.29.15", 2, 1), ("v1.30.1-eks-abc", 1, 1), ("v1.31.0", 0, 0), ("v1.36.3", 0, 0)]
        {
            assert_eq!((count(&both, version), count(&only_ports, version)), (of_both, of_ports), "{version}");
        }
        let said = both.older("v1.29.0".parse().unwrap()).join("\n");
        assert!(said.contains("exec and attach of `prod`, `db` fail with kubectl"), "{said}");
        assert_eq!(both.what(), "exec and attach of `prod`, `db` and port-forwards of `db`");
        assert!(Needed::default().is_nothing() && !only_ports.is_nothing());
    }
}

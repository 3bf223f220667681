//! Whether the gateway may do nothing without a live grant, so that its credential is worth only the live grants if it is
//! stolen, and whether the admission policies keep the daemon from giving it more.
//!
//! It asks the API server about the gateway's user, and never acts as the gateway. That it may not act as anybody else
//! either is the one thing that it tries. `check` calls it.

use super::admission::{TRIED, until_refused};
use super::{Check, GATEWAY};
use crate::cluster::{ClusterError, RBAC_GROUP, Right};
use crate::grant::names::{self, SUBJECT};
use crate::grant::{ACT_AS, ACT_AS_GROUP, Binding, GatewayUser, GrantId, gateway_bindings};
use crate::manifest::{self, Reach};

impl Check<'_> {
    pub(super) async fn gateway(
        &mut self,
        gateway: &GatewayUser,
        host: &str,
        reaches: &[Reach],
    ) -> Result<(), ClusterError> {
        self.impersonation_is_limited(host).await?;
        let mut given = Vec::new();
        for (verb, group, resource) in WITHOUT_A_GRANT {
            let [verb, group, resource] = [verb, group, resource].map(ToOwned::to_owned);
            let right = Right { verb, group, resource, name: String::new() };
            if self.cluster.gateway_may(gateway, &right).await?.is_allowed() {
                given.push(right);
            }
        }
        for right in &given {
            self.fault(
                GATEWAY,
                format!("the gateway's user `{gateway}` may {right} without any grant"),
                "remove that right; `jitd manifest` prints everything that the gateway needs. If no role contains it, an \
                 authorizer other than RBAC allows what it does not know",
            );
        }
        if given.is_empty() {
            let checked = WITHOUT_A_GRANT.len();
            self.ok(GATEWAY, format!("its user `{gateway}` may act as nobody without a grant ({checked} checked)"));
        }
        self.gateway_admission(gateway, host, reaches).await
    }

    /// Tries to act as somebody, which must be refused: the daemon has a right to act as others, but on nothing. The API
    /// server's reason shows whether it knows the limits: they can be turned off.
    async fn impersonation_is_limited(&mut self, host: &str) -> Result<(), ClusterError> {
        match self.cluster.refuses_to_act_as(&format!("{SUBJECT}{TRIED}")).await? {
            Some(why) if is_of_limits(&why) => {
                self.ok(GATEWAY, "acting as somebody is limited, and refused to the daemon");
            }
            Some(why) => {
                let why: String = why.chars().take(300).flat_map(char::escape_default).collect();
                self.fault(
                    GATEWAY,
                    format!("the API server does not know limits for acting as somebody: {why}"),
                    "turn on the feature gate `ConstrainedImpersonation` of kube-apiserver, or set `access: direct`",
                );
            }
            None => self.fault(
                GATEWAY,
                format!("the daemon may act as anybody: `{}`", names::daemon(host)),
                "remove that right; if no role contains it, an authorizer other than RBAC allows what it does not know",
            ),
        }
        Ok(())
    }

    /// Tries, in a dry run, to let the gateway act as more than one grant's holder, and to let somebody else do so.
    async fn gateway_admission(
        &mut self,
        gateway: &GatewayUser,
        host: &str,
        reaches: &[Reach],
    ) -> Result<(), ClusterError> {
        let (Some(namespace), Ok(nobody), Ok(other)) =
            (self.some_namespace(reaches).await?, TRIED.parse(), TRIED.parse::<GatewayUser>())
        else {
            return Ok(());
        };
        let Ok(role) = TRIED.parse() else { return Ok(()) };
        let own = [Binding::new(GrantId::from_random([0; 10]), nobody, Some(namespace), role)];
        for binding in gateway_bindings(&own, gateway, host) {
            let Some(mut rules) = binding.rules.clone() else { continue };
            for rule in rules.iter_mut().filter(|rule| rule.resources == ["groups"]) {
                rule.resource_names = vec!["system:masters".to_owned()];
            }
            let tried = until_refused(|| self.cluster.would_make_role(&binding, &rules)).await;
            let fence = manifest::fence_of_gateway_roles_name(host);
            self.refused_by("letting the gateway act as somebody else", &fence, tried);
        }
        for binding in gateway_bindings(&own, &other, host).iter().filter(|binding| binding.rules.is_none()) {
            let tried = until_refused(|| self.cluster.would_bind(binding)).await;
            self.refused_by("letting somebody else act as a holder", &manifest::fence_name(host), tried);
        }
        Ok(())
    }
}

/// Whether the API server refuses to let somebody act as another for lack of a limited right. It tries the unlimited
/// right last, but its message is about the first one that was missing
/// (k8s.io/apiserver `endpoints/filters/impersonation`).
fn is_of_limits(why: &str) -> bool {
    why.contains(ACT_AS) || why.contains("impersonate-on:")
}

/// Verb, API group and resource of what the gateway's user must not have; no grant gives it without a name. The other
/// verbs of constrained impersonation are those of service accounts and nodes
/// (k8s.io/apiserver `endpoints/filters/impersonation`).
const WITHOUT_A_GRANT: [(&str, &str, &str); 11] = [
    ("*", "*", "*"),
    ("impersonate", "", "users"),
    ("impersonate", "", "groups"),
    ("impersonate", "", "serviceaccounts"),
    (ACT_AS, ACT_AS_GROUP, "users"),
    (ACT_AS, ACT_AS_GROUP, "groups"),
    ("impersonate:serviceaccount", ACT_AS_GROUP, "serviceaccounts"),
    ("impersonate:arbitrary-node", ACT_AS_GROUP, "nodes"),
    ("get", "", "secrets"),
    ("create", "", "pods/exec"),
    ("create", RBAC_GROUP, "rolebindings"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_shows_whether_the_limits_are_known() {
        let forbidden = |verb: &str, what: &str| format!(r#"{what} is forbidden: User "jit:daemon:h" cannot {verb}"#);
        assert!(is_of_limits(&forbidden(r#"impersonate-on:user-info:get path "/version""#, "jit:x")));
        assert!(is_of_limits(&forbidden(r#"impersonate:user-info resource "users""#, r#"users "jit:x""#)));
        assert!(!is_of_limits(&forbidden(r#"impersonate resource "users" in API group """#, r#"users "jit:x""#)));
    }
}

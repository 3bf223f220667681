//! Whether the gateway may do nothing without a live grant, so that its credential is worth only the live grants if it is
//! stolen, and whether the admission policies keep the daemon from giving it more.
//!
//! It asks the API server about the gateway's user, and never acts as the gateway. That it may not act as anybody else
//! either is the one thing that it tries. `check` calls it.

use super::admission::{TRIED, until_refused};
use super::{Check, GATEWAY, Verdict, users};
use crate::cluster::{ClusterError, Impersonating, RBAC_GROUP, Right};
use crate::grant::{
    ACT_AS, ACT_AS_GROUP, ActingGateway, Binding, GrantId, IMPERSONATE, Impersonation, gateway_bindings,
};
use crate::manifest::{self, Reach};

impl Check<'_> {
    pub(super) async fn gateway(
        &mut self,
        gateway: &ActingGateway,
        host: &str,
        reaches: &[Reach],
    ) -> Result<(), ClusterError> {
        self.impersonation_is_limited(gateway, host).await?;
        let user = &gateway.user;
        let mut given = Vec::new();
        for (verb, group, resource) in WITHOUT_A_GRANT {
            let [verb, group, resource] = [verb, group, resource].map(ToOwned::to_owned);
            let right = Right { verb, group, resource, name: String::new() };
            if self.cluster.gateway_may(user, &right).await?.is_allowed() {
                given.push(right);
            }
        }
        for right in &given {
            self.fault(
                GATEWAY,
                format!("the gateway's user `{user}` may {right} without any grant"),
                "remove that right; `jitd manifest` prints everything that the gateway needs. If no role contains it, an \
                 authorizer other than RBAC allows what it does not know",
            );
        }
        if given.is_empty() {
            let checked = WITHOUT_A_GRANT.len();
            self.ok(GATEWAY, format!("its user `{user}` may act as nobody without a grant ({checked} checked)"));
        }
        self.gateway_admission(gateway, host, reaches).await
    }

    /// Tries to act as somebody, which must be refused: if the daemon has a right to act as others, then on nothing.
    async fn impersonation_is_limited(&mut self, gateway: &ActingGateway, host: &str) -> Result<(), ClusterError> {
        match (self.cluster.tries_to_act().await?, gateway.impersonation) {
            (Impersonating::Allowed, _) => self.fault(
                GATEWAY,
                format!("the daemon may act as anybody: `{}`", users(self.cluster, host).daemon()),
                "remove that right; if no role contains it, an authorizer other than RBAC allows what it does not know",
            ),
            (Impersonating::Limited, Impersonation::Constrained) => {
                self.ok(GATEWAY, "acting as somebody is limited, and refused to the daemon");
            }
            (Impersonating::Limited, Impersonation::Unconstrained) => self.tell(
                Verdict::Warning,
                GATEWAY,
                "this API server can limit where the gateway acts as a holder, and `impersonation: unconstrained` does \
                 without",
                Some("remove `impersonation` from the cluster's entry, and apply `jitd manifest` again"),
            ),
            (Impersonating::Unlimited, Impersonation::Unconstrained) => {
                self.ok(GATEWAY, "acting as somebody is refused to the daemon; this API server cannot limit it further");
            }
            (Impersonating::Unlimited, Impersonation::Constrained) => self.fault(
                GATEWAY,
                "the API server does not know limits for acting as somebody",
                "turn on the feature gate `ConstrainedImpersonation` of kube-apiserver, or set `impersonation: unconstrained`",
            ),
            (Impersonating::Refused { why }, _) => {
                let why: String = why.chars().take(300).flat_map(char::escape_default).collect();
                self.fault(
                    GATEWAY,
                    format!("the API server does not say whether it limits acting as somebody: {why}"),
                    "an authorizer or a proxy answers in its place; it must pass on the API server's own message",
                );
            }
        }
        Ok(())
    }

    /// Tries, in a dry run, to let the gateway act as more than one grant's holder, and to let somebody else do so.
    async fn gateway_admission(
        &mut self,
        gateway: &ActingGateway,
        host: &str,
        reaches: &[Reach],
    ) -> Result<(), ClusterError> {
        let (Some(namespace), Ok(nobody), Ok(user)) =
            (self.some_namespace(reaches).await?, TRIED.parse(), TRIED.parse())
        else {
            return Ok(());
        };
        let other = ActingGateway { user, ..gateway.clone() };
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
        for mut binding in gateway_bindings(&own, &other, host) {
            // RBAC refuses it by itself, unless the daemon may bind every role.
            if binding.rules.take().is_some() && gateway.impersonation.is_constrained() {
                continue;
            }
            let tried = until_refused(|| self.cluster.would_bind(&binding)).await;
            self.refused_by("letting somebody else act as a holder", &manifest::fence_name(host), tried);
        }
        Ok(())
    }
}

/// Verb, API group and resource of what the gateway's user must not have; no grant gives it without a name. The other
/// verbs of constrained impersonation are those of service accounts and nodes
/// (k8s.io/apiserver `endpoints/filters/impersonation`).
const WITHOUT_A_GRANT: [(&str, &str, &str); 11] = [
    ("*", "*", "*"),
    (IMPERSONATE, "", "users"),
    (IMPERSONATE, "", "groups"),
    (IMPERSONATE, "", "serviceaccounts"),
    (ACT_AS, ACT_AS_GROUP, "users"),
    (ACT_AS, ACT_AS_GROUP, "groups"),
    ("impersonate:serviceaccount", ACT_AS_GROUP, "serviceaccounts"),
    ("impersonate:arbitrary-node", ACT_AS_GROUP, "nodes"),
    ("get", "", "secrets"),
    ("create", "", "pods/exec"),
    ("create", RBAC_GROUP, "rolebindings"),
];

//! The bindings of a grant. They are derived from the grant alone, so that the daemon after a restart, the sweep and
//! the auditor look for the same objects.
//!
//! ```text
//!  in each namespace, or cluster-wide: `jit-<grant>`             the group ──► the role
//!  where people go through the gateway, in addition:
//!    cluster-wide:                     `jit-<grant>-gateway`     the gateway ──► whom it may act as: the holder
//!    in each namespace, or cluster-wide: `jit-<grant>-gateway-on`  the gateway ──► where it may act as somebody
//! ```
//! Kubernetes lets the gateway act as the holder only if both of its rights fit, and then the holder's own right
//! decides (constrained impersonation, <https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/>).
//! Before 1.36 it knows only the first, by the verb `impersonate`, so there are no bindings `jit-<grant>-gateway-on`.

use super::request::{Access, AccessRequest, Namespace, PersonName, RoleName, RoleRef, Scope};
use super::{ActingGateway, GatewayUser, GrantId, Impersonation, names};
use crate::rbac::canonical;
use crate::rbac::role::Rule;

/// A binding that is created for a grant: a RoleBinding, or a ClusterRoleBinding for the whole cluster, of one role to
/// one group, or to the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The grant.
    pub grant: GrantId,
    /// The requester; their certificate contains the group.
    pub person: PersonName,
    /// The object's name in the cluster.
    pub name: String,
    /// The grant's group, the only subject unless `gateway` is.
    pub group: String,
    /// The gateway's user, if the binding is the gateway's; then it is the only subject.
    pub gateway: Option<GatewayUser>,
    /// The namespace; `None` for the whole cluster.
    pub namespace: Option<Namespace>,
    /// The bound role.
    pub role: RoleRef,
    /// The rules of that role in canonical order, if it is created for this binding and deleted with it.
    pub rules: Option<Vec<Rule>>,
    /// Whether it is break-glass access; marked by an annotation in the cluster.
    pub broken_glass: bool,
}

impl Binding {
    /// The binding of an existing role, for approved access.
    #[must_use]
    pub fn new(grant: GrantId, person: PersonName, namespace: Option<Namespace>, role: RoleRef) -> Self {
        let (name, group) = (grant.binding_name(), grant.group());
        Self { grant, person, name, group, gateway: None, namespace, role, rules: None, broken_glass: false }
    }

    /// The user name in the certificate. It is not a subject, but part of access reviews.
    #[must_use]
    pub fn user(&self) -> String {
        self.person.user()
    }

    /// The kind and the name of its only subject, as in `rbac.authorization.k8s.io/v1`.
    #[must_use]
    pub fn subject(&self) -> (&'static str, &str) {
        match &self.gateway {
            None => ("Group", &self.group),
            Some(user) => ("User", user.as_str()),
        }
    }
}

/// The bindings that a grant with this id would have: one per namespace, or one for the whole cluster.
#[must_use]
pub fn bindings(id: &GrantId, ask: &AccessRequest, requester: &PersonName, broken_glass: bool) -> Vec<Binding> {
    let (role, rules) = match &ask.access {
        Access::Role(role) => (role.clone(), None),
        Access::Rules(rules) => (RoleRef::Role(RoleName::owned_by(id)), Some(rules.as_slice().to_vec())),
    };
    let binding = |namespace: Option<Namespace>| Binding {
        rules: rules.clone(),
        broken_glass,
        ..Binding::new(id.clone(), requester.clone(), namespace, role.clone())
    };
    match &ask.scope {
        Scope::Namespaces(_) => ask.scope.namespaces().iter().cloned().map(Some).map(binding).collect(),
        Scope::Cluster => vec![binding(None)],
    }
}

/// The bindings that let the gateway act as the holder of `bindings`, which are those of one grant: one that says as
/// whom, and, unless impersonation is unconstrained, one in each of their places. `host` is the daemon's, whose manifest has the role for the places.
#[must_use]
pub fn gateway_bindings(bindings: &[Binding], gateway: &ActingGateway, host: &str) -> Vec<Binding> {
    let Some(first) = bindings.first() else { return Vec::new() };
    let whom = Binding {
        name: first.grant.gateway_name(),
        gateway: Some(gateway.user.clone()),
        namespace: None,
        role: RoleRef::ClusterRole(RoleName::of_gateway(&first.grant)),
        rules: Some(acting_as(&first.grant, &first.person, gateway.impersonation)),
        ..first.clone()
    };
    let places = bindings.iter().filter(|_| gateway.impersonation.is_constrained()).map(|binding| Binding {
        name: binding.grant.gateway_on_name(),
        gateway: Some(gateway.user.clone()),
        role: RoleRef::ClusterRole(RoleName::gateway_on(host)),
        rules: None,
        ..binding.clone()
    });
    std::iter::once(whom).chain(places).collect()
}

/// The verb with which one user may act as another, on the names of the other
/// (k8s.io/apiserver `endpoints/filters/impersonation`).
pub const ACT_AS: &str = "impersonate:user-info";

/// The verb with which one user may act as another everywhere: the only one before Kubernetes 1.36.
pub const IMPERSONATE: &str = "impersonate";

/// The API group of the names for [`ACT_AS`], and of extra fields for both verbs.
pub const ACT_AS_GROUP: &str = "authentication.k8s.io";

/// The rules with which the gateway may act as the holder of a grant, in canonical order: with exactly this user name,
/// group and grant id. Only what never changes during a grant is in them, because each value is checked.
#[must_use]
pub(super) fn acting_as(grant: &GrantId, person: &PersonName, impersonation: Impersonation) -> Vec<Rule> {
    let (verb, group) = match impersonation {
        Impersonation::Constrained => (ACT_AS, ACT_AS_GROUP),
        Impersonation::Unconstrained => (IMPERSONATE, ""),
    };
    let rule = |group: &str, resource: String, name: String| Rule {
        api_groups: vec![group.to_owned()],
        resources: vec![resource],
        resource_names: vec![name],
        verbs: vec![verb.to_owned()],
        ..Rule::default()
    };
    let mut rules = vec![
        rule(group, "users".to_owned(), person.user()),
        rule(group, "groups".to_owned(), grant.group()),
        rule(ACT_AS_GROUP, format!("userextras/{}", names::GRANT_EXTRA), grant.to_string()),
    ];
    canonical(&mut rules);
    rules
}

/// The rules with which the gateway may act as somebody on whatever there is in a place. Resource types that are
/// installed later are among them; the holder's own role decides on which of them a request succeeds.
#[must_use]
pub fn acting_on() -> Vec<Rule> {
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
    let mut rules = vec![Rule {
        api_groups: vec!["*".to_owned()],
        resources: vec!["*".to_owned()],
        verbs: verbs.into_iter().map(on).collect(),
        ..Rule::default()
    }];
    canonical(&mut rules);
    rules
}

/// The verb with which one user may do `verb` while acting as another.
#[must_use]
pub fn on(verb: &str) -> String {
    format!("impersonate-on:user-info:{verb}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::brought_to;
    use super::*;

    #[test]
    fn the_gateway_may_act_as_the_holder_of_a_grant_where_the_grant_is_and_as_nobody_else() {
        let grant = brought_to("live");
        let (id, own) = (&grant.id, grant.bindings());
        let user: GatewayUser = "system:serviceaccount:jitd:gateway".parse().unwrap();
        let gateway = ActingGateway { user: user.clone(), impersonation: Impersonation::Constrained };
        let made = gateway_bindings(&own, &gateway, "h");
        assert_eq!(made.len(), own.len() + 1);
        assert!(made.iter().all(|binding| binding.subject() == ("User", user.as_str())));
        let [whom, places @ ..] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!((whom.name.clone(), &whom.namespace), (id.gateway_name(), &None));
        assert_eq!(whom.role.to_string(), whom.name);
        let rules: Vec<String> = whom.rules.iter().flatten().map(|rule| serde_json::to_string(rule).unwrap()).collect();
        let rule = |resource: &str, name: &str| {
            format!(
                r#"{{"apiGroups":["authentication.k8s.io"],"resources":["{resource}"],"resourceNames":["{name}"],"verbs":["impersonate:user-info"]}}"#
            )
        };
        let wanted = [
            rule("groups", &id.group()),
            rule("userextras/jitd.dev/grant", id.as_str()),
            rule("users", &grant.requester.user()),
        ];
        assert_eq!(rules, wanted);
        for (place, own) in places.iter().zip(&own) {
            assert_eq!((&place.namespace, place.name.clone()), (&own.namespace, id.gateway_on_name()));
            assert_eq!((place.role.to_string().as_str(), &place.rules), ("jitd-h-gateway-on", &None));
        }
        assert_eq!(gateway_bindings(&[], &gateway, "h"), []);
    }

    /// Before 1.36 the names are the only limit, so none may be missing.
    #[test]
    fn without_constraints_the_verb_impersonate_is_granted_for_these_names_alone() {
        let grant = brought_to("live");
        let gateway = ActingGateway { user: "gw".parse().unwrap(), impersonation: Impersonation::Unconstrained };
        let made = gateway_bindings(&grant.bindings(), &gateway, "h");
        let [whom] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!((whom.subject(), whom.name.clone()), (("User", "gw"), grant.id.gateway_name()));
        let rules: Vec<String> = whom.rules.iter().flatten().map(|rule| serde_json::to_string(rule).unwrap()).collect();
        let rule = |group: &str, resource: &str, name: &str| {
            format!(
                r#"{{"apiGroups":["{group}"],"resources":["{resource}"],"resourceNames":["{name}"],"verbs":["impersonate"]}}"#
            )
        };
        let wanted = [
            rule("", "groups", &grant.id.group()),
            rule("", "users", &grant.requester.user()),
            rule("authentication.k8s.io", "userextras/jitd.dev/grant", grant.id.as_str()),
        ];
        assert_eq!(rules, wanted);
    }

    /// The legacy verb has no limits, so where there are better ones it is never granted.
    #[test]
    fn with_constraints_the_legacy_verb_is_never_granted() {
        let grant = brought_to("live");
        let rules = [acting_as(&grant.id, &grant.requester, Impersonation::Constrained), acting_on()].concat();
        let verbs: Vec<&str> = rules.iter().flat_map(|rule| &rule.verbs).map(String::as_str).collect();
        assert!(verbs.iter().all(|verb| ![IMPERSONATE, "*"].contains(verb)), "{verbs:?}");
    }
}

//! What is created in a cluster for a grant. Derived from the grant alone, so that the daemon after a restart, the
//! sweep and the auditor look for the same objects.

use super::GrantId;
use super::request::{Access, Ask, ExactRules, Namespace, PersonName, RoleName, RoleRef, Scope};

/// What is created in the cluster for a grant: a RoleBinding, or a ClusterRoleBinding for the whole
/// cluster, of one role to one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// `jit-<grant>`.
    pub name: String,
    /// `jit:<grant>`, the only subject.
    pub group: String,
    /// `jit:<person>`, the user name that the certificate carries; no subject, but asked about.
    pub user: String,
    /// Where it holds; none for the whole cluster.
    pub namespace: Option<Namespace>,
    /// What it grants.
    pub role: RoleRef,
    /// The rules of that role where it is made for this binding and ends with it.
    pub rules: Option<ExactRules>,
    /// Whether nobody had agreed; marked in the cluster.
    pub broken_glass: bool,
}

/// The bindings that a grant of this id would have: one a namespace, or one for the whole cluster.
#[must_use]
pub fn bindings(id: &GrantId, ask: &Ask, requester: &PersonName, broken_glass: bool) -> Vec<Binding> {
    let (role, rules) = match &ask.access {
        Access::Role(role) => (role.clone(), None),
        Access::Rules(rules) => (RoleRef::Role(RoleName::owned_by(id)), Some(rules.clone())),
    };
    let binding = |namespace: Option<Namespace>| Binding {
        name: id.binding_name(),
        group: id.group(),
        user: requester.user(),
        namespace,
        role: role.clone(),
        rules: rules.clone(),
        broken_glass,
    };
    match &ask.scope {
        Scope::Namespaces(_) => ask.scope.namespaces().iter().cloned().map(Some).map(binding).collect(),
        Scope::Cluster => vec![binding(None)],
    }
}

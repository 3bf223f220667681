//! The bindings of a grant. They are derived from the grant alone, so that the daemon after a restart, the sweep and
//! the auditor look for the same objects.

use super::GrantId;
use super::request::{Access, AccessRequest, ExactRules, Namespace, PersonName, RoleName, RoleRef, Scope};

/// A binding that is created for a grant: a RoleBinding, or a ClusterRoleBinding for the whole cluster, of one role to
/// one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The grant.
    pub grant: GrantId,
    /// The requester; their certificate contains the group.
    pub person: PersonName,
    /// The object's name in the cluster.
    pub name: String,
    /// The grant's group, the only subject.
    pub group: String,
    /// The namespace; `None` for the whole cluster.
    pub namespace: Option<Namespace>,
    /// The bound role.
    pub role: RoleRef,
    /// The rules of that role, if it is created for this binding and deleted with it.
    pub rules: Option<ExactRules>,
    /// Whether it is break-glass access; marked by an annotation in the cluster.
    pub broken_glass: bool,
}

impl Binding {
    /// The binding of an existing role, for approved access.
    #[must_use]
    pub fn new(grant: GrantId, person: PersonName, namespace: Option<Namespace>, role: RoleRef) -> Self {
        let (name, group) = (grant.binding_name(), grant.group());
        Self { grant, person, name, group, namespace, role, rules: None, broken_glass: false }
    }

    /// The user name in the certificate. It is not a subject, but part of access reviews.
    #[must_use]
    pub fn user(&self) -> String {
        self.person.user()
    }
}

/// The bindings that a grant with this id would have: one per namespace, or one for the whole cluster.
#[must_use]
pub fn bindings(id: &GrantId, ask: &AccessRequest, requester: &PersonName, broken_glass: bool) -> Vec<Binding> {
    let (role, rules) = match &ask.access {
        Access::Role(role) => (role.clone(), None),
        Access::Rules(rules) => (RoleRef::Role(RoleName::owned_by(id)), Some(rules.clone())),
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

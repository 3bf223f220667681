//! What is created in a cluster for a grant. Derived from the grant alone, so that the daemon after a restart, the
//! sweep and the auditor look for the same objects.

use super::GrantId;
use super::request::{Access, AccessRequest, ExactRules, Namespace, PersonName, RoleName, RoleRef, Scope};

/// What is created in the cluster for a grant: a RoleBinding, or a ClusterRoleBinding for the whole
/// cluster, of one role to one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The grant that it is for.
    pub grant: GrantId,
    /// Who asked; their certificate carries the group.
    pub person: PersonName,
    /// What it is called in the cluster.
    pub name: String,
    /// The grant's group, the only subject.
    pub group: String,
    /// Where it holds; none for the whole cluster.
    pub namespace: Option<Namespace>,
    /// What it grants.
    pub role: RoleRef,
    /// The rules of that role where it is made for this binding and ends with it.
    pub rules: Option<ExactRules>,
    /// Whether nobody had agreed; marked in the cluster.
    pub broken_glass: bool,
}

impl Binding {
    /// The binding of an existing role, for access that somebody agreed to.
    #[must_use]
    pub fn new(grant: GrantId, person: PersonName, namespace: Option<Namespace>, role: RoleRef) -> Self {
        let (name, group) = (grant.binding_name(), grant.group());
        Self { grant, person, name, group, namespace, role, rules: None, broken_glass: false }
    }

    /// The user name that the certificate carries; no subject, but asked about.
    #[must_use]
    pub fn user(&self) -> String {
        self.person.user()
    }
}

/// The bindings that a grant of this id would have: one a namespace, or one for the whole cluster.
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

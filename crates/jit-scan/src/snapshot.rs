//! What was read of a cluster: the objects that decide who can do what. Never the content of a Secret.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jit_core::rbac::Rule;
use jit_core::rbac::risk::ServerVersion;

use crate::finding::{NotEvaluated, Subject};

/// A cluster at one moment, as far as it could be read.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The version of the API server, if it is known.
    pub version: Option<ServerVersion>,
    /// Roles and ClusterRoles.
    pub roles: Vec<Role>,
    /// RoleBindings and ClusterRoleBindings.
    pub bindings: Vec<Binding>,
    /// Service accounts; `None` if they were not read, so that nothing is said about missing ones.
    pub accounts: Option<Vec<Account>>,
    /// The names of the namespaces; `None` if they were not read.
    pub namespaces: Option<Vec<String>>,
    /// What could not be read. A list that is missing here and empty above does not exist in the cluster.
    pub not_evaluated: Vec<NotEvaluated>,
}

/// The name of an object, and its namespace if it has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The namespace; `None` for an object of the whole cluster.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

/// What findings say about an object besides its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// When it was created, if the input says so.
    pub created: Created,
}

/// `metadata.creationTimestamp`; manifests have none.
pub type Created = Option<Timestamp>;

/// Role or ClusterRole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleKind {
    /// A Role of one namespace.
    Role,
    /// A ClusterRole.
    ClusterRole,
}

/// A Role or ClusterRole, as it was read: aggregation is not resolved yet.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name; a ClusterRole has no namespace.
    pub name: Name,
    /// What else is known of it.
    pub meta: Meta,
    /// Its rules. The API server keeps those of an aggregated role up to date; a manifest has none there.
    pub rules: Vec<Rule>,
    /// `aggregationRule.clusterRoleSelectors`, each as its `matchLabels` and `matchExpressions` in JSON; `None` for a role
    /// that is not aggregated.
    pub aggregates: Option<Vec<String>>,
}

/// `roleRef` of a binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleRef {
    /// Role or ClusterRole.
    pub kind: RoleKind,
    /// The role's name. A Role is in the binding's namespace.
    pub name: String,
}

/// A RoleBinding or ClusterRoleBinding.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Its name; a ClusterRoleBinding has no namespace.
    pub name: Name,
    /// What else is known of it.
    pub meta: Meta,
    /// The role that it binds.
    pub role: RoleRef,
    /// To whom.
    pub subjects: Vec<Subject>,
}

/// A service account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name, with its namespace.
    pub name: Name,
    /// What else is known of it.
    pub meta: Meta,
    /// `automountServiceAccountToken`.
    pub automount: Option<bool>,
}

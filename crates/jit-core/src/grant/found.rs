//! A binding as it stands in a cluster, whoever made it, and what makes it ours: name, subject and role,
//! compared here and nowhere else.
//!
//! It must never take labels for a proof, for anybody may write them. `cluster` reads these, the sweep compares them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Binding;
use super::request::{Namespace, RoleRef};

/// A binding as it is in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// `metadata.name`.
    pub name: String,
    /// Its namespace; none for a ClusterRoleBinding.
    pub namespace: Option<String>,
    /// `metadata.uid`.
    pub uid: String,
    /// The host whose daemon made it, as its labels say. The labels themselves are not kept: thousands of these are
    /// compared at once.
    pub of_host: Option<String>,
    /// Whether it is marked for deletion and held by a finalizer.
    pub is_held: bool,
    /// Whom it grants to.
    pub subjects: Vec<Subject>,
    /// What it grants.
    pub role: FoundRole,
}

/// One subject of a binding, as in `rbac.authorization.k8s.io/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// A ServiceAccount's namespace.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// The role of a binding, as in `rbac.authorization.k8s.io/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FoundRole {
    /// `ClusterRole` or `Role`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A namespace as it is in a cluster, in which something can be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundNamespace {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
}

impl Found {
    /// Whether this is that binding in place, subject and role, and not on its way out.
    #[must_use]
    pub fn is_exactly(&self, binding: &Binding) -> bool {
        self.is_at(binding) && self.has_only_subject(&binding.group) && self.has_role(&binding.role) && !self.is_held
    }

    /// Whether it has the labels of this host's daemon. Anybody may write them, so they are no proof.
    #[must_use]
    pub fn is_of_host(&self, host: &str) -> bool {
        self.of_host.as_deref() == Some(host)
    }

    /// Whether it has the name and the namespace of that binding.
    #[must_use]
    pub fn is_at(&self, binding: &Binding) -> bool {
        self.name == binding.name && self.namespace.as_deref() == binding.namespace.as_ref().map(Namespace::as_str)
    }

    /// Whether it grants to this group and to nobody else.
    #[must_use]
    pub fn has_only_subject(&self, group: &str) -> bool {
        matches!(self.subjects.as_slice(), [only] if only.kind == "Group" && only.name == group)
    }

    /// Whether it grants to the user of this name, alone or beside others.
    #[must_use]
    pub fn names_user(&self, user: &str) -> bool {
        self.subjects.iter().any(|subject| subject.kind == "User" && subject.name == user)
    }

    /// Whether it grants this role.
    #[must_use]
    pub fn has_role(&self, role: &RoleRef) -> bool {
        self.role.kind == role.kind() && self.role.name == role.name().as_str()
    }
}

impl Found {
    /// What takes it away, for a person.
    #[must_use]
    pub fn deletion(&self) -> String {
        let name = shown(&self.name);
        match &self.namespace {
            Some(namespace) => format!("`kubectl -n {} delete rolebinding {name}`", shown(namespace)),
            None => format!("`kubectl delete clusterrolebinding {name}`"),
        }
    }
}

impl std::fmt::Display for Found {
    /// For a person, and for a log: the words are another's, so they are escaped and cut.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let subjects: Vec<String> = self
            .subjects
            .iter()
            .take(5)
            .map(|subject| format!("{} `{}`", subject.kind, shown(&subject.name)))
            .collect();
        let more = if self.subjects.len() > 5 { " and more" } else { "" };
        write!(
            f,
            "`{}` ({}) binds {} `{}` to {}{more}",
            shown(&self.name),
            self.uid,
            self.role.kind,
            shown(&self.role.name),
            if subjects.is_empty() { "nobody".to_owned() } else { subjects.join(", ") },
        )
    }
}

fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_default).collect()
}

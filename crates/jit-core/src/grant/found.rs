//! Bindings as they exist in a cluster, whoever created them, and how they are compared with ours: by name, subject and
//! role, here and nowhere else.
//!
//! Labels must never count as a proof, because anybody may write them. `cluster` reads these, the sweep compares them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Binding;
use super::gateway::service_account;
use super::request::{Namespace, RoleRef};

/// A binding as it exists in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// `metadata.name`.
    pub name: String,
    /// The namespace; `None` for a ClusterRoleBinding.
    pub namespace: Option<String>,
    /// `metadata.uid`.
    pub uid: String,
    /// The host whose daemon created it, according to its labels. The labels themselves are not stored, because
    /// thousands of bindings are compared at once.
    pub of_host: Option<String>,
    /// Whether it is marked for deletion and kept by a finalizer.
    pub is_held: bool,
    /// The subjects.
    pub subjects: Vec<Subject>,
    /// The bound role.
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
    /// The namespace of a ServiceAccount.
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

/// A namespace as it exists in a cluster, not being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundNamespace {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
}

impl Found {
    /// Whether this is that binding, with its name, namespace, subject and role, and not being deleted.
    #[must_use]
    pub fn is_exactly(&self, binding: &Binding) -> bool {
        self.is_at(binding) && self.has_only_subject_of(binding) && self.has_role(&binding.role) && !self.is_held
    }

    /// Whether it has the labels of this host's daemon. That is no proof, because anybody may write labels.
    #[must_use]
    pub fn is_of_host(&self, host: &str) -> bool {
        self.of_host.as_deref() == Some(host)
    }

    /// Whether it has the name and the namespace of that binding.
    #[must_use]
    pub fn is_at(&self, binding: &Binding) -> bool {
        self.name == binding.name && self.namespace.as_deref() == binding.namespace.as_ref().map(Namespace::as_str)
    }

    /// Whether this group is its only subject.
    #[must_use]
    pub fn has_only_group(&self, group: &str) -> bool {
        self.has_only("Group", group)
    }

    /// Whether the subject of that binding is its only one.
    #[must_use]
    pub fn has_only_subject_of(&self, binding: &Binding) -> bool {
        let (kind, name) = binding.subject();
        self.has_only(kind, name)
    }

    fn has_only(&self, kind: &str, name: &str) -> bool {
        matches!(self.subjects.as_slice(), [only] if only.kind == kind && only.name == name)
    }

    /// Whether the user of this name is one of its subjects; a service account may be named in two ways.
    #[must_use]
    pub fn names_user(&self, user: &str) -> bool {
        let account = service_account(user);
        self.subjects.iter().any(|subject| match subject.kind.as_str() {
            "User" => subject.name == user,
            "ServiceAccount" => account.is_some_and(|(namespace, name)| {
                subject.namespace.as_deref() == Some(namespace) && subject.name == name
            }),
            _ => false,
        })
    }

    /// Whether it binds this role.
    #[must_use]
    pub fn has_role(&self, role: &RoleRef) -> bool {
        self.role.kind == role.kind() && self.role.name == role.name().as_str()
    }
}

impl Found {
    /// `RoleBinding `shop/alice` to ClusterRole `edit``, for people.
    #[must_use]
    pub fn described(&self) -> String {
        let (kind, place) = match &self.namespace {
            Some(namespace) => ("RoleBinding", format!("{namespace}/")),
            None => ("ClusterRoleBinding", String::new()),
        };
        format!("{kind} `{place}{}` to {} `{}`", shown(&self.name), self.role.kind, shown(&self.role.name))
    }

    /// The command that deletes it, for people.
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
    /// For people and logs. Its text comes from somebody else, so it is escaped and cut.
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

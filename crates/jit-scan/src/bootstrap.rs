//! The roles and bindings that Kubernetes itself creates, as each version creates them.
//!
//! What differs from them is the cluster's own, whatever its name: a subject that somebody added to the binding
//! `cluster-admin` is reported, the group that it ships with is not. `bootstrap/*.txt` are written from a real API server of
//! that version by `tests/it/scan_paths.rs`, which compares them.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use jit_core::rbac::ResolvedRole;
use jit_core::rbac::risk::ServerVersion;

use crate::finding::{Kind, Subject};
use crate::snapshot::{Binding, Name, Role, RoleKind, RoleRef, Snapshot};

/// The tables by version, the newest last.
const TABLES: &[(&str, &str)] = &[("v1.36", include_str!("bootstrap/1.36.txt"))];

/// The ClusterRoles of the newest table with their rules, a `ClusterRoleList`: from the test data of
/// `k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy`, with aggregation resolved. A test compares their hashes
/// with the table.
pub(crate) const ROLES: &str = include_str!("bootstrap/1.36.json");

/// The label of what the API server creates and keeps.
const LABEL: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");

/// What one version of Kubernetes creates.
#[derive(Debug, Default)]
pub(crate) struct Bootstrap {
    /// Whose table it is.
    pub(crate) of: &'static str,
    /// It is the version that was asked for.
    pub(crate) is_exact: bool,
    /// Role to the hash of its rules.
    roles: HashMap<String, &'static str>,
    /// Binding to its role and its subjects.
    bindings: HashMap<String, (&'static str, HashSet<&'static str>)>,
}

impl Bootstrap {
    /// What this version creates. For a version without a table, and an unknown one, it is what the newest one in the
    /// tables creates: what is the same there is no less Kubernetes' own.
    pub(crate) fn of(version: Option<ServerVersion>) -> Self {
        let wanted = version.map(|version| version.to_string());
        let exact = TABLES.iter().find(|(version, _)| Some(*version) == wanted.as_deref());
        let mut bootstrap = Self { is_exact: exact.is_some(), ..Self::default() };
        let Some((of, table)) = exact.or(TABLES.last()) else { return bootstrap };
        bootstrap.of = of;
        for line in table.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some(kind), Some(name), Some(hash), None) => {
                    bootstrap.roles.insert(format!("{kind} {name}"), hash);
                }
                (Some(kind), Some(name), Some(role), Some(subjects)) => {
                    bootstrap.bindings.insert(format!("{kind} {name}"), (role, subjects.split(',').collect()));
                }
                _ => {}
            }
        }
        bootstrap
    }

    /// Whether the role has the rules that it was created with.
    pub(crate) fn has_role(&self, role: &Role) -> bool {
        let hash = self.roles.get(&format!("{} {}", role_kind(&role.name), shown(&role.name)));
        hash.is_some_and(|hash| **hash == *ResolvedRole::new(String::new(), role.rules.clone()).rules_sha256())
    }

    /// Whether the binding was created for this subject with this role.
    pub(crate) fn has_subject(&self, binding: &Binding, subject: &Subject) -> bool {
        let known = self.bindings.get(&format!("{} {}", binding_kind(&binding.name), shown(&binding.name)));
        known.is_some_and(|(role, subjects)| {
            **role == *role_ref(&binding.role) && subjects.contains(word(subject).as_str())
        })
    }
}

/// Whether the API server created this role, by the label that it puts on it.
pub(crate) fn is_created(role: &Role) -> bool {
    let (key, value) = LABEL;
    role.meta.labels.get(key).is_some_and(|found| found == value)
}

/// The table of a cluster's own bootstrap policy, by the label that the API server puts on it: a line for each role with the
/// SHA-256 of its rules, and for each binding with its role and subjects.
#[must_use]
pub fn bootstrap_table(snapshot: &Snapshot) -> String {
    let (key, value) = LABEL;
    let mut lines: Vec<String> = Vec::new();
    for role in snapshot.roles.iter().filter(|role| is_created(role)) {
        let hash = ResolvedRole::new(String::new(), role.rules.clone());
        lines.push(format!("{} {} {}", role_kind(&role.name), shown(&role.name), hash.rules_sha256()));
    }
    let is_shipped = |binding: &&Binding| binding.meta.labels.get(key).is_some_and(|found| found == value);
    for binding in snapshot.bindings.iter().filter(is_shipped) {
        let mut subjects: Vec<String> = binding.subjects.iter().map(word).collect();
        subjects.sort();
        let (kind, role) = (binding_kind(&binding.name), role_ref(&binding.role));
        lines.push(format!("{kind} {} {role} {}", shown(&binding.name), subjects.join(",")));
    }
    lines.sort();
    lines.iter().fold(String::new(), |mut table, line| {
        // Writing to a string does not fail.
        let _ = writeln!(table, "{line}");
        table
    })
}

fn role_kind(name: &Name) -> &'static str {
    if name.namespace.is_some() { "role" } else { "clusterrole" }
}

fn binding_kind(name: &Name) -> &'static str {
    if name.namespace.is_some() { "rolebinding" } else { "clusterrolebinding" }
}

fn role_ref(role: &RoleRef) -> String {
    match role.kind {
        RoleKind::Role => format!("role/{}", role.name),
        RoleKind::ClusterRole => format!("clusterrole/{}", role.name),
    }
}

fn shown(Name { namespace, name }: &Name) -> String {
    namespace.as_ref().map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"))
}

fn word(Subject { kind, namespace, name }: &Subject) -> String {
    match (kind, namespace) {
        (Kind::User, _) => format!("user/{name}"),
        (Kind::Group, _) => format!("group/{name}"),
        (Kind::ServiceAccount, namespace) => {
            format!("serviceaccount/{}/{name}", namespace.as_deref().unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Listed, Reader};

    /// The table was written from a real API server.
    #[test]
    fn the_rules_of_the_shipped_roles_are_those_of_the_table() {
        let mut reader = Reader::default();
        assert_eq!(reader.page(Listed::ClusterRole, ROLES.as_bytes()).unwrap(), None);
        let (snapshot, table) = (reader.finish(), Bootstrap::of(None));
        let others: Vec<&Role> = snapshot.roles.iter().filter(|role| !table.has_role(role)).collect();
        assert!(others.is_empty(), "{others:?}");
        let listed = table.roles.keys().filter(|role| role.starts_with("clusterrole ")).count();
        assert!(listed > 60 && snapshot.roles.len() == listed, "{listed} {}", snapshot.roles.len());
    }
}

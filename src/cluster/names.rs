//! The names, labels and API paths of jitd's objects in a cluster.
//!
//! A label never proves that an object is ours. `cluster` and `manifest` use these.

use kube::core::request::Request as Path;

use crate::grant::request::Namespace;

pub(crate) const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
pub(super) const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub(crate) const OURS: &str = "jitd";
pub(crate) const HOST_LABEL: &str = "jitd.dev/host";
pub(crate) const GRANT: &str = "jitd.dev/grant";
pub(crate) const USER: &str = "jitd.dev/user";
/// Marks a binding that nobody approved.
pub(super) const BREAK_GLASS: &str = "jitd.dev/break-glass";

/// The Roles of a namespace, or the ClusterRoles.
pub(super) fn roles(namespace: Option<&Namespace>) -> Path {
    Path::new(match namespace {
        Some(namespace) => format!("{RBAC}/namespaces/{namespace}/roles"),
        None => format!("{RBAC}/clusterroles"),
    })
}

pub(super) fn bindings(namespace: Option<&Namespace>) -> Path {
    Path::new(match namespace {
        Some(namespace) => format!("{RBAC}/namespaces/{namespace}/rolebindings"),
        None => format!("{RBAC}/clusterrolebindings"),
    })
}

/// Whether `text` is a label value that is not empty
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>).
pub(super) fn is_label_value(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(inside) && edge(text.chars().next()) && edge(text.chars().last())
}

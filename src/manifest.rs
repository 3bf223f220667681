//! What an administrator applies to a cluster so that the daemon can do its work there, and no more than
//! the policy's roles: `bind` by name, nothing wider. Printed by `jitd manifest`; nothing here is sent.

use serde_json::{Value, json};

use crate::grant::policy::Policy;
use crate::grant::request::{ClusterName, RoleRef};

/// The user name of the daemon's own certificate.
#[must_use]
pub fn daemon_user(host: &str) -> String {
    format!("jit:daemon:{host}")
}

/// The objects for `cluster`, as YAML documents.
///
/// Creating a binding needs `bind` on its role
/// (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>).
#[must_use]
pub fn manifest(policy: &Policy, cluster: &ClusterName, host: &str) -> String {
    let names = |wanted: &str| -> Vec<String> {
        let roles = policy.roles(cluster);
        roles.iter().filter(|role| role.kind() == wanted).map(|role: &RoleRef| role.name().to_string()).collect()
    };
    let rbac = "rbac.authorization.k8s.io";
    let mut rules = vec![
        json!({ "apiGroups": [rbac], "resources": ["rolebindings", "clusterrolebindings"], "verbs": ["create", "get", "list", "delete"] }),
        json!({ "apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"] }),
        json!({ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] }),
    ];
    // Without a name a rule would hold for every role, so a kind that the policy does not use gets none.
    for (resource, kind) in [("clusterroles", "ClusterRole"), ("roles", "Role")] {
        let names = names(kind);
        if !names.is_empty() {
            rules.push(json!({ "apiGroups": [rbac], "resources": [resource], "resourceNames": names, "verbs": ["get", "bind"] }));
        }
    }
    let name = format!("jitd-{host}");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": name },
        "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": name },
        "subjects": [{ "apiGroup": rbac, "kind": "User", "name": daemon_user(host) }],
    });
    documents(&[role, binding])
}

fn documents(objects: &[Value]) -> String {
    objects
        .iter()
        // Maps, lists and strings always serialise.
        .map(|object| format!("---\n{}", serde_saphyr::to_string(object).unwrap_or_default()))
        .collect()
}

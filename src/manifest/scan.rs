//! The right to read what `jitd scan` reads. It is bound to nobody: who scans is no user of the daemon.
//!
//! The right to list Secrets is a role of its own: RBAC cannot allow their metadata without their content, so it is for an
//! administrator to decide who may have it. The scan itself asks for metadata only.

use jit_scan::{CredentialList, Listed};
use serde_json::{Value, json};

use super::{Object, RBAC_V1};

/// The name of the ClusterRole for everything but Secrets. No host's own objects have a colon in their names.
pub const SCAN_NAME: &str = "jitd:scan";
/// The name of the ClusterRole for Secrets.
pub const SCAN_SECRETS_NAME: &str = "jitd:scan-secrets";

/// The ClusterRoles.
#[must_use]
pub fn scan() -> Vec<Object> {
    let rule = |group: &str, plural: &str| json!({ "apiGroups": [group], "resources": [plural], "verbs": ["list"] });
    let mut rules: Vec<Value> = Listed::ALL.into_iter().map(|listed| rule(listed.group(), listed.plural())).collect();
    let others = CredentialList::ALL.into_iter().filter(|list| !list.is_of_secrets());
    rules.extend(others.map(|list| rule(list.group(), list.plural)));
    // Every user has it, unless an administrator removed `system:public-info-viewer`.
    rules.push(json!({ "nonResourceURLs": ["/version"], "verbs": ["get"] }));
    let role = |name: &str, rules: &[Value], why: &str| Object {
        why: format!("{why}\n# kubectl create clusterrolebinding {name} --clusterrole={name} --user=NAME"),
        value: json!({ "apiVersion": RBAC_V1, "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules }),
    };
    vec![
        role(SCAN_NAME, &rules, "what `jitd scan` reads; it can change nothing and reads no Secret"),
        role(
            SCAN_SECRETS_NAME,
            &[rule("", "secrets")],
            "lets `jitd scan` find tokens in Secrets. RBAC knows no right to their metadata alone: the scan reads no content, but \
             whoever\n# has this role can. Without it, Secrets are not evaluated.",
        ),
    ]
}

//! The right to read what `jitd scan` reads. It is bound to nobody: who scans is no user of the daemon.
//!
//! It must never contain Secrets: RBAC cannot allow their names without their content.

use jit_scan::Listed;
use serde_json::{Value, json};

use super::{Object, RBAC_V1};

/// The name of the ClusterRole. No host's own objects have a colon in their names.
pub const SCAN_NAME: &str = "jitd:scan";

/// The ClusterRole.
#[must_use]
pub fn scan() -> Vec<Object> {
    let rule =
        |listed: Listed| json!({ "apiGroups": [listed.group()], "resources": [listed.plural()], "verbs": ["list"] });
    let mut rules: Vec<Value> = Listed::ALL.into_iter().map(rule).collect();
    // Every user has it, unless an administrator removed `system:public-info-viewer`.
    rules.push(json!({ "nonResourceURLs": ["/version"], "verbs": ["get"] }));
    let why = format!(
        "what `jitd scan` reads; it can change nothing and reads no Secret\n# kubectl create clusterrolebinding {SCAN_NAME} \
         --clusterrole={SCAN_NAME} --user=NAME"
    );
    let value =
        json!({ "apiVersion": RBAC_V1, "kind": "ClusterRole", "metadata": { "name": SCAN_NAME }, "rules": rules });
    vec![Object { why, value }]
}

//! The gateway's standing rights, and the role that each grant binds to it. With these alone the gateway may act as
//! nobody: `broker` creates, for each live grant, a role that says as whom.
//!
//! Nothing here may contain the legacy verb `impersonate`, which nothing limits but the names in the role of a grant.
//! Where a cluster knows no other verb (`impersonation: unconstrained`), the gateway needs no standing rights at all: a
//! holder has discovery already.

use serde_json::json;

use super::{Object, RBAC_V1, document};
use crate::cluster::RBAC_GROUP;
use crate::grant::{ActingGateway, acting_on, names, on};

/// The name of the ClusterRole and the ClusterRoleBinding of the gateway's standing rights.
#[must_use]
pub fn name(host: &str) -> String {
    format!("jitd-{host}-gateway")
}

/// The role that each grant binds, the standing rights and their binding; nothing where impersonation is unconstrained.
pub(super) fn rights(host: &str, gateway: &ActingGateway) -> Vec<Object> {
    if !gateway.impersonation.is_constrained() {
        return Vec::new();
    }
    let own = name(host);
    let discovery = json!([
        { "nonResourceURLs": PATHS, "verbs": [on("get")] },
        {
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
            "verbs": [on("create")],
        },
        { "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": [on("create")] },
    ]);
    vec![
        document(
            "where the gateway may act as the holder of a grant: jitd binds it to the gateway in the places of a live \
             grant, and nowhere else. What the holder may do there is decided by the grant's own role. The gateway itself \
             refuses `nodes/proxy` and `serviceaccounts/token`, which RBAC cannot leave out, and so does an admission policy",
            RBAC_V1,
            "ClusterRole",
            &names::gateway_on_role(host),
            host,
            json!({ "rules": acting_on() }),
        ),
        document(
            "what the gateway may do in the name of every holder: discovery, and questions about oneself. It may not act as \
             anybody without a live grant",
            RBAC_V1,
            "ClusterRole",
            &own,
            host,
            json!({ "rules": discovery }),
        ),
        document(
            "grants it to the user that the API server knows the gateway by",
            RBAC_V1,
            "ClusterRoleBinding",
            &own,
            host,
            json!({
                "roleRef": { "apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": own },
                "subjects": [{ "apiGroup": RBAC_GROUP, "kind": "User", "name": gateway.user.as_str() }],
            }),
        ),
    ]
}

/// What the ClusterRoles `system:discovery` and `system:public-info-viewer` contain, which every user has.
const PATHS: [&str; 11] = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];

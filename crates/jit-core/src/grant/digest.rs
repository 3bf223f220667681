//! The digest of a request that an approval answers.

use super::request::{AccessRequest, KeyHash, PersonName};
use super::{GrantId, Shown};

pub use crate::rbac::digest::{hex, sha256_hex};

/// SHA-256 over exactly what an approver is shown: who asks for what, why, with which key, what the role
/// allowed and reached at that moment, which namespaces by their uids, what the requester had besides, and what was denied to
/// them. An approval that carries another digest is refused.
#[must_use]
pub fn of_request(id: &GrantId, requester: &PersonName, ask: &AccessRequest, key: &KeyHash, shown: &Shown) -> String {
    let shown = serde_json::json!({
        "grant": id, "requester": requester, "ask": ask, "key": key, "role": shown.role.uid,
        "rules": shown.role.rules_sha256(), "assessment": shown.assessment, "together": shown.together, "holds": shown.holds, "holdsMore": shown.holds_more,
        "namespaces": shown.namespaces, "denied": shown.denied,
    });
    // A JSON object has its keys in one order here, so the same request has the same digest everywhere.
    sha256_hex(shown.to_string().as_bytes())
}

//! The digest of a request that an approval answers.

use super::request::{AccessRequest, KeyHash, PersonName};
use super::{GrantId, SessionTerms, Shown};

pub use crate::rbac::digest::{hex, sha256_hex};

/// SHA-256 over exactly what an approver is shown: the requester, the request with its reason and key, what the role
/// allowed and its risks at that moment, the uids of the namespaces, the requester's other access, earlier denials, and what is recorded of what
/// is done with it and refused of it.
/// The other terms follow from the id: they are fixed with the request. An approval with a different digest is refused.
#[must_use]
pub fn of_request(
    id: &GrantId,
    requester: &PersonName,
    ask: &AccessRequest,
    key: &KeyHash,
    shown: &Shown,
    sessions: &SessionTerms,
) -> String {
    let mut shown = serde_json::json!({
        "grant": id, "requester": requester, "ask": ask, "key": key, "role": shown.role.uid,
        "rules": shown.role.rules_sha256(), "assessment": shown.assessment, "together": shown.together, "holds": shown.holds, "holdsMore": shown.holds_more,
        "namespaces": shown.namespaces, "denied": shown.denied,
    });
    // The usual terms are left out, so that requests of an earlier jitd keep their digest.
    if let Some(shown) = shown.as_object_mut().filter(|_| !sessions.is_usual()) {
        shown.insert("sessions".to_owned(), serde_json::json!(sessions));
    }
    // The keys of a JSON object are sorted here, so the same request has the same digest everywhere.
    sha256_hex(shown.to_string().as_bytes())
}

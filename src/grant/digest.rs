//! SHA-256 as the trail and the wire write it, and the digest of a request that an approval answers.

use aws_lc_rs::digest::SHA256;

use super::request::{Ask, KeyHash, PersonName};
use super::{GrantId, Shown};

/// SHA-256 over exactly what an approver is shown: who asks for what, why, with which key, what the role
/// allowed and reached at that moment, and what the requester had. An approval that carries another digest
/// is refused.
#[must_use]
pub fn of_request(id: &GrantId, requester: &PersonName, ask: &Ask, key: &KeyHash, shown: &Shown) -> String {
    let shown = serde_json::json!({
        "grant": id, "requester": requester, "ask": ask, "key": key, "role": shown.role.uid,
        "rules": shown.role.rules_sha256(), "assessment": shown.assessment, "holds": shown.holds, "holdsMore": shown.holds_more,
    });
    // A JSON object has its keys in one order here, so the same request has the same digest everywhere.
    sha256_hex(shown.to_string().as_bytes())
}

/// SHA-256 of `bytes` as 64 lower-case hex digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&SHA256, bytes).as_ref())
}

/// `bytes` as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(if value < 10 { b'0' + value } else { b'a' - 10 + value });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

//! The JSON that feeds carry: one fact, with an id that is the same each time it is sent.
//!
//! ```json
//! {"id": "jit_8f3k11d31ge2wvm7_102", "type": "grant.requested", "timestamp": "2026-11-29T21:00:00Z",
//!  "host": "bastion1", "attempt": 1, "data": {…}}
//! ```
//! `type`, `timestamp` and `data` are those of the payload that Standard Webhooks 1.0 recommends. `data` is the notice.

use jiff::Timestamp;
use jit_wire::notice::Notice;
use serde::Serialize;

/// A fact, ready to be sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document<'a> {
    /// The same each time this fact is sent to anybody. It has letters, digits and underscores only.
    pub id: String,
    /// `grant.KIND` for a fact about a grant, `daemon.KIND` for one about the daemon. `KIND` is the event's name in the trail.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The host of the daemon.
    pub host: &'a str,
    /// 1 for the first attempt. After a restart of this program the count begins again, so 1 may be a repeat too.
    pub attempt: u32,
    /// The fact.
    pub data: &'a Notice,
}

impl<'a> Document<'a> {
    /// The document of a notice from the daemon of `host`.
    #[must_use]
    pub fn of(host: &'a str, notice: &'a Notice, attempt: u32) -> Self {
        let (about, id) = match &notice.grant {
            Some(grant) => ("grant", grant.id.as_str()),
            None => ("daemon", host),
        };
        // Standard Webhooks signs `id.timestamp.payload`, so an id has no full stop.
        let id = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect::<String>();
        Self {
            id: format!("jit_{id}_{}", notice.number),
            kind: format!("{about}.{}", notice.event),
            timestamp: notice.at,
            host,
            attempt,
            data: notice,
        }
    }

    /// As it is sent.
    ///
    /// # Errors
    /// Never for what a daemon sent; the form of the error is serde's.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

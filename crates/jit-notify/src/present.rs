//! What a board shows of a request: its present state, and what was shown of it before.

use jiff::Timestamp;
use jit_wire::GrantView;
use jit_wire::notice::Audience;
use serde::{Deserialize, Serialize};

/// A request as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    /// The host of the daemon.
    pub host: String,
    /// The number of the last fact in this state.
    pub number: u64,
    /// When that happened.
    pub at: Timestamp,
    /// What happened last, in one plain sentence; `None` for a request that was open before this program knew of it.
    pub says: Option<String>,
    /// The request.
    pub grant: GrantView,
    /// Whom it concerns now.
    pub audience: Audience,
}

/// What a board shows of a request. It is kept on the disk, so that a message is updated and not posted twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shown {
    /// The number of the last fact in what is shown.
    pub number: u64,
    /// SHA-256 of the text that people read, in hex.
    pub sha256: String,
    /// What the receiver calls the message, if it can be updated or answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The phase that is shown.
    pub phase: String,
    /// Whether it asks somebody for an answer.
    pub asks: bool,
}

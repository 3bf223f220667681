//! The chain: what a line of the trail is, and which line may follow which.
//!
//! ```text
//!  line 1 {seq, prev: 00…, fact} ◄─ SHA-256 ─ line 2 {seq, prev, fact} ◄─ SHA-256 ─ line 3 …
//! ```
//! It reads and writes nothing: the writer makes lines with it, an open trail and `verify` check them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Fault;
use crate::grant::Fact;

/// One line of the trail, as it is stored and exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// 1 for the first, without gaps.
    pub seq: i64,
    /// SHA-256 of the line before, hex; 64 zeros before the first.
    pub prev: String,
    /// The fact.
    #[serde(flatten)]
    pub fact: Fact,
}

/// The hash before the first line.
pub(super) const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The last line's number and hash, and the latest time in any: the clock may have been set back before
/// the last one was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) hash: String,
    pub(super) at: Timestamp,
}

pub(super) fn parse(line: &str) -> Result<Entry, Fault> {
    serde_json::from_str(line).map_err(|error| Fault::Damaged { seq: 0, why: format!("a line is no entry: {error}") })
}

//! The chain: the form of a line, and which line may follow which.
//!
//! ```text
//!  line 1 {seq, prev: 00…, fact} ◄─ SHA-256 ─ line 2 {seq, prev, fact} ◄─ SHA-256 ─ line 3 …
//! ```
//! It does no I/O: the writer creates lines with it, and opening a trail and `verify` check them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Fault;
use crate::grant::Fact;
use crate::grant::digest::sha256_hex;

/// One line of the trail, as it is stored and exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// 1 for the first, without gaps.
    pub seq: i64,
    /// SHA-256 of the previous line, hex; 64 zeros for the first.
    pub prev: String,
    /// The fact.
    #[serde(flatten)]
    pub fact: Fact,
}

/// The position of a line. A trail with another line there, or none, is another trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of the line; 0 before the first.
    pub seq: i64,
    /// SHA-256 of the line, hex; 64 zeros before the first.
    pub hash: String,
}

/// The hash before the first line.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The end of the trail: the position of its last line, and the latest time in any line. That can be an earlier line, if
/// the clock was set back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) position: Position,
    pub(super) at: Timestamp,
}

impl Head {
    /// The head of an empty trail.
    pub(super) fn beginning() -> Self {
        Self { position: Position { seq: 0, hash: BEGINNING.to_owned() }, at: Timestamp::MIN }
    }

    /// The head after this line, which is not parsed: where the check of a part begins.
    pub(super) fn from_line(seq: i64, line: &str) -> Self {
        Self { position: Position { seq, hash: sha256_hex(line.as_bytes()) }, at: Timestamp::MIN }
    }

    /// The line that records `fact` here, and the new head.
    pub(super) fn append(&self, fact: &Fact) -> Result<(String, Self), Fault> {
        #[derive(Serialize)]
        struct Line<'a> {
            seq: i64,
            prev: &'a str,
            #[serde(flatten)]
            fact: &'a Fact,
        }
        let line = serde_json::to_string(&Line { seq: self.next(), prev: &self.position.hash, fact })
            .map_err(|error| Fault::System(error.to_string()))?;
        let head = self.with(&line, fact.at);
        Ok((line, head))
    }

    /// Parses a stored line, checks that it is the one that has to follow, and returns the new head.
    pub(super) fn apply(&self, line: &str) -> Result<(Entry, Self), Fault> {
        let damaged = |why: String| Fault::Damaged { seq: self.next(), why };
        let entry = parse(line).map_err(|fault| damaged(fault.to_string()))?;
        if entry.seq != self.next() {
            return Err(damaged(format!("its number is {}", entry.seq)));
        }
        if entry.prev != self.position.hash {
            return Err(damaged("it does not contain the hash of the previous line".to_owned()));
        }
        let head = self.with(line, entry.fact.at);
        Ok((entry, head))
    }

    /// Number of the next line.
    pub(super) fn next(&self) -> i64 {
        self.position.seq.saturating_add(1)
    }

    fn with(&self, line: &str, at: Timestamp) -> Self {
        let position = Position { seq: self.next(), hash: sha256_hex(line.as_bytes()) };
        Self { position, at: self.at.max(at) }
    }
}

/// Parses a line, without checking its position.
pub(super) fn parse(line: &str) -> Result<Entry, Fault> {
    serde_json::from_str(line)
        .map_err(|error| Fault::Damaged { seq: 0, why: format!("a line is not an entry: {error}") })
}

//! The notices: what `jitd` tells `jit-notify` over a Unix socket of its own, one JSON document per line.
//!
//! ```text
//!  jit-notify ─► hello, then sent …               (up to where it has everything, then what it showed to whom)
//!  jitd       ─► snapshot, then notice, alive …   (the open grants, then every fact after that place, in order)
//! ```
//! A notice has the number of its fact in the trail, so that a reader that was away continues where it stopped and misses
//! nothing. A side that reads a version, a kind or a field that it does not know closes the connection.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use jit_core::grant::GrantId;

use crate::{DrainingView, GrantView};

/// The version of the notices. Both sides must have the same.
pub const VERSION: u32 = 1;

/// A document of `jit-notify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FromNotify {
    /// The first document.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// The number of the last fact that it has; `None` when it has none, and wants only what happens from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
    /// A channel took a text.
    Sent {
        /// The grant.
        grant: GrantId,
        /// The number of the fact that the text is about.
        number: u64,
        /// The channel, by its name in `notify.yaml`.
        channel: String,
        /// SHA-256 of the text that people read there, in hex.
        sha256: String,
    },
}

/// A document of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FromDaemon {
    /// The first document: what is open now.
    Snapshot {
        /// [`VERSION`].
        version: u32,
        /// The name of this host, as the certificates and the bindings have it.
        host: String,
        /// The number of the last fact in the trail.
        number: u64,
        /// Every open grant, with whom it concerns now.
        open: Vec<Open>,
        /// The drain in force, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        draining: Option<DrainingView>,
    },
    /// A fact of the trail.
    Notice(Box<Notice>),
    /// Nothing happened.
    Alive {
        /// The number of the last fact in the trail.
        number: u64,
    },
    /// The daemon does not accept this connection, and closes it.
    Refused {
        /// Why, for the log.
        why: String,
    },
}

/// An open grant, and whom it concerns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Open {
    /// The grant.
    pub grant: GrantView,
    /// Whom it concerns now.
    pub audience: Audience,
}

/// A fact of the trail, as others may be told about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notice {
    /// Its number in the trail.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The event's kind in the trail, such as `requested`.
    pub event: String,
    /// Who did it, `root` for root; `None` for the daemon itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The grant as it was after this fact; `None` for a fact of the daemon itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantView>,
    /// Whom it concerns.
    pub audience: Audience,
    /// What happened, in one plain sentence without markup.
    pub says: String,
}

/// Whom a fact concerns. Names of people and groups as the policy has them; where to reach them, `jit-notify` knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Audience {
    /// Groups of which somebody has to answer: the approvers of the step that is open, or the reviewers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_answer: Vec<String>,
    /// People who have to answer by name, such as those who owe a review.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_answer_people: Vec<String>,
    /// People for whom something changed: the requester.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_know: Vec<String>,
    /// It concerns the administrators: a drain, a revocation of everything, trouble with the trail or a cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub to_administrators: bool,
}

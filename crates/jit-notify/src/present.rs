//! What a board shows of a request: its present state, and what was shown of it before.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jit_core::grant::About;
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

/// What a board shows of a request: the messages that it sent. It is kept on the disk, so that a message is updated and not
/// posted twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shown {
    /// The number of the last fact in what is shown.
    pub number: u64,
    /// SHA-256 of the text that people read last, in hex.
    pub sha256: String,
    /// What that text is about; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<Subject>,
    /// Whether it asks somebody for an answer.
    pub asks: bool,
    /// The messages, by what they are about.
    pub messages: BTreeMap<Subject, Posted>,
}

/// What a message is about. Each is a message of its own, because people have to notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The request waits for an approval.
    Request,
    /// More time waits for an approval.
    Extension,
    /// Break-glass waits for a review.
    Review,
    /// What the requester has to know.
    News,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Request, Self::Extension, Self::Review, Self::News];

    /// What somebody has to answer.
    pub const QUESTIONS: [Self; 3] = [Self::Request, Self::Extension, Self::Review];

    /// The name, for the keys of messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        About::from(self).as_str()
    }
}

impl From<Subject> for About {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Request => Self::Request,
            Subject::Extension => Self::Extension,
            Subject::Review => Self::Review,
            Subject::News => Self::News,
        }
    }
}

/// A message that a board has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Posted {
    /// What the service calls the first message, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// SHA-256 of what people read there last, in hex.
    pub sha256: String,
    /// Whether it asks for an answer.
    pub open: bool,
    /// When it was posted.
    pub at: Timestamp,
    /// How many reminders followed.
    #[serde(default)]
    pub reminders: u32,
    /// Whether it is one line of a message about many requests, which is not changed any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub among_others: bool,
}

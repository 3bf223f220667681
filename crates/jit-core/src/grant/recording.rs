//! What is kept of what is done through the gateway, and until when nothing may be done.
//!
//! The terms are the rule's; the gateway carries them out, because only it sees the requests.

use serde::{Deserialize, Serialize};

use super::request::Window;

/// What the gateway keeps of what is done through a grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// Nothing.
    Off,
    /// Each request: what it does to what, when, from where, and how it ended. No content.
    #[default]
    Metadata,
    /// Also what an exec or attach prints. Without a recording there is no session.
    Required,
}

impl Record {
    /// The word for it, as in the files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Metadata => "metadata",
            Self::Required => "required",
        }
    }
}

/// The terms for what is done through the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionTerms {
    /// What is kept.
    #[serde(default)]
    pub record: Record,
    /// Whether a recording also has what the person types, passwords included.
    #[serde(default, skip_serializing_if = "is_false")]
    pub record_input: bool,
    /// How long a session may go on without a byte from or to the person; absent: as long as the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Window>,
}

impl SessionTerms {
    /// Whether an exec or attach may pass only if its content can be followed.
    #[must_use]
    pub fn follows_consoles(&self) -> bool {
        self.record == Record::Required || self.idle.is_some()
    }

    /// Whether these are the terms of a rule that says nothing about sessions, and of every grant of earlier trails.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Whether somebody was promised what only the gateway can keep: a recording, or an end when nobody does anything.
    #[must_use]
    pub fn need_gateway(&self) -> bool {
        self.record == Record::Required || self.record_input || self.idle.is_some()
    }

    /// What is recorded, for people: `each request, and what exec and attach print, but not what is typed`.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut says = match (self.record, self.record_input) {
            (Record::Off, _) => "nothing of what is done",
            (Record::Metadata, _) => "each request, without content",
            (Record::Required, false) => "each request, and what exec and attach print, but not what is typed",
            (Record::Required, true) => {
                "each request, what exec and attach print, and what is typed, passwords included"
            }
        }
        .to_owned();
        if let Some(idle) = self.idle {
            says.push_str(&format!("; a session without a byte for {idle} ends"));
        }
        says
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Where a gateway's log of a grant stands: whoever knows it can tell whether a line before it was changed or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogHead {
    /// How many lines it has.
    pub lines: u64,
    /// SHA-256 of the last one, hex. Each line has that of the line before it.
    pub sha256: String,
}

//! What was read and verified of the files that `jit-gateway` keeps: the log of a grant, and its recordings.

use jiff::Timestamp;
use jit_core::grant::request::ClusterName;
use jit_core::grant::{GrantId, LogHead, Reading, SessionTerms};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::session::{Asked, Outcome};

/// What the logs of several grants say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogList {
    /// The logs, of the grant that was requested last first.
    pub grants: Vec<GrantLog>,
    /// Grants whose logs could not be read, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableLog>,
    /// Where to continue, as `from`; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A log that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnreadableLog {
    /// The grant.
    #[schema(value_type = String)]
    pub grant: GrantId,
    /// Why.
    pub why: String,
}

/// What the log of a grant says, as far as it verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantLog {
    /// The grant.
    #[schema(value_type = String)]
    pub grant: GrantId,
    /// The user in its certificates, `jit:<person>`; none if not even the first line verifies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its cluster.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// What was to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<SessionTerms>,
    /// The last line that verifies.
    pub head: LogHead,
    /// What is wrong with the line after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The requests that were selected, in the order in which they began.
    pub requests: Vec<LoggedRequest>,
    /// How many were not selected.
    pub others: u64,
    /// How many were selected, but not held, because together they are too long.
    pub left_out: u64,
}

/// A request that the gateway logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoggedRequest {
    /// Its id, which is also the `auditID` of its event in the API server's audit log.
    pub id: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What it asks for.
    pub asked: Asked,
    /// Whether the log says that there is a recording.
    pub recorded: bool,
    /// How it ended; none if the log does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// How far its recording verifies; none if there is no recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Checked>,
}

/// How much of a recording verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// How many bytes the file has.
    pub bytes: u64,
    /// How many of them, from the beginning, are what the log says.
    pub verified: u64,
    /// Their SHA-256, hex; empty if there are none.
    pub sha256: String,
    /// What is wrong with the rest; none if the log says nothing about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// It was not compared with the log: one answer compares only so many bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
}

/// How a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everything about it verifies.
    Verified,
    /// The log has no end of it: it goes on, or the gateway was killed and has not started again. What there is verifies.
    Open,
    /// Something about it does not verify.
    Broken,
    /// Its recording was not compared with the log.
    Skipped,
}

impl LoggedRequest {
    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (&self.recording, &self.outcome) {
            (Some(Checked { fault: Some(_), .. }), _) => Standing::Broken,
            (Some(Checked { skipped: true, .. }), _) => Standing::Skipped,
            (_, None) => Standing::Open,
            (_, Some(_)) => Standing::Verified,
        }
    }
}

impl GrantLog {
    /// The person, without the prefix of the user.
    #[must_use]
    pub fn person(&self) -> &str {
        self.user.as_deref().map_or("-", |user| user.strip_prefix("jit:").unwrap_or(user))
    }
}

/// The media type of a recording (<https://docs.asciinema.org/manual/asciicast/v2/>).
pub const ASCIICAST: &str = "application/x-asciicast";

/// What an operator reads on the bastion without the daemon, for the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReadingBody {
    /// The grant, by its whole id.
    #[schema(value_type = String)]
    pub grant: GrantId,
    /// `list`, `log` or `recording`.
    pub what: Reading,
    /// The session, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

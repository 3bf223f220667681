//! A refusal or a failure: the daemon's answer, and what a program writes to stderr with `-o json`.
//!
//! [`ErrorCode`] describes the daemon's codes.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::code::{ErrorCode, Exit};

/// A refusal or a failure: RFC 9457 `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The stable code for scripts.
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// One sentence for people.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// The seconds to wait before trying again, as in the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// Why a program failed, as it writes it to stderr with `-o json`: a problem document (RFC 9457), the last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureView {
    /// The stable code for scripts: one of the daemon's, or `usage` for a wrong command line or file, `failed`,
    /// `unreachable`, `wrong-server` or `protocol`; of `jit-login` also the outcome, such as `denied` or `timed-out`.
    pub code: String,
    /// The HTTP status, if the daemon answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What is wrong, in one sentence for people; several faults are lines of their own.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// The seconds to wait before trying again, if the daemon says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl FailureView {
    /// A failure of the program itself.
    #[must_use]
    pub fn own(code: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: code.to_owned(), status: None, detail: detail.into(), hint: hint.into(), retry_after: None }
    }

    /// The same, if the daemon's answer is why.
    #[must_use]
    pub fn answered(self, problem: &Problem) -> Self {
        Self { status: Some(problem.status), retry_after: problem.retry_after, ..self }
    }
}

impl fmt::Display for FailureView {
    /// The JSON, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Problem {
    /// A problem with its code and a sentence.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code: code.as_str().to_owned(),
            status: code.status(),
            detail: detail.into(),
            hint: String::new(),
            retry_after: None,
        }
    }

    /// The same problem, with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same problem, with the seconds to wait before trying again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The code; none if it belongs to a later version. Such an error still has to be shown.
    #[must_use]
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::of(&self.code)
    }

    /// The exit of `jit-login` for it. For a code of a later version, the status decides.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match (self.known(), self.status) {
            (Some(code), _) => code.exit(),
            (None, 400 | 404 | 405 | 413 | 415 | 422) => Exit::Usage,
            (None, 500..) => Exit::Failed,
            (None, _) => Exit::Refused,
        }
    }
}

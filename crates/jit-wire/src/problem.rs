//! The answer for a refusal or a failure.
//!
//! [`ErrorCode`] describes the codes.

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

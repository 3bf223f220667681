//! A refusal or a failure, as it is answered.
//!
//! What a code stands for, [`ErrorCode`] says.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::code::{ErrorCode, Exit};

/// A refusal or a failure: RFC 9457 `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The stable code; scripts compare this.
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// One sentence for a person.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// After how many seconds another try may have another answer, as in the header `Retry-After`.
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

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same with the seconds after which to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The code; none when it is one of a later version. Such an error has to reach its reader too.
    #[must_use]
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::of(&self.code)
    }

    /// How `jit-login` ends on it. A code of a later version is placed by its status.
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

//! Why a directory said nothing about a person.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use jit_dial::{DialError, ExchangeError};
use jit_host::hint::Hint;
use jit_host::secret::SecretError;

use super::ANSWERS_WITHIN;

/// Why a directory said nothing about a person. `from` is a URL without its query.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The secret of our client cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The secret of our client is still being read.
    #[error("the file of the secret does not answer")]
    SecretSilent,
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] ExchangeError),
    /// All of it together took too long.
    #[error("it did not answer within {} s", ANSWERS_WITHIN.as_secs())]
    Slow,
    /// A status that is no answer; a redirect, too.
    #[error("{from} was answered with {status}")]
    Status {
        /// What was asked.
        from: String,
        /// The status.
        status: StatusCode,
        /// How long it wants us to wait.
        retry_after: Option<Duration>,
    },
    /// The answer has another form.
    #[error("the answer of {from} {why}")]
    Form {
        /// What was asked.
        from: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The person cannot be asked about.
    #[error("the subject of the person is none of this directory's ids")]
    Subject,
}

impl DirectoryError {
    /// How long the directory wants us to wait (RFC 9110 section 10.2.3).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The same for somebody who asked for something else: no address, and nobody's id.
    #[must_use]
    pub fn in_short(&self) -> String {
        let text = match self {
            Self::Secret(_) | Self::SecretSilent => "the secret for it cannot be read",
            Self::Unanswered(ExchangeError::Unreachable(DialError::NoAuthority)) => {
                "this host trusts no certificate authority"
            }
            Self::Slow | Self::Unanswered(ExchangeError::Slow { .. }) => "it does not answer in time",
            Self::Unanswered(ExchangeError::Unreachable(_)) => "it cannot be reached",
            Self::Unanswered(_) => "its answers break off, or never end",
            Self::Status { status, .. } => return format!("it answers {}", status.as_u16()),
            Self::Form { .. } | Self::Subject => "its answers have another form than documented",
        };
        text.to_owned()
    }

    /// Whether it is about one person only, and the directory may well answer about another one.
    #[must_use]
    pub fn is_about_one(&self) -> bool {
        matches!(self, Self::Subject | Self::Form { .. })
    }
}

impl Hint for DirectoryError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unanswered(error) => error.hint(),
            Self::Status { status: StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED, .. } => {
                Some("check `clientId` and the secret".into())
            }
            Self::Status { status: StatusCode::FORBIDDEN, .. } => {
                Some("the client lacks the right to read people and their groups".into())
            }
            Self::Status { status: StatusCode::NOT_FOUND, .. } => Some("check `url`".into()),
            _ => None,
        }
    }
}

//! What became of one attempt to tell a receiver something.

use std::time::Duration;

use jiff::Timestamp;

use crate::http::{Answer, SendError};

/// What became of one attempt.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it.
    Delivered {
        /// What the receiver calls it, such as the id of a message that can be updated.
        remote: Option<String>,
    },
    /// It may be taken another time.
    Later {
        /// How long the receiver wants us to wait at least.
        after: Option<Duration>,
        /// Why, in words for `jit-notify status`. It contains no secret.
        why: String,
    },
    /// The receiver will never take it: it is parked, and what comes after it goes on.
    Refused {
        /// Why, as above.
        why: String,
    },
    /// The receiver wants nothing any more: the channel is off until the program is started again.
    Off {
        /// Why, as above.
        why: String,
    },
}

impl Outcome {
    /// What an answer means by its status alone: 2xx is delivered, 410 is off (Standard Webhooks 1.0), 408, 425, 429 and 5xx
    /// are later, and everything else is final. A redirect is final too, because we follow none.
    pub fn of(answer: &Answer, now: Timestamp) -> Self {
        let why = answer.describe();
        match answer.status {
            200..300 => Self::Delivered { remote: None },
            410 => Self::Off { why },
            408 | 425 | 429 | 500.. => Self::Later { after: answer.retry_after(now), why },
            _ => Self::Refused { why },
        }
    }
}

impl From<SendError> for Outcome {
    fn from(error: SendError) -> Self {
        Self::Later { after: None, why: error.to_string() }
    }
}

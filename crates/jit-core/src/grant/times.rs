//! Default time limits for requests whose rule has none, the life of a certificate, and the rate limits of an account.
//!
//! It reads no clock. The configuration sets the values; the broker enforces the time limits, the API the rate limits.

use std::num::NonZeroU32;

use super::request::Window;

/// The time limits of a request, and the longest life of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a request waits for an answer.
    pub answer: Window,
    /// How long an approval waits to be collected.
    pub collect: Window,
    /// The longest life of one certificate inside the window, unless the grant's terms say otherwise.
    pub certificate: Window,
}

/// How often one account may call per minute, at once or spread over the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Calls of any kind.
    pub calls: NonZeroU32,
    /// Requests and explanations.
    pub requests: NonZeroU32,
    /// Certificates, first ones and renewals.
    pub certificates: NonZeroU32,
}

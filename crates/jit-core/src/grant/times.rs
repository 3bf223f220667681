//! How long a request waits, where its rule does not say, how long one certificate lives, and how often an account may
//! call.
//!
//! It reads no clock. The configuration says the times and the rates; the broker keeps the ones, the API the others.

use std::num::NonZeroU32;

use super::request::Window;

/// The clocks of a request, and the longest life of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a request waits for an answer.
    pub answer: Window,
    /// How long an approval waits to be collected.
    pub collect: Window,
    /// The longest life of one certificate inside the window, where the grant's terms do not say.
    pub certificate: Window,
}

/// How often one account may call in a minute: all at once, or spread over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Calls of any kind.
    pub calls: NonZeroU32,
    /// Requests, and questions what would be said to one.
    pub requests: NonZeroU32,
    /// Certificates: collected or renewed.
    pub certificates: NonZeroU32,
}

//! How long a request waits, where its rule does not say, and how long one certificate lives.
//!
//! It reads no clock. The configuration says the times, and the broker keeps them.

use super::request::Window;

/// The clocks of a request, and the longest life of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a request waits for an answer.
    pub answer: Window,
    /// How long an approval waits to be collected.
    pub collect: Window,
    /// The longest life of one certificate inside the window.
    pub certificate: Window,
}

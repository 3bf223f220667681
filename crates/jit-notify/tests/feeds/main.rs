//! The feeds, before receivers that are down, slow, hostile, or cut off in between.
//!
//! ```text
//!  daemon.rs, in the place of jitd ══ notices ══► the real jit-notify ──► receiver.rs, or a program
//! ```
//! The daemon is a fake, because the real one does not say ten thousand facts on demand. What the real one says is tested in
//! `tests/it` of the workspace.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails loudly, and reads the clock"
)]

mod daemon;
mod hostile;
#[path = "../../../../tests/support/receiver.rs"]
mod receiver;
mod verified;

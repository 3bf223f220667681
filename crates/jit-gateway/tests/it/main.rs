//! The gateway itself, its listener and its link to `jitd`, before an API server that misbehaves.
//!
//! ```text
//!  client.rs ══ TLS, certificate of a grant ══► jit-gateway ══ TLS ══► fake.rs
//!                                                   ║
//!                                               front.rs, in the place of jitd: what is live, what ended
//! ```
//! The API server is a fake, because a real one does none of this on demand: it breaks answers off, sends GOAWAY, ends an
//! exec without saying how, or falls silent. What works through the gateway is tested before a real one (`tests/it` of the
//! workspace).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

mod answers;
mod client;
mod consoles;
mod fake;
mod floods;
mod front;
mod goaway;
mod idle;
mod silence;
mod windows;

//! The front end itself, as a process, before a `jitd` and an identity provider that are fakes.
//!
//! ```text
//!  client.rs ══ TLS, a key ══► jit-frontend ══ introduction, HTTP ══► front.rs, in the place of jitd
//!                                   ╚══ TLS ══► issuer.rs, in the place of the provider: discovery, keys
//! ```
//! The fakes say what they were told, and fail on demand. A real `jitd` and a real provider are tested in `tests/it` of the
//! workspace.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

mod client;
mod floods;
mod front;
mod hostile;
#[path = "../../../../tests/support/issuer.rs"]
mod issuer;
mod logouts;
mod sessions;

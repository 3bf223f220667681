//! Who a token of an identity provider is about.
//!
//! ```text
//!  provider.rs: the rule of one provider ───────────┐
//!  fetch.rs ─► source.rs: its keys over time ──────┐│
//!  ID token     ─► jws.rs: form, header, signature ─► verify.rs: every claim ─► Person, or a Refusal
//!  logout token ─►                                 ─► logout.rs: every claim ─► Logout, or a Refusal
//! ```
//! - [`algorithm`]: the signatures that can be accepted; [`keys`]: the public keys of a provider
//! - [`jws`]: a signed token (RFC 7515), and its payload once the signature is verified
//! - [`provider`]: what an administrator configures; [`verify()`]: the checks of an ID token (OpenID Connect Core 1.0,
//!   section 3.1.3.7, and more); [`person`]: what they establish; [`refusal`]: which check failed
//! - [`logout`]: the checks of a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.6), and what they establish
//! - [`fetch`]: gets the keys from the provider; [`source`]: when, and for how long they count
//!
//! Only `fetch` and `source` do I/O.
//! Nothing in a token is followed: no URL, no key, no reference to other claims. Whatever is unknown, of another type or
//! there twice is refused. A refusal names the check and never repeats the token.

pub mod algorithm;
pub mod fetch;
mod json;
pub mod jws;
pub mod keys;
pub mod logout;
pub mod person;
pub mod provider;
pub mod refusal;
#[cfg(test)]
#[path = "../tests/signer/mod.rs"]
mod signer;
pub mod source;
mod verify;

pub use self::algorithm::Algorithm;
pub use self::fetch::Fetcher;
pub use self::jws::Kind;
pub use self::keys::KeySet;
pub use self::logout::{Logout, verify_logout};
pub use self::person::Person;
pub use self::provider::{Provider, Providers};
pub use self::refusal::Refusal;
pub use self::source::Source;
pub use self::verify::{unverified_issuer, verify};

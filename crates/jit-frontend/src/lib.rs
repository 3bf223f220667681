//! `jit-frontend`: lets people of identity providers call `jitd` over TLS.
//!
//! ```text
//!  jit-login ══ TLS, client certificate ══► listener ─► routes ─► sessions (who has this key)
//!                                                         │  └──► tokens (a new session: the ID token is verified)
//!                                                         └─► daemon ══ introduction, then HTTP ══► jitd
//!  identity provider ══ TLS ═══════════════► listener ─► logout ─► tokens, sessions, daemon ══ who was logged out ══► jitd
//! ```
//! - [`config`]: the front end's own file; [`certificate`]: the serving certificate, which can be replaced while it runs
//! - [`listener`]: connections, from the handshake to their end; [`network`]: which addresses are one host's
//! - [`client_key`]: the key that a client proves
//! - [`routes`]: what each request is answered; [`answer`]: the front end's own answers
//! - [`logout`]: what follows when a provider ends a login
//! - [`sessions`]: who has proved with which key who they are; [`tokens`]: verifies ID tokens and logout tokens
//! - [`daemon`]: one connection to `jitd`, of one caller or with one logout
//!
//! It parses the TLS, HTTP and tokens of strangers, so it is a process and an account of its own: the issuing keys are in
//! `jitd`'s. It decides who somebody is, and nothing about what they may do.
//!
//! # Why a client certificate
//! A client proves its key in the TLS handshake, with a certificate that it signs itself; only the key in it counts. So a
//! request costs no further signature, covers method, path and body without a second canonical form of them, and cannot be
//! replayed on another connection. TLS 1.3 only, so that the certificate is not sent in the clear. A proxy that terminates
//! TLS cannot stand in between, which is intended. A connection without one serves a provider's logout, one request, and
//! nothing else.

pub mod answer;
pub mod certificate;
pub mod client_key;
pub mod config;
pub mod daemon;
pub mod listener;
pub mod logout;
pub mod network;
pub mod routes;
pub mod sessions;
pub mod tokens;

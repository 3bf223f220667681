//! A policy as it comes into force: with what tells the trail which bytes it was made of.
//!
//! It reads no file. The configuration makes it, and the broker takes it up.

use super::Policy;

/// A policy, and which bytes it was read from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The policy, with its guardrails.
    pub policy: Policy,
    /// SHA-256 of the policy's file, hex.
    pub policy_sha256: String,
    /// SHA-256 of the guardrails' file, hex; none without a file.
    pub guardrails_sha256: Option<String>,
}

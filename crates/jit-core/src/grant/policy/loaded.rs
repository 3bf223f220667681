//! A loaded policy, with the digests of its files for the trail.
//!
//! It reads no file. The configuration creates it, and the broker uses it.

use super::Policy;

/// A policy with the digests of its files.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The policy, with its guardrails.
    pub policy: Policy,
    /// SHA-256 of the policy file, hex.
    pub policy_sha256: String,
    /// SHA-256 of the guardrails file, hex; `None` without a file.
    pub guardrails_sha256: Option<String>,
}

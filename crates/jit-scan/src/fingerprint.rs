//! Recognises a finding in the next scan.
//!
//! Baselines, exceptions and code scanning compare findings by it, so the same standing access keeps its fingerprint when a
//! binding is renamed or the path to it changes.

use std::fmt;

use jit_core::rbac::digest::sha256_hex;
use serde::{Deserialize, Serialize};

use crate::finding::Finding;

/// What is wrong and who has it, as 16 hex digits: a digest of the finding's id, its subject and, where the finding is about
/// an object instead of a right, that object. Where it holds and how severe it is are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a finding.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        let object = ABOUT_AN_OBJECT
            .contains(&finding.id.as_str())
            .then(|| finding.path.first().map(|hop| hop.object.as_str()))
            .flatten();
        let subject = finding.subject.as_ref().map(|subject| (subject.kind, &subject.namespace, &subject.name));
        // JSON keeps the parts apart, whatever is in a name; a tuple of texts can't fail to become JSON.
        let text = serde_json::to_string(&(&finding.id, subject, object)).unwrap_or_default();
        let mut digits = sha256_hex(text.as_bytes());
        digits.truncate(16);
        Self(digits)
    }

    /// The 16 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The credentials that an object or a file contains, and the unused roles. Other findings are about rights, whatever grants them.
const ABOUT_AN_OBJECT: &[&str] = &["L01", "L02", "L03", "L04", "L05", "H02"];

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

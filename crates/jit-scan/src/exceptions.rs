//! Findings that somebody accepts, for a reason and until a date.
//!
//! An exception accepts one finding as it was when the exception was written: if the access becomes wider or more severe, it
//! is reported again.

use jiff::civil::Date;
use jit_core::rbac::risk::Severity;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::finding::Finding;
use crate::fingerprint::Fingerprint;
use crate::report::IdleException;

/// A file of exceptions: YAML with the list `exceptions`.
#[derive(Clone, Debug, Default)]
pub struct Exceptions(Vec<Exception>);

/// An accepted finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The fingerprint of the finding.
    #[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
    pub finding: Fingerprint,
    /// The worst severity that is accepted.
    pub severity: Severity,
    /// The namespaces in which it is accepted; empty for the whole cluster. Written as `cluster` or as a list.
    #[serde(deserialize_with = "scope")]
    pub scope: Vec<String>,
    /// Who answers for it.
    pub owner: String,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it is accepted, in UTC.
    #[schema(value_type = String, format = Date)]
    pub expires: Date,
}

/// Why a file contains no exceptions.
#[derive(Debug, Error)]
pub enum NotExceptions {
    /// It is not YAML, or it has other keys.
    #[error("{0}")]
    Malformed(String),
    /// An exception without owner or reason.
    #[error("the exception for `{0}` has an empty `{1}`")]
    Empty(String, &'static str),
    /// Two exceptions for one finding, of which one would never count.
    #[error("there are two exceptions for `{0}`")]
    Twice(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    exceptions: Vec<Exception>,
}

/// `cluster`, or at least one namespace: an empty list is more likely a mistake than the whole cluster.
fn scope<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Word(String),
        List(Vec<String>),
    }
    match Written::deserialize(from)? {
        Written::Word(word) if word == "cluster" => Ok(Vec::new()),
        Written::List(namespaces) if !namespaces.is_empty() => Ok(namespaces),
        _ => Err(serde::de::Error::custom("`scope` is `cluster` or a list of namespaces")),
    }
}

impl Exceptions {
    /// Parses a file of exceptions.
    ///
    /// # Errors
    /// If it is not such a file, if an owner or a reason is missing, or if two exceptions are for the same finding.
    pub fn parse(yaml: &str) -> Result<Self, NotExceptions> {
        let file: File =
            serde_saphyr::from_str(yaml).map_err(|why| NotExceptions::Malformed(first_line(&why.to_string())))?;
        let mut seen = std::collections::BTreeSet::new();
        for exception in &file.exceptions {
            let finding = || exception.finding.to_string();
            for (text, key) in [(&exception.owner, "owner"), (&exception.reason, "reason")] {
                if text.trim().is_empty() {
                    return Err(NotExceptions::Empty(finding(), key));
                }
            }
            if !seen.insert(&exception.finding) {
                return Err(NotExceptions::Twice(finding()));
            }
        }
        Ok(Self(file.exceptions))
    }

    /// The exception that accepts a finding today.
    pub(crate) fn accepts(&self, fingerprint: &Fingerprint, finding: &Finding, today: Date) -> Option<&Exception> {
        self.0.iter().find(|one| {
            let whole = one.scope.is_empty();
            let here =
                whole || (!finding.scope.is_empty() && finding.scope.iter().all(|name| one.scope.contains(name)));
            one.finding == *fingerprint && one.expires >= today && finding.severity <= one.severity && here
        })
    }

    /// Those that accept nothing, and why.
    pub(crate) fn idle(
        &self,
        used: &[&Exception],
        today: Date,
        found: impl Fn(&Fingerprint) -> bool,
    ) -> Vec<IdleException> {
        let idle = self.0.iter().filter(|one| !used.iter().any(|used| used.finding == one.finding));
        idle.map(|one| {
            let why = if !found(&one.finding) {
                "nothing was found that it accepts".to_owned()
            } else if one.expires < today {
                format!("it expired on {}", one.expires)
            } else {
                "the finding has become more severe or wider than what it accepts".to_owned()
            };
            IdleException { exception: one.clone(), why }
        })
        .collect()
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

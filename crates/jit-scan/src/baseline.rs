//! An earlier report: only what is new since then fails, and what is gone is a success.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::rbac::risk::Severity;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::finding::Finding;
use crate::fingerprint::Fingerprint;
use crate::report::{Document, Entry};

/// The version of the JSON that this program writes and reads.
pub(crate) const FORMAT: &str = "jitd-scan/1";

/// The findings of an earlier report, as `jitd scan -o json` wrote them.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    findings: BTreeMap<Fingerprint, Vec<Kept>>,
}

/// What a baseline keeps of a finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Kept {
    /// Recognises it.
    #[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
    pub fingerprint: Fingerprint,
    /// A row of the catalogue, or one of the scan's own.
    pub id: String,
    /// How severe it was.
    pub severity: Severity,
    /// What was wrong.
    pub title: String,
    /// Who had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<KeptSubject>,
    /// In which namespaces; empty for the whole cluster.
    pub scope: Vec<String>,
}

/// Who had a finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct KeptSubject {
    /// `User`, `Group` or `ServiceAccount`.
    #[schema(pattern = "^(User|Group|ServiceAccount)$")]
    pub kind: String,
    /// The namespace of a service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// Why a file is no baseline.
#[derive(Debug, Error)]
pub enum NotABaseline {
    /// It is not the JSON of a report.
    #[error("it is not what `jitd scan -o json` writes: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error("its `format` is `{0}`, and this version reads `{FORMAT}`")]
    Format(String),
}

/// The format is read before anything else, so that a later version's file is not called malformed.
#[derive(Deserialize)]
struct Head {
    format: String,
}

#[derive(Deserialize)]
struct File {
    findings: Vec<Kept>,
}

impl Baseline {
    /// Reads what `jitd scan -o json` wrote.
    ///
    /// # Errors
    /// If it is something else, or another version wrote it.
    pub fn parse(json: &[u8]) -> Result<Self, NotABaseline> {
        let head: Head = serde_json::from_slice(json)?;
        if head.format != FORMAT {
            return Err(NotABaseline::Format(head.format));
        }
        let File { findings } = serde_json::from_slice(json)?;
        Ok(findings.into_iter().collect())
    }

    /// Whether it contains the finding, at least as severe and at least as wide. Access that has grown is new.
    pub(crate) fn has(&self, fingerprint: &Fingerprint, finding: &Finding) -> bool {
        self.covers(fingerprint, finding.severity, &finding.scope)
    }

    fn covers(&self, fingerprint: &Fingerprint, severity: Severity, scope: &[String]) -> bool {
        let kept = self.findings.get(fingerprint).map(Vec::as_slice).unwrap_or_default();
        let mut before = kept.iter().filter(|kept| kept.severity >= severity).peekable();
        if before.peek().is_none() {
            return false;
        }
        let before: Vec<&Kept> = before.collect();
        if before.iter().any(|kept| kept.scope.is_empty()) {
            return true;
        }
        let namespaces: BTreeSet<&String> = before.iter().flat_map(|kept| &kept.scope).collect();
        !scope.is_empty() && scope.iter().all(|namespace| namespaces.contains(namespace))
    }

    /// What it contains, and the entries do not.
    pub(crate) fn without(&self, entries: &[Entry]) -> Vec<Kept> {
        let found: BTreeSet<&Fingerprint> = entries.iter().map(|entry| &entry.fingerprint).collect();
        self.findings.iter().filter(|(known, _)| !found.contains(known)).flat_map(|(_, kept)| kept.clone()).collect()
    }
}

impl FromIterator<Kept> for Baseline {
    fn from_iter<I: IntoIterator<Item = Kept>>(all: I) -> Self {
        let mut findings: BTreeMap<Fingerprint, Vec<Kept>> = BTreeMap::new();
        for kept in all {
            findings.entry(kept.fingerprint.clone()).or_default().push(kept);
        }
        Self { findings }
    }
}

/// What differs between two reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Difference {
    /// What only the newer one has, or has with a higher severity or in more places.
    pub new: Vec<Kept>,
    /// What only the older one has.
    pub gone: Vec<Kept>,
    /// What both have: how many findings of the newer one.
    pub unchanged: usize,
}

impl Difference {
    /// What changed from one report to the next. Both worst first.
    #[must_use]
    pub fn between(old: &Baseline, new: &Baseline) -> Self {
        let all = |side: &Baseline| -> Vec<Kept> { side.findings.values().flatten().cloned().collect() };
        let is_new = |kept: &Kept| !old.covers(&kept.fingerprint, kept.severity, &kept.scope);
        let (added, kept): (Vec<Kept>, Vec<Kept>) = all(new).into_iter().partition(is_new);
        let mut difference = Self {
            new: added,
            gone: all(old).into_iter().filter(|kept| !new.findings.contains_key(&kept.fingerprint)).collect(),
            unchanged: kept.len(),
        };
        for side in [&mut difference.new, &mut difference.gone] {
            side.sort_by(|one, other| other.severity.cmp(&one.severity).then_with(|| one.cmp(other)));
        }
        difference
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty()
    }
}

impl From<&Document> for Baseline {
    fn from(document: &Document) -> Self {
        document.entries.iter().map(Kept::from).collect()
    }
}

impl From<&Entry> for Kept {
    fn from(entry: &Entry) -> Self {
        let finding = &entry.finding;
        Self {
            fingerprint: entry.fingerprint.clone(),
            id: finding.id.clone(),
            severity: finding.severity,
            title: finding.title.clone(),
            subject: finding.subject.as_ref().map(|subject| KeptSubject {
                kind: format!("{:?}", subject.kind),
                namespace: subject.namespace.clone(),
                name: subject.name.clone(),
            }),
            scope: finding.scope.clone(),
        }
    }
}

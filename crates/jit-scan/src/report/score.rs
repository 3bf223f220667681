//! Orders findings of one severity: a number from 1 to 99, and what it consists of.
//!
//! The number never contradicts the severity: each severity has a range of its own.

use jit_core::rbac::risk::Severity;
use serde::Serialize;
use utoipa::ToSchema;

use crate::finding::{Finding, Kind, Subject};

/// How urgent a finding is, 1 to 99.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Score {
    /// The number.
    #[schema(minimum = 1, maximum = 99)]
    pub value: u8,
    /// What adds up to it, such as `critical 80`, `everybody has it +9`.
    pub because: Vec<String>,
}

impl Score {
    pub(super) fn of(finding: &Finding) -> Self {
        let base = base(finding.severity);
        let mut score = Self { value: base, because: vec![format!("{} {base}", finding.severity)] };
        if let Some((points, why)) = finding.subject.as_ref().and_then(breadth) {
            score.add(points, why);
        }
        if finding.scope.is_empty() {
            score.add(WHOLE_CLUSTER, "in the whole cluster");
        }
        if finding.path.len() <= DIRECT {
            score.add(ONE_STEP, "in one step");
        }
        score
    }

    fn add(&mut self, points: u8, why: &str) {
        self.value = self.value.saturating_add(points);
        self.because.push(format!("{why} +{points}"));
    }
}

/// The distance to the next one is more than all that can be added, 18.
const fn base(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 1,
        Severity::Medium => 21,
        Severity::High => 41,
        // Every cluster has kinds of its own, which most roles only read, so what is known to control it comes first.
        Severity::Unclassified => 61,
        Severity::Critical => 81,
    }
}

const WHOLE_CLUSTER: u8 = 5;
const ONE_STEP: u8 = 4;
/// A binding, and the role that it binds.
const DIRECT: usize = 2;

/// Whether far more people than those who were meant have it.
fn breadth(subject: &Subject) -> Option<(u8, &'static str)> {
    match (subject.kind, subject.name.as_str()) {
        (Kind::User, "system:anonymous") | (Kind::Group, "system:unauthenticated") => {
            Some((9, "whoever reaches the API server has it"))
        }
        (Kind::Group, "system:authenticated") => Some((8, "everybody with credentials has it")),
        (Kind::Group, "system:serviceaccounts") => Some((7, "every service account has it")),
        (Kind::Group, name) if name.starts_with("system:serviceaccounts:") => {
            Some((3, "every service account of a namespace has it"))
        }
        (Kind::Group, _) => Some((1, "a group has it")),
        _ => None,
    }
}

//! The cases under `tests:` in `policy.yaml`: a question each, and the answer that it has to get.
//!
//! Only what is asked and expected; `jitd policy test` asks them.

use jiff::Timestamp;

use super::pattern::Labels;
use crate::grant::request::{Ask, Person};
use crate::grant::role::Rule;

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The line of the file in which it begins.
    pub line: usize,
    /// Who asks.
    pub person: Person,
    /// For what.
    pub ask: Ask,
    /// When; absent is a moment of the runner's choice.
    pub now: Option<Timestamp>,
    /// The labels of namespaces; one that is not here is unknown.
    pub labels: Labels,
    /// The rules of the asked role, for its risk.
    pub role_rules: Option<Vec<Rule>>,
    /// What has to come out.
    pub outcome: Outcome,
    /// What has to decide: a rule, a denial or a guardrail.
    pub rule: Option<String>,
    /// What the sentence has to contain.
    pub says: Option<String>,
}

/// What has to come out of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// People are asked.
    Ask,
    /// Nobody is asked, it is given.
    PreApproved,
    /// It is refused.
    Deny,
}

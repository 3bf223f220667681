//! The cases under `tests:` in `policy.yaml`: questions with their expected answers.
//!
//! `jitd policy test` and `jitd check` run them. A case contains its own labels and rules and needs no cluster.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::Policy;
use super::answer::{Answer, Outcome, Question};
use super::pattern::Labels;
use crate::grant::request::{AccessRequest, Person};
use crate::rbac::role::Rule;

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The case's name: what it shows.
    pub name: String,
    /// The line of the file in which it begins.
    pub line: usize,
    /// The requester.
    pub person: Person,
    /// The request.
    pub ask: AccessRequest,
    /// The time; only needed if the request has a start.
    pub now: Option<Timestamp>,
    /// The labels of namespaces; those of any other namespace are unknown.
    pub labels: Labels,
    /// The rules of the requested role, for its risk.
    pub role_rules: Option<Vec<Rule>>,
    /// The expected outcome.
    pub outcome: Outcome,
    /// What is expected to decide: a rule, a denial or a guardrail.
    pub rule: Option<String>,
    /// Expected texts, each of which one of the answer's sentences must contain.
    pub says: Vec<String>,
}

/// The result of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tested {
    /// The case's name.
    pub name: String,
    /// The line of the file in which it begins.
    pub line: usize,
    /// Whether the answer was as expected.
    pub passed: bool,
    /// The expected answer; absent keys are not compared.
    pub expected: Expected,
    /// The actual answer.
    pub came: Expected,
}

/// An answer in the words of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Expected {
    /// The outcome.
    pub outcome: Outcome,
    /// What decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The sentences of the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub says: Vec<String>,
}

impl fmt::Display for Expected {
    /// `deny by `freeze`, saying `not now``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.outcome)?;
        if let Some(rule) = &self.rule {
            write!(f, " by `{rule}`")?;
        }
        if !self.says.is_empty() {
            write!(f, ", saying `{}`", self.says.join("`, `"))?;
        }
        Ok(())
    }
}

impl Case {
    /// Runs the case.
    #[must_use]
    pub fn test(&self, policy: &Policy) -> Tested {
        let question = Question {
            person: &self.person,
            ask: &self.ask,
            now: self.now.unwrap_or(Timestamp::UNIX_EPOCH),
            labels: &self.labels,
            rules: self.role_rules.as_deref(),
        };
        let answer = policy.answer(&question);
        let said: Vec<String> = match &answer.terms {
            Some(terms) => terms.sentences().iter().map(|(word, said)| format!("{word} {said}")).collect(),
            None => vec![answer.says.clone()],
        };
        let Answer { outcome, by, .. } = answer;
        let passed = outcome == self.outcome
            && (self.rule.is_none() || self.rule == by)
            && self.says.iter().all(|part| said.iter().any(|sentence| sentence.contains(part)));
        Tested {
            name: self.name.clone(),
            line: self.line,
            passed,
            expected: Expected { outcome: self.outcome, rule: self.rule.clone(), says: self.says.clone() },
            came: Expected { outcome, rule: by, says: said },
        }
    }
}

//! The cases under `tests:` in `policy.yaml`: a question each, and the answer that it has to get.
//!
//! `jitd policy test` and `jitd check` ask them. A case knows its own labels and rules and no cluster.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::Policy;
use super::answer::{Answer, Outcome, Question};
use super::pattern::Labels;
use crate::grant::request::{AccessRequest, Person};
use crate::rbac::role::Rule;

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
    pub ask: AccessRequest,
    /// When; it is there where the start depends on it, and nothing else does.
    pub now: Option<Timestamp>,
    /// The labels of namespaces; one that is not here is unknown.
    pub labels: Labels,
    /// The rules of the asked role, for its risk.
    pub role_rules: Option<Vec<Rule>>,
    /// What has to come out.
    pub outcome: Outcome,
    /// What has to decide: a rule, a denial or a guardrail.
    pub rule: Option<String>,
    /// What its sentences have to contain, each text in one of them.
    pub says: Vec<String>,
}

/// What a case expected and what came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tested {
    /// The case's name.
    pub name: String,
    /// The line of the file in which it begins.
    pub line: usize,
    /// Whether all that was expected came.
    pub passed: bool,
    /// What the file says; a key that is not there is not compared.
    pub expected: Expected,
    /// What came.
    pub came: Expected,
}

/// An answer in the words of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// What comes out.
    pub outcome: Outcome,
    /// What decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What is said.
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
    /// Asks the policy.
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

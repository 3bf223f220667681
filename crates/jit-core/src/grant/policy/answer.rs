//! Decisions without a cluster: what the policy answers to a question, and which rules are near.
//!
//! The steps and their order are those of the daemon. The caller supplies what only the cluster knows. Unknown labels
//! count as not matching. The risk of an unknown role is not assessed; it could only make the answer stricter. `jitd
//! policy explain` and the policy's own tests call it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::pattern::Labels;
use super::rule::{Labelled, Words};
use super::{Denial, Known, Policy, Terms, Usage, judge};
use crate::grant::refusal::Refusal;
use crate::grant::request::{Access, AccessRequest, Person};
use crate::grant::scope;
use crate::rbac::risk;
use crate::rbac::role::{ResolvedRole, Rule};

/// A request to decide about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The requester.
    pub person: &'a Person,
    /// The request.
    pub ask: &'a AccessRequest,
    /// The time.
    pub now: Timestamp,
    /// The labels of namespaces; those of any other namespace are unknown.
    pub labels: &'a Labels,
    /// The rules of the requested role; not needed for exact rules.
    pub rules: Option<&'a [Rule]>,
}

/// The policy's answer, with its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[must_use]
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// The rule that allows it, or the denial, guardrail or limit that refuses it; `None` if no rule matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// One sentence: who has to approve, or why it is refused.
    pub says: String,
    /// The terms; `None` if it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// Whether the risk was assessed; that requires the rules of the role.
    pub risk_judged: bool,
    /// The other rules that are near, in the order of the file.
    pub near: Vec<Near>,
}

/// The outcome of a question, and the expected one of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The request needs approval.
    Ask,
    /// The request is pre-approved.
    PreApproved,
    /// The request is refused.
    Deny,
}

impl fmt::Display for Outcome {
    /// The name in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ask => "ask",
            Self::PreApproved => "preApproved",
            Self::Deny => "deny",
        })
    }
}

/// A rule that did not decide, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Near {
    /// Its name.
    pub rule: String,
    /// Why it did not decide, one sentence each.
    pub missing: Vec<String>,
}

impl Answer {
    /// The answer as pairs of a key word and a sentence.
    #[must_use]
    pub fn sentences(&self) -> Vec<(&'static str, String)> {
        self.terms.as_ref().map_or_else(|| vec![("why", self.says.clone())], Terms::sentences)
    }
}

impl Policy {
    /// The policy's answer to a question.
    pub fn answer(&self, question: &Question<'_>) -> Answer {
        let rules = match &question.ask.access {
            Access::Rules(rules) => Some(rules.as_slice()),
            Access::Role(_) => question.rules,
        };
        let decided = self.decided(question, rules);
        let near = self.near(question, decided.as_ref().ok().map(|terms| terms.rule.as_str()));
        let risk_judged = rules.is_some();
        match decided {
            Ok(terms) => Answer {
                outcome: if terms.steps.is_empty() { Outcome::PreApproved } else { Outcome::Ask },
                by: Some(terms.rule.clone()),
                says: terms.describe(),
                terms: Some(terms),
                risk_judged,
                near,
            },
            Err((by, refusal)) => {
                Answer { outcome: Outcome::Deny, by, says: refusal.why, terms: None, risk_judged, near }
            }
        }
    }

    fn decided(&self, question: &Question<'_>, rules: Option<&[Rule]>) -> Result<Terms, (Option<String>, Refusal)> {
        let Question { person, ask, now, labels, .. } = *question;
        let usage = Usage::default();
        let denied = |denial: Denial| (denial.by().map(str::to_owned), denial.refusal());
        super::could_be_asked(self, person, ask, now, usage).map_err(denied)?;
        scope::access_fits_scope(ask).map_err(|refusal| (None, refusal))?;
        if let Some(rules) = rules {
            let role = ResolvedRole::new(String::new(), rules.to_vec());
            scope::leaves_the_guard(ask, &role).map_err(|refusal| (None, refusal))?;
        }
        // Without a version, every right counts with its most dangerous meaning.
        let around = risk::Surroundings { classified: self.classified(), ..risk::Surroundings::ordinary(None) };
        let assessment = rules.map(|rules| risk::assess(rules, &ask.scope, &around));
        let known = Known {
            now,
            usage,
            words: Words::Complete,
            labelled: Labelled::Asked(labels),
            assessment: assessment.as_ref(),
        };
        judge(self, person, ask, known).map_err(denied)
    }

    /// The rules for this person, and those that would match for other people.
    fn near(&self, question: &Question<'_>, decided: Option<&str>) -> Vec<Near> {
        let Question { person, ask, now, labels, .. } = *question;
        let mut near = Vec::new();
        for rule in self.rules.iter().filter(|rule| decided != Some(rule.name.as_str())) {
            let mut missing = Vec::new();
            let tell = &mut |_, sentence: fmt::Arguments<'_>| missing.push(sentence.to_string());
            rule.miss(ask, Labelled::Asked(labels), now, Words::Complete, tell);
            match (rule.is_for(person), missing.is_empty(), decided) {
                (true, false, _) => {}
                (true, true, Some(first)) => missing.push(format!("matches too, but `{first}` comes first")),
                (true, true, None) => missing.push("matches, but no rule can override what denies it".to_owned()),
                (false, true, _) => missing.push(format!("is only for {}", rule.who.join(", "))),
                (false, false, _) => continue,
            }
            near.push(Near { rule: rule.name.clone(), missing });
        }
        near
    }
}

//! A decision away from any cluster: what the policy says to a question, and which rules came near.
//!
//! As the daemon decides, in its order. What only the cluster knows is told by whoever asks; what nobody told is
//! taken for a no where it is labels, and is not judged where it is the risk of a role, which only ever makes
//! the answer stricter. `jitd policy explain` and the policy's own tests call it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::pattern::Labels;
use super::rule::{Labelled, Words};
use super::{Denial, Known, Policy, Terms, Usage, judge};
use crate::grant::refusal::Refusal;
use crate::grant::request::{Access, AccessRequest, Person};
use crate::grant::scope;
use crate::rbac::risk;
use crate::rbac::role::{ResolvedRole, Rule};

/// Somebody asks for something.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who.
    pub person: &'a Person,
    /// For what.
    pub ask: &'a AccessRequest,
    /// When.
    pub now: Timestamp,
    /// The labels of namespaces; one that is not here is unknown.
    pub labels: &'a Labels,
    /// The rules of the asked role; exact rules are their own.
    pub rules: Option<&'a [Rule]>,
}

/// What the policy says, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[must_use]
pub struct Answer {
    /// What comes out.
    pub outcome: Outcome,
    /// The rule that gives it, or the denial, guardrail or limit that refuses it; none when no rule fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// One sentence: who has to agree, or why not.
    pub says: String,
    /// On which terms; none when it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// Whether the risk was judged, for which the rules of the role have to be known.
    pub risk_judged: bool,
    /// The other rules that came near, in the order of the file.
    pub near: Vec<Near>,
}

/// What comes out of a question, and has to come out of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// People are asked.
    Ask,
    /// Nobody is asked, it is given.
    PreApproved,
    /// It is refused.
    Deny,
}

impl fmt::Display for Outcome {
    /// As in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ask => "ask",
            Self::PreApproved => "preApproved",
            Self::Deny => "deny",
        })
    }
}

/// A rule that did not decide, and what kept it from that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Near {
    /// Its name.
    pub rule: String,
    /// A sentence each.
    pub missing: Vec<String>,
}

impl Answer {
    /// The answer in sentences, each after the word that it is about.
    #[must_use]
    pub fn sentences(&self) -> Vec<(&'static str, String)> {
        self.terms.as_ref().map_or_else(|| vec![("why", self.says.clone())], Terms::sentences)
    }
}

impl Policy {
    /// What the policy says to this question.
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
        // No version: every right has its most dangerous meaning.
        let assessment = rules.map(|rules| risk::assess(rules, &ask.scope, &risk::Surroundings::ordinary(None)));
        let known = Known {
            now,
            usage,
            words: Words::Complete,
            labelled: Labelled::Asked(labels),
            assessment: assessment.as_ref(),
        };
        judge(self, person, ask, known).map_err(denied)
    }

    /// The rules for this person, and those that miss nothing but the person.
    fn near(&self, question: &Question<'_>, decided: Option<&str>) -> Vec<Near> {
        let Question { person, ask, now, labels, .. } = *question;
        let mut near = Vec::new();
        for rule in self.rules.iter().filter(|rule| decided != Some(rule.name.as_str())) {
            let mut missing = Vec::new();
            let tell = &mut |_, sentence: fmt::Arguments<'_>| missing.push(sentence.to_string());
            rule.miss(ask, Labelled::Asked(labels), now, Words::Complete, tell);
            match (rule.is_for(person), missing.is_empty(), decided) {
                (true, false, _) => {}
                (true, true, Some(first)) => missing.push(format!("fits too, but `{first}` stands before it")),
                (true, true, None) => missing.push("fits, but no rule can lift what refuses".to_owned()),
                (false, true, _) => missing.push(format!("is only for {}", rule.who.join(", "))),
                (false, false, _) => continue,
            }
            near.push(Near { rule: rule.name.clone(), missing });
        }
        near
    }
}

//! Who may ask for what, and who has to agree: one pure decision that says what made it.
//!
//! ```text
//!  denials ─► the first rule that fits ─► guardrails ─► limits ─► Ask(terms)
//!     └────────────┴──────────────────────────┴───────────┴─────► Deny(denial)
//! ```
//! Default deny. When no rule fits, the answer names the one that came nearest and what kept it from fitting.
//! Nothing here reads a clock, a file or the network, so a decision of the past can be made again. By the same
//! functions a policy is looked at before it is in force: `case.rs`, `answer.rs`, `offer.rs` and `diff.rs`.

mod answer;
mod case;
mod diff;
mod entitlement;
mod guardrails;
mod keys;
mod loaded;
mod offer;
mod parse;
mod pattern;
mod rule;
mod schema;
mod step;
mod yaml;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::refusal::{Code, Refusal};
use super::request::{AccessRequest, ClusterName, Namespace, Person, RoleRef, Window};
use crate::rbac::risk::Assessment;
use crate::rbac::role;

pub use self::answer::{Answer, Near, Outcome, Question};
pub use self::case::{Case, Expected, Tested};
pub use self::diff::{Change, Difference, Setting, diff};
pub use self::entitlement::{Closed, Entitlement};
pub use self::guardrails::Guardrails;
pub use self::keys::{keys, schema};
pub use self::loaded::Loaded;
pub use self::offer::{Holder, Offer};
pub use self::pattern::{Glob, Labels, NamespacePattern, Requirement, Selector};
pub use self::rule::{BreakGlass, Drift, Field, FieldType, LabelTerms, Limits, Need, ReasonRule, Review, Rule, Words};
pub use self::schema::{KeyDoc, Presence};
pub use self::step::{Day, Hours, Step, TimeOfDay, Yes, Zone, unmet};

use self::pattern::Fit;
use self::rule::{Deny, Distance, Labelled};

/// The policy in force: what `policy.yaml` and `guardrails.yaml` mean.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    deny: Vec<Deny>,
    limits: Limits,
    cases: Vec<Case>,
    guardrails: Guardrails,
}

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `policy.yaml`
    Policy,
    /// `guardrails.yaml`
    Guardrails,
}

impl Source {
    /// The file's usual name.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Policy => "policy.yaml",
            Self::Guardrails => "guardrails.yaml",
        }
    }
}

/// Something in one of the files that can't be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which file.
    pub file: Source,
    /// The line of the very word, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// Where it is in the file's tree, such as `rules[2].maxDuration`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub why: String,
    /// What would be right.
    pub hint: String,
}

impl Fault {
    /// The fault with the file's real name, as editors and terminals follow it: `FILE:LINE:COLUMN: PATH: WHY`.
    #[must_use]
    pub fn at(&self, file: impl fmt::Display) -> String {
        let Self { line, column, path, why, .. } = self;
        let colon = if path.is_empty() { "" } else { ": " };
        format!("{file}:{line}:{column}: {path}{colon}{why}")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at(self.file.file_name()))
    }
}

/// What one rule reaches in a cluster, for the objects that an administrator applies.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// Roles that it gives.
    pub roles: &'a [RoleRef],
    /// The ceiling of exact rules.
    pub rules: &'a [role::Rule],
    /// Whether a role may be cut down to some of its rules.
    pub narrow: bool,
    /// Its namespaces.
    pub namespaces: &'a [NamespacePattern],
    /// Whether it also gives the whole cluster.
    pub cluster_wide: bool,
    guardrails: &'a Guardrails,
}

impl Reach<'_> {
    /// Whether a grant of the rule may own a role: one of exact rules, or a role that was cut down.
    #[must_use]
    pub fn makes_roles(&self) -> bool {
        !self.namespaces.is_empty() && (!self.rules.is_empty() || self.narrow)
    }

    /// Whether the rule is for this namespace and no guardrail is against it. Labels that are not known fit nothing.
    #[must_use]
    pub fn is_for(&self, namespace: &Namespace, labels: &Labels) -> bool {
        let fits = |pattern: &NamespacePattern| pattern.fit(namespace, Some(labels)) == Fit::Yes;
        self.guardrails.forbids_namespace(namespace).is_none() && self.namespaces.iter().any(fits)
    }
}

impl Policy {
    /// What the two files mean. Without guardrails their defaults hold.
    ///
    /// # Errors
    /// Every fault of both files, all at once, in the order of the files.
    pub fn read(policy: &str, guardrails: Option<&str>) -> Result<Self, Vec<Fault>> {
        parse::read(policy, guardrails, None)
    }

    /// The same for a daemon that serves these clusters only: a rule, a denial or a case for another one is a fault.
    ///
    /// # Errors
    /// As [`Policy::read`].
    pub fn read_for(
        policy: &str,
        guardrails: Option<&str>,
        clusters: &BTreeSet<ClusterName>,
    ) -> Result<Self, Vec<Fault>> {
        parse::read(policy, guardrails, Some(clusters))
    }

    /// Every role that some rule gives in `cluster`, without repeats, in the order of the file.
    #[must_use]
    pub fn roles(&self, cluster: &ClusterName) -> Vec<RoleRef> {
        let mut roles: Vec<RoleRef> = Vec::new();
        for role in self.reach(cluster).iter().flat_map(|reach| reach.roles) {
            if !roles.contains(role) {
                roles.push(role.clone());
            }
        }
        roles
    }

    /// What each rule that is for `cluster` reaches there, in the order of the file.
    #[must_use]
    pub fn reach(&self, cluster: &ClusterName) -> Vec<Reach<'_>> {
        let there = self.rules.iter().filter(|rule| rule.clusters.contains(cluster));
        there
            .map(|rule| Reach {
                rule: &rule.name,
                roles: &rule.roles,
                rules: &rule.rules,
                narrow: rule.narrow,
                namespaces: &rule.namespaces,
                cluster_wide: rule.cluster_wide,
                guardrails: &self.guardrails,
            })
            .collect()
    }

    /// Whether some grant in `cluster` may own a role there.
    #[must_use]
    pub fn makes_roles(&self, cluster: &ClusterName) -> bool {
        self.reach(cluster).iter().any(Reach::makes_roles)
    }

    /// The rules, in the order in which they are tried.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// How much one person may ask for.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The file's own tests.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether it denies something to the people of a group.
    #[must_use]
    pub fn denies_groups(&self) -> bool {
        self.deny.iter().any(|deny| deny.who.is_some())
    }

    /// Whether there is no rule, so that everything is denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// What a person has open, when the limits are held against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Usage {
    /// Requests that nobody answered yet.
    pub pending: u32,
    /// Grants that work.
    pub live: u32,
    /// Requests in the last hour.
    pub last_hour: u32,
    /// Whether access of theirs without an answer was not looked at yet. Until it was, the glass can't be
    /// broken again; asking people stays possible.
    pub review_owed: bool,
    /// Whether the same, or less, was denied to them as lately as the limits say. Until that is over nothing of it is given
    /// without an answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub denied: bool,
}

/// What is known at the moment of a decision, besides who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The moment.
    pub now: Timestamp,
    /// The labels of the asked namespaces; one that is not here is unknown.
    pub labels: &'a Labels,
    /// What the asked access lets its holder reach.
    pub assessment: &'a Assessment,
    /// What the requester has open.
    pub usage: Usage,
}

/// What the policy says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It may be asked, on these terms.
    Ask(Terms),
    /// It may not.
    Deny(Denial),
}

/// On which terms something may be asked; they stand in the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// The rule that decided.
    pub rule: String,
    /// Who has to agree: the rule's steps and the guardrails'. None at all: nobody is asked.
    pub steps: Vec<Step>,
    /// The longest access with extensions.
    pub max_total: Window,
    /// How long an answer is waited for; absent: as long as the daemon's times say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Window>,
    /// How long an approval waits to be collected; absent: as long as the daemon's times say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collect: Option<Window>,
    /// The longest life of one certificate; absent: as long as the daemon's times say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Window>,
    /// Whether an approver may cut the role down.
    pub narrow: bool,
    /// What happens when the role changes.
    pub drift: Drift,
    /// Where the access may be, where that depends on labels, which change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labelled: Option<LabelTerms>,
    /// Access when nobody answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
}

impl Terms {
    /// The groups of all steps, without repeats: who may answer.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        without_repeats(&self.steps)
    }

    /// Who has to agree, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        offer::describe(&self.steps)
    }

    /// The terms in sentences, each after the word that it is about: what `jitd policy explain` prints, and what a case can
    /// expect.
    #[must_use]
    pub fn sentences(&self) -> Vec<(&'static str, String)> {
        let limit = |limit: Option<Window>| limit.map_or("as config.yaml says".to_owned(), |limit| limit.to_string());
        let mut sentences = vec![
            ("approval", self.describe()),
            ("at most", format!("{}, extensions included", self.max_total)),
            ("pending", limit(self.pending)),
            ("collect", limit(self.collect)),
            ("certificate", limit(self.certificate)),
            ("narrow", if self.narrow { "an approver may narrow the role" } else { "to the role as it is" }.to_owned()),
            (
                "drift",
                match self.drift {
                    Drift::Revoke => "a changed role ends the grant",
                    Drift::Warn => "a changed role is recorded, and the grant continues",
                }
                .to_owned(),
            ),
        ];
        if let Some(glass) = &self.break_glass {
            let after = glass.after.map_or("at once".to_owned(), |after| format!("after {after}"));
            let review = offer::describe(&glass.review.steps);
            sentences.push((
                "break-glass",
                format!("{after}, for {}, reviewed by {review} within {}", glass.max_duration, glass.review.within),
            ));
        }
        sentences
    }

    /// Who may answer, and who would review broken glass: they see the grant.
    #[must_use]
    pub fn watchers(&self) -> Vec<&str> {
        without_repeats(self.steps.iter().chain(self.break_glass.iter().flat_map(|glass| &glass.review.steps)))
    }
}

fn without_repeats<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Vec<&'a str> {
    let mut groups: Vec<&str> = Vec::new();
    for group in steps.into_iter().flat_map(|step| &step.groups) {
        if !groups.contains(&group.as_str()) {
            groups.push(group);
        }
    }
    groups
}

/// Why the policy says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No rule fits.
    NoRule {
        /// The rule that came nearest, if one is about this person at all.
        nearest: Option<String>,
        /// What kept it from fitting, a sentence each.
        missing: Vec<String>,
    },
    /// A denial of the policy.
    Named {
        /// Its name.
        name: String,
        /// What it says.
        why: String,
    },
    /// A guardrail.
    Guardrail {
        /// Its key in the file.
        name: &'static str,
        /// What it says.
        why: String,
    },
    /// One person has, or asked for, too much at once.
    Limit {
        /// Its key in the file.
        name: &'static str,
        /// What it says.
        why: String,
    },
}

impl Denial {
    /// The rule that came nearest, when no rule fits.
    #[must_use]
    pub fn nearest(&self) -> Option<&str> {
        match self {
            Self::NoRule { nearest, .. } => nearest.as_deref(),
            _ => None,
        }
    }

    /// What refuses, by its name in the files; none when no rule fits.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        match self {
            Self::NoRule { .. } => None,
            Self::Named { name, .. } => Some(name),
            Self::Guardrail { name, .. } | Self::Limit { name, .. } => Some(name),
        }
    }

    /// The refusal that the requester reads.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::NoRule { nearest: None, missing } => Refusal::new(Code::PolicyDenied, missing.join("; "))
                .hint("`jit-login whoami` shows your groups; ask your platform team for a rule"),
            Self::NoRule { nearest: Some(rule), missing } => Refusal::new(
                Code::PolicyDenied,
                format!("no rule gives this; `{rule}` comes nearest, but {}", missing.join(", ")),
            )
            .hint("nothing was asked of anyone; change the request, or ask your platform team for a rule"),
            Self::Named { name, why } => Refusal::new(Code::PolicyDenied, format!("denied by `{name}`: {why}"))
                .hint("nothing was asked of anyone; your platform team can say more"),
            Self::Guardrail { name, why } => {
                Refusal::new(Code::Guardrail, format!("the guardrail `{name}` holds: {why}"))
                    .hint("no rule can lift a guardrail; ask for less, or talk to your platform team")
            }
            Self::Limit { name, why } => Refusal::new(Code::Limit, format!("the limit `{name}` is reached: {why}"))
                .hint("`jit-login ls` shows what you have open; end or withdraw something, or wait"),
        }
    }
}

/// Decides whether `requester` may ask for this, and on which terms. Depends on nothing but its arguments.
pub fn decide(policy: &Policy, requester: &Person, ask: &AccessRequest, circumstances: &Circumstances<'_>) -> Decision {
    decide_draft(policy, requester, ask, Words::Complete, circumstances).0
}

/// The same about a request whose words may not be complete, and what has to be told still by the rule that decides.
pub fn decide_draft(
    policy: &Policy,
    requester: &Person,
    ask: &AccessRequest,
    words: Words,
    circumstances: &Circumstances<'_>,
) -> (Decision, Vec<Need>) {
    let Circumstances { now, labels, assessment, usage } = *circumstances;
    let known = Known { now, usage, words, labelled: Labelled::Asked(labels), assessment: Some(assessment) };
    match judge(policy, requester, ask, known) {
        Ok(terms) => {
            let rule = policy.rules.iter().find(|rule| rule.name == terms.rule);
            let needs = rule.map(|rule| rule.still_needs(ask, words)).unwrap_or_default();
            (Decision::Ask(terms), needs)
        }
        Err(denial) => (Decision::Deny(denial), Vec::new()),
    }
}

/// The same question before the cluster was asked anything: denies what no answer of the cluster could make
/// allowed. Labels and risk are taken as "could fit".
///
/// # Errors
/// The denial.
pub fn could_be_asked(
    policy: &Policy,
    requester: &Person,
    ask: &AccessRequest,
    now: Timestamp,
    usage: Usage,
) -> Result<(), Denial> {
    draft_could_be_asked(policy, requester, ask, Words::Complete, now, usage)
}

/// The same about a request whose words may not be complete.
///
/// # Errors
/// The denial.
pub fn draft_could_be_asked(
    policy: &Policy,
    requester: &Person,
    ask: &AccessRequest,
    words: Words,
    now: Timestamp,
    usage: Usage,
) -> Result<(), Denial> {
    let known = Known { now, usage, words, labelled: Labelled::NotAsked, assessment: None };
    judge(policy, requester, ask, known).map(drop)
}

/// What a decision is made on.
#[derive(Clone, Copy)]
struct Known<'a> {
    now: Timestamp,
    usage: Usage,
    words: Words,
    labelled: Labelled<'a>,
    assessment: Option<&'a Assessment>,
}

fn judge(policy: &Policy, requester: &Person, ask: &AccessRequest, known: Known<'_>) -> Result<Terms, Denial> {
    if let Some(deny) = policy.deny.iter().find(|deny| deny.denies(requester, ask, known.labelled)) {
        return Err(Denial::Named { name: deny.name.clone(), why: deny.why.clone() });
    }
    let rule = first_that_fits(&policy.rules, requester, ask, known)?;
    let guardrails = &policy.guardrails;
    if let Some((name, why)) = guardrails.refuses(ask, known.assessment) {
        return Err(Denial::Guardrail { name, why });
    }
    if rule.steps.is_empty() && ask.scope.namespaces().is_empty() {
        let why = format!("the rule `{}` is pre-approved, and the whole cluster never is", rule.name);
        return Err(Denial::Guardrail { name: "clusterWide", why });
    }
    let mut steps = rule.steps.clone();
    guardrails.tighten(&mut steps, ask, known.assessment);
    if steps.is_empty() && known.usage.denied {
        let why = "the same was denied to you a short while ago, and here nobody would be asked".to_owned();
        return Err(Denial::Limit { name: "afterDenial", why });
    }
    let is_closed = known.usage.review_owed || known.usage.denied;
    let break_glass = rule.break_glass.clone().filter(|_| !is_closed).map(|mut glass| {
        guardrails.tighten(&mut glass.review.steps, ask, known.assessment);
        glass
    });
    policy.limits.hold(known.usage)?;
    Ok(Terms {
        rule: rule.name.clone(),
        steps,
        max_total: rule.max_total,
        pending: rule.pending,
        collect: rule.collect,
        certificate: rule.certificate,
        narrow: rule.narrow,
        drift: rule.drift,
        labelled: LabelTerms::of(rule, policy.deny.iter().filter(|deny| deny.is_about(requester, ask))),
        break_glass,
    })
}

fn first_that_fits<'a>(
    rules: &'a [Rule],
    requester: &Person,
    ask: &AccessRequest,
    known: Known<'_>,
) -> Result<&'a Rule, Denial> {
    let mut nearest: Option<(&Rule, Distance)> = None;
    for rule in rules.iter().filter(|rule| rule.is_for(requester)) {
        let mut distance = Distance::default();
        rule.miss(ask, known.labelled, known.now, known.words, &mut |part, _| distance.add(part));
        if distance == Distance::default() {
            return Ok(rule);
        }
        if nearest.is_none_or(|(_, least)| distance < least) {
            nearest = Some((rule, distance));
        }
    }
    Err(match nearest {
        Some((rule, _)) => {
            let mut missing = Vec::new();
            let tell = &mut |_, sentence: fmt::Arguments<'_>| missing.push(sentence.to_string());
            rule.miss(ask, known.labelled, known.now, known.words, tell);
            Denial::NoRule { nearest: Some(rule.name.clone()), missing }
        }
        None => {
            Denial::NoRule { nearest: None, missing: vec![format!("no rule is for any group of `{}`", requester.name)] }
        }
    })
}

impl Limits {
    fn hold(&self, usage: Usage) -> Result<(), Denial> {
        let limits = [
            ("pending", self.pending, usage.pending, "requests wait for an answer"),
            ("live", self.live, usage.live, "grants work"),
            ("perHour", self.per_hour, usage.last_hour, "requests in the last hour"),
        ];
        let reached = limits.into_iter().find_map(|(name, limit, used, what)| {
            let limit = limit.filter(|limit| used >= *limit)?;
            Some(Denial::Limit { name, why: format!("{used} of your {what}, and {limit} are let") })
        });
        reached.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;

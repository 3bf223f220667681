//! The policy: who may request what, and who has to approve it. A decision is a pure function and says what it is based
//! on.
//!
//! ```text
//!  denials ─► the first rule that matches ─► guardrails ─► limits ─► Ask(terms)
//!     └─────────────┴─────────────────────────┴───────────┴─────► Deny(denial)
//! ```
//! Access is denied by default. If no rule matches, the answer names the nearest rule and why it does not match.
//! Nothing here reads a clock, a file or the network, so past decisions can be replayed. The same functions examine a
//! policy before it is in force: `case.rs`, `answer.rs`, `offer.rs` and `diff.rs`.

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

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::login::LoginTerms;
use super::refusal::{Code, Refusal};
use super::request::{AccessRequest, ClusterName, FieldName, Namespace, Person, RoleRef, Window};
use super::{Keep, Record, SessionTerms, reading};
use crate::rbac::risk::{Assessment, Classified};
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

/// The policy in force, parsed from `policy.yaml` and `guardrails.yaml`.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    deny: Vec<Deny>,
    limits: Limits,
    cases: Vec<Case>,
    guardrails: Guardrails,
}

/// How people reach a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Past the gateway, so that nothing sees what they do.
    Directly,
    /// Through the gateway.
    ThroughGateway,
}

/// One of the two files.
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

/// A mistake in one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: Source,
    /// The line of the word, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The path in the file, such as `rules[2].maxDuration`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub why: String,
    /// How to correct it.
    pub hint: String,
}

impl Fault {
    /// The mistake with the file's real name, in the form that editors recognize: `FILE:LINE:COLUMN: PATH: WHY`.
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

/// What one rule allows in a cluster, for the objects that an administrator applies.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// The roles that it allows.
    pub roles: &'a [RoleRef],
    /// The ceiling for exact rules.
    pub rules: &'a [role::Rule],
    /// Whether an approver may narrow a role to some of its rules.
    pub narrow: bool,
    /// Its namespaces.
    pub namespaces: &'a [NamespacePattern],
    /// Whether it also allows the whole cluster.
    pub cluster_wide: bool,
    guardrails: &'a Guardrails,
}

impl Reach<'_> {
    /// Whether a grant of the rule may own a role: one for exact rules, or a narrowed one.
    #[must_use]
    pub fn makes_roles(&self) -> bool {
        !self.namespaces.is_empty() && (!self.rules.is_empty() || self.narrow)
    }

    /// Whether the rule is for this namespace and no guardrail forbids it. Unknown labels match nothing.
    #[must_use]
    pub fn is_for(&self, namespace: &Namespace, labels: &Labels) -> bool {
        let fits = |pattern: &NamespacePattern| pattern.fit(namespace, Some(labels)) == Fit::Yes;
        self.guardrails.forbids_namespace(namespace).is_none() && self.namespaces.iter().any(fits)
    }
}

impl Policy {
    /// What an administrator says about rights that the catalogue of risks does not know.
    #[must_use]
    pub fn classified(&self) -> Arc<[Classified]> {
        Arc::clone(&self.guardrails.classified)
    }

    /// Parses the two files. Without guardrails, their defaults apply.
    ///
    /// # Errors
    /// All mistakes in both files, in the order of the files.
    pub fn read(policy: &str, guardrails: Option<&str>) -> Result<Self, Vec<Fault>> {
        parse::read(policy, guardrails, None)
    }

    /// Like [`Policy::read`], for a daemon with these clusters: a rule, a denial or a case for any other cluster is a
    /// mistake, and so is a rule that promises a recording where nothing records.
    ///
    /// # Errors
    /// The same as [`Policy::read`].
    pub fn read_for(
        policy: &str,
        guardrails: Option<&str>,
        clusters: &BTreeMap<ClusterName, Way>,
    ) -> Result<Self, Vec<Fault>> {
        parse::read(policy, guardrails, Some(clusters))
    }

    /// Every role that some rule allows in `cluster`, without duplicates, in the order of the file.
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

    /// What each rule for `cluster` allows there, in the order of the file.
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

    /// The name of each rule for `cluster`, and the strictest terms for sessions that a grant of it can get.
    #[must_use]
    pub fn sessions(&self, cluster: &ClusterName) -> Vec<(&str, SessionTerms)> {
        let there = self.rules.iter().filter(|rule| rule.clusters.contains(cluster));
        there.map(|rule| (rule.name.as_str(), self.guardrails.strictest_sessions(&rule.sessions))).collect()
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

    /// The limits for one person.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How long the gateway's logs and recordings are kept after the end of a grant; none is forever.
    #[must_use]
    pub fn keeps_sessions(&self) -> Option<Keep> {
        self.guardrails.keep_sessions
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

    /// Whether it has denials for groups.
    #[must_use]
    pub fn denies_groups(&self) -> bool {
        self.deny.iter().any(|deny| deny.who.is_some())
    }

    /// Whether it has no rules, so that everything is denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// What a person has open, for comparison with the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Usage {
    /// Pending requests.
    pub pending: u32,
    /// Live grants.
    pub live: u32,
    /// Requests in the last hour.
    pub last_hour: u32,
    /// Whether a review of their break-glass access is owed. Until it is done they cannot use break-glass again, but
    /// they can make requests.
    pub review_owed: bool,
    /// Whether they were denied the same access, or less, as recently as the limits say. Until that time is over, it is
    /// not granted without an approver's decision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub denied: bool,
}

/// The inputs of a decision other than the requester and the request.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: Timestamp,
    /// The labels of the requested namespaces; those of any other namespace are unknown.
    pub labels: &'a Labels,
    /// The risks of the requested access.
    pub assessment: &'a Assessment,
    /// What the requester has open.
    pub usage: Usage,
}

/// The decision of the policy about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// The request may be made, on these terms.
    Ask(Terms),
    /// It is denied.
    Deny(Denial),
}

/// The terms of a request; the trail records them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// The rule that decided.
    pub rule: String,
    /// The groups whose members may request by that rule: who leaves all of them loses the access. Empty in earlier trails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub who: Vec<String>,
    /// Who has to approve: the steps of the rule and of the guardrails. If empty, the request is pre-approved.
    pub steps: Vec<Step>,
    /// The longest access including extensions.
    #[schema(value_type = String)]
    pub max_total: Window,
    /// How long a request stays pending; absent: as long as the daemon's times say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pending: Option<Window>,
    /// How long an approval waits to be collected; absent: as long as the daemon's times say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub collect: Option<Window>,
    /// The longest life of one certificate; absent: as long as the daemon's times say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub certificate: Option<Window>,
    /// Whether an approver may narrow the role.
    pub narrow: bool,
    /// What happens when the role changes.
    pub drift: Drift,
    /// What is kept of what is done through the gateway, and what it refuses.
    #[serde(default, skip_serializing_if = "SessionTerms::is_usual")]
    pub sessions: SessionTerms,
    /// The groups whose members may read recordings, if the rule names them; they may see the grant, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readers: Option<Vec<String>>,
    /// What `jit-notify` may tell, and whom, if the rule says so; in a box, because most rules say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telling: Option<Box<Telling>>,
    /// The allowed namespaces, if they depend on labels, which may change; in a box, because most rules say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labelled: Option<Box<LabelTerms>>,
    /// What a login at an identity provider must have for approving and break-glass, if the rule says so; in a box, because
    /// most rules say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Box<LoginTerms>>,
    /// The terms of break-glass, if it is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
}

/// What a rule says about messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Telling {
    /// Groups that are told of the request beside those that have to answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
    /// Fields whose values stay on this host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub private: Vec<FieldName>,
}

impl Telling {
    /// What the rule says; `None` if it says nothing.
    fn of(rule: &Rule) -> Option<Box<Self>> {
        let private = rule.fields.iter().filter(|field| field.is_private).map(|field| field.name.clone());
        let telling = Self { notify: rule.notify.clone(), private: private.collect() };
        (telling != Self::default()).then(|| Box::new(telling))
    }
}

impl Terms {
    /// Groups that are told of the request beside those that have to answer.
    #[must_use]
    pub fn notify(&self) -> &[String] {
        self.telling.as_ref().map_or(&[], |telling| &telling.notify)
    }

    /// Fields whose values no message may have.
    #[must_use]
    pub fn private(&self) -> &[FieldName] {
        self.telling.as_ref().map_or(&[], |telling| &telling.private)
    }

    /// The groups of all steps, without duplicates: those who may answer.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        without_repeats(&self.steps)
    }

    /// Who has to approve, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        offer::describe(&self.steps)
    }

    /// The terms as pairs of a key word and a sentence: what `jitd policy explain` prints, and what a case can expect.
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
            ("notify", self.told()),
            ("record", self.recorded()),
        ];
        if !self.private().is_empty() {
            let names: Vec<&str> = self.private().iter().map(FieldName::as_str).collect();
            sentences.push(("private", format!("no message has the value of {}", names.join(", "))));
        }
        sentences.extend(self.sessions.refuse.iter().map(|restriction| ("refuse", restriction.describe())));
        if self.sessions.record == Record::Required {
            sentences.push(("recordings", reading::describe(self.readers.as_deref())));
        }
        if let Some(login) = &self.login {
            sentences.push(("login", login.to_string()));
        }
        if let Some(glass) = &self.break_glass {
            sentences.push(("break-glass", format!("{}, {}", glass.waits(), glass.lasts())));
        }
        sentences
    }

    /// Whom `jit-notify` tells, where it has channels for them.
    fn told(&self) -> String {
        let mut told = Vec::new();
        let answering = self.groups();
        if !answering.is_empty() {
            told.push(format!("{} to answer", answering.join(", ")));
        }
        if let Some(glass) = &self.break_glass {
            told.push(format!("{} to review break-glass", without_repeats(&glass.review.steps).join(", ")));
        }
        told.push("the requester of what becomes of it".to_owned());
        if !self.notify().is_empty() {
            told.push(format!("{} to know", self.notify().join(", ")));
        }
        told.join("; ")
    }

    /// What is recorded, where nobody said yet whether people go through the gateway.
    fn recorded(&self) -> String {
        let says = self.sessions.describe();
        if self.sessions.record == Record::Metadata && self.sessions.idle.is_none() {
            format!("{says}, of clusters behind the gateway")
        } else {
            says
        }
    }

    /// The groups that may see the grant: those that may answer it, those that review break-glass, and those that the rule
    /// lets read recordings.
    #[must_use]
    pub fn watchers(&self) -> Vec<&str> {
        let review = self.break_glass.iter().flat_map(|glass| &glass.review.steps);
        let mut groups = without_repeats(self.steps.iter().chain(review));
        for group in self.readers.iter().flatten() {
            if !groups.contains(&group.as_str()) {
                groups.push(group);
            }
        }
        groups
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

/// Why the policy denies a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No rule matches.
    NoRule {
        /// The nearest rule, if any rule is for this person at all.
        nearest: Option<String>,
        /// Why it does not match, one sentence each.
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
    /// The person has reached a limit.
    Limit {
        /// Its key in the file.
        name: &'static str,
        /// What it says.
        why: String,
    },
}

impl Denial {
    /// The nearest rule, if no rule matches.
    #[must_use]
    pub fn nearest(&self) -> Option<&str> {
        match self {
            Self::NoRule { nearest, .. } => nearest.as_deref(),
            _ => None,
        }
    }

    /// The name of the denial, guardrail or limit in the files; `None` if no rule matches.
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
                format!("no rule allows this; the nearest is `{rule}`, but it {}", missing.join(", and it ")),
            )
            .hint("no request was made; change it, or ask your platform team for a rule"),
            Self::Named { name, why } => Refusal::new(Code::PolicyDenied, format!("denied by `{name}`: {why}"))
                .hint("no request was made; your platform team can say more"),
            Self::Guardrail { name, why } => {
                Refusal::new(Code::Guardrail, format!("guardrail `{name}` forbids it: {why}"))
                    .hint("no rule can override a guardrail; request less, or talk to your platform team")
            }
            Self::Limit { name, why } => Refusal::new(Code::Limit, format!("limit `{name}` reached: {why}"))
                .hint("`jit-login ls` shows what you have open; end or withdraw something, or wait"),
        }
    }
}

/// Decides whether `requester` may make this request, and on which terms. Depends only on its arguments.
pub fn decide(policy: &Policy, requester: &Person, ask: &AccessRequest, circumstances: &Circumstances<'_>) -> Decision {
    decide_draft(policy, requester, ask, Words::Complete, circumstances).0
}

/// Like [`decide`], for a draft of a request. Also returns the fields that the deciding rule still requires.
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

/// Decides before the cluster is asked: denies what no answer of the cluster could make allowed. Labels and risk count
/// as matching.
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

/// Like [`could_be_asked`], for a draft of a request.
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

/// The inputs of a decision.
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
        let why = format!("rule `{}` is pre-approved, but cluster-wide access always needs approval", rule.name);
        return Err(Denial::Guardrail { name: "clusterWide", why });
    }
    let mut steps = rule.steps.clone();
    guardrails.tighten(&mut steps, ask, known.assessment);
    if steps.is_empty() && known.usage.denied {
        let why = "you were recently denied the same access, and this rule needs no approval".to_owned();
        return Err(Denial::Limit { name: "afterDenial", why });
    }
    let sessions = guardrails.sessions(&rule.sessions, known.assessment);
    let is_closed = known.usage.review_owed || known.usage.denied;
    let break_glass = rule.break_glass.clone().filter(|_| !is_closed).map(|mut glass| {
        guardrails.tighten(&mut glass.review.steps, ask, known.assessment);
        glass
    });
    policy.limits.hold(known.usage)?;
    Ok(Terms {
        rule: rule.name.clone(),
        who: rule.who.clone(),
        steps,
        max_total: rule.max_total,
        pending: rule.pending,
        collect: rule.collect,
        certificate: rule.certificate,
        narrow: rule.narrow,
        drift: rule.drift,
        sessions,
        readers: rule.readers.clone(),
        telling: Telling::of(rule),
        labelled: LabelTerms::of(rule, policy.deny.iter().filter(|deny| deny.is_about(requester, ask))).map(Box::new),
        login: rule.login.clone().map(Box::new),
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
            ("pending", self.pending, usage.pending, "you already have {} pending requests"),
            ("live", self.live, usage.live, "you already have {} live grants"),
            ("perHour", self.per_hour, usage.last_hour, "you already made {} requests in the last hour"),
        ];
        let reached = limits.into_iter().find_map(|(name, limit, used, what)| {
            let limit = limit.filter(|limit| used >= *limit)?;
            Some(Denial::Limit { name, why: format!("{} (limit: {limit})", what.replace("{}", &used.to_string())) })
        });
        reached.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;

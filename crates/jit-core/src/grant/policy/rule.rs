//! Rules and denials of the policy: whether they match a request, and if not, why.
//!
//! Sentences are formatted only if somebody will read them, because a policy may have a thousand rules and only one is
//! reported. Unknown labels never make a rule match, and never keep a denial from matching. `mod.rs` calls this.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use regex::Regex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::pattern::{Fit, Labels, NamespacePattern};
use super::step::Step;
use crate::grant::SessionTerms;
use crate::grant::login::LoginTerms;
use crate::grant::request::{
    Access, AccessRequest, ClusterName, FieldName, FieldValue, Namespace, Person, ReviewTime, RoleRef, Window,
};
use crate::rbac::{covers, role};

/// A rule: who may request what, and who has to approve it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the keys of the file, told in `keys.rs`")]
pub struct Rule {
    pub name: String,
    pub who: Vec<String>,
    pub clusters: Vec<ClusterName>,
    pub namespaces: Vec<NamespacePattern>,
    pub cluster_wide: bool,
    pub roles: Vec<RoleRef>,
    pub rules: Vec<role::Rule>,
    pub narrow: bool,
    pub max_duration: Window,
    pub max_total: Window,
    pub reason: Option<ReasonRule>,
    pub fields: Vec<Field>,
    /// If empty, requests are pre-approved.
    pub steps: Vec<Step>,
    pub pending: Option<Window>,
    pub collect: Option<Window>,
    pub certificate: Option<Window>,
    pub start_within: Option<Window>,
    pub drift: Drift,
    pub sessions: SessionTerms,
    pub notify: Vec<String>,
    pub readers: Option<Vec<String>>,
    pub login: Option<LoginTerms>,
    pub break_glass: Option<BreakGlass>,
}

/// The requirements on a reason.
#[derive(Clone, Debug)]
pub struct ReasonRule {
    /// A regular expression that it must match.
    pub pattern: Option<Regex>,
    /// The minimum number of characters.
    pub min_length: usize,
    /// The prompt for the requester.
    pub prompt: Option<String>,
}

/// An additional field of a request, required or optional.
#[derive(Clone, Debug)]
pub struct Field {
    /// The name.
    pub name: FieldName,
    /// The type of the value.
    pub kind: FieldType,
    /// A regular expression that the value must match.
    pub pattern: Option<Regex>,
    /// Whether it is required.
    pub required: bool,
    /// The prompt for the requester.
    pub prompt: Option<String>,
    /// Whether the value is for nobody beyond this host.
    pub is_private: bool,
}

/// The type of the value of a [`Field`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Any text.
    Text,
    /// A decimal number.
    Number,
    /// `http://…` or `https://…`.
    Url,
    /// One of these.
    Choice(Vec<FieldValue>),
}

/// What happens when the role of a live grant changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Drift {
    /// The grant ends.
    Revoke,
    /// The grant continues, and the change is recorded.
    Warn,
}

/// The terms of break-glass: access when nobody answers, reviewed afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BreakGlass {
    /// How long the requester must wait for an answer first; absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub after: Option<Window>,
    /// The longest break-glass access.
    #[schema(value_type = String)]
    pub max_duration: Window,
    /// The review afterwards.
    pub review: Review,
}

/// Who has to review break-glass, and how soon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Review {
    /// Steps that all have to be satisfied, as for an approval.
    pub steps: Vec<Step>,
    /// How soon after the use of break-glass.
    #[schema(value_type = String)]
    pub within: ReviewTime,
}

/// The namespace patterns by which a rule matched, and by which no denial did, if they depend on labels. Labels may
/// change during a grant. A live grant keeps its terms, so its labels are compared with these and not with a later
/// policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelTerms {
    /// The rule's namespaces: each of the grant's must match one of them.
    #[schema(value_type = Vec<String>)]
    pub namespaces: Vec<NamespacePattern>,
    /// The namespaces of denials that are about the request: none of the grant's may match one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub denied: Vec<NamespacePattern>,
}

impl LabelTerms {
    /// `None` if no labels are selected.
    pub(super) fn of<'a>(rule: &Rule, denials: impl Iterator<Item = &'a Deny>) -> Option<Self> {
        let is_by_labels = |pattern: &&NamespacePattern| matches!(pattern, NamespacePattern::Labels(_));
        let denied: Vec<NamespacePattern> =
            denials.filter_map(|deny| deny.namespaces.as_ref()).flatten().filter(is_by_labels).cloned().collect();
        let by_labels = !denied.is_empty() || rule.namespaces.iter().any(|pattern| is_by_labels(&pattern));
        by_labels.then(|| Self { namespaces: rule.namespaces.clone(), denied })
    }

    /// Whether a namespace with these labels still matches.
    #[must_use]
    pub fn hold(&self, namespace: &Namespace, labels: &BTreeMap<String, String>) -> bool {
        let known = Labels::from([(namespace.clone(), labels.clone())]);
        let fits = |pattern: &NamespacePattern| pattern.fit(namespace, Some(&known)) == Fit::Yes;
        self.namespaces.iter().any(fits) && !self.denied.iter().any(fits)
    }
}

/// The limits for one person; absent: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pending requests.
    pub pending: Option<u32>,
    /// Live grants.
    pub live: Option<u32>,
    /// Requests in the last hour.
    pub per_hour: Option<u32>,
    /// How long after a denial the same access is not granted without an approver's decision; absent: not at all.
    pub after_denial: Option<Window>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pending: None, live: None, per_hour: None, after_denial: Some(Window::HOUR) }
    }
}

/// A named denial; an absent selector matches everything.
#[derive(Clone, Debug)]
pub(super) struct Deny {
    pub(super) name: String,
    pub(super) who: Option<Vec<String>>,
    pub(super) clusters: Option<Vec<ClusterName>>,
    pub(super) namespaces: Option<Vec<NamespacePattern>>,
    pub(super) cluster_wide: Option<bool>,
    pub(super) roles: Option<Vec<RoleRef>>,
    pub(super) why: String,
}

/// How complete the reason and the fields of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Complete.
    Complete,
    /// Fields may follow, and the reason if it is not given yet. What is missing is no reason to refuse.
    Draft {
        /// Whether the reason is given.
        reason: bool,
    },
}

/// The part of a request that a rule does not match, the most significant one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The cluster.
    Cluster,
    /// The namespaces, or the whole cluster.
    Scope,
    /// A role where the rule allows only exact rules, or the reverse.
    Form,
    /// The role, or some of the exact rules.
    Access,
    /// Duration, start, reason and fields.
    Words,
}

/// How far a rule is from a request: the number of mismatches in each [`Part`], compared in order. A rule for the right
/// place is nearer than one for another place, whatever the requested duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Distance([u32; 5]);

impl Distance {
    /// Counts a miss.
    pub(super) fn add(&mut self, part: Part) {
        if let Some(count) = self.0.get_mut(part as usize) {
            *count = count.saturating_add(1);
        }
    }
}

/// A required or optional field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The field; `None` for the reason.
    pub field: Option<FieldName>,
    /// Whether it is required.
    pub required: bool,
    /// The requirements on it, for people.
    pub says: String,
}

impl Need {
    fn of_reason(rule: Option<&ReasonRule>) -> Self {
        let mut says = "a reason".to_owned();
        if let Some(pattern) = rule.and_then(|rule| rule.pattern.as_ref()) {
            says.push_str(&format!(" like `{pattern}`"));
        }
        if let Some(length) = rule.map(|rule| rule.min_length).filter(|length| *length > 0) {
            says.push_str(&format!(" of at least {length} characters"));
        }
        Self { field: None, required: true, says: prompted(says, rule.and_then(|rule| rule.prompt.as_deref())) }
    }

    fn of_field(field: &Field) -> Self {
        let kind = match &field.kind {
            FieldType::Text => "text".to_owned(),
            FieldType::Number => "a number".to_owned(),
            FieldType::Url => "a URL".to_owned(),
            FieldType::Choice(choices) => format!("one of {}", Listed(choices)),
        };
        let pattern = field.pattern.as_ref().map_or(String::new(), |pattern| format!(" like `{pattern}`"));
        let says = format!("the field `{}`, {kind}{pattern}", field.name);
        Self {
            field: Some(field.name.clone()),
            required: field.required,
            says: prompted(says, field.prompt.as_deref()),
        }
    }
}

fn prompted(says: String, prompt: Option<&str>) -> String {
    prompt.map(|prompt| format!("{says}: {prompt}")).unwrap_or(says)
}

/// What is known about the labels of namespaces at a decision.
#[derive(Clone, Copy, Debug)]
pub(super) enum Labelled<'a> {
    /// The cluster was not asked yet: label selectors could match.
    NotAsked,
    /// These labels are known; those of any other namespace are unknown.
    Asked(&'a Labels),
}

impl Labelled<'_> {
    fn labels(&self) -> Option<&Labels> {
        match self {
            Self::NotAsked => None,
            Self::Asked(labels) => Some(labels),
        }
    }
}

impl Rule {
    /// Whether the rule is about any group of this person.
    pub(super) fn is_for(&self, requester: &Person) -> bool {
        requester.is_in_any(&self.who)
    }

    /// Reports why this rule does not match, one sentence each; the place first, because that is what people get wrong
    /// most often. If nothing is reported, the rule matches.
    pub(super) fn miss(
        &self,
        ask: &AccessRequest,
        labelled: Labelled<'_>,
        now: Timestamp,
        words: Words,
        tell: &mut dyn FnMut(Part, fmt::Arguments<'_>),
    ) {
        self.miss_place(ask, labelled, tell);
        self.miss_words(ask, now, words, &mut |sentence| tell(Part::Words, sentence));
    }

    /// All required and optional fields of a request by this rule; the reason comes first.
    pub(super) fn needs(&self) -> Vec<Need> {
        [Need::of_reason(self.reason.as_ref())].into_iter().chain(self.fields.iter().map(Need::of_field)).collect()
    }

    /// The required fields that `ask` still lacks.
    pub(super) fn still_needs(&self, ask: &AccessRequest, words: Words) -> Vec<Need> {
        let is_told = |need: &Need| match &need.field {
            Some(field) => ask.fields.contains_key(field),
            None => words != Words::Draft { reason: false },
        };
        self.needs().into_iter().filter(|need| need.required && !is_told(need)).collect()
    }

    /// Whether the rule allows this access in this place, regardless of the person, the duration, the reason and the
    /// fields.
    pub(super) fn gives(&self, ask: &AccessRequest, labelled: Labelled<'_>) -> bool {
        let mut gives = true;
        self.miss_place(ask, labelled, &mut |_, _| gives = false);
        gives
    }

    fn miss_place(&self, ask: &AccessRequest, labelled: Labelled<'_>, tell: &mut dyn FnMut(Part, fmt::Arguments<'_>)) {
        if !self.clusters.contains(&ask.cluster) {
            tell(Part::Cluster, format_args!("is not for cluster `{}` (only {})", ask.cluster, Listed(&self.clusters)));
        }
        let namespaces = ask.scope.namespaces();
        if namespaces.is_empty() && !self.cluster_wide {
            tell(Part::Scope, format_args!("is not for the whole cluster (only {})", Listed(&self.namespaces)));
        }
        for namespace in namespaces {
            let mut unknown = false;
            let fits = self.namespaces.iter().any(|pattern| match pattern.fit(namespace, labelled.labels()) {
                Fit::Yes => true,
                Fit::No => false,
                Fit::Unknown => {
                    unknown = true;
                    matches!(labelled, Labelled::NotAsked)
                }
            });
            if !fits && unknown {
                tell(
                    Part::Scope,
                    format_args!(
                        "is not for namespace `{namespace}`, whose labels are unknown (only {})",
                        Listed(&self.namespaces)
                    ),
                );
            } else if !fits && self.namespaces.is_empty() {
                tell(Part::Scope, format_args!("is not for namespace `{namespace}` (only the whole cluster)"));
            } else if !fits {
                tell(
                    Part::Scope,
                    format_args!("is not for namespace `{namespace}` (only {})", Listed(&self.namespaces)),
                );
            }
        }
        match &ask.access {
            Access::Role(role) if self.roles.contains(role) => {}
            Access::Role(role) if self.roles.is_empty() => {
                tell(Part::Form, format_args!("does not allow role `{role}` (only exact rules)"));
            }
            Access::Role(role) => {
                tell(Part::Access, format_args!("does not allow role `{role}` (only {})", Listed(&self.roles)))
            }
            Access::Rules(_) if self.rules.is_empty() => {
                tell(Part::Form, format_args!("allows no exact rules (only the roles {})", Listed(&self.roles)));
            }
            Access::Rules(asked) => {
                for rule in asked.as_slice().iter().filter(|rule| !covers(&self.rules, rule)) {
                    tell(Part::Access, format_args!("does not allow `{}`", rule));
                }
            }
        }
    }

    fn miss_words(&self, ask: &AccessRequest, now: Timestamp, words: Words, tell: &mut dyn FnMut(fmt::Arguments<'_>)) {
        if ask.window > self.max_duration {
            tell(format_args!("allows at most {}, not {}", self.max_duration, ask.window));
        }
        if let Some(start) = ask.start.filter(|start| *start > now) {
            match self.start_within {
                None => tell(format_args!("allows only access that starts at once, not at {start:.0}")),
                Some(within) if start.duration_since(now) > within.duration() => {
                    tell(format_args!("allows a start at most {within} ahead, not at {start:.0}"));
                }
                Some(_) => {}
            }
        }
        if let Some(reason) = self.reason.as_ref().filter(|_| words != (Words::Draft { reason: false })) {
            reason.miss(ask.reason.as_str(), tell);
        }
        for field in &self.fields {
            field.miss(ask.fields.get(&field.name), words, tell);
        }
        for name in ask.fields.keys().filter(|name| !self.fields.iter().any(|field| field.name == **name)) {
            tell(format_args!("has no field `{name}`"));
        }
    }
}

impl ReasonRule {
    fn miss(&self, reason: &str, tell: &mut dyn FnMut(fmt::Arguments<'_>)) {
        let length = reason.trim().chars().count();
        let prompt = || prompted(String::new(), self.prompt.as_deref());
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(reason)) {
            tell(format_args!("requires a reason like `{pattern}`{}", prompt()));
        } else if length < self.min_length {
            tell(format_args!(
                "requires a reason of at least {} characters, not {length}{}",
                self.min_length,
                prompt()
            ));
        }
    }
}

impl Field {
    fn miss(&self, value: Option<&FieldValue>, words: Words, tell: &mut dyn FnMut(fmt::Arguments<'_>)) {
        let name = &self.name;
        let Some(value) = value else {
            if self.required && words == Words::Complete {
                let prompt = prompted(String::new(), self.prompt.as_deref());
                tell(format_args!("requires the field `{name}`{prompt}"));
            }
            return;
        };
        match &self.kind {
            FieldType::Text => {}
            FieldType::Number if is_number(value.as_str()) => {}
            FieldType::Number => tell(format_args!("requires a number for the field `{name}`, not `{value}`")),
            FieldType::Url if is_url(value.as_str()) => {}
            FieldType::Url => tell(format_args!("requires a URL for the field `{name}`, not `{value}`")),
            FieldType::Choice(choices) if choices.contains(value) => {}
            FieldType::Choice(choices) => {
                tell(format_args!("requires one of {} for the field `{name}`, not `{value}`", Listed(choices)));
            }
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(value.as_str())) {
            tell(format_args!("requires a field `{name}` like `{pattern}`, not `{value}`"));
        }
    }
}

/// Whether `text` is digits, optionally with one decimal point between them and a leading minus sign.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    text.split_once('.').map_or_else(|| digits(text), |(whole, part)| digits(whole) && digits(part))
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.starts_with('/') && !rest.is_empty() && !rest.contains(char::is_whitespace))
}

impl Deny {
    /// Whether this denial is about the request, regardless of its namespaces.
    pub(super) fn is_about(&self, requester: &Person, ask: &AccessRequest) -> bool {
        let role = match &ask.access {
            Access::Role(role) => Some(role),
            Access::Rules(_) => None,
        };
        self.is_about_offer(requester, &ask.cluster, ask.scope.namespaces().is_empty(), role)
    }

    /// Whether this denial is about a role (or exact rules if `role` is `None`), in some namespaces or the whole
    /// cluster.
    pub(super) fn is_about_offer(
        &self,
        requester: &Person,
        cluster: &ClusterName,
        whole_cluster: bool,
        role: Option<&RoleRef>,
    ) -> bool {
        self.who.as_ref().is_none_or(|groups| requester.is_in_any(groups))
            && self.clusters.as_ref().is_none_or(|clusters| clusters.contains(cluster))
            && self.cluster_wide.is_none_or(|wide| wide == whole_cluster)
            && self.roles.as_ref().is_none_or(|roles| role.is_some_and(|role| roles.contains(role)))
    }

    /// Whether this denies the request. If that depends on unknown labels, the request is denied, unless the cluster
    /// was not asked yet.
    pub(super) fn denies(&self, requester: &Person, ask: &AccessRequest, labelled: Labelled<'_>) -> bool {
        let whole_cluster = ask.scope.namespaces().is_empty();
        self.is_about(requester, ask)
            // The whole cluster includes every namespace.
            && self.namespaces.as_ref().is_none_or(|patterns| whole_cluster || ask.scope.namespaces().iter().any(|namespace| {
                patterns.iter().any(|pattern| match pattern.fit(namespace, labelled.labels()) {
                    Fit::Yes => true,
                    Fit::No => false,
                    Fit::Unknown => matches!(labelled, Labelled::Asked(_)),
                })
            }))
    }
}

/// A list in backticks, separated by commas.
struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, word) in self.0.iter().enumerate() {
            write!(f, "{}`{word}`", if number == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

//! Offers: what the rules allow a group to request in one place, on which terms, and what excludes it. `who-can` lists
//! offers, `diff` compares them.
//!
//! Requirements on the reason, the fields and the start are terms here, and never exclude a rule. The risk of a role is
//! unknown here, so the terms lack the steps that guardrails add because of risk.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::pattern::Labels;
use super::rule::{BreakGlass, Drift, Field, FieldType, Labelled, Rule};
use super::{Policy, Step};
use crate::grant::request::{Access, AccessRequest, ClusterName, Namespace, Person, RoleRef, Scope, Window};
use crate::grant::{reading, scope};

/// What one rule offers.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// The rule.
    pub rule: String,
    /// Its terms in words, by the names of the keys in the file.
    #[schema(value_type = BTreeMap<String, String>)]
    pub terms: BTreeMap<&'static str, String>,
    #[serde(skip)]
    longest: Window,
}

impl PartialEq for Offer {
    /// Offers are equal if their terms are; the names of their rules may differ.
    fn eq(&self, other: &Self) -> bool {
        self.terms == other.terms
    }
}

/// A group that may request the access by some rule.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The group.
    pub group: String,
    /// The rule and its terms.
    #[serde(flatten)]
    pub offer: Offer,
    /// Whether it depends on unknown labels of a namespace.
    pub if_labels: bool,
    /// What excludes it all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
    /// Denials that exclude those who are also in other groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// The shortest request for this access in this place by somebody in these groups. Its reason and fields are ignored.
pub(super) fn request(
    groups: &BTreeSet<String>,
    cluster: &ClusterName,
    scope: &Scope,
    access: &Access,
) -> Option<(Person, AccessRequest)> {
    let person = Person { name: "anybody".parse().ok()?, groups: groups.clone(), login: None };
    let ask = AccessRequest {
        cluster: cluster.clone(),
        scope: scope.clone(),
        access: access.clone(),
        window: Window::LEAST,
        reason: "any".parse().ok()?,
        fields: BTreeMap::new(),
        start: None,
    };
    Some((person, ask))
}

impl Policy {
    /// Who may request a role in a place, in the order of the rules; without `cluster`, in all clusters.
    #[must_use]
    pub fn who_can(
        &self,
        role: &RoleRef,
        cluster: Option<&ClusterName>,
        scope: &Scope,
        labels: &Labels,
    ) -> Vec<Holder> {
        let access = Access::Role(role.clone());
        let mut holders = Vec::new();
        for rule in &self.rules {
            for there in rule.clusters.iter().filter(|there| cluster.is_none_or(|only| only == *there)) {
                for group in &rule.who {
                    let groups = BTreeSet::from([group.clone()]);
                    let Some((person, ask)) = request(&groups, there, scope, &access) else { continue };
                    let if_labels = !rule.gives(&ask, Labelled::Asked(labels));
                    if if_labels && !could_give(rule, &ask, labels) {
                        continue;
                    }
                    holders.push(Holder {
                        cluster: there.clone(),
                        group: group.clone(),
                        offer: self.offer(rule, &ask),
                        if_labels,
                        closed: self.closes(&person, &ask, Labelled::Asked(labels)),
                        except: self.except(&person, &ask, labels),
                    });
                }
            }
        }
        holders
    }

    /// What a person is offered, in the order in which the rules are tried, without offers that no request could use.
    /// Empty if a denial or a guardrail excludes the access.
    pub(super) fn offers(&self, person: &Person, ask: &AccessRequest, labels: &Labels) -> Vec<Offer> {
        let mut offers: Vec<Offer> = Vec::new();
        let labelled = Labelled::Asked(labels);
        if self.closes(person, ask, labelled).is_some() {
            return offers;
        }
        for rule in self.rules.iter().filter(|rule| rule.is_for(person) && rule.gives(ask, labelled)) {
            let offer = self.offer(rule, ask);
            if !offers.iter().any(|before| before.takes_all_of(&offer)) {
                offers.push(offer);
            }
        }
        offers
    }

    fn closes(&self, person: &Person, ask: &AccessRequest, labelled: Labelled<'_>) -> Option<String> {
        if let Some(deny) = self.deny.iter().find(|deny| deny.denies(person, ask, labelled)) {
            let unknown =
                if deny.denies(person, ask, Labelled::NotAsked) { "" } else { ", as far as labels are known" };
            return Some(format!("denied by `{}`{unknown}: {}", deny.name, deny.why));
        }
        if let Some((name, why)) = self.guardrails.refuses(ask, None) {
            return Some(format!("guardrail `{name}`: {why}"));
        }
        scope::access_fits_scope(ask).err().map(|refusal| refusal.why)
    }

    fn except(&self, person: &Person, ask: &AccessRequest, labels: &Labels) -> Vec<String> {
        let others = self.deny.iter().filter_map(|deny| Some((deny, deny.who.as_ref()?)));
        let others = others.filter(|(deny, who)| {
            let both = Person {
                name: person.name.clone(),
                groups: who.iter().chain(&person.groups).cloned().collect(),
                login: None,
            };
            !person.is_in_any(who) && deny.denies(&both, ask, Labelled::Asked(labels))
        });
        others.map(|(deny, who)| format!("{} (denied by `{}`)", who.join(", "), deny.name)).collect()
    }

    fn offer(&self, rule: &Rule, ask: &AccessRequest) -> Offer {
        let mut steps = rule.steps.clone();
        self.guardrails.tighten(&mut steps, ask, None);
        let sessions = self.guardrails.sessions(&rule.sessions, None);
        let mut terms = BTreeMap::from([
            ("maxDuration", rule.max_duration.to_string()),
            ("maxTotal", rule.max_total.to_string()),
            ("approval", describe(&steps)),
            ("record", sessions.record.as_str().to_owned()),
        ]);
        let mut tell = |key: &'static str, told: Option<String>| told.map(|told| terms.insert(key, told));
        if let Some(reason) = &rule.reason {
            let pattern = reason.pattern.as_ref().map(|pattern| format!("like `{pattern}`"));
            let length = (reason.min_length > 0).then(|| format!("of at least {} characters", reason.min_length));
            let told: Vec<String> = pattern.into_iter().chain(length).collect();
            tell("reason", (!told.is_empty()).then(|| told.join(", ")));
        }
        let fields: Vec<String> = rule.fields.iter().map(describe_field).collect();
        tell("fields", (!fields.is_empty()).then(|| fields.join("; ")));
        tell("startWithin", rule.start_within.map(|within| within.to_string()));
        tell("pending", rule.pending.map(|pending| pending.to_string()));
        tell("collect", rule.collect.map(|collect| collect.to_string()));
        tell("certificate", rule.certificate.map(|certificate| certificate.to_string()));
        tell("narrow", (rule.narrow && matches!(ask.access, Access::Role(_))).then(|| "an approver may".to_owned()));
        tell("drift", (rule.drift == Drift::Warn).then(|| "only warned of".to_owned()));
        tell("recordInput", sessions.record_input.then(|| "what is typed too".to_owned()));
        tell("idle", sessions.idle.map(|idle| idle.to_string()));
        let refused: Vec<String> =
            sessions.refuse.iter().map(|one| format!("`{}`: {}", one.name, one.says())).collect();
        tell("refuse", (!refused.is_empty()).then(|| refused.join("; ")));
        tell("readers", rule.readers.as_ref().map(|readers| reading::describe(Some(readers))));
        tell("notify", (!rule.notify.is_empty()).then(|| rule.notify.join(", ")));
        tell("login", rule.login.as_ref().map(ToString::to_string));
        tell("breakGlass", rule.break_glass.as_ref().map(|glass| format!("{} {}", glass.waits(), glass.lasts())));
        Offer { rule: rule.name.clone(), terms, longest: rule.max_duration }
    }
}

impl BreakGlass {
    /// `at once`, `after 10m`
    pub(super) fn waits(&self) -> String {
        self.after.map_or("at once".to_owned(), |after| format!("after {after}"))
    }

    /// `for 30m, reviewed by 1 of security within 4h`
    pub(super) fn lasts(&self) -> String {
        format!("for {}, reviewed by {} within {}", self.max_duration, describe(&self.review.steps), self.review.within)
    }
}

/// Whether the rule would match with some labels of the namespaces whose labels are unknown.
fn could_give(rule: &Rule, ask: &AccessRequest, labels: &Labels) -> bool {
    let each = |namespace: &Namespace| AccessRequest { scope: namespace.clone().into(), ..ask.clone() };
    let namespaces = ask.scope.namespaces();
    let mut known = namespaces.iter().filter(|namespace| labels.contains_key(*namespace));
    rule.gives(ask, Labelled::NotAsked) && known.all(|name| rule.gives(&each(name), Labelled::Asked(labels)))
}

impl Offer {
    /// Whether this offer, which is tried first, covers every request that `later` could match.
    fn takes_all_of(&self, later: &Self) -> bool {
        let same = |key: &str| self.terms.get(key) == later.terms.get(key);
        self.longest >= later.longest
            && (same("reason") || !self.terms.contains_key("reason"))
            && same("fields")
            && (same("startWithin") || !later.terms.contains_key("startWithin"))
    }
}

fn describe_field(field: &Field) -> String {
    let kind = match &field.kind {
        FieldType::Text => "text".to_owned(),
        FieldType::Number => "number".to_owned(),
        FieldType::Url => "url".to_owned(),
        FieldType::Choice(choices) => {
            format!("one of {}", choices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
    };
    let pattern = field.pattern.as_ref().map_or(String::new(), |pattern| format!(" like `{pattern}`"));
    let required = if field.required { ", required" } else { "" };
    let private = if field.is_private { ", private" } else { "" };
    format!("{} ({kind}{pattern}{required}{private})", field.name)
}

/// The steps in words, for people.
pub(super) fn describe(steps: &[Step]) -> String {
    let step = |step: &Step| match &step.guardrail {
        Some(why) => format!("{step} (guardrail: {why})"),
        None => step.to_string(),
    };
    match steps {
        [] => "no approval needed".to_owned(),
        steps => steps.iter().map(step).collect::<Vec<_>>().join(", and "),
    }
}

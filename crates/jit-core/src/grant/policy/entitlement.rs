//! What the rules let one person request: the other side of [`decide`](super::decide), without a request.
//!
//! ```text
//!  each rule for the person ─► each cluster ─► each access in each place ─► denials, guardrails ─► Entitlement, or Closed
//! ```
//! A rule for none of the person's groups is not shown, and neither is a denial of something that they cannot request. Labels
//! and risks, which only the cluster knows, are shown as conditions. `jit-login can` shows it.

use std::collections::BTreeMap;

use super::pattern::{NamespacePattern, Overlap};
use super::rule::{BreakGlass, Need, Rule};
use super::{Policy, Step};
use crate::grant::SessionTerms;
use crate::grant::request::{ClusterName, Person, RoleRef, Window};
use crate::rbac::role;

/// What one rule lets a person request, in some clusters, in some namespaces or the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// The rule.
    pub rule: String,
    /// Where.
    pub clusters: Vec<ClusterName>,
    /// In which namespaces; none at all is the whole cluster.
    pub namespaces: Vec<NamespacePattern>,
    /// Which roles.
    pub roles: Vec<RoleRef>,
    /// Exact rules, and whatever lies below them.
    pub rules: Vec<role::Rule>,
    /// The longest access.
    pub max_duration: Window,
    /// The longest access with extensions.
    pub max_total: Window,
    /// How far ahead it may begin; none is at once only.
    pub start_within: Option<Window>,
    /// Who has to approve; none at all is pre-approved.
    pub steps: Vec<Step>,
    /// Who has to approve besides, if the role has such a risk; without steps that `steps` satisfy anyway.
    pub by_risk: Vec<Step>,
    /// What a request has to say, or may: the reason first.
    pub needs: Vec<Need>,
    /// What is recorded of what is done with it, and what is refused.
    pub sessions: SessionTerms,
    /// The groups whose members may read recordings, if the rule names them.
    pub readers: Option<Vec<String>>,
    /// Access when nobody answers.
    pub break_glass: Option<BreakGlass>,
    /// What denials and guardrails take away from the rule, a sentence each.
    pub except: Vec<String>,
}

/// A rule for a person that gives them nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The rule.
    pub rule: String,
    /// What closes it, a sentence each.
    pub by: Vec<String>,
}

/// Where a rule gives something.
#[derive(Clone, Copy)]
enum Place<'a> {
    In(&'a NamespacePattern),
    WholeCluster,
}

/// What denies something, with all of a rule that it denies.
#[derive(Default)]
struct Denied {
    why: String,
    accesses: Vec<String>,
    places: Vec<String>,
}

impl Policy {
    /// What this person may request, in the order in which the rules are tried; and the rules for them that are closed.
    #[must_use]
    pub fn entitlements(&self, person: &Person) -> (Vec<Entitlement>, Vec<Closed>) {
        let (mut entitlements, mut closed) = (Vec::new(), Vec::new());
        for rule in self.rules.iter().filter(|rule| rule.is_for(person)) {
            let mut of_rule: Vec<Entitlement> = Vec::new();
            let mut closed_by: Vec<String> = Vec::new();
            for cluster in &rule.clusters {
                let (found, denied) = self.entitlements_in(person, rule, cluster);
                if found.is_empty() {
                    denied.into_iter().for_each(|sentence| keep(&mut closed_by, sentence));
                }
                for mut one in found {
                    match of_rule.iter_mut().find(|other| other.is_the_same_elsewhere(&one)) {
                        Some(other) => other.clusters.append(&mut one.clusters),
                        None => of_rule.push(one),
                    }
                }
            }
            if of_rule.is_empty() {
                closed.push(Closed { rule: rule.name.clone(), by: closed_by });
            }
            entitlements.append(&mut of_rule);
        }
        (entitlements, closed)
    }

    /// What a rule gives in one cluster, and what takes something of it away.
    fn entitlements_in(&self, person: &Person, rule: &Rule, cluster: &ClusterName) -> (Vec<Entitlement>, Vec<String>) {
        let accesses = || rule.roles.iter().map(Some).chain((!rule.rules.is_empty()).then_some(None));
        let places = || {
            let whole = rule.cluster_wide.then_some(Place::WholeCluster);
            rule.namespaces.iter().map(Place::In).chain(whole)
        };
        let mut denials: BTreeMap<String, Denied> = BTreeMap::new();
        let mut found: Vec<Entitlement> = Vec::new();
        for role in accesses() {
            let (mut namespaces, mut whole_cluster) = (Vec::new(), false);
            for place in places().filter(|place| fits(role, *place)) {
                let mut is_open = true;
                for (by, why, overlap) in self.takes_away(person, cluster, role, place) {
                    is_open &= overlap != Overlap::All;
                    let denied = denials.entry(by).or_default();
                    denied.why = why;
                    keep(&mut denied.accesses, role.map_or("exact rules".to_owned(), |role| format!("role {role}")));
                    keep(&mut denied.places, place.describe());
                }
                match place {
                    Place::In(pattern) if is_open => namespaces.push(pattern.clone()),
                    Place::WholeCluster if is_open => whole_cluster = true,
                    _ => {}
                }
            }
            let named = (!namespaces.is_empty()).then_some(namespaces);
            for namespaces in named.into_iter().chain(whole_cluster.then(Vec::new)) {
                let mut one = self.entitlement(rule, cluster, namespaces);
                match role {
                    Some(role) => one.roles.push(role.clone()),
                    None => one.rules.clone_from(&rule.rules),
                }
                match found.iter_mut().find(|other| other.namespaces == one.namespaces) {
                    Some(other) => {
                        other.roles.append(&mut one.roles);
                        other.rules.append(&mut one.rules);
                    }
                    None => found.push(one),
                }
            }
        }
        let (all_accesses, all_places) = (accesses().count(), places().count());
        let told = |(by, denied): (String, Denied)| {
            let accesses = (denied.accesses.len() < all_accesses).then(|| denied.accesses.join(", "));
            let places = (denied.places.len() < all_places).then(|| denied.places.join(", "));
            let what: Vec<String> = accesses.into_iter().chain(places).collect();
            let what = if what.is_empty() { String::new() } else { format!(" ({})", what.join(" in ")) };
            format!("{by}{what}: {}", denied.why)
        };
        let except: Vec<String> = denials.into_iter().map(told).collect();
        found.iter_mut().for_each(|one| one.except.clone_from(&except));
        (found, except)
    }

    /// What takes this access in this place away, all of it or some, with its name and what it says.
    fn takes_away(
        &self,
        person: &Person,
        cluster: &ClusterName,
        role: Option<&RoleRef>,
        place: Place<'_>,
    ) -> Vec<(String, String, Overlap)> {
        let mut all = Vec::new();
        let whole_cluster = matches!(place, Place::WholeCluster);
        for deny in self.deny.iter().filter(|deny| deny.is_about_offer(person, cluster, whole_cluster, role)) {
            let overlap = match (&deny.namespaces, place) {
                // The whole cluster reaches every namespace.
                (None, _) | (_, Place::WholeCluster) => Overlap::All,
                (Some(patterns), Place::In(pattern)) => {
                    patterns.iter().map(|other| pattern.overlap(other)).max().unwrap_or(Overlap::No)
                }
            };
            let only = deny.namespaces.as_ref().filter(|_| overlap == Overlap::Some).map(|patterns| {
                let told: Vec<String> = patterns.iter().map(ToString::to_string).collect();
                format!(", in namespaces like {}", told.join(", "))
            });
            all.push((format!("denied by `{}`{}", deny.name, only.unwrap_or_default()), deny.why.clone(), overlap));
        }
        // Of the guardrails only a glob of namespaces can take a part of a rule away: a rule beyond the others is not read.
        if let Place::In(pattern) = place {
            for glob in &self.guardrails.never_namespaces {
                let overlap = pattern.overlap(&NamespacePattern::Glob(glob.clone()));
                all.push((
                    "guardrail `never.namespaces`".to_owned(),
                    "access to these namespaces is never granted".to_owned(),
                    overlap,
                ));
            }
        }
        all.retain(|(_, _, overlap)| *overlap != Overlap::No);
        all
    }

    fn entitlement(&self, rule: &Rule, cluster: &ClusterName, namespaces: Vec<NamespacePattern>) -> Entitlement {
        let mut steps = rule.steps.clone();
        self.guardrails.tighten_scope(&mut steps, namespaces.is_empty());
        Entitlement {
            rule: rule.name.clone(),
            clusters: vec![cluster.clone()],
            namespaces,
            roles: Vec::new(),
            rules: Vec::new(),
            max_duration: rule.max_duration,
            max_total: rule.max_total,
            start_within: rule.start_within,
            steps,
            by_risk: self.guardrails.by_risk(&rule.steps),
            needs: rule.needs(),
            sessions: self.guardrails.sessions(&rule.sessions, None),
            readers: rule.readers.clone(),
            break_glass: rule.break_glass.clone(),
            except: Vec::new(),
        }
    }
}

impl Entitlement {
    fn is_the_same_elsewhere(&self, other: &Self) -> bool {
        let here = Self { clusters: other.clusters.clone(), ..self.clone() };
        here == *other
    }
}

impl Place<'_> {
    fn describe(self) -> String {
        match self {
            Self::In(pattern) => format!("namespace {pattern}"),
            Self::WholeCluster => "the whole cluster".to_owned(),
        }
    }
}

/// Whether such access can be in such a place: a Role and exact rules are in namespaces only.
fn fits(role: Option<&RoleRef>, place: Place<'_>) -> bool {
    matches!(place, Place::In(_)) || matches!(role, Some(RoleRef::ClusterRole(_)))
}

fn keep(words: &mut Vec<String>, word: String) {
    if !words.contains(&word) {
        words.push(word);
    }
}

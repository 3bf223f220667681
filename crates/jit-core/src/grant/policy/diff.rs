//! What changes between two policies: who gains access, who loses access, and whose terms change.
//!
//! ```text
//!  rules of both ─► cells: groups × cluster × place × access ─► what each policy offers there ─► + - ~
//! ```
//! Each line holds for a witness: one namespace with its labels, for which both policies were evaluated. Not every
//! difference has a line. The comparison does not see
//! - people in several groups, except a group of a rule together with a group of a denial;
//! - namespaces that three or more patterns match, or patterns of two rules; it tries one name for each pattern, with
//!   only the labels that the pattern requires;
//! - which texts two regular expressions accept: it compares them as text;
//! - the approvals and recordings that guardrails require by the risk of a role: it compares those keys as text.
//!
//! If the rules differ and no line shows it, the result says so. `jitd policy diff` is the caller.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::Policy;
use super::offer::{Offer, request};
use super::pattern::{Labels, NamespacePattern, witness};
use super::rule::Rule;
use crate::grant::request::{Access, ClusterName, ExactRules, Scope};
use crate::rbac::role;

/// All differences that were found.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Difference {
    /// A line for each cell, in order.
    pub cells: Vec<Change>,
    /// Limits and guardrails, in the order of the files.
    pub settings: Vec<Setting>,
    /// Whether rules or denials differ, but no cell shows it.
    pub unseen: bool,
}

/// One cell whose offers differ.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Change {
    /// `+` for a gain, `-` for a loss, `~` for other terms.
    #[schema(value_type = String, pattern = "^[-+~]$")]
    pub sign: char,
    /// The cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The people who are in all of these groups.
    pub groups: Vec<String>,
    /// The namespaces as the files write them, or the whole cluster.
    pub place: String,
    /// One of these namespaces, with its labels; empty for the whole cluster.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, String>>)]
    pub witness: Labels,
    /// The role, or the exact rules.
    pub access: String,
    /// What the old policy offers.
    pub before: Vec<Offer>,
    /// What the new policy offers.
    pub now: Vec<Offer>,
    #[serde(skip)]
    // The tests put this request to the daemon's own decision.
    pub(super) asked: (Scope, Access),
}

/// A key of the limits or guardrails whose value differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Setting {
    /// Its name in the files.
    pub key: &'static str,
    /// The old value.
    pub before: String,
    /// The new value.
    pub now: String,
}

type Key = (ClusterName, Vec<String>, String, String);

/// A cell, and the wider cells that contain it.
struct Cell {
    scope: Scope,
    labels: Labels,
    access: Access,
    parts_of: BTreeSet<Key>,
}

/// What changes from `old` to `new`.
#[must_use]
pub fn diff(old: &Policy, new: &Policy) -> Difference {
    let mut cells: BTreeMap<Key, Cell> = BTreeMap::new();
    for rule in old.rules.iter().chain(&new.rules) {
        add_cells(rule, [old, new], &mut cells);
    }
    let mut found: BTreeMap<&Key, Change> = BTreeMap::new();
    for (key, cell) in &cells {
        let groups: BTreeSet<String> = key.1.iter().cloned().collect();
        let Some((person, ask)) = request(&groups, &key.0, &cell.scope, &cell.access) else { continue };
        let (before, now) = (old.offers(&person, &ask, &cell.labels), new.offers(&person, &ask, &cell.labels));
        if before == now {
            continue;
        }
        let sign = match (before.is_empty(), now.is_empty()) {
            (true, _) => '+',
            (_, true) => '-',
            _ => '~',
        };
        let (cluster, groups, place, access) = key.clone();
        let (witness, asked) = (cell.labels.clone(), (cell.scope.clone(), cell.access.clone()));
        found.insert(key, Change { sign, cluster, groups, place, witness, access, before, now, asked });
    }
    let is_new = |key: &Key, change: &Change| {
        let wider = cells.get(key).into_iter().flat_map(|cell| &cell.parts_of).filter_map(|wider| found.get(wider));
        !wider.into_iter().any(|wider| (&wider.before, &wider.now) == (&change.before, &change.now))
    };
    let lines: Vec<Change> =
        found.iter().filter(|(key, change)| is_new(key, change)).map(|(_, change)| change.clone()).collect();
    let settings = settings(old, new);
    let written = |policy: &Policy| format!("{:?} {:?}", policy.rules, policy.deny);
    let unseen = lines.is_empty() && written(old) != written(new);
    Difference { cells: lines, settings, unseen }
}

impl Difference {
    /// Whether there is no difference.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.settings.is_empty() && !self.unseen
    }
}

fn add_cells(rule: &Rule, policies: [&Policy; 2], cells: &mut BTreeMap<Key, Cell>) {
    let denials = || policies.into_iter().flat_map(|policy| &policy.deny);
    let denied: BTreeSet<&String> = denials().filter_map(|deny| deny.who.as_ref()).flatten().collect();
    let places = places(rule, policies);
    for cluster in &rule.clusters {
        for group in &rule.who {
            let alone = vec![group.clone()];
            let mut people = vec![alone.clone()];
            people.extend(denied.iter().filter(|other| **other != group).map(|other| {
                let mut both = vec![group.clone(), (*other).clone()];
                both.sort_unstable();
                both
            }));
            for (place, part_of, scope, labels) in &places {
                for (access, wanted) in accesses(rule, scope) {
                    for groups in &people {
                        let key = (cluster.clone(), groups.clone(), place.clone(), access.clone());
                        let mut wider = BTreeSet::new();
                        if *groups != alone {
                            wider.insert((cluster.clone(), alone.clone(), place.clone(), access.clone()));
                        }
                        if let Some(whole) = part_of {
                            wider.insert((cluster.clone(), groups.clone(), whole.clone(), access.clone()));
                            wider.insert((cluster.clone(), alone.clone(), whole.clone(), access.clone()));
                        }
                        let cell = cells.entry(key).or_insert_with(|| Cell {
                            scope: scope.clone(),
                            labels: labels.clone(),
                            access: wanted.clone(),
                            parts_of: BTreeSet::new(),
                        });
                        cell.parts_of.extend(wider);
                    }
                }
            }
        }
    }
}

/// The places of a rule: each pattern, each pattern together with one of a denial or guardrail, and the whole cluster.
/// The second value is the name of the place that contains it.
fn places(rule: &Rule, policies: [&Policy; 2]) -> Vec<(String, Option<String>, Scope, Labels)> {
    let mut closing: Vec<NamespacePattern> = Vec::new();
    for policy in policies {
        let denied = policy.deny.iter().filter_map(|deny| deny.namespaces.as_ref()).flatten().cloned();
        let never = policy.guardrails.never_namespaces.iter().cloned().map(NamespacePattern::Glob);
        for pattern in denied.chain(never) {
            if !closing.contains(&pattern) {
                closing.push(pattern);
            }
        }
    }
    let mut places = Vec::new();
    if rule.cluster_wide {
        places.push(("the whole cluster".to_owned(), None, Scope::Cluster, Labels::new()));
    }
    let found = |patterns: &[&NamespacePattern]| {
        let (name, labels) = witness(patterns)?;
        Some((Scope::from(name.clone()), Labels::from([(name, labels)])))
    };
    for pattern in &rule.namespaces {
        let whole = pattern.to_string();
        if let Some((scope, labels)) = found(&[pattern]) {
            places.push((whole.clone(), None, scope, labels));
        }
        for other in closing.iter().filter(|other| **other != *pattern) {
            if let Some((scope, labels)) = found(&[pattern, other]) {
                places.push((format!("{whole} and {other}"), Some(whole.clone()), scope, labels));
            }
        }
    }
    places
}

/// The access that a rule allows: its roles, and each single permission of its ceiling, which applies to namespaces only.
/// `*` is replaced by a word that no ceiling contains.
fn accesses(rule: &Rule, scope: &Scope) -> Vec<(String, Access)> {
    let roles = rule.roles.iter().map(|role| Access::Role(role.clone()));
    let mut accesses: Vec<(String, Access)> = roles.map(|access| (access.to_string(), access)).collect();
    if *scope == Scope::Cluster {
        return accesses;
    }
    let exact = |word: &String| word.replace('*', "any");
    for ceiling in &rule.rules {
        let names: Vec<Option<&String>> = match ceiling.resource_names.as_slice() {
            [] => vec![None],
            names => names.iter().map(Some).collect(),
        };
        for verb in &ceiling.verbs {
            for group in &ceiling.api_groups {
                for resource in &ceiling.resources {
                    for name in &names {
                        let single = role::Rule {
                            api_groups: vec![exact(group)],
                            resources: vec![exact(resource)],
                            resource_names: name.iter().map(|name| (*name).clone()).collect(),
                            verbs: vec![exact(verb)],
                            ..role::Rule::default()
                        };
                        if let Ok(rules) = ExactRules::try_from(vec![single]) {
                            let access = Access::Rules(rules);
                            accesses.push((access.to_string(), access));
                        }
                    }
                }
            }
        }
    }
    accesses
}

fn settings(old: &Policy, new: &Policy) -> Vec<Setting> {
    let listed = |policy: &Policy| {
        let number = |limit: Option<u32>| limit.map_or("none".to_owned(), |limit| limit.to_string());
        let all = |words: &mut dyn Iterator<Item = String>| words.collect::<Vec<_>>().join(", ");
        let guardrails = &policy.guardrails;
        let risks = guardrails.risks.iter().map(|risk| {
            format!("{}: {}", risk.of.describe(), super::offer::describe(std::slice::from_ref(&risk.step)))
        });
        let recorded = guardrails.risks_recorded.iter();
        let recorded = recorded.map(|(of, record)| format!("{}: record {}", of.describe(), record.as_str()));
        [
            ("limits.pending", number(policy.limits.pending)),
            ("limits.live", number(policy.limits.live)),
            ("limits.perHour", number(policy.limits.per_hour)),
            ("limits.afterDenial", policy.limits.after_denial.map_or("none".to_owned(), |within| within.to_string())),
            ("guardrails.maxDuration", guardrails.max_duration.to_string()),
            ("guardrails.maxTotal", guardrails.max_total.to_string()),
            ("guardrails.never.roles", all(&mut guardrails.never_roles.iter().map(ToString::to_string))),
            ("guardrails.never.namespaces", all(&mut guardrails.never_namespaces.iter().map(ToString::to_string))),
            ("guardrails.maxRisk", guardrails.max_risk.as_str().to_owned()),
            ("guardrails.clusterWide.approvers", guardrails.cluster_wide_approvers.to_string()),
            ("guardrails.risks", all(&mut risks.into_iter().chain(recorded))),
            ("guardrails.classify", all(&mut guardrails.classified.iter().map(ToString::to_string))),
            ("guardrails.record", guardrails.record.as_str().to_owned()),
            (
                "guardrails.refuse",
                all(&mut guardrails.refuse.iter().map(|one| format!("`{}`: {}", one.name, one.says()))),
            ),
        ]
    };
    let pairs = listed(old).into_iter().zip(listed(new));
    let changed = pairs.filter(|((_, before), (_, now))| before != now);
    changed.map(|((key, before), (_, now))| Setting { key, before, now }).collect()
}

//! What was used of a grant, as rules: never wider than what is held, and without what everybody may do anyway.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::rbac::{Rule, canonical, covers};

use super::{Place, Wanted, WantedRole};
use crate::access::{Access, Holding};
use crate::audit::{Usage, Used};
use crate::authorize::{Action, ResourceAction, rule_allows};
use crate::finding::{Kind, Subject};

/// The role that is held, where it is held.
pub(super) fn as_held(holding: &Holding<'_>) -> Wanted {
    let places = match holding.namespace() {
        Some(namespace) => BTreeSet::from([Place::Namespace(namespace.to_owned())]),
        None => BTreeSet::from([Place::Cluster, Place::AnyNamespace]),
    };
    Wanted { role: WantedRole::Held, rules: held_rules(holding), places }
}

/// What was used, and where. What the logs know no use of stays as wide as it is: whoever needs it seldom would not get it back.
pub(super) fn wanted(access: &Access<'_>, holding: &Holding<'_>, usage: &Usage) -> Vec<Wanted> {
    let mut everywhere = Rights::default();
    let mut inside = Rights::default();
    let mut namespaces = BTreeSet::new();
    for used in &usage.used {
        let Some(names) = held_names(access, holding, used) else { continue };
        match holding.namespace().or(used.namespace.as_deref()) {
            Some(namespace) => {
                namespaces.insert(Place::Namespace(namespace.to_owned()));
                inside.add(used, names);
            }
            None => everywhere.add(used, names),
        }
    }
    let mut all = Vec::new();
    for (rights, places, cluster) in [(inside, namespaces, false), (everywhere, BTreeSet::from([Place::Cluster]), true)]
    {
        let rules = rights.rules();
        if rules.is_empty() {
            continue;
        }
        let is_all = holding.rules.iter().all(|held| covers(&rules, held));
        all.push(match is_all {
            true => Wanted { role: WantedRole::Held, rules: held_rules(holding), places },
            false => Wanted { role: WantedRole::Narrower { cluster }, rules, places },
        });
    }
    if all.is_empty() { vec![as_held(holding)] } else { all }
}

/// Everything that was used, in any place.
pub(super) fn used_rules(access: &Access<'_>, holding: &Holding<'_>, usage: &Usage) -> Vec<Rule> {
    let mut rights = Rights::default();
    for used in &usage.used {
        if let Some(names) = held_names(access, holding, used) {
            rights.add(used, names);
        }
    }
    rights.rules()
}

fn held_rules(holding: &Holding<'_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = holding.rules.iter().map(|rule| (*rule).clone()).collect();
    canonical(&mut rules);
    rules
}

/// The names of the objects to which the right is limited; none if it is not limited. `None` if the role does not allow it any
/// more, or if everybody may do it.
fn held_names(access: &Access<'_>, holding: &Holding<'_>, used: &Used) -> Option<Vec<String>> {
    let everybody = Subject { kind: Kind::Group, namespace: None, name: "system:authenticated".to_owned() };
    if access.allows(&everybody, &[], &action(used, "")).is_some() {
        return None;
    }
    let mut limited: Vec<String> = Vec::new();
    for rule in holding.rules {
        match rule.resource_names.first() {
            None if rule_allows(rule, &action(used, "")) => return Some(Vec::new()),
            Some(name) if rule_allows(rule, &action(used, name)) => {
                limited.extend(rule.resource_names.iter().cloned());
            }
            None | Some(_) => {}
        }
    }
    limited.sort_unstable();
    limited.dedup();
    (!limited.is_empty()).then_some(limited)
}

fn is_url(used: &Used) -> bool {
    used.group.is_empty() && used.resource.starts_with('/')
}

fn action<'q>(used: &'q Used, name: &'q str) -> Action<'q> {
    if is_url(used) {
        return Action::Url { verb: &used.verb, path: &used.resource };
    }
    let (resource, subresource) = used.resource.split_once('/').unwrap_or((&used.resource, ""));
    Action::Resource(ResourceAction {
        verb: &used.verb,
        group: &used.group,
        resource,
        subresource,
        name,
        namespace: used.namespace.as_deref(),
    })
}

/// Single rights, put together into rules.
#[derive(Default)]
struct Rights {
    /// By group, resource and names: the verbs.
    resources: BTreeMap<(String, String, Vec<String>), BTreeSet<String>>,
    /// By path: the verbs.
    urls: BTreeMap<String, BTreeSet<String>>,
}

impl Rights {
    fn add(&mut self, used: &Used, names: Vec<String>) {
        let verbs = if is_url(used) {
            self.urls.entry(used.resource.clone()).or_default()
        } else {
            self.resources.entry((used.group.clone(), used.resource.clone(), names)).or_default()
        };
        verbs.insert(used.verb.clone());
    }

    fn rules(self) -> Vec<Rule> {
        let mut resources: BTreeMap<(String, Vec<String>, BTreeSet<String>), Vec<String>> = BTreeMap::new();
        for ((group, resource, names), verbs) in self.resources {
            resources.entry((group, names, verbs)).or_default().push(resource);
        }
        let mut urls: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
        for (url, verbs) in self.urls {
            urls.entry(verbs).or_default().push(url);
        }
        let of_resources = resources.into_iter().map(|((group, resource_names, verbs), resources)| Rule {
            api_groups: vec![group],
            resources,
            resource_names,
            verbs: verbs.into_iter().collect(),
            ..Rule::default()
        });
        let of_urls = urls.into_iter().map(|(verbs, non_resource_urls)| Rule {
            non_resource_urls,
            verbs: verbs.into_iter().collect(),
            ..Rule::default()
        });
        let mut rules: Vec<Rule> = of_resources.chain(of_urls).collect();
        canonical(&mut rules);
        rules
    }
}

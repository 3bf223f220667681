//! The rules of aggregated ClusterRoles: their own, and those of every role that they select, directly or through others.
//!
//! The cluster-role aggregation controller replaces an aggregated role's rules by those of the roles that it selects. Here
//! they are added to the ones that were read: a dump contains both, a manifest has none yet, and a part of a cluster may
//! lack roles that were selected. Roles that select each other have the same rules, so that each strongly connected
//! component is resolved once, and a cycle of any length costs as much as a list.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jit_core::rbac::Rule;

use crate::finding::NotEvaluated;
use crate::snapshot::{Operator, Role, Selector};

/// The rules of each role, in the order of `roles`, and what could not be resolved.
pub(crate) fn resolve<'s>(roles: &'s [Role]) -> (Vec<Arc<[&'s Rule]>>, Vec<NotEvaluated>) {
    let mut rules: Vec<Arc<[&Rule]>> = roles.iter().map(|role| role.rules.iter().collect()).collect();
    let mut graph = Graph::of(roles);
    let components = graph.components();
    let unique = Unique::of(&components, roles);
    // By node: the component that contains it.
    let mut of_node: Vec<usize> = vec![usize::MAX; graph.edges.len()];
    let mut resolved: Vec<Arc<[&Rule]>> = Vec::with_capacity(components.len());
    let mut seen: Vec<usize> = vec![usize::MAX; unique.len()];
    let (mut kept, mut unresolved) = (0_usize, Vec::new());
    for (number, nodes) in components.iter().enumerate() {
        for node in nodes {
            place(&mut of_node, *node, number);
        }
        let mut here: Vec<&Rule> = Vec::new();
        let mut add = |rule: &'s Rule| {
            let Some(last) = unique.id(rule).and_then(|id| seen.get_mut(id)) else { return };
            if *last != number {
                *last = number;
                here.push(rule);
            }
        };
        for node in nodes {
            roles.get(*node).iter().flat_map(|role| &role.rules).for_each(&mut add);
            for next in graph.edges.get(*node).into_iter().flatten() {
                let below = of_node.get(*next).filter(|below| **below != number).and_then(|below| resolved.get(*below));
                below.into_iter().flat_map(|rules| rules.iter()).for_each(|rule| add(rule));
            }
        }
        kept += here.len();
        let is_too_much = kept > MOST_RULES;
        resolved.push(if is_too_much { Arc::default() } else { here.into() });
        for node in nodes {
            let Some(role) = roles.get(*node).filter(|role| is_aggregated(role)) else { continue };
            match resolved.last() {
                Some(all) if !is_too_much => place(&mut rules, *node, Arc::clone(all)),
                _ => unresolved.push(role.name.name.as_str()),
            }
        }
    }
    let mut not_evaluated = Vec::new();
    let reasons = [
        (unresolved, format!("the aggregated roles have more than {MOST_RULES} rules in total")),
        (graph.not_compared, format!("the selectors of aggregated roles need more than {MOST_COMPARED} comparisons")),
    ];
    for (names, why) in reasons {
        if let Some(first) = names.first() {
            let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
            not_evaluated.push(NotEvaluated { what: format!("aggregation of clusterrole/{first}{more}"), why });
        }
    }
    (rules, not_evaluated)
}

/// The rules of all aggregated roles in total, as references. `admin`, `edit` and `view` have some hundred.
const MOST_RULES: usize = 2_000_000;

/// Labels compared with selectors, in total.
const MOST_COMPARED: usize = 5_000_000;

fn is_aggregated(role: &Role) -> bool {
    role.name.namespace.is_none() && role.aggregates.is_some()
}

fn place<T>(all: &mut [T], at: usize, value: T) {
    if let Some(place) = all.get_mut(at) {
        *place = value;
    }
}

/// Which role adds the rules of which: the roles first, then a node for each selector, so that equal selectors of many
/// roles cost one comparison with each role.
struct Graph<'s> {
    edges: Vec<Vec<usize>>,
    starts: Vec<usize>,
    not_compared: Vec<&'s str>,
}

impl<'s> Graph<'s> {
    fn of(roles: &'s [Role]) -> Self {
        let mut edges: Vec<Vec<usize>> = vec![Vec::new(); roles.len()];
        let mut selectors: BTreeMap<&Selector, usize> = BTreeMap::new();
        let (mut starts, mut not_compared, mut compared) = (Vec::new(), Vec::new(), 0_usize);
        let labels = Labels::of(roles);
        for (node, role) in roles.iter().enumerate().filter(|(_, role)| is_aggregated(role)) {
            starts.push(node);
            for selector in role.aggregates.iter().flatten() {
                if let Some(known) = selectors.get(selector) {
                    push(&mut edges, node, *known);
                    continue;
                }
                let candidates = labels.candidates(selector);
                compared = compared.saturating_add(candidates.len());
                if compared > MOST_COMPARED {
                    not_compared.push(role.name.name.as_str());
                    continue;
                }
                let is_selected =
                    |other: &usize| roles.get(*other).is_some_and(|other| selector.selects(&other.meta.labels));
                let selected = candidates.into_iter().filter(is_selected).collect();
                let new = edges.len();
                edges.push(selected);
                selectors.insert(selector, new);
                push(&mut edges, node, new);
            }
        }
        not_compared.dedup();
        Self { edges, starts, not_compared }
    }

    /// The strongly connected components that an aggregated role reaches (Tarjan, without recursion). One that another
    /// leads to comes before it.
    fn components(&mut self) -> Vec<Vec<usize>> {
        const NEW: usize = usize::MAX;
        let count = self.edges.len();
        let (mut order, mut low, mut on_stack) = (vec![NEW; count], vec![NEW; count], vec![false; count]);
        let (mut stack, mut components, mut next_number) = (Vec::new(), Vec::new(), 0);
        for start in &self.starts {
            // A node, and which of its edges comes next.
            let mut path: Vec<(usize, usize)> = Vec::new();
            if order.get(*start) == Some(&NEW) {
                path.push((*start, 0));
            }
            while let Some((node, edge)) = path.pop() {
                if edge == 0 {
                    place(&mut order, node, next_number);
                    place(&mut low, node, next_number);
                    place(&mut on_stack, node, true);
                    stack.push(node);
                    next_number += 1;
                }
                let at = |all: &[usize], node: usize| all.get(node).copied().unwrap_or(NEW);
                if let Some(next) = self.edges.get(node).and_then(|edges| edges.get(edge)).copied() {
                    path.push((node, edge + 1));
                    if at(&order, next) == NEW {
                        path.push((next, 0));
                    } else if on_stack.get(next) == Some(&true) {
                        let lowest = at(&low, node).min(at(&order, next));
                        place(&mut low, node, lowest);
                    }
                    continue;
                }
                if let Some((above, _)) = path.last() {
                    let lowest = at(&low, *above).min(at(&low, node));
                    place(&mut low, *above, lowest);
                }
                if at(&low, node) == at(&order, node) {
                    let mut component = Vec::new();
                    while let Some(member) = stack.pop() {
                        place(&mut on_stack, member, false);
                        component.push(member);
                        if member == node {
                            break;
                        }
                    }
                    // The order of the roles, so that the rules have one too.
                    component.sort_unstable();
                    components.push(component);
                }
            }
        }
        components
    }
}

fn push(edges: &mut [Vec<usize>], from: usize, to: usize) {
    if let Some(edges) = edges.get_mut(from) {
        edges.push(to);
    }
}

/// The ClusterRoles by their labels.
struct Labels<'s> {
    all: Vec<usize>,
    by_key: HashMap<&'s str, Vec<usize>>,
    by_label: HashMap<(&'s str, &'s str), Vec<usize>>,
}

impl<'s> Labels<'s> {
    fn of(roles: &'s [Role]) -> Self {
        let mut labels = Self { all: Vec::new(), by_key: HashMap::new(), by_label: HashMap::new() };
        for (number, role) in roles.iter().enumerate().filter(|(_, role)| role.name.namespace.is_none()) {
            labels.all.push(number);
            for (key, value) in &role.meta.labels {
                labels.by_key.entry(key).or_default().push(number);
                labels.by_label.entry((key, value)).or_default().push(number);
            }
        }
        labels
    }

    /// The roles that the selector may select, in their order.
    fn candidates(&self, selector: &Selector) -> Vec<usize> {
        if let Some((key, value)) = selector.labels.first_key_value() {
            return self.with(key, value).to_vec();
        }
        for requirement in &selector.expressions {
            match requirement.operator {
                Operator::In => {
                    let several = requirement.values.iter().flat_map(|value| self.with(&requirement.key, value));
                    let mut several: Vec<usize> = several.copied().collect();
                    several.sort_unstable();
                    several.dedup();
                    return several;
                }
                Operator::Exists => return self.by_key.get(requirement.key.as_str()).cloned().unwrap_or_default(),
                Operator::NotIn | Operator::DoesNotExist => {}
            }
        }
        self.all.clone()
    }

    fn with<'a>(&'a self, key: &'a str, value: &'a str) -> &'a [usize] {
        self.by_label.get(&(key, value)).map(Vec::as_slice).unwrap_or_default()
    }
}

/// A number for each different rule of the roles in the components; the controller adds equal rules once.
struct Unique<'s>(HashMap<Key<'s>, usize>);

type Key<'s> = (&'s [String], &'s [String], &'s [String], &'s [String], &'s [String]);

impl<'s> Unique<'s> {
    fn of(components: &[Vec<usize>], roles: &'s [Role]) -> Self {
        let mut ids = HashMap::new();
        for rule in components.iter().flatten().filter_map(|node| roles.get(*node)).flat_map(|role| &role.rules) {
            let next = ids.len();
            ids.entry(Self::key(rule)).or_insert(next);
        }
        Self(ids)
    }

    fn key(rule: &Rule) -> Key<'_> {
        (&rule.api_groups, &rule.resources, &rule.resource_names, &rule.non_resource_urls, &rule.verbs)
    }

    fn id(&self, rule: &Rule) -> Option<usize> {
        self.0.get(&Self::key(rule)).copied()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Meta, Name, Requirement};

    fn role(name: &str, labels: &[(&str, &str)], resource: &str, aggregates: Option<Vec<Selector>>) -> Role {
        let rule = Rule { resources: vec![resource.to_owned()], verbs: vec!["get".to_owned()], ..Rule::default() };
        Role {
            name: Name { namespace: None, name: name.to_owned() },
            meta: Meta {
                labels: labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
                ..Meta::default()
            },
            rules: if resource.is_empty() { Vec::new() } else { vec![rule] },
            aggregates,
        }
    }

    fn labelled(key: &str, value: &str) -> Selector {
        Selector { labels: [(key.to_owned(), value.to_owned())].into(), ..Selector::default() }
    }

    fn resources(rules: &[&Rule]) -> Vec<String> {
        let mut all: Vec<String> = rules.iter().flat_map(|rule| rule.resources.clone()).collect();
        all.sort();
        all
    }

    #[test]
    fn rules_are_added_through_other_aggregated_roles_too() {
        let expression = |operator, values: &[&str]| Selector {
            expressions: vec![Requirement {
                key: "tier".to_owned(),
                operator,
                values: values.iter().map(ToString::to_string).collect(),
            }],
            ..Selector::default()
        };
        let roles = [
            role("admin", &[], "", Some(vec![labelled("to", "admin"), labelled("to", "edit")])),
            role("edit", &[("to", "admin")], "", Some(vec![labelled("to", "edit")])),
            role("own", &[("to", "edit"), ("tier", "one")], "pods", None),
            role("other", &[("tier", "two")], "secrets", None),
            role("in", &[], "", Some(vec![expression(Operator::In, &["two", "three"])])),
            role("not-in", &[], "", Some(vec![expression(Operator::NotIn, &["two"])])),
            role("exists", &[], "", Some(vec![expression(Operator::Exists, &[])])),
            role("no-tier", &[], "written", Some(vec![expression(Operator::DoesNotExist, &[])])),
            role("none", &[], "written", Some(vec![])),
            role("all", &[], "", Some(vec![Selector::default()])),
        ];
        let (rules, not_evaluated) = resolve(&roles);
        assert_eq!(not_evaluated, []);
        let found: Vec<Vec<String>> = rules.iter().map(|rules| resources(rules)).collect();
        let everything = ["pods", "secrets", "written"];
        let expected: [&[&str]; 10] = [
            &["pods"],
            &["pods"],
            &["pods"],
            &["secrets"],
            &["secrets"],
            &everything,
            &["pods", "secrets"],
            &everything,
            &["written"],
            &everything,
        ];
        assert_eq!(found, expected);
    }

    /// A role of this number that aggregates the role of that number.
    fn selects(place: usize, other: usize) -> Role {
        let (place, other) = (place.to_string(), other.to_string());
        role(&format!("r{place}"), &[("n", &place)], &format!("x{place}"), Some(vec![labelled("n", &other)]))
    }

    #[test]
    fn ten_thousand_roles_that_select_each_other_have_the_same_rules() {
        let number = 10_000;
        let ring: Vec<Role> = (0..number).map(|place| selects(place, (place + 1) % number)).collect();
        let (rules, not_evaluated) = resolve(&ring);
        assert_eq!(not_evaluated, []);
        assert!(rules.iter().all(|rules| rules.len() == number));
        let all: Vec<Role> = (0..number)
            .map(|place| role(&format!("r{place}"), &[], &format!("x{place}"), Some(vec![Selector::default()])))
            .collect();
        let (rules, not_evaluated) = resolve(&all);
        assert_eq!(not_evaluated, []);
        assert!(rules.iter().all(|rules| rules.len() == number));
    }

    #[test]
    fn what_is_too_much_to_resolve_is_not_evaluated_and_keeps_its_own_rules() {
        let number = 10_000;
        let chain: Vec<Role> = (0..number).map(|place| selects(place, place + 1)).collect();
        let (rules, not_evaluated) = resolve(&chain);
        assert_eq!(rules[number - 1].len(), 1);
        assert_eq!(rules[number - 2].len(), 2);
        assert_eq!(rules[0].len(), 1);
        assert!(not_evaluated[0].what.contains("more"), "{not_evaluated:?}");
        assert!(not_evaluated[0].why.contains("2000000 rules"), "{not_evaluated:?}");
        let not_in = |place: usize| Selector {
            expressions: vec![Requirement {
                key: "n".to_owned(),
                operator: Operator::NotIn,
                values: vec![place.to_string()],
            }],
            ..Selector::default()
        };
        let wide: Vec<Role> = (0..number).map(|place| role("r", &[], "x", Some(vec![not_in(place)]))).collect();
        let (rules, not_evaluated) = resolve(&wide);
        assert!(rules.iter().all(|rules| rules.len() == 1));
        assert!(not_evaluated[0].why.contains("5000000 comparisons"), "{not_evaluated:?}");
    }
}

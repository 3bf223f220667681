//! Escalation over several identities: whoever may act as another has what the other has, and so on to control of the
//! whole cluster.
//!
//! ```text
//!  dev/builder ──creates pods──► namespace ops ──contains──► ops/release ──cluster-admin──► everything
//! ```
//! One search, backwards from control of the cluster, finds the shortest way of every subject: its time grows with the number
//! of risks, not with the number of subjects times that. Namespaces are nodes, so that whoever reaches the accounts of one is
//! joined with each of them by a sum of edges, not by a product.

use std::collections::{HashMap, HashSet, VecDeque};

use jit_core::rbac::Rule;
use jit_core::rbac::risk::Severity;

use crate::finding::{Finding, Hop, Kind, Subject};
use crate::findings::{Shipped, hops};
use crate::held::{Class, Found, Granted, Held, Piece};
use crate::snapshot::{Account, Name};

/// What a step leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place<'a> {
    /// Control of the whole cluster.
    Everything,
    /// The service accounts of every namespace.
    AllNamespaces,
    /// The service accounts of one.
    Namespace(&'a str),
    /// A subject, by its place in the index.
    Subject(usize),
}

/// Why a step is possible.
#[derive(Clone, Copy, Debug)]
enum By {
    /// A risk, by its place in the list.
    Risk(usize),
    /// The account is in the namespace, or the namespace in the cluster.
    Contains,
    /// The accounts of `kube-system` run the cluster.
    RunsTheCluster,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    from: usize,
    to: usize,
    by: By,
}

/// The shortest way to control of the cluster of every subject that needs another identity for it.
pub(crate) fn chains<'a>(held: &mut Held<'a>, shipped: &Shipped<'_>, granted: &[Granted<'a>]) -> Vec<Finding> {
    let mut graph = Graph::of(held);
    for (number, one) in granted.iter().enumerate() {
        for target in targets(held, &graph.accounts, &one.found, &one.places) {
            graph.join(Place::Subject(one.subject), target, By::Risk(number));
        }
    }
    graph.join_namespaces(held);
    let ways = graph.search();
    let mut found = Vec::new();
    for subject in 0..held.access.subjects().len() {
        found.extend(chain(held, shipped, granted, &graph, &ways, subject));
    }
    found
}

/// The identities of a snapshot, and how one leads to another.
struct Graph<'a> {
    nodes: Vec<Place<'a>>,
    numbers: HashMap<Place<'a>, usize>,
    edges: Vec<Edge>,
    accounts: Accounts<'a>,
}

/// The service accounts that hold something, and exist as far as that is known.
struct Accounts<'a> {
    by_namespace: HashMap<&'a str, Vec<usize>>,
    by_name: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Accounts<'a> {
    fn of(held: &Held<'a>) -> Self {
        let snapshot = held.access.snapshot();
        let key = |account: &'a Account| (account.name.namespace.as_deref(), account.name.name.as_str());
        let existing: Option<HashSet<_>> =
            snapshot.accounts.as_ref().map(|accounts| accounts.iter().map(key).collect());
        let mut accounts = Self { by_namespace: HashMap::new(), by_name: HashMap::new() };
        for (number, subject) in held.access.subjects().iter().enumerate() {
            let Some(namespace) = subject.namespace.as_deref().filter(|_| subject.kind == Kind::ServiceAccount) else {
                continue;
            };
            let exists = existing.as_ref().is_none_or(|all| all.contains(&(Some(namespace), subject.name.as_str())));
            if exists && held.holds_something(number) {
                accounts.by_namespace.entry(namespace).or_default().push(number);
                accounts.by_name.entry(&subject.name).or_default().push(number);
            }
        }
        accounts
    }
}

impl<'a> Graph<'a> {
    fn of(held: &Held<'a>) -> Self {
        let mut graph =
            Self { nodes: Vec::new(), numbers: HashMap::new(), edges: Vec::new(), accounts: Accounts::of(held) };
        graph.node(Place::Everything);
        graph.node(Place::Namespace("kube-system"));
        graph
    }

    fn node(&mut self, place: Place<'a>) -> usize {
        let next = self.nodes.len();
        let number = *self.numbers.entry(place).or_insert(next);
        if number == next {
            self.nodes.push(place);
        }
        number
    }

    fn join(&mut self, from: Place<'a>, to: Place<'a>, by: By) {
        let (from, to) = (self.node(from), self.node(to));
        if from != to {
            self.edges.push(Edge { from, to, by });
        }
    }

    /// Joins namespaces with their accounts, and with the groups that all of these are in.
    fn join_namespaces(&mut self, held: &Held<'a>) {
        let mut homes: Vec<&'a str> = self.accounts.by_namespace.keys().copied().collect();
        homes.extend(self.nodes.iter().filter_map(|place| match place {
            Place::Namespace(name) => Some(*name),
            _ => None,
        }));
        homes.sort_unstable();
        homes.dedup();
        let group = |name: String| held.number(&Subject { kind: Kind::Group, namespace: None, name });
        let all_accounts = group("system:serviceaccounts".to_owned()).filter(|group| held.holds_something(*group));
        for home in homes {
            let mut accounts = self.accounts.by_namespace.get(home).cloned().unwrap_or_default();
            let own = group(format!("system:serviceaccounts:{home}")).filter(|group| held.holds_something(*group));
            accounts.extend(own.into_iter().chain(all_accounts));
            for account in accounts {
                self.join(Place::Namespace(home), Place::Subject(account), By::Contains);
            }
            self.join(Place::AllNamespaces, Place::Namespace(home), By::Contains);
        }
    }

    /// For each node the first step of the shortest way to everything.
    fn search(&mut self) -> Vec<Option<Edge>> {
        let system = self.node(Place::Namespace("kube-system"));
        let everything = self.node(Place::Everything);
        let mut into: Vec<Vec<Edge>> = vec![Vec::new(); self.nodes.len()];
        for edge in &self.edges {
            if let Some(edges) = into.get_mut(edge.to) {
                edges.push(*edge);
            }
        }
        let mut ways: Vec<Option<Edge>> = vec![None; self.nodes.len()];
        let spread = |from: usize, ways: &mut Vec<Option<Edge>>| {
            let mut next = VecDeque::from([from]);
            while let Some(node) = next.pop_front() {
                for edge in into.get(node).into_iter().flatten() {
                    match ways.get_mut(edge.from) {
                        Some(way) if way.is_none() && edge.from != everything => *way = Some(*edge),
                        _ => continue,
                    }
                    next.push_back(edge.from);
                }
            }
        };
        spread(everything, &mut ways);
        // A dump may lack the accounts of the controllers, which name a more precise way.
        if let Some(way) = ways.get_mut(system)
            && way.is_none()
        {
            *way = Some(Edge { from: system, to: everything, by: By::RunsTheCluster });
            spread(system, &mut ways);
        }
        ways
    }
}

/// What a risk in these places leads to.
fn targets<'a>(held: &mut Held<'a>, accounts: &Accounts<'a>, found: &Found, places: &[&'a str]) -> Vec<Place<'a>> {
    let here: Vec<Place<'a>> = match places {
        [] => vec![Place::AllNamespaces],
        places => places.iter().map(|namespace| Place::Namespace(namespace)).collect(),
    };
    let whole = if places.is_empty() { vec![Place::Everything] } else { here.clone() };
    match found.id.as_str() {
        "E01" | "E05" => whole,
        "E02" | "E18" | "E36" | "E42" | "E79" => vec![Place::Everything],
        "E21" | "E22" | "E23" | "E24" | "E25" | "E26" | "E29" | "E34" => here,
        // A token Secret that somebody creates and reads is one of any account.
        "E16" if names(held, found, "create", "", "secrets", places).is_some() => here,
        "E14" => match names(held, found, "create", "", "serviceaccounts/token", places) {
            Some(names) if !names.is_empty() => named_accounts(held, accounts, &names, places),
            _ => here,
        },
        "E11" => impersonated(held, accounts, found, places),
        "E06" => bound(held, accounts, found, places),
        _ => Vec::new(),
    }
}

/// The names on which the rules of a risk allow the verb: empty for all, `None` if they do not allow it.
fn names(
    held: &Held<'_>,
    found: &Found,
    verb: &str,
    group: &str,
    resource: &str,
    places: &[&str],
) -> Option<Vec<String>> {
    let word = |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
    let below = resource.split_once('/').map(|(_, below)| format!("*/{below}"));
    let is_cluster_scoped = matches!(resource, "users" | "groups");
    let allows = |rule: &&Rule| {
        let resources = word(&rule.resources, resource)
            || below.as_ref().is_some_and(|below| rule.resources.iter().any(|one| one == below));
        word(&rule.verbs, verb) && word(&rule.api_groups, group) && resources
    };
    let pieces = found.pieces.iter().filter(|piece| !(piece.local && (is_cluster_scoped || places.is_empty())));
    let rules: Vec<&Rule> = pieces.flat_map(|piece| held.assessor.rules_of(piece.role)).filter(allows).collect();
    if rules.is_empty() {
        return None;
    }
    if rules.iter().any(|rule| rule.resource_names.is_empty()) {
        return Some(Vec::new());
    }
    let mut names: Vec<String> = rules.iter().flat_map(|rule| rule.resource_names.iter().cloned()).collect();
    names.sort_unstable();
    names.dedup();
    Some(names)
}

fn named_accounts<'a>(held: &Held<'a>, accounts: &Accounts<'a>, names: &[String], places: &[&str]) -> Vec<Place<'a>> {
    let of_name = names.iter().filter_map(|name| accounts.by_name.get(name.as_str())).flatten();
    let is_here = |number: &&usize| {
        let namespace = held.access.subjects().get(**number).and_then(|subject| subject.namespace.as_deref());
        places.is_empty() || namespace.is_some_and(|namespace| places.contains(&namespace))
    };
    of_name.filter(is_here).map(|number| Place::Subject(*number)).collect()
}

/// Whom somebody may act as.
fn impersonated<'a>(held: &Held<'a>, accounts: &Accounts<'a>, found: &Found, places: &[&'a str]) -> Vec<Place<'a>> {
    let of = |resource: &str| names(held, found, "impersonate", "", resource, places);
    let number = |kind, name: &str| held.number(&Subject { kind, namespace: None, name: name.to_owned() });
    let mut targets = Vec::new();
    match of("users") {
        Some(names) if names.is_empty() => return vec![Place::Everything],
        Some(names) => {
            for name in names {
                let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                let subject = match account {
                    Some((namespace, name)) => held.number(&Subject {
                        kind: Kind::ServiceAccount,
                        namespace: Some(namespace.to_owned()),
                        name: name.to_owned(),
                    }),
                    None => number(Kind::User, &name),
                };
                targets.extend(subject.map(Place::Subject));
            }
        }
        None => {}
    }
    match of("groups") {
        Some(names) if names.is_empty() => return vec![Place::Everything],
        Some(names) => targets.extend(names.iter().filter_map(|name| number(Kind::Group, name)).map(Place::Subject)),
        None => {}
    }
    match of("serviceaccounts") {
        Some(names) if names.is_empty() => match places {
            [] => targets.push(Place::AllNamespaces),
            places => targets.extend(places.iter().map(|namespace| Place::Namespace(namespace))),
        },
        Some(names) => targets.extend(named_accounts(held, accounts, &names, places)),
        None => {}
    }
    targets
}

/// What the roles that somebody may bind lead to.
fn bound<'a>(held: &mut Held<'a>, accounts: &Accounts<'a>, found: &Found, places: &[&'a str]) -> Vec<Place<'a>> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let names = match names(held, found, "bind", RBAC, "clusterroles", places) {
        Some(names) if !names.is_empty() => names,
        Some(_) if places.is_empty() => return vec![Place::Everything],
        // Any role can be bound in the namespace, or any Role of it.
        _ => return places.iter().map(|namespace| Place::Namespace(namespace)).collect(),
    };
    let local = !places.is_empty();
    let class = if local { Class::Ordinary } else { Class::Cluster };
    let roles = held.access.snapshot().roles.iter().enumerate();
    let is_named = |name: &Name| name.namespace.is_none() && names.contains(&name.name);
    let roles: Vec<usize> = roles.filter(|(_, role)| is_named(&role.name)).map(|(number, _)| number).collect();
    let mut all = Vec::new();
    for role in roles {
        for found in held.assessor.assess(class, &[Piece { role, local }]).iter() {
            // Whoever binds a role that may bind others takes one more step, and then it is a risk of their own.
            if found.id.as_str() != "E06" {
                all.extend(targets(held, accounts, found, places));
            }
        }
    }
    all
}

/// How a risk gives somebody the rights of a service account.
fn how(id: &str) -> &'static str {
    match id {
        "E21" | "E22" => "a pod that runs as it",
        "E14" | "E16" => "a token of it",
        "E11" => "acting as it",
        "E06" => "a role that reaches it",
        _ => "the token in a pod that runs as it",
    }
}

/// Identities in one path that are shown.
const MOST_SHOWN: usize = 32;

/// The chain of one subject, if it leads over another one.
fn chain(
    held: &Held<'_>,
    shipped: &Shipped<'_>,
    granted: &[Granted<'_>],
    graph: &Graph<'_>,
    ways: &[Option<Edge>],
    subject: usize,
) -> Option<Finding> {
    let subjects = held.access.subjects();
    let way = |node: usize| ways.get(node).copied().flatten();
    let mut edge = way(*graph.numbers.get(&Place::Subject(subject))?)?;
    let (mut path, mut over, mut system, mut by) = (Vec::new(), Vec::new(), None, "");
    loop {
        match edge.by {
            By::Risk(number) => {
                let risk = granted.get(number)?;
                path.extend(hops(held, risk));
                // What the subject holds itself decides: the rest of the chain is a finding of others.
                system = system.or_else(|| Some(shipped.has(&risk.through)));
                by = how(risk.found.id.as_str());
            }
            By::RunsTheCluster => {
                over.push("the service accounts of kube-system".to_owned());
                path.push(Hop {
                    object: "namespace/kube-system".to_owned(),
                    grants: "the service accounts that run the cluster itself".to_owned(),
                });
            }
            By::Contains => {}
        }
        if let Some(Place::Subject(next)) = graph.nodes.get(edge.to) {
            let next = subjects.get(*next)?;
            over.push(next.to_string());
            path.push(Hop { object: identity(next), grants: format!("its rights, through {by}") });
        }
        match way(edge.to) {
            Some(_) if over.len() == MOST_SHOWN => {
                path.push(Hop {
                    object: "…".to_owned(),
                    grants: "further identities, up to one that may do everything".to_owned(),
                });
                break;
            }
            Some(next) => edge = next,
            None => break,
        }
    }
    let first = over.first()?;
    let others = if over.len() > 1 { format!(" and {} more", over.len() - 1) } else { String::new() };
    Some(Finding {
        id: "P01".to_owned(),
        severity: Severity::Critical,
        title: format!("controls the whole cluster through {first}{others}"),
        subject: subjects.get(subject).cloned(),
        path,
        scope: Vec::new(),
        system: system.unwrap_or_default(),
    })
}

fn identity(subject: &Subject) -> String {
    match (subject.kind, &subject.namespace) {
        (Kind::ServiceAccount, Some(namespace)) => format!("{namespace}/serviceaccount/{}", subject.name),
        (Kind::ServiceAccount, None) => format!("serviceaccount/{}", subject.name),
        (Kind::User, _) => format!("user/{}", subject.name),
        (Kind::Group, _) => format!("group/{}", subject.name),
    }
}

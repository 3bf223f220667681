//! The findings of a snapshot: what each subject holds, assessed together, and the bindings and roles that should not
//! stand as they are.
//!
//! ```text
//!  Access ──► Held (sets of roles, each assessed once) ──► by subject: a risk, its roles and bindings ──► Finding
//!                                                   └──► paths: chains over several identities
//! ```
//! It leaves nothing out by name. What Kubernetes ships is marked, if it is still as it was shipped.

use std::collections::{BTreeMap, HashSet};

use jit_core::rbac::risk::{BoundRole, Severity, assess_binding, matters};
use jit_core::rbac::{Namespace, Rule, Scope, covers};

use crate::access::{Access, Holding};
use crate::bootstrap::Bootstrap;
use crate::finding::{Finding, Hop, Kind, NotEvaluated, Report, Subject};
use crate::held::{Class, Granted, Held, Piece, Through};
use crate::paths;
use crate::snapshot::{Binding, Name, Role, RoleKind};

/// Everything that a scan of this access finds, worst first.
#[must_use]
pub fn findings(access: &Access<'_>) -> Report {
    let mut held = Held::of(access);
    let shipped = Shipped::of(access);
    let granted = granted(&mut held);
    let mut found: Vec<Finding> = granted.iter().map(|granted| of_subject(&held, &shipped, granted)).collect();
    found.extend(paths::chains(&mut held, &shipped, &granted));
    found.extend(of_bindings(&shipped, access));
    found.extend(missing_accounts(access, &shipped, &granted));
    let mut not_evaluated: Vec<NotEvaluated> =
        access.snapshot().not_evaluated.iter().chain(access.not_evaluated()).cloned().collect();
    found.extend(unused_roles(&mut held, &shipped, &mut not_evaluated));
    not_evaluated.extend(shipped.not_evaluated());
    not_evaluated.append(&mut held.not_evaluated);
    not_evaluated.sort();
    not_evaluated.dedup();
    found.sort_by(|one, other| order(one).cmp(&order(other)));
    Report { findings: found, not_evaluated }
}

/// The findings that are kept, so that a role bound to everybody by name does not take all memory. Beyond the first limit
/// only what is severe is kept, beyond the second nothing.
const MOST_KEPT: (usize, usize) = (100_000, 200_000);

/// The risks of all subjects.
fn granted<'a>(held: &mut Held<'a>) -> Vec<Granted<'a>> {
    let (mut all, mut left_out) = (Vec::new(), 0_usize);
    for subject in 0..held.access.subjects().len() {
        for granted in held.granted(subject) {
            let is_severe = granted.found.severity >= Severity::High;
            if all.len() < MOST_KEPT.0 || (is_severe && all.len() < MOST_KEPT.1) {
                all.push(granted);
            } else {
                left_out += 1;
            }
        }
    }
    if left_out > 0 {
        let why = format!("there are {left_out} more findings than this report can hold");
        held.not_evaluated.push(NotEvaluated { what: "some subjects".to_owned(), why });
    }
    all
}

/// The cluster's own findings first, each with the worst first. What nobody has assessed comes after what is known to
/// control the cluster: every cluster has kinds of its own, which most roles only read.
fn order(finding: &Finding) -> impl Ord + '_ {
    let rank = match finding.severity {
        Severity::Critical => 0,
        Severity::Unclassified => 1,
        Severity::High => 2,
        Severity::Medium => 3,
        Severity::Low => 4,
    };
    (finding.system, rank, finding.id.as_str(), &finding.subject, &finding.path, &finding.scope)
}

/// What Kubernetes ships in the version of the snapshot.
pub(crate) struct Shipped<'a> {
    access: &'a Access<'a>,
    bootstrap: Bootstrap,
    /// Roles that are as they were shipped.
    roles: HashSet<*const Role>,
}

impl<'a> Shipped<'a> {
    fn of(access: &'a Access<'a>) -> Self {
        let bootstrap = Bootstrap::of(access.snapshot().version);
        let roles = access.snapshot().roles.iter();
        let is_shipped = |role: &&Role| bootstrap.has_role(role);
        let roles = roles.filter(is_shipped).map(std::ptr::from_ref).collect();
        Self { access, bootstrap, roles }
    }

    fn role(&self, role: usize) -> bool {
        let role = self.access.snapshot().roles.get(role);
        role.is_some_and(|role| self.roles.contains(&std::ptr::from_ref(role)))
    }

    fn binding(&self, binding: &Binding, subject: &Subject) -> bool {
        self.bootstrap.has_subject(binding, subject)
    }

    pub(crate) fn has(&self, through: &[Through<'_>]) -> bool {
        through.iter().all(|one| self.role(one.role) && self.binding(one.binding, one.subject))
    }

    fn not_evaluated(&self) -> Option<NotEvaluated> {
        let Bootstrap { of, is_exact, .. } = self.bootstrap;
        let (what, why) = match self.access.snapshot().version {
            Some(_) if is_exact => return None,
            Some(version) => (
                format!("what Kubernetes {version} ships"),
                format!("there is no table of this version; its roles are compared with those of {of}"),
            ),
            None => (
                "what depends on the version of the API server".to_owned(),
                format!(
                    "the version is unknown: the most dangerous one is assumed, and roles are compared with those of {of}; \
                     `--server-version` states it"
                ),
            ),
        };
        Some(NotEvaluated { what, why })
    }
}

fn of_subject(held: &Held<'_>, shipped: &Shipped<'_>, granted: &Granted<'_>) -> Finding {
    Finding {
        id: granted.found.id.to_string(),
        severity: granted.found.severity,
        title: granted.found.why.clone(),
        subject: held.access.subjects().get(granted.subject).cloned(),
        path: hops(held, granted),
        scope: granted.places.iter().map(ToString::to_string).collect(),
        system: shipped.has(&granted.through),
    }
}

/// The bindings and roles of a risk: each binding before its role, and the roles that an aggregated one has it from.
pub(crate) fn hops(held: &Held<'_>, granted: &Granted<'_>) -> Vec<Hop> {
    let roles = &held.access.snapshot().roles;
    let last = granted.through.len().saturating_sub(1);
    let mut hops = Vec::new();
    for (number, through) in granted.through.iter().enumerate() {
        let Some(role) = roles.get(through.role) else { continue };
        let object = role_object(role);
        hops.push(Hop { object: binding_object(through.binding), grants: format!("{object} to {}", through.subject) });
        let grants = if number == last { granted.found.why.clone() } else { in_short(held, through.role) };
        let piece = Piece { role: through.role, local: through.binding.name.namespace.is_some() };
        let from = held.source(piece, granted.found.id).and_then(|source| roles.get(source)).map(role_object);
        if let Some(source) = &from {
            hops.push(Hop {
                object: object.clone(),
                grants: format!("the rules of {source}, which is aggregated into it"),
            });
        }
        hops.push(Hop { object: from.unwrap_or(object), grants });
    }
    hops
}

/// The first rules of a role that matter.
fn in_short(held: &Held<'_>, role: usize) -> String {
    const MOST: usize = 3;
    let is_part = |rule: &&Rule| matters(std::slice::from_ref(*rule), &Scope::Cluster, held.assessor.around());
    let rules: Vec<&Rule> = held.assessor.rules_of(role).iter().filter(is_part).collect();
    let mut shown: Vec<String> = rules.iter().take(MOST).map(ToString::to_string).collect();
    if rules.len() > MOST {
        shown.push(format!("{} more rules", rules.len() - MOST));
    }
    shown.join("; ")
}

/// Bindings that grant something to everybody, or whose role does not exist.
fn of_bindings(shipped: &Shipped<'_>, access: &Access<'_>) -> Vec<Finding> {
    let everybodys: Vec<Rule> = access
        .snapshot()
        .roles
        .iter()
        .filter(|role| {
            OF_EVERYBODY.contains(&role.name.name.as_str()) && shipped.roles.contains(&std::ptr::from_ref(*role))
        })
        .flat_map(|role| role.rules.iter().cloned())
        .collect();
    let mut found = Vec::new();
    for holding in access.all() {
        let Holding { binding, through: subject, role, rules } = holding;
        let place = binding.name.namespace.as_deref();
        let scope = place.and_then(|name| name.parse::<Namespace>().ok()).map_or(Scope::Cluster, Scope::from);
        let exists = if role.is_some() { BoundRole::Exists } else { BoundRole::Missing };
        let name = if subject.kind == Kind::Group { subject.name.as_str() } else { "" };
        if role.is_some() && !name.starts_with("system:") {
            continue;
        }
        let allows = |rule: &&&Rule| {
            let resources = !rule.resources.is_empty() && !rule.api_groups.is_empty();
            let paths = place.is_none() && !rule.non_resource_urls.is_empty();
            !rule.verbs.is_empty() && (resources || paths) && !covers(&everybodys, rule)
        };
        let Some(first) =
            rules.iter().find(allows).map(ToString::to_string).or_else(|| role.is_none().then(String::new))
        else {
            continue;
        };
        let bound = format!("{} to {subject}", referenced(binding));
        for finding in assess_binding(&[name], exists, &scope).findings() {
            if finding.id.as_str() == "E02" {
                // Its members may do everything without a binding.
                continue;
            }
            let mut path = vec![Hop { object: binding_object(binding), grants: bound.clone() }];
            path.extend(role.map(|role| Hop { object: role_object(role), grants: first.clone() }));
            found.push(Finding {
                id: finding.id.to_string(),
                severity: finding.severity,
                title: finding.why.clone(),
                subject: Some(subject.clone()),
                path,
                scope: place.into_iter().map(str::to_owned).collect(),
                system: shipped.binding(binding, subject)
                    && role.is_none_or(|role| shipped.roles.contains(&std::ptr::from_ref(role))),
            });
        }
    }
    found
}

/// What every user of a cluster may do; a copy of it is no risk.
const OF_EVERYBODY: &[&str] = &["system:basic-user", "system:discovery", "system:public-info-viewer"];

/// Service accounts that are bound but do not exist, each once with all its bindings.
fn missing_accounts(access: &Access<'_>, shipped: &Shipped<'_>, granted: &[Granted<'_>]) -> Vec<Finding> {
    let Some(accounts) = &access.snapshot().accounts else { return Vec::new() };
    let existing: HashSet<(Option<&str>, &str)> =
        accounts.iter().map(|account| (account.name.namespace.as_deref(), account.name.name.as_str())).collect();
    let mut missing: BTreeMap<&Subject, Vec<&Binding>> = BTreeMap::new();
    for Holding { binding, through, .. } in access.all() {
        let is_there = existing.contains(&(through.namespace.as_deref(), through.name.as_str()));
        if through.kind == Kind::ServiceAccount && !is_there {
            missing.entry(through).or_default().push(binding);
        }
    }
    let risky = granted.iter().filter(|granted| granted.found.severity >= Severity::High);
    let risky: HashSet<&Subject> = risky.filter_map(|granted| access.subjects().get(granted.subject)).collect();
    let worth = |subject: &Subject| if risky.contains(subject) { Severity::Medium } else { Severity::Low };
    let finding = |(subject, bindings): (&Subject, Vec<&Binding>)| {
        let mut scope: Vec<String> = bindings.iter().filter_map(|binding| binding.name.namespace.clone()).collect();
        scope.sort();
        scope.dedup();
        let is_cluster_wide = bindings.iter().any(|binding| binding.name.namespace.is_none());
        Finding {
            id: "H01".to_owned(),
            severity: worth(subject),
            title: "the service account does not exist, so whoever creates it has what is bound to it".to_owned(),
            subject: Some(subject.clone()),
            path: bindings
                .iter()
                .map(|binding| Hop {
                    object: binding_object(binding),
                    grants: format!("{} to {subject}", referenced(binding)),
                })
                .collect(),
            scope: if is_cluster_wide { Vec::new() } else { scope },
            system: bindings.iter().all(|binding| shipped.binding(binding, subject)),
        }
    };
    missing.into_iter().map(finding).collect()
}

/// Unused roles without a risk that are listed by name.
const MOST_LISTED: usize = 50;

/// Labels compared with selectors, to find the roles that are in use by aggregation.
const MOST_COMPARED: usize = 5_000_000;

/// Roles that no binding and no aggregated role uses: each one that would be a risk, and the others together.
fn unused_roles(held: &mut Held<'_>, shipped: &Shipped<'_>, not_evaluated: &mut Vec<NotEvaluated>) -> Vec<Finding> {
    let snapshot = held.access.snapshot();
    let mut used: HashSet<(Option<&str>, &str)> = HashSet::new();
    for binding in &snapshot.bindings {
        let home = binding.name.namespace.as_deref().filter(|_| binding.role.kind == RoleKind::Role);
        used.insert((home, binding.role.name.as_str()));
    }
    let mut selectors: Vec<_> = snapshot.roles.iter().filter_map(|role| role.aggregates.as_ref()).flatten().collect();
    selectors.sort();
    selectors.dedup();
    let is_unused = |role: &&Role| !used.contains(&(role.name.namespace.as_deref(), role.name.name.as_str()));
    let labelled = snapshot.roles.iter().filter(is_unused).filter(|role| !role.meta.labels.is_empty()).count();
    if selectors.len().saturating_mul(labelled) > MOST_COMPARED {
        let why = format!("the selectors of aggregated roles need more than {MOST_COMPARED} comparisons");
        not_evaluated.push(NotEvaluated { what: "unused roles".to_owned(), why });
        return Vec::new();
    }
    let is_aggregated = |role: &Role| {
        role.name.namespace.is_none() && selectors.iter().any(|selector| selector.selects(&role.meta.labels))
    };
    let (mut found, mut harmless) = (Vec::new(), Vec::new());
    for (number, role) in snapshot.roles.iter().enumerate() {
        if !is_unused(&role) || is_aggregated(role) {
            continue;
        }
        let place = role.name.namespace.as_deref();
        let class = place.map_or(Class::Cluster, |namespace| held.class(namespace));
        let risks = held.assessor.assess(class, &[Piece { role: number, local: place.is_some() }]);
        let worst = risks.first().filter(|risk| risk.severity >= Severity::High);
        let path = |grants: String| vec![Hop { object: role_object(role), grants }];
        match worst {
            Some(risk) => found.push(Finding {
                id: "H02".to_owned(),
                severity: Severity::Low,
                title: "no binding uses this role, which is a risk as soon as one does".to_owned(),
                subject: None,
                path: path(risk.why.clone()),
                scope: place.into_iter().map(str::to_owned).collect(),
                system: shipped.role(number),
            }),
            None if !shipped.role(number) => harmless.extend(path("nothing, because no binding uses it".to_owned())),
            None => {}
        }
    }
    if !harmless.is_empty() {
        harmless.sort();
        let count = harmless.len();
        harmless.truncate(MOST_LISTED);
        if count > MOST_LISTED {
            let grants = "nothing, because no binding uses them".to_owned();
            harmless.push(Hop { object: format!("{} more", count - MOST_LISTED), grants });
        }
        found.push(Finding {
            id: "H03".to_owned(),
            severity: Severity::Low,
            title: format!("no binding uses {count} roles"),
            subject: None,
            path: harmless,
            scope: Vec::new(),
            system: false,
        });
    }
    found
}

/// As kubectl names it, after its namespace.
pub(crate) fn role_object(role: &Role) -> String {
    role.name.object(if role.name.namespace.is_some() { "role" } else { "clusterrole" })
}

fn binding_object(binding: &Binding) -> String {
    binding.name.object(if binding.name.namespace.is_some() { "rolebinding" } else { "clusterrolebinding" })
}

/// The role that a binding names, whether it exists or not.
fn referenced(binding: &Binding) -> String {
    let home = binding.name.namespace.clone();
    let name =
        Name { namespace: home.filter(|_| binding.role.kind == RoleKind::Role), name: binding.role.name.clone() };
    name.object(if binding.role.kind == RoleKind::Role { "role" } else { "clusterrole" })
}

//! What each subject holds that matters, and the assessment of it. Each set of roles is assessed once, however many
//! subjects hold it in however many namespaces: an assessment depends only on the roles and on the class of the namespace.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use jit_core::rbac::risk::{Accounts, Bound, RiskId, Severity, Surroundings, assess_held, matters};
use jit_core::rbac::{Namespace, Rule, Scope};

use crate::access::{Access, implied_groups};
use crate::finding::{Kind, NotEvaluated, Subject};
use crate::snapshot::{Binding, Role};

/// A role in a set that is assessed, by its place in the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Piece {
    pub(crate) role: usize,
    /// It is bound in the namespace, not in the whole cluster.
    pub(crate) local: bool,
}

/// A risk, with the smallest set of roles found from which it arises.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: RiskId,
    pub(crate) severity: Severity,
    pub(crate) why: String,
    pub(crate) pieces: Vec<Piece>,
}

/// A risk of one subject, with the places in which it holds in the same way.
#[derive(Clone, Debug)]
pub(crate) struct Granted<'a> {
    /// The subject's place in [`Access::subjects`].
    pub(crate) subject: usize,
    pub(crate) found: Rc<Found>,
    /// The namespaces; empty for the whole cluster.
    pub(crate) places: Vec<&'a str>,
    /// For each piece the role, the binding in the first place, and the subject that it names.
    pub(crate) through: Vec<Through<'a>>,
}

/// One role of a [`Granted`], and how the subject has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Through<'a> {
    pub(crate) role: usize,
    pub(crate) binding: &'a Binding,
    pub(crate) subject: &'a Subject,
}

/// The classes of namespaces between which an assessment differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Cluster,
    KubeSystem,
    KubePublic,
    /// One of its service accounts has risky access elsewhere.
    Strong,
    Ordinary,
}

impl Class {
    /// A place of this class. A name that was not a namespace would count as the whole cluster.
    fn scope(self) -> Scope {
        let name = match self {
            Self::Cluster => return Scope::Cluster,
            Self::KubeSystem => "kube-system",
            Self::KubePublic => "kube-public",
            Self::Strong | Self::Ordinary => "default",
        };
        name.parse::<Namespace>().map_or(Scope::Cluster, Scope::from)
    }
}

/// The assessments that were made.
pub(crate) struct Assessor<'a> {
    rules: Vec<Cow<'a, [Rule]>>,
    around: Surroundings,
    made: HashMap<Class, HashMap<Box<[Piece]>, Risks>>,
}

/// The risks of one set of roles.
type Risks = Rc<[Rc<Found>]>;

impl<'a> Assessor<'a> {
    fn of(access: &'a Access<'a>) -> Self {
        let rules = access.snapshot().roles.iter().enumerate().map(|(number, role)| match role.aggregates {
            None => Cow::Borrowed(role.rules.as_slice()),
            Some(_) => Cow::Owned(access.rules_of(number).iter().map(|rule| (*rule).clone()).collect()),
        });
        let around = Surroundings {
            version: access.snapshot().version,
            accounts: Accounts::Known(Arc::default()),
            classified: Arc::default(),
        };
        Self { rules: rules.collect(), around, made: HashMap::new() }
    }

    /// The rules of a role with aggregation resolved.
    pub(crate) fn rules_of(&self, role: usize) -> &[Rule] {
        self.rules.get(role).map(AsRef::as_ref).unwrap_or_default()
    }

    pub(crate) fn around(&self) -> &Surroundings {
        &self.around
    }

    /// The risks of holding all of `pieces` in a place of this class. `pieces` are sorted, each once.
    pub(crate) fn assess(&mut self, class: Class, pieces: &[Piece]) -> Risks {
        if let Some(known) = self.made.get(&class).and_then(|made| made.get(pieces)) {
            return Rc::clone(known);
        }
        let all: Vec<(RiskId, Severity, String)> = self.judge(class, pieces);
        let found = all.into_iter().map(|(id, severity, why)| {
            let pieces = self.smallest(class, pieces, id, severity);
            Rc::new(Found { id, severity, why, pieces })
        });
        let found: Risks = found.collect();
        self.made.entry(class).or_default().insert(pieces.into(), Rc::clone(&found));
        found
    }

    fn judge(&self, class: Class, pieces: &[Piece]) -> Vec<(RiskId, Severity, String)> {
        let (cluster, place) = (Scope::Cluster, class.scope());
        let bound: Vec<Bound<'_>> = pieces
            .iter()
            .map(|piece| Bound { rules: self.rules_of(piece.role), scope: if piece.local { &place } else { &cluster } })
            .collect();
        // In a namespace whose accounts reach further, every right reaches as far.
        let accounts = match class {
            Class::Strong => Accounts::Unknown,
            _ => self.around.accounts.clone(),
        };
        let around = Surroundings { accounts, ..self.around.clone() };
        let findings = assess_held(&bound, &place, &around);
        findings.findings().iter().map(|finding| (finding.id, finding.severity, finding.why.clone())).collect()
    }

    /// One role that is enough, or a set from which none can be left out.
    fn smallest(&mut self, class: Class, pieces: &[Piece], id: RiskId, severity: Severity) -> Vec<Piece> {
        if pieces.len() <= 1 {
            return pieces.to_vec();
        }
        let alone = |assessor: &mut Self, piece: &Piece| {
            let found = assessor.assess(class, std::slice::from_ref(piece));
            found.iter().any(|one| one.id == id && one.severity >= severity)
        };
        if let Some(enough) = pieces.iter().find(|piece| alone(self, piece)) {
            return vec![*enough];
        }
        // Leaves out halves, then quarters, and so on: a large set takes few assessments for each role that remains.
        let mut rest = pieces.to_vec();
        let mut size = rest.len().div_ceil(2);
        loop {
            let mut at = 0;
            while at < rest.len() && rest.len() > 1 {
                let without: Vec<Piece> = rest.iter().take(at).chain(rest.iter().skip(at + size)).copied().collect();
                let remains = |(one, worth, _): &(RiskId, Severity, String)| *one == id && *worth >= severity;
                if self.judge(class, &without).iter().any(remains) {
                    rest = without;
                } else {
                    at += size;
                }
            }
            if size == 1 {
                return rest;
            }
            size = size.div_ceil(2);
        }
    }
}

/// A role that matters, and the binding of a subject to it.
#[derive(Clone, Copy, Debug)]
struct Holding<'a> {
    role: usize,
    binding: &'a Binding,
}

/// What a subject holds that matters.
#[derive(Clone, Debug, Default)]
struct Holdings<'a> {
    cluster: Vec<Holding<'a>>,
    local: BTreeMap<&'a str, Vec<Holding<'a>>>,
}

impl<'a> Holdings<'a> {
    fn is_empty(&self) -> bool {
        self.cluster.is_empty() && self.local.is_empty()
    }

    fn at(&self, place: Option<&str>) -> &[Holding<'a>] {
        match place {
            None => &self.cluster,
            Some(namespace) => self.local.get(namespace).map(Vec::as_slice).unwrap_or_default(),
        }
    }
}

/// Who holds what, as far as it matters.
pub(crate) struct Held<'a> {
    pub(crate) access: &'a Access<'a>,
    pub(crate) assessor: Assessor<'a>,
    /// By subject.
    holdings: Vec<Holdings<'a>>,
    numbers: HashMap<&'a Subject, usize>,
    /// Groups that contain everybody of a kind, and hold something that matters.
    has_wide_groups: bool,
    /// The namespaces with service accounts that have risky access elsewhere.
    strong: HashSet<&'a str>,
    pub(crate) not_evaluated: Vec<NotEvaluated>,
    /// By aggregated role, place and risk: the role that it comes from.
    sources: RefCell<HashMap<(Piece, RiskId), Option<usize>>>,
    /// By aggregated role: those that it selects.
    selected: RefCell<HashMap<usize, Rc<[usize]>>>,
}

/// The limit for the roles that are assessed together in each namespace, if a subject holds them in the whole cluster.
const MOST_COMBINED: usize = 64;

impl<'a> Held<'a> {
    pub(crate) fn of(access: &'a Access<'a>) -> Self {
        let assessor = Assessor::of(access);
        let subjects = access.subjects();
        let by_address: HashMap<*const Subject, usize> =
            subjects.iter().enumerate().map(|(number, subject)| (std::ptr::from_ref(subject), number)).collect();
        let roles = access.snapshot().roles.iter().enumerate();
        let role_numbers: HashMap<*const Role, usize> =
            roles.map(|(number, role)| (std::ptr::from_ref(role), number)).collect();
        let everywhere = Scope::Cluster;
        // What matters in one of these namespaces may matter in any.
        let names = ["kube-system", "kube-public", "default"].iter().filter_map(|name| name.parse().ok());
        let somewhere = names.collect::<Vec<Namespace>>().try_into().map_or(Scope::Cluster, Scope::Namespaces);
        let mut matter: HashMap<(usize, bool), bool> = HashMap::new();
        let mut holdings: Vec<Holdings<'_>> = vec![Holdings::default(); subjects.len()];
        for holding in access.all() {
            let role = holding.role.and_then(|role| role_numbers.get(&std::ptr::from_ref(role)));
            let subject = by_address.get(&std::ptr::from_ref(holding.through));
            let (Some(role), Some(held)) = (role, subject.and_then(|subject| holdings.get_mut(*subject))) else {
                continue;
            };
            let place = holding.namespace();
            let scope = if place.is_some() { &somewhere } else { &everywhere };
            let does_matter = matter
                .entry((*role, place.is_some()))
                .or_insert_with(|| matters(assessor.rules_of(*role), scope, &assessor.around));
            if !*does_matter {
                continue;
            }
            let here = match place {
                None => &mut held.cluster,
                Some(namespace) => held.local.entry(namespace).or_default(),
            };
            here.push(Holding { role: *role, binding: holding.binding });
        }
        for held in &mut holdings {
            for here in std::iter::once(&mut held.cluster).chain(held.local.values_mut()) {
                here.sort_by_key(|holding| (holding.role, &holding.binding.name));
                here.dedup_by_key(|holding| holding.role);
            }
        }
        let numbers = subjects.iter().enumerate().map(|(number, subject)| (subject, number)).collect();
        let mut held = Self {
            access,
            assessor,
            holdings,
            numbers,
            has_wide_groups: false,
            strong: HashSet::new(),
            not_evaluated: Vec::new(),
            sources: RefCell::default(),
            selected: RefCell::default(),
        };
        let wide = |(subject, held): (&Subject, &Holdings<'_>)| {
            subject.kind == Kind::Group && subject.name.starts_with("system:") && !held.is_empty()
        };
        held.has_wide_groups = subjects.iter().zip(&held.holdings).any(wide);
        held.find_strong();
        held
    }

    /// Finds the namespaces whose service accounts have risky access outside them.
    fn find_strong(&mut self) {
        let mut strong = HashSet::new();
        for (subject, holdings) in self.access.subjects().iter().zip(&self.holdings) {
            let home = match (subject.kind, subject.namespace.as_deref()) {
                (Kind::ServiceAccount, Some(namespace)) => namespace,
                (Kind::Group, _) => match subject.name.strip_prefix("system:serviceaccounts:") {
                    Some(namespace) => namespace,
                    None => continue,
                },
                _ => continue,
            };
            let elsewhere = holdings.local.iter().filter(|(namespace, _)| **namespace != home);
            let elsewhere = elsewhere.flat_map(|(_, held)| held.iter().map(|held| (Class::Ordinary, held.role)));
            let mut outside = holdings.cluster.iter().map(|held| (Class::Cluster, held.role)).chain(elsewhere);
            let assessor = &mut self.assessor;
            let is_risky = |(class, role): (Class, usize)| {
                !assessor.assess(class, &[Piece { role, local: class != Class::Cluster }]).is_empty()
            };
            if outside.any(is_risky) {
                strong.insert(home);
            }
        }
        self.strong = strong;
    }

    /// The role that an aggregated one has a risk from, if one role is enough.
    pub(crate) fn source(&self, piece: Piece, id: RiskId) -> Option<usize> {
        let roles = &self.access.snapshot().roles;
        let selectors = roles.get(piece.role)?.aggregates.as_ref()?;
        let is_selected = |(number, other): &(usize, &Role)| {
            other.name.namespace.is_none()
                && *number != piece.role
                && selectors.iter().any(|selector| selector.selects(&other.meta.labels))
        };
        let all = || roles.iter().enumerate().filter(is_selected).map(|(number, _)| number).collect();
        let selected = Rc::clone(self.selected.borrow_mut().entry(piece.role).or_insert_with(all));
        let class = if piece.local { Class::Ordinary } else { Class::Cluster };
        let gives = |other: &usize| {
            let alone = self.assessor.judge(class, &[Piece { role: *other, ..piece }]);
            alone.iter().any(|(one, ..)| *one == id)
        };
        let find = || selected.iter().copied().find(gives);
        *self.sources.borrow_mut().entry((piece, id)).or_insert_with(find)
    }

    pub(crate) fn class(&self, namespace: &str) -> Class {
        match namespace {
            "kube-system" => Class::KubeSystem,
            "kube-public" => Class::KubePublic,
            namespace if self.strong.contains(namespace) => Class::Strong,
            _ => Class::Ordinary,
        }
    }

    /// The subject's place in [`Access::subjects`], if a binding names it.
    pub(crate) fn number(&self, subject: &Subject) -> Option<usize> {
        self.numbers.get(subject).copied()
    }

    /// Whether the subject holds anything that matters.
    pub(crate) fn holds_something(&self, subject: usize) -> bool {
        self.holdings.get(subject).is_some_and(|held| !held.is_empty())
    }

    /// The risks of a subject, in the whole cluster and in each namespace, together with what its groups add. What its
    /// groups have without it is theirs.
    pub(crate) fn granted(&mut self, subject: usize) -> Vec<Granted<'a>> {
        let Some((who, own)) = self.access.subjects().get(subject).zip(self.holdings.get(subject)) else {
            return Vec::new();
        };
        if own.is_empty() {
            return Vec::new();
        }
        let groups: Vec<usize> = if self.has_wide_groups { self.groups_of(who) } else { Vec::new() };
        let mut all: Vec<usize> = vec![subject];
        all.extend(groups);
        let places: Vec<&'a str> = own.local.keys().copied().collect();
        let everywhere = self.pieces(&all, None, false);
        let mut collected: Vec<Granted<'a>> = Vec::new();
        let of_cluster = self.assessor.assess(Class::Cluster, &everywhere);
        let is_all = |found: &Rc<Found>| found.id.as_str() == "E01";
        for found in of_cluster.iter() {
            if !is_all(found) && of_cluster.iter().any(is_all) {
                continue;
            }
            collected.extend(self.collect(&all, found, None));
        }
        if of_cluster.iter().any(is_all) {
            return collected;
        }
        let combined = if everywhere.len() > MOST_COMBINED && !places.is_empty() {
            self.not_evaluated.push(NotEvaluated {
                what: format!("{who}"),
                why: format!(
                    "it holds {} roles in the whole cluster; what they add to its roles in namespaces was not combined",
                    everywhere.len()
                ),
            });
            &[]
        } else {
            everywhere.as_slice()
        };
        let mut by_found: HashMap<(RiskId, Severity, Vec<Piece>), usize> = HashMap::new();
        for namespace in places {
            let mut pieces = self.pieces(&all, Some(namespace), true);
            pieces.extend_from_slice(combined);
            pieces.sort_unstable();
            let class = self.class(namespace);
            let here = self.assessor.assess(class, &pieces);
            for found in here.iter() {
                let is_wider = of_cluster.iter().any(|wide| wide.id == found.id);
                if is_wider || !is_all(found) && here.iter().any(is_all) {
                    continue;
                }
                let key = (found.id, found.severity, found.pieces.clone());
                if let Some(same) = by_found.get(&key).and_then(|number| collected.get_mut(*number)) {
                    same.places.push(namespace);
                } else if let Some(granted) = self.collect(&all, found, Some(namespace)) {
                    by_found.insert(key, collected.len());
                    collected.push(granted);
                }
            }
        }
        collected
    }

    /// `None` if all of it comes from a group: then it is a risk of the group.
    fn collect(&self, all: &[usize], found: &Rc<Found>, place: Option<&'a str>) -> Option<Granted<'a>> {
        let subjects = self.access.subjects();
        let through: Option<Vec<(usize, Through<'a>)>> = found
            .pieces
            .iter()
            .map(|piece| {
                all.iter().find_map(|number| {
                    let held = self.holdings.get(*number)?.at(place.filter(|_| piece.local));
                    let holding = held.iter().find(|holding| holding.role == piece.role)?;
                    let through =
                        Through { role: piece.role, binding: holding.binding, subject: subjects.get(*number)? };
                    Some((*number, through))
                })
            })
            .collect();
        let through = through?;
        let subject = *all.first()?;
        if !through.iter().any(|(number, _)| *number == subject) {
            return None;
        }
        Some(Granted {
            subject,
            found: Rc::clone(found),
            places: place.into_iter().collect(),
            through: through.into_iter().map(|(_, through)| through).collect(),
        })
    }

    fn pieces(&self, all: &[usize], place: Option<&str>, local: bool) -> Vec<Piece> {
        let held = all.iter().filter_map(|number| self.holdings.get(*number)).flat_map(|held| held.at(place));
        let mut pieces: Vec<Piece> = held.map(|holding| Piece { role: holding.role, local }).collect();
        pieces.sort_unstable();
        pieces.dedup();
        pieces
    }

    fn groups_of(&self, subject: &Subject) -> Vec<usize> {
        let group = |name: String| self.number(&Subject { kind: Kind::Group, namespace: None, name });
        implied_groups(subject).into_iter().filter_map(group).filter(|group| self.holds_something(*group)).collect()
    }
}

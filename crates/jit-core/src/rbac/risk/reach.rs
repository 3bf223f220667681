//! Reads rules as the authorizer does: which permissions of the catalogue they grant in one scope.
//!
//! The semantics are those of `pkg/apis/rbac/v1/evaluation_helpers.go` in Kubernetes, and of the checks that the server
//! makes for each request; `tests/it/risk.rs` compares both. A right must never count as harmless because it is
//! unknown. Only `risk` calls this module.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::catalogue::{
    ALL, At, CHANGE, CREATE, DELETE_ALL, EVERY, GUARD, HARMLESS_PATHS, IN_ANOTHERS_PLACE, INSIDE_PATHS, LIST, NAMELESS,
    ON_WORDS, OTHER, Permission, READ, READ_LIKE_ITS_OBJECT, READABLE, REMOVE, ROWS, RUNS_ON, Row, SERVED, STAR,
    STREAMS, Verbs, Versions, WATCH, WHATEVER, WORDS, Weighs, in_its_own_namespace, may_be_named_star,
};
use super::{Bound, Classified, Known, ServerVersion, Severity, Surroundings};
use crate::rbac::{Rule, Scope};

/// A resource, or one object of it, that some row needs.
struct Target {
    group: &'static str,
    resource: &'static str,
    at: At,
    /// The verbs that a binding in a namespace grants.
    local: Verbs,
    /// The verbs whose request names no object.
    nameless: Verbs,
}

/// One alternative of a row; `target` is an index into [`Index::targets`].
#[derive(Clone, Copy)]
struct Want {
    target: usize,
    verbs: Verbs,
    versions: Versions,
}

struct Compiled {
    row: &'static Row,
    needs: Vec<Vec<Want>>,
    unless: Vec<Want>,
    beside: Vec<Want>,
}

/// The catalogue inverted: from a word of a rule to the targets that it may grant.
struct Index {
    targets: Vec<Target>,
    rows: Vec<Compiled>,
    streams: Vec<Want>,
    guard: Vec<Want>,
    by_resource: HashMap<&'static str, Vec<usize>>,
    /// Targets by `*/SUBRESOURCE`.
    by_subresource: HashMap<String, Vec<usize>>,
    /// The targets that stand for [`EVERY`] resource of a family of groups.
    families: Vec<usize>,
    whatever: usize,
    /// For each resource that Kubernetes serves, the verbs that a binding in a namespace grants.
    served: HashMap<(&'static str, &'static str), Verbs>,
}

static INDEX: LazyLock<Index> = LazyLock::new(Index::build);

impl Index {
    fn build() -> Self {
        let mut served = HashMap::new();
        for group in SERVED {
            served.extend(group.namespaced.iter().map(|resource| ((group.name, *resource), ALL)));
            let cluster = group.cluster.iter();
            served
                .extend(cluster.map(|resource| ((group.name, *resource), in_its_own_namespace(group.name, resource))));
        }
        let mut index = Self {
            targets: Vec::new(),
            rows: Vec::new(),
            streams: Vec::new(),
            guard: Vec::new(),
            by_resource: HashMap::new(),
            by_subresource: HashMap::new(),
            families: Vec::new(),
            whatever: 0,
            served,
        };
        let mut known = HashMap::new();
        index.whatever = index.target(&mut known, "", WHATEVER, At::Anywhere);
        index.rows = ROWS
            .iter()
            .map(|row| Compiled {
                row,
                needs: row.needs.iter().map(|permissions| index.wants(&mut known, permissions)).collect(),
                unless: index.wants(&mut known, row.unless),
                beside: index.wants(&mut known, row.beside),
            })
            .collect();
        index.streams = index.wants(&mut known, STREAMS);
        index.guard = index.wants(&mut known, GUARD);
        index
    }

    fn wants(&mut self, known: &mut KnownTargets, permissions: &[Permission]) -> Vec<Want> {
        permissions
            .iter()
            .flat_map(|permission| permission.resources.iter().map(move |resource| (permission, *resource)))
            .map(|(permission, resource)| Want {
                target: self.target(known, permission.group, resource, permission.at),
                verbs: permission.verbs,
                versions: permission.versions,
            })
            .collect()
    }

    fn target(&mut self, known: &mut KnownTargets, group: &'static str, resource: &'static str, at: At) -> usize {
        if let Some(place) = known.get(&(group, resource, at)) {
            return *place;
        }
        let place = self.targets.len();
        known.insert((group, resource, at), place);
        let local = self.local(group, resource);
        self.targets.push(Target { group, resource, at, local, nameless: nameless(resource) });
        if resource == EVERY {
            self.families.push(place);
        } else if resource != WHATEVER {
            self.by_resource.entry(resource).or_default().push(place);
            if let Some((_, subresource)) = resource.split_once('/') {
                self.by_subresource.entry(format!("*/{subresource}")).or_default().push(place);
            }
        }
        place
    }

    /// Which verbs a binding in a namespace grants on the resource: all, if the resource is unknown, because it may be
    /// namespaced.
    fn local(&self, group: &str, resource: &str) -> Verbs {
        let served: &HashMap<(&str, &str), Verbs> = &self.served;
        let whole = resource.split_once('/').map_or(resource, |(whole, _)| whole);
        served.get(&(group, resource)).or_else(|| served.get(&(group, whole))).copied().unwrap_or(ALL)
    }

    /// The targets of the families that a group belongs to, by the end of its name.
    fn families_of(&self, group: &str) -> Vec<usize> {
        let is_of = |target: &Target| {
            group.strip_suffix(target.group).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let targets = self.families.iter().filter_map(|place| Some((*place, self.targets.get(*place)?)));
        targets.filter(|(_, target)| is_of(target)).map(|(place, _)| place).collect()
    }

    fn is_served(&self, group: &str, resource: &str) -> bool {
        let served: &HashMap<(&str, &str), Verbs> = &self.served;
        // Callers choose the keys of extra fields; the server checks `finalizers` when an owner reference is set.
        let base = match resource.split_once('/') {
            Some((base, "finalizers")) | Some((base @ USER_EXTRAS, _)) => base,
            _ => resource,
        };
        served.contains_key(&(group, base))
    }

    /// Whether a resource is harmless to read although Kubernetes does not serve it: a kind of a known group, or a
    /// subresource such as `status` of a known resource.
    fn is_readable(&self, families: &[usize], group: &str, resource: &str) -> bool {
        let (base, below) = resource.split_once('/').map_or((resource, None), |(base, below)| (base, Some(below)));
        let known = !families.is_empty() || READABLE.contains(&group) || self.is_served(group, base);
        known && below.is_none_or(|below| READ_LIKE_ITS_OBJECT.contains(&below))
    }
}

type KnownTargets = HashMap<(&'static str, &'static str, At), usize>;

const USER_EXTRAS: &str = "userextras";

/// A request for a subresource always names its object, even to create.
fn nameless(resource: &str) -> Verbs {
    if resource.contains('/') { NAMELESS & !CREATE } else { NAMELESS }
}

/// The verbs that rules grant on one target.
#[derive(Clone, Default)]
struct HeldVerbs<'a> {
    /// The verbs on every object.
    any: Verbs,
    /// The verbs on some objects by name.
    named: Verbs,
    /// The names, of the first rule that has any.
    names: &'a [String],
}

/// The permissions of the catalogue that rules grant in a scope.
pub(super) struct HeldPermissions<'a> {
    held: Vec<HeldVerbs<'a>>,
    version: Option<ServerVersion>,
    /// The verb `*` on all resources of all groups.
    pub(super) everything: bool,
    /// List or watch on all resources, secrets among them.
    pub(super) reads_all: Verbs,
    /// Delete on all resources of a group.
    pub(super) removes_all: Verbs,
    /// A path to the API server's profiles or logs.
    pub(super) inside: Option<&'a str>,
    /// The permissions that no row classifies: the first, and the number of others.
    pub(super) unplaced: Option<(String, usize)>,
    /// The permissions that no row classifies, but an administrator does.
    pub(super) classified: Vec<Judged>,
    /// A request for a permission that no row classifies may keep running.
    pub(super) unknown_runs_on: bool,
    known: Known,
}

/// A permission that an administrator classified.
pub(super) struct Judged {
    pub(super) severity: Severity,
    pub(super) text: String,
    pub(super) reason: String,
    pub(super) verbs: Verbs,
}

/// A held permission in words, with the verbs that matter.
pub(super) struct Evidence {
    pub(super) text: String,
    pub(super) verbs: Verbs,
    /// It includes a subresource that opens a long-running request.
    pub(super) runs_on: bool,
    /// It includes a subresource that acts as a workload.
    pub(super) in_anothers_place: bool,
}

/// The names that a rule is limited to.
struct Names<'a> {
    all: &'a [String],
    /// The list contains the empty name, which matches requests that name no object (measured on 1.36).
    empty: bool,
    real: bool,
    star: bool,
}

impl<'a> Names<'a> {
    fn of(rule: &'a Rule) -> Self {
        let all = rule.resource_names.as_slice();
        Self {
            all,
            empty: all.iter().any(String::is_empty),
            real: all.iter().any(|name| !name.is_empty() && name != "*"),
            star: all.iter().any(|name| name == "*"),
        }
    }

    /// The verbs on every object, and those on some by name.
    fn split(&self, verbs: Verbs, nameless: Verbs, group: &str, at: At) -> (Verbs, Verbs) {
        if self.all.is_empty() {
            return (verbs, 0);
        }
        let any = if self.empty { verbs & nameless } else { 0 };
        let hit = match at {
            At::Name(name) | At::Object { name, .. } => self.all.iter().any(|one| one == name),
            At::Anywhere => self.real || (self.star && may_be_named_star(group)),
        };
        (any, if hit { verbs & !DELETE_ALL } else { 0 })
    }
}

impl<'a> HeldPermissions<'a> {
    /// The permissions that all of `bound` grant together.
    pub(super) fn of(bound: &[Bound<'a>], around: &Surroundings, known: Known) -> Self {
        let index = &*INDEX;
        let mut reach = Self {
            held: vec![HeldVerbs::default(); index.targets.len()],
            version: around.version,
            everything: false,
            reads_all: 0,
            removes_all: 0,
            inside: None,
            unplaced: None,
            classified: Vec::new(),
            unknown_runs_on: false,
            known,
        };
        let placing = reach.placing(index);
        for Bound { rules, scope } in bound {
            let limits: Vec<Verbs> = index.targets.iter().map(|target| limit(target, scope)).collect();
            for rule in *rules {
                let verbs = verbs_of(rule);
                if scope.namespaces().is_empty() {
                    reach.add_paths(index, rule, verbs);
                }
                let names = Names::of(rule);
                for group in &rule.api_groups {
                    let families = index.families_of(group);
                    for resource in &rule.resources {
                        let word = Word { group, families: &families, resource, verbs, names: &names };
                        let rest = reach.add(index, &limits, &placing, scope, word);
                        reach.report(rest, word, &around.classified);
                    }
                }
            }
        }
        reach
    }

    /// For each target the verbs that are enough for a row to match.
    fn placing(&self, index: &Index) -> Vec<Verbs> {
        let mut placing = vec![0; index.targets.len()];
        for compiled in &index.rows {
            let [wants] = compiled.needs.as_slice() else { continue };
            for want in wants {
                if let Some(verbs) = placing.get_mut(want.target)
                    && self.applies(want.versions)
                {
                    *verbs |= want.verbs;
                }
            }
        }
        placing
    }

    fn applies(&self, versions: Versions) -> bool {
        // An unknown version counts as every version.
        let Some(version) = self.version else { return true };
        match versions {
            Versions::Always => true,
            Versions::Before(minor) => version < ServerVersion { major: 1, minor },
            Versions::From(minor) => version >= ServerVersion { major: 1, minor },
        }
    }

    /// Returns the verbs that no row classifies.
    fn add(&mut self, index: &Index, limits: &[Verbs], placing: &[Verbs], scope: &Scope, word: Word<'a, '_>) -> Verbs {
        let Word { group, families, resource, verbs, names } = word;
        let all_groups = group == EVERY;
        let all_resources = resource == EVERY;
        let subresource = resource.strip_prefix("*/");
        let extras = resource == USER_EXTRAS || resource.starts_with("userextras/");
        if resource.contains('*') && !all_resources && subresource.is_none() && !extras {
            // RBAC takes `pods/*` literally, and no resource has that name.
            return 0;
        }
        let one_kind = !all_resources && subresource.is_none();
        let exact = !all_groups && one_kind;
        let in_scope = if exact && !scope.namespaces().is_empty() { index.local(group, resource) } else { ALL };
        let (any, named) = names.split(verbs & in_scope, nameless(resource), group, At::Anywhere);
        if any | named == 0 {
            return 0;
        }
        if let Some(held) = self.held.get_mut(index.whatever) {
            held.any |= any;
            held.named |= named;
        }

        let mut placed = 0;
        let mut touch = |reach: &mut Self, place: usize| {
            let (Some(target), Some(limit), Some(held), Some(placing)) =
                (index.targets.get(place), limits.get(place), reach.held.get_mut(place), placing.get(place))
            else {
                return;
            };
            if !all_groups && target.group != group {
                return;
            }
            let (any, named) = names.split(verbs & limit, target.nameless, target.group, target.at);
            held.any |= any;
            if named != 0 && held.named == 0 {
                held.names = names.all;
            }
            held.named |= named;
            // A create limited to names has no effect by itself, so it does not classify the rule.
            placed |= (any | named & !(CREATE & target.nameless)) & placing;
        };
        let nothing = Vec::new();
        if all_resources {
            (0..index.targets.len()).filter(|place| *place != index.whatever).for_each(|place| touch(self, place));
        } else if extras {
            index.by_resource.get(USER_EXTRAS).unwrap_or(&nothing).iter().for_each(|place| touch(self, *place));
        } else if subresource.is_some() {
            index.by_subresource.get(resource).unwrap_or(&nothing).iter().for_each(|place| touch(self, *place));
            index.by_resource.get(USER_EXTRAS).unwrap_or(&nothing).iter().for_each(|place| touch(self, *place));
        } else {
            index.by_resource.get(resource).unwrap_or(&nothing).iter().for_each(|place| touch(self, *place));
        }
        // A row of its own says more about a kind than the row of its family.
        let (any_of_family, named_of_family) = if exact { (any & !placed, named & !placed) } else { (any, named) };
        for place in families {
            let Some(held) = self.held.get_mut(*place) else { continue };
            held.any |= any_of_family;
            held.named |= named_of_family;
            placed |= placing.get(*place).map_or(0, |placing| (any | named) & placing);
        }

        if all_resources {
            self.everything |= all_groups && verbs & STAR != 0 && (names.all.is_empty() || names.empty);
            self.removes_all |= (any | named) & REMOVE;
            placed |= (any | named) & REMOVE;
            if all_groups || group.is_empty() {
                self.reads_all |= any & (LIST | WATCH);
                placed |= any & (LIST | WATCH);
            }
        }
        // A create limited to names allows nothing, because a create request names no object.
        let held = any | named & !(CREATE & nameless(resource));
        let known_group = all_groups || SERVED.iter().any(|known| known.name == group);
        let is_served = index.is_served(group, resource);
        // Only Kubernetes itself can serve these groups, and this version does not serve that.
        let is_nothing = self.known == Known::Everything
            && exact
            && !is_served
            && !group.contains('.')
            && known_group
            && self.version.is_some_and(|version| version <= SERVED_BY);
        let rest = if is_nothing {
            0
        } else if is_served {
            // A verb that 1.36 never checks, or all verbs if no row matches.
            if verbs & STAR == 0 || placed == 0 { held & OTHER } else { 0 }
        } else if one_kind || !known_group {
            held & !placed & !if exact && index.is_readable(families, group, resource) { READ } else { 0 }
        } else if placed == 0 {
            held
        } else {
            0
        };
        let below = resource.split_once('/').map(|(_, below)| below);
        let may_run_on = match below {
            Some(below) => RUNS_ON.contains(&below),
            None => all_resources && (all_groups || !known_group) && held & !(LIST | REMOVE) != 0,
        };
        let runs_on = may_run_on && !is_served && !is_nothing && held & !REMOVE != 0;
        self.unknown_runs_on |= runs_on || rest & WATCH != 0;
        rest
    }

    /// Keeps the verbs of a word that no row classifies: those that an administrator does, and the rest.
    fn report(&mut self, mut rest: Verbs, Word { group, resource, verbs, .. }: Word<'a, '_>, known: &[Classified]) {
        for one in known {
            let judged = rest & one.verbs_on(group, resource);
            if judged != 0 {
                rest &= !judged;
                let text = format!("{} {}", words(judged), shown_resource(group, resource));
                let (severity, reason) = (one.severity, one.reason.clone());
                self.classified.push(Judged { severity, text, reason, verbs: judged });
            }
        }
        if rest != 0 {
            let reported = if verbs & STAR == 0 { rest } else { verbs };
            self.add_unplaced(|| format!("{} {}", words(reported), shown_resource(group, resource)));
        }
    }

    fn add_paths(&mut self, index: &Index, rule: &'a Rule, verbs: Verbs) {
        let only_looks = rule.verbs.iter().all(|verb| matches!(verb.as_str(), "get" | "head" | "options"));
        if verbs != 0
            && !rule.non_resource_urls.is_empty()
            && let Some(held) = self.held.get_mut(index.whatever)
        {
            // Paths cannot be watched, and they contain no named objects.
            held.any |= verbs & !(READ | CHANGE | CREATE | REMOVE);
        }
        for path in rule.non_resource_urls.iter().filter(|_| verbs != 0) {
            let prefix = path.trim_end_matches('*');
            let wide = prefix.len() < path.len();
            let below =
                |root: &&&str| prefix.strip_prefix(**root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if INSIDE_PATHS.iter().any(|root| below(&root) || (wide && root.starts_with(prefix))) {
                self.inside = self.inside.or(Some(path));
            } else if HARMLESS_PATHS.iter().any(|root| below(&root)) || (!wide && only_looks) {
            } else {
                self.add_unplaced(|| format!("{} {}", words(verbs), shown(path)));
            }
        }
    }

    fn add_unplaced(&mut self, first: impl FnOnce() -> String) {
        match &mut self.unplaced {
            Some((_, more)) => *more += 1,
            None => self.unplaced = Some((first(), 0)),
        }
    }

    fn verbs(&self, want: &Want) -> Verbs {
        let Some((held, target)) = self.held.get(want.target).zip(INDEX.targets.get(want.target)) else { return 0 };
        if !self.applies(want.versions) {
            return 0;
        }
        let all = held.any | held.named;
        // A create request names no object. But a patch or an update of a missing object creates it, and then the server
        // checks create with the name (measured on 1.36 with server-side apply).
        let creates_nothing = held.any & CREATE == 0 && target.nameless & CREATE != 0 && all & CHANGE == 0;
        (if creates_nothing { all & !CREATE } else { all }) & want.verbs
    }

    fn first<'w>(&self, wants: &'w [Want]) -> Option<(&'w Want, Verbs, usize)> {
        let mut held = wants.iter().map(|want| (want, self.verbs(want))).filter(|(_, verbs)| *verbs != 0);
        let (want, verbs) = held.next()?;
        Some((want, verbs, held.count()))
    }

    fn evidence(&self, wants: &[Want]) -> Option<Evidence> {
        let (want, verbs, more) = self.first(wants)?;
        let mut every = verbs;
        let (mut runs_on, mut in_anothers_place) = (false, false);
        for want in wants {
            let held = self.verbs(want);
            every |= held;
            if let Some(target) = INDEX.targets.get(want.target).filter(|_| held != 0)
                && let Some((_, below)) = target.resource.split_once('/')
            {
                runs_on |= RUNS_ON.contains(&below);
                in_anothers_place |= IN_ANOTHERS_PLACE.contains(&below);
            }
        }
        let (held, target) = self.held.get(want.target).zip(INDEX.targets.get(want.target))?;
        let mut text = words(verbs & want.verbs);
        match target.resource {
            WHATEVER => {}
            EVERY => text.push_str(&format!(" anything in {}", target.group)),
            resource => text.push_str(&format!(" {resource}")),
        }
        if held.any & verbs == 0 {
            let names: Vec<String> =
                held.names.iter().filter(|name| !name.is_empty()).take(NAMES_SHOWN).map(|name| shown(name)).collect();
            if !names.is_empty() {
                text.push_str(&format!(" named {}", names.join(", ")));
            }
            if held.names.len() > NAMES_SHOWN {
                text.push_str(", …");
            }
        }
        if more > 0 {
            text.push_str(&format!(" (and {more} more)"));
        }
        if self.version.is_none() && !matches!(want.versions, Versions::Always) {
            text.push_str(" (assumed, because the API server's version is unknown)");
        }
        Some(Evidence { text, verbs: every, runs_on, in_anothers_place })
    }

    /// The rows that match, each with the permissions that it matched.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&'static Row, Evidence)> {
        INDEX.rows.iter().filter_map(|compiled| {
            if compiled.needs.is_empty() || self.first(&compiled.unless).is_some() {
                return None;
            }
            let lacks_the_rest = !compiled.beside.is_empty() && self.first(&compiled.beside).is_none();
            if self.known == Known::Everything && (lacks_the_rest || compiled.row.weighs == Weighs::NothingAlone) {
                return None;
            }
            let held: Option<Vec<Evidence>> = compiled.needs.iter().map(|wants| self.evidence(wants)).collect();
            let held = held?;
            let all = held.into_iter().reduce(|all, one| Evidence {
                text: format!("{} + {}", all.text, one.text),
                verbs: all.verbs | one.verbs,
                runs_on: all.runs_on || one.runs_on,
                in_anothers_place: all.in_anothers_place || one.in_anothers_place,
            })?;
            Some((compiled.row, all))
        })
    }

    /// Whether they contain anything that any row asks about. If not, they change no assessment, whatever else is held.
    pub(super) fn matter(&self) -> bool {
        let held = |want: &Want| {
            let held = self.held.get(want.target);
            self.applies(want.versions) && held.is_some_and(|held| (held.any | held.named) & want.verbs != 0)
        };
        let asks = |compiled: &Compiled| {
            compiled.needs.iter().flatten().chain(&compiled.unless).chain(&compiled.beside).any(held)
        };
        let whole = self.everything || self.reads_all | self.removes_all != 0 || self.inside.is_some();
        whole || self.unplaced.is_some() || !self.classified.is_empty() || INDEX.rows.iter().any(asks)
    }

    pub(super) fn streams(&self) -> bool {
        self.unknown_runs_on || self.first(&INDEX.streams).is_some()
    }

    pub(super) fn guard(&self) -> Option<Evidence> {
        self.evidence(&INDEX.guard)
    }
}

/// One group and one resource of a rule.
#[derive(Clone, Copy)]
struct Word<'a, 'n> {
    group: &'a str,
    /// The targets of the families that the group belongs to.
    families: &'n [usize],
    resource: &'a str,
    verbs: Verbs,
    names: &'n Names<'a>,
}

const NAMES_SHOWN: usize = 3;

/// The version whose resources the catalogue lists; later ones may serve more.
const SERVED_BY: ServerVersion = ServerVersion { major: 1, minor: 36 };

fn limit(target: &Target, scope: &Scope) -> Verbs {
    let namespaces = scope.namespaces();
    if namespaces.is_empty() {
        return ALL;
    }
    match target.at {
        At::Object { namespace: home, .. } if !namespaces.iter().any(|namespace| namespace.as_str() == home) => 0,
        _ => target.local,
    }
}

fn verbs_of(rule: &Rule) -> Verbs {
    rule.verbs.iter().fold(0, |verbs, word| verbs | verb(word))
}

fn verb(word: &str) -> Verbs {
    if word == "*" {
        return ALL;
    }
    let plain = WORDS.iter().find(|(known, _)| *known == word);
    let found = plain.or_else(|| ON_WORDS.iter().find(|(prefix, _)| word.starts_with(prefix)));
    found.map_or(OTHER, |(_, verb)| *verb)
}

/// The verbs in words, for a sentence.
pub(super) fn words(verbs: Verbs) -> String {
    if verbs & STAR != 0 {
        return "every verb on".to_owned();
    }
    let plain = WORDS.iter().filter(|(_, verb)| verbs & verb != 0).map(|(word, _)| (*word).to_owned());
    let on = ON_WORDS.iter().filter(|(_, verb)| verbs & verb != 0).map(|(prefix, _)| format!("{prefix}…"));
    let mut all: Vec<String> = plain.chain(on).collect();
    if verbs & OTHER != 0 {
        all.push("another verb on".to_owned());
    }
    all.join(", ")
}

fn shown_resource(group: &str, resource: &str) -> String {
    match group {
        "" => shown(resource),
        "*" => format!("{} in every API group", shown(resource)),
        group => format!("{} in {}", shown(resource), shown(group)),
    }
}

/// A word from the cluster for a sentence, in backticks: escaped, so that a terminal does not interpret it, and cut to
/// 60 characters.
pub(super) fn shown(word: &str) -> String {
    format!("`{}`", word.chars().take(60).flat_map(char::escape_default).collect::<String>())
}

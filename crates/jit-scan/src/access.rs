//! The index of a snapshot: who holds which rules where, and what the authorizer of the API server would answer.
//!
//! ```text
//!  subject ──► its groups ──► bindings ──► role ──► rules (aggregation resolved)
//!                             what is bound there: Holding          what is asked: Action ──► Allowed
//! ```
//! It answers as `k8s.io/kubernetes/pkg/registry/rbac/validation` does (`VisitRulesFor`, `appliesTo`), and judges nothing.
//! Only RBAC and the group `system:masters` are in it: what the node authorizer or a webhook allows is in no snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use jit_core::rbac::Rule;

use crate::aggregate;
use crate::authorize::{Action, rule_allows};
use crate::finding::{Kind, NotEvaluated, Subject};
use crate::snapshot::{Binding, Role, RoleKind, Snapshot};

/// The group whose members may do everything, without a binding.
pub const MASTERS: &str = "system:masters";

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const ACCOUNTS: &str = "system:serviceaccounts";
const ANONYMOUS: &str = "system:anonymous";

/// Who holds which rules where. Cheap to ask; made once for a snapshot.
#[derive(Debug)]
pub struct Access<'s> {
    snapshot: &'s Snapshot,
    /// By role: its rules.
    rules: Vec<Arc<[&'s Rule]>>,
    bindings: Vec<Bound>,
    subjects: Vec<Subject>,
    ids: HashMap<Key<'s>, u32>,
    /// By subject: its bindings, those of the whole cluster first.
    of_subject: Vec<Vec<u32>>,
    not_evaluated: Vec<NotEvaluated>,
}

/// A binding with what it names.
#[derive(Debug)]
struct Bound {
    role: Option<u32>,
    subjects: Vec<u32>,
}

/// A subject without its own strings. A user with the name of a service account is that account.
type Key<'s> = (Kind, &'s str, &'s str);

/// A binding that applies to a subject.
#[derive(Clone, Copy, Debug)]
pub struct Holding<'a> {
    /// The binding.
    pub binding: &'a Binding,
    /// The subject as whom it applies: the one that was asked for, or one of its groups.
    pub through: &'a Subject,
    /// The bound role; `None` if the snapshot does not have it.
    pub role: Option<&'a Role>,
    /// The role's rules with aggregation resolved; none for a missing role.
    pub rules: &'a [&'a Rule],
}

impl<'a> Holding<'a> {
    /// The namespace in which the rules apply; `None` for the whole cluster.
    #[must_use]
    pub fn namespace(&self) -> Option<&'a str> {
        self.binding.name.namespace.as_deref()
    }
}

/// Why an action is allowed.
#[derive(Clone, Copy, Debug)]
pub enum Allowed<'a> {
    /// By a rule of a bound role.
    Bound {
        /// The binding, its role, and as whom the subject holds it.
        holding: Holding<'a>,
        /// The first rule that allows it.
        rule: &'a Rule,
    },
    /// By membership in `system:masters`.
    Masters,
}

impl<'s> Access<'s> {
    /// Resolves aggregation, role references and subjects.
    #[must_use]
    pub fn of(snapshot: &'s Snapshot) -> Self {
        let (rules, not_evaluated) = aggregate::resolve(&snapshot.roles);
        let mut roles: HashMap<(Option<&str>, &str), u32> = HashMap::new();
        for (number, role) in (0..).zip(&snapshot.roles) {
            roles.entry((role.name.namespace.as_deref(), &role.name.name)).or_insert(number);
        }
        let mut access = Self {
            snapshot,
            rules,
            bindings: Vec::with_capacity(snapshot.bindings.len()),
            subjects: Vec::new(),
            ids: HashMap::new(),
            of_subject: Vec::new(),
            not_evaluated,
        };
        for (number, binding) in (0..).zip(&snapshot.bindings) {
            let home = binding.name.namespace.as_deref();
            let role = match (binding.role.kind, home) {
                (RoleKind::ClusterRole, _) => roles.get(&(None, binding.role.name.as_str())),
                (RoleKind::Role, Some(_)) => roles.get(&(home, binding.role.name.as_str())),
                // The API server finds no Role without a namespace.
                (RoleKind::Role, None) => None,
            };
            let mut subjects: Vec<u32> =
                binding.subjects.iter().filter_map(|subject| access.intern(key(subject, home)?)).collect();
            subjects.sort_unstable();
            subjects.dedup();
            for subject in &subjects {
                if let Some(bindings) = access.of_subject.get_mut(*subject as usize) {
                    bindings.push(number);
                }
            }
            access.bindings.push(Bound { role: role.copied(), subjects });
        }
        for bindings in &mut access.of_subject {
            bindings.sort_by_key(|number| snapshot.bindings.get(*number as usize).map(|binding| &binding.name));
        }
        access
    }

    fn intern(&mut self, key: Key<'s>) -> Option<u32> {
        let next = u32::try_from(self.subjects.len()).ok()?;
        let id = *self.ids.entry(key).or_insert(next);
        if id == next {
            let (kind, namespace, name) = key;
            let namespace = (kind == Kind::ServiceAccount).then(|| namespace.to_owned());
            self.subjects.push(Subject { kind, namespace, name: name.to_owned() });
            self.of_subject.push(Vec::new());
        }
        Some(id)
    }

    /// The snapshot that it was made of.
    #[must_use]
    pub fn snapshot(&self) -> &'s Snapshot {
        self.snapshot
    }

    /// What could not be resolved; what could not be read is in the snapshot.
    #[must_use]
    pub fn not_evaluated(&self) -> &[NotEvaluated] {
        &self.not_evaluated
    }

    /// Every subject that a binding names, each once, in the order of the bindings. A user with the name of a service
    /// account, `system:serviceaccount:NAMESPACE:NAME`, is that account.
    #[must_use]
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// The rules of a role of the snapshot, by its place there, with aggregation resolved.
    #[must_use]
    pub fn rules_of(&self, role: usize) -> &[&'s Rule] {
        self.rules.get(role).map(AsRef::as_ref).unwrap_or_default()
    }

    /// Every binding of the snapshot in its order: its role with the rules, once for each of its subjects. A binding
    /// without subjects is not in it.
    pub fn all(&self) -> impl Iterator<Item = Holding<'_>> {
        (0..).zip(&self.bindings).flat_map(move |(number, bound)| {
            bound.subjects.iter().filter_map(move |subject| self.holding(number, *subject))
        })
    }

    /// The bindings that apply to a subject, directly or through its groups: those that every member of its kind is in
    /// ([`implied_groups`]), and `groups`, which only the authenticator of the cluster knows. Each binding once; those of the
    /// whole cluster first, then by namespace and name. [`is_master`] says whether it needs none.
    pub fn holdings(&self, subject: &Subject, groups: &[&str]) -> Vec<Holding<'_>> {
        let mut found: Vec<Holding<'_>> = Vec::new();
        for id in self.identities(subject, groups) {
            let bindings = self.of_subject.get(id as usize).into_iter().flatten();
            found.extend(bindings.filter_map(|number| self.holding(*number, id)));
        }
        // Stable: a binding that names the subject and one of its groups applies to the subject first.
        found.sort_by_key(|holding| &holding.binding.name);
        found.dedup_by(|one, other| std::ptr::eq(one.binding, other.binding));
        found
    }

    /// Whether the authorizer allows the action, and by what. `groups` as in [`Self::holdings`].
    #[must_use]
    pub fn allows(&self, subject: &Subject, groups: &[&str], action: &Action<'_>) -> Option<Allowed<'_>> {
        if is_master(subject, groups) {
            return Some(Allowed::Masters);
        }
        let namespace = action.namespace();
        self.identities(subject, groups).into_iter().find_map(|id| {
            self.of_subject.get(id as usize)?.iter().find_map(|number| {
                let holding = self.holding(*number, id)?;
                let applies = holding.namespace().is_none() || holding.namespace() == namespace;
                let rule = holding.rules.iter().find(|rule| applies && rule_allows(rule, action))?;
                Some(Allowed::Bound { holding, rule })
            })
        })
    }

    /// Everybody whom a binding allows the action: each binding once for each of its subjects, with the first rule that
    /// allows it, ordered by subject. A group stands for its members. Members of `system:masters`, who need no binding,
    /// are not in it.
    #[must_use]
    pub fn who_can(&self, action: &Action<'_>) -> Vec<(Holding<'_>, &'s Rule)> {
        let namespace = action.namespace();
        let allowing = |rules: &Arc<[&'s Rule]>| rules.iter().copied().find(|rule| rule_allows(rule, action));
        let by_role: Vec<Option<&'s Rule>> = self.rules.iter().map(allowing).collect();
        let mut found = Vec::new();
        for ((number, bound), binding) in (0..).zip(&self.bindings).zip(&self.snapshot.bindings) {
            let home = binding.name.namespace.as_deref();
            let rule = bound.role.and_then(|role| *by_role.get(role as usize)?);
            if let Some(rule) = rule.filter(|_| home.is_none() || home == namespace) {
                let holdings = bound.subjects.iter().filter_map(|subject| self.holding(number, *subject));
                found.extend(holdings.map(|holding| (holding, rule)));
            }
        }
        found.sort_by_key(|(holding, _)| (holding.through, &holding.binding.name));
        found
    }

    /// The subject and its groups, as far as a binding names them.
    fn identities(&self, subject: &Subject, groups: &[&str]) -> Vec<u32> {
        let own = key(subject, None).and_then(|key| self.ids.get(&key).copied());
        let group = |name: &str| self.ids.get(&(Kind::Group, "", name)).copied();
        let implied = implied_groups(subject);
        let mut ids: Vec<u32> = own.into_iter().collect();
        ids.extend(implied.iter().map(String::as_str).chain(groups.iter().copied()).filter_map(group));
        ids
    }

    fn holding(&self, binding: u32, subject: u32) -> Option<Holding<'_>> {
        let role = self.bindings.get(binding as usize)?.role;
        Some(Holding {
            binding: self.snapshot.bindings.get(binding as usize)?,
            through: self.subjects.get(subject as usize)?,
            role: role.and_then(|role| self.snapshot.roles.get(role as usize)),
            rules: role.map(|role| self.rules_of(role as usize)).unwrap_or_default(),
        })
    }
}

/// The groups that the API server adds to everybody of this kind (`k8s.io/apiserver/pkg/authentication`). Those of a group
/// are what each of its members has as well. Other groups of a user are known only to the authenticator of the cluster.
#[must_use]
pub fn implied_groups(subject: &Subject) -> Vec<String> {
    let authenticated = || AUTHENTICATED.to_owned();
    let accounts = |namespace: &str| vec![ACCOUNTS.to_owned(), format!("{ACCOUNTS}:{namespace}"), authenticated()];
    match (subject.kind, key(subject, None)) {
        (_, Some((Kind::ServiceAccount, namespace, _))) => accounts(namespace),
        (Kind::User, _) if subject.name == ANONYMOUS => vec![UNAUTHENTICATED.to_owned()],
        (Kind::Group, _) if [AUTHENTICATED, UNAUTHENTICATED].contains(&subject.name.as_str()) => Vec::new(),
        (Kind::Group, _) if subject.name.strip_prefix(ACCOUNTS).is_some_and(|rest| rest.starts_with(':')) => {
            vec![ACCOUNTS.to_owned(), authenticated()]
        }
        _ => vec![authenticated()],
    }
}

/// Whether the subject may do everything, because it is the group `system:masters` or one of its members.
#[must_use]
pub fn is_master(subject: &Subject, groups: &[&str]) -> bool {
    subject.kind == Kind::Group && subject.name == MASTERS || groups.contains(&MASTERS)
}

/// The subject that the authorizer compares with a user. `home` is the namespace of a RoleBinding, whose service accounts
/// need not name theirs; without either there is no such account.
fn key<'q>(subject: &'q Subject, home: Option<&'q str>) -> Option<Key<'q>> {
    match subject.kind {
        Kind::ServiceAccount => {
            let named = subject.namespace.as_deref().filter(|namespace| !namespace.is_empty());
            Some((Kind::ServiceAccount, named.or(home)?, &subject.name))
        }
        Kind::Group => Some((Kind::Group, "", &subject.name)),
        Kind::User => {
            let account = subject.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
            match account.filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains(':')) {
                Some((namespace, name)) => Some((Kind::ServiceAccount, namespace, name)),
                None => Some((Kind::User, "", &subject.name)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::ResourceAction;
    use crate::snapshot::{Meta, Name, RoleRef};

    fn name(namespace: Option<&str>, name: &str) -> Name {
        Name { namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }

    fn role(namespace: Option<&str>, role: &str, resource: &str) -> Role {
        let rule = Rule {
            api_groups: vec![String::new()],
            resources: vec![resource.to_owned()],
            verbs: vec!["get".to_owned()],
            ..Rule::default()
        };
        Role { name: name(namespace, role), meta: Meta::default(), rules: vec![rule], aggregates: None }
    }

    fn binding(namespace: Option<&str>, kind: RoleKind, role: &str, subjects: &[Subject]) -> Binding {
        Binding {
            name: name(namespace, &format!("{role}-binding")),
            meta: Meta::default(),
            role: RoleRef { kind, name: role.to_owned() },
            subjects: subjects.to_vec(),
        }
    }

    fn subject(kind: Kind, namespace: Option<&str>, name: &str) -> Subject {
        Subject { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }

    fn user(name: &str) -> Subject {
        subject(Kind::User, None, name)
    }

    fn group(name: &str) -> Subject {
        subject(Kind::Group, None, name)
    }

    fn account(namespace: &str, name: &str) -> Subject {
        subject(Kind::ServiceAccount, Some(namespace), name)
    }

    fn get<'q>(resource: &'q str, namespace: Option<&'q str>) -> Action<'q> {
        Action::Resource(ResourceAction { verb: "get", resource, namespace, ..ResourceAction::default() })
    }

    fn example() -> Snapshot {
        use RoleKind::{ClusterRole, Role as Local};
        let nameless = subject(Kind::ServiceAccount, None, "builder");
        Snapshot {
            roles: vec![
                role(None, "pods", "pods"),
                role(None, "nodes", "nodes"),
                role(None, "info", "info"),
                role(None, "sa", "sa"),
                role(None, "open", "open"),
                role(Some("shop"), "secrets", "secrets"),
                role(Some("bank"), "secrets", "configmaps"),
            ],
            bindings: vec![
                binding(Some("shop"), ClusterRole, "pods", &[user("alice"), nameless.clone()]),
                binding(None, ClusterRole, "nodes", &[account("shop", "builder"), nameless]),
                binding(None, ClusterRole, "info", &[group("system:authenticated"), user("alice")]),
                binding(None, ClusterRole, "open", &[group("system:unauthenticated")]),
                binding(Some("shop"), ClusterRole, "sa", &[group("system:serviceaccounts:shop")]),
                binding(Some("bank"), Local, "secrets", &[user("alice"), user("system:serviceaccount:shop:builder")]),
                binding(None, Local, "secrets", &[user("alice")]),
                binding(None, ClusterRole, "absent", &[user("alice"), group("dev")]),
            ],
            ..Snapshot::default()
        }
    }

    #[test]
    fn the_answers_are_those_of_the_authorizer() {
        let snapshot = example();
        let access = Access::of(&snapshot);
        let (alice, bob, builder) = (user("alice"), user("bob"), account("shop", "builder"));
        let (anonymous, masters) = (user("system:anonymous"), group("system:masters"));
        let table = [
            (&alice, get("pods", Some("shop")), true),
            (&alice, get("pods", Some("bank")), false),
            (&alice, get("pods", None), false),
            (&alice, get("pods", Some("")), false),
            (&bob, get("pods", Some("shop")), false),
            // A service account without a namespace is one of the binding's namespace, or none.
            (&builder, get("pods", Some("shop")), true),
            (&builder, get("nodes", None), true),
            (&user("system:serviceaccount:shop:builder"), get("nodes", None), true),
            (&user("system:serviceaccount::builder"), get("nodes", None), false),
            (&builder, get("sa", Some("shop")), true),
            (&account("bank", "builder"), get("sa", Some("shop")), false),
            (&bob, get("info", None), true),
            (&builder, get("info", None), true),
            (&group("dev"), get("info", None), true),
            (&anonymous, get("info", None), false),
            (&anonymous, get("open", None), true),
            (&alice, get("open", None), false),
            // The Role of the binding's namespace, not the one of the same name elsewhere.
            (&alice, get("configmaps", Some("bank")), true),
            (&alice, get("secrets", Some("bank")), false),
            (&alice, get("secrets", Some("shop")), false),
            (&builder, get("configmaps", Some("bank")), true),
            (&masters, get("anything", None), true),
        ];
        for (number, (who, action, allowed)) in table.iter().enumerate() {
            assert_eq!(access.allows(who, &[], action).is_some(), *allowed, "{number}: {who} {action:?}");
        }
        assert!(access.allows(&bob, &["system:masters"], &get("anything", None)).is_some());
        assert!(access.allows(&bob, &["system:serviceaccounts:shop"], &get("sa", Some("shop"))).is_some());
    }

    #[test]
    fn holdings_name_each_binding_once_and_the_missing_roles() {
        let snapshot = example();
        let access = Access::of(&snapshot);
        let held = |who: &Subject| -> Vec<(String, bool)> {
            let holdings = access.holdings(who, &[]);
            holdings.iter().map(|held| (held.binding.name.name.clone(), held.role.is_some())).collect()
        };
        let expected = [
            ("absent-binding", false),
            ("info-binding", true),
            ("secrets-binding", false),
            ("secrets-binding", true),
            ("pods-binding", true),
        ];
        assert_eq!(held(&user("alice")), expected.map(|(name, exists)| (name.to_owned(), exists)));
        let alice = user("alice");
        let info = access.holdings(&alice, &[]);
        let info = info.iter().find(|held| held.binding.name.name == "info-binding").unwrap();
        assert_eq!(info.through, &alice);
        assert_eq!(held(&user("erin")), [("info-binding".to_owned(), true)]);
        assert_eq!(access.all().count(), 12);
    }

    #[test]
    fn who_can_lists_the_subjects_of_the_bindings_that_allow_it() {
        let snapshot = example();
        let access = Access::of(&snapshot);
        let names = |action: &Action<'_>| -> Vec<String> {
            access.who_can(action).iter().map(|(held, _)| held.through.to_string()).collect()
        };
        assert_eq!(names(&get("pods", Some("shop"))), ["user alice", "service account shop/builder"]);
        assert_eq!(names(&get("pods", None)), [""; 0]);
        assert_eq!(names(&get("info", Some("shop"))), ["user alice", "group system:authenticated"]);
        assert_eq!(names(&get("configmaps", Some("bank"))), ["user alice", "service account shop/builder"]);
    }
}

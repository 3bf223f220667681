//! The way out: what replaces each standing grant of a person or a group by a request, and in which order the old bindings go.
//!
//! ```text
//!  Access ──► Grant (a binding and one of its subjects) ──► narrow: role and places, as the audit logs say
//!                                                   └──► policy: a rule with tests, which the policy engine accepts or not
//!                                                   └──► plan: the bindings that are replaced, the most powerful last
//! ```
//! Nothing here is applied. What cannot be requested, must not be removed, or is not a person's stays, with the reason: a
//! suggestion that leaves something out silently would lock somebody out.

mod narrow;
mod plan;
mod policy;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use jit_core::grant::names;
use jit_core::grant::policy::Fault;
use jit_core::grant::request::ClusterName;
use jit_core::rbac::Rule;

pub use self::plan::{Bound, ImpossiblePlan, Plan, Removal, Request, Step, administrators_after};
pub use self::policy::{NewRole, Suggested};
use crate::access::{Access, Holding};
use crate::audit::{Usage, Uses};
use crate::bootstrap::Bootstrap;
use crate::finding::{Kind, Subject};
use crate::snapshot::{Binding, Name, RoleKind, RoleRef};

/// What the administrator says about the requests.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The name of the cluster in the configuration of `jitd`.
    pub cluster: ClusterName,
    /// The groups whose members approve; at least one.
    pub approvers: Vec<String>,
    /// The text of `guardrails.yaml`; `None` for the defaults.
    pub guardrails: Option<String>,
    /// Who removes the bindings, if that is known.
    pub runner: Option<Runner>,
}

/// Somebody as the API server knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// The user's name.
    pub user: String,
    /// The user's groups.
    pub groups: Vec<String>,
}

impl Runner {
    /// Whether they have what is bound to this subject.
    #[must_use]
    pub fn is(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::User => self.user == name,
            Kind::Group => self.groups.iter().any(|group| group == name),
            Kind::ServiceAccount => false,
        }
    }
}

/// A standing grant: a binding, and one of those whom it binds.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// The binding, whom it binds, and what they have by it.
    pub holding: Holding<'a>,
    /// The names of the rules of [`Suggestion::rules`] by which they request it; none if it is not replaced.
    pub becomes: Vec<String>,
    /// What the audit logs say about its use, in one sentence or less.
    pub evidence: String,
    /// Why the binding stays; `None` if the plan removes it.
    pub stays: Option<String>,
}

impl Grant<'_> {
    /// Whether it is a person's or a group's of people, so that a request can replace it.
    #[must_use]
    pub fn is_of_people(&self) -> bool {
        is_of_people(self.holding.through)
    }

    /// The binding as kubectl names it: `payments/rolebinding/dev`.
    #[must_use]
    pub fn object(&self) -> String {
        object(&self.holding.binding.name)
    }
}

/// What replaces the standing grants of a cluster.
#[derive(Clone, Debug)]
pub struct Suggestion<'a> {
    /// Every grant that `jitd` does not make and Kubernetes does not ship, in the order of the bindings' names.
    pub grants: Vec<Grant<'a>>,
    /// The rules of the policy, each accepted by the policy engine.
    pub rules: Vec<Suggested>,
    /// The roles that have to be created, because those that are held are wider than what was used.
    pub roles: Vec<NewRole>,
    /// The groups that the rules name, and for whom each of them stands.
    pub groups: BTreeMap<String, Subject>,
    /// The text of `policy.yaml`; its own tests pass.
    pub policy: String,
    /// How many tests it has.
    pub tests: usize,
    /// In which order the bindings go.
    pub plan: Plan,
}

/// Why there is no suggestion at all.
#[derive(Debug, thiserror::Error)]
pub enum NoSuggestion {
    /// The guardrails are not valid.
    #[error("{}", faults.iter().map(|fault| fault.at("guardrails")).collect::<Vec<_>>().join("\n"))]
    Guardrails {
        /// Their mistakes.
        faults: Vec<Fault>,
    },
    /// The rules are accepted one by one, and not together.
    #[error("the suggested rules do not pass their own tests together: {why}")]
    Contradiction {
        /// The first mistake or failed test.
        why: String,
    },
}

/// Where something may be requested.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The whole cluster.
    Cluster,
    /// Any single namespace, as part of the whole cluster.
    AnyNamespace,
    /// A namespace.
    Namespace(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("the whole cluster"),
            Self::AnyNamespace => f.write_str("any namespace"),
            Self::Namespace(name) => f.write_str(name),
        }
    }
}

/// What is wanted instead of a grant: a role in some places.
#[derive(Clone, Debug)]
struct Wanted {
    role: WantedRole,
    rules: Vec<Rule>,
    places: BTreeSet<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WantedRole {
    /// The one that is held.
    Held,
    /// A new one with fewer rules.
    Narrower {
        /// For what was used in the whole cluster.
        cluster: bool,
    },
}

/// Suggests what replaces the grants.
///
/// # Errors
/// [`NoSuggestion`] if the guardrails are not valid, or if the rules contradict each other.
pub fn suggest<'a>(access: &'a Access<'_>, uses: Option<&Uses>, terms: &Terms) -> Result<Suggestion<'a>, NoSuggestion> {
    let mut draft = policy::Draft::new(access, terms)?;
    let mut grants = Vec::new();
    let mut holdings: Vec<Holding<'a>> = found(access);
    holdings.sort_by_key(|holding| (&holding.binding.name, holding.through));
    for holding in holdings {
        let Holding { binding, through: subject, .. } = holding;
        let grant = |evidence: String, stays| Grant { holding, becomes: Vec::new(), evidence, stays };
        let usage = uses.map(|uses| of(uses, binding, subject));
        let evidence = evidence(usage.as_ref());
        if let Some(why) = not_replaceable(access, &holding, usage.as_ref()) {
            grants.push((grant(evidence, Some(why)), Vec::new()));
            continue;
        }
        let wanted = match &usage {
            Some(Ok(usage)) => narrow::wanted(access, &holding, usage),
            Some(Err(_)) | None => vec![narrow::as_held(&holding)],
        };
        let asked = wanted.into_iter().map(|wanted| draft.ask(&holding, wanted)).collect();
        grants.push((grant(evidence, None), asked));
    }
    let accepted = draft.verify()?;
    let mut grants: Vec<Grant<'a>> = grants
        .into_iter()
        .map(|(mut grant, asked)| {
            for asked in &asked {
                let refused = accepted.refusal(asked);
                grant.becomes.extend(accepted.name(asked).map(str::to_owned));
                grant.stays = grant.stays.take().or(refused);
            }
            grant
        })
        .collect();
    let plan = Plan::of(&mut grants, &accepted.roles, terms);
    let policy::Accepted { rules, roles, groups, text, tests, .. } = accepted;
    Ok(Suggestion { grants, rules, roles, groups, policy: text, tests, plan })
}

/// All grants but those of `jitd` itself and those that Kubernetes ships.
fn found<'a>(access: &'a Access<'_>) -> Vec<Holding<'a>> {
    let shipped = Bootstrap::of(access.snapshot().version);
    access
        .all()
        .filter(|holding| !is_of_jitd(holding) && !shipped.has_subject(holding.binding, holding.through))
        .collect()
}

/// A grant that `jitd` made, or its own rights, as `jitd manifest` labels them.
fn is_of_jitd(holding: &Holding<'_>) -> bool {
    let Binding { name, meta, .. } = holding.binding;
    let is_labelled = |key: &str| meta.labels.get(key).is_some_and(|value| value == "jitd");
    names::is_ours(&holding.through.name)
        || name.name.starts_with(names::OBJECT) && is_labelled("app.kubernetes.io/managed-by")
        || is_labelled("app.kubernetes.io/name")
}

fn is_of_people(Subject { kind, name, .. }: &Subject) -> bool {
    matches!(kind, Kind::User | Kind::Group) && !name.starts_with("system:")
}

/// What the logs say about a grant, or why they can say nothing.
fn of(uses: &Uses, binding: &Binding, subject: &Subject) -> Result<Usage, &'static str> {
    let usage = uses.of_binding(&object(&binding.name), subject).filter(|_| uses.is_complete());
    usage.ok_or("the logs are not complete, so nothing can be left out")
}

fn evidence(usage: Option<&Result<Usage, &'static str>>) -> String {
    match usage {
        Some(Ok(usage)) => usage.to_string(),
        Some(Err(why)) => (*why).to_owned(),
        None => "no audit log: as wide as the role".to_owned(),
    }
}

/// Why no request can replace it, and what to do instead.
fn not_replaceable(
    access: &Access<'_>,
    holding: &Holding<'_>,
    usage: Option<&Result<Usage, &'static str>>,
) -> Option<String> {
    let Holding { through: subject, role, rules, .. } = holding;
    if !is_of_people(subject) {
        return Some(match subject.kind {
            Kind::ServiceAccount => match usage {
                Some(Ok(usage)) if usage.last.is_none() => {
                    "a program cannot request, and it has not used this: remove it by hand".to_owned()
                }
                Some(Ok(usage)) => {
                    let rules = narrow::used_rules(access, holding, usage);
                    let shown: Vec<String> = rules.iter().take(MOST_RULES).map(ToString::to_string).collect();
                    let more = if rules.len() > shown.len() { " …" } else { "" };
                    format!("a program cannot request: bind it to a role with what it used: {}{more}", shown.join("; "))
                }
                _ => "a program cannot request: an audit log says to what its role can be narrowed".to_owned(),
            },
            Kind::User | Kind::Group => {
                "it is the system's own or everybody's: bind a group of those who need it, and scan again".to_owned()
            }
        });
    }
    match role {
        None => Some("its role is not in the input; it grants nothing while the role does not exist".to_owned()),
        Some(_) if rules.is_empty() => Some("its role has no rules, so it grants nothing".to_owned()),
        Some(_) => None,
    }
}

/// Rules that are shown of what a program used.
const MOST_RULES: usize = 4;

/// A binding as kubectl names it.
fn object(name: &Name) -> String {
    match &name.namespace {
        Some(namespace) => format!("{namespace}/rolebinding/{}", name.name),
        None => format!("clusterrolebinding/{}", name.name),
    }
}

/// The role as a policy names it.
fn role_word(RoleRef { kind, name }: &RoleRef) -> String {
    match kind {
        RoleKind::ClusterRole => name.clone(),
        RoleKind::Role => format!("role/{name}"),
    }
}

/// Names that are given once, each with a number if it is taken.
#[derive(Default)]
struct Taken(HashMap<String, u32>);

impl Taken {
    fn is_taken(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn give(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while self.0.contains_key(&name) {
            let count = self.0.entry(wanted.to_owned()).or_insert(1);
            *count = count.saturating_add(1);
            name = format!("{wanted}-{count}");
        }
        self.0.insert(name.clone(), 1);
        name
    }
}

/// The letters and digits of a name, for the name of a rule or role.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.chars() {
        match letter {
            'a'..='z' | '0'..='9' => slug.push(letter),
            'A'..='Z' => slug.push(letter.to_ascii_lowercase()),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
        if slug.len() == LONGEST_SLUG {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "unnamed".to_owned() } else { slug.to_owned() }
}

/// Two of them and a number are a name of a rule, which has at most 80 characters.
const LONGEST_SLUG: usize = 32;

#[cfg(test)]
mod tests;

//! What the logs say about a finding.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AuditLogs, Key, Names};
use crate::finding::{Finding, Kind, NotEvaluated, Subject};

/// What was used, by whom, and through which binding.
pub struct Uses {
    names: Names,
    uses: Vec<(Key, u64, Timestamp)>,
    /// By the binding and the user; the positions in `uses`.
    by_user: HashMap<(u32, u32), Vec<usize>>,
    /// By the binding and the group that it binds.
    by_group: HashMap<(u32, String), Vec<usize>>,
    /// All of a user.
    of_user: HashMap<u32, Vec<usize>>,
    span: Option<(Timestamp, Timestamp)>,
    complete: bool,
    not_evaluated: Vec<NotEvaluated>,
}

/// How a finding's access was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// The first event of the logs.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The last event of the logs.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// The last use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last: Option<Timestamp>,
    /// Whole days from the last use, or from the beginning of the logs, to their end.
    pub unused_days: i64,
    /// What was used, most often first.
    pub used: Vec<Used>,
}

/// A right that was used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub struct Used {
    /// The verb.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// `pods`, `pods/exec`, or the path of a request for no resource.
    pub resource: String,
    /// The namespace; `None` for requests for the whole cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How many requests.
    pub count: u64,
    /// The last one.
    #[schema(value_type = String, format = DateTime)]
    pub last: Timestamp,
}

impl Uses {
    pub(super) fn new(logs: AuditLogs) -> Self {
        let AuditLogs { mut names, uses, span, undecided, full, not_evaluated, .. } = logs;
        // A hash map has no order, and equal logs must give equal reports.
        let mut uses: Vec<(Key, u64, Timestamp)> =
            uses.into_iter().map(|(key, count)| (key, count.events.max(1), count.last)).collect();
        uses.sort_by_key(|(key, ..)| (key.user, key.reason, key.verb, key.group, key.resource, key.namespace));
        let mut bindings: HashMap<u32, Option<(u32, Option<String>)>> = HashMap::new();
        let (mut by_user, mut by_group, mut of_user) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (at, (key, ..)) in uses.iter().enumerate() {
            of_user.entry(key.user).or_insert_with(Vec::new).push(at);
            let binding = bindings.entry(key.reason).or_insert_with(|| {
                let (object, group) = binding(names.name(key.reason))?;
                Some((names.number(&object)?, group))
            });
            if let Some((binding, group)) = binding {
                by_user.entry((*binding, key.user)).or_insert_with(Vec::new).push(at);
                if let Some(group) = group {
                    by_group.entry((*binding, group.clone())).or_insert_with(Vec::new).push(at);
                }
            }
        }
        let complete = !undecided && !full;
        Self { names, uses, by_user, by_group, of_user, span, complete, not_evaluated }
    }

    /// What of the logs could not be read.
    #[must_use]
    pub fn not_evaluated(&self) -> &[NotEvaluated] {
        &self.not_evaluated
    }

    /// How the bindings on the path of a finding were used by its subject; for a credential, whatever its subject did.
    /// `None` if the logs cannot tell: not all of them could be read, or the subject is a group and no binding is named.
    #[must_use]
    pub fn of(&self, finding: &Finding) -> Option<Usage> {
        let subject = finding.subject.as_ref()?;
        let bindings: Vec<&str> =
            finding.path.iter().map(|hop| hop.object.as_str()).filter(|object| is_binding(object)).collect();
        let positions: Vec<usize> = match (username(subject), bindings.as_slice()) {
            (Some(user), []) => {
                self.names.find(&user).and_then(|user| self.of_user.get(&user)).cloned().unwrap_or_default()
            }
            (Some(user), bindings) => {
                let user = self.names.find(&user);
                self.of_bindings(bindings, |binding| self.by_user.get(&(binding, user?)))
            }
            (None, []) => return None,
            (None, bindings) => {
                self.of_bindings(bindings, |binding| self.by_group.get(&(binding, subject.name.clone())))
            }
        };
        self.usage(positions)
    }

    /// How one binding was used by one of its subjects; of a group, by all of its members. The names of roles and bindings are
    /// those of kubectl: `payments/rolebinding/dev`. `None` as in [`Self::of`].
    #[must_use]
    pub fn of_binding(&self, binding: &str, subject: &Subject) -> Option<Usage> {
        let positions = match username(subject) {
            Some(user) => {
                let user = self.names.find(&user);
                self.of_bindings(&[binding], |binding| self.by_user.get(&(binding, user?)))
            }
            None => self.of_bindings(&[binding], |binding| self.by_group.get(&(binding, subject.name.clone()))),
        };
        self.usage(positions)
    }

    /// Whether every request of the logs was read, with its decision. If not, something that looks unused may have been used.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete && self.span.is_some()
    }

    /// How many whole days the logs cover; `None` if they contain no event.
    #[must_use]
    pub fn days(&self) -> Option<i64> {
        let (from, to) = self.span?;
        Some(to.duration_since(from).as_hours() / 24)
    }

    fn usage(&self, positions: Vec<usize>) -> Option<Usage> {
        let (from, to) = self.span?;
        if positions.is_empty() && !self.complete {
            return None;
        }
        let mut used: BTreeMap<(&str, &str, &str, &str), (u64, Timestamp)> = BTreeMap::new();
        for (key, count, last) in positions.into_iter().filter_map(|at| self.uses.get(at)) {
            let name = |number: u32| self.names.name(number);
            let right = (name(key.verb), name(key.group), name(key.resource), name(key.namespace));
            let sum = used.entry(right).or_insert((0, *last));
            *sum = (sum.0 + count, sum.1.max(*last));
        }
        let mut used: Vec<Used> = used
            .into_iter()
            .map(|((verb, group, resource, namespace), (count, last))| Used {
                verb: verb.to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
                count,
                last,
            })
            .collect();
        used.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.cmp(other)));
        let last = used.iter().map(|used| used.last).max();
        let unused_days = to.duration_since(last.unwrap_or(from)).as_hours() / 24;
        Some(Usage { from, to, last, unused_days, used })
    }

    fn of_bindings<'a>(&'a self, bindings: &[&str], of: impl Fn(u32) -> Option<&'a Vec<usize>>) -> Vec<usize> {
        let mut positions: Vec<usize> =
            bindings.iter().filter_map(|binding| self.names.find(binding)).filter_map(of).flatten().copied().collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }
}

fn is_binding(object: &str) -> bool {
    object.starts_with("clusterrolebinding/") || object.contains("/rolebinding/")
}

/// What the API server calls a user or service account.
fn username(subject: &Subject) -> Option<String> {
    match (subject.kind, &subject.namespace) {
        (Kind::User, _) => Some(subject.name.clone()),
        (Kind::ServiceAccount, Some(namespace)) => Some(format!("system:serviceaccount:{namespace}:{}", subject.name)),
        (Kind::ServiceAccount, None) | (Kind::Group, _) => None,
    }
}

/// The binding that a reason names, as kubectl names objects, and the group that it was bound to. The form is that of
/// `plugin/pkg/auth/authorizer/rbac/rbac.go`: `RBAC: allowed by RoleBinding "NAME/NAMESPACE" of Role "ROLE" to Group "GROUP"`.
fn binding(reason: &str) -> Option<(String, Option<String>)> {
    let reason = reason.strip_prefix("RBAC: allowed by ")?;
    let (kind, rest) = reason.split_once(' ')?;
    let (name, rest) = quoted(rest)?;
    let (_, rest) = rest.strip_prefix(" of ")?.split_once(' ')?;
    let (_, rest) = quoted(rest)?;
    let (subject, rest) = rest.strip_prefix(" to ")?.split_once(' ')?;
    let (subject_name, rest) = quoted(rest)?;
    let object = match kind {
        "ClusterRoleBinding" => format!("clusterrolebinding/{name}"),
        "RoleBinding" => {
            // No name has a slash in it.
            let (name, namespace) = name.rsplit_once('/')?;
            format!("{namespace}/rolebinding/{name}")
        }
        _ => return None,
    };
    rest.is_empty().then_some((object, (subject == "Group").then_some(subject_name)))
}

/// A text that Go wrote with `%q`, and what follows it. `None` for the escapes that no name needs.
fn quoted(text: &str) -> Option<(String, &str)> {
    let rest = text.strip_prefix('"')?;
    let mut name = String::new();
    let mut letters = rest.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((name, rest.get(at + 1..)?)),
            '\\' => match letters.next() {
                Some((_, escaped @ ('"' | '\\'))) => name.push(escaped),
                _ => return None,
            },
            letter => name.push(letter),
        }
    }
    None
}

fn day(time: Timestamp) -> jiff::civil::Date {
    time.to_zoned(TimeZone::UTC).date()
}

impl fmt::Display for Usage {
    /// `not used in the 84 days of the logs, 2026-09-07 to 2026-11-30`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = match self.unused_days {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        match self.last {
            Some(last) if self.unused_days == 0 => write!(f, "last used on {}, the last day of the logs", day(last)),
            Some(last) => write!(f, "unused for {days}, last used on {}", day(last)),
            None => write!(f, "not used in the {days} of the logs, {} to {}", day(self.from), day(self.to)),
        }
    }
}

impl fmt::Display for Used {
    /// `get pods in payments: 412 times, last on 2026-11-02`. Not escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) if !resource.is_empty() => (resource, Some(subresource)),
            _ => (self.resource.as_str(), None),
        };
        write!(f, "{} {resource}", self.verb)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(subresource) = subresource {
            write!(f, "/{subresource}")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in {namespace}")?;
        }
        let times = if self.count == 1 { "once".to_owned() } else { format!("{} times", self.count) };
        write!(f, ": {times}, last on {}", day(self.last))
    }
}

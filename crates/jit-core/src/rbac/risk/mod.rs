//! What a set of RBAC rules allows its holder to reach in one scope: findings from a fixed catalogue, each with a
//! sentence, for approvers and for policies that require more approval for more risk.
//!
//! The same rules, scope and surroundings always give the same assessment. The assessment must never be more lenient
//! than the authorizer: a right that is in no row is unclassified, which is the worst. More rights never make a role
//! look better.

mod accounts;
mod catalogue;
mod classified;
mod reach;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::accounts::{AccountReach, BindingSubject};
use self::catalogue::{EVERYBODY, IDENTITY, Leaves, MASTERS, ROWS, Row, WATCH, WRITE, Weighs};
pub use self::classified::Classified;
use self::reach::{Evidence, HeldPermissions, Judged, shown};
use super::{Malformed, Namespace, Rule, Scope};

/// How severe a right is in the wrong hands. An unclassified right ranks above all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Hides traces, informs, or misleads.
    Low,
    /// Disrupts others, or is one step of several towards more rights.
    Medium,
    /// Obtains the rights of others, within limits.
    High,
    /// Controls the cluster or an entire namespace.
    Critical,
    /// Nobody has assessed it, so it needs the strictest approval.
    Unclassified,
}

impl Severity {
    /// All of them, the least severe first.
    pub const ALL: [Self; 5] = [Self::Low, Self::Medium, Self::High, Self::Critical, Self::Unclassified];

    /// The name, in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
            Self::Unclassified => "unclassified",
        }
    }

    /// The severity of the same right in one ordinary namespace.
    fn in_a_namespace(self) -> Self {
        match self {
            Self::Low | Self::Medium => Self::Low,
            Self::High => Self::Medium,
            Self::Critical => Self::High,
            Self::Unclassified => Self::Unclassified,
        }
    }
}

impl FromStr for Severity {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::ALL
            .into_iter()
            .find(|severity| severity.as_str() == text)
            .ok_or_else(|| Malformed::new("severity", text, "must be low, medium, high, critical or unclassified"))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of a row of the catalogue, such as `E25`. Ids are never reused, so an old trail can always be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RiskId(RowId);

/// An alias, because serde borrows a field of type `&str` from its input.
type RowId = &'static str;

impl RiskId {
    /// The id as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl FromStr for RiskId {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        ROWS.iter()
            .find(|row| row.id == text)
            .map(|row| Self(row.id))
            .ok_or_else(|| Malformed::new("risk", text, "is not in the risk catalogue; an id looks like E25"))
    }
}

/// What the catalogue says of a risk: its id, its severity in the whole cluster, and what the holder can do.
pub fn catalogue() -> impl Iterator<Item = (RiskId, Severity, &'static str)> {
    // Rows of one risk that differ only in what they need follow each other.
    let mut before = None;
    ROWS.iter().map(|row| (RiskId(row.id), row.severity, row.why)).filter(move |row| before.replace(*row) != Some(*row))
}

impl TryFrom<String> for RiskId {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<RiskId> for String {
    fn from(id: RiskId) -> Self {
        id.0.to_owned()
    }
}

impl fmt::Display for RiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A row of the catalogue that matches a set of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// The row's id.
    pub id: RiskId,
    /// The severity in this scope.
    pub severity: Severity,
    /// The permission and what it allows, in one sentence.
    pub why: String,
    /// The holder can create access that outlives the window.
    pub persists: bool,
    /// A request of this kind may keep running after the window ends.
    pub streams: bool,
}

impl Finding {
    /// Whether this finding includes `other`: the same row, at least as severe.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.id == other.id && self.severity >= other.severity
    }
}

/// Sorts by severity, worst first, then by id. If several combinations of a row match, only the worst remains.
fn in_order(findings: &mut Vec<Finding>) {
    findings.sort_by(|one, other| other.severity.cmp(&one.severity).then(one.id.cmp(&other.id)));
    let mut seen = HashSet::new();
    findings.retain(|finding| seen.insert(finding.id));
}

/// All findings for a role, worst first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assessment {
    findings: Vec<Finding>,
    streams: bool,
    /// Also absent in trails from before service accounts were examined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_ordinary: Option<String>,
}

impl Assessment {
    fn of(mut findings: Vec<Finding>, streams: bool, scope: &Scope, accounts: &Accounts) -> Self {
        let not_ordinary = scope.namespaces().iter().find_map(|namespace| accounts.not_ordinary(namespace));
        if *scope != Scope::Cluster && not_ordinary.is_none() {
            for finding in findings.iter_mut().filter(|finding| !is_row(finding.id, |row| row.in_every_namespace)) {
                finding.severity = finding.severity.in_a_namespace();
            }
        }
        let not_ordinary = not_ordinary.filter(|_| !findings.is_empty());
        in_order(&mut findings);
        let streams = streams || findings.iter().any(|finding| finding.streams);
        Self { findings, streams, not_ordinary }
    }

    /// Why a namespace of the scope counts like the whole cluster, if one does.
    #[must_use]
    pub fn not_ordinary(&self) -> Option<&str> {
        self.not_ordinary.as_deref()
    }

    /// Worst first, then by id; each id at most once.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// This assessment plus the findings that arise only together with other access, see [`assess_together`].
    #[must_use]
    pub fn with(&self, together: &[Finding]) -> Self {
        let mut findings: Vec<Finding> = self.findings.iter().chain(together).cloned().collect();
        in_order(&mut findings);
        let streams = self.streams || findings.iter().any(|finding| finding.streams);
        Self { findings, streams, not_ordinary: self.not_ordinary.clone() }
    }

    /// Whether it contains this finding, at least as severe.
    fn includes(&self, finding: &Finding) -> bool {
        self.findings.iter().any(|known| known.covers(finding))
    }

    /// The worst severity; `None` if there are no findings.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Whether the holder can create access that outlives the window.
    #[must_use]
    pub fn may_persist(&self) -> bool {
        self.findings.iter().any(|finding| finding.persists)
    }

    /// Whether a request may keep running after the window ends: a watch, a log, a command, a forwarded port. Harmless
    /// resources can be watched too, so this can be true without a finding.
    #[must_use]
    pub fn may_stream(&self) -> bool {
        self.streams
    }
}

/// The major and minor version of an API server; rights depend on nothing else of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerVersion {
    major: u32,
    minor: u32,
}

impl ServerVersion {
    /// The first one in which whoever may act as another can be limited to some names, verbs and places
    /// (constrained impersonation, on by default since then).
    pub const LIMITS_IMPERSONATION: Self = Self { major: 1, minor: 36 };

    /// The first one that serves exec and attach in the WebSocket that kubectl speaks, `v5.channel.k8s.io`, by default
    /// (feature gate `TranslateStreamCloseWebsocketRequests`).
    pub const EXEC_IN_WEB_SOCKET: Self = Self { major: 1, minor: 30 };

    /// The first one that serves kubectl's port-forward in a WebSocket by default (feature gate `PortForwardWebsockets`).
    pub const PORT_FORWARD_IN_WEB_SOCKET: Self = Self { major: 1, minor: 31 };
}

impl FromStr for ServerVersion {
    type Err = Malformed;
    /// Parses `gitVersion` of `/version`, such as `v1.36.3` or `v1.30.1-eks-abc`.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut parts = text.strip_prefix('v').unwrap_or(text).splitn(3, '.');
        let mut number = |may_have_suffix: bool| {
            let part = parts.next()?;
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = part.split_at_checked(digits)?;
            (rest.is_empty() || may_have_suffix).then(|| number.parse().ok())?
        };
        number(false)
            .zip(number(true))
            .map(|(major, minor)| Self { major, minor })
            .ok_or_else(|| Malformed::new("version", text, "a version looks like v1.36.3"))
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.major, self.minor)
    }
}

/// What is known about the cluster in which rules are bound, as far as it changes what they allow. For what is unknown,
/// the most dangerous case is assumed.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The version of the API server.
    pub version: Option<ServerVersion>,
    /// How far the service accounts reach.
    pub accounts: Accounts,
    /// What an administrator says about resources that the catalogue does not know; the first entry that names one counts.
    pub classified: Arc<[Classified]>,
}

impl Surroundings {
    /// A cluster whose service accounts have access only to their own namespaces, for use where no cluster can be
    /// queried.
    #[must_use]
    pub fn ordinary(version: Option<ServerVersion>) -> Self {
        Self { version, accounts: Accounts::Known(Arc::default()), classified: Arc::default() }
    }
}

/// How far the service accounts of a cluster reach.
#[derive(Clone, Debug, Default)]
pub enum Accounts {
    /// The bindings could not be read.
    #[default]
    Unknown,
    /// As far as the cluster's bindings allow.
    Known(Arc<AccountReach>),
}

impl Accounts {
    /// Why rights in this namespace may reach beyond it, if they may.
    fn not_ordinary(&self, namespace: &Namespace) -> Option<String> {
        if namespace.as_str() == "kube-system" {
            return Some("`kube-system` belongs to the cluster itself".to_owned());
        }
        match self {
            Self::Unknown => Some(format!("the rights of the service accounts of `{namespace}` are currently unknown")),
            Self::Known(reach) => {
                let binding = reach.beyond(namespace)?;
                Some(format!("a service account of `{namespace}` has access outside it through {binding}"))
            }
        }
    }
}

/// Rules, and the scope in which they are bound.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// The rules.
    pub rules: &'a [Rule],
    /// Where they apply.
    pub scope: &'a Scope,
}

/// Assesses what `rules` allow their holder when they are bound in `scope`.
#[must_use]
pub fn assess(rules: &[Rule], scope: &Scope, around: &Surroundings) -> Assessment {
    assess_all(&[Bound { rules, scope }], scope, around, Known::Requested)
}

/// Assesses everything that somebody holds in one place, which is one namespace or the whole cluster; what holds elsewhere
/// is left out. A right that has no effect without another one, which the holder lacks, is no finding here. Neither is
/// a right to pass on what one holds, if nothing of that is a risk.
#[must_use]
pub fn assess_held(held: &[Bound<'_>], place: &Scope, around: &Surroundings) -> Assessment {
    let here: Vec<Bound<'_>> = held.iter().filter(|bound| bound.scope.contains(place)).copied().collect();
    let mut assessed = assess_all(&here, place, around, Known::Everything);
    let passes_on = |finding: &Finding| is_row(finding.id, |row| row.weighs == Weighs::AsTheRest);
    if assessed.findings.iter().all(passes_on) {
        assessed.findings.clear();
    }
    assessed
}

/// Whether these rules can change an assessment of somebody who holds them in `scope`, alone or with any others.
#[must_use]
pub fn matters(rules: &[Rule], scope: &Scope, around: &Surroundings) -> bool {
    HeldPermissions::of(&[Bound { rules, scope }], around, Known::Everything).matter()
}

/// What is known of somebody's access besides the rules that are assessed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Only what is requested, so that the rest may be held elsewhere.
    Requested,
    /// They are everything that the holder has in this place.
    Everything,
}

fn is_row(id: RiskId, what: impl Fn(&Row) -> bool) -> bool {
    ROWS.iter().any(|row| row.id == id.as_str() && what(row))
}

/// The findings that arise only if one person holds `requested` and `others` together: those that neither `requested`
/// nor the others by themselves produce. Worst first, each id at most once.
#[must_use]
pub fn assess_together(requested: Bound<'_>, others: &[Bound<'_>], around: &Surroundings) -> Vec<Finding> {
    let mut arising: Vec<Finding> = Vec::new();
    for place in places(requested.scope, others) {
        let holds_here = |other: &&Bound<'_>| match &place {
            Some(place) => other.scope.contains(place),
            None => true,
        };
        let mut here: Vec<Bound<'_>> = others.iter().filter(holds_here).copied().collect();
        if here.is_empty() {
            continue;
        }
        let place = place.as_ref().unwrap_or(&Scope::Cluster);
        let before = assess_all(&here, place, around, Known::Requested);
        here.push(requested);
        let alone = assess_all(&[requested], place, around, Known::Requested);
        let is_new = |finding: &Finding| ![&before, &alone].iter().any(|known| known.includes(finding));
        arising.extend(assess_all(&here, place, around, Known::Requested).findings.into_iter().filter(is_new));
    }
    in_order(&mut arising);
    arising
}

/// The places in which rights are combined. If there are too many, a single `None` stands for all of them as one place,
/// which may report too much, never too little.
fn places(requested: &Scope, others: &[Bound<'_>]) -> Vec<Option<Scope>> {
    let mut namespaces: Vec<&Namespace> = match requested {
        Scope::Namespaces(_) => requested.namespaces().iter().collect(),
        Scope::Cluster => others.iter().flat_map(|other| other.scope.namespaces()).collect(),
    };
    namespaces.sort_unstable();
    namespaces.dedup();
    if namespaces.len() > MOST_PLACES {
        return vec![None];
    }
    let cluster = (*requested == Scope::Cluster).then_some(Scope::Cluster);
    cluster.into_iter().chain(namespaces.into_iter().cloned().map(Scope::from)).map(Some).collect()
}

/// The limit for namespaces that are examined one by one.
const MOST_PLACES: usize = 64;

fn assess_all(bound: &[Bound<'_>], place: &Scope, around: &Surroundings, known: Known) -> Assessment {
    let reach = HeldPermissions::of(bound, around, known);
    let mut findings: Vec<Finding> = reach
        .rows()
        .map(|(row, held)| Finding {
            persists: persists(row, &held),
            streams: runs_on(&held),
            ..finding(row, &held.text)
        })
        .collect();
    if reach.everything {
        let all = finding_of("E01", "every verb on every resource");
        findings.extend(all.map(|finding| Finding { streams: true, ..finding }));
    }
    if let Some(path) = reach.inside {
        findings.extend(finding_of("E03", &format!("the path {}", shown(path))));
    }
    if reach.reads_all != 0 {
        let all = finding_of("E56", "list or watch on all resources");
        findings.extend(all.map(|finding| Finding { streams: reach.reads_all & WATCH != 0, ..finding }));
    }
    if reach.removes_all != 0 {
        findings.extend(finding_of("E57", "delete on all resources"));
    }
    if let Some((first, more)) = &reach.unplaced {
        let more = if *more > 0 { format!(" (and {more} more)") } else { String::new() };
        let unknown = finding_of("E60", &format!("{first}{more}"));
        findings.extend(unknown.map(|finding| Finding { streams: reach.unknown_runs_on, ..finding }));
    }
    // The worst of them; the approver reads how many others there are.
    let worst = reach.classified.iter().max_by_key(|one| (one.severity, std::cmp::Reverse(&one.text)));
    if let Some(Judged { severity, text, reason, verbs }) = worst {
        let others = reach.classified.iter().filter(|one| one.text != *text).count();
        let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
        let all = reach.classified.iter().fold(*verbs, |all, one| all | one.verbs);
        findings.extend(finding_of("E78", text).map(|finding| Finding {
            severity: *severity,
            why: format!("{text}{more}: {} according to guardrails.yaml: {reason}", severity.as_str()),
            persists: all & WRITE != 0,
            streams: all & WATCH != 0,
            ..finding
        }));
    }
    Assessment::of(findings, reach.streams(), place, &around.accounts)
}

/// Whether a binding's role exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundRole {
    /// It exists.
    Exists,
    /// It does not exist, and anybody with the right to do so may create it later.
    Missing,
}

/// Assesses a binding itself, whatever its role allows: the rows about `subjects`, which are names of users and groups,
/// and about a missing role.
#[must_use]
pub fn assess_binding(subjects: &[&str], role: BoundRole, scope: &Scope) -> Assessment {
    let everybody = |name: &&&str| EVERYBODY.contains(name) || name.starts_with("system:serviceaccounts:");
    let mut findings = Vec::new();
    if subjects.contains(&MASTERS) {
        findings.extend(finding_of("E02", &format!("binds `{MASTERS}`")));
    }
    if let Some(name) = subjects.iter().find(everybody) {
        findings.extend(finding_of("E54", &format!("binds {}", shown(name))));
    }
    if role == BoundRole::Missing {
        findings.extend(finding_of("E55", "binds a missing role"));
    }
    Assessment::of(findings, false, scope, &Accounts::Unknown)
}

/// Why a role could change what guards its own grant: one of our bindings or roles, or the admission policies that
/// protect them. No approval makes up for that. In a namespace, the right to write or delete roles or bindings is
/// enough, because the grant's own binding is one of them.
#[must_use]
pub fn can_edit_guard(rules: &[Rule], scope: &Scope) -> Option<String> {
    let held = HeldPermissions::of(&[Bound { rules, scope }], &Surroundings::default(), Known::Requested).guard()?;
    Some(format!("{}: could change its own binding or role, or the policies that protect them", held.text))
}

fn finding_of(id: &str, permission: &str) -> Option<Finding> {
    ROWS.iter().find(|row| row.id == id).map(|row| finding(row, permission))
}

fn finding(row: &Row, permission: &str) -> Finding {
    Finding {
        id: RiskId(row.id),
        severity: row.severity,
        why: format!("{permission}: {}", row.why),
        persists: row.leaves == Leaves::Credential,
        streams: false,
    }
}

/// Whether the holder can obtain a credential, or leave something behind that acts after the window.
fn persists(row: &Row, held: &Evidence) -> bool {
    match row.leaves {
        Leaves::Credential => true,
        Leaves::WhatWasWritten => held.in_anothers_place || held.verbs & (WRITE | IDENTITY) != 0,
        Leaves::Nothing => false,
    }
}

/// Whether a request with this permission may keep running: a watch, or a subresource that opens a connection.
fn runs_on(held: &Evidence) -> bool {
    held.runs_on || held.verbs & WATCH != 0
}

//! A grant as its requester, its approvers and reviewers, and auditors see it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::operate::DrainingView;
use jit_core::grant::glass::{self, BreakGlassRecord, Verdict};
use jit_core::grant::policy::{Step, Yes, unmet};
use jit_core::grant::request::{Access, Login, PersonName};
use jit_core::grant::{
    DeniedBefore, EndCause, Grant, LostPart, OtherGrant, Phase, Record, Restriction, SessionTerms, Shown, reading,
};
use jit_core::rbac::risk::{Assessment, Finding, Severity};
use jit_core::rbac::role::Rule;

/// A grant as its requester, its approvers and reviewers, and auditors see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantView {
    /// The id.
    pub id: String,
    /// `pending`, `approved`, `collecting`, `live`, `ending`, `denied`, `withdrawn`, `lapsed`, `ended`.
    pub phase: Phase,
    /// Why it ended: `expired`, `released`, `revoked`, `drifted`, `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_cause: Option<EndCause>,
    /// The requester.
    pub requester: String,
    /// The requester and approvers who had logged in with an account that is not theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub came_in_as: Vec<CameInView>,
    /// The cluster.
    pub cluster: String,
    /// The namespaces in which the grant is not over; empty for the whole cluster.
    pub namespaces: Vec<String>,
    /// The namespaces in which the grant is over or ending, while it continues in others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostPartView>,
    /// Why the last attempt to collect failed in the cluster; the approval remains valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection_failed: Option<String>,
    /// The role, `NAME` or `role/NAME`; absent if exact rules were requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The access in words: `role view`, `exactly get pods`.
    pub access: String,
    /// The requested window.
    pub duration: String,
    /// The reason.
    pub reason: String,
    /// The further fields of the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// When the access may be collected at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start: Option<Timestamp>,
    /// The rule that allowed the request.
    pub rule: String,
    /// The approval steps, all of which are needed; empty if no approval is needed.
    pub steps: Vec<StepView>,
    /// Who has approved so far.
    pub agreed: Vec<String>,
    /// What is recorded of what is done with it; absent where people reach the cluster directly, because nothing records
    /// there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionsView>,
    /// The digest that an approval must contain.
    pub digest: String,
    /// SHA-256 of the requester's public key, hex.
    pub key: String,
    /// When it was requested.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Timestamp,
    /// The current deadline: to answer, to collect, or the end of the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// When the access became live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub live_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// The number of certificates that were signed.
    pub certificates: u32,
    /// Who denied, withdrew, released or revoked it; absent if the daemon ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    /// The reason for which it was denied or revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing_words: Option<String>,
    /// A counter of questions and answers; `…/wait` waits until it changes.
    pub answers: u32,
    /// An extension that was requested and is not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<ExtensionView>,
    /// When the requester may use break-glass at the earliest; absent if the rule does not allow it, or the request is no
    /// longer pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub break_glass_from: Option<Timestamp>,
    /// The use of break-glass, and its reviews.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlassView>,
    /// How the role changed while the grant was live, if the rule only warns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_changed: Option<String>,
    /// The original request in words, if an approver narrowed it or break-glass allows less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowed_from: Option<String>,
    /// The highest severity of what the access allows: `low` to `critical`, with `unclassified` above all; absent if nothing
    /// was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Severity>,
    /// The findings in detail; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risks: Option<RisksView>,
    /// Findings that arise only together with what the requester has, was approved for or has requested in the same
    /// cluster, worst first; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<FindingView>,
    /// What the requester has, was approved for or has requested in the same cluster: the current state while the request is
    /// pending, later as it was shown. Live grants first, then the newest; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<OtherGrantView>,
    /// The number of further ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_more: Option<usize>,
    /// A recent denial of the same or lesser access; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_before: Option<DeniedBeforeView>,
    /// The uids of the namespaces at the time of the request, by name; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_uids: BTreeMap<String, String>,
    /// The role's rules at the time of the request; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Rule>>,
}

impl GrantView {
    /// The view of a grant at `now`.
    #[must_use]
    pub fn of(grant: &Grant, now: Timestamp) -> Self {
        Self {
            id: grant.id.to_string(),
            phase: grant.phase,
            end_cause: grant.end_cause,
            requester: grant.requester.to_string(),
            came_in_as: std::iter::once((&grant.requester, &grant.requester_login))
                .chain(grant.agreed.iter().map(|yes| (&yes.by, &yes.login)))
                .filter_map(|(who, login)| CameInView::of(who, login.as_ref()?))
                .collect(),
            cluster: grant.ask.cluster.to_string(),
            namespaces: grant.held().map(ToString::to_string).collect(),
            lost: grant.lost.iter().map(LostPartView::of).collect(),
            collection_failed: grant.collection_failed.clone(),
            role: match &grant.ask.access {
                Access::Role(role) => Some(role.to_string()),
                Access::Rules(_) => None,
            },
            access: grant.ask.access.to_string(),
            duration: grant.ask.window.to_string(),
            reason: grant.ask.reason.to_string(),
            fields: grant.ask.fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            start: grant.ask.start,
            rule: grant.terms.rule.clone(),
            steps: StepView::all(&grant.terms.steps, &grant.agreed),
            agreed: grant.agreed.iter().map(|yes| yes.by.to_string()).collect(),
            sessions: None,
            digest: grant.digest.to_string(),
            key: grant.key.as_str().to_owned(),
            requested_at: grant.requested_at,
            deadline: grant.deadline,
            live_at: grant.live_at,
            ended_at: grant.ended_at,
            certificates: grant.certificates,
            closed_by: grant.closed_by.as_ref().map(ToString::to_string),
            closing_words: grant.closing_words.clone(),
            answers: grant.answers,
            extension: grant.extension.as_ref().map(|extension| ExtensionView {
                duration: extension.window.to_string(),
                reason: extension.reason.to_string(),
                digest: extension.digest.clone(),
                pending_until: extension.pending_until,
                steps: StepView::all(&grant.terms.steps, &extension.agreed),
                agreed: extension.agreed.iter().map(|yes| yes.by.to_string()).collect(),
            }),
            break_glass_from: glass::possible_from(grant),
            break_glass: grant.glass.as_ref().map(|broken| BreakGlassView::of(grant, broken, now)),
            role_changed: grant.role_changed.clone(),
            narrowed_from: grant
                .narrowed_from
                .as_ref()
                .map(|ask| format!("{} in {} for {}", ask.access, ask.scope, ask.window)),
            risk: grant.risk,
            risks: None,
            together: Vec::new(),
            holds: Vec::new(),
            holds_more: None,
            denied_before: None,
            namespace_uids: BTreeMap::new(),
            rules: None,
        }
    }

    /// The view with the details for approvers, and their digest.
    #[must_use]
    pub fn with(self, shown: Shown, digest: &str) -> Self {
        let held = |held: &OtherGrant| OtherGrantView {
            grant: held.grant.to_string(),
            access: held.access.to_string(),
            namespaces: held.scope.namespaces().iter().map(ToString::to_string).collect(),
            phase: held.phase,
        };
        Self {
            digest: digest.to_owned(),
            risk: shown.worst(),
            together: shown.together.iter().map(Into::into).collect(),
            holds: shown.holds.iter().map(held).collect(),
            holds_more: (shown.holds_more > 0).then_some(shown.holds_more),
            denied_before: shown.denied.map(DeniedBeforeView::from),
            namespace_uids: shown.namespaces.into_iter().map(|(name, uid)| (name.to_string(), uid)).collect(),
            risks: Some(shown.assessment.into()),
            rules: Some(shown.role.rules().to_vec()),
            ..self
        }
    }

    /// The view of a grant in a cluster that people reach through the gateway: nothing runs on after the window.
    #[must_use]
    pub fn behind_the_gateway(mut self) -> Self {
        end_streams(self.risks.as_mut(), &mut self.together);
        self
    }
}

/// What is recorded of what is done, when a session ends because nobody does anything, and what the gateway refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsView {
    /// `off`: nothing; `metadata`: each request, without content; `required`: also what exec and attach print, or they are
    /// not possible.
    pub record: Record,
    /// Whether a recording also has what is typed.
    pub record_input: bool,
    /// How long a session may go on without a byte from or to the person; absent: as long as the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
    /// The groups whose members may play recordings; absent: those that may approve or review the grant, and auditors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readers: Option<Vec<String>>,
    /// The same for people.
    pub says: String,
    /// What the gateway refuses although the role allows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refuses: Vec<RestrictionView>,
}

/// What the gateway refuses although the role allows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestrictionView {
    /// Its name in the policy, which a refusal shows.
    pub name: String,
    /// What is refused, for people.
    pub says: String,
    /// What it cannot hold, for people.
    pub limit: String,
}

impl From<&Restriction> for RestrictionView {
    fn from(restriction: &Restriction) -> Self {
        Self { name: restriction.name.clone(), says: restriction.says(), limit: restriction.limit().to_owned() }
    }
}

impl SessionsView {
    /// The view of the terms for sessions, and of the readers that the rule names.
    #[must_use]
    pub fn of(terms: &SessionTerms, readers: Option<&[String]>) -> Self {
        let SessionTerms { record, record_input, idle, refuse } = terms;
        let mut says = terms.describe();
        if *record == Record::Required {
            says.push_str("; ");
            says.push_str(&reading::describe(readers));
        }
        Self {
            record: *record,
            record_input: *record_input,
            idle: idle.map(|idle| idle.to_string()),
            readers: readers.map(<[String]>::to_vec),
            says,
            refuses: refuse.iter().map(Into::into).collect(),
        }
    }
}

/// What the access allows its holder to reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RisksView {
    /// The holder can create access that outlives the window.
    pub may_persist: bool,
    /// A request can continue after the window: a watch, a log, a command, a forwarded port.
    pub may_stream: bool,
    /// Why one of its namespaces counts like the whole cluster: what the service accounts there may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ordinary: Option<String>,
    /// Worst first; `severity` as in `risk`.
    pub findings: Vec<FindingView>,
}

/// One finding: something that the access allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingView {
    /// The stable id of the risk, such as `E25`.
    pub id: String,
    /// The severity in this scope.
    pub severity: Severity,
    /// The permission and what it allows, in one sentence.
    pub why: String,
    /// Access that is created with it outlives the window.
    pub persists: bool,
    /// A request of this kind can continue after the window.
    pub streams: bool,
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        Self {
            id: finding.id.as_str().to_owned(),
            severity: finding.severity,
            why: finding.why.clone(),
            persists: finding.persists,
            streams: finding.streams,
        }
    }
}

/// Behind the gateway nothing runs on after the window.
pub(super) fn end_streams(risks: Option<&mut RisksView>, together: &mut [FindingView]) {
    if let Some(risks) = risks {
        risks.may_stream = false;
        risks.findings.iter_mut().for_each(|finding| finding.streams = false);
    }
    together.iter_mut().for_each(|finding| finding.streams = false);
}

impl From<Assessment> for RisksView {
    fn from(assessment: Assessment) -> Self {
        Self {
            may_persist: assessment.may_persist(),
            may_stream: assessment.may_stream(),
            not_ordinary: assessment.not_ordinary().map(str::to_owned),
            findings: assessment.findings().iter().map(Into::into).collect(),
        }
    }
}

/// One of several namespaces of a grant in which it is over or ending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LostPartView {
    /// The namespace.
    pub namespace: String,
    /// Why.
    pub why: String,
    /// Whether the end is proved.
    pub over: bool,
}

impl LostPartView {
    fn of(part: &LostPart) -> Self {
        let LostPart { namespace, why, is_over } = part;
        Self { namespace: namespace.to_string(), why: why.clone(), over: *is_over }
    }
}

/// A denial of the same, or of less, to the same person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeniedBeforeView {
    /// What was denied.
    pub grant: String,
    /// Who said no.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The reason.
    pub reason: String,
}

impl From<DeniedBefore> for DeniedBeforeView {
    fn from(denied: DeniedBefore) -> Self {
        let DeniedBefore { grant, by, at, reason } = denied;
        Self { grant: grant.to_string(), by: by.to_string(), at, reason }
    }
}

/// Another grant of the requester.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtherGrantView {
    /// The id.
    pub grant: String,
    /// The access in words.
    pub access: String,
    /// The namespaces; empty for the whole cluster.
    pub namespaces: Vec<String>,
    /// The phase; an earlier daemon leaves it out for live grants.
    #[serde(default = "live")]
    pub phase: Phase,
}

fn live() -> Phase {
    Phase::Live
}

/// A use of break-glass: access without an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BreakGlassView {
    /// The reason for not waiting.
    pub reason: String,
    /// When break-glass was used.
    #[schema(value_type = String, format = DateTime)]
    pub broken_at: Timestamp,
    /// When the review is due.
    #[schema(value_type = String, format = DateTime)]
    pub review_until: Timestamp,
    /// The digest that a review must contain.
    pub digest: String,
    /// The steps of the review.
    pub steps: Vec<StepView>,
    /// The reviews so far, in order.
    pub reviews: Vec<ReviewView>,
    /// Whether a review is still owed.
    pub owed: bool,
    /// Whether a review is owed and overdue.
    pub overdue: bool,
    /// Whether enough people have reviewed and disagree: it stays owed until a member of `admins` decides. An earlier daemon
    /// leaves it out.
    #[serde(default)]
    pub disputed: bool,
}

impl BreakGlassView {
    fn of(grant: &Grant, broken: &BreakGlassRecord, now: Timestamp) -> Self {
        let view = |review: &glass::Reviewed| ReviewView {
            by: review.by.by.to_string(),
            at: review.by.at,
            verdict: review.verdict,
            words: review.words.to_string(),
            decides: review.decides,
        };
        Self {
            reason: broken.reason.to_string(),
            broken_at: broken.broken_at,
            review_until: broken.review_until,
            digest: broken.digest.clone(),
            steps: StepView::all(glass::steps(grant), &broken.reviewers()),
            reviews: broken.reviews.iter().map(view).collect(),
            owed: broken.owed,
            overdue: broken.is_overdue(now),
            disputed: glass::is_disputed(grant),
        }
    }
}

/// The review of one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReviewView {
    /// Who.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `justified` or `not-justified`.
    pub verdict: Verdict,
    /// The reviewer's comment.
    pub words: String,
    /// Whether it is the decision of an administrator where the reviewers disagreed; absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decides: bool,
}

/// A pending extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionView {
    /// The additional time.
    pub duration: String,
    /// Why.
    pub reason: String,
    /// The digest that an approval must contain.
    pub digest: String,
    /// How long the extension waits for an answer.
    #[schema(value_type = String, format = DateTime)]
    pub pending_until: Timestamp,
    /// The approval steps.
    pub steps: Vec<StepView>,
    /// Who has approved so far.
    pub agreed: Vec<String>,
}

/// A person who acts with another account than the one that logged in, or who logged in at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CameInView {
    /// The person who acts.
    pub who: String,
    /// The login uid of the kernel's audit; absent if it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// The owner of that account: a person, or `root`; absent if it belongs to no known person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The identity provider at which they logged in, instead of with an account of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Who they are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the directory of the provider was last asked who they are; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub directory: Option<Timestamp>,
}

impl CameInView {
    /// None if the person logged in with their own account.
    fn of(who: &PersonName, login: &Login) -> Option<Self> {
        let whose = match login.person() {
            Some(person) if person == who => return None,
            Some(person) => Some(person.to_string()),
            None => (login.uid() == Some(0)).then(|| "root".to_owned()),
        };
        let (issuer, subject) =
            login.identity().map(|(issuer, subject)| (issuer.to_owned(), subject.to_owned())).unzip();
        Some(Self { who: who.to_string(), login_uid: login.uid(), login: whose, issuer, subject, directory: None })
    }
}

/// One approval step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Groups whose members may approve.
    pub groups: Vec<String>,
    /// How many people have to approve; a person counts in one step only.
    pub count: u32,
    /// How many approvals are still missing.
    pub missing: u32,
    /// When an approval counts, such as `mon-fri 08:00-18:00 Europe/Berlin`; absent if it always counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<String>,
    /// The guardrail that requires the step; absent if the rule requires it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<String>,
}

impl StepView {
    /// The steps, with the number of missing approvals of each.
    #[must_use]
    pub fn all(steps: &[Step], agreed: &[Yes]) -> Vec<Self> {
        let unmet = unmet(steps, agreed);
        let missing =
            |step| unmet.iter().find(|(lacking, _)| std::ptr::eq(*lacking, step)).map_or(0, |(_, people)| *people);
        let view = |step: &Step| Self {
            groups: step.groups.clone(),
            count: step.count,
            missing: missing(step),
            hours: step.hours.as_ref().map(ToString::to_string),
            guardrail: step.guardrail.clone(),
        };
        steps.iter().map(view).collect()
    }
}

/// `GET /v1/grants`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantList {
    /// The selected grants that the caller may see, newest first.
    pub grants: Vec<GrantView>,
    /// Whether there may be older ones that were not listed.
    pub more: bool,
    /// The value of `from` for the next page, which can exist even if `grants` is empty; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The drain in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingView>,
}

/// `GET /v1/changes`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangesView {
    /// The number of the last change; the numbers start again when the daemon restarts.
    pub number: u64,
}

/// `GET /v1/grants/{id}/events` and the trail's own lines.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventList {
    /// The trail's newest entries about the grant before `before`, oldest first, as the trail stores them.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<serde_json::Value>,
    /// Whether there are older ones; to get them, set `before` to the `seq` of the first entry.
    #[serde(default)]
    pub more: bool,
}

/// `GET /v1/events`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventPage {
    /// The newest selected entries of the trail before `before`, oldest first, as the trail stores them.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<serde_json::Value>,
    /// The value of `before` for the next page, which can exist even if `events` is empty; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// `GET /v1/trail`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinePage {
    /// The lines after event `after`, each as it is stored; the next line contains its SHA-256.
    pub lines: Vec<String>,
    /// The value of `after` for the next page; absent at the end of the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

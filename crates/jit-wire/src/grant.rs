//! A grant as its requester, its approvers and auditors see it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::operate::DrainingView;
use jit_core::grant::glass::{self, BreakGlassRecord, Verdict};
use jit_core::grant::policy::{Step, Yes, unmet};
use jit_core::grant::request::{Access, Login, PersonName};
use jit_core::grant::{DeniedBefore, EndCause, Grant, LostPart, OtherGrant, Phase, Shown};
use jit_core::rbac::risk::{Assessment, Finding, Severity};
use jit_core::rbac::role::Rule;

/// A grant as its requester, its approvers and auditors see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantView {
    /// Its identity.
    pub id: String,
    /// `pending`, `approved`, `collecting`, `live`, `ending`, `denied`, `withdrawn`, `lapsed`, `ended`.
    #[schema(value_type = String)]
    pub phase: Phase,
    /// Why it ended: `expired`, `released`, `revoked`, `drifted`, `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub end_cause: Option<EndCause>,
    /// Who asked.
    pub requester: String,
    /// Who of those who asked or agreed had logged in with an account that is not theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub came_in_as: Vec<CameInView>,
    /// The cluster.
    pub cluster: String,
    /// The namespaces in which it is not over; empty for the whole cluster.
    pub namespaces: Vec<String>,
    /// The namespaces in which it is over, or being ended, while it goes on in others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostPartView>,
    /// Why the cluster would not have it when it was to be collected last; the approval stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection_failed: Option<String>,
    /// The role, `NAME` or `role/NAME`; absent when exact rules were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What may be done, in words: `role view`, `exactly get pods`.
    pub access: String,
    /// The asked length of the access.
    pub duration: String,
    /// Why it was asked for.
    pub reason: String,
    /// What else the rule wanted to know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// From when on it may be collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start: Option<Timestamp>,
    /// The policy's rule that let it be asked.
    pub rule: String,
    /// Who has to agree: steps that all have to hold. None: nobody.
    pub steps: Vec<StepView>,
    /// Who agreed so far.
    pub agreed: Vec<String>,
    /// What an approval has to carry.
    pub digest: String,
    /// SHA-256 of the public key it is for, hex.
    pub key: String,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Timestamp,
    /// The end of the clock that runs now: to answer, to collect, or of the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// When the access began to work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub live_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// How many certificates were signed.
    pub certificates: u32,
    /// Who denied, withdrew, released or revoked it; absent when the daemon did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    /// What was said when it was denied or revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing_words: Option<String>,
    /// How many questions and answers there were; `…/wait` waits for another number.
    pub answers: u32,
    /// More time that was asked for and not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<ExtensionView>,
    /// From when on the requester may take the access without an answer; absent where the rule lets nobody, or
    /// nobody has to answer any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub break_glass_from: Option<Timestamp>,
    /// That nobody had agreed when the access was taken, and who looked at it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlassView>,
    /// What became of its role while it was live, where the rule only warns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_changed: Option<String>,
    /// What was asked at first, in words, where an approver cut it down or broken glass gives less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowed_from: Option<String>,
    /// The worst of what the access lets its holder reach: `low` to `critical`, `unclassified` above all; absent
    /// when nothing was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub risk: Option<Severity>,
    /// What it reaches, one by one; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risks: Option<RisksView>,
    /// What arises only from it together with all that the requester has, was approved for or asked for in the same
    /// cluster, worst first; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<FindingView>,
    /// What the requester has, was approved for or asked for in the same cluster: now, while it waits for an answer, and
    /// after that as it was shown. What works first, then the newest; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<OtherGrantView>,
    /// How much more they had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_more: Option<usize>,
    /// That the same, or less, was denied to the requester a short while before; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_before: Option<DeniedBeforeView>,
    /// The uids of the namespaces when it was asked, by name; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_uids: BTreeMap<String, String>,
    /// The role's rules as they were when it was asked for; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub rules: Option<Vec<Rule>>,
}

impl GrantView {
    /// The grant as it is at this moment.
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

    /// The view with what approvers look at, and the digest of that.
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
}

/// What access lets its holder reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RisksView {
    /// The holder can make access that stays after the window.
    pub may_persist: bool,
    /// A request may run on after the window: a watch, a log, a command, a forwarded port.
    pub may_stream: bool,
    /// Why a namespace of it counts like the whole cluster, where it does: what its service accounts may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ordinary: Option<String>,
    /// Worst first; `severity` as in `risk`.
    pub findings: Vec<FindingView>,
}

/// One thing that access reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingView {
    /// Its stable id, such as `E25`.
    pub id: String,
    /// How bad it is in this scope.
    #[schema(value_type = String)]
    pub severity: Severity,
    /// The permission and what it gives, one sentence.
    pub why: String,
    /// Access made with it stays after the window.
    pub persists: bool,
    /// A request of this kind may run on after the window.
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

/// One of several namespaces of a grant in which it is over, or being ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LostPartView {
    /// The namespace.
    pub namespace: String,
    /// Why.
    pub why: String,
    /// Whether the end is proven.
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
    /// Why, in their words.
    pub reason: String,
}

impl From<DeniedBefore> for DeniedBeforeView {
    fn from(denied: DeniedBefore) -> Self {
        let DeniedBefore { grant, by, at, reason } = denied;
        Self { grant: grant.to_string(), by: by.to_string(), at, reason }
    }
}

/// Other access of the requester.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtherGrantView {
    /// The grant.
    pub grant: String,
    /// What may be done.
    pub access: String,
    /// Where; empty for the whole cluster.
    pub namespaces: Vec<String>,
    /// How far it has come; absent, from an earlier daemon, for what works.
    #[serde(default = "live")]
    #[schema(value_type = String)]
    pub phase: Phase,
}

fn live() -> Phase {
    Phase::Live
}

/// Access that nobody had agreed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BreakGlassView {
    /// Why nobody could be waited for.
    pub reason: String,
    /// When the glass was broken.
    #[schema(value_type = String, format = DateTime)]
    pub broken_at: Timestamp,
    /// Until when it has to be reviewed.
    #[schema(value_type = String, format = DateTime)]
    pub review_until: Timestamp,
    /// What a review has to carry.
    pub digest: String,
    /// Who has to review it.
    pub steps: Vec<StepView>,
    /// The reviews so far, in order.
    pub reviews: Vec<ReviewView>,
    /// Whether a review is still owed.
    pub owed: bool,
    /// Whether it is owed and its time is over.
    pub overdue: bool,
}

impl BreakGlassView {
    fn of(grant: &Grant, broken: &BreakGlassRecord, now: Timestamp) -> Self {
        let view = |review: &glass::Reviewed| ReviewView {
            by: review.by.by.to_string(),
            at: review.by.at,
            verdict: review.verdict,
            words: review.words.to_string(),
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
        }
    }
}

/// What one person found when they looked at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReviewView {
    /// Who.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `justified` or `not-justified`.
    #[schema(value_type = String)]
    pub verdict: Verdict,
    /// In their words.
    pub words: String,
}

/// More time that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionView {
    /// How much more.
    pub duration: String,
    /// Why.
    pub reason: String,
    /// What an approval has to carry.
    pub digest: String,
    /// Until when an answer is waited for.
    #[schema(value_type = String, format = DateTime)]
    pub pending_until: Timestamp,
    /// Who has to agree.
    pub steps: Vec<StepView>,
    /// Who agreed so far.
    pub agreed: Vec<String>,
}

/// Somebody who acts with another account than they had logged in with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CameInView {
    /// Who acts.
    pub who: String,
    /// The login uid of the kernel's audit; absent where it can't be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// Whose it is: a person, or `root`; absent when nobody known is behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

impl CameInView {
    /// None when they came with an account of their own.
    fn of(who: &PersonName, login: &Login) -> Option<Self> {
        let whose = match login.person() {
            Some(person) if person == who => return None,
            Some(person) => Some(person.to_string()),
            None => (login.uid() == Some(0)).then(|| "root".to_owned()),
        };
        Some(Self { who: who.to_string(), login_uid: login.uid(), login: whose })
    }
}

/// One step of an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Groups whose members may agree.
    pub groups: Vec<String>,
    /// How many people have to; a person counts in one step only.
    pub count: u32,
    /// How many are missing still.
    pub missing: u32,
    /// When a yes counts, such as `mon-fri 08:00-18:00 Europe/Berlin`; absent is always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<String>,
    /// The guardrail that asks for the step; absent when the rule does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<String>,
}

impl StepView {
    /// The steps, and how many have agreed to each.
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
    /// The grants the caller may see that are selected, newest first.
    pub grants: Vec<GrantView>,
    /// Whether there may be older ones that were not listed.
    pub more: bool,
    /// What `from` has to say to get those, also where `grants` is empty; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// That nothing is given at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingView>,
}

/// `GET /v1/grants/{id}/events` and the trail's own lines.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventList {
    /// The trail's newest entries about the grant, of those before `before`; oldest first, as they stand in the trail.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<serde_json::Value>,
    /// Whether there are older ones; `before` is the `seq` of the first of these then.
    #[serde(default)]
    pub more: bool,
}

/// `GET /v1/events`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventPage {
    /// The newest entries of the trail that are selected, of those before `before`; oldest first, as they stand in the trail.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<serde_json::Value>,
    /// What `before` has to say to get older ones, also where `events` is empty; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// `GET /v1/trail`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinePage {
    /// The lines after event `after`, each as it is stored: the next one carries its SHA-256.
    pub lines: Vec<String>,
    /// What `after` has to say to get more; absent at the end of the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

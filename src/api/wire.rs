//! What goes over the socket, shared by the daemon and its client: bodies as they are written, and the
//! views that are answered. JSON, camelCase; an unknown field in a body is refused.
//!
//! Nothing here decides anything. A body becomes an [`Ask`] in one place, [`AskBody::parse`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::broker::{Explained, Tried, Whose};
use crate::grant::drain::Draining;
use crate::grant::glass::{self, Glass, Verdict};
use crate::grant::narrow::Narrowing;
use crate::grant::policy::{Decision, Denial, Step, Yes, unmet};
use crate::grant::request::{Access, Ask, ExactRules, Login, Malformed, Namespaces, PersonName, Reason, Scope, Window};
use crate::grant::risk::{Assessment, Finding};
use crate::grant::role::Rule;
use crate::grant::{Grant, Held, Phase, Shown};

/// What is asked, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AskBody {
    /// The cluster's name in the daemon's configuration.
    pub cluster: String,
    /// The namespaces, at most twenty; absent when `clusterWide` is true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Ask for the whole cluster.
    #[serde(default)]
    pub cluster_wide: bool,
    /// `NAME` of a ClusterRole, or `role/NAME`; absent when `rules` are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Exactly these rules instead of a role: verbs, apiGroups, resources, resourceNames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub rules: Vec<Rule>,
    /// How long the access lasts, such as `15m`.
    pub duration: String,
    /// Why.
    pub reason: String,
    /// What else the policy's rule wants to know, such as a ticket.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// From when on it may be collected; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start: Option<Timestamp>,
}

impl AskBody {
    /// The ask that it means.
    ///
    /// # Errors
    /// Every word that is not of its form, all at once.
    pub fn parse(&self) -> Result<Ask, Vec<Malformed>> {
        let mut wrong = Vec::new();
        let mut keep = |error: Malformed| wrong.push(error);
        let cluster = self.cluster.parse().map_err(&mut keep).ok();
        let fault = |field, value: &str, why: &str| Malformed { field, value: value.to_owned(), why: why.to_owned() };
        let scope = match (self.namespaces.as_slice(), self.cluster_wide) {
            ([], true) => Some(Scope::Cluster),
            ([], false) => {
                keep(fault("namespaces", "none", "name one or more namespaces, or the whole cluster"));
                None
            }
            (_, true) => {
                keep(fault("namespaces", "some", "name either namespaces or the whole cluster"));
                None
            }
            (names, false) => namespaces(names, &mut keep).map(Scope::Namespaces),
        };
        let access = match (&self.role, self.rules.as_slice()) {
            (Some(role), []) => role.parse().map(Access::Role).map_err(&mut keep).ok(),
            (None, [_, ..]) => ExactRules::try_from(self.rules.clone()).map(Access::Rules).map_err(&mut keep).ok(),
            _ => {
                keep(fault("role", "or rules", "name either a role or exact rules"));
                None
            }
        };
        let mut fields = BTreeMap::new();
        for (name, value) in &self.fields {
            match (name.parse(), value.parse()) {
                (Ok(name), Ok(value)) => drop(fields.insert(name, value)),
                (Err(error), _) | (_, Err(error)) => keep(error),
            }
        }
        let window = self.duration.parse().map_err(&mut keep).ok();
        let reason = self.reason.parse().map_err(&mut keep).ok();
        match (cluster, scope, access, window, reason) {
            (Some(cluster), Some(scope), Some(access), Some(window), Some(reason)) if wrong.is_empty() => {
                Ok(Ask { cluster, scope, access, window, reason, fields, start: self.start })
            }
            _ => Err(wrong),
        }
    }
}

/// `POST /v1/grants`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestBody {
    /// What is asked.
    pub ask: AskBody,
    /// A PKCS#10 certificate request in PEM, signed with the key that the access is for. Only its
    /// public key is used.
    pub csr: String,
}

/// `POST /v1/grants/{id}/certificate`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateBody {
    /// A PKCS#10 certificate request in PEM, signed with the approved key.
    pub csr: String,
}

/// `POST /v1/grants/{id}/approve`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApproveBody {
    /// The digest of what was looked at.
    pub digest: String,
    /// To what it is cut down; absent when all of it is agreed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub less: Option<LessBody>,
}

/// What an approver leaves of a request; what is not said stays as it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LessBody {
    /// A shorter access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Some of the namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Some of what the role allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub rules: Vec<Rule>,
}

impl LessBody {
    /// What it means.
    ///
    /// # Errors
    /// Every word that is not of its form, all at once.
    pub fn parse(&self) -> Result<Narrowing, Vec<Malformed>> {
        let mut wrong = Vec::new();
        let mut keep = |error: Malformed| wrong.push(error);
        let window = self.duration.as_ref().and_then(|text| text.parse().map_err(&mut keep).ok());
        let namespaces = (!self.namespaces.is_empty()).then(|| namespaces(&self.namespaces, &mut keep)).flatten();
        let rules = (!self.rules.is_empty())
            .then(|| ExactRules::try_from(self.rules.clone()).map_err(&mut keep).ok())
            .flatten();
        if wrong.is_empty() { Ok(Narrowing { window, namespaces, rules }) } else { Err(wrong) }
    }
}

fn namespaces(names: &[String], keep: &mut impl FnMut(Malformed)) -> Option<Namespaces> {
    let parsed: Vec<_> = names.iter().filter_map(|name| name.parse().map_err(&mut *keep).ok()).collect();
    // A name that is none was told just now; without it the others are not what was meant.
    let whole = parsed.len() == names.len();
    Namespaces::try_from(parsed).map_err(|error| whole.then(|| keep(error))).ok()
}

/// `POST /v1/grants/{id}/extend`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtendBody {
    /// How much more, such as `10m`.
    pub duration: String,
    /// Why.
    pub reason: String,
}

impl ExtendBody {
    /// What it means.
    ///
    /// # Errors
    /// Every word that is not of its form, all at once.
    pub fn parse(&self) -> Result<(Window, Reason), Vec<Malformed>> {
        match (self.duration.parse(), self.reason.parse()) {
            (Ok(window), Ok(reason)) => Ok((window, reason)),
            (window, reason) => Err([window.err(), reason.err()].into_iter().flatten().collect()),
        }
    }
}

/// `POST /v1/grants/{id}/review`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReviewBody {
    /// The digest of what was looked at.
    pub digest: String,
    /// `justified` or `not-justified`.
    #[schema(value_type = String)]
    pub verdict: Verdict,
    /// What was found, in words.
    pub words: String,
}

/// `POST /v1/grants/{id}/deny`, `…/revoke` and `…/break-glass`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReasonBody {
    /// Why; who asked, and who answers or reviews, read it.
    pub reason: String,
}

/// A grant as its requester, its approvers and auditors see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantView {
    /// Its identity.
    pub id: String,
    /// `pending`, `approved`, `collecting`, `live`, `ending`, `denied`, `withdrawn`, `lapsed`, `ended`.
    pub phase: String,
    /// Why it ended: `expired`, `released`, `revoked`, `drifted`, `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_cause: Option<String>,
    /// Who asked.
    pub requester: String,
    /// Who of those who asked or agreed had logged in with an account that is not theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub came_in_as: Vec<CameInView>,
    /// The cluster.
    pub cluster: String,
    /// The namespaces; empty for the whole cluster.
    pub namespaces: Vec<String>,
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
    pub risk: Option<String>,
    /// What it reaches, one by one; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risks: Option<RisksView>,
    /// What the requester had in the same cluster when it was asked, the newest; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HeldView>,
    /// How much more they had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_more: Option<usize>,
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
            phase: grant.phase.as_str().to_owned(),
            end_cause: grant.end_cause.map(|cause| cause.as_str().to_owned()),
            requester: grant.requester.to_string(),
            came_in_as: std::iter::once((&grant.requester, &grant.requester_login))
                .chain(grant.agreed.iter().map(|yes| (&yes.by, &yes.login)))
                .filter_map(|(who, login)| CameInView::of(who, login.as_ref()?))
                .collect(),
            cluster: grant.ask.cluster.to_string(),
            namespaces: grant.ask.scope.namespaces().iter().map(ToString::to_string).collect(),
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
            key: grant.key.0.clone(),
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
            risk: grant.risk.map(|severity| severity.as_str().to_owned()),
            risks: None,
            holds: Vec::new(),
            holds_more: None,
            rules: None,
        }
    }

    /// The view with what approvers look at.
    #[must_use]
    pub fn with(self, shown: Shown) -> Self {
        let held = |held: &Held| HeldView {
            grant: held.grant.to_string(),
            access: held.access.to_string(),
            namespaces: held.scope.namespaces().iter().map(ToString::to_string).collect(),
        };
        Self {
            holds: shown.holds.iter().map(held).collect(),
            holds_more: (shown.holds_more > 0).then_some(shown.holds_more),
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
    pub severity: String,
    /// The permission and what it gives, one sentence.
    pub why: String,
    /// Access made with it stays after the window.
    pub persists: bool,
    /// A request of this kind may run on after the window.
    pub streams: bool,
}

impl From<Assessment> for RisksView {
    fn from(assessment: Assessment) -> Self {
        let view = |finding: &Finding| FindingView {
            id: finding.id.as_str().to_owned(),
            severity: finding.severity.as_str().to_owned(),
            why: finding.why.clone(),
            persists: finding.persists,
            streams: finding.streams,
        };
        Self {
            may_persist: assessment.may_persist(),
            may_stream: assessment.may_stream(),
            findings: assessment.findings().iter().map(view).collect(),
        }
    }
}

/// Other access of the requester.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldView {
    /// The grant.
    pub grant: String,
    /// What may be done.
    pub access: String,
    /// Where; empty for the whole cluster.
    pub namespaces: Vec<String>,
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
    fn of(grant: &Grant, broken: &Glass, now: Timestamp) -> Self {
        let view = |review: &glass::Reviewed| ReviewView {
            by: review.by.by.to_string(),
            at: review.by.at,
            verdict: review.verdict.as_str().to_owned(),
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
    pub verdict: String,
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
    /// The login uid of the kernel's audit.
    pub login_uid: u32,
    /// Whose it is: a person, or `root`; absent when nobody known is behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

impl CameInView {
    /// None when they came with an account of their own.
    fn of(who: &PersonName, login: &Login) -> Option<Self> {
        let whose = match &login.person {
            Some(person) if person == who => return None,
            Some(person) => Some(person.to_string()),
            None => (login.uid == 0).then(|| "root".to_owned()),
        };
        Some(Self { who: who.to_string(), login_uid: login.uid, login: whose })
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
    fn all(steps: &[Step], agreed: &[Yes]) -> Vec<Self> {
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
    /// The grants the caller may see, newest first.
    pub grants: Vec<GrantView>,
    /// Whether there are older ones that were not listed.
    pub more: bool,
    /// That nothing is given at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingView>,
}

/// `GET /v1/grants/{id}/events` and the trail's own lines.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventList {
    /// The trail's entries about the grant, oldest first, as they stand in the trail.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<serde_json::Value>,
}

/// A certificate that works now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateView {
    /// Leaf and issuing certificate in PEM.
    pub certificate: String,
    /// The last second in which the certificate is valid.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The end of the window.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// Where to use it.
    pub cluster: ClusterView,
}

/// A cluster as a kubeconfig needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Its URL.
    pub server: String,
    /// The certificate authority of its serving certificate, PEM.
    pub certificate_authority: String,
}

/// `GET /v1/clusters`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterList {
    /// The clusters of the configuration.
    pub clusters: Vec<ClusterView>,
}

/// `GET /v1/whoami`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoamiView {
    /// The person's name.
    pub name: String,
    /// Every group.
    pub groups: Vec<String>,
    /// The uid the socket was opened by.
    pub uid: u32,
    /// The daemon's host.
    pub host: String,
    /// That nothing is given at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingView>,
}

/// `POST /v1/drain`
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrainBody {
    /// Why; everybody who is refused meanwhile reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// That nothing is given at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainingView {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Who said so.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<&Draining> for DrainingView {
    fn from(Draining { since, by, reason }: &Draining) -> Self {
        Self { since: *since, by: by.to_string(), reason: reason.as_ref().map(ToString::to_string) }
    }
}

/// `GET /v1/operations`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationsView {
    /// That nothing is given at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingView>,
    /// Grants that wait for an answer.
    pub pending: usize,
    /// Grants that wait to be collected.
    pub approved: usize,
    /// Grants that are being collected.
    pub collecting: usize,
    /// Grants whose access works.
    pub live: usize,
    /// Grants whose access is being taken away.
    pub ending: usize,
}

/// `POST /v1/revoke`: either all, or those of a person, in a cluster, or both.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeBody {
    /// Every grant there is.
    #[serde(default)]
    pub all: bool,
    /// Whose grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The grants in this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Why; who had the access reads it.
    pub reason: String,
    /// Drain first, so that nothing comes to be meanwhile.
    #[serde(default)]
    pub drain: bool,
}

impl RevokeBody {
    /// What it means.
    ///
    /// # Errors
    /// Every word that is not of its form, all at once.
    pub fn parse(&self) -> Result<(Whose, Reason), Vec<Malformed>> {
        let mut wrong = Vec::new();
        let mut keep = |error: Malformed| wrong.push(error);
        let reason = self.reason.parse().map_err(&mut keep).ok();
        let person = self.person.as_ref().map(|name| name.parse().map_err(&mut keep).ok());
        let cluster = self.cluster.as_ref().map(|name| name.parse().map_err(&mut keep).ok());
        let whose = match (self.all, person, cluster) {
            (true, None, None) => Some(Whose::Everybody),
            (false, Some(person), None) => person.map(Whose::Person),
            (false, None, Some(cluster)) => cluster.map(Whose::Cluster),
            (false, Some(person), Some(cluster)) => {
                person.zip(cluster).map(|(person, cluster)| Whose::PersonIn(person, cluster))
            }
            _ => {
                let why = "name either all grants, or a person, a cluster or both".to_owned();
                keep(Malformed { field: "grants", value: "to revoke".to_owned(), why });
                None
            }
        };
        match (whose, reason) {
            (Some(whose), Some(reason)) if wrong.is_empty() => Ok((whose, reason)),
            _ => Err(wrong),
        }
    }
}

/// What became of the grants that were meant, or with `dryRun` what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationView {
    /// The grants, in the order in which they were asked for.
    pub grants: Vec<RevokedView>,
    /// That nothing is given at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingView>,
    /// Why it could not be drained, where that was asked for. The grants were taken away all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_drained: Option<String>,
}

/// One grant that was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedView {
    /// Its identity.
    pub id: String,
    /// Who asked.
    pub requester: String,
    /// The cluster.
    pub cluster: String,
    /// The namespaces; empty for the whole cluster.
    pub namespaces: Vec<String>,
    /// What may be done, in words.
    pub access: String,
    /// Where it stood before.
    pub was: String,
    /// Where it stands now.
    pub phase: String,
    /// How it is known that it is over: `denied` when the API server said so, `never-bound` when nothing was ever
    /// bound; absent while it is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// Why it is not over yet; it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl RevokedView {
    /// A grant that stood at `was` and is so now.
    #[must_use]
    pub fn of(was: Phase, grant: &Grant, why: Option<String>) -> Self {
        let proof = (!grant.phase.is_open()).then_some(if grant.bind_intended { "denied" } else { "never-bound" });
        Self {
            id: grant.id.to_string(),
            requester: grant.requester.to_string(),
            cluster: grant.ask.cluster.to_string(),
            namespaces: grant.ask.scope.namespaces().iter().map(ToString::to_string).collect(),
            access: grant.ask.access.to_string(),
            was: was.as_str().to_owned(),
            phase: grant.phase.as_str().to_owned(),
            proof: proof.map(str::to_owned),
            why: why.filter(|_| proof.is_none()),
        }
    }
}

/// `POST /v1/explain`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionView {
    /// `ask` when people would be asked, `preApproved` when nobody would, `deny` when it may not be asked.
    pub outcome: String,
    /// The rule that decided, or that came nearest; absent when no rule decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who would have to agree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepView>,
    /// What keeps it from being allowed, a sentence each.
    pub missing: Vec<String>,
    /// What it would reach; absent when it was denied before the cluster was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risks: Option<RisksView>,
    /// What the API server would say to the bindings; only with `dryRun=true`, and when it may be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<TriedView>,
}

/// An object that was tried without being stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriedView {
    /// `RoleBinding`, `ClusterRoleBinding`, or `Role` where one would be made.
    pub kind: String,
    /// Where; absent for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Why the API server would refuse it; absent when it would take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl From<Tried> for TriedView {
    fn from(Tried { binding, refused }: Tried) -> Self {
        let kind = match (&binding.namespace, &binding.rules) {
            (_, Some(_)) => "Role",
            (Some(_), None) => "RoleBinding",
            (None, None) => "ClusterRoleBinding",
        };
        Self { kind: kind.to_owned(), namespace: binding.namespace.map(|name| name.to_string()), refused }
    }
}

impl From<Explained> for DecisionView {
    fn from(Explained { decision, assessment, tried }: Explained) -> Self {
        let said = match &decision {
            Decision::Ask(terms) => Self {
                outcome: if terms.steps.is_empty() { "preApproved" } else { "ask" }.to_owned(),
                rule: Some(terms.rule.clone()),
                steps: StepView::all(&terms.steps, &[]),
                missing: Vec::new(),
                risks: None,
                tried: Vec::new(),
            },
            Decision::Deny(denial) => Self {
                outcome: "deny".to_owned(),
                rule: denial.nearest().map(str::to_owned),
                steps: Vec::new(),
                missing: match denial {
                    Denial::NoRule { missing, .. } => missing.clone(),
                    _ => vec![denial.refusal().why],
                },
                risks: None,
                tried: Vec::new(),
            },
        };
        Self { risks: assessment.map(Into::into), tried: tried.into_iter().map(Into::into).collect(), ..said }
    }
}

/// A refusal or a failure: RFC 9457 `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The stable code; scripts compare this.
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// One sentence for a person.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

//! What goes over the socket, shared by the daemon and its client: bodies as they are written, and the
//! views that are answered. JSON, camelCase; an unknown field in a body is refused.
//!
//! Nothing here decides anything. A body becomes an [`Ask`] in one place, [`AskBody::parse`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::grant::Grant;
use crate::grant::policy::{Decision, Quorum};
use crate::grant::request::{Ask, Malformed, Scope};
use crate::grant::role::Rule;

/// What is asked, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AskBody {
    /// The cluster's name in the daemon's configuration.
    pub cluster: String,
    /// The namespace; absent when `clusterWide` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Ask for the whole cluster.
    #[serde(default)]
    pub cluster_wide: bool,
    /// `NAME` of a ClusterRole, or `role/NAME`.
    pub role: String,
    /// How long the access lasts, such as `15m`.
    pub duration: String,
    /// Why.
    pub reason: String,
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
        let scope = match (&self.namespace, self.cluster_wide) {
            (Some(namespace), false) => namespace.parse().map(Scope::Namespace).map_err(&mut keep).ok(),
            (None, true) => Some(Scope::Cluster),
            (namespace, _) => {
                keep(Malformed {
                    field: "namespace",
                    value: namespace.as_ref().map_or("none".to_owned(), |text| format!("`{}`", text.escape_default())),
                    why: "name either one namespace or the whole cluster".to_owned(),
                });
                None
            }
        };
        let role = self.role.parse().map_err(&mut keep).ok();
        let window = self.duration.parse().map_err(&mut keep).ok();
        let reason = self.reason.parse().map_err(&mut keep).ok();
        match (cluster, scope, role, window, reason) {
            (Some(cluster), Some(scope), Some(role), Some(window), Some(reason)) => {
                Ok(Ask { cluster, scope, role, window, reason })
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
}

/// `POST /v1/grants/{id}/deny` and `…/revoke`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReasonBody {
    /// Why; the requester reads it.
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
    /// The cluster.
    pub cluster: String,
    /// The namespace; absent for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The role, `NAME` or `role/NAME`.
    pub role: String,
    /// The asked length of the access.
    pub duration: String,
    /// Why it was asked for.
    pub reason: String,
    /// The policy's rule that let it be asked.
    pub rule: String,
    /// Who has to agree.
    pub approvers: ApproversView,
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
    /// The role's rules as they were when it was asked for; only in `GET /v1/grants/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub rules: Option<Vec<Rule>>,
}

impl From<&Grant> for GrantView {
    fn from(grant: &Grant) -> Self {
        Self {
            id: grant.id.to_string(),
            phase: grant.phase.as_str().to_owned(),
            end_cause: grant.end_cause.map(|cause| cause.as_str().to_owned()),
            requester: grant.requester.to_string(),
            cluster: grant.ask.cluster.to_string(),
            namespace: grant.ask.scope.namespace().map(ToString::to_string),
            role: grant.ask.role.to_string(),
            duration: grant.ask.window.to_string(),
            reason: grant.ask.reason.to_string(),
            rule: grant.rule.clone(),
            approvers: ApproversView::from(&grant.quorum),
            agreed: grant.agreed.iter().map(ToString::to_string).collect(),
            digest: grant.digest.clone(),
            key: grant.key.0.clone(),
            requested_at: grant.requested_at,
            deadline: grant.deadline,
            live_at: grant.live_at,
            ended_at: grant.ended_at,
            certificates: grant.certificates,
            closed_by: grant.closed_by.as_ref().map(ToString::to_string),
            closing_words: grant.closing_words.clone(),
            rules: None,
        }
    }
}

/// Who has to agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApproversView {
    /// Groups whose members may agree.
    pub groups: Vec<String>,
    /// How many have to.
    pub count: u32,
}

impl From<&Quorum> for ApproversView {
    fn from(quorum: &Quorum) -> Self {
        Self { groups: quorum.groups.clone(), count: quorum.count }
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
}

/// `POST /v1/explain`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionView {
    /// `ask` when it may be asked, `deny` when not.
    pub outcome: String,
    /// The rule that decided, or that came nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who would have to agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<ApproversView>,
    /// What keeps it from being allowed, a sentence each.
    pub missing: Vec<String>,
}

impl From<&Decision> for DecisionView {
    fn from(decision: &Decision) -> Self {
        match decision {
            Decision::Ask { rule, quorum } => Self {
                outcome: "ask".to_owned(),
                rule: Some(rule.clone()),
                approvers: Some(quorum.into()),
                missing: Vec::new(),
            },
            Decision::Deny(denial) => Self {
                outcome: "deny".to_owned(),
                rule: denial.nearest.clone(),
                approvers: None,
                missing: denial.missing.clone(),
            },
        }
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

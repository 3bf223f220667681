//! Operating the daemon: drain, resume, and revoke several grants.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use jit_core::grant::drain::Draining;
use jit_core::grant::{EndProof, Grant, Phase};

/// `POST /v1/drain`
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrainBody {
    /// The reason; everybody who is refused in the meantime can read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The drain in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainingView {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Who drained.
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
    /// The drain in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingView>,
    /// Grants that wait for an answer.
    pub pending: usize,
    /// Grants that wait to be collected.
    pub approved: usize,
    /// Grants that are being collected.
    pub collecting: usize,
    /// Live grants.
    pub live: usize,
    /// Grants whose access is ending.
    pub ending: usize,
    /// The keys of `config.yaml` that had changed at the last reload and need a restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
}

/// `POST /v1/revoke`: grants by their ids, of a person, in a cluster or both, or all.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeBody {
    /// Grants by their ids, or by unique beginnings of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
    /// All grants.
    #[serde(default)]
    pub all: bool,
    /// The grants of this person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The grants in this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The reason; those who lose access can read it.
    pub reason: String,
    /// Drain first, so that nothing new is granted in the meantime.
    #[serde(default)]
    pub drain: bool,
}

/// The matching grants after the revocation, or with `dryRun` before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationView {
    /// The grants, in the order of their requests.
    pub grants: Vec<RevokedView>,
    /// The drain in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingView>,
    /// Why the requested drain failed. The grants were revoked in spite of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_drained: Option<String>,
}

/// One matching grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedView {
    /// The id.
    pub id: String,
    /// The requester.
    pub requester: String,
    /// The cluster.
    pub cluster: String,
    /// The namespaces; empty for the whole cluster.
    pub namespaces: Vec<String>,
    /// The access in words.
    pub access: String,
    /// The phase before.
    pub was: Phase,
    /// The current phase.
    pub phase: Phase,
    /// The proof that it is over: `denied` if the API server answered so; `group-denied` if it answered so for the grant's
    /// group, but a binding of somebody else gives the same access to the person's own user name; `never-bound` if nothing
    /// was ever bound; absent while it is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Why it is not over yet; the daemon tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The proof that a grant is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// The API server answered "denied".
    Denied,
    /// It answered so for the grant's group only; a binding of somebody else gives the same access to the person's own user
    /// name.
    GroupDenied,
    /// Nothing was ever bound.
    NeverBound,
}

impl Proof {
    /// The word for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::GroupDenied => "group-denied",
            Self::NeverBound => "never-bound",
        }
    }
}

impl RevokedView {
    /// The view of a grant whose phase was `was` before.
    #[must_use]
    pub fn of(was: Phase, grant: &Grant, why: Option<String>) -> Self {
        let proof = (!grant.phase.is_open()).then_some(match grant.end_proof {
            Some(EndProof::Denied) => Proof::Denied,
            Some(EndProof::GroupDenied) => Proof::GroupDenied,
            // A denied or lapsed grant has no separate end.
            Some(EndProof::NeverBound) | None => Proof::NeverBound,
        });
        Self {
            id: grant.id.to_string(),
            requester: grant.requester.to_string(),
            cluster: grant.ask.cluster.to_string(),
            namespaces: grant.ask.scope.namespaces().iter().map(ToString::to_string).collect(),
            access: grant.ask.access.to_string(),
            was,
            phase: grant.phase,
            proof,
            why: why.filter(|_| proof.is_none()),
        }
    }
}

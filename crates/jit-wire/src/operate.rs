//! Operating the daemon: drain, resume, and revoke many.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use jit_core::grant::drain::Draining;
use jit_core::grant::{EndProof, Grant, Phase};

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
    /// The keys of `config.yaml` that changed and that only a restart takes up, as the last reload found them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
}

/// `POST /v1/revoke`: some by their ids, those of a person, in a cluster or both, or all.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeBody {
    /// These grants, by their ids or unique beginnings of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
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
    #[schema(value_type = String)]
    pub was: Phase,
    /// Where it stands now.
    #[schema(value_type = String)]
    pub phase: Phase,
    /// How it is known that it is over: `denied` when the API server said so, `group-denied` when it said so of the
    /// grant's group and another's binding gives the same to the person's own user name, `never-bound` when nothing was
    /// ever bound; absent while it is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub proof: Option<Proof>,
    /// Why it is not over yet; it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How it is known that a grant is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// The API server said "denied".
    Denied,
    /// It said so of the grant's group alone; another's binding gives the same to the person's own user name.
    GroupDenied,
    /// Nothing was ever bound.
    NeverBound,
}

impl Proof {
    /// The word for it, as in JSON.
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
    /// A grant that stood at `was` and is so now.
    #[must_use]
    pub fn of(was: Phase, grant: &Grant, why: Option<String>) -> Self {
        let proof = (!grant.phase.is_open()).then_some(match grant.end_proof {
            Some(EndProof::Denied) => Proof::Denied,
            Some(EndProof::GroupDenied) => Proof::GroupDenied,
            // One that was denied or lapsed has no end of its own.
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

//! Certificates, clusters, and the caller's identity.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::operate::DrainingView;

/// A certificate for a live grant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateView {
    /// Leaf and issuing certificate in PEM.
    pub certificate: String,
    /// The last second of the certificate's validity.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The end of the window.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// The cluster for which it is valid.
    pub cluster: ClusterView,
}

/// A cluster, with the data for a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// The URL that people reach it at: that of its API server, or of the gateway in front of it while that is connected.
    pub server: String,
    /// The CA certificate of the server at this URL, in PEM.
    pub certificate_authority: String,
}

/// `GET /v1/clusters`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterList {
    /// The clusters of the configuration.
    pub clusters: Vec<ClusterView>,
}

/// `POST /v1/links/accept`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkBody {
    /// The code that was shown where the person logged in at the provider.
    pub code: String,
}

/// A login at an identity provider that waits to be linked to an account, or was linked: the answer to `POST` and `GET
/// /v1/links`, and to `POST /v1/links/accept`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkView {
    /// What the owner of the account enters.
    pub code: String,
    /// The identity provider.
    pub issuer: String,
    /// Who the person is there.
    pub subject: String,
    /// The person's name until then.
    pub name: String,
    /// Until when it can be accepted.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

/// `GET /v1/whoami`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoamiView {
    /// The person's name.
    pub name: String,
    /// All groups of the person.
    pub groups: Vec<String>,
    /// The uid that connected to the socket; absent for a person of an identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The identity provider at which the person logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Who the person is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the provider last said so: when the ID token of the session was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub issued: Option<Timestamp>,
    /// When the directory of the provider was last asked who the person is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub directory: Option<Timestamp>,
    /// The daemon's host.
    pub host: String,
    /// Whether a group of the person is in `admins`. Absent from an earlier daemon.
    #[serde(default)]
    pub administers: bool,
    /// The drain in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingView>,
}

//! Where access is used, and who the caller is: certificates, clusters, `whoami`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::operate::DrainingView;

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

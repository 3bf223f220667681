//! The bodies for requesting and collecting access.
//!
//! Only [`AskBody::parse`] turns a body into an [`AccessRequest`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use jit_core::grant::policy::Words;
use jit_core::grant::request::{Access, AccessRequest, ExactRules, Malformed, Namespaces, Scope};
use jit_core::rbac::role::Rule;

/// The requested access, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AskBody {
    /// The cluster's name in the daemon's configuration.
    pub cluster: String,
    /// The namespaces, at most twenty; absent when `clusterWide` is true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Request the whole cluster.
    #[serde(default)]
    pub cluster_wide: bool,
    /// `NAME` of a ClusterRole, or `role/NAME`; absent if `rules` are requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Exact rules instead of a role: verbs, apiGroups, resources, resourceNames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// How long the access lasts, such as `15m`.
    pub duration: String,
    /// The reason. It may be empty in `/v1/explain` if it is not known yet.
    pub reason: String,
    /// Further fields that the policy's rule requires, such as a ticket.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// When the access may be collected at the earliest; at once if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start: Option<Timestamp>,
}

impl AskBody {
    /// Parses a draft, in which the reason may be empty; a placeholder replaces it then. Also returns which parts are given.
    ///
    /// # Errors
    /// All malformed words at once.
    pub fn parse_draft(&self) -> Result<(AccessRequest, Words), Vec<Malformed>> {
        if !self.reason.is_empty() {
            return Ok((self.parse()?, Words::Draft { reason: true }));
        }
        let ask = Self { reason: "not given yet".to_owned(), ..self.clone() }.parse()?;
        Ok((ask, Words::Draft { reason: false }))
    }

    /// Parses the body.
    ///
    /// # Errors
    /// All malformed words at once.
    pub fn parse(&self) -> Result<AccessRequest, Vec<Malformed>> {
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
                (Ok(name), Ok(value)) => {
                    fields.insert(name, value);
                }
                (Err(error), _) | (_, Err(error)) => keep(error),
            }
        }
        let window = self.duration.parse().map_err(&mut keep).ok();
        let reason = self.reason.parse().map_err(&mut keep).ok();
        match (cluster, scope, access, window, reason) {
            (Some(cluster), Some(scope), Some(access), Some(window), Some(reason)) if wrong.is_empty() => {
                Ok(AccessRequest { cluster, scope, access, window, reason, fields, start: self.start })
            }
            _ => Err(wrong),
        }
    }
}

/// `POST /v1/grants`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestBody {
    /// The requested access.
    pub ask: AskBody,
    /// A PKCS#10 certificate request in PEM, signed with the key that the access is for. Only its public key is used.
    pub csr: String,
}

/// `POST /v1/grants/{id}/certificate`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateBody {
    /// A PKCS#10 certificate request in PEM, signed with the approved key.
    pub csr: String,
}

pub(super) fn namespaces(names: &[String], keep: &mut impl FnMut(Malformed)) -> Option<Namespaces> {
    let parsed: Vec<_> = names.iter().filter_map(|name| name.parse().map_err(&mut *keep).ok()).collect();
    // A malformed name was reported just now; without it, the list is not what was meant.
    let whole = parsed.len() == names.len();
    Namespaces::try_from(parsed).map_err(|error| whole.then(|| keep(error))).ok()
}

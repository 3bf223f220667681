//! Recording a scan of a cluster's standing access.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use jit_core::rbac::risk::Severity;

/// `POST /v1/scans`: either `finished` or `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScanBody {
    /// The cluster, by its name in the configuration.
    pub cluster: String,
    /// What it found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<ScanNumbers>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a scan found, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScanNumbers {
    /// How many findings are open, by severity.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub open: BTreeMap<Severity, u64>,
    /// How many of them the last report did not have; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<u64>,
    /// How many findings of the last report are gone; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<u64>,
    /// How many lists and objects could not be evaluated.
    pub not_evaluated: u64,
    /// SHA-256 of the report as JSON, 64 hexadecimal digits in lower case.
    pub report_sha256: String,
}

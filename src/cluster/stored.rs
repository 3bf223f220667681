//! A binding as the API server stores it, and its conversion into a [`Found`].
//!
//! `managedFields` and the like are skipped, because thousands of bindings are read at once. Only `cluster` uses this.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::names::{HOST_LABEL, MANAGED_BY, OURS};
use crate::grant::{Found, FoundRole, Subject};

/// A RoleBinding or ClusterRoleBinding as it is stored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    pub(super) metadata: Metadata,
    subjects: Option<Vec<Subject>>,
    role_ref: FoundRole,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) uid: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) deletion_timestamp: Option<String>,
}

impl From<Stored> for Found {
    fn from(mut stored: Stored) -> Self {
        let labels = &mut stored.metadata.labels;
        let is_a_daemons = labels.get(MANAGED_BY).is_some_and(|by| by == OURS);
        Self {
            of_host: labels.remove(HOST_LABEL).filter(|_| is_a_daemons),
            name: stored.metadata.name,
            namespace: stored.metadata.namespace,
            uid: stored.metadata.uid,
            is_held: stored.metadata.deletion_timestamp.is_some(),
            subjects: stored.subjects.unwrap_or_default(),
            role: stored.role_ref,
        }
    }
}

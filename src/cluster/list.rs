//! Lists, read a page at a time: bindings that concern this daemon, and namespaces.
//!
//! It must never hold what nobody wants to keep: a cluster has 10,000 bindings. The sweep and `check` call it.

use std::collections::BTreeMap;

use kube::core::params::{GetParams, ListParams};
use kube::core::request::Request as Path;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::failure::unless_missing;
use super::names::RBAC;
use super::stored::{Metadata, Stored};
use super::{Cluster, ClusterError};
use crate::grant::names;
use crate::grant::request::Namespace;
use crate::grant::{Found, FoundNamespace};

impl Cluster {
    /// Lists the bindings, in all namespaces and cluster-wide, that carry this daemon's labels or name a user or group
    /// beginning `jit:`, whoever made them. `keep` decides which of them are returned. All bindings of the cluster are
    /// read, a page at a time, and only those that are kept stay in memory. A label is no proof that a binding is ours.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn list_related(&self, mut keep: impl FnMut(&Found) -> bool) -> Result<Vec<Found>, ClusterError> {
        let names_us = |found: &Found| found.subjects.iter().any(|subject| names::is_ours(&subject.name));
        let mut all = Vec::new();
        for kind in ["rolebindings", "clusterrolebindings"] {
            let path = format!("{RBAC}/{kind}");
            let mut related = |found: &Found| (self.labelled(found) || names_us(found)) && keep(found);
            self.list(&path, None, |stored: Stored| Some(Found::from(stored)).filter(&mut related), &mut all).await?;
        }
        Ok(all)
    }

    /// The labels of every namespace in which something can be bound.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn namespaces(&self) -> Result<BTreeMap<Namespace, BTreeMap<String, String>>, ClusterError> {
        let keep = |StoredNamespace { metadata }: StoredNamespace| {
            let stays = metadata.deletion_timestamp.is_none();
            metadata.name.parse().ok().filter(|_| stays).map(|name: Namespace| (name, metadata.labels))
        };
        let mut all = Vec::new();
        self.list("/api/v1/namespaces", None, keep, &mut all).await?;
        Ok(all.into_iter().collect())
    }

    /// A namespace in which something can be bound; none when it does not exist or is being deleted.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn namespace(&self, namespace: &Namespace) -> Result<Option<FoundNamespace>, ClusterError> {
        let request = Path::new("/api/v1/namespaces").get(namespace.as_str(), &GetParams::default());
        let stored: Option<StoredNamespace> = unless_missing(self.0.transport.call(request).await)?;
        let stays = stored.filter(|stored| stored.metadata.deletion_timestamp.is_none());
        Ok(stays.map(|StoredNamespace { metadata }| FoundNamespace { uid: metadata.uid, labels: metadata.labels }))
    }

    /// Whether a binding carries this daemon's labels.
    #[must_use]
    pub fn labelled(&self, found: &Found) -> bool {
        found.is_of_host(&self.0.host)
    }

    pub(super) async fn list<S: DeserializeOwned, T>(
        &self,
        path: &str,
        labels: Option<String>,
        mut keep: impl FnMut(S) -> Option<T>,
        all: &mut Vec<T>,
    ) -> Result<(), ClusterError> {
        #[derive(Deserialize)]
        struct Page<S> {
            metadata: PageMetadata,
            items: Vec<S>,
        }
        #[derive(Deserialize)]
        struct PageMetadata {
            #[serde(rename = "continue")]
            next: Option<String>,
        }
        let mut params = ListParams { label_selector: labels, limit: Some(PAGE), ..ListParams::default() };
        loop {
            let reply = self.0.transport.send(Path::new(path).list(&params)).await?;
            // When a list took too long, the API server offers the rest as it is now. That is good enough for the sweep,
            // which runs again (https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks).
            let expired =
                (reply.code == 410).then(|| reply.status().and_then(|status| status.metadata?.continue_)).flatten();
            params.continue_token = if expired.is_some() {
                expired
            } else {
                let page: Page<S> = self.0.transport.read(&reply)?;
                all.extend(page.items.into_iter().filter_map(&mut keep));
                page.metadata.next.filter(|token| !token.is_empty())
            };
            if params.continue_token.is_none() {
                return Ok(());
            }
        }
    }
}

#[derive(Deserialize)]
struct StoredNamespace {
    metadata: Metadata,
}

/// How many bindings one page of a list has: kubectl's own `--chunk-size`.
const PAGE: u32 = 500;

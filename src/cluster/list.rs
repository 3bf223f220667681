//! Lists the bindings that concern this daemon, and namespaces, one page at a time.
//!
//! It must never hold objects that the caller does not keep: a cluster may have 10,000 bindings. The sweep and `check`
//! call it.

use std::collections::BTreeMap;
use std::sync::Arc;

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
use crate::rbac::risk::{AccountReach, Accounts, BindingSubject};

impl Cluster {
    /// Lists the bindings, in all namespaces and cluster-wide, that carry this daemon's labels or have the gateway, or a
    /// user or group that begins with `jit:`, as a subject, whoever created them. `keep` decides which of them are returned. This
    /// reads all bindings of the cluster, one page at a time; only those that are kept stay in memory, and what all of
    /// them say about service accounts. A label does not prove that a binding is ours.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn list_related(&self, keep: impl FnMut(&Found) -> bool) -> Result<Vec<Found>, ClusterError> {
        let mut reach = AccountReach::default();
        let listed = self.list_all(keep, &mut reach).await;
        let accounts = if listed.is_ok() { Accounts::Known(Arc::new(reach)) } else { Accounts::Unknown };
        *self.0.accounts.lock() = accounts;
        listed
    }

    /// What the last list of all bindings revealed about the service accounts; unknown before the first list and after
    /// one that failed.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        self.0.accounts.lock().clone()
    }

    async fn list_all(
        &self,
        mut keep: impl FnMut(&Found) -> bool,
        reach: &mut AccountReach,
    ) -> Result<Vec<Found>, ClusterError> {
        let (daemon, gateway) = (self.endpoint().daemon(), self.endpoint().gateway());
        let names_us = |found: &Found| {
            found.subjects.iter().any(|subject| names::is_ours(&subject.name))
                || daemon.is_some_and(|daemon| found.names_user(daemon.as_str()))
                || gateway.is_some_and(|gateway| found.names_user(gateway.user.as_str()))
        };
        let mut all = Vec::new();
        for kind in ["rolebindings", "clusterrolebindings"] {
            let path = format!("{RBAC}/{kind}");
            let mut related = |found: &Found| {
                add_accounts(reach, found);
                (self.labelled(found) || names_us(found)) && keep(found)
            };
            self.list(&path, None, |stored: Stored| Some(Found::from(stored)).filter(&mut related), &mut all).await?;
        }
        Ok(all)
    }

    /// The labels of every namespace that is not being deleted.
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

    /// A namespace; `None` if it does not exist or is being deleted.
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
            // If a list takes too long, the API server offers to continue with the current state. That is good enough
            // for the sweep, which runs again
            // (https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks).
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

/// Adds what a binding grants to service accounts.
fn add_accounts(reach: &mut AccountReach, found: &Found) {
    let home = found.namespace.as_deref();
    for subject in &found.subjects {
        let subject =
            BindingSubject { kind: &subject.kind, name: &subject.name, namespace: subject.namespace.as_deref() };
        reach.add(home, &found.role.name, subject, || found.described());
    }
}

#[derive(Deserialize)]
struct StoredNamespace {
    metadata: Metadata,
}

/// The number of objects in one page of a list: the default of kubectl's `--chunk-size`.
const PAGE: u32 = 500;

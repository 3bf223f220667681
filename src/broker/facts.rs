//! The facts about a request from its cluster, gathered for the decision in `grant/`.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;

use super::Site;
use crate::cluster::{ClusterError, Probe};
use crate::grant::policy::{Circumstances, Labels, Policy, Usage};
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{Access, AccessRequest, Namespace};
use crate::grant::{FoundNamespace, Grant};
use crate::rbac::risk::{self, Assessment, Surroundings};
use crate::rbac::role::ResolvedRole;

/// The facts from the cluster that a decision about a request depends on, in addition to the requester and the time.
pub(super) struct ClusterFacts {
    pub(super) role: Option<ResolvedRole>,
    /// The namespaces that exist.
    pub(super) namespaces: BTreeMap<Namespace, FoundNamespace>,
    /// Their labels.
    pub(super) labels: Labels,
    pub(super) assessment: Assessment,
    /// Other facts about the cluster that change what rights allow.
    pub(super) around: Surroundings,
}

impl ClusterFacts {
    /// The circumstances of a decision at `now`, with the person's usage.
    pub(super) fn with(&self, usage: Usage, now: Timestamp) -> Circumstances<'_> {
        Circumstances { now, labels: &self.labels, assessment: &self.assessment, usage }
    }

    /// These facts with the findings that arise together with the requester's other access, for an existing grant that
    /// is checked again.
    pub(super) fn again(mut self, grant: &Grant) -> Self {
        self.assessment = grant.with_others(self.assessment);
        self
    }

    /// The requested role; refused if it or one of the namespaces does not exist, or if it allows nothing.
    pub(super) fn requested_role(&self, ask: &AccessRequest) -> Result<&ResolvedRole, Refusal> {
        if let Some(missing) = ask.scope.namespaces().iter().find(|name| !self.labels.contains_key(*name)) {
            let why = format!("namespace `{missing}` does not exist in cluster `{}`", ask.cluster);
            return Err(Refusal::new(Code::NamespaceMissing, why));
        }
        let Some(role) = &self.role else {
            return Err(Refusal::new(Code::RoleMissing, format!("{} does not exist", described(&ask.access))).hint(
                "check its name and kind; jitd does not bind a missing role, which somebody could create later",
            ));
        };
        match Probe::for_role(role, ask.scope.namespaces().first()) {
            Some(_) => Ok(role),
            None => Err(role_empty(ask)),
        }
    }
}

/// Gathers the facts with concurrent requests.
pub(super) async fn gather_facts(
    site: &Site,
    policy: &Policy,
    ask: &AccessRequest,
) -> Result<ClusterFacts, ClusterError> {
    let namespaces = ask.scope.namespaces();
    let found = try_join_all(namespaces.iter().map(|namespace| site.cluster.namespace(namespace)));
    let (found, role, around) = tokio::try_join!(found, resolve(site, ask), surroundings(site, policy))?;
    let namespaces: BTreeMap<_, _> =
        namespaces.iter().cloned().zip(found).filter_map(|(name, found)| Some((name, found?))).collect();
    let labels = namespaces.iter().map(|(name, found)| (name.clone(), found.labels.clone())).collect();
    let rules = role.as_ref().map(ResolvedRole::rules).unwrap_or_default();
    let assessment = risk::assess(rules, &ask.scope, &around);
    Ok(ClusterFacts { role, namespaces, labels, assessment, around })
}

/// The facts about the cluster that change what rights allow there. If the version or the service accounts are unknown,
/// the most dangerous case is assumed.
async fn surroundings(site: &Site, policy: &Policy) -> Result<Surroundings, ClusterError> {
    let version = match site.cluster.version().await {
        Ok(version) => version.parse().ok(),
        // Not every user may read it here, and an older manifest does not grant the daemon that right.
        Err(ClusterError::Forbidden { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(Surroundings { version, accounts: site.cluster.accounts(), classified: policy.classified() })
}

/// The same for a request that was made before, which people read and answer even while the API server does not answer:
/// then the last known version counts. If there is none, the most dangerous one is assumed, and the findings say so.
pub(super) async fn last_surroundings(site: &Site, policy: &Policy) -> Surroundings {
    match tokio::time::timeout(VERSION_WITHIN, surroundings(site, policy)).await {
        Ok(Ok(known)) => known,
        Ok(Err(_)) | Err(_) => {
            let version = site.cluster.last_version().and_then(|version| version.parse().ok());
            Surroundings { version, accounts: site.cluster.accounts(), classified: policy.classified() }
        }
    }
}

/// How long somebody who reads a request waits for the API server's version. An API server answers in milliseconds, and
/// a distant one in less than a second.
const VERSION_WITHIN: Duration = Duration::from_secs(2);

/// The requested role as it is in the cluster now; `None` if it does not exist.
pub(super) async fn resolve(site: &Site, ask: &AccessRequest) -> Result<Option<ResolvedRole>, ClusterError> {
    match &ask.access {
        Access::Role(role) => site.cluster.resolve_role(ask.scope.namespaces().first(), role).await,
        // Not a role of the cluster, so it has no uid; it is created when the grant is bound.
        Access::Rules(rules) => Ok(Some(ResolvedRole::new(String::new(), rules.as_slice().to_vec()))),
    }
}

pub(super) fn role_empty(ask: &AccessRequest) -> Refusal {
    Refusal::new(Code::RoleEmpty, format!("{} allows nothing in {}", described(&ask.access), ask.scope))
        .hint("its rules are empty, or apply only outside namespaces")
}

/// The access for a message, with the kind of the role, such as ``ClusterRole `view` ``.
pub(super) fn described(access: &Access) -> String {
    match access {
        Access::Role(role) => format!("{} `{}`", role.kind(), role.name()),
        Access::Rules(_) => access.to_string(),
    }
}

//! What a cluster says about a request, gathered for the decision in `grant/`.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use jiff::Timestamp;

use super::Site;
use crate::cluster::{ClusterError, Probe};
use crate::grant::policy::{Circumstances, Labels, Usage};
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{Access, AccessRequest, Namespace};
use crate::grant::{FoundNamespace, Grant};
use crate::rbac::risk::{self, Assessment, Surroundings};
use crate::rbac::role::ResolvedRole;

/// What the cluster says about an ask, and what a decision is made on besides who asks and the moment.
pub(super) struct ClusterFacts {
    pub(super) role: Option<ResolvedRole>,
    /// The namespaces that exist.
    pub(super) namespaces: BTreeMap<Namespace, FoundNamespace>,
    /// Their labels.
    pub(super) labels: Labels,
    pub(super) assessment: Assessment,
    /// What else of the cluster changes what rights mean.
    pub(super) around: Surroundings,
}

impl ClusterFacts {
    /// What a decision of this moment is made on, with what the person has by now.
    pub(super) fn with(&self, usage: Usage, now: Timestamp) -> Circumstances<'_> {
        Circumstances { now, labels: &self.labels, assessment: &self.assessment, usage }
    }

    /// The same with what was shown to arise together with the requester's other access, for a grant that is looked at again.
    pub(super) fn again(mut self, grant: &Grant) -> Self {
        self.assessment = grant.with_others(self.assessment);
        self
    }

    /// The role that is asked for; refused when it, or one of the namespaces, is missing, or it allows nothing.
    pub(super) fn asked_for(&self, ask: &AccessRequest) -> Result<&ResolvedRole, Refusal> {
        if let Some(missing) = ask.scope.namespaces().iter().find(|name| !self.labels.contains_key(*name)) {
            let why = format!("there is no namespace `{missing}` in `{}`", ask.cluster);
            return Err(Refusal::new(Code::NamespaceMissing, why));
        }
        let Some(role) = &self.role else {
            return Err(Refusal::new(Code::RoleMissing, format!("there is no {}", told(&ask.access)))
                .hint("a binding to a missing role would lie in wait for one to be made"));
        };
        match Probe::for_role(role, ask.scope.namespaces().first()) {
            Some(_) => Ok(role),
            None => Err(role_empty(ask)),
        }
    }
}

/// Asks the cluster, all at once.
pub(super) async fn gather_facts(site: &Site, ask: &AccessRequest) -> Result<ClusterFacts, ClusterError> {
    let namespaces = ask.scope.namespaces();
    let found = try_join_all(namespaces.iter().map(|namespace| site.cluster.namespace(namespace)));
    let (found, role, around) = tokio::try_join!(found, resolve(site, ask), surroundings(site))?;
    let namespaces: BTreeMap<_, _> =
        namespaces.iter().cloned().zip(found).filter_map(|(name, found)| Some((name, found?))).collect();
    let labels = namespaces.iter().map(|(name, found)| (name.clone(), found.labels.clone())).collect();
    let rules = role.as_ref().map(ResolvedRole::rules).unwrap_or_default();
    let assessment = risk::assess(rules, &ask.scope, &around);
    Ok(ClusterFacts { role, namespaces, labels, assessment, around })
}

/// What of the cluster changes what rights mean there. A version that can't be read, and service accounts that nobody could
/// look at, have their most dangerous meaning.
pub(super) async fn surroundings(site: &Site) -> Result<Surroundings, ClusterError> {
    let version = match site.cluster.version().await {
        Ok(version) => version.parse().ok(),
        // Where not everybody may know it, and an older manifest gives the daemon no right to.
        Err(ClusterError::Forbidden { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(Surroundings { version, accounts: site.cluster.accounts() })
}

/// What is asked for as the cluster has it now; none when the role is missing.
pub(super) async fn resolve(site: &Site, ask: &AccessRequest) -> Result<Option<ResolvedRole>, ClusterError> {
    match &ask.access {
        Access::Role(role) => site.cluster.resolve_role(ask.scope.namespaces().first(), role).await,
        // No role of the cluster, so no uid; it is made when it is bound.
        Access::Rules(rules) => Ok(Some(ResolvedRole::new(String::new(), rules.as_slice().to_vec()))),
    }
}

pub(super) fn role_empty(ask: &AccessRequest) -> Refusal {
    Refusal::new(Code::RoleEmpty, format!("{} allows nothing in {}", told(&ask.access), ask.scope))
        .hint("its rules are empty, or hold only outside of namespaces")
}

/// `ClusterRole `view``, with its kind, as people look for it in the cluster.
pub(super) fn told(access: &Access) -> String {
    match access {
        Access::Role(role) => format!("{} `{}`", role.kind(), role.name()),
        Access::Rules(_) => access.to_string(),
    }
}

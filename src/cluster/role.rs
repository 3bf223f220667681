//! Roles: what one allows, and those that are made for a single grant.
//!
//! It must never change a role of somebody else, nor delete one that is not as it was made. The broker resolves, the
//! sweep lists, and `binding` makes and removes.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kube::core::params::{GetParams, PostParams};
use kube::core::request::Request as Path;
use serde::Deserialize;

use super::binding::only;
use super::failure::unless_missing;
use super::names::{HOST_LABEL, MANAGED_BY, OURS, RBAC, roles};
use super::stored::Metadata;
use super::{Cluster, ClusterError, Kind};
use crate::grant::Binding;
use crate::grant::request::{ExactRules, Namespace, RoleRef};
use crate::rbac::role::{ResolvedRole, Rule};

impl Cluster {
    /// The role as it is now; none when there is no such role. A Role is looked for in `namespace`, so there
    /// is none for the whole cluster.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Unreadable`] when a rule has a field that we don't know.
    pub async fn resolve_role(
        &self,
        namespace: Option<&Namespace>,
        role: &RoleRef,
    ) -> Result<Option<ResolvedRole>, ClusterError> {
        let path = match (role, namespace) {
            (RoleRef::ClusterRole(_), _) => Path::new(format!("{RBAC}/clusterroles")),
            (RoleRef::Role(_), Some(namespace)) => roles(namespace),
            (RoleRef::Role(_), None) => return Ok(None),
        };
        let request = path.get(role.name().as_str(), &GetParams::default());
        let stored: Option<StoredRole> = unless_missing(self.0.transport.call(request).await)?;
        Ok(stored.map(|stored| ResolvedRole::new(stored.metadata.uid, stored.rules.unwrap_or_default())))
    }

    /// Every role that was made for a binding of this daemon, by namespace and name.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn list_made_roles(&self) -> Result<BTreeMap<(String, String), ResolvedRole>, ClusterError> {
        let mut all = Vec::new();
        let keep = |stored: StoredRole| {
            let StoredRole { metadata, rules } = stored;
            let place = (metadata.namespace.unwrap_or_default(), metadata.name);
            Some((place, ResolvedRole::new(metadata.uid, rules.unwrap_or_default())))
        };
        let labels = format!("{MANAGED_BY}={OURS},{HOST_LABEL}={}", self.0.host);
        self.list(&format!("{RBAC}/roles"), Some(labels), keep, &mut all).await?;
        Ok(all.into_iter().collect())
    }

    pub(super) async fn make_role(
        &self,
        binding: &Binding,
        namespace: &Namespace,
        rules: &ExactRules,
    ) -> Result<(), ClusterError> {
        let body = self.role_body(binding, rules.as_slice())?;
        match self.0.transport.call::<Kind>(roles(namespace).create(&PostParams::default(), body)).await {
            Err(failure @ ClusterError::Conflict { .. }) => {
                // Made by a call before whose answer was lost, or another's: then it has other rules.
                match self.resolve_role(Some(namespace), &binding.role).await? {
                    Some(found) if found.rules() == rules.as_slice() => Ok(()),
                    _ => Err(failure),
                }
            }
            made => made.map(drop),
        }
    }

    /// Takes away the role that was made for a binding, if it is still the one that was made.
    pub(super) async fn remove_role(
        &self,
        binding: &Binding,
        namespace: &Namespace,
        rules: &ExactRules,
    ) -> Result<(), ClusterError> {
        let Some(found) = self.resolve_role(Some(namespace), &binding.role).await? else { return Ok(()) };
        if found.rules() != rules.as_slice() {
            // Without our binding it gives nothing to anybody; whoever changed it may still want to look at it.
            tracing::warn!(role = binding.name, %namespace, "the role of a grant was changed and is left alone");
            return Ok(());
        }
        let request = roles(namespace).delete(&binding.name, &only(&found.uid));
        unless_missing(self.0.transport.call::<Kind>(request).await).map(drop)
    }

    /// The role of these rules that is made for a binding, as JSON.
    pub(super) fn role_body(&self, binding: &Binding, rules: &[Rule]) -> Result<Vec<u8>, ClusterError> {
        let rules = rules.iter().map(policy_rule).collect();
        self.body(&Role { metadata: self.metadata(binding), rules: Some(rules) })
    }
}

fn policy_rule(rule: &Rule) -> PolicyRule {
    let unless_empty = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    PolicyRule {
        api_groups: unless_empty(&rule.api_groups),
        non_resource_urls: unless_empty(&rule.non_resource_urls),
        resource_names: unless_empty(&rule.resource_names),
        resources: unless_empty(&rule.resources),
        verbs: rule.verbs.clone(),
    }
}

#[derive(Deserialize)]
struct StoredRole {
    metadata: Metadata,
    // An aggregated ClusterRole that nothing has filled yet has `null`.
    rules: Option<Vec<Rule>>,
}

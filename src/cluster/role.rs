//! Roles: reading what a role allows, and the roles that we create for a single grant.
//!
//! It must never change somebody else's role, nor delete a role that was changed since we created it. The broker reads
//! roles, the sweep lists ours, and `binding` creates and deletes them.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::core::params::{GetParams, PostParams};
use serde::Deserialize;

use super::binding::only;
use super::failure::unless_missing;
use super::names::{HOST_LABEL, MANAGED_BY, OURS, RBAC, roles};
use super::stored::Metadata;
use super::{Cluster, ClusterError, Kind};
use crate::grant::Binding;
use crate::grant::request::{Namespace, RoleRef};
use crate::rbac::role::{ResolvedRole, Rule};

impl Cluster {
    /// The role as it is now; `None` if it does not exist. A Role is read from `namespace`, so for the whole cluster
    /// the result is always `None`.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Unreadable`] if a rule has an unknown field.
    pub async fn resolve_role(
        &self,
        namespace: Option<&Namespace>,
        role: &RoleRef,
    ) -> Result<Option<ResolvedRole>, ClusterError> {
        let path = match (role, namespace) {
            (RoleRef::ClusterRole(_), _) => roles(None),
            (RoleRef::Role(_), Some(namespace)) => roles(Some(namespace)),
            (RoleRef::Role(_), None) => return Ok(None),
        };
        let request = path.get(role.name().as_str(), &GetParams::default());
        let stored: Option<StoredRole> = unless_missing(self.0.transport.call(request).await)?;
        Ok(stored.map(|stored| ResolvedRole::new(stored.metadata.uid, stored.rules.unwrap_or_default())))
    }

    /// Every Role that this daemon created for a grant, by namespace and name.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn list_made_roles(&self) -> Result<MadeRoles, ClusterError> {
        self.list_made("roles").await
    }

    /// Every ClusterRole that this daemon created to let the gateway act as the holder of a grant, by name; the
    /// namespace is empty.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn list_gateway_roles(&self) -> Result<MadeRoles, ClusterError> {
        self.list_made("clusterroles").await
    }

    async fn list_made(&self, kind: &str) -> Result<MadeRoles, ClusterError> {
        let mut all = Vec::new();
        let keep = |stored: StoredRole| {
            let StoredRole { metadata, rules } = stored;
            let place = (metadata.namespace.unwrap_or_default(), metadata.name);
            Some((place, ResolvedRole::new(metadata.uid, rules.unwrap_or_default())))
        };
        let labels = format!("{MANAGED_BY}={OURS},{HOST_LABEL}={}", self.0.host);
        self.list(&format!("{RBAC}/{kind}"), Some(labels), keep, &mut all).await?;
        Ok(all.into_iter().collect())
    }

    pub(super) async fn make_role(&self, binding: &Binding, rules: &[Rule]) -> Result<(), ClusterError> {
        let body = self.role_body(binding, rules)?;
        match self
            .0
            .transport
            .call::<Kind>(roles(binding.namespace.as_ref()).create(&PostParams::default(), body))
            .await
        {
            Err(failure @ ClusterError::Conflict { .. }) => {
                // An earlier call created it and its answer was lost, or it is somebody else's and has other rules.
                match self.resolve_role(binding.namespace.as_ref(), &binding.role).await? {
                    Some(found) if found.rules() == rules => Ok(()),
                    _ => Err(failure),
                }
            }
            made => made.map(drop),
        }
    }

    /// Deletes the role that was created for a binding, unless it was changed since.
    pub(super) async fn remove_role(&self, binding: &Binding, rules: &[Rule]) -> Result<(), ClusterError> {
        let Some(found) = self.resolve_role(binding.namespace.as_ref(), &binding.role).await? else { return Ok(()) };
        if found.rules() != rules {
            // Without our binding it grants nothing, and whoever changed it may still want to inspect it.
            let namespace = binding.namespace.as_ref().map(tracing::field::display);
            tracing::warn!(
                role = binding.name,
                namespace,
                "the role of a grant was changed, so jitd does not delete it"
            );
            return Ok(());
        }
        let request = roles(binding.namespace.as_ref()).delete(&binding.name, &only(&found.uid));
        unless_missing(self.0.transport.call::<Kind>(request).await).map(drop)
    }

    /// The role object with these rules to create for a binding, as JSON: a ClusterRole if the binding has no namespace.
    pub(super) fn role_body(&self, binding: &Binding, rules: &[Rule]) -> Result<Vec<u8>, ClusterError> {
        let (metadata, rules) = (self.metadata(binding), Some(rules.iter().map(policy_rule).collect()));
        match binding.namespace {
            Some(_) => self.body(&Role { metadata, rules }),
            None => self.body(&ClusterRole { metadata, rules, ..ClusterRole::default() }),
        }
    }
}

/// Roles, each by its namespace and name.
pub type MadeRoles = BTreeMap<(String, String), ResolvedRole>;

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
    // `null` for an aggregated ClusterRole that no other role has filled yet.
    rules: Option<Vec<Rule>>,
}

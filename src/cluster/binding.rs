//! Bindings: created for a grant, and deleted when the grant ends.
//!
//! It must never delete anything that is not ours by both name and subject; a label alone is not enough. The broker
//! calls it.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::params::{DeleteParams, GetParams, PostParams, Preconditions};

use super::failure::unless_missing;
use super::names::{BREAK_GLASS, GRANT, HOST_LABEL, MANAGED_BY, OURS, RBAC_GROUP, USER, bindings};
use super::stored::Stored;
use super::{Cluster, ClusterError, Kind};
use crate::grant::{Binding, Found};

impl Cluster {
    /// Creates the binding, after the role of its own if the grant has one, and returns the binding's uid. Kubernetes
    /// lets us create a role only with rights that we hold ourselves
    /// (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#restrictions-on-role-creation-or-update>).
    ///
    /// If no answer arrives, or a binding of that name exists, this reads the existing binding; if it is exactly the
    /// wanted one, it counts as created. After an error that [`is_transient`](ClusterError::is_transient) the binding
    /// may still appear later: unbind, or bind again.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if a different binding has its name, [`ClusterError::NotFound`] if the namespace is
    /// missing or being deleted, or any other [`ClusterError`].
    pub async fn bind(&self, binding: &Binding) -> Result<String, ClusterError> {
        if let Some(rules) = &binding.rules {
            self.make_role(binding, rules).await?;
        }
        let body = self.binding_body(binding)?;
        let request = bindings(binding.namespace.as_ref()).create(&PostParams::default(), body);
        let failure = match self.0.transport.call::<Stored>(request).await {
            Ok(stored) => return Ok(stored.metadata.uid),
            Err(
                failure @ (ClusterError::Conflict { .. }
                | ClusterError::Unreachable { .. }
                | ClusterError::TimedOut { .. }),
            ) => failure,
            Err(failure @ ClusterError::Busy { code: 500.., .. }) => failure,
            Err(failure) => return Err(failure),
        };
        for pause in LOOK_AGAIN {
            tokio::time::sleep(pause).await;
            match self.find(binding).await {
                Ok(Some(found)) if found.is_exactly(binding) => return Ok(found.uid),
                Ok(Some(found)) => {
                    return Err(ClusterError::Conflict { cluster: self.name().clone(), what: found.to_string() });
                }
                Ok(None) => return Err(failure),
                Err(again) if again.is_transient() => {}
                Err(other) => return Err(other),
            }
        }
        Err(failure)
    }

    /// Deletes the binding, then the role of its own if the grant has one. With a known `uid` nothing is read first. If
    /// the uid is unknown, or an object with another uid now has the name, the binding is read, and deleted only if its
    /// only subject is ours (and, if the uid was never known, only if its role is ours too).
    ///
    /// # Errors
    /// [`ClusterError`]; after a transient one the deletion may have happened, and a second call then returns
    /// [`Unbound::AlreadyGone`].
    pub async fn unbind(&self, binding: &Binding, uid: Option<&str>) -> Result<Unbound, ClusterError> {
        let unbound = self.remove(binding, uid).await?;
        if let Some(rules) = &binding.rules {
            self.remove_role(binding, rules).await?;
        }
        Ok(unbound)
    }

    async fn remove(&self, binding: &Binding, uid: Option<&str>) -> Result<Unbound, ClusterError> {
        let deleted = match uid {
            Some(uid) => self.delete(binding, uid).await,
            None => Err(ClusterError::Conflict { cluster: self.name().clone(), what: binding.name.clone() }),
        };
        if !matches!(deleted, Err(ClusterError::Conflict { .. })) {
            return deleted;
        }
        let Some(found) = self.find(binding).await? else {
            return Ok(Unbound::AlreadyGone);
        };
        if found.has_only_subject_of(binding) && (uid.is_some() || found.has_role(&binding.role)) {
            self.delete(binding, &found.uid).await
        } else {
            Ok(Unbound::NotOurs { why: found.to_string() })
        }
    }

    async fn delete(&self, binding: &Binding, uid: &str) -> Result<Unbound, ClusterError> {
        let request = bindings(binding.namespace.as_ref()).delete(&binding.name, &only(uid));
        let _unanswered = self.0.unanswered.one_more();
        let reply = self.0.transport.send_after(self.0.waiting.one_more(), request).await?;
        let Some(reply) = unless_missing(self.0.transport.read::<Kind>(&reply))? else {
            return Ok(Unbound::AlreadyGone);
        };
        // An object instead of a Status means that a finalizer keeps the binding, and RBAC still honours it.
        Ok(if reply.kind == "Status" { Unbound::Deleted } else { Unbound::Terminating })
    }

    /// The binding of this name, whoever created it; `None` if none exists.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn find(&self, binding: &Binding) -> Result<Option<Found>, ClusterError> {
        let request = bindings(binding.namespace.as_ref()).get(&binding.name, &GetParams::default());
        let stored: Option<Stored> = unless_missing(self.0.transport.call(request).await)?;
        Ok(stored.map(Found::from))
    }

    /// The binding object to create, as JSON.
    pub(super) fn binding_body(&self, binding: &Binding) -> Result<Vec<u8>, ClusterError> {
        let (role, api_group) = (&binding.role, RBAC_GROUP.to_owned());
        let role_ref =
            RoleRef { api_group: api_group.clone(), kind: role.kind().to_owned(), name: role.name().to_string() };
        let (kind, name) = binding.subject();
        let subject =
            Subject { api_group: Some(api_group), kind: kind.to_owned(), name: name.to_owned(), namespace: None };
        let (metadata, subjects) = (self.metadata(binding), Some(vec![subject]));
        match binding.namespace {
            Some(_) => self.body(&RoleBinding { metadata, role_ref, subjects }),
            None => self.body(&ClusterRoleBinding { metadata, role_ref, subjects }),
        }
    }

    /// The metadata of the binding, and of the role of its own.
    pub(super) fn metadata(&self, binding: &Binding) -> ObjectMeta {
        let user = binding.user();
        let labels = [(MANAGED_BY, OURS), (HOST_LABEL, &self.0.host)];
        let annotations = [(GRANT, binding.grant.as_str()), (USER, &user)];
        let broken_glass = binding.broken_glass.then_some((BREAK_GLASS, "true"));
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        ObjectMeta {
            name: Some(binding.name.clone()),
            namespace: binding.namespace.as_ref().map(ToString::to_string),
            labels: Some(labels.into_iter().map(owned).collect()),
            annotations: Some(annotations.into_iter().chain(broken_glass).map(owned).collect()),
            ..ObjectMeta::default()
        }
    }
}

/// The result of deleting a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Unbound {
    /// It existed, and it is deleted.
    Deleted,
    /// It did not exist any more.
    AlreadyGone,
    /// It is marked for deletion, but a finalizer holds it and it still grants access. Try again later, and report it.
    Terminating,
    /// An object that is not ours has its name. It was not changed.
    NotOurs {
        /// The object that was found.
        why: String,
    },
}

/// Preconditions that delete only the object with this uid.
pub(super) fn only(uid: &str) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    }
}

/// The pauses before each attempt to find a binding whose creation was not answered.
pub(super) const LOOK_AGAIN: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1)];

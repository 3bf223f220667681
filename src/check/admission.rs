//! Tries what must be refused: a binding that RBAC forbids, and a binding, a role and a deletion that only the
//! admission policies deny.
//!
//! Each attempt is a dry run and stores nothing. `check` calls it.

use std::time::Duration;

use super::{APPLY, Check, Verdict};
use crate::cluster::ClusterError;
use crate::grant::names::SUBJECT;
use crate::grant::request::{Namespace, RoleRef};
use crate::grant::{Binding, GrantId};
use crate::manifest::{self, Object, Reach};

impl Check<'_> {
    pub(super) async fn admission(
        &mut self,
        reaches: &[Reach],
        host: &str,
        objects: &[Object],
    ) -> Result<(), ClusterError> {
        let given: Vec<&RoleRef> = reaches.iter().flat_map(|reach| &reach.roles).collect();
        let (Some(namespace), Ok(role), Ok(nobody)) =
            (self.some_namespace(reaches).await?, "cluster-admin".parse(), TRIED.parse())
        else {
            self.fault(
                "admission",
                "no namespace exists to try a binding in",
                "add a namespace to a rule for this cluster",
            );
            return Ok(());
        };
        let mut attempt = Binding::new(GrantId::from_random([0; 10]), nobody, Some(namespace), role);
        if !given.contains(&&attempt.role) {
            match until_refused(|| self.cluster.would_bind(&attempt)).await {
                Err(ClusterError::Forbidden { .. }) => self.ok("admission", "binding `cluster-admin` is refused"),
                Err(error) => self.failed("admission", &error),
                Ok(()) => self.fault("admission", "binding `cluster-admin` is not refused", APPLY),
            }
        }
        let makes_roles = reaches.iter().any(|reach| reach.makes_roles);
        if let Some(role) = given.first() {
            attempt.role = (*role).clone();
            attempt.group = format!("{SUBJECT}{TRIED}");
            let tried = until_refused(|| self.cluster.would_bind(&attempt)).await;
            self.refused_by("binding a group that no grant has", &manifest::fence_name(host), tried);
        } else if !makes_roles {
            self.tell(
                Verdict::Warning,
                "admission",
                "the policy allows no role here, so the admission policies cannot be tested",
                Some("add a rule for this cluster"),
            );
        }
        if makes_roles {
            attempt.name = TRIED.to_owned();
            let tried = until_refused(|| self.cluster.would_make_role(&attempt, &[])).await;
            self.refused_by("creating a role that no grant owns", &manifest::fence_of_roles_name(host), tried);
        }
        // This binding exists in any case and belongs to no grant: it gives the daemon its own rights.
        if let Some(own) = objects.iter().find(|object| object.kind() == "ClusterRoleBinding") {
            let path = own.collection_path();
            match until_refused(|| self.cluster.would_delete(&path, own.name())).await {
                // The check of the object itself has already reported that it is missing.
                Err(ClusterError::NotFound { .. }) => {}
                tried => {
                    let fence = manifest::fence_of_deletions_name(host);
                    self.refused_by("deleting a binding that belongs to no grant", &fence, tried);
                }
            }
        }
        Ok(())
    }

    pub(super) fn refused_by(&mut self, found: &str, fence: &str, tried: Result<(), ClusterError>) {
        match tried {
            Err(ClusterError::Forbidden { why, .. }) if why.contains(fence) => {
                self.ok("admission", format!("{found} is refused by `{fence}`"));
            }
            Err(ClusterError::Forbidden { why, .. }) => {
                let why: String = why.chars().take(300).flat_map(char::escape_default).collect();
                self.fault("admission", format!("{found} is refused, but not by `{fence}`: {why}"), APPLY);
            }
            Err(error) => self.failed("admission", &error),
            Ok(()) => self.fault("admission", format!("{found} is not refused"), APPLY),
        }
    }

    /// A namespace that exists: one that the policy names, otherwise `default`, which every cluster has.
    pub(super) async fn some_namespace(&self, reaches: &[Reach]) -> Result<Option<Namespace>, ClusterError> {
        for namespace in reaches.iter().flat_map(Reach::names) {
            if self.cluster.namespace(namespace).await?.is_some() {
                return Ok(Some(namespace.clone()));
            }
        }
        Ok("default".parse().ok())
    }
}

/// Tries again until it is refused: an admission policy takes effect a moment after it is applied, and people run the
/// check right after that.
pub(super) async fn until_refused<F: Future<Output = Result<(), ClusterError>>>(
    attempt: impl Fn() -> F,
) -> Result<(), ClusterError> {
    for _ in 0..TRIES {
        attempt().await?;
        tokio::time::sleep(BETWEEN).await;
    }
    attempt().await
}

/// How often an action is tried before it counts as not refused, and the pause between attempts.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(500);

/// The name in attempts that must be refused; no grant and no person has it.
pub(super) const TRIED: &str = "tried-by-jitd-check";

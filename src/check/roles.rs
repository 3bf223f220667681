//! Whether the roles that the policy allows exist in the cluster.
//!
//! It must never assess what a role allows. `check` calls it.

use std::collections::BTreeSet;

use super::{Check, Verdict};
use crate::cluster::ClusterError;
use crate::grant::request::{Namespace, RoleRef};
use crate::manifest::Reach;

impl Check<'_> {
    pub(super) async fn roles(&mut self, reaches: &[Reach]) -> Result<(), ClusterError> {
        let mut seen = BTreeSet::new();
        let mut missing = false;
        for (role, namespace) in reaches.iter().flat_map(looked_for) {
            if !seen.insert((role.to_string(), namespace)) {
                continue;
            }
            if self.cluster.resolve_role(namespace, role).await?.is_none() {
                missing = true;
                let place = namespace.map_or_else(String::new, |name| format!(" in namespace {name}"));
                self.tell(
                    Verdict::Warning,
                    "roles",
                    format!("{} `{}`{place} does not exist", role.kind(), role.name()),
                    Some("create it, or remove it from the policy; until then requests for it are refused"),
                );
            }
        }
        if !missing {
            self.ok("roles", format!("every role of the policy exists ({} checked)", seen.len()));
        }
        Ok(())
    }
}

/// The roles that have to exist: a ClusterRole once, a Role in each namespace that the rule names.
fn looked_for(reach: &Reach) -> impl Iterator<Item = (&RoleRef, Option<&Namespace>)> {
    reach.roles.iter().flat_map(|role| match role {
        RoleRef::ClusterRole(_) => vec![(role, None)],
        RoleRef::Role(_) => reach.names().map(|name| (role, Some(name))).collect(),
    })
}

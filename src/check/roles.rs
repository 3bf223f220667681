//! Whether the roles that the policy gives are in the cluster.
//!
//! It must never judge what a role allows. `check` calls it.

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
                    format!("there is no {} `{}`{place}", role.kind(), role.name()),
                    Some("make it, or take it out of the policy; until then requests for it are refused"),
                );
            }
        }
        if !missing {
            self.ok("roles", format!("all {} of the policy are there", seen.len()));
        }
        Ok(())
    }
}

/// Where a role of a rule has to be: a ClusterRole once, a Role in each namespace that has a name.
fn looked_for(reach: &Reach) -> impl Iterator<Item = (&RoleRef, Option<&Namespace>)> {
    reach.roles.iter().flat_map(|role| match role {
        RoleRef::ClusterRole(_) => vec![(role, None)],
        RoleRef::Role(_) => reach.names().map(|name| (role, Some(name))).collect(),
    })
}

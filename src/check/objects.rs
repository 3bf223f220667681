//! Whether the objects in the cluster are those of the manifest, and whether the daemon has no other bindings.
//!
//! It must never fix anything: the hint says what an administrator can apply. `check` calls it.

use std::collections::BTreeSet;

use super::difference::differences;
use super::{Check, GATEWAY, Verdict};
use crate::cluster::ClusterError;
use crate::grant::policy::Policy;
use crate::grant::reconcile::people_named;
use crate::grant::{Found, GrantId};
use crate::manifest::{self, Object, Users};

impl Check<'_> {
    /// Compares an object in the cluster with the manifest; `hint` says how to create or correct it.
    pub(super) async fn object(&mut self, wanted: &Object, hint: &str) {
        let place = wanted.namespace().map_or_else(String::new, |name| format!(" in namespace {name}"));
        let check = format!("{} {}{place}", wanted.kind(), wanted.name());
        match self.cluster.object(&wanted.collection_path(), wanted.name()).await {
            Ok(Some(found)) => {
                let differences = differences(wanted.value(), &found);
                if differences.is_empty() {
                    self.ok(&check, "matches the manifest");
                }
                for difference in differences {
                    self.fault(&check, format!("differs from the manifest: {difference}"), hint);
                }
            }
            Ok(None) => match self.namespace_exists(wanted.namespace()).await {
                Ok(true) => self.fault(check, "is missing", hint),
                Ok(false) => self.tell(
                    Verdict::Warning,
                    check,
                    "the namespace does not exist",
                    Some("create it, and then the binding; until then requests for it are refused"),
                ),
                Err(error) => self.failed(&check, &error),
            },
            Err(error) => self.failed(&check, &error),
        }
    }

    async fn namespace_exists(&self, namespace: Option<&str>) -> Result<bool, ClusterError> {
        let Some(namespace) = namespace.and_then(|name| name.parse().ok()) else { return Ok(true) };
        Ok(self.cluster.namespace(&namespace).await?.is_some())
    }

    /// Compares the daemon's bindings in the namespaces that a glob or labels match, and reports bindings of the daemon
    /// that the policy does not need.
    pub(super) async fn daemon_bindings(
        &mut self,
        policy: &Policy,
        users: Users<'_>,
        objects: &[Object],
    ) -> Result<(), ClusterError> {
        let mut known: BTreeSet<(Option<String>, String)> = BTreeSet::new();
        let place = |object: &Object| (object.namespace().map(str::to_owned), object.name().to_owned());
        // Only bindings: a ceiling's ClusterRole and a ClusterRoleBinding of it would have the same name.
        let is_binding = |object: &&Object| matches!(object.kind(), "RoleBinding" | "ClusterRoleBinding");
        known.extend(objects.iter().filter(is_binding).map(place));
        let gateway = users.gateway;
        if manifest::is_open(&manifest::reaches(policy, self.cluster.name())) {
            let namespaces = self.cluster.namespaces().await?;
            for (wanted, command) in manifest::matched_bindings(policy, self.cluster.name(), users, &namespaces) {
                self.object(&wanted, &format!("create it: `{command}`")).await;
                known.insert(place(&wanted));
            }
        }
        let daemon = users.daemon();
        let mut more = 0;
        let is_daemons = |found: &Found| found.names_user(&daemon);
        // Those of a grant are the sweep's to judge.
        let is_gateways = |found: &Found| {
            gateway.is_some_and(|gateway| found.names_user(gateway.user.as_str()))
                && GrantId::of_object(&found.name).is_none()
        };
        let related = |found: &Found| is_daemons(found) || is_gateways(found) || people_named(found).next().is_some();
        for found in self.cluster.list_related(related).await? {
            for person in people_named(&found) {
                let place = found.namespace.as_ref().map_or_else(String::new, |name| format!(" in namespace {name}"));
                self.fault(
                    "people",
                    format!(
                        "{found}{place}: every certificate of `{person}` has these rights too, so jitd grants them nothing"
                    ),
                    &format!("remove it: {}", found.deletion()),
                );
            }
            if is_gateways(&found) && !known.contains(&(found.namespace.clone(), found.name.clone())) {
                let place = found.namespace.as_ref().map_or_else(String::new, |name| format!(" in namespace {name}"));
                self.fault(
                    GATEWAY,
                    format!("{found}{place}, which the gateway does not need"),
                    &format!("remove it: {}; it works without any grant", found.deletion()),
                );
            }
            if is_daemons(&found) && !known.contains(&(found.namespace.clone(), found.name.clone())) {
                more += 1;
                let place = found.namespace.as_ref().map_or_else(String::new, |name| format!(" in namespace {name}"));
                self.fault(
                    "excess",
                    format!("{found}{place}, which the policy does not need"),
                    "delete that binding; it lets the daemon hold, and grant, more than the policy allows",
                );
            }
        }
        if more == 0 {
            self.ok("bindings", "the daemon has no bindings beyond what the policy needs");
        }
        Ok(())
    }
}

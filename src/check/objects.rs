//! Whether what stands in the cluster is what the manifest prints, and nothing more is bound to the daemon.
//!
//! It must never mend anything: the hint says what an administrator applies. `check` calls it.

use std::collections::BTreeSet;

use super::difference::differences;
use super::{Check, Verdict};
use crate::cluster::ClusterError;
use crate::grant::Found;
use crate::grant::names;
use crate::grant::policy::Policy;
use crate::grant::reconcile::people_named;
use crate::manifest::{self, Object};

impl Check<'_> {
    /// Whether what stands in the cluster is what the manifest prints; `hint` is how that comes to be.
    pub(super) async fn object(&mut self, wanted: &Object, hint: &str) {
        let place = wanted.namespace().map_or_else(String::new, |name| format!(" in namespace {name}"));
        let check = format!("{} {}{place}", wanted.kind(), wanted.name());
        match self.cluster.object(&wanted.collection_path(), wanted.name()).await {
            Ok(Some(there)) => {
                let differences = differences(wanted.value(), &there);
                if differences.is_empty() {
                    self.ok(&check, "is as the manifest has it");
                }
                for difference in differences {
                    self.fault(&check, format!("is different: {difference}"), hint);
                }
            }
            Ok(None) => match self.namespace_exists(wanted.namespace()).await {
                Ok(true) => self.fault(check, "is missing", hint),
                Ok(false) => self.tell(
                    Verdict::Warning,
                    check,
                    "there is no such namespace",
                    Some("make it, and then the binding; until then requests for it are refused"),
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

    /// Compares what the daemon holds in the namespaces that a glob or labels fit, and looks for bindings of the daemon
    /// that the policy does not need.
    pub(super) async fn daemon_bindings(
        &mut self,
        policy: &Policy,
        host: &str,
        objects: &[Object],
    ) -> Result<(), ClusterError> {
        let mut known: BTreeSet<(Option<String>, String)> = BTreeSet::new();
        let place = |object: &Object| (object.namespace().map(str::to_owned), object.name().to_owned());
        // By kind: a ceiling's ClusterRole and a binding of it in the whole cluster would have one name.
        let is_binding = |object: &&Object| matches!(object.kind(), "RoleBinding" | "ClusterRoleBinding");
        known.extend(objects.iter().filter(is_binding).map(place));
        if manifest::is_open(&manifest::reaches(policy, self.cluster.name())) {
            let namespaces = self.cluster.namespaces().await?;
            for (wanted, command) in manifest::held_beside(policy, self.cluster.name(), host, &namespaces) {
                self.object(&wanted, &format!("make it: `{command}`")).await;
                known.insert(place(&wanted));
            }
        }
        let daemon = names::daemon(host);
        let mut more = 0;
        let is_daemons =
            |found: &Found| found.subjects.iter().any(|subject| subject.kind == "User" && subject.name == daemon);
        let related = |found: &Found| is_daemons(found) || people_named(found).next().is_some();
        for found in self.cluster.list_related(related).await? {
            for person in people_named(&found) {
                let place = found.namespace.as_ref().map_or_else(String::new, |name| format!(" in namespace {name}"));
                self.fault(
                    "people",
                    format!("{found}{place}: every certificate of `{person}` has that too, so they get nothing"),
                    &format!("take it away: {}", found.deletion()),
                );
            }
            if is_daemons(&found) && !known.contains(&(found.namespace.clone(), found.name.clone())) {
                more += 1;
                let place = found.namespace.as_ref().map_or_else(String::new, |name| format!(" in namespace {name}"));
                self.fault(
                    "excess",
                    format!("{found}{place}, which the policy does not need"),
                    "delete that binding; it lets the daemon hold, and hand on, more than the policy gives",
                );
            }
        }
        if more == 0 {
            self.ok("bindings", "nothing is bound to the daemon beside what the policy needs");
        }
        Ok(())
    }
}

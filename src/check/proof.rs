//! Proves that an API server trusts an authority, with a certificate that has no rights and is used once.
//!
//! It works before the output of `jitd manifest` is applied, and changes nothing. The mains call it before the other
//! checks.

use std::path::Path;

use jiff::Timestamp;

use super::clock::{CLOCK_HINT, apart, verdict_of};
use super::{Check, CheckResult, Verdict};
use crate::cluster::{Cluster, ClusterError, RBAC_GROUP, Right, UserInfo};
use crate::grant::names;
use crate::hint::page;

/// Proves that the API server trusts the authority in the folder `authority`. `probe` must be connected with a
/// certificate of that authority for the user [`names::probe`], who has no rights; the API server has to identify it as
/// exactly that user. Works before the output of `jitd manifest` is applied.
pub async fn prove(probe: &Cluster, authority: &Path, host: &str, clock: fn() -> Timestamp) -> Vec<CheckResult> {
    let mut check = Check { cluster: probe, results: Vec::new() };
    let before = clock();
    let proved = match probe.identity().await {
        Ok(found) => check.is_nobody(&found, host).await,
        Err(ClusterError::Unauthorized { .. }) => check.untrusted(authority, before, clock).await,
        // The API server answers an unknown caller with another error.
        Err(ClusterError::Forbidden { .. }) => {
            check.ok("authority", "it is trusted; users of this cluster may not query their own identity");
            Ok(())
        }
        Err(error) => Err(error),
    };
    if let Err(error) = proved {
        check.failed("connection", &error);
    }
    check.results
}

impl Check<'_> {
    /// The API server rejected the certificate. It does not say why, but its clock shows one of the two possible
    /// reasons.
    async fn untrusted(
        &mut self,
        authority: &Path,
        before: Timestamp,
        clock: fn() -> Timestamp,
    ) -> Result<(), ClusterError> {
        let server = self.cluster.clock().await?;
        match server.map(|server| apart(server, before, clock())) {
            Some(apart) if verdict_of(apart) == Verdict::Fault => self.fault(
                "authority",
                format!(
                    "the API server rejects a new certificate, and its clock differs from ours by {} s",
                    apart.as_secs()
                ),
                CLOCK_HINT,
            ),
            _ => self.fault(
                "authority",
                "the API server does not trust this authority",
                &format!(
                    "add `{}` to the file of its --client-ca-file on each control plane node, see {}",
                    authority.join("root.crt").display(),
                    page("trust.md")
                ),
            ),
        }
        Ok(())
    }

    /// Whether the API server identifies the certificate's holder correctly, in no group and without rights.
    async fn is_nobody(&mut self, found: &UserInfo, host: &str) -> Result<(), ClusterError> {
        const PLAIN: &str =
            "something in front of the API server changes the identity of users; jitd needs a plain kube-apiserver";
        let (faults, expected) = (self.results.len(), names::probe(host));
        if found.name != expected {
            let name = found.name.escape_default();
            self.fault(
                "authority",
                format!("the API server identifies a certificate for `{expected}` as `{name}`"),
                PLAIN,
            );
        }
        let groups: Vec<String> = found.groups.iter().map(|group| group.escape_default().to_string()).collect();
        if groups != ["system:authenticated"] {
            let groups = groups.join("`, `");
            self.fault(
                "authority",
                format!("the API server puts a certificate without groups into the groups `{groups}`"),
                PLAIN,
            );
        }
        let mut given = Vec::new();
        for (verb, group, resource) in WITHOUT_A_GRANT {
            let [verb, group, resource] = [verb, group, resource].map(ToOwned::to_owned);
            let right = Right { verb, group, resource, name: String::new() };
            if self.cluster.may(&right).await?.is_allowed() {
                given.push(right.to_string());
            }
        }
        if self.cluster.lists("/api/v1/nodes").await? {
            given.push("list nodes".to_owned());
        }
        for right in &given {
            self.tell(
                Verdict::Warning,
                "authority",
                format!("anybody with a certificate may {right}, without any grant"),
                Some("remove that right from the group `system:authenticated`, or from the user itself"),
            );
        }
        if self.results.len() == faults {
            self.ok("authority", format!("it is trusted: `{expected}` is identified, in no group and without rights"));
        }
        Ok(())
    }
}

/// Verb, API group and resource of rights that nobody should have by a certificate alone.
const WITHOUT_A_GRANT: [(&str, &str, &str); 4] =
    [("*", "*", "*"), ("get", "", "secrets"), ("list", "", "pods"), ("create", RBAC_GROUP, "rolebindings")];

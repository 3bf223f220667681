//! The proof that an API server trusts an authority: a certificate without any right, used once.
//!
//! It needs nothing that `jitd manifest` prints, so it can be asked for before that is applied; it changes nothing. The
//! mains call it before the rest of the check.

use std::path::Path;

use jiff::Timestamp;

use super::clock::{CLOCK_HINT, apart, verdict_of};
use super::{Check, Finding, Verdict};
use crate::cluster::{Cluster, ClusterError, RBAC_GROUP, Right, UserInfo};
use crate::grant::names;
use crate::hint::page;

/// Proves that the API server trusts the authority in the folder `authority`: `probe` is connected with a certificate
/// of its making that has no rights, for the user of [`names::probe`], and has to be just that there. Needs nothing that
/// `jitd manifest` prints.
pub async fn prove(probe: &Cluster, authority: &Path, host: &str, clock: fn() -> Timestamp) -> Vec<Finding> {
    let mut check = Check { cluster: probe, findings: Vec::new() };
    let before = clock();
    let proved = match probe.identity().await {
        Ok(found) => check.is_nobody(&found, host).await,
        Err(ClusterError::Unauthorized { .. }) => check.untrusted(authority, before, clock).await,
        // Whom it does not know it answers otherwise.
        Err(ClusterError::Forbidden { .. }) => {
            check.ok("authority", "it is trusted; in this cluster nobody may ask who a certificate is taken for");
            Ok(())
        }
        Err(error) => Err(error),
    };
    if let Err(error) = proved {
        check.failed("connection", &error);
    }
    check.findings
}

impl Check<'_> {
    /// The API server refused the certificate. It does not say why, but its clock tells one of the two reasons.
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
                format!("the API server refuses a new certificate, and its clock is {} s from ours", apart.as_secs()),
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

    /// Whether the holder of the certificate without rights is who the certificate says, in no group, without rights.
    async fn is_nobody(&mut self, found: &UserInfo, host: &str) -> Result<(), ClusterError> {
        const PLAIN: &str =
            "something in front of the API server changes who people are; jitd needs a plain kube-apiserver";
        let (faults, expected) = (self.findings.len(), names::probe(host));
        if found.name != expected {
            let name = found.name.escape_default();
            self.fault("authority", format!("a certificate for `{expected}` is taken for `{name}` there"), PLAIN);
        }
        let groups: Vec<String> = found.groups.iter().map(|group| group.escape_default().to_string()).collect();
        if groups != ["system:authenticated"] {
            let groups = groups.join("`, `");
            self.fault("authority", format!("a certificate without groups is in the groups `{groups}` there"), PLAIN);
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
                format!("whoever holds a certificate may {right}, without any grant"),
                Some("take away what is bound to the group `system:authenticated` or to the user itself"),
            );
        }
        if self.findings.len() == faults {
            self.ok("authority", format!("it is trusted: `{expected}` is known, in no group and without rights"));
        }
        Ok(())
    }
}

/// Verb, API group and resource of what nobody should have by a certificate alone.
const WITHOUT_A_GRANT: [(&str, &str, &str); 4] =
    [("*", "*", "*"), ("get", "", "secrets"), ("list", "", "pods"), ("create", RBAC_GROUP, "rolebindings")];

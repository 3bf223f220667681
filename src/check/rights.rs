//! The daemon's rights in a cluster: it must have each right that it needs, and none that would let it, or somebody who
//! stole its credential, bypass the admission policies.
//!
//! It only asks the API server; it never exercises a right. `check` calls it.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;
use serde_json::Value;

use super::{APPLY, Check, RIGHTS};
use crate::cluster::{Answer, ClusterError, RBAC_GROUP, Right};
use crate::grant::policy::Policy;
use crate::grant::{ACT_AS, ACT_AS_GROUP, ActingGateway, Impersonation};
use crate::manifest::Object;

impl Check<'_> {
    /// Checks each right of the ClusterRole in the manifest.
    pub(super) async fn needed_permissions(&mut self, objects: &[Object]) -> Result<(), ClusterError> {
        // The ceilings apply only in single namespaces; the check of their bindings covers them.
        let own = objects.iter().take(1);
        let needed: Vec<Right> = own.flat_map(|object| rights(object.value())).collect();
        let mut missing = Vec::new();
        for right in &needed {
            if !self.cluster.may(right).await?.is_allowed() {
                missing.push(right);
            }
        }
        // In most clusters everybody may review their own identity and rights.
        let own: Vec<&Right> = needed.iter().filter(|right| !right.resource.starts_with("selfsubject")).collect();
        if own.iter().all(|right| missing.contains(right)) {
            self.fault(RIGHTS, format!("the daemon has none of the {} permissions that it needs", own.len()), APPLY);
            return Ok(());
        }
        for right in &missing {
            self.fault(RIGHTS, format!("the daemon may not {right}"), APPLY);
        }
        if missing.is_empty() {
            self.ok(RIGHTS, format!("the daemon has all {} permissions that it needs", needed.len()));
        }
        Ok(())
    }

    /// Checks that the daemon has no excess permissions, from any source.
    pub(super) async fn excess_permissions(&mut self, policy: &Policy) -> Result<(), ClusterError> {
        let roles = policy.roles(self.cluster.name());
        let makes_roles = policy.makes_roles(self.cluster.name());
        let for_gateway = for_gateway(self.cluster.endpoint().gateway());
        let of_policy: BTreeSet<&str> = roles.iter().map(|role| role.name().as_str()).collect();
        let (mut checked, mut excessive) = (0, false);
        for (verb, group, resource, name) in EXCESSIVE {
            let [verb, group, resource, name] = [verb, group, resource, name].map(|word| (*word).to_owned());
            // The policy allows this role, so the daemon may bind it.
            if of_policy.contains(name.as_str())
                || makes_roles && (verb.as_str(), resource.as_str()) == ("create", "roles")
                || for_gateway.contains(&(verb.as_str(), resource.as_str()))
            {
                continue;
            }
            checked += 1;
            let right = Right { verb, group, resource, name };
            if let Answer::Allowed { why } = self.cluster.may(&right).await? {
                excessive = true;
                let why: String = why.chars().take(200).flat_map(char::escape_default).collect();
                self.fault(
                    "excess",
                    format!("the daemon may {right}: {why}"),
                    "remove that right; `jitd manifest` prints everything that the daemon needs",
                );
            }
        }
        if !excessive {
            self.ok("excess", format!("no excess permissions ({checked} checked)"));
        }
        Ok(())
    }
}

/// Verbs and resources of those below that the daemon needs where people go through the gateway. Without limits for
/// impersonation only the admission policies limit which ClusterRoles it creates and binds.
fn for_gateway(gateway: Option<&ActingGateway>) -> &'static [(&'static str, &'static str)] {
    match gateway.map(|gateway| gateway.impersonation) {
        None => &[],
        Some(Impersonation::Constrained) => &[("create", "clusterroles"), (ACT_AS, "users")],
        Some(Impersonation::Unconstrained) => {
            &[("create", "clusterroles"), ("bind", "clusterroles"), ("escalate", "clusterroles")]
        }
    }
}

/// Verb, API group, resource and name of rights that would let the daemon, or somebody who stole its credential, bypass
/// the admission policies. An empty name means every name.
const EXCESSIVE: [(&str, &str, &str, &str); 37] = [
    ("*", "*", "*", ""),
    ("bind", RBAC_GROUP, "clusterroles", ""),
    ("escalate", RBAC_GROUP, "clusterroles", ""),
    ("create", RBAC_GROUP, "clusterroles", ""),
    ("update", RBAC_GROUP, "clusterroles", ""),
    ("patch", RBAC_GROUP, "clusterroles", ""),
    ("bind", RBAC_GROUP, "roles", ""),
    ("escalate", RBAC_GROUP, "roles", ""),
    ("create", RBAC_GROUP, "roles", ""),
    ("update", RBAC_GROUP, "roles", ""),
    ("patch", RBAC_GROUP, "roles", ""),
    ("bind", RBAC_GROUP, "clusterroles", "cluster-admin"),
    ("bind", RBAC_GROUP, "clusterroles", "admin"),
    ("bind", RBAC_GROUP, "clusterroles", "edit"),
    ("update", RBAC_GROUP, "rolebindings", ""),
    ("patch", RBAC_GROUP, "rolebindings", ""),
    ("update", RBAC_GROUP, "clusterrolebindings", ""),
    ("patch", RBAC_GROUP, "clusterrolebindings", ""),
    ("impersonate", "", "users", ""),
    ("impersonate", "", "groups", ""),
    ("impersonate", "", "serviceaccounts", ""),
    // Constrained impersonation, since 1.36. Whoever has one of each may act as somebody.
    (ACT_AS, ACT_AS_GROUP, "users", ""),
    ("impersonate-on:user-info:get", "", "pods", ""),
    ("impersonate-on:user-info:create", RBAC_GROUP, "clusterrolebindings", ""),
    ("get", "", "secrets", ""),
    ("list", "", "secrets", ""),
    ("create", "", "serviceaccounts/token", ""),
    ("create", "", "pods", ""),
    ("create", "", "pods/exec", ""),
    ("get", "", "nodes/proxy", ""),
    ("update", "certificates.k8s.io", "certificatesigningrequests/approval", ""),
    ("update", "admissionregistration.k8s.io", "validatingadmissionpolicies", ""),
    ("patch", "admissionregistration.k8s.io", "validatingadmissionpolicies", ""),
    ("delete", "admissionregistration.k8s.io", "validatingadmissionpolicies", ""),
    ("update", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", ""),
    ("patch", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", ""),
    ("delete", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", ""),
];

/// The rights that a role's rules grant, one by one; none for any other object.
fn rights(role: &Value) -> Vec<Right> {
    let rules = role.get("rules").and_then(|rules| Vec::<PolicyRule>::deserialize(rules).ok());
    let mut rights = Vec::new();
    for rule in rules.into_iter().flatten() {
        let mut names = rule.resource_names.unwrap_or_default();
        if names.is_empty() {
            names.push(String::new());
        }
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for name in &names {
                    rights.extend(rule.verbs.iter().map(|verb| Right {
                        verb: verb.clone(),
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                    }));
                }
            }
        }
    }
    rights
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rights_of_a_role_are_listed_one_by_one() {
        let role = json!({ "rules": [
            { "apiGroups": ["g"], "resources": ["a", "b"], "verbs": ["get"] },
            { "apiGroups": [""], "resources": ["c"], "resourceNames": ["n"], "verbs": ["get", "bind"] },
        ] });
        let listed: Vec<String> = rights(&role).iter().map(ToString::to_string).collect();
        assert_eq!(listed, ["get a.g", "get b.g", "get c n", "bind c n"]);
        assert_eq!(rights(&json!({ "spec": {} })), []);
    }
}

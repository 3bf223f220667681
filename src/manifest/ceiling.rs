//! What the daemon itself holds where it may make roles: Kubernetes lets nobody write into a role what they may
//! not do themselves, and so a stolen credential makes nothing beyond the policy's ceilings.
//!
//! Nothing here may hold in the whole cluster: each is a RoleBinding. `manifest` prints those of the namespaces that
//! the policy names; those that a glob or labels fit are known to the cluster only, and `check` asks it.

use serde_json::json;

use super::place::Reach;
use super::{Object, RBAC_V1, document};
use crate::cluster::RBAC_GROUP;
use crate::grant::digest::sha256_hex;
use crate::grant::names;
use crate::grant::request::Namespace;

/// A ClusterRole for each ceiling, which gives nothing where it is not bound.
pub(super) fn roles(host: &str, reaches: &[Reach]) -> Vec<Object> {
    let with_ceiling = reaches.iter().filter(|reach| reach.makes_roles && !reach.ceiling.is_empty());
    with_ceiling
        .map(|reach| {
            let why =
                format!("the ceiling of the rule `{}`: exact rules are made of these and of nothing else", reach.rule);
            document(&why, RBAC_V1, "ClusterRole", &name(host, reach), host, json!({ "rules": reach.ceiling }))
        })
        .collect()
}

/// What gives the daemon in `namespace` what it may hand on there: the ceiling, and roles that may be cut down.
pub(super) fn bindings(host: &str, reach: &Reach, namespace: &Namespace) -> Vec<Object> {
    let mut held: Vec<(String, &str, String)> = Vec::new();
    if !reach.ceiling.is_empty() {
        held.push((name(host, reach), "ClusterRole", name(host, reach)));
    }
    for role in reach.roles.iter().filter(|_| reach.narrow) {
        let (kind, role) = (role.kind(), role.name().as_str());
        held.push((format!("jitd-{host}-narrow-{}-{role}", kind.to_ascii_lowercase()), kind, role.to_owned()));
    }
    let bound = held.into_iter().map(|(name, kind, role)| {
        let binding = json!({
            "roleRef": { "apiGroup": RBAC_GROUP, "kind": kind, "name": role },
            "subjects": [{ "apiGroup": RBAC_GROUP, "kind": "User", "name": names::daemon(host) }],
        });
        document(
            "lets the daemon hand on, here only, what it holds by this",
            RBAC_V1,
            "RoleBinding",
            &name,
            host,
            binding,
        )
        .within(namespace)
    });
    bound.collect()
}

/// The command that makes such a binding.
pub(super) fn command(binding: &Object) -> String {
    let [kind, role, user] = ["/roleRef/kind", "/roleRef/name", "/subjects/0/name"].map(|at| binding.text(at));
    let (name, namespace) = (binding.name(), binding.namespace().unwrap_or_default());
    let kind = kind.to_ascii_lowercase();
    format!("kubectl -n {namespace} create rolebinding {name} --{kind}={role} --user={user}")
}

/// What a reader of the manifest has to know when not all namespaces have a name.
pub(super) fn hint(reaches: &[Reach]) -> Option<String> {
    let open = reaches.iter().filter(|reach| reach.makes_roles && reach.is_open());
    let rules: Vec<String> = open.map(|reach| format!("`{}`", reach.rule)).collect();
    (!rules.is_empty()).then(|| {
        format!(
            "the namespaces that a glob or labels of {} fit can't be known here: `jitd check --cluster` names each that \
             lacks a binding of the daemon, with the command that makes it, and until then roles are not made there",
            rules.join(", ")
        )
    })
}

/// The name of a rule is for people, that of an object is part of a path.
fn name(host: &str, reach: &Reach) -> String {
    let rule = &reach.rule;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if rule.chars().all(fits) {
        return format!("jitd-{host}-ceiling-{rule}");
    }
    let plain: String = rule.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let hash: String = sha256_hex(rule.as_bytes()).chars().take(8).collect();
    format!("jitd-{host}-ceiling-{plain}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rules_become_names_of_objects_and_stay_apart() {
        let named = |rule: &str| name("h", &Reach { rule: rule.to_owned(), ..Reach::default() });
        assert_eq!(named("look-1.a_B"), "jitd-h-ceiling-look-1.a_B");
        let odd = [named("a/b"), named("a b"), named("a%b"), named("a-b")];
        assert!(
            odd.iter().all(|name| name.starts_with("jitd-h-ceiling-a-b") && !name.contains(['/', '%', ' '])),
            "{odd:?}"
        );
        assert!((1..odd.len()).all(|at| odd.iter().take(at).all(|before| Some(before) != odd.get(at))), "{odd:?}");
    }
}

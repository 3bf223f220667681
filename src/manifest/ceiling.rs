//! The rights that the daemon itself holds where it may create roles. Kubernetes lets nobody write a right into a role
//! that they do not hold themselves, so a stolen credential cannot create anything beyond the policy's ceilings.
//!
//! Nothing here may apply to the whole cluster: each binding is a RoleBinding. `manifest` prints those for the
//! namespaces that the policy names. Only the cluster knows which namespaces a glob or labels match, so `check` asks
//! it.

use serde_json::json;

use super::place::Reach;
use super::{Object, RBAC_V1, Users, document};
use crate::cluster::RBAC_GROUP;
use crate::grant::digest::sha256_hex;
use crate::grant::request::Namespace;

/// A ClusterRole for each ceiling; it grants nothing until it is bound.
pub(super) fn roles(host: &str, reaches: &[Reach]) -> Vec<Object> {
    let with_ceiling = reaches.iter().filter(|reach| reach.makes_roles && !reach.ceiling.is_empty());
    with_ceiling
        .map(|reach| {
            let why =
                format!("the ceiling of rule `{}`: exact rules may contain these rights and no others", reach.rule);
            document(&why, RBAC_V1, "ClusterRole", &name(host, reach), host, json!({ "rules": reach.ceiling }))
        })
        .collect()
}

/// The bindings that grant the daemon in `namespace` what it may grant there: the ceiling, and roles that approvers may
/// narrow.
pub(super) fn bindings(users: Users<'_>, reach: &Reach, namespace: &Namespace) -> Vec<Object> {
    let host = users.host;
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
            "subjects": [{ "apiGroup": RBAC_GROUP, "kind": "User", "name": users.daemon() }],
        });
        document(
            "lets the daemon grant these rights to others, in this namespace only",
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

/// The command that creates such a binding.
pub(super) fn command(binding: &Object) -> String {
    let [kind, role, user] = ["/roleRef/kind", "/roleRef/name", "/subjects/0/name"].map(|at| binding.text(at));
    let (name, namespace) = (binding.name(), binding.namespace().unwrap_or_default());
    let kind = kind.to_ascii_lowercase();
    format!("kubectl -n {namespace} create rolebinding {name} --{kind}={role} --user={user}")
}

/// A note for readers of the manifest if the policy does not name all of its namespaces.
pub(super) fn hint(reaches: &[Reach]) -> Option<String> {
    let open = reaches.iter().filter(|reach| reach.makes_roles && reach.is_open());
    let rules: Vec<String> = open.map(|reach| format!("`{}`", reach.rule)).collect();
    (!rules.is_empty()).then(|| {
        format!(
            "only the cluster knows which namespaces the globs or labels of {} match: `jitd check --cluster` lists each \
             that lacks a binding of the daemon, with the command that creates it; until then jitd creates no roles there",
            rules.join(", ")
        )
    })
}

/// The name of a ceiling's ClusterRole. A rule's name may contain characters that an object's name must not.
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
    fn names_of_rules_become_distinct_names_of_objects() {
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

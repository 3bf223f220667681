//! What an administrator applies to a cluster so that the daemon can do its work there, and no more than
//! the policy gives: its rights in RBAC, among them what it may hand on in exact rules, and the admission policies that
//! are the second wall.
//!
//! Printed by `jitd manifest` and compared by `check` with what stands in the cluster; nothing here is sent,
//! and nothing here may give the daemon a right that no rule of the policy needs.

mod ceiling;
mod fence;
mod place;

use serde_json::{Value, json};

use crate::cluster::RBAC_GROUP;
use crate::grant::names;
use crate::grant::policy::{Labels, Policy};
use crate::grant::request::{ClusterName, Namespace, RoleRef};

pub use self::fence::{fence, fence_name, fence_of_deletions_name, fence_of_roles_name};
pub use self::place::{Place, Reach};

/// One object to be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    why: String,
    value: Value,
}

/// What the rules of the policy give in `cluster`.
#[must_use]
pub fn reaches(policy: &Policy, cluster: &ClusterName) -> Vec<Reach> {
    let rules = policy.reach(cluster).into_iter();
    rules
        .map(|rule| Reach {
            roles: rule.roles.to_vec(),
            places: rule.namespaces.iter().map(Place::from).collect(),
            cluster_wide: rule.cluster_wide,
            rule: rule.rule.to_owned(),
            ceiling: rule.rules.to_vec(),
            narrow: rule.narrow,
            makes_roles: rule.makes_roles(),
        })
        .collect()
}

/// Everything that has to stand in `cluster`, the ClusterRole first.
#[must_use]
pub fn objects(policy: &Policy, cluster: &ClusterName, host: &str) -> Vec<Object> {
    let reaches = reaches(policy, cluster);
    let walls = fence(host, &reaches);
    let ceilings = ceiling::roles(host, &reaches);
    let rights = rights(&policy.roles(cluster), host, &reaches, &ceilings, &walls);
    let name = own_name(host);
    let why = "what the daemon needs: bindings to make and remove, the question whether they work, and `bind` on the \
               policy's roles by their names";
    let mut objects = vec![
        document(
            &ceiling::hint(&reaches).map_or_else(|| why.to_owned(), |hint| format!("{why}\n# {hint}")),
            RBAC_V1,
            "ClusterRole",
            &name,
            host,
            json!({ "rules": rights }),
        ),
        document(
            "gives it to the name in the daemon's own certificate, which lives minutes",
            RBAC_V1,
            "ClusterRoleBinding",
            &name,
            host,
            json!({
                "roleRef": { "apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": name },
                "subjects": [{ "apiGroup": RBAC_GROUP, "kind": "User", "name": names::daemon(host) }],
            }),
        ),
    ];
    objects.extend(ceilings);
    for reach in &reaches {
        add(&mut objects, reach.names().flat_map(|namespace| ceiling::bindings(host, reach, namespace)));
    }
    objects.extend(walls);
    objects
}

/// What the daemon has to hold in those of `namespaces` that a glob or labels of the policy fit, and that
/// [`objects`] can't know; each with the command that makes it.
#[must_use]
pub fn held_beside(policy: &Policy, cluster: &ClusterName, host: &str, namespaces: &Labels) -> Vec<(Object, String)> {
    let mut held = Vec::new();
    for (rule, reach) in policy.reach(cluster).iter().zip(reaches(policy, cluster)) {
        let fits = |namespace: &&Namespace| rule.is_for(namespace, namespaces);
        for namespace in namespaces.keys().filter(fits) {
            add(&mut held, ceiling::bindings(host, &reach, namespace).into_iter());
        }
    }
    let printed = objects(policy, cluster, host);
    held.retain(|object| !printed.contains(object));
    held.into_iter()
        .map(|object| {
            let line = ceiling::command(&object);
            (object, line)
        })
        .collect()
}

/// Whether the daemon makes roles in namespaces that only the cluster knows, so that [`held_beside`] matters.
#[must_use]
pub fn is_open(reaches: &[Reach]) -> bool {
    reaches.iter().any(|reach| reach.makes_roles && reach.is_open())
}

/// Two rules may need the same.
fn add(objects: &mut Vec<Object>, more: impl Iterator<Item = Object>) {
    for object in more {
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
}

/// The objects as YAML documents, above each a comment that says why it is there.
#[must_use]
pub fn printed(objects: &[Object]) -> String {
    // Maps, lists and strings always serialise.
    let yaml = |value: &Value| serde_saphyr::to_string(value).unwrap_or_default();
    objects.iter().map(|object| format!("---\n# {}\n{}", object.why, yaml(&object.value))).collect()
}

/// The rules of the daemon's ClusterRole.
///
/// Creating a binding needs `bind` on its role
/// (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>).
fn rights(roles: &[RoleRef], host: &str, reaches: &[Reach], ceilings: &[Object], walls: &[Object]) -> Vec<Value> {
    // To find where globs and labels fit, for `jitd check --cluster`.
    let namespaces: &[&str] = if is_open(reaches) { &["get", "list"] } else { &["get"] };
    let mut rules = vec![
        json!({ "apiGroups": [RBAC_GROUP], "resources": ["rolebindings", "clusterrolebindings"], "verbs": ["create", "get", "list", "delete"] }),
        json!({ "apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"] }),
        // What everybody has whom no administrator took `system:basic-user` and `system:public-info-viewer` away from.
        json!({ "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews"], "verbs": ["create"] }),
        json!({ "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"] }),
        json!({ "nonResourceURLs": ["/version"], "verbs": ["get"] }),
        json!({ "apiGroups": [""], "resources": ["namespaces"], "verbs": namespaces }),
    ];
    // RBAC can't limit the name of what is created. What such a role may hold is limited by what the daemon holds
    // itself (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#restrictions-on-role-creation-or-update).
    if reaches.iter().any(|reach| reach.makes_roles) {
        rules.push(
            json!({ "apiGroups": [RBAC_GROUP], "resources": ["roles"], "verbs": ["create", "get", "list", "delete"] }),
        );
    }
    // Without a name a rule would hold for every role, so a kind that the policy does not use gets none.
    for (resource, kind) in [("clusterroles", "ClusterRole"), ("roles", "Role")] {
        let names: Vec<&str> =
            roles.iter().filter(|role| role.kind() == kind).map(|role| role.name().as_str()).collect();
        if !names.is_empty() {
            rules.push(json!({ "apiGroups": [RBAC_GROUP], "resources": [resource], "resourceNames": names, "verbs": ["get", "bind"] }));
        }
    }
    // For `jitd check --cluster`, which compares them.
    let own = own_name(host);
    let compared: Vec<&str> = std::iter::once(own.as_str()).chain(ceilings.iter().map(Object::name)).collect();
    rules.push(json!({ "apiGroups": [RBAC_GROUP], "resources": ["clusterroles"], "resourceNames": compared, "verbs": ["get"] }));
    let mut names: Vec<&str> = walls.iter().map(Object::name).collect();
    names.dedup();
    rules.push(json!({
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
        "resourceNames": names,
        "verbs": ["get"],
    }));
    rules
}

fn own_name(host: &str) -> String {
    format!("jitd-{host}")
}

const RBAC_V1: &str = "rbac.authorization.k8s.io/v1";

/// The labels are for people, and others than those of a grant's binding, so that the sweep passes by.
fn document(why: &str, version: &str, kind: &str, name: &str, host: &str, rest: Value) -> Object {
    let labels = json!({ "app.kubernetes.io/name": "jitd", "app.kubernetes.io/instance": host });
    let mut value = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name, "labels": labels } });
    if let (Some(value), Value::Object(rest)) = (value.as_object_mut(), rest) {
        value.extend(rest);
    }
    Object { why: why.to_owned(), value }
}

impl Object {
    fn within(mut self, namespace: &Namespace) -> Self {
        if let Some(metadata) = self.value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), namespace.as_str().into());
        }
        self
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Its namespace, if it is in one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.value.pointer("/metadata/namespace").and_then(Value::as_str)
    }

    /// The path of the collection that it is in, for example
    /// `/apis/rbac.authorization.k8s.io/v1/namespaces/payments/rolebindings`.
    #[must_use]
    pub fn collection_path(&self) -> String {
        let resource = match self.kind() {
            "ValidatingAdmissionPolicy" => "validatingadmissionpolicies".to_owned(),
            kind => format!("{}s", kind.to_ascii_lowercase()),
        };
        let namespace = self.namespace().map_or_else(String::new, |name| format!("namespaces/{name}/"));
        format!("/apis/{}/{namespace}{resource}", self.text("/apiVersion"))
    }

    /// The object as JSON.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

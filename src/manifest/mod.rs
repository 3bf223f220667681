//! The objects that an administrator applies to a cluster so that the daemon can do its work there, and no more than
//! the policy allows: its RBAC rights, including those that it may grant as exact rules, and the admission policies
//! that are the second line of defence.
//!
//! `jitd manifest` prints them, and `check` compares them with the cluster; nothing here is sent. Nothing here may give
//! the daemon a right that no rule of the policy needs.

mod ceiling;
mod fence;
mod gateway;
mod holders;
mod place;
mod scan;

use serde_json::{Value, json};

use crate::cluster::RBAC_GROUP;
use crate::grant::policy::{Labels, Policy};
use crate::grant::request::{ClusterName, Namespace, RoleRef};
use crate::grant::{ACT_AS, ACT_AS_GROUP, ActingGateway, DaemonUser, Impersonation, names};

pub use self::fence::{fence, fence_name, fence_of_deletions_name, fence_of_gateway_roles_name, fence_of_roles_name};
pub use self::gateway::name as gateway_name;
pub use self::place::{Place, Reach};
pub use self::scan::{SCAN_NAME, SCAN_SECRETS_NAME, scan};

/// Who a bastion is in a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Users<'a> {
    /// The bastion's name.
    pub host: &'a str,
    /// The daemon's user, if it is not `jit:daemon:HOST`.
    pub daemon: Option<&'a DaemonUser>,
    /// The gateway, if people reach the cluster through it.
    pub gateway: Option<&'a ActingGateway>,
}

impl Users<'_> {
    /// The name of the daemon's user.
    #[must_use]
    pub fn daemon(&self) -> String {
        self.daemon.map_or_else(|| names::daemon(self.host), ToString::to_string)
    }
}

/// One object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    why: String,
    value: Value,
}

/// What the rules of the policy allow in `cluster`.
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

/// All objects that have to exist in `cluster`; the daemon's ClusterRole comes first.
#[must_use]
pub fn objects(policy: &Policy, cluster: &ClusterName, users: Users<'_>) -> Vec<Object> {
    let Users { host, gateway, .. } = users;
    let reaches = reaches(policy, cluster);
    let policies = fence(users, &reaches);
    let of_gateway: Vec<Object> = gateway.map_or_else(Vec::new, |gateway| gateway::rights(host, gateway));
    let ceilings = ceiling::roles(host, &reaches);
    let compared: Vec<&Object> = ceilings.iter().chain(&of_gateway).collect();
    let mut rights = rights(&policy.roles(cluster), users, &reaches, &compared, &policies);
    let name = own_name(host);
    // A WebSocket that needs no pod is that of a watch.
    if gateway.is_some()
        && policy.sessions(cluster).iter().any(|(_, terms)| terms.follow_sessions() || terms.limit_ports())
    {
        rights.push(json!({ "apiGroups": [RBAC_GROUP], "resources": ["clusterroles"], "resourceNames": [name], "verbs": ["watch"] }));
    }
    let why = "what the daemon needs: creating and deleting bindings, access reviews to check that they work, and `bind` \
               on the policy's roles by name";
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
            match users.daemon {
                None => "grants it to the user in the daemon's own certificate, which is valid for minutes",
                Some(_) => "grants it to the user that the API server knows the daemon by",
            },
            RBAC_V1,
            "ClusterRoleBinding",
            &name,
            host,
            json!({
                "roleRef": { "apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": name },
                "subjects": [{ "apiGroup": RBAC_GROUP, "kind": "User", "name": users.daemon() }],
            }),
        ),
    ];
    objects.extend(ceilings);
    for reach in &reaches {
        add(&mut objects, reach.names().flat_map(|namespace| ceiling::bindings(users, reach, namespace)));
    }
    objects.extend(of_gateway);
    objects.extend(policies);
    objects
}

/// The bindings that the daemon needs in those of `namespaces` that a glob or labels of the policy match, which
/// [`objects`] cannot know; each with the command that creates it.
#[must_use]
pub fn matched_bindings(
    policy: &Policy,
    cluster: &ClusterName,
    users: Users<'_>,
    namespaces: &Labels,
) -> Vec<(Object, String)> {
    let mut held = Vec::new();
    for (rule, reach) in policy.reach(cluster).iter().zip(reaches(policy, cluster)) {
        let fits = |namespace: &&Namespace| rule.is_for(namespace, namespaces);
        for namespace in namespaces.keys().filter(fits) {
            add(&mut held, ceiling::bindings(users, &reach, namespace).into_iter());
        }
    }
    let printed = objects(policy, cluster, users);
    held.retain(|object| !printed.contains(object));
    held.into_iter()
        .map(|object| {
            let line = ceiling::command(&object);
            (object, line)
        })
        .collect()
}

/// Whether the daemon creates roles in namespaces that only the cluster knows, so that [`matched_bindings`] matters.
#[must_use]
pub fn is_open(reaches: &[Reach]) -> bool {
    reaches.iter().any(|reach| reach.makes_roles && reach.is_open())
}

/// Adds objects without duplicates, because two rules may need the same one.
fn add(objects: &mut Vec<Object>, more: impl Iterator<Item = Object>) {
    for object in more {
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
}

/// The objects as YAML documents, each preceded by a comment that says what it is for.
#[must_use]
pub fn printed(objects: &[Object]) -> String {
    // Maps, lists and strings always serialize.
    let yaml = |value: &Value| serde_saphyr::to_string(value).unwrap_or_default();
    objects.iter().map(|object| format!("---\n# {}\n{}", object.why, yaml(&object.value))).collect()
}

/// The rules of the daemon's ClusterRole.
///
/// Creating a binding needs `bind` on its role
/// (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>).
fn rights(
    roles: &[RoleRef],
    Users { host, daemon, gateway }: Users<'_>,
    reaches: &[Reach],
    compared: &[&Object],
    policies: &[Object],
) -> Vec<Value> {
    // `jitd check --cluster` lists the namespaces that globs and labels match.
    let namespaces: &[&str] = if is_open(reaches) { &["get", "list"] } else { &["get"] };
    let mut rules = vec![
        json!({ "apiGroups": [RBAC_GROUP], "resources": ["rolebindings", "clusterrolebindings"], "verbs": ["create", "get", "list", "delete"] }),
        json!({ "apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"] }),
        // Every user has these, unless an administrator removed `system:basic-user` or `system:public-info-viewer`.
        json!({ "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews"], "verbs": ["create"] }),
        json!({ "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"] }),
        json!({ "nonResourceURLs": ["/version"], "verbs": ["get"] }),
        json!({ "apiGroups": [""], "resources": ["namespaces"], "verbs": namespaces }),
    ];
    // RBAC cannot limit the name of a new object. A role can contain no rights that its creator does not hold
    // (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#restrictions-on-role-creation-or-update).
    if reaches.iter().any(|reach| reach.makes_roles) {
        rules.push(
            json!({ "apiGroups": [RBAC_GROUP], "resources": ["roles"], "verbs": ["create", "get", "list", "delete"] }),
        );
    }
    rules.extend(gateway.into_iter().flat_map(|gateway| gateway_rights(host, gateway.impersonation)));
    // By it the guards of other bastions in this cluster know the daemon, whose name does not show what it is.
    if daemon.is_some() {
        let (verb, group, resource) = REPRESENT;
        rules.push(json!({ "apiGroups": [group], "resources": [resource], "resourceNames": [host], "verbs": [verb] }));
    }
    // A rule without names would apply to every role, so a kind that the policy does not use gets no rule.
    for (resource, kind) in [("clusterroles", "ClusterRole"), ("roles", "Role")] {
        let names: Vec<&str> =
            roles.iter().filter(|role| role.kind() == kind).map(|role| role.name().as_str()).collect();
        if !names.is_empty() {
            rules.push(json!({ "apiGroups": [RBAC_GROUP], "resources": [resource], "resourceNames": names, "verbs": ["get", "bind"] }));
        }
    }
    // `jitd check --cluster` reads and compares these.
    let own = own_name(host);
    let compared = compared.iter().filter(|object| object.kind() == "ClusterRole").map(|object| object.name());
    let compared: Vec<&str> = std::iter::once(own.as_str()).chain(compared).collect();
    rules.push(json!({ "apiGroups": [RBAC_GROUP], "resources": ["clusterroles"], "resourceNames": compared, "verbs": ["get"] }));
    let mut names: Vec<&str> = policies.iter().map(Object::name).collect();
    names.dedup();
    rules.push(json!({
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
        "resourceNames": names,
        "verbs": ["get"],
    }));
    rules
}

/// The daemon's rights for the gateway's bindings. It can write the right to act as somebody into a role only if it holds
/// that right itself. Where there are limits, that is worth nothing without a right to act on something, which it does
/// not hold: it may only bind the role with that right by name.
///
/// Without limits, whoever holds that right is everybody, and no admission policy sees what it does. So the daemon gets
/// the rights to write and bind any ClusterRole instead, every use of which an admission policy sees.
fn gateway_rights(host: &str, impersonation: Impersonation) -> Vec<Value> {
    let made = json!({ "apiGroups": [RBAC_GROUP], "resources": ["clusterroles"], "verbs": ["create", "get", "list", "delete"] });
    match impersonation {
        Impersonation::Constrained => {
            let names = ["users", "groups", &format!("userextras/{}", names::GRANT_EXTRA)];
            let on = names::gateway_on_role(host);
            vec![
                made,
                json!({ "apiGroups": [ACT_AS_GROUP], "resources": names, "verbs": [ACT_AS] }),
                json!({ "apiGroups": [RBAC_GROUP], "resources": ["clusterroles"], "resourceNames": [on], "verbs": ["bind"] }),
            ]
        }
        Impersonation::Unconstrained => vec![
            made,
            json!({ "apiGroups": [RBAC_GROUP], "resources": ["clusterroles"], "verbs": ["escalate", "bind"] }),
        ],
    }
}

/// The verb, the API group and the resource of the right to be the daemon of a host, whose name is the resource's. No API
/// has this resource: the API server only says who has the right.
const REPRESENT: (&str, &str, &str) = ("represent", "jitd.dev", "hosts");

/// The name of the daemon's ClusterRole, and of its binding.
#[must_use]
pub fn own_name(host: &str) -> String {
    format!("jitd-{host}")
}

const RBAC_V1: &str = "rbac.authorization.k8s.io/v1";

/// An object. Its labels are for people; they differ from those of a grant's binding, so that the sweep ignores it.
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

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// The namespace, if it has one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.value.pointer("/metadata/namespace").and_then(Value::as_str)
    }

    /// The API path of its collection, for example
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

//! The admission policies of a cluster: some fence what this host's daemon may make and delete, the others keep
//! everybody else off what is jitd's.
//!
//! Of DELETE they must never look at anybody's but the daemon's: the namespace controller, the garbage collector and a
//! person in an emergency need it, and it only takes access away. Anything that can't be evaluated is refused
//! (`failurePolicy: Fail`). `manifest` prints them.

use serde_json::{Value, json};

use super::place::{Reach, binding_in_cluster, binding_in_namespace, list, quoted, where_roles_are_made};
use super::{Object, document};
use crate::cluster::{GRANT, HOST_LABEL, MANAGED_BY, OURS, RBAC_GROUP, USER};
use crate::grant::names::{self, DAEMON, OBJECT, SUBJECT};

/// What a grant's binding is named, and a role that only this grant has, quoted; the letters are those of
/// [`GrantId`](crate::grant::GrantId).
fn name() -> String {
    quoted(&format!("^{OBJECT}[0-9a-hjkmnp-tv-z]{{16}}$"))
}

/// The resources of RBAC that bind, and those that are bound.
const BINDINGS: &[&str] = &["rolebindings", "clusterrolebindings"];
const ROLES: &[&str] = &["roles", "clusterroles"];
const EITHER: &[&str] = &["rolebindings", "clusterrolebindings", "roles", "clusterroles"];

const WRITES: &[&str] = &["CREATE", "UPDATE"];
const DELETES: &[&str] = &["DELETE"];

/// The name of the admission policy that fences the bindings of this host's daemon.
#[must_use]
pub fn fence_name(host: &str) -> String {
    format!("jitd-{host}-fence")
}

/// The name of the admission policy that fences the roles of this host's daemon.
#[must_use]
pub fn fence_of_roles_name(host: &str) -> String {
    format!("jitd-{host}-roles")
}

/// The name of the admission policy that fences what this host's daemon deletes.
#[must_use]
pub fn fence_of_deletions_name(host: &str) -> String {
    format!("jitd-{host}-deletions")
}

/// The admission policies with their bindings, for a host whose daemon may reach this far.
#[must_use]
pub fn fence(host: &str, reaches: &[Reach]) -> Vec<Object> {
    let daemon = format!("request.userInfo.username == {}", quoted(&names::daemon(host)));
    // By its groups too: who may pose as anybody could add the name to groups that may do anything, and a daemon's
    // certificate has none.
    let others = format!(
        "!(request.userInfo.username.startsWith({}) && request.userInfo.?groups.orValue([]) == {})",
        quoted(DAEMON),
        list(&["system:authenticated"])
    );
    let bindings = Policy {
        name: fence_name(host),
        why: "fences the daemon: one binding for each grant, of a role and in a place that the policy on its \
              host gives. What it holds in RBAC can't say where, nor to whom",
        who: daemon.clone(),
        operations: WRITES,
        resources: BINDINGS,
        variables: vec![("namespaceLabels", NAMESPACE_LABELS.to_owned())],
        validations: bindings_of(host, reaches),
    };
    let roles = Policy {
        name: fence_of_roles_name(host),
        why: "fences the daemon: no role but one that a single grant owns, where the policy lets grants own roles. \
              What such a role may hold is limited by what the daemon holds there itself",
        who: daemon.clone(),
        operations: WRITES,
        resources: ROLES,
        variables: vec![("namespaceLabels", NAMESPACE_LABELS.to_owned())],
        validations: roles_of(host, reaches),
    };
    let deletions = Policy {
        name: fence_of_deletions_name(host),
        why: "fences the daemon: it deletes nothing but what a grant of this host had. RBAC can't limit that by names \
              that are not known beforehand",
        who: daemon,
        operations: DELETES,
        resources: EITHER,
        variables: Vec::new(),
        validations: deletions_of(host),
    };
    let guard = Policy {
        name: format!("jitd-{host}-guard"),
        why: "keeps everybody else off the bindings of jitd: nobody gives `jit:` names anything, nobody changes \
              what jitd made. Each daemon of the cluster is fenced by its own policy instead. Deleting stays free",
        who: others.clone(),
        operations: WRITES,
        resources: BINDINGS,
        variables: guarded(),
        validations: vec![
            (
                "variables.isLeaving || variables.isInstalled || !variables.namesOurs".to_owned(),
                "only jitd gives rights to names that begin `jit:`; hint: ask with `jit-login request`, or bind \
                 another name"
                    .to_owned(),
            ),
            (
                "variables.isLeaving || !variables.isMarked".to_owned(),
                format!(
                    "only jitd makes bindings with the labels `{MANAGED_BY}: {OURS}` or `{HOST_LABEL}`; hint: leave \
                     the labels out"
                ),
            ),
            (
                r#"variables.isLeaving || request.operation != "UPDATE" || variables.wasInstalled || !variables.wasOurs"#
                    .to_owned(),
                "this binding is jitd's, and nobody changes it; hint: `jit-login revoke` ends the grant, and \
                 deleting the binding takes the access away"
                    .to_owned(),
            ),
        ],
    };
    let guard_of_roles = Policy {
        name: format!("jitd-{host}-guard-roles"),
        why: "keeps everybody else off the roles that grants own: nobody makes one of their names, nobody changes one. \
              Deleting stays free",
        who: others,
        operations: WRITES,
        resources: &["roles"],
        variables: vec![
            ("isOurs", is_grants_role("object")),
            ("wasOurs", is_grants_role("oldObject")),
            (
                "isLeaving",
                "request.operation == \"UPDATE\" && has(oldObject.metadata.deletionTimestamp) && object.?rules.orValue([]) \
                 == oldObject.?rules.orValue([]) && object.metadata.?labels.orValue({}) == \
                 oldObject.metadata.?labels.orValue({})"
                    .to_owned(),
            ),
        ],
        validations: vec![
            (
                "variables.isLeaving || !variables.isOurs".to_owned(),
                format!(
                    "only jitd makes roles named `jit-` and 16 letters, or with the labels `{MANAGED_BY}: {OURS}` or \
                     `{HOST_LABEL}`; hint: take another name, and leave the labels out"
                ),
            ),
            (
                r#"variables.isLeaving || request.operation != "UPDATE" || !variables.wasOurs"#.to_owned(),
                "this role is jitd's, and nobody changes it; hint: `jit-login revoke` ends the grant".to_owned(),
            ),
        ],
    };
    [bindings, roles, deletions, guard, guard_of_roles].iter().flat_map(|policy| policy.objects(host)).collect()
}

/// A namespaced request knows the labels of its namespace; only then is this looked at.
const NAMESPACE_LABELS: &str = "namespaceObject.metadata.?labels.orValue({})";

fn bindings_of(host: &str, reaches: &[Reach]) -> Vec<(String, String)> {
    let mut validations = common(host, "binding");
    validations.push((
        format!(
            "object.?subjects.orValue([]).size() == 1 && object.subjects[0].kind == \"Group\" \
             && object.subjects[0].?apiGroup.orValue(\"\") == {} \
             && object.subjects[0].name == object.metadata.name.replace({}, {}, 1)",
            quoted(RBAC_GROUP),
            quoted(OBJECT),
            quoted(SUBJECT)
        ),
        "a grant's binding has one subject: the group of that grant, named like the binding".to_owned(),
    ));
    validations.push((
        format!(
            "request.resource.resource == \"rolebindings\" ? {} : {}",
            binding_in_namespace(reaches),
            binding_in_cluster(reaches)
        ),
        format!(
            "no rule of the policy on `{host}` gives this role in this place; hint: if the policy has changed, \
             apply what `jitd manifest` prints"
        ),
    ));
    validations
}

fn roles_of(host: &str, reaches: &[Reach]) -> Vec<(String, String)> {
    let mut validations = common(host, "role");
    validations.push((
        format!("request.resource.resource == \"roles\" && {}", where_roles_are_made(reaches)),
        format!(
            "no rule of the policy on `{host}` lets a grant own a role in this place, and a ClusterRole is never jitd's \
             to make; hint: if the policy has changed, apply what `jitd manifest` prints"
        ),
    ));
    validations.push((
        format!(
            "object.metadata.?annotations[?{}].orValue(\"\") == object.metadata.name.replace({}, \"\", 1) \
             && object.metadata.?annotations[?{}].orValue(\"\").startsWith({})",
            quoted(GRANT),
            quoted(OBJECT),
            quoted(USER),
            quoted(SUBJECT)
        ),
        format!("a grant's role has the annotations `{GRANT}` and `{USER}`"),
    ));
    validations
}

/// Also what somebody took the labels off, for access has to end all the same; never what carries another host's.
fn deletions_of(host: &str) -> Vec<(String, String)> {
    vec![
        (
            format!("oldObject.metadata.name.matches({})", name()),
            "jitd deletes nothing but what is named `jit-` and the 16 letters of a grant".to_owned(),
        ),
        (
            format!(
                "oldObject.metadata.?labels[?{}].orValue({host}) == {host}",
                quoted(HOST_LABEL),
                host = quoted(host)
            ),
            format!("the label `{HOST_LABEL}` says that this is another host's, and not of `{host}`"),
        ),
    ]
}

fn common(host: &str, what: &str) -> Vec<(String, String)> {
    vec![
        (
            r#"request.operation == "CREATE""#.to_owned(),
            format!("jitd never changes a {what}; it makes one for a grant and deletes it"),
        ),
        (
            format!("object.metadata.name.matches({})", name()),
            format!("a grant's {what} is named `jit-` and the 16 letters of the grant"),
        ),
        (
            [(MANAGED_BY, OURS), (HOST_LABEL, host)]
                .map(|(key, value)| {
                    format!("object.metadata.?labels[?{}].orValue(\"\") == {}", quoted(key), quoted(value))
                })
                .join(" && "),
            format!("a grant's {what} has the labels `{MANAGED_BY}: {OURS}` and `{HOST_LABEL}: {host}`"),
        ),
    ]
}

/// Whether an object carries a label of jitd's.
fn marked(of: &str) -> String {
    format!(
        "({of}.metadata.?labels[?{}].orValue(\"\") == {} || {of}.metadata.?labels[?{}].hasValue())",
        quoted(MANAGED_BY),
        quoted(OURS),
        quoted(HOST_LABEL)
    )
}

/// Whether a role is, or would be taken for, one that a grant owns. Also by its name alone: who deleted one could
/// otherwise make another in its place, and the grant's binding would give that.
fn is_grants_role(of: &str) -> String {
    format!("({of}.metadata.name.matches({}) || {})", name(), marked(of))
}

/// What the guard knows of a binding, as it is to be and as it was.
fn guarded() -> Vec<(&'static str, String)> {
    let (ours, daemon) = (quoted(SUBJECT), quoted(DAEMON));
    let names = |of: &str| format!("{of}.?subjects.orValue([]).exists(subject, subject.name.startsWith({ours}))");
    let own = |of: &str| format!("{of}.subjects[0].name.replace({daemon}, \"jitd-\", 1)");
    // What the manifest of some host binds to its own daemon. The name says the host, so several have room.
    let installed = |of: &str| {
        format!(
            "{of}.?subjects.orValue([]).size() == 1 && {of}.subjects[0].kind == \"User\" \
             && {of}.subjects[0].name.startsWith({daemon}) \
             && (request.resource.resource == \"clusterrolebindings\" ? ({whole}) : ({ceiling} || {narrow}))",
            whole = format_args!(
                "{of}.roleRef.kind == \"ClusterRole\" && {of}.roleRef.name == {of}.metadata.name \
                 && {of}.metadata.name == {}",
                own(of)
            ),
            ceiling = format_args!(
                "({of}.roleRef.kind == \"ClusterRole\" && {of}.roleRef.name == {of}.metadata.name \
                 && {of}.metadata.name.startsWith({} + \"-ceiling-\"))",
                own(of)
            ),
            narrow = format_args!(
                "{of}.metadata.name == {} + \"-narrow-\" + {of}.roleRef.kind.lowerAscii() + \"-\" + {of}.roleRef.name",
                own(of)
            ),
        )
    };
    vec![
        ("namesOurs", names("object")),
        ("isMarked", marked("object")),
        ("isInstalled", installed("object")),
        ("wasOurs", format!("{} || {}", names("oldObject"), marked("oldObject"))),
        ("wasInstalled", installed("oldObject")),
        // The garbage collector takes its finalizers off by an update; so may whoever frees one that hangs.
        (
            "isLeaving",
            "request.operation == \"UPDATE\" && has(oldObject.metadata.deletionTimestamp) && object.?subjects.orValue([]) == \
             oldObject.?subjects.orValue([]) && object.metadata.?labels.orValue({}) == \
             oldObject.metadata.?labels.orValue({})"
                .to_owned(),
        ),
    ]
}

struct Policy {
    name: String,
    why: &'static str,
    who: String,
    operations: &'static [&'static str],
    resources: &'static [&'static str],
    /// Name and expression; a later one may use those before it.
    variables: Vec<(&'static str, String)>,
    /// Expression, and what is said when it is false.
    validations: Vec<(String, String)>,
}

impl Policy {
    /// The policy and its binding, with every default of the API server written out, so that what stands in
    /// a cluster can be compared with it.
    fn objects(&self, host: &str) -> [Object; 2] {
        let kind = "ValidatingAdmissionPolicy";
        let variables = self.variables.iter().map(|(name, is)| json!({ "name": name, "expression": is }));
        let validations = self
            .validations
            .iter()
            .map(|(holds, else_says)| json!({ "expression": holds, "message": else_says, "reason": "Forbidden" }));
        let mut policy = json!({
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "resourceRules": [{
                    "apiGroups": [RBAC_GROUP], "apiVersions": ["v1"], "resources": self.resources,
                    "operations": self.operations, "scope": "*",
                }],
            },
            "matchConditions": [{ "name": "who", "expression": self.who }],
            "validations": validations.collect::<Vec<Value>>(),
        });
        // An empty list is stored as none, and kubectl would tell that as a difference each time.
        if let (false, Some(policy)) = (self.variables.is_empty(), policy.as_object_mut()) {
            policy.insert("variables".to_owned(), variables.collect());
        }
        let binding = json!({ "policyName": self.name, "validationActions": ["Deny"] });
        [
            document(self.why, ADMISSION, kind, &self.name, host, json!({ "spec": policy })),
            document(
                "puts the policy above in force",
                ADMISSION,
                &format!("{kind}Binding"),
                &self.name,
                host,
                json!({ "spec": binding }),
            ),
        ]
    }
}

/// Since Kubernetes 1.30.
const ADMISSION: &str = "admissionregistration.k8s.io/v1";

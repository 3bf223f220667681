//! The admission policies of a cluster: the fence limits what this host's daemon may create and delete, and the guard
//! keeps everybody else from changing jitd's objects.
//!
//! They must never restrict a DELETE by anybody but the daemon: the namespace controller, the garbage collector and
//! people in an emergency need it, and it can only remove access. A request that cannot be evaluated is denied
//! (`failurePolicy: Fail`). `manifest` prints the policies.

use serde_json::{Value, json};

use super::place::{
    Reach, binding_in_cluster, binding_in_namespace, list, quoted, where_grants_are, where_roles_are_made,
};
use super::{Object, REPRESENT, Users, document, holders};
use crate::cluster::{GRANT, HOST_LABEL, MANAGED_BY, OURS, RBAC_GROUP, USER};
use crate::grant::names::{self, DAEMON, GATEWAY, GATEWAY_ON, GRANT_EXTRA, OBJECT, SUBJECT};
use crate::grant::{ACT_AS, ACT_AS_GROUP, ActingGateway, DaemonUser, IMPERSONATE, Impersonation};

/// The pattern for the name of a grant's binding, and of a role that a grant owns, quoted; the letters are those of
/// [`GrantId`](crate::grant::GrantId).
fn name() -> String {
    name_with("")
}

/// The same for all objects of a grant, the gateway's too.
fn any_name() -> String {
    name_with(&format!("({GATEWAY}|{GATEWAY_ON})?"))
}

/// The same for the bindings of a grant that the daemon creates now.
fn of_bindings(gateway: Option<&ActingGateway>) -> String {
    match gateway.map(|gateway| gateway.impersonation) {
        None => name(),
        Some(Impersonation::Constrained) => any_name(),
        Some(Impersonation::Unconstrained) => name_with(&format!("({GATEWAY})?")),
    }
}

fn name_with(suffix: &str) -> String {
    quoted(&format!("^{OBJECT}[0-9a-hjkmnp-tv-z]{{16}}{suffix}$"))
}

/// The RBAC resources that bind, and those that are bound.
const BINDINGS: &[&str] = &["rolebindings", "clusterrolebindings"];
const ROLES: &[&str] = &["roles", "clusterroles"];
const EITHER: &[&str] = &["rolebindings", "clusterrolebindings", "roles", "clusterroles"];

const WRITES: &[&str] = &["CREATE", "UPDATE"];
const DELETES: &[&str] = &["DELETE"];

/// The name of the admission policy that limits which bindings this host's daemon may create.
#[must_use]
pub fn fence_name(host: &str) -> String {
    format!("jitd-{host}-fence")
}

/// The name of the admission policy that limits which roles this host's daemon may create.
#[must_use]
pub fn fence_of_roles_name(host: &str) -> String {
    format!("jitd-{host}-roles")
}

/// The name of the admission policy that limits which of the gateway's roles this host's daemon may create.
#[must_use]
pub fn fence_of_gateway_roles_name(host: &str) -> String {
    format!("jitd-{host}-gateway-roles")
}

/// The name of the admission policy that limits what this host's daemon may delete.
#[must_use]
pub fn fence_of_deletions_name(host: &str) -> String {
    format!("jitd-{host}-deletions")
}

/// The admission policies with their bindings, for a host whose policy has these reaches.
#[must_use]
pub fn fence(users: Users<'_>, reaches: &[Reach]) -> Vec<Object> {
    let Users { host, gateway, .. } = users;
    let daemon = is_daemon(users);
    let others = others();
    let bindings = Policy {
        name: fence_name(host),
        why: "limits the daemon: it may only create bindings for grants, of a role and in a place that the policy on its \
              host allows. RBAC alone cannot limit where the daemon binds a role, or to whom",
        who: daemon.clone(),
        operations: WRITES,
        resources: BINDINGS,
        variables: vec![("namespaceLabels", NAMESPACE_LABELS.to_owned())],
        validations: bindings_of(host, reaches, gateway),
        ..Policy::default()
    };
    let roles = Policy {
        name: fence_of_roles_name(host),
        why: "limits the daemon: it may only create roles that belong to a single grant, where the policy allows such \
              roles. Such a role can contain no rights that the daemon does not hold there itself",
        who: daemon.clone(),
        operations: WRITES,
        resources: if gateway.is_some() { &["roles"] } else { ROLES },
        variables: vec![("namespaceLabels", NAMESPACE_LABELS.to_owned())],
        validations: roles_of(host, reaches),
        ..Policy::default()
    };
    let deletions = Policy {
        name: fence_of_deletions_name(host),
        why: "limits the daemon: it may only delete bindings and roles of grants of this host. RBAC cannot express that, \
              because their names are not known beforehand",
        who: daemon,
        operations: DELETES,
        resources: EITHER,
        variables: Vec::new(),
        validations: deletions_of(host),
        ..Policy::default()
    };
    let guard = Policy {
        name: format!("jitd-{host}-guard"),
        why: "protects the bindings of jitd from everybody else: nobody may bind anything to `jit:` names or change \
              jitd's bindings. Each daemon of the cluster is limited by its own policy instead. Everybody may still \
              delete them",
        who: others.clone(),
        operations: WRITES,
        resources: BINDINGS,
        variables: guarded(users),
        validations: vec![
            (
                "variables.isLeaving || variables.isInstalled || !variables.namesOurs".to_owned(),
                match users.daemon {
                    None => "only jitd grants rights to names that begin with `jit:`; hint: use `jit-login request`, or \
                             bind a different name"
                        .to_owned(),
                    Some(daemon) => format!(
                        "only jitd grants rights to names that begin with `jit:`, and nobody grants more to its own user \
                         `{daemon}`; hint: use `jit-login request`, or bind a different name"
                    ),
                },
            ),
            (
                "variables.isLeaving || !variables.isMarked".to_owned(),
                format!(
                    "only jitd creates bindings with the labels `{MANAGED_BY}: {OURS}` or `{HOST_LABEL}`; hint: omit \
                     the labels"
                ),
            ),
            (
                r#"variables.isLeaving || request.operation != "UPDATE" || variables.wasInstalled || !variables.wasOurs"#
                    .to_owned(),
                "this binding belongs to jitd and must not be changed; hint: `jit-login revoke` ends the grant, and \
                 deleting the binding removes the access"
                    .to_owned(),
            ),
        ],
        ..Policy::default()
    };
    let guard_of_roles = Policy {
        name: format!("jitd-{host}-guard-roles"),
        why: "protects the roles of single grants from everybody else: nobody may create a role with such a name or \
              change one. Everybody may still delete them",
        who: others,
        operations: WRITES,
        resources: if gateway.is_some() { ROLES } else { &["roles"] },
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
                    "only jitd creates roles named `jit-` and 16 letters, or with the labels `{MANAGED_BY}: {OURS}` or \
                     `{HOST_LABEL}`; hint: choose a different name, and omit the labels"
                ),
            ),
            (
                r#"variables.isLeaving || request.operation != "UPDATE" || !variables.wasOurs"#.to_owned(),
                "this role belongs to jitd and must not be changed; hint: `jit-login revoke` ends the grant".to_owned(),
            ),
        ],
        ..Policy::default()
    };
    let mut policies =
        vec![bindings, roles, deletions, guard, guard_of_roles, holders::policy(host, gateway.is_some())];
    policies.extend(gateway.map(|gateway| of_gateway(users, gateway.impersonation)));
    policies.iter().flat_map(|policy| policy.objects(host)).collect()
}

/// The policy that is needed only where people go through the gateway.
fn of_gateway(users: Users<'_>, impersonation: Impersonation) -> Policy {
    let host = users.host;
    Policy {
        name: fence_of_gateway_roles_name(host),
        why: "limits the daemon: the only ClusterRole that it may create lets the gateway act as the holder of one grant, \
              with exactly that grant's user and group. RBAC alone cannot limit which ones",
        who: is_daemon(users),
        operations: WRITES,
        resources: &["clusterroles"],
        variables: vec![
            ("grant", annotation(GRANT)),
            ("user", annotation(USER)),
            // Kubernetes keeps the order of rules, and jitd writes them sorted.
            ("rules", "object.?rules.orValue([])".to_owned()),
        ],
        validations: gateway_roles_of(host, impersonation),
        ..Policy::default()
    }
}

/// Whether the request is this host's daemon's.
fn is_daemon(users: Users<'_>) -> String {
    format!("request.userInfo.username == {}", quoted(&users.daemon()))
}

/// Whether the request is nobody's whom the policies of some host limit.
fn others() -> String {
    // The groups count too: whoever may impersonate users could combine a daemon's name with privileged groups, but a
    // daemon's certificate has no group.
    let by_name = format!(
        "(request.userInfo.username.startsWith({}) && request.userInfo.?groups.orValue([]) == {})",
        quoted(DAEMON),
        list(&["system:authenticated"])
    );
    // A daemon whose name we did not choose is known by a right that its manifest gives it, for its own objects. Whoever
    // has that right for every host has all rights, and is an administrator.
    let (verb, group, resource) = REPRESENT;
    let right = format!("authorizer.group({}).resource({})", quoted(group), quoted(resource));
    let host = format!("object.metadata.?labels[?{}].orValue(\"\")", quoted(HOST_LABEL));
    let verb = quoted(verb);
    let by_right = format!(
        "(request.operation == \"CREATE\" && {host} != \"\" && {right}.name({host}).check({verb}).allowed() \
         && !{right}.check({verb}).allowed())"
    );
    format!("!({by_name} || {by_right})")
}

fn annotation(key: &str) -> String {
    format!("object.metadata.?annotations[?{}].orValue(\"\")", quoted(key))
}

/// The labels of the request's namespace. Evaluated only for namespaced requests, which have one.
const NAMESPACE_LABELS: &str = "namespaceObject.metadata.?labels.orValue({})";

fn bindings_of(host: &str, reaches: &[Reach], gateway: Option<&ActingGateway>) -> Vec<(String, String)> {
    let mut validations = common(host, "binding", &of_bindings(gateway));
    // The gateway's bindings differ from a grant's own in subject and role.
    let or_gateway = |own: String, of_gateway: &dyn Fn(&ActingGateway) -> String| match gateway {
        None => own,
        Some(gateway) => format!("object.metadata.name.matches({}) ? ({own}) : ({})", name(), of_gateway(gateway)),
    };
    let one_subject = |kind: &str| {
        format!(
            "object.?subjects.orValue([]).size() == 1 && object.subjects[0].kind == {} \
             && object.subjects[0].?apiGroup.orValue(\"\") == {}",
            quoted(kind),
            quoted(RBAC_GROUP)
        )
    };
    let own_group = format!(
        "{} && object.subjects[0].name == object.metadata.name.replace({}, {}, 1)",
        one_subject("Group"),
        quoted(OBJECT),
        quoted(SUBJECT)
    );
    validations.push((
        or_gateway(own_group, &|gateway| {
            format!("{} && object.subjects[0].name == {}", one_subject("User"), quoted(gateway.user.as_str()))
        }),
        match gateway {
            None => {
                "a grant's binding must have one subject: the group of that grant, named like the binding".to_owned()
            }
            Some(ActingGateway { user, .. }) => format!(
                "a grant's binding must have one subject: the group of that grant, named like the binding, or for a \
                 binding of the gateway the user `{user}`"
            ),
        },
    ));
    let own_role = format!(
        "request.resource.resource == \"rolebindings\" ? {} : {}",
        binding_in_namespace(reaches),
        binding_in_cluster(reaches)
    );
    validations.push((
        or_gateway(own_role, &|gateway| {
            let whom = "request.resource.resource == \"clusterrolebindings\" && object.roleRef.name == object.metadata.name";
            let role = match gateway.impersonation {
                Impersonation::Unconstrained => whom.to_owned(),
                Impersonation::Constrained => format!(
                    "object.metadata.name.endsWith({}) ? (object.roleRef.name == {} && {}) : ({whom})",
                    quoted(GATEWAY_ON),
                    quoted(&names::gateway_on_role(host)),
                    where_grants_are(reaches)
                ),
            };
            format!("object.roleRef.kind == \"ClusterRole\" && ({role})")
        }),
        format!(
            "no rule of the policy on `{host}` allows this role here; hint: if the policy has changed, apply the output \
             of `jitd manifest`"
        ),
    ));
    validations
}

fn gateway_roles_of(host: &str, impersonation: Impersonation) -> Vec<(String, String)> {
    let mut validations = common(host, "role for the gateway", &name_with(GATEWAY));
    let (verb, group, [first, second, third]) = match impersonation {
        Impersonation::Constrained => (ACT_AS, ACT_AS_GROUP, [GROUP, GRANT_ID, HOLDER]),
        Impersonation::Unconstrained => (IMPERSONATE, "", [GROUP, HOLDER, GRANT_ID]),
    };
    let extra = format!("userextras/{GRANT_EXTRA}");
    let rule = |number: usize, of: &str| {
        let (group, resource, name) = match of {
            GROUP => (group, "groups", format!("{} + variables.grant", quoted(SUBJECT))),
            HOLDER => (group, "users", "variables.user".to_owned()),
            _ => (ACT_AS_GROUP, extra.as_str(), "variables.grant".to_owned()),
        };
        let rule = format!("variables.rules[{number}]");
        format!(
            "{rule}.?apiGroups.orValue([]) == {} && {rule}.?resources.orValue([]) == {} \
             && {rule}.?resourceNames.orValue([]) == [{name}]",
            list(&[group]),
            list(&[resource])
        )
    };
    validations.push((
        [
            format!("object.metadata.name == {} + variables.grant + {}", quoted(OBJECT), quoted(GATEWAY)),
            // No colon: a daemon is never impersonated.
            format!("variables.user.matches({})", quoted(&format!("^{SUBJECT}[^:]+$"))),
            "!object.?aggregationRule.hasValue() && variables.rules.size() == 3".to_owned(),
            format!(
                "variables.rules.all(rule, rule.verbs == {} && rule.?nonResourceURLs.orValue([]).size() == 0)",
                list(&[verb])
            ),
            rule(0, first),
            rule(1, second),
            rule(2, third),
        ]
        .join(" && "),
        format!(
            "a role for the gateway must let it act as the holder of one grant: the user and the grant of the annotations \
             `{USER}` and `{GRANT}`, the group of that grant, and nobody else"
        ),
    ));
    validations
}

/// What the three rules of such a role are about.
const GROUP: &str = "group";
const HOLDER: &str = "holder";
const GRANT_ID: &str = "grant";

fn roles_of(host: &str, reaches: &[Reach]) -> Vec<(String, String)> {
    let mut validations = common(host, "role", &name());
    validations.push((
        format!("request.resource.resource == \"roles\" && {}", where_roles_are_made(reaches)),
        format!(
            "no rule of the policy on `{host}` lets a grant own a role here, and jitd never creates a ClusterRole; hint: \
             if the policy has changed, apply the output of `jitd manifest`"
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
        format!("a grant's role must have the annotations `{GRANT}` and `{USER}`"),
    ));
    validations
}

/// Objects without our labels may be deleted too: somebody may have removed the labels, and access has to end all the
/// same. Objects with the label of another host may not.
fn deletions_of(host: &str) -> Vec<(String, String)> {
    vec![
        (
            // The gateway's too, also when people do not go through the gateway any more.
            format!("oldObject.metadata.name.matches({})", any_name()),
            "jitd may delete only objects named `jit-` and the 16 letters of a grant".to_owned(),
        ),
        (
            format!(
                "oldObject.metadata.?labels[?{}].orValue({host}) == {host}",
                quoted(HOST_LABEL),
                host = quoted(host)
            ),
            format!("the label `{HOST_LABEL}` says that this object belongs to another host, not to `{host}`"),
        ),
    ]
}

fn common(host: &str, what: &str, name: &str) -> Vec<(String, String)> {
    vec![
        (
            r#"request.operation == "CREATE""#.to_owned(),
            format!("jitd never changes a {what}; it creates one for a grant and deletes it"),
        ),
        (
            format!("object.metadata.name.matches({name})"),
            format!("a grant's {what} must be named `jit-` and the 16 letters of the grant"),
        ),
        (
            [(MANAGED_BY, OURS), (HOST_LABEL, host)]
                .map(|(key, value)| {
                    format!("object.metadata.?labels[?{}].orValue(\"\") == {}", quoted(key), quoted(value))
                })
                .join(" && "),
            format!("a grant's {what} must have the labels `{MANAGED_BY}: {OURS}` and `{HOST_LABEL}: {host}`"),
        ),
    ]
}

/// Whether an object has a label of jitd.
fn marked(of: &str) -> String {
    format!(
        "({of}.metadata.?labels[?{}].orValue(\"\") == {} || {of}.metadata.?labels[?{}].hasValue())",
        quoted(MANAGED_BY),
        quoted(OURS),
        quoted(HOST_LABEL)
    )
}

/// Whether a role is one that a grant owns, or would be mistaken for one. The name alone is enough: otherwise somebody
/// could delete a grant's role and create another in its place, and the grant's binding would grant that.
fn is_grants_role(of: &str) -> String {
    format!("({of}.metadata.name.matches({}) || {})", any_name(), marked(of))
}

/// The guard's variables about a binding, before and after the change.
fn guarded(users: Users<'_>) -> Vec<(&'static str, String)> {
    let (ours, daemon) = (quoted(SUBJECT), quoted(DAEMON));
    let names_daemon = users.daemon.map_or_else(String::new, |user| format!(" || {}", is_subject(user)));
    let names =
        |of: &str| format!("{of}.?subjects.orValue([]).exists(subject, subject.name.startsWith({ours}){names_daemon})");
    // The bindings that the manifest of the host `own` has for its daemon.
    let installed_for = |of: &str, is_daemon: &str, own: &str| {
        format!(
            "{of}.?subjects.orValue([]).size() == 1 && {of}.subjects[0].kind == \"User\" \
             && {of}.subjects[0].name{is_daemon} \
             && (request.resource.resource == \"clusterrolebindings\" ? ({whole}) : ({ceiling} || {narrow}))",
            whole = format_args!(
                "{of}.roleRef.kind == \"ClusterRole\" && {of}.roleRef.name == {of}.metadata.name \
                 && {of}.metadata.name == {own}"
            ),
            ceiling = format_args!(
                "({of}.roleRef.kind == \"ClusterRole\" && {of}.roleRef.name == {of}.metadata.name \
                 && {of}.metadata.name.startsWith({own} + \"-ceiling-\"))"
            ),
            narrow = format_args!(
                "{of}.metadata.name == {own} + \"-narrow-\" + {of}.roleRef.kind.lowerAscii() + \"-\" + {of}.roleRef.name"
            ),
        )
    };
    let installed = |of: &str| {
        // The name contains the host, so several hosts can share a cluster.
        let own = format!("{of}.subjects[0].name.replace({daemon}, \"jitd-\", 1)");
        let some_hosts = installed_for(of, &format!(".startsWith({daemon})"), &own);
        match users.daemon {
            None => some_hosts,
            Some(user) => {
                let is = format!(" == {}", quoted(user.as_str()));
                format!("({some_hosts}) || ({})", installed_for(of, &is, &quoted(&super::own_name(users.host))))
            }
        }
    };
    vec![
        ("namesOurs", names("object")),
        ("isMarked", marked("object")),
        ("isInstalled", installed("object")),
        ("wasOurs", format!("{} || {}", names("oldObject"), marked("oldObject"))),
        ("wasInstalled", installed("oldObject")),
        // The garbage collector removes its finalizers by an update; a person who frees a stuck binding may do so too.
        (
            "isLeaving",
            "request.operation == \"UPDATE\" && has(oldObject.metadata.deletionTimestamp) && object.?subjects.orValue([]) == \
             oldObject.?subjects.orValue([]) && object.metadata.?labels.orValue({}) == \
             oldObject.metadata.?labels.orValue({})"
                .to_owned(),
        ),
    ]
}

/// Whether `subject` is the daemon's user, in either form that RBAC has for a service account.
fn is_subject(user: &DaemonUser) -> String {
    let by_name = format!("(subject.kind == \"User\" && subject.name == {})", quoted(user.as_str()));
    match user.service_account() {
        None => by_name,
        Some((namespace, name)) => format!(
            "{by_name} || (subject.kind == \"ServiceAccount\" && subject.name == {} \
             && subject.?namespace.orValue(\"\") == {})",
            quoted(name),
            quoted(namespace)
        ),
    }
}

/// An admission policy and its binding.
#[derive(Default)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) why: &'static str,
    pub(super) who: String,
    pub(super) operations: &'static [&'static str],
    /// The API groups of `resources`; none for those of RBAC.
    pub(super) groups: &'static [&'static str],
    pub(super) resources: &'static [&'static str],
    /// Names and expressions; each may use those before it.
    pub(super) variables: Vec<(&'static str, String)>,
    /// Expressions, each with the message if it is false.
    pub(super) validations: Vec<(String, String)>,
}

impl Policy {
    /// The policy and its binding, with every default of the API server spelled out, so that they can be compared with
    /// the objects in a cluster.
    fn objects(&self, host: &str) -> [Object; 2] {
        let kind = "ValidatingAdmissionPolicy";
        let variables = self.variables.iter().map(|(name, is)| json!({ "name": name, "expression": is }));
        let validations = self
            .validations
            .iter()
            .map(|(holds, else_says)| json!({ "expression": holds, "message": else_says, "reason": "Forbidden" }));
        let groups = if self.groups.is_empty() { &[RBAC_GROUP] } else { self.groups };
        let mut policy = json!({
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "resourceRules": [{
                    "apiGroups": groups, "apiVersions": ["v1"], "resources": self.resources,
                    "operations": self.operations, "scope": "*",
                }],
            },
            "matchConditions": [{ "name": "who", "expression": self.who }],
            "validations": validations.collect::<Vec<Value>>(),
        });
        // The API server drops an empty list, and `kubectl diff` would report that every time.
        if let (false, Some(policy)) = (self.variables.is_empty(), policy.as_object_mut()) {
            policy.insert("variables".to_owned(), variables.collect());
        }
        let binding = json!({ "policyName": self.name, "validationActions": ["Deny"] });
        [
            document(self.why, ADMISSION, kind, &self.name, host, json!({ "spec": policy })),
            document(
                "puts the policy above into effect",
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

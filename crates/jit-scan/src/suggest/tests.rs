//! What is suggested for a small cluster: how narrow, by whom it is refused, and what stays.

use jit_core::grant::policy::Policy;

use super::*;
use crate::audit::AuditLogs;
use crate::audit::tests::EVENT;
use crate::snapshot::{Identity, Meta, Role, Snapshot};

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

/// `get,list pods,pods/log`, and the names of objects.
fn rule(text: &str, names: &[&str]) -> Rule {
    let (verbs, resources) = text.split_once(' ').unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    Rule::exactly(&words(verbs), &words(resources), &names).remove(0)
}

fn name(object: &str) -> Name {
    match object.split_once('/') {
        Some((namespace, name)) => Name { namespace: Some(namespace.to_owned()), name: name.to_owned() },
        None => Name { namespace: None, name: object.to_owned() },
    }
}

fn role(object: &str, rules: Vec<Rule>) -> Role {
    Role { name: name(object), meta: Meta::default(), rules, aggregates: None }
}

/// `user alice`, `group dev`, `sa payments/ci`.
fn subject(text: &str) -> Subject {
    let (kind, of) = text.split_once(' ').unwrap();
    let (kind, namespace, of) = match (kind, of.split_once('/')) {
        ("sa", Some((namespace, of))) => (Kind::ServiceAccount, Some(namespace.to_owned()), of),
        ("group", _) => (Kind::Group, None, of),
        _ => (Kind::User, None, of),
    };
    Subject { kind, namespace, name: of.to_owned() }
}

fn binding(object: &str, role: &str, subjects: &[&str]) -> Binding {
    let (kind, of) = match role.strip_prefix("role/") {
        Some(of) => (RoleKind::Role, of),
        None => (RoleKind::ClusterRole, role),
    };
    let identity = Identity { uid: format!("uid-{object}"), resource_version: "7".to_owned() };
    Binding {
        name: name(object),
        meta: Meta { identity: Some(identity), ..Meta::default() },
        role: RoleRef { kind, name: of.to_owned() },
        subjects: subjects.iter().map(|text| subject(text)).collect(),
    }
}

fn cluster(bindings: Vec<Binding>) -> Snapshot {
    let everything = Rule { api_groups: words("*"), resources: words("*"), verbs: words("*"), ..Rule::default() };
    let urls = Rule { non_resource_urls: words("/metrics,/healthz"), verbs: words("get"), ..Rule::default() };
    Snapshot {
        roles: vec![
            role("cluster-admin", vec![everything]),
            role("view", vec![rule("get,list,watch pods,configmaps", &[]), rule("get pods/log", &[])]),
            role("ops", vec![rule("get,list nodes,pods,configmaps", &[]), urls]),
            role("payments/local", vec![rule("get configmaps", &["app", "db"])]),
            role("empty", Vec::new()),
        ],
        bindings,
        ..Snapshot::default()
    }
}

fn terms() -> Terms {
    Terms { cluster: "prod".parse().unwrap(), approvers: vec!["leads".to_owned()], guardrails: None, runner: None }
}

/// A log with a line for each use: the user, the verb, the resource, the namespace, and the reason of RBAC.
fn log(lines: &[(&str, &str, &str, &str, &str)]) -> Uses {
    let line = |(user, verb, resource, namespace, reason): &(&str, &str, &str, &str, &str)| {
        let mut event: serde_json::Value = serde_json::from_str(EVENT).unwrap();
        event["user"]["username"] = (*user).into();
        event["verb"] = (*verb).into();
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        event["objectRef"] = serde_json::json!({ "resource": resource, "subresource": sub, "namespace": namespace });
        if let Some(url) = verb.strip_prefix("url ") {
            event["verb"] = "get".into();
            event["requestURI"] = url.into();
            event.as_object_mut().unwrap().remove("objectRef");
        }
        event["annotations"]["authorization.k8s.io/reason"] = (*reason).into();
        format!("{event}\n")
    };
    let mut logs = AuditLogs::default();
    let text: String = lines.iter().map(line).collect();
    logs.read("audit.log", text.as_bytes()).unwrap();
    logs.finish()
}

const DEV: &str = r#"RBAC: allowed by RoleBinding "dev/payments" of ClusterRole "view" to Group "dev""#;
const OPS: &str = r#"RBAC: allowed by ClusterRoleBinding "ops" of ClusterRole "ops" to User "alice""#;
const LOCAL: &str = r#"RBAC: allowed by RoleBinding "local/payments" of Role "local" to User "bob""#;

fn suggested<'a>(access: &'a Access<'_>, uses: Option<&Uses>, terms: &Terms) -> Suggestion<'a> {
    let found = suggest(access, uses, terms).unwrap();
    let policy = Policy::read(&found.policy, terms.guardrails.as_deref()).unwrap();
    assert_eq!(policy.cases().len(), found.tests);
    assert!(policy.cases().iter().all(|case| case.test(&policy).passed), "{}", found.policy);
    assert_eq!(Plan::parse(&found.plan.yaml()).map(|plan| plan.steps), Ok(found.plan.steps.clone()));
    found
}

/// For each rule: its group, role and places.
fn rules(found: &Suggestion<'_>) -> Vec<String> {
    let places = |rule: &Suggested| rule.places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    found.rules.iter().map(|rule| format!("{}: {} in {}", rule.who, rule.role, places(rule))).collect()
}

/// Why each grant stays, by binding and subject.
fn stays(found: &Suggestion<'_>) -> BTreeMap<String, String> {
    let why = |grant: &Grant<'_>| Some((format!("{} {}", grant.object(), grant.holding.through), grant.stays.clone()?));
    found.grants.iter().filter_map(why).collect()
}

#[test]
fn without_a_log_a_request_is_as_wide_as_the_role() {
    let snapshot = cluster(vec![
        binding("payments/dev", "view", &["group dev", "user alice"]),
        binding("shop/dev", "view", &["group dev"]),
        binding("payments/local", "role/local", &["user bob"]),
        binding("ops", "ops", &["user dev"]),
    ]);
    let access = Access::of(&snapshot);
    let found = suggested(&access, None, &terms());
    // The group of a user is not that of a group with the same name.
    let expected = [
        "user-dev: ops in the whole cluster, any namespace",
        "alice: view in payments",
        "dev: view in payments, shop",
        "bob: role/local in payments",
    ];
    assert_eq!(rules(&found), expected);
    assert!(found.roles.is_empty() && stays(&found).is_empty());
    assert!(found.grants.iter().all(|grant| grant.evidence == "no audit log: as wide as the role"));
    assert_eq!(found.groups["user-dev"], subject("user dev"));
}

#[test]
fn with_a_log_a_request_is_what_was_used_and_no_more_than_what_is_held() {
    let snapshot = cluster(vec![
        binding("payments/dev", "view", &["group dev"]),
        binding("shop/dev", "view", &["group dev"]),
        binding("payments/local", "role/local", &["user bob"]),
        binding("ops", "ops", &["user alice"]),
    ]);
    let access = Access::of(&snapshot);
    let uses = log(&[
        ("carol", "get", "pods", "payments", DEV),
        ("dave", "get", "pods/log", "payments", DEV),
        // The role does not have it any more.
        ("dave", "delete", "pods", "payments", DEV),
        ("alice", "list", "pods", "shop", OPS),
        ("alice", "list", "configmaps", "payments", OPS),
        ("alice", "list", "nodes", "", OPS),
        ("alice", "url /metrics", "", "", OPS),
        ("bob", "get", "configmaps", "payments", LOCAL),
    ]);
    let found = suggested(&access, Some(&uses), &terms());
    let expected = [
        "alice: alice-ops in payments, shop",
        "alice: alice-ops-cluster in the whole cluster",
        "dev: dev-view in payments",
        // All of its rights were used, and it is limited to names.
        "bob: role/local in payments",
        "dev: view in shop",
    ];
    assert_eq!(rules(&found), expected);
    let roles: Vec<String> = found
        .roles
        .iter()
        .map(|role| {
            format!("{}: {}", role.name, role.rules.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })
        .collect();
    let expected = [
        "alice-ops: list configmaps, pods",
        "alice-ops-cluster: get /metrics; list nodes",
        "dev-view: get pods, pods/log",
    ];
    assert_eq!(roles, expected);
    let unused = found.grants.iter().find(|grant| grant.object() == "shop/rolebinding/dev").unwrap();
    assert!(unused.evidence.starts_with("not used in the 0 days of the logs"), "{}", unused.evidence);
}

/// A log of which a line could not be read narrows nothing.
#[test]
fn a_log_that_is_not_whole_narrows_nothing() {
    let snapshot = cluster(vec![binding("payments/dev", "view", &["group dev"])]);
    let access = Access::of(&snapshot);
    let mut logs = AuditLogs::default();
    let event = EVENT.replace("system:serviceaccount:payments:builder", "carol");
    logs.read("audit.log", format!("{event}no event\n").as_bytes()).unwrap();
    let found = suggested(&access, Some(&logs.finish()), &terms());
    assert_eq!(rules(&found), ["dev: view in payments"]);
    assert_eq!(found.grants[0].evidence, "the logs are not complete, so nothing can be left out");
}

#[test]
fn what_the_policy_engine_refuses_is_reported_and_not_written() {
    let snapshot = cluster(vec![
        binding("admins", "cluster-admin", &["group admins"]),
        binding("kube-system/dev", "view", &["group dev"]),
        binding("payments/dev", "view", &["group dev"]),
        binding("payments/odd", "view", &["group  space"]),
        binding("payments/system", "system:node", &["user alice"]),
        binding("payments/none", "empty", &["user alice"]),
    ]);
    let access = Access::of(&snapshot);
    let found = suggested(&access, None, &terms());
    assert_eq!(rules(&found), ["dev: view in payments"]);
    let stays = stays(&found);
    let why = |grant: &str| stays.get(grant).map(String::as_str).unwrap_or_default();
    assert!(why("clusterrolebinding/admins group admins").contains("`cluster-admin` is never granted"), "{stays:#?}");
    assert!(why("kube-system/rolebinding/dev group dev").contains("never.namespaces"), "{stays:#?}");
    assert!(why("payments/rolebinding/odd group  space").contains("no group"), "{stays:#?}");
    assert!(why("payments/rolebinding/system user alice").contains("not in the input"), "{stays:#?}");
    assert!(why("payments/rolebinding/none user alice").contains("no rules"), "{stays:#?}");
    assert_eq!(found.plan.removals().len(), 1);

    let short = Terms { guardrails: Some("maxDuration: 10m\n".to_owned()), ..terms() };
    assert!(suggested(&access, None, &short).policy.contains("maxDuration: 5m"));
    let wrong = Terms { guardrails: Some("maxDuration: [\n".to_owned()), ..terms() };
    assert!(matches!(suggest(&access, None, &wrong), Err(NoSuggestion::Guardrails { .. })));
}

#[test]
fn programs_and_the_system_stay_with_advice() {
    let snapshot = cluster(vec![
        binding("payments/ci", "view", &["sa payments/ci", "sa payments/idle"]),
        binding("payments/all", "view", &["group system:nodes"]),
        binding("jit-own", "view", &["group jit:abc"]),
    ]);
    let access = Access::of(&snapshot);
    let ci = r#"RBAC: allowed by RoleBinding "ci/payments" of ClusterRole "view" to ServiceAccount "ci/payments""#;
    let uses = log(&[("system:serviceaccount:payments:ci", "get", "pods", "payments", ci)]);
    let found = suggested(&access, Some(&uses), &terms());
    assert_eq!(found.grants.len(), 3, "what jitd made itself is no standing grant");
    let stays = stays(&found);
    assert_eq!(
        stays["payments/rolebinding/ci service account payments/ci"],
        "a program cannot request: bind it to a role with what it used: get pods"
    );
    assert!(stays["payments/rolebinding/ci service account payments/idle"].contains("remove it by hand"));
    assert!(stays["payments/rolebinding/all group system:nodes"].contains("the system's own"));
    assert!(found.rules.is_empty() && found.plan.steps.is_empty());
}

/// A right that everybody has is not lost with the binding, and not in the new role.
#[test]
fn what_everybody_may_do_is_not_requested() {
    let mut snapshot = cluster(vec![
        binding("payments/all", "role/public", &["group system:authenticated"]),
        binding("payments/dev", "view", &["group dev"]),
    ]);
    snapshot.roles.push(role("payments/public", vec![rule("get configmaps", &[])]));
    let access = Access::of(&snapshot);
    let uses =
        log(&[("carol", "get", "configmaps", "payments", DEV), ("carol", "list", "configmaps", "payments", DEV)]);
    let found = suggested(&access, Some(&uses), &terms());
    let rules: Vec<String> = found.roles[0].rules.iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["list configmaps"]);
}

/// The last administrator, and whoever runs the plan, keep what they have.
#[test]
fn nobody_is_locked_out() {
    let wide = |name: &str| {
        let all = Rule { api_groups: words("*"), resources: words("*"), verbs: words("*"), ..Rule::default() };
        role(name, vec![all])
    };
    let mut snapshot = cluster(vec![
        binding("a-admins", "everything", &["user alice", "group admins"]),
        binding("b-admins", "everything", &["user bob"]),
        binding("payments/dev", "view", &["group dev", "sa payments/ci"]),
    ]);
    snapshot.roles.push(wide("everything"));
    let access = Access::of(&snapshot);
    let admin = |user: &str, binding: &str, of: &str| {
        let reason = format!(r#"RBAC: allowed by ClusterRoleBinding "{binding}" of ClusterRole "everything" to {of}"#);
        (user.to_owned(), reason)
    };
    let used: Vec<(String, String)> = vec![
        admin("alice", "a-admins", r#"User "alice""#),
        admin("carol", "a-admins", r#"Group "admins""#),
        admin("bob", "b-admins", r#"User "bob""#),
    ];
    let lines: Vec<_> =
        used.iter().map(|(user, reason)| (user.as_str(), "list", "nodes", "", reason.as_str())).collect();
    let uses = log(&lines);
    let found = suggested(&access, Some(&uses), &terms());
    let stay: Vec<String> = stays(&found).into_keys().collect();
    assert_eq!(
        stay,
        ["clusterrolebinding/a-admins group admins", "payments/rolebinding/dev service account payments/ci",]
    );
    let removals = found.plan.removals();
    let order: Vec<&str> = removals.iter().map(|removal| removal.name.as_str()).collect();
    assert_eq!(order, ["dev", "a-admins", "b-admins"], "administrators go last");
    assert_eq!(administrators_after(&access, &removals), [subject("group admins")]);
    assert_eq!(administrators_after(&access, &[]).len(), 3);

    let alice = Runner { user: "alice".to_owned(), groups: vec!["system:authenticated".to_owned()] };
    let found = suggested(&access, Some(&uses), &Terms { runner: Some(alice), ..terms() });
    let stays = stays(&found);
    assert!(stays["clusterrolebinding/a-admins user alice"].contains("what you hold"));
    assert!(!stays.contains_key("clusterrolebinding/a-admins group admins"), "alice is an administrator who is left");
}

#[test]
fn each_removal_is_conditional_and_has_its_undo() {
    let mut snapshot = cluster(vec![
        binding("payments/it's me; rm -rf", "view", &["group dev"]),
        binding("payments/mixed", "view", &["group dev", "sa payments/ci"]),
        binding("payments/escape\u{1b}[2J", "view", &["group dev"]),
        binding("payments/manifest", "view", &["group dev"]),
    ]);
    snapshot.bindings[1].meta.labels.insert("app.kubernetes.io/managed-by".to_owned(), "Helm".to_owned());
    snapshot.bindings[3].meta.identity = None;
    let access = Access::of(&snapshot);
    let found = suggested(&access, None, &terms());
    let stays = stays(&found);
    assert!(stays["payments/rolebinding/manifest group dev"].contains("no uid"), "{stays:#?}");
    assert!(stays["payments/rolebinding/escape\u{1b}[2J group dev"].contains("by hand"), "{stays:#?}");
    let steps: Vec<&Step> = found.plan.steps.iter().filter(|step| step.removes.is_some()).collect();
    let commands: Vec<&str> = steps.iter().map(|step| step.command.as_str()).collect();
    assert_eq!(
        commands,
        [
            "kubectl delete --raw /apis/rbac.authorization.k8s.io/v1/namespaces/payments/rolebindings/it%27s%20me%3B%20rm%20-rf \
             -f remove/004.json",
            "kubectl patch rolebinding/mixed -n payments --type=json --patch-file=remove/005.json",
        ]
    );
    assert!(steps[1].does.contains("service account payments/ci stays"), "{}", steps[1].does);
    assert!(steps[1].does.contains("Helm manages it"), "{}", steps[1].does);
    let body = &found.plan.files["remove/004.json"];
    assert!(body.contains("\"uid\": \"uid-payments/it's me; rm -rf\"") && body.contains("\"resourceVersion\": \"7\""));
    let undo = &found.plan.files["undo/005.yaml"];
    assert!(undo.contains("kind: RoleBinding") && undo.contains("name: ci") && undo.contains("Helm"), "{undo}");

    let edited = found.plan.yaml().replace("remove/004.json", "other.json");
    assert!(Plan::parse(&edited).unwrap_err().to_string().contains("step 4"));
    assert!(Plan::parse("steps: 1").is_err() && Plan::parse("").is_err());
}

//! A cluster whose API server behaves as Kubernetes 1.33 did and knows no limits for impersonation, like every one before 1.36: a grant lets the
//! gateway act as its holder by the verb `impersonate`, for exactly these names. `impersonation` shows the same with
//! limits.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, Key, Options, path, text};
use crate::gateway::{Front, kubectl_works, with_a_pod};
use crate::impersonation::{
    RBAC, Thief, attend_feed, gateway_bound, group, made_for, objects, through_gateway, until_roles_are_fenced,
};
use crate::plane::{Plane, until};
use crate::wall::{daemon, everywhere, in_force, refused, unbounded, until_checked, walled_with, with};

/// A daemon that is told so.
fn told() -> Options {
    let through = through_gateway();
    Options { cluster: format!("{}, impersonation: unconstrained", through.cluster), ..through }
}

/// What a live grant has there: nothing says where.
fn objects_of(grant: &Value) -> BTreeSet<String> {
    let name = format!("jit-{}", grant["id"].as_str().unwrap());
    [name.clone(), format!("{name}-gateway"), format!("role {name}-gateway")].into()
}

/// Without a live grant the credential is worth nothing, and with one it is worth the grant. That the names of live grants
/// can be mixed is the price.
#[test]
fn a_stolen_credential_is_worth_the_live_grants_without_limits_too() {
    let bastion = Bastion::with(Plane::unconstrained(), told());
    attend_feed(&bastion);
    let thief = Thief::of(&bastion);
    let (ns, shop) = (bastion.ns.as_str(), bastion.shop.as_str());
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("10m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let own = group(&grant);
    assert_eq!(thief.looks_as("jit:alice", &[&own], ns), 403);

    let access = bastion.collect(&grant, key);
    // Live means that the gateway may: nobody waits here.
    assert_eq!(thief.looks_as("jit:alice", &[&own], ns), 200);
    assert_eq!(bastion.look(&access, ns), 200);
    assert_eq!(objects(&bastion), objects_of(&grant));
    let other = bastion.live(&json!({
        "cluster": "play", "namespaces": [shop], "role": "view", "duration": "5m", "reason": "INC-42",
    }));
    let other = group(&other.grant);
    assert_eq!([ns, shop].map(|place| thief.looks_as("jit:alice", &[&own, &other], place)), [200, 200], "mixed");
    for (user, groups, namespace) in [
        ("jit:alice", vec![own.as_str()], shop),
        ("jit:alice", vec![own.as_str()], "kube-system"),
        ("jit:alice", vec!["system:masters"], ns),
        ("jit:alice", vec![own.as_str(), "system:masters"], ns),
        ("jit:alice", vec![own.as_str(), "system:authenticated"], ns),
        ("jit:alice", vec![own.as_str(), "jit:0000000000000000"], ns),
        ("jit:alice", vec![], ns),
        ("jit:bob", vec![own.as_str()], ns),
        ("admin", vec![own.as_str()], ns),
        ("system:admin", vec![own.as_str()], ns),
        ("system:serviceaccount:kube-system:default", vec![own.as_str()], ns),
        ("system:node:n1", vec![own.as_str()], ns),
        (&format!("jit:daemon:{}", bastion.host), vec![own.as_str()], ns),
    ] {
        assert_eq!(thief.looks_as(user, &groups, namespace), 403, "{user} {groups:?} {namespace}");
    }
    assert_eq!(thief.client.get(&format!("/api/v1/namespaces/{ns}/configmaps")).0, 403, "its own rights are none");
    let (id, configmaps) = (grant["id"].as_str().unwrap(), format!("/api/v1/namespaces/{ns}/configmaps"));
    let with = |name: &str, value: &str| thief.calls_as("jit:alice", &[&own], &[(name, value)], &configmaps).0;
    let extra = "Impersonate-Extra-Jitd.dev%2fgrant";
    assert_eq!((with(extra, id), with(extra, "0000000000000000")), (200, 403));
    assert_eq!((with("Impersonate-Extra-Scopes", "x"), with("Impersonate-Uid", "x")), (403, 403));
    // Clients find their way.
    for path in ["/api", "/api/v1", "/apis", "/apis/apps/v1", "/version", "/openapi/v3"] {
        assert_eq!(thief.calls_as("jit:alice", &[&own], &[], path).0, 200, "{path}");
    }

    let (status, ended) = bastion.post(ALICE, &path(&grant, "/end"), &Value::Null);
    assert_eq!((status, &ended["phase"]), (200, &json!("ended")), "{ended}");
    assert_eq!(thief.looks_as("jit:alice", &[&own], ns), 403, "at once");
    until("the authorizer follows", || {
        let (status, answer) = thief.calls_as("jit:alice", &[&own], &[], "/version");
        (status == 403 && answer.to_string().contains("cannot impersonate")).then_some(())
    });
    assert_eq!(thief.looks_as("jit:alice", &[&other], shop), 200, "the other grant goes on");
    assert!(objects(&bastion).is_disjoint(&objects_of(&grant)), "{:?}", objects(&bastion));
    bastion.has_no_fault();
}

/// What the configuration demands and the API server does not have, nobody gets access without: it is tried, whatever the
/// version says.
#[test]
fn a_cluster_without_limits_is_refused_unless_the_configuration_accepts_it() {
    let bastion = Bastion::with(Plane::unconstrained(), through_gateway());
    attend_feed(&bastion);
    let body = json!({ "ask": bastion.ask("5m"), "csr": Key::new().csr() });
    let (status, answer) = bastion.post(ALICE, "/v1/grants", &body);
    let said = answer.to_string();
    assert!(status >= 400 && said.contains("does not limit where the gateway may act as a holder"), "{said}");
    assert!(said.contains("impersonation: unconstrained"), "{said}");
    assert_eq!(objects(&bastion), BTreeSet::new());
}

/// A grant that was made one way ends that way after the configuration has changed, as it does when the cluster was
/// upgraded.
#[test]
fn a_grant_ends_as_it_was_made_when_impersonation_changes() {
    let mut bastion = Bastion::with(Plane::shared(), told());
    attend_feed(&bastion);
    let before = bastion.live(&bastion.ask("5m"));
    assert_eq!(objects(&bastion), objects_of(&before.grant));
    assert!(bastion.terminate());
    bastion.rewrite_config(", impersonation: unconstrained", "");
    let is_right = |document: &&str| document.contains("apiVersion: rbac.authorization.k8s.io/v1");
    let rights: Vec<String> = bastion.manifest().split("---\n").filter(is_right).map(ToOwned::to_owned).collect();
    bastion.apply(&rights.join("---\n"));
    bastion.serve();
    let after = bastion.live(&bastion.ask("5m"));
    let on = format!("jit-{}-gateway-on", after.grant["id"].as_str().unwrap());
    let both: BTreeSet<String> =
        [objects_of(&before.grant), objects_of(&after.grant), [on].into()].into_iter().flatten().collect();
    assert_eq!(objects(&bastion), both);
    let thief = Thief::of(&bastion);
    for access in [&before, &after] {
        assert_eq!(thief.looks_as("jit:alice", &[&group(&access.grant)], &bastion.ns), 200);
        assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    }
    assert_eq!(objects(&bastion), BTreeSet::new());
    let kinds: Vec<Value> = bastion
        .trail()
        .into_iter()
        .filter(|entry| entry["event"]["kind"] == "bind_intended")
        .map(|entry| entry["event"]["impersonation"].clone())
        .collect();
    assert_eq!(kinds, [json!("unconstrained"), Value::Null]);
}

/// The real clients, and the real gateway: also an exec, in both of its forms, which ends with its grant.
#[test]
fn kubectl_works_through_the_gateway_without_limits() {
    let front = Front::told(Plane::unconstrained(), ", impersonation: unconstrained");
    kubectl_works(&front);
    let grant = with_a_pod(&front, "exec sleep 300");
    for way in ["true", "false"] {
        let mut command = front.kubectl(&grant, &["exec", "web-0", "--", "sh", "-c", "echo out; exit 7"]);
        let done = command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", way).output().unwrap();
        let said = (done.status.code(), text(&done.stdout));
        assert_eq!(said, (Some(7), "out\n".to_owned()), "{way}: {}", text(&done.stderr));
    }
    let (exec, _out) = front.streams(&grant, &["exec", "web-0", "--", "sh", "-c", "echo out; exec sleep 300"]);
    front.says(ALICE, &["end", &grant]);
    let done = exec.wait_with_output().unwrap();
    let why = text(&done.stderr);
    assert!(!done.status.success() && why.contains(&format!("jit: grant {grant} has ended")), "{why}");
    assert!(!front.log().contains("ERROR"), "{}", front.log());
}

/// The manifest is complete there, and `jitd check` says so. Where limits are known, it says that they are not used.
#[test]
fn check_knows_whether_impersonation_is_limited() {
    let policy = "rules:\n- {name: payments, who: [payments-oncall], clusters: [play], namespaces: [NS], roles: [view], maxDuration: 10m, approval: [{groups: [payments-leads]}]}\n";
    let bastion = Bastion::prepared(Plane::unconstrained(), Options { policy: policy.to_owned(), ..told() });
    bastion.apply(&bastion.manifest());
    in_force(&bastion);
    until_checked(&bastion, &[]);
    let bastion = walled_with(Options { policy: policy.to_owned(), ..told() });
    until_checked(&bastion, &["warning gateway: this API server can limit where the gateway acts as a holder"]);
}

/// Where RBAC lets the daemon write and bind any ClusterRole, the fence alone keeps it to one grant's names at a time.
#[test]
fn the_fence_alone_keeps_the_daemon_to_the_names_of_a_grant() {
    let bastion = walled_with(told());
    let own = daemon(&bastion);
    let (host, id) = (bastion.host.as_str(), "gggggggggggggggg");
    let here = format!("{RBAC}/namespaces/{}/rolebindings", bastion.ns);
    let roles = format!("{RBAC}/clusterroles");
    let metadata = |name: &str| made_for(host, id, name);
    let rule = |group: &str, resource: &str, name: &str| json!({ "apiGroups": [group], "resources": [resource], "resourceNames": [name], "verbs": ["impersonate"] });
    let name = format!("jit-{id}-gateway");
    let role = json!({
        "metadata": metadata(&name),
        "rules": [
            rule("", "groups", &format!("jit:{id}")),
            rule("", "users", "jit:alice@example.com"),
            rule("authentication.k8s.io", "userextras/jitd.dev/grant", id),
        ],
    });
    let binding = |name: &str, role: &str| gateway_bound(host, metadata(name), role);
    let whom = binding(&name, &name);
    // With its own rights, which are the manifest's, it gets so far.
    own.create(&roles, &role);
    own.create(&everywhere(), &whom);
    for path in [format!("{}/{name}", everywhere()), format!("{roles}/{name}")] {
        own.delete(&path);
    }
    // It may do nothing as somebody else itself.
    let posing = [("Impersonate-User", "jit:alice"), ("Impersonate-Group", "system:masters")];
    assert_eq!(own.call_with(&posing, Method::GET, "/version", &Value::Null).0, 403);
    let fenced = unbounded(&bastion);
    until_roles_are_fenced(&fenced, &metadata(&name));

    let form = "must let it act as the holder of one grant";
    let changed = |at: &str, value: Value| with(role.clone(), |role| *role.pointer_mut(at).unwrap() = value);
    let more = |rule: Value| with(role.clone(), |role| role["rules"].as_array_mut().unwrap().push(rule));
    for other in [
        changed("/rules/0/resourceNames", json!(["system:masters"])),
        changed("/rules/0/resourceNames", json!([format!("jit:{id}"), "system:masters"])),
        changed("/rules/0/resourceNames", json!([])),
        changed("/rules/0/resources", json!(["*"])),
        changed("/rules/0/resources", json!(["groups", "serviceaccounts"])),
        changed("/rules/0/apiGroups", json!(["*"])),
        changed("/rules/0/apiGroups", json!(["", "*"])),
        changed("/rules/0/verbs", json!(["*"])),
        changed("/rules/0/verbs", json!(["impersonate", "bind"])),
        changed("/rules/0/verbs", json!(["impersonate:user-info"])),
        changed("/rules/1/resourceNames", json!(["jit:bob"])),
        changed("/rules/1/resourceNames", json!(["admin"])),
        changed("/rules/1/resourceNames", json!([])),
        changed("/rules/2/resources", json!(["userextras/scopes"])),
        changed("/rules/2/resourceNames", json!(["hhhhhhhhhhhhhhhh"])),
        changed("/metadata/annotations/jitd.dev~1grant", json!("hhhhhhhhhhhhhhhh")),
        changed("/rules", json!([])),
        more(rule("", "users", "jit:bob")),
        more(json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] })),
        more(json!({ "nonResourceURLs": ["*"], "verbs": ["impersonate"] })),
        with(changed("/rules/1/resourceNames", json!([format!("jit:daemon:{host}")])), |role| {
            role["metadata"]["annotations"]["jitd.dev/user"] = json!(format!("jit:daemon:{host}"));
        }),
        with(role.clone(), |role| {
            role["aggregationRule"] = json!({ "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] });
        }),
    ] {
        refused(fenced.call(Method::POST, &roles, &other), form);
    }
    let on_name = format!("{name}-on");
    for other in ["wide", "jit-gggggggggggggggg", &on_name] {
        refused(fenced.call(Method::POST, &roles, &changed("/metadata/name", json!(other))), "must be named");
    }
    for (path, object, why) in [
        (&here, binding(&on_name, &name), "must be named"),
        (&everywhere(), binding(&on_name, &on_name), "must be named"),
        (&here, whom.clone(), "no rule of the policy"),
        (&everywhere(), binding(&name, "cluster-admin"), "no rule of the policy"),
        (&here, binding(&format!("jit-{id}"), "cluster-admin"), "must have one subject"),
        (
            &everywhere(),
            with(whom.clone(), |object| object["subjects"][0]["name"] = json!("mallory")),
            "must have one subject",
        ),
    ] {
        let (status, answer) = fenced.call(Method::POST, path, &object);
        assert!(status == 403 && answer.to_string().contains(why), "{object}: `{why}` is not in {answer}");
    }
}

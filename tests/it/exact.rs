//! Exact rules and narrowed roles, with the whole manifest in force: such a grant owns a role, and Kubernetes itself
//! refuses a role beyond the policy's ceiling.
//!
//! On the control plane of `wall`, except where the daemon is killed: a middleman speaks as the administrator, whom the
//! guard keeps off.

use http::Method;
use serde_json::{Value, json};

use crate::bastion::{ALICE, Access, BOB, Bastion, ERIN, Key, Options, path, text};
use crate::crash::killed;
use crate::middleman::{Middleman, Play};
use crate::plane::{Admin, Plane, until};
use crate::wall::{
    bastion_binding, daemon, grant, in_namespace, refused, unbounded, unfenced, until_checked, walled_with, with,
};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ESCALATES: &str = "attempting to grant RBAC permissions not currently held";

/// Exact rules in the first namespace, a role that may be narrowed in the second.
const POLICY: &str = r#"
rules:
  - name: exact
    who: [payments-oncall]
    clusters: [play]
    namespaces: [NS]
    rules:
      - {apiGroups: [""], resources: [configmaps, pods], verbs: [get, list]}
      - {apiGroups: [""], resources: [pods/log], verbs: [get]}
    maxDuration: 10m
    approval: [{groups: [payments-leads]}]
  - name: cut-down
    who: [payments-oncall]
    clusters: [play]
    namespaces: [SHOP]
    roles: [NS-debug]
    narrow: true
    maxDuration: 10m
    approval: [{groups: [payments-leads]}]
"#;

fn options() -> Options {
    Options { policy: POLICY.to_owned(), ..Options::default() }
}

fn rule(resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [""], "resources": resources, "verbs": verbs })
}

fn ask(namespace: &str, rules: &Value) -> Value {
    json!({ "cluster": "play", "namespaces": [namespace], "rules": rules, "duration": "5m", "reason": "INC-42 queue stuck" })
}

fn roles(namespace: &str) -> String {
    format!("{RBAC}/namespaces/{namespace}/roles")
}

/// The roles of this daemon's grants.
fn made(bastion: &Bastion<'_>) -> Vec<Value> {
    let (status, list) = bastion.admin.get(&format!("{RBAC}/roles?labelSelector=jitd.dev%2Fhost%3D{}", bastion.host));
    assert_eq!(status, 200, "{list}");
    list["items"].as_array().unwrap().clone()
}

/// A role as the daemon creates it for a grant.
fn role(bastion: &Bastion<'_>, id: &str, rules: Value) -> Value {
    with(bastion_binding(bastion, id), |object| {
        *object = json!({ "metadata": object["metadata"], "rules": rules });
        object["metadata"]["annotations"] = json!({ "jitd.dev/grant": id, "jitd.dev/user": "jit:alice" });
    })
}

fn status(client: &Admin, namespace: &str, what: &str) -> u16 {
    client.get(&format!("/api/v1/namespaces/{namespace}/{what}")).0
}

fn ended(bastion: &Bastion<'_>, access: &Access) {
    let (status, ended) = bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null);
    assert_eq!((status, &ended["phase"]), (200, &json!("ended")), "{ended}");
}

/// After the approval these rules work and nothing else; at the end neither binding nor role is left.
#[test]
fn exact_rules_work_and_end_within_the_wall() {
    let mut bastion = walled_with(options());
    bastion.serve();
    let beyond = ask(&bastion.ns, &json!([rule(&["secrets"], &["get"])]));
    let (code, denied) = bastion.post(ALICE, "/v1/grants", &json!({ "ask": beyond, "csr": Key::new().csr() }));
    assert_eq!((code, &denied["code"]), (403, &json!("policy-denied")), "{denied}");

    let rules = json!([rule(&["configmaps"], &["get", "list"])]);
    let access = bastion.live(&ask(&bastion.ns, &rules));
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    assert_eq!(status(&access.client, &bastion.ns, "configmaps/seen"), 200);
    assert_eq!(status(&access.client, &bastion.ns, "pods"), 403, "in the ceiling, but not asked");
    assert_eq!(status(&access.client, &bastion.shop, "configmaps"), 403);
    let seen = format!("/api/v1/namespaces/{}/configmaps/seen", bastion.ns);
    assert_eq!(access.client.call(Method::DELETE, &seen, &Value::Null).0, 403);
    let there = made(&bastion);
    assert_eq!((there.len(), &there[0]["rules"]), (1, &rules));
    ended(&bastion, &access);
    assert_eq!(bastion.look(&access, &bastion.ns), 403);
    assert_eq!((made(&bastion).len(), bastion.bindings().len()), (0, 0));
    bastion.has_no_fault();
}

/// An approver keeps some rules of a role, and only those work.
#[test]
fn a_narrowed_role_works_within_the_wall() {
    let mut bastion = walled_with(options());
    bastion.serve();
    let mut whole = bastion.ask("5m");
    whole["namespaces"] = json!([bastion.shop]);
    whole["role"] = json!(format!("{}-debug", bastion.ns));
    let key = Key::new();
    let request = bastion.request(ALICE, &whole, &key);
    let less = json!({ "digest": request["digest"], "less": { "rules": [rule(&["pods"], &["list"])] } });
    let (code, approved) = bastion.post(BOB, &path(&request, "/approve"), &less);
    assert_eq!((code, &approved["phase"]), (200, &json!("approved")), "{approved}");
    let access = bastion.collect(&request, key);
    assert_eq!(status(&access.client, &bastion.shop, "pods"), 200);
    assert_eq!(status(&access.client, &bastion.shop, "pods/none"), 403, "of the role, but cut off");
    ended(&bastion, &access);
    assert_eq!(status(&access.client, &bastion.shop, "pods"), 403);
    assert_eq!((made(&bastion).len(), bastion.bindings().len()), (0, 0));
    bastion.has_no_fault();
}

/// The daemon's credential cannot create a role beyond a ceiling: Kubernetes itself refuses it, whatever the policy or
/// the admission policies say. The fence limits the namespace and the name of a role.
#[test]
fn the_daemons_credential_creates_no_role_beyond_the_ceiling() {
    let bastion = walled_with(options());
    let (daemon, id) = (daemon(&bastion), grant('a'));
    let (here, shop) = (roles(&bastion.ns), roles(&bastion.shop));
    let post = |place: &str, object: &Value| daemon.call(Method::POST, place, object);
    let within = json!([rule(&["pods"], &["get"]), rule(&["pods/log"], &["get"])]);
    for (place, rules) in [
        (&here, json!([rule(&["secrets"], &["get"])])),
        (&here, json!([rule(&["pods"], &["get", "delete"])])),
        (&here, json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }])),
        (&here, json!([{ "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"] }])),
        (&shop, json!([rule(&["configmaps"], &["get"])])),
        (&roles("default"), within.clone()),
    ] {
        refused(post(place, &role(&bastion, &id, rules)), ESCALATES);
    }
    for (change, why) in [
        (json!({ "name": "other" }), "a grant's role must be named"),
        (json!({ "labels": null }), "a grant's role must have the labels"),
        (json!({ "annotations": null }), "a grant's role must have the annotations"),
        (json!({ "annotations": { "jitd.dev/grant": grant('b'), "jitd.dev/user": "jit:alice" } }), "the annotations"),
    ] {
        let object = with(role(&bastion, &id, within.clone()), |object| {
            object["metadata"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        });
        refused(post(&here, &object), why);
    }
    refused(post(&roles("default"), &role(&bastion, &id, json!([]))), "lets a grant own a role here");
    let anywhere = format!("{RBAC}/clusterroles");
    refused(post(&anywhere, &role(&bastion, &id, json!([]))), "cannot create resource");

    daemon.create(&here, &role(&bastion, &id, within.clone()));
    let mine = format!("{here}/jit-{id}");
    refused(daemon.call(Method::PATCH, &mine, &json!({ "rules": [] })), "cannot patch resource");
    let bound = |name: &str| {
        with(bastion_binding(&bastion, &id), |object| {
            object["roleRef"]["kind"] = json!("Role");
            object["roleRef"]["name"] = json!(name);
        })
    };
    let bindings = in_namespace(&bastion.ns);
    let other = format!("jit-{}", grant('b'));
    daemon.create(&here, &role(&bastion, &grant('b'), within));
    refused(daemon.call(Method::POST, &bindings, &bound(&other)), "no rule of the policy");
    daemon.create(&bindings, &bound(&format!("jit-{id}")));
    // With more rights than it has, the fence alone keeps it off.
    let wide = unbounded(&bastion);
    refused(wide.call(Method::POST, &anywhere, &role(&bastion, &id, json!([]))), "jitd never creates a ClusterRole");
    refused(wide.call(Method::PATCH, &mine, &json!({ "rules": [] })), "jitd never changes a role");
    for object in [format!("{bindings}/jit-{id}"), mine, format!("{here}/{other}")] {
        daemon.delete(&object);
    }
}

/// An administrator can neither change nor replace the role of a grant; if one can anyway, or removes it, the daemon
/// notices and the grant ends.
#[test]
fn nobody_else_changes_the_role_of_a_grant() {
    let mut bastion = walled_with(options());
    bastion.serve();
    let rules = json!([rule(&["configmaps"], &["get", "list"])]);
    let more = json!({ "rules": [rule(&["secrets"], &["get"])] });
    // The guard lets another host's daemon pass, which its own policies would fence.
    let unguarded = unfenced(bastion.plane);
    for altered in [true, false] {
        let access = bastion.live(&ask(&bastion.ns, &rules));
        let there = made(&bastion);
        let name = format!("jit-{}", access.grant["id"].as_str().unwrap());
        let stored = there.iter().find(|role| role["metadata"]["name"] == *name).unwrap().clone();
        let mine = format!("{}/{name}", roles(&bastion.ns));
        for change in [
            more.clone(),
            json!({ "metadata": { "labels": null } }),
            json!({ "metadata": { "finalizers": ["a.b/c"] } }),
        ] {
            refused(bastion.admin.call(Method::PATCH, &mine, &change), "-guard-roles");
        }
        let wider = with(stored.clone(), |role| role["rules"] = more["rules"].clone());
        refused(bastion.admin.call(Method::PUT, &mine, &wider), "-guard-roles");
        let anew = |labels: Value| json!({ "metadata": { "name": name, "labels": labels }, "rules": more["rules"] });
        if altered {
            unguarded.patch(&mine, &more);
        } else {
            bastion.admin.delete(&format!("{mine}?propagationPolicy=Foreground"));
            until("the role is gone", || (bastion.admin.get(&mine).0 == 404).then_some(()));
            refused(
                bastion.admin.call(Method::POST, &roles(&bastion.ns), &anew(Value::Null)),
                "only jitd creates roles",
            );
        }
        let over = bastion.wait_for(&access.grant, &["ended"]);
        assert_eq!(over["endCause"], "drifted", "{over}");
        assert_eq!(bastion.look(&access, &bastion.ns), 403);
        assert_eq!(status(&access.client, &bastion.ns, "secrets/none"), 403);
        assert_eq!(bastion.bindings().len(), 0);
    }
    let labelled = json!({ "metadata": { "name": "plain", "labels": { "jitd.dev/host": "any" } } });
    refused(bastion.admin.call(Method::POST, &roles(&bastion.ns), &labelled), "only jitd creates roles");
    bastion.admin.create(&roles(&bastion.ns), &json!({ "metadata": { "name": "plain" } }));
}

/// `kill -9` before, between and after role and binding, at the beginning and at the end: the next start leaves
/// neither.
#[test]
fn a_kill_between_role_and_binding_converges() {
    let middleman = Middleman::before(Plane::shared());
    let mut bastion = Bastion::with(Plane::shared(), Options { policy: POLICY.to_owned(), ..middleman.options() });
    let exact = ask(&bastion.ns, &json!([rule(&["configmaps"], &["get", "list"])]));
    let converged = |bastion: &Bastion<'_>, grant: &Value, cause: &str| {
        let shown = bastion.show(ERIN, grant);
        assert_eq!((&shown["phase"], &shown["endCause"]), (&json!("ended"), &json!(cause)), "{shown}");
        assert_eq!((made(bastion).len(), bastion.bindings().len()), (0, 0));
        let verified = bastion.jitd(&["audit", "verify"]);
        assert!(verified.status.success(), "{}", text(&verified.stderr));
    };
    for (part, play) in [
        ("/roles", Play::Hold),
        ("/roles", Play::LoseAnswer),
        ("/rolebindings", Play::Hold),
        ("/rolebindings", Play::LoseAnswer),
    ] {
        let key = Key::new();
        let grant = bastion.request(ALICE, &exact, &key);
        assert_eq!(bastion.approve(BOB, &grant).0, 200);
        let body = json!({ "csr": key.csr() });
        killed(&mut bastion, &middleman, ("POST", part, play), &path(&grant, "/certificate"), &body);
        converged(&bastion, &grant, "failed");
    }
    for (part, play) in [("/rolebindings/", Play::LoseAnswer), ("/roles/", Play::Hold), ("/roles/", Play::LoseAnswer)] {
        let access = bastion.live(&exact);
        killed(&mut bastion, &middleman, ("DELETE", part, play), &path(&access.grant, "/end"), &Value::Null);
        converged(&bastion, &access.grant, "released");
    }
}

/// A policy without ceilings removes the daemon's permission on roles: an earlier grant ends anyway.
#[test]
fn a_grant_ends_if_the_policy_no_longer_creates_roles() {
    let mut bastion = walled_with(options());
    bastion.serve();
    let access = bastion.live(&ask(&bastion.ns, &json!([rule(&["configmaps"], &["get", "list"])])));
    assert!(bastion.terminate());
    bastion.write_policy(&Options::default().policy);
    bastion.apply(&bastion.manifest());
    let there = daemon(&bastion);
    until("the right is gone", || (there.get(&roles(&bastion.ns)).0 == 403).then_some(()));
    bastion.serve();
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    ended(&bastion, &access);
    assert_eq!((bastion.look(&access, &bastion.ns), bastion.bindings().len()), (403, 0));
    bastion.has_no_fault();
}

// ---- what is printed and checked ----

/// A ceiling never applies to the whole cluster, and a policy without one gives no permission on roles.
#[test]
fn ceilings_apply_in_namespaces_and_permissions_on_roles_only_where_needed() {
    let bastion = Bastion::prepared(Plane::shared(), options());
    let printed = bastion.manifest();
    let documents =
        |kind: &str| printed.split("---\n").filter(|document| document.contains(&format!("\nkind: {kind}\n"))).count();
    assert_eq!(
        (documents("ClusterRole"), documents("ClusterRoleBinding"), documents("RoleBinding")),
        (2, 1, 2),
        "{printed}"
    );
    let daemon = daemon(&bastion);
    let list = format!("{RBAC}/roles");
    until("the rights hold", || (daemon.get(&list).0 == 200).then_some(()));
    assert_eq!(status(&daemon, &bastion.ns, "configmaps"), 200);
    for beyond in ["secrets", "services"] {
        assert_eq!(status(&daemon, &bastion.ns, beyond), 403);
    }
    assert_eq!((status(&daemon, &bastion.shop, "configmaps"), daemon.get("/api/v1/pods").0), (403, 403));
    let plain = Bastion::prepared(Plane::shared(), Options::default());
    assert!(!plain.manifest().contains("kind: RoleBinding\n"));
    assert_eq!(self::daemon(&plain).get(&list).0, 403);
}

/// Objects that are missing, altered or wider than the policy are listed with their places. It runs from `a_minute.rs`.
pub(crate) fn check_compares_the_ceilings() {
    let bastion = walled_with(options());
    let host = bastion.host.as_str();
    until_checked(&bastion, &[]);
    for policy in ["fence", "roles", "guard", "guard-roles"] {
        let path = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/jitd-{host}-{policy}");
        let status = until("the expressions are checked", || {
            let found = bastion.admin.get(&path).1;
            found["status"]["observedGeneration"].is_number().then(|| found["status"].clone())
        });
        assert_eq!(status["typeChecking"]["expressionWarnings"], Value::Null, "{policy}: {status}");
    }
    let ceiling = format!("jitd-{host}-ceiling-exact");
    let narrow = format!("jitd-{host}-narrow-clusterrole-{}-debug", bastion.ns);
    let expect = |found: String| until_checked(&bastion, &[found.as_str()]);
    for (namespace, name) in [(&bastion.ns, &ceiling), (&bastion.shop, &narrow)] {
        bastion.admin.delete(&format!("{}/{name}", in_namespace(namespace)));
        expect(format!("fault RoleBinding {name} in namespace {namespace}: is missing"));
        bastion.apply(&bastion.manifest());
        until_checked(&bastion, &[]);
    }
    let path = format!("{RBAC}/clusterroles/{ceiling}");
    let mut rules = bastion.admin.get(&path).1["rules"].as_array().unwrap().clone();
    rules.push(rule(&["secrets"], &["get"]));
    bastion.admin.patch(&path, &json!({ "rules": rules }));
    expect(format!("fault ClusterRole {ceiling}: differs from the manifest: `rules` has "));
    bastion.apply(&bastion.manifest());
    until_checked(&bastion, &[]);
    // One that the guard can't tell from what another policy on that host would need.
    let name = format!("jitd-{host}-narrow-clusterrole-admin");
    let beside = json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("jit:daemon:{host}") }],
    });
    bastion.admin.create(&in_namespace(&bastion.ns), &beside);
    expect(format!("fault excess: `{name}` ("));
    bastion.admin.delete(&format!("{}/{name}", in_namespace(&bastion.ns)));
    until_checked(&bastion, &[]);
    let everywhere = with(beside.clone(), |object| {
        object["metadata"]["name"] = json!(ceiling);
        object["roleRef"]["name"] = json!(ceiling);
    });
    let bindings = format!("{RBAC}/clusterrolebindings");
    refused(bastion.admin.call(Method::POST, &bindings, &everywhere), "only jitd grants rights");
    unfenced(bastion.plane).create(&bindings, &everywhere);
    expect(format!("fault excess: `{ceiling}` ("));
    bastion.admin.delete(&format!("{bindings}/{ceiling}"));
    until_checked(&bastion, &[]);
    // Under another name nobody gives the daemon anything.
    for change in [
        json!({ "metadata": { "name": "plain" } }),
        json!({ "metadata": { "name": format!("jitd-other-narrow-clusterrole-admin") } }),
        json!({ "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" } }),
    ] {
        let object =
            with(beside.clone(), |object| object.as_object_mut().unwrap().extend(change.as_object().unwrap().clone()));
        refused(bastion.admin.call(Method::POST, &in_namespace(&bastion.ns), &object), "only jitd grants rights");
    }
    // The fence of roles, when it is not in force.
    let fence = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/jitd-{host}-roles");
    bastion.admin.delete(&fence);
    let missing = format!("fault ValidatingAdmissionPolicyBinding jitd-{host}-roles: is missing");
    until_checked(&bastion, &[missing.as_str(), "fault admission: creating a role that no grant owns is not refused"]);
    bastion.apply(&bastion.manifest());
    until_checked(&bastion, &[]);
    bastion.admin.delete(&format!("/api/v1/namespaces/{}", bastion.shop));
    expect(format!("warning RoleBinding {narrow} in namespace {}: the namespace does not exist", bastion.shop));
}

/// Namespaces that a glob matches are not in the manifest; the check names each with the command that creates its
/// binding, and after that exact rules work there.
#[test]
fn check_names_the_namespaces_that_a_glob_matches() {
    let mut bastion = walled_with(Options {
        policy: POLICY.replace("[NS]", r#"["NS-*", {labels: "exact=NS"}]"#),
        ..Options::default()
    });
    let host = bastion.host.clone();
    let printed = bastion.manifest();
    assert!(
        printed.contains("\n# only the cluster knows which namespaces the globs or labels of `exact` match"),
        "{printed}"
    );
    assert!(!printed.contains(&format!("kind: RoleBinding\nmetadata:\n  name: jitd-{host}-ceiling")), "{printed}");
    let name = format!("jitd-{host}-ceiling-exact");
    until_checked(&bastion, &[&format!("fault RoleBinding {name} in namespace {}: is missing", bastion.shop)]);
    let exact = ask(&bastion.shop, &json!([rule(&["configmaps"], &["get", "list"])]));
    bastion.serve();
    let asked = json!({ "ask": exact, "csr": Key::new().csr() });
    let (status, refused) = bastion.post(ALICE, "/v1/grants", &asked);
    assert_eq!(status, 502, "nobody is asked for what can't be: {refused}");
    assert!(refused["detail"].as_str().unwrap().contains(ESCALATES), "{refused}");
    assert_eq!((made(&bastion).len(), bastion.bindings().len()), (0, 0));

    let command = bastion.jitd(&["check", "--cluster", "play"]);
    let said = text(&command.stdout);
    let line = said.split('`').find(|part| part.starts_with("kubectl ")).unwrap_or_else(|| panic!("{said}"));
    bastion.kubectl(&line.split(' ').skip(1).collect::<Vec<_>>());
    until_checked(&bastion, &[]);
    let labels = json!({ "metadata": { "labels": { "exact": bastion.ns } } });
    bastion.admin.patch(&format!("/api/v1/namespaces/{}", bastion.ns), &labels);
    until_checked(&bastion, &[&format!("fault RoleBinding {name} in namespace {}: is missing", bastion.ns)]);
    let access = bastion.live(&exact);
    assert_eq!(bastion.look(&access, &bastion.shop), 200);
    ended(&bastion, &access);
}

//! `jitd scan --suggest` on a real cluster: ten standing grants become requests, everybody does by request what they did
//! before, and the commands of the plan remove the old bindings and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use http::Method;
use kube::config::{AuthInfo, Kubeconfig};
use serde_json::{Value, json};

use crate::bastion::{ADMIN, ALICE, BOB, Bastion, CAROL, DAVE, ERIN, Key, Options, Person, repository, text};
use crate::console::{Console, blocks};
use crate::plane::{Admin, Plane, base64, root, scratch, until};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Somebody as the cluster knows them, what they do there, and the status if they may.
type Does = (Person, &'static [&'static str], String, u16);

/// What was done before the scan, and so is in the log.
fn used(ns: &str, shop: &str) -> Vec<Does> {
    let inside = |namespace: &str, what: &str| format!("/api/v1/namespaces/{namespace}/{what}");
    vec![
        (ALICE, &["payments-oncall"], inside(ns, "configmaps"), 200),
        (ALICE, &[], inside(ns, "configmaps/seen"), 200),
        (DAVE, &[], "/api/v1/nodes".to_owned(), 200),
        (CAROL, &[], inside(ns, "configmaps"), 200),
        (CAROL, &[], inside(shop, "configmaps/seen"), 200),
        (ERIN, &[], inside(ns, "pods"), 200),
        // There is nothing at this path: the authorizer lets it through, or not.
        (ERIN, &[], "/nothing".to_owned(), 404),
        (ADMIN, &["admins"], "/api/v1/nodes".to_owned(), 200),
        (ADMIN, &["admins"], inside(ns, "configmaps"), 200),
    ]
}

/// What nobody did, but somebody could have.
fn unused(shop: &str) -> Vec<Does> {
    let inside = |what: &str| format!("/api/v1/namespaces/{shop}/{what}");
    vec![
        (ALICE, &["payments-oncall"], inside("configmaps"), 200),
        (DAVE, &[], inside("pods"), 200),
        (BOB, &[], inside("configmaps"), 200),
    ]
}

/// Ten bindings of people and groups, one for emergencies, and a program.
fn furnish(bastion: &Bastion<'_>) {
    let Bastion { admin, ns, shop, .. } = bastion;
    let nothing = json!([{ "nonResourceURLs": ["/nothing"], "verbs": ["get"] }]);
    admin.create(&format!("{RBAC}/clusterroles"), &json!({ "metadata": { "name": "nothing" }, "rules": nothing }));
    let subject = |word: &str| {
        let (kind, name) = word.split_once(' ').unwrap();
        match kind {
            "ServiceAccount" => json!({ "kind": kind, "namespace": shop, "name": name }),
            kind => json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name }),
        }
    };
    let (debug, nodes) = (format!("{ns}-debug"), format!("{ns}-nodes"));
    for (place, name, role, subjects) in [
        (Some(ns), "dev-view", "view", &["Group payments-oncall"][..]),
        (Some(shop), "dev-edit", "edit", &["Group payments-oncall"]),
        (Some(ns), "alice-local", "role/local", &["User alice"]),
        (None, "dave-nodes", &nodes, &["User dave"]),
        (None, "carol-view", "view", &["User carol"]),
        (Some(shop), "dave-debug", &debug, &["User dave", "ServiceAccount ci"]),
        (None, "erin-nothing", "nothing", &["User erin"]),
        (Some(ns), "erin-debug", &debug, &["User erin"]),
        (None, "ops-all", "cluster-admin", &["Group admins"]),
        (Some(shop), "bob's view", "view", &["User bob"]),
        (None, "emergency", "cluster-admin", &["Group emergency"]),
    ] {
        let (kind, role) = role.split_once('/').map_or(("ClusterRole", role), |(_, role)| ("Role", role));
        let subjects: Vec<Value> = subjects.iter().map(|word| subject(word)).collect();
        let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role });
        let body = json!({ "metadata": { "name": name }, "roleRef": role, "subjects": subjects });
        let path = match place {
            Some(namespace) => format!("{RBAC}/namespaces/{namespace}/rolebindings"),
            None => format!("{RBAC}/clusterrolebindings"),
        };
        admin.create(&path, &body);
    }
}

/// Whether the API server says that they may, without any grant of `jitd`.
fn may(admin: &Admin, (person, groups, path, _): &Does) -> bool {
    let mut spec = json!({ "user": person.name, "groups": groups });
    let verb = if path.contains("/configmaps/") || path == "/nothing" { "get" } else { "list" };
    if path == "/nothing" {
        spec["nonResourceAttributes"] = json!({ "verb": verb, "path": path });
    } else {
        let mut words = path.trim_start_matches("/api/v1/").split('/').peekable();
        let namespace = words.next_if_eq(&"namespaces").and_then(|_| words.next());
        let (resource, name) = (words.next(), words.next());
        spec["resourceAttributes"] =
            json!({ "verb": verb, "resource": resource, "namespace": namespace, "name": name });
    }
    let review = admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &json!({ "spec": spec }));
    review["status"]["allowed"].as_bool().unwrap()
}

/// A shell in the folder of the plan, in which `jitd`, `kubectl` and `systemctl` are those of this test.
fn shell(bastion: &Bastion<'_>, folder: &Path, command: &str) -> Output {
    let prelude = format!(
        "jitd() {{ command jitd --config {}/config.yaml \"$@\"; }}\nkubectl() {{ command kubectl --kubeconfig {} \"$@\"; }}\n\
         systemctl() {{ [ \"$*\" = 'reload jitd' ] && kill -s HUP {}; }}\nset -o pipefail\n",
        bastion.dir.display(),
        bastion.plane.kubeconfig.display(),
        bastion.pid(),
    );
    Command::new("bash")
        .args(["-c", &format!("{prelude}{command}")])
        .current_dir(folder)
        .env("PATH", format!("{}:/usr/bin:/bin", root().join("bin").display()))
        .env_remove("NOTIFY_SOCKET")
        .output()
        .unwrap()
}

fn carry_out(bastion: &Bastion<'_>, folder: &Path, command: &str) {
    let done = shell(bastion, folder, command);
    assert!(done.status.success(), "{command}: {}{}", text(&done.stdout), text(&done.stderr));
}

fn apply_plan(folder: &Path, kubeconfig: &Path) -> (i32, String) {
    let mut jitd = Command::new(root().join("bin/jitd"));
    jitd.args(["scan", "apply-plan", "--dry-run"]).arg(folder).arg("--kubeconfig").arg(kubeconfig);
    let done = jitd.output().unwrap();
    (done.status.code().unwrap(), text(&done.stdout) + &text(&done.stderr))
}

/// Requests every rule once, and does with each certificate what its holder did before.
fn everybody_requests(bastion: &Bastion<'_>, rules: &[Value]) {
    let Bastion { ns, shop, .. } = bastion;
    let inside = |namespace: &str, what: &str| format!("/api/v1/namespaces/{namespace}/{what}");
    let (debug, nodes) = (format!("{ns}-debug"), format!("{ns}-nodes"));
    let table = [
        ("payments-oncall", "payments-oncall-view".to_owned(), ALICE, vec![inside(ns, "configmaps")]),
        ("payments-oncall", "edit".to_owned(), ALICE, vec![inside(shop, "configmaps")]),
        ("alice", "role/local".to_owned(), ALICE, vec![inside(ns, "configmaps/seen")]),
        ("dave", format!("dave-{nodes}-cluster"), DAVE, vec!["/api/v1/nodes".to_owned()]),
        ("dave", debug.clone(), DAVE, vec![inside(shop, "pods")]),
        ("carol", "carol-view".to_owned(), CAROL, vec![inside(ns, "configmaps"), inside(shop, "configmaps/seen")]),
        ("erin", "nothing".to_owned(), ERIN, vec!["/nothing".to_owned()]),
        ("erin", format!("erin-{debug}"), ERIN, vec![inside(ns, "pods")]),
        ("admins", "admins-cluster-admin".to_owned(), ADMIN, vec![inside(ns, "configmaps")]),
        ("admins", "admins-cluster-admin-cluster".to_owned(), ADMIN, vec!["/api/v1/nodes".to_owned()]),
        ("bob", "view".to_owned(), BOB, vec![inside(shop, "configmaps")]),
    ];
    let mut wanted: Vec<(&str, &str)> = table.iter().map(|(who, role, ..)| (*who, role.as_str())).collect();
    let of = |rule: &Value, key: &str| rule[key][0].as_str().unwrap().to_owned();
    let found: Vec<(String, String)> = rules.iter().map(|rule| (of(rule, "who"), of(rule, "roles"))).collect();
    let mut found: Vec<(&str, &str)> = found.iter().map(|(who, role)| (who.as_str(), role.as_str())).collect();
    wanted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, wanted);
    for (who, role, person, paths) in &table {
        let rule = rules.iter().find(|rule| of(rule, "who") == *who && of(rule, "roles") == *role).unwrap();
        let mut ask = json!({ "cluster": "play", "role": role, "duration": "5m", "reason": "instead of a binding" });
        match rule["clusterWide"].as_bool() {
            Some(true) => ask["clusterWide"] = true.into(),
            _ => ask["namespaces"] = rule["namespaces"].clone(),
        }
        let key = Key::new();
        let grant = bastion.request(*person, &ask, &key);
        let approver = if *person == BOB { CAROL } else { BOB };
        let (status, approved) = bastion.approve(approver, &grant);
        assert_eq!((status, &approved["phase"]), (200, &json!("approved")), "{who} {role}: {approved}");
        let (status, certificate) = bastion.certificate(*person, &grant, &key);
        assert_eq!(status, 200, "{who} {role}: {certificate}");
        let chain = certificate["certificate"].as_str().unwrap();
        let client = Admin::with_certificate(bastion.plane, chain, &key.pem());
        for path in paths {
            let expected = if path == "/nothing" { 404 } else { 200 };
            assert_eq!(client.get(path).0, expected, "{who} {role}: {path}");
        }
        // A narrowed role has nothing besides.
        if role.starts_with(&format!("{who}-")) {
            assert_eq!(client.get(&inside(ns, "secrets")).0, 403, "{who} {role}");
        }
        assert_eq!(bastion.post(*person, &crate::bastion::path(&grant, "/end"), &Value::Null).0, 200);
    }
}

#[test]
fn ten_standing_grants_become_requests_and_are_removed() {
    let plane = Plane::start();
    let options = Options { policy: "rules: []\n".to_owned(), ..Options::default() };
    let mut bastion = Bastion::prepared(&plane, options);
    for (name, groups) in [("alice", "payments-oncall"), ("bob", "payments-leads"), ("erin", "auditors")] {
        let groups = format!("groups: [{groups}]");
        bastion.rewrite_config(&groups, &groups.replace(']', &format!(", {name}]")));
    }
    bastion.rewrite_config("groups: [payments-leads, payments-oncall]", "groups: [payments-leads, carol]");
    bastion.rewrite_config("groups: []", "groups: [dave]");
    bastion.serve();
    furnish(&bastion);
    let (ns, shop) = (bastion.ns.clone(), bastion.shop.clone());
    let (used, unused) = (used(&ns, &shop), unused(&shop));
    for (person, groups, path, status) in &used {
        let somebody = Admin::posing_as(&plane, person.name, groups);
        until("the bindings are in effect", || (somebody.get(path).0 == *status).then_some(()));
    }
    until("the log has every use", || {
        let log = fs::read_to_string(&plane.audit).unwrap();
        let is_there = |(person, _, path, _): &Does| {
            let mut lines = log.lines().filter(|line| line.contains(&format!("\"requestURI\":\"{path}\"")));
            lines.any(|line| line.contains(&format!("\"username\":\"{}\"", person.name)) && line.contains("\"allow\""))
        };
        used.iter().all(is_there).then_some(())
    });

    // The suggestion.
    let folder = scratch("suggested");
    let suggest = |folder: &Path| {
        let mut jitd = Command::new(root().join("bin/jitd"));
        jitd.args(["scan", "--cluster", "play", "--approvers", "payments-leads", "--suggest"]).arg(folder);
        jitd.arg("--kubeconfig").arg(&plane.kubeconfig).arg("--audit-log").arg(&plane.audit);
        jitd.arg("--guardrails").arg(bastion.dir.join("guardrails.yaml")).output().unwrap()
    };
    let done = suggest(&folder);
    let said = text(&done.stdout);
    assert!(done.status.success(), "{said}{}", text(&done.stderr));
    assert!(
        said.starts_with("grants of people and groups: 11, replaced by requests: 10; of programs and the system: 1\n"),
        "{said}"
    );
    assert!(said.contains("`cluster-admin` is never granted"), "{said}");
    assert!(said.contains("group dave: has to exist on the bastion, and contain only user dave"), "{said}");
    let again = suggest(&folder);
    assert_eq!(again.status.code(), Some(2), "no file is overwritten: {}", text(&again.stderr));

    // The plan, up to the removals.
    let plan: Value = serde_saphyr::from_str(&fs::read_to_string(folder.join("plan.yaml")).unwrap()).unwrap();
    let steps: Vec<&Value> = plan["steps"].as_array().unwrap().iter().collect();
    let (removals, preparations): (Vec<&Value>, Vec<&Value>) =
        steps.into_iter().partition(|step| step["removes"].is_object());
    assert_eq!(removals.len(), 10);
    let (code, before) = apply_plan(&folder, &plane.kubeconfig);
    assert_eq!((code, before.matches("possible").count()), (0, 11), "{before}");
    fs::copy(folder.join("policy.yaml"), bastion.dir.join("policy.yaml")).unwrap();
    for step in &preparations {
        carry_out(&bastion, &folder, step["command"].as_str().unwrap());
    }
    let policy: Value = serde_saphyr::from_str(&fs::read_to_string(folder.join("policy.yaml")).unwrap()).unwrap();
    let rules = policy["rules"].as_array().unwrap();
    everybody_requests(&bastion, rules);
    let (code, after) = apply_plan(&folder, &plane.kubeconfig);
    assert_eq!((code, after.matches("possible").count(), after.matches("done").count()), (0, 10, 1), "{after}");
    for does in used.iter().chain(&unused) {
        assert!(may(&plane.admin(), does), "a dry run changed something: {does:?}");
    }

    // The removals.
    for step in &removals {
        carry_out(&bastion, &folder, step["command"].as_str().unwrap());
    }
    for does in used.iter().chain(&unused) {
        until(&format!("{does:?} is not allowed any more"), || (!may(&plane.admin(), does)).then_some(()));
    }
    everybody_requests(&bastion, rules);
    let (_, kept) = plane.admin().get(&format!("{RBAC}/namespaces/{shop}/rolebindings/dave-debug"));
    assert_eq!(kept["subjects"], json!([{ "kind": "ServiceAccount", "name": "ci", "namespace": shop }]));
    assert_eq!(plane.admin().get(&format!("{RBAC}/clusterrolebindings/emergency")).0, 200);

    // Every undo, and then every step is refused: these are other bindings, or they have changed.
    for step in &removals {
        carry_out(&bastion, &folder, step["undo"].as_str().unwrap());
    }
    for does in used.iter().chain(&unused) {
        until(&format!("{does:?} is allowed again"), || may(&plane.admin(), does).then_some(()));
    }
    let (code, stale) = apply_plan(&folder, &plane.kubeconfig);
    assert_eq!((code, stale.matches("REFUSED: it has changed since the scan").count()), (3, 10), "{stale}");
    for step in &removals {
        let command = step["command"].as_str().unwrap();
        assert!(!shell(&bastion, &folder, command).status.success(), "{command}");
    }
    for does in used.iter().chain(&unused) {
        assert!(may(&plane.admin(), does), "{does:?}");
    }

    // Nobody removes what they hold.
    let (code, own) = apply_plan(&folder, &kubeconfig_of(&plane, "erin"));
    assert_eq!((code, own.matches("it is what you hold as user erin").count()), (3, 2), "{own}");
    bastion.has_no_fault();
}

/// A kubeconfig with a client certificate of the cluster's own authority.
fn kubeconfig_of(plane: &Plane, user: &str) -> PathBuf {
    let (chain, key) = plane.certificate(user);
    let mut file = Kubeconfig::read_from(&plane.kubeconfig).unwrap();
    file.auth_infos[0].auth_info = Some(AuthInfo {
        client_certificate_data: Some(base64(&chain)),
        client_key_data: Some(base64(&key).into()),
        ..AuthInfo::default()
    });
    let path = scratch("kubeconfig").join(format!("{user}.kubeconfig"));
    fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    path
}

/// The steps of a plan are checked before anything is asked of a cluster.
#[test]
fn a_plan_that_was_edited_is_refused() {
    let folder = scratch("edited");
    let plane = Plane::shared();
    let admin = plane.admin();
    let binding = json!({
        "metadata": { "name": "scan-edited" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "scan-edited" }],
    });
    let path = format!("{RBAC}/clusterrolebindings");
    let made = admin.create(&path, &binding);
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "view" },
          "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }] },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": made["metadata"],
          "roleRef": binding["roleRef"], "subjects": binding["subjects"] },
    ]});
    fs::write(folder.join("dump.json"), list.to_string()).unwrap();
    let done = Command::new(root().join("bin/jitd"))
        .args(["scan", "dump.json", "--suggest", "out", "--cluster", "prod", "--approvers", "leads"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let out = folder.join("out");
    let (code, said) = apply_plan(&out, &plane.kubeconfig);
    assert_eq!(code, 0, "{said}");

    let file = out.join("remove/004.json");
    let body = fs::read_to_string(&file).unwrap();
    fs::write(&file, body.replace("preconditions", "preconditionz")).unwrap();
    let (code, said) = apply_plan(&out, &plane.kubeconfig);
    assert!(code == 3 && said.contains("remove/004.json is not what the step says"), "{said}");
    fs::write(&file, body).unwrap();

    let plan = fs::read_to_string(out.join("plan.yaml")).unwrap();
    fs::write(out.join("plan.yaml"), plan.replace("kubectl delete", "kubectl delete --force")).unwrap();
    let (code, said) = apply_plan(&out, &plane.kubeconfig);
    assert!(code == 2 && said.contains("the command of step 4 is not what it removes"), "{said}");
    admin.call(Method::DELETE, &format!("{path}/scan-edited"), &Value::Null);
}

/// The commands of the page, on a bastion with one binding that was used.
#[test]
fn the_way_out_on_the_page_is_true() {
    let plane = Plane::start();
    let bastion = Bastion::with(&plane, Options::default());
    let Bastion { admin, ns, dir, .. } = &bastion;
    let binding = json!({
        "metadata": { "name": "dev" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "payments-oncall" }],
    });
    admin.create(&format!("{RBAC}/namespaces/{ns}/rolebindings"), &binding);
    let carol = Admin::posing_as(&plane, "carol", &["payments-oncall"]);
    let path = format!("/api/v1/namespaces/{ns}/configmaps");
    until("the binding is in effect", || (carol.get(&path).0 == 200).then_some(()));
    let log = until("the log has the use", || {
        let log = fs::read_to_string(&plane.audit).unwrap();
        log.contains(&format!("\"RBAC: allowed by RoleBinding \\\"dev/{ns}\\\"")).then_some(log)
    });
    fs::create_dir(dir.join("root")).unwrap();
    fs::write(dir.join("root/audit.log"), log).unwrap();
    fs::copy(&plane.kubeconfig, dir.join("root/admin.kubeconfig")).unwrap();
    let page = fs::read_to_string(repository().join("docs/scan.md")).unwrap();
    let (_, section) = page.split_once("## Requests instead of standing grants\n").unwrap();
    let mut console = Console::at(bastion);
    let commands: usize =
        blocks(section.split("\n## ").next().unwrap()).into_iter().map(|block| console.is_true(block)).sum();
    assert_eq!(commands, 16, "every command of the page was run");
}

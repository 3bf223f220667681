//! The planted risks in a real cluster: its API server says what each right allows, a scan of what it lists finds them, and
//! what a finding claims is carried out by the subject that it names.

use std::process::Command;
use std::sync::OnceLock;

use http::Method;
use jit_scan::{Access, Kind, Listed, Reader, Snapshot, bootstrap_table, findings};
use kube::config::{AuthInfo, Kubeconfig};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};

use crate::plane::{Admin, Answer, Plane, base64, scratch, until, until_within};

#[path = "../../crates/jit-scan/tests/planted/mod.rs"]
mod planted;

use planted::{ACCOUNTS, Ask, LOOK_ALIKES, NAMESPACES, RISKS, false_alarms, manifests, missed, subject};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// An account of kube-system that may read everything.
const COLLECTOR: &str = "generic-garbage-collector";

/// A cluster of its own, because some risks are rights of everybody.
struct World {
    plane: Plane,
    /// Before anything was planted.
    bare: Snapshot,
    /// What `jitd scan` printed then.
    bare_report: String,
}

impl World {
    fn shared() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| {
            let plane = Plane::start();
            let admin = plane.admin();
            // The aggregated roles have their rules, and the controllers their accounts, shortly after the start.
            let bare = until_within(std::time::Duration::from_secs(60), "the cluster is complete", || {
                let bare = snapshot(&admin);
                let filled = |name| bare.roles.iter().any(|role| role.name.name == name && !role.rules.is_empty());
                let exists = |name| bare.accounts.iter().flatten().any(|account| account.name.name == name);
                let is_complete = filled("admin") && filled("edit") && filled("view") && exists(COLLECTOR);
                is_complete.then_some(bare)
            });
            let mut command = Command::new(env!("CARGO_BIN_EXE_jitd"));
            let output = command.args(["scan", "--kubeconfig"]).arg(&plane.kubeconfig).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            plant(&admin);
            Self { plane, bare, bare_report: String::from_utf8(output.stdout).unwrap() }
        })
    }
}

fn plant(admin: &Admin) {
    for namespace in NAMESPACES {
        admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } }));
    }
    for (namespace, name) in ACCOUNTS {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        admin.create(&path, &json!({ "metadata": { "name": name } }));
    }
    for (path, object) in manifests() {
        admin.create(&path, &object);
    }
    // The contractor beside `system:masters`.
    let subjects: Vec<Value> = ["group:system:masters", "r23"].map(|who| planted::subject_json(&subject(who))).into();
    admin.patch(&format!("{RBAC}/clusterrolebindings/cluster-admin"), &json!({ "subjects": subjects }));
    admin.create(
        "/api/v1/namespaces/shop/secrets",
        &json!({ "metadata": { "name": "db" }, "stringData": { "a": "b" } }),
    );
    admin.create("/api/v1/namespaces/kube-system/configmaps", &json!({ "metadata": { "name": "aws-auth" } }));
    let webhooks = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    admin.create(webhooks, &json!({ "metadata": { "name": "planted" } }));
    let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": pod("default")["spec"] });
    let spec = json!({ "selector": { "matchLabels": { "app": "web" } }, "template": template });
    admin.create("/apis/apps/v1/namespaces/shop/deployments", &json!({ "metadata": { "name": "web" }, "spec": spec }));
    until("pods can be created in shop", || {
        admin.get("/api/v1/namespaces/shop/serviceaccounts/default").0.eq(&200).then_some(())
    });
    admin.create("/api/v1/namespaces/shop/pods", &pod("default"));
    until("the rules of the aggregated role are those of its parts", || {
        let (_, role) = admin.get(&format!("{RBAC}/clusterroles/r17"));
        (role["rules"].as_array()?.len() == 2).then_some(())
    });
}

/// A pod that runs as this account.
fn pod(account: &str) -> Value {
    let container = json!({ "name": "main", "image": "none.invalid/none" });
    json!({ "metadata": { "name": "web" }, "spec": { "serviceAccountName": account, "hostPID": true, "containers": [container] } })
}

/// What the API server lists.
fn snapshot(admin: &Admin) -> Snapshot {
    let mut reader = Reader::default();
    for listed in Listed::ALL {
        let (status, list) = admin.get(&listed.path());
        assert_eq!(status, 200, "{list}");
        assert_eq!(reader.page(listed, list.to_string().as_bytes()).unwrap(), None);
    }
    reader.version(admin.get("/version").1["gitVersion"].as_str().unwrap().parse().unwrap());
    reader.finish()
}

/// What the API server answers to a question about somebody.
fn review(admin: &Admin, who: &str, (verb, resource, place, name, _): &Ask) -> bool {
    let who = subject(who);
    let mut spec = match (who.kind, &who.namespace) {
        (Kind::Group, _) => json!({ "user": "carol", "groups": [who.name] }),
        (Kind::ServiceAccount, Some(namespace)) => {
            json!({ "user": format!("system:serviceaccount:{namespace}:{}", who.name) })
        }
        _ => json!({ "user": who.name, "groups": ["system:authenticated"] }),
    };
    if resource.starts_with('/') {
        spec["nonResourceAttributes"] = json!({ "verb": verb, "path": resource });
    } else {
        let (base, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let (resource, group) = base.split_once('.').unwrap_or((base, ""));
        spec["resourceAttributes"] = json!({
            "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": place, "name": name,
        });
    }
    let answer = admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &json!({ "spec": spec }));
    answer["status"]["allowed"].as_bool().unwrap()
}

#[test]
fn the_api_server_grants_what_the_planted_roles_are_said_to_grant() {
    let admin = World::shared().plane.admin();
    let mut asked = 0;
    let mut wrong = Vec::new();
    for case in RISKS.iter().chain(LOOK_ALIKES) {
        assert!(!case.asks.is_empty(), "{}", case.id);
        for ask in case.asks {
            asked += 1;
            if review(&admin, case.who, ask) != ask.4 {
                wrong.push(format!("{} {}: {ask:?}", case.id, case.who));
            }
        }
    }
    assert!(wrong.is_empty() && asked >= 64, "{asked} asked: {wrong:#?}");
}

#[test]
fn a_scan_of_the_cluster_finds_every_planted_risk_and_nothing_else() {
    let snapshot = snapshot(&World::shared().plane.admin());
    let report = findings(&Access::of(&snapshot));
    let (missed, alarms) = (missed(&report), false_alarms(&report));
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert!(alarms.is_empty(), "{alarms:#?}");
}

/// The table of what this version of Kubernetes ships. `UPDATE_GOLDEN=1` writes it.
#[test]
fn the_bootstrap_policy_is_the_one_of_this_version() {
    let bare = &World::shared().bare;
    let version = bare.version.unwrap().to_string();
    let file = format!("crates/jit-scan/src/bootstrap/{}.txt", version.trim_start_matches('v'));
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let made = bootstrap_table(bare);
    assert!(made.lines().count() > 100, "{made}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written == made, "{} is not what Kubernetes ships; UPDATE_GOLDEN=1 writes it:\n{made}", file.display());
}

/// The whole report of a cluster in which nobody has done anything: one screen, and nothing to look into. `UPDATE_GOLDEN=1`
/// writes it.
#[test]
fn the_report_of_a_bare_cluster_is_not_noise() {
    let made = &World::shared().bare_report;
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/bare-cluster.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, made).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written == *made, "{} is not what is printed; UPDATE_GOLDEN=1 writes it:\n{made}", file.display());
    assert!(made.starts_with("nothing; ") && made.lines().count() <= 24, "{made}");
}

#[test]
fn a_bare_cluster_has_only_findings_of_kubernetes_itself() {
    let report = findings(&Access::of(&World::shared().bare));
    let others: Vec<_> = report.findings.iter().filter(|finding| !finding.system).collect();
    assert!(others.is_empty(), "{others:#?}");
    assert!(report.findings.iter().any(|finding| finding.id == "E01"), "system:masters may do everything");
    assert!(report.not_evaluated.is_empty(), "{:?}", report.not_evaluated);
}

/// Somebody with a client certificate of this name.
fn person(plane: &Plane, name: &str) -> Admin {
    let (chain, key) = plane.certificate(name);
    Admin::with_certificate(plane, &chain, &key)
}

/// Somebody with a token.
fn bearer(plane: &Plane, token: &str) -> Admin {
    let mut file = Kubeconfig::read_from(&plane.kubeconfig).unwrap();
    file.auth_infos[0].auth_info = Some(AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() });
    let path = scratch("kubeconfig").join("bearer.kubeconfig");
    std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    Admin::new(&path)
}

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

/// Who makes a request, with which headers, and its status.
type Attempt = (&'static str, &'static [(&'static str, &'static str)], Method, &'static str, Value, u16);

fn attempts() -> Vec<Attempt> {
    let (get, post, patch, put, delete) = (Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE);
    let everything = json!({ "rules": [{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }] });
    let binds = |who: &str, role: &str| {
        let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role });
        json!({ "metadata": { "name": "tried" }, "roleRef": role, "subjects": [planted::subject_json(&subject(who))] })
    };
    let named = |name: &str| json!({ "metadata": { "name": name } });
    let as_admin: &[(&str, &str)] = &[("impersonate-user", "r05-admin")];
    let as_masters: &[(&str, &str)] = &[("impersonate-user", "anyone"), ("impersonate-group", "system:masters")];
    let new_role = json!({ "metadata": { "name": "tried" }, "rules": everything["rules"] });
    vec![
        ("r01", &[], get.clone(), SECRETS, Value::Null, 200),
        // Whoever writes any rule writes it into their own role.
        (
            "r02",
            &[],
            patch.clone(),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/r02?dryRun=All",
            everything.clone(),
            200,
        ),
        ("n06", &[], patch.clone(), "/apis/rbac.authorization.k8s.io/v1/clusterroles/n06?dryRun=All", everything, 403),
        (
            "n14",
            &[],
            post.clone(),
            "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles?dryRun=All",
            new_role,
            403,
        ),
        (
            "r03",
            &[],
            post.clone(),
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings?dryRun=All",
            binds("r03", "cluster-admin"),
            200,
        ),
        (
            "n07",
            &[],
            post.clone(),
            "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings?dryRun=All",
            binds("n07", "view"),
            403,
        ),
        (
            "n16",
            &[],
            post.clone(),
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings?dryRun=All",
            binds("n16", "cluster-admin"),
            403,
        ),
        // Acting as somebody else takes the right to a user, not only to a group or to extra fields.
        ("r04", as_masters, get.clone(), SECRETS, Value::Null, 200),
        ("r05", as_admin, get.clone(), SECRETS, Value::Null, 200),
        ("r05", as_masters, get.clone(), SECRETS, Value::Null, 403),
        ("n11", &[("impersonate-group", "system:masters")], get.clone(), SECRETS, Value::Null, 400),
        ("n11", as_masters, get.clone(), SECRETS, Value::Null, 403),
        ("n12", &[("impersonate-uid", "1")], get.clone(), SECRETS, Value::Null, 400),
        ("n12", as_admin, get.clone(), SECRETS, Value::Null, 403),
        ("r26", as_admin, get.clone(), SECRETS, Value::Null, 200),
        ("r26", as_admin, get.clone(), "/api/v1/namespaces/kube-system/pods", Value::Null, 403),
        ("n15", as_admin, get.clone(), SECRETS, Value::Null, 403),
        ("r07", &[], get.clone(), SECRETS, Value::Null, 200),
        ("r17", &[], get.clone(), "/api/v1/namespaces/shop/secrets/db", Value::Null, 200),
        ("n03", &[], get.clone(), "/api/v1/namespaces/shop/secrets/db", Value::Null, 403),
        ("n10", &[], get.clone(), "/api/v1/namespaces/shop/secrets/db", Value::Null, 403),
        ("r27", &[], get.clone(), "/api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3Ddb", Value::Null, 200),
        ("r27", &[], get.clone(), "/api/v1/namespaces/shop/secrets", Value::Null, 403),
        ("n05", &[], delete.clone(), "/api/v1/namespaces/shop/secrets?dryRun=All", Value::Null, 403),
        ("r20", &[], delete, "/api/v1/namespaces/shop/pods?dryRun=All", Value::Null, 200),
        ("r09", &[], post.clone(), "/api/v1/namespaces/kube-system/pods?dryRun=All", pod(COLLECTOR), 200),
        ("n04", &[], post.clone(), "/api/v1/namespaces/shop/pods?dryRun=All", pod("default"), 403),
        ("n02", &[], post.clone(), "/api/v1/namespaces/shop/pods/web/exec?command=id", Value::Null, 403),
        // The pod has no node: both get past the authorizer, and only as far as that.
        ("r12", &[], post, "/api/v1/namespaces/shop/pods/web/exec?command=id", Value::Null, 400),
        ("n01", &[], get.clone(), "/api/v1/namespaces/shop/pods/web/exec?command=id", Value::Null, 403),
        ("r11", &[], get.clone(), "/api/v1/nodes/none/proxy/pods", Value::Null, 404),
        ("n09", &[], get.clone(), "/api/v1/nodes/none/proxy/pods", Value::Null, 403),
        (
            "r14",
            &[],
            patch.clone(),
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/planted?dryRun=All",
            json!({ "metadata": { "labels": { "tried": "yes" } } }),
            200,
        ),
        (
            "r15",
            &[],
            patch,
            "/apis/apps/v1/namespaces/shop/deployments/web?dryRun=All",
            json!({ "spec": { "template": { "spec": { "serviceAccountName": "strong" } } } }),
            200,
        ),
        ("r16", &[], put, "/api/v1/namespaces/kube-system/configmaps/aws-auth?dryRun=All", named("aws-auth"), 200),
        ("r18", &[], get.clone(), "/api/v1/namespaces/shop/pods", Value::Null, 403),
        ("carol", &[], get.clone(), "/api/v1/namespaces/shop/configmaps", Value::Null, 200),
        ("carol", &[], get.clone(), "/api/v1/namespaces/dev/configmaps", Value::Null, 403),
        ("r23", &[], get, SECRETS, Value::Null, 200),
    ]
}

#[test]
fn each_risk_is_carried_out_and_each_look_alike_is_refused() {
    let plane = &World::shared().plane;
    let mut wrong = Vec::new();
    for (who, headers, method, path, body, status) in attempts() {
        let answer = person(plane, who).call_with(headers, method.clone(), path, &body);
        if answer.0 != status {
            wrong.push(format!("{who} {method} {path}: {} instead of {status}: {}", answer.0, answer.1["message"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The chains: at their end stands a credential that reads the secrets of kube-system, which its holder could not before.
#[test]
fn each_kind_of_step_leads_to_the_identity_that_the_path_names() {
    let plane = &World::shared().plane;
    let admin = plane.admin();
    let reads = |who: &Admin| who.get(SECRETS).0;
    let token = |who: &Admin, namespace: &str, account: &str| -> Answer {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        who.call(Method::POST, &path, &json!({ "spec": { "expirationSeconds": 600 } }))
    };

    // A token of an account: r06 in kube-system, whose garbage collector reads everything.
    let r06 = person(plane, "r06");
    assert_eq!(reads(&r06), 403);
    let (status, minted) = token(&r06, "kube-system", COLLECTOR);
    assert_eq!(status, 200, "{minted}");
    assert_eq!(reads(&bearer(plane, minted["status"]["token"].as_str().unwrap())), 200);

    // A role that somebody may bind, and which mints tokens.
    let r31 = person(plane, "r31");
    assert_eq!(token(&r31, "ops", "release").0, 403);
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r31-mint" });
    let subjects = [planted::subject_json(&subject("r31"))];
    let bound = json!({ "metadata": { "name": "r31-own" }, "roleRef": role, "subjects": subjects });
    r31.create(&format!("{RBAC}/clusterrolebindings"), &bound);
    let minted =
        until("the binding is in effect", || Some(token(&r31, "ops", "release")).filter(|(status, _)| *status == 200));
    assert_eq!(reads(&bearer(plane, minted.1["status"]["token"].as_str().unwrap())), 200);
    admin.delete(&format!("{RBAC}/clusterrolebindings/r31-own"));

    // A Secret for the token of an account, which whoever creates it has to read: r32 may, n13 may not.
    let secret = |account: &str| {
        json!({
            "metadata": { "name": "tried", "annotations": { "kubernetes.io/service-account.name": account } },
            "type": "kubernetes.io/service-account-token",
        })
    };
    let r32 = person(plane, "r32");
    assert_eq!(reads(&r32), 403);
    r32.create("/api/v1/namespaces/ops/secrets", &secret("release"));
    let written = until("the token is in the secret", || {
        let (_, secret) = r32.get("/api/v1/namespaces/ops/secrets/tried");
        secret["data"]["token"].as_str().map(decoded)
    });
    assert_eq!(reads(&bearer(plane, &written)), 200);
    let n13 = person(plane, "n13");
    let made = n13.create("/api/v1/namespaces/shop/secrets", &secret("default"));
    assert!(made["data"]["token"].is_null(), "{made}");
    assert_eq!(n13.get("/api/v1/namespaces/shop/secrets/tried").0, 403);

    // A pod that runs as a stronger account.
    let builder = Admin::posing_as(plane, "system:serviceaccount:dev:builder", &[]);
    assert_eq!(reads(&builder), 403);
    builder.create("/api/v1/namespaces/ops/pods?dryRun=All", &pod("release"));
    assert_eq!(builder.call(Method::POST, "/api/v1/namespaces/dev/pods?dryRun=All", &pod("builder")).0, 403);
    assert_eq!(reads(&Admin::posing_as(plane, "system:serviceaccount:ops:release", &[])), 200);

    // A certificate for a name that somebody chooses: r13 may approve it, n08 may not.
    let key = KeyPair::generate().unwrap();
    let mut wanted = CertificateParams::default();
    wanted.distinguished_name = DistinguishedName::new();
    wanted.distinguished_name.push(DnType::CommonName, "r05-admin");
    let request = wanted.serialize_request(&key).unwrap().pem().unwrap();
    let spec = json!({
        "request": base64(&request), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
    });
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let r13 = person(plane, "r13");
    let mut made = r13.create(requests, &json!({ "metadata": { "name": "tried" }, "spec": spec }));
    let condition = json!({ "type": "Approved", "status": "True", "reason": "Tried", "message": "" });
    made["status"]["conditions"] = json!([condition]);
    let approval = format!("{requests}/tried/approval");
    assert_eq!(person(plane, "n08").call(Method::PUT, &approval, &made).0, 403);
    let (status, answer) = r13.call(Method::PUT, &approval, &made);
    assert_eq!(status, 200, "{answer}");
    // The signing controller, which this control plane leaves out, signs what has this condition.
    let (_, approved) = admin.get(&format!("{requests}/tried"));
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved", "{approved}");
}

fn decoded(base64: &str) -> String {
    let block = format!("-----BEGIN X-----\n{base64}\n-----END X-----\n");
    String::from_utf8(pem::parse(block).unwrap().into_contents()).unwrap()
}

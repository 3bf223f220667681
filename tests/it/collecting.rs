//! What a cluster says when a grant is to be collected: it reaches who waits, who approved and the trail, and the approval
//! stands as long as it can. What can't pass is found before anybody is asked.

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, Key, Options, path, text};
use crate::plane::{Plane, until};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const ESCALATES: &str = "attempting to grant RBAC permissions not currently held";

/// Tries to make a binding as the administrator, and stores nothing.
fn admin_binds(bastion: &Bastion<'_>) -> (u16, Value) {
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" });
    let binding = json!({ "metadata": { "name": "tried" }, "roleRef": role, "subjects": [] });
    let path = format!("{RBAC}/namespaces/{}/rolebindings?dryRun=All", bastion.ns);
    bastion.admin.call(http::Method::POST, &path, &binding)
}

/// An approved grant of alice that the cluster does not let be collected for this reason, and may again afterwards.
fn stands_meanwhile(bastion: &Bastion<'_>, status: u16, code: &str, why: &str, passes: impl FnOnce()) {
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    for _ in 0..2 {
        let (answered, failed) = bastion.certificate(ALICE, &grant, &key);
        assert_eq!((answered, &failed["code"]), (status, &json!(code)), "{failed}");
        let detail = failed["detail"].as_str().unwrap();
        assert!(detail.contains(why) && detail.contains("the approval stands and can be collected until"), "{failed}");
    }
    let shown = bastion.show(BOB, &grant);
    assert_eq!(shown["phase"], "approved", "{shown}");
    assert!(shown["collectionFailed"].as_str().unwrap().contains(why), "{shown}");
    assert_eq!(bastion.kinds(&grant), ["requested", "approved", "collection_failed"], "the same is told once");
    let page = text(&bastion.login(BOB, &["show", grant["id"].as_str().unwrap()]).stdout);
    assert!(page.contains("could not be collected:"), "{page}");
    passes();
    until("it can be collected", || (bastion.certificate(ALICE, &grant, &key).0 == 200).then_some(()));
    assert_eq!(bastion.show(BOB, &grant).get("collectionFailed"), None);
    assert_eq!(bastion.post(ALICE, &path(&grant, "/end"), &Value::Null).0, 200);
}

#[test]
fn a_quota_that_is_used_up_leaves_the_approval_collectable() {
    let bastion = Bastion::start();
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", bastion.ns);
    let none = json!({ "hard": { "count/rolebindings.rbac.authorization.k8s.io": "0" } });
    bastion.admin.create(&quotas, &json!({ "metadata": { "name": "none" }, "spec": none }));
    until("the quota is in force", || admin_binds(&bastion).1.to_string().contains("exceeded quota").then_some(()));
    let passes = || bastion.admin.delete(&format!("{quotas}/none"));
    stands_meanwhile(&bastion, 502, "cluster-refused", "exceeded quota: none", passes);
    bastion.has_no_fault();
}

#[test]
fn a_webhook_that_is_down_leaves_the_approval_collectable() {
    let bastion = Bastion::start();
    let webhook = json!({
        "name": "down.example.com", "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 1,
        "admissionReviewVersions": ["v1"], "clientConfig": { "url": "https://127.0.0.1:1/" },
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": bastion.ns } },
        "rules": [{ "apiGroups": ["rbac.authorization.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["rolebindings"] }],
    });
    bastion.admin.create(WEBHOOKS, &json!({ "metadata": { "name": bastion.ns }, "webhooks": [webhook] }));
    until("the webhook is in force", || (admin_binds(&bastion).0 == 500).then_some(()));
    let passes = || bastion.admin.delete(&format!("{WEBHOOKS}/{}", bastion.ns));
    stands_meanwhile(&bastion, 503, "cluster-unreachable", "failed calling webhook", passes);
    bastion.has_no_fault();
}

/// In a namespace that is newer than the manifest the daemon does not hold the role that it would cut down. Who approves
/// less reads it, and may approve the whole.
#[test]
fn what_the_daemon_can_not_cut_down_is_told_to_who_approves_less() {
    let policy = "rules: [{name: late, who: [payments-oncall], clusters: [play], namespaces: ['NS-late-*'], roles: [NS-debug], \
                  narrow: true, maxDuration: 10m, approval: [{groups: [payments-leads]}]}]";
    let bastion = Bastion::with(Plane::shared(), Options { policy: policy.to_owned(), ..Options::default() });
    let late = format!("{}-late-1", bastion.ns);
    bastion.admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": late } }));
    let mut ask = bastion.ask("5m");
    (ask["namespaces"], ask["role"]) = (json!([late]), json!(format!("{}-debug", bastion.ns)));
    let key = Key::new();
    let grant = bastion.request(ALICE, &ask, &key);
    let rules = json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }]);
    let less = json!({ "digest": grant["digest"], "less": { "rules": rules } });
    let (status, refused) = bastion.post(BOB, &path(&grant, "/approve"), &less);
    assert_eq!((status, &refused["code"]), (502, &json!("cluster-refused")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains(ESCALATES), "{refused}");
    assert_eq!(bastion.show(BOB, &grant)["phase"], "pending");
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    assert_eq!(bastion.certificate(ALICE, &grant, &key).0, 200);
    assert_eq!(bastion.post(ALICE, &path(&grant, "/end"), &Value::Null).0, 200);
    bastion.has_no_fault();
}

#[test]
fn what_the_cluster_would_never_take_is_asked_of_nobody() {
    let bastion = Bastion::start();
    let rights = format!("{RBAC}/clusterroles/jitd-{}", bastion.host);
    let mut fewer = bastion.admin.get(&rights).1["rules"].clone();
    for rule in fewer.as_array_mut().unwrap() {
        rule["verbs"].as_array_mut().unwrap().retain(|verb| verb != "bind");
    }
    bastion.admin.patch(&rights, &json!({ "rules": fewer }));
    let refused = until("the right is gone", || {
        let body = json!({ "ask": bastion.ask("5m"), "csr": Key::new().csr() });
        let (status, answer) = bastion.post(ALICE, "/v1/grants", &body);
        if status == 201 {
            assert_eq!(bastion.post(ALICE, &path(&answer, "/withdraw"), &Value::Null).0, 200);
            return None;
        }
        Some((status, answer))
    });
    assert_eq!((refused.0, &refused.1["code"]), (502, &json!("cluster-refused")), "{}", refused.1);
    assert!(refused.1["detail"].as_str().unwrap().contains(ESCALATES), "{}", refused.1);
    assert_eq!(bastion.get(BOB, "/v1/grants").1["grants"], json!([]));
    bastion.has_no_fault();
}

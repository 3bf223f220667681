//! The main story on a real API server, and that nothing else happens.

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, CAROL, ERIN, Key, path};
use crate::plane::{Admin, until};

/// Request, approve, collect: access to what was requested and nothing else; then it expires, and the API server
/// refuses, although the certificate is still valid.
#[test]
fn access_works_for_its_window_only() {
    let bastion = Bastion::start();
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("8s"), &key);
    assert_eq!(grant["phase"], "pending");
    assert!(bastion.bindings().is_empty());

    let (status, approved) = bastion.approve(BOB, &grant);
    assert_eq!((status, &approved["phase"], &approved["agreed"]), (200, &json!("approved"), &json!(["bob"])));
    assert!(bastion.bindings().is_empty(), "nothing is bound before it is collected");

    let (status, certificate) = bastion.certificate(ALICE, &grant, &key);
    assert_eq!(status, 200, "{certificate}");
    let client = Admin::with_certificate(bastion.plane, certificate["certificate"].as_str().unwrap(), &key.pem());
    let list = |namespace: &str| client.get(&format!("/api/v1/namespaces/{namespace}/configmaps")).0;
    assert_eq!(list(&bastion.ns), 200, "it works as soon as it is handed over");
    assert_eq!(list(&bastion.shop), 403);
    assert_eq!(client.get(&format!("/api/v1/namespaces/{}/secrets", bastion.ns)).0, 403);

    let ended = bastion.wait_for(&grant, &["ended"]);
    assert_eq!(ended["endCause"], "expired");
    assert!(matches!(list(&bastion.ns), 401 | 403));
    assert!(bastion.bindings().is_empty());
    assert_eq!(
        bastion.kinds(&grant),
        [
            "requested",
            "approved",
            "issue_intended",
            "issued",
            "bind_intended",
            "bound",
            "live",
            "unbind_intended",
            "ended"
        ]
    );
    let verified = bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success());
}

/// The API server sees the person and the grant, and nothing that the person could choose.
#[test]
fn the_api_server_sees_who_and_which_grant() {
    let bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("1m"));
    let id = access.grant["id"].as_str().unwrap();
    let review = access.client.create(
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        &json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" }),
    );
    let user = &review["status"]["userInfo"];
    assert_eq!(user["username"], "jit:alice");
    assert_eq!(user["uid"], id);
    assert_eq!(user["groups"], json!([format!("jit:{id}"), "system:authenticated"]));
    let (_, events) = bastion.get(ERIN, &path(&access.grant, "/events"));
    let issued = events["events"].as_array().unwrap().iter().find(|entry| entry["event"]["kind"] == "issued").unwrap();
    let credential = format!("X509SHA256={}", issued["event"]["leafSha256"].as_str().unwrap());
    assert_eq!(user["extra"]["authentication.kubernetes.io/credential-id"], json!([credential]));
}

/// The API server's audit log has each use of the access, with the certificate hash that the trail has.
#[test]
fn the_audit_log_names_the_certificate() {
    let bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("1m"));
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    let (_, events) = bastion.get(ERIN, &path(&access.grant, "/events"));
    let issued = events["events"].as_array().unwrap().iter().find(|entry| entry["event"]["kind"] == "issued").unwrap();
    let credential = format!("X509SHA256={}", issued["event"]["leafSha256"].as_str().unwrap());
    until("the audit log has the call", || {
        let log = std::fs::read_to_string(&bastion.plane.audit).unwrap();
        log.lines().any(|line| line.contains(&credential) && line.contains("/configmaps")).then_some(())
    });
}

/// During the window the same key gets a new certificate without another approval; another key does not.
#[test]
fn a_renewal_keeps_the_key_and_the_window() {
    let bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5m"));
    let before = bastion.show(ALICE, &access.grant);
    let (status, renewed) = bastion.certificate(ALICE, &access.grant, &access.key);
    assert_eq!(status, 200);
    assert_ne!(renewed["certificate"], Value::String(access.chain.clone()));
    let after = bastion.show(ALICE, &access.grant);
    assert_eq!(before["deadline"], after["deadline"]);
    assert_eq!((&before["certificates"], &after["certificates"]), (&json!(1), &json!(2)));
    assert!(renewed["expiresAt"].as_str().unwrap() < after["deadline"].as_str().unwrap());

    let (status, refused) = bastion.certificate(ALICE, &access.grant, &Key::new());
    assert_eq!((status, &refused["code"]), (422, &json!("key-mismatch")));
    let (status, refused) = bastion.certificate(BOB, &access.grant, &access.key);
    assert_eq!((status, &refused["code"]), (403, &json!("not-allowed")));
}

/// Two grants of one person to one role are two bindings; the end of the first leaves the second.
#[test]
fn the_end_of_one_grant_leaves_the_other() {
    let bastion = Bastion::start();
    let (first, second) = (bastion.live(&bastion.ask("5m")), bastion.live(&bastion.ask("5m")));
    let (status, ended) = bastion.post(ALICE, &path(&first.grant, "/end"), &Value::Null);
    assert_eq!((status, &ended["phase"], &ended["endCause"]), (200, &json!("ended"), &json!("released")));
    assert_eq!(bastion.look(&first, &bastion.ns), 403);
    assert_eq!(bastion.look(&second, &bastion.ns), 200);
    assert_eq!(bastion.bindings(), [format!("jit-{}", second.grant["id"].as_str().unwrap())]);
}

/// A certificate gives no access from the moment that its grant is revoked.
#[test]
fn revoking_is_effective_when_it_returns() {
    let bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5m"));
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    let (status, ended) = bastion.post(BOB, &path(&access.grant, "/revoke"), &json!({ "reason": "wrong cluster" }));
    assert_eq!((status, &ended["endCause"], &ended["closedBy"]), (200, &json!("revoked"), &json!("bob")));
    assert_eq!(bastion.look(&access, &bastion.ns), 403);
    let (status, refused) = bastion.certificate(ALICE, &access.grant, &access.key);
    assert_eq!((status, &refused["code"]), (410, &json!("too-late")));
    assert_eq!(refused["detail"], "the grant is ended (revoked)");
}

/// If the rule requires two approvers, one person who approves twice counts once.
#[test]
fn two_approvers_are_two_people() {
    let bastion = Bastion::start();
    let ask =
        json!({ "cluster": "play", "namespaces": [bastion.ns], "role": "edit", "duration": "1m", "reason": "release" });
    let key = Key::new();
    let grant = bastion.request(ALICE, &ask, &key);
    assert_eq!(bastion.approve(BOB, &grant).1["phase"], "pending");
    let (status, refused) = bastion.approve(BOB, &grant);
    assert_eq!((status, &refused["code"]), (409, &json!("already-agreed")));
    assert_eq!(bastion.certificate(ALICE, &grant, &key).1["code"], "wrong-phase");
    assert_eq!(bastion.approve(CAROL, &grant).1["phase"], "approved");
    assert_eq!(bastion.certificate(ALICE, &grant, &key).0, 200);
    assert_eq!(bastion.kinds(&grant)[..4], ["requested", "agreed", "refused", "refused"]);
}

/// Access to the whole cluster is a ClusterRoleBinding, which is removed like every other binding.
#[test]
fn cluster_wide_access_is_a_cluster_role_binding() {
    let bastion = Bastion::start();
    let role = format!("{}-nodes", bastion.ns);
    let ask = json!({ "cluster": "play", "clusterWide": true, "role": role, "duration": "1m", "reason": "look" });
    let access = bastion.live(&ask);
    assert_eq!(access.client.get("/api/v1/nodes").0, 200);
    let path_of =
        format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/jit-{}", access.grant["id"].as_str().unwrap());
    assert_eq!(bastion.admin.get(&path_of).0, 200);
    assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    assert_eq!(access.client.get("/api/v1/nodes").0, 403);
    assert_eq!(bastion.admin.get(&path_of).0, 404);
}

/// A Role of the namespace can be requested by its kind.
#[test]
fn a_role_of_the_namespace_is_bound_as_such() {
    let bastion = Bastion::start();
    let ask = json!({ "cluster": "play", "namespaces": [bastion.ns], "role": "role/local", "duration": "1m", "reason": "INC-1" });
    let access = bastion.live(&ask);
    assert_eq!(access.client.get(&format!("/api/v1/namespaces/{}/configmaps/seen", bastion.ns)).0, 200);
    assert_eq!(bastion.look(&access, &bastion.ns), 403, "the Role gives get, not list");
}

/// The long poll answers when something happens, not when its time is over.
#[test]
fn a_wait_ends_with_the_change() {
    let bastion = Bastion::start();
    let grant = bastion.request(ALICE, &bastion.ask("1m"), &Key::new());
    std::thread::scope(|scope| {
        let began = std::time::Instant::now();
        let waiting = scope.spawn(|| bastion.get(ALICE, &path(&grant, "/wait?phase=pending&timeout=30")));
        until("the wait is under way", || (bastion.metric("grants{phase=\"pending\"}") == 1).then_some(()));
        assert_eq!(bastion.approve(BOB, &grant).0, 200);
        let (status, seen) = waiting.join().unwrap();
        assert_eq!((status, &seen["phase"]), (200, &json!("approved")));
        assert!(began.elapsed().as_secs() < 10);
    });
}

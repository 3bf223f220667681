//! Managed clusters: the API server does not trust the authority, and it knows the daemon by a name that we did not
//! choose, here that of a service account.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::bastion::{ALICE, Bastion, Key, Options, path, text};
use crate::gateway::{Front, POLICY};
use crate::plane::{Admin, Plane, until, until_within};
use crate::wall::{self, bastion_binding, everywhere, grant, in_force_for, in_namespace, refused, walled, with};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A service account of the first namespace: its user name.
fn service_account(bastion: &Bastion<'_>, name: &str) -> String {
    let path = format!("/api/v1/namespaces/{}/serviceaccounts", bastion.ns);
    bastion.admin.create(&path, &json!({ "metadata": { "name": name } }));
    format!("system:serviceaccount:{}:{name}", bastion.ns)
}

/// A token of such an account, which is valid as long as the Secret `holder` exists.
fn token(bastion: &Bastion<'_>, account: &str, holder: &str) -> String {
    let namespace = format!("/api/v1/namespaces/{}", bastion.ns);
    bastion.admin.create(&format!("{namespace}/secrets"), &json!({ "metadata": { "name": holder } }));
    let spec = json!({
        "expirationSeconds": 600, "boundObjectRef": { "kind": "Secret", "apiVersion": "v1", "name": holder },
    });
    let made = bastion.admin.create(&format!("{namespace}/serviceaccounts/{account}/token"), &json!({ "spec": spec }));
    made["status"]["token"].as_str().unwrap().to_owned()
}

fn write_kubeconfig(bastion: &Bastion<'_>, name: &str, user: &Value) -> std::path::PathBuf {
    let file = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{ "name": "c", "context": { "cluster": "play", "user": "u" } }],
        "clusters": [{ "name": "play", "cluster": {
            "server": bastion.plane.server, "certificate-authority": bastion.plane.ca,
        } }],
        "users": [{ "name": "u", "user": user }],
    });
    let path = bastion.dir.join(name);
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

/// Somebody who has this token.
fn with_token(bastion: &Bastion<'_>, token: &str) -> Admin {
    Admin::new(&write_kubeconfig(bastion, "somebody.kubeconfig", &json!({ "token": token })))
}

/// Replaces the daemon's token at once, as the kubelet does.
fn write_token(bastion: &Bastion<'_>, token: &str) {
    std::fs::write(bastion.dir.join("daemon.token.new"), token).unwrap();
    std::fs::rename(bastion.dir.join("daemon.token.new"), bastion.dir.join("daemon.token")).unwrap();
}

/// Makes the daemon a service account, and returns its user name. The manifest is not applied yet.
fn be_service_account(bastion: &Bastion<'_>, token: &str, user: &str) {
    write_token(bastion, token);
    write_kubeconfig(bastion, "daemon.kubeconfig", &json!({ "tokenFile": "daemon.token" }));
    bastion.rewrite_config("certificateAuthority:", "kubeconfig: daemon.kubeconfig, certificateAuthority:");
    let said = text(&bastion.jitd(&["check", "--cluster"]).stdout);
    let expected =
        format!("the API server knows us as `{user}`, but the manifest is for `jit:daemon:{}`", bastion.host);
    let line = format!("daemonUser: \"{user}\"");
    let told = said.lines().find(|found| found.contains(&expected));
    assert!(told.is_some_and(|told| told.starts_with("fault ") && told.contains(&line)), "{said}");
    bastion.rewrite_config("kubeconfig: daemon.kubeconfig", &format!("kubeconfig: daemon.kubeconfig, {line}"));
}

/// The whole way: the check says which line is missing, access is given and ends, and a new token is used when the one
/// before is over.
#[test]
fn a_service_account_whose_token_rotates_gives_access_through_the_gateway() {
    let cluster = ", access: gateway, gatewayUser: \"system:serviceaccount:NS:gateway\"".to_owned();
    let options = Options { cluster, policy: POLICY.to_owned(), ..Options::default() };
    let bastion = Bastion::prepared(Plane::managed(), options);
    let user = service_account(&bastion, "daemon");
    let first = token(&bastion, "daemon", "first");
    be_service_account(&bastion, &first, &user);
    bastion.apply(&bastion.manifest());
    until_within(Duration::from_secs(30), "the check finds no fault", || {
        let checked = bastion.jitd(&["check", "--cluster"]);
        let said = text(&checked.stdout);
        assert!(said.contains(&format!("ok      play trust: our credential is accepted as `{user}`")), "{said}");
        checked.status.success().then_some(())
    });

    let front = Front::before(bastion);
    let bastion = &front.bastion;
    let (status, list) = bastion.get(ALICE, "/v1/clusters");
    assert_eq!((status, &list["clusters"][0]["server"]), (200, &json!(front.server())), "{list}");
    assert_ne!(list["clusters"][0]["certificateAuthority"], std::fs::read_to_string(&bastion.plane.ca).unwrap());
    let one = front.live("view");
    assert!(front.kubectl_says(&one, &["get", "configmaps", "-o", "name"]).contains("configmap/seen"));

    write_token(bastion, &token(bastion, "daemon", "second"));
    bastion.admin.delete(&format!("/api/v1/namespaces/{}/secrets/first", bastion.ns));
    let before = with_token(bastion, &first);
    until_within(Duration::from_secs(30), "the first token is over", || {
        (before.get("/version").0 == 401).then_some(())
    });
    let other = front.live("view");
    assert!(front.kubectl_says(&other, &["get", "configmaps", "-o", "name"]).contains("configmap/seen"));
    for grant in [&one, &other] {
        front.says(ALICE, &["end", grant]);
        front.end_of(grant);
        assert!(!front.kubectl(grant, &["get", "configmaps"]).output().unwrap().status.success());
    }
    assert_eq!(bastion.bindings(), Vec::<String>::new());
    assert_eq!(bastion.metric("unknown_bindings"), 0);
    bastion.has_no_fault();
}

/// The policies fence a daemon by whatever name it has, and its own guard and those of other bastions let it pass and
/// nobody else.
#[test]
fn a_service_account_is_fenced_and_no_other_passes_for_it() {
    let neighbour = walled();
    let mut bastion = Bastion::prepared(wall::plane(), Options::default());
    let user = service_account(&bastion, "daemon");
    let own_token = token(&bastion, "daemon", "daemon-token");
    be_service_account(&bastion, &own_token, &user);
    bastion.apply(&bastion.manifest());
    let daemon = with_token(&bastion, &own_token);
    // RBAC forbids it nothing of bindings any more: what stops it is the fence. With every right it would be an
    // administrator, whom the guard stops.
    let role = format!("{RBAC}/clusterroles/jitd-{}", bastion.host);
    let rules = bastion.admin.get(&role).1["rules"].clone();
    let all = json!({ "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["*"] });
    let mut wide = rules.as_array().unwrap().clone();
    wide.push(all.clone());
    bastion.admin.patch(&role, &json!({ "rules": wide }));
    until("its rights are wide", || (daemon.get(&format!("{RBAC}/roles")).0 == 200).then_some(()));
    in_force_for(&bastion, &daemon);

    let here = in_namespace(&bastion.ns);
    let own = bastion_binding(&bastion, &grant('m'));
    daemon.create(&here, &own);
    let mine = format!("{here}/jit-{}", grant('m'));
    // The fence and the guards refuse these both, and the API server names one of them.
    refused(daemon.call(Method::PATCH, &mine, &json!({ "subjects": null })), "jitd");
    daemon.delete(&mine);
    for other in [&neighbour.host, "", "nobody"] {
        let other = with(own.clone(), |object| object["metadata"]["labels"]["jitd.dev/host"] = json!(other));
        refused(daemon.call(Method::POST, &here, &other), "jitd");
    }
    for (wrong, why) in [
        (with(own.clone(), |object| object["subjects"][0]["name"] = json!("jit:nobody")), "must have one subject"),
        (with(own.clone(), |object| object["roleRef"]["name"] = json!("cluster-admin")), "no rule of the policy"),
    ] {
        refused(daemon.call(Method::POST, &here, &wrong), why);
    }
    let installed = format!("{}/jitd-{}", everywhere(), bastion.host);
    refused(daemon.call(Method::DELETE, &installed, &Value::Null), "jitd may delete only");
    let neighbours = crate::wall::daemon(&neighbour);
    refused(neighbours.call(Method::POST, &in_namespace(&neighbour.ns), &own), "must have the labels");

    // Another account with the same rights on bindings, and the administrator.
    let mallory = service_account(&bastion, "mallory");
    let name = format!("mallory-{}", bastion.host);
    bastion.admin.create(&format!("{RBAC}/clusterroles"), &json!({ "metadata": { "name": name }, "rules": [all] }));
    let bound = |name: &str, subject: Value| {
        json!({
            "metadata": { "name": name }, "subjects": [subject],
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        })
    };
    let by_user = |user: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user });
    bastion.admin.create(&everywhere(), &bound(&name, by_user(&mallory)));
    let thief = with_token(&bastion, &token(&bastion, "mallory", "mallory-token"));
    until("mallory may bind", || (thief.get(&format!("{RBAC}/roles")).0 == 200).then_some(()));
    for somebody in [&thief, &bastion.admin] {
        refused(somebody.call(Method::POST, &here, &own), "only jitd grants rights");
    }
    // Nobody gives the daemon more than the manifest does, in either way to name it.
    let account = json!({ "kind": "ServiceAccount", "namespace": bastion.ns, "name": "daemon" });
    for subject in [by_user(&user), account] {
        let more = bound(&format!("more-{}", bastion.host), subject);
        refused(bastion.admin.call(Method::POST, &everywhere(), &more), "nobody grants more to its own user");
    }

    bastion.admin.patch(&role, &json!({ "rules": rules }));
    bastion.apply(&bastion.manifest());
    bastion.serve();
    let access = bastion.live(&bastion.ask("5m"));
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    bastion.wait_for(&access.grant, &["ended"]);
    assert_eq!(bastion.bindings(), Vec::<String>::new());
    for kind in ["clusterrolebindings", "clusterroles"] {
        bastion.admin.delete(&format!("{RBAC}/{kind}/{name}"));
    }
}

/// A credential plugin that hangs holds up the calls to its own cluster for seconds, and is named to those who wait; other
/// clusters go on.
#[test]
fn a_plugin_that_hangs_holds_up_only_its_own_cluster() {
    let mut bastion = Bastion::prepared(Plane::shared(), Options::default());
    let exec = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sleep", "args": ["600"], "interactiveMode": "Never",
    } });
    write_kubeconfig(&bastion, "slow.kubeconfig", &exec);
    let (server, ca) = (&bastion.plane.server, bastion.plane.ca.display());
    let slow = format!(
        "- {{name: slow, server: \"{server}\", certificateAuthority: \"{ca}\", kubeconfig: slow.kubeconfig}}\n"
    );
    bastion.rewrite_config("clusters:\n", &format!("clusters:\n{slow}"));
    bastion.write_policy(&POLICY.replace("[play]", "[play, slow]"));
    assert!(bastion.jitd(&["init"]).status.success());
    bastion.spawn();
    // The first comparison of all clusters is waited for, but not for long.
    until_within(Duration::from_secs(40), "the daemon answers", || {
        let mode = std::fs::metadata(bastion.socket()).ok()?.permissions().mode();
        std::os::unix::net::UnixStream::connect(bastion.socket()).ok().filter(|_| mode & 0o020 != 0)
    });

    let access = bastion.live(&bastion.ask("5m"));
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    let mut ask = bastion.ask("5m");
    ask["cluster"] = json!("slow");
    let body = json!({ "ask": ask, "csr": Key::new().csr() });
    let (begun, (status, refused)) = (Instant::now(), bastion.post(ALICE, "/v1/grants", &body));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let why = refused["detail"].as_str().unwrap_or_default();
    assert_eq!((status, &refused["code"]), (503, &json!("cluster-unreachable")), "{refused}");
    assert!(why.contains("the credential plugin `sleep`"), "{refused}");
    // Meanwhile an end is not held up either.
    let begun = Instant::now();
    assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    bastion.wait_for(&access.grant, &["ended"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    until_within(Duration::from_secs(40), "the log says that the plugin was ended", || {
        bastion.log().contains("the credential plugin `sleep` did not finish within 20s and was ended").then_some(())
    });
}

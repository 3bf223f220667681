//! What a grant gives the gateway where people go through it: the right to act as this grant's holder, in this grant's
//! places, while the grant is live. The gateway's credential is used here as a thief would: directly against the API
//! server.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use http::Method;
use jitd::wire::feed::VERSION;
use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, ERIN, Key, Options, path, text};
use crate::crash::killed;
use crate::middleman::{Middleman, Play};
use crate::plane::{Admin, Answer, Plane, until};
use crate::wall::{daemon, everywhere, refused, unbounded, until_checked, walled_with, with};

pub(crate) const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A daemon whose people go through a gateway that is the user `gw-HOST`.
pub(crate) fn through_gateway() -> Options {
    Options { cluster: ", access: gateway, gatewayUser: gw-HOST".to_owned(), ..Options::default() }
}

/// Such a daemon, with somebody at the other end of its feed who cuts nothing: here is shown what the grants give to the
/// gateway's user, whatever the gateway does.
fn attended(options: Options) -> Bastion<'static> {
    let bastion = Bastion::with(Plane::shared(), options);
    attend_feed(&bastion);
    bastion
}

/// Stands for a gateway that cuts nothing and says that every grant works, at each daemon of this bastion.
pub(crate) fn attend_feed(bastion: &Bastion<'_>) {
    let socket = bastion.dir.join("run/feed.sock");
    std::thread::spawn(move || {
        // Until the daemon's folder goes, with the run.
        while socket.parent().is_some_and(Path::exists) {
            if let Ok(stream) = UnixStream::connect(&socket) {
                drop(attend(stream));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    });
}

fn attend(mut stream: UnixStream) -> std::io::Result<()> {
    let mut tell = |document: Value| stream.write_all(format!("{document}\n").as_bytes());
    let (server, pem) = ("https://127.0.0.1:1", "-");
    tell(
        json!({ "kind": "hello", "version": VERSION, "server": server, "certificateAuthority": pem, "clusters": ["play"] }),
    )?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let document: Value = serde_json::from_str(&line?)?;
        if document["kind"] == "ended" {
            let cut = json!({ "kind": "cut", "grant": document["grant"], "streams": 0 });
            stream.write_all(format!("{cut}\n").as_bytes())?;
        }
        if document["kind"] == "prove" {
            let proved = json!({ "kind": "proved", "grant": document["grant"] });
            stream.write_all(format!("{proved}\n").as_bytes())?;
        }
    }
    Ok(())
}

/// Somebody who has the gateway's credential.
pub(crate) struct Thief<'a> {
    pub(crate) client: Admin,
    bastion: &'a Bastion<'a>,
    user: String,
}

impl<'a> Thief<'a> {
    pub(crate) fn of(bastion: &'a Bastion<'a>) -> Self {
        let user = format!("gw-{}", bastion.host);
        let (chain, key) = bastion.plane.certificate(&user);
        Self { client: Admin::with_certificate(bastion.plane, &chain, &key), bastion, user }
    }

    /// What the API server answers to the configmaps of a namespace, asked as somebody.
    pub(crate) fn looks_as(&self, user: &str, groups: &[&str], namespace: &str) -> u16 {
        self.calls_as(user, groups, &[], &format!("/api/v1/namespaces/{namespace}/configmaps")).0
    }

    pub(crate) fn calls_as(&self, user: &str, groups: &[&str], more: &[(&str, &str)], path: &str) -> Answer {
        let mut headers = vec![("Impersonate-User", user)];
        headers.extend(groups.iter().map(|group| ("Impersonate-Group", *group)));
        headers.extend(more);
        self.client.call_with(&headers, Method::GET, path, &Value::Null)
    }

    /// Whether the API server would let the gateway act as a member of this group, and on something in the first namespace.
    fn may_act(&self, group: &str) -> [bool; 2] {
        let review = |attributes: Value| {
            let body = json!({ "spec": { "user": self.user, "resourceAttributes": attributes } });
            let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
            self.bastion.admin.create(path, &body)["status"]["allowed"].as_bool().unwrap()
        };
        [
            review(json!({
                "verb": "impersonate:user-info", "group": "authentication.k8s.io", "resource": "groups", "name": group,
            })),
            review(json!({
                "verb": "impersonate-on:user-info:list", "resource": "configmaps", "namespace": self.bastion.ns,
            })),
        ]
    }
}

pub(crate) fn group(grant: &Value) -> String {
    format!("jit:{}", grant["id"].as_str().unwrap())
}

/// The names of all bindings and ClusterRoles of this daemon's grants.
pub(crate) fn objects(bastion: &Bastion<'_>) -> BTreeSet<String> {
    let list = format!("{RBAC}/clusterroles?labelSelector=jitd.dev%2Fhost%3D{}", bastion.host);
    let (status, list) = bastion.admin.get(&list);
    assert_eq!(status, 200, "{list}");
    let roles = list["items"].as_array().unwrap().iter().map(|role| role["metadata"]["name"].as_str().unwrap());
    roles.map(|name| format!("role {name}")).chain(bastion.bindings()).collect()
}

/// What a live grant in the first namespace has.
fn objects_of(grant: &Value) -> BTreeSet<String> {
    let name = format!("jit-{}", grant["id"].as_str().unwrap());
    [name.clone(), format!("{name}-gateway"), format!("{name}-gateway-on"), format!("role {name}-gateway")].into()
}

/// Before a grant is live, elsewhere, as somebody else and after its end the credential is worth nothing; while the grant
/// lives it is worth the grant.
#[test]
fn a_stolen_credential_of_the_gateway_is_worth_the_live_grants() {
    let bastion = attended(through_gateway());
    let thief = Thief::of(&bastion);
    let (ns, shop) = (bastion.ns.as_str(), bastion.shop.as_str());
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("10m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let own = group(&grant);
    assert_eq!(thief.looks_as("jit:alice", &[&own], ns), 403);
    assert_eq!(thief.may_act(&own), [false, false]);

    let access = bastion.collect(&grant, key);
    // Live means that the gateway may: nobody waits here.
    assert_eq!(thief.looks_as("jit:alice", &[&own], ns), 200);
    assert_eq!(thief.may_act(&own), [true, true]);
    assert_eq!(bastion.look(&access, ns), 200);
    assert_eq!(objects(&bastion), objects_of(&grant));
    let other = bastion.live(&json!({
        "cluster": "play", "namespaces": [shop], "role": "view", "duration": "5m", "reason": "INC-42",
    }));
    let other = group(&other.grant);
    assert_eq!(thief.looks_as("jit:alice", &[&other], shop), 200, "another grant of hers");
    for (user, groups, namespace) in [
        ("jit:alice", vec![own.as_str()], shop),
        ("jit:alice", vec![own.as_str()], "kube-system"),
        ("jit:alice", vec![other.as_str()], ns),
        ("jit:alice", vec!["system:masters"], ns),
        ("jit:alice", vec![own.as_str(), "system:masters"], ns),
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
    // Its own rights are none.
    assert_eq!(thief.client.get(&format!("/api/v1/namespaces/{ns}/configmaps")).0, 403);
    // What the holder's role does not contain, the holder may not do through the gateway.
    assert_eq!(thief.calls_as("jit:alice", &[&own], &[], &format!("/api/v1/namespaces/{ns}/secrets")).0, 403);
    // The grant's id may be added, and no other.
    let (id, configmaps) = (grant["id"].as_str().unwrap(), format!("/api/v1/namespaces/{ns}/configmaps"));
    let named = |id: &str| {
        let more = [("Impersonate-Extra-Jitd.dev%2fgrant", id)];
        thief.calls_as("jit:alice", &[&own], &more, &configmaps).0
    };
    assert_eq!((named(id), named("0000000000000000")), (200, 403));
    let other_key = [("Impersonate-Extra-Scopes", "x")];
    assert_eq!(thief.calls_as("jit:alice", &[&own], &other_key, &configmaps).0, 403);
    let uid = [("Impersonate-Uid", "x")];
    assert_eq!(thief.calls_as("jit:alice", &[&own], &uid, &configmaps).0, 403);
    // Clients find their way.
    for path in ["/api", "/api/v1", "/apis", "/apis/apps/v1", "/version", "/openapi/v3"] {
        assert_eq!(thief.calls_as("jit:alice", &[&own], &[], path).0, 200, "{path}");
    }
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let headers = [("Impersonate-User", "jit:alice"), ("Impersonate-Group", own.as_str())];
    let (status, answer) = thief.client.call_with(&headers, Method::POST, whoami, &json!({}));
    let groups = json!([own, "system:authenticated"]);
    assert_eq!((status, &answer["status"]["userInfo"]["groups"]), (200, &groups), "{answer}");

    let (status, ended) = bastion.post(ALICE, &path(&grant, "/end"), &Value::Null);
    assert_eq!((status, &ended["phase"]), (200, &json!("ended")), "{ended}");
    assert_eq!(thief.looks_as("jit:alice", &[&own], ns), 403, "at once");
    until("the authorizer follows", || (thief.may_act(&own) == [false, false]).then_some(()));
    assert_eq!(thief.looks_as("jit:alice", &[&other], shop), 200, "the other grant goes on");
    assert!(objects(&bastion).is_disjoint(&objects_of(&grant)), "{:?}", objects(&bastion));
    bastion.has_no_fault();
}

/// For the whole cluster the gateway gets its right in the whole cluster, and loses it there.
#[test]
fn a_grant_for_the_whole_cluster_works_through_the_gateway_too() {
    let bastion = attended(through_gateway());
    let thief = Thief::of(&bastion);
    let role = format!("{}-nodes", bastion.ns);
    let ask = json!({ "cluster": "play", "clusterWide": true, "role": role, "duration": "5m", "reason": "INC-42" });
    let access = bastion.live(&ask);
    let own = group(&access.grant);
    let nodes = |groups: &[&str]| thief.calls_as("jit:alice", groups, &[], "/api/v1/nodes").0;
    assert_eq!((nodes(&[&own]), nodes(&["system:masters"])), (200, 403));
    assert_eq!(objects(&bastion), objects_of(&access.grant));
    assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    assert_eq!(nodes(&[&own]), 403);
    assert_eq!(objects(&bastion), BTreeSet::new());
}

/// A grant that ends in one of its namespaces takes the gateway's right there with it, and no other.
#[test]
fn the_gateway_loses_its_right_where_a_part_of_a_grant_ends() {
    let mut bastion = attended(through_gateway());
    let (ns, shop) = (bastion.ns.clone(), bastion.shop.clone());
    let mut ask = bastion.ask("5m");
    ask["namespaces"] = json!([ns, shop]);
    let access = bastion.live(&ask);
    let (own, name) = (group(&access.grant), format!("jit-{}", access.grant["id"].as_str().unwrap()));
    let works = |bastion: &Bastion<'_>, namespace: &str| Thief::of(bastion).looks_as("jit:alice", &[&own], namespace);
    assert_eq!([&ns, &shop].map(|namespace| works(&bastion, namespace)), [200, 200]);
    let on = |namespace: &str| format!("{RBAC}/namespaces/{namespace}/rolebindings/{name}-gateway-on");
    assert!(bastion.terminate());
    bastion.admin.delete(&on(&shop));
    bastion.serve();
    until("the part is over", || (bastion.kinds(&access.grant).last().unwrap() == "part_ended").then_some(()));
    assert_eq!([&ns, &shop].map(|namespace| works(&bastion, namespace)), [200, 403]);
    assert_eq!([&ns, &shop].map(|namespace| bastion.admin.get(&on(namespace)).0), [200, 404]);
    assert_eq!(bastion.show(ERIN, &access.grant)["phase"], "live");
    assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    assert_eq!(objects(&bastion), BTreeSet::new());
}

/// Where people reach the cluster directly, nothing of the gateway's is made, and a grant keeps what it was made with.
#[test]
fn a_grant_ends_as_it_was_made_when_the_access_changes() {
    let mut bastion = attended(through_gateway());
    let through = bastion.live(&bastion.ask("5m"));
    assert!(bastion.terminate());
    let entry = format!(", access: gateway, gatewayUser: gw-{}", bastion.host);
    bastion.rewrite_config(&entry, "");
    bastion.serve();
    let directly = bastion.live(&bastion.ask("5m"));
    let name = format!("jit-{}", directly.grant["id"].as_str().unwrap());
    let expected = objects_of(&through.grant).into_iter().chain([name]).collect();
    assert_eq!(objects(&bastion), expected);
    for access in [&through, &directly] {
        assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    }
    // Without a gateway the manifest has no right to delete ClusterRoles.
    let left: Vec<String> = objects(&bastion).into_iter().collect();
    assert_eq!(left, [format!("role jit-{}-gateway", through.grant["id"].as_str().unwrap())]);
    // With one again, what was left goes too.
    assert!(bastion.terminate());
    let server = format!("certificateAuthority: \"{}\"", bastion.plane.ca.display());
    bastion.rewrite_config(&server, &format!("{server}{entry}"));
    bastion.serve();
    until("nothing is left", || objects(&bastion).is_empty().then_some(()));
}

/// What somebody takes from the gateway is missing to the holder, so the grant ends; and so it does when somebody gives it
/// more.
#[test]
fn a_grant_whose_gateway_lost_its_right_ends() {
    let mut bastion = attended(through_gateway());
    let accesses = [(); 4].map(|()| bastion.live(&bastion.ask("5m")));
    assert!(bastion.terminate());
    let place = |number: usize| format!("jit-{}", accesses[number].grant["id"].as_str().unwrap());
    bastion.admin.delete(&format!("{RBAC}/clusterrolebindings/{}-gateway", place(0)));
    bastion.admin.delete(&format!("{RBAC}/namespaces/{}/rolebindings/{}-gateway-on", bastion.ns, place(1)));
    let more = json!({ "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory" }] });
    bastion.admin.patch(&format!("{RBAC}/clusterrolebindings/{}-gateway", place(2)), &more);
    bastion.serve();
    for (number, cause) in [(0, "revoked"), (1, "revoked"), (2, "drifted")] {
        let ended = bastion.wait_for(&accesses[number].grant, &["ended"]);
        assert_eq!(ended["endCause"], cause, "{number}");
        assert_eq!(bastion.look(&accesses[number], &bastion.ns), 403, "{number}");
    }
    // A role that was altered is found while the daemon runs.
    assert_eq!(bastion.show(ERIN, &accesses[3].grant)["phase"], "live");
    let wide = json!({ "rules": [{
        "apiGroups": ["authentication.k8s.io"], "resources": ["groups"], "verbs": ["impersonate:user-info"],
    }] });
    bastion.admin.patch(&format!("{RBAC}/clusterroles/{}-gateway", place(3)), &wide);
    assert_eq!(bastion.wait_for(&accesses[3].grant, &["ended"])["endCause"], "drifted");
    // What others changed is not ours to delete; it binds nobody of ours any more.
    let left = [format!("role {}-gateway", place(3)), format!("{}-gateway", place(2))];
    assert_eq!(objects(&bastion), BTreeSet::from(left));
    for (kind, number) in [("clusterroles", 3), ("clusterrolebindings", 2)] {
        bastion.admin.delete(&format!("{RBAC}/{kind}/{}-gateway", place(number)));
    }
}

/// `kill -9` at each effect of the gateway's: nothing is left of a grant that did not become live, or that was ending.
#[test]
fn a_kill_at_each_effect_leaves_nothing_to_the_gateway() {
    let middleman = Middleman::before(Plane::shared());
    let options = Options { cluster: through_gateway().cluster, ..middleman.options() };
    let mut bastion = attended(options);
    for (part, play) in [
        ("/v1/clusterroles", Play::Hold),
        ("/v1/clusterroles", Play::LoseAnswer),
        ("/v1/clusterrolebindings", Play::Hold),
        ("/v1/clusterrolebindings", Play::LoseAnswer),
    ] {
        let key = Key::new();
        let grant = bastion.request(ALICE, &bastion.ask("1m"), &key);
        assert_eq!(bastion.approve(BOB, &grant).0, 200);
        let body = json!({ "csr": key.csr() });
        killed(&mut bastion, &middleman, ("POST", part, play), &path(&grant, "/certificate"), &body);
        let ended = bastion.wait_for(&grant, &["ended"]);
        assert_eq!(ended["endCause"], "failed", "{part} {play:?}");
        assert_eq!(objects(&bastion), BTreeSet::new(), "{part} {play:?}");
    }
    for (part, play) in [
        ("-gateway-on", Play::Hold),
        ("/clusterrolebindings/", Play::Hold),
        ("/clusterrolebindings/", Play::LoseAnswer),
        ("/clusterroles/", Play::Hold),
        ("/clusterroles/", Play::LoseAnswer),
    ] {
        let access = bastion.live(&bastion.ask("1m"));
        killed(&mut bastion, &middleman, ("DELETE", part, play), &path(&access.grant, "/end"), &Value::Null);
        let ended = bastion.wait_for(&access.grant, &["ended"]);
        assert_eq!(ended["endCause"], "released", "{part} {play:?}");
        assert_eq!(objects(&bastion), BTreeSet::new(), "{part} {play:?}");
    }
    let verified = bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

/// What arrives in the cluster after the end of its grant is taken away by the next comparison.
#[test]
fn what_came_late_for_the_gateway_is_taken_away() {
    let mut bastion = attended(through_gateway());
    let access = bastion.live(&bastion.ask("5m"));
    let name = format!("jit-{}", access.grant["id"].as_str().unwrap());
    let places = [
        (format!("{RBAC}/clusterroles"), format!("{name}-gateway")),
        (everywhere(), format!("{name}-gateway")),
        (format!("{RBAC}/namespaces/{}/rolebindings", bastion.ns), format!("{name}-gateway-on")),
    ];
    let made = places.clone().map(|(path, name)| {
        let mut object = bastion.admin.get(&format!("{path}/{name}")).1;
        for key in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            object["metadata"].as_object_mut().unwrap().remove(key);
        }
        (path, object)
    });
    assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    assert!(bastion.terminate());
    assert_eq!(objects(&bastion), BTreeSet::new());
    for (path, object) in &made {
        bastion.admin.create(path, object);
    }
    bastion.serve();
    until("they are taken away", || objects(&bastion).is_empty().then_some(()));
    assert_eq!(bastion.metric("unknown_bindings"), 0);
}

// ---- the manifest ----

/// The manifest of a cluster with a gateway is complete, and `jitd check` says so; a gateway that may do more is a fault.
#[test]
fn check_knows_what_the_gateway_needs() {
    let options = Options {
        policy: "rules:\n- {name: payments, who: [payments-oncall], clusters: [play], namespaces: [NS], roles: [view], maxDuration: 10m, approval: [{groups: [payments-leads]}]}\n".to_owned(),
        ..through_gateway()
    };
    let bastion = walled_with(options);
    until_checked(&bastion, &[]);
    for policy in ["fence", "roles", "gateway-roles", "holders", "deletions", "guard", "guard-roles"] {
        let path =
            format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/jitd-{}-{policy}", bastion.host);
        let status = until("the expressions are checked", || {
            let found = bastion.admin.get(&path).1;
            found["status"]["observedGeneration"].is_number().then(|| found["status"].clone())
        });
        assert_eq!(status["typeChecking"]["expressionWarnings"], Value::Null, "{policy}: {status}");
    }
    let name = format!("more-{}", bastion.host);
    let rule = json!({ "apiGroups": [""], "resources": ["users", "groups"], "verbs": ["impersonate"] });
    bastion.admin.create(&format!("{RBAC}/clusterroles"), &json!({ "metadata": { "name": name }, "rules": [rule] }));
    bastion.admin.create(
        &everywhere(),
        &json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("gw-{}", bastion.host) }],
        }),
    );
    let expected = [
        format!("fault gateway: `{name}`"),
        format!("fault gateway: the gateway's user `gw-{}` may impersonate users without any grant", bastion.host),
        format!("fault gateway: the gateway's user `gw-{}` may impersonate groups without any grant", bastion.host),
    ];
    until_checked(&bastion, &expected.each_ref().map(String::as_str));
    bastion.admin.delete(&format!("{}/{name}", everywhere()));
    bastion.admin.delete(&format!("{RBAC}/clusterroles/{name}"));
}

/// The metadata of an object of this name that a daemon makes for a grant of alice's.
pub(crate) fn made_for(host: &str, grant: &str, name: &str) -> Value {
    json!({
        "name": name,
        "labels": { "app.kubernetes.io/managed-by": "jitd", "jitd.dev/host": host },
        "annotations": { "jitd.dev/grant": grant, "jitd.dev/user": "jit:alice@example.com" },
    })
}

/// A binding with this metadata that gives the gateway a role.
pub(crate) fn gateway_bound(host: &str, metadata: Value, role: &str) -> Value {
    json!({
        "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("gw-{host}") }],
    })
}

/// Waits until a daemon that RBAC lets do anything is refused a role of the gateway's without rules.
pub(crate) fn until_roles_are_fenced(fenced: &Admin, metadata: &Value) {
    let nothing = json!({ "metadata": metadata, "rules": [] });
    until("the policy of the gateway's roles is in force", || {
        let (status, answer) = fenced.call(Method::POST, &format!("{RBAC}/clusterroles?dryRun=All"), &nothing);
        (status == 403 && answer.to_string().contains("-gateway-roles")).then_some(())
    });
}

/// Also where RBAC would let it do anything, the daemon lets the gateway act as exactly one grant's holder in a place that
/// the policy has, and nobody else.
#[test]
fn the_fence_lets_the_daemon_give_the_gateway_one_grant_at_a_time() {
    let bastion = walled_with(through_gateway());
    let own = daemon(&bastion);
    let (host, id) = (bastion.host.as_str(), "gggggggggggggggg");
    let here = format!("{RBAC}/namespaces/{}/rolebindings", bastion.ns);
    let roles = format!("{RBAC}/clusterroles");
    let metadata = |name: &str| made_for(host, id, name);
    let rule = |resource: &str, name: &str| json!({ "apiGroups": ["authentication.k8s.io"], "resources": [resource], "resourceNames": [name], "verbs": ["impersonate:user-info"] });
    let role = json!({
        "metadata": metadata(&format!("jit-{id}-gateway")),
        "rules": [
            rule("groups", &format!("jit:{id}")),
            rule("userextras/jitd.dev/grant", id),
            rule("users", "jit:alice@example.com"),
        ],
    });
    let binding = |name: &str, role: &str| gateway_bound(host, metadata(name), role);
    let name = format!("jit-{id}-gateway");
    let (on_name, on_role) = (format!("{name}-on"), format!("jitd-{host}-gateway-on"));
    let (whom, on) = (binding(&name, &name), binding(&on_name, &on_role));

    // With its own rights, which are the manifest's, it gets so far.
    own.create(&roles, &role);
    own.create(&everywhere(), &whom);
    own.create(&here, &on);
    for path in [format!("{here}/{on_name}"), format!("{}/{name}", everywhere()), format!("{roles}/{name}")] {
        own.delete(&path);
    }
    let fenced = unbounded(&bastion);
    until_roles_are_fenced(&fenced, &metadata(&name));
    fenced.create(&everywhere(), &on);
    fenced.delete(&format!("{}/{on_name}", everywhere()));

    let form = "must let it act as the holder of one grant";
    let changed = |at: &str, value: Value| with(role.clone(), |role| *role.pointer_mut(at).unwrap() = value);
    for other in [
        changed("/rules/0/resourceNames", json!(["system:masters"])),
        changed("/rules/0/resourceNames", json!([format!("jit:{id}"), "system:masters"])),
        changed("/rules/0/resourceNames", json!([])),
        changed("/rules/0/resources", json!(["*"])),
        changed("/rules/0/apiGroups", json!(["*"])),
        changed("/rules/0/verbs", json!(["impersonate"])),
        changed("/rules/0/verbs", json!(["impersonate:user-info", "impersonate"])),
        changed("/rules/1/resources", json!(["userextras/scopes"])),
        changed("/rules/2/resourceNames", json!(["jit:bob"])),
        changed("/rules/2/resourceNames", json!(["admin"])),
        changed("/metadata/annotations/jitd.dev~1grant", json!("hhhhhhhhhhhhhhhh")),
        changed("/rules", json!([])),
        with(role.clone(), |role| role["rules"].as_array_mut().unwrap().push(rule("users", "jit:bob"))),
        with(role.clone(), |role| {
            role["aggregationRule"] = json!({ "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] });
        }),
        with(changed("/rules/2/resourceNames", json!([format!("jit:daemon:{host}")])), |role| {
            role["metadata"]["annotations"]["jitd.dev/user"] = json!(format!("jit:daemon:{host}"));
        }),
    ] {
        refused(fenced.call(Method::POST, &roles, &other), form);
    }
    for other in ["wide", "jit-gggggggggggggggg", &on_name, &on_role] {
        refused(fenced.call(Method::POST, &roles, &changed("/metadata/name", json!(other))), "must be named");
    }
    refused(fenced.call(Method::POST, &format!("{RBAC}/namespaces/{}/roles", bastion.ns), &role), "must be named");

    let no_rule = "no rule of the policy";
    for (path, object) in [
        (&here, binding(&name, &name)),
        (&here, binding(&on_name, "cluster-admin")),
        (&here, binding(&on_name, &name)),
        (&everywhere(), binding(&name, "cluster-admin")),
        (&everywhere(), binding(&name, &on_role)),
        (&format!("{RBAC}/namespaces/kube-system/rolebindings"), on.clone()),
        (&here, binding(&format!("jit-{id}"), &on_role)),
    ] {
        let (status, answer) = fenced.call(Method::POST, path, &object);
        let refused = answer["message"].as_str().unwrap_or_default();
        assert!(status == 403 && (refused.contains(no_rule) || refused.contains("one subject")), "{object}: {answer}");
    }
    let user = |kind: &str, name: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
    for subjects in [
        json!([user("User", "mallory")]),
        json!([user("User", &format!("jit:daemon:{host}"))]),
        json!([user("Group", &format!("gw-{host}"))]),
        json!([user("Group", &format!("jit:{id}"))]),
        json!([user("User", &format!("gw-{host}")), user("User", "mallory")]),
        json!([]),
    ] {
        for (path, object) in [(&here, &on), (&everywhere(), &whom)] {
            let object = with(object.clone(), |object| object["subjects"] = subjects.clone());
            refused(fenced.call(Method::POST, path, &object), "must have one subject");
        }
    }
    // Nobody else makes or changes such objects.
    refused(bastion.admin.call(Method::POST, &roles, &role), "only jitd creates roles");
    refused(bastion.admin.call(Method::POST, &here, &on), "only jitd creates bindings");
}

/// A holder gets no token that would outlive the grant, whatever the role contains.
#[test]
fn a_holder_makes_no_token_and_reaches_no_node() {
    let bastion = walled_with(through_gateway());
    let holder = Admin::posing_as(bastion.plane, "jit:alice", &["system:masters"]);
    let token = format!("/api/v1/namespaces/{}/serviceaccounts/default/token", bastion.ns);
    let spec = json!({ "spec": {} });
    // Each by itself: the policies of other tests' bastions refuse tokens as well, those behind no gateway only tokens.
    let no_token = "no grant allows tokens of service accounts";
    until("tokens are refused", || {
        let (status, answer) = holder.call(Method::POST, &token, &spec);
        (status == 403 && answer.to_string().contains(no_token)).then_some(())
    });
    let no_node = "no grant allows requests to a node";
    until("requests to nodes are refused", || {
        let (status, answer) = holder.get("/api/v1/nodes/n1/proxy/pods");
        (status == 403 && answer.to_string().contains(no_node)).then_some(())
    });
    let (status, answer) = bastion.admin.call(Method::POST, &token, &spec);
    assert_ne!(status, 403, "others are not concerned: {answer}");
}

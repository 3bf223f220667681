//! The admission policies on a real API server: the output of `jitd manifest`, applied unchanged, and what
//! `jitd check --cluster` says about it.
//!
//! The guard acts on everybody, so these tests share a control plane of their own. A policy takes a moment
//! to come into force after it is applied; the tests wait for a first refusal.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;
use jiff::SignedDuration;
use jitd::ca::{Authority, KeyPlace};
use jitd::grant::policy::Requirement;
use jitd::manifest::{Place, Reach, Users, fence, fence_name, printed};
use serde_json::{Value, json};

use crate::bastion::{Bastion, Options, text};
use crate::plane::{Admin, Answer, Plane, until};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const NO_RULE: &str = "no rule of the policy";
const ONE_SUBJECT: &str = "must have one subject";

pub(crate) fn plane() -> &'static Plane {
    static OWN: OnceLock<Plane> = OnceLock::new();
    OWN.get_or_init(Plane::start)
}

/// A daemon's host with the whole manifest in force, and nobody serving.
pub(crate) fn walled() -> Bastion<'static> {
    walled_with(Options::default())
}

pub(crate) fn walled_with(options: Options) -> Bastion<'static> {
    let bastion = Bastion::prepared(plane(), options);
    bastion.apply(&bastion.manifest());
    in_force(&bastion);
    bastion
}

pub(crate) fn in_force(bastion: &Bastion<'_>) {
    let role = format!("{RBAC}/clusterroles/jitd-{}", bastion.host);
    let rules = bastion.admin.get(&role).1["rules"].clone();
    let fenced = unbounded(bastion);
    in_force_for(bastion, &fenced);
    bastion.admin.patch(&role, &json!({ "rules": rules }));
    until("its rights are its own again", || (fenced.get("/api/v1/secrets").0 == 403).then_some(()));
}

/// The same, tried by the daemon `fenced`, whom RBAC refuses nothing of bindings and roles.
pub(crate) fn in_force_for(bastion: &Bastion<'_>, fenced: &Admin) {
    let mut wrong = bastion_binding(bastion, "wrong");
    wrong["subjects"][0]["name"] = json!("jit:nobody");
    let dry = format!("{}?dryRun=All", in_namespace(&bastion.ns));
    for (who, policy) in [(fenced, fence_name(&bastion.host)), (&bastion.admin, "-guard".to_owned())] {
        until("the policies are in force", || {
            let (status, answer) = who.call(Method::POST, &dry, &wrong);
            (status == 403 && answer.to_string().contains(&policy)).then_some(())
        });
    }
    // With the labels, without which other bastions' policies would be asked about a daemon that they know by them.
    let labels = wrong["metadata"]["labels"].clone();
    let made = json!({ "metadata": { "name": "jit-0000000000000000", "labels": labels } });
    let dry = format!("{RBAC}/namespaces/{}/roles?dryRun=All", bastion.ns);
    for (who, policy) in [(fenced, format!("jitd-{}-roles", bastion.host)), (&bastion.admin, "-guard-roles".to_owned())]
    {
        until("the policies of roles are in force", || {
            let (status, answer) = who.call(Method::POST, &dry, &made);
            (status == 403 && answer.to_string().contains(&policy)).then_some(())
        });
    }
    let own = format!("{}/jitd-{}?dryRun=All", everywhere(), bastion.host);
    until("the policy of deletions is in force", || {
        (fenced.call(Method::DELETE, &own, &Value::Null).0 == 403).then_some(())
    });
}

/// The daemon with the credential that it makes for itself.
pub(crate) fn daemon(bastion: &Bastion<'_>) -> Admin {
    let authority = Authority::open(&bastion.dir.join("var/ca/play"), &KeyPlace::File).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the certificate is to be valid now")]
    let now = jiff::Timestamp::now();
    let made = authority.daemon_credential(&bastion.host, SignedDuration::from_mins(10), now).unwrap();
    Admin::with_certificate(bastion.plane, &made.chain_pem, &made.key_pem)
}

/// The daemon, whom RBAC refuses nothing any more: what stops it is the admission policy alone.
pub(crate) fn unbounded(bastion: &Bastion<'_>) -> Admin {
    let role = format!("{RBAC}/clusterroles/jitd-{}", bastion.host);
    bastion.admin.patch(&role, &json!({ "rules": [everything()] }));
    unbounded_daemon(bastion.plane, &bastion.host)
}

/// A daemon of another host, installed as a manifest would, but with every right. No policy fences it.
pub(crate) fn unfenced(plane: &Plane) -> Admin {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let host = format!("unfenced-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let (name, admin) = (format!("jitd-{host}"), plane.admin());
    admin.create(&format!("{RBAC}/clusterroles"), &json!({ "metadata": { "name": name }, "rules": [everything()] }));
    admin.create(&everywhere(), &installed(&host, &name, &host));
    unbounded_daemon(plane, &host)
}

fn everything() -> Value {
    json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] })
}

fn unbounded_daemon(plane: &Plane, host: &str) -> Admin {
    let daemon = Admin::posing_as(plane, &format!("jit:daemon:{host}"), &[]);
    until("the daemon may do anything", || (daemon.get("/api/v1/secrets").0 == 200).then_some(()));
    daemon
}

/// A binding that gives a daemon its rights.
fn installed(host: &str, role: &str, daemon: &str) -> Value {
    json!({
        "metadata": { "name": format!("jitd-{host}") },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("jit:daemon:{daemon}") }],
    })
}

pub(crate) fn in_namespace(namespace: &str) -> String {
    format!("{RBAC}/namespaces/{namespace}/rolebindings")
}

pub(crate) fn everywhere() -> String {
    format!("{RBAC}/clusterrolebindings")
}

/// Sixteen letters of a grant; `x` tells tests apart.
pub(crate) fn grant(x: char) -> String {
    x.to_string().repeat(16)
}

pub(crate) fn binding(host: &str, id: &str, kind: &str, role: &str) -> Value {
    json!({
        "metadata": {
            "name": format!("jit-{id}"),
            "labels": { "app.kubernetes.io/managed-by": "jitd", "jitd.dev/host": host },
        },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": format!("jit:{id}") }],
    })
}

pub(crate) fn bastion_binding(bastion: &Bastion<'_>, id: &str) -> Value {
    binding(&bastion.host, id, "ClusterRole", "view")
}

pub(crate) fn refused(answer: Answer, why: &str) {
    let (status, body) = answer;
    assert_eq!(status, 403, "not refused because `{why}`: {body}");
    assert!(body["message"].as_str().unwrap().contains(why), "`{why}` is not in {body}");
}

pub(crate) fn with(mut object: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut object);
    object
}

// ---- what is applied ----

/// The output goes through `kubectl apply` twice, beside another host's, and the API server finds no fault
/// with its expressions.
#[test]
fn the_manifest_can_be_applied_again_and_beside_another_hosts() {
    let (one, other) = (walled(), walled());
    for bastion in [&one, &other, &one] {
        let said = bastion.apply(&bastion.manifest());
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 14, "{said}");
        assert!(lines.iter().all(|line| line.ends_with(" unchanged") && line.contains(&bastion.host)), "{said}");
    }
    for policy in ["fence", "roles", "deletions", "guard", "guard-roles", "holders"] {
        let path = format!("{ADMISSION}/validatingadmissionpolicies/jitd-{}-{policy}", one.host);
        let status = until("the expressions are checked", || {
            let found = one.admin.get(&path).1;
            found["status"]["observedGeneration"].is_number().then(|| found["status"].clone())
        });
        assert_eq!(status["typeChecking"]["expressionWarnings"], Value::Null, "{policy}: {status}");
    }
}

/// Every document explains itself in a comment and has labels, none of which makes it a grant's object.
#[test]
fn each_object_of_the_manifest_says_why_it_is_there() {
    let bastion = Bastion::prepared(plane(), Options::default());
    let printed = bastion.manifest();
    let documents: Vec<&str> = printed.split("---\n").skip(1).collect();
    assert_eq!(documents.len(), 14);
    for document in documents {
        assert!(document.starts_with("# "), "{document}");
        assert!(document.contains(&format!("app.kubernetes.io/instance: {}\n", bastion.host)), "{document}");
    }
    assert!(!printed.contains("    app.kubernetes.io/managed-by:"), "{printed}");
}

// ---- the daemon ----

/// With its own credential the daemon makes and removes what the policy gives, and nothing else that a stolen
/// credential would be used for.
#[test]
fn the_daemons_credential_makes_only_what_the_policy_gives() {
    let bastion = walled();
    let daemon = daemon(&bastion);
    let here = in_namespace(&bastion.ns);
    let view = bastion_binding(&bastion, &grant('a'));
    daemon.create(&here, &view);
    let mine = format!("{here}/jit-{}", grant('a'));
    // So is access that nobody agreed to, with its mark.
    let marked = with(bastion_binding(&bastion, &grant('d')), |object| {
        object["metadata"]["annotations"] = json!({ "jitd.dev/break-glass": "true" });
    });
    daemon.create(&here, &marked);
    daemon.delete(&format!("{here}/jit-{}", grant('d')));
    for change in [
        json!({ "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dave" }] }),
        json!({ "metadata": { "labels": null } }),
    ] {
        refused(daemon.call(Method::PATCH, &mine, &change), "cannot patch resource");
        refused(daemon.call(Method::PUT, &mine, &view), "cannot update resource");
    }
    let host = bastion.host.as_str();
    let admin = binding(host, &grant('b'), "ClusterRole", "cluster-admin");
    refused(daemon.call(Method::POST, &here, &admin), "attempting to grant RBAC permissions not currently held");
    refused(
        daemon.call(Method::POST, &everywhere(), &admin),
        "attempting to grant RBAC permissions not currently held",
    );
    let person = with(bastion_binding(&bastion, &grant('b')), |object| {
        object["subjects"][0] = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dave" });
    });
    refused(daemon.call(Method::POST, &here, &person), ONE_SUBJECT);
    let role = json!({ "metadata": { "name": "wide" }, "rules": [{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }] });
    refused(daemon.call(Method::POST, &format!("{RBAC}/clusterroles"), &role), "cannot create resource");
    refused(daemon.call(Method::PATCH, &format!("{RBAC}/clusterroles/jitd-{host}"), &role), "cannot patch resource");
    daemon.delete(&mine);
}

/// Also where RBAC would let it do anything, the fence keeps the daemon to one subject, one name, its labels,
/// and to the pairs of role and place that a rule gives.
#[test]
fn the_fence_holds_when_the_daemons_rights_do_not() {
    let bastion = walled();
    let (fenced, host) = (unbounded(&bastion), bastion.host.as_str());
    let (here, shop) = (in_namespace(&bastion.ns), in_namespace(&bastion.shop));
    let nodes = format!("{}-nodes", bastion.ns);
    let id = grant('c');
    let own = format!("jit-{id}");
    let good = |kind: &str, role: &str| binding(host, &id, kind, role);

    for (place, kind, role) in [
        (&here, "ClusterRole", "view"),
        (&shop, "ClusterRole", "view"),
        (&here, "ClusterRole", "edit"),
        (&here, "Role", "local"),
        (&everywhere(), "ClusterRole", nodes.as_str()),
    ] {
        fenced.create(place, &good(kind, role));
        fenced.delete(&format!("{place}/{own}"));
    }
    for (place, kind, role) in [
        (&here, "ClusterRole", "cluster-admin"),
        (&everywhere(), "ClusterRole", "cluster-admin"),
        (&everywhere(), "ClusterRole", "view"),
        (&here, "ClusterRole", nodes.as_str()),
        (&shop, "ClusterRole", "edit"),
        (&in_namespace("default"), "ClusterRole", "view"),
        (&in_namespace("kube-system"), "ClusterRole", "view"),
        (&here, "Role", "view"),
        (&here, "ClusterRole", "local"),
        (&here, "Role", "jit-dddddddddddddddd"),
        (&here, "Role", own.as_str()),
        (&in_namespace("default"), "Role", own.as_str()),
    ] {
        refused(fenced.call(Method::POST, place, &good(kind, role)), NO_RULE);
    }
    let group = |name: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name });
    let ours = group(&format!("jit:{id}"));
    for subjects in [
        json!([]),
        Value::Null,
        json!([ours, group("jit:dddddddddddddddd")]),
        json!([ours, ours]),
        json!([group("jit:dddddddddddddddd")]),
        json!([group("system:masters")]),
        json!([group("system:authenticated")]),
        json!([{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("jit:{id}") }]),
        json!([{ "kind": "ServiceAccount", "name": "default", "namespace": bastion.ns }]),
    ] {
        let object = with(good("ClusterRole", "view"), |object| object["subjects"] = subjects);
        refused(fenced.call(Method::POST, &here, &object), ONE_SUBJECT);
    }
    for name in [
        "jit-",
        "other",
        "jit-ccccccccccccccc",
        "jit-ccccccccccccccccc",
        "jit-ccccccccccccccci",
        "xjit-cccccccccccccccc",
    ] {
        let object = with(good("ClusterRole", "view"), |object| object["metadata"]["name"] = json!(name));
        refused(fenced.call(Method::POST, &here, &object), "must be named `jit-`");
    }
    for labels in [
        Value::Null,
        json!({ "app.kubernetes.io/managed-by": "jitd" }),
        json!({ "jitd.dev/host": host }),
        json!({ "app.kubernetes.io/managed-by": "jitd", "jitd.dev/host": "another" }),
    ] {
        let object = with(good("ClusterRole", "view"), |object| object["metadata"]["labels"] = labels);
        refused(fenced.call(Method::POST, &here, &object), "must have the labels");
    }

    fenced.create(&here, &good("ClusterRole", "view"));
    let made = format!("{here}/{own}");
    for change in [json!({ "metadata": { "annotations": { "a": "b" } } }), json!({ "subjects": [ours, group("x")] })] {
        refused(fenced.call(Method::PATCH, &made, &change), "jitd never changes a binding");
    }
    refused(
        fenced.call(Method::PUT, &made, &with(good("ClusterRole", "view"), |object| object["subjects"] = json!([]))),
        "jitd never changes a binding",
    );
    fenced.delete(&made);
}

/// A stolen credential of the daemon ends grants of its own host, and deletes nothing else that RBAC would let it.
#[test]
fn the_daemon_deletes_only_what_a_grant_of_its_host_had() {
    let bastion = walled();
    let daemon = daemon(&bastion);
    let (here, host) = (in_namespace(&bastion.ns), bastion.host.as_str());
    let roles = format!("{RBAC}/namespaces/{}/roles", bastion.ns);
    let only_grants = "may delete only objects named";
    for object in [
        format!("{}/cluster-admin", everywhere()),
        format!("{}/jitd-{host}", everywhere()),
        format!("{}/system::leader-locking-kube-controller-manager", in_namespace("kube-system")),
    ] {
        refused(daemon.call(Method::DELETE, &format!("{object}?dryRun=All"), &Value::Null), only_grants);
    }
    // Roles too, where it makes some.
    let wide = unbounded(&bastion);
    refused(wide.call(Method::DELETE, &format!("{roles}/local"), &Value::Null), only_grants);
    refused(wide.call(Method::DELETE, &format!("{RBAC}/clusterroles/view"), &Value::Null), only_grants);
    refused(wide.call(Method::DELETE, &roles, &Value::Null), only_grants);

    let other = walled();
    let theirs = binding(&other.host, &grant('k'), "ClusterRole", "view");
    unbounded(&other).create(&in_namespace(&other.ns), &theirs);
    let theirs = format!("{}/jit-{}", in_namespace(&other.ns), grant('k'));
    refused(daemon.call(Method::DELETE, &theirs, &Value::Null), "belongs to another host");

    // What was stripped of its labels still ends.
    let stripped = with(bastion_binding(&bastion, &grant('k')), |object| object["metadata"]["labels"] = Value::Null);
    unfenced(bastion.plane).create(&here, &stripped);
    daemon.delete(&format!("{here}/jit-{}", grant('k')));
    // Whom the policy is not about deletes what they like.
    bastion.admin.delete(&theirs);
}

/// A rule may reach by names with wildcards and by the labels of namespaces; the API server reads both as the
/// policy does.
#[test]
fn the_fence_reads_globs_and_label_selectors() {
    let bastion = Bastion::prepared(plane(), Options::default());
    let labelled = |name: &str, labels: Value| {
        bastion.admin.patch(&format!("/api/v1/namespaces/{name}"), &json!({ "metadata": { "labels": labels } }));
    };
    let reach = |role: &str, place: Place| Reach {
        roles: vec![role.parse().unwrap()],
        places: vec![place],
        ..Reach::default()
    };
    let key = || "example.com/team".to_owned();
    let values = || vec!["payments".to_owned(), "a\"b".to_owned()];
    let reaches = [
        reach("glob", Place::Glob(format!("{}-s?o*", bastion.ns))),
        reach("in", Place::Labels(vec![Requirement::In(key(), values())])),
        reach("not-in", Place::Labels(vec![Requirement::NotIn(key(), values())])),
        reach("exists", Place::Labels(vec![Requirement::Exists(key()), Requirement::DoesNotExist("frozen".into())])),
        reach("nothing", Place::Labels(vec![])),
    ];
    bastion.apply(&printed(&fence(Users { host: &bastion.host, daemon: None, gateway: None }, &reaches)));
    in_force(&bastion);
    let fenced = unbounded(&bastion);
    let allowed = |namespace: &str| -> Vec<&str> {
        let roles = ["glob", "in", "not-in", "exists", "nothing"].into_iter();
        roles
            .filter(|role| {
                let object = binding(&bastion.host, &grant('f'), "ClusterRole", role);
                let path = format!("{}?dryRun=All", in_namespace(namespace));
                let (status, body) = fenced.call(Method::POST, &path, &object);
                assert!(status == 200 || body.to_string().contains(NO_RULE), "{body}");
                status == 200
            })
            .collect()
    };
    assert_eq!(allowed(&bastion.ns), ["not-in"]);
    assert_eq!(allowed(&bastion.shop), ["glob", "not-in"]);
    for (labels, expected) in [
        (json!({ "example.com/team": "payments" }), vec!["in", "exists"]),
        (json!({ "example.com/team": "other" }), vec!["not-in", "exists"]),
        (json!({ "frozen": "" }), vec!["not-in"]),
    ] {
        labelled(&bastion.ns, labels);
        // The API server reads the labels from a cache.
        until("the labels count", || (allowed(&bastion.ns) == expected).then_some(()));
    }
}

// ---- everybody else ----

/// Neither cluster-admin nor system:masters can bind permissions to jitd's names or change jitd's objects; deleting
/// them is allowed.
#[test]
fn nobody_else_writes_the_bindings_of_jitd() {
    let bastion = walled();
    let platform = "platform-admins";
    let given = json!({
        "metadata": { "name": format!("{platform}-{}", bastion.host) },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": platform }],
    });
    bastion.admin.create(&everywhere(), &given);
    let here = in_namespace(&bastion.ns);
    let daemon = daemon(&bastion);
    let name = |kind: &str, name: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
    let plain = |subject: &Value| {
        json!({
            "metadata": { "name": "plain" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
            "subjects": [subject],
        })
    };
    for somebody in [Admin::posing_as(bastion.plane, "erin", &[platform]), bastion.plane.admin()] {
        until("the rights of the administrator hold", || (somebody.get(&here).0 == 200).then_some(()));
        let ours = bastion_binding(&bastion, &grant('g'));
        daemon.create(&here, &ours);
        let mine = format!("{here}/jit-{}", grant('g'));

        for subject in [name("Group", "jit:anything"), name("User", "jit:alice"), name("User", "jit:daemon:evil")] {
            for place in [&here, &everywhere()] {
                refused(somebody.call(Method::POST, place, &plain(&subject)), "only jitd grants rights");
            }
        }
        refused(somebody.call(Method::POST, &here, &bastion_binding(&bastion, &grant('h'))), "only jitd grants rights");
        for label in ["app.kubernetes.io/managed-by", "jitd.dev/host"] {
            let object =
                with(plain(&name("Group", "other")), |object| object["metadata"]["labels"] = json!({ label: "jitd" }));
            refused(somebody.call(Method::POST, &here, &object), "only jitd creates bindings with the labels");
        }
        for change in [
            json!({ "subjects": [name("Group", &format!("jit:{}", grant('g'))), name("User", "dave")] }),
            json!({ "subjects": [name("User", "dave")] }),
            json!({ "subjects": null }),
            json!({ "metadata": { "labels": null } }),
            json!({ "metadata": { "annotations": { "jitd.dev/user": "jit:bob" } } }),
            json!({ "metadata": { "finalizers": ["example.com/hold"] } }),
        ] {
            let (status, body) = somebody.call(Method::PATCH, &mine, &change);
            assert_eq!(status, 403, "{change}: {body}");
            assert!(body.to_string().contains("-guard"), "{body}");
        }
        refused(
            somebody.call(Method::PATCH, &mine, &json!({ "subjects": null, "metadata": { "labels": null } })),
            "must not be changed",
        );

        let other = "other-group";
        somebody.create(&here, &plain(&name("Group", other)));
        let change = json!({ "subjects": [name("Group", other), name("Group", "jit:anything")] });
        refused(somebody.call(Method::PATCH, &format!("{here}/plain"), &change), "only jitd grants rights");
        somebody.patch(&format!("{here}/plain"), &json!({ "subjects": [name("User", "dave")] }));
        somebody.delete(&format!("{here}/plain"));

        // Foreground: the garbage collector takes its finalizer off by an update, which has to pass.
        somebody.delete(&format!("{mine}?propagationPolicy=Foreground"));
        until("the binding is gone", || (somebody.get(&mine).0 == 404).then_some(()));
    }
    bastion.admin.delete(&format!("{}/{platform}-{}", everywhere(), bastion.host));
}

/// The daemon's own rights are the one binding of a `jit:` name that an administrator makes, and only so.
#[test]
fn an_administrator_binds_the_daemon_as_the_manifest_does_and_not_otherwise() {
    let bastion = walled();
    let dry = format!("{}?dryRun=All", everywhere());
    assert_eq!(bastion.admin.call(Method::POST, &dry, &installed("new", "jitd-new", "new")).0, 200, "a further host");
    for wrong in [
        installed("new", "cluster-admin", "new"),
        installed("new", "jitd-new", "other"),
        with(installed("new", "jitd-new", "new"), |object| object["subjects"][0]["kind"] = json!("Group")),
        with(installed("new", "jitd-new", "new"), |object| {
            let twice = object["subjects"][0].clone();
            object["subjects"] =
                json!([twice, { "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dave" }]);
        }),
    ] {
        refused(bastion.admin.call(Method::POST, &dry, &wrong), "only jitd grants rights");
    }
    let own = format!("{}/jitd-{}", everywhere(), bastion.host);
    let more = json!({ "subjects": [
        { "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("jit:daemon:{}", bastion.host) },
        { "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dave" },
    ] });
    refused(bastion.admin.call(Method::PATCH, &own, &more), "only jitd grants rights");
    bastion.admin.patch(&own, &json!({ "metadata": { "annotations": { "example.com/seen": "yes" } } }));
}

/// A daemon's name alone opens nothing: who may pose as anybody poses as one in groups that may do anything.
#[test]
fn a_daemons_name_with_groups_is_not_a_daemon() {
    let bastion = walled();
    let plain = json!({
        "metadata": { "name": "plain" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jit:alice" }],
    });
    let role = json!({ "metadata": { "name": format!("jit-{}", grant('m')) } });
    let roles = format!("{RBAC}/namespaces/{}/roles", bastion.ns);
    for groups in [
        &["system:masters"][..],
        &["system:masters", "system:authenticated"],
        &["system:authenticated", "system:masters"],
    ] {
        let posing = Admin::posing_as(bastion.plane, "jit:daemon:nobody", groups);
        refused(posing.call(Method::POST, &in_namespace(&bastion.ns), &plain), "only jitd grants rights");
        refused(posing.call(Method::POST, &roles, &role), "only jitd creates roles");
    }
}

/// The whole story with the wall around it.
#[test]
fn a_grant_lives_and_ends_within_the_wall() {
    let mut bastion = walled();
    bastion.serve();
    let access = bastion.live(&bastion.ask("5m"));
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    let wide = bastion.live(&json!({
        "cluster": "play", "clusterWide": true, "role": format!("{}-nodes", bastion.ns), "duration": "5m", "reason": "INC-42 node down",
    }));
    assert_eq!(wide.client.get("/api/v1/nodes").0, 200);
    for grant in [&access.grant, &wide.grant] {
        let (status, ended) = bastion.post(crate::bastion::ALICE, &crate::bastion::path(grant, "/end"), &Value::Null);
        assert_eq!((status, &ended["phase"]), (200, &json!("ended")), "{ended}");
    }
    bastion.has_no_fault();
}

// ---- check --cluster ----

/// What `check --cluster` finds that is not in order, as `VERDICT CHECK: FOUND`, and whether it says that all is
/// well by its exit code.
fn checked(bastion: &Bastion<'_>) -> (bool, Vec<String>) {
    let output = bastion.jitd(&["check", "--cluster", "play", "-o", "json"]);
    let findings: Vec<Value> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    for finding in &findings {
        assert_eq!(finding["cluster"], "play");
        assert_eq!(finding["verdict"] != "ok", finding["hint"].is_string(), "{finding}");
    }
    let out_of_order = findings.iter().filter(|finding| finding["verdict"] != "ok");
    let out_of_order = out_of_order
        .map(|finding| format!("{} {}: {}", word(finding, "verdict"), word(finding, "check"), word(finding, "found")))
        .collect();
    (output.status.success(), out_of_order)
}

/// Checks until the findings are these beginnings, in order; RBAC and the policies follow a change in a moment.
pub(crate) fn until_checked(bastion: &Bastion<'_>, expected: &[&str]) {
    let mut last = Vec::new();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let (well, found) = checked(bastion);
        if found.len() == expected.len() && found.iter().zip(expected).all(|(found, begin)| found.starts_with(begin)) {
            assert_eq!(well, !found.iter().any(|finding| finding.starts_with("fault")), "{found:?}");
            return;
        }
        assert!(std::time::Instant::now() < end, "expected {expected:#?}, found {found:#?}, before {last:#?}");
        last = found;
    }
}

/// The policy of these tests names a role that there is not; on a good cluster that is all there is to say. It
/// runs from `a_minute.rs`.
pub(crate) fn check_names_exactly_what_is_wrong_with_a_cluster() {
    let bastion = walled();
    let host = bastion.host.as_str();
    let missing_role = format!("warning roles: ClusterRole `{}-missing` does not exist", bastion.ns);
    let no_local = format!("warning roles: Role `local` in namespace {} does not exist", bastion.shop);
    let usual = [no_local.as_str(), missing_role.as_str()];
    let usual_and = |more: &[String]| -> Vec<String> {
        usual.iter().map(ToString::to_string).chain(more.iter().cloned()).collect()
    };
    let expect = |found: Vec<String>| until_checked(&bastion, &found.iter().map(String::as_str).collect::<Vec<_>>());
    let repair = || {
        bastion.apply(&bastion.manifest());
        until_checked(&bastion, &usual);
    };
    until_checked(&bastion, &usual);

    // As text: a line for each check, progress elsewhere.
    let output = bastion.jitd(&["check", "--cluster"]);
    assert!(output.status.success());
    let said = text(&output.stdout);
    for line in ["ok      play version: v", "ok      play trust: ", "ok      play rights: ", "ok      play admission: "]
    {
        assert!(said.lines().any(|found| found.starts_with(line)), "{line}:\n{said}");
    }
    assert_eq!(text(&output.stderr), format!("cluster play: asking {}\n", bastion.plane.server));

    // A policy that was removed.
    for (policy, resource, kind) in [
        ("roles", "validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
        ("guard", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
    ] {
        bastion.admin.delete(&format!("{ADMISSION}/{resource}/jitd-{host}-{policy}"));
        expect(usual_and(&[format!("fault {kind} jitd-{host}-{policy}: is missing")]));
        repair();
    }
    // The one of deletions: then it is tried in vain.
    let deletions = format!("{ADMISSION}/validatingadmissionpolicybindings/jitd-{host}-deletions");
    bastion.admin.delete(&deletions);
    expect(usual_and(&[
        format!("fault ValidatingAdmissionPolicyBinding jitd-{host}-deletions: is missing"),
        "fault admission: deleting a binding that belongs to no grant is not refused".to_owned(),
    ]));
    repair();
    // The fence itself: then nothing refuses what it refused.
    let fence = format!("{ADMISSION}/validatingadmissionpolicybindings/jitd-{host}-fence");
    bastion.admin.delete(&fence);
    expect(usual_and(&[
        format!("fault ValidatingAdmissionPolicyBinding jitd-{host}-fence: is missing"),
        "fault admission: binding a group that no grant has is not refused".to_owned(),
    ]));
    repair();
    // Altered so that it only warns, or looks away.
    bastion.admin.patch(&fence, &json!({ "spec": { "validationActions": ["Audit"] } }));
    let altered = format!(
        "fault ValidatingAdmissionPolicyBinding jitd-{host}-fence: differs from the manifest: `spec.validationActions`"
    );
    expect(usual_and(&[
        format!("{altered} lacks \"Deny\""),
        format!("{altered} has \"Audit\""),
        "fault admission: binding a group that no grant has is not refused".to_owned(),
    ]));
    repair();
    let guard = format!("{ADMISSION}/validatingadmissionpolicies/jitd-{host}-guard");
    bastion.admin.patch(&guard, &json!({ "spec": { "failurePolicy": "Ignore" } }));
    expect(usual_and(&[format!(
        "fault ValidatingAdmissionPolicy jitd-{host}-guard: differs from the manifest: `spec.failurePolicy` is \"Ignore\" instead of \"Fail\""
    )]));
    repair();
    // Rights that are too wide, and too few.
    let role = format!("{RBAC}/clusterroles/jitd-{host}");
    let rules = bastion.admin.get(&role).1["rules"].clone();
    let mut wide = rules.as_array().unwrap().clone();
    wide.push(json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }));
    bastion.admin.patch(&role, &json!({ "rules": wide }));
    expect(vec![
        "fault excess: the daemon may get secrets: RBAC: allowed by ClusterRoleBinding".to_owned(),
        no_local.clone(),
        missing_role.clone(),
        format!(
            "fault ClusterRole jitd-{host}: differs from the manifest: `rules` has {{\"apiGroups\":[\"\"],\"resources\":[\"secrets\"]"
        ),
    ]);
    repair();
    let mut narrow = rules.as_array().unwrap().clone();
    narrow.remove(1);
    bastion.admin.patch(&role, &json!({ "rules": narrow }));
    expect(vec![
        "fault rights: the daemon may not create subjectaccessreviews.authorization.k8s.io".to_owned(),
        no_local.clone(),
        missing_role.clone(),
        format!("fault ClusterRole jitd-{host}: differs from the manifest: `rules` lacks "),
    ]);
    repair();
}

/// A cluster that does not know the authority, or is not there, is one fault; a name that is no cluster is a
/// wrong use.
#[test]
fn check_says_when_a_cluster_does_not_trust_or_answer() {
    let bastion = Bastion::prepared(plane(), Options::default());
    std::fs::rename(bastion.dir.join("var/ca/play"), bastion.dir.join("var/ca/before")).unwrap();
    let none = bastion.jitd(&["check", "--cluster", "play"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stdout).starts_with("fault   play credential: "), "{}", text(&none.stdout));

    assert!(bastion.jitd(&["init"]).status.success());
    let (well, found) = checked(&bastion);
    assert!(!well);
    assert_eq!(found, ["fault authority: the API server does not trust this authority"]);

    bastion.rewrite_config(&bastion.plane.server, "https://127.0.0.1:1");
    let (well, found) = checked(&bastion);
    assert!(!well);
    assert!(
        found.len() == 1 && found[0].starts_with("fault connection: cluster `play` cannot be reached"),
        "{found:?}"
    );

    let wrong = bastion.jitd(&["check", "--cluster", "plya"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("cluster `plya` is not in the configuration; it has play"));
}

//! What access allows its holder to do, with a real daemon: shown to approvers, part of what they approve, and
//! compared with the guardrails before anybody is asked.
//!
//! `crates/jit-core/src/rbac/risk/tests.rs` and `tests/it/risk.rs` test what a set of rules allows.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, ERIN, Key, Options, path, text};
use crate::middleman::{Middleman, Shown};
use crate::plane::{Admin, Plane, root, until, until_within};
use crate::wall::walled_with;

/// The daemon trusts the API servers that kubectl trusts, including one whose own certificate is pinned, whoever
/// signed it. Where it is stricter, the message says so and what to do.
#[test]
fn a_pinned_certificate_is_trusted_as_by_kubectl() {
    for shown in
        [Shown::Signed, Shown::ItsOwnAuthority, Shown::Pinned, Shown::PinnedForAnotherName, Shown::AnAuthoritys]
    {
        let between = Middleman::showing(Plane::shared(), shown);
        let mut command = std::process::Command::new(root().join("bin/kubectl"));
        // Without a credential it would ask for a name and a password.
        command.args([
            "--token",
            "none",
            "get",
            "--raw",
            "/version",
            "--server",
            &between.server,
            "--certificate-authority",
        ]);
        let kubectl = command.arg(&between.ca).env("KUBECONFIG", "/dev/null").output().unwrap();
        let mut bastion = Bastion::prepared(Plane::shared(), between.options());
        let checked = text(&bastion.jitd(&["check", "--cluster"]).stdout);
        let unreachable: Vec<&str> = checked.lines().filter(|line| line.contains("cannot be reached")).collect();
        match shown {
            Shown::PinnedForAnotherName => {
                assert!(!kubectl.status.success());
                assert!(
                    unreachable[0].contains("its certificate is for another name; hint: `server` has a name"),
                    "{checked}"
                );
            }
            Shown::AnAuthoritys => {
                assert!(kubectl.status.success(), "{}", text(&kubectl.stderr));
                let words =
                    ["its certificate is not a server certificate; hint: ", "put this same certificate into the file"];
                assert!(words.iter().all(|word| unreachable[0].contains(word)), "{checked}");
            }
            _ => {
                assert!(kubectl.status.success(), "{}", text(&kubectl.stderr));
                assert_eq!(unreachable, Vec::<&str>::new());
                bastion.serve();
                let access = bastion.live(&bastion.ask("5m"));
                assert_eq!(bastion.look(&access, &bastion.ns), 200);
            }
        }
    }
}

/// A proxy that ends TLS passes no client certificate on: the message says that, and does not mention the manifest.
#[test]
fn a_proxy_that_ends_tls_is_reported() {
    let between = Middleman::nameless(Plane::shared());
    let bastion = Bastion::with(Plane::shared(), between.options());
    let checked = text(&bastion.jitd(&["check", "--cluster"]).stdout);
    let faults: Vec<&str> = checked.lines().filter(|line| line.starts_with("fault")).collect();
    let words = ["play connection: ", "treats us as an anonymous user (`system:anonymous`); hint: ", "terminates TLS"];
    assert!(faults.len() == 1 && words.iter().all(|word| faults[0].contains(word)), "{checked}");
    let asked = json!({ "ask": bastion.ask("5m"), "csr": Key::new().csr() });
    let (status, refused) = bastion.post(ALICE, "/v1/grants", &asked);
    assert_eq!((status, &refused["code"]), (502, &json!("cluster-refused")), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("terminates TLS"), "{refused}");
}

/// The daemon has all permissions that it needs, also where an administrator removed those of everybody.
#[test]
fn the_daemon_works_without_the_permissions_of_everybody() {
    let plane = Plane::to_stop();
    let mut bastion = Bastion::prepared(&plane, Options::default());
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let usual = ["system:basic-user", "system:discovery", "system:public-info-viewer"];
    usual.iter().for_each(|name| bastion.admin.delete(&format!("{bindings}/{name}")));
    let outsider = Admin::posing_as(&plane, "somebody", &[]);
    until("nobody is told anything", || (outsider.get("/version").0 == 403).then_some(()));
    let checked = text(&bastion.jitd(&["check", "--cluster"]).stdout);
    bastion.serve();
    let access = bastion.live(&bastion.ask("5m"));
    let looked = bastion.look(&access, &bastion.ns);
    // The API server makes them anew when it starts.
    plane.stop_api_server();
    plane.start_api_server();
    assert_eq!(looked, 200);
    for line in [
        "ok      play authority: it is trusted; ",
        "ok      play version: v",
        "ok      play trust: ",
        "ok      play rights: ",
    ] {
        assert!(checked.lines().any(|found| found.starts_with(line)), "{line}: {checked}");
    }
}

/// The check tries every grant that the policy allows, and says which ones the cluster would refuse, and why.
#[test]
fn the_check_tries_every_grant_of_the_policy() {
    let bastion = walled_with(Options::default());
    let grants = |checked: &str| {
        checked.lines().filter(|line| line.contains(" play grants: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let check = || grants(&text(&bastion.jitd(&["check", "--cluster"]).stdout));
    // Five roles in two namespaces, one more in one, one in the whole cluster.
    assert_eq!(check(), ["ok      play grants: the cluster would accept every grant that was tried (12)"]);

    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", bastion.shop);
    let hard = json!({ "count/rolebindings.rbac.authorization.k8s.io": "0" });
    bastion.admin.create(&quotas, &json!({ "metadata": { "name": "none" }, "spec": { "hard": hard } }));
    let found = until("the quota is in force", || Some(check()).filter(|found| found[0].starts_with("fault")));
    let place = format!("in namespace {} would be refused: ", bastion.shop);
    assert_eq!(found.len(), 5, "{found:#?}");
    for line in &found {
        assert!(
            line.contains(&place) && line.contains("exceeded quota") && line.contains("can raise the quota"),
            "{line}"
        );
    }
    bastion.admin.delete(&format!("{quotas}/none"));
    until("the quota is gone", || check()[0].starts_with("ok").then_some(()));

    // A policy that gives more than the manifest in force: the daemon would find out when somebody was approved.
    let policy = std::fs::read_to_string(bastion.dir.join("policy.yaml")).unwrap();
    bastion.write_policy(
        &policy
            .replace("roles: [edit]", "roles: [edit, view]")
            .replace(&format!("namespaces: [{}]", bastion.ns), "namespaces: [default]"),
    );
    let found = check();
    assert_eq!(found.len(), 2, "{found:#?}");
    for (line, role) in found.iter().zip(["edit", "view"]) {
        let words = [
            &*format!("a grant of ClusterRole `{role}` in namespace default would be refused: "),
            "no rule of the policy",
            "; hint: apply the output of `jitd manifest`",
        ];
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
}

/// If the daemon cannot connect, the check names a proxy that the environment sets for other programs.
#[test]
fn an_unused_proxy_is_named() {
    let bastion = Bastion::prepared(Plane::shared(), Options::default());
    bastion.rewrite_config(&bastion.plane.server, "https://127.0.0.1:1");
    for (value, told) in [("http://proxy.example:3128", true), ("", false)] {
        let mut command = std::process::Command::new(root().join("bin/jitd"));
        command.arg("--config").arg(bastion.dir.join("config.yaml")).args(["check", "--cluster"]);
        let checked = text(&command.env("HTTPS_PROXY", value).output().unwrap().stdout);
        let found =
            checked.lines().any(|line| line.contains("`HTTPS_PROXY` is set, but jitd connects without a proxy"));
        assert_eq!(found, told, "{checked}");
    }
}

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";

/// A bastion whose rule allows the role `NS-missing`, which the test creates; `more` are keys of the file.
fn bastion(keys: &str, more: &str, guardrails: &str) -> Bastion<'static> {
    let policy = format!(
        "{more}rules:\n- {{name: payments, who: [payments-oncall], clusters: [play], roles: [view, NS-missing, admin], maxDuration: 10m, approval: [{{groups: [payments-leads]}}], {keys}}}\n"
    );
    let mut bastion = Bastion::prepared(Plane::shared(), Options { policy, ..Options::default() });
    std::fs::write(bastion.dir.join("guardrails.yaml"), guardrails).unwrap();
    bastion.serve();
    bastion
}

fn make_role(bastion: &Bastion<'_>, rules: &Value) -> String {
    let name = format!("{}-missing", bastion.ns);
    bastion.admin.create(ROLES, &json!({ "metadata": { "name": name }, "rules": rules }));
    name
}

fn refused(bastion: &Bastion<'_>, ask: &Value, code: &str, word: &str) {
    let (status, refused) = bastion.post(ALICE, "/v1/grants", &json!({ "ask": ask, "csr": Key::new().csr() }));
    assert_eq!((status, &refused["code"]), (403, &json!(code)), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
    assert_eq!(bastion.get(ERIN, "/v1/grants").1["grants"], json!([]), "nobody was asked");
}

/// An approver sees what the role allows, with its risks, and what the requester already has; the approved digest
/// covers both.
#[test]
fn an_approver_sees_what_the_role_allows() {
    let bastion = bastion("namespaces: [NS]", "", "{}");
    let role = make_role(
        &bastion,
        &json!([{ "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"] },
                { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"] }]),
    );
    let mut ask = bastion.ask("5m");
    ask["role"] = json!(role);
    let grant = bastion.request(ALICE, &ask, &Key::new());
    assert_eq!(grant["risk"], "high", "critical, one lower in an ordinary namespace");
    let shown = bastion.show(BOB, &grant);
    let ids: Vec<&str> =
        shown["risks"]["findings"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["E22", "E25"]);
    assert_eq!((&shown["risks"]["mayPersist"], &shown["risks"]["mayStream"]), (&json!(true), &json!(true)));
    assert!(shown.get("holds").is_none());

    let said = text(&bastion.login(BOB, &["show", grant["id"].as_str().unwrap()]).stdout);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["risk high, may persist after the window, streams may outlive it", "E22", "patch deployments"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let explained = bastion.post(ALICE, "/v1/explain", &ask).1;
    assert_eq!((&explained["outcome"], &explained["risks"]), (&json!("ask"), &shown["risks"]));

    let live = bastion.live(&bastion.ask("5m"));
    let second = bastion.request(ALICE, &ask, &Key::new());
    let holds = bastion.show(BOB, &second)["holds"].clone();
    assert_eq!(
        holds,
        json!([
            { "grant": live.grant["id"], "access": "role view", "namespaces": [bastion.ns], "phase": "live" },
            { "grant": grant["id"], "access": format!("role {role}"), "namespaces": [bastion.ns], "phase": "pending" },
        ])
    );
    assert_ne!(second["digest"], grant["digest"]);
}

/// Two requests of one person that are harmless alone name each other while they wait, and an approver sees the risk
/// of both together before approving either; an earlier approval must be repeated. The guardrails judge the second
/// request by the total.
#[test]
fn the_risk_of_two_requests_together_is_shown_for_each() {
    const CERTIFICATES: &str = "certificates.k8s.io";
    let policy = "rules:\n- {name: certificates, who: [payments-oncall], clusters: [play], roles: [NS-ask, NS-approve], clusterWide: true, maxDuration: 10m, approval: [{groups: [payments-leads]}, {groups: [auditors]}]}\n";
    let mut bastion = Bastion::prepared(Plane::shared(), Options { policy: policy.to_owned(), ..Options::default() });
    bastion.serve();
    let rule =
        |resource: &str, verb: &str| json!({ "apiGroups": [CERTIFICATES], "resources": [resource], "verbs": [verb] });
    let role = |name: &str, rules: Value| {
        let name = format!("{}-{name}", bastion.ns);
        bastion.admin.create(ROLES, &json!({ "metadata": { "name": name }, "rules": rules }));
        let mut ask = bastion.ask("5m");
        ask["role"] = json!(name);
        ask["clusterWide"] = json!(true);
        ask.as_object_mut().unwrap().remove("namespaces");
        ask
    };
    let ask = role("ask", json!([rule("certificatesigningrequests", "create")]));
    let approve =
        role("approve", json!([rule("certificatesigningrequests/approval", "update"), rule("signers", "approve")]));
    let ids = |findings: &Value| -> Vec<String> {
        findings.as_array().into_iter().flatten().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };

    let first = bastion.request(ALICE, &ask, &Key::new());
    assert_eq!(ids(&bastion.show(BOB, &first)["together"]), [""; 0]);
    assert_eq!(bastion.approve(BOB, &first).0, 200);
    let explained = bastion.post(ALICE, "/v1/explain", &approve).1;
    assert_eq!(ids(&explained["together"]), ["E18"], "{explained}");
    let second = bastion.request(ALICE, &approve, &Key::new());
    assert_eq!(second["risk"], "critical");

    for (one, other) in [(&first, &second), (&second, &first)] {
        let shown = bastion.show(BOB, one);
        assert_eq!(ids(&shown["together"]), ["E18"], "{shown}");
        assert_eq!((&shown["holds"][0]["grant"], &shown["holds"][0]["phase"]), (&other["id"], &json!("pending")));
        assert_eq!(shown["risk"], "critical");
    }
    let said = text(&bastion.login(BOB, &["show", first["id"].as_str().unwrap()]).stdout);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["also wants", "TOGETHER WITH THEIR OTHER ACCESS", "can obtain a certificate for any name"] {
        assert!(said.contains(words), "{words}: {said}");
    }

    let (status, refused) = bastion.approve(ERIN, &first);
    assert_eq!((status, &refused["code"]), (409, &json!("digest-mismatch")), "{refused}");
    let shown = bastion.show(ERIN, &first);
    assert_ne!(shown["digest"], first["digest"]);
    let (status, agreed) = bastion.approve(ERIN, &shown);
    assert_eq!((status, &agreed["phase"], &agreed["agreed"]), (200, &json!("pending"), &json!(["erin"])), "{agreed}");
    assert_eq!(agreed["digest"], shown["digest"]);
    let (status, approved) = bastion.approve(BOB, &agreed);
    assert_eq!((status, &approved["phase"]), (200, &json!("approved")), "{approved}");
    let kinds = bastion.kinds(&first);
    assert_eq!(kinds, ["requested", "agreed", "refused", "reassessed", "agreed", "approved"]);
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
    // It is collected on the terms that were agreed to.
    let shown = bastion.show(BOB, &second);
    assert_eq!(shown["holds"][0]["phase"], "approved");
}

/// Somebody who runs commands in a namespace runs them as its service accounts: if one of them has permissions beyond
/// the namespace, the risk is higher, and the approver sees the binding.
#[test]
fn a_namespace_is_judged_by_its_service_accounts() {
    let policy = "rules:\n- {name: payments, who: [payments-oncall], clusters: [play], namespaces: [NS], roles: [NS-missing], maxDuration: 10m, approval: [{groups: [payments-leads]}]}\n";
    let options = Options { policy: policy.to_owned(), ..Options::default() };
    let mut bastion = Bastion::prepared(Plane::shared(), options);
    let rules = json!([{ "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"] }]);
    let role = make_role(&bastion, &rules);
    let mut ask = bastion.ask("5m");
    ask["role"] = json!(role);
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let name = format!("{}-flux", bastion.ns);
    bastion.admin.create(
        bindings,
        &json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": "flux", "namespace": bastion.ns }],
        }),
    );
    bastion.serve();
    let grant = bastion.request(ALICE, &ask, &Key::new());
    bastion.admin.delete(&format!("{bindings}/{name}"));
    let shown = bastion.show(BOB, &grant);
    assert_eq!(shown["risk"], "high", "{shown}");
    let why = format!(
        "a service account of `{}` has access outside it through ClusterRoleBinding `{name}` to ClusterRole `cluster-admin`",
        bastion.ns
    );
    assert_eq!(shown["risks"]["notOrdinary"], json!(why));
    let said = text(&bastion.login(BOB, &["show", grant["id"].as_str().unwrap()]).stdout);
    assert!(said.contains("so it is rated like cluster-wide access"), "{said}");
}

/// A role above the guardrails' maximum risk is refused before anybody is asked; a class of risk adds an approval step.
#[test]
fn the_guardrails_judge_what_the_role_allows() {
    let bastion =
        bastion("namespaces: [NS]", "", "{maxRisk: medium, risks: [{ids: [E27], step: {groups: [auditors]}}]}");
    let role = make_role(&bastion, &json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }]));
    let mut ask = bastion.ask("5m");
    ask["role"] = json!(role);
    refused(&bastion, &ask, "guardrail", "`maxRisk`");
    let rules = json!([{ "apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["create"] }]);
    bastion.admin.patch(&format!("{ROLES}/{role}"), &json!({ "rules": rules }));
    let grant = bastion.request(ALICE, &ask, &Key::new());
    let groups: Vec<&Value> = grant["steps"].as_array().unwrap().iter().map(|step| &step["groups"][0]).collect();
    assert_eq!(groups, [&json!("payments-leads"), &json!("auditors")]);
    assert!(grant["steps"][1]["guardrail"].is_string());
}

/// A role that could change its own binding is never granted, whatever policy and guardrails say.
#[test]
fn a_role_that_could_change_its_own_binding_is_never_granted() {
    let bastion = bastion("namespaces: [NS]", "", "{maxRisk: unclassified}");
    let mut ask = bastion.ask("5m");
    ask["role"] = json!("admin");
    refused(&bastion, &ask, "guardrail", "its own binding");
    let explained = bastion.post(ALICE, "/v1/explain", &ask);
    assert_eq!((explained.0, &explained.1["code"]), (403, &json!("guardrail")));
}

/// If the rule only warns, access continues with a changed role, and each change is reported once.
#[test]
fn a_rule_may_only_warn_of_a_role_that_changes() {
    let bastion = bastion("namespaces: [NS], drift: warn", "", "{}");
    let rules = |verbs: &[&str]| json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": verbs }]);
    let role = make_role(&bastion, &rules(&["get", "list"]));
    let mut ask = bastion.ask("5m");
    ask["role"] = json!(role);
    let access = bastion.live(&ask);
    let told = |count: usize| {
        until("the change is told", || {
            let kinds = bastion.kinds(&access.grant);
            (kinds.iter().filter(|kind| *kind == "role_changed").count() == count).then_some(())
        });
    };
    for (verbs, count) in [(["get", "list", "watch"], 1), (["list", "patch", "watch"], 2)] {
        bastion.admin.patch(&format!("{ROLES}/{role}"), &json!({ "rules": rules(&verbs) }));
        told(count);
        assert_eq!(bastion.look(&access, &bastion.ns), 200);
    }
    let shown = bastion.show(BOB, &access.grant);
    assert_eq!(shown["phase"], "live");
    assert!(shown["roleChanged"].as_str().unwrap().contains("changed since it was approved"), "{shown}");
}

/// When a role is edited, all of its grants end concurrently: most have begun to end before the first is over.
#[test]
fn all_grants_of_an_edited_role_end_concurrently() {
    const GRANTS: usize = 200;
    const AT_ONCE: usize = 4;
    let bastion = bastion("namespaces: [NS]", "", "{}");
    let rules = |verbs: &[&str]| json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": verbs }]);
    let role = make_role(&bastion, &rules(&["get", "list"]));
    let mut ask = bastion.ask("10m");
    ask["role"] = json!(role);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| (0..GRANTS / AT_ONCE).for_each(|_| drop(bastion.live(&ask))));
        }
    });
    let last = bastion.live(&ask);
    assert_eq!(bastion.bindings().len(), GRANTS + 1);

    bastion.admin.patch(&format!("{ROLES}/{role}"), &json!({ "rules": rules(&["get", "list", "watch"]) }));
    until_within(Duration::from_secs(60), "each is ended", || {
        let count_in = |phase: &str| bastion.metric(&format!("grants{{phase=\"{phase}\"}}"));
        (count_in("live") + count_in("ending") == 0).then_some(())
    });
    let ended = bastion.wait_for(&last.grant, &["ended"]);
    assert_eq!(ended["endCause"], "drifted");
    assert_eq!(bastion.look(&last, &bastion.ns), 403);
    assert!(bastion.bindings().is_empty());
    let trail = bastion.trail();
    let kinds = trail.iter().map(|entry| entry["event"]["kind"].as_str().unwrap());
    let begun = kinds.take_while(|kind| *kind != "ended").filter(|kind| *kind == "unbind_intended").count();
    assert!(begun > GRANTS / 2, "{begun} of {}", GRANTS + 1);
}

/// A rule for namespaces with a label covers those that have it at that moment, and no others.
#[test]
fn a_label_selector_is_resolved_by_the_cluster() {
    let bastion = bastion("namespaces: [{labels: \"tier=NS-x\"}]", "", "{}");
    let namespace = format!("/api/v1/namespaces/{}", bastion.ns);
    refused(&bastion, &bastion.ask("5m"), "policy-denied", "is not for namespace");
    let tier = format!("{}-x", bastion.ns);
    bastion.admin.patch(&namespace, &json!({ "metadata": { "labels": { "tier": tier } } }));
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    // What was true when it was asked has to be true when it is collected.
    bastion.admin.patch(&namespace, &json!({ "metadata": { "labels": { "tier": null } } }));
    let (status, lost) = bastion.certificate(ALICE, &grant, &key);
    assert_eq!((status, &lost["code"]), (403, &json!("requester-lost-right")), "{lost}");
}

/// The numbers of open requests, of live grants and of requests per hour are limited for each person; the next request
/// is refused until one of them ends.
#[test]
fn a_person_has_limits() {
    let bastion = bastion("namespaces: [NS]", "limits: {pending: 2, live: 1, perHour: 5}\n", "{}");
    let ask = bastion.ask("5m");
    let over = |word: &str| {
        let (status, refused) = bastion.post(ALICE, "/v1/grants", &json!({ "ask": ask, "csr": Key::new().csr() }));
        assert_eq!((status, &refused["code"]), (429, &json!("limit")), "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
    };
    let first = bastion.request(ALICE, &ask, &Key::new());
    bastion.request(ALICE, &ask, &Key::new());
    over("`pending`");
    assert_eq!(bastion.post(ALICE, &path(&first, "/withdraw"), &Value::Null).0, 200);
    let live = bastion.live(&ask);
    over("`live`");
    assert_eq!(bastion.post(ALICE, &path(&live.grant, "/end"), &Value::Null).0, 200);
    let keys = [Key::new(), Key::new()];
    let grants: Vec<Value> = vec![bastion.request(ALICE, &ask, &keys[0])];
    assert_eq!(bastion.post(ALICE, &path(&grants[0], "/withdraw"), &Value::Null).0, 200);
    let last = bastion.request(ALICE, &ask, &keys[1]);
    assert_eq!(bastion.post(ALICE, &path(&last, "/withdraw"), &Value::Null).0, 200);
    over("`perHour`");
}

/// An approval cannot be collected before its requested start.
#[test]
fn access_begins_at_its_start_and_not_before() {
    let bastion = bastion("namespaces: [NS], startWithin: 1h", "", "{}");
    let mut ask = bastion.ask("5m");
    #[expect(clippy::disallowed_methods, reason = "the daemon has the real clock")]
    let now = jiff::Timestamp::now();
    let start = jiff::Timestamp::from_second(now.as_second() + 6).unwrap();
    ask["start"] = json!(start.to_string());
    let key = Key::new();
    let grant = bastion.request(ALICE, &ask, &key);
    assert_eq!(grant["start"], json!(start.to_string()));
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let (status, early) = bastion.certificate(ALICE, &grant, &key);
    assert_eq!((status, &early["code"]), (409, &json!("wrong-phase")), "{early}");
    until("the access begins", || (bastion.certificate(ALICE, &grant, &key).0 == 200).then_some(()));
    ask["start"] = json!(jiff::Timestamp::from_second(now.as_second() + 7200).unwrap().to_string());
    let (status, late) = bastion.post(ALICE, "/v1/grants", &json!({ "ask": ask, "csr": Key::new().csr() }));
    assert_eq!((status, &late["code"]), (403, &json!("policy-denied")), "{late}");
}

/// A request shows the latest twenty grants that the requester has, so that it stays small.
#[test]
fn a_request_shows_the_newest_other_grants() {
    let bastion = bastion("namespaces: [NS]", "", "{}");
    let live = || bastion.live(&bastion.ask("5m")).grant;
    let first = live()["id"].clone();
    (0..20).for_each(|_| drop(live()));
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    let shown = bastion.show(BOB, &grant);
    let holds = shown["holds"].as_array().unwrap();
    assert_eq!((holds.len(), &shown["holdsMore"]), (20, &json!(1)), "{shown}");
    assert!(holds.iter().all(|held| held["grant"] != first), "the oldest is the one that is left out");
    let said = text(&bastion.login(BOB, &["show", grant["id"].as_str().unwrap()]).stdout);
    assert!(said.contains("also has    1 more"), "{said}");
}

/// `--dry-run` submits the same objects to the API server as a dry run: it prints yes if they would be accepted, and
/// the API server's own message if not. Nobody is asked, and nothing is left behind.
#[test]
fn a_dry_run_asks_the_api_server_too() {
    let bastion = Bastion::start();
    let dry_run = |namespaces: &str, role: &str| {
        let output = bastion.login(
            ALICE,
            &["request", "play", "-n", namespaces, "--role", role, "--for", "5m", "--reason", "INC-42", "--dry-run"],
        );
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let both = format!("{},{}", bastion.ns, bastion.shop);
    let (code, said, error) = dry_run(&both, "view");
    assert_eq!(code, Some(0), "{said}{error}");
    for namespace in [&bastion.ns, &bastion.shop] {
        assert!(said.contains(&format!("yes: the cluster would accept the RoleBinding in {namespace}")), "{said}");
    }
    let (code, said, _) = dry_run(&bastion.ns, "cluster-admin");
    assert!(code == Some(4) && !said.contains("RoleBinding"), "{code:?} {said}");

    // An admission policy of somebody else's objects to bindings here.
    let admission = "/apis/admissionregistration.k8s.io/v1";
    let name = format!("{}-no", bastion.ns);
    let rules = json!([{ "apiGroups": ["rbac.authorization.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["rolebindings"] }]);
    bastion.admin.create(
        &format!("{admission}/validatingadmissionpolicies"),
        &json!({ "metadata": { "name": name }, "spec": {
            "matchConstraints": { "resourceRules": rules, "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": bastion.shop } } },
            "validations": [{ "expression": "false", "message": "no bindings here today" }],
        } }),
    );
    bastion.admin.create(
        &format!("{admission}/validatingadmissionpolicybindings"),
        &json!({ "metadata": { "name": name }, "spec": { "policyName": name, "validationActions": ["Deny"] } }),
    );
    let said = until("the policy", || Some(dry_run(&both, "view")).filter(|(code, ..)| *code == Some(4))).1;
    let yes = format!("yes: the cluster would accept the RoleBinding in {}", bastion.ns);
    let no = format!("no: the cluster would refuse the RoleBinding in {}", bastion.shop);
    assert!(said.contains(&yes) && said.contains(&no) && said.contains("no bindings here today"), "{said}");

    assert_eq!(bastion.get(ERIN, "/v1/grants?all=true").1["grants"], json!([]), "nobody was asked");
    assert_eq!(bastion.bindings(), Vec::<String>::new());
    for kind in ["validatingadmissionpolicybindings", "validatingadmissionpolicies"] {
        bastion.admin.delete(&format!("{admission}/{kind}/{name}"));
    }
}

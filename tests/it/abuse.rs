//! Attempts to get more than was granted, or to take access from others: each attempt, its answer, and that it has no
//! other effect.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::bastion::{
    ALICE, ALICE_TOO, BOB, Bastion, CAROL, DAVE, ERIN, Key, Options, Person, ROOT, STRANGER, path, repository, text,
};
use crate::certificates::whois;
use crate::plane::{Plane, root, scratch, until, until_within};

/// Refused with this status and code.
#[track_caller]
fn refused((status, answer): (u16, Value), expected: u16, code: &str) -> String {
    assert_eq!((status, answer["code"].as_str()), (expected, Some(code)), "{answer}");
    answer["detail"].as_str().unwrap().to_owned()
}

/// A request of this person that is refused.
#[track_caller]
fn refused_request(bastion: &Bastion<'_>, person: Person, ask: &Value, csr: &str, status: u16, code: &str) -> String {
    let before = bastion.trail();
    let detail = refused(bastion.post(person, "/v1/grants", &json!({ "ask": ask, "csr": csr })), status, code);
    let after = bastion.trail();
    let [new] = &after[before.len()..] else { panic!("one refusal and nothing else: {:?}", &after[before.len()..]) };
    assert_eq!((&new["event"]["kind"], &new["event"]["code"]), (&json!("request_refused"), &json!(code)));
    assert_eq!((&new["by"], &new["event"]["why"]), (&json!(person.name), &json!(detail)));
    detail
}

/// The grant has no binding and never had one.
#[track_caller]
fn never_bound(bastion: &Bastion<'_>, grant: &Value) {
    let kinds = bastion.kinds(grant);
    assert!(
        !kinds.iter().any(|kind| ["issue_intended", "issued", "bind_intended", "bound"].contains(&kind.as_str())),
        "{kinds:?}"
    );
    assert_eq!(bastion.admin.get(&bastion.binding_path(grant)).0, 404);
}

fn count(kinds: &[String], kind: &str) -> usize {
    kinds.iter().filter(|one| *one == kind).count()
}

/// Fields of an ask by name.
type Fields<'a> = &'a [(&'a str, Value)];

/// An ask like alice's usual one, with some fields changed.
fn ask_with(bastion: &Bastion<'_>, fields: Fields<'_>) -> Value {
    let mut ask = bastion.ask("5m");
    for (name, value) in fields {
        ask[*name] = value.clone();
    }
    ask
}

// ---- who agrees ----

/// Who may approve others may not approve themselves; nor may root, nor the same person by another account.
#[test]
fn nobody_approves_their_own_request() {
    let bastion = Bastion::start();
    let own = bastion.request(CAROL, &bastion.ask("5m"), &Key::new());
    refused(bastion.approve(CAROL, &own), 403, "self-approval");
    refused(bastion.post(CAROL, &path(&own, "/deny"), &json!({ "reason": "mine" })), 403, "self-approval");
    refused(bastion.approve(ROOT, &own), 403, "unknown-caller");
    let other = bastion.request(ALICE_TOO, &bastion.ask("5m"), &Key::new());
    refused(bastion.approve(ALICE, &other), 403, "self-approval");
    refused(bastion.approve(ROOT, &other), 403, "unknown-caller");
    assert_eq!(bastion.show(ERIN, &own)["phase"], "pending");
    assert_eq!(bastion.kinds(&own), ["requested", "refused", "refused"]);
    assert_eq!(bastion.kinds(&other), ["requested", "refused"]);
    assert_eq!(bastion.approve(BOB, &own).0, 200);
}

/// In strict mode an account of the host is no person until it is declared; otherwise it is. Root is never a person.
#[test]
fn strict_mode_knows_only_who_is_declared() {
    let account = Person { name: "daemon", uid: 1 };
    let mut bastion = Bastion::start();
    assert_eq!(bastion.get(account, "/v1/whoami").1["name"], "daemon");
    bastion.kill();
    bastion.rewrite_config("host: ", "strictPeople: true\nhost: ");
    bastion.serve();
    for nobody in [account, STRANGER, ROOT] {
        refused(bastion.get(nobody, "/v1/whoami"), 403, "unknown-caller");
    }
    assert_eq!(bastion.get(ALICE_TOO, "/v1/whoami").1["name"], "alice");
}

/// An approval covers what was shown: with any other digest it is refused and does not count.
#[test]
fn an_approval_of_something_else_does_not_count() {
    let bastion = Bastion::start();
    let (one, other) = (
        bastion.request(ALICE, &bastion.ask("5m"), &Key::new()),
        bastion.request(ALICE, &bastion.ask("5m"), &Key::new()),
    );
    let upper = one["digest"].as_str().unwrap().to_uppercase();
    for digest in [other["digest"].as_str().unwrap(), "", &upper, "0000"] {
        refused(bastion.post(BOB, &path(&one, "/approve"), &json!({ "digest": digest })), 409, "digest-mismatch");
    }
    let shown = bastion.show(BOB, &one);
    assert_eq!((&shown["phase"], &shown["agreed"]), (&json!("pending"), &json!([])));
    assert_eq!(bastion.approve(BOB, &shown).1["phase"], "approved");
}

/// For another requester a grant does not exist, whatever they try: the answer is that for an unknown id.
#[test]
fn the_grant_of_another_requester_does_not_exist() {
    let bastion = Bastion::start();
    let key = Key::new();
    let grant = bastion.request(CAROL, &bastion.ask("5m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    assert_eq!(bastion.certificate(CAROL, &grant, &key).0, 200);
    let (before, kinds) = (bastion.show(CAROL, &grant), bastion.kinds(&grant));
    let id = grant["id"].as_str().unwrap();
    let tries = [
        ("GET", "", Value::Null),
        ("GET", "/events", Value::Null),
        ("GET", "/wait?phase=pending", Value::Null),
        ("POST", "/approve", json!({ "digest": grant["digest"] })),
        ("POST", "/deny", json!({ "reason": "no" })),
        ("POST", "/withdraw", Value::Null),
        ("POST", "/certificate", json!({ "csr": key.csr() })),
        ("POST", "/end", Value::Null),
        ("POST", "/revoke", json!({ "reason": "no" })),
    ];
    for person in [ALICE, DAVE] {
        for (method, rest, body) in &tries {
            for length in [4, 15, 16] {
                let there = bastion.call(person, method, &format!("/v1/grants/{}{rest}", &id[..length]), body);
                let nowhere = "0".repeat(length);
                let not_there = bastion.call(person, method, &format!("/v1/grants/{nowhere}{rest}"), body);
                assert_eq!(there.1.to_string().replace(&id[..length], &nowhere), not_there.1.to_string());
                refused(there, 404, "no-such-grant");
            }
        }
        assert_eq!(bastion.get(person, "/v1/grants?all=true").1["grants"], json!([]));
    }
    assert_eq!((bastion.show(CAROL, &grant), bastion.kinds(&grant)), (before, kinds));
}

// ---- keys and certificate requests ----

/// Whatever a certificate request says besides its key, the certificate is the template: the person, the one
/// group and the grant, for clients only.
#[test]
fn a_certificate_takes_only_the_key_from_its_request() {
    let bastion = Bastion::start();
    let folder = scratch("template");
    let root = bastion.dir.join("var/ca/play/root.crt");
    for (name, pem) in hostile("template") {
        let grant = bastion.post(ALICE, "/v1/grants", &json!({ "ask": bastion.ask("1m"), "csr": pem })).1;
        assert_eq!(bastion.approve(BOB, &grant).0, 200, "{name}: {grant}");
        let (status, collected) = bastion.post(ALICE, &path(&grant, "/certificate"), &json!({ "csr": pem }));
        assert_eq!(status, 200, "{name}: {collected}");
        let chain = folder.join(format!("{name}.pem"));
        std::fs::write(&chain, collected["certificate"].as_str().unwrap()).unwrap();
        let told = whois(&chain, &root);
        let id = grant["id"].as_str().unwrap();
        assert_eq!((&told["name"], &told["uid"]), (&json!("jit:alice"), &json!(id)), "{name}");
        assert_eq!(told["groups"], json!([format!("jit:{id}")]), "{name}");
        assert_eq!((&told["isCA"], &told["extKeyUsage"]), (&json!(false), &json!(["clientAuth"])), "{name}");

        let leaf = pem::parse(collected["certificate"].as_str().unwrap()).unwrap();
        let (_, leaf) = x509_parser::parse_x509_certificate(leaf.contents()).unwrap();
        let subject: Vec<(String, &str)> = leaf
            .subject()
            .iter_attributes()
            .map(|part| (part.attr_type().to_string(), part.as_str().unwrap()))
            .collect();
        let group = format!("jit:{id}");
        let expected = [("2.5.4.10", group.as_str()), ("2.5.4.3", "jit:alice"), ("1.3.6.1.4.1.57683.2", id)];
        assert_eq!(subject, expected.map(|(kind, value)| (kind.to_owned(), value)), "{name}");
        // Subject and authority key identifier, key usage, basic constraints, extended key usage.
        let mut extensions: Vec<String> = leaf.extensions().iter().map(|extension| extension.oid.to_string()).collect();
        extensions.sort();
        assert_eq!(extensions, ["2.5.29.14", "2.5.29.15", "2.5.29.19", "2.5.29.35", "2.5.29.37"], "{name}");
        let key = jitd::grant::digest::sha256_hex(leaf.public_key().raw);
        assert_eq!(json!(key), grant["key"], "{name}");
        assert_eq!(bastion.post(ALICE, &path(&grant, "/end"), &Value::Null).0, 200);
    }
}

/// A certificate request with a wrong signature, an odd key or an odd form is refused where it is asked with
/// and where it is collected with, and leaves nothing but the refusal.
#[test]
fn a_malformed_certificate_request_is_refused() {
    let bastion = Bastion::start();
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let before = (bastion.trail().len(), bastion.kinds(&grant).len());
    let all = hostile("refused");
    for (name, pem) in &all {
        let asked = bastion.post(ALICE, "/v1/grants", &json!({ "ask": bastion.ask("5m"), "csr": pem }));
        assert_eq!((asked.0, &asked.1["code"]), (422, &json!("bad-csr")), "{name}: {}", asked.1);
        let collected = bastion.post(ALICE, &path(&grant, "/certificate"), &json!({ "csr": pem }));
        assert_eq!((collected.0, &collected.1["code"]), (422, &json!("bad-csr")), "{name}: {}", collected.1);
    }
    // Of refusals of one kind the first is written.
    assert_eq!(bastion.kinds(&grant).split_off(before.1), ["refused"]);
    let new = bastion.trail().split_off(before.0);
    assert_eq!(new.len(), 2);
    assert_eq!(new.iter().filter(|entry| entry["event"]["kind"] == "request_refused").count(), 1);
    never_bound(&bastion, &grant);
    assert_eq!(bastion.certificate(ALICE, &grant, &key).0, 200, "it is as good as before");
    bastion.has_no_fault();
}

/// The certificate requests of `certs/hostile` that are taken, or refused.
fn hostile(fate: &str) -> Vec<(String, String)> {
    let folder = repository().join("certs");
    let list = std::fs::read_to_string(folder.join("hostile.txt")).unwrap();
    let of_fate =
        list.lines().filter_map(|line| line.split_once(": ")).filter(|(_, told)| told.split(':').next() == Some(fate));
    let read = |name: &str| text(&std::fs::read(folder.join(format!("hostile/{name}.pem"))).unwrap());
    let all: Vec<_> = of_fate.map(|(name, _)| (name.to_owned(), read(name))).collect();
    assert!(all.len() > 10, "{fate}");
    all
}

/// The authority's own keys, and a key that stands in another person's grant, also one that is over, are taken
/// for nobody's access.
#[test]
fn a_key_belongs_to_one_person() {
    let bastion = Bastion::start();
    let ask = bastion.ask("5m");
    // Each for another reason: of refusals that are the same only the first is written.
    let because = |reason: &str| ask_with(&bastion, &[("reason", json!(format!("INC-42 {reason}")))]);
    for file in ["root.key", "issuing.pem"] {
        let pem = std::fs::read_to_string(bastion.dir.join("var/ca/play").join(file)).unwrap();
        let own =
            pem::parse_many(&pem).unwrap().into_iter().find(|block| block.tag().ends_with("PRIVATE KEY")).unwrap();
        refused_request(&bastion, ALICE, &because(file), &Key::read(&pem::encode(&own)).csr(), 409, "key-in-use");
    }
    let key = Key::new();
    let grant = bastion.request(CAROL, &ask, &key);
    refused_request(&bastion, ALICE, &because("is open"), &key.csr(), 409, "key-in-use");
    assert_eq!(bastion.post(CAROL, &path(&grant, "/withdraw"), &Value::Null).0, 200);
    refused_request(&bastion, ALICE, &because("is over"), &key.csr(), 409, "key-in-use");
    bastion.request(CAROL, &ask, &key);

    // Collecting with a key of one's own that was not approved, and with another person's approved one.
    let (mine, hers) = (Key::new(), Key::new());
    let mine_asked = bastion.request(ALICE, &ask, &mine);
    bastion.request(CAROL, &ask, &hers);
    assert_eq!(bastion.approve(BOB, &mine_asked).0, 200);
    for key in [&Key::new(), &hers] {
        refused(bastion.certificate(ALICE, &mine_asked, key), 422, "key-mismatch");
    }
    refused(bastion.certificate(CAROL, &mine_asked, &mine), 403, "not-allowed");
    never_bound(&bastion, &mine_asked);
}

/// Two people who ask with one key at the same moment do not both get it.
#[test]
fn a_key_belongs_to_one_person_also_at_the_same_moment() {
    let bastion = Bastion::start();
    for _ in 0..20 {
        let body = json!({ "ask": bastion.ask("5m"), "csr": Key::new().csr() });
        let ask = |person| bastion.post(person, "/v1/grants", &body).0;
        let mut statuses = both(|| ask(ALICE), || ask(CAROL));
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
    }
    bastion.has_no_fault();
}

// ---- at the same moment ----

/// Two calls at the same moment.
fn both<T: Send>(one: impl FnOnce() -> T + Send, other: impl FnOnce() -> T + Send) -> [T; 2] {
    std::thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        [one, other.join().unwrap()]
    })
}

/// A request has one outcome: of two answers at the same moment the second finds it answered.
#[test]
fn two_answers_at_once_are_one_outcome() {
    let bastion = Bastion::start();
    let key = Key::new();
    let reason = json!({ "reason": "no" });
    let late = |status: u16| status == 409 || status == 410;
    for _ in 0..20 {
        let ask = || bastion.request(ALICE, &bastion.ask("5m"), &key);
        let grant = ask();
        let [one, other] = both(|| bastion.approve(BOB, &grant).0, || bastion.approve(CAROL, &grant).0);
        assert!((one == 200 && late(other)) || (late(one) && other == 200), "{one} {other}");
        assert_eq!(count(&bastion.kinds(&grant), "approved"), 1);

        let grant = ask();
        let deny = || bastion.post(CAROL, &path(&grant, "/deny"), &reason).0;
        let [one, other] = both(|| bastion.approve(BOB, &grant).0, deny);
        assert!((one == 200 && late(other)) || (late(one) && other == 200), "{one} {other}");
        let kinds = bastion.kinds(&grant);
        assert_eq!(count(&kinds, "approved") + count(&kinds, "denied"), 1, "{kinds:?}");

        // Taken back after it was agreed to is taken back all the same.
        let grant = ask();
        let withdraw = || bastion.post(ALICE, &path(&grant, "/withdraw"), &Value::Null).0;
        let [one, other] = both(|| bastion.approve(BOB, &grant).0, withdraw);
        assert!((one == 200 || late(one)) && other == 200, "{one} {other}");
        let kinds = bastion.kinds(&grant);
        assert_eq!((count(&kinds, "withdrawn"), count(&kinds, "approved")), (1, usize::from(one == 200)), "{kinds:?}");
        assert_eq!(bastion.show(ALICE, &grant)["phase"], "withdrawn");
    }
    bastion.has_no_fault();
}

/// Access that is collected twice at once is bound once; what is taken back or away at the moment it is
/// collected is gone afterwards, whoever came first.
#[test]
fn a_collection_at_once_with_anything_is_one_outcome() {
    let bastion = Bastion::start();
    let key = Key::new();
    let approved = || {
        let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
        assert_eq!(bastion.approve(BOB, &grant).0, 200);
        grant
    };
    for _ in 0..8 {
        let grant = approved();
        let collect = || bastion.certificate(ALICE, &grant, &key).0;
        assert_eq!(both(collect, collect), [200, 200], "the second renews");
        let kinds = bastion.kinds(&grant);
        assert_eq!(
            ["bind_intended", "bound", "live", "issued"].map(|kind| count(&kinds, kind)),
            [1, 1, 1, 2],
            "{kinds:?}"
        );
        let end = || bastion.post(ALICE, &path(&grant, "/end"), &Value::Null).0;
        let [one, other] = both(end, end);
        assert!([one, other].contains(&200) && [409, 410].contains(&one.max(other)), "{one} {other}");
        assert_eq!(count(&bastion.kinds(&grant), "ended"), 1);

        for action in ["/withdraw", "/revoke"] {
            let grant = approved();
            let collect = || bastion.certificate(ALICE, &grant, &key).0;
            let take = || match action {
                "/withdraw" => bastion.post(ALICE, &path(&grant, action), &Value::Null).0,
                _ => bastion.post(BOB, &path(&grant, action), &json!({ "reason": "no" })).0,
            };
            let [collected, taken] = both(collect, take);
            let kinds = bastion.kinds(&grant);
            match (collected, taken) {
                // Nothing was collected.
                (409 | 410, 200) => never_bound(&bastion, &grant),
                // Collected first, then taken away.
                (200, 200) => assert_eq!((action, count(&kinds, "ended")), ("/revoke", 1)),
                // Collected first: it can only be given back any more.
                (200, 409) => {
                    assert_eq!(action, "/withdraw");
                    assert_eq!(bastion.post(ALICE, &path(&grant, "/end"), &Value::Null).0, 200);
                }
                other => panic!("{action}: {other:?} {kinds:?}"),
            }
        }
        assert_eq!(bastion.bindings(), [""; 0]);
    }
    bastion.has_no_fault();
}

/// An approval at the moment the time is over, and the lapse, are one outcome.
#[test]
fn an_approval_and_a_lapse_at_once_are_one_outcome() {
    let times = "{answer: 5s, collect: 10m, certificate: 5m}";
    let bastion = Bastion::with(Plane::shared(), Options { times, ..Options::default() });
    let key = Key::new();
    let grants: Vec<Value> = (0..8).map(|_| bastion.request(ALICE, &bastion.ask("5m"), &key)).collect();
    for (number, grant) in grants.iter().enumerate() {
        let deadline: jiff::Timestamp = grant["deadline"].as_str().unwrap().parse().unwrap();
        // A few at the deadline, a few just before it; a call takes some milliseconds to arrive.
        let moment = deadline.as_millisecond() - 4 * i64::try_from(number).unwrap();
        until("the deadline is near", || (now() >= moment).then_some(()));
        let status = bastion.approve(BOB, grant).0;
        assert!([200, 409, 410].contains(&status), "{status}");
        let last = if status == 200 { "approved" } else { "lapsed" };
        bastion.wait_for(grant, &[last]);
        let kinds = bastion.kinds(grant);
        assert_eq!(count(&kinds, "approved") + count(&kinds, "lapsed"), 1, "{kinds:?}");
    }
    bastion.has_no_fault();
}

/// Milliseconds since 1970, as the daemon on the same host reads them.
#[expect(clippy::disallowed_methods, reason = "the daemon under test has the real clock")]
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

// ---- the role and the policy ----

/// A role that changed, was recreated or is gone since the approval is not bound: the grant ends as drifted.
#[test]
fn a_role_that_is_not_the_approved_one_is_not_bound() {
    let bastion = Bastion::start();
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = format!("{roles}/{}-debug", bastion.ns);
    let ask = ask_with(&bastion, &[("role", json!(format!("{}-debug", bastion.ns)))]);
    let stored = bastion.admin.get(&role).1;
    let anew = json!({ "metadata": { "name": stored["metadata"]["name"] }, "rules": stored["rules"] });
    let mut more = stored["rules"].clone();
    more[0]["verbs"].as_array_mut().unwrap().push(json!("delete"));
    let changes: [(&str, u16, &dyn Fn()); 3] = [
        ("role-drift", 409, &|| drop(bastion.admin.patch(&role, &json!({ "rules": more })))),
        ("role-drift", 409, &|| {
            bastion.admin.delete(&role);
            bastion.admin.create(roles, &anew);
        }),
        ("role-missing", 422, &|| bastion.admin.delete(&role)),
    ];
    for (code, status, change) in changes {
        let key = Key::new();
        let grant = bastion.request(ALICE, &ask, &key);
        assert_eq!(bastion.approve(BOB, &grant).0, 200);
        change();
        refused(bastion.certificate(ALICE, &grant, &key), status, code);
        let ended = bastion.show(ALICE, &grant);
        assert_eq!((&ended["phase"], &ended["endCause"]), (&json!("ended"), &json!("drifted")));
        assert_eq!(bastion.kinds(&grant), ["requested", "approved", "refused", "ended"]);
        never_bound(&bastion, &grant);
        refused(bastion.certificate(ALICE, &grant, &key), 410, "too-late");
    }
}

/// A request that cannot be bound, or that no rule allows, is refused before anybody is asked, and the answer names the
/// rule and the key that prevented it.
#[test]
fn an_impossible_request_is_refused_before_anybody_is_asked() {
    let policy = Options::default().policy.replace("[NS, SHOP]", "[NS, SHOP, NS-gone]");
    let bastion = Bastion::with(Plane::shared(), Options { policy, ..Options::default() });
    let ns = bastion.ns.clone();
    let named = |name: &str| json!(format!("{ns}-{name}"));
    let csr = Key::new().csr();
    let cases: &[(Fields<'_>, u16, &str, &str)] = &[
        (&[("role", named("missing"))], 422, "role-missing", "does not exist"),
        (
            &[("namespaces", json!([bastion.shop])), ("role", json!("role/local"))],
            422,
            "role-missing",
            "does not exist",
        ),
        (&[("role", named("empty"))], 422, "role-empty", "allows nothing"),
        (&[("namespaces", json!([format!("{ns}-gone")]))], 422, "namespace-missing", "does not exist"),
        (&[("cluster", json!("prod"))], 422, "unknown-cluster", "cluster `prod` is not configured"),
        (
            &[("role", json!("cluster-admin"))],
            403,
            "policy-denied",
            "the nearest is `payments`, but it does not allow role `cluster-admin`",
        ),
        (
            &[("namespaces", json!(["kube-system"]))],
            403,
            "policy-denied",
            "the nearest is `payments`, but it is not for namespace `kube-system`",
        ),
        (
            &[("duration", json!("10m1s"))],
            403,
            "policy-denied",
            "the nearest is `payments`, but it allows at most 10m, not 10m1s",
        ),
        (&[("reason", json!("because"))], 403, "policy-denied", "the nearest is `payments`, but it requires a reason"),
        (
            &[("role", json!("edit")), ("namespaces", json!([bastion.shop]))],
            403,
            "policy-denied",
            "does not allow role `edit`",
        ),
        (
            &[("role", json!("clusterrole/cluster-admin")), ("reason", json!("INC-42 in other words"))],
            403,
            "policy-denied",
            "the nearest is `payments`",
        ),
        (
            &[("role", json!("role/view"))],
            403,
            "policy-denied",
            "the nearest is `payments`, but it does not allow role `role/view`",
        ),
    ];
    for (fields, status, code, words) in cases {
        let told = refused_request(&bastion, ALICE, &ask_with(&bastion, fields), &csr, *status, code);
        assert!(told.contains(words), "{told}");
    }
    let mut wide = bastion.ask("5m");
    wide.as_object_mut().unwrap().remove("namespaces");
    wide["clusterWide"] = json!(true);
    let told = refused_request(&bastion, ALICE, &wide, &csr, 403, "policy-denied");
    assert!(told.contains("the nearest is `wide`, but it does not allow role `view`"), "{told}");
    let told = refused_request(&bastion, DAVE, &bastion.ask("5m"), &csr, 403, "policy-denied");
    assert!(told.contains("no rule is for any group of `dave`"), "{told}");

    // A namespace on its way out is as good as gone.
    bastion.admin.call(Method::DELETE, &format!("/api/v1/namespaces/{}", bastion.shop), &Value::Null);
    let shop = ask_with(&bastion, &[("namespaces", json!([bastion.shop]))]);
    refused_request(&bastion, ALICE, &shop, &csr, 422, "namespace-missing");
    assert_eq!(bastion.get(ERIN, "/v1/grants?all=true").1["grants"], json!([]));
}

/// If the requester or an approver lost the permission between the approval and the collection, nothing is signed or
/// bound. If they get it back while the grant waits, the approval counts again.
#[test]
fn a_lost_permission_prevents_the_collection() {
    let mut bastion = Bastion::start();
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let alice = "uids: [420001, 420011], groups: [payments-oncall]";
    let bob = "{name: bob, uids: [420002], groups: [payments-leads]}";
    let changes = [
        (alice, "uids: [420001, 420011], groups: []", "requester-lost-right"),
        (bob, "{name: bob, uids: [420002], groups: [payments]}", "approver-lost-right"),
        (bob, "{name: robert, uids: [420002], groups: [payments-leads]}", "approver-lost-right"),
    ];
    for (from, to, code) in changes {
        assert!(bastion.terminate());
        bastion.rewrite_config(from, to);
        bastion.serve();
        refused(bastion.certificate(ALICE, &grant, &key), 403, code);
        never_bound(&bastion, &grant);
        bastion.rewrite_config(to, from);
    }
    // A rule that asks for other approvers than agreed, and one that no longer gives the role.
    let policy = Options::default().policy;
    let changes =
        [("groups: [payments-leads]}]\n  - name: twice", "groups: [owners]}]\n  - name: twice"), ("[view, ", "[")];
    for (from, to) in changes {
        assert!(bastion.terminate() && policy.contains(from));
        bastion.write_policy(&policy.replacen(from, to, 1));
        bastion.serve();
        refused(bastion.certificate(ALICE, &grant, &key), 403, "requester-lost-right");
        never_bound(&bastion, &grant);
    }
    assert!(bastion.terminate());
    bastion.write_policy(&policy);
    bastion.serve();
    assert_eq!(bastion.certificate(ALICE, &grant, &key).0, 200);
    assert_eq!(count(&bastion.kinds(&grant), "refused"), 5);
}

// ---- ends before the beginning ----

/// A request that nobody answers and an approval that nobody collects lapse; a grant that is withdrawn or revoked
/// before its collection was never bound.
#[test]
fn a_grant_that_never_began_ends_without_a_binding() {
    let times = "{answer: 5s, collect: 5s, certificate: 5m}";
    let bastion = Bastion::with(Plane::shared(), Options { times, ..Options::default() });
    let key = Key::new();
    let request = || bastion.request(ALICE, &bastion.ask("5m"), &key);
    let approved = || {
        let grant = request();
        assert_eq!(bastion.approve(BOB, &grant).0, 200);
        grant
    };
    let (unanswered, uncollected) = (request(), approved());
    let (withdrawn, withdrawn_late, revoked) = (request(), approved(), approved());
    for grant in [&withdrawn, &withdrawn_late] {
        let (status, answer) = bastion.post(ALICE, &path(grant, "/withdraw"), &Value::Null);
        assert_eq!((status, &answer["phase"], &answer["closedBy"]), (200, &json!("withdrawn"), &json!("alice")));
    }
    let (status, answer) = bastion.post(BOB, &path(&revoked, "/revoke"), &json!({ "reason": "a mistake" }));
    assert_eq!((status, &answer["phase"], &answer["endCause"]), (200, &json!("ended"), &json!("revoked")));
    assert_eq!((&answer["closedBy"], &answer["closingWords"]), (&json!("bob"), &json!("a mistake")));

    let lapsed = bastion.wait_for(&unanswered, &["lapsed"]);
    assert_eq!(lapsed.get("closedBy"), None);
    bastion.wait_for(&uncollected, &["lapsed"]);
    let clock = |grant: &Value| {
        let (_, events) = bastion.get(ERIN, &path(grant, "/events"));
        events["events"].as_array().unwrap().last().unwrap()["event"]["clock"].clone()
    };
    assert_eq!((clock(&unanswered), clock(&uncollected)), (json!("pending"), json!("collect")));
    refused(bastion.approve(BOB, &unanswered), 410, "too-late");
    for grant in [&unanswered, &uncollected, &withdrawn, &withdrawn_late, &revoked] {
        refused(bastion.certificate(ALICE, grant, &key), 410, "too-late");
        never_bound(&bastion, grant);
    }
    assert_eq!(bastion.get(ERIN, "/v1/grants").1["grants"], json!([]), "none is open");
}

// ---- other daemons ----

/// Two daemons on one cluster end only their own access, even when both have the same name.
#[test]
fn a_daemon_leaves_the_bindings_of_another_alone() {
    let one = Bastion::start();
    let access = one.live(&one.ask("5m"));
    let binding = one.admin.get(&one.binding_path(&access.grant)).1;
    let mut other = Bastion::start();
    let its_own = other.live(&other.ask("5m"));
    for host in [other.host.clone(), one.host.clone()] {
        assert!(other.terminate());
        other.rewrite_config(&format!("host: {}", other.host), &format!("host: {host}"));
        other.serve();
        assert_eq!(one.admin.get(&one.binding_path(&access.grant)).1, binding);
        assert_eq!(one.look(&access, &one.ns), 200);
        other.rewrite_config(&format!("host: {host}"), &format!("host: {}", other.host));
    }
    assert_eq!(other.metric("unknown_bindings"), 1);
    // Under another name it does not find its own by label; what it does not find has no access to lose.
    assert_eq!(other.wait_for(&its_own.grant, &["ended"])["endCause"], "drifted");
    assert_eq!(other.look(&its_own, &other.ns), 403);
    assert_eq!(one.look(&access, &one.ns), 200);
}

/// A second daemon can have neither the state folder nor the socket of one that runs: it says so and ends, and
/// the first serves on.
#[test]
fn a_running_daemon_keeps_its_state_and_its_socket() {
    let bastion = Bastion::start();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    let written = std::fs::read_to_string(bastion.dir.join("config.yaml")).unwrap();
    let beside = |name: &str, from: &str, to: &str| {
        let config = bastion.dir.join(name);
        assert!(written.contains(from));
        std::fs::write(&config, written.replace(from, to)).unwrap();
        let jitd = |verb: &str| ended(Command::new(root().join("bin/jitd")).arg("--config").arg(&config).arg(verb));
        assert!(jitd("init").status.success());
        let output = jitd("serve");
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let told = beside("same-state.yaml", "socket: run/api.sock", "socket: run/other.sock");
    assert!(told.contains("another jitd has locked") && told.contains("hint: "), "{told}");
    let told = beside("same-socket.yaml", "state: var\n", "state: var-other\n");
    assert!(told.contains("another daemon is serving on"), "{told}");
    assert_eq!(bastion.show(ALICE, &grant)["phase"], "pending");
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
}

/// Runs a command that has to end by itself.
fn ended(command: &mut Command) -> Output {
    let mut child = command
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let what = format!("{command:?} ends");
    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until(&what, || child.try_wait().unwrap())));
    if end.is_err() {
        child.kill().unwrap();
    }
    child.wait_with_output().unwrap()
}

// ---- behind our back ----

/// If somebody removes a binding or its labels, the grant ends, and no access is left.
#[test]
fn a_missing_binding_ends_its_grant() {
    let mut bastion = Bastion::start();
    let (deleted, unlabelled, whole) =
        (bastion.live(&bastion.ask("5m")), bastion.live(&bastion.ask("5m")), bastion.live(&bastion.ask("5m")));
    bastion.admin.delete(&bastion.binding_path(&deleted.grant));
    bastion.admin.patch(&bastion.binding_path(&unlabelled.grant), &json!({ "metadata": { "labels": null } }));
    bastion.kill();
    bastion.serve();
    for (access, cause, words) in
        [(&deleted, "revoked", "binding was deleted"), (&unlabelled, "drifted", "binding was altered")]
    {
        let ended = bastion.wait_for(&access.grant, &["ended"]);
        assert_eq!((&ended["endCause"], ended.get("closedBy")), (&json!(cause), None));
        assert!(ended["closingWords"].as_str().unwrap().contains(words), "{ended}");
        assert_eq!(bastion.look(access, &bastion.ns), 403);
        assert_eq!(bastion.admin.get(&bastion.binding_path(&access.grant)).0, 404);
    }
    assert_eq!(bastion.look(&whole, &bastion.ns), 200);
    assert_eq!(bastion.show(ALICE, &whole.grant)["phase"], "live");
}

/// Our labels, our manner of naming and even our group on a binding of somebody else do not make it ours.
#[test]
fn a_label_does_not_make_a_binding_ours() {
    let mut bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5m"));
    let ours = bastion.admin.get(&bastion.binding_path(&access.grant)).1;
    let collection = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings", bastion.ns);
    let names = ["theirs", "jit-0123456789abcdef"];
    for name in names {
        let metadata = json!({ "name": name, "labels": ours["metadata"]["labels"], "annotations": ours["metadata"]["annotations"] });
        bastion.admin.create(
            &collection,
            &json!({ "metadata": metadata, "roleRef": ours["roleRef"], "subjects": ours["subjects"] }),
        );
    }
    bastion.kill();
    bastion.serve();
    until_within(Duration::from_secs(20), "they are counted", || {
        (bastion.metric("unknown_bindings") == 2).then_some(())
    });
    for name in names {
        assert_eq!(bastion.admin.get(&format!("{collection}/{name}")).0, 200);
        assert!(bastion.log().contains(&format!("binding=\"{name}\"")), "it is told: {}", bastion.log());
    }
    // The group was bound elsewhere too: ours goes, and the grant is not said to be over while theirs lets her in.
    until("ours goes", || (bastion.admin.get(&bastion.binding_path(&access.grant)).0 == 404).then_some(()));
    assert!(bastion.kinds(&access.grant).contains(&"binding_altered".to_owned()));
    assert_eq!(
        (bastion.show(ALICE, &access.grant)["phase"].as_str(), bastion.look(&access, &bastion.ns)),
        (Some("ending"), 200)
    );
    for name in names {
        bastion.admin.delete(&format!("{collection}/{name}"));
    }
    let ended = until_within(Duration::from_secs(20), "the grant ends", || {
        let shown = bastion.show(ALICE, &access.grant);
        (shown["phase"] == "ended").then_some(shown)
    });
    assert_eq!(ended["endCause"], "drifted");
    assert!(ended["closingWords"].as_str().unwrap().contains("another binding grants rights to its group"), "{ended}");
    assert_eq!(bastion.look(&access, &bastion.ns), 403);
}

/// A binding of a person's own user name would come along with every certificate of theirs. It is found, told and left
/// alone; the person's grants end, without waiting for what no end of theirs would change, and nothing else is given to them
/// until it is gone.
#[test]
fn a_binding_of_a_persons_own_name_ends_their_grants_and_bars_others() {
    // Everybody who checks this cluster would hear of it.
    let plane = Plane::to_stop();
    let mut bastion = Bastion::prepared(&plane, Options::default());
    // Others of these tests are alice too.
    let name = format!("alice-{}", bastion.ns);
    bastion.rewrite_config("{name: alice,", &format!("{{name: {name},"));
    bastion.serve();
    let (access, key) = (bastion.live(&bastion.ask("5m")), Key::new());
    let approved = bastion.request(ALICE, &bastion.ask("5m"), &key);
    assert_eq!(bastion.approve(BOB, &approved).0, 200);
    let collection = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings", bastion.ns);
    let theirs = format!("{collection}/x3");
    let group = "rbac.authorization.k8s.io";
    let user = format!("jit:{name}");
    let binding = json!({
        "metadata": { "name": "x3" },
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": group, "kind": "User", "name": user }],
    });
    bastion.admin.create(&collection, &binding);

    // Found at the comparison, which is the first thing of a start.
    bastion.kill();
    bastion.serve();
    let ended = bastion.wait_for(&access.grant, &["ended"]);
    assert_eq!(ended["endCause"], "drifted");
    assert!(
        ended["closingWords"].as_str().unwrap().contains("another binding grants rights to its holder's user name"),
        "{ended}"
    );
    let proof = |grant: &Value| {
        let of_it = |entry: &&Value| entry["grant"] == grant["id"] && entry["event"]["kind"] == "ended";
        bastion.trail().iter().find(of_it).unwrap()["event"]["proof"].clone()
    };
    assert_eq!(
        (bastion.kinds(&access.grant).iter().filter(|kind| *kind == "binding_altered").count(), proof(&access.grant)),
        (1, json!("group_denied"))
    );
    assert_eq!(bastion.admin.get(&bastion.binding_path(&access.grant)).0, 404);
    assert_eq!(bastion.metric("bound_user_names"), 1);
    let delete = format!("`kubectl -n {} delete rolebinding x3`", bastion.ns);
    assert!(bastion.log().contains(&delete), "{}", bastion.log());
    let checked = text(&bastion.jitd(&["check", "--cluster"]).stdout);
    assert!(
        checked.lines().any(|line| line.starts_with("fault   play people: `x3` (") && line.contains(&delete)),
        "{checked}"
    );

    // Nothing is asked of anyone, and nothing is given.
    let asked = bastion.post(ALICE, "/v1/grants", &json!({ "ask": bastion.ask("5m"), "csr": Key::new().csr() }));
    for (status, refused) in [asked, bastion.certificate(ALICE, &approved, &key)] {
        assert_eq!((status, &refused["code"]), (409, &json!("user-bound")), "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains(&user), "{refused}");
        assert!(refused["hint"].as_str().unwrap().contains(&delete), "{refused}");
    }
    assert_eq!(bastion.kinds(&approved), ["requested", "approved", "refused"]);

    // As soon as it is gone the same approval is worth what it was.
    bastion.admin.delete(&theirs);
    let access = bastion.collect(&approved, key);
    assert_eq!(bastion.look(&access, &bastion.ns), 200);

    // Made a moment before an end, that end is told with what is true.
    bastion.admin.create(&collection, &binding);
    let plan = json!({ "person": name, "reason": "enough" });
    until("the binding works", || {
        (bastion.admin.create(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            &json!({ "spec": {
        "user": user, "resourceAttributes": { "namespace": bastion.ns, "verb": "get", "resource": "pods" } } }),
        )["status"]["allowed"]
            == true)
            .then_some(())
    });
    let (status, revoked) = bastion.operate(ROOT, "POST", "/v1/revoke", &plan);
    assert_eq!((status, &revoked["grants"][0]["proof"]), (200, &json!("group-denied")), "{revoked}");
    assert_eq!(proof(&access.grant), "group_denied");
    bastion.admin.delete(&theirs);
    assert_eq!(bastion.look(&access, &bastion.ns), 403);
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
}

/// Another binding with the name of ours is not touched, and the grant ends anyway; one of ours that somebody added
/// people to is removed.
#[test]
fn another_binding_with_the_name_of_ours_is_not_touched() {
    let mut bastion = Bastion::start();
    let (replaced, widened) = (bastion.live(&bastion.ask("5m")), bastion.live(&bastion.ask("5m")));
    let place = bastion.binding_path(&replaced.grant);
    let (collection, name) = place.rsplit_once('/').unwrap();
    let labels = bastion.admin.get(&place).1["metadata"]["labels"].clone();
    bastion.admin.delete(&place);
    let dave = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dave" });
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" });
    let theirs = bastion.admin.create(
        collection,
        &json!({ "metadata": { "name": name, "labels": labels }, "roleRef": role, "subjects": [dave] }),
    );
    let widened_path = bastion.binding_path(&widened.grant);
    let mut subjects = bastion.admin.get(&widened_path).1["subjects"].clone();
    subjects.as_array_mut().unwrap().push(dave);
    bastion.admin.patch(&widened_path, &json!({ "subjects": subjects }));

    bastion.kill();
    bastion.serve();
    // Ours is gone from its place, which the comparison at the start finds by its uid.
    let ended = bastion.wait_for(&replaced.grant, &["ended"]);
    assert_eq!(ended["endCause"], "revoked");
    // What was written into ours is found too.
    let ended = bastion.wait_for(&widened.grant, &["ended"]);
    assert_eq!(ended["endCause"], "drifted");
    assert!(ended["closingWords"].as_str().unwrap().contains("User `dave`"), "{ended}");
    for access in [&replaced, &widened] {
        assert_eq!(bastion.look(access, &bastion.ns), 403);
    }
    assert_eq!(bastion.admin.get(&place).1, theirs);
    assert_eq!(bastion.admin.get(&widened_path).0, 404);
}

/// A binding that a finalizer keeps still grants, so its grant is ending until the finalizer goes, also across
/// a restart, and no longer.
#[test]
fn a_finalizer_keeps_a_grant_ending_but_not_for_ever() {
    let mut bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5m"));
    let binding = bastion.binding_path(&access.grant);
    bastion.admin.patch(&binding, &json!({ "metadata": { "finalizers": ["jitd.test/hold"] } }));
    let (status, answer) = bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null);
    assert_eq!(status, 503, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("finalizer"), "{answer}");
    assert_eq!(
        (bastion.show(ALICE, &access.grant)["phase"].as_str(), bastion.look(&access, &bastion.ns)),
        (Some("ending"), 200)
    );
    refused(bastion.certificate(ALICE, &access.grant, &access.key), 409, "wrong-phase");
    bastion.kill();
    bastion.serve();
    assert_eq!(bastion.show(ALICE, &access.grant)["phase"], "ending");
    bastion.admin.patch(&binding, &json!({ "metadata": { "finalizers": null } }));
    let ended = bastion.wait_for(&access.grant, &["ended"]);
    assert_eq!((&ended["endCause"], &ended["closedBy"]), (&json!("released"), &json!("alice")));
    assert_eq!(bastion.look(&access, &bastion.ns), 403);
    let kinds = bastion.kinds(&access.grant);
    assert_eq!((count(&kinds, "unbind_intended"), count(&kinds, "ended")), (1, 1));
}

/// A role that somebody edits while it is granted ends the grants of it within five seconds, one that is made
/// anew too, an aggregated one too; the grants of other roles go on.
#[test]
fn a_role_that_changes_during_a_grant_ends_it() {
    let bastion = Bastion::start();
    let (missing, part) = (format!("{}-missing", bastion.ns), format!("{}-part", bastion.ns));
    let rbac = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let label = format!("jitd.test/{}", bastion.ns);
    let rules = |verbs: &[&str]| json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": verbs }]);
    bastion.admin.create(
        rbac,
        &json!({ "metadata": { "name": missing }, "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { &label: "yes" } }] } }),
    );
    let aggregated = |verbs: &[&str]| {
        until("the controller manager has filled the role", || {
            (bastion.admin.get(&format!("{rbac}/{missing}")).1["rules"] == rules(verbs)).then_some(())
        });
    };
    bastion.admin.create(
        rbac,
        &json!({ "metadata": { "name": part, "labels": { &label: "yes" } }, "rules": rules(&["get", "list"]) }),
    );
    aggregated(&["get", "list"]);
    let other = bastion.live(&bastion.ask("5m"));
    let access = bastion.live(&ask_with(&bastion, &[("role", json!(missing))]));
    assert_eq!(bastion.look(&access, &bastion.ns), 200);

    let begun = std::time::Instant::now();
    bastion.admin.patch(&format!("{rbac}/{part}"), &json!({ "rules": rules(&["delete", "get", "list"]) }));
    let ended = bastion.wait_for(&access.grant, &["ended"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(ended["endCause"], "drifted");
    assert!(ended["closingWords"].as_str().unwrap().contains("changed since it was approved"), "{ended}");
    assert_eq!(bastion.look(&access, &bastion.ns), 403);
    assert_eq!(bastion.look(&other, &bastion.ns), 200);
    assert_eq!(bastion.show(ALICE, &other.grant)["phase"], "live");

    aggregated(&["delete", "get", "list"]);
    let again = bastion.live(&ask_with(&bastion, &[("role", json!(missing))]));
    bastion.admin.delete(&format!("{rbac}/{missing}"));
    let ended = bastion.wait_for(&again.grant, &["ended"]);
    assert!(ended["closingWords"].as_str().unwrap().contains("no longer exists"), "{ended}");
    bastion.admin.delete(&format!("{rbac}/{part}"));
}

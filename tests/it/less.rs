//! Less than was asked, behind a real daemon: an approver cuts a request down, never to anything else.

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, CAROL, ERIN, Key, Options, path};
use crate::plane::Plane;

fn bastion(keys: &str) -> Bastion<'static> {
    let policy = format!(
        "rules:\n- {{name: payments, who: [payments-oncall], clusters: [play], namespaces: [NS, SHOP], roles: [view], maxDuration: 10m, {keys}}}\n"
    );
    Bastion::with(Plane::shared(), Options { policy, ..Options::default() })
}

/// A shorter window and fewer namespaces: the digest is another, what is bound is what was left, and it is said what
/// was asked at first.
#[test]
fn an_approver_can_agree_to_less() {
    let bastion = bastion("approval: [{groups: [payments-leads]}]");
    let mut ask = bastion.ask("10m");
    ask["namespaces"] = json!([bastion.ns, bastion.shop]);
    let key = Key::new();
    let grant = bastion.request(ALICE, &ask, &key);
    let approve =
        |less: Value| bastion.post(BOB, &path(&grant, "/approve"), &json!({ "digest": grant["digest"], "less": less }));
    for (more, word) in [
        (json!({ "duration": "11m" }), "11m is longer"),
        (json!({ "namespaces": ["kube-system"] }), "namespace kube-system is not within"),
        (
            json!({ "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }] }),
            "does not allow narrowing a role",
        ),
    ] {
        let (status, refused) = approve(more);
        assert_eq!((status, &refused["code"]), (422, &json!("not-less")), "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
    }
    assert_eq!(bastion.show(ALICE, &grant)["digest"], grant["digest"], "nothing changed");
    let (status, approved) = approve(json!({ "duration": "5m", "namespaces": [bastion.shop] }));
    assert_eq!((status, &approved["phase"]), (200, &json!("approved")), "{approved}");
    assert_ne!(approved["digest"], grant["digest"]);
    assert_eq!((&approved["duration"], &approved["namespaces"]), (&json!("5m"), &json!([bastion.shop])));
    let asked = approved["narrowedFrom"].as_str().unwrap();
    assert!(asked.contains("for 10m") && asked.contains(&bastion.ns), "{asked}");

    let access = bastion.collect(&grant, key);
    assert_eq!((bastion.look(&access, &bastion.shop), bastion.look(&access, &bastion.ns)), (200, 403));
    let shown = bastion.show(ERIN, &grant);
    let span = |from: &str, to: &str| {
        let at = |field: &str| shown[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        at(to).duration_since(at(from)).as_secs()
    };
    assert!(span("liveAt", "deadline") <= 300, "{shown}");
    let kinds = bastion.kinds(&grant);
    assert_eq!(&kinds[..2], ["requested", "refused"]);
    assert!(kinds.windows(2).any(|pair| pair == ["narrowed", "approved"]), "{kinds:?}");
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
}

/// The second approver agrees to what the first one left, not to what was asked at first.
#[test]
fn who_agrees_later_agrees_to_the_less() {
    let bastion = bastion("approval: [{groups: [payments-leads], count: 2}]");
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("10m"), &key);
    let body = json!({ "digest": grant["digest"], "less": { "duration": "1m" } });
    assert_eq!(bastion.post(BOB, &path(&grant, "/approve"), &body).1["phase"], "pending");
    let (status, stale) = bastion.approve(CAROL, &grant);
    assert_eq!((status, &stale["code"]), (409, &json!("digest-mismatch")), "{stale}");
    let left = bastion.show(CAROL, &grant);
    assert_eq!(left["duration"], "1m");
    let (status, approved) = bastion.approve(CAROL, &left);
    assert_eq!((status, &approved["phase"]), (200, &json!("approved")), "{approved}");
    assert_eq!(bastion.certificate(ALICE, &grant, &key).0, 200);
}

/// `jit-login approve --for` cuts down what it showed, and says to what.
#[test]
fn the_client_says_what_was_left() {
    let bastion = bastion("approval: [{groups: [payments-leads]}]");
    let grant = bastion.request(ALICE, &bastion.ask("10m"), &Key::new());
    let id = grant["id"].as_str().unwrap();
    let output = bastion.login(BOB, &["approve", id, "--yes", "--for", "2m"]);
    let told = crate::bastion::text(&output.stderr);
    assert!(output.status.success() && told.contains("narrowed to role view in namespace"), "{told}");
    assert_eq!(bastion.show(BOB, &grant)["duration"], "2m");
}

//! A namespace is approved as the object that it is, by its uid and, where the rule selects by labels, by its labels; a name
//! alone stands for whatever somebody makes of it.

use http::Method;
use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, Key, Options};
use crate::plane::{Plane, until_within};

/// Only namespaces of the team, and no production.
const BY_LABELS: &str = "
rules:
  - name: team
    who: [payments-oncall]
    clusters: [play]
    namespaces: [{labels: 'team=NS,env!=stage'}]
    roles: [view]
    maxDuration: 10m
    approval: [{groups: [payments-leads]}]
deny:
  - {name: no-production, namespaces: [{labels: 'env=prod'}], why: production is another rule's}
";

fn namespace(name: &str) -> String {
    format!("/api/v1/namespaces/{name}")
}

/// Deletes a namespace, waits until it is gone, and makes another of its name.
fn make_anew(bastion: &Bastion<'_>, name: &str) {
    bastion.admin.delete(&namespace(name));
    until_within(std::time::Duration::from_secs(60), "the namespace is gone", || {
        (bastion.admin.get(&namespace(name)).0 == 404).then_some(())
    });
    bastion.admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": name } }));
}

fn by_labels() -> Bastion<'static> {
    let bastion = Bastion::with(Plane::shared(), Options { policy: BY_LABELS.to_owned(), ..Options::default() });
    for name in [&bastion.ns, &bastion.shop] {
        bastion.admin.patch(&namespace(name), &json!({ "metadata": { "labels": { "team": bastion.ns } } }));
    }
    bastion
}

fn label(bastion: &Bastion<'_>, name: &str, env: Value) {
    bastion.admin.patch(&namespace(name), &json!({ "metadata": { "labels": { "env": env } } }));
}

/// An approver sees the uid, and what is made in the place of that namespace afterwards is not given.
#[test]
fn an_approval_is_for_one_namespace_and_not_for_its_successor() {
    let bastion = Bastion::start();
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    let uid = bastion.admin.get(&namespace(&bastion.ns)).1["metadata"]["uid"].clone();
    assert_eq!(bastion.show(BOB, &grant)["namespaceUids"], json!({ &bastion.ns: uid }));
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    make_anew(&bastion, &bastion.ns);
    let (status, refused) = bastion.certificate(ALICE, &grant, &key);
    assert_eq!((status, &refused["code"]), (409, &json!("namespace-drift")), "{refused}");
    let shown = bastion.show(BOB, &grant);
    assert_eq!((&shown["phase"], &shown["endCause"]), (&json!("ended"), &json!("drifted")), "{shown}");
    assert!(shown["closingWords"].as_str().unwrap().contains("was deleted and created again"), "{shown}");
    assert!(bastion.bindings().is_empty());
    assert!(!bastion.kinds(&grant).contains(&"issue_intended".to_owned()));
    bastion.has_no_fault();
}

/// A label is what the rule, or a denial, gave the access by: when it is another one, the access ends, and an approval that
/// was not collected yet is worth nothing.
#[test]
fn access_by_labels_ends_when_they_no_longer_match() {
    let bastion = by_labels();
    let ask = |name: &str| {
        let mut ask = bastion.ask("10m");
        ask["namespaces"] = json!([name]);
        ask
    };
    for env in ["stage", "prod"] {
        let access = bastion.live(&ask(&bastion.ns));
        let other = bastion.live(&ask(&bastion.shop));
        label(&bastion, &bastion.ns, json!(env));
        let ended = bastion.wait_for(&access.grant, &["ended"]);
        assert_eq!(ended["endCause"], "drifted", "{ended}");
        assert!(ended["closingWords"].as_str().unwrap().contains("labels"), "{ended}");
        assert_eq!(bastion.look(&access, &bastion.ns), 403);
        assert_eq!(bastion.look(&other, &bastion.shop), 200, "another namespace is another matter");
        label(&bastion, &bastion.ns, Value::Null);
    }
    let key = Key::new();
    let waiting = bastion.request(ALICE, &ask(&bastion.ns), &key);
    assert_eq!(bastion.approve(BOB, &waiting).0, 200);
    label(&bastion, &bastion.ns, json!("prod"));
    let (status, refused) = bastion.certificate(ALICE, &waiting, &key);
    assert_eq!((status, &refused["code"]), (403, &json!("requester-lost-right")), "{refused}");
    label(&bastion, &bastion.ns, Value::Null);
    assert_eq!(bastion.certificate(ALICE, &waiting, &key).0, 200);
    assert_eq!(bastion.admin.call(Method::GET, &bastion.binding_path(&waiting), &Value::Null).0, 200);
    bastion.has_no_fault();
}

//! The policy behind a real daemon: who is asked, in which steps, and what no rule can lift.
//!
//! What the policy decides is shown in `crates/jit-core/src/grant/policy/tests.rs`; here, that the daemon does it.

use std::collections::BTreeSet;

use jitd::grant::Requested;
use jitd::grant::policy::{self, Circumstances, Decision, Policy};
use serde_json::{Value, json};

use crate::bastion::{ADMIN, ALICE, BOB, Bastion, CAROL, DAVE, Key, Options, path, text};
use crate::plane::Plane;

/// A bastion with this policy; bob is in leads, carol in leads and security.
fn bastion(policy: &str) -> Bastion<'static> {
    let mut bastion = Bastion::prepared(Plane::shared(), Options { policy: policy.to_owned(), ..Options::default() });
    bastion.rewrite_config("[payments-leads, payments-oncall]", "[payments-leads, security]");
    bastion.serve();
    bastion
}

fn rule(keys: &str) -> String {
    format!(
        "rules:\n- {{name: payments, who: [payments-oncall], clusters: [play], namespaces: [\"NS*\"], roles: [view], maxDuration: 10m, {keys}}}\n"
    )
}

/// Each step takes a person of its own, and whoever is in two groups stands where the other can't.
#[test]
fn each_step_takes_a_person_of_its_own() {
    let bastion = bastion(&rule("approval: [{groups: [payments-leads]}, {groups: [security]}]"));
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    let missing = |grant: &Value| -> Vec<u64> {
        grant["steps"].as_array().unwrap().iter().map(|step| step["missing"].as_u64().unwrap()).collect()
    };
    assert_eq!(missing(&grant), [1, 1]);
    let (status, seen) = bastion.approve(CAROL, &grant);
    assert_eq!((status, &seen["phase"], missing(&seen).iter().sum::<u64>()), (200, &json!("pending"), 1));
    let (status, seen) = bastion.approve(BOB, &grant);
    assert_eq!((status, &seen["phase"], missing(&seen)), (200, &json!("approved"), vec![0, 0]));
    assert_eq!(bastion.certificate(ALICE, &grant, &key).0, 200);
    let events: Vec<Value> = bastion.trail().into_iter().filter(|entry| entry["grant"] == grant["id"]).collect();
    assert_eq!(events[1]["event"]["groups"], json!(["payments-leads", "security"]));
    assert_eq!(events[2]["event"]["groups"], json!(["payments-leads"]));
}

/// A rule that asks nobody approves at once, by nobody, and the access is collected like any other.
#[test]
fn a_pre_approved_request_can_be_collected_at_once() {
    let bastion = bastion(&rule("preApproved: true"));
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    assert_eq!((&grant["phase"], &grant["steps"], &grant["agreed"]), (&json!("approved"), &json!([]), &json!([])));
    let approved = bastion.trail().into_iter().find(|entry| entry["event"]["kind"] == "approved").unwrap();
    assert_eq!(approved.get("by"), None);
    let (_, explained) = bastion.post(ALICE, "/v1/explain", &bastion.ask("5m"));
    assert_eq!(explained["outcome"], "preApproved");
    let (status, refused) = bastion.post(ADMIN, &path(&grant, "/approve"), &json!({ "digest": grant["digest"] }));
    assert_eq!((status, &refused["code"]), (403, &json!("not-allowed")));
    assert_eq!(bastion.certificate(ALICE, &grant, &key).0, 200);
    assert_eq!(bastion.post(ADMIN, &path(&grant, "/revoke"), &json!({ "reason": "enough" })).0, 200);
}

/// A guardrail refuses what a rule gives, with its name, and nobody is asked; a denial likewise.
#[test]
fn what_no_rule_can_lift_is_refused_by_name() {
    let denial = "deny: [{name: freeze, namespaces: [SHOP], why: the shop is frozen}]\n";
    let mut bastion = bastion(&format!("{}{denial}", rule("approval: [{groups: [payments-leads]}]")));
    let mut ask = bastion.ask("5m");
    ask["namespaces"] = json!([bastion.shop]);
    let refused = |bastion: &Bastion<'_>, ask: &Value, code: &str, word: &str| {
        let (status, refused) = bastion.post(ALICE, "/v1/grants", &json!({ "ask": ask, "csr": Key::new().csr() }));
        assert_eq!((status, &refused["code"]), (403, &json!(code)));
        assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
    };
    refused(&bastion, &ask, "policy-denied", "denied by `freeze`: the shop is frozen");
    assert!(bastion.terminate());
    let never = format!("never: {{namespaces: [\"{}\"]}}\n", bastion.shop.replace("-shop", "-sh?p"));
    std::fs::write(bastion.dir.join("guardrails.yaml"), never).unwrap();
    bastion.write_policy(&rule("approval: [{groups: [payments-leads]}]"));
    bastion.serve();
    refused(&bastion, &ask, "guardrail", "`never.namespaces`");
    assert_eq!(bastion.get(DAVE, "/v1/grants").1["grants"], json!([]));
    bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
}

/// `jitd check` tells the mistakes of both files with the names that the files have, and a guardrails file that
/// is named has to be there.
#[test]
fn mistakes_are_told_with_the_files_they_stand_in() {
    let bastion = Bastion::prepared(Plane::shared(), Options::default());
    let said = |lines: &[String]| {
        let checked = bastion.jitd(&["check"]);
        assert!(!checked.status.success());
        let told = text(&checked.stderr);
        for line in lines {
            assert!(told.contains(line), "{line}\n{told}");
        }
    };
    let at = |file: &str| bastion.dir.join(file).display().to_string();
    bastion.write_policy("rules:\n- {name: payments, who: [oncall]}\n");
    std::fs::write(bastion.dir.join("guardrails.yaml"), "maxRisk: awful\n").unwrap();
    said(&[
        format!("{}:2:3: rules[0]: `clusters` is missing", at("policy.yaml")),
        format!("{}:1:10: maxRisk: `awful` is unknown", at("guardrails.yaml")),
    ]);
    bastion.rewrite_config("policy: policy.yaml\n", "policy: policy.yaml\nguardrails: walls.yaml\n");
    said(&[format!("`{}` does not exist", at("walls.yaml"))]);
    std::fs::write(bastion.dir.join("walls.yaml"), "\nmaxRisk: worse\n").unwrap();
    said(&[format!("{}:2:10: maxRisk: `worse` is unknown", at("walls.yaml"))]);
}

/// What the trail has about a request is enough to decide it again, elsewhere and later, with the policy of that
/// time: the answer is the same to the word.
#[test]
fn decisions_are_equal_on_replay_from_the_trail() {
    let guardrails = "clusterWide: {approvers: 1}\nrisks: [{ids: [E25], step: {groups: [security]}}]\n";
    let policy = format!(
        "limits: {{pending: 5, perHour: 50}}\n{}- {{name: wide, who: [payments-oncall], clusters: [play], namespaces: [{{labels: 'team=payments'}}], roles: [edit], maxDuration: 10m, fields: [{{name: ticket, type: text}}], breakGlass: {{after: 1m, maxDuration: 5m, review: {{groups: [security], within: 1h}}}}, approval: [{{groups: [payments-leads]}}]}}\n- {{name: now, who: [payments-oncall], clusters: [play], namespaces: [SHOP], roles: [edit], maxDuration: 1m, preApproved: true}}\n",
        rule("approval: [{groups: [payments-leads]}]")
    );
    let mut bastion = Bastion::prepared(Plane::shared(), Options { policy, ..Options::default() });
    std::fs::write(bastion.dir.join("guardrails.yaml"), guardrails).unwrap();
    bastion.admin.patch(
        &format!("/api/v1/namespaces/{}", bastion.ns),
        &json!({ "metadata": { "labels": { "team": "payments" } } }),
    );
    bastion.serve();
    let ask = |change: Value| {
        let mut ask = bastion.ask("1m");
        ask.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        ask
    };
    let asks = [
        ask(json!({})),
        ask(json!({ "namespaces": [bastion.ns, bastion.shop] })),
        ask(json!({ "role": "edit", "fields": { "ticket": "T-1" } })),
        ask(json!({ "role": "edit", "namespaces": [bastion.shop] })),
    ];
    for ask in &asks {
        bastion.request(ALICE, ask, &Key::new());
    }
    let policy = std::fs::read_to_string(bastion.dir.join("policy.yaml")).unwrap();
    let policy = Policy::read(&policy, Some(guardrails)).unwrap();
    let mut decided = BTreeSet::new();
    for entry in bastion.trail() {
        let mut event = entry["event"].clone();
        if event["kind"] != "requested" {
            continue;
        }
        event.as_object_mut().unwrap().remove("kind");
        let requested: Requested = serde_json::from_value(event).unwrap();
        let person = jitd::grant::request::Person {
            name: entry["by"].as_str().unwrap().parse().unwrap(),
            groups: requested.decided_on.groups.clone(),
            login: None,
        };
        let circumstances = Circumstances {
            now: entry["at"].as_str().unwrap().parse().unwrap(),
            labels: &requested.decided_on.labels,
            assessment: &requested.shown.assessment,
            usage: requested.decided_on.usage,
        };
        let again = policy::decide(&policy, &person, &requested.ask, &circumstances);
        assert_eq!(again, Decision::Ask(requested.terms.clone()));
        decided.insert(serde_json::to_string(&requested.terms).unwrap());
    }
    assert_eq!(decided.len(), 3, "three rules decided: {decided:?}");
}

//! A running daemon reloads the policy and the guardrails (SIGHUP): correct files apply from then on, a file with any
//! fault changes nothing and is reported.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use serde_json::{Value, json};

use jitd::grant::digest::sha256_hex;

use crate::bastion::{ALICE, BOB, Bastion, DAVE, ERIN, Key, Options, STRANGER, path, text};
use crate::plane::{Plane, root, until};

/// Any namespace of the bastion, so that a guardrail may forbid one of them.
fn rule(keys: &str) -> String {
    format!(
        "rules:\n- {{name: payments, who: [payments-oncall], clusters: [play], namespaces: [\"NS*\"], roles: [view], {keys}}}\n"
    )
}

const USUAL: &str = "maxDuration: 10m, approval: [{groups: [payments-leads]}]";

fn bastion() -> Bastion<'static> {
    Bastion::with(Plane::shared(), Options { policy: rule(USUAL), ..Options::default() })
}

/// Sends SIGHUP, and waits until the log has `line` once more.
#[track_caller]
fn reload(bastion: &Bastion<'_>, line: &str) {
    let told = || bastion.log().matches(line).count();
    let before = told();
    assert!(Command::new("kill").args(["-s", "HUP", &bastion.pid().to_string()]).status().unwrap().success());
    until(line, || (told() > before).then_some(()));
}

const RELOADED: &str = "reloaded the policy";
const KEPT: &str = "the previous policy stays in force";

#[track_caller]
fn refused(bastion: &Bastion<'_>, ask: &Value, code: &str, word: &str) {
    let (status, refused) = bastion.post(ALICE, "/v1/grants", &json!({ "ask": ask, "csr": Key::new().csr() }));
    assert_eq!((status, &refused["code"]), (403, &json!(code)), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
}

fn verified(bastion: &Bastion<'_>) {
    let verified = bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

/// A changed policy decides the next request, and the trail says which bytes it was read from.
#[test]
fn a_changed_policy_decides_from_the_next_request_on() {
    let bastion = bastion();
    bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    bastion.write_policy(&rule("maxDuration: 1m, approval: [{groups: [payments-leads]}]"));
    reload(&bastion, RELOADED);
    refused(&bastion, &bastion.ask("5m"), "policy-denied", "allows at most 1m, not 5m");
    bastion.request(ALICE, &bastion.ask("1m"), &Key::new());

    let sha256 = |file: &str| sha256_hex(&std::fs::read(bastion.dir.join(file)).unwrap());
    let loaded: Vec<Value> =
        bastion.trail().into_iter().filter(|entry| entry["event"]["kind"] == "policy_loaded").collect();
    let event = json!({ "kind": "policy_loaded", "policySha256": sha256("policy.yaml"), "guardrailsSha256": sha256("guardrails.yaml") });
    assert_eq!(loaded.iter().map(|entry| &entry["event"]).collect::<Vec<_>>(), [&event]);
    assert_eq!((loaded[0].get("by"), loaded[0].get("grant")), (None, None));
    assert_eq!(bastion.metric("policy_reload_failed"), 0);
    verified(&bastion);
    bastion.has_no_fault();
}

/// A reload also applies changed `people`, `admins` and `auditors`, and names the other changed keys of `config.yaml`, which
/// need a restart. A file with a fault changes nothing.
#[test]
fn people_are_read_again_and_what_needs_a_restart_is_named() {
    let bastion = bastion();
    let access = bastion.live(&bastion.ask("5m"));
    let ask =
        |person| bastion.post(person, "/v1/grants", &json!({ "ask": bastion.ask("5m"), "csr": Key::new().csr() })).0;
    let revoke = || bastion.post(ERIN, &path(&access.grant, "/revoke"), &json!({ "reason": "enough" })).0;
    assert_eq!((ask(DAVE), ask(STRANGER), revoke()), (403, 403, 403));
    bastion.rewrite_config(
        "{name: dave, uids: [420004], groups: []}",
        "{name: dave, uids: [420004, 420099], groups: [payments-oncall]}",
    );
    bastion.rewrite_config("admins: [admins]", "admins: [admins, auditors]");
    reload(&bastion, RELOADED);
    assert_eq!((ask(DAVE), ask(STRANGER), revoke()), (201, 201, 200));
    assert!(!bastion.log().contains("need a restart"), "{}", bastion.log());

    bastion.rewrite_config("socket: run/api.sock", "socket: run/other.sock");
    bastion.rewrite_config(
        "clusters:\n",
        &format!(
            "clusters:\n- {{name: other, server: \"https://10.0.0.1\", certificateAuthority: \"{}\"}}\n",
            bastion.plane.ca.display()
        ),
    );
    let named = "changed keys of config.yaml need a restart";
    reload(&bastion, named);
    let log = bastion.log();
    let line = log.lines().find(|line| line.contains(named)).unwrap();
    assert!(line.contains("socket, clusters") && line.contains("hint: `systemctl restart jitd`"), "{line}");
    assert_eq!(ask(DAVE), 201, "what it serves it serves on");
    let told = text(&bastion.jitd(&["doctor", "-o", "json"]).stdout);
    let findings: Vec<Value> = serde_json::from_str(&told).unwrap();
    let is_meant = |finding: &&Value| finding["check"] == "daemon" && finding["state"] == "warning";
    let warned: Vec<&Value> = findings.iter().filter(is_meant).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0]["found"].as_str().unwrap().ends_with("need a restart: socket, clusters"), "{warned:?}");
    assert!(warned[0]["fix"].as_str().unwrap().contains("`systemctl restart jitd`"), "{warned:?}");

    bastion.rewrite_config("socket: run/other.sock", "socket: run/api.sock\ncolour: red");
    bastion.rewrite_config("groups: [payments-oncall]}\n- {name: erin", "groups: []}\n- {name: erin");
    reload(&bastion, KEPT);
    assert!(bastion.log().contains("unknown field `colour`"), "{}", bastion.log());
    assert_eq!((ask(DAVE), bastion.metric("policy_reload_failed")), (201, 1));
}

/// Live access continues as it was approved; the new policy applies to new decisions only.
#[test]
fn live_access_continues_as_approved() {
    let bastion = bastion();
    let access = bastion.live(&bastion.ask("5m"));
    let before = bastion.show(BOB, &access.grant);
    bastion.write_policy("rules: []\n");
    reload(&bastion, RELOADED);
    assert_eq!(bastion.show(BOB, &access.grant), before);
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    assert_eq!(bastion.certificate(ALICE, &access.grant, &access.key).0, 200, "it is renewed inside its window");
    refused(&bastion, &bastion.ask("5m"), "policy-denied", "no rule is for any group");
}

/// A broken file changes nothing: each fault is reported with its position until the file is corrected.
#[test]
fn a_broken_file_keeps_the_policy_and_is_reported() {
    let bastion = bastion();
    assert_eq!(bastion.metric("policy_reload_failed"), 0);
    bastion.write_policy(&format!("{}colour: red\n", rule("maxDuration: soon")));
    reload(&bastion, KEPT);
    let (log, file) = (bastion.log(), bastion.dir.join("policy.yaml").display().to_string());
    for (place, word) in [(":2:", "rules[0].maxDuration: `soon` is not a duration"), (":3:1:", "colour: is unknown")] {
        let told = log.lines().find(|line| line.contains(&format!("{file}{place}")) && line.contains(word));
        assert!(told.is_some_and(|line| line.contains(" ERROR ")), "{place} {word}: {log}");
    }
    assert_eq!(bastion.metric("policy_reload_failed"), 1);
    bastion.request(ALICE, &bastion.ask("10m"), &Key::new());

    // A rule for a cluster that the daemon does not serve is a fault too, as it is at the start.
    bastion.write_policy(&rule(USUAL).replace("[play]", "[play, other]"));
    reload(&bastion, "cluster `other` is not in the configuration");
    std::fs::remove_file(bastion.dir.join("policy.yaml")).unwrap();
    reload(&bastion, "policy.yaml` does not exist");
    until("it is counted", || (bastion.metric("policy_reload_failed") == 1).then_some(()));

    bastion.write_policy(&rule(USUAL));
    reload(&bastion, RELOADED);
    until("it is mended", || (bastion.metric("policy_reload_failed") == 0).then_some(()));
    let loaded = bastion.trail().iter().filter(|entry| entry["event"]["kind"] == "policy_loaded").count();
    assert_eq!(loaded, 1);
    verified(&bastion);
}

/// Guardrails are reloaded with the policy, also if only they changed.
#[test]
fn stricter_guardrails_take_effect() {
    let bastion = bastion();
    let mut ask = bastion.ask("5m");
    ask["namespaces"] = json!([bastion.shop]);
    bastion.request(ALICE, &ask, &Key::new());
    let never = format!("never: {{namespaces: [\"{}\"]}}\n", bastion.shop.replace("-shop", "-sh?p"));
    std::fs::write(bastion.dir.join("guardrails.yaml"), never).unwrap();
    reload(&bastion, RELOADED);
    refused(&bastion, &ask, "guardrail", "`never.namespaces`");
    bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
}

/// A request whose rule was removed while it waited can still be answered, but not collected: the collection asks the
/// current policy again.
#[test]
fn an_approval_cannot_be_collected_once_its_rule_is_gone() {
    let bastion = bastion();
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    bastion.write_policy("rules: []\n");
    reload(&bastion, RELOADED);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let (status, lost) = bastion.certificate(ALICE, &grant, &key);
    assert_eq!((status, &lost["code"]), (403, &json!("requester-lost-right")), "{lost}");
    assert!(lost["detail"].as_str().unwrap().contains("the policy no longer allows it"), "{lost}");
    assert_eq!(bastion.kinds(&grant), ["requested", "approved", "refused"]);
    assert!(bastion.bindings().is_empty());

    // Put back in time, the same approval is worth what it was.
    bastion.write_policy(&rule(USUAL));
    reload(&bastion, RELOADED);
    assert_eq!(bastion.certificate(ALICE, &grant, &key).0, 200);
}

/// A daemon that is still starting, here because a cluster does not answer, already handles the signals that would
/// end another program.
#[test]
fn a_signal_before_it_is_ready_is_kept_for_later() {
    // An API server that takes calls and answers none.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("https://{}", silent.local_addr().unwrap());
    for (kind, ends) in [("HUP", false), ("TERM", true)] {
        let options = Options { policy: rule(USUAL), server: Some(server.clone()), ..Options::default() };
        let mut bastion = Bastion::prepared(Plane::shared(), options);
        bastion.spawn();
        let (_held, _) = silent.accept().unwrap();
        assert!(!bastion.log().contains("ready"), "{}", bastion.log());
        let pid = bastion.pid().to_string();
        assert!(Command::new("kill").args(["-s", kind, &pid]).status().unwrap().success());
        if ends {
            assert!(bastion.ended_well(), "{}", bastion.log());
        } else {
            until("the reload is done", || {
                assert!(bastion.is_running(), "the daemon ended: {}", bastion.log());
                bastion.log().contains(RELOADED).then_some(())
            });
        }
    }
}

/// systemd's protocol for `Type=notify-reload`: RELOADING with the time, then READY with the result.
#[test]
fn systemd_is_notified_of_each_reload() {
    let mut bastion = Bastion::prepared(Plane::shared(), Options { policy: rule(USUAL), ..Options::default() });
    let path = bastion.dir.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let mut program = Command::new("/usr/bin/env");
    program.arg(format!("NOTIFY_SOCKET={}", path.display())).arg(root().join("bin/jitd"));
    bastion.serve_as(program);
    let told = || {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        text(&buffer[..length]).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let well = "STATUS=0 live, 0 waiting";
    assert_eq!(told(), ["READY=1", well]);
    let mut last = 0_u64;
    for (policy, status) in [
        (rule(USUAL), well),
        ("rules: 1\n".to_owned(), "STATUS=0 live, 0 waiting; the policy was not reloaded (faults: 1), see the log"),
        (rule(USUAL), well),
    ] {
        bastion.write_policy(&policy);
        reload(&bastion, if status == well { RELOADED } else { KEPT });
        let reloading = told();
        let moment: u64 = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(reloading[0] == "RELOADING=1" && moment > last, "{reloading:?}");
        last = moment;
        assert_eq!(told(), ["READY=1", status]);
    }
}

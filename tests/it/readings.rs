//! Reading sessions through the daemon: who may, what of it stands in the trail, and what a large recording costs.
//!
//! The test is the gateway: it writes the files that the real one would write, and reports their heads.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bastion::{ADMIN, ALICE, BOB, Bastion, CAROL, DAVE, ERIN, Options, Person, path, text};
use crate::dial::give_kubeconfig;
use crate::gateway::{Front, POLICY};
use crate::impersonation::through_gateway;
use crate::logged::Feed;
use crate::plane::{Plane, until, until_within};
use crate::playback::{Kept, SESSION};

const EVENTS: &[(f64, &str, &str)] = &[(0.1, "o", "hello from the pod\r\n"), (0.2, "o", "\u{1b}]0;owned\u{7}bye\r\n")];

/// A grant whose sessions are recorded, with more in its rule.
fn bastion(rule: &str) -> Bastion<'static> {
    let policy = Options::default().policy;
    let recorded = policy.replacen("maxDuration: 10m\n", &format!("maxDuration: 10m\n    record: required\n{rule}"), 1);
    Bastion::with(Plane::shared(), Options { policy: recorded, ..through_gateway() })
}

/// The files of a live grant, with one session.
fn kept(bastion: &Bastion<'_>, feed: &Feed, grant: &Value, events: &[(f64, &str, &str)]) -> Kept {
    let id = grant["id"].as_str().unwrap().parse().unwrap();
    let mut kept = Kept::of(bastion.dir.join("gateway/sessions"), id);
    kept.session(events);
    feed.logged(&grant["id"], &kept.head());
    kept
}

fn reads(bastion: &Bastion<'_>, grant: &Value) -> Vec<(String, String)> {
    let (_, answer) = bastion.get(ERIN, &path(grant, "/events"));
    let read = answer["events"].as_array().unwrap().iter().filter(|entry| entry["event"]["kind"] == "sessions_read");
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    read.map(|entry| (word(&entry["by"]), word(&entry["event"]["what"]))).collect()
}

fn play(bastion: &Bastion<'_>, person: Person, more: &[&str]) -> (bool, String, String) {
    let done = bastion.login(person, &[&["play", &SESSION[..13]], more].concat());
    (done.status.success(), text(&done.stdout), text(&done.stderr))
}

/// The requester lists and reads the log, approvers and auditors also play; everybody else sees nothing. Each reading is in
/// the trail before its content is handed out, once in a minute, also after the end, and the trail verifies.
#[test]
fn sessions_are_read_by_those_who_may_and_each_reading_is_recorded() {
    let bastion = bastion("");
    let feed = Feed::of(&bastion, Value::Null);
    let access = bastion.live(&bastion.ask("5m"));
    let grant = &access.grant;
    let id = grant["id"].as_str().unwrap();
    let kept = kept(&bastion, &feed, grant, EVENTS);

    for person in [ALICE, BOB, ERIN, ADMIN] {
        let listed = text(&bastion.login(person, &["sessions"]).stdout);
        assert!(listed.contains(SESSION) && listed.contains("exec -it payments/web-0"), "{}: {listed}", person.name);
        assert!(listed.lines().nth(1).unwrap().starts_with("yes"), "{listed}");
    }
    let nothing = bastion.login(DAVE, &["sessions"]);
    assert!(nothing.status.success() && !text(&nothing.stdout).contains(SESSION), "{}", text(&nothing.stdout));
    let log = text(&bastion.login(ALICE, &["sessions", id, "--reads"]).stdout);
    assert!(log.contains(SESSION), "{log}");

    let (played, _, why) = play(&bastion, ALICE, &[]);
    assert!(!played && why.contains("only members of payments-leads, auditors, admins may play"), "{why}");
    let (played, _, why) = play(&bastion, DAVE, &[]);
    assert!(!played && why.contains("no-such-session"), "{why}");
    for person in [BOB, CAROL, ERIN] {
        let (played, said, why) = play(&bastion, person, &[]);
        assert!(played && said == "hello from the pod\nbye\n", "{}: {said} {why}", person.name);
        assert!(why.contains("alice on prod"), "{why}");
    }
    let copy = bastion.dir.join("copy.cast");
    let exported = bastion.jitd(&["audit", "play", SESSION, "--export", copy.to_str().unwrap()]);
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(kept.cast()).unwrap());

    let expected = [
        ("alice", "list"),
        ("bob", "list"),
        ("erin", "list"),
        ("admin", "list"),
        ("alice", "log"),
        ("bob", "recording"),
        ("carol", "list"),
        ("carol", "recording"),
        ("erin", "recording"),
        ("root", "recording"),
    ];
    assert_eq!(reads(&bastion, grant), expected.map(|(by, what)| (by.to_owned(), what.to_owned())));
    assert!(bastion.kinds(grant).contains(&"refused".to_owned()));
    let events = text(&bastion.login(ERIN, &["events", id]).stdout);
    assert!(events.contains(&format!("played what session {SESSION} printed")), "{events}");

    assert_eq!(bastion.post(ALICE, &path(grant, "/end"), &Value::Null).0, 200);
    assert!(play(&bastion, ADMIN, &[]).0);
    assert_eq!(reads(&bastion, grant).last().unwrap(), &("admin".to_owned(), "recording".to_owned()));
    let verified = bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

/// A rule can name the readers: they see the grant, and nobody else plays its recordings.
#[test]
fn a_rule_names_who_may_play() {
    let bastion = bastion("    readers: [payments-oncall]\n");
    let feed = Feed::of(&bastion, Value::Null);
    let grant = bastion.live(&bastion.ask("5m")).grant;
    kept(&bastion, &feed, &grant, EVENTS);
    for (person, may) in [(CAROL, true), (BOB, false), (ERIN, false), (DAVE, false)] {
        let (played, _, why) = play(&bastion, person, &[]);
        assert_eq!(played, may, "{}: {why}", person.name);
    }
    let shown = bastion.show(BOB, &grant);
    assert_eq!(shown["sessions"]["readers"], json!(["payments-oncall"]));
    assert!(shown["sessions"]["says"].as_str().unwrap().contains("only members of payments-oncall may play them"));
}

/// Nothing of a recording is handed out that does not verify, and nothing at all without a record of the reading.
#[test]
fn what_was_changed_or_cannot_be_recorded_is_not_handed_out() {
    let mut bastion = bastion("");
    bastion.kill();
    bastion.serve_on_a_small_disk();
    let feed = Feed::of(&bastion, Value::Null);
    let grant = bastion.live(&bastion.ask("5m")).grant;
    let kept = kept(&bastion, &feed, &grant, EVENTS);
    bastion.fill_disk();
    let (played, said, why) = play(&bastion, BOB, &[]);
    assert!(!played && said.is_empty() && why.contains("trail-unavailable"), "{said} {why}");
    bastion.make_room();
    until("the trail takes facts again", || play(&bastion, BOB, &[]).0.then_some(()));

    let mut bytes = std::fs::read(kept.cast()).unwrap();
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    std::fs::write(kept.cast(), bytes).unwrap();
    let (played, said, why) = play(&bastion, ERIN, &[]);
    assert!(!played && said.is_empty() && why.contains("not-verified"), "{said} {why}");
    let listed = bastion.login(BOB, &["sessions"]);
    assert!(!listed.status.success() && text(&listed.stdout).contains("BROKEN"), "{}", text(&listed.stdout));
}

/// 64 MiB pass through the daemon in pieces: its memory does not grow by them.
#[test]
fn a_large_recording_is_never_in_the_daemons_memory() {
    let bastion = bastion("");
    let feed = Feed::of(&bastion, Value::Null);
    let grant = bastion.live(&bastion.ask("5m")).grant;
    let line = "x".repeat(64 * 1024);
    let events: Vec<(f64, &str, &str)> = (0..1024_u32).map(|at| (f64::from(at) / 10.0, "o", line.as_str())).collect();
    let kept = kept(&bastion, &feed, &grant, &events);
    let before = peak(&bastion);
    let copy: PathBuf = std::env::temp_dir().join(format!("jitd-copy-{}.cast", std::process::id()));
    let (played, _, why) = play(&bastion, BOB, &["--export", copy.to_str().unwrap()]);
    assert!(played, "{why}");
    let grown = peak(&bastion) - before;
    assert!(grown < 16 * 1024, "{grown} KiB more at its peak");
    let is_same = std::fs::read(&copy).unwrap() == std::fs::read(kept.cast()).unwrap();
    std::fs::remove_file(&copy).unwrap();
    assert!(is_same);
}

/// The most memory that the daemon ever had, in KiB.
fn peak(bastion: &Bastion<'_>) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bastion.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// After the time that the guardrails say, the gateway deletes the files of a grant that is over; the trail has the intent
/// before and the amount after it, and whoever asks for them learns when that was.
#[test]
fn what_was_kept_for_long_enough_is_deleted_and_the_trail_says_so() {
    let cluster = ", access: gateway, gatewayUser: \"system:serviceaccount:NS:gateway\"".to_owned();
    let options = Options { cluster, policy: POLICY.to_owned(), ..Options::default() };
    let bastion = Bastion::prepared(Plane::managed(), options);
    std::fs::write(bastion.dir.join("guardrails.yaml"), "keepSessions: 1s\n").unwrap();
    give_kubeconfig(&bastion, None);
    let front = Front::before(bastion);
    let (ended, live) = (front.live("view"), front.live("edit"));
    for grant in [&ended, &live] {
        let done = front.kubectl(grant, &["get", "configmaps"]).output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    let folder = |grant: &str| front.bastion.dir.join("gateway/sessions").join(grant);
    assert!(folder(&ended).join("log.jsonl").exists());
    front.says(ALICE, &["end", &ended]);
    until_within(Duration::from_secs(150), "the files are deleted", || (!folder(&ended).exists()).then_some(()));
    let id = json!({ "id": ended });
    let events = until("the deletion is recorded", || {
        let (_, answer) = front.bastion.get(ERIN, &path(&id, "/events"));
        let events: Vec<Value> = answer["events"].as_array()?.iter().map(|entry| entry["event"].clone()).collect();
        (events.last()?["kind"] == "sessions_deleted").then_some(events)
    });
    let [.., intended, deleted] = &events[..] else { panic!("{events:?}") };
    assert_eq!(intended, &json!({ "kind": "sessions_deletion_intended", "keep": "1s" }));
    assert_eq!(deleted["files"], 1);
    let stood = events.iter().rev().find_map(|event| event.get("log").filter(|_| event["kind"] == "ended")).unwrap();
    assert!(deleted["log"]["lines"].as_u64() >= stood["lines"].as_u64(), "{deleted} {stood}");

    assert!(folder(&live).exists(), "a grant that is live loses nothing");
    let why = text(&front.bastion.login(ALICE, &["sessions", &ended]).stderr);
    assert!(why.contains("was deleted at"), "{why}");
    let audited = front.bastion.jitd(&["audit", "sessions", &ended]);
    assert!(!audited.status.success() && text(&audited.stderr).contains("was deleted at"), "{}", text(&audited.stderr));
    let all = front.bastion.jitd(&["audit", "sessions"]);
    assert!(all.status.success() && text(&all.stderr).contains("1 more grant deleted"), "{}", text(&all.stderr));
    let verified = front.bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

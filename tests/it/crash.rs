//! Killed at any point, the daemon converges at its next start without help: only live grants have a binding, nothing
//! is signed twice for one approval, and every acknowledged fact is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use jitd::grant::{Event, Fact};
use jitd::trail::{Entry, Trail};

use crate::bastion::{ALICE, Access, BOB, Bastion, ERIN, Key, path, text};
use crate::middleman::{Middleman, Play};
use crate::plane::{Admin, Plane, until};

/// A complete story is cut after each of its events, with and without the binding where both are possible: a crash at
/// that moment leaves such a trail.
#[test]
fn every_beginning_of_a_story_converges() {
    let mut bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("10m"));
    assert_eq!(bastion.certificate(ALICE, &access.grant, &access.key).0, 200);
    let (_, binding) = bastion.admin.get(&bastion.binding_path(&access.grant));
    assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    let facts = facts(&bastion, &access.grant);
    assert!(bastion.terminate());

    let mut told = Vec::new();
    for cut in 1..=facts.len() {
        let last = facts[cut - 1].event.kind();
        let bound: &[bool] = match (last, cut) {
            ("bind_intended" | "unbind_intended", _) => &[false, true],
            ("bound" | "live", _) => &[true],
            // The renewal.
            ("issue_intended" | "issued", 8..) => &[true],
            _ => &[false],
        };
        for there in bound {
            let uid = there.then(|| bind_again(&bastion, &binding));
            let beginning = facts[..cut].iter().cloned().map(|mut fact| {
                if let (Event::Bound { uids: of_then }, Some(uid)) = (&mut fact.event, &uid) {
                    *of_then = vec![uid.clone()];
                }
                fact
            });
            rewrite(&bastion.dir.join("var/trail.db"), beginning.collect());
            bastion.serve();
            let phase = converged(&bastion, &access.grant, &access.key);
            told.push((last, *there, phase));
            bastion.kill();
        }
    }
    let told: Vec<(&str, bool, &str)> =
        told.iter().map(|(last, there, phase)| (*last, *there, phase.as_str())).collect();
    assert_eq!(
        told,
        [
            ("requested", false, "pending"),
            ("approved", false, "approved"),
            ("issue_intended", false, "ended(failed)"),
            ("issued", false, "ended(failed)"),
            ("bind_intended", false, "ended(failed)"),
            ("bind_intended", true, "ended(failed)"),
            ("bound", true, "ended(failed)"),
            ("live", true, "live"),
            ("issue_intended", true, "live"),
            ("issued", true, "live"),
            ("unbind_intended", false, "ended(released)"),
            ("unbind_intended", true, "ended(released)"),
            ("ended", false, "ended(released)"),
        ]
    );
}

/// `kill -9` while the API server has not been asked, has been asked, or has done it and was not heard:
/// collecting is undone, and an end that was begun is finished.
#[test]
fn a_kill_at_each_effect_converges() {
    let middleman = Middleman::before(Plane::shared());
    let mut bastion = Bastion::with(Plane::shared(), middleman.options());
    for (method, part, play, found) in [
        ("GET", "/clusterroles/view", Play::Hold, "approved"),
        ("POST", "/rolebindings", Play::Hold, "ended(failed)"),
        ("POST", "/rolebindings", Play::LoseAnswer, "ended(failed)"),
        ("POST", "/subjectaccessreviews", Play::Hold, "ended(failed)"),
    ] {
        let (grant, key) = approved(&bastion);
        let body = json!({ "csr": key.csr() });
        killed(&mut bastion, &middleman, (method, part, play), &path(&grant, "/certificate"), &body);
        assert_eq!(converged(&bastion, &grant, &key), found, "{method} {part} {play:?}");
    }
    for (method, part, play) in [
        ("DELETE", "/rolebindings/", Play::Hold),
        ("DELETE", "/rolebindings/", Play::LoseAnswer),
        ("POST", "/subjectaccessreviews", Play::Hold),
    ] {
        let access = bastion.live(&bastion.ask("1m"));
        killed(&mut bastion, &middleman, (method, part, play), &path(&access.grant, "/end"), &Value::Null);
        assert_eq!(converged(&bastion, &access.grant, &access.key), "ended(released)", "{method} {part} {play:?}");
    }
}

/// `kill -9` at random moments, from before the collection until after the end.
#[test]
fn a_kill_at_any_moment_converges() {
    const ROUNDS: u32 = 10;
    let mut bastion = Bastion::start();
    let (grant, key) = approved(&bastion);
    let begun = Instant::now();
    story(&bastion, &grant, &key);
    let whole = begun.elapsed();
    let mut random: u64 = 0x6a69_7464;
    let mut found = BTreeSet::new();
    for round in 0..ROUNDS {
        let (grant, key) = approved(&bastion);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Somewhere in this round's share of the story; the last one is over.
        let moment = whole * (100 * round + u32::try_from(random >> 33).unwrap() % 100) / (100 * (ROUNDS - 2));
        let pid = bastion.pid();
        std::thread::scope(|scope| {
            let (under_way, over) = mpsc::channel::<()>();
            let (bastion, grant, key) = (&bastion, &grant, &key);
            scope.spawn(move || {
                let _under_way = under_way;
                story(bastion, grant, key);
            });
            // Nothing is ever sent: this ends with the story or at the moment.
            let _ = over.recv_timeout(moment);
            send(pid, Signal::SIGKILL);
        });
        bastion.kill();
        bastion.serve();
        found.insert(converged(&bastion, &grant, &key));
    }
    assert!(found.len() > 1, "the moments are all alike: {found:?}");
}

/// At SIGTERM a collection in progress is completed, and the next daemon continues with the grant.
#[test]
fn a_sigterm_cuts_nothing_off() {
    let middleman = Middleman::before(Plane::shared());
    let mut bastion = Bastion::with(Plane::shared(), middleman.options());
    let (grant, key) = approved(&bastion);
    middleman.play("POST", "/rolebindings", Play::Hold);
    let (status, certificate) = std::thread::scope(|scope| {
        let collecting = scope.spawn(|| bastion.certificate(ALICE, &grant, &key));
        middleman.met(1);
        send(bastion.pid(), Signal::SIGTERM);
        until("the daemon is stopping", || bastion.log().contains("stopping").then_some(()));
        middleman.pass_on();
        collecting.join().unwrap()
    });
    assert_eq!(status, 200, "{certificate}");
    assert!(bastion.terminate(), "it ends in good order");
    bastion.serve();
    let client = Admin::with_certificate(bastion.plane, certificate["certificate"].as_str().unwrap(), &key.pem());
    let access = Access { grant, key, chain: String::new(), client };
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    assert_eq!(converged(&bastion, &access.grant, &access.key), "live");
}

/// A connection that was accepted just before SIGTERM and has sent nothing yet is answered once more.
#[test]
fn a_sigterm_answers_a_connection_that_was_just_accepted() {
    let mut bastion = Bastion::start();
    let mut early = UnixStream::connect(bastion.socket()).unwrap();
    // Who came before is let in before.
    assert_eq!(bastion.get(ALICE, "/v1/whoami").0, 200);
    send(bastion.pid(), Signal::SIGTERM);
    until("the daemon is stopping", || bastion.log().contains("stopping").then_some(()));
    early.write_all(b"GET /healthz HTTP/1.1\r\nhost: jitd\r\n\r\n").unwrap();
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(bastion.ended_well(), "it ends in good order");
}

/// A request that was answered with 201 exists after a kill under load.
#[test]
fn what_was_answered_survives_a_kill() {
    const CROWD: usize = 64;
    let middleman = Middleman::before(Plane::shared());
    let mut bastion = Bastion::with(Plane::shared(), middleman.options());
    // They all come to the same place, and go on together.
    middleman.play("GET", "/api/v1/namespaces/", Play::Hold);
    let (answered, answers) = mpsc::channel::<String>();
    let mut promised: Vec<String> = std::thread::scope(|scope| {
        for _ in 0..CROWD {
            let (bastion, answered) = (&bastion, answered.clone());
            scope.spawn(move || {
                let body = json!({ "ask": bastion.ask("1m"), "csr": Key::new().csr() });
                if let Ok((201, grant)) = bastion.attempt(ALICE, "POST", "/v1/grants", &body) {
                    answered.send(grant["id"].as_str().unwrap().to_owned()).unwrap();
                }
            });
        }
        middleman.met(24);
        middleman.pass_on();
        let first: Vec<String> = (0..8).map(|_| answers.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
        send(bastion.pid(), Signal::SIGKILL);
        first
    });
    promised.extend(answers.try_iter());
    bastion.kill();
    bastion.serve();
    let (_, list) = bastion.get(ERIN, "/v1/grants?limit=1000");
    let kept: BTreeSet<&str> =
        list["grants"].as_array().unwrap().iter().map(|grant| grant["id"].as_str().unwrap()).collect();
    for id in &promised {
        assert!(kept.contains(id.as_str()), "{id} was promised; kept are {} of {CROWD}", kept.len());
    }
    verified(&bastion);
}

// ---- what is told again and again ----

/// A request that bob has approved.
fn approved(bastion: &Bastion) -> (Value, Key) {
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("1m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    (grant, key)
}

/// Collects and releases, with a daemon that may be killed meanwhile.
fn story(bastion: &Bastion, grant: &Value, key: &Key) {
    let collected = bastion.attempt(ALICE, "POST", &path(grant, "/certificate"), &json!({ "csr": key.csr() }));
    if collected.is_ok() {
        drop(bastion.attempt(ALICE, "POST", &path(grant, "/end"), &Value::Null));
    }
}

/// Makes a call, kills the daemon where the middleman plays, lets go, and starts it again.
pub(crate) fn killed(
    bastion: &mut Bastion,
    middleman: &Middleman,
    (method, part, play): (&'static str, &'static str, Play),
    call: &str,
    body: &Value,
) {
    middleman.play(method, part, play);
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| bastion.attempt(ALICE, "POST", call, body));
        middleman.met(1);
        send(bastion.pid(), Signal::SIGKILL);
        assert!(calling.join().unwrap().is_err(), "nobody answers any more");
    });
    middleman.drop_held();
    bastion.kill();
    bastion.serve();
}

/// What has to be true from the moment the socket answers again; then the grant is brought to its end.
/// Says where it was found.
fn converged(bastion: &Bastion, grant: &Value, key: &Key) -> String {
    let found = bastion.show(ERIN, grant);
    let binding = format!("jit-{}", grant["id"].as_str().unwrap());
    let phase = found["phase"].as_str().unwrap();
    assert_eq!(bastion.bindings(), if phase == "live" { vec![binding] } else { Vec::new() }, "{phase}");
    let told = match phase {
        "pending" => {
            assert_eq!(bastion.certificate(ALICE, grant, key).1["code"], "wrong-phase");
            assert_eq!(bastion.approve(BOB, grant).0, 200);
            works_and_ends(bastion, grant, key);
            phase.to_owned()
        }
        "approved" | "live" => {
            works_and_ends(bastion, grant, key);
            phase.to_owned()
        }
        "ended" => {
            let events = bastion.kinds(grant);
            let (status, refused) = bastion.certificate(ALICE, grant, key);
            assert_eq!((status, &refused["code"]), (410, &json!("too-late")));
            assert_eq!(bastion.kinds(grant), events);
            format!("ended({})", found["endCause"].as_str().unwrap())
        }
        other => panic!("`{other}` is nowhere to be left"),
    };
    assert!(bastion.bindings().is_empty());
    let events = bastion.kinds(grant);
    let before_live = events.iter().take_while(|kind| *kind != "live");
    assert!(before_live.filter(|kind| *kind == "issue_intended").count() <= 1, "signed twice: {events:?}");
    verified(bastion);
    told
}

fn works_and_ends(bastion: &Bastion, grant: &Value, key: &Key) {
    let (status, certificate) = bastion.certificate(ALICE, grant, key);
    assert_eq!(status, 200, "{certificate}");
    let client = Admin::with_certificate(bastion.plane, certificate["certificate"].as_str().unwrap(), &key.pem());
    assert_eq!(client.get(&format!("/api/v1/namespaces/{}/configmaps", bastion.ns)).0, 200);
    let (status, ended) = bastion.post(ALICE, &path(grant, "/end"), &Value::Null);
    assert_eq!((status, &ended["phase"]), (200, &json!("ended")), "{ended}");
    assert_eq!(client.get(&format!("/api/v1/namespaces/{}/configmaps", bastion.ns)).0, 403);
}

fn verified(bastion: &Bastion) {
    let verified = bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// What the trail says about a grant.
fn facts(bastion: &Bastion, grant: &Value) -> Vec<Fact> {
    let (_, answer) = bastion.get(ERIN, &path(grant, "/events"));
    let entries: Vec<Entry> = serde_json::from_value(answer["events"].clone()).unwrap();
    entries.into_iter().map(|entry| entry.fact).collect()
}

/// A trail that holds these facts, in the place of the one there was.
fn rewrite(trail: &Path, facts: Vec<Fact>) {
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(trail.with_extension(format!("db{suffix}"))));
    }
    let written = Trail::open(trail).unwrap().trail;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut last = BTreeMap::new();
    for fact in facts {
        let grant = fact.grant.clone();
        let after = last.get(&grant).copied();
        last.insert(grant, runtime.block_on(written.append(vec![fact], after)).unwrap().seq);
    }
    written.close();
}

/// A creation that was in transit when the daemon gave up on it, or died, may be carried out after the end of its grant.
/// Then the binding is removed, by its uid and only if it is the one that the trail announced.
#[test]
fn a_binding_that_arrived_late_is_removed() {
    let mut bastion = Bastion::start();
    let [late, unlabelled, altered] = [(); 3].map(|()| {
        let access = bastion.live(&bastion.ask("5m"));
        let (_, binding) = bastion.admin.get(&bastion.binding_path(&access.grant));
        assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
        (access, binding)
    });
    assert!(bastion.terminate());
    bind_again(&bastion, &late.1);
    let without_labels = {
        let mut binding = unlabelled.1.clone();
        binding["metadata"]["labels"] = json!({});
        binding
    };
    bind_again(&bastion, &without_labels);
    let with_another = {
        let mut binding = altered.1.clone();
        let more = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory" });
        binding["subjects"].as_array_mut().unwrap().push(more);
        binding
    };
    bind_again(&bastion, &with_another);
    bastion.serve();
    for (access, _) in [&late, &unlabelled] {
        until("it is taken away", || (bastion.admin.get(&bastion.binding_path(&access.grant)).0 == 404).then_some(()));
    }
    assert_eq!(bastion.admin.get(&bastion.binding_path(&altered.0.grant)).0, 200);
    until("what is not the daemon's is counted", || (bastion.metric("unknown_bindings") == 1).then_some(()));
    bastion.admin.delete(&bastion.binding_path(&altered.0.grant));
}

/// The binding as the daemon made it; answers with its new uid.
fn bind_again(bastion: &Bastion, binding: &Value) -> String {
    let mut again = binding.clone();
    let metadata = &binding["metadata"];
    again["metadata"] = json!({
        "name": metadata["name"], "namespace": metadata["namespace"],
        "labels": metadata["labels"], "annotations": metadata["annotations"],
    });
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings", bastion.ns);
    bastion.admin.create(&path, &again)["metadata"]["uid"].as_str().unwrap().to_owned()
}

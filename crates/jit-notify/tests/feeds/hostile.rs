//! Receivers that misbehave, programs that do not end, and crashes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use jit_core::grant::digest::sha256_hex;
use serde_json::{Value, json};

use crate::daemon::{Site, until, until_within, webhook};
use crate::receiver::{Got, How, Receiver};

/// For each grant the numbers that were taken, in their order, without repeats.
fn by_grant(taken: &[Got]) -> BTreeMap<String, Vec<u64>> {
    let mut grants: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for got in taken {
        let numbers = grants.entry(got.grant().to_owned()).or_default();
        if !numbers.contains(&got.number()) {
            numbers.push(got.number());
        }
    }
    grants
}

/// Each fact is at least tried until it is taken, and those of one request arrive in their order, whatever fails in between.
#[test]
fn a_receiver_that_fails_every_third_time_gets_everything_in_order() {
    let receiver = Receiver::that(|_, before| if before % 3 == 1 { How::status(503) } else { How::status(204) });
    let site = Site::webhook(&receiver.url());
    let facts = 60;
    for number in 0..facts {
        site.say(&format!("grant{}", number % 12), "agreed");
    }
    let taken = until("everything is taken", || {
        let taken = receiver.taken();
        (taken.iter().map(Got::number).collect::<BTreeSet<_>>().len() == facts).then_some(taken)
    });
    for (grant, numbers) in by_grant(&taken) {
        assert!(numbers.is_sorted() && numbers.len() == 5, "{grant}: {numbers:?}");
    }
    let mut ids: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for got in receiver.got() {
        ids.entry(got.number()).or_default().insert(got.id().to_owned());
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "a repeat has the same id: {ids:?}");
    assert!(receiver.got().iter().any(|got| got.body["attempt"] == 2), "a repeat says so");
    site.status("siem", "nothing waits", |status| status["waiting"] == 0 && status["settled"] == facts);
}

/// What a receiver does with one request is no other's affair; and each way to misbehave ends as it should.
#[test]
fn a_hostile_answer_holds_up_its_own_request_only() {
    let elsewhere = Receiver::taking();
    let location = format!("location: http://127.0.0.1:{}/latest/meta-data\r\n", elsewhere.port);
    let location: &'static str = Box::leak(location.into_boxed_str());
    let receiver = Receiver::that(move |got, _| match got.grant() {
        "hangs" => How::Hang,
        "trickles" => How::Trickle,
        "tricklesitshead" => How::TrickleHead,
        "closes" => How::Close,
        "closeshalfway" => How::CloseHalfWay,
        "redirects" => How::Answer(302, location, Vec::new()),
        "talks" => How::Answer(200, "", vec![b'x'; 10 << 20]),
        "refuses" => How::Answer(400, "", b"\x1b[31mno such hook".to_vec()),
        _ => How::status(204),
    });
    let site = Site::webhook(&receiver.url());
    for grant in ["hangs", "trickles", "tricklesitshead", "closes", "closeshalfway", "redirects", "talks", "refuses"] {
        site.say(grant, "requested");
    }
    let begun = SystemTime::now();
    for number in 0..50 {
        site.say(&format!("grant{number}"), "requested");
    }
    let others = until_within(Duration::from_secs(10), "the others are delivered", || {
        let others: Vec<Got> = receiver.taken().into_iter().filter(|got| got.grant().starts_with("grant")).collect();
        (others.len() == 50).then_some(others)
    });
    let last = others.iter().map(|got| got.at).max().unwrap();
    assert!(last.duration_since(begun).unwrap() < Duration::from_secs(10), "before any deadline of the hostile ones");
    let status = site.status("siem", "two are parked", |status| status["parked"] == 2);
    assert!(elsewhere.got().is_empty(), "no redirect is followed");
    // By its status each of these is delivered, whatever its body does.
    for grant in ["closeshalfway", "talks"] {
        assert_eq!(receiver.got().iter().filter(|got| got.grant() == grant).count(), 1, "{grant}");
    }
    assert!(status["waiting"].as_u64().unwrap() >= 2, "{status}");
    let log = std::fs::read_to_string(site.folder.join("log")).unwrap();
    assert!(!log.contains('\x1b') && log.contains("no such hook"), "{log}");
    assert!(!log.contains("hush"), "no part of a URL but the host is in the log: {log}");
    // What broke off is tried again.
    until("it is tried again", || {
        (receiver.got().iter().filter(|got| got.grant() == "closes").count() >= 2).then_some(())
    });
}

/// Killed between the sending and the mark: after the start it is sent again, with the same id, and nothing is left out.
#[test]
fn what_was_sent_and_not_marked_is_sent_again_with_the_same_id() {
    let answers = Arc::new(AtomicBool::new(false));
    let answering = Arc::clone(&answers);
    let receiver =
        Receiver::that(move |_, _| if answering.load(Ordering::SeqCst) { How::status(204) } else { How::Hang });
    let mut site = Site::webhook(&receiver.url());
    let numbers = [site.say("one", "requested"), site.say("one", "approved"), site.say("two", "requested")];
    until("both requests are sent", || (receiver.got().len() == 2).then_some(()));
    site.kill();
    let while_down = site.say("two", "denied");
    answers.store(true, Ordering::SeqCst);
    site.start();
    let taken = until("all are taken", || Some(receiver.taken()).filter(|taken| taken.len() == 4));
    let expected = [("one".to_owned(), vec![numbers[0], numbers[1]]), ("two".to_owned(), vec![numbers[2], while_down])];
    assert_eq!(by_grant(&taken), expected.into());
    for sent in &receiver.got()[..2] {
        assert!(taken.iter().any(|got| got.id() == sent.id() && got.number() == sent.number()), "{}", sent.id());
    }
    // And what was marked is not sent again.
    site.status("siem", "it is marked", |status| status["settled"] == 4);
    let kept = site.folder.join("state/siem.json");
    until("it is on the disk", || std::fs::read_to_string(&kept).unwrap().contains("\"settled\":4").then_some(()));
    site.kill();
    site.start();
    let next = site.say("three", "requested");
    until("the next one is taken", || receiver.taken().iter().any(|got| got.number() == next).then_some(()));
    assert_eq!(receiver.taken().len(), 5);
}

/// 410 is the receiver's way to say that nobody is there any more; another channel goes on.
#[test]
fn a_receiver_that_is_gone_switches_its_channel_off() {
    let (gone, receiver) = (Receiver::that(|_, _| How::status(410)), Receiver::taking());
    let mut site = Site::with(&json!([webhook("gone", "gone"), webhook("siem", "siem")]));
    site.secret("gone", &gone.url());
    site.secret("siem", &receiver.url());
    site.start();
    site.say("one", "requested");
    let status = site.status("gone", "it is off", |status| status["off"].is_string());
    assert_eq!(status["off"], "the receiver answered 410");
    site.say("two", "requested");
    until("the other goes on", || (receiver.taken().len() == 2).then_some(()));
    assert_eq!(gone.got().len(), 1);
    // A test is asked for by an administrator, and tells what the receiver says.
    let tested = site.command(&["test", "--all"]).output().unwrap();
    let said = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert_eq!(tested.status.code(), Some(1), "{said}");
    assert!(
        said.contains("gone: the receiver answered 410\n") && said.contains("siem: the receiver took it\n"),
        "{said}"
    );
}

/// The wait that a receiver asks for is waited.
#[test]
fn retry_after_is_honoured() {
    let receiver = Receiver::that(|_, before| match before {
        0 => How::Answer(429, "retry-after: 3\r\n", Vec::new()),
        _ => How::status(204),
    });
    let site = Site::webhook(&receiver.url());
    site.say("one", "requested");
    let got = until("it is taken", || Some(receiver.got()).filter(|got| got.len() == 2));
    let waited = got[1].at.duration_since(got[0].at).unwrap();
    assert!(waited >= Duration::from_secs(3), "{waited:?}");
}

/// A replay sends again, with the same ids.
#[test]
fn a_replay_sends_everything_again() {
    let receiver = Receiver::taking();
    let site = Site::webhook(&receiver.url());
    for event in ["requested", "approved", "ended"] {
        site.say("one", event);
    }
    until("they are taken", || (receiver.taken().len() == 3).then_some(()));
    let replayed = site.command(&["replay", "siem", "--since", "1h"]).output().unwrap();
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let taken = until("they are taken again", || Some(receiver.taken()).filter(|taken| taken.len() == 6));
    let ids: Vec<&str> = taken.iter().map(Got::id).collect();
    assert_eq!(ids[..3], ids[3..]);
    let unknown = site.command(&["replay", "other", "--since", "1h"]).output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no channel `other`, only siem"));
}

/// A command gets one document, and no more of the environment than it needs. One that does not end is killed with what it
/// started, and holds up no other request.
#[test]
fn a_command_gets_the_document_and_ends_at_its_deadline() {
    let folder = std::env::temp_dir().join(format!("jit-notify-command-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script = folder.join("hook");
    let place = folder.display();
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\nset -e\nout={place}/$JIT_ID\ncat >$out.part\ncase $(cat $out.part) in\n\
             *hangs*) sleep 1000 & echo $! >{place}/child; wait ;;\n\
             *refused*) echo 'not that one'; exit 3 ;;\n\
             *later*) [ -e {place}/asked ] || {{ touch {place}/asked; exit 75; }} ;;\nesac\n\
             env >$out.env\nmv $out.part $out.json\n"
        ),
    )
    .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut site = Site::with(&json!([{ "name": "hook", "command": { "run": [script, "$HOME"], "deadline": "5s" } }]));
    site.start();
    site.say("hangs", "requested");
    let [good, later, refused] = ["good", "later", "refused"].map(|grant| site.say(grant, "requested"));
    let document = |grant: &str, number: u64| folder.join(format!("jit_{grant}_{number}.json"));
    for (grant, number) in [("good", good), ("later", later)] {
        let path = document(grant, number);
        let text = until(grant, || std::fs::read_to_string(&path).ok());
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&document["data"]["grant"]["id"], &document["type"]), (&json!(grant), &json!("grant.requested")));
    }
    let environment = std::fs::read_to_string(folder.join(format!("jit_good_{good}.env"))).unwrap();
    let names: BTreeSet<&str> =
        environment.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert_eq!(names, BTreeSet::from(["JIT_ID", "JIT_TYPE", "LANG", "PATH", "PWD"]), "{environment}");
    let status = site.status("hook", "one is parked", |status| status["parked"] == 1);
    assert_eq!(status["lastParked"]["number"], refused);
    assert!(
        status["lastParked"]["why"].as_str().unwrap().ends_with("failed with exit code 3: not that one"),
        "{status}"
    );
    let child = until("the command started something", || std::fs::read_to_string(folder.join("child")).ok());
    let child = format!("/proc/{}/comm", child.trim());
    until("what the command started is killed", || (!std::path::Path::new(&child).exists()).then_some(()));
    site.status("hook", "the log says why", |status| {
        status["error"].as_str().is_some_and(|why| why.contains("did not end within 5 s"))
    });
    std::fs::remove_dir_all(folder).unwrap();
}

/// Ten thousand requests at once lose none, and take no more memory than a channel may have.
#[test]
fn a_burst_of_ten_thousand_loses_none_and_stays_small() {
    let receiver = Receiver::taking();
    let site = Site::webhook(&receiver.url());
    for number in 0..10_000 {
        site.say(&format!("grant{number}"), "requested");
    }
    until_within(Duration::from_secs(240), "all are taken", || {
        let status = site.statuses().pop()?;
        (status["settled"] == 10_000 && status["waiting"] == 0).then_some(())
    });
    let numbers: BTreeSet<u64> = receiver.taken().iter().map(Got::number).collect();
    assert_eq!(numbers, (1..=10_000).collect());
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("peak of the memory: {} MiB", peak / 1024);
    assert!(peak < 64 * 1024, "{peak} KiB");
}

/// What the administrators have to know is said once. What happened while the program was down is one message, and so is a test.
#[test]
fn a_board_tells_the_administrators_what_happened() {
    let receiver = Receiver::that(|_, _| How::status(202));
    let (admins, others) = (json!({ "administrators": true }), json!({ "groups": ["leads"] }));
    let board =
        |name: &str, to: &Value, url: &str| json!({ "name": name, "to": to, "teams": { "url": { "file": url } } });
    let others_board = Receiver::that(|_, _| How::status(202));
    let mut site = Site::with(&json!([board("admins", &admins, "url"), board("leads", &others, "others")]));
    site.secret("url", &receiver.url());
    site.secret("others", &others_board.url());
    site.start();
    let texts = || receiver.got().iter().map(|got| got.body.to_string()).collect::<Vec<_>>();
    let first = site.say_to_administrators("root drained the daemon");
    let got = until("they are told", || Some(texts()).filter(|texts| texts.len() == 1));
    assert!(got[0].contains("jitd on bastion1: root drained the daemon"), "{got:?}");
    site.status("admins", "it is settled", |status| status["settled"] == first);
    site.kill();
    let last = ["root resumed the daemon", "root revoked one", "root revoked two"]
        .map(|says| site.say_to_administrators(says))[2];
    site.start();
    let got = until("they are told the rest", || Some(texts()).filter(|texts| texts.len() == 2));
    assert!(got[1].contains("3 things happened") && got[1].contains("root revoked two"), "{got:?}");
    site.status("admins", "it is settled", |status| status["settled"] == last);
    let tested = site.command(&["test", "admins"]).output().unwrap();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
    assert!(texts()[2].contains("this is a test of the channel; nothing happened"), "{:?}", texts());
    assert!(others_board.got().is_empty(), "it concerns nobody else");
    let reported = until("the daemon has the hashes", || Some(site.reported()).filter(|texts| texts.len() >= 2));
    let of: Vec<_> = reported.iter().map(|text| (&text["channel"], &text["about"], &text["seq"])).collect();
    let expected = [first, last].map(|seq| json!(["admins", "operation", seq]));
    assert!(expected.iter().all(|text| of.contains(&(&text[0], &text[1], &text[2]))), "{of:?}");
}

/// The daemon gets the hash of each document that a receiver took, also after a crash before it was reported.
#[test]
fn what_a_receiver_took_is_reported() {
    let receiver = Receiver::taking();
    let mut site = Site::webhook(&receiver.url());
    for number in 0..100 {
        site.say(&format!("grant{number}"), "requested");
    }
    until("all are taken", || (receiver.taken().len() >= 100).then_some(()));
    site.kill();
    site.start();
    let hashes =
        || site.reported().iter().map(|text| text["sha256"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
    let taken = || {
        let taken = receiver.taken();
        taken.iter().map(|got| sha256_hex(&got.raw)).collect::<BTreeSet<_>>()
    };
    until("each is reported", || (hashes().len() >= 100 && hashes().is_subset(&taken())).then_some(()));
    let seqs: BTreeSet<u64> = site.reported().iter().map(|text| text["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=100).collect());
    until("it forgets what is recorded", || {
        (!std::fs::read_to_string(site.folder.join("state/siem.json")).unwrap().contains("sha256")).then_some(())
    });
}

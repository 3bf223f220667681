//! One person, or a runaway script, does not stop the others: the limits of one account, its messages, and the entries in
//! the trail.
//!
//! How fast the others are served meanwhile shows `make hostile`, on a release build and for a minute.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, CAROL, DAVE, Key, Options, Person, as_person, path, text};
use crate::plane::{Plane, until};

fn bastion(rates: &'static str) -> Bastion<'static> {
    Bastion::with(Plane::shared(), Options { rates, ..Options::default() })
}

/// The head of an answer by curl, and its body.
fn answer(bastion: &Bastion<'_>, person: Person, arguments: &[&str]) -> (String, Value) {
    let output = bastion.curl(person, &[&["--include"], arguments].concat(), b"");
    let told = text(&output.stdout);
    let (head, body) = told.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{told}"));
    (head.to_ascii_lowercase(), serde_json::from_str(body.rsplit_once('\n').unwrap().0).unwrap_or_default())
}

/// Who calls more often than an account may is answered 429 with the time after which to try again, as a problem document
/// and by `jit-login`; it is counted, others are served, and access can still be taken away.
#[test]
fn a_limited_caller_is_told_when_to_try_again() {
    let bastion = bastion("{calls: 12}");
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    for _ in 0..12 {
        assert_eq!(bastion.get(ALICE, "/v1/whoami").0, 200);
    }
    let before = bastion.trail().len();
    let began = Instant::now();
    let (head, problem) = answer(&bastion, ALICE, &["http://jitd/v1/whoami"]);
    assert!(began.elapsed() >= Duration::from_secs(1), "who calls in a loop is held");
    assert!(head.starts_with("http/1.1 429 "), "{head}");
    let seconds = problem["retryAfter"].as_u64().unwrap();
    assert!((1..=5).contains(&seconds), "{problem}");
    assert!(head.contains(&format!("\r\nretry-after: {seconds}")), "{head}");
    assert_eq!((&problem["code"], &problem["status"]), (&json!("rate-limited"), &json!(429)));
    assert_eq!(problem["detail"], "this account made too many calls; the limit is 12 a minute");

    let told = bastion.login(ALICE, &["ls"]);
    assert_eq!(told.status.code(), Some(1), "{}", text(&told.stderr));
    assert!(
        text(&told.stderr).contains("error[rate-limited]: this account made too many calls"),
        "{}",
        text(&told.stderr)
    );

    let new = bastion.trail().split_off(before);
    assert_eq!(new.len(), 1, "one line for all of them: {new:?}");
    assert_eq!((&new[0]["by"], &new[0]["event"]["codes"]), (&json!("alice"), &json!({ "rate-limited": 1 })));
    assert_eq!(bastion.get(BOB, &path(&grant, "")).0, 200);
    assert_eq!(bastion.post(ALICE, &path(&grant, "/withdraw"), &Value::Null).0, 200);
    assert!(bastion.metric("rate_limited_total{limit=\"calls\"}") >= 2);
    bastion.has_no_fault();
}

/// Requests, questions what would be said to one, and certificates have their own limits, which no other call takes from.
#[test]
fn requests_and_certificates_have_separate_limits() {
    let bastion = bastion("{requests: 3, certificates: 2}");
    let key = Key::new();
    let ask = bastion.ask("5m");
    let grant = bastion.request(ALICE, &ask, &key);
    assert_eq!(bastion.post(ALICE, "/v1/explain", &ask).0, 200);
    assert_eq!(bastion.post(DAVE, "/v1/explain", &ask).0, 200, "another account");
    bastion.request(ALICE, &ask, &key);
    let (status, problem) = bastion.post(ALICE, "/v1/explain?dryRun=true", &ask);
    assert_eq!((status, &problem["code"]), (429, &json!("rate-limited")), "{problem}");
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    assert_eq!(bastion.certificate(ALICE, &grant, &key).0, 200);
    assert_eq!(bastion.certificate(ALICE, &grant, &key).0, 200);
    let before = bastion.trail().len();
    let (status, problem) = bastion.certificate(ALICE, &grant, &key);
    assert_eq!((status, &problem["code"]), (429, &json!("rate-limited")), "{problem}");
    assert_eq!(bastion.trail().len(), before, "nothing was signed");
    assert_eq!(bastion.show(ALICE, &grant)["certificates"], 2);
    bastion.has_no_fault();
}

/// The first refusal of a kind is recorded and the others are only counted; of a long request the hash and the beginning
/// are kept. At the end all of it is in the trail, which verifies.
#[test]
fn many_refusals_are_one_line() {
    let mut bastion = Bastion::start();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    let mut ask = bastion.ask("5m");
    ask["rules"] = json!([{ "apiGroups": [""], "resources": (0..50).map(|n| format!("{n:a>60}")).collect::<Vec<_>>(), "verbs": ["get"] }]);
    ask.as_object_mut().unwrap().remove("role");
    let before = bastion.trail().len();
    for _ in 0..50 {
        let (status, problem) = bastion.post(DAVE, "/v1/grants", &json!({ "ask": ask, "csr": Key::new().csr() }));
        assert_eq!((status, &problem["code"]), (403, &json!("policy-denied")), "{problem}");
        assert_eq!(bastion.approve(ALICE, &grant).1["code"], "self-approval");
    }
    let new = bastion.trail().split_off(before);
    let kinds: Vec<&Value> = new.iter().map(|entry| &entry["event"]["kind"]).collect();
    assert_eq!(kinds, ["request_refused", "refused"]);
    let refused = &new[0]["event"];
    assert!(refused["askBegins"].as_str().unwrap().len() <= 1024 && refused["ask"].is_null(), "{refused}");
    let written = serde_json::to_string(&new[0]).unwrap();
    assert!(written.len() < 3 * 1024, "{written}");

    assert!(bastion.terminate());
    let told = bastion.trail();
    let counted: BTreeMap<&str, &Value> = told
        .iter()
        .filter(|entry| entry["event"]["kind"] == "refusals_counted")
        .map(|entry| (entry["by"].as_str().unwrap(), &entry["event"]["codes"]))
        .collect();
    let wanted = [("alice", json!({ "self-approval": 49 })), ("dave", json!({ "policy-denied": 49 }))];
    assert_eq!(counted, wanted.iter().map(|(who, codes)| (*who, codes)).collect());
    assert_eq!(told.last().unwrap()["event"]["kind"], "stopped");
    let verified = bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    bastion.has_no_fault();
}

/// The limits of a person apply to concurrent calls too: counting and recording are one step.
#[test]
fn a_persons_limits_apply_to_concurrent_calls() {
    let rule =
        |more: &str| format!("who: [payments-oncall], clusters: [play], roles: [view], maxDuration: 10m, {more}");
    let asked = rule("name: payments, namespaces: [NS], approval: [{groups: [payments-leads]}]");
    let given = rule("name: now, namespaces: [SHOP], preApproved: true");
    let policy = format!("limits: {{pending: 5, live: 3}}\nrules:\n- {{{asked}}}\n- {{{given}}}\n");
    let bastion = Bastion::with(Plane::shared(), Options { policy, ..Options::default() });
    let key = Key::new();
    let statuses = |calls: Vec<Box<dyn Fn() -> (u16, Value) + Send + Sync + '_>>| {
        let mut counted: BTreeMap<(u16, String), usize> = BTreeMap::new();
        std::thread::scope(|scope| {
            let calls: Vec<_> = calls.iter().map(|call| scope.spawn(call)).collect();
            for call in calls {
                let (status, answer) = call.join().unwrap();
                *counted.entry((status, answer["code"].as_str().unwrap_or_default().to_owned())).or_default() += 1;
            }
        });
        counted
    };
    let (done, limit) = (String::new(), "limit".to_owned());

    let body = json!({ "ask": bastion.ask("5m"), "csr": key.csr() });
    let ask = || bastion.post(ALICE, "/v1/grants", &body);
    let asked = statuses((0..30).map(|_| Box::new(ask) as Box<_>).collect());
    assert_eq!(asked, BTreeMap::from([((201, done.clone()), 5), ((429, limit), 25)]));

    let mut at_once = bastion.ask("5m");
    at_once["namespaces"] = json!([bastion.shop]);
    let key = Key::new();
    let approved: Vec<Value> = (0..16).map(|_| bastion.request(CAROL, &at_once, &key)).collect();
    let collect = |grant: &Value| bastion.certificate(CAROL, grant, &key);
    let collected = statuses(approved.iter().map(|grant| Box::new(move || collect(grant)) as Box<_>).collect());
    // The policy as it is at that moment no longer lets them.
    let lost = (403, "requester-lost-right".to_owned());
    assert_eq!(collected, BTreeMap::from([((200, done), 3), (lost, 13)]));
    bastion.has_no_fault();
}

/// Lists come in pages, each of which says how to get the next; together they equal one large page.
#[test]
fn lists_and_events_come_in_pages() {
    let bastion = Bastion::start();
    let key = Key::new();
    let grants: Vec<Value> = (0..7).map(|_| bastion.request(ALICE, &bastion.ask("5m"), &key)).collect();
    for grant in &grants[..4] {
        assert_eq!(bastion.post(ALICE, &path(grant, "/withdraw"), &Value::Null).0, 200);
    }
    let ids = |list: &Value| -> Vec<String> {
        list["grants"].as_array().unwrap().iter().map(|grant| grant["id"].as_str().unwrap().to_owned()).collect()
    };
    let whole = bastion.get(ALICE, "/v1/grants?all=true").1;
    assert_eq!((ids(&whole).len(), &whole["more"], &whole["next"]), (7, &json!(false), &Value::Null));
    let (mut paged, mut from) = (Vec::new(), String::new());
    for left in [5, 3, 1, 0] {
        let page = bastion.get(ALICE, &format!("/v1/grants?all=true&limit=2{from}")).1;
        assert_eq!(page["more"], left > 0, "{page}");
        paged.extend(ids(&page));
        from = page["next"].as_str().map(|next| format!("&from={next}")).unwrap_or_default();
        assert_eq!(from.is_empty(), left == 0);
    }
    assert_eq!(paged, ids(&whole));
    for wrong in ["x", "open-1", "closed-x", "open-1-2-3"] {
        assert_eq!(bastion.get(ALICE, &format!("/v1/grants?from={wrong}")).0, 400, "{wrong}");
    }

    let events = path(&grants[0], "/events");
    let all = bastion.get(ALICE, &events).1;
    assert_eq!((all["events"].as_array().unwrap().len(), &all["more"]), (2, &json!(false)));
    let newest = bastion.get(ALICE, &format!("{events}?limit=1")).1;
    assert_eq!((&newest["events"][0], &newest["more"]), (&all["events"][1], &json!(true)));
    let seq = &newest["events"][0]["seq"];
    let older = bastion.get(ALICE, &format!("{events}?limit=1&before={seq}")).1;
    assert_eq!((&older["events"], &older["more"]), (&json!([all["events"][0]]), &json!(false)));
    // From an event of another grant no way leads anywhere.
    let other = bastion.get(ALICE, &path(&grants[1], "/events")).1["events"][1]["seq"].clone();
    assert_eq!(bastion.get(ALICE, &format!("{events}?before={other}")).1["events"], json!([]));
    bastion.has_no_fault();
}

/// A body that arrives byte by byte is cut off, whoever sends it and however steadily.
#[test]
fn a_body_that_trickles_in_is_cut_off() {
    let bastion = Bastion::start();
    let began = Instant::now();
    let told = python(&bastion, ALICE, TRICKLES).wait_with_output().unwrap();
    let told = text(&told.stdout);
    assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("the body did not arrive within 10 s"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    bastion.has_no_fault();
}

/// Sends a byte each 200 ms until it is answered.
const TRICKLES: &str = r#"
import socket, sys
wire = socket.socket(socket.AF_UNIX)
wire.connect(sys.argv[1])
wire.sendall(b"POST /v1/explain HTTP/1.1\r\nhost: jitd\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
wire.settimeout(0.2)
for _ in range(300):
    try:
        sys.stdout.write(wire.recv(4096).decode())
        break
    except TimeoutError:
        wire.sendall(b" ")
"#;

/// If an account has all its connections in use, `jit-login` says so, also if the connection is closed without an answer;
/// others are served.
#[test]
fn jit_login_reports_that_no_connection_is_free() {
    let bastion = Bastion::start();
    let mut hog = python(&bastion, ALICE, HOLDS);
    let mut ready = [0; 1];
    hog.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    until("what is turned away is told why, as soon as there is room for it", || {
        let told = bastion.login(ALICE, &["whoami"]);
        let (code, said) = (told.status.code(), text(&told.stderr));
        let meant = match code {
            Some(1) => said.contains("error[busy]: too many connections"),
            Some(8) => said.contains("it closed the connection without an answer"),
            _ => false,
        };
        assert!(meant, "{code:?} {said}");
        (code == Some(1)).then_some(())
    });
    assert_eq!(bastion.get(BOB, "/v1/whoami").0, 200);
    assert!(bastion.metric("rate_limited_total{limit=\"connections\"}") > 32);
    drop(hog.stdin.take());
    hog.wait().unwrap();
    bastion.has_no_fault();
}

/// Takes every place of its account, and more, until its standard input ends.
const HOLDS: &str = r#"
import socket, sys
wires = []
for _ in range(160):
    wire = socket.socket(socket.AF_UNIX)
    wire.connect(sys.argv[1])
    wires.append(wire)
print("r", end="", flush=True)
sys.stdin.read()
"#;

/// Connections that never cease to come hold up neither the others nor the end of the daemon.
#[test]
fn connections_without_end_do_not_keep_the_daemon_from_ending() {
    let mut bastion = Bastion::start();
    let mut attacker = python(&bastion, DAVE, CONNECTS);
    let mut ready = [0; 1];
    attacker.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    until("some are turned away", || {
        (bastion.metric("rate_limited_total{limit=\"connections\"}") > 1000).then_some(())
    });
    assert_eq!(bastion.get(BOB, "/v1/whoami").0, 200);
    let began = Instant::now();
    assert!(bastion.terminate());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // It ends by itself when nobody listens any more.
    attacker.wait().unwrap();
}

/// Connects and disconnects until nobody listens.
const CONNECTS: &str = r#"
import socket, sys
connected = 0
while True:
    wire = socket.socket(socket.AF_UNIX)
    try:
        wire.connect(sys.argv[1])
    except OSError:
        break
    wire.close()
    connected += 1
    if connected == 1000:
        print("r", end="", flush=True)
"#;

/// A program of somebody's, which is given the socket.
fn python(bastion: &Bastion<'_>, person: Person, program: &str) -> Child {
    let mut python = Command::new("python3");
    python.env_clear().env("PATH", "/usr/bin:/bin").args(["-ISc", program]).arg(bastion.socket());
    as_person(python.stdin(Stdio::piped()).stdout(Stdio::piped()), person).spawn().unwrap()
}

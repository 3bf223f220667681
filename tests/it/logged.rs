//! Where the gateway's logs stand, as the trail has it. The test itself is at the other end of the feed, because the real
//! gateway contradicts itself only when somebody tampers with its files.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jitd::wire::feed::VERSION;
use serde_json::{Value, json};

use crate::bastion::{ALICE, Bastion, ERIN, Key, Options, path, text};
use crate::impersonation::through_gateway;
use crate::plane::{Plane, until, until_within};

/// A daemon's feed, with what the daemon said.
pub(crate) struct Feed {
    stream: UnixStream,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Feed {
    /// Says that every grant works, and answers each end with two requests that were cut, and with this head.
    pub(crate) fn of(bastion: &Bastion<'_>, at_the_end: Value) -> Self {
        let socket = bastion.dir.join("run/feed.sock");
        let stream = until("the feed", || UnixStream::connect(&socket).ok());
        let feed = Self { stream: stream.try_clone().unwrap(), said: Arc::default() };
        let (server, pem) = ("https://127.0.0.1:1", "-");
        feed.tell(&json!({
            "kind": "hello", "version": VERSION, "server": server, "certificateAuthority": pem, "clusters": ["play"],
        }));
        let (answers, said) = (stream.try_clone().unwrap(), Arc::clone(&feed.said));
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let document: Value = serde_json::from_str(&line).unwrap();
                if document["kind"] == "ended" {
                    let cut = json!({ "kind": "cut", "grant": document["grant"], "streams": 2, "log": at_the_end });
                    write(&answers, &cut);
                }
                if document["kind"] == "prove" {
                    write(&answers, &json!({ "kind": "proved", "grant": document["grant"] }));
                }
                said.lock().unwrap().push(document);
            }
        });
        until("the gateway is connected", || bastion.log().contains("the gateway is connected").then_some(()));
        feed
    }

    fn tell(&self, document: &Value) {
        write(&self.stream, document);
    }

    pub(crate) fn logged(&self, grant: &Value, head: &Value) {
        self.tell(&json!({ "kind": "logged", "grant": grant, "log": head }));
    }
}

fn write(mut stream: &UnixStream, document: &Value) {
    stream.write_all(format!("{document}\n").as_bytes()).unwrap();
}

fn head(lines: u64, digit: &str) -> Value {
    json!({ "lines": lines, "sha256": digit.repeat(64) })
}

/// The last event of a grant, once it is of this kind. A grant's log has an event every ten seconds at most.
fn last(bastion: &Bastion<'_>, grant: &Value, kind: &str) -> Value {
    until_within(Duration::from_secs(30), kind, || {
        let (_, answer) = bastion.get(ERIN, &path(grant, "/events"));
        let last = answer["events"].as_array().unwrap().last().unwrap()["event"].clone();
        (last["kind"] == kind).then_some(last)
    })
}

/// Each head once, also after the end; and what goes back is recorded as that.
#[test]
fn the_trail_knows_where_each_log_stands() {
    let policy = Options::default().policy;
    let recorded = policy.replacen("maxDuration: 10m\n", "maxDuration: 10m\n    record: required\n    idle: 5m\n", 1);
    let bastion = Bastion::with(Plane::shared(), Options { policy: recorded, ..through_gateway() });
    let feed = Feed::of(&bastion, head(7, "c"));
    let access = bastion.live(&bastion.ask("5m"));
    let (grant, id) = (&access.grant, &access.grant["id"]);
    let terms = json!({ "record": "required", "idle": "5m" });
    until("the gateway knows the terms", || {
        let said = feed.said.lock().unwrap();
        said.iter().any(|document| document["kind"] == "live" && document["grant"]["sessions"] == terms).then_some(())
    });
    assert_eq!(bastion.show(ALICE, grant)["sessions"]["record"], "required");

    feed.logged(id, &head(5, "a"));
    assert_eq!(last(&bastion, grant, "logged"), json!({ "kind": "logged", "lines": 5, "sha256": "a".repeat(64) }));
    // Known; never live; nobody's; and then one with fewer lines.
    let other = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    feed.logged(id, &head(5, "a"));
    feed.logged(&other["id"], &head(5, "a"));
    feed.logged(&json!("0000000000000000"), &head(5, "a"));
    feed.logged(id, &head(3, "b"));
    let contradicted = last(&bastion, grant, "log_contradicted");
    assert_eq!((&contradicted["lines"], &contradicted["before"]), (&json!(3), &head(5, "a")));
    assert_eq!(bastion.kinds(&other), ["requested"]);

    let begun = std::time::Instant::now();
    assert_eq!(bastion.post(ALICE, &path(grant, "/end"), &Value::Null).0, 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "an end does not wait for a log");
    let ended = last(&bastion, grant, "ended");
    assert_eq!((&ended["cut"], &ended["log"]), (&json!(2), &head(7, "c")));
    feed.logged(id, &head(8, "d"));
    assert_eq!(last(&bastion, grant, "logged")["lines"], 8);
    assert_eq!(bastion.show(ERIN, grant)["phase"], "ended");

    let kinds: Vec<String> = bastion.kinds(grant).into_iter().filter(|kind| kind.starts_with("log")).collect();
    assert_eq!(kinds, ["logged", "log_contradicted", "logged"]);
    let verified = bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let metrics = bastion.get(ALICE, "/metrics").1;
    assert!(metrics.as_str().unwrap().contains("jitd_log_contradictions_total 1\n"), "{metrics}");
    let events = text(&bastion.login(ERIN, &["events", id.as_str().unwrap()]).stdout);
    for sentence in ["the gateway's log has 5 lines", "contradicts 5 lines before", "the gateway's log has 7 lines; "] {
        assert!(events.contains(sentence), "{events}");
    }
    assert!(bastion.log().contains("contradicts an earlier head"), "{}", bastion.log());
}

/// Where people go past the gateway, nobody is promised a recording: the rule is not loaded, and where only the risk of the
/// role asks for one, the request is refused.
#[test]
fn what_nothing_could_record_is_refused() {
    let mut bastion = Bastion::prepared(Plane::shared(), Options::default());
    let policy = std::fs::read_to_string(bastion.dir.join("policy.yaml")).unwrap();
    let promising = policy.replacen("maxDuration: 10m\n", "maxDuration: 10m\n    record: required\n", 1);
    std::fs::write(bastion.dir.join("policy.yaml"), promising).unwrap();
    let checked = bastion.jitd(&["check"]);
    let told = text(&checked.stderr);
    assert!(!checked.status.success() && told.contains("people reach cluster `play` directly"), "{told}");
    std::fs::write(bastion.dir.join("policy.yaml"), policy).unwrap();
    std::fs::write(bastion.dir.join("guardrails.yaml"), "risks: [{severity: low, record: required}]\n").unwrap();
    bastion.serve();
    let mut ask = bastion.ask("5m");
    ask["role"] = json!("edit");
    let asked = json!({ "ask": ask, "csr": Key::new().csr() });
    let (status, refused) = bastion.post(ALICE, "/v1/grants", &asked);
    assert_eq!((status, &refused["code"]), (403, &json!("guardrail")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("`record`"), "{refused}");
    let (_, explained) = bastion.post(ALICE, "/v1/explain", &ask);
    assert_eq!((&explained["outcome"], explained.get("sessions")), (&json!("deny"), None), "{explained}");
}

//! Who is told what, by the real jitd and the real jit-notify: a receiver of webhooks gets every fact, with whom it concerns.
//! How jit-notify stands receivers that misbehave is tested in its crate.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::bastion::{ADMIN, ALICE, BOB, Bastion, CAROL, ERIN, Key, Options, ROOT, path, text};
use crate::plane::{Plane, root, until, until_within};
use crate::receiver::{Got, How, Receiver};

/// The key that the published vectors use.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// jit-notify beside a bastion.
struct Notify {
    config: PathBuf,
    environment: &'static [(&'static str, &'static str)],
    running: Option<Child>,
}

impl Notify {
    /// One with these channels: the name, and the receiver of the webhook. It reads what `jitd` says.
    fn of(bastion: &Bastion<'_>, channels: &[(&str, &Receiver)]) -> Self {
        Self::among(bastion, channels, &[])
    }

    /// The same in this environment.
    fn among(
        bastion: &Bastion<'_>,
        channels: &[(&str, &Receiver)],
        environment: &'static [(&'static str, &'static str)],
    ) -> Self {
        let folder = bastion.dir.join("notify");
        std::fs::create_dir(&folder).unwrap();
        private(&folder.join("secret"), SECRET);
        let channels: Vec<Value> = channels
            .iter()
            .map(|(name, receiver)| {
                private(&folder.join(name), &receiver.url());
                json!({ "name": name, "webhook": { "url": { "file": name }, "secrets": [{ "file": "secret" }] } })
            })
            .collect();
        let socket = bastion.dir.join("run/notify.sock");
        std::fs::create_dir(folder.join("state")).unwrap();
        let config = json!({ "socket": socket, "state": "state", "channels": channels });
        std::fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        let mut notify = Self { config: folder.join("config.yaml"), environment, running: None };
        notify.start();
        notify
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(root().join("bin/jit-notify"));
        command.arg("--config").arg(&self.config).args(words).envs(self.environment.iter().copied());
        command
    }

    fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.config.with_file_name("log")).unwrap();
        self.running = Some(self.command(&["serve"]).stdin(Stdio::null()).stderr(log).spawn().unwrap());
        until("jit-notify reads what jitd says", || {
            self.statuses().iter().all(|status| status["connected"] == true).then_some(())
        });
    }

    fn kill(&mut self) {
        let mut running = self.running.take().unwrap();
        running.kill().unwrap();
        running.wait().unwrap();
    }

    /// How the channels are; none if it does not answer.
    fn statuses(&self) -> Vec<Value> {
        let said = self.command(&["status", "-o", "json"]).output().unwrap();
        let Ok(statuses) = serde_json::from_slice(&said.stdout) else { return vec![json!({ "connected": false })] };
        crate::schemas::fits("channels", &json!(statuses));
        statuses
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.config.with_file_name("log")).unwrap()
    }
}

impl Drop for Notify {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn private(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn told(policy: Option<String>) -> Bastion<'static> {
    let options = Options { config: "notify: root\n".to_owned(), ..Options::default() };
    let policy = policy.unwrap_or_else(|| options.policy.clone());
    Bastion::with(Plane::shared(), Options { policy, ..options })
}

/// What a receiver took about a grant, once the last of it is of this kind.
fn story(receiver: &Receiver, grant: &Value, last: &str) -> Vec<Got> {
    until_within(Duration::from_secs(30), last, || {
        let id = grant["id"].as_str().unwrap();
        let story: Vec<Got> = receiver.taken().into_iter().filter(|got| got.grant() == id).collect();
        story.last().is_some_and(|got| got.kind() == last).then_some(story)
    })
}

fn kinds(story: &[Got]) -> Vec<&str> {
    story.iter().map(|got| got.kind().trim_start_matches("grant.")).collect()
}

/// A host without certificate authorities can be told by channels that need none.
#[test]
fn a_channel_on_this_host_needs_no_authorities() {
    let bastion = told(None);
    let receiver = Receiver::taking();
    let none = &[("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/dev/null")];
    let notify = Notify::among(&bastion, &[("siem", &receiver)], none);
    let tried = notify.command(&["test", "siem"]).output().unwrap();
    assert_eq!(text(&tried.stdout), "siem: the receiver took it\n", "{}", text(&tried.stderr));
}

/// The webhook tells the same story as the trail, with whom each fact concerns.
#[test]
fn a_webhook_gets_the_whole_story_of_a_grant() {
    let bastion = told(None);
    let receiver = Receiver::taking();
    let notify = Notify::of(&bastion, &[("siem", &receiver)]);
    let access = bastion.live(&bastion.ask("5m"));
    assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    let story = story(&receiver, &access.grant, "grant.ended");
    assert_eq!(kinds(&story), bastion.kinds(&access.grant));
    let numbers: Vec<u64> = story.iter().map(Got::number).collect();
    assert!(numbers.is_sorted_by(|one, other| one < other), "{numbers:?}");

    let of = |kind: &str| &story.iter().find(|got| got.kind() == kind).unwrap().body;
    let requested = of("grant.requested");
    assert_eq!(requested["host"], bastion.host.as_str());
    assert_eq!(requested["data"]["audience"], json!({ "toAnswer": ["payments-leads"] }));
    assert_eq!(requested["data"]["by"], "alice");
    assert_eq!(requested["data"]["grant"]["phase"], "pending");
    assert!(requested["data"]["says"].as_str().unwrap().starts_with("alice requests role view in "), "{requested}");
    assert_eq!(requested["data"]["grant"].get("rules"), None);
    assert!(requested["data"]["grant"]["risks"]["findings"].is_array(), "approvers see what it lets its holder reach");
    let approved = of("grant.approved");
    assert_eq!((&approved["data"]["by"], &approved["data"]["grant"]["phase"]), (&json!("bob"), &json!("approved")));
    assert_eq!(approved["data"]["audience"], json!({ "toKnow": ["alice"] }));
    assert_eq!(of("grant.ended")["data"]["grant"]["endCause"], "released");

    let (log, state) = (notify.log(), std::fs::read_to_string(bastion.dir.join("notify/state/siem.json")).unwrap());
    for text in [&log, &state, &bastion.log()] {
        assert!(!text.contains("hush") && !text.contains("MfKQ9r8"), "a secret is nowhere: {text}");
    }
    let status = notify.command(&["status"]).output().unwrap();
    assert!(text(&status.stdout).starts_with("siem: up to date, fact "), "{}", text(&status.stdout));
    let metrics = text(&notify.command(&["metrics"]).output().unwrap().stdout);
    assert!(metrics.contains("jit_notify_waiting{channel=\"siem\"} 0\n"), "{metrics}");
}

/// The first approver of two leaves the rest to the others, a denial is the requester's to know, and what operators do to
/// everybody is the administrators'.
#[test]
fn each_fact_says_whom_it_concerns() {
    let policy = crate::glass::policy("0s", "4h");
    let bastion = told(Some(policy));
    let receiver = Receiver::taking();
    let _notify = Notify::of(&bastion, &[("siem", &receiver)]);
    let audience = |story: &[Got], kind: &str| {
        story.iter().rev().find(|got| got.kind() == kind).unwrap().body["data"]["audience"].clone()
    };

    let broken = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    let body = json!({ "reason": "INC-42 nobody answers" });
    assert_eq!(bastion.post(ALICE, &path(&broken, "/break-glass"), &body).0, 200);
    let story_of_glass = story(&receiver, &broken, "grant.glass_broken");
    assert_eq!(
        audience(&story_of_glass, "grant.glass_broken"),
        json!({ "toAnswer": ["payments-leads", "auditors"], "toKnow": ["alice"], "toAdministrators": true })
    );

    for (person, verdict, concerned) in [
        (BOB, "justified", json!({ "toAnswer": ["payments-leads", "auditors"], "toKnow": ["alice"] })),
        (ERIN, "not-justified", json!({ "toKnow": ["alice"], "toAdministrators": true })),
        (ADMIN, "justified", json!({ "toKnow": ["alice"], "toAdministrators": true })),
    ] {
        let digest = bastion.show(ERIN, &broken)["breakGlass"]["digest"].clone();
        let body = json!({ "digest": digest, "verdict": verdict, "words": "looked at it" });
        assert_eq!(bastion.post(person, &path(&broken, "/review"), &body).0, 200);
        let reviewed = until("the review is told", || {
            let all = receiver.taken();
            all.into_iter().find(|got| {
                let data = &got.body["data"];
                got.kind() == "grant.reviewed" && data["says"].as_str().unwrap().starts_with(person.name)
            })
        });
        let data = &reviewed.body["data"];
        assert_eq!(data["audience"], concerned, "{data}");
        let says = data["says"].as_str().unwrap();
        assert_eq!(
            says.contains("the reviewers disagree, so a member of `admins` decides: `jit-login review "),
            person.name == "erin"
        );
        assert_eq!(says.contains("decided the review"), person.name == "admin", "{says}");
    }

    let denied = bastion.request(CAROL, &bastion.ask("5m"), &Key::new());
    assert_eq!(bastion.post(BOB, &path(&denied, "/deny"), &json!({ "reason": "not today" })).0, 200);
    assert_eq!(audience(&story(&receiver, &denied, "grant.denied"), "grant.denied"), json!({ "toKnow": ["carol"] }));

    let (status, answer) = bastion.operate(ROOT, "POST", "/v1/drain", &json!({ "reason": "INC-43" }));
    assert_eq!(status, 200, "{answer}");
    let drained =
        until("the drain is told", || receiver.taken().into_iter().find(|got| got.kind() == "daemon.drained"));
    assert_eq!(drained.body["data"]["audience"], json!({ "toAdministrators": true }));
    assert_eq!(drained.body["data"]["says"], "root drained the daemon: no new access is granted");
}

/// The trail has the hash of each text that a channel got, and an auditor finds it there.
#[test]
fn the_trail_has_the_hash_of_what_people_were_told() {
    let bastion = told(None);
    let receiver = Receiver::taking();
    let _notify = Notify::of(&bastion, &[("siem", &receiver)]);
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    assert_eq!(bastion.post(BOB, &path(&grant, "/deny"), &json!({ "reason": "not today" })).0, 200);
    let story = story(&receiver, &grant, "grant.denied");
    let notices = |more: &[&str]| {
        let words: Vec<&str> = ["audit", "notices"].iter().chain(more).copied().collect();
        bastion.jitd(&words)
    };
    let id = grant["id"].as_str().unwrap();
    let listed = until("they are reported", || {
        let listed: Value = serde_json::from_slice(&notices(&[id, "-o", "json"]).stdout).unwrap();
        Some(listed["texts"].as_array().unwrap().clone()).filter(|texts| texts.len() == story.len())
    });
    for (text, got) in listed.iter().zip(&story) {
        assert_eq!(
            (&text["channel"], &text["about"], &text["seq"]),
            (&json!("siem"), &json!("fact"), &json!(got.number()))
        );
        assert_eq!(text["sha256"], jitd::grant::digest::sha256_hex(&got.raw), "{text}");
    }
    let hash = listed[0]["sha256"].as_str().unwrap();
    let shown = text(&notices(&["--sha256", hash]).stdout);
    assert!(shown.contains(id) && shown.contains("siem"), "{shown}");
    let unknown = notices(&["--sha256", &"0".repeat(64)]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("reported no text with this hash"), "{}", text(&unknown.stderr));
    assert!(text(&bastion.jitd(&["audit", "verify"]).stdout).starts_with("the chain holds"));
    assert!(receiver.taken().iter().all(|got| got.kind() != "daemon.notified"), "what was told is no news");
}

/// What a rule calls private leaves this host in no document, and the groups in its `notify` hear of the request.
#[test]
fn a_private_field_stays_and_the_groups_of_the_rule_are_told() {
    let policy = "rules:
- name: payments
  who: [payments-oncall]
  clusters: [play]
  namespaces: [NS]
  roles: [view]
  maxDuration: 10m
  approval: [{groups: [payments-leads]}]
  notify: [auditors]
  fields: [{name: ticket, type: text, private: true}, {name: severity, type: number}]
";
    let bastion = told(Some(policy.to_owned()));
    let receiver = Receiver::taking();
    let notify = Notify::of(&bastion, &[("siem", &receiver)]);
    let mut ask = bastion.ask("5m");
    ask["fields"] = json!({ "ticket": "PATIENT-4711", "severity": "2" });
    let grant = bastion.request(ALICE, &ask, &Key::new());
    assert_eq!(bastion.show(BOB, &grant)["fields"]["ticket"], "PATIENT-4711", "an approver sees it on the host");
    assert_eq!(bastion.post(BOB, &path(&grant, "/deny"), &json!({ "reason": "not today" })).0, 200);
    let story = story(&receiver, &grant, "grant.denied");
    for got in &story {
        assert!(!String::from_utf8_lossy(&got.raw).contains("PATIENT"), "{}", got.body);
        assert_eq!(got.body["data"]["grant"]["fields"], json!({ "severity": "2" }));
        assert_eq!(got.body["data"]["audience"]["toKnowGroups"], json!(["auditors"]));
    }
    assert!(!notify.log().contains("PATIENT"), "{}", notify.log());
    let words = ["policy", "explain", "--as", "alice", "--cluster", "play", "-n", &bastion.ns, "--role", "view"];
    let more = ["--for", "5m", "--reason", "INC-1", "--field", "ticket=A-1"];
    let explained = text(&bastion.jitd(&[words.as_slice(), &more].concat()).stdout);
    for line in [
        "notify       payments-leads to answer; the requester of what becomes of it; auditors to know",
        "private      no message has the value of ticket",
    ] {
        assert!(explained.contains(line), "{explained}");
    }
}

/// Whatever stops, and whenever: the trail is the log, and each channel continues where it stopped.
#[test]
fn nothing_is_lost_while_jit_notify_or_jitd_is_down() {
    let mut bastion = told(None);
    let receiver = Receiver::taking();
    let mut notify = Notify::of(&bastion, &[("siem", &receiver)]);
    let first = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    story(&receiver, &first, "grant.requested");
    notify.kill();
    let answered = bastion.get(CAROL, "/v1/whoami").0;
    assert_eq!(answered, 200, "nobody notices");
    let second = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    assert_eq!(bastion.approve(BOB, &second).0, 200);
    assert_eq!(bastion.post(BOB, &path(&first, "/deny"), &json!({ "reason": "no" })).0, 200);
    assert!(bastion.terminate());
    bastion.serve();
    notify.start();
    assert_eq!(kinds(&story(&receiver, &second, "grant.approved")), ["requested", "approved"]);
    let facts = story(&receiver, &first, "grant.denied");
    assert_eq!(kinds(&facts).last(), Some(&"denied"));

    // The daemon goes while jit-notify stays.
    assert!(bastion.terminate());
    bastion.serve();
    let third = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    story(&receiver, &third, "grant.requested");
    let told: std::collections::BTreeSet<u64> = receiver.taken().iter().map(Got::number).collect();
    let number = |line: &Value| line["seq"].as_u64().unwrap();
    let numbers: std::collections::BTreeSet<u64> =
        bastion.trail().iter().filter(|line| line["event"]["kind"] != "notified").map(number).collect();
    let begun = told.first().unwrap();
    assert_eq!(told, numbers.range(begun..).copied().collect(), "every fact since the beginning");
    let ids = receiver.taken().iter().map(|got| got.id().to_owned()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(ids.len(), told.len(), "a repeat has the same id");
}

/// A receiver that never answers delays its own channel only. The daemon issues as before, and the other channel hears of a
/// request at once.
#[test]
fn a_receiver_that_hangs_delays_nobody_else() {
    let bastion = told(None);
    let (hanging, receiver) = (Receiver::that(|_, _| How::Hang), Receiver::taking());
    let notify = Notify::of(&bastion, &[("stuck", &hanging), ("siem", &receiver)]);
    let mut lags = Vec::new();
    for _ in 0..10 {
        let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
        let heard = story(&receiver, &grant, "grant.requested").remove(0);
        let happened: jiff::Timestamp = heard.body["timestamp"].as_str().unwrap().parse().unwrap();
        lags.push(heard.at.duration_since(SystemTime::from(happened)).unwrap());
    }
    lags.sort();
    println!("from the request to the receiver: {:?}", lags);
    // The target is 50 ms on a host that does nothing else; `make bench` measures it.
    assert!(lags[lags.len() / 2] < Duration::from_millis(500), "{lags:?}");
    let begun = Instant::now();
    bastion.live(&bastion.ask("5m"));
    assert!(begun.elapsed() < Duration::from_secs(20), "issuing does not wait for a receiver");
    let stuck = notify.statuses().into_iter().find(|status| status["channel"] == "stuck").unwrap();
    assert!(stuck["waiting"].as_u64().unwrap() >= 10 && stuck["oldest"].is_string(), "{stuck}");
}

/// An administrator sees the words of a board before anybody else does, without its secrets; and a mistake in them is named
/// with its file and line, before the program starts.
#[test]
fn an_administrator_tries_the_words_of_a_board() {
    let folder = crate::plane::scratch("notify-words");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write(
        "config.yaml",
        "channels:\n- {name: leads, zone: Europe/Berlin, templates: {request: request.txt}, \
         teams: {url: {credential: not-here}}}\n",
    );
    write(
        "request.txt",
        "{requester} bittet um {access} in {namespaces}\nGrund: {reason}\nRunbook: https://wiki.example/jit\n",
    );
    let run = |words: &[&str]| {
        let mut command = Command::new(root().join("bin/jit-notify"));
        let done = command.arg("--config").arg(folder.join("config.yaml")).args(words).output().unwrap();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (code, said, err) = run(&["preview", "leads"]);
    assert_eq!(code, Some(0), "{err}");
    let request = "# leads: request\nalice bittet um role edit in payments\n";
    assert!(
        said.starts_with(request) && said.contains("\nGrund: the queue is stuck\nRunbook: https://wiki.example/jit\n"),
        "{said}"
    );
    assert!(
        said.contains("\nanswer: jit-login approve ") && said.contains("# leads: review\nalice used break-glass"),
        "{said}"
    );
    let (code, _, err) = run(&["preview", "siem"]);
    assert!(code == Some(2) && err.contains("no board `siem` in the configuration, only leads"), "{err}");

    write("request.txt", "{requester} bittet um {access}\nGrund: {raeson}\n");
    for verb in ["preview", "check", "serve"] {
        let (code, _, err) = run(&[verb]);
        let place = format!("`{}`, line 2: there is no field `{{raeson}}`", folder.join("request.txt").display());
        assert!(code == Some(2) && err.contains(&place), "{verb}: {err}");
    }
}

/// Only the account in the configuration, and root, may read what people request.
#[test]
fn nobody_else_may_read_the_notices() {
    use std::os::unix::fs::PermissionsExt;
    let bastion = told(None);
    let socket = bastion.dir.join("run/notify.sock");
    let script =
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.makefile().readline())";
    // It is made after the socket for people.
    let said: Value = until("the socket answers", || {
        // Even where the file lets them.
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).ok()?;
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(&socket);
        let said = crate::bastion::as_person(&mut command, BOB).output().unwrap();
        serde_json::from_slice(&said.stdout).ok()
    });
    assert_eq!(said["kind"], "refused", "{said}");
    until("it is in the log", || bastion.log().contains("only the account in `notify`").then_some(()));
}

//! What is done through the gateway is recorded: with real clients, against what a client may try, and when something fails.

use std::io::{BufRead, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jit_wire::session::{Chain, End, Entry, LOG, Outcome, RECORDING, RecordingHead};
use nix::pty::{Winsize, openpty};
use serde_json::{Value, json};

use crate::bastion::{ALICE, Bastion, Options, repository, text};
use crate::dial::give_kubeconfig;
use crate::gateway::{Front, POLICY};
use crate::kubelet::Pods;
use crate::plane::{Plane, scratch, until, until_within};
use crate::playback::new_key;

/// A gateway before a cluster of a provider, with more in its policy's rule, and a pod.
pub(crate) fn front(rule: &str) -> Front<'static> {
    let cluster = ", access: gateway, gatewayUser: \"system:serviceaccount:NS:gateway\"".to_owned();
    let policy = format!("{POLICY}    {rule}\n");
    let policy = if rule.contains("name: free") { policy.replace("[view, edit]", "[edit]") } else { policy };
    let bastion = Bastion::prepared(Plane::managed(), Options { cluster, policy, ..Options::default() });
    give_kubeconfig(&bastion, None);
    let front = Front::before(bastion);
    let pods = Pods::within(front.bastion.plane, front.bastion.ns.clone());
    pods.run("web-0", "while read -r line; do echo \"heard $line\"; done", &json!({ "stdin": true }));
    pods.reaches("web-0", &["Running"]);
    front
}

/// What the gateway kept of a grant.
pub(crate) struct Kept {
    pub(crate) folder: PathBuf,
    pub(crate) entries: Vec<Entry>,
    head: Value,
}

/// What it kept of one exec or attach.
pub(crate) struct Recorded {
    command: Vec<String>,
    pub(crate) outcome: Outcome,
    /// The events: the code and the text.
    pub(crate) events: Vec<(String, String)>,
}

impl Recorded {
    pub(crate) fn printed(&self) -> String {
        self.events.iter().filter(|(code, _)| code == "o").map(|(_, text)| text.as_str()).collect()
    }
}

impl Kept {
    pub(crate) fn of(front: &Front<'_>, grant: &str) -> Self {
        Self::below(front.bastion.dir.join("gateway/sessions").join(grant))
    }

    fn below(folder: PathBuf) -> Self {
        let text = std::fs::read_to_string(folder.join(LOG)).unwrap();
        let mut chain = Chain::default();
        let entries = text.lines().map(|line| chain.take(line).unwrap().entry).collect();
        Self { folder, entries, head: serde_json::to_value(chain.head()).unwrap() }
    }

    /// Every session that began with a recording; each has an end, and its recording is the one that the log names. Where none
    /// began, no recording is left.
    pub(crate) fn sessions(&self) -> Vec<Recorded> {
        let opened = self.entries.iter().filter_map(|entry| match entry {
            Entry::Opened { id, asked, recorded: true } => Some((id, asked.stream.as_ref().unwrap())),
            _ => None,
        });
        opened.filter_map(|(id, stream)| self.session(id, stream.command.clone())).collect()
    }

    fn session(&self, id: &str, command: Vec<String>) -> Option<Recorded> {
        let end = |entry: &Entry| match entry {
            Entry::Closed { id: closed, outcome, recording } if closed == id => {
                Some((outcome.clone(), recording.clone()))
            }
            _ => None,
        };
        let (outcome, recording) = self.entries.iter().find_map(end).unwrap();
        let path = self.folder.join(format!("{id}{RECORDING}"));
        let Some(recording) = recording else {
            assert!(outcome.code != Some(101) && !path.exists(), "{outcome:?}");
            return None;
        };
        let bytes = std::fs::read(path).unwrap();
        let sha256 = jitd::grant::digest::sha256_hex(&bytes);
        assert_eq!(recording, RecordingHead { bytes: bytes.len() as u64, sha256 });
        let cast = String::from_utf8(bytes).unwrap();
        let mut lines = cast.lines();
        let header: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(header["version"], 2);
        let mut before = 0.0;
        let events = lines.map(|line| {
            let (at, code, text): (f64, String, String) = serde_json::from_str(line).unwrap();
            assert!(at >= before, "time goes on: {line}");
            before = at;
            (code, text)
        });
        Some(Recorded { command, outcome, events: events.collect() })
    }
}

/// With a terminal and without, with input and without, on both outputs: kubectl sees what it sees without a gateway, and the
/// recording has all that was printed and nothing that was typed.
#[test]
fn an_exec_is_recorded_whatever_its_form() {
    let front = front("record: required");
    let grant = front.live("edit");
    let script = "echo out; echo err >&2; if [ \"$1\" = in ]; then read -r word; echo \"len ${#word}\"; fi; exit 7";
    for input in [false, true] {
        let mut words = vec!["exec"];
        words.extend(input.then_some("-i"));
        words.extend(["web-0", "--", "sh", "-c", script, "sh", if input { "in" } else { "none" }]);
        let mut command = front.kubectl(&grant, &words);
        command.stdin(if input { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(b"s3cret\n").unwrap();
        }
        let done = child.wait_with_output().unwrap();
        let expected = if input { "out\nlen 6\n" } else { "out\n" };
        assert_eq!((done.status.code(), text(&done.stdout)), (Some(7), expected.to_owned()), "{}", text(&done.stderr));
        assert!(text(&done.stderr).contains("err\n"), "{}", text(&done.stderr));
    }
    let size = Winsize { ws_row: 43, ws_col: 132, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).unwrap();
    let end = || Stdio::from(terminal.slave.try_clone().unwrap());
    let mut command = front.kubectl(&grant, &["exec", "-it", "web-0", "--", "sh", "-c", script, "sh", "in"]);
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    drop(command);
    drop(terminal.slave);
    let mut keyboard = std::fs::File::from(terminal.master);
    let (mut screen, mut seen) = (keyboard.try_clone().unwrap(), Vec::new());
    let mut buffer = [0; 1024];
    // Linux reports an error, not an end, when nobody has the other side open.
    while let Ok(read @ 1..) = screen.read(&mut buffer) {
        let asks = |seen: &[u8]| seen.windows(3).any(|window| window == b"err");
        let had_asked = asks(&seen);
        seen.extend_from_slice(&buffer[..read]);
        if !had_asked && asks(&seen) {
            keyboard.write_all(b"s3cret\r").unwrap();
        }
    }
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert_eq!(child.wait().unwrap().code(), Some(7), "{seen}");
    assert!(seen.contains("len 6"), "{seen}");
    front.says(ALICE, &["end", &grant]);
    let ended = front.end_of(&grant);
    let kept = Kept::of(&front, &grant);
    assert_eq!(ended["event"]["log"], kept.head, "the trail has the head of the log");
    let sessions = kept.sessions();
    let ends: Vec<_> = sessions.iter().map(|session| (session.outcome.end, session.outcome.code)).collect();
    assert_eq!(ends, [(End::Whole, Some(101)); 3]);
    let [plain, typed, terminal] = &sessions[..] else { unreachable!() };
    assert_eq!((plain.command[4].as_str(), typed.command[4].as_str()), ("none", "in"));
    for (session, lines) in [(plain, &["out\n", "err\n"][..]), (typed, &["out\n", "err\n", "len 6\n"])] {
        assert!(lines.iter().all(|line| session.printed().contains(line)), "{}", session.printed());
        assert!(!session.printed().contains("s3cret"), "{}", session.printed());
    }
    assert!(sessions.iter().all(|session| session.events.iter().all(|(code, _)| code != "i")));
    // A terminal repeats what is typed, so there it is what was printed.
    assert!(
        terminal.printed().contains("s3cret") && terminal.printed().contains("len 6\r\n"),
        "{}",
        terminal.printed()
    );
    assert_eq!(terminal.events[0], ("r".to_owned(), "132x43".to_owned()));
}

/// A request to the pod of [`front`] with a grant of alice's, written byte by byte: the method, what follows the pod's path, and
/// the headers besides those of every upgrade.
pub(crate) fn raw(front: &Front<'_>, grant: &str) -> impl Fn(&str, &str, &[&str]) -> Command {
    let folder = scratch("curl");
    let credential = front.credential(grant);
    for (name, part) in ["crt", "key"].into_iter().zip(credential) {
        std::fs::write(folder.join(name), part).unwrap();
    }
    let root = front.bastion.dir.join("gateway/serving-root.crt");
    let pod = format!("https://127.0.0.1:{}/api/v1/namespaces/{}/pods/web-0", front.port, front.bastion.ns);
    move |method, path, headers| {
        let mut curl = Command::new("curl");
        // The key of RFC 6455's example: its value means nothing.
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        curl.args(["-s", "-i", "-N", "--max-time", "20", "--path-as-is", "--http1.1", "-X", method, "--cacert"])
            .arg(&root);
        curl.arg("--cert").arg(folder.join("crt")).arg("--key").arg(folder.join("key"));
        for header in ["Connection: Upgrade", "Sec-WebSocket-Version: 13", key].iter().chain(headers) {
            curl.args(["-H", header]);
        }
        curl.arg(format!("{pod}{path}"));
        curl
    }
}

/// Each way around a recording that was found in other gateways, and others like them: it is recorded, or refused.
#[test]
fn nothing_that_a_client_writes_avoids_the_recording() {
    let front = front("record: required");
    let grant = front.live("edit");
    let raw = raw(&front, &grant);
    let try_it = |method: &str, path: &str, headers: &[&str]| {
        let done = raw(method, path, headers).output().unwrap();
        let answer = String::from_utf8_lossy(&done.stdout).into_owned();
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0_u16);
        (code, answer)
    };
    let websocket = "Upgrade: websocket";
    let v5 = "Sec-WebSocket-Protocol: v5.channel.k8s.io";
    let echo = |word: &str| format!("?stdout=1&stderr=1&command=echo&command={word}");
    let mut recorded = Vec::new();
    for (number, (method, path, headers, expected)) in [
        ("GET", "/exec", &[websocket, v5][..], 101),
        ("GET", "/%65xec", &[websocket, v5], 101),
        ("GET", "/exec", &["upgrade: WebSocket", "sec-websocket-protocol: v4.channel.k8s.io"], 101),
        ("GET", "/exec", &[websocket, v5, "Kubectl-Command: kubectl cp"], 101),
        ("GET", "/exec", &[websocket, v5, "Sec-WebSocket-Extensions: permessage-deflate"], 101),
        ("GET", "/exec", &[websocket, "Sec-WebSocket-Protocol: v4.base64.channel.k8s.io, v5.channel.k8s.io"], 101),
        ("GET", "/exec/", &[websocket, v5], 400),
        ("GET", "/exec/x", &[websocket, v5], 400),
        ("GET", "//exec", &[websocket, v5], 400),
        ("GET", "/exec", &[websocket, "Sec-WebSocket-Protocol: v4.base64.channel.k8s.io"], 400),
        ("GET", "/exec", &[websocket, "Sec-WebSocket-Protocol: base64.channel.k8s.io"], 400),
        ("GET", "/exec", &[websocket, "Sec-WebSocket-Protocol: channel.k8s.io"], 400),
        ("GET", "/exec", &[websocket], 400),
        ("POST", "/exec", &[websocket, v5], 405),
        ("POST", "/exec", &["Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"], 400),
        ("GET", "/exec", &["Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"], 400),
        ("POST", "/exec", &["Upgrade: spdy/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"], 400),
        ("GET", "/exec", &["Upgrade: h2c", v5], 400),
    ]
    .into_iter()
    .enumerate()
    {
        let word = format!("w{number}");
        let (code, answer) = try_it(method, &format!("{path}{}", echo(&word)), headers);
        let is_as_expected = code == expected || (expected == 400 && code == 404);
        assert!(is_as_expected, "{method} {path} {headers:?}: {answer}");
        assert_eq!(answer.contains(&format!("{word}\n")), code == 101, "{method} {path} {headers:?}: {answer}");
        if code == 101 {
            recorded.push(word);
        }
    }
    front.says(ALICE, &["end", &grant]);
    front.end_of(&grant);
    let sessions = Kept::of(&front, &grant).sessions();
    let found: Vec<_> = sessions.iter().map(Recorded::printed).collect();
    let expected: Vec<_> = recorded.iter().map(|word| format!("{word}\n")).collect();
    assert_eq!(found, expected);
}

/// kubectl falls back to SPDY after any failed upgrade: the true reason survives, and a kubectl without WebSocket is told.
#[test]
fn spdy_is_refused_and_the_true_reason_of_a_failure_is_not_hidden() {
    let front = front("record: required");
    let grant = front.live("edit");
    let exec = |way: &str, pod: &str| {
        let mut command = front.kubectl(&grant, &["exec", pod, "--", "id"]);
        let done = command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", way).output().unwrap();
        (done.status.code(), text(&done.stderr))
    };
    let (code, why) = exec("true", "nobody");
    assert!(code != Some(0) && why.contains("pods \"nobody\" not found"), "{why}");
    let (code, why) = exec("false", "nobody");
    assert!(code != Some(0) && why.contains("pods \"nobody\" not found"), "{why}");
    let (code, why) = exec("false", "web-0");
    assert!(code != Some(0) && why.contains("jit: sessions of this grant are recorded"), "{why}");
    assert_eq!(exec("true", "web-0").0, Some(0));
    let viewer = front.live("view");
    for way in ["true", "false"] {
        let mut command = front.kubectl(&viewer, &["exec", "web-0", "--", "id"]);
        let done = command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", way).output().unwrap();
        let why = text(&done.stderr);
        assert!(why.contains("User \"jit:alice\" cannot") && !done.status.success(), "{way}: {why}");
    }
}

/// What a person attaches to is a session like an exec; a port-forward has a line, and no recording.
#[test]
fn attach_is_a_session_and_a_forwarded_port_has_a_line() {
    let front = front("record: required");
    let grant = front.live("edit");
    let mut attach = front.kubectl(&grant, &["attach", "-i", "web-0"]);
    let mut child = attach.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut stdin, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    stdin.write_all(b"hello\n").unwrap();
    let mut heard = [0; 12];
    out.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"heard hello\n");
    let (mut forward, _) = front.streams(&grant, &["port-forward", "web-0", ":80"]);
    front.says(ALICE, &["end", &grant]);
    assert!(!child.wait().unwrap().success());
    forward.wait().unwrap();
    assert_eq!(front.end_of(&grant)["event"]["cut"], 2);
    let kept = Kept::of(&front, &grant);
    let sessions = kept.sessions();
    assert_eq!(sessions.len(), 1);
    assert_eq!((sessions[0].outcome.end, sessions[0].printed().as_str()), (End::Cut, "heard hello\n"));
    let forwards = |entry: &&Entry| matches!(entry, Entry::Opened { asked, recorded: false, .. } if asked.resource.as_deref() == Some("pods/portforward"));
    assert_eq!(kept.entries.iter().filter(forwards).count(), 1);
}

/// Each line of the log is one event of the API server's audit log; changes are there before they are sent on.
#[test]
fn each_line_is_an_event_of_the_audit_log() {
    let front = front("record: metadata");
    let grant = front.live("edit");
    front.kubectl_says(&grant, &["create", "configmap", "made", "--from-literal=a=b"]);
    front.kubectl_says(&grant, &["get", "configmaps"]);
    front.kubectl_says(&grant, &["exec", "web-0", "--", "true"]);
    front.kubectl_says(&grant, &["delete", "configmap", "made"]);
    front.says(ALICE, &["end", &grant]);
    front.end_of(&grant);
    let kept = Kept::of(&front, &grant);
    assert!(kept.sessions().is_empty());
    let what = |entry: &Entry| match entry {
        Entry::Opened { id, asked, .. } => Some((id.clone(), true, asked.verb.clone(), asked.resource.clone()?)),
        Entry::Served { id, asked, .. } => Some((id.clone(), false, asked.verb.clone(), asked.resource.clone()?)),
        _ => None,
    };
    let lines: Vec<_> = kept.entries.iter().filter_map(what).collect();
    for (is_opened, verb, resource) in [
        (true, "create", "configmaps"),
        (false, "list", "configmaps"),
        (true, "get", "pods/exec"),
        (true, "delete", "configmaps"),
    ] {
        let found = lines
            .iter()
            .find(|(_, opened, word, of)| (*opened, word.as_str(), of.as_str()) == (is_opened, verb, resource));
        let (id, ..) = found.unwrap_or_else(|| panic!("{verb} {resource}: {lines:?}"));
        let event = until("the audit log has it", || {
            let log = std::fs::read_to_string(&front.bastion.plane.audit).unwrap_or_default();
            let event = log.lines().find(|line| line.contains(id.as_str()))?;
            serde_json::from_str::<Value>(event).ok()
        });
        assert_eq!(event["impersonatedUser"]["username"], "jit:alice", "{event}");
        assert_eq!(event["objectRef"]["resource"], resource.split('/').next().unwrap(), "{event}");
    }
}

/// The gateway is killed in the middle of a session: when it is back, what was written verifies, and the trail learns of it.
#[test]
fn what_was_recorded_survives_the_gateway() {
    let mut front = front("record: required");
    let grant = front.live("edit");
    let script = "echo begun; while :; do sleep 0.1; done";
    let (mut shell, mut out) = front.streams(&grant, &["exec", "web-0", "--", "sh", "-c", script]);
    // What a person has seen is in the file already.
    front.kill();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(!shell.wait().unwrap().success());
    front.serve();
    let kept = until("the log says how it ended", || {
        let kept = Kept::of(&front, &grant);
        kept.entries.iter().any(|entry| matches!(entry, Entry::Closed { .. })).then_some(kept)
    });
    let sessions = kept.sessions();
    assert_eq!((sessions[0].outcome.end, sessions[0].printed().as_str()), (End::Interrupted, "begun\n"));
    let logged = |entry: &Value| {
        let event = &entry["event"];
        entry["grant"] == grant && event["kind"] == "logged" && event["sha256"] == kept.head["sha256"]
    };
    // A grant gets one such event in ten seconds, and may just have had one.
    until_within(Duration::from_secs(30), "the trail has the head", || front.bastion.trail().into_iter().find(logged));
}

/// With a recipient in the gateway's configuration nothing that was printed can be read on the disk. A gateway that is killed
/// loses none of it: it verifies without the key, and with the key `jitd` plays it, and so do the distribution's tools.
#[test]
fn a_sealed_recording_survives_the_gateway_and_opens_for_its_recipient() {
    let mut front = front("record: required");
    let key = new_key();
    let recipient = text(&Command::new("age-keygen").arg("-y").arg(&key).output().unwrap().stdout);
    let config = front.bastion.dir.join("gateway.yaml");
    let mut written: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    written["recordings"] = json!({ "recipients": [recipient.trim()] });
    std::fs::write(&config, written.to_string()).unwrap();
    front.kill();
    front.serve();
    let grant = front.live("edit");
    let script = "echo begun; echo s3cret; while :; do sleep 0.1; done";
    let (mut shell, mut out) = front.streams(&grant, &["exec", "web-0", "--", "sh", "-c", script]);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "s3cret\n");
    front.kill();
    drop(out);
    assert!(!shell.wait().unwrap().success());
    front.serve();
    let kept = until("the log says how it ended", || {
        let kept = Kept::of(&front, &grant);
        kept.entries.iter().any(|entry| matches!(entry, Entry::Closed { .. })).then_some(kept)
    });
    let id = kept.entries.iter().find_map(|entry| match entry {
        Entry::Opened { id, recorded: true, .. } => Some(id.clone()),
        _ => None,
    });
    let id = id.unwrap();
    let sealed = kept.folder.join(format!("{id}.cast.age"));
    assert!(!String::from_utf8_lossy(&std::fs::read(&sealed).unwrap()).contains("begun"));
    assert!(!kept.folder.join(format!("{id}.cast")).exists());

    let folder = kept.folder.parent().unwrap();
    let jitd = |words: &[&str]| {
        let mut jitd = Command::new(crate::plane::root().join("bin/jitd"));
        let done = jitd.args(words).arg("--folder").arg(folder).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout)
    };
    assert!(jitd(&["audit", "sessions"]).contains("yes"));
    assert_eq!(jitd(&["audit", "play", &id, "--identity", key.to_str().unwrap()]), "begun\ns3cret\n");
    // As docs/recordings.md has it.
    let page = std::fs::read_to_string(repository().join("docs/recordings.md")).unwrap();
    let command = page.lines().find_map(|line| line.strip_prefix("$ while read")).unwrap();
    let mut bash = Command::new("bash");
    bash.args([
        "-c",
        &format!("while read{command}").replace("key.txt", "\"$1\"").replace("SESSION.cast.age", "\"$2\""),
    ]);
    let opened = bash.arg("bash").arg(&key).arg(&sealed).output().unwrap();
    let opened = format!("{}{}", text(&opened.stdout), text(&opened.stderr));
    assert!(opened.lines().count() >= 2 && opened.contains("\"o\"") && opened.contains("s3cret\\n"), "{opened}");
}

/// The disk of the recordings is full: the session that is recorded ends with a sentence and nothing new begins; a grant that
/// records nothing goes on.
#[test]
fn a_full_disk_ends_what_it_cannot_record_and_nothing_else() {
    let script = "mkdir -p \"$0\" && mount -t tmpfs -o size=300k none \"$0\" && exec \"$@\"";
    let free = "record: required\n  - {name: free, who: [payments-oncall], clusters: [play], namespaces: [NS], roles: [view], \
                 record: off, maxDuration: 10m, approval: [{groups: [payments-leads]}]}";
    let mut front = front(free);
    front.kill();
    let mut gateway = Command::new("unshare");
    gateway.args(["--mount", "sh", "-euc", script]).arg(front.bastion.dir.join("gateway/sessions"));
    gateway.arg(crate::plane::root().join("bin/jit-gateway"));
    front.serve_as(gateway);
    let (grant, free) = (front.live("edit"), front.live("view"));
    let (mut stays, mut of_free) = front.streams(&free, &["get", "configmaps", "-w", "-o", "name"]);
    let flood = "while :; do head -c 10000 /dev/zero | tr '\\0' x; done";
    let begun = Instant::now();
    let done = front.kubectl(&grant, &["exec", "web-0", "--", "sh", "-c", flood]).output().unwrap();
    let why = text(&done.stderr);
    // In the middle of a frame there is no place for a sentence.
    let is_told =
        why.contains("jit: the recording of this session cannot be written") || why.contains("connection reset");
    assert!(!done.status.success() && is_told, "{why}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    // What could not be written whole was taken back, so there may be room again.
    let sessions = front.bastion.dir.join("gateway/sessions");
    let inside = PathBuf::from(format!("/proc/{}/root{}", front.pid(), sessions.display()));
    let mut filler = std::fs::File::create(inside.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    let refused = front.kubectl(&grant, &["exec", "web-0", "--", "id"]).output().unwrap();
    let why = text(&refused.stderr);
    assert!(!refused.status.success() && why.contains("the log of the grant cannot be written"), "{why}");
    let path = format!("/api/v1/namespaces/{}/configmaps", front.bastion.ns);
    front.bastion.admin.create(&path, &json!({ "metadata": { "name": "afterwards" } }));
    let mut line = String::new();
    while !line.contains("afterwards") {
        line.clear();
        assert_ne!(of_free.read_line(&mut line).unwrap(), 0, "the watch of the other grant ended");
    }
    drop(stays.kill());
    stays.wait().unwrap();
}

/// A session that nobody uses ends, with a sentence; one that is used goes on.
#[test]
fn an_idle_session_ends() {
    let front = front("idle: 5s");
    let grant = front.live("edit");
    let exec = |script: &'static str| front.kubectl(&grant, &["exec", "web-0", "--", "sh", "-c", script]).output();
    let (idle, used) = std::thread::scope(|scope| {
        let idle = scope.spawn(|| exec("echo begun; sleep 60").unwrap());
        let used = scope.spawn(|| exec("for i in 1 2 3; do echo $i; sleep 3; done").unwrap());
        (idle.join().unwrap(), used.join().unwrap())
    });
    assert_eq!((used.status.code(), text(&used.stdout)), (Some(0), "1\n2\n3\n".to_owned()));
    let why = text(&idle.stderr);
    assert!(!idle.status.success() && why.contains("jit: this session was not used for 5s"), "{why}");
}

/// The power that is in a body is in the log, whatever form kubectl gives it; nothing else of it is.
#[test]
fn what_of_a_body_gives_power_is_logged() {
    let front = front("record: metadata");
    let grant = front.live("edit");
    let ns = &front.bastion.ns;
    let folder = scratch("bodies");
    let pod = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": ns },
            "spec": { "nodeName": "nowhere", "hostPID": true, "containers": [{
                "name": "main", "image": "busybox", "command": ["sh", "-c", "id"],
                "env": [{ "name": "KEY", "value": "s3cret" }], "securityContext": { "capabilities": { "add": ["NET_ADMIN"] } },
            }] },
        })
    };
    for name in ["created", "applied"] {
        std::fs::write(folder.join(name), pod(name).to_string()).unwrap();
    }
    let file = |name: &str| folder.join(name).display().to_string();
    front.kubectl_says(&grant, &["create", "-f", &file("created")]);
    front.kubectl_says(&grant, &["apply", "--server-side", "-f", &file("applied")]);
    // The role does not allow it, and that it was tried is in the log with what it would have run.
    let debug =
        front.kubectl(&grant, &["debug", "web-0", "--image=alpine", "-c", "dbg", "--", "true"]).output().unwrap();
    assert!(text(&debug.stderr).contains("cannot patch resource \"pods/ephemeralcontainers\""));
    front
        .kubectl_says(&grant, &["create", "secret", "generic", "s", "--type=example.com/x", "--from-literal=a=s3cret"]);
    front.says(ALICE, &["end", &grant]);
    front.end_of(&grant);
    let kept = Kept::of(&front, &grant);
    let contents: Vec<_> = kept
        .entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Opened { asked, .. } => Some((asked.resource.clone()?, asked.content.clone()?)),
            _ => None,
        })
        .collect();
    let all = format!("{contents:#?}");
    for (resource, content) in &contents {
        assert_eq!(content.unread, None, "{all}");
        if resource == "pods" {
            let main = &content.containers[0];
            assert_eq!((main.image.as_deref(), main.command.len()), (Some("busybox"), 3), "{all}");
            assert_eq!(main.capabilities, ["NET_ADMIN"], "{all}");
            assert_eq!(content.node, ["hostPID", "nodeName nowhere"], "{all}");
        }
    }
    let debugs = |(resource, content): &&(String, _)| {
        let content: &jit_wire::session::Content = content;
        resource == "pods/ephemeralcontainers"
            && content.containers.iter().any(|one| one.image.as_deref() == Some("alpine"))
    };
    assert_eq!(contents.iter().filter(|(resource, _)| resource == "pods").count(), 2, "{all}");
    assert!(contents.iter().any(|one| debugs(&one)), "{all}");
    let secret = contents.iter().find(|(resource, _)| resource == "secrets").unwrap();
    assert_eq!(secret.1.secret_type.as_deref(), Some("example.com/x"), "{all}");
    assert!(!std::fs::read_to_string(kept.folder.join(LOG)).unwrap().contains("s3cret"));
}

//! Identity on the host: the trail records the account that a person logged in with, and one human is not counted as
//! two people. And several bastions on one cluster: each changes only its own objects.
//!
//! A login uid is set as pam_loginuid(8) sets it, by a root that then becomes the person, as sshd and sudo do.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::bastion::{
    ADMIN, ALICE, ALICE_TOO, BOB, Bastion, CAROL, DAVE, ERIN, Key, Options, Person, ROOT, STRANGER, path, text,
};
use crate::plane::{Admin, Plane, root, until};

/// Curl of `person`, in a session that `login` had logged in to.
fn call(bastion: &Bastion<'_>, login: Person, person: Person, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut curl = after_login(login, person, "curl");
    curl.args(["--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}", "--request", method])
        .arg("--unix-socket")
        .arg(bastion.socket())
        .arg(format!("http://jitd{path}"));
    if !body.is_null() {
        curl.args(["--header", "content-type: application/json", "--data-binary", &body.to_string()]);
    }
    let Output { status, stdout, stderr } = curl.output().unwrap();
    assert!(status.success(), "{}", text(&stderr));
    let told = text(&stdout);
    let (body, status) = told.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap())
}

/// A command as `person` with the login uid of `login`.
fn after_login(login: Person, person: Person, program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        r#"echo "$1" >/proc/self/loginuid && uid=$2 && shift 2 && exec setpriv --reuid "$uid" --regid "$uid" --clear-groups -- "$@""#,
        "sh",
        &login.uid.to_string(),
        &person.uid.to_string(),
        program,
    ]);
    command
}

fn request(bastion: &Bastion<'_>, login: Person, person: Person, role: &str) -> Value {
    let mut ask = bastion.ask("5m");
    ask["role"] = json!(role);
    let body = json!({ "ask": ask, "csr": Key::new().csr() });
    let (status, grant) = call(bastion, login, person, "POST", "/v1/grants", &body);
    assert_eq!(status, 201, "{grant}");
    grant
}

fn approve(bastion: &Bastion<'_>, login: Person, person: Person, grant: &Value) -> (u16, Value) {
    call(bastion, login, person, "POST", &path(grant, "/approve"), &json!({ "digest": grant["digest"] }))
}

#[track_caller]
fn refused((status, answer): (u16, Value), expected: u16, code: &str) -> String {
    assert_eq!((status, answer["code"].as_str().unwrap()), (expected, code), "{answer}");
    answer["detail"].as_str().unwrap().to_owned()
}

/// The trail has the login account beside each action, covered by the chain; without a login it has none.
#[test]
fn the_trail_records_the_login_account() {
    let bastion = Bastion::start();
    let grant = request(&bastion, ALICE_TOO, ALICE, "view");
    assert_eq!(approve(&bastion, DAVE, BOB, &grant).0, 200);
    let (status, _) = bastion.post(ADMIN, &path(&grant, "/revoke"), &json!({ "reason": "enough" }));
    assert_eq!(status, 200);

    let trail = bastion.trail();
    let login = |kind: &str| {
        let entry = trail.iter().find(|entry| entry["event"]["kind"] == kind).unwrap();
        entry.get("login").cloned().unwrap_or(Value::Null)
    };
    assert_eq!(login("requested"), json!({ "uid": ALICE_TOO.uid, "person": "alice" }));
    assert_eq!(login("approved"), json!({ "uid": DAVE.uid, "person": "dave" }));
    // This process has no login of its own, so what it starts has none either.
    assert_eq!(std::fs::read_to_string("/proc/self/loginuid").unwrap(), "4294967295");
    assert_eq!(login("ended"), Value::Null);
    assert_eq!(login("started"), Value::Null);
    assert!(text(&bastion.jitd(&["audit", "verify"]).stdout).contains("the chain holds"));

    // Another account of her own is hers; bob's session was dave's.
    let shown = bastion.show(ERIN, &grant);
    assert_eq!(shown["cameInAs"], json!([{ "who": "bob", "loginUid": DAVE.uid, "login": "dave" }]));
    let page = text(&bastion.login(ERIN, &["show", grant["id"].as_str().unwrap()]).stdout);
    assert!(page.contains(&format!("bob logged in as dave, login uid {}", DAVE.uid)), "{page}");
    let events = text(&bastion.login(ERIN, &["events", grant["id"].as_str().unwrap()]).stdout);
    assert!(events.contains(&format!("bob (came in as dave, {})", DAVE.uid)), "{events}");
}

/// A login as root or as an unknown account is recorded too, and refuses nothing.
#[test]
fn a_login_of_no_person_is_recorded_and_refuses_nothing() {
    let bastion = Bastion::start();
    for (login, whose) in [(ROOT, json!("root")), (STRANGER, Value::Null)] {
        let grant = request(&bastion, login, ALICE, "view");
        let shown = bastion.show(BOB, &grant);
        assert_eq!(shown["cameInAs"][0]["loginUid"], login.uid);
        assert_eq!(shown["cameInAs"][0]["login"], whose);
        assert_eq!(approve(&bastion, login, BOB, &grant).0, 200, "{login:?}");
    }
}

/// A requester cannot approve by becoming an approver, nor can an approver request by becoming somebody else.
#[test]
fn nobody_answers_their_own_request_as_another_account() {
    let bastion = Bastion::start();
    for (asks, asked_as, answers, answered_as, names) in [
        (ALICE, ALICE, ALICE, BOB, "`bob` logged in as `alice`"),
        (ALICE, ALICE, ALICE_TOO, BOB, "`bob` logged in as `alice`"),
        (BOB, ALICE, BOB, BOB, "`alice` logged in as `bob`"),
        (DAVE, ALICE, DAVE, BOB, "`alice` logged in as `dave` and `bob` logged in as `dave`"),
    ] {
        let grant = request(&bastion, asks, asked_as, "view");
        let why = refused(approve(&bastion, answers, answered_as, &grant), 403, "self-approval");
        assert!(why.contains(names), "{why}");
        let denied = json!({ "reason": "no" });
        refused(call(&bastion, answers, answered_as, "POST", &path(&grant, "/deny"), &denied), 403, "self-approval");
        assert_eq!(bastion.show(ERIN, &grant)["phase"], "pending");
        let trail = bastion.trail();
        let last = trail.iter().rfind(|entry| entry["event"]["kind"] == "refused").unwrap();
        assert_eq!((&last["event"]["code"], &last["login"]["uid"]), (&json!("self-approval"), &json!(answers.uid)));
        assert_eq!(approve(&bastion, CAROL, CAROL, &grant).0, 200, "somebody else still may");
    }
}

/// A caller that connects and exits hides its login: it can answer nothing and request nothing that others would have
/// to answer, the trail records that the login was unknown, and releasing access works.
#[test]
fn a_caller_with_an_unknown_login_answers_nothing() {
    let bastion = Bastion::start();
    let grant = request(&bastion, ALICE, ALICE, "view");
    let hidden = |person: Person, path: &str, body: &Value| {
        // The child connects and ends, and its parent goes on with the connection.
        let script = r#"
import json, os, socket, sys
ours, theirs = socket.socketpair()
child = os.fork()
if child == 0:
    wire = socket.socket(socket.AF_UNIX)
    wire.connect(sys.argv[1])
    socket.send_fds(theirs, [b'x'], [wire.fileno()])
    os._exit(0)
os.waitpid(child, 0)
print('gone', flush=True)
_, fds, _, _ = socket.recv_fds(ours, 1, 1)
wire = socket.socket(fileno=fds[0])
body = sys.argv[3].encode()
head = f'POST {sys.argv[2]} HTTP/1.1\r\nhost: jitd\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n'
wire.sendall(head.encode() + body)
said = b''
while piece := wire.recv(65536):
    said += piece
head, body = said.split(b'\r\n\r\n', 1)
print(head.split()[1].decode(), body.decode())
"#;
        let mut python = after_login(ALICE, person, "/usr/bin/python3");
        python.args(["-ISc", script]).arg(bastion.socket()).args([path, &body.to_string()]);
        let signal = |name: &str| {
            let sent = Command::new("kill").args([name, &bastion.pid().to_string()]).status().unwrap();
            assert!(sent.success());
        };
        // The kernel takes the connection, and the daemon gets it when whoever connected has gone.
        signal("-STOP");
        let mut calling = python.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(calling.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        signal("-CONT");
        assert_eq!(line, "gone\n");
        line.clear();
        said.read_line(&mut line).unwrap();
        assert!(calling.wait().unwrap().success());
        let (status, body) = line.split_once(' ').unwrap();
        refused((status.parse().unwrap(), serde_json::from_str(body).unwrap()), 403, "login-unknown")
    };
    let digest = json!({ "digest": grant["digest"] });
    let why = hidden(BOB, &path(&grant, "/approve"), &digest);
    assert!(why.contains("the login of `bob` is unknown"), "{why}");
    hidden(BOB, &path(&grant, "/deny"), &json!({ "reason": "no" }));
    let mut ask = bastion.ask("5m");
    ask["role"] = json!("view");
    hidden(CAROL, "/v1/grants", &json!({ "ask": ask, "csr": Key::new().csr() }));
    assert_eq!(bastion.show(ERIN, &grant)["phase"], "pending");
    let trail = bastion.trail();
    let unknown = trail.iter().filter(|entry| entry["login"] == json!({ "unknown": true }));
    assert_eq!(unknown.map(|entry| entry["event"]["code"].as_str().unwrap()).collect::<Vec<_>>(), ["login-unknown"; 3]);
    let events = text(&bastion.login(ERIN, &["events", grant["id"].as_str().unwrap()]).stdout);
    assert!(events.contains("bob (login unknown)"), "{events}");
    assert_eq!(approve(&bastion, CAROL, CAROL, &grant).0, 200, "somebody else still may");
}

/// If /proc hides other processes from the daemon, nobody can answer; the log, the refusal and the doctor say why, and
/// how to correct it.
#[test]
fn a_host_that_hides_processes_is_reported() {
    let mut bastion = Bastion::prepared(Plane::shared(), Options::default());
    let mut daemon = Command::new("unshare");
    // Who may trace everybody, or is in the group 0, sees all of them.
    let hidden = r#"mount -t proc -o hidepid=2 proc /proc && exec setpriv --bounding-set=-sys_ptrace --regid 1 --clear-groups -- "$@""#;
    daemon.args(["--mount", "sh", "-c", hidden, "sh"]).arg(root().join("bin/jitd"));
    bastion.serve_as(daemon);
    assert!(bastion.log().contains("/proc hides the processes of others from the daemon"), "{}", bastion.log());
    assert!(bastion.log().contains("hint: remove `ProtectProc=` from the drop-ins"), "{}", bastion.log());
    let body = json!({ "ask": bastion.ask("5m"), "csr": Key::new().csr() });
    let (status, refused) = bastion.post(ALICE, "/v1/grants", &body);
    assert_eq!((status, &refused["code"]), (403, &json!("login-unknown")), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("`jitd doctor`"), "{refused}");
    let told = text(&bastion.jitd(&["doctor", "-o", "json"]).stdout);
    let findings: Vec<Value> = serde_json::from_str(&told).unwrap();
    let people = findings.iter().find(|finding| finding["check"] == "people").unwrap();
    assert_eq!(people["state"], "fault");
    assert!(people["found"].as_str().unwrap().contains("mounted with hidepid=invisible"), "{people}");
    assert!(people["fix"].as_str().unwrap().contains("`hidepid=0`"), "{people}");
}

/// Where two people have to approve, one person cannot be both.
#[test]
fn one_login_counts_as_one_person() {
    let bastion = Bastion::start();
    for (first, second, second_as) in [((BOB, BOB), BOB, CAROL), ((CAROL, BOB), CAROL, CAROL)] {
        let grant = request(&bastion, ALICE, ALICE, "edit");
        assert_eq!(approve(&bastion, first.0, first.1, &grant).1["phase"], "pending");
        let why = refused(approve(&bastion, second, second_as, &grant), 409, "already-agreed");
        assert!(why.contains("as `bob`"), "{why}");
        // Who was behind the first yes stays behind it, however she comes in later.
        let later = approve(&bastion, ERIN, CAROL, &grant);
        if first == (BOB, BOB) {
            assert_eq!(later.1["phase"], "approved");
        } else {
            refused(later, 409, "already-agreed");
        }
    }
}

// ---- whatever a directory calls people and groups ----

/// A daemon on a host with these accounts and groups, which nothing else sees.
pub(crate) fn on_a_host<'a>(passwd: &[u8], group: &str, policy: &str) -> Bastion<'a> {
    let mut bastion = Bastion::prepared(Plane::shared(), Options { policy: policy.to_owned(), ..Options::default() });
    let mut daemon = Command::new("unshare");
    let mounted = r#"mount --bind "$0" /etc/passwd && mount --bind "$1" /etc/group && shift && exec "$@""#;
    daemon.args(["--mount", "sh", "-c", mounted]);
    for (name, first, text) in
        [("passwd", "root:x:0:0::/:/bin/sh\n", passwd), ("group", "root:x:0:\n", group.as_bytes())]
    {
        let file = bastion.dir.join(name);
        std::fs::write(&file, [first.as_bytes(), text].concat()).unwrap();
        daemon.arg(&file);
    }
    daemon.arg(root().join("bin/jitd"));
    bastion.serve_as(daemon);
    bastion
}

/// A person can have any name that the host accepts, to request, approve and collect; the cluster's audit log has the
/// name. RFC 5280 allows 64 characters for a common name (appendix A.1, `ub-common-name`), but neither Go nor OpenSSL
/// enforces that.
#[test]
fn every_account_name_can_request_and_approve() {
    let long = format!("a.{}@corp.example.com", "very-".repeat(12));
    // As long as a name may be, and three times that when it is written; two that differ in their last byte only.
    let (longest, other) = ([vec![0xff; 254], vec![b'a']].concat(), [vec![0xff; 254], vec![b'b']].concat());
    let written = |last: &str| format!("{}{last}", "%FF".repeat(254));
    let (longest_written, other_written) = (written("a"), written("b"));
    let names: [(&[u8], &str); 8] = [
        (b"CORP\\alice", "CORP\\alice"),
        (b"o'brien", "o'brien"),
        ("j.müller".as_bytes(), "j.müller"),
        (b"anna+ops", "anna+ops"),
        (b"svc deploy", "svc deploy"),
        (long.as_bytes(), &long),
        (&longest, &longest_written),
        (&other, &other_written),
    ];
    let accounts: Vec<u8> = names
        .iter()
        .zip(430_001..)
        .flat_map(|((name, _), uid)| [name, format!(":x:{uid}:430000::/:/bin/sh\n").as_bytes()].concat())
        .collect();
    let policy = "rules:\n- {name: all, who: [Leads Of Payments], clusters: [play], namespaces: [NS], roles: [view], maxDuration: 10m, approval: [{groups: [Leads Of Payments]}]}\n";
    let bastion = on_a_host(&accounts, "Leads Of Payments:x:430000:\n", policy);
    let people: Vec<Person> = (430_001..).map(|uid| Person { name: "somebody", uid }).take(names.len()).collect();
    for (number, (_, name)) in names.iter().enumerate() {
        let (asks, answers) = (people[number], people[(number + 1) % people.len()]);
        let key = Key::new();
        let grant = bastion.request(asks, &bastion.ask("5m"), &key);
        assert_eq!(grant["requester"], *name);
        assert_eq!(bastion.approve(asks, &grant).1["code"], "self-approval");
        assert_eq!(bastion.approve(answers, &grant).0, 200);
        assert_ne!(bastion.certificate(answers, &grant, &key).0, 200, "it is not the other's");
        let (status, certificate) = bastion.certificate(asks, &grant, &key);
        assert_eq!(status, 200, "{certificate}");
        let chain = certificate["certificate"].as_str().unwrap();
        let client = Admin::with_certificate(bastion.plane, chain, &key.pem());
        let mark = format!("seen-by-{number}");
        let path = format!("/api/v1/namespaces/{}/configmaps/{mark}", bastion.ns);
        assert_eq!(client.get(&path).0, 404);
        assert_eq!(by_openssl(&bastion, chain, &key, &path), "404");
        let line = until("the audit log has it", || {
            let log = std::fs::read_to_string(&bastion.plane.audit).unwrap();
            let line = log.lines().find(|line| line.contains(&mark) && line.contains(&bastion.ns))?;
            serde_json::from_str::<Value>(line).ok()
        });
        assert_eq!(line["user"]["username"], format!("jit:{name}"));
    }
}

/// A person whose name is shared or too long is refused at the first call.
#[test]
fn a_shared_or_too_long_name_is_refused_at_once() {
    let long = "x".repeat(256);
    let accounts = format!(
        "corp.alice:x:430001:430000::/:/bin/sh\ncorp.alice:x:430002:430000::/:/bin/sh\n{long}:x:430003:430000::/:/bin/sh\n"
    );
    let policy = "rules:\n- {name: all, who: [everybody], clusters: [play], namespaces: [NS], roles: [view], maxDuration: 10m, approval: [{groups: [everybody]}]}\n";
    let bastion = on_a_host(accounts.as_bytes(), "everybody:x:430000:\n", policy);
    let [first, second, third] = [430_001, 430_002, 430_003].map(|uid| Person { name: "somebody", uid });
    assert_eq!(whoami(&bastion, first)["name"], "corp.alice");
    for (person, why) in [(second, "the name of uid 430002 and of uid 430001"), (third, "does not have 1 to 255 bytes")]
    {
        let (status, told) = bastion.get(person, "/v1/whoami");
        assert_eq!((status, &told["code"]), (403, &json!("unknown-caller")), "{told}");
        assert!(told["detail"].as_str().unwrap().contains(why), "{told}");
        assert!(told["hint"].as_str().unwrap().contains("under `people` in config.yaml"), "{told}");
    }
    // Nor does it make two humans of one: who came in by the second account has the name of the first.
    let grant = bastion.request(first, &bastion.ask("5m"), &Key::new());
    refused(approve(&bastion, second, first, &grant), 403, "self-approval");
}

/// The status that curl gets, which checks certificates with OpenSSL, as Python's client does.
fn by_openssl(bastion: &Bastion<'_>, chain: &str, key: &Key, path: &str) -> String {
    let (cert, file) = (bastion.dir.join("client.crt"), bastion.dir.join("client.key"));
    std::fs::write(&cert, chain).unwrap();
    std::fs::write(&file, key.pem()).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "60", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    curl.arg("--cacert").arg(&bastion.plane.ca).arg("--cert").arg(cert).arg("--key").arg(file);
    let Output { stdout, stderr, .. } = curl.arg(format!("{}{path}", bastion.plane.server)).output().unwrap();
    text(&stdout) + &text(&stderr)
}

/// A group counts whatever its size, and a group without a name does not avoid a denial for groups.
#[test]
fn groups_of_any_size_count() {
    let company: String = (0..80_000).map(|number| format!("employee{number:05},")).collect();
    let accounts = "corp.carol:x:430001:430000::/:/bin/sh\ncorp.erin:x:430003:499999::/:/bin/sh\n";
    let groups =
        format!("everybody:x:430000:{company}corp.carol\njit-admins:x:430009:{company}corp.carol\nlast:x:430010:\n");
    let policy = "deny:\n- {name: not-them, who: [contractors], why: they are not of us}\nrules:\n- {name: all, who: [everybody, '#499999'], clusters: [play], namespaces: [NS], roles: [view], maxDuration: 10m, approval: [{groups: [last]}]}\n";
    let bastion = on_a_host(accounts.as_bytes(), &groups, policy);
    let [carol, erin] = [430_001, 430_003].map(|uid| Person { name: "somebody", uid });
    assert_eq!(whoami(&bastion, carol)["groups"], json!(["everybody", "jit-admins"]));
    let body = json!({ "ask": bastion.ask("5m"), "csr": Key::new().csr() });
    let (status, refused) = bastion.post(erin, "/v1/grants", &body);
    assert_eq!((status, &refused["code"]), (503, &json!("name-service-unavailable")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("no name for the group #499999 of `corp.erin`"), "{refused}");
    assert_eq!(whoami(&bastion, erin)["groups"], json!(["#499999"]));
}

/// A person in more than a thousand groups does not wait longer than others, and is found also where a whole company is
/// listed before the groups: a search through all of it for each group would exceed the timeout of the name service.
#[test]
fn any_number_of_groups_counts() {
    let company: String = (0..80_000).map(|number| format!("employee{number:05},")).collect();
    let teams: String = (0..1_500).map(|number| format!("team{number}:x:{}:corp.dave\n", 440_000 + number)).collect();
    let accounts = "corp.dave:x:430002:430000::/:/bin/sh\n";
    let policy = "rules:\n- {name: all, who: [everybody], clusters: [play], namespaces: [NS], roles: [view], maxDuration: 10m, approval: [{groups: [team7]}]}\n";
    let dave = Person { name: "somebody", uid: 430_002 };
    for companies in [0, 2] {
        let before: String =
            (0..companies).map(|number| format!("company{number}:x:43000{}:{company}\n", 1 + number)).collect();
        let bastion = on_a_host(accounts.as_bytes(), &format!("everybody:x:430000:\n{before}{teams}"), policy);
        for _ in 0..2 {
            assert_eq!(whoami(&bastion, dave)["groups"].as_array().unwrap().len(), 1_501);
        }
        let before = processor_time(&bastion);
        for _ in 0..20 {
            assert_eq!(bastion.get(dave, "/v1/whoami").0, 200);
        }
        let each = (processor_time(&bastion) - before) / 20;
        assert!(companies > 0 || each < std::time::Duration::from_millis(50), "{each:?}");
    }
}

/// The processor time of the daemon until now, independent of other load on the host (proc_pid_stat(5)).
fn processor_time(bastion: &Bastion<'_>) -> std::time::Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", bastion.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    std::time::Duration::from_millis(
        ticks * 1_000 / nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).unwrap().unwrap().cast_unsigned(),
    )
}

#[track_caller]
fn whoami(bastion: &Bastion<'_>, person: Person) -> Value {
    let (status, body) = bastion.get(person, "/v1/whoami");
    assert_eq!(status, 200, "{body}");
    body
}

// ---- several bastions on one cluster ----

/// Two daemons of two hosts on one API server: neither acts on what is ended, changed or due at the other.
#[test]
fn each_bastion_ends_only_its_own() {
    let (one, other) = (Bastion::start(), Bastion::start());
    let (kept, kept_too) = (one.live(&one.ask("5m")), other.live(&other.ask("5m")));
    let look_on = || {
        assert_eq!((one.look(&kept, &one.ns), other.look(&kept_too, &other.ns)), (200, 200));
        for (bastion, access) in [(&one, &kept), (&other, &kept_too)] {
            assert_eq!(bastion.show(ERIN, &access.grant)["phase"], "live");
        }
    };
    // Expired at one.
    let short = one.live(&one.ask("5s"));
    assert_eq!(one.wait_for(&short.grant, &["ended"])["endCause"], "expired");
    look_on();
    // A role of one changes, and only what has it ends.
    let mut ask = one.ask("5m");
    ask["role"] = json!(format!("{}-debug", one.ns));
    let drifting = one.live(&ask);
    one.kubectl(&[
        "patch",
        "clusterrole",
        &format!("{}-debug", one.ns),
        "--type=json",
        r#"--patch=[{"op": "add", "path": "/rules/-", "value": {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}}]"#,
    ]);
    assert_eq!(one.wait_for(&drifting.grant, &["ended"])["endCause"], "drifted");
    look_on();
    // Neither finds a binding of the other when it compares.
    for bastion in [&one, &other] {
        assert_eq!(bastion.metric("unknown_bindings"), 0);
        assert!(!bastion.log().contains("has our label"), "{}", bastion.log());
    }
}

/// A bastion that was copied with its host's name finds the other one's bindings, reports that another daemon may have
/// this name, and removes none of them.
#[test]
fn two_bastions_with_one_name_are_reported() {
    let one = Bastion::start();
    let access = one.live(&one.ask("5m"));
    let mut other = Bastion::start();
    assert!(other.terminate());
    other.rewrite_config(&format!("host: {}", other.host), &format!("host: {}", one.host));
    other.serve();
    until("it is told", || other.log().contains("may have the same `host:`").then_some(()));
    assert_eq!(one.look(&access, &one.ns), 200);
    assert_eq!(one.show(ERIN, &access.grant)["phase"], "live");
}

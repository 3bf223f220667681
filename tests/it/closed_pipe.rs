//! A reader that closes its pipe early, as `head` does, is not a failure for any verb: it does its work and exits as usual.

use std::collections::BTreeSet;
use std::io::PipeWriter;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, ERIN, Key, Options, Person, path, text};
use crate::glass;
use crate::plane::{Plane, root, scratch, until};
use crate::playback::Kept;

/// Every verb of `jitd`, called so that it prints something. `NS` stands for a namespace, `NEW` for a file that is not there.
const JITD: &[&str] = &[
    "check",
    "check --cluster",
    "check --cluster -o json",
    "init",
    "init -o json",
    "doctor",
    "doctor -o json",
    "ca show play",
    "ca renew play",
    "ca csr play",
    "ca import play CHAIN",
    "manifest play",
    "policy test",
    "policy test -o json",
    "policy explain --as alice --cluster play -n NS --role view --for 5m --reason INC-1",
    "policy explain --as alice --cluster play -n NS --role view --for 5m --reason INC-1 -o json",
    "policy who-can view -n NS",
    "policy diff POLICY NOTHING",
    "policy schema",
    "drain --reason upgrade",
    "resume",
    "revoke --person alice --reason mistake --yes",
    "revoke --all --reason mistake --yes -o json",
    "backup NEW",
    "audit verify",
    "audit verify --file EXPORT",
    "audit export",
    "audit sessions --folder SESSIONS",
    "audit sessions --folder SESSIONS -o json",
    "audit notices",
    "audit notices -o json",
    "audit play 0198 --folder SESSIONS",
    "notify status",
    "scan DUMP",
    "scan DUMP -o json",
    "scan who-can get pods DUMP",
    "scan what-can alice DUMP",
    "scan collect NEW",
    "scan diff DUMP DUMP",
    "scan record NEW --kubeconfig NEW",
    "scan tell NEW",
    "scan DUMP --suggest NEW --cluster play --approvers leads",
    "scan apply-plan NEW --dry-run --kubeconfig NOTHING",
    "completion bash",
    "man",
    "man jitd-config",
    "man jitd-policy",
    "man jitd-guardrails",
    "--version",
    "no-such-verb",
];

/// What there is of a grant when a verb is called about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Asked,
    Approved,
    Live,
    /// Taken without an answer.
    Broken,
}

/// Every verb of `jit-login`, who calls it, and about what; `ID` stands for the grant.
const LOGIN: &[(Person, Before, &str)] = &[
    (ALICE, Before::Nothing, "can"),
    (ALICE, Before::Nothing, "help"),
    (ALICE, Before::Nothing, "request play -n NS --role view --for 1m --reason INC-1 --no-wait"),
    (ALICE, Before::Nothing, "request play -n NS --role view --for 1m --reason INC-1 --dry-run"),
    (ALICE, Before::Nothing, "request play -n NS --role view --for 1m --reason INC-1 --timeout 1s"),
    (ALICE, Before::Nothing, "request play -n NS --role edit --for 1m --reason INC-1"),
    (ALICE, Before::Asked, "ls"),
    (ALICE, Before::Asked, "ls --all -o json"),
    (ALICE, Before::Asked, "status"),
    (ALICE, Before::Live, "status --short"),
    (BOB, Before::Asked, "show ID"),
    (BOB, Before::Asked, "show ID -o yaml"),
    (ALICE, Before::Approved, "wait ID"),
    (BOB, Before::Asked, "approve ID --yes"),
    (ALICE, Before::Asked, "withdraw ID"),
    (ALICE, Before::Live, "extend ID --for 1m --reason INC-1 --no-wait"),
    (ALICE, Before::Asked, "break-glass ID --reason INC-1"),
    (BOB, Before::Broken, "review ID --justified --words seen"),
    (ALICE, Before::Live, "end ID"),
    (BOB, Before::Live, "revoke ID --reason mistake"),
    (ALICE, Before::Live, "sessions"),
    (ALICE, Before::Live, "sessions ID --reads -o json"),
    (BOB, Before::Live, "play 0198c2f3"),
    (ALICE, Before::Nothing, "explain play -n NS --role view --for 1m --reason INC-1"),
    (ALICE, Before::Nothing, "whoami"),
    (ALICE, Before::Nothing, "link"),
    (ALICE, Before::Nothing, "login"),
    (ALICE, Before::Nothing, "logout"),
    (ALICE, Before::Live, "credential --grant ID"),
    (ALICE, Before::Live, "kubeconfig ID"),
    (ALICE, Before::Live, "kubeconfig ID --merge"),
    (ALICE, Before::Live, "run ID -- true"),
    (ALICE, Before::Live, "shell ID"),
    (BOB, Before::Asked, "events ID"),
    (ERIN, Before::Asked, "events"),
    (ERIN, Before::Asked, "export"),
    // Late, for it keeps the glass whole.
    (BOB, Before::Asked, "deny ID --reason no"),
    (ALICE, Before::Nothing, "doctor"),
    (ALICE, Before::Nothing, "completion bash"),
    (ALICE, Before::Nothing, "man"),
    (ALICE, Before::Nothing, "--version"),
    (ALICE, Before::Nothing, "no-such-verb"),
];

/// The writing end of a pipe that nobody reads.
fn gone() -> PipeWriter {
    std::io::pipe().unwrap().1
}

/// Calls a command three times: read, with nobody at stdout, and with nobody at stdout and stderr. What makes the command
/// makes a new one each time, for what was done once may not be done again.
fn ends_the_same(what: &str, mut command: impl FnMut() -> Command) {
    let mut command = || {
        let mut made = command();
        made.stdin(Stdio::null());
        made
    };
    let read = command().output().unwrap();
    assert!(!(read.stdout.is_empty() && read.stderr.is_empty()), "{what} prints nothing");
    let cut = command().stdout(gone()).output().unwrap();
    ended(what, &read, cut.status);
    let said = text(&cut.stderr);
    assert!(!said.contains("panicked") && !said.contains("Broken pipe"), "{what}: {said}");
    let deaf = command().stdout(gone()).stderr(gone()).status().unwrap();
    ended(&format!("{what}, and nobody reads stderr"), &read, deaf);
}

#[track_caller]
fn ended(what: &str, read: &Output, status: ExitStatus) {
    assert_eq!(status.code(), read.status.code(), "{what}: {}", text(&read.stderr));
}

/// `jitd` on files, and through the operators' socket.
#[test]
fn no_verb_of_jitd_fails_because_of_a_closed_pipe() {
    let bastion = Bastion::start();
    let folder = scratch("closed-pipe");
    let written = |name: &str, text: &[u8]| {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let nothing = written("nothing.yaml", b"rules: []\n");
    let export = written("export.jsonl", &bastion.jitd(&["audit", "export"]).stdout);
    let chain = written("chain.pem", &std::fs::read(bastion.dir.join("var/ca/play/root.crt")).unwrap());
    let dump = written(
        "dump.yaml",
        b"apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: alice}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}]
",
    );
    let policy = bastion.dir.join("policy.yaml").display().to_string();
    let mut kept = Kept::new();
    kept.session(&[(0.0, "o", "hello\r\n")]);
    let next = AtomicU32::new(0);
    let command = |verb: &str| {
        let new = folder.join(format!("new-{}", next.fetch_add(1, Ordering::Relaxed))).display().to_string();
        let meant = |word: &str| match word {
            "NS" => bastion.ns.clone(),
            "NEW" => new.clone(),
            "POLICY" => policy.clone(),
            "NOTHING" => nothing.clone(),
            "EXPORT" => export.clone(),
            "CHAIN" => chain.clone(),
            "DUMP" => dump.clone(),
            "SESSIONS" => kept.folder.display().to_string(),
            word => word.to_owned(),
        };
        let words: Vec<String> = verb.split_whitespace().map(meant).collect();
        if verb.starts_with("revoke") {
            bastion.request(ALICE, &bastion.ask("1m"), &Key::new());
        }
        bastion.jitd_command(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // Those that ask the cluster take seconds each, and change nothing.
    let (slow, quick): (Vec<&str>, Vec<&str>) =
        JITD.iter().partition(|verb| verb.starts_with("check --") || verb.starts_with("doctor"));
    std::thread::scope(|scope| {
        for verb in slow {
            let command = &command;
            scope.spawn(move || ends_the_same(verb, || command(verb)));
        }
    });
    for verb in quick {
        ends_the_same(verb, || command(verb));
    }
    // `serve` is below. `ca seal` writes into `/etc` of whoever runs it; `keys.rs` gives it one of its own.
    every_verb_is_called("jitd", JITD, &["serve", "ca seal"]);
}

/// `jit-login` of people, with a daemon and a cluster.
#[test]
fn no_verb_of_jit_login_fails_because_of_a_closed_pipe() {
    let policy = glass::policy("0s", "4h").replace("count: 2", "count: 1");
    let options = Options { policy, ..Options::default() };
    let bastion = Bastion::with(Plane::shared(), options);
    for (person, before, verb) in LOGIN {
        let mut latest = None;
        ends_the_same(verb, || {
            let id = prepared(&bastion, *before, latest.take());
            let words = verb.split_whitespace().map(|word| match word {
                "NS" => bastion.ns.as_str(),
                "ID" => id.as_deref().unwrap(),
                word => word,
            });
            let mut command = bastion.login_command(*person, "jit-login");
            let info = json!({ "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                "spec": { "interactive": false, "cluster": { "server": bastion.plane.server } } });
            command.args(words).env("KUBERNETES_EXEC_INFO", info.to_string()).env("SHELL", "/bin/bash");
            latest = id;
            command
        });
        drop(prepared(&bastion, Before::Nothing, latest.take()));
    }
    let called: Vec<&str> = LOGIN.iter().map(|(.., verb)| *verb).collect();
    // It prints nothing: `run` starts it, beside what it ends.
    every_verb_is_called("jit-login", &called, &["watch"]);
}

/// Closes what was there before, and brings a new grant of alice's to where it has to be. Its id, if it has to be anywhere.
fn prepared(bastion: &Bastion<'_>, before: Before, latest: Option<String>) -> Option<String> {
    let revoked = bastion.jitd(&["revoke", "--all", "--yes", "--reason", "next"]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    if let Some(latest) = latest {
        // Refused, where none is owed.
        drop(bastion.login(BOB, &["review", &latest, "--justified", "--words", "seen"]));
    }
    if before == Before::Nothing {
        return None;
    }
    let login = |person: Person, words: &[&str]| {
        let done = bastion.login(person, words);
        assert!(done.status.success(), "{words:?}: {}", text(&done.stderr));
        text(&done.stdout).trim().to_owned()
    };
    let ns = bastion.ns.as_str();
    let asked = ["request", "play", "-n", ns, "--role", "view", "--for", "5m", "--reason", "INC-1", "--no-wait"];
    let id = login(ALICE, &[&asked[..], &["-o", "name"]].concat());
    match before {
        Before::Nothing | Before::Asked => {}
        Before::Approved => drop(login(BOB, &["approve", &id, "--yes"])),
        Before::Live => {
            login(BOB, &["approve", &id, "--yes"]);
            login(ALICE, &["wait", &id]);
            let sessions = bastion.dir.join("gateway/sessions");
            let _ = std::fs::remove_dir_all(&sessions);
            Kept::of(sessions, id.parse().unwrap()).session(&[(0.0, "o", "hello\r\n")]);
        }
        Before::Broken => drop(login(ALICE, &["break-glass", &id, "--reason", "INC-1"])),
    }
    Some(id)
}

/// The tables above have every verb that the program's help has, but for some; and the help is read by nobody either.
fn every_verb_is_called(program: &str, called: &[&str], but: &[&str]) {
    for verb in &verbs_of(program) {
        let is_called = called.iter().any(|call| *call == verb || call.starts_with(&format!("{verb} ")));
        assert!(is_called || but.contains(&verb.as_str()), "{program} {verb} is called nowhere");
    }
}

/// The verbs of a program, by its help.
pub(crate) fn verbs_of(program: &str) -> BTreeSet<String> {
    let mut verbs = BTreeSet::new();
    collect_verbs(program, "", &mut verbs);
    verbs
}

/// What `--help` lists, and what that of each lists.
fn collect_verbs(program: &str, above: &str, verbs: &mut BTreeSet<String>) {
    let help = || {
        let mut command = Command::new(root().join("bin").join(program));
        command.args(above.split_whitespace()).arg("--help");
        command
    };
    ends_the_same(&format!("{program} {above} --help"), help);
    let said = text(&help().output().unwrap().stdout);
    let Some((_, list)) = said.split_once("\nCommands:\n") else { return };
    for line in list.lines().take_while(|line| !line.is_empty()) {
        // What is further in goes on from the line above.
        let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
        if let Some(name) = name.and_then(|rest| rest.split_whitespace().next()).filter(|name| *name != "help") {
            let verb = format!("{above} {name}").trim().to_owned();
            collect_verbs(program, &verb, verbs);
            verbs.insert(verb);
        }
    }
}

/// The daemon continues if nobody reads its log.
#[test]
fn the_daemon_serves_on_when_nobody_reads_its_log() {
    let bastion = Bastion::prepared(Plane::shared(), Options::default());
    let mut daemon = bastion.jitd_command(&["serve"]).stdin(Stdio::null()).stderr(gone()).spawn().unwrap();
    until("the daemon answers", || {
        assert_eq!(daemon.try_wait().unwrap(), None, "it ended");
        std::os::unix::net::UnixStream::connect(bastion.socket()).ok()
    });
    let access = bastion.live(&bastion.ask("1m"));
    let (status, ended) = bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null);
    assert_eq!((status, &ended["phase"]), (200, &json!("ended")), "{ended}");
    kill(Pid::from_raw(daemon.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(daemon.wait().unwrap().success(), "it ends in good order");
}

//! What the programs print with `-o json`: the shapes that `docs/output.md` names, by their schemas in `docs/schemas`, and
//! problem documents where they fail.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, ERIN, Options, Person, repository, text};
use crate::closed_pipe::verbs_of;
use crate::plane::{Plane, root, scratch, until};
use crate::playback::Kept;
use crate::schema::Schema;

/// The value is what the schema says, and has no other keys than the schema names.
#[track_caller]
pub(crate) fn fits(schema: &str, value: &Value) {
    let path = repository().join(format!("docs/schemas/{schema}.json"));
    let faults = Schema(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).faults(value);
    assert!(faults.is_empty(), "{schema}: {faults:#?}\n{value:#}");
}

/// The commands of the page, each with the name of its schema.
fn page() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string(repository().join("docs/output.md")).unwrap();
    let mut commands = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `jit") && line.contains(".json)")) {
        let (cells, schema) = row.trim_end_matches(" |").rsplit_once(" | [").unwrap();
        let (name, _) = schema.split_once(']').unwrap();
        for command in cells.split('`').skip(1).step_by(2) {
            assert_eq!(commands.insert(command.to_owned(), name.to_owned()), None, "{command} is there twice");
        }
    }
    commands
}

/// What other tests run, because it needs an identity provider or a running `jit-notify`.
const ELSEWHERE: [&str; 3] = ["jit-login link", "jit-login login", "jit-notify status"];

/// The commands of the page that were run.
struct Seen {
    page: BTreeMap<String, String>,
    seen: BTreeSet<String>,
}

impl Seen {
    #[track_caller]
    fn printed(&mut self, command: &str, done: &Output) -> Value {
        let schema = self.page.get(command).unwrap_or_else(|| panic!("{command} is not on the page"));
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        let value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{command}: {error}: {out}{err}"));
        fits(schema, &value);
        assert!(value != json!([]) && value != json!({}), "{command} printed nothing that could be wrong");
        self.seen.insert(command.to_owned());
        value
    }
}

/// Every command of the page prints what its schema says.
#[test]
fn every_command_prints_what_its_schema_says() {
    let policy = crate::glass::policy("0s", "4h").replace("count: 2", "count: 1");
    let bastion = Bastion::with(Plane::shared(), Options { policy, ..Options::default() });
    let mut seen = Seen { page: page(), seen: BTreeSet::new() };
    people(&bastion, &mut seen);
    administrators(&bastion, &mut seen);
    scans(&bastion, &mut seen);
    let left: Vec<&String> = seen.page.keys().filter(|command| !seen.seen.contains(*command)).collect();
    assert_eq!(left, ELSEWHERE, "what is on the page, and was not run");
}

fn people(bastion: &Bastion<'_>, seen: &mut Seen) {
    let ns = bastion.ns.as_str();
    let login = |person: Person, words: &[&str]| bastion.login(person, &[words, &["-o", "json"]].concat());
    let ask = ["play", "-n", ns, "--role", "view", "--for", "5m", "--reason", "INC-1"];
    let with = |verb: &'static str, more: &[&'static str]| [&[verb][..], &ask, more].concat();
    let id_of = |grant: &Value| grant["id"].as_str().unwrap().to_owned();
    let asked = |seen: &mut Seen| {
        id_of(&seen.printed("jit-login request --no-wait", &login(ALICE, &with("request", &["--no-wait"]))))
    };
    // Bob approves while alice waits.
    let approved_meanwhile = |words: &[&str]| {
        let mut command = bastion.login_command(ALICE, "jit-login");
        let command = command.args(words).args(["-o", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let waits = command.spawn().unwrap();
        let waiting = until("bob is asked", || {
            let done = bastion.login(BOB, &["status", "--waiting", "-o", "name"]);
            Some(text(&done.stdout).trim().to_owned()).filter(|id| !id.is_empty())
        });
        let approved = login(BOB, &["approve", &waiting, "--yes"]);
        assert!(approved.status.success(), "{}", text(&approved.stderr));
        waits.wait_with_output().unwrap()
    };

    seen.printed("jit-login can", &login(ALICE, &["can"]));
    seen.printed("jit-login whoami", &login(ALICE, &["whoami"]));
    seen.printed("jit-login doctor", &login(ALICE, &["doctor"]));
    seen.printed("jit-login explain", &login(ALICE, &with("explain", &[])));
    let denied = ["explain", "play", "-n", ns, "--role", "cluster-admin", "--for", "5m"];
    seen.printed("jit-login explain", &login(ALICE, &denied));
    seen.printed("jit-login request --dry-run", &login(ALICE, &with("request", &["--dry-run"])));

    let ready = seen.printed("jit-login request", &approved_meanwhile(&with("request", &[])));
    let id = id_of(&ready);
    assert!(ready["kubeconfig"].is_string(), "{ready}");
    let more = ["--for", "1m", "--reason", "INC-1 not done"];
    seen.printed("jit-login extend", &approved_meanwhile(&[&["extend", &id][..], &more].concat()));
    let extended = login(ALICE, &[&["extend", &id][..], &more, &["--no-wait"]].concat());
    seen.printed("jit-login extend --no-wait", &extended);
    let mut kept = Kept::of(bastion.dir.join("gateway/sessions"), id.parse().unwrap());
    kept.session(&[(0.0, "o", "hello\r\n")]);
    seen.printed("jit-login sessions", &login(ALICE, &["sessions"]));
    seen.printed("jit-login sessions", &login(ALICE, &["sessions", &id, "--reads"]));
    let short = seen.printed("jit-login status --short", &login(ALICE, &["status", "--short"]));
    assert_eq!(short[0]["id"], json!(id));
    seen.printed("jit-login status", &login(ALICE, &["status"]));
    seen.printed("jit-login show", &login(BOB, &["show", &id]));
    seen.printed("jit-login end", &login(ALICE, &["end", &id]));

    let id = asked(seen);
    seen.printed("jit-login status --waiting", &login(BOB, &["status", "--waiting"]));
    seen.printed("jit-login approve", &login(BOB, &["approve", &id, "--yes"]));
    seen.printed("jit-login wait", &login(ALICE, &["wait", &id]));
    seen.printed("jit-login revoke", &login(BOB, &["revoke", &id, "--reason", "mistake"]));
    let id = asked(seen);
    seen.printed("jit-login withdraw", &login(ALICE, &["withdraw", &id]));
    let id = asked(seen);
    seen.printed("jit-login break-glass", &login(ALICE, &["break-glass", &id, "--reason", "INC-1"]));
    seen.printed("jit-login review", &login(BOB, &["review", &id, "--justified", "--words", "seen"]));
    assert!(login(ALICE, &["end", &id]).status.success());
    // Late, because a denial closes break-glass.
    let id = asked(seen);
    seen.printed("jit-login deny", &login(BOB, &["deny", &id, "--reason", "no"]));
    seen.printed("jit-login ls", &login(ERIN, &["ls", "--all"]));
    seen.printed("jit-login events", &login(ERIN, &["events"]));
    seen.printed("jit-login events", &login(ALICE, &["events", &id]));
}

fn administrators(bastion: &Bastion<'_>, seen: &mut Seen) {
    let folder = scratch("schemas");
    let written = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    let jitd = |words: &[&str]| bastion.jitd(&[words, &["-o", "json"]].concat());
    let ns = bastion.ns.as_str();
    let policy = std::fs::read_to_string(bastion.dir.join("policy.yaml")).unwrap();
    let ask = "{cluster: play, namespaces: [NS], role: view, for: 5m, reason: INC-1}".replace("NS", ns);
    let case = |name: &str, outcome: &str| {
        format!("- {{name: {name}, person: alice, groups: [payments-oncall], ask: {ask}, outcome: {outcome}}}\n")
    };
    let tests = format!("{policy}tests:\n{}{}", case("yes", "ask"), case("no", "deny"));
    let (tested, nothing) = (written("tested.yaml", &tests), written("nothing.yaml", "rules: []\n"));
    let policy = bastion.dir.join("policy.yaml").display().to_string();
    let explain = ["policy", "explain", "--as", "alice", "--group", "payments-oncall", "--cluster", "play", "-n", ns];
    let explain = [&explain[..], &["--for", "5m", "--reason", "INC-1", "--role"]].concat();

    seen.printed("jitd init", &jitd(&["init"]));
    seen.printed("jitd check --cluster", &jitd(&["check", "--cluster"]));
    seen.printed("jitd doctor", &jitd(&["doctor"]));
    seen.printed("jitd policy test", &jitd(&["policy", "test", "--policy", &tested]));
    seen.printed("jitd policy explain", &jitd(&[&explain[..], &["view"]].concat()));
    seen.printed("jitd policy explain", &jitd(&[&explain[..], &["edit"]].concat()));
    seen.printed("jitd policy who-can", &jitd(&["policy", "who-can", "view", "-n", ns]));
    seen.printed("jitd policy diff", &jitd(&["policy", "diff", &policy, &nothing]));
    seen.printed("jitd audit verify", &jitd(&["audit", "verify"]));
    let sessions = bastion.dir.join("gateway/sessions").display().to_string();
    seen.printed("jitd audit sessions", &jitd(&["audit", "sessions", "--folder", &sessions]));
    seen.printed("jitd audit notices", &jitd(&["audit", "notices"]));
    let ask = ["request", "play", "-n", ns, "--role", "view", "--for", "5m", "--reason", "INC-2", "--no-wait"];
    assert!(bastion.login(ALICE, &ask).status.success());
    seen.printed("jitd revoke", &jitd(&["revoke", "--all", "--reason", "mistake", "--yes"]));
}

fn scans(bastion: &Bastion<'_>, seen: &mut Seen) {
    let folder = scratch("schemas-scan");
    let jitd = |words: &[&str]| bastion.jitd(&[words, &["-o", "json"]].concat());
    let written = |name: &str, text: &[u8]| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    let dump = written(
        "dump.yaml",
        b"apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: alice}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: cluster-admin}
rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]
",
    );
    let before = written(
        "before.yaml",
        b"apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]
",
    );
    let report = jitd(&["scan", &dump]);
    seen.printed("jitd scan", &report);
    let (old, new) = (written("old.json", &jitd(&["scan", &before]).stdout), written("new.json", &report.stdout));
    let difference = seen.printed("jitd scan diff", &jitd(&["scan", "diff", &old, &new]));
    assert!(!difference["new"].as_array().unwrap().is_empty(), "{difference}");
    seen.printed("jitd scan who-can", &jitd(&["scan", "who-can", "get", "pods", &dump]));
    let holdings = seen.printed("jitd scan what-can", &jitd(&["scan", "what-can", "alice", &dump]));
    assert!(!holdings["holdings"][0]["rules"].as_array().unwrap().is_empty(), "{holdings}");
}

/// Every schema belongs to a command or a failure, and every program that has `-o json` somewhere is on the page with it.
#[test]
fn the_page_has_every_command_and_every_schema() {
    let page = page();
    let mut named: BTreeSet<String> = page.values().cloned().collect();
    named.insert("failure".to_owned());
    let folder = repository().join("docs/schemas");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.map(|name| name.strip_suffix(".json").unwrap().to_owned()).collect();
    assert_eq!(files, named);
    for verb in verbs_of("jitd") {
        let help = Command::new(root().join("bin/jitd")).args(verb.split(' ')).arg("--help").output().unwrap();
        let is_on =
            |command: &String| command == &format!("jitd {verb}") || command.starts_with(&format!("jitd {verb} "));
        let has_json = text(&help.stdout).contains("--output <");
        assert!(!has_json || page.keys().any(is_on), "jitd {verb} has `-o`, and is not on the page");
    }
}

/// What a schema leaves open, with the reason.
const OPEN: [(&str, &str); 1] =
    [("events.events[]", "lines of the trail as they are stored, which docs/trail.md describes")];

/// A schema says of every value what it is: which words, which keys, which items.
#[test]
fn no_schema_leaves_open_what_a_value_is() {
    let mut open = Vec::new();
    for name in page().into_values().chain(["failure".to_owned()]).collect::<BTreeSet<_>>() {
        let path = repository().join(format!("docs/schemas/{name}.json"));
        left_open(&serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap(), &name, &mut open);
    }
    assert_eq!(open, OPEN.map(|(place, _)| place));
}

fn left_open(schema: &Value, at: &str, open: &mut Vec<String>) {
    let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    let is = |kind: &str| kinds.contains(&json!(kind));
    let says = |key: &str| schema.get(key).is_some();
    let refers = ["$ref", "oneOf", "allOf", "enum", "const"].into_iter().any(says);
    let has_keys = says("properties") || schema["additionalProperties"].is_object();
    if !refers && (is("object") && !has_keys || is("array") && !says("items") || !says("type")) {
        open.push(at.to_owned());
    }
    for (keyword, prefix) in [("properties", format!("{at}.")), ("$defs", format!("{at}#"))] {
        for (key, inner) in schema[keyword].as_object().into_iter().flatten() {
            left_open(inner, &format!("{prefix}{key}"), open);
        }
    }
    for inner in ["oneOf", "allOf"].into_iter().filter_map(|keyword| schema[keyword].as_array()).flatten() {
        left_open(inner, at, open);
    }
    for (keyword, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(keyword).filter(|inner| inner.is_object()) {
            left_open(inner, &format!("{at}{suffix}"), open);
        }
    }
}

/// The last line that a failed command says is a problem document, and its exit code is that without `-o json`.
#[track_caller]
fn failed(what: &str, code: &str, command: impl Fn(&[&str]) -> Output, json: &[&str]) -> Value {
    let (plain, done) = (command(&[]), command(json));
    let said = text(&done.stderr);
    assert!(!done.status.success(), "{what}: {said}");
    assert_eq!(done.status.code(), plain.status.code(), "{what}: {said}\n{}", text(&plain.stderr));
    let last = said.lines().last().unwrap_or_default();
    let view = serde_json::from_str(last).unwrap_or_else(|error| panic!("{what}: {error}: {said}"));
    fits("failure", &view);
    assert_eq!(view["code"], code, "{what}: {view}");
    let detail = view["detail"].as_str().unwrap();
    assert!(!detail.is_empty() && !detail.contains("error:") && !detail.contains("hint:"), "{what}: {view}");
    view
}

/// A wrong command line, of every verb of every program that prints JSON.
#[test]
fn a_wrong_command_line_is_a_problem_document() {
    let json = &["-o", "json"];
    for program in ["jitd", "jit-login", "jit-notify"] {
        let mut verbs = verbs_of(program);
        assert!(verbs.len() > 4, "{program}: {verbs:?}");
        // What follows `--` belongs to the command, and `help` has no flags.
        verbs.retain(|verb| verb != "run");
        for verb in verbs {
            let command = |json: &[&str]| {
                let mut command = Command::new(root().join("bin").join(program));
                command.args(verb.split(' ')).args(json).arg("--no-such-flag").stdin(Stdio::null()).output().unwrap()
            };
            let view = failed(&format!("{program} {verb}"), "usage", command, json);
            assert!(view["detail"].as_str().unwrap().contains("'-"), "{program} {verb}: {view}");
            assert_eq!(text(&command(json).stderr).lines().count(), 1, "{program} {verb}: one line, and nothing else");
        }
    }
}

/// Files that are not there, a daemon that does not answer, and one that refuses.
#[test]
fn what_cannot_be_done_is_a_problem_document() {
    let bastion = Bastion::start();
    let none = bastion.dir.join("none").display().to_string();
    let ns = bastion.ns.clone();
    let explain = format!("policy explain --as alice --cluster play -n {ns} --role view --for 5m --reason x");
    for (words, code) in [
        ("check --cluster", "usage"),
        ("check --cluster elsewhere", "usage"),
        ("init --cluster play", "usage"),
        ("policy test", "usage"),
        (&explain, "usage"),
        ("policy who-can view -n x", "usage"),
        ("policy diff NONE NONE", "usage"),
        ("audit verify", "usage"),
        ("audit verify --file NONE", "usage"),
        ("audit notices", "usage"),
        ("audit sessions --folder NONE", "failed"),
        ("scan NONE", "usage"),
        ("scan who-can get pods NONE", "usage"),
        ("scan what-can alice NONE", "usage"),
        ("scan diff NONE NONE", "usage"),
        ("revoke 7k3m --reason x --yes", "unreachable"),
    ] {
        let command = |json: &[&str]| {
            let words = words.split(' ').map(|word| if word == "NONE" { none.as_str() } else { word });
            let mut command = Command::new(root().join("bin/jitd"));
            command.args(["--config", &none]).args(words).args(json);
            command.env("JITD_ADMIN_SOCKET", &none).stdin(Stdio::null()).output().unwrap()
        };
        let said = failed(words, code, command, &["-o", "json"]);
        assert!(said.get("status").is_none(), "{said}");
    }
    let refused = failed(
        "jitd revoke",
        "no-such-grant",
        |json| bastion.jitd(&[&["revoke", "7k3m9x2q7k3m9x2q", "--reason", "x", "--yes"], json].concat()),
        &["-o", "json"],
    );
    assert_eq!(refused["status"], 404, "{refused}");
    let login = |words: &'static [&'static str], socket: Option<&str>| {
        let (bastion, socket) = (&bastion, socket.map(str::to_owned));
        move |json: &[&str]| {
            let mut command = bastion.login_command(ALICE, "jit-login");
            if let Some(socket) = &socket {
                command.env("JITD_SOCKET", socket);
            }
            command.args(words).args(json).output().unwrap()
        }
    };
    let json = &["-o", "json"];
    for words in [&["ls"][..], &["show", "7k3m"], &["whoami"], &["can"], &["sessions"], &["events", "7k3m"]] {
        failed(&words.join(" "), "unreachable", login(words, Some(&none)), json);
    }
    let refused = failed("jit-login show", "no-such-grant", login(&["show", "7k3m9x2q7k3m9x2q"], None), json);
    assert_eq!(refused["status"], 404, "{refused}");
    failed("jit-login csv", "usage", login(&["request", "play"], None), json);
    let notify = |json: &[&str]| {
        let mut command = Command::new(root().join("bin/jit-notify"));
        command.args(["--config", &none, "status"]).args(json).output().unwrap()
    };
    failed("jit-notify status", "usage", notify, &["-o", "json"]);
}

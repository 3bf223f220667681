//! `jit-login` in a session on the host, as far as systemd is not needed: a bastion of these tests has no user
//! managers. tests/machine shows that scopes end with their grant.

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::bastion::{ALICE, BOB, Bastion, Options, repository, text};
use crate::plane::{Plane, longer_than};

/// Where people have access that `jit-login` collected.
struct Host(Bastion<'static>);

impl Host {
    fn new() -> Self {
        Self(Bastion::start())
    }

    /// From nothing to a kubectl that works; the grant's id.
    fn live(&self, duration: &str) -> String {
        let ns = &self.0.ns;
        let words =
            ["request", "play", "-n", ns, "--role", "view", "--for", duration, "--reason", "INC-1 x", "--no-wait"];
        let id = text(&self.0.login(ALICE, &words).stdout).trim().to_owned();
        assert!(self.0.login(BOB, &["approve", &id, "--yes"]).status.success());
        let waited = self.0.login(ALICE, &["wait", &id]);
        assert!(waited.status.success(), "{}", text(&waited.stderr));
        id
    }

    fn status(&self, words: &[&str]) -> String {
        let status = self.0.login(ALICE, &[&["status", "--short"], words].concat());
        said_nothing_else(&status);
        text(&status.stdout)
    }

    /// The output of a shell of alice.
    fn sh(&self, shell: &[&str]) -> String {
        // `login_command` looks in the run's `bin`; an absolute path stays one.
        let mut command = self.0.login_command(ALICE, shell[0]);
        text(&command.args(&shell[1..]).output().unwrap().stdout)
    }
}

/// A prompt must appear, whatever is wrong.
#[track_caller]
fn said_nothing_else(output: &Output) {
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

/// The line does not need the daemon, shows the grant that ends first, and disappears with the access.
#[test]
fn the_short_status_is_one_line_from_local_files() {
    let mut host = Host::new();
    let ns = host.0.ns.clone();
    assert_eq!(host.status(&[]), "");
    assert_eq!(host.status(&["-o", "json"]).trim(), "[]");
    let long = host.live("10m");
    assert_eq!(host.status(&[]), format!("play/{ns} view 10m\n"));
    let short = host.live("2m");
    let line = host.status(&[]);
    assert!(line.starts_with(&format!("play/{ns} view 1m")) && line.ends_with(", 1 more\n"), "{line}");
    host.0.kill();
    let all: Value = serde_json::from_str(&host.status(&["-o", "json"])).unwrap();
    assert_eq!((&all[0]["id"], &all[1]["id"], all[2].is_null()), (&short.clone().into(), &long.clone().into(), true));
    assert_eq!(host.status(&["-o", "name"]), format!("{short}\n{long}\n"));
    // In the shell of a grant it is of that one.
    let mut command = host.0.login_command(ALICE, "jit-login");
    let said = command.args(["status", "--short"]).env("JIT_GRANT", &long).output().unwrap();
    said_nothing_else(&said);
    assert_eq!(text(&said.stdout), format!("play/{ns} view 10m\n"));
    host.0.serve();
    assert!(host.0.login(ALICE, &["end", &long]).status.success());
    assert!(host.0.login(ALICE, &["end", &short]).status.success());
    assert_eq!(host.status(&[]), "");
}

/// A refused folder or a damaged file prints nothing into a prompt.
#[test]
fn the_short_status_never_fails() {
    let host = Host::new();
    let id = host.live("5m");
    let folder = host.0.dir.join(format!("home/{}/.local/state/jit-login", ALICE.uid));
    let file = folder.join(format!("{id}.credential"));
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, "{").unwrap();
    assert_eq!(host.status(&[]), "");
    std::fs::write(&file, good).unwrap();
    assert_ne!(host.status(&[]), "");
    let mode = |mode| std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o777);
    assert_eq!(host.status(&[]), "");
    mode(0o700);
}

/// It runs at each prompt; even the debug build must not take as long as a connection.
#[test]
fn the_short_status_is_fast() {
    let host = Host::new();
    host.live("5m");
    let start = || assert!(host.0.login(ALICE, &["--version"]).status.success());
    let more = longer_than(start, || assert_ne!(host.status(&[]), ""));
    assert!(more < Duration::from_millis(50), "{more:?}");
}

/// An extension shows at once, although the earlier certificate is still valid.
#[test]
fn the_short_status_follows_an_extension() {
    // A certificate that lives as long as the window is not renewed in it.
    let times = "{answer: 1h, collect: 10m, certificate: 10m}";
    let policy = r#"
rules:
  - {name: payments, who: [payments-oncall], clusters: [play], namespaces: [NS], roles: [view], maxDuration: 10m,
     approval: [{groups: [payments-leads]}]}
"#;
    let host = Host(Bastion::with(Plane::shared(), Options { times, policy: policy.to_owned(), ..Options::default() }));
    let id = host.live("1m");
    let asked = host.0.login(ALICE, &["extend", &id, "--for", "8m", "--reason", "INC-1 more", "--no-wait"]);
    assert!(asked.status.success(), "{}", text(&asked.stderr));
    assert!(host.0.login(BOB, &["approve", &id, "--yes"]).status.success());
    assert!(host.0.login(ALICE, &["kubeconfig", &id]).status.success());
    let line = host.status(&[]);
    assert!(line.ends_with(" 9m\n") || line.ends_with(" 8m59s\n") || line.contains(" 8m5"), "{line}");
}

/// Without a systemd manager the command runs, with its own exit code, and one line says that it does not end.
#[test]
fn a_command_that_cannot_be_ended_runs_with_a_notice() {
    let host = Host::new();
    let id = host.live("5m");
    let script = r#"echo "$JIT_GRANT"; kubectl get configmap seen -o name; exit 7"#;
    let done = host.0.login(ALICE, &["run", &id, "--", "sh", "-c", script]);
    assert_eq!(done.status.code(), Some(7));
    assert_eq!(text(&done.stdout), format!("{id}\nconfigmap/seen\n"));
    let why = "this does not end with the grant: this login has no systemd manager of its own\n";
    assert_eq!(text(&done.stderr), why);
    let again = host.0.login(ALICE, &["run", &id, "--", "true"]);
    assert_eq!(text(&again.stderr), "", "once is enough");

    let mut shell = host.0.login_command(ALICE, "jit-login");
    shell.args(["shell", &id]).env("SHELL", "/bin/bash").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.stderr(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let done = shell.wait_with_output().unwrap();
    assert_eq!((done.status.code(), text(&done.stdout)), (Some(7), format!("{id}\nconfigmap/seen\n")));
    assert_eq!(text(&done.stderr), why);
}

/// The verb that waits for the end of a grant is internal, and says so.
#[test]
fn people_cannot_start_the_watch() {
    let host = Host::new();
    let help = text(&host.0.login(ALICE, &["--help"]).stdout);
    assert!(help.contains("shell") && !help.contains("watch"), "{help}");
    let watch = host.0.login(ALICE, &["watch", "7k3m9x2q7k3m9x2q", "2026-11-23T18:00:00Z"]);
    assert_eq!(watch.status.code(), Some(1));
    assert!(text(&watch.stderr).contains("`run` and `shell` start it"), "{}", text(&watch.stderr));
}

/// The banner appears in an interactive shell of somebody who has access.
#[test]
fn the_login_banner_is_one_line_for_people() {
    let host = Host::new();
    // As it stands there, for people of other accounts may not enter the folder of the sources.
    let words = std::fs::read_to_string(repository().join("packaging/profile.d/jit-login.sh")).unwrap();
    let login = |shell: &[&str]| host.sh(&[shell, &["-c", &words]].concat());
    for shell in ["/bin/sh", "/bin/bash"] {
        assert_eq!(login(&[shell, "-i"]), "");
    }
    host.live("10m");
    for shell in ["/bin/sh", "/bin/bash"] {
        assert_eq!(login(&[shell, "-i"]), format!("access: play/{} view 10m left\n", host.0.ns));
        assert_eq!(login(&[shell]), "", "nobody sits at it");
    }
}

/// The lines for each shell's startup file in the page on sessions, read by that shell.
#[test]
fn the_prompt_of_each_shell_begins_with_the_live_access() {
    let page = std::fs::read_to_string(repository().join("docs/sessions.md")).unwrap();
    let lines = page.lines().skip_while(|line| !line.contains("# bash: in ~/.bashrc"));
    let [bash, zsh, fish, function] = lines.take(4).collect::<Vec<_>>().try_into().unwrap();
    // Each has a prompt before, and shows the one that comes of it.
    let shells = [
        ["/bin/bash", "--norc", &format!("PS1='own> '; {bash}\necho \"${{PS1@P}}\"")],
        ["/bin/zsh", "--no-rcs", &format!("PROMPT='own> '; {zsh}\nprint -P \"$PROMPT\"")],
        [
            "/usr/bin/fish",
            "--no-config",
            &format!("function fish_prompt; echo 'own> '; end\n{fish}\n{function}\nfish_prompt"),
        ],
    ];
    let host = Host::new();
    let prompts = || shells.each_ref().map(|[shell, plain, words]| host.sh(&[*shell, *plain, "-c", *words]));
    assert_eq!(prompts(), [" own> \n", " own> \n", "own> \n"]);
    host.live("10m");
    let line = format!("play/{} view 10m", host.0.ns);
    // fish's functions end with the line.
    assert_eq!(prompts(), [format!("{line} own> \n"), format!("{line} own> \n"), format!("{line}\nown> \n")]);
}

/// The help says what ends with the grant and what does not.
#[test]
fn the_help_says_what_does_not_end() {
    let host = Host::new();
    for verb in ["run", "shell"] {
        let help = text(&host.0.login(ALICE, &[verb, "--help"]).stdout);
        for words in ["SIGTERM", "This does not end", "wherever it was copied"] {
            assert!(help.contains(words), "{words}: {help}");
        }
    }
    let key = crate::bastion::Key::new();
    let grant = host.0.request(ALICE, &host.0.ask("5m"), &key);
    let page = text(&host.0.login(BOB, &["show", grant["id"].as_str().unwrap()]).stdout);
    assert!(page.contains("unless `jit-login run` or `jit-login shell` started it"), "{page}");
}

//! What is on a real terminal (a pseudo-terminal that `script` of util-linux makes), narrow or wide, its own or that of a
//! full-screen program.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::bastion::{ALICE, BOB, Bastion, Person, text};
use crate::plane::until;

const REASON: &str = "INC-1 the queue of the payments is stuck since the release of this morning";

/// What this person sees after a shell's words on a terminal.
pub(crate) fn sees(bastion: &Bastion<'_>, person: Person, words: &str) -> String {
    shown(bastion.login_command(person, "/usr/bin/script").env("TERM", "xterm"), words)
}

/// What `script`(1) shows of a shell's words on a terminal, without colours.
pub(crate) fn shown(script: &mut Command, words: &str) -> String {
    let seen = script.args(["-qec", words, "/dev/null"]).output().unwrap();
    let plain = regex::Regex::new("\u{1b}\\[[0-9;]*m").unwrap();
    plain.replace_all(&text(&seen.stdout), "").replace("\r\n", "\n")
}

fn asked(bastion: &Bastion<'_>) -> String {
    let words =
        ["request", "play", "-n", &bastion.ns, "--role", "view", "--for", "5m", "--reason", REASON, "--no-wait"];
    text(&bastion.login(ALICE, &words).stdout).trim().to_owned()
}

/// A list is as wide as the terminal: the whole reason where there is room, and no torn table where there is none.
#[test]
fn a_list_fits_the_terminal() {
    let bastion = Bastion::start();
    let id = asked(&bastion);
    let wide = sees(&bastion, BOB, "stty cols 210 rows 40; jit-login ls");
    let lines: Vec<&str> = wide.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("ID ") && lines[1].ends_with(REASON), "{wide}");
    let usual = sees(&bastion, BOB, "stty cols 142 rows 40; jit-login ls");
    let lines: Vec<&str> = usual.lines().collect();
    assert!(lines.len() == 2 && lines[1].ends_with('…') && lines[1].chars().count() == 142, "{usual}");
    let narrow = sees(&bastion, BOB, "stty cols 60 rows 40; jit-login ls");
    let (first, rest) = narrow.split_once('\n').unwrap();
    assert!(first.starts_with(&format!("{id}  pending, answer within ")), "{narrow}");
    let words = format!("alice: role view in namespace {} on cluster play, for 5m {REASON}", bastion.ns);
    let rest = rest.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(rest.starts_with("(until ") && rest.ends_with(&words), "{narrow}");
    assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
    let piped = text(&bastion.login(BOB, &["ls"]).stdout);
    assert!(piped.starts_with("ID ") && piped.trim_end().ends_with('…'), "{piped}");
    for columns in [60, 160] {
        let page = sees(&bastion, BOB, &format!("stty cols {columns} rows 40; jit-login show {id}"));
        let table = page.lines().skip_while(|line| !line.starts_with("VERBS"));
        let longest = table.map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= columns && longest > columns * 2 / 3, "{columns}: {page}");
    }
}

/// Whoever reads a request for longer than the daemon keeps an idle connection still approves it. Here the daemon is
/// stopped meanwhile, which closes the connection at once.
#[test]
fn an_approver_may_read_for_longer_than_the_connection_lasts() {
    let mut bastion = Bastion::start();
    let id = asked(&bastion);
    let screen = bastion.dir.join("screen");
    let mut terminal = bastion
        .login_command(BOB, "/usr/bin/script")
        .args(["-qefc", &format!("jit-login approve {id}"), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(File::create(&screen).unwrap())
        .spawn()
        .unwrap();
    let seen = || std::fs::read_to_string(&screen).unwrap();
    until("the question is asked", || seen().contains("approve? [y/N]").then_some(()));
    assert!(bastion.terminate(), "{}", bastion.log());
    bastion.serve();
    // `wait` would close it.
    let mut keyboard = terminal.stdin.take().unwrap();
    keyboard.write_all(b"y\n").unwrap();
    assert!(terminal.wait().unwrap().success(), "{}", seen());
    assert_eq!(bastion.get(ALICE, &format!("/v1/grants/{id}")).1["phase"], "approved");
}

/// The plugin says why it gives nothing, but not across the screen of a program that draws it; that one still gets its
/// exit code.
#[test]
fn the_plugin_does_not_write_across_the_screen_of_another_program() {
    let bastion = Bastion::start();
    let id = asked(&bastion);
    assert!(bastion.login(BOB, &["approve", &id, "--yes"]).status.success());
    assert!(bastion.login(ALICE, &["wait", &id]).status.success());
    assert!(bastion.login(BOB, &["revoke", &id, "--reason", "enough"]).status.success());
    let file = format!("$HOME/.local/state/jit-login/{id}.kubeconfig");
    // What is kept is no longer good once the plugin asks; without it the plugin asks at once.
    let look =
        format!("rm -f $HOME/.local/state/jit-login/{id}.credential; kubectl --kubeconfig {file} get configmaps");
    let own = sees(&bastion, ALICE, &look);
    assert!(own.contains("was revoked by bob") && own.contains("exit code 7"), "{own}");
    let taken = sees(&bastion, ALICE, &format!("stty raw -echo; {look}"));
    assert!(!taken.contains("revoked") && !taken.contains("error[") && taken.contains("exit code 7"), "{taken}");
}

/// Without a verb it prints the help; under `-o json` that there is none, as every failure there.
#[test]
fn without_a_verb_there_is_the_help() {
    let bastion = Bastion::start();
    let help = text(&bastion.login(ALICE, &["-h"]).stdout);
    let said = bastion.login(ALICE, &[]);
    assert_eq!(said.status.code(), Some(2));
    assert_eq!(text(&said.stderr).trim_end(), help.trim_end());
    let said = bastion.login(ALICE, &["-o", "json"]);
    assert_eq!(said.status.code(), Some(2));
    let document: serde_json::Value = serde_json::from_slice(&said.stderr).unwrap();
    assert_eq!((&document["code"], &document["detail"]), (&"usage".into(), &"there is no command".into()));
}

//! How approvers learn of requests: `ls --watch`, its bell, and the line of `status --waiting` at a login.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bastion::{ALICE, BOB, Bastion, DAVE, Person, repository, said, text};

/// A request of alice's; its id.
fn asks(bastion: &Bastion<'_>) -> String {
    let words =
        ["request", "play", "-n", &bastion.ns, "--role", "view", "--for", "5m", "--reason", "INC-1 x", "--no-wait"];
    text(&bastion.login(ALICE, &words).stdout).trim().to_owned()
}

/// A program that runs until the test has seen enough.
struct Running(Child, BufReader<ChildStdout>);

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self(child, out)
    }

    fn watch(bastion: &Bastion<'_>, person: Person, words: &[&str]) -> Self {
        Self::start(bastion.login_command(person, "jit-login").args(["ls", "--watch"]).args(words))
    }

    /// The next line, which comes with a change.
    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.1.read_line(&mut line).unwrap(), 0, "it ended");
        line
    }

    /// The next row, as the words of its first two columns.
    fn row(&mut self) -> [String; 2] {
        let line = self.line();
        let mut words = line.split_whitespace().map(str::to_owned);
        [words.next().unwrap(), words.next().unwrap()]
    }

    /// Reads up to this byte.
    fn hears(&mut self, byte: u8) -> String {
        let mut heard = Vec::new();
        self.1.read_until(byte, &mut heard).unwrap();
        assert_eq!(heard.last(), Some(&byte), "it ended: {}", text(&heard));
        text(&heard)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The list first, then a row for each change, also for the end, and the headings once.
#[test]
fn a_watch_prints_each_grant_again_when_it_changes() {
    let bastion = Bastion::start();
    let first = asks(&bastion);
    let mut watch = Running::watch(&bastion, BOB, &[]);
    assert!(watch.line().starts_with("ID "), "the headings");
    assert_eq!(watch.row(), [first.as_str(), "pending"]);
    let second = asks(&bastion);
    let row = |phase: &str| [second.clone(), phase.to_owned()];
    assert_eq!(watch.row(), row("pending"));
    assert!(bastion.login(BOB, &["approve", &second, "--yes"]).status.success());
    assert_eq!(watch.row(), row("approved"));
    assert!(bastion.login(ALICE, &["withdraw", &second]).status.success());
    assert_eq!(watch.row(), row("withdrawn"));
    // For programs, a document on each line.
    let mut json = Running::watch(&bastion, BOB, &["-o", "json"]);
    let document: Value = serde_json::from_str(&json.line()).unwrap();
    assert_eq!((&document["id"], &document["phase"]), (&first.clone().into(), &"pending".into()));
    assert!(bastion.login(BOB, &["deny", &first, "--reason", "not now"]).status.success());
    let document: Value = serde_json::from_str(&json.line()).unwrap();
    assert_eq!((&document["id"], &document["closingWords"]), (&first.into(), &"not now".into()));
}

/// Nobody sees grants that they may not see, and a reader that goes away ends the watch.
#[test]
fn a_watch_shows_only_what_the_person_may_see_and_ends_with_its_reader() {
    let bastion = Bastion::start();
    let mut theirs = Running::watch(&bastion, DAVE, &["-o", "name"]);
    let mut hers = Running::watch(&bastion, BOB, &["-o", "name"]);
    let id = asks(&bastion);
    assert_eq!(hers.line().trim(), id);
    let mut reader = Running::start(
        bastion.login_command(BOB, "/bin/sh").args(["-c", "jit-login ls --watch -o name | head -n 1; echo over"]),
    );
    assert_eq!(reader.line().trim(), id);
    assert!(bastion.login(BOB, &["approve", &id, "--yes"]).status.success());
    assert_eq!(reader.line().trim(), "over");
    drop(theirs.0.kill());
    let mut rest = String::new();
    theirs.1.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

/// It waits for a daemon that restarts, and shows what has changed meanwhile.
#[test]
fn a_watch_outlives_a_restart_of_the_daemon() {
    let mut bastion = Bastion::start();
    let id = asks(&bastion);
    let mut watch = Running::watch(&bastion, BOB, &["-o", "name"]);
    assert_eq!(watch.line().trim(), id);
    bastion.kill();
    bastion.serve();
    let next = asks(&bastion);
    assert_eq!(watch.line().trim(), next);
}

/// The bell rings when a request begins to wait for this person, and for no other change.
#[test]
fn the_bell_rings_for_a_request_that_waits_for_the_person() {
    let bastion = Bastion::start();
    let first = asks(&bastion);
    let mut script = bastion.login_command(BOB, "/usr/bin/script");
    script.args(["-qfec", "stty cols 200; jit-login ls --watch --bell", "/dev/null"]).env("TERM", "xterm");
    let mut watch = Running::start(&mut script);
    watch.hears(b'\n');
    let listed = watch.hears(b'\n');
    assert!(listed.starts_with(&first), "{listed}");
    assert!(bastion.login(BOB, &["deny", &first, "--reason", "not now"]).status.success());
    let denied = watch.hears(b'\n');
    let next = asks(&bastion);
    let until_bell = watch.hears(b'\x07');
    assert!(denied.contains("denied") && !denied.contains('\x07'), "{denied:?}");
    assert!(until_bell.contains(&next) && until_bell.contains("pending"), "{until_bell:?}");
}

/// One line for approvers, nothing for others, nothing and no failure without a daemon, and soon with one that hangs.
#[test]
fn what_waits_is_counted_in_one_line() {
    let mut bastion = Bastion::start();
    let waits = |bastion: &Bastion<'_>, person: Person| said(bastion, person, &["status", "--waiting"]);
    let nothing = (Some(0), String::new(), String::new());
    assert_eq!(waits(&bastion, BOB), nothing);
    let ids = [asks(&bastion), asks(&bastion)];
    assert_eq!(waits(&bastion, BOB), (Some(0), "2 requests wait for you\n".to_owned(), String::new()));
    assert_eq!(waits(&bastion, ALICE), nothing, "her own");
    assert_eq!(waits(&bastion, DAVE), nothing);
    assert!(bastion.login(BOB, &["approve", &ids[0], "--yes"]).status.success());
    assert_eq!(said(&bastion, BOB, &["status", "--waiting", "-o", "name"]).1, format!("{}\n", ids[1]));

    // As it stands there, because people of other accounts may not enter the folder of the sources.
    let banner = std::fs::read_to_string(repository().join("packaging/profile.d/jit-login.sh")).unwrap();
    let login = |options: &[&str]| {
        let mut shell = bastion.login_command(BOB, "/bin/sh");
        text(&shell.args(options).args(["-c", &banner]).output().unwrap().stdout)
    };
    assert_eq!(login(&["-i"]), "1 request waits for you: jit-login ls\n");
    assert_eq!(login(&[]), "", "nobody sits at it");

    let pid = bastion.pid().to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    let begun = Instant::now();
    let hanging = waits(&bastion, BOB);
    let waited = begun.elapsed();
    assert!(Command::new("kill").args(["-CONT", &pid]).status().unwrap().success());
    assert_eq!(hanging, nothing);
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    bastion.kill();
    assert_eq!(waits(&bastion, BOB), nothing);
}

//! `jitd audit verify` on the trail, on its exported lines and on a backup: what holds, which range it covers, and whether a
//! head that was noted elsewhere is still in it.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::bastion::{Bastion, text};

struct Copies {
    bastion: Bastion<'static>,
    lines: String,
}

impl Copies {
    fn new() -> Self {
        let bastion = Bastion::start();
        bastion.live(&bastion.ask("5m"));
        let lines = text(&bastion.jitd(&["audit", "export"]).stdout);
        Self { bastion, lines }
    }

    /// Verifies these lines, in a file of their own.
    fn verify(&self, lines: &str, more: &[&str]) -> Output {
        let file = self.bastion.dir.join("lines.jsonl");
        std::fs::write(&file, lines).unwrap();
        self.verify_file(&file, more)
    }

    fn verify_file(&self, file: &Path, more: &[&str]) -> Output {
        self.bastion.jitd(&[&["audit", "verify", "--file", file.to_str().unwrap()], more].concat())
    }
}

fn report(verified: &Output) -> Value {
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    serde_json::from_slice(&verified.stdout).unwrap()
}

fn refusal(verified: &Output) -> String {
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified.stdout));
    assert_eq!(text(&verified.stdout), "", "nothing holds");
    text(&verified.stderr)
}

/// Lines and backup are found to be the same trail, with the range that they cover.
#[test]
fn lines_and_a_backup_are_verified_alike() {
    let copies = Copies::new();
    let backup = copies.bastion.dir.join("backup.db");
    assert!(copies.bastion.jitd(&["backup", backup.to_str().unwrap()]).status.success());
    let lines = report(&copies.verify(&copies.lines, &["-o", "json"]));
    assert_eq!(lines, report(&copies.verify_file(&backup, &["-o", "json"])));
    assert_eq!(lines, report(&copies.bastion.jitd(&["audit", "verify", "-o", "json"])));
    let at = |line: Option<&str>| serde_json::from_str::<Value>(line.unwrap()).unwrap()["at"].clone();
    assert_eq!((&lines["from"], &lines["to"]), (&at(copies.lines.lines().next()), &at(copies.lines.lines().last())));
    let verified = copies.verify(&copies.lines, &[]);
    let range = format!("from {} to {}", lines["from"].as_str().unwrap(), lines["to"].as_str().unwrap());
    assert!(text(&verified.stdout).contains(&range), "{}", text(&verified.stdout));
    assert!(
        text(&verified.stderr).contains("a trail cannot prove that its end was not cut"),
        "{}",
        text(&verified.stderr)
    );
}

/// A trail that was cut verifies alone, but not against a head that was noted before.
#[test]
fn a_noted_head_finds_a_trail_that_was_cut() {
    let copies = Copies::new();
    let head = report(&copies.verify(&copies.lines, &["-o", "json"]))["head"].as_str().unwrap().to_owned();
    let count = copies.lines.lines().count();
    let placed = format!("{head}:{count}");
    for noted in [&head, &placed, &head.to_uppercase()] {
        let verified = copies.verify(&copies.lines, &["--head", noted]);
        let said = text(&verified.stderr);
        assert!(verified.status.success() && said.contains(&format!("is event {count} of this trail")), "{said}");
    }
    // More that came after it changes nothing.
    copies.bastion.live(&copies.bastion.ask("6m"));
    assert!(copies.bastion.jitd(&["audit", "verify", "--head", &placed]).status.success());

    let cut: String = copies.lines.lines().take(count - 1).map(|line| format!("{line}\n")).collect();
    assert!(copies.verify(&cut, &[]).status.success());
    let said = refusal(&copies.verify(&cut, &["--head", &placed]));
    assert!(said.contains("the trail was cut, or it is another trail"), "{said}");
    let said = refusal(&copies.verify(&copies.lines, &["--head", &format!("{head}:1")]));
    assert!(said.contains(&format!("belongs to event {count}, not 1")), "{said}");
    let wrong = copies.verify(&copies.lines, &["--head", "abc"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("64 hexadecimal digits"), "{}", text(&wrong.stderr));
}

/// An empty file proves nothing, and a damaged one is refused whatever head was noted.
#[test]
fn a_file_without_events_does_not_verify() {
    let copies = Copies::new();
    assert!(refusal(&copies.verify("", &[])).contains("this file contains no event"));
    let changed = copies.lines.replacen("alice", "carol", 1);
    assert!(refusal(&copies.verify(&changed, &[])).contains("damaged at event"));
    let last = copies.lines.lines().last().unwrap();
    assert!(refusal(&copies.verify(&format!("{last}\n"), &[])).contains("damaged at event 1"));
}

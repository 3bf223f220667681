//! `jit-login login --store keyring`: sessions in the kernel's keyring, as keyctl(1) sees them.
//!
//! The accounts of these tests share a kernel, and each has one keyring: keys are told apart by the home that they belong to.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::bastion::{Person, repository, text};
use crate::oidc::{Certified, Elsewhere, FRIEDA, GRETA};
use crate::plane::root;

/// Whose quota is used up; nobody else's.
const FULL: Person = Person { name: "frieda", uid: 430_004 };

fn elsewhere() -> Elsewhere {
    Elsewhere::at(Box::new(Certified::start()), &json!({}))
}

/// A shell of this person, which possesses their keyring `$ring`.
fn shell(elsewhere: &Elsewhere, person: Person, script: &str) -> Command {
    let mut keyctl = elsewhere.bastion.login_command(person, "/usr/bin/keyctl");
    keyctl.args(["session", "-", "sh", "-c", &format!("ring=$(keyctl get_persistent @s); {script}")]);
    keyctl
}

fn shows(elsewhere: &Elsewhere, person: Person, script: &str) -> Output {
    shell(elsewhere, person, script).output().unwrap()
}

/// The ids of the keys that belong to the home of this person.
fn keys(elsewhere: &Elsewhere, person: Person) -> Vec<String> {
    let describe = "for key in $(keyctl rlist $ring); do echo \"$key $(keyctl rdescribe $key)\"; done";
    let listed = shows(elsewhere, person, describe);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let ours = format!(";jit-login:{}/", elsewhere.bastion.home(person).display());
    let listed = text(&listed.stdout);
    let ours = listed.lines().filter(|line| line.contains(&ours));
    ours.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// What the only key of this person holds.
fn kept(elsewhere: &Elsewhere, person: Person) -> Value {
    let [key] = &keys(elsewhere, person)[..] else { panic!("not one key") };
    let read = shows(elsewhere, person, &format!("keyctl pipe {key}"));
    serde_json::from_slice(&read.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&read.stderr)))
}

#[track_caller]
fn log_in(elsewhere: &Elsewhere, person: Person, more: &[&str]) {
    let browse = |address: &str| drop(elsewhere.provider.browse(address, person.name));
    let (succeeded, said) = elsewhere.tries(person, &[&["--no-browser"], more].concat(), browse);
    assert!(succeeded, "{said}");
}

/// The last line of `whoami`.
fn place(elsewhere: &Elsewhere, person: Person) -> String {
    elsewhere.said(person, &["whoami"]).lines().last().unwrap().to_owned()
}

/// Whether a file below the home of this person has one of these words.
fn files_say(elsewhere: &Elsewhere, person: Person, words: &[&str]) -> String {
    let mut grep = Command::new("grep");
    grep.args(["--recursive", "--files-with-matches", "--fixed-strings", "--regexp"]).arg(words.join("\n"));
    text(&grep.arg(elsewhere.bastion.home(person)).output().unwrap().stdout)
}

/// A session in the keyring serves every command and kubectl, is renewed once for all processes, and is nowhere else.
#[test]
fn a_session_in_the_keyring_is_in_no_file_and_nobody_elses() {
    let mut elsewhere = elsewhere();
    log_in(&elsewhere, FRIEDA, &["--store", "keyring"]);
    elsewhere.log_in(GRETA);
    let said = place(&elsewhere, FRIEDA);
    assert!(said.starts_with("the session is kept in the kernel's keyring, until a reboot or "), "{said}");
    assert!(said.ends_with(" without use"), "{said}");
    let who: Value = serde_json::from_str(&elsewhere.said(FRIEDA, &["whoami", "-o", "json"])).unwrap();
    crate::schemas::fits("whoami", &who);
    assert_eq!(who["session"], json!({"store": "keyring"}));
    let first = kept(&elsewhere, FRIEDA);
    let secret = |kept: &Value| kept["refreshToken"].as_str().unwrap().to_owned();
    assert!(first["key"].as_str().unwrap().contains("PRIVATE KEY"), "{first}");
    assert_eq!(files_say(&elsewhere, FRIEDA, &[&secret(&first), "PRIVATE KEY", "refreshToken"]), "");

    // Another account knows the id, and its own keyring has nothing of it. Nor has a process of frieda that did not get hers.
    let key = keys(&elsewhere, FRIEDA).remove(0);
    for person in [GRETA, FRIEDA] {
        let mut keyctl = elsewhere.bastion.login_command(person, "/usr/bin/keyctl");
        let read = keyctl.args(["session", "-", "keyctl", "pipe", &key]).output().unwrap();
        assert_eq!((read.status.success(), text(&read.stdout).as_str()), (false, ""), "{}", person.name);
        assert!(text(&read.stderr).contains("Permission denied"), "{}", text(&read.stderr));
    }
    assert_eq!(keys(&elsewhere, GRETA), [""; 0]);

    // Three at once use one refresh token.
    elsewhere.restart();
    elsewhere.three_at_once(FRIEDA);
    let renewed = kept(&elsewhere, FRIEDA);
    assert_ne!(secret(&renewed), secret(&first));
    assert_eq!(renewed["key"], first["key"]);
    // kubectl runs `jit-login` as its plugin.
    elsewhere.works();
    assert_eq!(files_say(&elsewhere, FRIEDA, &[&secret(&renewed), "refreshToken"]), "");
    let checked = elsewhere.run(FRIEDA, &["doctor"]);
    assert!(text(&checked.stdout).contains("kept in the kernel's keyring"), "{}", text(&checked.stdout));

    elsewhere.said(FRIEDA, &["logout"]);
    assert_eq!(keys(&elsewhere, FRIEDA), [""; 0]);
    elsewhere.bastion.has_no_fault();
}

/// A login leaves the session in one place; the place is remembered.
#[test]
fn a_login_moves_the_session_to_the_store_that_it_names() {
    let elsewhere = elsewhere();
    elsewhere.log_in(FRIEDA);
    let file = place(&elsewhere, FRIEDA).rsplit_once(' ').unwrap().1.to_owned();
    let who: Value = serde_json::from_str(&elsewhere.said(FRIEDA, &["whoami", "-o", "json"])).unwrap();
    assert_eq!(who["session"], json!({"store": "file", "file": file}));
    log_in(&elsewhere, FRIEDA, &["--store", "keyring"]);
    assert!(!std::fs::exists(&file).unwrap());
    let first = kept(&elsewhere, FRIEDA);
    elsewhere.log_in(FRIEDA);
    assert!(place(&elsewhere, FRIEDA).contains("keyring"), "it is remembered");
    assert_ne!(kept(&elsewhere, FRIEDA)["key"], first["key"], "of the last login");
    log_in(&elsewhere, FRIEDA, &["--store", "file"]);
    assert_eq!(place(&elsewhere, FRIEDA), format!("the session is kept in {file}"));
    assert_eq!(keys(&elsewhere, FRIEDA), [""; 0]);

    // What a login left that was interrupted.
    let left = format!("keyctl add user jit-login:{file} left $ring");
    assert!(shows(&elsewhere, FRIEDA, &left).status.success());
    assert_eq!(keys(&elsewhere, FRIEDA).len(), 1);
    elsewhere.said(FRIEDA, &["logout"]);
    assert_eq!(keys(&elsewhere, FRIEDA), [""; 0]);
    assert!(!std::fs::exists(&file).unwrap());
}

/// As after a reboot.
#[test]
fn a_session_that_the_kernel_lost_needs_a_login() {
    let elsewhere = elsewhere();
    log_in(&elsewhere, FRIEDA, &["--store", "keyring"]);
    let key = keys(&elsewhere, FRIEDA).remove(0);
    assert!(shows(&elsewhere, FRIEDA, &format!("keyctl invalidate {key}")).status.success());
    let refused = elsewhere.run(FRIEDA, &["whoami"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("the kernel's keyring has no session at https://"), "{said}");
    assert!(said.contains("jit-login login https://"), "{said}");
    elsewhere.log_in(FRIEDA);
    assert!(place(&elsewhere, FRIEDA).contains("keyring"));
}

/// Uses up the quota of an account, until its standard input is closed.
struct Full(Child);

impl Full {
    fn of(elsewhere: &Elsewhere, person: Person) -> Self {
        let fill = "number=0
            for size in 30000 3000 300 30; do
                while head -c $size /dev/zero | keyctl padd user full-$number @s; do number=$((number + 1)); done
            done >/dev/null 2>&1
            echo full; cat";
        let mut filling = shell(elsewhere, person, fill);
        let mut full = Self(filling.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let mut said = BufReader::new(full.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(said.any(|line| line == "full"));
        full
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

/// Where the kernel takes no more keys, the session that was there stays.
#[test]
fn a_full_quota_refuses_the_login_and_leaves_the_session_before() {
    let elsewhere = elsewhere();
    elsewhere.log_in(FULL);
    let before = place(&elsewhere, FULL);
    let full = Full::of(&elsewhere, FULL);
    let browse = |address: &str| {
        let shown = elsewhere.provider.browse(address, FULL.name);
        assert!(shown.contains("You are not logged in"), "{shown}");
    };
    let (succeeded, said) = elsewhere.tries(FULL, &["--no-browser", "--store", "keyring"], browse);
    assert!(!succeeded && said.contains("the kernel keeps no more keys for this account"), "{said}");
    assert!(said.contains("/proc/key-users") && said.contains("--store file"), "{said}");
    assert_eq!(place(&elsewhere, FULL), before);
    drop(full);
    crate::plane::until("the kernel has room again", || {
        let room = shows(&elsewhere, FULL, "head -c 10000 /dev/zero | keyctl padd user room @s");
        room.status.success().then_some(())
    });
    log_in(&elsewhere, FULL, &["--store", "keyring"]);
    elsewhere.said(FULL, &["logout"]);
}

/// Where there is no keyring, nobody is sent to a browser in vain, and a file serves as before.
#[test]
fn a_host_without_keyrings_refuses_the_keyring_before_the_login() {
    let elsewhere = elsewhere();
    let keyless = elsewhere.bastion.dir.join("keyless");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-Wall", "-Werror", "-o"]).arg(&keyless);
    assert!(compiler.arg(repository().join("tests/support/keyless.c")).status().unwrap().success());
    let without = |words: &[String]| {
        let mut command = elsewhere.bastion.login_command(FRIEDA, keyless.to_str().unwrap());
        command.env_remove("JITD_SOCKET").env("SSL_CERT_FILE", elsewhere.provider.authority());
        let done = command.arg(root().join("bin/jit-login")).args(words).output().unwrap();
        (done.status.code(), text(&done.stdout) + &text(&done.stderr))
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (code, said) = without(&[elsewhere.invitation(), words(&["--store", "keyring", "--no-browser"])].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("this host has no keyring for this account") && !said.contains("open this"), "{said}");
    assert!(said.contains("--store file"), "{said}");

    elsewhere.log_in(FRIEDA);
    let (code, said) = without(&words(&["whoami"]));
    assert!(code == Some(0) && said.contains("the session is kept in /"), "{said}");
    // A session that is out of reach is not forgotten.
    log_in(&elsewhere, FRIEDA, &["--store", "keyring"]);
    for verb in ["whoami", "logout"] {
        let (code, said) = without(&words(&[verb]));
        assert!(code == Some(1) && said.contains("this host has no keyring"), "{verb}: {said}");
    }
    assert!(place(&elsewhere, FRIEDA).contains("keyring"));
    log_in(&elsewhere, FRIEDA, &["--store", "file"]);
    let (code, said) = without(&words(&["logout"]));
    assert_eq!(code, Some(0), "{said}");
}

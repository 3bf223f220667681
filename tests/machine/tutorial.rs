//! `docs/tutorial.md` as a newcomer follows it: each command as it stands there, from the package to the auditor's look.
//!
//! ```text
//!  sh blocks, root$          root's shell on the machine
//!  alice$, bob$, erin$       their shells
//!  control$                  a shell beside the API server, which is outside of the machine
//! ```
//! Only `apt` is called without its question, because nobody sits at that terminal.

use std::process::Command;
use std::time::Duration;

use crate::bastion::Bastion;
use crate::install::APT;
use crate::plane::until_within;

/// Every command works, and says what the page says, on a host that has nothing of jitd.
pub(crate) fn a_newcomer_follows_the_tutorial(bastion: &mut Bastion) {
    bastion.machine.bring(&bastion.deb, "jitd_under_test.deb");
    bastion.machine.bring(&bastion.plane.kubeconfig, "admin.kubeconfig");
    std::fs::copy(&bastion.plane.client_ca, bastion.plane.client_ca.with_extension("own")).unwrap();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tutorial.md")).unwrap();
    let (mut scripts, mut commands, mut id) = (0, 0, String::new());
    for block in page.split("```").skip(1).step_by(2) {
        let (language, block) = block.split_once('\n').unwrap();
        match language {
            "sh" => {
                bastion.machine.root(&block.replace("apt install", &format!("{APT} install")));
                scripts += 1;
            }
            "console" => commands += is_true(bastion, block, &mut id),
            other => panic!("what is a block of `{other}`?"),
        }
        if block.contains("useradd") {
            // While nobody is logged in as alice, systemd removes what is in her runtime folder.
            bastion.alice_sits_down();
        }
    }
    assert_eq!((scripts, commands), (2, 22), "every command of the page was run");
}

/// Runs a block; returns the number of its commands.
fn is_true(bastion: &Bastion, block: &str, id: &mut String) -> usize {
    let block: String = block.split("\\\n").map(str::trim_start).collect();
    let mut commands: Vec<(&str, &str, Vec<String>)> = Vec::new();
    for line in block.lines() {
        match (line.split_once("$ "), commands.last_mut()) {
            (Some((who, command)), _) => commands.push((who, command, Vec::new())),
            (None, Some((_, _, expected))) => expected.push(squeezed(line)),
            (None, None) => panic!("`{line}` stands before every command"),
        }
    }
    for (who, command, expected) in &commands {
        let meant = command.replace("$ID", id);
        let mut last = None;
        let mut says = || {
            let (succeeded, out, said) = typed(bastion, who, &meant);
            let holds =
                expected.iter().all(|line| squeezed(&said).contains(line)) && (succeeded || !expected.is_empty());
            last = Some(said);
            holds.then_some(out)
        };
        // The API server takes a moment to read its authorities again, and the daemon to see what an API server does.
        let out = if meant.starts_with("jitd check --cluster") {
            until_within(Duration::from_secs(90), &format!("`{meant}` says {expected:?}"), says)
        } else {
            says().unwrap_or_else(|| panic!("{who}$ {meant}\nlacks {expected:?}:\n{}", last.unwrap_or_default()))
        };
        if command.ends_with("--no-wait") {
            out.trim().clone_into(id);
        }
    }
    commands.len()
}

/// Whether a command succeeded, what it printed, and the same with what it said beside it.
fn typed(bastion: &Bastion, who: &str, command: &str) -> (bool, String, String) {
    if who == "control" {
        let client_ca = &bastion.plane.client_ca;
        let here = command
            .replace("/etc/kubernetes/pki/ca.crt", &client_ca.with_extension("own").display().to_string())
            .replace("/etc/kubernetes/clients.crt", &client_ca.display().to_string())
            .replace("/var/lib/jitd", &bastion.machine.root.join("var/lib/jitd").display().to_string());
        let done = Command::new("bash").args(["-c", &here]).output().unwrap();
        return (done.status.success(), String::new(), String::from_utf8_lossy(&done.stderr).into_owned());
    }
    let done = bastion.machine.run(who, command);
    let said = format!("{}{}", done.out, done.err);
    (done.code == 0, done.out, said)
}

/// With single spaces, because the widths of columns do not matter.
fn squeezed(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

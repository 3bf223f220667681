//! Runs the console blocks of a page: the output of each command must contain the lines below it.
//!
//! ```text
//!  alice$ …, bob$ …   jit-login, as that person, on the bastion; a backslash continues a line
//!  root$ …            a shell on the bastion: `jitd`, `systemctl` and `journalctl` of this test's own daemon
//!  admin$ …           a shell with the kubeconfig of the cluster's administrator
//!  control$ …         a shell in the folder of the API server's files
//! ```
//! The names on the pages are replaced by the test's own: its cluster, namespaces, folders, sockets and grant. Instead of
//! systemd, the test starts and ends the daemon; everything else is real.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use crate::bastion::{ALICE, BOB, Bastion, CAROL, ERIN, text};
use crate::plane::{root, until_within};

/// The console blocks of a page, in order.
pub(crate) fn blocks(page: &str) -> Vec<&str> {
    page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Runs the commands of a page on a bastion.
pub(crate) struct Console<'a> {
    pub(crate) bastion: Bastion<'a>,
    /// The cluster's own client CA, if the page needs it.
    pub(crate) cluster_ca: Option<PathBuf>,
    /// The grant of the page, `$ID`: the one that was requested last, or an earlier one.
    pub(crate) id: String,
    /// The time that the page writes as 2026-11-29T14:30:00Z.
    pub(crate) at: String,
    /// The head that the last export printed, `$HEAD`.
    head: String,
}

impl<'a> Console<'a> {
    pub(crate) fn at(bastion: Bastion<'a>) -> Self {
        Self { bastion, cluster_ca: None, id: String::new(), at: String::new(), head: String::new() }
    }

    /// Runs a block, and returns the number of its commands.
    pub(crate) fn is_true(&mut self, block: &str) -> usize {
        let block: String = block.split("\\\n").map(str::trim_start).collect();
        let mut commands: Vec<(&str, &str, Vec<&str>)> = Vec::new();
        for line in block.lines() {
            match (line.split_once("$ "), commands.last_mut()) {
                (Some((who, command)), _) => commands.push((who, command, Vec::new())),
                (None, Some((_, _, expected))) => expected.push(line),
                (None, None) => panic!("`{line}` stands before every command"),
            }
        }
        for (who, command, expected) in &commands {
            let expected: Vec<String> = expected.iter().map(|line| squeezed(&self.here(line))).collect();
            let is_said = |output: &str| expected.iter().all(|line| squeezed(output).contains(line));
            let output = self.run(who, command);
            if is_said(&output) {
                continue;
            }
            // A command that only reads is repeated, because what it shows may appear a moment later.
            assert!(looks_only(command), "{expected:?} is not in the output of `{command}`:\n{output}");
            until_within(Duration::from_secs(75), &format!("`{command}` says {expected:?}"), || {
                is_said(&self.run(who, command)).then_some(())
            });
        }
        commands.len()
    }

    fn run(&mut self, who: &str, command: &str) -> String {
        let meant = self.here(command).replace("$ID", &self.id).replace("$HEAD", &self.head);
        let meant = meant.replace("2026-11-29T14:30:00Z", &self.at);
        let words = words(&meant);
        let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        let done = match (who, words[0].as_str()) {
            ("alice", "jit-login") => self.bastion.login(ALICE, &arguments),
            ("bob", "jit-login") => self.bastion.login(BOB, &arguments),
            ("carol", "jit-login") => self.bastion.login(CAROL, &arguments),
            ("erin", "jit-login") if !meant.contains('>') => self.bastion.login(ERIN, &arguments),
            // A shell of that person, who is not root and has no configuration.
            ("erin", _) => self.bastion.login_command(ERIN, "/usr/bin/bash").args(["-c", &meant]).output().unwrap(),
            ("root", "systemctl") => return self.systemctl(arguments[0]),
            ("root", "journalctl") => return self.bastion.log(),
            ("root" | "admin" | "control", _) => self.shell(&meant),
            other => panic!("who is {other:?}?"),
        };
        if command.ends_with("--no-wait") {
            text(&done.stdout).trim().clone_into(&mut self.id);
        }
        let said = format!("{}{}", text(&done.stdout), text(&done.stderr));
        if let Some((_, head)) = said.split_once("the head is ") {
            head.lines().next().unwrap().clone_into(&mut self.head);
        }
        said
    }

    /// A shell in which `jitd` and `kubectl` are those of this test.
    fn shell(&self, command: &str) -> Output {
        let prelude = format!(
            "jitd() {{ local own=(); [[ $1 != init ]] || own=(--state {0}/var --socket {0}/run/api.sock)\n\
             command jitd --config {0}/config.yaml \"$@\" \"${{own[@]}}\"; }}\nkubectl() {{ command kubectl --kubeconfig {1} \"$@\"; }}\n",
            self.bastion.dir.display(),
            self.bastion.plane.kubeconfig.display()
        );
        std::fs::create_dir_all(self.bastion.dir.join("root")).unwrap();
        Command::new("bash")
            .args(["-c", &format!("{prelude}{command}")])
            .env("PATH", format!("{}:/usr/bin:/bin", root().join("bin").display()))
            .env_remove("NOTIFY_SOCKET")
            .output()
            .unwrap()
    }

    fn systemctl(&mut self, verb: &str) -> String {
        match verb {
            "stop" => assert!(self.bastion.terminate(), "{}", self.bastion.log()),
            "start" | "enable" => self.bastion.serve(),
            "reload" => {
                let pid = self.bastion.pid().to_string();
                assert!(Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap().success());
            }
            other => panic!("systemctl {other}?"),
        }
        String::new()
    }

    /// Replaces the page's names by those of this test.
    fn here(&self, written: &str) -> String {
        let Bastion { ns, shop, host, dir, plane, .. } = &self.bastion;
        let mut here = written
            .replace("prod", "play")
            .replace("payments", ns)
            .replace(&format!("{ns}-leads"), "payments-leads")
            .replace(&format!("{ns}-oncall"), "payments-oncall")
            .replace("-n shop", &format!("-n {shop}"))
            .replace("bastion1", host)
            .replace("/etc/kubernetes/clients.crt", &plane.client_ca.display().to_string());
        if let Some(ca) = &self.cluster_ca {
            here = here.replace("/etc/kubernetes/pki/ca.crt", &ca.display().to_string());
        }
        for (theirs, ours) in [("/etc/jitd", ""), ("/var/lib/jitd", "var"), ("/run/jitd", "run"), ("/root", "root")] {
            let ours = dir.join(ours).display().to_string();
            here = here.replace(&format!("{theirs}/"), &format!("{}/", ours.trim_end_matches('/')));
        }
        here
    }
}

/// Whether a command changes nothing, so that it can be repeated.
fn looks_only(command: &str) -> bool {
    let looks = ["curl ", "journalctl ", "jit-login ls", "jit-login show", "jitd ca show", "jitd check"];
    looks.iter().chain(&["kubectl get ", "kubectl auth can-i "]).any(|looks| command.starts_with(looks))
}

/// The words of a command as a shell splits it, with double quotes.
fn words(command: &str) -> Vec<String> {
    let quoted = command.split('"').enumerate();
    quoted
        .flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

/// The text with single spaces, because the widths of columns do not matter.
fn squeezed(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

//! A requester logs out: the runtime folder is emptied, as systemd-logind does at the end of the last session. The
//! files of a request that waits for an answer must be in another folder.

use std::path::PathBuf;
use std::process::Command;

use crate::bastion::{ALICE, BOB, Bastion, Options, text};
use crate::plane::{Plane, until};

/// A bastion on which alice is logged in, and may request access that begins later.
struct Host {
    bastion: Bastion<'static>,
    runtime: PathBuf,
}

impl Host {
    fn new() -> Self {
        let policy = r#"
rules:
  - {name: payments, who: [payments-oncall], clusters: [play], namespaces: [NS], roles: [view], maxDuration: 10m,
     startWithin: 1h, approval: [{groups: [payments-leads]}]}
"#;
        let bastion = Bastion::with(Plane::shared(), Options { policy: policy.to_owned(), ..Options::default() });
        let runtime = bastion.dir.join("runtime");
        let host = Self { bastion, runtime };
        host.log_in();
        host
    }

    fn log_in(&self) {
        std::fs::create_dir(&self.runtime).unwrap();
        std::os::unix::fs::chown(&self.runtime, Some(ALICE.uid), Some(ALICE.uid)).unwrap();
    }

    fn log_out(&self) {
        std::fs::remove_dir_all(&self.runtime).unwrap();
    }

    fn alice(&self, program: &str, words: &[&str]) -> Command {
        let mut command = self.bastion.login_command(ALICE, program);
        command.args(words).env("XDG_RUNTIME_DIR", &self.runtime);
        command
    }

    /// Requests without waiting; the id, and the text on stderr.
    fn asks(&self, more: &[&str]) -> (String, String) {
        let ns = &self.bastion.ns;
        let words = ["request", "play", "-n", ns, "--role", "view", "--for", "5m", "--reason", "INC-1 x", "--no-wait"];
        let asked = self.alice("jit-login", &[&words, more].concat()).output().unwrap();
        let said = text(&asked.stderr);
        assert!(asked.status.success(), "{said}");
        (text(&asked.stdout).trim().to_owned(), said)
    }

    fn agree(&self, id: &str) {
        let agreed = self.bastion.login(BOB, &["approve", id, "--yes"]);
        assert!(agreed.status.success(), "{}", text(&agreed.stderr));
    }

    /// The keys in the folder that a logout does not empty.
    fn lasting(&self) -> Vec<String> {
        let folder = self.bastion.dir.join(format!("home/{}/.local/state/jit-login", ALICE.uid));
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[track_caller]
    fn kubectl_works(&self, kubeconfig: &str) {
        let mut kubectl = self.alice("kubectl", &["get", "configmap", "seen", "-o", "name"]);
        let looked = kubectl.env("KUBECONFIG", kubeconfig).output().unwrap();
        assert_eq!(text(&looked.stdout), "configmap/seen\n", "{}", text(&looked.stderr));
    }
}

/// A requester who logs out and comes back after the approval gets access, which is removed at the next logout.
#[test]
fn an_approval_survives_the_requesters_logout() {
    let host = Host::new();
    let (id, said) = host.asks(&[]);
    assert!(!said.contains("log out"), "{said}");
    assert_eq!(host.lasting(), [format!("{id}.key")]);
    host.log_out();
    host.agree(&id);
    host.log_in();
    let waited = host.alice("jit-login", &["wait", &id]).output().unwrap();
    assert!(waited.status.success(), "{}", text(&waited.stderr));
    let kubeconfig = host.runtime.join(format!("jit-login/{id}.kubeconfig")).display().to_string();
    assert_eq!(text(&waited.stdout), format!("export KUBECONFIG={kubeconfig}\n"));
    host.kubectl_works(&kubeconfig);
    assert!(host.lasting().is_empty(), "a key that works is nothing for the disk: {:?}", host.lasting());
    assert!(host.runtime.join(format!("jit-login/{id}.key")).exists());
}

/// The same for access that begins later.
#[test]
fn a_later_start_survives_the_requesters_logout() {
    let host = Host::new();
    let (id, _) = host.asks(&["--at", "+5s"]);
    host.agree(&id);
    host.log_out();
    host.log_in();
    let kubeconfig = until("the access begins", || {
        let made = host.alice("jit-login", &["kubeconfig", &id, "-o", "name"]).output().unwrap();
        made.status.success().then(|| text(&made.stdout).trim().to_owned())
    });
    host.kubectl_works(&kubeconfig);
}

/// A shell says at its start what ends it: here systemd does not, but its access ends with the last login.
#[test]
fn a_shell_says_at_its_start_what_ends_it() {
    let host = Host::new();
    let (id, _) = host.asks(&[]);
    host.agree(&id);
    let mut shell = host.alice("jit-login", &["shell", &id]);
    let done = shell.env("SHELL", "/bin/sh").output().unwrap();
    let said = text(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("this does not end with the grant: "), "{said}");
    assert!(said.trim_end().ends_with("its access ends with your last login"), "{said}");
}

/// If no folder survives a logout, the requester learns it at the request, not after the approval.
#[test]
fn a_request_that_a_logout_would_lose_says_so() {
    let host = Host::new();
    let ns = &host.bastion.ns;
    let words = ["request", "play", "-n", ns, "--role", "view", "--for", "5m", "--reason", "INC-1 x", "--no-wait"];
    for (variable, value) in [("HOME", "relative"), ("HOME", "/proc/nowhere"), ("XDG_STATE_HOME", "/run/user/420001")] {
        let asked = host.alice("jit-login", &words).env(variable, value).output().unwrap();
        let said = text(&asked.stderr);
        assert!(asked.status.success(), "{said}");
        assert!(said.contains("this request can be collected only until you log out: "), "{value}: {said}");
    }
    let state = host.runtime.display().to_string();
    let asked = host.alice("jit-login", &words).env("XDG_STATE_HOME", state).output().unwrap();
    assert!(text(&asked.stderr).contains("it is removed at logout"), "{}", text(&asked.stderr));
}

//! `jit-login kubeconfig --merge` beside the real `kubectl config`: the same file for the same `KUBECONFIG`, and no entry
//! of either is lost when both write at once.

use std::path::PathBuf;
use std::process::Output;

use crate::bastion::{ALICE, BOB, Bastion, text};
use crate::plane::until;

struct Desk {
    bastion: Bastion<'static>,
    home: PathBuf,
    grant: String,
}

impl Desk {
    fn new() -> Self {
        let bastion = Bastion::start();
        let ask =
            ["request", "play", "-n", &bastion.ns, "--role", "view", "--for", "9m", "--reason", "INC-1 x", "--no-wait"];
        let grant = text(&bastion.login(ALICE, &ask).stdout).trim().to_owned();
        assert!(bastion.login(BOB, &["approve", &grant, "--yes"]).status.success());
        let home = bastion.dir.join(format!("home/{}", ALICE.uid));
        Self { bastion, home, grant }
    }

    fn run(&self, program: &str, kubeconfig: Option<&str>, words: &[&str]) -> Output {
        let mut command = self.bastion.login_command(ALICE, program);
        if let Some(kubeconfig) = kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command.args(words).output().unwrap()
    }

    fn merge(&self, kubeconfig: Option<&str>, more: &[&str]) -> Output {
        self.run("jit-login", kubeconfig, &[&["kubeconfig", &self.grant, "--merge"], more].concat())
    }

    /// The contexts of one file.
    fn contexts(&self, file: &str) -> Vec<String> {
        let found = self.run("kubectl", Some(file), &["config", "get-contexts", "-o", "name"]);
        text(&found.stdout).lines().map(str::to_owned).collect()
    }

    fn name(&self) -> String {
        format!("jit:play:{}", &self.grant[..8])
    }

    fn write(&self, file: &str, words: &str) {
        let path = self.home.join(file);
        std::fs::write(&path, words).unwrap();
        std::os::unix::fs::chown(&path, Some(ALICE.uid), Some(ALICE.uid)).unwrap();
    }
}

/// Whatever `KUBECONFIG` contains, the context is where `kubectl config` would have put it, and kubectl works with it.
#[test]
fn an_entry_goes_where_kubectl_would_write_it() {
    let desk = Desk::new();
    for (number, kubeconfig) in
        [None, Some("dev.yaml"), Some("gone.yaml:there.yaml"), Some("no.yaml:nor.yaml"), Some(":e.yaml")]
            .into_iter()
            .enumerate()
    {
        desk.write("there.yaml", "apiVersion: v1\nkind: Config\n");
        let merged = desk.merge(kubeconfig, &["--use"]);
        assert!(merged.status.success(), "{kubeconfig:?}: {}", text(&merged.stderr));
        let probe = format!("probe-{number}");
        let set = desk.run("kubectl", kubeconfig, &["config", "set-context", &probe]);
        assert!(set.status.success(), "{}", text(&set.stderr));
        let files = ["dev.yaml", "gone.yaml", "there.yaml", "no.yaml", "nor.yaml", "e.yaml", ".kube/config"];
        let with = |name: &str| {
            files.into_iter().filter(|file| desk.contexts(file).iter().any(|found| found == name)).collect::<Vec<_>>()
        };
        let (ours, theirs) = (with(&desk.name()), with(&probe));
        assert_eq!(ours, theirs, "{kubeconfig:?}");
        assert_eq!(ours.len(), 1, "{kubeconfig:?}");
        let looked = desk.run("kubectl", kubeconfig, &["get", "configmap", "seen", "-o", "name"]);
        assert_eq!(text(&looked.stdout), "configmap/seen\n", "{kubeconfig:?}: {}", text(&looked.stderr));
        for file in files {
            drop(std::fs::remove_file(desk.home.join(file)));
        }
    }
}

/// An entry in a later file is changed there; only the current context is written to the first.
#[test]
fn an_entry_is_changed_in_its_own_file() {
    let desk = Desk::new();
    assert!(desk.merge(Some("later.yaml"), &[]).status.success());
    desk.write("first.yaml", "apiVersion: v1\nkind: Config\ncurrent-context: other\n");
    let merged = desk.merge(Some("first.yaml:later.yaml"), &["--use"]);
    assert!(merged.status.success(), "{}", text(&merged.stderr));
    assert_eq!((desk.contexts("first.yaml"), desk.contexts("later.yaml")), (vec![], vec![desk.name()]));
    let current = desk.run("kubectl", Some("first.yaml:later.yaml"), &["config", "current-context"]);
    assert_eq!(text(&current.stdout).trim(), desk.name());
}

/// We lose nothing that kubectl writes meanwhile. kubectl may lose what we write: `kubectl config` reads the
/// file before it takes the lock (client-go's `ModifyConfig` deletes what its caller had not read), so kubectl has only
/// one writer here, and our entry is looked for after a last merge.
#[test]
fn writes_of_kubectl_are_kept() {
    let desk = Desk::new();
    let theirs: Vec<String> = (0..8).map(|number| format!("theirs-{number}")).collect();
    let merge = || {
        let merged = desk.merge(None, &[]);
        assert!(merged.status.success(), "{}", text(&merged.stderr));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for name in &theirs {
                // kubectl gives up at once where another has the file.
                until("kubectl writes", || {
                    desk.run("kubectl", None, &["config", "set-context", name]).status.success().then_some(())
                });
            }
        });
        for _ in 0..4 {
            scope.spawn(|| (0..4).for_each(|_| merge()));
        }
    });
    merge();
    let mut found = desk.contexts(".kube/config");
    found.sort();
    assert_eq!(found, [vec![desk.name()], theirs].concat());
    assert!(!desk.home.join(".kube/config.lock").exists());
}

/// If a lock is never removed, the message names it, and the file is not changed.
#[test]
fn a_lock_that_stays_is_reported() {
    let desk = Desk::new();
    desk.write("dev.yaml", "apiVersion: v1\nkind: Config\n");
    desk.write("dev.yaml.lock", "");
    let merged = desk.merge(Some("dev.yaml"), &[]);
    assert_eq!(merged.status.code(), Some(1));
    let said = text(&merged.stderr);
    assert!(said.contains("`dev.yaml` was not changed") && said.contains("rm ./dev.yaml.lock"), "{said}");
    assert_eq!(desk.contexts("dev.yaml"), Vec::<String>::new());
}

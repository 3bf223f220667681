//! The machine, the control plane, and what people do with both, for all scenarios.
//!
//! Alice is on call for payments; bob leads it; carol leads it too and operates the bastion; dave has an account and is
//! in no group; erin is an auditor.

use std::path::PathBuf;
use std::process::{Child, Command};

use serde_json::json;

use crate::machine::{Done, Machine};
use crate::plane::{Admin, Plane, until};

/// Everything that a scenario acts on.
pub(crate) struct Bastion {
    pub(crate) machine: Machine,
    pub(crate) plane: Plane,
    pub(crate) admin: Admin,
    /// The installed package.
    pub(crate) deb: PathBuf,
    /// The package for the upgrade.
    pub(crate) next: PathBuf,
    /// The same for rpm.
    pub(crate) rpm: PathBuf,
    /// Alice's terminal: while a person is logged in, the content of their runtime folder stays.
    terminal: Option<Child>,
}

/// The namespace of the policy; `shop` is the other one.
pub(crate) const PAYMENTS: &str = "payments";

/// A person's groups, besides their own.
pub(crate) const PEOPLE: [(&str, &str); 5] = [
    ("alice", "jit-users,payments-oncall"),
    ("bob", "jit-users,payments-leads"),
    ("carol", "jit-users,jit-admins,payments-leads,platform"),
    ("dave", ""),
    ("erin", "jit-users,auditors"),
];

impl Bastion {
    /// A cluster with two namespaces, and a machine that has booted without anything of jitd.
    pub(crate) fn new([deb, next, rpm]: [PathBuf; 3]) -> Self {
        let plane = Plane::start();
        let admin = plane.admin();
        for namespace in [PAYMENTS, "shop"] {
            admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } }));
            let path = format!("/api/v1/namespaces/{namespace}/configmaps");
            admin.create(&path, &json!({ "metadata": { "name": "seen" } }));
        }
        let mut machine = Machine::new();
        machine.boot();
        Self { machine, plane, admin, deb, next, rpm, terminal: None }
    }

    /// kubectl outside of the machine, as the cluster's administrator.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let mut kubectl = Command::new(crate::plane::programs().join("kubectl"));
        let done = kubectl.arg("--kubeconfig").arg(&self.plane.kubeconfig).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Alice stays logged in from now on.
    pub(crate) fn alice_sits_down(&mut self) {
        self.alice_leaves();
        self.terminal = Some(self.machine.ssh("alice", "exec sleep infinity").spawn().unwrap());
        until("alice is logged in", || self.machine.run("root", "test -d /run/user/$(id -u alice)/systemd").done());
    }

    fn alice_leaves(&mut self) {
        if let Some(mut terminal) = self.terminal.take() {
            drop(terminal.kill());
            drop(terminal.wait());
        }
    }

    /// Alice requests `view` in payments; returns the id.
    pub(crate) fn asked(&self, window: &str) -> String {
        let request =
            format!("jit-login request play -n payments --role view --for {window} --reason 'INC-42 stuck' --no-wait");
        self.machine.does("alice", &request).lines().last().unwrap().to_owned()
    }

    /// All steps to working access: alice requests, bob approves, alice collects.
    pub(crate) fn live(&self, window: &str) -> String {
        let id = self.asked(window);
        self.machine.does("bob", &format!("jit-login approve {id} --yes"));
        self.machine.does("alice", &format!("jit-login wait {id}"));
        self.works(&id);
        id
    }

    /// Alice's kubectl with the kubeconfig of this grant.
    pub(crate) fn looks(&self, id: &str, namespace: &str) -> Done {
        self.machine.run("alice", &format!("jit-login run {id} -- kubectl get configmaps -n {namespace}"))
    }

    /// Alice's access works where it was requested.
    #[track_caller]
    pub(crate) fn works(&self, id: &str) {
        self.looks(id, PAYMENTS).must(0).says("seen");
    }

    /// Whether the cluster has the grant's binding.
    pub(crate) fn is_bound(&self, id: &str) -> bool {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{PAYMENTS}/rolebindings/jit-{id}");
        self.admin.get(&path).0 == 200
    }

    /// The phase of a grant, as the auditor sees it.
    pub(crate) fn phase(&self, id: &str) -> String {
        let shown = self.machine.does("erin", &format!("jit-login show {id} -o json"));
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["phase"].as_str().unwrap().to_owned()
    }

    /// Alice calls without a pause while `act` runs. No call may fail, and there must be some.
    #[track_caller]
    pub(crate) fn no_call_fails_while(&self, act: impl FnOnce(&Machine)) {
        self.machine.does("alice", "rm -f stop calls");
        let calls = "until [ -e stop ]; do jit-login whoami -o json >>calls || exit; done";
        let mut calling = self.machine.ssh("alice", calls).spawn().unwrap();
        let count = || self.machine.does("alice", "cat calls 2>/dev/null | wc -l").trim().parse::<u32>().unwrap();
        until("alice calls", || (count() > 0).then_some(()));
        act(&self.machine);
        let before = count();
        let ended = until("a call is answered, or one failed", || match calling.try_wait().unwrap() {
            Some(ended) => Some(Some(ended)),
            None => (count() > before).then_some(None),
        });
        self.machine.does("alice", "touch stop");
        let calling = calling.wait_with_output().unwrap();
        assert!(
            ended.is_none() && calling.status.success(),
            "a call failed: {}",
            String::from_utf8_lossy(&calling.stderr)
        );
    }
}

impl Drop for Bastion {
    fn drop(&mut self) {
        self.alice_leaves();
    }
}

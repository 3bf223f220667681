//! One daemon with its own state, authority, namespaces and people, on the shared control plane.
//!
//! A person is a uid without an account, declared in the configuration; a process with that uid acts for the person,
//! so that the daemon gets the caller from the kernel as it does in production.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::plane::{Admin, Answer, Plane, root, scratch, until, until_within};

/// A person on the bastion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) uid: u32,
}

/// Requests access to payments and shop.
pub(crate) const ALICE: Person = Person { name: "alice", uid: 420_001 };
/// Approves.
pub(crate) const BOB: Person = Person { name: "bob", uid: 420_002 };
/// Approves too.
pub(crate) const CAROL: Person = Person { name: "carol", uid: 420_003 };
/// Is in no group.
pub(crate) const DAVE: Person = Person { name: "dave", uid: 420_004 };
/// Reads everything.
pub(crate) const ERIN: Person = Person { name: "erin", uid: 420_005 };
/// May see and revoke everything.
pub(crate) const ADMIN: Person = Person { name: "admin", uid: 420_006 };
/// Another account of alice.
pub(crate) const ALICE_TOO: Person = Person { name: "alice", uid: 420_011 };
/// Unknown to the daemon.
pub(crate) const STRANGER: Person = Person { name: "stranger", uid: 420_099 };
/// Not a person.
pub(crate) const ROOT: Person = Person { name: "root", uid: 0 };
/// Every account without a uid in this user namespace.
pub(crate) const UNMAPPED: Person = Person { name: "unmapped", uid: 65_534 };

/// The settings that a test can change.
pub(crate) struct Options {
    /// More of `config.yaml`.
    pub(crate) config: String,
    /// More of the cluster's entry; `HOST` stands for the host.
    pub(crate) cluster: String,
    /// The whole `policy.yaml`; `NS` and `SHOP` stand for the two namespaces.
    pub(crate) policy: String,
    /// `times:` of the configuration.
    pub(crate) times: &'static str,
    /// `rates:` of the configuration; the people of the tests act at the speed of a machine.
    pub(crate) rates: &'static str,
    /// The address of the API server in the daemon's configuration.
    pub(crate) server: Option<String>,
    /// The CA of that server.
    pub(crate) ca: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: String::new(),
            cluster: String::new(),
            policy: POLICY.to_owned(),
            times: "{answer: 1h, collect: 10m, certificate: 5m}",
            rates: "{calls: 100000, requests: 10000, certificates: 10000}",
            server: None,
            ca: None,
        }
    }
}

/// For env(1): the signal that comes with [`Bastion::fill_disk`] would end the daemon, and a full disk sends none.
pub(crate) const SURVIVES_A_FULL_DISK: &str = "--ignore-signal=XFSZ";

/// Two namespaces, one approver; `NS-twice` needs two approvers; `NS-wide` gives the whole cluster.
const POLICY: &str = r#"
rules:
  - name: payments
    who: [payments-oncall]
    clusters: [play]
    namespaces: [NS, SHOP]
    roles: [view, NS-debug, role/local, NS-empty, NS-missing]
    maxDuration: 10m
    reason: "^INC-[0-9]+"
    approval: [{groups: [payments-leads]}]
  - name: twice
    who: [payments-oncall]
    clusters: [play]
    namespaces: [NS]
    roles: [edit]
    maxDuration: 10m
    approval: [{groups: [payments-leads], count: 2}]
  - name: wide
    who: [payments-oncall]
    clusters: [play]
    clusterWide: true
    roles: [NS-nodes]
    maxDuration: 10m
    approval: [{groups: [payments-leads]}]
"#;

/// A daemon with everything that belongs to it.
pub(crate) struct Bastion<'a> {
    pub(crate) plane: &'a Plane,
    pub(crate) admin: Admin,
    /// Two namespaces that only this test uses.
    pub(crate) ns: String,
    pub(crate) shop: String,
    /// The daemon's host name, unique on the shared cluster.
    pub(crate) host: String,
    pub(crate) dir: PathBuf,
    daemon: Option<Child>,
}

impl Bastion<'static> {
    /// A running daemon on the shared control plane.
    pub(crate) fn start() -> Self {
        Self::with(Plane::shared(), Options::default())
    }
}

impl<'a> Bastion<'a> {
    pub(crate) fn with(plane: &'a Plane, options: Options) -> Self {
        let mut bastion = Self::prepared(plane, options);
        bastion.serve();
        bastion
    }

    /// A host without any file of jitd, and its namespaces in the cluster.
    pub(crate) fn empty(plane: &'a Plane) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let tag = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (ns, shop, host) = (format!("it-{tag}"), format!("it-{tag}-shop"), format!("host-{tag}"));
        let bastion = Self { plane, admin: plane.admin(), ns, shop, host, dir: scratch("bastion"), daemon: None };
        bastion.furnish();
        bastion
    }

    /// Everything except the running daemon.
    pub(crate) fn prepared(plane: &'a Plane, options: Options) -> Self {
        let bastion = Self::empty(plane);
        let (host, dir) = (&bastion.host, &bastion.dir);
        let Options { config, cluster, policy, times, rates, server, ca } = options;
        let cluster = cluster.replace("HOST", host).replace("NS", &bastion.ns);
        let server = server.unwrap_or_else(|| plane.server.clone());
        let ca = ca.unwrap_or_else(|| plane.ca.clone());
        let ca = ca.display();
        let written = format!(
            "host: {host}\nsocket: run/api.sock\nstate: var\nsessions: gateway/sessions\npolicy: policy.yaml\nauditors: [auditors]\nadmins: [admins]\n\
             times: {times}\nrates: {rates}\npeople:\n\
             - {{name: alice, uids: [420001, 420011], groups: [payments-oncall]}}\n\
             - {{name: bob, uids: [420002], groups: [payments-leads]}}\n\
             - {{name: carol, uids: [420003], groups: [payments-leads, payments-oncall]}}\n\
             - {{name: dave, uids: [420004], groups: []}}\n\
             - {{name: erin, uids: [420005], groups: [auditors]}}\n\
             - {{name: admin, uids: [420006], groups: [admins]}}\n\
             clusters:\n- {{name: play, server: \"{server}\", certificateAuthority: \"{ca}\"{cluster}}}\n{config}"
        );
        std::fs::write(dir.join("config.yaml"), written).unwrap();
        // One approver is enough here also for the whole cluster; `policy.rs` shows what the defaults do.
        std::fs::write(dir.join("guardrails.yaml"), "clusterWide: {approvers: 1}\n").unwrap();
        bastion.write_policy(&policy);
        assert!(bastion.jitd(&["init"]).status.success());
        if !plane.is_managed() {
            plane.trust(&bastion.dir.join("var/ca/play/root.crt"));
        }
        bastion.apply_rights();
        bastion
    }

    /// Writes the policy; a running daemon reloads it at SIGHUP.
    pub(crate) fn write_policy(&self, policy: &str) {
        let written = policy.replace("SHOP", &self.shop).replace("NS", &self.ns);
        std::fs::write(self.dir.join("policy.yaml"), written).unwrap();
    }

    /// Namespaces, roles and an object to read.
    fn furnish(&self) {
        for namespace in [&self.ns, &self.shop] {
            self.admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } }));
            let path = format!("/api/v1/namespaces/{namespace}/configmaps");
            self.admin.create(&path, &json!({ "metadata": { "name": "seen" }, "data": { "by": "whoever may" } }));
        }
        let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        let rule =
            |resource: &str, verbs: &[&str]| json!({ "apiGroups": [""], "resources": [resource], "verbs": verbs });
        let role =
            |name: &str, rules: Value| json!({ "metadata": { "name": format!("{}-{name}", self.ns) }, "rules": rules });
        self.admin.create(roles, &role("debug", json!([rule("pods", &["get", "list"]), rule("pods/log", &["get"])])));
        self.admin.create(roles, &role("nodes", json!([rule("nodes", &["get", "list"])])));
        self.admin.create(roles, &role("empty", json!([])));
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles", self.ns);
        self.admin.create(&path, &json!({ "metadata": { "name": "local" }, "rules": [rule("configmaps", &["get"])] }));
    }

    /// The daemon's rights only: the admission policies act on everybody in the cluster, and other tests make
    /// what they forbid. Not by kubectl, which takes most of a second and would be started by nearly every test.
    fn apply_rights(&self) {
        self.apply_rights_in("play", &self.admin);
    }

    /// The same in any cluster of the configuration.
    pub(crate) fn apply_rights_in(&self, cluster: &str, admin: &Admin) {
        let printed = self.manifest_of(cluster);
        let documents = printed.split("---\n").map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
        let rights = documents.filter(|document| document["apiVersion"] == "rbac.authorization.k8s.io/v1");
        let mut count = 0;
        for right in rights {
            let kind = format!("{}s", right["kind"].as_str().unwrap().to_lowercase());
            let place = right["metadata"]["namespace"].as_str();
            let place = place.map_or(String::new(), |namespace| format!("/namespaces/{namespace}"));
            admin.create(&format!("/apis/rbac.authorization.k8s.io/v1{place}/{kind}"), &right);
            count += 1;
        }
        assert!(count >= 2, "{printed}");
    }

    /// Removes what [`apply_rights_in`](Self::apply_rights_in) made.
    pub(crate) fn remove_rights(&self, admin: &Admin) {
        for kind in ["clusterroles", "clusterrolebindings"] {
            let path = format!(
                "/apis/rbac.authorization.k8s.io/v1/{kind}?labelSelector=app.kubernetes.io%2Finstance%3D{}",
                self.host
            );
            admin.call(http::Method::DELETE, &path, &Value::Null);
        }
    }

    /// The output of `jitd manifest`.
    pub(crate) fn manifest(&self) -> String {
        self.manifest_of("play")
    }

    fn manifest_of(&self, cluster: &str) -> String {
        let printed = self.jitd(&["manifest", cluster]);
        assert!(printed.status.success(), "{}", text(&printed.stderr));
        text(&printed.stdout)
    }

    /// `kubectl apply` as the administrator, and its output.
    pub(crate) fn apply(&self, documents: &str) -> String {
        let file = self.dir.join("applied.yaml");
        std::fs::write(&file, documents).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()])
    }

    /// kubectl as the administrator, and its output.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let mut kubectl = Command::new(root().join("bin/kubectl"));
        let kubectl = kubectl.arg("--kubeconfig").arg(&self.plane.kubeconfig).args(arguments).output().unwrap();
        assert!(kubectl.status.success(), "{}", text(&kubectl.stderr));
        text(&kubectl.stdout)
    }

    /// Runs a verb of `jitd` on this configuration.
    pub(crate) fn jitd(&self, arguments: &[&str]) -> Output {
        self.jitd_command(arguments).output().unwrap()
    }

    pub(crate) fn jitd_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(root().join("bin/jitd"));
        command.arg("--config").arg(self.dir.join("config.yaml")).args(arguments).env_remove("NOTIFY_SOCKET");
        command
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn serve(&mut self) {
        self.serve_as(Command::new(root().join("bin/jitd")));
    }

    /// The same by a command of the test's, which runs the daemon in its own place.
    pub(crate) fn serve_as(&mut self, program: Command) {
        self.spawn_as(program);
        until("the daemon answers", || {
            assert!(self.is_running(), "the daemon ended: {}", self.log());
            // Root may connect before the socket is open to others.
            let mode = std::fs::metadata(self.socket()).ok()?.permissions().mode();
            std::os::unix::net::UnixStream::connect(self.socket()).ok().filter(|_| mode & 0o020 != 0)
        });
    }

    /// The same on a disk that can be filled and emptied.
    pub(crate) fn serve_on_a_small_disk(&mut self) {
        let mut daemon = Command::new("env");
        daemon.arg(SURVIVES_A_FULL_DISK).arg(root().join("bin/jitd"));
        self.serve_as(daemon);
    }

    /// From now on the daemon's disk takes nothing: a limit on the size of files stands for it. No commit is as short, and one
    /// that comes after all of the log was carried over is written from the log's beginning.
    pub(crate) fn fill_disk(&self) {
        self.limit_files("4096");
    }

    pub(crate) fn make_room(&self) {
        self.limit_files("unlimited");
    }

    /// How large the last written of the trail's files is.
    pub(crate) fn size_of_log(&self) -> u64 {
        std::fs::metadata(self.dir.join("var/trail.db-wal")).unwrap().len()
    }

    fn limit_files(&self, size: &str) {
        let pid = self.pid().to_string();
        let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={size}:")]).output().unwrap();
        assert!(limited.status.success(), "{}", text(&limited.stderr));
    }

    /// Starts the daemon without waiting.
    pub(crate) fn spawn(&mut self) {
        self.spawn_as(Command::new(root().join("bin/jitd")));
    }

    fn spawn_as(&mut self, program: Command) {
        self.spawn_with(program, Stdio::null());
    }

    /// The same with something on its standard input.
    pub(crate) fn spawn_with(&mut self, mut program: Command, input: Stdio) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).unwrap();
        program.arg("--config").arg(self.dir.join("config.yaml")).arg("serve").env_remove("NOTIFY_SOCKET");
        self.daemon = Some(program.stdin(input).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.try_wait().unwrap().is_none())
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.kill());
            daemon.wait().unwrap();
        }
    }

    /// Sends SIGTERM; whether it ended with success.
    pub(crate) fn terminate(&mut self) -> bool {
        let mut daemon = self.daemon.take().unwrap();
        assert!(Command::new("kill").arg(daemon.id().to_string()).status().unwrap().success());
        daemon.wait().unwrap().success()
    }

    /// Waits for a daemon that was told to end; whether it ended with success.
    pub(crate) fn ended_well(&mut self) -> bool {
        let mut daemon = self.daemon.take().unwrap();
        until_within(Duration::from_secs(20), "the daemon ends", || daemon.try_wait().unwrap()).success()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("run/api.sock")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.dir.join("run/admin.sock")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The daemon's log contains no fault of its own.
    pub(crate) fn has_no_fault(&self) {
        let log = self.log();
        let fault = log.lines().find(|line| line.contains(" ERROR ") || line.contains("panicked"));
        assert_eq!(fault, None, "{log}");
    }

    /// The whole exported trail, one value per line.
    pub(crate) fn trail(&self) -> Vec<Value> {
        let exported = self.jitd(&["audit", "export"]);
        assert!(exported.status.success(), "{}", text(&exported.stderr));
        text(&exported.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Replaces one piece of the configuration, for the next start.
    pub(crate) fn rewrite_config(&self, from: &str, to: &str) {
        let file = self.dir.join("config.yaml");
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(written.contains(from), "{from}");
        std::fs::write(file, written.replace(from, to)).unwrap();
    }

    // ---- what people do ----

    /// A call over the socket by a process of this person.
    pub(crate) fn call(&self, person: Person, method: &str, path: &str, body: &Value) -> Answer {
        self.attempt(person, method, path, body).unwrap()
    }

    /// The same to a daemon that may be killed meanwhile.
    pub(crate) fn attempt(&self, person: Person, method: &str, path: &str, body: &Value) -> Result<Answer, String> {
        Self::attempt_at(&self.socket(), person, method, path, body)
    }

    /// A call through the admin socket.
    pub(crate) fn operate(&self, person: Person, method: &str, path: &str, body: &Value) -> Answer {
        Self::attempt_at(&self.admin_socket(), person, method, path, body).unwrap()
    }

    pub(crate) fn attempt_at(
        socket: &Path,
        person: Person,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Answer, String> {
        crate::agent::call(person, socket, method, path, body)
    }

    /// Curl as this person with any arguments and any input: what it wrote, and `HTTP-STATUS CONTENT-TYPE` in
    /// its last line.
    pub(crate) fn curl(&self, person: Person, arguments: &[&str], input: &[u8]) -> Output {
        Self::curl_at(&self.socket(), person, arguments, input)
    }

    /// The same through any socket.
    pub(crate) fn curl_at(socket: &Path, person: Person, arguments: &[&str], input: &[u8]) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "100", "--write-out", "\n%{http_code} %{content_type}"])
            .arg("--unix-socket")
            .arg(socket)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut curl = as_person(&mut curl, person).spawn().unwrap();
        // It may have ended without reading all of it.
        drop(curl.stdin.take().unwrap().write_all(input));
        curl.wait_with_output().unwrap()
    }

    pub(crate) fn get(&self, person: Person, path: &str) -> Answer {
        self.call(person, "GET", path, &Value::Null)
    }

    /// What `/metrics` says of `jitd_` and this name, labels and all.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.get(ERIN, "/metrics").1;
        let text = text.as_str().unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix("jitd_")?.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no jitd_{name}: {text}")).parse().unwrap()
    }

    pub(crate) fn post(&self, person: Person, path: &str, body: &Value) -> Answer {
        self.call(person, "POST", path, body)
    }

    /// Alice's usual request: `view` in the first namespace.
    pub(crate) fn ask(&self, duration: &str) -> Value {
        json!({ "cluster": "play", "namespaces": [self.ns], "role": "view", "duration": duration, "reason": "INC-42 queue stuck" })
    }

    /// Requests access; this must succeed.
    pub(crate) fn request(&self, person: Person, ask: &Value, key: &Key) -> Value {
        let (status, grant) = self.post(person, "/v1/grants", &json!({ "ask": ask, "csr": key.csr() }));
        assert_eq!(status, 201, "{grant}");
        grant
    }

    /// Approves the grant as it is shown.
    pub(crate) fn approve(&self, person: Person, grant: &Value) -> Answer {
        self.post(person, &path(grant, "/approve"), &json!({ "digest": grant["digest"] }))
    }

    /// Collects or renews.
    pub(crate) fn certificate(&self, person: Person, grant: &Value, key: &Key) -> Answer {
        self.post(person, &path(grant, "/certificate"), &json!({ "csr": key.csr() }))
    }

    /// All steps from the request to working access, as alice, with bob's approval.
    pub(crate) fn live(&self, ask: &Value) -> Access {
        let key = Key::new();
        let grant = self.request(ALICE, ask, &key);
        assert_eq!(self.approve(BOB, &grant).0, 200);
        self.collect(&grant, key)
    }

    /// The access of an approved grant of alice.
    #[track_caller]
    pub(crate) fn collect(&self, grant: &Value, key: Key) -> Access {
        let (status, certificate) = self.certificate(ALICE, grant, &key);
        assert_eq!(status, 200, "{certificate}");
        let chain = certificate["certificate"].as_str().unwrap().to_owned();
        let client = Admin::with_certificate(self.plane, &chain, &key.pem());
        Access { grant: grant.clone(), key, chain, client }
    }

    /// The grant as this person sees it now.
    pub(crate) fn show(&self, person: Person, grant: &Value) -> Value {
        let (status, shown) = self.get(person, &path(grant, ""));
        assert_eq!(status, 200, "{shown}");
        shown
    }

    /// Waits until the grant is in one of these phases.
    pub(crate) fn wait_for(&self, grant: &Value, phases: &[&str]) -> Value {
        until(&format!("{phases:?}"), || {
            let shown = self.show(ERIN, grant);
            phases.contains(&shown["phase"].as_str().unwrap()).then_some(shown)
        })
    }

    /// The kinds of the trail's entries about a grant.
    pub(crate) fn kinds(&self, grant: &Value) -> Vec<String> {
        let (status, answer) = self.get(ERIN, &path(grant, "/events"));
        assert_eq!(status, 200, "{answer}");
        answer["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["event"]["kind"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The path of a grant's RoleBinding in the first namespace.
    pub(crate) fn binding_path(&self, grant: &Value) -> String {
        let id = grant["id"].as_str().unwrap();
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings/jit-{id}", self.ns)
    }

    /// The names of all bindings that carry this daemon's label.
    pub(crate) fn bindings(&self) -> Vec<String> {
        let mut names = Vec::new();
        for kind in ["rolebindings", "clusterrolebindings"] {
            let path =
                format!("/apis/rbac.authorization.k8s.io/v1/{kind}?labelSelector=jitd.dev%2Fhost%3D{}", self.host);
            let (status, list) = self.admin.get(&path);
            assert_eq!(status, 200);
            names.extend(
                list["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()),
            );
        }
        names
    }

    /// The answer for the configmaps of a namespace with this access.
    pub(crate) fn look(&self, access: &Access, namespace: &str) -> u16 {
        access.client.get(&format!("/api/v1/namespaces/{namespace}/configmaps")).0
    }

    /// The real client, as this person, in a home of their own.
    pub(crate) fn login(&self, person: Person, arguments: &[&str]) -> Output {
        let mut command = self.login_command(person, "jit-login");
        command.args(arguments).output().unwrap()
    }

    /// The home of this person.
    pub(crate) fn home(&self, person: Person) -> PathBuf {
        self.dir.join("home").join(person.uid.to_string())
    }

    /// Any program of the run's `bin`, as this person, in a home of their own.
    pub(crate) fn login_command(&self, person: Person, program: &str) -> Command {
        let home = self.home(person);
        std::fs::create_dir_all(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(person.uid), Some(person.uid)).unwrap();
        let mut command = Command::new(root().join("bin").join(program));
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", root().join("bin").display()))
            .env("HOME", &home)
            .env("JITD_SOCKET", self.socket())
            .current_dir(&home)
            .stdin(Stdio::null());
        as_person(&mut command, person);
        command
    }
}

impl Drop for Bastion<'_> {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- log of the daemon in {}\n{}", self.dir.display(), self.log());
        }
        // The namespaces themselves go with the control plane: to remove one it asks for every kind of object there is,
        // which costs more than most tests do. Bindings go now, for every daemon looks at all that there are.
        for namespace in [&self.ns, &self.shop] {
            for kind in ["rolebindings", "roles"] {
                let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{kind}");
                self.admin.call(http::Method::DELETE, &path, &Value::Null);
            }
        }
        for name in ["debug", "nodes", "empty"] {
            let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{}-{name}", self.ns);
            self.admin.call(http::Method::DELETE, &path, &Value::Null);
        }
        self.remove_rights(&self.admin);
    }
}

/// Access that worked when it was made.
pub(crate) struct Access {
    pub(crate) grant: Value,
    pub(crate) key: Key,
    pub(crate) chain: String,
    /// The API server as the holder of the certificate reaches it.
    pub(crate) client: Admin,
}

/// A client's key.
pub(crate) struct Key(KeyPair);

impl Key {
    pub(crate) fn new() -> Self {
        Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    /// A key that lies in a file.
    pub(crate) fn read(pem: &str) -> Self {
        Self(KeyPair::from_pem(pem).unwrap())
    }

    pub(crate) fn csr(&self) -> String {
        CertificateParams::default().serialize_request(&self.0).unwrap().pem().unwrap()
    }

    pub(crate) fn pem(&self) -> String {
        self.0.serialize_pem()
    }
}

/// The path of a route about a grant.
pub(crate) fn path(grant: &Value, rest: &str) -> String {
    format!("/v1/grants/{}{rest}", grant["id"].as_str().unwrap())
}

/// The exit code of the real client, called by this person, and what it wrote to stdout and stderr.
pub(crate) fn said(bastion: &Bastion<'_>, person: Person, words: &[&str]) -> (Option<i32>, String, String) {
    let done = bastion.login(person, words);
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command as a person: their uid, a group of the same number, no further groups.
pub(crate) fn as_person(command: &mut Command, person: Person) -> &mut Command {
    if person.uid != 0 {
        command.uid(person.uid).gid(person.uid);
    }
    command
}

/// The folder of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

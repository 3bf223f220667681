//! A control plane for tests: built by `tests/controlplane/build.sh`, started by its launcher, ended with
//! this process, for the launcher watches its standard input.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use http::Method;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::client::jit_login;

/// A folder under the system's temporary folder that everybody may enter, for tests run other accounts'
/// commands in it. It goes with the next run.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = root().join(format!("{name}-{number}"));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// The folder of this run, with the programs that other accounts have to be able to start.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        remove_leftovers();
        let root = std::env::temp_dir().join(format!("jitd-it-{}", std::process::id()));
        std::fs::create_dir_all(root.join("bin")).unwrap();
        let login = jit_login().unwrap();
        // They are built with the other one.
        let [gateway, notify, frontend] =
            ["jit-gateway", "jit-notify", "jit-frontend"].map(|name| login.with_file_name(name));
        for (name, path) in [
            ("jitd", Path::new(env!("CARGO_BIN_EXE_jitd"))),
            ("jit-login", &login),
            ("jit-gateway", &gateway),
            ("jit-notify", &notify),
            ("jit-frontend", &frontend),
        ] {
            std::fs::copy(path, root.join("bin").join(name)).unwrap();
        }
        std::os::unix::fs::symlink("jit-login", root.join("bin/kubectl-jit")).unwrap();
        std::fs::copy(programs().join("kubectl"), root.join("bin/kubectl")).unwrap();
        root
    })
}

/// What runs before left, for a process can't remove its folder after itself; those of running ones stay.
fn remove_leftovers() {
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("jitd-it-")).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// The folder with etcd, kube-apiserver, kube-controller-manager, kubectl, launch, whois and kubelet.
pub(crate) fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/build.sh");
        let built = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(built.status.success(), "the control plane could not be built");
        PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
    })
}

/// One running control plane.
pub(crate) struct Plane {
    /// `https://127.0.0.1:PORT`.
    pub(crate) server: String,
    /// A second API server on the same etcd, if there is one.
    pub(crate) second: String,
    /// The administrator's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    /// The authority of the serving certificate.
    pub(crate) ca: PathBuf,
    /// The file of `--client-ca-file`, which is read again when it changes.
    pub(crate) client_ca: PathBuf,
    /// The API server's audit log.
    pub(crate) audit: PathBuf,
    /// Where the keys and logs are.
    pub(crate) dir: PathBuf,
    tokens: PathBuf,
    managed: bool,
    node: OnceLock<Node>,
    output: Mutex<BufReader<std::process::ChildStdout>>,
    child: Mutex<Child>,
    _input: ChildStdin,
}

impl Plane {
    /// The one that tests share; no test may stop it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Plane> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A second one, for a test that stops it or needs two. One test has it at a time: a start costs more than any test.
    pub(crate) fn to_stop() -> MutexGuard<'static, Self> {
        static SECOND: OnceLock<Mutex<Plane>> = OnceLock::new();
        let plane = SECOND.get_or_init(|| Mutex::new(Self::start())).lock().unwrap_or_else(PoisonError::into_inner);
        // A test that failed may have left it stopped.
        plane.start_api_server();
        plane
    }

    /// The shared one that stands for a provider's cluster, such as EKS: its API server does not trust the daemon's
    /// authority, and no test can add it. Users log in with a token.
    pub(crate) fn managed() -> &'static Self {
        static MANAGED: OnceLock<Plane> = OnceLock::new();
        MANAGED.get_or_init(|| {
            let mut plane = Self::start();
            plane.managed = true;
            plane
        })
    }

    /// The shared one whose API server behaves like one of Kubernetes 1.33, the oldest that it can: it knows only the verb
    /// `impersonate`, like every one before 1.36.
    pub(crate) fn unconstrained() -> &'static Self {
        static OLD: OnceLock<Plane> = OnceLock::new();
        OLD.get_or_init(|| Self::start_with(&["--emulate", "1.33"]))
    }

    /// One of its own, for a test that leaves it in disorder.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more flags for the launcher.
    pub(crate) fn start_with(flags: &[&str]) -> Self {
        let dir = scratch("plane");
        let mut child = Command::new(programs().join("launch"))
            .arg("--bin")
            .arg(programs())
            .arg("--dir")
            .arg(&dir)
            .arg("--until-stdin-closes")
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect("the launcher says where the control plane is");
        let path = |name: &str| PathBuf::from(told[name].as_str().unwrap());
        Self {
            server: told["server"].as_str().unwrap().to_owned(),
            second: told["second"].as_str().unwrap().to_owned(),
            kubeconfig: path("kubeconfig"),
            ca: path("ca"),
            client_ca: path("clientCA"),
            audit: path("audit"),
            dir: path("dir"),
            tokens: path("tokens"),
            managed: false,
            node: OnceLock::new(),
            output: Mutex::new(output),
            _input: child.stdin.take().unwrap(),
            child: Mutex::new(child),
        }
    }

    /// Whether this is the plane of [`managed`](Self::managed).
    pub(crate) fn is_managed(&self) -> bool {
        self.managed
    }

    /// A client certificate for this user in no group, and its key, both PEM, from the cluster's own authority.
    pub(crate) fn certificate(&self, user: &str) -> (String, String) {
        let read = |name: &str| std::fs::read_to_string(self.dir.join(name)).unwrap();
        let own = KeyPair::from_pem(&read("own-client-ca.key")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("own-client-ca.crt"), own).unwrap();
        let (mut leaf, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        leaf.distinguished_name = DistinguishedName::new();
        leaf.distinguished_name.push(DnType::CommonName, user);
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (leaf.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Lets the API server trust one more root.
    pub(crate) fn trust(&self, root: &Path) {
        assert!(!self.managed, "no authority can be added to a managed cluster");
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap();
        let pem = std::fs::read(root).unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(&self.client_ca).unwrap();
        file.write_all(&pem).unwrap();
    }

    /// The name of this plane's node, for tests whose pods have to run. The first call starts the kubelet. It ends with
    /// the plane, and ends the processes of its pods.
    pub(crate) fn node(&self) -> &str {
        &self.node.get_or_init(|| Node::start(&self.dir)).name
    }

    /// Adds the aggregated API metrics.k8s.io, which the node serves, to the API of this plane, and waits until it answers.
    pub(crate) fn serve_metrics(&self) {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let admin = self.admin();
        let (services, path) = ("/apis/apiregistration.k8s.io/v1/apiservices", "v1beta1.metrics.k8s.io");
        let (_, node) = admin.get(&format!("/api/v1/nodes/{}", self.node()));
        if admin.get(&format!("{services}/{path}")).0 == 404 {
            // Only this kind of Service can lead to this host: endpoints must not be loopback addresses.
            let service = json!({ "type": "ExternalName", "externalName": "localhost" });
            let namespace = "/api/v1/namespaces/kube-system/services";
            admin.create(namespace, &json!({ "metadata": { "name": "metrics" }, "spec": service }));
            let spec = json!({
                "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "caBundle": base64(&std::fs::read_to_string(&self.ca).unwrap()),
                "service": {
                    "namespace": "kube-system", "name": "metrics",
                    "port": node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"],
                },
            });
            admin.create(services, &json!({ "metadata": { "name": path }, "spec": spec }));
        }
        until_within(std::time::Duration::from_secs(30), "the API of metrics is part of discovery", || {
            let (_, groups) = admin.get("/apis");
            groups["groups"].as_array()?.iter().any(|group| group["name"] == "metrics.k8s.io").then_some(())?;
            (admin.get("/apis/metrics.k8s.io/v1beta1/nodes").0 == 200).then_some(())
        });
    }

    /// The token of a user of the token file: `admin`, `jitd` or `jit-gateway`. The last two are in no group of their own and
    /// have no rights.
    pub(crate) fn token(&self, user: &str) -> String {
        let file = std::fs::read_to_string(&self.tokens).unwrap();
        let mut users = file.lines().map(|line| line.split(',').collect::<Vec<_>>());
        users.find(|fields| fields[1] == user).expect("a user of the token file")[0].to_owned()
    }

    /// A kubeconfig with the token of such a user.
    pub(crate) fn token_kubeconfig(&self, user: &str) -> PathBuf {
        let mut file = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        file.auth_infos[0].auth_info = Some(AuthInfo { token: Some(self.token(user).into()), ..AuthInfo::default() });
        let path = scratch("kubeconfig").join(format!("{user}.kubeconfig"));
        std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
        path
    }

    /// Ends the API server only, and waits until it is gone.
    pub(crate) fn stop_api_server(&self) {
        self.signal("USR1", "apiserver-stopped");
    }

    /// Starts it again on the same port, and waits until it is ready.
    pub(crate) fn start_api_server(&self) {
        self.signal("USR2", "apiserver-ready");
    }

    fn signal(&self, signal: &str, event: &str) {
        let pid = self.child.lock().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let mut line = String::new();
        self.output.lock().unwrap().read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(told["event"], event, "{line}");
    }

    /// The administrator.
    pub(crate) fn admin(&self) -> Admin {
        Admin::new(&self.kubeconfig)
    }
}

/// The kubelet of `tests/controlplane`, which ends when its input does.
struct Node {
    name: String,
    child: Child,
}

impl Node {
    fn start(dir: &Path) -> Self {
        let log = std::fs::File::create(dir.join("kubelet.log")).unwrap();
        let mut child = Command::new(programs().join("kubelet"))
            .arg("--dir")
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect("the kubelet says which node it is");
        Self { name: told["node"].as_str().unwrap().to_owned(), child }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        drop(self.node.take());
        drop(self.child.lock().unwrap().kill());
        drop(self.child.lock().unwrap().wait());
    }
}

/// The API server as somebody with a kubeconfig reaches it: paths and JSON as the documentation has them.
pub(crate) struct Admin {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

/// A status and a body.
pub(crate) type Answer = (u16, Value);

impl Admin {
    pub(crate) fn new(kubeconfig: &Path) -> Self {
        let file = Kubeconfig::read_from(kubeconfig).unwrap();
        Self::of(|| async { Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap() })
    }

    /// Somebody with a client certificate.
    pub(crate) fn with_certificate(plane: &Plane, chain_pem: &str, key_pem: &str) -> Self {
        let mut file = Kubeconfig::read_from(&plane.kubeconfig).unwrap();
        let user = file.auth_infos[0].auth_info.as_mut().unwrap();
        user.client_certificate_data = Some(base64(chain_pem));
        user.client_key_data = Some(base64(key_pem).into());
        Self::of(|| async { Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap() })
    }

    /// The administrator in somebody else's name.
    pub(crate) fn posing_as(plane: &Plane, user: &str, groups: &[&str]) -> Self {
        let mut file = Kubeconfig::read_from(&plane.kubeconfig).unwrap();
        let posed = file.auth_infos[0].auth_info.as_mut().unwrap();
        posed.impersonate = Some(user.to_owned());
        posed.impersonate_groups = Some(groups.iter().map(ToString::to_string).collect());
        Self::of(|| async { Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap() })
    }

    fn of<F: Future<Output = Config>>(config: impl FnOnce() -> F) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async { Client::try_from(config().await).unwrap() });
        Self { runtime, client }
    }

    /// Any call; a refusal is an answer like others.
    pub(crate) fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.call_with(&[], method, path, body)
    }

    /// The same with more headers.
    pub(crate) fn call_with(&self, headers: &[(&str, &str)], method: Method, path: &str, body: &Value) -> Answer {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        self.send(method, path, kind, headers, body)
    }

    /// The same with a body of any kind.
    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(body).unwrap();
        match self.runtime.block_on(self.client.request::<Value>(request)) {
            Ok(answer) => (200, answer),
            Err(kube::Error::Api(status)) => (status.code, serde_json::to_value(&*status).unwrap()),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &Value::Null)
    }

    pub(crate) fn create(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(Method::POST, path, body);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(Method::PATCH, path, body);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(crate) fn delete(&self, path: &str) {
        let (status, answer) = self.call(Method::DELETE, path, &Value::Null);
        assert_eq!(status, 200, "{path}: {answer}");
    }
}

pub(crate) fn base64(text: &str) -> String {
    // A kubeconfig holds base64; the PEM body of any block is just that.
    let block = pem::Pem::new("X", text.as_bytes());
    pem::encode(&block).lines().filter(|line| !line.starts_with('-')).collect()
}

/// Polls `met` until it gives something, for at most ten seconds.
pub(crate) fn until<T>(what: &str, met: impl FnMut() -> Option<T>) -> T {
    until_within(std::time::Duration::from_secs(10), what, met)
}

/// How much longer `run` takes than `baseline`, each at its best of 20 turns: a busy machine slows both down.
pub(crate) fn longer_than(mut baseline: impl FnMut(), mut run: impl FnMut()) -> std::time::Duration {
    let time = |part: &mut dyn FnMut()| {
        let begun = std::time::Instant::now();
        part();
        begun.elapsed()
    };
    let turns: Vec<_> = (0..20).map(|_| (time(&mut baseline), time(&mut run))).collect();
    let best = |of: fn(&(std::time::Duration, std::time::Duration)) -> std::time::Duration| turns.iter().map(of).min();
    best(|turn| turn.1).unwrap().saturating_sub(best(|turn| turn.0).unwrap())
}

/// Polls `met` until it gives something, for at most `limit`.
pub(crate) fn until_within<T>(limit: std::time::Duration, what: &str, mut met: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(thing) = met() {
            return thing;
        }
        let waited = begun.elapsed();
        assert!(waited < limit, "not within {limit:?}: {what}");
        pause(waited);
    }
}

/// Between two looks at a condition. A twentieth of what was waited already: one that takes a minute, when each look is
/// a process or a call, is not looked at a hundred times a second.
#[expect(clippy::disallowed_methods, reason = "the one pause between two looks at a condition")]
fn pause(waited: std::time::Duration) {
    let (shortest, longest) = (std::time::Duration::from_millis(10), std::time::Duration::from_millis(200));
    std::thread::sleep((waited / 20).clamp(shortest, longest));
}

//! Access through `jit-gateway`: what real clients see of it, and that all of it ends with the grant.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, Options, Person, text};
use crate::dial::give_kubeconfig;
use crate::kubelet::Pods;
use crate::plane::{Plane, root, until, until_within};

/// What alice may request.
pub(crate) const POLICY: &str = r#"
rules:
  - name: payments
    who: [payments-oncall]
    clusters: [play]
    namespaces: [NS]
    roles: [view, edit]
    maxDuration: 10m
    approval: [{groups: [payments-leads]}]
"#;

/// A gateway in front of a cluster, and the daemon that it listens to.
pub(crate) struct Front<'a> {
    pub(crate) bastion: Bastion<'a>,
    away: Option<&'static Plane>,
    gateway: Option<Child>,
    pub(crate) port: u16,
}

impl Front<'static> {
    /// Of a provider's cluster, whose API server does not trust the daemon's authority.
    pub(crate) fn start() -> Self {
        Self::of(Plane::managed())
    }
}

impl<'a> Front<'a> {
    pub(crate) fn of(plane: &'a Plane) -> Self {
        Self::with(plane, None, Options::default().times)
    }

    /// The same with other times, and with a second cluster, `away`, which trusts the daemon's authority.
    pub(crate) fn with(plane: &'a Plane, away: Option<&'static Plane>, times: &'static str) -> Self {
        let cluster = ", access: gateway, gatewayUser: \"system:serviceaccount:NS:gateway\"".to_owned();
        let policy = POLICY.replace("[play]", if away.is_some() { "[play, away]" } else { "[play]" });
        let config = away.map_or(String::new(), |away| {
            let (server, ca) = (&away.server, away.ca.display());
            format!(
                "- {{name: away, server: \"{server}\", certificateAuthority: \"{ca}\", access: gateway, gatewayUser: jit-gateway}}\n"
            )
        });
        let bastion = Bastion::prepared(plane, Options { config, cluster, policy, times, ..Options::default() });
        if plane.is_managed() {
            give_kubeconfig(&bastion, None);
        }
        Self::before_both(bastion, away)
    }

    /// With more of the cluster's entry in the daemon's configuration.
    pub(crate) fn told(plane: &'a Plane, more: &str) -> Self {
        let cluster = format!(", access: gateway, gatewayUser: \"system:serviceaccount:NS:gateway\"{more}");
        let policy = POLICY.to_owned();
        Self::before(Bastion::prepared(plane, Options { cluster, policy, ..Options::default() }))
    }

    /// Of the cluster of a daemon that does not serve yet. The gateway is the service account `gateway`.
    pub(crate) fn before(bastion: Bastion<'a>) -> Self {
        Self::before_both(bastion, None)
    }

    fn before_both(bastion: Bastion<'a>, away: Option<&'static Plane>) -> Self {
        let accounts = format!("/api/v1/namespaces/{}/serviceaccounts", bastion.ns);
        bastion.admin.create(&accounts, &json!({ "metadata": { "name": "gateway" } }));
        let asked = json!({ "spec": { "expirationSeconds": 3600 } });
        let token = bastion.admin.create(&format!("{accounts}/gateway/token"), &asked)["status"]["token"].clone();
        let mut clusters = vec![json!({ "name": "play", "kubeconfig": "gateway.kubeconfig" })];
        write_kubeconfig(&bastion.dir.join("gateway.kubeconfig"), bastion.plane, &token);
        if let Some(away) = away {
            let admin = away.admin();
            away.trust(&bastion.dir.join("var/ca/away/root.crt"));
            admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": bastion.ns } }));
            bastion.apply_rights_in("away", &admin);
            write_kubeconfig(&bastion.dir.join("away.kubeconfig"), away, &json!(away.token("jit-gateway")));
            clusters.push(json!({ "name": "away", "kubeconfig": "away.kubeconfig" }));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = json!({
            "listen": format!("127.0.0.1:{port}"), "server": format!("https://127.0.0.1:{port}"),
            "feed": "run/feed.sock", "state": "gateway", "clusters": clusters,
        });
        std::fs::write(bastion.dir.join("gateway.yaml"), config.to_string()).unwrap();
        let mut front = Self { bastion, away, gateway: None, port };
        front.bastion.serve();
        front.serve();
        front
    }

    /// Starts the gateway, and waits until the daemon knows it.
    pub(crate) fn serve(&mut self) {
        self.serve_as(Command::new(root().join("bin/jit-gateway")));
    }

    /// The same by a command of the test's.
    pub(crate) fn serve_as(&mut self, program: Command) {
        let before = self.connections();
        self.spawn_as(program);
        self.connected_after(before);
    }

    /// Starts the gateway without waiting.
    pub(crate) fn spawn_as(&mut self, mut program: Command) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        program.arg("serve").arg("--config").arg(self.bastion.dir.join("gateway.yaml"));
        self.gateway = Some(program.stdin(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// How often the gateway has connected to the daemon.
    pub(crate) fn connections(&self) -> usize {
        self.bastion.log().matches("the gateway is connected").count()
    }

    /// Waits until it has connected again.
    pub(crate) fn connected_after(&self, before: usize) {
        until("the gateway is connected", || (self.connections() > before).then_some(()));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.gateway.as_ref().unwrap().id()
    }

    /// The URL that people get.
    pub(crate) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut gateway) = self.gateway.take() {
            drop(gateway.kill());
            gateway.wait().unwrap();
        }
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.bastion.dir.join("gateway.log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A live grant of alice's in the namespace, by the real client.
    pub(crate) fn live(&self, role: &str) -> String {
        self.live_in("play", role, "5m")
    }

    pub(crate) fn live_in(&self, cluster: &str, role: &str, window: &str) -> String {
        let id = self.approved(cluster, role, window);
        self.says(ALICE, &["wait", &id]);
        id
    }

    /// A grant that only has to be collected.
    pub(crate) fn approved(&self, cluster: &str, role: &str, window: &str) -> String {
        let words =
            ["request", cluster, "-n", &self.bastion.ns, "--role", role, "--for", window, "--reason", "INC-1 x"];
        let id = text(&self.says(ALICE, &[&words[..], &["--no-wait"]].concat())).trim().to_owned();
        self.says(BOB, &["approve", &id, "--yes"]);
        id
    }

    /// The certificate and the key of a grant, PEM.
    pub(crate) fn credential(&self, grant: &str) -> [String; 2] {
        let said: Value = serde_json::from_slice(&self.says(ALICE, &["credential", "--grant", grant])).unwrap();
        ["clientCertificateData", "clientKeyData"].map(|part| said["status"][part].as_str().unwrap().to_owned())
    }

    /// The root of the gateway's serving certificate.
    pub(crate) fn serving_root(&self) -> std::path::PathBuf {
        self.bastion.dir.join("gateway/serving-root.crt")
    }

    pub(crate) fn says(&self, person: Person, words: &[&str]) -> Vec<u8> {
        let done = self.bastion.login(person, words);
        assert!(done.status.success(), "{words:?}: {}", text(&done.stderr));
        done.stdout
    }

    /// kubectl with a grant, as alice runs it.
    pub(crate) fn kubectl(&self, grant: &str, words: &[&str]) -> Command {
        let mut command = self.bastion.login_command(ALICE, "jit-login");
        command.args(["run", grant, "--", "kubectl", "-n", &self.bastion.ns]).args(words);
        command
    }

    /// What kubectl wrote.
    pub(crate) fn kubectl_says(&self, grant: &str, words: &[&str]) -> String {
        let done = self.kubectl(grant, words).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", text(&done.stderr));
        text(&done.stdout)
    }

    /// A kubectl that runs on, after its first line.
    pub(crate) fn streams(&self, grant: &str, words: &[&str]) -> (Child, BufReader<ChildStdout>) {
        let mut command = self.kubectl(grant, words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{words:?} wrote nothing");
        (child, out)
    }

    /// The fact with which a grant ended.
    pub(crate) fn end_of(&self, grant: &str) -> Value {
        let ended = |entry: &Value| entry["grant"] == grant && entry["event"]["kind"] == "ended";
        until("the trail has the end", || self.bastion.trail().into_iter().find(ended))
    }
}

/// A kubeconfig with the credential of the gateway.
fn write_kubeconfig(path: &Path, plane: &Plane, token: &Value) {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "play",
        "clusters": [{ "name": "play", "cluster": {
            "server": plane.server, "certificate-authority": plane.ca,
        } }],
        "users": [{ "name": "gateway", "user": { "token": token } }],
        "contexts": [{ "name": "play", "context": { "cluster": "play", "user": "gateway" } }],
    });
    std::fs::write(path, kubeconfig.to_string()).unwrap();
}

impl Drop for Front<'_> {
    fn drop(&mut self) {
        self.kill();
        if let Some(away) = self.away {
            self.bastion.remove_rights(&away.admin());
        }
        if std::thread::panicking() {
            eprintln!("---- log of the gateway\n{}", self.log());
        }
    }
}

/// kubectl works, in the name and in the group of the grant, whether the API server trusts the authority or not.
#[test]
fn kubectl_works_through_the_gateway() {
    for plane in [Plane::shared(), Plane::managed()] {
        kubectl_works(&Front::of(plane));
    }
}

pub(crate) fn kubectl_works(front: &Front<'_>) {
    let grant = front.live("view");
    assert!(front.kubectl_says(&grant, &["get", "configmaps", "-o", "name"]).contains("configmap/seen"));
    let me: Value = serde_json::from_str(&front.kubectl_says(&grant, &["auth", "whoami", "-o", "json"])).unwrap();
    let user = &me["status"]["userInfo"];
    assert_eq!(user["username"], "jit:alice");
    assert_eq!(user["groups"], json!([format!("jit:{grant}"), "system:authenticated"]));
    let kubeconfig = text(&front.says(ALICE, &["kubeconfig", &grant]));
    let path = kubeconfig.trim().trim_start_matches("export KUBECONFIG=").to_owned();
    assert!(std::fs::read_to_string(path).unwrap().contains(&format!("https://127.0.0.1:{}", front.port)));
    // Nothing runs on after the window, so approvers are not warned of it.
    let shown: Value = serde_json::from_slice(&front.says(BOB, &["show", &grant, "-o", "json"])).unwrap();
    assert_eq!(
        (&shown["risks"]["mayStream"], &shown["risks"]["mayPersist"]),
        (&json!(false), &json!(false)),
        "{shown}"
    );
    let denied = front.kubectl(&grant, &["get", "secrets"]).output().unwrap();
    let why = text(&denied.stderr);
    assert!(!denied.status.success() && why.contains("User \"jit:alice\" cannot list resource \"secrets\""), "{why}");
}

/// Without a systemd manager nothing ends a command with its grant, but the gateway ends all that it has open: `run` says
/// nothing, and `shell` says what ends.
#[test]
fn a_command_through_the_gateway_runs_without_a_warning() {
    let front = Front::start();
    let grant = front.live("view");
    let done = front.kubectl(&grant, &["get", "configmap", "seen", "-o", "name"]).output().unwrap();
    assert_eq!((text(&done.stdout), text(&done.stderr)), ("configmap/seen\n".to_owned(), String::new()));
    let mut shell = front.bastion.login_command(ALICE, "jit-login");
    let done = shell.args(["shell", &grant]).env("SHELL", "/bin/sh").output().unwrap();
    let said =
        "this shell does not end with the grant: this login has no systemd manager of its own; its access does\n";
    assert_eq!(text(&done.stderr), said);
}

/// A watch ends with its grant, at once; that of another grant continues.
#[test]
fn a_watch_ends_with_its_grant() {
    let front = Front::start();
    let (one, other) = (front.live("view"), front.live("view"));
    let (mut watch, mut out) = front.streams(&one, &["get", "configmaps", "-w", "-o", "name"]);
    let (mut stays, mut of_other) = front.streams(&other, &["get", "configmaps", "-w", "-o", "name"]);
    front.says(ALICE, &["end", &one]);
    let begun = Instant::now();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    watch.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "the watch ran on for {:?}", begun.elapsed());
    assert_eq!(front.end_of(&one)["event"]["cut"], 1);

    let path = format!("/api/v1/namespaces/{}/configmaps", front.bastion.ns);
    front.bastion.admin.create(&path, &json!({ "metadata": { "name": "afterwards" } }));
    let mut line = String::new();
    while !line.contains("afterwards") {
        line.clear();
        assert_ne!(of_other.read_line(&mut line).unwrap(), 0, "the other watch ended");
    }
    drop(stays.kill());
    stays.wait().unwrap();
    let refused = front.kubectl(&one, &["get", "configmaps"]).output().unwrap();
    assert!(!refused.status.success());
}

/// A watch ends when its window does, without anybody asking; and a restart of the daemon within the lease cuts nothing.
#[test]
fn a_restart_of_the_daemon_cuts_nothing_and_a_revocation_does() {
    let mut front = Front::start();
    let grant = front.live("view");
    let (mut watch, mut out) = front.streams(&grant, &["get", "configmaps", "-w", "-o", "name"]);
    let before = front.connections();
    front.bastion.kill();
    front.bastion.serve();
    front.connected_after(before);
    let path = format!("/api/v1/namespaces/{}/configmaps", front.bastion.ns);
    front.bastion.admin.create(&path, &json!({ "metadata": { "name": "afterwards" } }));
    let mut line = String::new();
    while !line.contains("afterwards") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "the watch ended with the daemon");
    }
    let revoked = front.bastion.jitd(&["revoke", &grant, "--reason", "enough", "--yes"]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    watch.wait().unwrap();
    assert_eq!(front.end_of(&grant)["event"]["cut"], 1);
}

/// A daemon that stays away ends everything when the lease is over; an end while the gateway is away does not wait for it.
#[test]
fn silence_past_the_lease_ends_everything() {
    let mut front = Front::start();
    let grant = front.live("view");
    let (mut watch, mut out) = front.streams(&grant, &["get", "configmaps", "-w", "-o", "name"]);
    front.bastion.kill();
    let begun = Instant::now();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    watch.wait().unwrap();
    let lasted = begun.elapsed();
    assert!(lasted > Duration::from_secs(5) && lasted < Duration::from_secs(25), "{lasted:?}");
    assert!(front.log().contains("cut everything: jitd has been silent"), "{}", front.log());

    front.kill();
    front.bastion.serve();
    let begun = Instant::now();
    front.says(ALICE, &["end", &grant]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(front.end_of(&grant)["event"].get("cut"), None);
    // Nobody could use it now.
    let id = front.approved("play", "view", "5m");
    let refused = front.bastion.login(ALICE, &["wait", &id]);
    let why = text(&refused.stderr);
    assert!(!refused.status.success() && why.contains("jit-gateway is not connected"), "{why}");
    front.serve();
    until_within(Duration::from_secs(20), "the approval stood", || {
        front.bastion.login(ALICE, &["wait", &id]).status.success().then_some(())
    });
}

/// A pod `web-0` that runs.
pub(crate) fn run_pod(front: &Front<'_>, script: &str) {
    let pods = Pods::within(front.bastion.plane, front.bastion.ns.clone());
    pods.run("web-0", script, &json!({}));
    pods.reaches("web-0", &["Running"]);
}

/// The same, and a grant that may do everything with it.
pub(crate) fn with_a_pod(front: &Front<'_>, script: &str) -> String {
    run_pod(front, script);
    front.live("edit")
}

/// exec, over WebSocket and over SPDY: both outputs, the exit code and standard input are as they are without a gateway.
#[test]
fn exec_keeps_its_outputs_its_input_and_its_exit_code() {
    let front = Front::start();
    let grant = with_a_pod(&front, "exec sleep 300");
    for way in ["true", "false"] {
        let exec = |words: &[&str]| {
            let mut command = front.kubectl(&grant, words);
            command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", way);
            command
        };
        let words = ["exec", "web-0", "--", "sh", "-c", "echo out; echo err >&2; exit 7"];
        let done = exec(&words).output().unwrap();
        assert_eq!((done.status.code(), text(&done.stdout)), (Some(7), "out\n".to_owned()), "{}", text(&done.stderr));
        assert!(text(&done.stderr).contains("err\n"), "{}", text(&done.stderr));
        // More than one window of a stream, and the last byte of it.
        let words = ["exec", "-i", "web-0", "--", "sh", "-c", "head -c 3000000 | sha256sum"];
        let input = vec![b'x'; 3_000_000];
        let script = "head -c 3000000 /dev/zero | tr '\\0' x | sha256sum";
        let sum = Command::new("sh").args(["-c", script]).output().unwrap();
        let mut child = exec(&words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feeder = std::thread::spawn(move || stdin.write_all(&input));
        let done = child.wait_with_output().unwrap();
        feeder.join().unwrap().unwrap();
        assert_eq!(text(&done.stdout), text(&sum.stdout), "{way}");
        let words = ["exec", "web-0", "--", "sh", "-c", "head -c 20000000 /dev/zero"];
        let whole = exec(&words).output().unwrap();
        assert_eq!((whole.status.code(), whole.stdout.len()), (Some(0), 20_000_000), "{}", text(&whole.stderr));
    }
}

/// At the end of its grant an exec says why, and its exit code is no success; logs and a forwarded port end too.
#[test]
fn a_shell_is_told_that_its_grant_has_ended() {
    let front = Front::start();
    let grant = with_a_pod(&front, "while :; do echo tick; sleep 0.1; done");
    let script = "echo begun; while :; do sleep 0.1; done";
    let (mut shell, mut out) = front.streams(&grant, &["exec", "web-0", "--", "sh", "-c", script]);
    let (mut logs, mut log) = front.streams(&grant, &["logs", "-f", "web-0"]);
    let (mut forward, mut ports) = front.streams(&grant, &["port-forward", "web-0", ":80"]);
    let begun = Instant::now();
    front.says(ALICE, &["end", &grant]);
    let mut rest = String::new();
    for ended in [&mut out, &mut log, &mut ports] {
        ended.read_to_string(&mut rest).unwrap();
    }
    let mut why = String::new();
    shell.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert!(!shell.wait().unwrap().success());
    assert!(why.contains(&format!("jit: grant {grant} has ended")), "{why}");
    assert!(!logs.wait().unwrap().success());
    assert!(!forward.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(front.end_of(&grant)["event"]["cut"], 3);
}

/// Whose request the API server took it for, by its review of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// alice, in the group of her grant and in no other.
    Holder,
    /// Nobody: it was refused with this status.
    Refused(u16),
}

/// What a client may try with headers and paths to be somebody else or somewhere else, each through the gateway and each
/// directly, with the same certificate. Through the gateway the identity stays that of the grant, and what two programs
/// could read in two ways is refused.
#[test]
fn nothing_that_a_client_sends_changes_who_it_is() {
    let front = Front::of(Plane::shared());
    let grant = front.live("edit");
    let folder = crate::plane::scratch("curl");
    for (name, part) in ["crt", "key"].iter().zip(front.credential(&grant)) {
        std::fs::write(folder.join(name), part).unwrap();
    }
    let through = (format!("https://127.0.0.1:{}", front.port), front.serving_root());
    let direct = (front.bastion.plane.server.clone(), front.bastion.plane.ca.clone());
    let curl = |(server, root): &(String, std::path::PathBuf), http: &str, path: &str, more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-i", "--max-time", "20", "--path-as-is", http, "--cacert"]).arg(root);
        curl.arg("--cert").arg(folder.join("crt")).arg("--key").arg(folder.join("key"));
        let done = curl.args(more).arg(format!("{server}{path}")).output().unwrap();
        let answer = text(&done.stdout);
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0_u16);
        (code, answer)
    };
    let admin = format!("Authorization: Bearer {}", front.bastion.plane.token("admin"));
    let review = r#"{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}"#;
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let who = |way: &(String, std::path::PathBuf), http: &str, headers: &[&str]| {
        let mut more = vec!["-H", "content-type: application/json", "-d", review];
        headers.iter().for_each(|header| more.extend(["-H", header]));
        let (code, answer) = curl(way, http, whoami, &more);
        // The API server writes it with indents for curl.
        let dense: String = answer.split_whitespace().collect();
        let is_holder = dense.contains(r#""username":"jit:alice""#)
            && dense.contains(&format!(r#""groups":["jit:{grant}","system:authenticated"]"#));
        let who = if is_holder && code == 201 { Who::Holder } else { Who::Refused(code) };
        (who, answer.contains("same-as-bob"))
    };
    for http in ["--http1.1", "--http2"] {
        let mut wrong = Vec::new();
        for (headers, gateway, server) in [
            (&[][..], Who::Holder, Who::Holder),
            (&["Connection: close, Impersonate-User, Impersonate-Group"], Who::Holder, Who::Holder),
            (&["X-Remote-User: admin", "X-Remote-Group: system:masters"], Who::Holder, Who::Holder),
            (&[admin.as_str()], Who::Holder, Who::Holder),
            (&["Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1", "Cookie: a=b"], Who::Holder, Who::Holder),
            (&["Audit-ID: same-as-bob"], Who::Holder, Who::Holder),
            (&["Impersonate-User: admin"], Who::Refused(403), Who::Refused(403)),
            (&["impersonate-group: system:masters"], Who::Refused(403), Who::Refused(400)),
            (&["Impersonate-User: jit:alice", "Impersonate-Uid: 0"], Who::Refused(403), Who::Refused(403)),
            (&["Impersonate_User: admin"], Who::Refused(403), Who::Holder),
        ] {
            // HTTP/2 has no `Connection`.
            if http == "--http2" && headers.iter().any(|header| header.starts_with("Connection")) {
                continue;
            }
            let found = [who(&through, http, headers), who(&direct, http, headers)];
            // The API server lets clients choose the id of their audit events; the gateway chooses it.
            let chooses = headers.iter().any(|header| header.starts_with("Audit-ID"));
            let expected = [(gateway, false), (server, chooses)];
            if found != expected {
                wrong.push(format!("{headers:?}: {found:?}, not {expected:?}"));
            }
        }
        let ns = &front.bastion.ns;
        let post = &["-H", "content-type: application/json", "-d", "{}"][..];
        // curl itself sends no longer one over HTTP/2.
        let (long, too_long) = if http == "--http1.1" { (70_000, 414) } else { (30_000, 200) };
        let long = format!("/api/v1/namespaces/{ns}/pods?{}", "y".repeat(long));
        let table: &[(&str, &[&str], u16, u16)] = &[
            (&long, &[], too_long, 200),
            ("/version/", &[], 200, 200),
            (&format!("/api/v1/namespaces/{ns}/pods"), &[], 200, 200),
            (&format!("/api/v1/namespaces/{ns}/pods/"), &[], 400, 200),
            ("//api/v1", &[], 400, 403),
            (&format!("/api/v1/namespaces/{ns}/../../../version"), &[], 400, 403),
            (&format!("/api/v1/namespaces/{ns}/%2e%2e/pods"), &[], 400, 403),
            (&format!("/api/v1/namespaces/{ns}%2fpods"), &[], 400, 200),
            (&format!("/api/v1/namespaces/{ns}/p%6fds"), &[], 200, 200),
            (&format!("/api/v1/namespaces/{ns}/pods%00"), &[], 400, 403),
            (&format!("/api/v1/namespaces/{ns}/pods/web-0/%65xec?command=id"), &[], 404, 404),
            ("/api/v1/nodes/n1/proxy/run/default/web-0/main?cmd=id", &[], 403, 403),
            (&format!("/api/v1/namespaces/{ns}/serviceaccounts/default/token"), post, 403, 201),
        ];
        for (path, more, gateway, server) in table {
            let (code, answer) = curl(&through, http, path, more);
            let (other, theirs) = curl(&direct, http, path, more);
            if (code, other) != (*gateway, *server) {
                wrong.push(format!("{path}: {code} and {other}, not {gateway} and {server}\n{answer}\n{theirs}"));
            }
            if matches!(*gateway, 400 | 414) && !answer.contains("jit: ") {
                wrong.push(format!("{path}: the gateway's own words are missing\n{answer}"));
            }
        }
        assert!(wrong.is_empty(), "{http}\n{}", wrong.join("\n"));
    }
}

//! `jit-login` as people and scripts use it: its stdout, stderr, exit codes and files, with a simulated daemon of a few
//! routes that does what the test says.
//!
//! The daemon's own rules are tested elsewhere.

use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path as Part, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::bastion::{ALICE, BOB, Bastion};
use crate::plane::{longer_than, root};

const ID: &str = "7k3m9x2q7k3m9x2q";
const SERVER: &str = "https://prod.example:6443";

/// The simulated daemon: one grant, and the calls that it received.
#[derive(Default)]
struct Play {
    grant: Mutex<Value>,
    refusal: Mutex<Option<(u16, &'static str)>>,
    life: Mutex<(i64, i64)>,
    changed: Notify,
    asked: AtomicU32,
    certificates: AtomicU32,
    digest: Mutex<Option<String>>,
}

impl Play {
    fn set(&self, changes: Value) {
        let mut grant = self.grant.lock().unwrap();
        for (key, value) in changes.as_object().unwrap() {
            grant[key] = value.clone();
        }
        self.changed.notify_waiters();
    }

    fn answer(&self) -> Response {
        match *self.refusal.lock().unwrap() {
            None => Json(self.grant.lock().unwrap().clone()).into_response(),
            Some((status, code)) => problem(status, code),
        }
    }
}

fn problem(status: u16, code: &str) -> Response {
    let body =
        json!({"code": code, "status": status, "detail": format!("this is {code}"), "hint": "a hint"}).to_string();
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/problem+json")], body).into_response()
}

fn seconds_from_now(seconds: i64) -> String {
    #[expect(clippy::disallowed_methods, reason = "the played daemon has the real clock")]
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second() + seconds).unwrap().to_string()
}

fn pending() -> Value {
    json!({
        "id": ID, "phase": "pending", "requester": "alice", "cluster": "prod", "namespaces": ["payments"], "role": "view", "access": "role view",
        "duration": "15m", "reason": "INC-42 queue stuck", "rule": "payments-view",
        "steps": [{"groups": ["sre-leads"], "count": 1, "missing": 1}], "agreed": [], "digest": "d1", "key": "k",
        "requestedAt": seconds_from_now(0), "deadline": seconds_from_now(3600), "certificates": 0, "answers": 0,
        "rules": [{"apiGroups": ["", "apps"], "resources": ["deployments", "pods"], "verbs": ["get", "list"]}],
    })
}

fn routes(play: Arc<Play>) -> Router {
    type Played = State<Arc<Play>>;
    let whoami =
        || async { Json(json!({"name": "alice", "groups": ["dev", "oncall"], "uid": 1000, "host": "bastion"})) };
    let clusters =
        || async { Json(json!({"clusters": [{"name": "prod", "server": SERVER, "certificateAuthority": "CA"}]})) };
    let request = |State(play): Played, Json(body): Json<Value>| async move {
        assert!(body["csr"].as_str().unwrap().contains("BEGIN CERTIFICATE REQUEST"));
        play.asked.fetch_add(1, Ordering::SeqCst);
        play.answer()
    };
    let list = |State(play): Played| async move {
        let grant = play.grant.lock().unwrap().clone();
        let open = ["pending", "approved", "live"].iter().any(|phase| grant["phase"] == *phase);
        Json(json!({"grants": if open { vec![grant] } else { vec![] }, "more": false}))
    };
    let show = |State(play): Played, Part(id): Part<String>| async move {
        if ID.starts_with(&id) {
            Json(play.grant.lock().unwrap().clone()).into_response()
        } else {
            problem(404, "no-such-grant")
        }
    };
    let wait = |State(play): Played, uri: axum::http::Uri| async move {
        let changed = play.changed.notified();
        let same =
            uri.query().unwrap().contains(&format!("phase={}&", play.grant.lock().unwrap()["phase"].as_str().unwrap()));
        if same {
            let _ = tokio::time::timeout(Duration::from_secs(30), changed).await;
        }
        Json(play.grant.lock().unwrap().clone())
    };
    let certificate = |State(play): Played| async move {
        if let Some((status, code)) = *play.refusal.lock().unwrap() {
            return problem(status, code);
        }
        // Long enough for others to come meanwhile.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let number = play.certificates.fetch_add(1, Ordering::SeqCst) + 1;
        let (life, rest) = *play.life.lock().unwrap();
        play.grant.lock().unwrap()["phase"] = json!("live");
        Json(json!({
            "certificate": format!("CERTIFICATE {number}"), "expiresAt": seconds_from_now(life), "until": seconds_from_now(rest),
            "cluster": {"name": "prod", "server": SERVER, "certificateAuthority": "CA"},
        }))
        .into_response()
    };
    let approve = |State(play): Played, Json(body): Json<Value>| async move {
        *play.digest.lock().unwrap() = body["digest"].as_str().map(ToOwned::to_owned);
        play.set(json!({"phase": "approved", "agreed": ["bob"]}));
        play.answer()
    };
    let end = |State(play): Played| async move {
        play.set(json!({"phase": "ended", "endCause": "released", "endedAt": seconds_from_now(0)}));
        play.answer()
    };
    let explain = || async {
        Json(json!({"outcome": "deny", "rule": "payments-view", "missing": ["`alice` is not in group `sre`"]}))
    };
    Router::new()
        .route("/v1/whoami", get(whoami))
        .route("/v1/clusters", get(clusters))
        .route("/v1/explain", post(explain))
        .route("/v1/grants", get(list).post(request))
        .route("/v1/grants/{id}", get(show))
        .route("/v1/grants/{id}/wait", get(wait))
        .route("/v1/grants/{id}/certificate", post(certificate))
        .route("/v1/grants/{id}/approve", post(approve))
        .route("/v1/grants/{id}/end", post(end))
        .with_state(play)
}

/// A separate folder, a daemon in it, and the environment of somebody who has just logged in.
struct Desk {
    folder: PathBuf,
    play: Arc<Play>,
    daemon: Option<tokio::runtime::Runtime>,
}

impl Desk {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("jit-it-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        for part in ["", "run", "home"] {
            std::fs::DirBuilder::new().mode(0o700).recursive(true).create(folder.join(part)).unwrap();
        }
        let play = Arc::new(Play { grant: Mutex::new(pending()), life: Mutex::new((300, 900)), ..Play::default() });
        let daemon = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = daemon.enter();
            tokio::net::UnixListener::bind(folder.join("api.sock")).unwrap()
        };
        let served = routes(play.clone());
        daemon.spawn(async move { axum::serve(listener, served).await });
        Self { folder, play, daemon: Some(daemon) }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(root().join("bin/jit-login"));
        command
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.folder.join("home"))
            .env("XDG_RUNTIME_DIR", self.folder.join("run"))
            .env("JITD_SOCKET", self.folder.join("api.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn says(&self, words: &[&str]) -> Said {
        Said::from(self.command(words).output().unwrap())
    }

    /// An approved grant, collected.
    fn with_access(&self) -> Said {
        self.play.set(json!({"phase": "approved", "agreed": ["bob"]}));
        let said = self.says(&REQUEST);
        assert_eq!(said.code, 0, "{said:?}");
        said
    }

    fn private(&self, name: &str) -> PathBuf {
        self.folder.join("run/jit-login").join(name)
    }

    /// The folder of a key that waits for its certificate.
    fn waiting(&self, name: &str) -> PathBuf {
        self.folder.join("home/.local/state/jit-login").join(name)
    }

    fn credential(&self) -> Said {
        self.credential_for(SERVER)
    }

    fn credential_for(&self, server: &str) -> Said {
        let info = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
            "spec": {"interactive": false, "cluster": {"server": server}}});
        let mut command = self.command(&["credential", "--grant", ID]);
        Said::from(command.env("KUBERNETES_EXEC_INFO", info.to_string()).output().unwrap())
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.shutdown_background();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

const REQUEST: [&str; 10] =
    ["request", "prod", "-n", "payments", "--role", "view", "--for", "15m", "--reason", "INC-42 queue stuck"];

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Waits until the program has said `words` on stderr.
fn until_said(child: &mut std::process::Child, words: &str) -> String {
    let mut said = Vec::new();
    let mut pipe = child.stderr.take().unwrap();
    let mut byte = [0];
    while !String::from_utf8_lossy(&said).contains(words) {
        assert_eq!(pipe.read(&mut byte).unwrap(), 1, "ended after {}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    child.stderr = Some(pipe);
    String::from_utf8(said).unwrap()
}

/// The request's result is one line for a shell; everything else is on stderr.
#[test]
fn request_waits_and_prints_only_the_export_line_on_stdout() {
    let desk = Desk::new("request");
    let mut child = desk.command(&REQUEST).spawn().unwrap();
    let said = until_said(&mut child, "jit-login approve 7k3m9x2q7k3m9x2q`");
    assert!(
        said.contains("requested: role view in namespace payments on cluster prod, for 15m (7k3m9x2q7k3m9x2q)"),
        "{said}"
    );
    assert!(said.contains("waiting for 1 approval from sre-leads"), "{said}");
    assert!(!said.contains('\u{1b}'), "no colour where nobody looks: {said}");
    desk.play.set(json!({"phase": "approved", "agreed": ["bob"]}));
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.out, format!("export KUBECONFIG={}\n", desk.private(&format!("{ID}.kubeconfig")).display()));
    assert!(
        said.err.contains("approved by bob") && said.err.contains("ready: role view on prod in namespace payments"),
        "{said:?}"
    );
    assert_eq!(mode(&desk.folder.join("run/jit-login")), 0o700);
    for name in ["key", "credential", "kubeconfig"] {
        assert_eq!(mode(&desk.private(&format!("{ID}.{name}"))), 0o600, "{name}");
    }
    let left = std::fs::read_dir(desk.folder.join("run/jit-login")).unwrap().count();
    assert_eq!(left, 3, "no draft is left");
}

/// The kubeconfig contains no secret and makes kubectl run this program.
#[test]
fn the_kubeconfig_contains_no_key() {
    let desk = Desk::new("kubeconfig");
    desk.with_access();
    let text = std::fs::read_to_string(desk.private(&format!("{ID}.kubeconfig"))).unwrap();
    assert!(!text.contains("PRIVATE") && !text.contains("client-key"), "{text}");
    let config: Value = serde_saphyr::from_str(&text).unwrap();
    let exec = &config["users"][0]["user"]["exec"];
    assert_eq!(exec["provideClusterInfo"], true);
    assert_eq!(exec["interactiveMode"], "IfAvailable");
    let socket = desk.folder.join("api.sock");
    assert_eq!(exec["args"], json!(["credential", "--grant", ID, "--socket", socket]));
    assert!(Path::new(exec["command"].as_str().unwrap()).is_absolute());
    assert_eq!(config["contexts"][0]["context"]["namespace"], "payments");
    assert_eq!(config["current-context"], "jit:prod:7k3m9x2q");
}

/// A script gets the grant and the path as JSON.
#[test]
fn json_is_the_grant_and_where_its_kubeconfig_is() {
    let desk = Desk::new("json");
    desk.play.set(json!({"phase": "approved", "agreed": ["bob"]}));
    let said = desk.says(&[&REQUEST[..], &["-o", "json"]].concat());
    assert_eq!((&said.json()["id"], &said.json()["phase"]), (&json!(ID), &json!("live")));
    assert!(said.json()["kubeconfig"].as_str().unwrap().ends_with(".kubeconfig"));
    let said = desk.says(&["ls", "-o", "name"]);
    assert_eq!((said.code, said.out.as_str()), (0, "7k3m9x2q7k3m9x2q\n"));
    let said = desk.says(&["show", "7k3m", "-o", "yaml"]);
    assert!(said.out.contains("requester: alice\n"), "{said:?}");
}

/// Each end of a request has its exit code.
#[test]
fn every_end_of_a_request_has_its_exit_code() {
    for (phase, code, words) in [
        ("denied", 3, ["was denied by bob: not during the freeze", "hint: ask bob what would be approved, then "]),
        ("lapsed", 5, ["nobody answered", "hint: "]),
        ("withdrawn", 7, ["withdrawn", "hint: "]),
    ] {
        let desk = Desk::new(phase);
        desk.play.set(json!({"phase": phase, "closedBy": "bob", "closingWords": "not during the freeze"}));
        let said = desk.says(&REQUEST);
        assert_eq!(said.code, code, "{said:?}");
        assert!(
            words.iter().all(|part| said.err.contains(part))
                && said.err.contains("request it again with `jit-login request --again"),
            "{said:?}"
        );
        assert_eq!(said.out, "");
    }
}

/// Each refusal has its exit code, its code and its hint on stderr, and leaves no key behind.
#[test]
fn every_refusal_has_its_exit_code() {
    let table = [
        (403, "policy-denied", 4),
        (422, "role-missing", 4),
        (422, "unknown-cluster", 2),
        (400, "malformed", 2),
        (503, "cluster-unreachable", 1),
    ];
    for (status, code, exit) in table {
        let desk = Desk::new(code);
        *desk.play.refusal.lock().unwrap() = Some((status, code));
        let said = desk.says(&REQUEST);
        assert_eq!(said.code, exit, "{said:?}");
        assert_eq!(said.err, format!("error[{code}]: this is {code}\nhint: a hint\n"));
        let said = desk.says(&[&REQUEST[..], &["-o", "json"]].concat());
        assert_eq!((said.code, said.out.as_str()), (exit, ""), "{said:?}");
        let problem: serde_json::Value = serde_json::from_str(said.err.lines().last().unwrap()).unwrap();
        let detail = format!("this is {code}");
        assert_eq!(problem, json!({"code": code, "status": status, "detail": detail, "hint": "a hint"}));
        for folder in [desk.private(""), desk.waiting("")] {
            assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
        }
    }
}

/// A malformed request is refused before anything is sent.
#[test]
fn a_malformed_request_is_not_sent() {
    let desk = Desk::new("malformed");
    for wrong in [
        ["request", "prod", "-n", "payments", "--role", "system:masters", "--for", "15m", "--reason", "x"],
        ["request", "prod", "-n", "payments", "--role", "view", "--for", "15", "--reason", "x"],
        ["request", "prod", "-n", "Payments", "--role", "view", "--for", "15m", "--reason", "x"],
        ["request", "prod", "-n", "payments", "--role", "view", "--for", "15m", "--reason", "\u{1b}[2J"],
        ["request", "prod", "-n", "payments", "--role", "view", "--for", "15m", "--reason", ""],
    ] {
        let said = desk.says(&wrong);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(!said.err.contains('\u{1b}'), "{said:?}");
    }
    assert_eq!(desk.play.asked.load(Ordering::SeqCst), 0);
}

/// A time limit ends the wait, not the request.
#[test]
fn a_timeout_leaves_the_request_open() {
    let desk = Desk::new("timeout");
    let said = desk.says(&[&REQUEST[..], &["--timeout", "1s"]].concat());
    assert_eq!(said.code, 5, "{said:?}");
    assert!(
        said.err.contains("the request stays open") && said.err.contains(&format!("jit-login wait {ID}")),
        "{said:?}"
    );
    assert!(desk.waiting(&format!("{ID}.key")).exists());
    desk.play.set(json!({"phase": "approved", "agreed": ["bob"]}));
    let said = desk.says(&["wait"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("export KUBECONFIG="), "{said:?}");
}

/// Ctrl-C leaves the request open and prints the way back.
#[test]
fn ctrl_c_leaves_the_request_open_and_says_how_to_go_on() {
    let desk = Desk::new("interrupt");
    let mut child = desk.command(&REQUEST).spawn().unwrap();
    until_said(&mut child, "approve 7k3m");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.code, 130, "{said:?}");
    assert!(said.err.contains(&format!("jit-login wait {ID}")), "{said:?}");
    assert!(desk.waiting(&format!("{ID}.key")).exists());
}

/// An answer of another version does not change by waiting, so it is reported at once.
#[test]
fn an_answer_of_another_version_is_not_waited_for() {
    let desk = Desk::new("version");
    let mut child = desk.command(&REQUEST).spawn().unwrap();
    until_said(&mut child, "approve 7k3m");
    desk.play.set(json!({"phase": "paused"}));
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("different versions") && !said.err.contains("trying again"), "{said:?}");
}

/// Without a daemon the exit code is 8.
#[test]
fn no_daemon_is_exit_code_8() {
    let mut desk = Desk::new("gone");
    desk.daemon.take().unwrap().shutdown_background();
    std::fs::remove_file(desk.folder.join("api.sock")).unwrap();
    let said = desk.says(&["ls"]);
    assert_eq!(said.code, 8, "{said:?}");
    assert!(said.err.contains("the socket does not exist"), "{said:?}");
}

/// The plugin answers from its file, without a daemon.
#[test]
fn a_kept_credential_needs_no_daemon() {
    let mut desk = Desk::new("cached");
    desk.with_access();
    desk.daemon.take().unwrap().shutdown_background();
    std::fs::remove_file(desk.folder.join("api.sock")).unwrap();
    let said = desk.credential();
    assert_eq!(said.code, 0, "{said:?}");
    let credential = said.json();
    assert_eq!(credential["apiVersion"], "client.authentication.k8s.io/v1");
    assert_eq!(credential["status"]["clientCertificateData"], "CERTIFICATE 1");
    assert!(credential["status"]["clientKeyData"].as_str().unwrap().contains("PRIVATE KEY"));
    assert!(credential["status"]["expirationTimestamp"].as_str().unwrap().ends_with('Z'));
}

/// The credential for one cluster is not given to another.
#[test]
fn another_cluster_gets_no_credential() {
    let desk = Desk::new("other");
    desk.with_access();
    let said = desk.credential_for("https://evil.example:6443");
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
    assert!(said.err.contains("is for the cluster `prod`"), "{said:?}");
}

/// Ten concurrent kubectl renew the certificate once.
#[test]
fn ten_at_once_renew_once() {
    let desk = Desk::new("parallel");
    *desk.play.life.lock().unwrap() = (5, 900);
    desk.with_access();
    *desk.play.life.lock().unwrap() = (300, 900);
    let calls: Vec<Said> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..10).map(|_| scope.spawn(|| desk.credential())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for said in calls {
        assert_eq!(said.json()["status"]["clientCertificateData"], "CERTIFICATE 2", "{said:?}");
    }
    assert_eq!(desk.play.certificates.load(Ordering::SeqCst), 2);
}

/// While the daemon is down, a certificate that is still valid is used.
#[test]
fn a_failed_renewal_falls_back_to_a_valid_certificate() {
    let desk = Desk::new("fallback");
    *desk.play.life.lock().unwrap() = (8, 900);
    desk.with_access();
    *desk.play.refusal.lock().unwrap() = Some((503, "trail-unavailable"));
    let said = desk.credential();
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.json()["status"]["clientCertificateData"], "CERTIFICATE 1");
    assert!(said.err.contains("still valid"), "{said:?}");
}

/// The end of a grant is one clear sentence and exit code 7, and its key is gone.
#[test]
fn the_end_of_a_grant_is_one_sentence_and_removes_the_key() {
    let desk = Desk::new("ended");
    *desk.play.life.lock().unwrap() = (5, 900);
    desk.with_access();
    desk.play.set(json!({"phase": "ended", "endCause": "revoked", "closedBy": "bob", "closingWords": "enough"}));
    *desk.play.refusal.lock().unwrap() = Some((410, "too-late"));
    let said = desk.credential();
    assert_eq!((said.code, said.out.as_str()), (7, ""), "{said:?}");
    assert!(said.err.contains("was revoked by bob: enough"), "{said:?}");
    assert!(!desk.private(&format!("{ID}.key")).exists() && !desk.private(&format!("{ID}.credential")).exists());
    assert!(desk.private(&format!("{ID}.kubeconfig")).exists(), "a shell may still point to it");
    let said = desk.credential();
    assert_eq!(said.code, 7, "also without the files: {said:?}");
}

/// Releasing access removes the key.
#[test]
fn end_removes_the_key() {
    let desk = Desk::new("end");
    desk.with_access();
    let said = desk.says(&["end", ID]);
    assert_eq!((said.code, said.out.as_str()), (0, "7k3m9x2q7k3m9x2q ended (released)\n"), "{said:?}");
    assert!(!desk.private(&format!("{ID}.key")).exists());
}

/// A private folder that is a link, or that others may access, is refused before anything is sent.
#[test]
fn a_foreign_runtime_folder_is_refused_and_nothing_is_sent() {
    let desk = Desk::new("squat");
    let elsewhere = desk.folder.join("elsewhere");
    std::fs::DirBuilder::new().mode(0o700).create(&elsewhere).unwrap();
    symlink(&elsewhere, desk.folder.join("run/jit-login")).unwrap();
    let said = desk.says(&REQUEST);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_eq!(desk.play.asked.load(Ordering::SeqCst), 0);
}

/// An approval covers exactly what was shown, and is not given by accident.
#[test]
fn approve_shows_first_and_sends_the_digest_of_what_it_showed() {
    let desk = Desk::new("approve");
    let said = desk.says(&["approve", "7k3m"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert_eq!(*desk.play.digest.lock().unwrap(), None);
    let said = desk.says(&["approve", "7k3m", "--yes"]);
    assert_eq!((said.code, said.out.as_str()), (0, "7k3m9x2q7k3m9x2q approved\n"), "{said:?}");
    assert!(said.err.contains("alice requests role view in namespace payments on cluster prod, for 15m"), "{said:?}");
    assert_eq!(desk.play.digest.lock().unwrap().as_deref(), Some("d1"));
    // The daemon decides about a digest that was noted earlier.
    desk.says(&["approve", "7k3m", "--digest", "d0"]);
    assert_eq!(desk.play.digest.lock().unwrap().as_deref(), Some("d0"));
}

/// The first things that an approver has to know.
#[test]
fn show_says_who_why_what_and_until_when() {
    let desk = Desk::new("show");
    let said = desk.says(&["show", "7k3m"]);
    let out = said.out.as_str();
    for line in [
        "alice requests role view in namespace payments on cluster prod, for 15m\n",
        "  why         INC-42 queue stuck\n",
        "  approved    0 of 1 from sre-leads\n",
        "RESOURCES",
        "get, list  core   deployments, pods",
        "get, list  apps   deployments, pods",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    desk.play.set(json!({"reason": "\u{1b}[2Jx\u{202e}y", "requester": "\u{430}lice"}));
    let out = desk.says(&["show", "7k3m"]).out;
    assert!(!out.contains('\u{1b}') && !out.contains('\u{202e}') && out.contains("not plain letters"), "{out}");
}

/// The answer of the policy is on stdout, and "no" is exit code 4.
#[test]
fn explain_answers_no_with_what_is_missing() {
    let desk = Desk::new("explain");
    let said = desk.says(&["explain", "prod", "-n", "payments", "--role", "edit", "--for", "1h"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(said.out, "no: no rule allows it; the nearest is `payments-view`\n- `alice` is not in group `sre`\n");
}

/// The command gets the kubeconfig and its exit code is the result.
#[test]
fn run_becomes_the_command() {
    let desk = Desk::new("run");
    desk.with_access();
    let said = desk.says(&["run", "--", "sh", "-c", "echo $KUBECONFIG; exit 9"]);
    assert_eq!(said.code, 9, "{said:?}");
    assert!(said.out.ends_with(".kubeconfig\n"), "{said:?}");
}

/// A grant that nobody has approved yet has no kubeconfig.
#[test]
fn a_pending_grant_is_exit_code_6() {
    let desk = Desk::new("pending");
    for words in [&["kubeconfig", ID][..], &["run", ID, "--", "true"], &["kubeconfig"]] {
        assert_eq!(desk.says(words).code, 6, "{words:?}");
    }
}

/// Merging keeps other entries and the mode, and refuses a file that it cannot read and a link.
#[test]
fn merge_touches_only_our_entries() {
    let desk = Desk::new("merge");
    desk.with_access();
    let kube = desk.folder.join("home/.kube");
    std::fs::DirBuilder::new().mode(0o700).create(&kube).unwrap();
    let file = kube.join("config");
    let theirs = "# mine\napiVersion: v1\nkind: Config\ncurrent-context: work\ncontexts:\n- name: work\n  context: {cluster: w, user: u}\n";
    std::fs::write(&file, theirs).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let said = desk.says(&["kubeconfig", "--merge"]);
    assert_eq!((said.code, said.out.as_str()), (0, "kubectl config use-context jit:prod:7k3m9x2q\n"), "{said:?}");
    let merged: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(merged["current-context"], "work");
    assert_eq!(merged["contexts"][0]["name"], "work");
    assert_eq!(merged["contexts"][1]["name"], "jit:prod:7k3m9x2q");
    assert_eq!(mode(&file), 0o640);
    assert_eq!(std::fs::read_to_string(kube.join("config.bak")).unwrap(), theirs, "the comments are kept");
    desk.says(&["kubeconfig", "--merge", "--use"]);
    let merged: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(merged["current-context"], "jit:prod:7k3m9x2q");
    assert_eq!(merged["contexts"].as_array().unwrap().len(), 2);

    std::fs::write(&file, "a: [").unwrap();
    let said = desk.says(&["kubeconfig", "--merge"]);
    assert_eq!((said.code, std::fs::read_to_string(&file).unwrap().as_str()), (1, "a: ["), "{said:?}");
    let target = desk.folder.join("target");
    std::fs::write(&target, "").unwrap();
    std::fs::remove_file(&file).unwrap();
    symlink(&target, &file).unwrap();
    assert_eq!(desk.says(&["kubeconfig", "--merge"]).code, 1);
    assert_eq!(std::fs::metadata(&target).unwrap().len(), 0);
}

/// As kubectl's plugin it calls itself `kubectl jit`, as people type it.
#[test]
fn as_a_plugin_it_is_called_kubectl_jit() {
    let desk = Desk::new("plugin");
    let plugin = desk.folder.join("kubectl-jit");
    symlink(root().join("bin/jit-login"), &plugin).unwrap();
    let output = Command::new(&plugin).arg("request").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: kubectl jit request"), "{output:?}");
    assert_eq!(output.status.code(), Some(2));
}

/// The doctor names each check and fails if one of them finds a fault.
#[test]
fn doctor_says_what_is_wrong() {
    let desk = Desk::new("doctor");
    let bin = desk.folder.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let kubectl = bin.join("kubectl");
    std::fs::write(&kubectl, "#!/bin/sh\necho '{\"clientVersion\": {\"gitVersion\": \"v1.22.0\"}}'\n").unwrap();
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink(root().join("bin/jit-login"), bin.join("kubectl-jit")).unwrap();
    let said = Said::from(desk.command(&["doctor"]).env("PATH", &bin).output().unwrap());
    // These tests run as root, which is one of the mistakes.
    assert_eq!((said.code, said.err.as_str()), (1, "error[failed]: 1 problem found\n"), "{said:?}");
    assert!(said.out.contains("fail   caller     you are root"), "{said:?}");
    assert!(said.out.contains("ok     whoami     alice, groups: 2"), "{said:?}");
    let said = Said::from(desk.command(&["doctor", "-o", "name"]).env("PATH", "/nowhere").output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (1, "caller\nkubectl\nplugin\n"), "{said:?}");
}

/// kubectl waits for the plugin each time; even the debug build must not take as long as a network call.
#[test]
fn a_kept_credential_is_handed_out_at_once() {
    let desk = Desk::new("fast");
    desk.with_access();
    let start = || assert!(desk.command(&["--version"]).output().unwrap().status.success());
    let more = longer_than(start, || assert_eq!(desk.credential().code, 0));
    assert!(more < Duration::from_millis(50), "{more:?}");
    assert_eq!(desk.play.certificates.load(Ordering::SeqCst), 1);
    assert_eq!(
        std::fs::metadata(desk.private(&format!("{ID}.credential"))).unwrap().uid(),
        nix::unistd::geteuid().as_raw()
    );
}

/// With the real daemon, client and kubectl: request, approve, `kubectl get` works through the plugin, release, and
/// `kubectl get` is refused with a sentence.
#[test]
fn kubectl_works_from_the_approval_to_the_end() {
    let bastion = Bastion::start();
    let request =
        ["request", "play", "-n", &bastion.ns, "--role", "view", "--for", "5m", "--reason", "INC-42 queue stuck"];
    let mut alice = bastion.login_command(ALICE, "jit-login");
    let mut asked = alice.args(request).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until_said(&mut asked, "jit-login approve ");

    let own = Said::from(bastion.login(ALICE, &["ls", "-o", "name"]));
    let id = own.out.trim().to_owned();
    let itself = Said::from(bastion.login(ALICE, &["approve", &id, "--yes"]));
    assert_eq!(itself.code, 4, "{itself:?}");
    assert!(itself.err.starts_with("alice requests role view in namespace"), "{itself:?}");
    assert!(itself.err.contains("error[self-approval]: "), "{itself:?}");
    let early = Said::from(bastion.login(ALICE, &["run", "--", "kubectl", "get", "pods"]));
    assert_eq!(early.code, 6, "{early:?}");
    let approved = Said::from(bastion.login(BOB, &["approve", &id[..6], "--yes", "--details"]));
    assert_eq!((approved.code, approved.out), (0, format!("{id} approved\n")), "{}", approved.err);
    assert!(approved.err.contains("configmaps"), "an approver sees what it allows: {}", approved.err);

    let ready = Said::from(asked.wait_with_output().unwrap());
    assert_eq!(ready.code, 0, "{ready:?}");
    let kubeconfig = ready.out.trim().strip_prefix("export KUBECONFIG=").unwrap().to_owned();
    let kubectl = |words: &[&str]| {
        let mut command = bastion.login_command(ALICE, "kubectl");
        Said::from(command.env("KUBECONFIG", &kubeconfig).args(words).output().unwrap())
    };
    let works = kubectl(&["get", "configmaps", "-o", "name"]);
    assert_eq!(works.code, 0, "{works:?}");
    assert!(works.out.contains("configmap/kube-root-ca.crt"), "{works:?}");
    let elsewhere = kubectl(&["get", "configmaps", "-n", &bastion.shop]);
    assert!(elsewhere.code != 0 && elsewhere.err.contains("jit:alice"), "{elsewhere:?}");
    let run = Said::from(bastion.login(ALICE, &["run", &id, "--", "kubectl", "get", "configmaps", "-o", "name"]));
    assert_eq!(run.out, works.out, "{run:?}");
    let plugin = bastion.login_command(ALICE, "kubectl").args(["jit", "whoami", "-o", "name"]).output().unwrap();
    assert_eq!(Said::from(plugin).out, "alice\n");

    let events = Said::from(bastion.login(ALICE, &["events", &id, "-o", "name"]));
    assert!(events.out.starts_with("requested\n") && events.out.ends_with("live\n"), "{events:?}");
    let ended = Said::from(bastion.login(ALICE, &["end", &id]));
    assert_eq!(ended.code, 0, "{ended:?}");
    let over = kubectl(&["get", "configmaps"]);
    assert!(over.code != 0 && over.err.contains("was released"), "{over:?}");
    let renewed = Said::from(bastion.login(ALICE, &["kubeconfig", &id]));
    assert_eq!(renewed.code, 7, "{renewed:?}");
    let none = Said::from(bastion.login(ALICE, &["ls"]));
    assert_eq!((none.code, none.out.as_str()), (0, ""), "{none:?}");
}

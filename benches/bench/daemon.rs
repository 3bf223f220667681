//! One `jitd` with its own configuration, state and socket, and the people who call it.
//!
//! ```text
//!  Daemon::prepare(plane) ─► init, manifest, root ─► start ─► request (alice) ─► approve (bob) ─► collect (alice)
//! ```
//! It is the release binary as it is installed, with nothing switched off.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::Failure;
use crate::http::{Connection, Target, request};
use crate::plane::Plane;
use crate::policy::EDITED;
use crate::process::{Running, run};

/// The program that is measured.
const JITD: &str = env!("CARGO_BIN_EXE_jitd");

/// Whose environment it is given.
const UNIT: &str = include_str!("../../systemd/jitd.service");

/// Uids that no account has, far above those that `useradd` gives.
pub(crate) const ALICE: u32 = 420_001;
pub(crate) const BOB: u32 = 420_002;
pub(crate) const CAROL: u32 = 420_003;
pub(crate) const DAVE: u32 = 420_004;

/// How long a start may take before the run is given up.
const START_WITHIN: Duration = Duration::from_secs(60);

/// The folder, the configuration and the running program of one daemon.
pub(crate) struct Daemon {
    pub(crate) folder: PathBuf,
    pub(crate) running: Option<Running>,
}

impl Daemon {
    /// Makes configuration and authority in `folder`, and lets the cluster trust and allow it. Grants can
    /// be asked for in `namespaces`.
    pub(crate) fn prepare(plane: &Plane, folder: &Path, host: &str, namespaces: &[String]) -> Result<Self, Failure> {
        Self::prepare_with(plane, folder, host, &[usual(namespaces)], &unlimited(), json!({}))
    }

    /// The same by these rules, with people going through a gateway, which is the user `jit-gateway` of the control plane.
    pub(crate) fn behind_gateway(plane: &Plane, folder: &Path, host: &str, rules: &[Value]) -> Result<Self, Failure> {
        let more = json!({ "access": "gateway", "gatewayUser": "jit-gateway" });
        Self::prepare_with(plane, folder, host, rules, &unlimited(), more)
    }

    /// The same with `rates:` of the configuration, and with more in the cluster's entry.
    ///
    /// The manifest is applied once, for these rules. An API server enforces an admission policy that has changed only after
    /// a while, and refuses meanwhile what the policy before it did not allow.
    pub(crate) fn prepare_with(
        plane: &Plane,
        folder: &Path,
        host: &str,
        rules: &[Value],
        rates: &Value,
        mut cluster: Value,
    ) -> Result<Self, Failure> {
        open_folder(folder)?;
        for (key, value) in [
            ("name", json!("bench")),
            ("server", json!(plane.server)),
            ("certificateAuthority", json!(plane.folder.join("ca.crt"))),
        ] {
            cluster[key] = value;
        }
        let config = json!({
            "host": host,
            "socket": "run/api.sock",
            "adminSocket": "run/admin.sock",
            "state": "var",
            "policy": "policy.yaml",
            "times": { "answer": "24h", "collect": "24h", "certificate": "5m" },
            "rates": rates,
            "people": [
                { "name": "alice", "uids": [ALICE], "groups": ["oncall"] },
                { "name": "bob", "uids": [BOB], "groups": ["leads"] },
                { "name": "carol", "uids": [CAROL], "groups": ["oncall"] },
                { "name": "dave", "uids": [DAVE], "groups": [] },
            ],
            "clusters": [cluster],
        });
        let policy = json!({ "rules": rules });
        // JSON is YAML.
        fs::write(folder.join("config.yaml"), config.to_string())?;
        fs::write(folder.join("policy.yaml"), policy.to_string())?;
        let daemon = Self { folder: folder.to_owned(), running: None };
        run(daemon.command().arg("init"))?;
        plane.trust(&folder.join("var/ca/bench/root.crt"))?;
        plane.apply(&run(daemon.command().args(["manifest", "bench"]))?)?;
        Ok(daemon)
    }

    /// Changes its configuration before it starts.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut Value) -> Result<(), Failure>) -> Result<(), Failure> {
        let path = self.folder.join("config.yaml");
        let mut config = serde_json::from_slice(&fs::read(&path)?)?;
        change(&mut config)?;
        Ok(fs::write(path, config.to_string())?)
    }

    /// `jitd` with this daemon's configuration.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(JITD);
        command.arg("--config").arg(self.folder.join("config.yaml"));
        command
    }

    /// Starts it, and says how long it took from exec to the first answer of `GET /healthz`.
    pub(crate) async fn start(&mut self) -> Result<Duration, Failure> {
        let begun = Instant::now();
        let log = self.folder.join("jitd.log");
        let alice = self.alice();
        let mut serve = self.command();
        serve.arg("serve").envs(UNIT.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('=')));
        let started = Running::start("jitd", &mut serve, &log)?;
        let running = self.running.insert(started);
        let health = request("GET", "/healthz", None);
        loop {
            running.ended().map_err(|error| explained(&error, &log))?;
            let answered = match alice.connect().await {
                Ok(mut connection) => connection.exchange(&health).await.is_ok(),
                Err(_) => false,
            };
            if answered {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > START_WITHIN {
                return Err(explained(&"jitd is not ready".into(), &log));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        self.running.take().map_or(Ok(()), Running::stop)
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("it was started")
    }

    pub(crate) fn trail(&self) -> PathBuf {
        self.folder.join("var/trail.db")
    }

    /// Who asks.
    pub(crate) fn alice(&self) -> Target {
        self.caller(ALICE)
    }

    /// Who approves.
    pub(crate) fn bob(&self) -> Target {
        self.caller(BOB)
    }

    /// The account with this uid.
    pub(crate) fn caller(&self, uid: u32) -> Target {
        Target::Socket { path: self.folder.join("run/api.sock"), uid }
    }

    /// Asks for access, with a key of its own as jit-login does.
    pub(crate) async fn request(
        &self,
        alice: &mut Connection,
        namespace: &str,
        window: &str,
    ) -> Result<Pending, Failure> {
        self.request_role(alice, namespace, "view", window).await
    }

    /// Asks for a role.
    pub(crate) async fn request_role(
        &self,
        alice: &mut Connection,
        namespace: &str,
        role: &str,
        window: &str,
    ) -> Result<Pending, Failure> {
        let key = KeyPair::generate()?;
        let csr = CertificateParams::default().serialize_request(&key)?.pem()?;
        let ask = json!({ "cluster": "bench", "namespaces": [namespace], "role": role, "duration": window, "reason": "a benchmark" });
        let body = json!({ "ask": ask, "csr": csr });
        let grant = alice.exchange(&request("POST", "/v1/grants", Some(&body))).await?.json()?;
        let text = |field: &str| grant[field].as_str().map(ToOwned::to_owned).ok_or("a field of the grant is missing");
        Ok(Pending { id: text("id")?, digest: text("digest")?, key, csr })
    }

    /// A grant from the request to the access that works; the bytes that renew its certificate.
    pub(crate) async fn live(
        &self,
        alice: &mut Connection,
        bob: &mut Connection,
        namespace: &str,
        window: &str,
    ) -> Result<Vec<u8>, Failure> {
        let pending = self.request(alice, namespace, window).await?;
        bob.exchange(&pending.approve()).await?.json()?;
        let certificate = pending.certificate();
        alice.exchange(&certificate).await?.json()?;
        Ok(certificate)
    }
}

/// The rule by which grants can be asked for in `namespaces`.
pub(crate) fn usual(namespaces: &[String]) -> Value {
    json!({
        "name": "bench", "who": ["oncall"], "clusters": ["bench"], "namespaces": namespaces,
        "roles": ["view", EDITED], "maxDuration": "24h", "approval": [{ "groups": ["leads"] }],
    })
}

/// Alice and bob stand for everybody.
fn unlimited() -> Value {
    json!({ "calls": u32::MAX, "requests": u32::MAX, "certificates": u32::MAX })
}

/// An error with the end of the log.
fn explained(error: &Failure, log: &Path) -> Failure {
    let log = fs::read_to_string(log).unwrap_or_default();
    let end: Vec<&str> = log.lines().rev().take(5).collect();
    format!("{error}\n{}", end.into_iter().rev().collect::<Vec<_>>().join("\n")).into()
}

/// A request that waits for its answer.
pub(crate) struct Pending {
    pub(crate) id: String,
    digest: String,
    key: KeyPair,
    csr: String,
}

impl Pending {
    /// The bytes that approve it.
    pub(crate) fn approve(&self) -> Vec<u8> {
        let body = json!({ "digest": self.digest });
        request("POST", &format!("/v1/grants/{}/approve", self.id), Some(&body))
    }

    /// The bytes that collect it, or renew its certificate.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        request("POST", &format!("/v1/grants/{}/certificate", self.id), Some(&json!({ "csr": self.csr })))
    }

    /// The private key in PEM.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

/// A fresh folder that only we can read; what an earlier run left there is removed.
pub(crate) fn private_folder(path: &Path) -> Result<(), Failure> {
    folder(path, 0o700)
}

/// A fresh folder that others can reach what is in it through.
pub(crate) fn open_folder(path: &Path) -> Result<(), Failure> {
    folder(path, 0o755)
}

fn folder(path: &Path, mode: u32) -> Result<(), Failure> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    Ok(fs::DirBuilder::new().recursive(true).mode(mode).create(path)?)
}

//! A front end, and the fakes that it talks to.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jit_core::grant::login::ProviderLogout;
use jit_wire::frontend::{self, FromDaemon, FromFrontend, Introduction};
use jit_wire::{ErrorCode, Problem, feed};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::time::{sleep, timeout};

use crate::issuer::issue;

/// Longer than anything here takes on a slow host.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What the fake `jitd` was told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) introductions: Vec<Introduction>,
    pub(crate) logouts: Vec<ProviderLogout>,
    /// How many logouts it fails to end yet, and whether it refuses all of them.
    pub(crate) fails: usize,
    pub(crate) refuses: bool,
    /// Method and path, headers, body.
    pub(crate) requests: Vec<(String, String, String)>,
}

/// A front end and its surroundings.
pub(crate) struct Front {
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
    pub(crate) issuer: String,
    pub(crate) told: Arc<Mutex<Told>>,
    key: EcdsaKeyPair,
    process: Child,
}

impl Front {
    pub(crate) async fn start() -> Self {
        let port = free_port();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("frontend-{port}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        // The uncompressed form of a point: 4, x, y (SEC 1, section 2.3.3).
        let public = key.public_key().as_ref();
        let keys = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&public[1..33]), "y": URL_SAFE_NO_PAD.encode(&public[33..65]),
        }] });
        let issuer = issue(&folder.join("provider-root.crt"), keys).await;
        // A path of a socket has at most 107 bytes.
        let daemon = std::env::temp_dir().join(format!("jit-frontend-{}-{port}.sock", std::process::id()));
        let _ = std::fs::remove_file(&daemon);
        let told = Arc::new(Mutex::default());
        be_jitd(UnixListener::bind(&daemon).unwrap(), Arc::clone(&told));
        let config = json!({
            "listen": format!("127.0.0.1:{port}"), "server": format!("https://127.0.0.1:{port}"),
            "daemon": daemon, "state": "state", "providers": [{
                "name": "corp", "issuer": issuer, "audience": "jit-login",
                "displayName": { "claim": "/preferred_username" },
                "groups": { "claim": "/groups", "map": { "/leads": "payments-leads" } },
            }],
        });
        std::fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_jit-frontend"))
            .args(["serve", "--config"])
            .arg(folder.join("config.yaml"))
            .env("SSL_CERT_FILE", folder.join("provider-root.crt"))
            .env_remove("SSL_CERT_DIR")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let front = Self { port, folder, issuer, told, key, process };
        let ready = async {
            while !front.log().contains(": ready ") {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, ready).await.unwrap_or_else(|_| panic!("it does not start: {}", front.log()));
        front
    }

    pub(crate) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// The root of its serving certificate, PEM.
    pub(crate) fn root(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("state/serving-root.crt")).unwrap()
    }

    /// What `jit-frontend invite` prints.
    pub(crate) fn invitation(&self) -> String {
        let printed = Command::new(env!("CARGO_BIN_EXE_jit-frontend"))
            .args(["invite", "--config"])
            .arg(self.folder.join("config.yaml"))
            .output()
            .unwrap();
        assert!(printed.status.success());
        String::from_utf8(printed.stdout).unwrap()
    }

    /// Its resident memory, in KiB (proc_pid_status(5), `VmRSS`).
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// An ID token of the provider, with these claims instead of the usual ones.
    pub(crate) fn token(&self, nonce: &str, claims: Value) -> String {
        let usual = json!({
            "sub": "7d1c", "nonce": nonce, "preferred_username": "alice", "groups": ["/leads", "/others"], "acr": "2",
            "amr": ["otp"], "sid": "s-1",
        });
        self.signed(&json!({ "alg": "ES256", "kid": "k1" }), usual, claims)
    }

    /// A logout token of the provider, with these claims instead of the usual ones.
    pub(crate) fn logout_token(&self, jti: &str, claims: Value) -> String {
        let event = "http://schemas.openid.net/event/backchannel-logout";
        let usual = json!({ "sub": "7d1c", "sid": "s-1", "jti": jti, "events": { event: {} } });
        self.signed(&json!({ "alg": "ES256", "kid": "k1", "typ": "logout+jwt" }), usual, claims)
    }

    fn signed(&self, header: &Value, usual: Value, claims: Value) -> String {
        #[expect(clippy::disallowed_methods, reason = "the provider has a clock")]
        let now = jiff::Timestamp::now().as_second();
        let mut payload = json!({ "iss": self.issuer, "aud": "jit-login", "iat": now, "exp": now + 300 });
        for claims in [usual, claims] {
            payload.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(&payload));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// A port that no test and no connection has: below those that the kernel gives to the many connections of `floods`
/// (ip(7), `ip_local_port_range`).
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 22_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("---- log of the front end\n{}", self.log());
        }
    }
}

/// What `jitd` answers to a logout.
fn logged_out(told: &mut Told, logout: ProviderLogout) -> FromDaemon {
    if told.refuses {
        let problem = Problem::new(ErrorCode::UnknownCaller, "no such provider");
        return FromDaemon::Refused { problem };
    }
    if let Some(left) = told.fails.checked_sub(1) {
        told.fails = left;
        return FromDaemon::Refused { problem: Problem::new(ErrorCode::TrailUnavailable, "the disk is full") };
    }
    told.logouts.push(logout);
    FromDaemon::LoggedOut { grants: 1 }
}

/// `jitd`: welcomes everybody but `mallory`, and answers each request with its path.
fn be_jitd(listener: UnixListener, told: Arc<Mutex<Told>>) {
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                let introduction = match frontend::read(&mut stream).await.unwrap() {
                    FromFrontend::Introduction(introduction) => introduction,
                    FromFrontend::Logout { logout, .. } => {
                        let answer = logged_out(&mut told.lock(), logout);
                        return feed::write(&mut stream, &answer).await.unwrap();
                    }
                };
                let name = introduction.name.to_string();
                told.lock().introductions.push(introduction);
                if name.starts_with("mallory") {
                    let problem = Problem::new(ErrorCode::UnknownCaller, "mallory is not declared");
                    return feed::write(&mut stream, &FromDaemon::Refused { problem }).await.unwrap();
                }
                feed::write(&mut stream, &FromDaemon::Welcome { name }).await.unwrap();
                let service = service_fn(move |request: Request<Incoming>| {
                    let told = Arc::clone(&told);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let line = format!("{} {}", head.method, head.uri);
                        let body = String::from_utf8_lossy(&body).into_owned();
                        told.lock().requests.push((line.clone(), format!("{:?}", head.headers), body));
                        let mut answer = Response::new(Full::new(Bytes::from(json!({ "asked": line }).to_string())));
                        answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
                        answer.headers_mut().insert("x-internal", "jitd".parse().unwrap());
                        Ok::<_, hyper::Error>(answer)
                    }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

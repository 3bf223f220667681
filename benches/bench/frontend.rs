//! What people elsewhere wait for, and what strangers can do to everybody else.
//!
//! ```text
//!  verify:    a token ─► jit-identity, in this thread
//!  login:     a new key, a token for it ══► jit-frontend ─► session ─► request ─► (bob approves) ─► certificate ─► GET pods
//!  strangers: 2,000 idle and 200 slow ══► jit-frontend, in turns with none: show at the users' socket, and its memory
//! ```
//! The identity provider is played here: it serves its keys, and its tokens are signed before the clock runs. The strangers are a
//! process of their own.

use std::cell::RefCell;
use std::fs;
use std::hint::black_box;
use std::iter::repeat;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jit_identity::{KeySet, Provider, verify};
use jit_wire::frontend::nonce;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::client::WantsClientCert;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use crate::aside::{self, Aside, Task};
use crate::client::jit_login;
use crate::daemon::Daemon;
use crate::http::{Target, request};
use crate::issuer::issue;
use crate::load::median;
use crate::plane::{Plane, tls};
use crate::process::{Running, until};
use crate::signer::{Signer, claims, with};
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

const NAMESPACE: &str = "frontend";

/// How many strangers there are at least at a time: one in eleven sends a byte now and then, half of them before the end of the
/// handshake and half after it, and the others say nothing.
const STRANGERS: usize = 2200;

/// How many come: whoever is cut takes a moment to come again.
const COME: usize = 2400;

/// The addresses that they come from: jit-frontend takes 256 connections of one.
const ADDRESSES: usize = 10;

/// How often a slow one sends a byte. The front end gives a handshake and a head ten seconds each.
const BETWEEN_BYTES: Duration = Duration::from_millis(200);

/// How long it is between two that come for the first time. All at once would overflow the queue of the front end's socket, and
/// the kernel drops connections then of which only the stranger knows.
const BETWEEN_ARRIVALS: Duration = Duration::from_millis(2);

/// How long an idle one waits to be cut before it takes itself for dropped so. The front end cuts after ten seconds.
const IS_CUT_WITHIN: Duration = Duration::from_secs(20);

/// How soon a stranger whose connection was closed comes again.
const COMES_AGAIN: Duration = Duration::from_millis(50);

/// How long it is between two calls whose time is taken.
const BETWEEN_CALLS: Duration = Duration::from_millis(20);

pub(crate) async fn measure(plane: &Plane, folder: &Path, settings: &Settings) -> Result<Vec<Row>, Failure> {
    let signer = Signer::new();
    let mut rows = vec![verification(&signer, "RS256", settings)?, verification(&signer, "ES256", settings)?];
    plane.namespace(NAMESPACE).await?;
    let mut daemon = Daemon::prepare(plane, folder, "frontend", &[NAMESPACE.to_owned()])?;
    let issuer = issue(&folder.join("provider-root.crt"), signer.key_set()).await;
    daemon.configure(|config| {
        config["providers"] = json!([{ "issuer": issuer, "groups": ["oncall"] }]);
        Ok(())
    })?;
    daemon.start().await?;
    let frontend = Frontend::start(&daemon, signer, issuer).await?;
    rows.push(login(plane, &daemon, &frontend, settings).await?);
    rows.append(&mut strangers(&daemon, &frontend, settings).await?);
    drop(frontend);
    daemon.stop()?;
    Ok(rows)
}

/// The whole verification of a token, in one thread.
fn verification(signer: &Signer, algorithm: &str, settings: &Settings) -> Result<Row, Failure> {
    let times = settings.shorter(5000, 200);
    progress(&format!("frontend: {times} tokens, {algorithm}"));
    let now = Timestamp::now();
    let usual = claims(now.as_second());
    let provider = provider(usual["iss"].as_str().ok_or("no issuer")?);
    let provider: Provider = serde_json::from_value(provider)?;
    let keys = KeySet::parse(signer.key_set().to_string().as_bytes())?;
    let nonce = usual["nonce"].as_str().ok_or("no nonce")?;
    let groups: Vec<String> = (0..20).map(|number| format!("/team-{number}")).chain(["/oncall".to_owned()]).collect();
    let token = signer.token(algorithm, &with(usual.clone(), &json!({ "groups": groups })));
    let mut milliseconds = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        let person = black_box(verify(token.as_bytes(), &keys, &provider, nonce, now));
        milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
        if !person?.groups.contains("oncall") {
            return Err("the person of the token is not in the group".into());
        }
    }
    let size = token.len();
    let middle = median(milliseconds);
    Ok(Row::new(format!("verification of a token, {algorithm}, median"), number(middle, "ms"))
        .against(format!("{size} bytes, {} groups", groups.len()))
        .at_most(middle, 0.15, "ms"))
}

/// The rule of the provider.
fn provider(issuer: &str) -> Value {
    json!({
        "name": "corp", "issuer": issuer, "audience": "jit-login",
        "displayName": { "claim": "/preferred_username" },
        "groups": { "claim": "/groups", "map": { "/oncall": "oncall" } },
    })
}

/// From a key that is ready and a token for it to the first answer of the API server.
async fn login(plane: &Plane, daemon: &Daemon, frontend: &Frontend, settings: &Settings) -> Result<Row, Failure> {
    let times = settings.shorter(50, 5);
    progress(&format!("frontend: {times} logins, until access works"));
    let pods = request("GET", &format!("/api/v1/namespaces/{NAMESPACE}/pods"), None);
    let (mut sessions, mut answers) = (Vec::new(), Vec::new());
    // The first one waits for the provider's keys, and is not counted.
    for turn in 0..=times {
        let (target, log_in) = frontend.person()?;
        let begun = Instant::now();
        let mut frieda = target.connect().await?;
        frieda.exchange(&log_in).await?.json()?;
        let session = begun.elapsed();
        let pending = daemon.request(&mut frieda, NAMESPACE, "10m").await?;
        daemon.bob().connect().await?.exchange(&pending.approve()).await?.json()?;
        let collected = frieda.exchange(&pending.certificate()).await?.json()?;
        let chain = collected["certificate"].as_str().ok_or("no certificate")?;
        let mut holder = plane.client(chain, &pending.key_pem())?.connect().await?;
        holder.exchange(&pods).await?.json()?;
        let answer = begun.elapsed();
        if turn > 0 {
            sessions.push(session.as_secs_f64() * 1e3);
            answers.push(answer.as_secs_f64() * 1e3);
        }
        let end = request("POST", &format!("/v1/grants/{}/end", pending.id), None);
        frieda.exchange(&end).await?.json()?;
    }
    let (session, answer) = (median(sessions), median(answers));
    Ok(Row::new("login to the first answer of the API server, median", number(answer, "ms"))
        .against(format!("the session alone {}, without the provider's own time", number(session, "ms")))
        .at_most(answer, 300.0, "ms"))
}

/// A call at the users' socket, and the memory of the front end, with strangers and without.
async fn strangers(daemon: &Daemon, frontend: &Frontend, settings: &Settings) -> Result<Vec<Row>, Failure> {
    let (turns, time) = settings.shorter((5, Duration::from_secs(15)), (1, Duration::from_secs(4)));
    progress(&format!("frontend: {STRANGERS} strangers, {turns} times {} s in turns", time.as_secs()));
    let pending = daemon.request(&mut daemon.alice().connect().await?, NAMESPACE, "1h").await?;
    let show = request("GET", &format!("/v1/grants/{}", pending.id), None);
    let (mut quiet, mut busy, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut came = Came::default();
    for _ in 0..turns {
        let (mut alone, mut under) = (shows(daemon, &show, time).await?, Vec::new());
        let task = Task::Strangers(Strangers { port: frontend.port, root: frontend.root.clone() });
        let aside = Aside::start("the strangers", &task, &daemon.folder)?;
        // They are connected as soon as the kernel says so; the front end takes them one after the other.
        let are_in = || frontend.running.files().is_ok_and(|files| files >= STRANGERS).then_some(());
        until(&format!("the front end has the connections of {STRANGERS} strangers"), are_in).await?;
        under.append(&mut shows(daemon, &show, time).await?);
        came.add(aside.end()?);
        ratios.push(median(under.iter().copied()) / median(alone.iter().copied()));
        quiet.append(&mut alone);
        busy.append(&mut under);
    }
    let slowest = |times: &[f64]| number(times.iter().copied().fold(0.0, f64::max), "ms");
    let memory = frontend.running.memory()?.highest;
    Ok(vec![
        Row::new(
            "show at the users' socket, with strangers at the front end, median",
            format!("{}, slowest {}", number(median(busy.iter().copied()), "ms"), slowest(&busy)),
        )
        .against(format!("quiet {}, slowest {}", number(median(quiet.iter().copied()), "ms"), slowest(&quiet)))
        .at_most(median(ratios), 2.0, "×"),
        Row::new("highest memory of the front end", number(memory, "MiB"))
            .against(format!(
                "{} connections, {} handshakes, {} single bytes",
                came.connections, came.handshakes, came.bytes
            ))
            .at_most(memory, 64.0, "MiB"),
    ])
}

/// How long each show took that one person sent in this time, in milliseconds, with its connection.
async fn shows(daemon: &Daemon, show: &[u8], time: Duration) -> Result<Vec<f64>, Failure> {
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        daemon.bob().connect().await?.exchange(show).await?.json()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(BETWEEN_CALLS).await;
    }
    Ok(times)
}

/// The built front end, and who signs the tokens that it accepts.
struct Frontend {
    running: Running,
    port: u16,
    root: PathBuf,
    signer: Signer,
    issuer: String,
}

impl Frontend {
    async fn start(daemon: &Daemon, signer: Signer, issuer: String) -> Result<Self, Failure> {
        let folder = daemon.folder.join("frontend");
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = json!({
            "listen": format!("127.0.0.1:{port}"), "server": server(port),
            "daemon": daemon.folder.join("run/frontend.sock"), "state": "state", "providers": [provider(&issuer)],
        });
        fs::write(folder.join("config.yaml"), config.to_string())?;
        let mut serve = Command::new(jit_login()?.with_file_name("jit-frontend"));
        serve.arg("serve").arg("--config").arg(folder.join("config.yaml"));
        serve.env("SSL_CERT_FILE", daemon.folder.join("provider-root.crt")).env_remove("SSL_CERT_DIR");
        let log = folder.join("log");
        let running = Running::start("jit-frontend", &mut serve, &log)?;
        until("jit-frontend is ready", || {
            fs::read_to_string(&log).is_ok_and(|log| log.contains(": ready ")).then_some(())
        })
        .await?;
        Ok(Self { running, port, root: folder.join("state/serving-root.crt"), signer, issuer })
    }

    /// Somebody with a new key, and the request that logs them in.
    fn person(&self) -> Result<(Target, Vec<u8>), Failure> {
        let key = KeyPair::generate()?;
        let nonce = nonce(&server(self.port), &key.subject_public_key_info());
        let changes = json!({
            "iss": self.issuer, "nonce": nonce, "sub": "7d1c", "preferred_username": "frieda", "groups": ["/oncall"],
        });
        let token = self.signer.token("ES256", &with(claims(Timestamp::now().as_second()), &changes));
        let config = Arc::new(client(&key, tls(&self.root)?)?);
        let target = Target::Tls { address: ([127, 0, 0, 1], self.port).into(), config };
        Ok((target, request("POST", "/v1/sessions", Some(&json!({ "idToken": token })))))
    }
}

fn server(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

/// A client with this key, in a certificate that it signed itself.
fn client(key: &KeyPair, server: ConfigBuilder<ClientConfig, WantsClientCert>) -> Result<ClientConfig, Failure> {
    let certificate = CertificateParams::default().self_signed(key)?.der().clone();
    Ok(server.with_client_auth_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?)
}

/// All strangers.
#[derive(Serialize, Deserialize)]
pub(crate) struct Strangers {
    port: u16,
    /// The root of the front end's certificate.
    root: PathBuf,
}

/// What strangers did.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Came {
    connections: usize,
    handshakes: usize,
    bytes: usize,
    /// Those that are connected now, and with a handshake behind them if they are to have one.
    present: usize,
}

impl Came {
    fn add(&mut self, more: Self) {
        self.connections += more.connections;
        self.handshakes += more.handshakes;
        self.bytes += more.bytes;
    }
}

impl Strangers {
    /// Comes, and comes again whenever the front end closes a connection, until it is told to end.
    pub(crate) async fn work(self) -> Result<(), Failure> {
        let config = Arc::new(client(&KeyPair::generate()?, tls(&self.root)?)?);
        let (came, enough) = (Rc::new(RefCell::new(Came::default())), Rc::new(Notify::new()));
        for number in 0..COME {
            let address = SocketAddr::from(([127, 0, 0, u8::try_from(2 + number % ADDRESSES)?], 0));
            let manner = match number % 22 {
                0 => Manner::SlowHandshake,
                11 => Manner::SlowHead,
                _ => Manner::Idle,
            };
            let stranger = Stranger {
                manner,
                address,
                port: self.port,
                config: Arc::clone(&config),
                came: Rc::clone(&came),
                enough: Rc::clone(&enough),
            };
            tokio::time::sleep(BETWEEN_ARRIVALS).await;
            tokio::task::spawn_local(async move {
                loop {
                    // However a visit ends, the next one follows.
                    let _ = stranger.visit().await;
                    tokio::time::sleep(COMES_AGAIN).await;
                }
            });
        }
        aside::report(enough.notified(), || came.borrow().clone()).await
    }
}

/// One of them.
struct Stranger {
    manner: Manner,
    /// Where it comes from.
    address: SocketAddr,
    port: u16,
    config: Arc<ClientConfig>,
    came: Rc<RefCell<Came>>,
    /// Told when enough are present.
    enough: Rc<Notify>,
}

enum Manner {
    Idle,
    /// The beginning of a handshake, byte by byte.
    SlowHandshake,
    /// The beginning of a request after a handshake, byte by byte.
    SlowHead,
}

impl Stranger {
    /// One connection, until the front end closes it.
    async fn visit(&self) -> Result<(), Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(self.address)?;
        let mut stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], self.port))).await?;
        stream.set_nodelay(true)?;
        self.came.borrow_mut().connections += 1;
        let name = ServerName::try_from("127.0.0.1")?;
        match self.manner {
            Manner::Idle => {
                let _present = self.present();
                tokio::time::timeout(IS_CUT_WITHIN, stream.read_u8()).await??;
            }
            Manner::SlowHandshake => {
                let mut hello = Vec::new();
                ClientConnection::new(Arc::clone(&self.config), name)?.write_tls(&mut hello)?;
                let _present = self.present();
                self.trickle(&mut stream, hello).await?;
            }
            Manner::SlowHead => {
                let mut stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await?;
                self.came.borrow_mut().handshakes += 1;
                let _present = self.present();
                self.trickle(&mut stream, b"GET /v1/whoami HTTP/1.1\r\nx: ".iter().copied().chain(repeat(b'x')))
                    .await?;
            }
        }
        Ok(())
    }

    fn present(&self) -> Present<'_> {
        let mut came = self.came.borrow_mut();
        came.present += 1;
        if came.present >= STRANGERS {
            self.enough.notify_one();
        }
        Present(&self.came)
    }

    /// Sends bytes one at a time until the other side closes or says something.
    async fn trickle(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        bytes: impl IntoIterator<Item = u8>,
    ) -> Result<(), Failure> {
        for byte in bytes {
            stream.write_all(&[byte]).await?;
            stream.flush().await?;
            self.came.borrow_mut().bytes += 1;
            if tokio::time::timeout(BETWEEN_BYTES, stream.read(&mut [0])).await.is_ok() {
                break;
            }
        }
        Ok(())
    }
}

/// A stranger who is there as long as this is.
struct Present<'a>(&'a RefCell<Came>);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().present -= 1;
    }
}

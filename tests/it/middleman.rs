//! Somebody between the daemon and the API server, who passes on what he is not told to hold, to lose or
//! to answer himself.
//!
//! ```text
//!  daemon ══ TLS, the middleman's own authority ══► middleman ══ as administrator ══► API server
//! ```
//! The real API server does what is asked; only the way there and back is the test's.
//!
//! [`Forgetful`] knows less: like a NAT or a load balancer it passes on bytes, and may forget connections.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::bastion::Options;
use crate::plane::{Plane, scratch, until};

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Play {
    /// It is kept until the test lets go, and then passed on or dropped.
    Hold,
    /// It is passed on, and the answer is kept until the test lets go, and then lost.
    LoseAnswer,
    /// The connection is cut, before anything is passed on.
    HangUp,
    /// The API server is busy (429) and names a second to wait.
    Busy,
    /// A proxy on the way refuses it (403), in HTML.
    Deny,
    /// The API server says that it has this version.
    Version(&'static str),
}

/// What becomes of everything that is held, when the test lets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hand {
    Closed,
    PassesOn,
    Drops,
}

/// The middleman at work; he goes with the test.
pub(crate) struct Middleman {
    /// Where he listens.
    pub(crate) server: String,
    /// His authority, as a file.
    pub(crate) ca: PathBuf,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    client: Client,
    rules: Mutex<Vec<(&'static str, &'static str, Play)>>,
    /// How many requests met a rule and stand where the rule leaves them.
    met: Mutex<usize>,
    hand: watch::Sender<Hand>,
}

impl Middleman {
    /// Before the API server of `plane`, passing everything on.
    pub(crate) fn before(plane: &Plane) -> Self {
        Self::showing(plane, Shown::Signed)
    }

    /// One who ends TLS and passes on what he was asked, but not who asked.
    pub(crate) fn nameless(plane: &Plane) -> Self {
        Self::passing(plane, Shown::Signed, |config| config.auth_info = AuthInfo::default())
    }

    /// The same with another certificate.
    pub(crate) fn showing(plane: &Plane, shown: Shown) -> Self {
        Self::passing(plane, shown, |_| {})
    }

    fn passing(plane: &Plane, shown: Shown, change: impl FnOnce(&mut Config)) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (acceptor, ca_pem) = serving(shown);
        let ca = scratch("middleman").join("ca.crt");
        std::fs::write(&ca, ca_pem).unwrap();
        let file = Kubeconfig::read_from(&plane.kubeconfig).unwrap();
        let (shared, listener) = runtime.block_on(async {
            let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
            change(&mut config);
            let shared = Shared {
                client: Client::try_from(config).unwrap(),
                rules: Mutex::default(),
                met: Mutex::default(),
                hand: watch::Sender::new(Hand::Closed),
            };
            (Arc::new(shared), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap())
        });
        let server = format!("https://{}", listener.local_addr().unwrap());
        let working = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&working));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| Arc::clone(&shared).serve(request));
                    // A cut connection is what some tests want.
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self { server, ca, shared, _runtime: runtime }
    }

    /// A daemon that reaches the API server through him.
    pub(crate) fn options(&self) -> Options {
        Options { server: Some(self.server.clone()), ca: Some(self.ca.clone()), ..Options::default() }
    }

    /// From now on a request of this method, whose path holds `part`, is played like this. The empty
    /// method is every method. What would be made in a dry run changes nothing, and is passed on.
    pub(crate) fn play(&self, method: &'static str, part: &'static str, play: Play) {
        self.shared.hand.send_replace(Hand::Closed);
        *self.shared.met.lock().unwrap() = 0;
        self.shared.rules.lock().unwrap().push((method, part, play));
    }

    /// Waits until at least `count` requests met a rule since the last one was made.
    pub(crate) fn met(&self, count: usize) {
        until("a request comes to where it is played with", || {
            (*self.shared.met.lock().unwrap() >= count).then_some(())
        });
    }

    /// What is held is passed on now, and there are no rules any more.
    pub(crate) fn pass_on(&self) {
        self.let_go(Hand::PassesOn);
    }

    /// What is held is dropped, and there are no rules any more.
    pub(crate) fn drop_held(&self) {
        self.let_go(Hand::Drops);
    }

    fn let_go(&self, hand: Hand) {
        self.shared.rules.lock().unwrap().clear();
        self.shared.hand.send_replace(hand);
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, &'static str> {
        let play = {
            let (method, path) = (request.method().as_str(), request.uri().to_string());
            let rules = self.rules.lock().unwrap();
            let is_meant = |wanted: &str, part: &str| {
                let is_only_tried = wanted == "POST" && path.contains("dryRun=") && !part.contains("dryRun=");
                method.starts_with(wanted) && path.contains(part) && !is_only_tried
            };
            rules.iter().find(|(wanted, part, _)| is_meant(wanted, part)).map(|rule| rule.2)
        };
        let mut hand = self.hand.subscribe();
        match play {
            None => self.pass(request).await,
            Some(Play::Hold) => {
                *self.met.lock().unwrap() += 1;
                match hand.wait_for(|hand| *hand != Hand::Closed).await.map(|hand| *hand) {
                    Ok(Hand::PassesOn) => self.pass(request).await,
                    _ => Err("dropped"),
                }
            }
            Some(Play::LoseAnswer) => {
                // To its end, even when the daemon is killed meanwhile.
                let passing = Arc::clone(&self);
                drop(tokio::spawn(async move { passing.pass(request).await }).await);
                *self.met.lock().unwrap() += 1;
                drop(hand.wait_for(|hand| *hand != Hand::Closed).await);
                Err("lost")
            }
            Some(Play::HangUp) => {
                *self.met.lock().unwrap() += 1;
                Err("cut")
            }
            Some(Play::Busy) => {
                *self.met.lock().unwrap() += 1;
                let status: Value = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "too many requests, please try again later", "reason": "TooManyRequests", "code": 429 });
                let answer = Response::builder().status(429).header("retry-after", "1");
                Ok(answer.header("content-type", "application/json").body(Full::from(status.to_string())).unwrap())
            }
            Some(Play::Deny) => {
                let answer = Response::builder().status(403).header("content-type", "text/html");
                Ok(answer.body(Full::from("<html>no upgrades</html>")).unwrap())
            }
            Some(Play::Version(version)) => {
                let answer = Response::builder().header("content-type", "application/json");
                Ok(answer.body(Full::from(json!({ "gitVersion": version }).to_string())).unwrap())
            }
        }
    }

    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, &'static str> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| "no body")?.to_bytes();
        let path = head.uri.path_and_query().unwrap().as_str().to_owned();
        let mut passed = Request::builder().method(head.method).uri(path);
        for name in ["content-type", "accept"] {
            if let Some(value) = head.headers.get(name) {
                passed = passed.header(name, value);
            }
        }
        let answer = self.client.send(passed.body(Body::from(body.to_vec())).unwrap()).await;
        let Ok(answer) = answer else { return Err("the API server can't be reached") };
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| "no answer")?.to_bytes();
        let mut answer = Response::builder().status(StatusCode::from_u16(head.status.as_u16()).unwrap());
        for name in ["content-type", "date", "retry-after"] {
            if let Some(value) = head.headers.get(name) {
                answer = answer.header(name, value);
            }
        }
        Ok(answer.body(Full::new(body)).unwrap())
    }
}

/// Somebody who passes on bytes between the daemon and the API server, and forgets connections without a word to either:
/// what comes on them afterwards is taken and goes nowhere.
pub(crate) struct Forgetful {
    /// Where he listens.
    pub(crate) server: String,
    state: Arc<Passing>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Passing {
    /// So many connections were made, and so many of the first are forgotten.
    made: AtomicUsize,
    forgotten: AtomicUsize,
    /// So many did the daemon not close yet.
    open: AtomicUsize,
}

impl Forgetful {
    /// Before the API server of `plane`.
    pub(crate) fn before(plane: &Plane) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let server = format!("https://{}", listener.local_addr().unwrap());
        let (state, there) = (Arc::new(Passing::default()), plane.server.trim_start_matches("https://").to_owned());
        let passing = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((daemon, _)) = listener.accept().await {
                let number = passing.made.fetch_add(1, Ordering::SeqCst);
                passing.open.fetch_add(1, Ordering::SeqCst);
                let (passing, there) = (Arc::clone(&passing), there.clone());
                tokio::spawn(async move {
                    let Ok(api_server) = TcpStream::connect(there).await else { return };
                    let ((from_daemon, to_daemon), (from_there, to_there)) =
                        (daemon.into_split(), api_server.into_split());
                    let back = Arc::clone(&passing);
                    tokio::spawn(async move { back.pass(number, from_there, to_daemon).await });
                    passing.pass(number, from_daemon, to_there).await;
                    passing.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { server, state, _runtime: runtime }
    }

    /// Forgets every connection of before.
    pub(crate) fn forget(&self) {
        self.state.forgotten.store(self.state.made.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// How many connections the daemon has open.
    pub(crate) fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }
}

impl Passing {
    async fn pass(&self, number: usize, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if number >= self.forgotten.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }
}

/// The certificate that he shows, and what he says it is to be believed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// One that his authority signed.
    Signed,
    /// An authority's, which signed itself, and nothing above it.
    ItsOwnAuthority,
    /// One that some authority signed of which nobody is told; the certificate itself is what is to be believed.
    Pinned,
    /// The same for another name.
    PinnedForAnotherName,
    /// An authority's that his authority signed.
    AnAuthoritys,
}

/// A serving certificate for loopback, and the file of authorities for it.
fn serving(shown: Shown) -> (TlsAcceptor, String) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let name = if shown == Shown::PinnedForAnotherName { "elsewhere.example" } else { "127.0.0.1" };
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if matches!(shown, Shown::ItsOwnAuthority | Shown::AnAuthoritys) {
        leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let leaf = match shown {
        Shown::ItsOwnAuthority => leaf.self_signed(&key).unwrap(),
        _ => leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap(),
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
    let is_above = matches!(shown, Shown::Signed | Shown::AnAuthoritys);
    (TlsAcceptor::from(Arc::new(tls)), if is_above { ca_pem } else { leaf.pem() })
}

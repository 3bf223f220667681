//! An API server that does what it is told by the path: `/fake/MODE/…` for requests, the pod's name for an exec.
//!
//! Requests come over HTTP/2, upgrades over HTTP/1.1, as the gateway sends them. The credit that it gives is that of
//! kube-apiserver (`apiserver/pkg/server/secure_serving.go`): 100 streams, 256 KiB for each.

use std::collections::HashMap;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, Request, Response};
use hyper::body::Bytes;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    SanType,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::interval;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The credit of a stream.
const STREAM_WINDOW: u32 = 256 * 1024;

/// What a LIST of many objects takes.
pub(crate) const LARGE: usize = 10_000_000;

/// The output of `tail`, and of `frame`.
pub(crate) const TAIL: usize = 400 * 16 * 1024;
pub(crate) const FRAME: usize = 100_000_000;

pub(crate) struct Fake {
    pub(crate) port: u16,
    root: String,
    /// A GOAWAY follows each n-th answer; never if it is 0.
    goaway_every: usize,
    /// What was looked at, and how often: `POST /fake/x`.
    processed: Mutex<HashMap<String, usize>>,
    answers: AtomicUsize,
    /// Connections of HTTP/2: all that there were, and those that are open.
    pub(crate) connections: AtomicUsize,
    pub(crate) open: AtomicUsize,
    /// Watches and execs that run.
    pub(crate) streams: AtomicUsize,
    /// What came on the upgraded connections, in bytes.
    pub(crate) received: AtomicUsize,
    released: watch::Sender<bool>,
}

impl Fake {
    pub(crate) async fn start() -> Arc<Self> {
        Self::with_goaway(0).await
    }

    pub(crate) async fn with_goaway(every: usize) -> Arc<Self> {
        let (root, tls) = certificate();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Arc::new(Self {
            port: listener.local_addr().unwrap().port(),
            root,
            goaway_every: every,
            processed: Mutex::default(),
            answers: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            received: AtomicUsize::new(0),
            released: watch::Sender::new(false),
        });
        let serving = Arc::clone(&fake);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (fake, tls) = (Arc::clone(&serving), tls.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                        fake.requests(stream).await;
                    } else {
                        let _ = fake.upgrades(stream).await;
                    }
                });
            }
        });
        fake
    }

    /// The root of its certificate, in a file of this folder.
    pub(crate) fn write_root(&self, folder: &Path) -> PathBuf {
        let path = folder.join("fake.crt");
        std::fs::write(&path, &self.root).unwrap();
        path
    }

    /// Lets go on what is held.
    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    async fn released(&self) {
        self.released.subscribe().wait_for(|released| *released).await.unwrap();
    }

    /// How often this was processed.
    pub(crate) fn count(&self, request: &str) -> usize {
        self.processed.lock().get(request).copied().unwrap_or(0)
    }

    fn process(&self, request: &str) -> usize {
        let mut processed = self.processed.lock();
        let count = processed.entry(request.to_owned()).or_default();
        *count += 1;
        *count
    }

    async fn requests(self: Arc<Self>, stream: TlsStream<TcpStream>) {
        let wire = Arc::new(Wire::default());
        let io = Injected { inner: stream, out: Vec::new(), wire: Arc::clone(&wire) };
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(STREAM_WINDOW * 100);
        builder.max_concurrent_streams(100).max_header_list_size(1 << 20).max_send_buffer_size(STREAM_WINDOW as usize);
        let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
        self.connections.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        let mut ignored = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let id = respond.stream_id().as_u32();
            let mut last = wire.last.lock();
            if last.is_some_and(|last| id > last) {
                // Neither processed nor answered, as the GOAWAY said.
                ignored.push((request, respond));
                continue;
            }
            wire.newest.store(id as usize, Ordering::SeqCst);
            let key = format!("{} {}", request.method(), request.uri().path());
            if request.uri().path().starts_with("/fake/refused") && self.process(&format!("refused {key}")) == 1 {
                respond.send_reset(Reason::REFUSED_STREAM);
                continue;
            }
            if !request.uri().path().starts_with("/fake/object") {
                self.process(&key);
            }
            if request.uri().path().starts_with("/fake/goaway-now") {
                // Everything up to the request before was processed; this one and the later ones were not.
                *last = Some(id - 1);
                *self.processed.lock().get_mut(&key).unwrap() -= 1;
                wire.inject(&goaway(id - 1));
                ignored.push((request, respond));
                continue;
            }
            let (fake, wire) = (Arc::clone(&self), Arc::clone(&wire));
            tokio::spawn(async move {
                let _ = fake.answer(request, respond, &wire).await;
                let answered = fake.answers.fetch_add(1, Ordering::SeqCst) + 1;
                if fake.goaway_every > 0 && answered.is_multiple_of(fake.goaway_every) {
                    let mut last = wire.last.lock();
                    let newest = u32::try_from(wire.newest.load(Ordering::SeqCst)).unwrap();
                    if last.is_none() {
                        *last = Some(newest);
                        wire.inject(&goaway(newest));
                    }
                }
            });
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    async fn answer(
        &self,
        request: Request<h2::RecvStream>,
        mut respond: SendResponse<Bytes>,
        wire: &Wire,
    ) -> Result<(), h2::Error> {
        let (head, mut body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let mode = path.strip_prefix("/fake/").map(|mode| mode.split('/').next().unwrap());
        let ok = |length: Option<usize>| {
            let mut answer = Response::builder().header("content-type", "application/json");
            if let Some(length) = length {
                answer = answer.header("content-length", length);
            }
            answer.body(()).unwrap()
        };
        match mode {
            // More than one credit, so that the head has left.
            Some("reset") => {
                let mut stream = respond.send_response(ok(None), false)?;
                send(&mut stream, 2 * STREAM_WINDOW as usize).await?;
                stream.send_reset(Reason::INTERNAL_ERROR);
            }
            Some("fin") => {
                let mut stream = respond.send_response(ok(None), false)?;
                send(&mut stream, 2 * STREAM_WINDOW as usize).await?;
                wire.close();
            }
            // Fewer bytes, or more, than were promised.
            Some("short") => {
                let mut stream = respond.send_response(ok(Some(1_000_000)), false)?;
                send(&mut stream, 500_000).await?;
                stream.send_data(Bytes::new(), true)?;
            }
            Some("long") => {
                let mut stream = respond.send_response(ok(Some(10)), false)?;
                stream.send_data(Bytes::from_static(&[b'x'; 100]), true)?;
            }
            Some("large") => {
                let mut stream = respond.send_response(ok(Some(LARGE)), false)?;
                send(&mut stream, LARGE).await?;
                stream.send_data(Bytes::new(), true)?;
            }
            Some("unavailable") => {
                let answer = Response::builder().status(503).header("retry-after", "1");
                whole(&mut respond, answer, b"busy")?;
            }
            Some("bad-gateway") => whole(&mut respond, Response::builder().status(502), b"bad")?,
            Some("headers") => {
                let mut answer = Response::builder();
                for (name, value) in ANSWERED {
                    answer = answer.header(name, value).header(name, format!("{value}2"));
                }
                whole(&mut respond, answer, listed(&head.headers).to_string().as_bytes())?;
            }
            Some("held") => {
                self.released().await;
                whole(&mut respond, Response::builder(), b"{}")?;
            }
            Some("unread") => {
                self.released().await;
                let read = drain(&mut body).await?;
                whole(&mut respond, Response::builder(), read.to_string().as_bytes())?;
            }
            Some("sink") => {
                let read = drain(&mut body).await?;
                whole(&mut respond, Response::builder(), read.to_string().as_bytes())?;
            }
            Some("early") => {
                let mut read = 0;
                while read < 10_000
                    && let Some(piece) = body.data().await
                {
                    read += piece?.len();
                }
                let why = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 413,
                    "reason": "RequestEntityTooLarge", "message": "the limit is 3145728 bytes" });
                whole(&mut respond, Response::builder().status(413), why.to_string().as_bytes())?;
            }
            // A watch of something that never changes.
            Some("quiet") => {
                let mut stream = respond.send_response(ok(None), false)?;
                let _running = Counted::of(&self.streams);
                let _ = poll_fn(|cx| stream.poll_reset(cx)).await;
            }
            Some(mode @ ("watch" | "silent")) => {
                let mut stream = respond.send_response(ok(None), false)?;
                let _running = Counted::of(&self.streams);
                let mut ticks = interval(Duration::from_millis(100));
                loop {
                    stream.send_data(Bytes::from_static(b"{\"type\":\"BOOKMARK\"}\n"), false)?;
                    if mode == "silent" {
                        ticks.tick().await;
                        ticks.tick().await;
                        wire.freeze();
                        std::future::pending::<()>().await;
                    }
                    tokio::select! {
                        _ = poll_fn(|cx| stream.poll_reset(cx)) => return Ok(()),
                        _ = ticks.tick() => {}
                    }
                }
            }
            Some(mode) => {
                drain(&mut body).await?;
                // Written once its body is whole, as an API server does.
                if mode == "object" {
                    self.process(&format!("{} {path}", head.method));
                }
                whole(&mut respond, Response::builder(), b"{}")?;
            }
            None => {
                let (code, document) = discovered(&path);
                let answer = Response::builder().status(code).header("content-type", "application/json");
                whole(&mut respond, answer, document.to_string().as_bytes())?;
            }
        }
        Ok(())
    }

    async fn upgrades(&self, mut stream: TlsStream<TcpStream>) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let (method, path) = head.split_once(" HTTP/1.1").unwrap().0.split_once(' ').unwrap();
        let path = path.split('?').next().unwrap();
        self.process(&format!("{method} {path}"));
        let pod = path.split('/').nth(6).unwrap_or_default();
        let refused = match pod {
            "notfound" => Some((404, "NotFound")),
            "forbidden" => Some((403, "Forbidden")),
            _ => None,
        };
        if let Some((code, reason)) = refused {
            let status = refusal(code, reason).to_string();
            let head = format!(
                "HTTP/1.1 {code} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                status.len()
            );
            stream.write_all(format!("{head}{status}").as_bytes()).await?;
            stream.flush().await?;
            return stream.read_u8().await.map(drop);
        }
        let _running = Counted::of(&self.streams);
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap_or_default();
        let accepted = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let sha1 = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
        let accepted = STANDARD.encode(aws_lc_rs::digest::digest(sha1, accepted.as_bytes()));
        let switched = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accepted}\r\nsec-websocket-protocol: v5.channel.k8s.io\r\n\r\n"
        );
        stream.write_all(switched.as_bytes()).await?;
        stream.flush().await?;
        self.console(pod, stream).await
    }

    /// What a pod does in an exec.
    async fn console(&self, pod: &str, mut stream: TlsStream<TcpStream>) -> std::io::Result<()> {
        let success = on_channel(3, br#"{"metadata":{},"status":"Success"}"#);
        match pod {
            "tail" => {
                for _ in 0..TAIL / 16_384 {
                    stream.write_all(&on_channel(1, &[b'x'; 16_384])).await?;
                }
                stream.write_all(&[&success[..], &close(1000)].concat()).await?;
                stream.flush().await?;
                return self.count_until_end(&mut stream).await;
            }
            // One message, however large.
            "frame" => {
                stream.write_all(&[&[0x82, 127][..], &(FRAME as u64 + 1).to_be_bytes(), &[1]].concat()).await?;
                for _ in 0..FRAME / 100_000 {
                    stream.write_all(&[b'x'; 100_000]).await?;
                }
                stream.write_all(&[&success[..], &close(1000)].concat()).await?;
                stream.flush().await?;
                return self.count_until_end(&mut stream).await;
            }
            // Reads nothing until it is released.
            "stalled" => {
                self.released().await;
                return self.count_until_end(&mut stream).await;
            }
            "sink" => return self.count_until_end(&mut stream).await,
            _ => {}
        }
        stream.write_all(&on_channel(1, b"output\n")).await?;
        match pod {
            "status" => stream.write_all(&[&success[..], &close(1000)].concat()).await?,
            "close1000" => stream.write_all(&close(1000)).await?,
            "close1001" => stream.write_all(&close(1001)).await?,
            // Once the client has said something, which it does when it has the output.
            "fin" => {
                stream.flush().await?;
                stream.read_u8().await?;
                return stream.shutdown().await;
            }
            "rst" => {
                stream.flush().await?;
                stream.read_u8().await?;
                return stream.get_ref().0.set_zero_linger();
            }
            other => panic!("no pod is called `{other}`"),
        }
        stream.flush().await?;
        self.count_until_end(&mut stream).await
    }

    /// Reads until the other side ends, and counts.
    async fn count_until_end(&self, stream: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                read => self.received.fetch_add(read, Ordering::SeqCst),
            };
        }
    }
}

/// The headers of an answer of mode `headers`, each sent twice.
pub(crate) const ANSWERED: [(&str, &str); 10] = [
    ("warning", "299 - \"old\""),
    ("audit-id", "0198"),
    ("etag", "\"1\""),
    ("vary", "Accept"),
    ("expires", "0"),
    ("retry-after", "1"),
    ("cache-control", "no-cache"),
    ("x-kubernetes-pf-flowschema-uid", "f"),
    ("x-kubernetes-pf-prioritylevel-uid", "p"),
    ("x-stream-protocol-version", "v4"),
];

/// The answer to an exec that is refused; longer than one read.
pub(crate) fn refusal(code: u16, reason: &str) -> serde_json::Value {
    let message = format!("pods \"x\" {reason}{}", ", and why".repeat(3000));
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code })
}

/// What kubectl asks before an exec.
fn discovered(path: &str) -> (u16, serde_json::Value) {
    let pods = json!({ "name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get"] });
    let document = match path {
        "/api" => json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }),
        "/apis" => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }),
        "/api/v1" => json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [pods] }),
        _ => match path.strip_prefix("/api/v1/namespaces/default/pods/") {
            Some(name) => json!({ "kind": "Pod", "apiVersion": "v1",
                "metadata": { "name": name, "namespace": "default" },
                "spec": { "containers": [{ "name": "main", "image": "x" }] },
                "status": { "phase": "Running" } }),
            None => return (404, refusal(404, "NotFound")),
        },
    };
    (200, document)
}

/// Headers as pairs, in order.
fn listed(headers: &HeaderMap) -> serde_json::Value {
    let pairs = headers.iter().map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]));
    pairs.collect()
}

fn whole(respond: &mut SendResponse<Bytes>, answer: http::response::Builder, body: &[u8]) -> Result<(), h2::Error> {
    respond.send_response(answer.body(()).unwrap(), false)?.send_data(Bytes::copy_from_slice(body), true)
}

/// Sends so many bytes, as there is credit for them.
async fn send(stream: &mut SendStream<Bytes>, mut left: usize) -> Result<(), h2::Error> {
    while left > 0 {
        stream.reserve_capacity(left.min(16_384));
        let Some(room) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return Ok(()) };
        let piece = room?.min(left);
        stream.send_data(Bytes::from(vec![b'x'; piece]), false)?;
        left -= piece;
    }
    Ok(())
}

async fn drain(body: &mut h2::RecvStream) -> Result<usize, h2::Error> {
    let mut whole = 0;
    while let Some(piece) = body.data().await {
        let length = piece?.len();
        whole += length;
        body.flow_control().release_capacity(length)?;
    }
    Ok(whole)
}

/// A message on a channel, as a server sends it.
pub(crate) fn on_channel(channel: u8, text: &[u8]) -> Vec<u8> {
    let length = text.len() as u64 + 1;
    [&[0x82, 127][..], &length.to_be_bytes(), &[channel], text].concat()
}

pub(crate) fn close(code: u16) -> Vec<u8> {
    [&[0x88, 2][..], &code.to_be_bytes()].concat()
}

/// A GOAWAY without an error (RFC 9113, section 6.8).
fn goaway(last: u32) -> Vec<u8> {
    [&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &last.to_be_bytes(), &[0; 4]].concat()
}

fn certificate() -> (String, TlsAcceptor) {
    let name = |name: &str| {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, name);
        subject
    };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = name("fake root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = name("fake");
    params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
    let certificate = params.signed_by(&own, &issuer).unwrap().der().clone();
    let mut tls = rustls::ServerConfig::builder_with_provider(jit_dial::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(own.serialize_der()).into())
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (root, TlsAcceptor::from(Arc::new(tls)))
}

/// One that runs.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What is done to a connection of HTTP/2 behind the library's back.
#[derive(Default)]
struct Wire {
    frames: Mutex<Vec<u8>>,
    waker: Mutex<Option<Waker>>,
    is_frozen: AtomicBool,
    is_closed: AtomicBool,
    /// The newest stream, and the last one of the GOAWAY.
    newest: AtomicUsize,
    last: Mutex<Option<u32>>,
}

impl Wire {
    /// Sends this between two frames.
    fn inject(&self, frame: &[u8]) {
        self.frames.lock().extend_from_slice(frame);
        self.wake();
    }

    /// Neither reads nor writes from now on, but stays connected.
    fn freeze(&self) {
        self.is_frozen.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }
}

/// A connection whose writes are whole frames: it takes all that the library has at once.
struct Injected {
    inner: TlsStream<TcpStream>,
    out: Vec<u8>,
    wire: Arc<Wire>,
}

impl Injected {
    fn write_out(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out))?;
            self.out.drain(..written);
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }
}

impl AsyncRead for Injected {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        *this.wire.waker.lock() = Some(cx.waker().clone());
        if this.wire.is_frozen.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        this.out.append(&mut this.wire.frames.lock());
        if this.write_out(cx)?.is_ready() && this.wire.is_closed.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Injected {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        if !this.wire.is_frozen.load(Ordering::SeqCst) {
            this.out.extend_from_slice(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.get_mut().write_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.write_out(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

//! Connections: the handshake, the requests on it, and the cut.
//!
//! ```text
//!  TCP ─► TLS, certificate checked ─► caller ─► live grant ─► requests, until it ends or the certificate is over ─► reset
//! ```
//! The grant in the certificate selects the cluster, so a client needs no server name and no path of its own. Who the
//! caller is, is decided once per connection; there are no session tickets, so a resumed session cannot skip it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::Timestamp;
use jit_core::grant::Record;
use jit_core::grant::request::ClusterName;
use jit_dial::{ApiServer, notice_silence, provider};
use jit_serving::Serving;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use crate::answer::{Body, refusal};
use crate::caller::Caller;
use crate::feed::Authorities;
use crate::grants::{Grants, Live};
use crate::headers::{self, Identity};
use crate::newcomers::Newcomers;
use crate::record::{self, Entry, Recorder, Session, Wanted};
use crate::request::{self, Refused};
use crate::restrict::{self, Forward};
use crate::settling;
use crate::socket::Socket;
use crate::tunnel::{Ending, Tunnel};
use crate::unread::{Answering, Told, Turns};
use crate::upstream::{Upstream, UpstreamError};

/// The credit of one stream, in bytes: what a reader that stopped may keep in memory.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;

/// Streams of one connection, which is what the API server allows on one of its own.
const STREAMS: u32 = 100;

/// The credit of a connection: so much that streams which nobody reads leave enough to the others.
pub(crate) const WINDOW: u32 = STREAM_WINDOW * STREAMS;

/// How often a silent peer is asked whether it is there, and how long it may take to answer. Together under 45 s.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(15);
pub(crate) const PING_ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// How long a handshake, or the head of a request, may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection without a request is kept.
const IDLE: Duration = Duration::from_secs(90);

/// The largest head, in bytes: kube-apiserver's own (`http.DefaultMaxHeaderBytes`).
pub(crate) const LARGEST_HEAD: usize = 1 << 20;

/// Connections at a time, in all.
const CONNECTIONS: usize = 4096;

/// Connections at a time whose caller is not known yet.
const NEWCOMERS: usize = 256;

/// Answers that are looked into, in bytes: a refusal takes under 1 KiB.
const LARGEST_REFUSAL: usize = 64 * 1024;

/// A gateway that serves.
pub struct Gateway {
    grants: Arc<Grants>,
    clusters: BTreeMap<ClusterName, ApiServer>,
    serving: Serving,
    authorities: watch::Receiver<Authorities>,
    trusted: parking_lot::Mutex<Option<Arc<Trusted>>>,
    newcomers: Arc<Newcomers>,
    recorder: Arc<Recorder>,
    clock: fn() -> Timestamp,
}

/// What is made of the authorities that the daemon named last.
struct Trusted {
    authorities: Authorities,
    /// Accepts a certificate of any of them.
    tls: TlsAcceptor,
    /// Accepts a certificate of one of them.
    by_cluster: BTreeMap<ClusterName, Arc<dyn ClientCertVerifier>>,
}

/// Resets a connection instead of closing it: whatever it still has to send is discarded.
pub(crate) fn reset(socket: &TcpStream) {
    // It may be closed already.
    let _ = socket.set_zero_linger();
}

impl Gateway {
    /// A gateway for these clusters.
    #[must_use]
    pub fn new(
        grants: Arc<Grants>,
        clusters: BTreeMap<ClusterName, ApiServer>,
        serving: Serving,
        authorities: watch::Receiver<Authorities>,
        recorder: Arc<Recorder>,
        clock: fn() -> Timestamp,
    ) -> Self {
        let (trusted, newcomers) = (parking_lot::Mutex::default(), Newcomers::new(NEWCOMERS));
        Self { grants, clusters, serving, authorities, trusted, newcomers, recorder, clock }
    }

    /// Accepts connections. Never returns.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let gateway = Arc::clone(&self);
                    tokio::spawn(async move {
                        let _place = place;
                        gateway.connection(stream, peer).await;
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: wait for some to come free.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let socket = Arc::new(stream);
        if let Err(error) = notice_silence(&socket) {
            tracing::debug!(%error, %peer, "a connection ended before it began");
            return;
        }
        let Some(trusted) = self.trusted() else {
            tracing::warn!(%peer, "refused a connection: jitd has not said yet which authorities to trust");
            return;
        };
        let newcomer = self.newcomers.enter(peer.ip());
        // On the heap until it is done: the connection would keep its room.
        let known = Box::pin(async {
            let tls = match timeout(HEAD_WITHIN, trusted.tls.accept(Socket::new(Arc::clone(&socket)))).await {
                Ok(Ok(tls)) => tls,
                Ok(Err(error)) => {
                    tracing::info!(%error, %peer, "refused a connection at its handshake");
                    return None;
                }
                Err(_) => return None,
            };
            let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
            let chain: Vec<CertificateDer<'static>> = chain.iter().map(|one| one.clone().into_owned()).collect();
            let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            let admitted = self.admit(&chain, &trusted, is_http2).await.and_then(|(caller, live, upstream)| {
                let place = live.connect().ok_or_else(|| format!("grant {} has too many connections", live.id))?;
                Ok((caller, live, upstream, place))
            });
            Some((tls, is_http2, admitted))
        });
        let known = tokio::select! {
            known = known => known,
            () = newcomer.lost() => None,
        };
        let Some((tls, is_http2, admitted)) = known else { return };
        match admitted {
            Ok((caller, live, upstream, place)) => {
                drop(newcomer);
                let left = left(caller.not_after, (self.clock)());
                let expires = Instant::now() + left;
                let ended = live.ended().clone();
                let connection = Arc::new(Connection {
                    live,
                    upstream,
                    recorder: Arc::clone(&self.recorder),
                    peer,
                    socket: Arc::clone(&socket),
                    expires,
                    place: Arc::new(place),
                });
                let service = service_fn(move |request| {
                    let connection = Arc::clone(&connection);
                    // On the heap while it is worked on: hyper keeps the room of this future as long as the stream.
                    async move { Ok::<_, Infallible>(Box::pin(connection.answer(request)).await) }
                });
                let served = serve(tls, is_http2, service);
                tokio::select! {
                    biased;
                    () = ended.cancelled() => reset(&socket),
                    () = sleep_until(expires) => reset(&socket),
                    served = served => {
                        if let Err(error) = served {
                            tracing::debug!(%error, %peer, "a connection ended badly");
                        }
                    }
                }
            }
            Err(why) => {
                tracing::info!(why, %peer, "refused a connection");
                let service = service_fn(move |request: Request<Incoming>| {
                    let refused = refusal(StatusCode::FORBIDDEN, &why, request.uri().path());
                    async move { Ok::<_, Infallible>(refused) }
                });
                tokio::select! {
                    _ = timeout(HEAD_WITHIN, serve(tls, is_http2, service)) => {}
                    () = newcomer.lost() => {}
                }
            }
        }
    }

    /// The caller, the live grant and the way to its cluster; or why not, as a sentence.
    async fn admit(
        &self,
        chain: &[CertificateDer<'static>],
        trusted: &Trusted,
        is_http2: bool,
    ) -> Result<(Caller, Arc<Live>, Upstream), String> {
        let (leaf, between) = chain.split_first().ok_or("there is no client certificate")?;
        let caller = Caller::of(leaf).map_err(|error| error.to_string())?;
        let not_live = || format!("grant {} is not live; request access with jit-login", caller.grant);
        let live = self.grants.admit(&caller.grant).await.ok_or_else(not_live)?;
        if live.user != caller.user {
            return Err(format!("grant {} is not {}'s", caller.grant, caller.user));
        }
        // The authority of one cluster must not open another.
        let verifier = trusted.by_cluster.get(&live.cluster).ok_or_else(not_live)?;
        verifier
            .verify_client_cert(leaf, between, UnixTime::now())
            .map_err(|error| format!("the client certificate is not one of cluster {}: {error}", live.cluster))?;
        let server = self
            .clusters
            .get(&live.cluster)
            .ok_or_else(|| format!("the gateway is not configured for cluster {}", live.cluster))?;
        let route = if is_http2 { Arc::default() } else { live.routes.one() };
        let upstream = Upstream::new(server.clone(), Arc::clone(&live), route);
        Ok((caller, live, upstream))
    }

    /// What is trusted now; `None` before the daemon has said anything that can be used.
    fn trusted(&self) -> Option<Arc<Trusted>> {
        let authorities = self.authorities.borrow();
        if authorities.is_empty() {
            return None;
        }
        let mut trusted = self.trusted.lock();
        if trusted.as_ref().is_none_or(|trusted| trusted.authorities != *authorities) {
            match Trusted::new(&authorities, &self.serving) {
                Ok(new) => *trusted = Some(Arc::new(new)),
                Err(why) => {
                    tracing::error!(why, "the authorities that jitd named cannot be used");
                    *trusted = None;
                }
            }
        }
        trusted.clone()
    }
}

impl Trusted {
    fn new(authorities: &Authorities, serving: &Serving) -> Result<Self, String> {
        let mut by_cluster = BTreeMap::new();
        let mut all = rustls::RootCertStore::empty();
        for (cluster, pem) in authorities {
            let mut own = rustls::RootCertStore::empty();
            for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let root = root.map_err(|error| format!("cluster {cluster}: {error}"))?;
                own.add(root.clone()).map_err(|error| format!("cluster {cluster}: {error}"))?;
                all.add(root).map_err(|error| format!("cluster {cluster}: {error}"))?;
            }
            by_cluster.insert(cluster.clone(), verifier(own)?);
        }
        let mut tls = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier(all)?)
            .with_single_cert(vec![serving.certificate.clone()], serving.key.clone_key())
            .map_err(|error| error.to_string())?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        tls.send_tls13_tickets = 0;
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { authorities: authorities.clone(), tls: TlsAcceptor::from(Arc::new(tls)), by_cluster })
    }
}

fn verifier(roots: rustls::RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, String> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|error| error.to_string())
}

/// Serves the requests of one connection. On the heap, and nothing of it in the task besides.
fn serve<S>(tls: tokio_rustls::server::TlsStream<Socket>, is_http2: bool, service: S) -> Served
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(LARGEST_HEAD as u32)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWERED_WITHIN)
            .serve_connection(TokioIo::new(tls), service);
        Box::pin(connection)
    } else {
        let turns = Arc::<Turns>::default();
        let io = TokioIo::new(Told::new(tls, Arc::clone(&turns)));
        let service = service_fn(move |request| {
            let (turn, answer, turns) = (turns.begin(), service.call(request), Arc::clone(&turns));
            async move {
                let answer = answer.await?;
                if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                    turns.upgraded();
                }
                Ok::<_, Infallible>(answer.map(|body| Answering { body, _turn: turn }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_buf_size(LARGEST_HEAD)
            .serve_connection(io, service)
            .with_upgrades();
        Box::pin(connection)
    }
}

/// A connection that is served, to its end.
type Served = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// How long a certificate is valid, to the end of its last second.
fn left(not_after: Timestamp, now: Timestamp) -> Duration {
    let left = not_after.duration_since(now).as_millis().saturating_add(1000);
    // At most a day at a time: a window is shorter, and an instant may not lie centuries ahead.
    Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(Duration::from_secs(86_400))
}

/// One client connection of a live grant.
struct Connection {
    live: Arc<Live>,
    upstream: Upstream,
    recorder: Arc<Recorder>,
    peer: SocketAddr,
    socket: Arc<TcpStream>,
    /// The end of its certificate.
    expires: Instant,
    /// Its place among those of the grant, which an upgrade keeps.
    place: Arc<OwnedSemaphorePermit>,
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let answer = match self.forward(request).await {
            Ok(answer) => Ok(answer),
            Err((refused, None)) => Err(refused),
            Err((refused, Some(mut entry))) => {
                entry.refuse(Some(refused.status), &refused.why);
                Err(refused)
            }
        };
        answer.unwrap_or_else(|Refused { status: code, why }| refusal(code, &why, &path))
    }

    async fn forward(&self, incoming: Request<Incoming>) -> Result<Response<Body>, (Refused, Option<Entry>)> {
        let running = self.live.run();
        let from = self.peer.ip();
        let meant = request::Request::parse(incoming.method(), incoming.uri(), incoming.headers());
        let _turn;
        let (incoming, content) = match &meant {
            Ok(meant) if self.live.sessions.record != Record::Off && record::has_power(meant) => {
                _turn = self.live.turn_to_read().await;
                let (parts, body) = incoming.into_parts();
                let broke_off = |error| {
                    (Refused::new(StatusCode::BAD_REQUEST, format!("the body of the request broke off: {error}")), None)
                };
                let (body, content) = record::read_content(body, &parts.headers).await.map_err(broke_off)?;
                (Request::from_parts(parts, body), Some(content))
            }
            _ => (incoming.map(|body| body.map_err(Into::into).boxed_unsync()), None),
        };
        let query = incoming.uri().query();
        let refused = meant.as_ref().ok().and_then(|meant| restrict::refused(&self.live, meant, query));
        let wanted = match &meant {
            Ok(meant) => Wanted {
                id: audit_id(),
                asked: record::asked(meant, query, incoming.headers(), content, from),
                is_durable: meant.is_durable(),
                is_console: meant.is_console() && refused.is_none(),
            },
            Err(_) => Wanted::unread(audit_id(), incoming.method(), incoming.uri().path(), from),
        };
        let logged = self.recorder.open(&self.live, running, wanted, self.expires).await;
        let mut entry =
            logged.map_err(|error| (Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()), None))?;
        let meant = match meant {
            Ok(meant) => meant,
            Err(refused) => return Err((refused, Some(entry))),
        };
        if let Some(refused) = refused {
            return Err((refused, Some(entry)));
        }
        match self.send(&meant, incoming, &mut entry).await {
            Ok(Sent::Answer(parts, body)) => Ok(Response::from_parts(parts, record::answer_body(body, entry))),
            Ok(Sent::Upgraded { client, answer, ending }) => Ok(self.tunnel(client, answer, ending, &meant, entry)),
            Err(refused) => Err((refused, Some(entry))),
        }
    }

    /// Sends a request on, and returns what came back, if it may pass.
    async fn send(
        &self,
        meant: &request::Request,
        mut incoming: Request<Body>,
        entry: &mut Entry,
    ) -> Result<Sent, Refused> {
        // What could not be followed, though the terms of the grant need it, is sent on as a request for no stream.
        let unfollowable = restrict::needs_web_socket(&self.live, meant);
        let upgrade = meant.upgrade.as_ref().filter(|_| unfollowable.is_none());
        let identity = Identity { user: &self.live.user, group: &self.live.id.group(), grant: self.live.id.as_str() };
        // A client of HTTP/1.0 takes every end of the connection for the end of the answer, except a reset.
        let unframed = (incoming.version() < Version::HTTP_11).then(|| Arc::clone(&self.socket));
        let client = (upgrade.is_some()).then(|| hyper::upgrade::on(&mut incoming));
        let (parts, body) = incoming.into_parts();
        let headers = headers::outgoing(&parts.headers, &identity, &entry.id, self.peer.ip(), upgrade)?;
        let is_repeatable = settling::is_repeatable(&parts.method, !body.is_end_stream());
        let mut outgoing = Request::new(record::request_body(body, Arc::clone(&entry.meter)));
        *outgoing.method_mut() = parts.method;
        *outgoing.uri_mut() = meant.target();
        *outgoing.headers_mut() = headers;
        tracing::debug!(grant = %self.live.id, id = entry.id, verb = meant.verb(), path = outgoing.uri().path(), "request");
        let is_upgrade = client.is_some();
        let send = |outgoing| async move {
            if is_upgrade { self.upstream.upgrade(outgoing).await } else { self.upstream.send(outgoing).await }
        };
        let answer = settling::unless_new(self.live.since, is_repeatable, outgoing, send).await;
        let mut answer = answer.map_err(|error| self.no_answer(&error))?;
        entry.answered(answer.status());
        if let (Some(client), StatusCode::SWITCHING_PROTOCOLS) = (client, answer.status()) {
            let chosen = answer.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
            let is_channel = headers::chosen(upgrade, chosen)?;
            let ending = if is_channel { Ending::Channel } else { Ending::Reset };
            return Ok(Sent::Upgraded { client, answer, ending });
        }
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Refused::new(StatusCode::BAD_GATEWAY, "the API server upgraded without being asked"));
        }
        if let Some(refusal) = refused_redirect(answer.status(), answer.headers()) {
            return Err(refusal);
        }
        headers::answer(answer.headers_mut());
        let (parts, body) = answer.into_parts();
        if let Some(why) = unfollowable {
            return unfollowed(parts, body, why).await;
        }
        if matches!(parts.status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED) {
            return self.refusal(parts, body).await;
        }
        let body = body.map_err(move |error| {
            if let Some(socket) = &unframed {
                reset(socket);
            }
            error.into()
        });
        Ok(Sent::Answer(parts, body.boxed_unsync()))
    }

    /// A refusal of the API server's, unless it refuses the gateway itself: that is never shown as the person's.
    async fn refusal(&self, parts: http::response::Parts, body: Incoming) -> Result<Sent, Refused> {
        if parts.status == StatusCode::UNAUTHORIZED {
            self.upstream.refused();
            tracing::error!(cluster = %self.live.cluster, "the API server does not accept the gateway's credential");
            let why = format!("cluster {} does not accept the gateway's credential", self.live.cluster);
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        let bytes = whole(body).await?;
        if contains(&bytes, IMPERSONATE) {
            tracing::error!(grant = %self.live.id, cluster = %self.live.cluster, "the gateway lacks the right to act for a live grant");
            let why = format!("the gateway lacks a right for grant {}; jitd's log has the cause", self.live.id);
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        Ok(Sent::whole(parts, bytes))
    }

    fn tunnel(
        &self,
        client: hyper::upgrade::OnUpgrade,
        mut answer: Response<Incoming>,
        ending: Ending,
        meant: &request::Request,
        entry: Entry,
    ) -> Response<Body> {
        let chosen = answer.headers().get(header::SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes);
        let forward = Forward::of(&self.live, meant, chosen, self.peer.ip(), (&self.recorder, self.expires));
        let session = meant.is_console().then(|| self.recorder.session(&entry)).filter(Session::is_followed);
        let upstream = hyper::upgrade::on(&mut answer);
        let (live, socket) = (Arc::clone(&self.live), Arc::clone(&self.socket));
        let (expires, place) = (self.expires, Arc::clone(&self.place));
        tokio::spawn(async move {
            let _place = place;
            // The client's side is there as soon as its 101 is written.
            match tokio::try_join!(client, upstream) {
                Ok((client, upstream)) => {
                    Tunnel { client, socket, upstream, ending, live, entry, session, forward }.run(expires).await;
                }
                Err(error) => tracing::debug!(%error, "an upgrade ended before it began"),
            }
        });
        let mut response = Response::new(http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        headers::switched(answer.headers(), response.headers_mut());
        response
    }

    fn no_answer(&self, error: &UpstreamError) -> Refused {
        tracing::warn!(grant = %self.live.id, cluster = %self.live.cluster, %error, "no answer from the API server");
        // 502 and no `Retry-After`: kubectl repeats a write that has one.
        Refused::new(StatusCode::BAD_GATEWAY, format!("cluster {}: {error}", self.live.cluster))
    }
}

/// What the API server writes when it refuses an impersonation, in JSON and in protobuf
/// (`apiserver/pkg/endpoints/filters/impersonation`).
pub(crate) const IMPERSONATE: &[u8] = b"cannot impersonate";

/// What came back of a request.
enum Sent {
    /// An answer.
    Answer(http::response::Parts, Body),
    /// A stream, which begins once the client has its 101.
    Upgraded { client: hyper::upgrade::OnUpgrade, answer: Response<Incoming>, ending: Ending },
}

impl Sent {
    /// An answer whose body was looked into.
    fn whole(parts: http::response::Parts, bytes: Bytes) -> Self {
        Self::Answer(parts, http_body_util::Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
    }
}

/// The answer to a request for a stream that could not be followed, which was sent on as one for no stream: so the API server
/// says whether the pod exists and whether the person may, and nothing begins.
async fn unfollowed(parts: http::response::Parts, body: Incoming, why: &str) -> Result<Sent, Refused> {
    let bytes = whole(body).await?;
    if parts.status.is_client_error() && !contains(&bytes, UPGRADE_REQUIRED) {
        return Ok(Sent::whole(parts, bytes));
    }
    let hint = "use kubectl 1.31 or later, without KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false or \
                KUBECTL_PORT_FORWARD_WEBSOCKETS=false";
    Err(Refused::new(StatusCode::BAD_REQUEST, format!("{why}, which needs a WebSocket: {hint}")))
}

/// A short body.
pub(crate) async fn whole(body: Incoming) -> Result<Bytes, Refused> {
    let whole = Limited::new(body, LARGEST_REFUSAL).collect().await;
    let whole = whole.map_err(|error| {
        Refused::new(StatusCode::BAD_GATEWAY, format!("the API server's answer broke off: {error}"))
    })?;
    Ok(whole.to_bytes())
}

pub(crate) fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

/// What the API server writes when it is asked for a stream without an upgrade
/// (`apimachinery/pkg/util/proxy/upgradeaware.go`).
const UPGRADE_REQUIRED: &[u8] = b"Upgrade request required";

/// Redirects are refused, because a client would follow them with its certificate; but for OpenAPI v3, which redirects an
/// outdated hash to a relative URL.
fn refused_redirect(code: StatusCode, headers: &HeaderMap) -> Option<Refused> {
    if !code.is_redirection() || code == StatusCode::NOT_MODIFIED {
        return None;
    }
    let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok()).unwrap_or_default();
    let is_ours = location.starts_with("/openapi/v3/") && !location.contains("..") && !location.contains("//");
    (!is_ours)
        .then(|| Refused::new(StatusCode::BAD_GATEWAY, "the API server redirected, which the gateway does not follow"))
}

/// A random id, of the form of the API server's own (UUID version 4, RFC 9562 section 5.4).
pub(crate) fn audit_id() -> String {
    let mut bytes = [0_u8; 16];
    // Without random numbers the id is not unique, and nothing else depends on it.
    let _ = provider().secure_random.fill(&mut bytes);
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let text = format!("{number:032x}");
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

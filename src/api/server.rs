//! The server behind the sockets. It limits connections, heads, bodies and time, so that one client cannot lock out the
//! others, and all users together cannot lock out the operators. A shutdown waits for the calls that have begun.
//! `jit-frontend` introduces the caller of each of its connections before the first call, or says whose login is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use super::accept::{Accepting, Arrival, Socket, keep};
use super::caller::{Account, Listener, Peer};
use super::problem::ApiError;
use super::{Api, router};
use crate::grant::login::ProviderLogout;
use crate::grant::request::PersonName;
use crate::metrics::Limit;
use crate::places::{Place, Places};
use crate::wire::frontend::{self, FromDaemon, FromFrontend, Introduction};
use crate::wire::{ErrorCode, feed};

/// The limits of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Concurrent connections of all users. Together with those of operators fewer than the usual 1,024 file
    /// descriptors, so that some always remain for the clusters and the trail.
    pub connections: usize,
    /// Concurrent connections of operators, counted separately.
    pub operators: usize,
    /// Concurrent connections of the front end, counted separately.
    pub guests: usize,
    /// Concurrent connections of one account.
    pub per_account: usize,
    /// Concurrent connections of one person who comes through the front end.
    pub per_guest: usize,
    /// How long a connection counts at least, so that connections that are closed at once are limited as well: to
    /// `per_account` in this time.
    pub counts: Duration,
    /// How long a head may take to arrive, and how long an idle connection is kept.
    pub head: Duration,
    /// How long a call may take, from its head to the beginning of its answer; longer than the longest wait.
    pub call: Duration,
    /// How long the server waits for the client to read any part of the answer.
    pub unread: Duration,
    /// How long a shutdown waits for calls that have begun.
    pub shutdown: Duration,
}

impl Limits {
    /// The limits of the daemon.
    pub const USUAL: Self = Self {
        connections: 768,
        operators: 32,
        guests: 128,
        per_account: 128,
        per_guest: 32,
        // 1,280 connections of one account in a second.
        counts: Duration::from_millis(100),
        head: Duration::from_secs(10),
        call: Duration::from_secs(90),
        unread: Duration::from_secs(30),
        shutdown: Duration::from_secs(10),
    };

    fn at(self, door: Listener) -> usize {
        match door {
            Listener::Users => self.connections,
            Listener::Operators => self.operators,
            Listener::Frontend => self.guests,
        }
    }

    /// The limit for one account. All connections of the front end are of one, and are limited once it is known whose they
    /// are.
    fn of_account(self, door: Listener) -> usize {
        match door {
            Listener::Users | Listener::Operators => self.per_account,
            Listener::Frontend => usize::MAX,
        }
    }
}

/// The socket of `jit-frontend`.
pub struct FrontendSocket {
    /// The socket.
    pub listener: UnixListener,
    /// The accounts that may connect.
    pub accounts: BTreeSet<u32>,
}

/// Serves on every socket until `stop` completes, then waits for the calls that have begun.
///
/// # Errors
/// Those of the system if a socket cannot be served; then none is.
pub async fn serve(
    api: Arc<Api>,
    doors: Vec<(Listener, UnixListener)>,
    frontend: Option<FrontendSocket>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let socket = |door: Listener, listener: UnixListener, only: Option<BTreeSet<u32>>| {
        let places = Places::new(limits.at(door), limits.of_account(door));
        Ok(Socket { door, listener: listener.into_std()?, only, places })
    };
    let doors = doors.into_iter().map(|(door, listener)| socket(door, listener, None));
    let mut sockets = doors.collect::<std::io::Result<Vec<Socket>>>()?;
    if let Some(FrontendSocket { listener, accounts }) = frontend {
        sockets.push(socket(Listener::Frontend, listener, Some(accounts))?);
    }
    if sockets.is_empty() {
        return Ok(());
    }
    let mut accepting = Accepting::on(sockets, &api)?;
    let (router, graceful) = (router(Arc::clone(&api)), GracefulShutdown::new());
    let guests = Places::new(limits.guests, limits.per_guest);
    let server = Server { api, router, limits, guests, stopping: Arc::default() };
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            arrival = accepting.next() => match arrival {
                Some(arrival) => server.begin(arrival, &graceful),
                None => break,
            },
        }
    }
    server.stopping.store(true, Ordering::Relaxed);
    accepting.stop();
    // Whoever was accepted just now is answered, too.
    while let Some(arrival) = accepting.next().await {
        server.begin(arrival, &graceful);
    }
    server.api.broker.ledger().stop_waiting();
    // hyper closes connections at once if they have not sent anything; such a client may have connected just now.
    let _ = tokio::time::timeout(LAST_CALL, all_gone(&graceful)).await;
    if tokio::time::timeout(limits.shutdown, graceful.shutdown()).await.is_err() {
        tracing::warn!("some calls did not finish in time");
    }
    Ok(())
}

/// What all connections share.
struct Server {
    api: Arc<Api>,
    router: Router,
    limits: Limits,
    /// The connections that the front end introduced.
    guests: Arc<Places<Account>>,
    stopping: Arc<AtomicBool>,
}

impl Server {
    /// Serves a connection, in a task of its own.
    fn begin(&self, arrival: Arrival, graceful: &GracefulShutdown) {
        let Arrival { door, stream, uid, place, is_turned_away } = arrival;
        let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "a connection could not be served"),
        };
        let limits = self.limits;
        if is_turned_away {
            // Its place is kept like any other, so that whoever is turned away all the time is mostly only closed.
            tokio::spawn(keep(place, limits.counts, async move {
                // If the client has disconnected, nobody needs the answer.
                let _ = match door {
                    Listener::Frontend => tokio::time::timeout(TURNING_AWAY, refuse(stream, busy())).await,
                    _ => tokio::time::timeout(TURNING_AWAY, turn_away(stream)).await,
                };
            }));
            return;
        }
        let serving = Serving { router: self.router.clone(), stopping: Arc::clone(&self.stopping), limits };
        if door == Listener::Frontend {
            let (api, guests, watcher) = (Arc::clone(&self.api), Arc::clone(&self.guests), graceful.watcher());
            tokio::spawn(async move {
                let _place = place;
                let Ok(Some((stream, document))) = tokio::time::timeout(limits.head, said(stream)).await else {
                    return;
                };
                let introduction = match document {
                    FromFrontend::Introduction(introduction) => introduction,
                    FromFrontend::Logout { version, logout } => return log_out(stream, &api, version, logout).await,
                };
                let introduced = introduced(stream, introduction, &api, &guests);
                let introduced = tokio::time::timeout(limits.head, introduced).await;
                let Ok(Some((stream, peer, left, _place))) = introduced else { return };
                let connection = watcher.watch(serving.connection(stream, peer));
                // At the end of the session nothing more is served; a change that has begun completes all the same.
                let _ = tokio::time::timeout(left, connection).await;
            });
            return;
        }
        let Ok(peer) = Peer::of(&stream, door) else { return };
        let connection = graceful.watch(serving.connection(stream, peer));
        let counts = if door == Listener::Operators { Duration::ZERO } else { limits.counts };
        tokio::spawn(async move {
            if let Err(error) = keep(place, counts, connection).await {
                tracing::debug!(%error, uid, "a connection ended with an error");
            }
        });
    }
}

/// What serves the calls of a connection.
struct Serving {
    router: Router,
    stopping: Arc<AtomicBool>,
    limits: Limits,
}

impl Serving {
    /// Serves one connection, whose calls are all `peer`'s.
    fn connection(self, stream: UnixStream, peer: Peer) -> impl GracefulConnection<Error = hyper::Error> + Send {
        let Self { router, stopping, limits } = self;
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let answer = router.clone().oneshot(request.map(axum::body::Body::new));
            let stopping = Arc::clone(&stopping);
            async move {
                let late =
                    || ApiError::new(ErrorCode::TimedOut, "the call took too long").hint("try again").into_response();
                let mut answer = tokio::time::timeout(limits.call, answer).await.unwrap_or_else(|_| Ok(late()));
                if let (Ok(answer), true) = (&mut answer, stopping.load(Ordering::Relaxed)) {
                    // The next call goes to the next daemon.
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            }
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.unread));
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_headers(64)
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(Box::pin(stream)), service)
    }
}

/// What the front end says first.
async fn said(mut stream: UnixStream) -> Option<(UnixStream, FromFrontend)> {
    match frontend::read(&mut stream).await {
        Ok(document) => Some((stream, document)),
        Err(error) => {
            tracing::warn!(%error, "jit-frontend sent no document that this version knows");
            None
        }
    }
}

/// Ends the access of a person whom a provider has logged out, also if the front end does not wait for the answer.
async fn log_out(mut stream: UnixStream, api: &Arc<Api>, version: u32, logout: ProviderLogout) {
    let (issuer, subject, sid) = (logout.issuer.clone(), logout.subject.clone(), logout.sid.clone());
    let api = Arc::clone(api);
    let ended = tokio::spawn(async move {
        ensure_same(version)?;
        Ok(api.broker.log_out(logout).await?)
    });
    let ended = ended.await.unwrap_or_else(|_| Err(ApiError::internal()));
    let answer = match ended {
        Ok(grants) => {
            tracing::info!(issuer, subject, sid, grants, "a provider ended a login");
            FromDaemon::LoggedOut { grants }
        }
        Err(error) => {
            let why = error.problem().detail.as_str();
            tracing::warn!(
                issuer,
                subject,
                sid,
                why,
                "a provider ended a login, and not all of its access could be ended"
            );
            FromDaemon::Refused { problem: error.problem().clone() }
        }
    };
    // The front end says it again if it gets no answer.
    let _ = feed::write(&mut stream, &answer).await;
}

fn ensure_same(version: u32) -> Result<(), ApiError> {
    if version == frontend::VERSION {
        return Ok(());
    }
    let why = format!("jit-frontend speaks version {version} and jitd {}", frontend::VERSION);
    Err(ApiError::new(ErrorCode::Internal, why).hint("ask an administrator to upgrade both"))
}

/// Answers the introduction of a connection of the front end. Returns the caller, how long the session lasts,
/// and the caller's place; `None` if the caller is refused.
async fn introduced(
    mut stream: UnixStream,
    introduction: Introduction,
    api: &Api,
    guests: &Arc<Places<Account>>,
) -> Option<(UnixStream, Peer, Duration, Place<Account>)> {
    let (address, version) = (introduction.address.clone(), introduction.version);
    let admitted = match admit(introduction, api, guests).await {
        Ok(admitted) => admitted,
        Err(error) => {
            let why = error.problem().detail.as_str();
            tracing::info!(address, version, why, "refused a caller of jit-frontend");
            // If the front end has disconnected, nobody needs the answer.
            let _ = refuse(stream, error).await;
            return None;
        }
    };
    let (peer, name, left, place) = admitted;
    feed::write(&mut stream, &FromDaemon::Welcome { name: name.to_string() }).await.ok()?;
    Some((stream, peer, left, place))
}

async fn admit(
    introduction: Introduction,
    api: &Api,
    guests: &Arc<Places<Account>>,
) -> Result<(Peer, PersonName, Duration, Place<Account>), ApiError> {
    ensure_same(introduction.version)?;
    let left = introduction.until.duration_since(api.broker.ledger().now());
    let left = Duration::try_from(left).ok().filter(|left| !left.is_zero());
    let left =
        left.ok_or_else(|| ApiError::new(ErrorCode::UnknownCaller, "the session is over").hint("log in again"))?;
    let (peer, name) = Peer::introduced(introduction, &api.broker).await?;
    let place = guests.take(peer.account()).ok_or_else(|| {
        api.metrics.rate_limited(Limit::Connections);
        busy()
    })?;
    Ok((peer, name, left, place))
}

/// Answers a connection that is not accepted.
async fn refuse(mut stream: UnixStream, error: ApiError) -> std::io::Result<()> {
    feed::write(&mut stream, &FromDaemon::Refused { problem: error.problem().clone() }).await
}

/// How long a shutdown waits for the first call of an open connection.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Returns when no connection is open.
async fn all_gone(open: &GracefulShutdown) {
    while open.count() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How long an answer to a connection without a place may take.
const TURNING_AWAY: Duration = Duration::from_secs(1);

fn busy() -> ApiError {
    let error = ApiError::new(ErrorCode::Busy, "too many connections");
    error.hint("close some, or try again").retry_after(TURNING_AWAY.as_secs())
}

/// Answers a connection that has no place. It reads the call first, because a client expects no answer before that, and
/// then until the end of the stream, because closing a socket with unread data discards the answer.
async fn turn_away(mut stream: UnixStream) -> std::io::Result<()> {
    let (seconds, error) = (TURNING_AWAY.as_secs(), busy());
    // Strings and a number always serialise.
    let (status, body) = (error.http_status(), serde_json::to_string(error.problem()).unwrap_or_default());
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\nretry-after: {seconds}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut said = [0; 4096];
    if stream.read(&mut said).await? == 0 {
        return Ok(());
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    while stream.read(&mut said).await? > 0 {}
    Ok(())
}

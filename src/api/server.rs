//! The server behind the sockets. It limits connections, heads, bodies and time, so that one client cannot lock out the
//! others, and all users together cannot lock out the operators. A shutdown waits for the calls that have begun.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::IntoResponse;
use futures::FutureExt;
use futures::future::select_all;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use super::caller::{Listener, Peer};
use super::problem::ApiError;
use super::{Api, router};
use crate::metrics::Limit;
use crate::wire::ErrorCode;

/// The limits of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Concurrent connections of all users. Together with those of operators fewer than the usual 1,024 file
    /// descriptors, so that some always remain for the clusters and the trail.
    pub connections: usize,
    /// Concurrent connections of operators, counted separately.
    pub operators: usize,
    /// Concurrent connections of one account.
    pub per_account: usize,
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
        per_account: 128,
        head: Duration::from_secs(10),
        call: Duration::from_secs(90),
        unread: Duration::from_secs(30),
        shutdown: Duration::from_secs(10),
    };

    fn at(self, door: Listener) -> usize {
        match door {
            Listener::Users => self.connections,
            Listener::Operators => self.operators,
        }
    }
}

/// Serves on every socket until `stop` completes, then waits for the calls that have begun.
pub async fn serve(
    api: Arc<Api>,
    doors: Vec<(Listener, UnixListener)>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let router = router(Arc::clone(&api));
    let graceful = GracefulShutdown::new();
    let stopping = Arc::new(AtomicBool::new(false));
    let mut guarded: Vec<Guarded> = doors.into_iter().map(|(door, listener)| Guarded::new(door, listener)).collect();
    if guarded.is_empty() {
        return;
    }
    // Operators are accepted first.
    guarded.sort_by_key(|guarded| guarded.door == Listener::Users);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accept = select_all(guarded.iter().map(|guarded| guarded.listener.accept().boxed()));
        let (accepted, which) = tokio::select! {
            () = &mut stop => break,
            (accepted, which, _) = accept => (accepted, which),
        };
        let Some(Guarded { door, open, turned_away, .. }) = guarded.get(which) else { continue };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Probably out of file descriptors: wait until some are closed.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(uid) = stream.peer_cred().map(|peer| peer.uid()) else { continue };
        let Some(place) = Place::take(open, uid, limits.at(*door), limits.per_account) else {
            api.metrics.rate_limited(Limit::Connections);
            if let Some(place) = Place::take(turned_away, uid, TURNED_AWAY, TURNED_AWAY_OF_ACCOUNT) {
                tokio::spawn(async move {
                    let _place = place;
                    // If the client has disconnected, nobody needs the answer.
                    let _ = tokio::time::timeout(TURNING_AWAY, turn_away(stream)).await;
                });
            }
            continue;
        };
        let Ok(peer) = Peer::of(&stream, *door) else { continue };
        let (router, stopping) = (router.clone(), Arc::clone(&stopping));
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer);
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
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_headers(64)
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(Box::pin(stream)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(%error, uid, "a connection ended with an error");
            }
        });
    }
    stopping.store(true, Ordering::Relaxed);
    api.broker.ledger().stop_waiting();
    // hyper closes connections at once if they have not sent anything; such a client may have connected just now.
    let _ = tokio::time::timeout(LAST_CALL, all_gone(&graceful)).await;
    if tokio::time::timeout(limits.shutdown, graceful.shutdown()).await.is_err() {
        tracing::warn!("some calls did not finish in time");
    }
}

/// How long a shutdown waits for the first call of an open connection.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Returns when no connection is open.
async fn all_gone(open: &GracefulShutdown) {
    while open.count() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A socket and its connections.
struct Guarded {
    door: Listener,
    listener: UnixListener,
    open: Arc<Open>,
    turned_away: Arc<Open>,
}

impl Guarded {
    fn new(door: Listener, listener: UnixListener) -> Self {
        Self { door, listener, open: Arc::default(), turned_away: Arc::default() }
    }
}

/// The number of open connections of one socket, in total and per account.
#[derive(Default)]
struct Open(Mutex<(usize, HashMap<u32, usize>)>);

/// One connection's place; dropping it frees the place.
struct Place {
    open: Arc<Open>,
    uid: u32,
}

impl Place {
    fn take(open: &Arc<Open>, uid: u32, most: usize, per_account: usize) -> Option<Self> {
        let mut counts = open.0.lock();
        let (all, accounts) = &mut *counts;
        let own = accounts.get(&uid).copied().unwrap_or(0);
        if *all >= most || own >= per_account {
            return None;
        }
        *all += 1;
        accounts.insert(uid, own + 1);
        drop(counts);
        Some(Self { open: Arc::clone(open), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.open.0.lock();
        counts.0 = counts.0.saturating_sub(1);
        match counts.1.get_mut(&self.uid) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                counts.1.remove(&self.uid);
            }
        }
    }
}

/// How many connections without a place get an answer at a time, in total and per account; the others are only closed.
const TURNED_AWAY: usize = 64;
const TURNED_AWAY_OF_ACCOUNT: usize = 8;

/// How long that answer may take.
const TURNING_AWAY: Duration = Duration::from_secs(1);

/// Answers a connection that has no place. It reads the call first, because a client expects no answer before that, and
/// then until the end of the stream, because closing a socket with unread data discards the answer.
async fn turn_away(mut stream: UnixStream) -> std::io::Result<()> {
    // Strings and a number always serialise.
    let seconds = TURNING_AWAY.as_secs();
    let error =
        ApiError::new(ErrorCode::Busy, "too many connections").hint("close some, or try again").retry_after(seconds);
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

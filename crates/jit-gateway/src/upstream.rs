//! Connections to one API server for one client connection.
//!
//! Each client connection of HTTP/2 has one HTTP/2 connection of its own: the API server allows 100 streams on one, and 100 idle
//! watches of one person on a shared one would stop everybody else. A client connection of HTTP/1.1 has one stream at a time,
//! so sixteen of one grant share one, which takes more memory than all the rest of a connection. An upgrade gets an HTTP/1.1
//! connection of its own.
//! All of them are dialled by [`ApiServer::connect`]. A request is sent again only if the API server has certainly not
//! processed it.

mod kept;

use std::error::Error as _;
use std::sync::{Arc, Weak};

use http::{Request, Response, Uri, header};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jit_dial::{ApiServer, DialError, Protocol};
use tokio::sync::Mutex;

use self::kept::Kept;
use crate::answer::Body;
use crate::grants::Live;
use crate::listener::{LARGEST_HEAD, PING_ANSWERED_WITHIN, PING_EVERY, STREAM_WINDOW, WINDOW};

/// How often a request is sent at most. Each attempt fails only if the API server ends its connection at that very moment.
const ATTEMPTS: usize = 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection broke; the request may have been processed.
    #[error("the connection to the API server broke: {}", because(.0))]
    Broken(#[source] hyper::Error),
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent on: {0}")]
    Request(#[from] http::Error),
}

/// How many client connections of HTTP/1.1 share one to the API server: far fewer than the streams that it allows.
const SHARED_BY: usize = 16;

/// The API server for one client connection.
pub struct Upstream {
    server: ApiServer,
    live: Arc<Live>,
    route: Arc<Route>,
}

/// One connection of HTTP/2, as long as some client connection has it.
#[derive(Debug, Default)]
pub struct Route(Mutex<Option<http2::SendRequest<Body>>>);

/// The routes that the client connections of HTTP/1.1 of one grant share.
#[derive(Debug, Default)]
pub(crate) struct Routes(parking_lot::Mutex<Vec<Weak<Route>>>);

impl Routes {
    /// One that has a place for another connection.
    pub(crate) fn one(&self) -> Arc<Route> {
        let mut routes = self.0.lock();
        routes.retain(|route| route.strong_count() > 0);
        let free = routes.iter().filter(|route| route.strong_count() < SHARED_BY).find_map(Weak::upgrade);
        free.unwrap_or_else(|| {
            let new = Arc::default();
            routes.push(Arc::downgrade(&new));
            new
        })
    }
}

impl Upstream {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(server: ApiServer, live: Arc<Live>, route: Arc<Route>) -> Self {
        Self { server, live, route }
    }

    /// Sends a request, and returns the head of its answer; the body follows as it comes. What the API server has certainly
    /// not processed is sent again, if its body can be.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, UpstreamError> {
        let (head, body) = addressed(&self.server, request, Protocol::Http2).await?.into_parts();
        // hyper reports a GOAWAY that comes while it hands a request over in the same way, although the head may have left by
        // then. Without its body such a request is none; one that has no body could be processed twice.
        let is_repeatable = head.method.is_safe() || !body.is_end_stream();
        let (kept, mut body) = Kept::new(body);
        let mut attempts = 1;
        loop {
            let request = Request::from_parts(head.clone(), body);
            // Without a sender of its own from here on: see `forget`.
            let answer = self.sender().await?.try_send_request(request);
            let mut failed = match answer.await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let is_unsent = failed.take_message().is_some();
            let error = failed.into_error();
            let is_unprocessed = is_unsent || is_repeatable && is_unprocessed(&error);
            let may_repeat = is_unprocessed && attempts < ATTEMPTS;
            attempts += 1;
            body = match kept.again().filter(|_| may_repeat) {
                Some(body) => body,
                None => return Err(UpstreamError::Broken(error)),
            };
        }
    }

    /// Sends a request to upgrade on a connection of its own.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn upgrade(&self, request: Request<Body>) -> Result<Response<Incoming>, UpstreamError> {
        let request = addressed(&self.server, request, Protocol::Http1).await?;
        let stream = self.server.connect(Protocol::Http1).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(UpstreamError::Broken)?;
        self.drive(connection.with_upgrades());
        sender.send_request(request).await.map_err(UpstreamError::Broken)
    }

    /// To be called when the API server answered 401.
    pub fn refused(&self) {
        self.server.refused();
    }

    /// The connection, made anew when there is none that takes another request.
    async fn sender(&self) -> Result<http2::SendRequest<Body>, UpstreamError> {
        let mut kept = self.route.0.lock().await;
        if let Some(sender) = kept.as_mut()
            && sender.ready().await.is_ok()
        {
            return Ok(sender.clone());
        }
        let stream = self.server.connect(Protocol::Http2).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(LARGEST_HEAD as u32)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWERED_WITHIN)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(UpstreamError::Broken)?;
        // It ends when no client connection has the route any more.
        let route = Arc::downgrade(&self.route);
        self.drive(async move {
            let ended = connection.await;
            if let Some(route) = route.upgrade() {
                forget(&route.0).await;
            }
            ended
        });
        *kept = Some(sender.clone());
        Ok(sender)
    }

    /// Runs a connection until it or the grant ends. Its failure is that of the requests and tunnels on it.
    fn drive(&self, connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static) {
        let ended = self.live.ended().clone();
        tokio::spawn(async move { ended.run_until_cancelled(connection).await });
    }
}

/// The request with the address of the API server and the gateway's own credential.
pub(crate) async fn addressed(
    server: &ApiServer,
    mut request: Request<Body>,
    protocol: Protocol,
) -> Result<Request<Body>, UpstreamError> {
    let authorization = server.authorization().await?;
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    let authority = server.authority();
    match protocol {
        Protocol::Http2 => {
            *request.uri_mut() = Uri::builder().scheme("https").authority(authority).path_and_query(path).build()?;
        }
        Protocol::Http1 => {
            *request.uri_mut() = Uri::builder().path_and_query(path).build()?;
            let host = header::HeaderValue::from_str(authority).map_err(http::Error::from)?;
            request.headers_mut().insert(header::HOST, host);
        }
    }
    if let Some(authorization) = authorization {
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
    }
    Ok(request)
}

/// Forgets a connection that takes no more requests. One that is handed over at that very moment stays in hyper's channel,
/// neither sent nor given back, until nobody can send over it any more.
async fn forget(kept: &Mutex<Option<http2::SendRequest<Body>>>) {
    let mut kept = kept.lock().await;
    if kept.as_ref().is_some_and(http2::SendRequest::is_closed) {
        *kept = None;
    }
}

/// What broke it: hyper says that something did, and its cause says what.
fn because(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Has the API server certainly done nothing with the request? It says so of streams after the last one of a GOAWAY, and of
/// those that it refused (RFC 9113, sections 6.8 and 8.7).
fn is_unprocessed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        let is_refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (cause.is_go_away() || is_refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_shared_by_a_few_connections_of_one_grant() {
        let (one, other) = (Routes::default(), Routes::default());
        let mut connections: Vec<_> = (0..SHARED_BY).map(|_| one.one()).collect();
        assert!(connections.iter().all(|route| Arc::ptr_eq(route, &connections[0])));
        let (next, foreign) = (one.one(), other.one());
        assert!(!Arc::ptr_eq(&next, &connections[0]) && !Arc::ptr_eq(&foreign, &next));
        // A place that is free again is taken, and what nobody has is forgotten.
        drop(connections.pop());
        assert!(Arc::ptr_eq(&one.one(), &connections[0]));
        drop((connections, next));
        drop(one.one());
        assert_eq!(one.0.lock().len(), 1);
    }
}

//! Connections to one API server for one client connection.
//!
//! Each client connection has one HTTP/2 connection of its own: the API server allows 100 streams on one, and 100 idle
//! watches of one person on a shared one would stop everybody else. An upgrade gets an HTTP/1.1 connection of its own.
//! All of them are dialled by [`ApiServer::connect`]. A request is sent a second time only if nothing of it left.

use std::sync::Arc;

use http::{Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jit_dial::{ApiServer, DialError, Protocol};
use tokio::sync::Mutex;

use crate::answer::Body;
use crate::grants::Live;
use crate::listener::{PING_ANSWERED_WITHIN, PING_EVERY, STREAM_WINDOW, WINDOW};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection broke; the request may have been processed.
    #[error("the connection to the API server broke: {0}")]
    Broken(#[source] hyper::Error),
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent on: {0}")]
    Request(#[from] http::Error),
}

/// The API server for one client connection.
pub struct Upstream {
    server: ApiServer,
    live: Arc<Live>,
    sender: Mutex<Option<http2::SendRequest<Body>>>,
}

impl Upstream {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(server: ApiServer, live: Arc<Live>) -> Self {
        Self { server, live, sender: Mutex::default() }
    }

    /// Sends a request, and returns the head of its answer; the body follows as it comes.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, UpstreamError> {
        let mut request = self.addressed(request, true).await?;
        let mut is_first = true;
        loop {
            let mut sender = self.sender().await?;
            let mut failed = match sender.try_send_request(request).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            match failed.take_message() {
                // The connection went away before anything of it was sent, say by a GOAWAY.
                Some(unsent) if is_first => {
                    is_first = false;
                    request = unsent;
                }
                _ => return Err(UpstreamError::Broken(failed.into_error())),
            }
        }
    }

    /// Sends a request to upgrade on a connection of its own.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn upgrade(&self, request: Request<Body>) -> Result<Response<Incoming>, UpstreamError> {
        let request = self.addressed(request, false).await?;
        let stream = self.server.connect(Protocol::Http1).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(UpstreamError::Broken)?;
        self.drive(connection.with_upgrades());
        sender.send_request(request).await.map_err(UpstreamError::Broken)
    }

    /// To be called when the API server answered 401.
    pub fn refused(&self) {
        self.server.refused();
    }

    /// The request with the address of the API server and the gateway's own credential.
    async fn addressed(&self, mut request: Request<Body>, is_http2: bool) -> Result<Request<Body>, UpstreamError> {
        let authorization = self.server.authorization().await?;
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let authority = self.server.authority();
        if is_http2 {
            *request.uri_mut() = Uri::builder().scheme("https").authority(authority).path_and_query(path).build()?;
        } else {
            *request.uri_mut() = Uri::builder().path_and_query(path).build()?;
            let host = header::HeaderValue::from_str(authority).map_err(http::Error::from)?;
            request.headers_mut().insert(header::HOST, host);
        }
        if let Some(authorization) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization);
        }
        Ok(request)
    }

    /// The connection, made anew when there is none that takes another request.
    async fn sender(&self) -> Result<http2::SendRequest<Body>, UpstreamError> {
        let mut kept = self.sender.lock().await;
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
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWERED_WITHIN)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(UpstreamError::Broken)?;
        self.drive(connection);
        *kept = Some(sender.clone());
        Ok(sender)
    }

    /// Runs a connection until it or the grant ends. Its failure is that of the requests and tunnels on it.
    fn drive(&self, connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static) {
        let ended = self.live.ended().clone();
        tokio::spawn(async move { ended.run_until_cancelled(connection).await });
    }
}

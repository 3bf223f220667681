//! One request over https and its answer, on a connection of its own: for documents and APIs of identity providers.
//!
//! ```text
//!  Request ─► name, address, proxy, TLS ─► request ─► status and head ─► body        all within one deadline
//! ```
//! It follows no redirect and keeps no cookie. However the other side answers, it ends in time, and reads no more than the
//! limits say. No error has the query of a URL, or anything of a body.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use jit_host::hint::Hint;

use super::dial::DialError;
use super::outbound::Outbound;

/// How much of an answer's head is read, in bytes.
const LARGEST_HEAD: usize = 64 << 10;

/// What an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long it may take, with its connection.
    pub deadline: Duration,
    /// How much of the answer's body is read, in bytes.
    pub body: usize,
}

/// Why there is no answer. `from` is the URL without its query.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// It is not an https URL of a host.
    #[error("`{from}` is not an https URL")]
    Address {
        /// What is not one.
        from: String,
    },
    /// The server cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] DialError),
    /// The connection broke.
    #[error("the answer of {from} broke off: {why}")]
    Broken {
        /// The URL.
        from: String,
        /// What happened.
        why: String,
    },
    /// It did not end in time.
    #[error("{from} took longer than {} s", after.as_secs())]
    Slow {
        /// The URL.
        from: String,
        /// The limit.
        after: Duration,
    },
    /// The body is too long.
    #[error("{from} is longer than {} KiB", most >> 10)]
    TooLong {
        /// The URL.
        from: String,
        /// The limit, in bytes.
        most: usize,
    },
}

impl Hint for ExchangeError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unreachable(error) => error.hint(),
            _ => None,
        }
    }
}

impl Outbound {
    /// Sends one request, whose URI is an https URL, and reads the whole answer. `Host` and `Connection` are added; every
    /// other header field is the caller's. An answer with any status is one.
    ///
    /// # Errors
    /// [`ExchangeError`], within the deadline.
    pub async fn exchange(&self, request: Request<Bytes>, limits: Limits) -> Result<Response<Bytes>, ExchangeError> {
        let from = without_query(request.uri());
        let whole = timeout(limits.deadline, self.sent(request, &from, limits.body)).await;
        whole.unwrap_or(Err(ExchangeError::Slow { from, after: limits.deadline }))
    }

    async fn sent(&self, request: Request<Bytes>, from: &str, most: usize) -> Result<Response<Bytes>, ExchangeError> {
        let from = || from.to_owned();
        let uri = request.uri();
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority().cloned()) else {
            return Err(ExchangeError::Address { from: from() });
        };
        let host = HeaderValue::from_str(authority.as_str()).ok().filter(|_| !authority.as_str().contains('@'));
        let host = host.ok_or_else(|| ExchangeError::Address { from: from() })?;
        let broken = |error: hyper::Error| ExchangeError::Broken { from: from(), why: error.to_string() };
        let stream = self.tls(authority.host(), authority.port_u16().unwrap_or(443)).await?;
        let handshake = http1::Builder::new().max_buf_size(LARGEST_HEAD).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(broken)?;
        // Dropping it closes the connection, whatever the server still sends.
        let mut driven = JoinSet::new();
        driven.spawn(connection);
        let mut request = request.map(Full::new);
        if let Some(path) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = path.into();
        }
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, most).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => ExchangeError::TooLong { from: from(), most },
            None => ExchangeError::Broken { from: from(), why: error.to_string() },
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// The URL as errors show it.
fn without_query(uri: &Uri) -> String {
    let text = uri.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

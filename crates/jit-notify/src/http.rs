//! The HTTP client of all channels: one request, one connection, one answer.
//!
//! ```text
//!  Target ─► jit-dial: name, address, proxy, TLS ─► request ─► status and head ─► body
//!            └ each step its deadline              └ first byte            └ the whole
//! ```
//! It follows no redirect, keeps no cookie, reads no more of an answer than 64 KiB, and speaks without TLS to this host
//! only. No error and no `Debug` has more of a URL than its host, because the rest of it often is a secret.

use std::fmt;
use std::time::Duration;

use http::header::{CONNECTION, HOST, RETRY_AFTER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jit_dial::{DialError, Outbound};
use jit_host::escape::escaped;
use jit_host::hint::Hint;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// How much of an answer's body is read, in bytes.
pub const LARGEST_BODY: usize = 64 << 10;

/// How much of an answer's head is read, in bytes.
const LARGEST_HEAD: usize = 64 << 10;

/// How much of an answer's body an error repeats, in characters.
const REPEATED: usize = 200;

/// How long an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From the request to the first byte of the answer.
    pub first_byte: Duration,
    /// From the beginning, with the connection, to the last byte of the answer.
    pub whole: Duration,
}

impl Deadlines {
    /// Receivers answer within seconds; a webhook's has 15 to 30 s (Standard Webhooks 1.0, "Operational considerations").
    pub const USUAL: Self = Self { first_byte: Duration::from_secs(15), whole: Duration::from_secs(30) };
}

/// Where something is sent: `https://host[:port]/path?query`, or `http` on this host.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    is_tls: bool,
    host: String,
    port: u16,
    /// `host[:port]` as it is written.
    authority: String,
    path: PathAndQuery,
}

impl Target {
    /// Parses a URL.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the URL's key. It does not repeat the URL.
    pub fn parse(url: &str) -> Result<Self, String> {
        let malformed = || "is not a URL like https://hooks.example.com/path".to_owned();
        let uri: Uri = url.trim().parse().map_err(|_| malformed())?;
        let authority = uri.authority().ok_or_else(malformed)?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(malformed());
        }
        let (is_tls, usual) = match uri.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err(malformed()),
        };
        let host = authority.host().to_owned();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        if !is_tls && host != "localhost" && !address.is_ok_and(|address| address.is_loopback()) {
            return Err("must be https, because only this host is spoken to without TLS".to_owned());
        }
        Ok(Self {
            is_tls,
            port: authority.port_u16().unwrap_or(usual),
            authority: authority.as_str().to_owned(),
            host,
            path: uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
        })
    }

    /// A resource below this one: `path`, which begins with `/` and may have a query, follows the path of this URL.
    ///
    /// # Errors
    /// Something in the path may not be in a URL.
    pub fn below(&self, path: &str) -> Result<Self, String> {
        let path = format!("{}{path}", self.path.path().trim_end_matches('/'));
        let path = path.parse().map_err(|_| "something in the path may not be in a URL".to_owned())?;
        Ok(Self { path, ..self.clone() })
    }

    /// The host as it is written, without a port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// The scheme, host and port; never the path.
impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Target({self})")
    }
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// Why `body` is only the beginning: it is too long, the connection broke, or it did not end in time.
    pub cut: Option<&'static str>,
}

impl Answer {
    /// How long the receiver wants us to wait (`Retry-After`, RFC 9110 section 10.2.3): seconds, or a date.
    #[must_use]
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let value = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        // A date in the past means now.
        Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
    }

    /// The status, and the beginning of the body as a receiver's text that is safe in a log.
    #[must_use]
    pub fn describe(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let mut shown = escaped(&text.trim().chars().take(REPEATED).collect::<String>());
        if text.trim().chars().nth(REPEATED).is_some() {
            shown.push_str(" … [cut]");
        }
        match shown.as_str() {
            "" => format!("the receiver answered {}", self.status),
            shown => format!("the receiver answered {}: {shown}", self.status),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There was no connection, so the receiver has nothing of it.
    #[error("{}", .0.in_full())]
    Unsent(#[from] DialError),
    /// The connection broke, and the receiver may have taken the request.
    #[error("the connection to {to} broke before an answer: {why}")]
    Broken {
        /// The receiver.
        to: String,
        /// What happened.
        why: String,
    },
    /// The receiver did not answer in time, and may have taken the request.
    #[error("{to} did not answer within {} s", after.as_secs())]
    Silent {
        /// The receiver.
        to: String,
        /// The limit.
        after: Duration,
    },
}

/// The client.
pub struct Http {
    outbound: Outbound,
    deadlines: Deadlines,
}

impl Http {
    /// A client that trusts the authorities of this host and those in `more`.
    #[must_use]
    pub fn new(more: Vec<CertificateDer<'static>>, deadlines: Deadlines) -> Self {
        Self { outbound: Outbound::trusting_host(more), deadlines }
    }

    /// Sends one request. `Host`, `User-Agent` and the framing are added; everything else is the caller's.
    ///
    /// # Errors
    /// [`SendError`], without a status. An answer with any status is no error.
    pub async fn send(
        &self,
        method: Method,
        to: &Target,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Answer, SendError> {
        let until = Instant::now() + self.deadlines.whole;
        let silent = |_| SendError::Silent { to: to.to_string(), after: self.deadlines.whole };
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = to.path.clone().into();
        *request.headers_mut() = headers;
        if let Ok(host) = HeaderValue::from_str(&to.authority) {
            request.headers_mut().insert(HOST, host);
        }
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let agent = concat!("jit-notify/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(agent));
        if to.is_tls {
            let stream = timeout_at(until, self.outbound.tls(&to.host, to.port)).await.map_err(silent)??;
            self.exchange(stream, to, request, until).await
        } else {
            let stream = timeout_at(until, self.outbound.loopback(&to.host, to.port)).await.map_err(silent)??;
            self.exchange(stream, to, request, until).await
        }
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        to: &Target,
        request: Request<Full<Bytes>>,
        until: Instant,
    ) -> Result<Answer, SendError> {
        let broken = |error: hyper::Error| SendError::Broken { to: to.to_string(), why: in_full(&error) };
        let handshake = http1::Builder::new().max_buf_size(LARGEST_HEAD).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(broken)?;
        // Dropping it closes the connection, whatever the receiver still sends.
        let mut driven = JoinSet::new();
        driven.spawn(connection);
        let first = until.min(Instant::now() + self.deadlines.first_byte);
        let silent = |_| SendError::Silent { to: to.to_string(), after: self.deadlines.first_byte };
        let answer = timeout_at(first, sender.send_request(request)).await.map_err(silent)?.map_err(broken)?;
        Ok(read(answer, until).await)
    }
}

/// Reads as much of the body as there may be. The status is known by then, so that nothing here is an error.
async fn read(answer: Response<Incoming>, until: Instant) -> Answer {
    let (head, mut incoming) = answer.into_parts();
    let mut body = Vec::new();
    let cut = loop {
        match timeout_at(until, incoming.frame()).await {
            Ok(None) => break None,
            Ok(Some(Ok(frame))) => {
                let Some(data) = frame.data_ref() else { continue };
                let room = LARGEST_BODY.saturating_sub(body.len());
                body.extend_from_slice(data.get(..room).unwrap_or(data));
                if data.len() > room {
                    break Some("it is longer than 64 KiB");
                }
            }
            Ok(Some(Err(_))) => break Some("the connection broke"),
            Err(_) => break Some("it did not end in time"),
        }
    };
    Answer { status: head.status.as_u16(), headers: head.headers, body, cut }
}

/// An error with what caused it: hyper's own text leaves that out.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_https_or_on_this_host_and_shows_no_path() {
        for url in [
            "https://hooks.example.com/services/T0/B0/hush?sig=hush",
            "https://[2001:db8::1]:8443/hush",
            "http://127.0.0.1:9000/hush",
            "http://[::1]/hush",
            "http://localhost:9000/hush",
        ] {
            let target = Target::parse(url).unwrap();
            assert!(!format!("{target} {target:?}").contains("hush"), "{target:?}");
        }
        for url in [
            "http://hooks.example.com/hush",
            "http://169.254.169.254/hush",
            "http://127.0.0.1.example.com/hush",
            "https://user:hush@example.com/",
            "ftp://example.com/hush",
            "/hush",
            "https:///hush",
            "hush",
            "",
        ] {
            let why = Target::parse(url).unwrap_err();
            assert!(!why.contains("hush"), "{url}: {why}");
        }
        let target = Target::parse("https://chat.example.com/base/").unwrap();
        assert_eq!(target.below("/api/v4/posts?x=1").unwrap().path, "/base/api/v4/posts?x=1");
        assert!(target.below("/a b").is_err());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-29T21:00:00Z".parse().unwrap();
        for (value, expected) in [
            ("120", Some(120)),
            ("Sun, 29 Nov 2026 21:01:00 GMT", Some(60)),
            ("Sun, 29 Nov 2026 20:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            let answer = Answer { status: 429, headers, body: Vec::new(), cut: None };
            assert_eq!(answer.retry_after(now), expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn what_a_receiver_says_is_safe_in_a_log_and_short() {
        let body = format!("\x1b[31mno\r\n{}", "x".repeat(1000)).into_bytes();
        let said = Answer { status: 400, headers: HeaderMap::new(), body, cut: None }.describe();
        assert!(said.starts_with(r"the receiver answered 400: \u{001b}[31mno\u{000d}\u{000a}xx"), "{said}");
        assert!(said.ends_with("[cut]") && said.len() < 300, "{said}");
    }
}

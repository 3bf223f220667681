//! Fetches the keys of a provider (OpenID Connect Discovery 1.0).
//!
//! ```text
//!  issuer ─► issuer/.well-known/openid-configuration ─► `issuer` is exactly this one ─► `jwks_uri` ─► KeySet
//! ```
//! Over https only, through the proxy of the environment, with an authority that this host trusts. It follows no
//! redirect, and ends in time whatever the provider sends.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jit_dial::{DialError, Outbound};
use jit_host::hint::Hint;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::json;
use crate::keys::{KeySet, KeySetError};

/// How much of a document is read, in bytes. Those of providers have 1 to 20 KiB.
const LARGEST_DOCUMENT: usize = 256 << 10;

/// How much of an answer's head is read, in bytes.
const LARGEST_HEAD: usize = 64 << 10;

/// How long a document may take, with its connection.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why there are no keys. `from` is the URL of a document.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is not an https URL.
    #[error("`{from}` is not an https URL")]
    Address {
        /// What is not one.
        from: String,
    },
    /// The provider cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] DialError),
    /// The connection broke.
    #[error("the answer of {from} broke off: {why}")]
    Broken {
        /// The document.
        from: String,
        /// What happened.
        why: String,
    },
    /// It did not end in time.
    #[error("{from} took longer than {} s", DEADLINE.as_secs())]
    Slow {
        /// The document.
        from: String,
    },
    /// Another status than 200; a redirect, too.
    #[error("{from} was answered with {status}")]
    Status {
        /// The document.
        from: String,
        /// The status.
        status: StatusCode,
    },
    /// It is too long.
    #[error("{from} is longer than {} KiB", LARGEST_DOCUMENT >> 10)]
    TooLong {
        /// The document.
        from: String,
    },
    /// The discovery document is of another form.
    #[error("{from} {why}")]
    Discovery {
        /// The document.
        from: String,
        /// What is wrong.
        why: &'static str,
    },
    /// There is no usable key.
    #[error("{from}: {source}")]
    Keys {
        /// The document.
        from: String,
        /// What is wrong.
        source: KeySetError,
    },
}

impl Hint for FetchError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unreachable(error) => error.hint(),
            Self::Status { status, .. } if status.is_redirection() => {
                Some("configure the `issuer` to which it redirects, exactly as its tokens name it".into())
            }
            _ => None,
        }
    }
}

/// What fetches them, for all providers.
pub struct Fetcher {
    outbound: Outbound,
}

impl Fetcher {
    /// Trusts the authorities of this host and those in `more`.
    ///
    /// # Errors
    /// There is no authority to trust, as a sentence.
    pub fn new(more: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let host = rustls_native_certs::load_native_certs();
        for error in &host.errors {
            tracing::warn!(%error, "a certificate authority of this host cannot be read");
        }
        Ok(Self { outbound: Outbound::trusting(host.certs.into_iter().chain(more))? })
    }

    /// The present keys of the provider with this issuer.
    ///
    /// # Errors
    /// [`FetchError`]. It takes at most 10 s.
    pub async fn keys(&self, issuer: &str) -> Result<KeySet, FetchError> {
        // Discovery section 4.1: a slash at the end is removed first.
        let discovery = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = self.document(&discovery).await?;
        let wrong = |why| FetchError::Discovery { from: discovery.clone(), why };
        let document = json::object(&document).ok_or_else(|| wrong(json::REQUIRED))?;
        // Section 4.3: else one provider could speak for another.
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(wrong("names another issuer than the configured one"));
        }
        let keys = document.get("jwks_uri").and_then(Value::as_str).ok_or_else(|| wrong("has no `jwks_uri`"))?;
        let document = self.document(keys).await?;
        KeySet::parse(&document).map_err(|source| FetchError::Keys { from: keys.to_owned(), source })
    }

    async fn document(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let whole = timeout(DEADLINE, self.get(url)).await;
        whole.unwrap_or_else(|_| Err(FetchError::Slow { from: url.to_owned() }))
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let from = || url.to_owned();
        let uri: Uri = url.parse().map_err(|_| FetchError::Address { from: from() })?;
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(FetchError::Address { from: from() });
        };
        let host = HeaderValue::from_str(authority.as_str()).ok().filter(|_| !authority.as_str().contains('@'));
        let host = host.ok_or_else(|| FetchError::Address { from: from() })?;
        let broken = |error: hyper::Error| FetchError::Broken { from: from(), why: error.to_string() };
        let stream = self.outbound.tls(authority.host(), authority.port_u16().unwrap_or(443)).await?;
        let handshake = http1::Builder::new().max_buf_size(LARGEST_HEAD).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(broken)?;
        // Dropping it closes the connection, whatever the provider still sends.
        let mut driven = JoinSet::new();
        driven.spawn(connection);
        let mut request = Request::new(Empty::<Bytes>::new());
        if let Some(path) = uri.path_and_query() {
            *request.uri_mut() = path.clone().into();
        }
        let agent = HeaderValue::from_static(concat!("jit-identity/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().extend([
            (HOST, host),
            (ACCEPT, HeaderValue::from_static("application/json")),
            (CONNECTION, HeaderValue::from_static("close")),
            (USER_AGENT, agent),
        ]);
        let answer = sender.send_request(request).await.map_err(broken)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status { from: from(), status: answer.status() });
        }
        let body = Limited::new(answer.into_body(), LARGEST_DOCUMENT).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => FetchError::TooLong { from: from() },
            None => FetchError::Broken { from: from(), why: error.to_string() },
        })?;
        Ok(body.to_bytes().to_vec())
    }
}

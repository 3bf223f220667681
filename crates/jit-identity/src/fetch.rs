//! Fetches the keys of a provider (OpenID Connect Discovery 1.0).
//!
//! ```text
//!  issuer ─► issuer/.well-known/openid-configuration ─► `issuer` is exactly this one ─► `jwks_uri` ─► KeySet
//! ```
//! Over https only, through the proxy of the environment, with an authority that this host trusts. It follows no
//! redirect, and ends in time whatever the provider sends.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Bytes;
use jit_dial::{ExchangeError, Limits, Outbound};
use jit_host::hint::Hint;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use crate::json;
use crate::keys::{KeySet, KeySetError};

/// Documents of providers have 1 to 20 KiB.
const LIMITS: Limits = Limits { deadline: Duration::from_secs(5), body: 256 << 10 };

/// Why there are no keys. `from` is the URL of a document.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] ExchangeError),
    /// Another status than 200; a redirect, too.
    #[error("{from} was answered with {status}")]
    Status {
        /// The document.
        from: String,
        /// The status.
        status: StatusCode,
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
            Self::Unanswered(error) => error.hint(),
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
    #[must_use]
    pub fn new(more: Vec<CertificateDer<'static>>) -> Self {
        Self { outbound: Outbound::trusting_host(more) }
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

    async fn document(&self, url: &str) -> Result<Bytes, FetchError> {
        let from = || url.to_owned();
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = url.parse().map_err(|_| ExchangeError::Address { from: from() })?;
        let agent = HeaderValue::from_static(concat!("jit-identity/", env!("CARGO_PKG_VERSION")));
        let accept = HeaderValue::from_static("application/json");
        request.headers_mut().extend([(ACCEPT, accept), (USER_AGENT, agent)]);
        let answer = self.outbound.exchange(request, LIMITS).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status { from: from(), status: answer.status() });
        }
        Ok(answer.into_body())
    }
}

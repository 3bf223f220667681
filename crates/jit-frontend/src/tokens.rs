//! Verifies ID tokens: by the rule of their provider, with its keys.
//!
//! ```text
//!  token ─► its issuer (not believed yet) ─► rule ─► keys ─► jit-identity::verify ─► person
//!                                                     ▲ unknown key: fetched again, once for all who wait
//!  provider ══ discovery, then key set, over verified TLS ══╝
//! ```
//! A key set is used for an hour, and for at most a day if the provider cannot be reached. Only the configured issuers are
//! asked, whatever a token says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jit_dial::Outbound;
use jit_host::hint::Hint;
use jit_identity::{KeySet, Person, Provider, Providers, Refusal, unverified_issuer, verify};
use jit_wire::Problem;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long a key set is used without asking again, and without an answer.
const FRESH: Duration = Duration::from_secs(3600);
const STALE: Duration = Duration::from_secs(86_400);

/// How often a provider is asked at most, whatever strangers send.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// How long the connection, the request and the answer may take together.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 256 * 1024;

/// The providers and their keys.
pub struct Tokens {
    providers: Providers,
    outbound: Outbound,
    keys: BTreeMap<String, Mutex<Keys>>,
}

#[derive(Default)]
struct Keys {
    set: Option<(Arc<KeySet>, Instant)>,
    asked: Option<Instant>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Tokens {
    /// Verifies tokens of these providers. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// This host trusts no certificate authority, as a sentence.
    pub fn new(providers: Providers) -> Result<Self, String> {
        let host = rustls_native_certs::load_native_certs();
        for error in &host.errors {
            tracing::warn!(%error, "a certificate authority of this host cannot be read");
        }
        let keys = providers.iter().map(|provider| (provider.issuer().to_owned(), Mutex::default())).collect();
        Ok(Self { outbound: Outbound::trusting(host.certs)?, keys, providers })
    }

    /// The providers.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Who the token is about.
    ///
    /// # Errors
    /// The problem: which check failed, and never a value of the token.
    pub async fn verify(&self, token: &str, nonce: &str, now: Timestamp) -> Result<Person, Problem> {
        let refused = |refusal: &Refusal| problem(refusal);
        let issuer = unverified_issuer(token.as_bytes()).map_err(|refusal| refused(&refusal))?;
        let provider = self.providers.of_issuer(&issuer).ok_or_else(|| refused(&Refusal::Issuer))?;
        let keys = self.keys_of(provider, None).await.map_err(|refusal| refused(&refusal))?;
        let verified = match verify(token.as_bytes(), &keys, provider, nonce, now) {
            Err(Refusal::UnknownKey) => {
                let new = self.keys_of(provider, Some(&keys)).await.map_err(|refusal| refused(&refusal))?;
                verify(token.as_bytes(), &new, provider, nonce, now)
            }
            verified => verified,
        };
        verified.map_err(|refusal| {
            tracing::info!(provider = provider.name(), check = refusal.check(), "refused a token");
            refused(&refusal)
        })
    }

    /// The keys of a provider; other ones than `unlike` if there are some.
    async fn keys_of(&self, provider: &Provider, unlike: Option<&Arc<KeySet>>) -> Result<Arc<KeySet>, Refusal> {
        let mut keys = self.keys.get(provider.issuer()).ok_or(Refusal::Issuer)?.lock().await;
        let known = keys.set.as_ref().filter(|(_, since)| since.elapsed() < STALE).cloned();
        if let Some((set, since)) = &known {
            let is_new = unlike.is_some_and(|unlike| !Arc::ptr_eq(unlike, set));
            if is_new || (unlike.is_none() && since.elapsed() < FRESH) {
                return Ok(Arc::clone(set));
            }
        }
        let known = known.map(|(set, _)| set).ok_or(Refusal::ProviderUnreachable);
        if keys.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
            return known;
        }
        keys.asked = Some(Instant::now());
        match timeout(ANSWERS_WITHIN, self.fetch(provider.issuer())).await.unwrap_or(Err("it took too long".to_owned()))
        {
            Ok(set) => {
                let set = Arc::new(set);
                keys.set = Some((Arc::clone(&set), Instant::now()));
                Ok(set)
            }
            Err(why) => {
                tracing::warn!(provider = provider.name(), why, "the keys of the provider cannot be fetched");
                // An unknown key may be a new one: then nobody knows whether the token is good.
                if unlike.is_some() { Err(Refusal::ProviderUnreachable) } else { known }
            }
        }
    }

    async fn fetch(&self, issuer: &str) -> Result<KeySet, String> {
        let discovery = self.get(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).await?;
        let discovery: Discovery =
            serde_json::from_slice(&discovery).map_err(|error| format!("its discovery has another form: {error}"))?;
        if discovery.issuer != issuer {
            return Err("its discovery names another issuer".to_owned());
        }
        KeySet::parse(&self.get(&discovery.jwks_uri).await?).map_err(|error| error.to_string())
    }

    /// The answer to a GET over verified TLS. Only 200 is an answer: a redirect would lead elsewhere.
    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let unusable = || "a URL of it is not https://HOST/PATH".to_owned();
        let uri: Uri = url.parse().map_err(|_| unusable())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(unusable)?;
        let stream = self.outbound.tls(authority.host(), authority.port_u16().unwrap_or(443)).await;
        let stream = stream.map_err(|error| error.in_full().to_string())?;
        let broken = |error: hyper::Error| format!("the connection broke: {error}");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends when the sender and the answer are dropped.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(header::HOST, authority.as_str())
            .header(header::ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|_| unusable())?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answered {}", answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        Ok(body.map_err(|error| format!("its answer is too long or broke off: {error}"))?.to_bytes())
    }
}

fn problem(refusal: &Refusal) -> Problem {
    let (code, status) = refusal.code();
    let hint = refusal.hint().map_or_else(String::new, Into::into);
    Problem { code: code.to_owned(), status, detail: refusal.to_string(), hint, retry_after: None }
}

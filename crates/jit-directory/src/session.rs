//! Our own login at a directory: a token by client credentials (RFC 6749 section 4.4), and requests with it.
//!
//! One request for a token runs at a time, and everybody else waits for it. A token that the directory no longer accepts is
//! replaced once. The secret is read for each token, so that it can be rotated while the daemon runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Bytes;
use jit_dial::{ExchangeError, Limits, Outbound};
use jit_host::secret::{Secret, SecretError};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::DirectoryError;
use super::rule::{Kind, Rule};

/// One answer; a page of a hundred groups has less than 50 KiB.
const LIMITS: Limits = Limits { deadline: Duration::from_secs(5), body: 256 << 10 };

/// How long before its end a token is replaced.
const BEFORE_ITS_END: Duration = Duration::from_secs(30);

/// How long a token is used that does not say for how long (RFC 6749 section 5.1), and the longest that is believed.
const USUAL_LIFE: u64 = 60;
const LONGEST_LIFE: u64 = 24 * 3600;

/// The longest wait that is believed, when a directory asks for one.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A directory with our token.
pub(crate) struct Session {
    pub(crate) rule: Rule,
    outbound: OnceLock<Outbound>,
    token: Mutex<Option<Token>>,
    /// Held by the thread that reads the secret, which may hang.
    reading: Arc<Semaphore>,
}

struct Token {
    authorization: HeaderValue,
    until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
}

/// What is sent.
pub(crate) enum Sent<'a> {
    Get,
    Post(&'a serde_json::Value),
}

impl Session {
    pub(crate) fn new(rule: Rule) -> Self {
        let reading = Arc::new(Semaphore::new(1));
        Self { rule, outbound: OnceLock::new(), token: Mutex::default(), reading }
    }

    /// The answer to a request for a path below the URL of the rule, with status 200 or 404.
    pub(crate) async fn answer(&self, path: &str, sent: &Sent<'_>) -> Result<Answer, DirectoryError> {
        let url = format!("{}{path}", self.rule.url);
        let authorization = self.authorization(None).await?;
        let mut answer = self.send(&url, &authorization, sent).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let authorization = self.authorization(Some(&authorization)).await?;
            answer = self.send(&url, &authorization, sent).await?;
        }
        let from = url.split('?').next().unwrap_or_default().to_owned();
        match answer.status() {
            StatusCode::OK | StatusCode::NOT_FOUND => Ok(Answer { from, answer }),
            status => Err(failed(from, status, &answer)),
        }
    }

    async fn send(
        &self,
        url: &str,
        authorization: &HeaderValue,
        sent: &Sent<'_>,
    ) -> Result<Response<Bytes>, DirectoryError> {
        let mut request = match sent {
            Sent::Get => request(Method::GET, url, Bytes::new())?,
            Sent::Post(body) => {
                let mut request = request(Method::POST, url, body.to_string().into())?;
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                request
            }
        };
        request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        Ok(self.outbound().exchange(request, LIMITS).await?)
    }

    /// Trusts the authorities of this host.
    fn outbound(&self) -> &Outbound {
        self.outbound.get_or_init(|| Outbound::trusting_host(Vec::new()))
    }

    /// The value of `Authorization`; another one than `refused`.
    async fn authorization(&self, refused: Option<&HeaderValue>) -> Result<HeaderValue, DirectoryError> {
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref()
            && Instant::now() < token.until
            && refused != Some(&token.authorization)
        {
            return Ok(token.authorization.clone());
        }
        *kept = None;
        let token = self.new_token().await?;
        let authorization = token.authorization.clone();
        *kept = Some(token);
        Ok(authorization)
    }

    async fn new_token(&self) -> Result<Token, DirectoryError> {
        let secret = self.secret().await?;
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            encoded(&self.rule.client_id),
            encoded(secret.expose())
        );
        if self.rule.kind == Kind::Graph {
            form += &format!("&scope={}", encoded(&format!("{}/.default", origin(&self.rule.url))));
        }
        let mut request = request(Method::POST, &self.rule.token, form.into())?;
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        let answer = self.outbound().exchange(request, LIMITS).await?;
        let from = self.rule.token.clone();
        if answer.status() != StatusCode::OK {
            return Err(failed(from, answer.status(), &answer));
        }
        let answer = Answer { from, answer };
        let told: TokenAnswer = answer.parsed()?;
        if !told.token_type.eq_ignore_ascii_case("bearer") || told.access_token.is_empty() {
            return Err(answer.odd("has no bearer token"));
        }
        let value = HeaderValue::from_str(&format!("Bearer {}", told.access_token));
        let mut authorization = value.map_err(|_| answer.odd("has no bearer token"))?;
        authorization.set_sensitive(true);
        let life = Duration::from_secs(told.expires_in.unwrap_or(USUAL_LIFE).min(LONGEST_LIFE));
        let used = life.saturating_sub(BEFORE_ITS_END).max(life / 2);
        Ok(Token { authorization, until: Instant::now() + used })
    }

    /// Reads the secret on a thread of its own: its disk may hang.
    async fn secret(&self) -> Result<Secret, DirectoryError> {
        let turn = Arc::clone(&self.reading).try_acquire_owned().map_err(|_| DirectoryError::SecretSilent)?;
        let place = self.rule.secret.clone();
        let read = tokio::task::spawn_blocking(move || {
            let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
            let read: Result<Secret, SecretError> = place.read(Path::new("/"), credentials.as_deref());
            drop(turn);
            read
        });
        Ok(read.await.map_err(|_| DirectoryError::SecretSilent)??)
    }
}

/// An answer with status 200 or 404.
pub(crate) struct Answer {
    from: String,
    answer: Response<Bytes>,
}

impl Answer {
    pub(crate) fn is_not_found(&self) -> bool {
        self.answer.status() == StatusCode::NOT_FOUND
    }

    /// The body of an answer that has this form.
    pub(crate) fn parsed<T: DeserializeOwned>(&self) -> Result<T, DirectoryError> {
        serde_json::from_slice(self.answer.body()).map_err(|_| self.odd("is not JSON of the documented form"))
    }

    /// The error for an answer of another form.
    pub(crate) fn odd(&self, why: &'static str) -> DirectoryError {
        DirectoryError::Form { from: self.from.clone(), why }
    }

    /// The error for an answer that says 404 about something else than a person.
    pub(crate) fn not_found(&self) -> DirectoryError {
        failed(self.from.clone(), self.answer.status(), &self.answer)
    }
}

fn failed(from: String, status: StatusCode, answer: &Response<Bytes>) -> DirectoryError {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
    DirectoryError::Status { from, status, retry_after }
}

fn request(method: Method, url: &str, body: Bytes) -> Result<Request<Bytes>, DirectoryError> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().map_err(|_| ExchangeError::Address { from: url.to_owned() })?;
    let agent = HeaderValue::from_static(concat!("jit-directory/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().extend([(ACCEPT, HeaderValue::from_static("application/json")), (USER_AGENT, agent)]);
    Ok(request)
}

/// `https://HOST[:PORT]` of a URL.
fn origin(url: &str) -> String {
    url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
}

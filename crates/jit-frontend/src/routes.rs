//! What each request is answered.
//!
//! | route | who | what |
//! |---|---|---|
//! | `GET /v1/providers` | anybody | what a client needs to know to log in |
//! | `POST /v1/sessions` | anybody with an ID token for this front end and this key | opens a session |
//! | `GET`, `DELETE /v1/login` | the session's key | shows it, ends it |
//! | `POST /v1/logout` | anybody with a logout token of a provider, also without a key | ends the login's sessions and access |
//! | everything else below `/v1/` | the session's key | `jitd` answers, as on its users' socket |
//!
//! The key of a connection says nothing about a logout: the token says who sent it, and some providers have a certificate for
//! whatever they call.
//!
//! Of a request only the method, the path, the body and its type reach `jitd`; no header of a client says who it is.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use jiff::{SignedDuration, Timestamp};
use jit_core::grant::request::{ProviderLogin, Window};
use jit_wire::frontend::{ProviderList, ProviderView, SessionBody, nonce};
use jit_wire::{ErrorCode, Problem};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Body};
use crate::client_key::ClientKey;
use crate::daemon::{Caller, Connection, introduce};
use crate::network::network;
use crate::sessions::{Session, Sessions};
use crate::tokens::Tokens;

/// The largest body, in bytes; `jitd` has the same limit.
const LONGEST_BODY: usize = 32 * 1024;

/// How long a body may take to arrive; `jitd` has the same limit.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// How many tokens of one address may be refused in a minute.
const REFUSALS: u32 = 30;

/// What all connections share.
pub struct Routes {
    /// The URL of the front end, which is part of each nonce.
    pub server: String,
    /// The socket of the daemon.
    pub daemon: PathBuf,
    /// How long a session lasts.
    pub session: Window,
    /// The scopes that clients ask for.
    pub scopes: Vec<String>,
    /// Verifies tokens.
    pub tokens: Tokens,
    /// The sessions.
    pub sessions: Sessions,
    /// Turns to tell `jitd` of logouts.
    pub turns: Semaphore,
    /// Refused tokens.
    pub refusals: Mutex<Refusals>,
    /// The clock of the host.
    pub clock: fn() -> Timestamp,
}

/// Refused tokens by address, in one minute. All are forgotten at its end, so that many addresses cost no search.
#[derive(Default)]
pub struct Refusals {
    since: Timestamp,
    of: HashMap<IpAddr, u32>,
}

/// One connection of a client.
pub struct Client {
    /// What all connections share.
    pub routes: Arc<Routes>,
    /// The key that it proved.
    pub key: ClientKey,
    /// Its address.
    pub peer: SocketAddr,
    /// The connection to `jitd`, once there was a request for it.
    pub daemon: tokio::sync::Mutex<Option<Connection>>,
}

/// One connection of a client that has proved no key.
pub struct Stranger {
    /// What all connections share.
    pub routes: Arc<Routes>,
    /// Its address.
    pub peer: SocketAddr,
}

impl Stranger {
    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        match (&head.method, head.uri.path()) {
            (&Method::POST, "/v1/logout") => self.routes.log_out(&head.headers, body, self.peer).await,
            (_, "/v1/logout") => answer::problem(&no_such_method()),
            _ => answer::problem(&answer::no_key()),
        }
    }
}

fn no_such_method() -> Problem {
    Problem::new(ErrorCode::NoSuchMethod, "this route has no such method")
}

impl Client {
    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.route(request).await.unwrap_or_else(|problem| answer::problem(&problem))
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        match (&head.method, path) {
            (&Method::GET, "/v1/providers") => Ok(answer::json(StatusCode::OK, &self.providers())),
            (&Method::POST, "/v1/sessions") => self.log_in(&head.headers, body).await,
            (&Method::GET, "/v1/login") => Ok(answer::json(StatusCode::OK, &self.session()?.view())),
            (&Method::DELETE, "/v1/login") => {
                let view = self.session()?.view();
                self.routes.sessions.end(&self.key.sha256);
                Ok(answer::json(StatusCode::OK, &view))
            }
            (&Method::POST, "/v1/logout") => Ok(self.routes.log_out(&head.headers, body, self.peer).await),
            // `jitd` has a list of recorded sessions at `/v1/sessions`.
            (_, "/v1/providers" | "/v1/login" | "/v1/logout") => Err(no_such_method()),
            // The operators' health check and metrics are not among them.
            _ if path.starts_with("/v1/") => self.pass_on(head, body).await,
            _ => Err(Problem::new(ErrorCode::NoSuchRoute, "there is no such route")),
        }
    }

    fn session(&self) -> Result<Arc<Session>, Problem> {
        self.routes.sessions.of(&self.key.sha256, (self.routes.clock)()).ok_or_else(answer::no_session)
    }

    fn providers(&self) -> ProviderList {
        let view = |provider: &jit_identity::Provider| ProviderView {
            issuer: provider.issuer().to_owned(),
            client_id: provider.audience().to_owned(),
            device_client_id: provider.device_audience().map(str::to_owned),
            scopes: self.routes.scopes.clone(),
        };
        let providers = self.routes.tokens.providers().iter().map(view).collect();
        ProviderList { server: self.routes.server.clone(), providers }
    }

    /// `POST /v1/sessions`
    async fn log_in(&self, headers: &HeaderMap, body: Incoming) -> Result<Response<Body>, Problem> {
        self.routes.may_try(self.peer.ip())?;
        let opened = self.open(headers, body).await;
        if opened.as_ref().is_err_and(|problem| problem.status < 500) {
            self.routes.refused(self.peer.ip());
        }
        Ok(answer::json(StatusCode::CREATED, &opened?.view()))
    }

    async fn open(&self, headers: &HeaderMap, body: Incoming) -> Result<Arc<Session>, Problem> {
        let routes = &self.routes;
        let body = whole(body).await?;
        if !is_of_type(headers, b"application/json") {
            return Err(Problem::new(ErrorCode::NotJson, "the body must be application/json"));
        }
        let SessionBody { id_token } = serde_json::from_slice(&body)
            // The error of serde could repeat a part of the token.
            .map_err(|_| Problem::new(ErrorCode::Malformed, "the body must be an object with `idToken` alone"))?;
        let now = (routes.clock)();
        let person = routes.tokens.verify(&id_token, &nonce(&routes.server, &self.key.spki), now).await?;
        let login = ProviderLogin {
            issuer: person.issuer,
            subject: person.subject,
            acr: person.acr,
            amr: person.amr,
            auth_time: person.authenticated,
            issued: Some(person.issued),
            sid: person.sid,
            flow: person.flow,
            key_id: Some(person.kid),
            token_sha256: person.token_hash,
        };
        routes.sessions.may_open(&self.key.sha256, &login)?;
        let (name, groups): (_, Vec<String>) = (person.name, person.groups.into_iter().collect());
        let until = now + routes.session.duration();
        // `jitd` says whether it knows the person before there is a session.
        let caller = Caller {
            login: login.clone(),
            name: name.clone(),
            groups: groups.clone(),
            until,
            address: self.peer.to_string(),
        };
        let (known_as, _) = introduce(&routes.daemon, caller).await?;
        let ended = CancellationToken::new();
        tracing::info!(person = known_as, issuer = login.issuer, address = %self.peer, "opened a session");
        let session = Session { login, name, groups, known_as, since: now, until, ended };
        routes.sessions.open(&self.key.sha256, session, person.expires)
    }

    /// Sends a request to `jitd` as the session's person.
    async fn pass_on(&self, head: http::request::Parts, body: Incoming) -> Result<Response<Body>, Problem> {
        let session = self.session()?;
        let body = whole(body).await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = head.method;
        // Only the path and the query: an authority in the request line is a client's word.
        *request.uri_mut() = head.uri.path_and_query().cloned().map(Into::into).unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("jitd"));
        if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
            headers.insert(header::CONTENT_TYPE, kind.clone());
        }
        let answer = tokio::select! {
            answer = self.send(&session, request) => answer?,
            () = session.ended.cancelled() => return Err(answer::no_session()),
        };
        let (mut parts, body) = answer.into_parts();
        let mut headers = HeaderMap::new();
        for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::RETRY_AFTER, header::ETAG] {
            if let Some(value) = parts.headers.remove(&name) {
                headers.insert(name, value);
            }
        }
        parts.headers = headers;
        Ok(Response::from_parts(parts, body.map_err(Into::into).boxed_unsync()))
    }

    async fn send(
        &self,
        session: &Arc<Session>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Problem> {
        let mut daemon = self.daemon.lock().await;
        // `jitd` closes a connection on which nothing is asked for a while; then there is a new one.
        if let Some(connection) = daemon.as_mut().filter(|connection| Arc::ptr_eq(&connection.session, session)) {
            match connection.send(request).await {
                Ok(answer) => return Ok(answer),
                Err(Ok(unsent)) => request = unsent,
                Err(Err(problem)) => {
                    *daemon = None;
                    return Err(problem);
                }
            }
        }
        *daemon = None;
        let mut connection = Connection::open(&self.routes.daemon, Arc::clone(session), self.peer.to_string()).await?;
        let answer = connection.send(request).await;
        let answer = answer.map_err(|unsent| {
            unsent.err().unwrap_or_else(|| Problem::new(ErrorCode::DaemonUnreachable, "jitd closed the connection"))
        })?;
        *daemon = Some(connection);
        Ok(answer)
    }
}

impl Routes {
    /// Whether this address may present a token now.
    pub(crate) fn may_try(&self, peer: IpAddr) -> Result<(), Problem> {
        let now = (self.clock)();
        let refusals = self.refusals.lock();
        let has_tried_enough = refusals.of.get(&network(peer)).is_some_and(|count| *count >= REFUSALS);
        if !has_tried_enough || !refusals.is_in_the_minute(now) {
            return Ok(());
        }
        let seconds = 60 - now.duration_since(refusals.since).as_secs().clamp(0, 59).unsigned_abs();
        Err(Problem::new(ErrorCode::RateLimited, "too many tokens of this address were refused")
            .hint(format!("try again in {seconds} s"))
            .retry_after(seconds))
    }

    /// Counts a refused token.
    pub(crate) fn refused(&self, peer: IpAddr) {
        let now = (self.clock)();
        let mut refusals = self.refusals.lock();
        if !refusals.is_in_the_minute(now) {
            *refusals = Refusals { since: now, of: HashMap::new() };
        }
        let count = refusals.of.entry(network(peer)).or_default();
        *count = count.saturating_add(1);
    }
}

impl Refusals {
    fn is_in_the_minute(&self, now: Timestamp) -> bool {
        now.duration_since(self.since).abs() < SignedDuration::from_mins(1)
    }
}

/// Whether the body is of this media type, with or without parameters (RFC 9110 section 8.3.1).
pub(crate) fn is_of_type(headers: &HeaderMap, media_type: &[u8]) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(media_type)
}

/// The whole body of a request.
pub(crate) async fn whole(body: Incoming) -> Result<Bytes, Problem> {
    let late = |_| Problem::new(ErrorCode::TimedOut, "the body did not arrive in time").hint("try again");
    let collected = timeout(BODY_WITHIN, Limited::new(body, LONGEST_BODY).collect()).await.map_err(late)?;
    let collected = collected.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Problem::new(ErrorCode::TooLarge, format!("the body exceeds {LONGEST_BODY} bytes"))
        } else {
            Problem::new(ErrorCode::Malformed, "the body broke off")
        }
    })?;
    Ok(collected.to_bytes())
}

//! Requests to one API server: how many run at once, and how long each may take.
//!
//! It must never repeat a request that was answered, and never repeat a request more than once. It repeats one that got
//! lost on a connection that may have been dead already. All our requests are safe to repeat: what we create has a
//! fixed name, and what we delete is identified by its uid. Only `cluster` calls this.

use std::error::Error as StdError;
use std::io::Error as IoError;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::Error as HttpError;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::Timestamp;
use jit_dial::{ApiServer, DialError, Pinned, Protocol};
use kube::Config;
use kube::client::{Body, ConfigExt};
use kube::core::Status;
use parking_lot::{Mutex, RwLock};
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::cause::{Cause, Unresolved, chain, innermost};
use super::endpoint::{Credential, Endpoint, EndpointError};
use super::failure::ClusterError;
use crate::dependency::Dependency;

/// The limits of one connection to an API server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a request may wait in the queue.
    pub(super) turn: Duration,
    /// How long to wait for the answer to a request that was sent.
    pub(super) answer: Duration,
    /// How many requests may run at once: HTTP/1.1 needs a TLS connection for each.
    pub(super) at_once: usize,
}

impl Limits {
    /// With 32 at once, an API server that shares two cores with us deletes 1,000 bindings in 1.1 s; 64 gain little
    /// more. A queue of 10,000 requests drains within `turn`.
    pub(super) const USUAL: Self = Self { turn: Duration::from_secs(20), answer: Duration::from_secs(5), at_once: 32 };
}

/// The largest answer that we read, in bytes. A page of 500 bindings is under 1 MiB.
pub(super) const LARGEST_ANSWER: usize = 16 << 20;

/// How long an idle connection is kept. Firewalls and NAT gateways forget idle connections, some silently after less
/// than a minute; the next request would get lost.
const IDLE: Duration = Duration::from_secs(5);

/// After this long without any answer, something on the path may have forgotten the connection.
const QUIET: Duration = Duration::from_secs(1);

/// How long the kernel waits until the other side acknowledges what was sent (TCP_USER_TIMEOUT, tcp(7)). It retransmits
/// the packets several times within it.
const TAKEN_WITHIN: Duration = Duration::from_secs(3);

/// A service that sends one request to an API server and returns the whole answer, whatever its status. It fails only
/// if there is no answer. Usually it is the network with our credential; a test can use a function as the API server
/// ([`Cluster::over`](super::Cluster::over)).
pub type Exchange = BoxCloneSyncService<Request<Body>, Response<Bytes>, BoxError>;

/// What is known about the kept connections.
#[derive(Clone, Copy, Default)]
struct Heard {
    /// When the last answer arrived.
    answer: Option<Instant>,
    /// When a request last got lost on one of them.
    lost: Option<Instant>,
}

pub(super) struct Transport {
    endpoint: Endpoint,
    route: Route,
    turns: Semaphore,
    limits: Limits,
    dns: Dependency,
    heard: Mutex<Heard>,
}

enum Route {
    /// Our own connections, replaced whenever the credential is.
    Network(RwLock<Connections>),
    /// A service from the caller. It uses no credential.
    Given(Exchange),
}

/// Two ways to reach the same API server.
#[derive(Clone)]
struct Connections {
    /// Reuses connections.
    kept: Exchange,
    /// Opens a new connection for each request.
    fresh: Exchange,
    /// What both ask for the credential, if that may take time.
    dialler: Option<ApiServer>,
}

/// Why there is no answer.
enum Lost {
    Failed(BoxError),
    TimedOut(Duration),
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint, credential: &Credential, limits: Limits) -> Result<Self, EndpointError> {
        let dns = dns(&endpoint);
        let route = Route::Network(RwLock::new(connections(&endpoint, credential, limits, &dns)?));
        Ok(Self { endpoint, route, turns: Semaphore::new(limits.at_once), limits, dns, heard: Mutex::default() })
    }

    pub(super) fn over(endpoint: Endpoint, exchange: Exchange, limits: Limits) -> Self {
        let (dns, route, turns) = (dns(&endpoint), Route::Given(exchange), Semaphore::new(limits.at_once));
        Self { endpoint, route, turns, limits, dns, heard: Mutex::default() }
    }

    /// The resolver for the address of the API server.
    pub(super) fn dns(&self) -> &Dependency {
        &self.dns
    }

    /// Whether the API server is reached over the network, so that other connections to it are possible.
    pub(super) fn is_network(&self) -> bool {
        matches!(self.route, Route::Network(_))
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The time within which a healthy API server answers, even under load.
    pub(super) fn soon(&self) -> Duration {
        self.limits.answer / 20
    }

    /// Later requests use new connections with this credential; requests in progress continue with the old one.
    pub(super) fn use_credential(&self, credential: &Credential) -> Result<(), EndpointError> {
        if let Route::Network(current) = &self.route {
            let fresh = connections(&self.endpoint, credential, self.limits, &self.dns)?;
            *current.write() = fresh;
        }
        Ok(())
    }

    /// Sends one request and reads the whole answer, whatever its status.
    pub(super) async fn send(
        &self,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Reply, ClusterError> {
        self.send_after((), request).await
    }

    /// Like [`Transport::send`]; drops `waiting` when the request leaves the queue.
    pub(super) async fn send_after<W>(
        &self,
        waiting: W,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Reply, ClusterError> {
        let request = request.map_err(|why| self.unreadable(format!("our own request: {why}")))?;
        let Ok(Ok(_turn)) = tokio::time::timeout(self.limits.turn, self.turns.acquire()).await else {
            return Err(self.timed_out(self.limits.turn));
        };
        drop(waiting);
        let (answered, dialler) = match &self.route {
            Route::Network(current) => {
                let connections = current.read().clone();
                let dialler = connections.dialler.clone();
                (self.over_network(connections, request).await, dialler)
            }
            Route::Given(exchange) => (attempt(exchange.clone(), request, self.limits.answer).await, None),
        };
        match answered {
            Ok(answer) => Ok(Reply::from(answer)),
            Err(Lost::Failed(why)) => Err(self.unreachable(why.as_ref())),
            Err(Lost::TimedOut(after)) => match dialler.and_then(|dialler| dialler.awaited()) {
                // The request was not even sent.
                Some(plugin) => Err(self.unreachable(&DialError::from(plugin))),
                None => Err(self.timed_out(after)),
            },
        }
    }

    /// Sends a request on a kept connection. If it gets lost on one that may have been dead already, it is sent once
    /// more on a fresh connection. While answers keep arriving, connections are not dead, and a slow API server is not
    /// asked twice. If one connection was dead, the other kept ones may be too: until they expire, each request gets a
    /// fresh one.
    async fn over_network(
        &self,
        Connections { kept, fresh, .. }: Connections,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Bytes>, Lost> {
        let heard = *self.heard.lock();
        if heard.lost.is_some_and(|lost| lost.elapsed() < IDLE) {
            return self.noted(attempt(fresh, request, self.limits.answer).await);
        }
        let again = heard.answer.is_some_and(|last| last.elapsed() >= QUIET).then(|| request.clone());
        let patience = if again.is_some() { self.limits.answer / 2 } else { self.limits.answer };
        match (attempt(kept, request, patience).await, again) {
            (Err(lost), Some(again)) if !lost.is_of_connecting() => {
                self.heard.lock().lost = Some(Instant::now());
                self.noted(attempt(fresh, again, self.limits.answer).await)
            }
            (answered, _) => self.noted(answered),
        }
    }

    fn noted(&self, answered: Result<Response<Bytes>, Lost>) -> Result<Response<Bytes>, Lost> {
        if answered.is_ok() {
            self.heard.lock().answer = Some(Instant::now());
        }
        answered
    }

    /// Sends one request and parses the body of a successful answer.
    pub(super) async fn call<T: serde::de::DeserializeOwned>(
        &self,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ClusterError> {
        let reply = self.send(request).await?;
        self.read(&reply)
    }

    /// Parses the body of a successful answer; any other answer becomes an error.
    pub(super) fn read<T: serde::de::DeserializeOwned>(&self, reply: &Reply) -> Result<T, ClusterError> {
        if (200..300).contains(&reply.code) {
            serde_json::from_slice(&reply.body).map_err(|why| self.unreadable(why.to_string()))
        } else {
            Err(ClusterError::of_reply(self.endpoint.name().clone(), reply))
        }
    }

    pub(super) fn unreadable(&self, why: String) -> ClusterError {
        ClusterError::Unreadable { cluster: self.endpoint.name().clone(), why }
    }

    fn unreachable(&self, why: &(dyn StdError + 'static)) -> ClusterError {
        ClusterError::Unreachable { cluster: self.endpoint.name().clone(), cause: Cause::of(why) }
    }

    fn timed_out(&self, after: Duration) -> ClusterError {
        ClusterError::TimedOut { cluster: self.endpoint.name().clone(), after }
    }
}

impl Lost {
    /// Whether connecting failed, so that no dead connection was involved.
    fn is_of_connecting(&self) -> bool {
        match self {
            Self::Failed(why) => chain(why.as_ref())
                .any(|why| why.is::<DialError>() || why.downcast_ref().is_some_and(HttpError::is_connect)),
            Self::TimedOut(_) => false,
        }
    }
}

async fn attempt(exchange: Exchange, request: Request<Vec<u8>>, patience: Duration) -> Result<Response<Bytes>, Lost> {
    match tokio::time::timeout(patience, exchange.oneshot(request.map(Body::from))).await {
        Ok(answered) => answered.map_err(Lost::Failed),
        Err(_) => Err(Lost::TimedOut(patience)),
    }
}

/// An answer as it arrived.
pub(super) struct Reply {
    /// The HTTP status.
    pub(super) code: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl From<Response<Bytes>> for Reply {
    fn from(answer: Response<Bytes>) -> Self {
        let (head, body) = answer.into_parts();
        Self { code: head.status.as_u16(), headers: head.headers, body }
    }
}

impl Reply {
    /// The `metav1.Status` in the body; every failure of an API server has one.
    pub(super) fn status(&self) -> Option<Status> {
        #[derive(serde::Deserialize)]
        struct Kind {
            kind: String,
        }
        let kind: Kind = serde_json::from_slice(&self.body).ok()?;
        (kind.kind == "Status").then(|| serde_json::from_slice(&self.body).ok())?
    }

    /// The API server's clock, in whole seconds (RFC 9110, 6.6.1).
    pub(super) fn date(&self) -> Option<Timestamp> {
        let text = self.headers.get(DATE)?.to_str().ok()?;
        jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
    }

    /// How long the server asks us to wait, at most a minute, so that no answer can keep us from ending grants.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds.min(60)))
    }

    /// The beginning of the body, escaped.
    pub(super) fn beginning(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(200).flat_map(char::escape_default).collect()
    }
}

/// Reads a whole answer of at most [`LARGEST_ANSWER`] bytes.
pub(super) async fn whole<B>(answer: Response<B>) -> Result<Response<Bytes>, BoxError>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// The host's resolver. If the name of one cluster is not answered, that blocks one thread and only this cluster's
/// calls.
fn dns(endpoint: &Endpoint) -> Dependency {
    Dependency::new(format!("DNS of cluster {}", endpoint.name()), 1, RESOLVES_WITHIN)
}

/// The time limit for resolving a name: shorter than that for an answer, so that the error names the resolver.
const RESOLVES_WITHIN: Duration = Duration::from_secs(2);

/// The addresses of a name; the connector sets the port.
fn addresses(name: &Name) -> Result<std::vec::IntoIter<SocketAddr>, IoError> {
    (name.as_str(), 0).to_socket_addrs()
}

/// New connections, on which each request carries the credential. Neither kind is wrapped in `kube::Client`, which would
/// send each request through a task of its own.
fn connections(
    endpoint: &Endpoint,
    credential: &Credential,
    limits: Limits,
    dns: &Dependency,
) -> Result<Connections, EndpointError> {
    match credential {
        Credential::Kubeconfig(server) => dialled(endpoint, server, limits),
        Credential::Certificate { .. } | Credential::Nobody => direct(endpoint, credential, limits, dns),
    }
}

/// Connections as a kubeconfig says. Its own dialler makes them, which may go through a proxy, and asks for the
/// credential again for each connection and request.
fn dialled(endpoint: &Endpoint, server: &ApiServer, limits: Limits) -> Result<Connections, EndpointError> {
    let wrong = |why: String| EndpointError { cluster: endpoint.name().clone(), field: "kubeconfig", why };
    let mut config = Config::new(server.server().parse().map_err(|_| wrong("its server is not a URL".to_owned()))?);
    config.headers = vec![(USER_AGENT, AGENT)];
    let dialler = server.clone();
    let connecting = server.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let dialler = connecting.clone();
        Box::pin(async move { dialler.connect(Protocol::Http1).await.map(TokioIo::new) })
    });
    let stack = |kept: usize| {
        let (server, http) = (server.clone(), pooled(connector.clone(), kept));
        let authorized = tower::service_fn(move |mut request: Request<Body>| {
            let (server, http) = (server.clone(), http.clone());
            async move {
                if let Some(value) = server.authorization().await? {
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
                let answer = http.request(request).await?;
                if answer.status() == StatusCode::UNAUTHORIZED {
                    server.refused();
                }
                whole(answer).await
            }
        });
        let stack = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .layer(config.extra_headers_layer().map_err(|why| wrong(innermost(&why)))?)
            .service(authorized);
        Ok(BoxCloneSyncService::new(stack))
    };
    Ok(Connections { kept: stack(limits.at_once)?, fresh: stack(0)?, dialler: Some(dialler) })
}

/// A client that keeps `kept` connections.
fn pooled<C: Connect + Clone + Send + Sync + 'static>(connector: C, kept: usize) -> HttpClient<C, Body> {
    HttpClient::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(kept)
        .build(connector)
}

const AGENT: HeaderValue = HeaderValue::from_static(concat!("jitd/", env!("CARGO_PKG_VERSION")));

/// Connections to the endpoint itself. They lack the retries and log lines of kube's usual
/// stack, because the broker decides what to retry and logs failures.
fn direct(
    endpoint: &Endpoint,
    credential: &Credential,
    limits: Limits,
    dns: &Dependency,
) -> Result<Connections, EndpointError> {
    let wrong = |why: String| EndpointError { cluster: endpoint.name().clone(), field: "credential", why };
    let mut config = Config::new(endpoint.uri().clone());
    config.root_cert = Some(endpoint.ca_der().to_vec());
    config.auth_info = credential.auth_info();
    config.headers = vec![(USER_AGENT, AGENT)];

    let dns = dns.clone();
    let resolver = tower::service_fn(move |name: Name| {
        let dns = dns.clone();
        async move { dns.ask((), move || addresses(&name)).await.unwrap_or_else(|why| Err(IoError::other(why))) }
    });
    let resolver = ServiceBuilder::new().map_err(Unresolved).service(resolver);
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_tcp_user_timeout(Some(TAKEN_WITHIN));
    tcp.set_connect_timeout(Some(limits.answer));
    let refused = |why: kube::Error| wrong(innermost(&why));
    let mut tls = config.rustls_client_config().map_err(refused)?;
    let authorities = endpoint.ca_der().iter().map(|der| CertificateDer::from(der.clone())).collect();
    let pinned = Pinned::new(authorities).map_err(|why| EndpointError {
        cluster: endpoint.name().clone(),
        field: "certificate-authority",
        why,
    })?;
    tls.dangerous().set_certificate_verifier(Arc::new(pinned));
    let https = HttpsConnector::from((tcp, Arc::new(tls)));
    let stack = |kept: usize| {
        let http = pooled(https.clone(), kept);
        let stack = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(refused)?)
            .layer(config.extra_headers_layer().map_err(refused)?)
            .map_err(BoxError::from)
            .service(http)
            .and_then(whole);
        Ok(BoxCloneSyncService::new(stack))
    };
    Ok(Connections { kept: stack(limits.at_once)?, fresh: stack(0)?, dialler: None })
}

//! One request to one API server: how many run at once, how long each may take, and what its failure
//! means for the caller.
//!
//! It must never repeat a request by itself, nor take an answer for Kubernetes' that is not: what a
//! proxy says is an error here. Only the rest of `cluster` calls it.

use std::error::Error as StdError;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use hyper::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use kube::Config;
use kube::client::{Body, ConfigExt};
use kube::core::Status;
use tokio::sync::Semaphore;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::cause::{Cause, Unresolved, innermost};
use super::endpoint::{Credential, Endpoint, EndpointError};
use crate::grant::request::ClusterName;

/// Why the API server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No answer, and nothing is known about what the API server did with the request. Try again.
    #[error(
        "cluster `{cluster}` cannot be reached: {cause}\nhint: check the address, the certificate authority and the network between"
    )]
    Unreachable {
        /// The cluster.
        cluster: ClusterName,
        /// Why there was no answer.
        cause: Cause,
    },
    /// No answer in time, and nothing is known about what the API server did with the request. Try again.
    #[error("cluster `{cluster}` did not answer within {} s\nhint: it is tried again; look at the API server's load", after.as_secs_f32())]
    TimedOut {
        /// The cluster.
        cluster: ClusterName,
        /// How long was waited.
        after: Duration,
    },
    /// The API server answered that it can't now (429, 5xx). Try again, not before `retry_after`.
    #[error("cluster `{cluster}` cannot now: {why} ({code})\nhint: it is tried again; look at the API server's load")]
    Busy {
        /// The cluster.
        cluster: ClusterName,
        /// The HTTP status.
        code: u16,
        /// What the API server said.
        why: String,
        /// What it asked to wait.
        retry_after: Option<Duration>,
    },
    /// The API server does not know us (401): our authority is not one it trusts, or our certificate is
    /// over.
    #[error(
        "cluster `{cluster}` does not accept our credential\nhint: the API server's --client-ca-file has to hold jitd's root, and both clocks have to agree"
    )]
    Unauthorized {
        /// The cluster.
        cluster: ClusterName,
    },
    /// The API server knows us and refuses (403): a right is missing, or an admission policy objects.
    #[error("cluster `{cluster}` forbids it: {why}\nhint: apply what `jitd manifest` prints to the cluster")]
    Forbidden {
        /// The cluster.
        cluster: ClusterName,
        /// What the API server said; it names the verb and the resource that are missing.
        why: String,
    },
    /// What it is about does not exist (404).
    #[error("cluster `{cluster}` has no such thing: {what}")]
    NotFound {
        /// The cluster.
        cluster: ClusterName,
        /// What the API server said.
        what: String,
    },
    /// Something else is in its place (409).
    #[error(
        "cluster `{cluster}` has something else there: {what}\nhint: look at it with kubectl; jitd leaves alone what it did not make"
    )]
    Conflict {
        /// The cluster.
        cluster: ClusterName,
        /// What is there.
        what: String,
    },
    /// The API server refuses the request as such (400, 422, …), or an admission policy does. The same
    /// request would be refused again.
    #[error(
        "cluster `{cluster}` rejects it: {why} ({code})\nhint: if an admission policy says so, make room there for what jitd binds"
    )]
    Rejected {
        /// The cluster.
        cluster: ClusterName,
        /// The HTTP status.
        code: u16,
        /// What the API server said.
        why: String,
    },
    /// The answer is not one that we know, so it means no.
    #[error(
        "cluster `{cluster}` gave an answer that jitd does not understand: {why}\nhint: is it a Kubernetes API server, and is no proxy in between"
    )]
    Unreadable {
        /// The cluster.
        cluster: ClusterName,
        /// What was not understood.
        why: String,
    },
}

impl ClusterError {
    /// Whether the same call may well succeed in a moment, without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Busy { .. })
    }

    /// How long the API server asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// The limits of one connection to an API server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a request waits for its turn.
    pub(super) turn: Duration,
    /// How long a request that was sent waits for its answer.
    pub(super) answer: Duration,
    /// How many requests run at once: HTTP/1.1 needs a TLS connection for each.
    pub(super) at_once: usize,
}

impl Limits {
    /// With 32 at once, 1,000 bindings are deleted in 1.1 s by an API server that shares two cores with us;
    /// 64 gain little more. 10,000 requests that wait before one pass within `turn`.
    pub(super) const USUAL: Self = Self { turn: Duration::from_secs(20), answer: Duration::from_secs(5), at_once: 32 };
}

/// The largest answer that is read, bytes. A page of 500 bindings is under 1 MiB.
pub(super) const LARGEST_ANSWER: usize = 16 << 20;

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(90);

/// Takes one request to an API server and brings its whole answer, whatever its status. It fails only when there is
/// no answer. The usual one is a network with our credential; a test can give an API server that is a function
/// ([`Cluster::over`](super::Cluster::over)).
pub type Exchange = BoxCloneSyncService<Request<Body>, Response<Bytes>, BoxError>;

pub(super) struct Transport {
    endpoint: Endpoint,
    route: Route,
    turns: Semaphore,
    limits: Limits,
}

enum Route {
    /// Connections of ours, replaced whenever the credential is.
    Network(RwLock<Exchange>),
    /// What the caller gave. It knows no credential.
    Given(Exchange),
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint, credential: &Credential, limits: Limits) -> Result<Self, EndpointError> {
        let route = Route::Network(RwLock::new(connections(&endpoint, credential, limits)?));
        Ok(Self { endpoint, route, turns: Semaphore::new(limits.at_once), limits })
    }

    pub(super) fn over(endpoint: Endpoint, exchange: Exchange, limits: Limits) -> Self {
        Self { endpoint, route: Route::Given(exchange), turns: Semaphore::new(limits.at_once), limits }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Within this an API server answers that is well, also when it has much to do.
    pub(super) fn soon(&self) -> Duration {
        self.limits.answer / 20
    }

    /// What follows is sent on new connections with this credential; what is under way ends as it began.
    pub(super) fn use_credential(&self, credential: &Credential) -> Result<(), EndpointError> {
        if let Route::Network(current) = &self.route {
            let fresh = connections(&self.endpoint, credential, self.limits)?;
            *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
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

    /// The same; drops `waiting` when the request's turn has come.
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
        let exchange = match &self.route {
            Route::Network(current) => current.read().unwrap_or_else(PoisonError::into_inner).clone(),
            Route::Given(exchange) => exchange.clone(),
        };
        match tokio::time::timeout(self.limits.answer, exchange.oneshot(request.map(Body::from))).await {
            Ok(Ok(answer)) => Ok(Reply::from(answer)),
            Ok(Err(why)) => Err(self.unreachable(why.as_ref())),
            Err(_) => Err(self.timed_out(self.limits.answer)),
        }
    }

    /// Sends one request and answers with what a success holds.
    pub(super) async fn call<T: serde::de::DeserializeOwned>(
        &self,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ClusterError> {
        let reply = self.send(request).await?;
        self.read(&reply)
    }

    /// What a successful answer holds, or what the other answers mean.
    pub(super) fn read<T: serde::de::DeserializeOwned>(&self, reply: &Reply) -> Result<T, ClusterError> {
        if (200..300).contains(&reply.code) {
            serde_json::from_slice(&reply.body).map_err(|why| self.unreadable(why.to_string()))
        } else {
            Err(self.failure(reply))
        }
    }

    fn failure(&self, reply: &Reply) -> ClusterError {
        let cluster = self.endpoint.name().clone();
        let status = reply.status();
        let said = status.as_ref().map_or_else(|| reply.beginning(), |status| status.message.clone());
        match (reply.code, &status) {
            (401, _) => ClusterError::Unauthorized { cluster },
            (429 | 500.., _) => {
                ClusterError::Busy { cluster, code: reply.code, why: said, retry_after: reply.retry_after() }
            }
            // A proxy's words must not pass for the cluster's: "not found" is a proof for the caller.
            (code, None) => self.unreadable(format!("{code} without a Kubernetes status: {said}")),
            (403, Some(status)) if is_of_ending_namespace(status) => ClusterError::NotFound { cluster, what: said },
            (403, _) => ClusterError::Forbidden { cluster, why: said },
            (404, Some(status)) if status.is_not_found() => ClusterError::NotFound { cluster, what: said },
            (409, _) => ClusterError::Conflict { cluster, what: said },
            (code, _) => ClusterError::Rejected { cluster, code, why: said },
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

/// An answer as it came.
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
    /// The `metav1.Status` in it, which every failure of an API server is.
    pub(super) fn status(&self) -> Option<Status> {
        #[derive(serde::Deserialize)]
        struct Kind {
            kind: String,
        }
        let kind: Kind = serde_json::from_slice(&self.body).ok()?;
        (kind.kind == "Status").then(|| serde_json::from_slice(&self.body).ok())?
    }

    /// The API server's clock, whole seconds (RFC 9110, 6.6.1).
    pub(super) fn date(&self) -> Option<Timestamp> {
        let text = self.headers.get(DATE)?.to_str().ok()?;
        jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
    }

    /// What the server asks to wait, capped at a minute so that no answer can stop us from ending grants.
    fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds.min(60)))
    }

    fn beginning(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(200).flat_map(char::escape_default).collect()
    }
}

/// A namespace that is being deleted refuses what is created in it with 403 and this cause
/// (k8s.io/apiserver `admission/plugin/namespace/lifecycle`), which no further right would change.
fn is_of_ending_namespace(status: &Status) -> bool {
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Reads an answer to its end, but no further than [`LARGEST_ANSWER`].
pub(super) async fn whole<B>(answer: Response<B>) -> Result<Response<Bytes>, BoxError>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// New connections, on which each request carries the credential. Neither the retries nor the log lines of kube's
/// usual stack: the broker decides what is tried again, and says what failed. Nor `kube::Client` around it, which has a
/// task of its own that each request goes through.
fn connections(endpoint: &Endpoint, credential: &Credential, limits: Limits) -> Result<Exchange, EndpointError> {
    let wrong = |why: String| EndpointError { cluster: endpoint.name().clone(), field: "credential", why };
    let mut config = Config::new(endpoint.uri().clone());
    config.root_cert = Some(endpoint.ca_der().to_vec());
    config.auth_info = credential.auth_info().map_err(wrong)?;
    config.headers = vec![(USER_AGENT, HeaderValue::from_static(concat!("jitd/", env!("CARGO_PKG_VERSION"))))];

    let resolver = ServiceBuilder::new().map_err(Unresolved).service(GaiResolver::new());
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(IDLE));
    tcp.set_connect_timeout(Some(limits.answer));
    let refused = |why: kube::Error| wrong(innermost(&why));
    let https = config.rustls_https_connector_with_connector(tcp).map_err(refused)?;
    let http = HttpClient::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(limits.at_once)
        .build::<_, Body>(https);
    let headers = config.extra_headers_layer().map_err(refused)?;
    let authorization = config.auth_layer().map_err(refused)?;
    let stack = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(authorization)
        .layer(headers)
        .map_err(BoxError::from)
        .service(http)
        .and_then(whole);
    Ok(BoxCloneSyncService::new(stack))
}

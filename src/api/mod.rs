//! The local HTTP API: the route table, which says who may call what, and the server behind the socket.
//!
//! ```text
//!  connection ─► Peer (kernel) ─► route ─► Caller (a known person) ─► a grant that they may see ─► handler ─► broker
//!   (on which socket)                   └► Operator (root or an admin, on the admin socket) ─► handler ─► broker
//! ```
//! On the socket of `jit-frontend` the peer is the person of an introduction instead, see [`wire::frontend`](crate::wire::frontend).
//! A handler can only be called with the proof that its kind of route requires, so no handler can forget the check.
//! `grant/` decides what a person may do to a grant that they may see, and the trail records the refusals.

mod accept;
mod allowance;
pub mod caller;
mod handlers;
mod kept;
mod openapi;
mod problem;
mod server;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{Extension, RawPathParams, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::allowance::Allowances;
pub use self::caller::Listener;
pub use self::server::{FrontendSocket, Limits, serve};

use self::allowance::{Cost, Exceeded, held, kept_with};
use self::caller::{Auditor, Caller, Peer};
use self::problem::ApiError;
use crate::broker::Broker;
use crate::grant::{Grant, Operator};
use crate::hint::Hint;
use crate::kept::Kept;
use crate::metrics::Metrics;
use crate::wire::ErrorCode;

/// The maximum size of a body, in bytes. A request with its CSR takes less than 2 KiB.
const LONGEST_BODY: usize = 32 * 1024;

/// How long a body may take to arrive; the limit for the head is the same.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// What the handlers work with.
pub struct Api {
    /// Performs the steps of a grant.
    pub broker: Arc<Broker>,
    /// The counters for Prometheus.
    pub metrics: Metrics,
    /// How much each account may use.
    pub allowances: Allowances,
    /// The daemon's host, shown in `whoami`.
    pub host: String,
    /// What the gateway keeps.
    pub kept: Kept,
}

impl Api {
    /// The answer to a call that exceeded a limit; the call is counted.
    async fn beyond(&self, peer: &Peer, Exceeded { limit, error: told }: Exceeded) -> ApiError {
        self.metrics.rate_limited(limit);
        if self.allowances.is_first_beyond(peer)
            && let Ok(caller) = Caller::identify(peer, &self.broker.people()).await
            && let Err(error) = self.broker.record_refusal(caller.person(), &told.problem().code).await
        {
            tracing::warn!(error = %error.in_full(), "the trail cannot record that an account exceeded a limit");
        }
        told
    }

    /// Records how often people were refused since the last call.
    pub async fn record_refusals(&self) {
        let code = ErrorCode::RateLimited.as_str();
        for (peer, number) in self.allowances.take_beyond() {
            // The trail records only persons; the metrics count everybody else.
            if let Ok(caller) = Caller::identify(&peer, &self.broker.people()).await {
                self.broker.count_refusals(caller.person(), code, number);
            }
        }
        if let Err(error) = self.broker.record_refusals().await {
            tracing::warn!(error = %error.in_full(), "the trail cannot record how often people were refused; this is retried");
        }
    }
}

/// A call of a known person, or of an operator.
struct Call<C = Caller> {
    api: Arc<Api>,
    caller: C,
    query: String,
    body: Bytes,
}

impl<C> Call<C> {
    /// Parses the body as JSON of a known form.
    fn body<T: DeserializeOwned + Serialize>(&self) -> Result<T, ApiError> {
        let not_so = |why: &dyn std::fmt::Display| ApiError::malformed(format!("the body is malformed: {why}"));
        let body = serde_json::from_slice(&self.body).map_err(|error| not_so(&error))?;
        // serde also accepts a list for a struct, with the fields in order; the OpenAPI document does not.
        if self.body.contains(&b'[') {
            let sent = serde_json::from_slice(&self.body).map_err(|error| not_so(&error))?;
            let meant = serde_json::to_value(&body).map_err(|error| not_so(&error))?;
            if !lists_agree(&sent, &meant) {
                return Err(not_so(&"it contains a list where none is expected"));
            }
        }
        Ok(body)
    }

    /// Parses the query's parameters; an unknown one is refused.
    fn query<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_urlencoded::from_str(&self.query)
            .map_err(|error| ApiError::malformed(format!("the query is malformed: {error}")))
    }
}

/// Whether the JSON that was sent has lists only where its meaning has lists.
fn lists_agree(sent: &Value, meant: &Value) -> bool {
    match (sent, meant) {
        (Value::Array(sent), Value::Array(meant)) => {
            sent.iter().zip(meant).all(|(sent, meant)| lists_agree(sent, meant))
        }
        (Value::Array(_), _) => false,
        // A field that the meaning omits counts as not sent.
        (Value::Object(sent), Value::Object(meant)) => {
            sent.iter().all(|(name, sent)| meant.get(name).is_none_or(|meant| lists_agree(sent, meant)))
        }
        _ => true,
    }
}

type Answer = Result<Response, ApiError>;

/// Who may call a route, with the handler that receives the proof.
enum May {
    /// Everybody who can open the socket; the answer contains nothing about grants.
    Anyone(fn(Arc<Api>) -> BoxFuture<'static, Answer>),
    /// Every known person.
    Person(fn(Call) -> BoxFuture<'static, Answer>),
    /// A person who may see the grant in the path: its requester, its approvers and reviewers, auditors and admins. For
    /// everybody else the grant does not exist.
    Viewer(fn(Call, Arc<Grant>) -> BoxFuture<'static, Answer>),
    /// A person who may see every grant: a member of `auditors` or `admins`.
    Auditor(fn(Call<Auditor>) -> BoxFuture<'static, Answer>),
    /// Root or a member of `admins`, on the admin socket only.
    Operator(fn(Call<Operator>) -> BoxFuture<'static, Answer>),
}

/// One line of the table.
struct Route {
    method: Method,
    path: &'static str,
    may: May,
    summary: &'static str,
    /// The schema of the body, if it takes one.
    body: Option<&'static str>,
    /// The status and schema of the answer.
    answer: (StatusCode, &'static str),
    /// Parameters of the query.
    query: &'static [&'static str],
    /// What a call costs of its account's allowance.
    cost: Cost,
    /// Whether the answer is read from the trail, so that it can be slow and large.
    out_of_trail: bool,
    /// Whether the answer is sent while it is read, so that it is never in memory as a whole.
    in_pieces: bool,
}

/// All routes.
fn routes() -> Vec<Route> {
    use May::{Anyone, Auditor, Operator, Person, Viewer};
    let route = |method: Method, path, may, summary, body, answer| Route {
        method,
        path,
        may,
        summary,
        body,
        answer: (StatusCode::OK, answer),
        query: &[],
        cost: Cost::Call,
        out_of_trail: false,
        in_pieces: false,
    };
    let (get, post) = (|| Method::GET, || Method::POST);
    vec![
        route(
            get(),
            "/healthz",
            Anyone(handlers::healthz),
            "whether the daemon serves and its audit trail answers",
            None,
            "text",
        ),
        route(get(), "/metrics", Anyone(handlers::metrics), "metrics for Prometheus", None, "openmetrics"),
        route(get(), "/v1/openapi.json", Anyone(handlers::openapi), "this document", None, "object"),
        route(get(), "/v1/whoami", Person(handlers::whoami), "your identity as jitd sees it", None, "WhoamiView"),
        Route {
            cost: Cost::Request,
            ..route(
                post(),
                "/v1/links",
                Person(handlers::offer_link),
                "offer your login at an identity provider to be linked to your account of the host",
                None,
                "LinkView",
            )
        },
        Route {
            query: &["code"],
            cost: Cost::Request,
            ..route(
                get(),
                "/v1/links",
                Person(handlers::offered_link),
                "whose login waits with this code, for you who came by an account",
                None,
                "LinkView",
            )
        },
        Route {
            cost: Cost::Request,
            ..route(
                post(),
                "/v1/links/accept",
                Person(handlers::accept_link),
                "let that login be you from now on",
                Some("LinkBody"),
                "LinkView",
            )
        },
        route(get(), "/v1/clusters", Person(handlers::clusters), "the configured clusters", None, "ClusterList"),
        route(
            get(),
            "/v1/entitlements",
            Person(handlers::entitlements),
            "what you may request",
            None,
            "EntitlementList",
        ),
        Route {
            query: &["dryRun"],
            cost: Cost::Request,
            ..route(
                post(),
                "/v1/explain",
                Person(handlers::explain),
                "evaluate a request against the policy, without making it",
                Some("AskBody"),
                "DecisionView",
            )
        },
        Route {
            query: &[
                "all",
                "limit",
                "from",
                "person",
                "cluster",
                "namespace",
                "role",
                "since",
                "until",
                "at",
                "breakGlass",
            ],
            out_of_trail: true,
            ..route(get(), "/v1/grants", Person(handlers::list), "the grants you may see", None, "GrantList")
        },
        Route {
            query: &["since", "timeout"],
            ..route(
                get(),
                "/v1/changes",
                Person(handlers::changes),
                "wait until a grant that you may see, or the drain, changes after the change with this number",
                None,
                "ChangesView",
            )
        },
        Route {
            answer: (StatusCode::CREATED, "GrantView"),
            cost: Cost::Request,
            ..route(post(), "/v1/grants", Person(handlers::request), "request access", Some("RequestBody"), "GrantView")
        },
        Route {
            out_of_trail: true,
            ..route(
                get(),
                "/v1/grants/{id}",
                Viewer(handlers::show),
                "one grant, with the rules and risks of its role",
                None,
                "GrantView",
            )
        },
        Route {
            query: &["phase", "answers", "timeout"],
            ..route(
                get(),
                "/v1/grants/{id}/wait",
                Viewer(handlers::wait),
                "wait until the grant differs from the given state",
                None,
                "GrantView",
            )
        },
        Route {
            query: &["before", "limit"],
            out_of_trail: true,
            ..route(
                get(),
                "/v1/grants/{id}/events",
                Viewer(handlers::events),
                "the events of the grant",
                None,
                "EventList",
            )
        },
        Route {
            query: &["before", "limit", "person", "cluster", "namespace", "role", "since", "until"],
            out_of_trail: true,
            ..route(
                get(),
                "/v1/events",
                Auditor(handlers::all_events),
                "the audit trail, newest page first, including events that belong to no grant, such as refused requests",
                None,
                "EventPage",
            )
        },
        Route {
            query: &["after"],
            out_of_trail: true,
            ..route(
                get(),
                "/v1/trail",
                Auditor(handlers::trail),
                "the lines of the audit trail as they are stored, oldest page first, for verification elsewhere",
                None,
                "LinePage",
            )
        },
        Route {
            query: &["limit", "from", "session", "person", "cluster", "namespace", "role", "since", "until"],
            cost: Cost::Request,
            out_of_trail: true,
            ..route(
                get(),
                "/v1/sessions",
                Person(kept::list),
                "what was done through the gateway: the sessions of the grants that you may see, or the recorded one whose id begins so; recorded in the trail",
                None,
                "LogList",
            )
        },
        Route {
            query: &["reads", "session"],
            cost: Cost::Request,
            out_of_trail: true,
            ..route(
                get(),
                "/v1/grants/{id}/sessions",
                Viewer(kept::log),
                "every request of the grant through the gateway, also those that only read with `reads=true`; recorded in the trail",
                None,
                "LogList",
            )
        },
        Route {
            query: &["session"],
            cost: Cost::Request,
            out_of_trail: true,
            in_pieces: true,
            ..route(
                get(),
                "/v1/grants/{id}/recording",
                Viewer(kept::recording),
                "what a session printed, as far as it verifies, for the readers of the grant's recordings; recorded in the trail",
                None,
                "asciicast",
            )
        },
        route(
            post(),
            "/v1/sessions/read",
            Operator(kept::read_by_operator),
            "record that you read sessions on the bastion yourself",
            Some("ReadingBody"),
            "object",
        ),
        route(
            post(),
            "/v1/grants/{id}/approve",
            Viewer(handlers::approve),
            "approve the request with this digest",
            Some("ApproveBody"),
            "GrantView",
        ),
        Route {
            cost: Cost::End,
            ..route(
                post(),
                "/v1/grants/{id}/deny",
                Viewer(handlers::deny),
                "deny the request",
                Some("ReasonBody"),
                "GrantView",
            )
        },
        Route {
            cost: Cost::End,
            ..route(
                post(),
                "/v1/grants/{id}/withdraw",
                Viewer(handlers::withdraw),
                "withdraw your request",
                None,
                "GrantView",
            )
        },
        Route {
            cost: Cost::Certificate,
            ..route(
                post(),
                "/v1/grants/{id}/certificate",
                Viewer(handlers::certificate),
                "collect your access, or renew its certificate",
                Some("CertificateBody"),
                "CertificateView",
            )
        },
        route(
            post(),
            "/v1/grants/{id}/extend",
            Viewer(handlers::extend),
            "request an extension; approve and deny answer it",
            Some("ExtendBody"),
            "GrantView",
        ),
        route(
            post(),
            "/v1/grants/{id}/break-glass",
            Viewer(handlers::break_glass),
            "use break-glass, where the rule allows it; the access has to be reviewed",
            Some("ReasonBody"),
            "GrantView",
        ),
        route(
            post(),
            "/v1/grants/{id}/review",
            Viewer(handlers::review),
            "review break-glass access, also after it ended",
            Some("ReviewBody"),
            "GrantView",
        ),
        Route {
            cost: Cost::End,
            ..route(post(), "/v1/grants/{id}/end", Viewer(handlers::end), "release your access", None, "GrantView")
        },
        Route {
            cost: Cost::End,
            ..route(
                post(),
                "/v1/grants/{id}/revoke",
                Viewer(handlers::revoke),
                "revoke the access",
                Some("ReasonBody"),
                "GrantView",
            )
        },
        route(
            get(),
            "/v1/operations",
            Operator(handlers::operations),
            "the drain in force, if any, and the number of grants by phase",
            None,
            "OperationsView",
        ),
        route(
            post(),
            "/v1/drain",
            Operator(handlers::drain),
            "drain: no new access until resumed; live grants continue",
            Some("DrainBody"),
            "OperationsView",
        ),
        route(post(), "/v1/resume", Operator(handlers::resume), "end the drain", None, "OperationsView"),
        route(
            post(),
            "/v1/scans",
            Operator(handlers::record_scan),
            "record a scan of the standing access of a cluster, finished or failed",
            Some("ScanBody"),
            "OperationsView",
        ),
        Route {
            query: &["dryRun"],
            ..route(
                post(),
                "/v1/revoke",
                Operator(handlers::revoke_many),
                "revoke all matching grants, in any phase; answers within a minute and continues in the background",
                Some("RevokeBody"),
                "RevocationView",
            )
        },
    ]
}

/// The routes as axum serves them.
fn router(api: Arc<Api>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let filter = if route.method == Method::POST { MethodFilter::POST } else { MethodFilter::GET };
        let route = Arc::new(route);
        router = router.route(
            route.path,
            on(
                filter,
                move |State(api): State<Arc<Api>>,
                      Extension(peer): Extension<Peer>,
                      parameters: Result<RawPathParams, RawPathParamsRejection>,
                      RawQuery(query): RawQuery,
                      headers: HeaderMap,
                      body: Body| {
                    // An id that is not UTF-8 gets the same answer as an unknown id.
                    let id =
                        parameters.ok().and_then(|all| Some(all.iter().find(|(name, _)| *name == "id")?.1.to_owned()));
                    let route = Arc::clone(&route);
                    async move {
                        let arrival = Arrival { peer, id, query: query.unwrap_or_default(), headers, body };
                        let response = match dispatch(&route, Arc::clone(&api), arrival).await {
                            Ok(response) => response,
                            Err(problem) => problem.into_response(),
                        };
                        api.metrics.answered(route.path, response.status());
                        response
                    }
                },
            ),
        );
    }
    router
        .fallback(|| async {
            ApiError::new(ErrorCode::NoSuchRoute, "there is no such route").hint("see /v1/openapi.json")
        })
        .method_not_allowed_fallback(|| async {
            ApiError::new(ErrorCode::NoSuchMethod, "this route has no such method").hint("see /v1/openapi.json")
        })
        .with_state(api)
}

/// `application/json`, with or without parameters (RFC 9110 section 8.3.1).
fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

struct Arrival {
    peer: Peer,
    id: Option<String>,
    query: String,
    headers: HeaderMap,
    body: Body,
}

async fn dispatch(route: &Route, api: Arc<Api>, arrival: Arrival) -> Answer {
    let (peer, query) = (arrival.peer, arrival.query);
    let (peer, whose) = (&peer, &peer.account());
    if !matches!(route.may, May::Operator(_))
        && let Err(exceeded) = api.allowances.spend(whose, route.cost).await
    {
        return Err(api.beyond(peer, exceeded).await);
    }
    // The turn for finding a grant in the trail is returned before the handler runs: an answer that nobody reads must
    // not keep its account from ending access.
    let turn = match route.out_of_trail.then(|| api.allowances.answer(whose)) {
        Some(turn) => match turn.await {
            Ok(turn) => Some(turn),
            Err(exceeded) => return Err(api.beyond(peer, exceeded).await),
        },
        None => None,
    };
    let work = match route.may {
        May::Anyone(handler) => return handler(api).await,
        May::Person(handler) => {
            let caller = Caller::identify(peer, &api.broker.people()).await?;
            let body = read(route, arrival.headers, arrival.body).await?;
            handler(Call { api, caller, query, body })
        }
        May::Viewer(handler) => {
            let caller = Caller::identify(peer, &api.broker.people()).await?;
            let question = match api.allowances.question(whose).await {
                Ok(question) => question,
                Err(exceeded) => return Err(api.beyond(peer, exceeded).await),
            };
            let grant = api.broker.ledger().find(arrival.id.as_deref().unwrap_or_default(), caller.person()).await?;
            drop(question);
            let body = read(route, arrival.headers, arrival.body).await?;
            handler(Call { api, caller, query, body }, grant)
        }
        May::Auditor(handler) => {
            let caller = Caller::identify(peer, &api.broker.people()).await?;
            let caller = Auditor::of(&caller, &api.broker)?;
            let body = read(route, arrival.headers, arrival.body).await?;
            handler(Call { api, caller, query, body })
        }
        May::Operator(handler) => {
            let caller = peer.operator(&api.broker.people(), &api.broker).await?;
            let body = read(route, arrival.headers, arrival.body).await?;
            handler(Call { api, caller, query, body })
        }
    };
    if let Some(turn) = turn {
        let answer = work.await?;
        return Ok(if route.in_pieces { kept_with(answer, turn) } else { held(answer, turn).await });
    }
    if route.method == Method::GET {
        return work.await;
    }
    // A change that has begun runs to completion, even if the client disconnects.
    tokio::spawn(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, route = route.path, "a handler failed");
        Err(ApiError::internal())
    })
}

/// Reads the body that the route requires.
async fn read(route: &Route, headers: HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let body = tokio::time::timeout(BODY_WITHIN, to_bytes(body, LONGEST_BODY))
        .await
        .map_err(|_| ApiError::late_body(BODY_WITHIN))?
        .map_err(|_| ApiError::new(ErrorCode::TooLarge, format!("the body exceeds {LONGEST_BODY} bytes")))?;
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(is_json);
    match (route.body.is_some(), body.is_empty()) {
        (true, _) if !is_json => Err(ApiError::new(ErrorCode::NotJson, "the body must be application/json")),
        (false, false) => Err(ApiError::malformed("this route takes no body")),
        _ => Ok(body),
    }
}

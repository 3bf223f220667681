//! Behaviour that a real API server does not show on demand: it hangs, loses an answer, is busy, or is not Kubernetes.
//! A small HTTP server simulates it; everything else is tested against a real API server, in `tests/it`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::net::TcpListener;
use tower::BoxError;
use tower::util::BoxCloneSyncService;

use super::binding::LOOK_AGAIN;
use super::transport::{LARGEST_ANSWER, whole};
use super::*;
use crate::grant::{ACT_AS, ActingGateway, Binding, Found, FoundRole, GrantId, IMPERSONATE, Impersonation, Subject};
use crate::hint::Hint;

enum Play {
    Answer(u16, String),
    Hang,
    HangUp,
}

/// The requests that arrived, and the number of connections.
#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    agents: Mutex<BTreeSet<String>>,
}

impl Seen {
    fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

/// A server that answers each request as `script` says, which receives the request's number and `METHOD path?query`.
async fn fake(script: impl Fn(usize, &str) -> Play + Send + Sync + 'static) -> (Cluster, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Seen::default());
    let (script, witness) = (Arc::new(script), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            witness.connections.fetch_add(1, Ordering::SeqCst);
            let (script, witness) = (Arc::clone(&script), Arc::clone(&witness));
            let service = service_fn(move |request: Request<Incoming>| {
                let line = format!("{} {}", request.method(), request.uri());
                witness.agents.lock().insert(request.headers()["user-agent"].to_str().unwrap().to_owned());
                let number = {
                    let mut requests = witness.requests.lock();
                    requests.push(line.clone());
                    requests.len()
                };
                let script = Arc::clone(&script);
                async move {
                    match script(number, &line) {
                        Play::Answer(code, body) => {
                            let answer = Response::builder().status(code).header("retry-after", "3");
                            Ok(answer.body(Full::new(Bytes::from(body))).unwrap())
                        }
                        Play::Hang => std::future::pending().await,
                        Play::HangUp => Err("hangs up"),
                    }
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (connect(&server), seen)
}

fn connect(server: &str) -> Cluster {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (certificate, key) = certificate();
    let endpoint =
        Endpoint::trusting("fake".parse().unwrap(), server, server.parse().unwrap(), &certificate.pem()).unwrap();
    let credential = Credential::Certificate { chain_pem: certificate.pem(), key_pem: key.serialize_pem().into() };
    let limits = Limits { turn: Duration::from_millis(900), answer: Duration::from_millis(300), at_once: AT_ONCE };
    Cluster::limited(endpoint, "bastion-1", &credential, limits).unwrap()
}

fn certificate() -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["fake".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate, key)
}

/// The limit for simultaneous calls in these tests.
const AT_ONCE: usize = 4;

fn binding() -> Binding {
    let (grant, alice) = (GrantId::from_random([0; 10]), "alice".parse().unwrap());
    Binding::new(grant, alice, Some("payments".parse().unwrap()), "view".parse().unwrap())
}

fn status(code: u16, reason: &str) -> Play {
    Play::Answer(
        code,
        serde_json::json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("said {reason}"), "reason": reason, "code": code })
        .to_string(),
    )
}

fn stored(subject: &str) -> Play {
    Play::Answer(
        200,
        serde_json::json!({
            "kind": "RoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1",
            "metadata": { "name": "jit-0000000000000000", "namespace": "payments", "uid": "u-1", "managedFields": [{"a": 1}] },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": subject }],
        })
        .to_string(),
    )
}

/// A busy API server is asked once: the broker decides when to ask again.
#[tokio::test]
async fn a_busy_server_is_reported_with_its_retry_delay_and_not_asked_again() {
    for code in [429, 500, 503, 504] {
        let (cluster, seen) = fake(move |_, _| status(code, "TooMany")).await;
        let error = cluster.unbind(&binding(), Some("u-1")).await.unwrap_err();
        assert!(matches!(&error, ClusterError::Busy { code: told, .. } if *told == code), "{error}");
        assert!(error.is_transient());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(seen.requests().len(), 1, "{code}");
    }
}

/// A hint is true wherever it is read: this module does not know what has to be applied, or who retries.
#[tokio::test]
async fn each_failure_has_its_own_hint() {
    let anonymous = r#"pods is forbidden: User \"system:anonymous\" cannot list resource"#;
    let of_anonymous = format!(r#"{{"kind":"Status","message":"{anonymous}","reason":"Forbidden","code":403}}"#);
    type Case = (fn(&str) -> Play, Option<&'static str>);
    let cases: [Case; 9] = [
        (|_| status(401, "Unauthorized"), Some("--client-ca-file must contain jitd's root")),
        (
            |anonymous| Play::Answer(403, anonymous.to_owned()),
            Some("terminates TLS, so our certificate does not reach it"),
        ),
        (|_| status(403, "Forbidden"), Some("`jitd check --cluster` shows")),
        (|_| status(404, "NotFound"), None),
        (|_| status(409, "AlreadyExists"), Some("inspect it with kubectl")),
        (|_| status(422, "Invalid"), Some("if an admission policy rejects it")),
        (|_| status(429, "TooManyRequests"), Some("check the API server's load")),
        (|_| Play::Answer(403, "<html>".to_owned()), Some("check that `server` is a Kubernetes API server")),
        (|_| Play::Hang, Some("check the API server's load and the network")),
    ];
    for (play, expected) in cases {
        let of_anonymous = of_anonymous.clone();
        let (cluster, _) = fake(move |_, _| play(&of_anonymous)).await;
        let error = cluster.about().await.unwrap_err();
        let hint = error.hint();
        assert_eq!(hint.is_some(), expected.is_some(), "{error}");
        assert!(hint.is_none_or(|hint| hint.contains(expected.unwrap())), "{error}: {expected:?}");
    }
}

#[tokio::test]
async fn a_hanging_server_costs_one_time_limit() {
    let (cluster, _) = fake(|_, _| Play::Hang).await;
    let begun = tokio::time::Instant::now();
    let error = cluster.about().await.unwrap_err();
    assert!(matches!(error, ClusterError::TimedOut { .. }), "{error}");
    assert!(error.is_transient());
    assert!(begun.elapsed() < Duration::from_millis(900));
}

/// Even if hanging requests take every place, a caller is answered in bounded time.
#[tokio::test]
async fn a_full_queue_before_a_hanging_server_ends_in_time() {
    let (cluster, _) = fake(|_, _| Play::Hang).await;
    let begun = tokio::time::Instant::now();
    let calls = (0..40).map(|_| async { cluster.about().await.unwrap_err() });
    for error in futures::future::join_all(calls).await {
        assert!(matches!(error, ClusterError::TimedOut { .. }), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = connect(&format!("http://{free}")).about().await.unwrap_err();
    assert!(matches!(error, ClusterError::Unreachable { cause: Cause::Refused(_), .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

/// For tests of the callers: no socket, no TLS, and each answer arrives when the test wants it.
#[tokio::test]
async fn an_api_server_can_be_a_function() {
    let exchange = |answer: fn() -> Result<Response<Bytes>, BoxError>| {
        BoxCloneSyncService::new(tower::service_fn(move |request: Request<Body>| async move {
            assert_eq!((request.method().as_str(), request.uri().path()), ("GET", "/version"));
            answer()
        }))
    };
    let endpoint = Endpoint::new("fake".parse().unwrap(), "https://10.0.0.1:6443", &certificate().0.pem()).unwrap();
    let over = |answer| Cluster::over(endpoint.clone(), "bastion-1", exchange(answer)).unwrap();

    let cluster = over(|| Ok(Response::new(Bytes::from_static(br#"{"gitVersion":"v1.36.3"}"#))));
    cluster.use_credential(&Credential::Nobody).unwrap();
    assert_eq!(cluster.about().await.unwrap().version, "v1.36.3");

    let error = over(|| Err("no route".into())).about().await.unwrap_err();
    assert!(
        matches!(&error, ClusterError::Unreachable { cause: Cause::Other(why), .. } if why == "no route"),
        "{error}"
    );
}

/// An API server that is too old, or whose feature gate is off, would let the gateway act as a holder everywhere, so nobody
/// gets access through it, unless the configuration says so.
#[tokio::test]
async fn the_gateway_needs_an_api_server_that_limits_it_as_configured() {
    let endpoint = Endpoint::new("fake".parse().unwrap(), "https://10.0.0.1:6443", &certificate().0.pem()).unwrap();
    let cluster = |endpoint: &Endpoint, version: &'static str, missing: &'static str| {
        let answer = move |request: Request<Body>| async move {
            let is_tried = request.headers().contains_key("impersonate-user");
            let Play::Answer(code, body) = (if is_tried {
                status(403, &format!(r#"cannot {missing} resource "users" in API group"#))
            } else {
                Play::Answer(200, format!(r#"{{"gitVersion":"{version}"}}"#))
            }) else {
                panic!("it answers");
            };
            Ok::<_, BoxError>(Response::builder().status(code).body(Bytes::from(body)).unwrap())
        };
        Cluster::over(endpoint.clone(), "bastion-1", BoxCloneSyncService::new(tower::service_fn(answer))).unwrap()
    };
    let through =
        |impersonation| endpoint.clone().through(Some(ActingGateway { user: "gw".parse().unwrap(), impersonation }));
    let (limited, unlimited) = (through(Impersonation::Constrained), through(Impersonation::Unconstrained));
    for version in ["v1.36.0", "v1.37.1-gke.100"] {
        assert!(cluster(&limited, version, ACT_AS).limits_gateway().await.is_ok(), "{version}");
    }
    for (version, missing) in
        [("v1.35.9", ACT_AS), ("v1.30.0-eks-1", IMPERSONATE), ("soon", ACT_AS), ("v1.36.3", IMPERSONATE)]
    {
        let error = cluster(&limited, version, missing).limits_gateway().await.unwrap_err();
        let said = format!("cluster `fake` runs Kubernetes {version} and does not limit where the gateway may act");
        assert!(error.to_string().starts_with(&said), "{error}");
        assert!(error.hint().unwrap().contains("`impersonation: unconstrained`") && !error.may_pass());
        for other in [&endpoint, &unlimited] {
            assert!(cluster(other, version, missing).limits_gateway().await.is_ok(), "{version}");
        }
    }
    // Who answers in the API server's place hides it.
    assert!(cluster(&limited, "v1.36.3", "do anything to").limits_gateway().await.is_ok());
}

/// The exact objects that admission policies and people see in a cluster.
#[tokio::test]
async fn bind_creates_the_role_of_its_own_and_then_the_binding() {
    let created = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&created);
    let exchange = BoxCloneSyncService::new(tower::service_fn(move |request: Request<Body>| {
        let seen = Arc::clone(&seen);
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await?.to_bytes();
            seen.lock().push((path, serde_json::from_slice::<serde_json::Value>(&body)?));
            let answer = serde_json::json!({ "kind": "RoleBinding", "metadata": { "name": "n", "uid": "u" },
                "roleRef": { "kind": "ClusterRole", "name": "view" } });
            Ok::<_, BoxError>(Response::new(Bytes::from(answer.to_string())))
        }
    }));
    let endpoint = Endpoint::new("fake".parse().unwrap(), "https://10.0.0.1:6443", &certificate().0.pem()).unwrap();
    let cluster = Cluster::over(endpoint, "bastion-1", exchange).unwrap();

    let rules = r#"[{"apiGroups": [""], "resources": ["pods"], "resourceNames": ["web"], "verbs": ["get"]}]"#;
    let rules = Some(serde_json::from_str(rules).unwrap());
    let owned = Binding { rules, role: "role/jit-0000000000000000".parse().unwrap(), ..binding() };
    cluster.bind(&owned).await.unwrap();
    cluster.bind(&Binding { namespace: None, broken_glass: true, ..binding() }).await.unwrap();

    let api = "rbac.authorization.k8s.io";
    let metadata = serde_json::json!({
        "name": "jit-0000000000000000", "namespace": "payments",
        "labels": { "app.kubernetes.io/managed-by": "jitd", "jitd.dev/host": "bastion-1" },
        "annotations": { "jitd.dev/grant": "0000000000000000", "jitd.dev/user": "jit:alice" },
    });
    let mut of_broken_glass = metadata.clone();
    of_broken_glass.as_object_mut().unwrap().remove("namespace");
    of_broken_glass["annotations"]["jitd.dev/break-glass"] = "true".into();
    let subjects = serde_json::json!([{ "apiGroup": api, "kind": "Group", "name": "jit:0000000000000000" }]);
    let expected = [
        (
            "namespaces/payments/roles",
            serde_json::json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
                "rules": [{ "apiGroups": [""], "resources": ["pods"], "resourceNames": ["web"], "verbs": ["get"] }],
            }),
        ),
        (
            "namespaces/payments/rolebindings",
            serde_json::json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
                "roleRef": { "apiGroup": api, "kind": "Role", "name": "jit-0000000000000000" }, "subjects": subjects,
            }),
        ),
        (
            "clusterrolebindings",
            serde_json::json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": of_broken_glass,
                "roleRef": { "apiGroup": api, "kind": "ClusterRole", "name": "view" }, "subjects": subjects,
            }),
        ),
    ];
    let expected = expected.map(|(path, body)| (format!("/apis/{api}/v1/{path}"), body));
    assert_eq!(*created.lock(), expected);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off_at_the_limit() {
    let answer = |length| Response::new(Full::new(Bytes::from(vec![b' '; length])));
    assert_eq!(whole(answer(LARGEST_ANSWER)).await.unwrap().body().len(), LARGEST_ANSWER);
    let error = whole(answer(LARGEST_ANSWER + 1)).await.unwrap_err();
    assert_eq!(error.to_string(), "length limit exceeded");
}

#[tokio::test]
async fn each_refusal_has_its_own_error() {
    type Is = fn(&ClusterError) -> bool;
    let cases: [(u16, &str, Is); 6] = [
        (401, "Unauthorized", |error| matches!(error, ClusterError::Unauthorized { .. })),
        (403, "Forbidden", |error| matches!(error, ClusterError::Forbidden { .. })),
        (404, "NotFound", |error| matches!(error, ClusterError::NotFound { .. })),
        (409, "AlreadyExists", |error| matches!(error, ClusterError::Conflict { .. })),
        (422, "Invalid", |error| matches!(error, ClusterError::Rejected { .. })),
        (400, "BadRequest", |error| matches!(error, ClusterError::Rejected { .. })),
    ];
    for (code, reason, is) in cases {
        let (cluster, _) = fake(move |_, _| status(code, reason)).await;
        let error = cluster.about().await.unwrap_err();
        assert!(is(&error), "{code}: {error:?}");
        assert!(!error.is_transient(), "{code}");
    }
}

/// "Not found" proves that a binding is gone, so it counts only as a Kubernetes status.
#[tokio::test]
async fn a_proxy_cannot_say_that_a_binding_is_gone() {
    for (code, body) in [
        (404, "404 page not found"),
        (404, "<html>no</html>"),
        (403, "{}"),
        (200, "<html>ok</html>"),
        (200, "{}"),
        (302, ""),
    ] {
        let (cluster, _) = fake(move |_, _| Play::Answer(code, body.to_owned())).await;
        for uid in [Some("u-1"), None] {
            let error = cluster.unbind(&binding(), uid).await.unwrap_err();
            assert!(matches!(error, ClusterError::Unreadable { .. }), "{code} {body}: {error:?}");
        }
    }
}

/// The binding was created but the answer was lost: it is found by name.
#[tokio::test]
async fn a_binding_whose_answer_was_lost_is_found() {
    for lost in [|| Play::Hang, || Play::HangUp, || status(504, "Timeout"), || status(409, "AlreadyExists")] {
        let (cluster, seen) =
            fake(move |_, line| if line.starts_with("POST") { lost() } else { stored("jit:0000000000000000") }).await;
        assert_eq!(cluster.bind(&binding()).await.unwrap(), "u-1");
        assert_eq!(seen.requests().len(), 2, "{:?}", seen.requests());
    }
}

#[tokio::test]
async fn if_no_binding_is_found_after_a_lost_answer_the_original_error_is_returned() {
    let (cluster, _) =
        fake(|_, line| if line.starts_with("POST") { Play::Hang } else { status(404, "NotFound") }).await;
    let error = cluster.bind(&binding()).await.unwrap_err();
    assert!(matches!(error, ClusterError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn the_search_after_a_lost_answer_is_bounded() {
    let (cluster, seen) = fake(|_, _| Play::HangUp).await;
    let error = cluster.bind(&binding()).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unreachable { .. }), "{error}");
    assert_eq!(seen.requests().len(), 1 + LOOK_AGAIN.len(), "{:?}", seen.requests());
}

#[tokio::test]
async fn somebody_elses_binding_of_our_name_is_a_conflict() {
    let (cluster, _) =
        fake(|_, line| if line.starts_with("POST") { status(409, "AlreadyExists") } else { stored("jit:other") }).await;
    let error = cluster.bind(&binding()).await.unwrap_err();
    assert!(matches!(error, ClusterError::Conflict { .. }), "{error}");
}

/// 1,000 grants may end in one second; each new connection would cost a TLS handshake.
#[tokio::test]
async fn many_calls_share_few_connections() {
    let (cluster, seen) = fake(|_, _| Play::Answer(200, r#"{"kind":"Status"}"#.to_owned())).await;
    let binding = binding();
    let calls = (0..200).map(|_| cluster.unbind(&binding, Some("u-1")));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap(), Unbound::Deleted);
    }
    assert_eq!(seen.requests().len(), 200);
    assert!(seen.connections.load(Ordering::SeqCst) <= 4, "{:?}", seen.connections);
    assert_eq!(*seen.agents.lock(), BTreeSet::from([format!("jitd/{}", env!("CARGO_PKG_VERSION"))]));
}

/// Each request and each collection needs the version.
#[tokio::test]
async fn the_version_is_cached() {
    let (cluster, seen) = fake(|number, _| match number {
        3.. => Play::Answer(503, r#"{"kind":"Status"}"#.to_owned()),
        _ => Play::Answer(200, format!(r#"{{"gitVersion":"v1.{}.0"}}"#, 33 + number)),
    })
    .await;
    assert_eq!(cluster.last_version(), None);
    assert_eq!(cluster.version().await.unwrap(), "v1.34.0");
    assert_eq!(cluster.version().await.unwrap(), "v1.34.0");
    assert_eq!(seen.requests().len(), 1);
    let long_ago = Instant::now() - VERSION_KEPT;
    *cluster.0.version.lock() = Some((long_ago, "v1.34.0".to_owned()));
    assert_eq!(cluster.version().await.unwrap(), "v1.35.0");
    *cluster.0.version.lock() = Some((long_ago, "v1.35.0".to_owned()));
    assert!(cluster.version().await.unwrap_err().is_transient());
    assert_eq!(cluster.last_version().unwrap(), "v1.35.0", "the last one stays known");
}

/// A deletion by uid reads nothing first.
#[tokio::test]
async fn a_deletion_by_uid_is_one_request() {
    let (cluster, seen) = fake(|_, _| Play::Answer(200, r#"{"kind":"Status"}"#.to_owned())).await;
    assert_eq!(cluster.unbind(&binding(), Some("u-1")).await.unwrap(), Unbound::Deleted);
    let path = "DELETE /apis/rbac.authorization.k8s.io/v1/namespaces/payments/rolebindings/jit-0000000000000000?";
    assert_eq!(seen.requests(), [path]);
}

/// The proof of one end waits until the deletions of others are sent and answered, but a deletion that hangs does not
/// block it.
#[tokio::test]
async fn proofs_wait_for_queued_deletions() {
    let (cluster, seen) = fake(|_, _| Play::Hang).await;
    let long = Duration::from_secs(60);
    let delete = || {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.unbind(&binding(), Some("u")).await })
    };
    let mut deletions: Vec<_> = (0..AT_ONCE).map(|_| delete()).collect();
    while seen.requests().len() < AT_ONCE {
        tokio::task::yield_now().await;
    }
    let mut waits = std::pin::pin!(cluster.deletions_first(long));
    assert!(futures::poll!(waits.as_mut()).is_pending(), "the deletions may be answered soon");
    waits.await;
    assert_eq!(cluster.0.unanswered.number.load(Ordering::SeqCst), AT_ONCE, "the deletions were not answered");
    deletions.push(delete());
    let mut waits = std::pin::pin!(cluster.deletions_first(long));
    while cluster.0.waiting.number.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(futures::poll!(waits.as_mut()).is_pending());
    cluster.deletions_first(Duration::from_millis(1)).await;
    // The first deletion times out, and the last one takes its place.
    waits.await;
    for deletion in deletions {
        assert!(matches!(deletion.await.unwrap(), Err(ClusterError::TimedOut { .. })));
    }
    assert_eq!(cluster.0.unanswered.number.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_list_that_expired_continues_with_the_current_state() {
    let page = |next: &str| {
        let item = serde_json::json!({ "metadata": { "name": "jit-x", "uid": "u" }, "roleRef": { "kind": "Role", "name": "r" },
            "subjects": [{ "kind": "Group", "name": "jit:x" }] });
        Play::Answer(
            200,
            serde_json::json!({ "kind": "List", "metadata": { "continue": next }, "items": [item] }).to_string(),
        )
    };
    let (cluster, seen) = fake(move |_, line| match line {
        line if line.contains("continue=old") => Play::Answer(
            410,
            r#"{"kind":"Status","metadata":{"continue":"new"},"reason":"Expired","code":410}"#.to_owned(),
        ),
        line if line.contains("/rolebindings") && !line.contains("continue=") => page("old"),
        _ => page(""),
    })
    .await;
    assert_eq!(cluster.list_related(|_| true).await.unwrap().len(), 3);
    assert_eq!(seen.requests().len(), 4, "{:?}", seen.requests());
}

#[test]
fn an_endpoint_needs_https_and_an_authority() {
    let name: ClusterName = "prod".parse().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem();
    assert!(Endpoint::new(name.clone(), "https://10.0.0.1:6443", &ca).is_ok());
    assert!(Endpoint::new(name.clone(), "https://proxy.example/k8s/c-1", &ca).is_ok());
    for (server, ca) in [
        ("http://10.0.0.1:6443", ca.as_str()),
        ("10.0.0.1:6443", &ca),
        ("https://", &ca),
        ("https://10.0.0.1?x=y", &ca),
        ("https://10.0.0.1:6443", ""),
        ("https://10.0.0.1:6443", &key.serialize_pem()),
    ] {
        assert!(Endpoint::new(name.clone(), server, ca).is_err(), "{server}");
    }
}

#[test]
fn a_host_must_be_a_label_value() {
    for text in ["bastion-1", "a", "B.x_y"] {
        assert!(is_label_value(text), "{text}");
    }
    for text in ["", "-a", "a.", "a b", "ä", "a,b=c", "a/b"] {
        assert!(!is_label_value(text), "{text}");
    }
    assert!(!is_label_value(&"a".repeat(64)));
}

#[test]
fn text_from_the_cluster_is_shown_escaped_and_cut() {
    let subject = Subject { kind: "Group".to_owned(), name: "\u{1b}[2J".to_owned(), namespace: None };
    let found = Found {
        of_host: None,
        name: "n".to_owned(),
        namespace: None,
        uid: "u".to_owned(),
        is_held: false,
        subjects: vec![subject; 7],
        role: FoundRole { kind: "Role".to_owned(), name: "x".repeat(300) },
    };
    let text = found.to_string();
    assert!(!text.contains('\u{1b}') && text.ends_with("and more") && text.len() < 500, "{text}");
}

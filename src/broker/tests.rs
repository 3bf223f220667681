//! A drain against what is being given at that moment, on a trail that can be held up between two facts and an API server
//! that says yes to everything: neither does that when it is asked to. All else is shown on the real ones, in `tests/it`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::poll;
use http::{Request, Response};
use hyper::body::Bytes;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::BoxError;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::*;
use crate::ca::{KeyPlace, store};
use crate::cluster::Endpoint;
use crate::grant::request::{Access, AccessRequest, Namespace};
use crate::grant::{LogHead, Operator};
use crate::people::Declared;
use crate::trail::Trail;
use crate::trail::tests::{Folder, at, id};

const POLICY: &str = r"
rules:
- {name: open, who: [oncall], clusters: [play], namespaces: [payments], roles: [view], maxDuration: 5m, maxTotal: 1h, preApproved: true}
- name: glass
  who: [oncall]
  clusters: [play]
  namespaces: [billing]
  roles: [view]
  maxDuration: 5m
  approval: [{groups: [leads]}]
  breakGlass: {after: 0s, maxDuration: 5m, review: {groups: [leads], within: 1h}}
";

/// Has every object that is asked for, makes every binding, and lets everybody do everything.
async fn yes(request: Request<Body>) -> Result<Response<Bytes>, BoxError> {
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    let path = head.uri.path();
    let answer = match path.rsplit('/').next() {
        Some("version") => json!({ "gitVersion": "v1.33.0" }),
        Some("view") => json!({ "metadata": { "name": "view", "uid": "u" },
            "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }] }),
        Some(name @ ("payments" | "billing")) => json!({ "metadata": { "name": name, "uid": "u", "labels": {} } }),
        _ => {
            let mut made: Value = serde_json::from_slice(&body)?;
            made["metadata"]["uid"] = json!("u");
            made["status"] = json!({ "allowed": true });
            made
        }
    };
    let code = if head.method == "POST" { 201 } else { 200 };
    Ok(Response::builder().status(code).body(Bytes::from(answer.to_string()))?)
}

/// Holds up the next fact on its way to the disk, once it is told to.
#[derive(Default)]
struct Gate {
    closed: AtomicBool,
    reached: Notify,
    opened: Notify,
}

struct Scene {
    broker: Broker,
    gate: Arc<Gate>,
    alice: Person,
    csr: String,
    folder: Folder,
}

impl Scene {
    fn new() -> Self {
        let folder = Folder::new();
        let gate = Arc::new(Gate::default());
        let before = Arc::clone(&gate);
        let before = move || {
            let gate = Arc::clone(&before);
            async move {
                if gate.closed.swap(false, Ordering::SeqCst) {
                    gate.reached.notify_one();
                    gate.opened.notified().await;
                }
                Ok(())
            }
        };
        let opened = Trail::simulated(&folder.trail(), before, || std::future::ready(Ok(()))).unwrap();
        let ca = folder.trail().with_file_name("ca");
        let play: ClusterName = "play".parse().unwrap();
        store::init(&ca, &KeyPlace::File, &play, 365, 10, at(0)).unwrap();
        let root = std::fs::read_to_string(ca.join("root.crt")).unwrap();
        let endpoint = Endpoint::new(play.clone(), "https://127.0.0.1:6443", &root).unwrap();
        let cluster = Cluster::over(endpoint, "host", BoxCloneSyncService::new(service_fn(yes))).unwrap();
        let site = Site::new(cluster, Authority::open(&ca, &KeyPlace::File).unwrap());
        let groups = BTreeSet::from(["oncall".to_owned()]);
        let alice = Person { name: "alice".parse().unwrap(), groups: groups.clone(), login: None };
        let declared =
            Declared { name: alice.name.clone(), uids: vec![4000], identities: Vec::new(), groups, host_groups: false };
        static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);
        let broker = Broker::new(Parts {
            opened,
            sites: [(play, site)].into(),
            policy: Policy::read(POLICY, None).unwrap(),
            people: People::new(vec![declared], true),
            times: Times {
                answer: "5m".parse().unwrap(),
                collect: "5m".parse().unwrap(),
                certificate: "5m".parse().unwrap(),
            },
            overseers: Overseers { readers: Vec::new(), admins: Vec::new() },
            clock: || at(0),
            ids: || Some(id(NEXT.fetch_add(1, Ordering::Relaxed))),
        });
        let key = rcgen::KeyPair::generate().unwrap();
        let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        Self { broker, gate, alice, csr, folder }
    }

    async fn request(&self, namespace: &str) -> Arc<Grant> {
        let ask = AccessRequest {
            cluster: "play".parse().unwrap(),
            scope: namespace.parse::<Namespace>().unwrap().into(),
            access: Access::Role("view".parse().unwrap()),
            fields: BTreeMap::new(),
            start: None,
            window: "5m".parse().unwrap(),
            reason: "INC-42".parse().unwrap(),
        };
        self.broker.request(&self.alice, ask, &self.csr).await.unwrap()
    }

    /// Drains while the next fact of what `gives` is held up before the disk. Answers the kinds of what stands in the trail
    /// from then on.
    async fn drain_during<T>(&self, gives: impl Future<Output = Result<T, BrokerError>>) -> Vec<String> {
        let before = self.kinds().len();
        self.gate.closed.store(true, Ordering::SeqCst);
        let mut gives = Box::pin(gives);
        tokio::select! {
            biased;
            () = self.gate.reached.notified() => {}
            given = &mut gives => panic!("it came past the gate, and was given: {}", given.is_ok()),
        }
        let root = Operator { name: PersonName::root(), uid: 0, login: None };
        let mut drain = Box::pin(self.broker.drain(&root, None));
        // Nothing holds up the fact of the drain but what the drain itself waits for.
        for _ in 0..10 {
            assert!(poll!(&mut drain).is_pending(), "it is acknowledged, with something under way");
            tokio::task::yield_now().await;
        }
        self.gate.opened.notify_one();
        let (drained, given) = tokio::join!(drain, gives);
        drained.unwrap();
        assert!(given.is_ok(), "what was under way is given");
        self.kinds().split_off(before)
    }

    fn kinds(&self) -> Vec<String> {
        let mut exported = Vec::new();
        crate::trail::export(&self.folder.trail(), &mut exported).unwrap();
        let lines = String::from_utf8(exported).unwrap();
        let kind = |line| serde_json::from_str::<Value>(line).unwrap()["event"]["kind"].as_str().unwrap().to_owned();
        lines.lines().map(kind).collect()
    }
}

/// No fact that gives something stands behind a drain.
#[tokio::test]
async fn a_drain_waits_for_what_is_being_given() {
    let scene = Scene::new();
    let Scene { broker, alice, csr, .. } = &scene;
    let root = Operator { name: PersonName::root(), uid: 0, login: None };
    let (open, glass) = (scene.request("payments").await, scene.request("billing").await);
    let reason = || "INC-42".parse().unwrap();

    let kinds = scene.drain_during(broker.break_glass(&glass, alice, reason())).await;
    assert_eq!(kinds, ["glass_broken", "drained"]);
    broker.resume(&root).await.unwrap();

    let kinds = scene.drain_during(broker.certificate(&open, alice, csr)).await;
    // What follows the intent is no gift any more; the drain came to its turn somewhere in it.
    assert_eq!(kinds[0], "issue_intended");
    assert!(kinds[1..].contains(&"drained".to_owned()), "{kinds:?}");
    broker.resume(&root).await.unwrap();

    let kinds = scene.drain_during(broker.extend(&open, alice, "5m".parse().unwrap(), reason())).await;
    assert_eq!(kinds, ["extension_asked", "extended", "drained"]);
    let refused = broker.extend(&open, alice, "5m".parse().unwrap(), reason()).await.unwrap_err();
    assert!(matches!(&refused, BrokerError::Refused(refusal) if refusal.code == Code::Draining), "{refused:?}");
}

/// A grant that is being ended, by a cluster that does not answer, keeps no other log from the trail, and the feed does not
/// wait for anything.
#[tokio::test]
async fn a_locked_grant_delays_no_other_log() {
    let scene = Scene::new();
    let Scene { broker, alice, csr, .. } = &scene;
    let (one, other) = (scene.request("payments").await, scene.request("payments").await);
    for grant in [&one, &other] {
        broker.certificate(grant, alice, csr).await.unwrap();
    }
    let head = |lines| LogHead { lines, sha256: "a".repeat(64) };
    let before = scene.kinds().len();
    let kinds = || scene.kinds().split_off(before);
    let open_grant = broker.ledger().open_grant(&one.id).unwrap();
    let locked = open_grant.lock().await;
    for grant in [&one, &other] {
        broker.log_stands(grant.id.clone(), head(3));
    }
    assert!(broker.record_due_logs().await, "one waits");
    assert_eq!(kinds(), ["logged"]);
    drop(locked);
    assert!(!broker.record_due_logs().await);
    assert_eq!(kinds(), ["logged", "logged"]);
    // What is known is no event, and neither is what nobody can know.
    broker.log_stands(id(99), head(1));
    assert!(!broker.record_due_logs().await);
    assert_eq!((kinds().len(), broker.log_contradictions()), (2, 0));

    // A grant rests for ten seconds after each event.
    tokio::time::pause();
    broker.log_stands(other.id.clone(), head(2));
    assert!(broker.record_due_logs().await, "it rests");
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(!broker.record_due_logs().await);
    assert_eq!(kinds(), ["logged", "logged", "log_contradicted"]);
    assert_eq!(broker.log_contradictions(), 1);
}

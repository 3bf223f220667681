//! The API server is down, hangs, is busy, or its answer is lost: no access is granted that cannot be shown to work,
//! and grants that are over end as soon as possible.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use jitd::grant::{Fact, GrantId};
use jitd::trail::{Entry, Trail};

use crate::bastion::{ALICE, BOB, Bastion, ERIN, Key, Options, path, said, text};
use crate::middleman::{Forgetful, Middleman, Play};
use crate::plane::{Plane, until, until_within};

/// How long the daemon may take to open its socket when a cluster does not answer, with some room.
const OPENS_WITHIN: Duration = Duration::from_secs(25);

/// Down when the window ends, and when the daemon restarts: the grant is `ending`, visible to everybody, and ends when
/// the API server is back. An approved grant can still be collected.
#[test]
fn an_end_waits_for_the_api_server_only() {
    let plane = Plane::to_stop();
    let mut bastion = Bastion::with(&plane, Options::default());
    let (waiting, key) = approved(&bastion);
    let access = bastion.live(&bastion.ask("5s"));
    plane.stop_api_server();

    let (status, refused) =
        bastion.post(ALICE, "/v1/grants", &json!({ "ask": bastion.ask("1m"), "csr": Key::new().csr() }));
    assert_eq!((status, &refused["code"]), (503, &json!("cluster-unreachable")), "{refused}");
    let (status, refused) = bastion.certificate(ALICE, &waiting, &key);
    assert_eq!((status, &refused["code"]), (503, &json!("cluster-unreachable")), "{refused}");
    assert_eq!(bastion.kinds(&waiting), ["requested", "approved"]);

    let ending = bastion.wait_for(&access.grant, &["ending"]);
    assert_eq!(ending["endCause"], "expired");
    assert_eq!(bastion.kinds(&access.grant).last().unwrap(), "unbind_intended");
    let is_counted = |bastion: &Bastion| bastion.metric("grants{phase=\"ending\"}") == 1;
    assert!(is_counted(&bastion));
    // Tried again, not once: each attempt is a line of the log.
    until("it is tried again", || (bastion.log().matches("could not be ended yet").count() >= 2).then_some(()));

    bastion.kill();
    bastion.spawn();
    answers(&mut bastion, OPENS_WITHIN);
    assert_eq!(bastion.show(ALICE, &access.grant)["phase"], "ending");
    assert!(is_counted(&bastion));

    let back = moment(&bastion);
    plane.start_api_server();
    let ended = until_within(Duration::from_secs(60), "it ends by itself", || {
        Some(bastion.show(ERIN, &access.grant)).filter(|shown| shown["phase"] == "ended")
    });
    assert_eq!(ended["endCause"], "expired");
    let ended_at: Timestamp = ended["endedAt"].as_str().unwrap().parse().unwrap();
    assert!(ended_at > back, "the trail says when it became true");
    assert!(bastion.bindings().is_empty());

    assert_eq!(bastion.certificate(ALICE, &waiting, &key).0, 200);
    assert_eq!(bastion.post(ALICE, &path(&waiting, "/end"), &Value::Null).0, 200);
    let verified = bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

/// The API server is down and the daemon was restarted, so it knows nothing about the cluster: approvers still read what
/// was requested, at once, and can answer it.
#[test]
fn a_pending_request_is_read_and_answered_without_the_api_server() {
    const AT_ONCE: Duration = Duration::from_secs(2);
    let plane = Plane::to_stop();
    let mut bastion = Bastion::with(&plane, Options::default());
    let pending = bastion.request(ALICE, &bastion.ask("1m"), &Key::new());
    // A later request by the same person, with which the first one is assessed again.
    let mut later = bastion.ask("1m");
    later["role"] = json!(format!("{}-debug", bastion.ns));
    let later = bastion.request(ALICE, &later, &Key::new());
    plane.stop_api_server();
    bastion.kill();
    bastion.spawn();
    answers(&mut bastion, OPENS_WITHIN);

    let asked = Instant::now();
    let shown = bastion.show(BOB, &pending);
    assert_eq!((&shown["phase"], &shown["holds"][0]["grant"]), (&json!("pending"), &later["id"]), "{shown}");
    let id = pending["id"].as_str().unwrap();
    for words in [&["show", id][..], &["ls"]] {
        let (code, out, problem) = said(&bastion, BOB, words);
        assert!(code == Some(0) && out.contains(id), "{words:?}: {out}{problem}");
    }
    let took = asked.elapsed();
    assert!(took < AT_ONCE, "{took:?}");
    let (status, answer) = bastion.approve(BOB, &shown);
    assert_eq!((status, &answer["phase"]), (200, &json!("approved")), "{answer}");
    plane.start_api_server();
}

/// While a role of a live grant or the bindings cannot be read, that is counted, and logged when it begins and when it
/// is over; afterwards a changed role is noticed again. It runs from `a_minute.rs`.
pub(crate) fn what_cannot_be_looked_at_is_told() {
    let mut bastion = Bastion::start();
    let clusterroles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = format!("{}-debug", bastion.ns);
    let mut ask = bastion.ask("5m");
    ask["role"] = json!(role);
    let access = bastion.live(&ask);
    let counted = |bastion: &Bastion| ["unread_roles", "failed_comparisons"].map(|number| bastion.metric(number));
    assert_eq!(counted(&bastion), [0, 0]);

    let rights = format!("{clusterroles}/jitd-{}", bastion.host);
    let all = bastion.admin.get(&rights).1["rules"].clone();
    let is_of_rbac = |rule: &Value| rule["apiGroups"] == json!(["rbac.authorization.k8s.io"]);
    let fewer: Vec<&Value> = all.as_array().unwrap().iter().filter(|rule| !is_of_rbac(rule)).collect();
    bastion.admin.patch(&rights, &json!({ "rules": fewer }));
    // Its namespace can still be read.
    until("the role is counted", || (counted(&bastion) == [1, 0]).then_some(()));
    // The bindings are looked at when the daemon starts, and once a minute.
    bastion.kill();
    bastion.serve();
    until("both are counted", || (counted(&bastion) == [1, 1]).then_some(()));
    assert_eq!(bastion.show(ALICE, &access.grant)["phase"], "live");

    bastion.admin.patch(&rights, &json!({ "rules": all }));
    until_within(Duration::from_secs(80), "none is counted", || (counted(&bastion) == [0, 0]).then_some(()));
    let log = bastion.log();
    let told = |words: &str| log.matches(words).count();
    assert_eq!(told("cannot read roles or namespaces of live grants"), 2, "once by each daemon: {log}");
    assert_eq!(told("can read the roles and namespaces of live grants again"), 1, "{log}");
    let more = json!([{ "apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list"] }]);
    bastion.admin.patch(&format!("{clusterroles}/{role}"), &json!({ "rules": more }));
    assert_eq!(bastion.wait_for(&access.grant, &["ended"])["endCause"], "drifted");
}

/// A daemon that did not run when the window ended removes the access before it answers anybody.
#[test]
fn what_expired_without_a_daemon_is_gone_before_the_socket_opens() {
    let mut bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5s"));
    bastion.kill();
    let over = Instant::now() + Duration::from_millis(5_100);
    until("the window is over", || (Instant::now() > over).then_some(()));
    assert_eq!(bastion.bindings().len(), 1, "nobody was there to take it away");
    bastion.serve();
    assert_eq!(bastion.admin.get(&bastion.binding_path(&access.grant)).0, 404);
    assert_eq!(bastion.show(ALICE, &access.grant)["endCause"], "expired");
    assert!(matches!(bastion.look(&access, &bastion.ns), 401 | 403));
}

/// An API server that hangs when the daemon starts keeps the socket closed for a limited time, and however many grants
/// have to end then, none of them is forgotten.
#[test]
fn a_hang_at_the_start_forgets_no_grant() {
    const GRANTS: u16 = 120;
    let middleman = Middleman::before(Plane::shared());
    let mut bastion = Bastion::with(Plane::shared(), middleman.options());
    let access = bastion.live(&bastion.ask("1m"));
    // As far as its binding, and then cut off.
    let story = story(&bastion, &access.grant).into_iter().take(6).collect();
    assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    bastion.kill();
    happened_often(&bastion, story, GRANTS);

    middleman.play("", "/", Play::Hold);
    bastion.spawn();
    answers(&mut bastion, OPENS_WITHIN);
    let open = |bastion: &Bastion| bastion.get(ERIN, "/v1/grants?limit=1000").1["grants"].as_array().unwrap().len();
    assert_eq!(open(&bastion), usize::from(GRANTS));
    middleman.drop_held();
    until_within(Duration::from_secs(40), "all of them end", || (open(&bastion) == 0).then_some(()));
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
}

/// While a cluster hangs that has more grants to end than the limit at one time, another cluster's grants end on time,
/// and a change of their role is noticed without delay. It runs from `a_minute.rs`.
pub(crate) fn a_cluster_that_hangs_holds_up_no_end_of_another() {
    const WINDOW: SignedDuration = SignedDuration::from_secs(30);
    let middleman = Middleman::before(Plane::shared());
    let mut options = middleman.options();
    options.policy = options.policy.replace("clusters: [play]", "clusters: [play, away]");
    // Without the middleman.
    let (server, ca) = (&Plane::shared().server, Plane::shared().ca.display());
    options.config = format!("- {{name: away, server: \"{server}\", certificateAuthority: \"{ca}\"}}\n");
    let mut bastion = Bastion::prepared(Plane::shared(), options);
    Plane::shared().trust(&bastion.dir.join("var/ca/away/root.crt"));
    bastion.serve();
    let held = bastion.live(&bastion.ask(&format!("{}s", WINDOW.as_secs())));
    let over: Timestamp = bastion.show(ALICE, &held.grant)["deadline"].as_str().unwrap().parse().unwrap();
    let story = story(&bastion, &held.grant);
    bastion.kill();
    happened_often(&bastion, story, 1_100);
    middleman.play("", "/", Play::Hold);
    bastion.spawn();
    answers(&mut bastion, OPENS_WITHIN);

    let in_away = |role: &str, window: &str| {
        let mut ask = bastion.ask(window);
        ask["cluster"] = json!("away");
        ask["role"] = json!(role);
        bastion.live(&ask)
    };
    let debug = format!("{}-debug", bastion.ns);
    let edited = in_away(&debug, "5m");
    let left = over.duration_since(moment(&bastion)).as_secs().max(0);
    let ending = in_away("view", &format!("{}s", left + 3));
    until_within(WINDOW.unsigned_abs(), "those of the cluster that hangs are ended too", || {
        (bastion.metric("grants{phase=\"ending\"}") > 1_000).then_some(())
    });
    let role = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{debug}");
    bastion.admin.patch(&role, &json!({ "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] }] }));
    let ended = |grant: &Value| {
        until_within(Duration::from_secs(8), "it ends", || {
            Some(bastion.show(ERIN, grant)).filter(|shown| shown["phase"] == "ended")
        })
    };
    assert_eq!(ended(&edited.grant)["endCause"], "drifted");
    assert_eq!(ended(&ending.grant)["endCause"], "expired");
    assert!(bastion.metric("grants{phase=\"ending\"}") > 1_000, "the others wait still");
    middleman.drop_held();
}

/// An API server that hangs at the binding costs the caller a bounded time, and leaves nothing bound.
#[test]
fn a_hang_at_the_binding_is_bounded_and_undone() {
    let middleman = Middleman::before(Plane::shared());
    let bastion = Bastion::with(Plane::shared(), middleman.options());
    let (grant, key) = approved(&bastion);
    middleman.play("POST", "/rolebindings", Play::Hold);
    let begun = Instant::now();
    let (status, refused) = bastion.certificate(ALICE, &grant, &key);
    assert_eq!((status, &refused["code"]), (503, &json!("cluster-unreachable")), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    middleman.drop_held();
    assert_eq!(bastion.show(ALICE, &grant)["endCause"], "failed");
    assert!(bastion.bindings().is_empty());
}

/// "Too many requests" at the binding is reported at once, and no object is left; at the end the call is retried until
/// it succeeds.
#[test]
fn a_busy_api_server_grants_nothing_and_leaves_nothing() {
    let middleman = Middleman::before(Plane::shared());
    let bastion = Bastion::with(Plane::shared(), middleman.options());
    let (grant, key) = approved(&bastion);
    middleman.play("POST", "/rolebindings", Play::Busy);
    let (status, refused) = bastion.certificate(ALICE, &grant, &key);
    assert_eq!((status, &refused["code"]), (503, &json!("cluster-unreachable")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("429"), "{refused}");
    assert_eq!(bastion.show(ALICE, &grant)["endCause"], "failed");
    assert!(bastion.bindings().is_empty());
    middleman.pass_on();

    let access = bastion.live(&bastion.ask("1m"));
    middleman.play("DELETE", "/rolebindings/", Play::Busy);
    let (status, refused) = bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null);
    assert_eq!((status, &refused["code"]), (503, &json!("cluster-unreachable")), "{refused}");
    assert_eq!(bastion.show(ALICE, &access.grant)["phase"], "ending");
    middleman.met(2);
    middleman.pass_on();
    let ended = bastion.wait_for(&access.grant, &["ended"]);
    assert_eq!((&ended["endCause"], &ended["closedBy"]), (&json!("released"), &json!("alice")));
    assert_eq!(bastion.look(&access, &bastion.ns), 403);
}

/// The binding was created but the answer lost: it is found and used.
#[test]
fn a_binding_whose_answer_was_lost_is_found_and_used() {
    let middleman = Middleman::before(Plane::shared());
    let bastion = Bastion::with(Plane::shared(), middleman.options());
    let (grant, key) = approved(&bastion);
    middleman.play("POST", "/rolebindings", Play::LoseAnswer);
    let (status, certificate) = std::thread::scope(|scope| {
        let collecting = scope.spawn(|| bastion.certificate(ALICE, &grant, &key));
        middleman.met(1);
        middleman.drop_held();
        collecting.join().unwrap()
    });
    assert_eq!(status, 200, "{certificate}");
    assert_eq!(bastion.bindings(), [format!("jit-{}", grant["id"].as_str().unwrap())]);
    assert_eq!(bastion.post(ALICE, &path(&grant, "/end"), &Value::Null).0, 200);
    assert!(bastion.bindings().is_empty());
}

/// The binding was created, the answer lost, and then the API server was down: the grant ends as failed, and the
/// binding is removed as soon as the API server is back.
#[test]
fn a_binding_that_could_not_be_looked_up_is_removed_later() {
    let middleman = Middleman::before(Plane::shared());
    let bastion = Bastion::with(Plane::shared(), middleman.options());
    let (grant, key) = approved(&bastion);
    middleman.play("GET", "/rolebindings/jit-", Play::HangUp);
    middleman.play("POST", "/rolebindings", Play::LoseAnswer);
    let (status, refused) = bastion.certificate(ALICE, &grant, &key);
    assert_eq!((status, &refused["code"]), (503, &json!("cluster-unreachable")), "{refused}");
    assert_eq!(bastion.bindings().len(), 1, "it is there, and nobody holds its group");
    assert_eq!(bastion.show(ALICE, &grant)["phase"], "ending");
    middleman.drop_held();
    assert_eq!(bastion.wait_for(&grant, &["ended"])["endCause"], "failed");
    assert!(bastion.bindings().is_empty());
}

/// If an API server does not trust the authority, a request is refused with a sentence about what to do; once that is
/// done, no restart is needed.
#[test]
fn an_untrusted_authority_is_reported_with_what_to_do() {
    let mut bastion = Bastion::prepared(Plane::shared(), Options::default());
    std::fs::remove_dir_all(bastion.dir.join("var/ca/play")).unwrap();
    assert!(bastion.jitd(&["init"]).status.success());
    bastion.serve();
    let ask = |key: &Key| bastion.post(ALICE, "/v1/grants", &json!({ "ask": bastion.ask("1m"), "csr": key.csr() }));
    let (status, refused) = ask(&Key::new());
    assert_eq!((status, &refused["code"]), (502, &json!("cluster-refused")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("does not accept our credential"), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("--client-ca-file"), "{refused}");
    bastion.plane.trust(&bastion.dir.join("var/ca/play/root.crt"));
    until("the API server reads its file again", || (ask(&Key::new()).0 == 201).then_some(()));
}

/// If the network dropped an idle connection, the call is repeated on a new one, and no request, collection or release
/// fails. Idle connections are also closed before that happens.
#[test]
fn a_connection_that_the_network_dropped_causes_no_failure() {
    let between = Forgetful::before(Plane::shared());
    let options = Options { server: Some(between.server.clone()), ..Options::default() };
    let bastion = Bastion::with(Plane::shared(), options);
    let forgets = || {
        // Long enough without an answer that a connection may be dead, and with one that is kept.
        until("the daemon keeps a connection", || (between.open() > 0).then_some(()));
        between.forget();
    };
    let key = Key::new();
    drop(bastion.request(ALICE, &bastion.ask("5m"), &Key::new()));
    let quiet = Instant::now();
    until("it was quiet for a while", || (quiet.elapsed() > Duration::from_millis(1200)).then_some(()));
    forgets();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    // Where one was lost the others are not trusted, until all that were kept then are given up.
    let lost = Instant::now();
    until("they are given up", || (lost.elapsed() > Duration::from_secs(6)).then_some(()));
    assert_eq!(bastion.post(ALICE, "/v1/explain", &bastion.ask("5m")).0, 200);
    let quiet = Instant::now();
    until("it was quiet for a while", || (quiet.elapsed() > Duration::from_millis(1200)).then_some(()));
    forgets();
    let access = bastion.collect(&grant, key);
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    let (status, ended) = bastion.post(ALICE, &path(&grant, "/end"), &Value::Null);
    assert_eq!((status, &ended["phase"]), (200, &json!("ended")), "{ended}");
    bastion.has_no_fault();
    // Sooner than any NAT or load balancer that people have.
    until_within(Duration::from_secs(12), "no connection is left idle", || (between.open() == 0).then_some(()));
}

fn approved(bastion: &Bastion) -> (Value, Key) {
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("1m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    (grant, key)
}

/// Waits until the socket of a daemon that was just started opens.
/// What the trail has of a grant.
fn story(bastion: &Bastion, grant: &Value) -> Vec<Fact> {
    let (_, answer) = bastion.get(ERIN, &path(grant, "/events"));
    let entries: Vec<Entry> = serde_json::from_value(answer["events"].clone()).unwrap();
    entries.into_iter().map(|entry| entry.fact).collect()
}

/// The same for so many other grants, in the trail of a daemon that is not there.
fn happened_often(bastion: &Bastion, story: Vec<Fact>, times: u16) {
    let trail = Trail::open(&bastion.dir.join("var/trail.db")).unwrap().trail;
    let ids = (0..times).map(|number| GrantId::from_random([number.to_be_bytes(); 5].concat().try_into().unwrap()));
    let facts = ids.flat_map(|id| story.iter().map(move |fact| Fact { grant: Some(id.clone()), ..fact.clone() }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(trail.append(facts.collect(), None)).unwrap();
    trail.close();
}

fn answers(bastion: &mut Bastion, limit: Duration) {
    until_within(limit, "the daemon answers", || {
        assert!(bastion.is_running(), "the daemon ended: {}", bastion.log());
        std::os::unix::net::UnixStream::connect(bastion.socket()).ok()
    });
}

/// The daemon's clock, as it says it: when a request that is refused now is refused.
fn moment(bastion: &Bastion) -> Timestamp {
    let (status, _) = bastion.post(ALICE, "/v1/grants", &json!({ "ask": { "cluster": "elsewhere", "namespaces": ["x"], "role": "view", "duration": "5s", "reason": "x" }, "csr": Key::new().csr() }));
    assert_eq!(status, 422);
    let exported = text(&bastion.jitd(&["audit", "export"]).stdout);
    let last: Value = serde_json::from_str(exported.lines().last().unwrap()).unwrap();
    last["at"].as_str().unwrap().parse().unwrap()
}

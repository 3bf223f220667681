//! What two members can do to the others: alice and dave call one route after the other on all the connections that an
//! account may have, while carol asks, bob looks and approves, and carol collects.
//!
//! ```text
//!  quiet:    carol asks ─► bob shows ─► bob approves ─► carol collects, each with its time
//!  hostile:  the same, while 256 connections of alice and dave do their worst
//! ```
//! For each attack the two take turns, so that a machine that grows slower or faster does so for both. The daemon has the
//! rates that it has by default. Each attacking account is a process of its own, so that it shares the machine with who
//! measures, and no thread. Who measures opens a connection for each call, as `jit-login` does, and its time counts.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::aside::{self, Aside, Task};
use crate::daemon::{ALICE, BOB, CAROL, DAVE, Daemon, usual};
use crate::http::{Connection, Target, request};
use crate::load::median;
use crate::plane::Plane;
use crate::process::run;
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

const NAMESPACE: &str = "hostile";

/// As many connections as one account may have.
const CONNECTIONS: usize = 128;

/// Carol asks as often as an account may, all in all.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(4);

/// The times of all shows, approvals and collections, in milliseconds.
type Times = [Vec<f64>; 3];

/// What the connections of an attack do.
#[derive(Clone, Serialize, Deserialize)]
enum Attack {
    /// The same call, again and again.
    Call(String),
    /// The same call, whose answer is never read.
    Unread(String),
    /// Nothing but a new connection each time.
    Connect,
    /// A body of which a byte comes each 200 ms.
    Trickle,
    /// No call: what one thread of each account costs the others on this machine, whatever they run.
    Spin,
}

pub(crate) async fn measure(plane: &Plane, folder: &Path, settings: &Settings) -> Result<Vec<Row>, Failure> {
    plane.namespace(NAMESPACE).await?;
    let mut daemon =
        Daemon::prepare_with(plane, folder, "hostile", &[usual(&[NAMESPACE.to_owned()])], &json!({}), json!({}))?;
    daemon.start().await?;
    // How often quiet and hostile follow each other for each attack, and for how many seconds.
    let (turns, quiet, hostile) = settings.shorter((2, 20, 30), (1, 4, 8));
    let (quiet, hostile) = (Duration::from_secs(quiet), Duration::from_secs(hostile));
    let (mut alice, mut bob) = (daemon.alice().connect().await?, daemon.bob().connect().await?);
    let renew = daemon.live(&mut alice, &mut bob, NAMESPACE, "24h").await?;
    let pending = daemon.request(&mut alice, NAMESPACE, "1h").await?;
    let closed = daemon.request(&mut alice, NAMESPACE, "1h").await?.id;
    alice.exchange(&request("POST", &format!("/v1/grants/{closed}/withdraw"), None)).await?.json()?;
    drop((alice, bob));

    let mut rows = Vec::new();
    for (what, attack) in attacks(pending.approve(), renew, &pending.id, &closed) {
        progress(&format!("hostile: {what}, {turns} times {} s", hostile.as_secs()));
        let before = lines(&daemon)?.len();
        let (mut alone, mut under, mut others, mut did) =
            (Times::default(), Times::default(), BTreeSet::new(), Did::default());
        for _ in 0..turns {
            rounds(&daemon, quiet, &mut alone, &mut others).await?;
            let attackers: Vec<_> = [("alice's attackers", ALICE), ("dave's attackers", DAVE)]
                .into_iter()
                .map(|(name, uid)| {
                    let task = Task::Attack(Attackers { uid, attack: attack.clone() });
                    Aside::start(name, &task, &daemon.folder.join("run"))
                })
                .collect::<Result<_, _>>()?;
            rounds(&daemon, hostile, &mut under, &mut others).await?;
            for attackers in attackers {
                did.add(attackers.end()?, &attack).map_err(|why| format!("{what}: {why}"))?;
            }
        }
        let grown: usize =
            lines(&daemon)?.iter().skip(before).filter(|line| !is_of(line, &others)).map(String::len).sum();
        let resident = daemon.running().memory()?.now;
        let (alone, under) = (alone.map(median), under.map(median));
        let shown = |times: [f64; 3]| times.map(|time| number(time, "")).join(" / ");
        let worst = under.iter().zip(alone).map(|(under, alone)| under / alone).fold(0.0, f64::max);
        let rate = grown as f64 / 1000.0 / (turns * hostile).as_secs_f64();
        progress(&format!(
            "hostile: {what}: {} against {}, {worst:.2}×, {rate:.2} kB/s, {did}",
            shown(under),
            shown(alone)
        ));
        rows.push(
            Row::new(format!("{what}: show / approve / collect, ms"), shown(under))
                .against(format!("quiet {}", shown(alone)))
                .at_most(worst, 2.0, "×"),
        );
        rows.push(
            Row::new(format!("{what}: the trail grows by"), number(grown as f64 / 1000.0, "kB"))
                .against(did.to_string())
                .at_most(rate, 10.0, "kB/s"),
        );
        rows.push(Row::new(format!("{what}: memory"), number(resident, "MiB")).at_most(resident, 256.0, "MiB"));
    }
    daemon.stop()?;
    Ok(rows)
}

/// One attack for each route, and those that are below HTTP.
fn attacks(approve: Vec<u8>, renew: Vec<u8>, pending: &str, closed: &str) -> Vec<(&'static str, Attack)> {
    let text = |request: Vec<u8>| String::from_utf8(request).expect("a request without binary content");
    let get = |path: &str| Attack::Call(text(request("GET", path, None)));
    let unread = |path: &str| Attack::Unread(text(request("GET", path, None)));
    let post = |path: &str, body: &Value| Attack::Call(text(request("POST", path, Some(body))));
    let ask =
        json!({ "cluster": "bench", "namespaces": [NAMESPACE], "role": "view", "duration": "1h", "reason": "worst" });
    let words: Vec<String> = (0..50).map(|word| format!("{word:x>60}")).collect();
    let rules = vec![json!({ "apiGroups": [""], "resources": words, "verbs": ["get"] }); 7];
    let long =
        json!({ "cluster": "bench", "namespaces": [NAMESPACE], "rules": rules, "duration": "1h", "reason": "worst" });
    let csr =
        serde_json::from_slice::<Value>(&renew[renew.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4..])
            .expect("a body")["csr"]
            .clone();
    vec![
        ("healthz", get("/healthz")),
        ("metrics", get("/metrics")),
        ("openapi", get("/v1/openapi.json")),
        ("whoami", get("/v1/whoami")),
        ("list", get("/v1/grants?all=true&limit=1000")),
        ("show what is over", get(&format!("/v1/grants/{closed}"))),
        ("events, unread", unread(&format!("/v1/grants/{pending}/events"))),
        ("list, unread", unread("/v1/grants?all=true&limit=1000")),
        ("explain", post("/v1/explain?dryRun=true", &ask)),
        ("request", post("/v1/grants", &json!({ "ask": ask, "csr": csr }))),
        ("a long request", post("/v1/grants", &json!({ "ask": long, "csr": csr }))),
        ("approve one's own", Attack::Call(text(approve))),
        ("renew", Attack::Call(text(renew))),
        ("connect", Attack::Connect),
        ("no call, but the processor", Attack::Spin),
        ("a trickle", Attack::Trickle),
    ]
}

/// An account with as many connections as it may have.
#[derive(Serialize, Deserialize)]
pub(crate) struct Attackers {
    uid: u32,
    attack: Attack,
}

/// What attackers did.
#[derive(Default, Serialize, Deserialize)]
struct Did {
    connections: usize,
    /// Attempts to connect that failed.
    failed: usize,
    answers: usize,
}

impl Attackers {
    /// Attacks the socket in this folder until it is told to end.
    pub(crate) async fn work(self) -> Result<(), Failure> {
        // The folder above may be root's alone, and a way from here leads not through it.
        let path = PathBuf::from("api.sock");
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.uid));
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        let (did, begun) = (Rc::new(RefCell::new(Did::default())), Rc::new(Notify::new()));
        for _ in 0..CONNECTIONS {
            let target = Target::Socket { path: path.clone(), uid: self.uid };
            tokio::task::spawn_local(attack_with(target, self.attack.clone(), Rc::clone(&did), Rc::clone(&begun)));
        }
        aside::report(begun.notified(), || did.take()).await
    }
}

impl Did {
    /// Adds what one account did, if that was an attack.
    fn add(&mut self, more: Self, attack: &Attack) -> Result<(), String> {
        if more.connections < CONNECTIONS {
            return Err(format!("an account opened {} connections of {CONNECTIONS}", more.connections));
        }
        if matches!(attack, Attack::Call(_)) && more.answers == 0 {
            return Err(format!("an account got no answer on {} connections", more.connections));
        }
        self.connections += more.connections;
        self.failed += more.failed;
        self.answers += more.answers;
        Ok(())
    }
}

impl std::fmt::Display for Did {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} connections, {} answers", self.connections, self.answers)?;
        if self.failed > 0 { write!(f, ", {} attempts to connect failed", self.failed) } else { Ok(()) }
    }
}

/// What one connection does for ever.
async fn attack_with(target: Target, attack: Attack, did: Rc<RefCell<Did>>, begun: Rc<Notify>) {
    let mut connection: Option<Connection> = None;
    loop {
        let mut open = match connection.take() {
            Some(open) => open,
            None => match target.connect().await {
                Ok(open) => {
                    did.borrow_mut().connections += 1;
                    begun.notify_one();
                    open
                }
                Err(_) => {
                    did.borrow_mut().failed += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
            },
        };
        // A call that is not answered for long may be given up, too.
        let done = tokio::time::timeout(Duration::from_secs(2), async {
            match &attack {
                Attack::Call(bytes) => open.exchange_unbounded(bytes.as_bytes()).await.map(|_| true),
                Attack::Unread(bytes) => {
                    open.send_only(bytes.as_bytes()).await?;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Ok(false)
                }
                Attack::Connect => Err("enough".into()),
                Attack::Spin => {
                    loop {
                        // It returns to the runtime only to be ended.
                        (0..1_000_000_u64).for_each(|number| _ = std::hint::black_box(number));
                        tokio::task::yield_now().await;
                    }
                }
                Attack::Trickle => {
                    let head = "POST /v1/explain HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n";
                    open.send_only(head.as_bytes()).await?;
                    loop {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        open.send_only(b" ").await?;
                    }
                }
            }
        })
        .await;
        match done {
            Ok(Ok(answered)) => {
                did.borrow_mut().answers += usize::from(answered);
                connection = Some(open);
            }
            Ok(Err::<bool, Failure>(_)) | Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Rounds of the others for `time`: how long each took, and the grants that they were about.
async fn rounds(
    daemon: &Daemon,
    time: Duration,
    times: &mut Times,
    grants: &mut BTreeSet<String>,
) -> Result<(), Failure> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let next = Instant::now() + BETWEEN_ROUNDS;
        let pending = daemon.request(&mut daemon.caller(CAROL).connect().await?, NAMESPACE, "10m").await?;
        let show = request("GET", &format!("/v1/grants/{}", pending.id), None);
        let calls = [(BOB, show), (BOB, pending.approve()), (CAROL, pending.certificate())];
        for ((uid, bytes), times) in calls.into_iter().zip(times.iter_mut()) {
            let begun = Instant::now();
            daemon.caller(uid).connect().await?.exchange(&bytes).await?.json()?;
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        let end = request("POST", &format!("/v1/grants/{}/end", pending.id), None);
        daemon.caller(CAROL).connect().await?.exchange(&end).await?.json()?;
        grants.insert(pending.id);
        tokio::time::sleep_until(next.into()).await;
    }
    Ok(())
}

/// Every line of the trail.
fn lines(daemon: &Daemon) -> Result<Vec<String>, Failure> {
    Ok(run(daemon.command().args(["audit", "export"]))?.lines().map(str::to_owned).collect())
}

/// Whether a line is about one of these grants.
fn is_of(line: &str, grants: &BTreeSet<String>) -> bool {
    let entry: Value = serde_json::from_str(line).unwrap_or_default();
    entry["grant"].as_str().is_some_and(|grant| grants.contains(grant))
}

//! A trail that was edited or cut, cannot be written, or has a wrong time. Alterations are found, access that cannot be
//! recorded is not granted, and grants still end.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::{Value, json};

use jitd::broker::{Broker, BrokerError, Parts, Site, random_id};
use jitd::ca::Authority;
use jitd::cluster::{Cluster, Credential, Endpoint};
use jitd::config::Config;
use jitd::grant::digest::sha256_hex;
use jitd::grant::narrow::Narrowing;
use jitd::grant::request::{Access, AccessRequest, Namespace};
use jitd::grant::{Author, Event, Fact, Grant, GrantId, Phase, Requested};
use jitd::ledger::Overseers;
use jitd::trail::Trail;

use crate::bastion::{ALICE, BOB, Bastion, ERIN, Key, Options, STRANGER, SURVIVES_A_FULL_DISK, path, text};
use crate::plane::{Plane, root, scratch, until, until_within};
use crate::requested::requested;

// ---- altered ----

/// Each kind of alteration is found, with the number of the first altered event.
#[test]
fn every_alteration_is_found_with_its_event() {
    for (what, number, told, alteration) in ALTERATIONS {
        let desk = Desk::new();
        desk.alter(alteration);
        let verified = desk.jitd(&["audit", "verify"]);
        let error = text(&verified.stderr);
        assert_eq!(verified.status.code(), Some(1), "{what}: {}", text(&verified.stdout));
        assert!(error.contains(&format!("damaged at event {number}: ")) && error.contains(told), "{what}: {error}");
    }
}

/// An alteration of the last lines is also found at the start, and the daemon serves nobody.
#[test]
fn an_altered_end_is_refused_at_the_start() {
    for (what, number, _, alteration) in ALTERATIONS.iter().filter(|(what, ..)| what.starts_with("line")) {
        let desk = Desk::new();
        desk.alter(alteration);
        let served = desk.jitd(&["serve"]);
        let error = text(&served.stderr);
        assert_eq!(served.status.code(), Some(1), "{what}: {error}");
        assert!(error.contains(&format!("damaged at event {number}: ")) && error.contains("hint: "), "{what}: {error}");
        assert!(!desk.0.join("run/api.sock").exists());
    }
}

/// The alteration, the event that shows it, a word of the message, and the SQL of somebody who owns the file.
const ALTERATIONS: &[(&str, u32, &str, &str)] = &[
    (
        "line edited",
        4,
        "hash of the previous line",
        "UPDATE events SET line = replace(line, 'INC-1', 'INC-9') WHERE seq = 3",
    ),
    ("line that is not JSON", 3, "", "UPDATE events SET line = 'x' WHERE seq = 3"),
    (
        "lines swapped",
        3,
        "its number is",
        "UPDATE events SET line = (SELECT line FROM events AS other WHERE other.seq = 7 - events.seq) WHERE seq IN (3, 4)",
    ),
    ("line deleted", 4, "its number is 5", "DELETE FROM events WHERE seq = 4"),
    ("first line deleted", 1, "its number is 2", "DELETE FROM events WHERE seq = 1"),
    ("column kind edited", 3, "columns", "UPDATE events SET kind = 'withdrawn' WHERE seq = 3"),
    ("column grant edited", 3, "columns", "UPDATE events SET grant_id = 'x' WHERE seq = 3"),
    ("projection closed", 8, "`grants`", "UPDATE grants SET open = 0"),
    ("projection given to another", 8, "`grants`", "UPDATE grants SET requester = 'dave'"),
    ("projection without a row", 8, "`grants`", "DELETE FROM grants WHERE seq = 1"),
    ("projection without its end", 8, "`grants`", "UPDATE grants SET last = last - 1"),
    ("projection of another time", 8, "`grants`", "UPDATE grants SET at = at + 1"),
    ("projection shown to more", 8, "`watchers`", "INSERT INTO watchers VALUES ('everybody', 1)"),
    ("a grant that is over, invented", 8, "`closed`", "INSERT INTO closed VALUES (99, '{}')"),
    ("link past an event", 8, "`links`", "UPDATE links SET before = before - 1 WHERE before > 2"),
    ("link in a circle", 8, "`links`", "UPDATE links SET before = seq"),
    ("link deleted", 8, "`links`", "DELETE FROM links WHERE seq = (SELECT max(seq) FROM links)"),
];

/// Only the head shows that a trail was cut at its end, or rewritten from some event on: such a trail is consistent,
/// but its last line differs.
#[test]
fn a_consistent_forgery_has_another_head() {
    let desk = Desk::new();
    let head = desk.head();
    // The last event opened and closed nothing; what finds it goes with it.
    desk.alter(
        "UPDATE grants SET last = (SELECT before FROM links WHERE seq = 8) WHERE last = 8;
         DELETE FROM links WHERE seq = 8;
         DELETE FROM events WHERE seq = 8",
    );
    assert_ne!(desk.head(), head, "a cut tail");

    let desk = Desk::new();
    let head = desk.head();
    past_the_triggers(&desk.trail(), |connection| {
        connection.execute_batch("UPDATE events SET line = replace(line, 'INC-1', 'INC-9') WHERE seq = 3").unwrap();
        let lines: Vec<(i64, String)> = {
            let mut statement = connection.prepare("SELECT seq, line FROM events ORDER BY seq").unwrap();
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
        };
        let mut prev = "0".repeat(64);
        for (seq, line) in lines {
            let mut line: BTreeMap<String, Value> = serde_json::from_str(&line).unwrap();
            line.insert("prev".to_owned(), json!(prev));
            let line = serde_json::to_string(&line).unwrap();
            prev = sha256_hex(line.as_bytes());
            connection.execute("UPDATE events SET line = ?1 WHERE seq = ?2", (line, seq)).unwrap();
        }
    });
    assert_ne!(desk.head(), head, "hashes made anew to the end");
}

/// SQL alone does not change or remove an event.
#[test]
fn an_event_is_neither_updated_nor_deleted() {
    let desk = Desk::new();
    let connection = Connection::open(desk.trail()).unwrap();
    for statement in [
        "UPDATE events SET line = 'x' WHERE seq = 3",
        "UPDATE events SET kind = 'x'",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events (seq, kind, line) VALUES (3, 'x', 'x')",
    ] {
        let error = connection.execute_batch(statement).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{statement}: {error}");
    }
    assert!(desk.jitd(&["audit", "verify"]).status.success());
}

/// The triggers that protect the events belong to the trail: if one is missing, or something else was added, the file
/// is neither written nor accepted.
#[test]
fn a_trail_without_its_triggers_is_refused() {
    let desk = Desk::new();
    Connection::open(desk.trail()).unwrap().execute_batch("DROP TRIGGER events_are_not_deleted").unwrap();
    for verb in [&["serve"][..], &["audit", "verify"]] {
        let refused = desk.jitd(verb);
        let error = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{verb:?}: {error}");
        assert!(error.contains("was altered: the trigger `events_are_not_deleted` is missing"), "{verb:?}: {error}");
        assert!(error.contains("hint: "), "{verb:?}: {error}");
    }
}

/// An export is the stored lines, byte for byte, and has the same head wherever it is verified.
#[test]
fn an_export_is_the_lines_and_has_the_same_head() {
    let desk = Desk::new();
    let exported = desk.jitd(&["audit", "export"]);
    assert!(exported.status.success());
    let connection = Connection::open(desk.trail()).unwrap();
    let mut statement = connection.prepare("SELECT line FROM events ORDER BY seq").unwrap();
    let stored: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(text(&exported.stdout), stored.iter().map(|line| format!("{line}\n")).collect::<String>());

    let file = desk.0.join("export.jsonl");
    std::fs::write(&file, &exported.stdout).unwrap();
    // Elsewhere there is no configuration.
    let elsewhere = |file: &str, input: Stdio| {
        let mut jitd = Command::new(root().join("bin/jitd"));
        jitd.args(["--config", "/nonexistent", "audit", "verify", "--file", file]).stdin(input).output().unwrap()
    };
    let here = desk.jitd(&["audit", "verify"]).stdout;
    let from_file = elsewhere(file.to_str().unwrap(), Stdio::null());
    let from_pipe = elsewhere("-", std::fs::File::open(&file).unwrap().into());
    assert!(text(&here).contains(&format!("head {}", sha256_hex(stored.last().unwrap().as_bytes()))));
    assert_eq!((text(&from_file.stdout), text(&from_pipe.stdout)), (text(&here), text(&here)));

    let cut: String = stored.iter().skip(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, cut).unwrap();
    let beheaded = elsewhere(file.to_str().unwrap(), Stdio::null());
    assert!(text(&beheaded.stderr).contains("damaged at event 1: "), "{}", text(&beheaded.stderr));
}

/// A trail with a layout that this program does not know is neither written nor verified.
#[test]
fn a_newer_layout_is_refused() {
    let desk = Desk::new();
    Connection::open(desk.trail()).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let before = std::fs::read(desk.trail()).unwrap();
    for verb in [&["serve"][..], &["audit", "verify"], &["audit", "export"]] {
        let refused = desk.jitd(verb);
        let error = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{error}");
        assert!(error.contains("newer jitd (layout 7)") && error.contains("hint: upgrade jitd"), "{verb:?}: {error}");
    }
    assert_eq!(std::fs::read(desk.trail()).unwrap(), before);
}

/// A trail can be verified while the daemon writes it.
#[test]
fn verify_runs_beside_a_daemon_that_writes() {
    let bastion = Bastion::start();
    let (ask, key) = (bastion.ask("1m"), Key::new());
    bastion.request(ALICE, &ask, &key);
    let events = || {
        let verified = bastion.jitd(&["audit", "verify"]);
        assert!(verified.status.success(), "{}", text(&verified.stderr));
        let told = text(&verified.stdout);
        let number = told.split_once("events ").unwrap().1.split(',').next().unwrap();
        number.parse::<u32>().unwrap()
    };
    let before = events();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for _ in 0..40 {
                bastion.request(ALICE, &ask, &key);
            }
        });
        while !writing.is_finished() {
            events();
        }
    });
    assert_eq!(events(), before + 40);
}

// ---- full, unwritable ----

/// While the disk is full, nothing is requested, approved or issued, but access still ends; when there is room again,
/// the ends are recorded automatically.
#[test]
fn a_full_disk_grants_nothing_and_still_ends_access() {
    let mut bastion = Bastion::prepared(Plane::shared(), Options::default());
    bastion.serve_on_a_small_disk();
    let key = Key::new();
    let waiting = bastion.request(ALICE, &bastion.ask("1m"), &key);
    let pending = bastion.request(ALICE, &bastion.ask("1m"), &Key::new());
    assert_eq!(bastion.approve(BOB, &waiting).0, 200);
    let revoked = bastion.live(&bastion.ask("5m"));
    let expired = bastion.live(&bastion.ask("8s"));

    let health = || (bastion.get(ERIN, "/healthz"), bastion.metric("trail_unwritable"));
    assert_eq!(health(), ((200, json!("ok\n")), 0));
    bastion.fill_disk();
    let refused = |(status, answer): (u16, Value)| {
        assert_eq!((status, &answer["code"]), (503, &json!("trail-unavailable")), "{answer}");
    };
    refused(bastion.post(ALICE, "/v1/grants", &json!({ "ask": bastion.ask("1m"), "csr": Key::new().csr() })));
    refused(bastion.approve(BOB, &pending));
    refused(bastion.certificate(ALICE, &waiting, &key));
    refused(bastion.certificate(ALICE, &revoked.grant, &revoked.key));
    assert_eq!(bastion.bindings().len(), 2, "nothing was bound");
    let (answer, unwritable) = health();
    refused(answer);
    assert_eq!(unwritable, 1);
    assert_eq!(bastion.get(ERIN, &path(&waiting, "")).1["phase"], "approved");

    refused(bastion.post(BOB, &path(&revoked.grant, "/revoke"), &json!({ "reason": "wrong cluster" })));
    assert_eq!(bastion.look(&revoked, &bastion.ns), 403, "it is taken away, though it could not be recorded");
    until("what is over is taken away too", || bastion.bindings().is_empty().then_some(()));
    assert!(matches!(bastion.look(&expired, &bastion.ns), 401 | 403));

    bastion.make_room();
    // It is tried again after a pause that has grown meanwhile.
    let ended = |grant: &Value| {
        until_within(Duration::from_secs(60), "it ends", || {
            Some(bastion.show(ERIN, grant)).filter(|shown| shown["phase"] == "ended")
        })
    };
    assert_eq!(ended(&expired.grant)["endCause"], "expired");
    let ended = ended(&revoked.grant);
    assert_eq!((&ended["endCause"], &ended["closedBy"]), (&json!("revoked"), &json!("bob")));
    assert_eq!(ended["closingWords"], "wrong cluster");
    assert_eq!(health(), ((200, json!("ok\n")), 0));
    assert_eq!(bastion.approve(BOB, &pending).0, 200);
    assert_eq!(bastion.certificate(ALICE, &waiting, &key).0, 200);
    let verified = bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

/// A daemon that starts on a full disk serves nobody and says why, but first ends the grants that are over.
#[test]
fn a_full_disk_at_the_start_still_ends_what_is_over() {
    let mut bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5s"));
    bastion.kill();
    let limit = format!("--fsize={}:", bastion.size_of_log());
    let over = Instant::now() + Duration::from_millis(5_100);
    until("the window is over", || (Instant::now() > over).then_some(()));

    let refused = Command::new("prlimit")
        .args([&limit, "env", SURVIVES_A_FULL_DISK])
        .arg(root().join("bin/jitd"))
        .arg("--config")
        .arg(bastion.dir.join("config.yaml"))
        .arg("serve")
        .output()
        .unwrap();
    let error = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(
        error.lines().any(|line| line.starts_with("jitd: the trail `") && line.contains("not available")),
        "{error}"
    );
    assert!(bastion.bindings().is_empty());

    bastion.serve();
    assert_eq!(bastion.show(ALICE, &access.grant)["endCause"], "expired");
}

/// A daemon that cannot write its trail does not start, and names the file and the reason.
#[test]
fn an_unwritable_state_is_refused_at_the_start() {
    // As root every file is writable, so it is somebody else who tries: in a folder that takes nothing new,
    // and with a trail that another account has made.
    for (mode, owner) in [(0o500, STRANGER.uid), (0o700, 0)] {
        let desk = Desk::new();
        let state = desk.0.join("var");
        std::fs::remove_file(desk.trail().with_extension("lock")).unwrap();
        chown(desk.trail(), Some(owner), Some(owner)).unwrap();
        chown(&state, Some(STRANGER.uid), Some(STRANGER.uid)).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = desk.command(&["serve"]).uid(STRANGER.uid).gid(STRANGER.uid).output().unwrap();
        let error = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{error}");
        assert!(error.starts_with("jitd: the trail `") && error.contains("is not available: "), "{error}");
    }
}

// ---- of another time ----

/// The clock of the test, in seconds from the host's.
static CLOCK_IS_OFF: AtomicI64 = AtomicI64::new(0);

#[expect(clippy::disallowed_methods, reason = "the clock that the test holds")]
fn clock() -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(CLOCK_IS_OFF.load(Ordering::SeqCst))
}

/// With a clock that was set back by more than a few seconds nothing is signed, however often the daemon restarts;
/// grants still end.
#[test]
fn with_a_clock_set_back_nothing_is_signed_and_access_still_ends() {
    let bastion = Bastion::prepared(Plane::shared(), Options::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config::read(&bastion.dir.join("config.yaml")).unwrap();
        let person = async |uid| config.people.by_uid(uid).await.unwrap();
        let (alice, bob) = (person(ALICE.uid).await, person(BOB.uid).await);
        let ask = AccessRequest {
            cluster: "play".parse().unwrap(),
            scope: bastion.ns.parse::<Namespace>().unwrap().into(),
            access: Access::Role("view".parse().unwrap()),
            fields: BTreeMap::new(),
            start: None,
            window: "5m".parse().unwrap(),
            reason: "INC-1".parse().unwrap(),
        };
        let (broker, trail) = broker(&config);
        let (key, other) = (Key::new(), Key::new());
        let approved = async |key: &Key| -> Arc<Grant> {
            let grant = broker.request(&alice, ask.clone(), &key.csr()).await.unwrap();
            broker.approve(&grant, &bob, &grant.digest, &Narrowing::default()).await.unwrap()
        };
        let live = approved(&key).await;
        broker.certificate(&live, &alice, &key.csr()).await.unwrap();
        let waiting = approved(&other).await;

        CLOCK_IS_OFF.store(-4, Ordering::SeqCst);
        assert!(broker.certificate(&live, &alice, &key.csr()).await.is_ok(), "clocks are never quite right");

        CLOCK_IS_OFF.store(-3600, Ordering::SeqCst);
        let went_back = async |broker: &Broker, grant: &Grant, key: &Key| {
            let refused = broker.certificate(grant, &alice, &key.csr()).await;
            let refused = refused.err();
            assert!(matches!(refused, Some(BrokerError::ClockWentBack { .. })), "{refused:?}");
        };
        went_back(&broker, &live, &key).await;
        went_back(&broker, &waiting, &other).await;
        assert_eq!(tokio::task::block_in_place(|| bastion.bindings().len()), 1, "nothing new is bound");
        let ended = broker.revoke(&live, &bob, "the clock is wrong".to_owned()).await.unwrap();
        assert_eq!(ended.phase, Phase::Ended);
        assert!(tokio::task::block_in_place(|| bastion.bindings().is_empty()));

        // What a daemon writes with a wrong clock does not make the clock right for the next one.
        broker.stopped().await.unwrap();
        trail.close();
        drop((broker, trail));
        for _ in 0..2 {
            let (broker, trail) = self::broker(&config);
            broker.started("0", "host", "0", None).await.unwrap();
            went_back(&broker, &waiting, &other).await;
            trail.close();
        }
        CLOCK_IS_OFF.store(0, Ordering::SeqCst);
        let (broker, trail) = self::broker(&config);
        broker.certificate(&waiting, &alice, &other.csr()).await.unwrap();
        broker.release(&waiting, &alice).await.unwrap();
        trail.close();
    });
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
}

/// A broker like the daemon's, except for the clock.
fn broker(config: &Config) -> (Arc<Broker>, Trail) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let opened = Trail::open(&config.trail()).unwrap();
    let trail = opened.trail.clone();
    let host = config.host.as_str();
    let sites = config.clusters.iter().map(|(name, cluster)| {
        let authority = Authority::open(&cluster.authority, &cluster.key).unwrap();
        let made =
            authority.daemon_credential(host, SignedDuration::from_mins(10), opened.latest.max(clock())).unwrap();
        let credential = Credential::Certificate { chain_pem: made.chain_pem, key_pem: made.key_pem };
        let endpoint = Endpoint::new(name.clone(), &cluster.server, &cluster.certificate_authority).unwrap();
        let cluster = Cluster::connect(endpoint, host, &credential).unwrap();
        (name.clone(), Site::new(cluster, authority))
    });
    let parts = Parts {
        sites: sites.collect(),
        opened,
        policy: config.policy.clone(),
        people: config.people.clone(),
        times: config.times,
        overseers: Overseers { readers: Vec::new(), admins: Vec::new() },
        clock,
        ids: random_id,
    };
    (Arc::new(Broker::new(parts)), trail)
}

/// How large the trail's log is: a process that may write no larger file can't append.
/// A configuration and a trail of eight events, without a cluster.
struct Desk(PathBuf);

impl Desk {
    fn new() -> Self {
        let desk = Self(scratch("desk"));
        let config = "host: desk\nsocket: run/api.sock\nstate: var\npolicy: policy.yaml\n\
                      clusters:\n- {name: play, server: \"https://127.0.0.1:1\", certificateAuthority: ca.crt}\n";
        let policy = "rules:\n- {name: payments, who: [oncall], clusters: [play], namespaces: [payments], roles: [view], \
                      maxDuration: 5m, approval: [{groups: [leads]}]}\n";
        for (name, written) in [("config.yaml", config), ("policy.yaml", policy), ("ca.crt", "")] {
            std::fs::write(desk.0.join(name), written).unwrap();
        }
        std::fs::create_dir(desk.0.join("var")).unwrap();
        std::fs::set_permissions(desk.0.join("var"), std::fs::Permissions::from_mode(0o700)).unwrap();
        let trail = Trail::open(&desk.trail()).unwrap().trail;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut last = BTreeMap::new();
        for fact in story() {
            let grant = fact.grant.clone();
            let after = last.get(&grant).copied();
            last.insert(grant, runtime.block_on(trail.append(vec![fact], after)).unwrap().seq);
        }
        trail.close();
        desk
    }

    fn trail(&self) -> PathBuf {
        self.0.join("var/trail.db")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(root().join("bin/jitd"));
        command.arg("--config").arg(self.0.join("config.yaml")).args(arguments).env_remove("NOTIFY_SOCKET");
        command
    }

    fn jitd(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The head of a consistent trail.
    fn head(&self) -> String {
        let verified = self.jitd(&["audit", "verify"]);
        assert!(verified.status.success(), "{}", text(&verified.stderr));
        text(&verified.stdout).lines().find_map(|line| line.strip_prefix("head ")).unwrap().to_owned()
    }

    fn alter(&self, statement: &str) {
        past_the_triggers(&self.trail(), |connection| connection.execute_batch(statement).unwrap());
    }
}

/// What somebody does who owns the file and knows what a trigger is: afterwards all are there again.
pub(crate) fn past_the_triggers(trail: &Path, alteration: impl FnOnce(&Connection)) {
    let connection = Connection::open(trail).unwrap();
    let triggers: Vec<(String, String)> = {
        let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    for (name, _) in &triggers {
        connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    alteration(&connection);
    for (_, trigger) in &triggers {
        connection.execute_batch(trigger).unwrap();
    }
}

/// Two requests: one is withdrawn, the other answered by people who may not.
fn story() -> Vec<Fact> {
    let at = |second| Timestamp::from_second(1_800_000_000 + second).unwrap();
    let id = |number| GrantId::from_random([number; 10]);
    let fact = |number, by: &str, second, event| {
        Author::Person { name: by.parse().unwrap(), login: None }.fact(at(second), Some(id(number)), event)
    };
    let requested = |second: i64| {
        let usual = requested(at(second));
        let ask = AccessRequest { reason: format!("INC-{second}").parse().unwrap(), ..usual.ask.clone() };
        Event::Requested(Box::new(Requested { ask, ..usual }))
    };
    let refused = || Event::Refused { action: "approve".to_owned(), code: "not-allowed".to_owned() };
    vec![
        fact(2, "alice", 0, requested(0)),
        fact(2, "dave", 0, refused()),
        fact(1, "alice", 1, requested(1)),
        fact(1, "alice", 2, refused()),
        fact(2, "alice", 3, Event::Withdrawn),
        fact(1, "dave", 4, refused()),
        fact(1, "dave", 5, refused()),
        fact(1, "dave", 6, refused()),
    ]
}

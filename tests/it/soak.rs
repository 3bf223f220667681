//! A daemon that is repeatedly killed at random moments, under load, with a real API server: for a minute here, and as long
//! as you like with `make soak`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, ERIN, Key, Person, path, text};
use crate::plane::until_within;

/// So many stories are told side by side.
const STORIES: usize = 6;

/// What is left of a cut story ends by itself soon, so that there is never much of it.
const WINDOWS: [&str; 2] = ["5s", "20s"];

/// A creation that the API server carries out after its daemon's death is found by the comparison of each minute.
const FOUND_BY: Duration = Duration::from_secs(150);

/// What was acknowledged: a grant, and the event that stands for the answer.
type Acknowledged = (String, &'static str);

/// Nothing that was acknowledged is missing, no binding is left that no grant has, and the trail is whole, after each start.
#[test]
fn acknowledged_facts_survive_every_kill() {
    let minutes = std::env::var("JITD_SOAK_MINUTES").map_or(1, |minutes| minutes.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut bastion = Bastion::start();
    let mut chance = u64::from(std::process::id());
    let (mut seen, mut kills) = (0, 0);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    while Instant::now() < end {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let acknowledged = until_killed(&bastion, Duration::from_millis(200 + (chance >> 33) % 2_500));
        bastion.kill();
        bastion.serve();
        kills += 1;

        let verified = bastion.jitd(&["audit", "verify"]);
        assert!(verified.status.success(), "after {kills} kills: {}", text(&verified.stderr));
        let found = events_after(&bastion, &mut seen);
        for (grant, kind) in &acknowledged {
            assert!(found.contains(&(grant.clone(), (*kind).to_owned())), "{kind} of {grant}, after {kills} kills");
            *counts.entry(kind).or_default() += 1;
        }
        until_within(FOUND_BY, "only live grants have a binding", || {
            (bastion.bindings().into_iter().collect::<BTreeSet<_>>() == bindings_of_live(&bastion)).then_some(())
        });
        assert!(!bastion.log().contains("panicked"));
    }
    // What was cut off before its answer would wait for it for an hour.
    let revoked = bastion.jitd(&["revoke", "--all", "--yes", "--reason", "done"]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    until_within(FOUND_BY, "nothing is left", || {
        (open(&bastion).is_empty() && bastion.bindings().is_empty()).then_some(())
    });
    eprintln!("{kills} kills, {seen} events, acknowledged and found: {counts:?}");
    for kind in ["requested", "approved", "denied", "withdrawn", "live", "ended"] {
        assert!(counts.contains_key(kind), "nothing is proved about `{kind}`: {counts:?}");
    }
}

/// Tells stories until the daemon is killed, which is after so long. What it acknowledged.
fn until_killed(bastion: &Bastion<'_>, after: Duration) -> Vec<Acknowledged> {
    let acknowledged = Mutex::default();
    std::thread::scope(|scope| {
        let (under_way, over) = mpsc::channel::<()>();
        for story in 0..STORIES {
            let (acknowledged, under_way) = (&acknowledged, under_way.clone());
            scope.spawn(move || {
                let _under_way = under_way;
                let told = |turn| Story { bastion, acknowledged, window: WINDOWS[turn % 2] }.tell(turn);
                (story..).try_for_each(told).unwrap_err()
            });
        }
        drop(under_way);
        // Nothing is ever sent: this is the moment.
        assert_eq!(over.recv_timeout(after), Err(RecvTimeoutError::Timeout), "a story ended before the kill");
        kill(Pid::from_raw(bastion.pid().try_into().unwrap()), Signal::SIGKILL).unwrap();
    });
    acknowledged.into_inner().unwrap()
}

/// One grant, from its request on.
struct Story<'a> {
    bastion: &'a Bastion<'a>,
    acknowledged: &'a Mutex<Vec<Acknowledged>>,
    window: &'static str,
}

impl Story<'_> {
    /// Fails when the daemon is gone.
    fn tell(&self, turn: usize) -> Result<(), String> {
        let key = Key::new();
        let body = json!({ "ask": self.bastion.ask(self.window), "csr": key.csr() });
        let (status, grant) = self.bastion.attempt(ALICE, "POST", "/v1/grants", &body)?;
        assert_eq!(status, 201, "{grant}");
        self.note(&grant, "requested");
        let reason = json!({ "reason": "INC-42" });
        match turn % 8 {
            0 => return self.call(ALICE, &grant, "withdraw", &Value::Null, "withdrawn"),
            1 => return self.call(BOB, &grant, "deny", &reason, "denied"),
            _ => self.call(BOB, &grant, "approve", &json!({ "digest": grant["digest"] }), "approved")?,
        }
        let csr = json!({ "csr": key.csr() });
        self.call(ALICE, &grant, "certificate", &csr, "live")?;
        match turn % 4 {
            0 => self.call(ALICE, &grant, "end", &Value::Null, "ended"),
            1 => self.call(BOB, &grant, "revoke", &reason, "ended"),
            // It ends by itself.
            _ => self.call(ALICE, &grant, "certificate", &csr, "live"),
        }
    }

    /// What is refused, as when a short window is over by now, promises nothing.
    fn call(&self, by: Person, grant: &Value, verb: &str, body: &Value, kind: &'static str) -> Result<(), String> {
        let (status, _) = self.bastion.attempt(by, "POST", &path(grant, &format!("/{verb}")), body)?;
        if status == 200 {
            self.note(grant, kind);
        }
        Ok(())
    }

    fn note(&self, grant: &Value, kind: &'static str) {
        self.acknowledged.lock().unwrap().push((grant["id"].as_str().unwrap().to_owned(), kind));
    }
}

/// The events after `seen`, each as its grant and its kind; `seen` is the last of them afterwards.
fn events_after(bastion: &Bastion<'_>, seen: &mut i64) -> HashSet<(String, String)> {
    let trail = bastion.dir.join("var/trail.db");
    let connection = Connection::open_with_flags(trail, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement =
        connection.prepare("SELECT seq, coalesce(grant_id, ''), kind FROM events WHERE seq > ?1 ORDER BY seq").unwrap();
    let rows = statement.query_map([*seen], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
    rows.map(|row| {
        let (seq, event) = row.unwrap();
        *seen = seq;
        event
    })
    .collect()
}

fn open(bastion: &Bastion<'_>) -> Vec<Value> {
    let (status, list) = bastion.get(ERIN, "/v1/grants?limit=1000");
    assert_eq!(status, 200, "{list}");
    list["grants"].as_array().unwrap().clone()
}

fn bindings_of_live(bastion: &Bastion<'_>) -> BTreeSet<String> {
    let live = open(bastion).into_iter().filter(|grant| grant["phase"] == "live");
    live.map(|grant| format!("jit-{}", grant["id"].as_str().unwrap())).collect()
}

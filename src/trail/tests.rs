//! The trail by itself: what is stored together, what is refused alone, and that what `open` reloads is
//! what the facts make, whatever their order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use proptest::prelude::*;

use rusqlite::{Connection, ErrorCode, params};
use tokio::sync::Semaphore;

use super::chain::parse;
use super::queries::{
    ASKED_SINCE, CLOSED, CLOSED_BEGINNING, CLOSED_FOR_WATCHER, CLOSED_OF_PERSON, EVENTS_OF, OPEN, WATCHES,
};
use super::sqlite::TAIL;
use super::store::INSERT;
use super::writer::{Queue, Taker, WAITING};
use super::*;
use crate::grant::approval;
use crate::grant::digest::sha256_hex;
use crate::grant::glass::Verdict;
use crate::grant::request::{Access, Ask, KeyHash, Namespace, Person, PersonName, Scope};
use crate::grant::risk::assess;
use crate::grant::role::ResolvedRole;
use crate::grant::{Author, Clock, DecidedOn, EndCause, EndProof, Event, Requested, Shown};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("jitd-trail-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn trail(&self) -> PathBuf {
        self.0.join("trail.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn id(number: u8) -> GrantId {
    GrantId::from_random([number; 10])
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn person(name: &str) -> Option<PersonName> {
    Some(name.parse().unwrap())
}

fn fact(grant: Option<u8>, by: Option<&str>, second: i64, event: Event) -> Fact {
    let author = by.and_then(person).map_or(Author::Daemon, |name| Author::Person { name, login: None });
    author.fact(at(second), grant.map(id), event)
}

fn requested(number: u8) -> Fact {
    let event = Requested {
        ask: Ask {
            cluster: "play".parse().unwrap(),
            scope: "payments".parse::<Namespace>().unwrap().into(),
            access: Access::Role("view".parse().unwrap()),
            fields: BTreeMap::new(),
            start: None,
            window: "5m".parse().unwrap(),
            reason: "INC-42".parse().unwrap(),
        },
        key: KeyHash("ab".repeat(32)),
        shown: Shown {
            role: ResolvedRole::new("role-1".to_owned(), Vec::new()),
            assessment: assess(&[], &Scope::Cluster, None),
            holds: Vec::new(),
            holds_more: 0,
        },
        decided_on: DecidedOn::default(),
        terms: serde_json::from_value(serde_json::json!({ "rule": "payments", "steps": [{ "groups": ["payments-leads"], "count": 2 }], "maxTotal": "1h", "narrow": false, "drift": "revoke",
            "breakGlass": { "maxDuration": "1m", "review": { "steps": [{ "groups": ["x"], "count": 2 }], "within": "1h" } } })).unwrap(),
        digest: "cd".repeat(32),
        pending_until: at(3600),
    };
    fact(Some(number), Some("alice"), 0, Event::Requested(Box::new(event)))
}

fn refused(number: u8) -> Fact {
    let event = Event::Refused { action: "approve".to_owned(), code: "not-allowed".to_owned() };
    fact(Some(number), Some("dave"), 1, event)
}

fn withdrawn(number: u8) -> Fact {
    fact(Some(number), Some("alice"), 2, Event::Withdrawn)
}

fn started(second: i64) -> Fact {
    let event = Event::Started {
        version: "1".to_owned(),
        host: "h".to_owned(),
        policy_sha256: "0".to_owned(),
        guardrails_sha256: None,
    };
    fact(None, None, second, event)
}

/// A trail that waits for nothing.
fn simulated(folder: &Folder) -> Trail {
    let (before, after) = (|| std::future::ready(Ok(())), || std::future::ready(()));
    Trail::simulated(&folder.trail(), before, after).unwrap().trail
}

/// Appends facts about several grants, each after the last one about its grant.
async fn append_each(trail: &Trail, facts: &[Fact]) {
    for together in facts.chunk_by(|one, next| one.grant == next.grant) {
        let mut after = None;
        if let Some(grant) = &together[0].grant {
            after = trail.lines_of(grant).await.unwrap().last().map(|line| parse(line).unwrap().seq);
        }
        trail.append(together.to_vec(), after).await.unwrap();
    }
}

/// How many transactions the write-ahead log of a trail holds: a frame that ends one carries the size of
/// the file after it (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>, section 4.1).
fn transactions(trail: &Path) -> usize {
    let log = std::fs::read(trail.with_extension("db-wal")).unwrap();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    let page = usize::try_from(number(&log[8..])).unwrap();
    log[32..].chunks(24 + page).filter(|frame| number(&frame[4..]) != 0).count()
}

/// A round trip goes through the writer and its store, and leaves nothing behind.
#[tokio::test]
async fn a_round_trip_writes_nothing_and_fails_without_a_writer() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    let end = trail.append(vec![requested(1)], None).await.unwrap();
    let sizes = || ["trail.db", "trail.db-wal"].map(|name| std::fs::metadata(folder.0.join(name)).unwrap().len());
    let before = sizes();
    assert_eq!(trail.round_trip().await.unwrap(), end, "where the trail ends");
    assert_eq!(sizes(), before);
    trail.append(vec![requested(2)], None).await.unwrap();
    trail.close();
    assert!(matches!(trail.round_trip().await, Err(TrailError::Unavailable { .. })));
    assert_eq!(verify_file(&folder.trail(), |_| {}).unwrap().events, 2);
}

/// 500 that wait share a few commits, so that a disk which is asked to sync does not decide how many
/// people can be served.
#[tokio::test]
async fn appends_that_wait_share_a_commit() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1)], None).await.unwrap();
    let before = transactions(&folder.trail());
    // Each follows the one before it, which nobody has been told of.
    let stored = futures::future::join_all((1..=500).map(|last| trail.append(vec![refused(1)], Some(last)))).await;
    let stored: Vec<i64> = stored.into_iter().map(|stored| stored.unwrap().seq).collect();
    assert_eq!(stored, (2..=501).collect::<Vec<i64>>());
    let commits = transactions(&folder.trail()) - before;
    assert!((1..=20).contains(&commits), "{commits} commits for 500 appends");
    assert_eq!(trail.lines_of(&id(1)).await.unwrap().len(), 501);
    trail.close();
    assert_eq!(verify_file(&folder.trail(), |_| {}).unwrap().events, 501);
}

/// Of appends that share a commit, the one that may not stand is refused, and the others are stored.
#[tokio::test]
async fn what_may_stand_only_once_is_refused_alone() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    let appends =
        [(requested(1), None), (requested(2), None), (requested(1), None), (refused(2), Some(2)), (requested(3), None)];
    let stored = futures::future::join_all(appends.map(|(fact, after)| trail.append(vec![fact], after))).await;
    assert!(matches!(stored[2], Err(TrailError::Duplicate)), "{:?}", stored[2]);
    assert_eq!(stored.iter().filter(|stored| stored.is_ok()).count(), 4);
    trail.close();
    let report = verify_file(&folder.trail(), |_| {}).unwrap();
    assert_eq!((report.events, report.grants, report.open), (4, 3, 3));
}

/// Several facts of one append are all there or none, also when the last of them is refused.
#[tokio::test]
async fn facts_of_one_append_stand_together_or_not_at_all() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1), refused(1)], None).await.unwrap();
    let error = trail.append(vec![requested(2), refused(2), withdrawn(2), requested(1)], None).await.unwrap_err();
    assert!(matches!(error, TrailError::Duplicate), "{error}");
    trail.append(vec![refused(1), withdrawn(1)], Some(2)).await.unwrap();
    assert!(trail.lines_of(&id(2)).await.unwrap().is_empty());
    trail.close();
    let report = verify_file(&folder.trail(), |_| {}).unwrap();
    assert_eq!((report.events, report.grants, report.open), (4, 1, 0));
}

/// Who decides on what a grant was is told that it has become something else, and nothing of what they decided is stored:
/// whether both come at once or one after the other.
#[tokio::test]
async fn of_two_that_follow_one_event_the_second_is_refused() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1)], None).await.unwrap();
    let appends = [
        (vec![refused(1), refused(1)], Some(1)),
        (vec![refused(1), withdrawn(1)], Some(1)),
        (vec![requested(2)], None),
        (vec![refused(1)], Some(3)),
    ];
    let stored = futures::future::join_all(appends.map(|(facts, after)| trail.append(facts, after))).await;
    let is_moved = |stored: &Result<Position, TrailError>, was: Option<i64>, is: Option<i64>| matches!(stored, Err(TrailError::Moved { after, last, .. }) if (*after, *last) == (was, is));
    assert!(is_moved(&stored[1], Some(1), Some(3)), "{:?}", stored[1]);
    let seqs: Vec<i64> = stored.iter().flatten().map(|position| position.seq).collect();
    assert_eq!(seqs, [3, 4, 5]);
    let late = trail.append(vec![refused(1)], Some(3)).await;
    assert!(is_moved(&late, Some(3), Some(5)), "{late:?}");
    let early = trail.append(vec![refused(1)], Some(6)).await;
    assert!(is_moved(&early, Some(6), Some(5)), "{early:?}");
    assert!(trail.fault().is_none(), "the store works");
    trail.close();
    assert_eq!(verify_file(&folder.trail(), |_| {}).unwrap().events, 5);
}

/// Nobody can forget to say what they follow.
#[tokio::test]
async fn what_follows_nothing_is_refused() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1), requested(2)], None).await.unwrap();
    for (facts, after) in [
        (vec![refused(1)], None),
        (vec![refused(3)], None),
        (vec![refused(3)], Some(2)),
        (vec![refused(1)], Some(2)),
        (vec![refused(1), refused(2)], Some(1)),
        (vec![requested(3), refused(3), refused(2)], Some(1)),
    ] {
        let stored = trail.append(facts.clone(), after).await;
        assert!(matches!(stored, Err(TrailError::Moved { .. })), "{facts:?} after {after:?}: {stored:?}");
    }
    trail.append(vec![requested(3), refused(1), refused(3), started(0), refused(1)], Some(1)).await.unwrap();
    trail.close();
    assert_eq!(verify_file(&folder.trail(), |_| {}).unwrap().events, 7);
}

/// Whoever appends is told where the last line of it lies, and with which hash.
#[tokio::test]
async fn a_position_is_that_of_the_line_on_the_disk() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    let empty = trail.round_trip().await.unwrap();
    assert_eq!(empty, Position { seq: 0, hash: "0".repeat(64) });
    let mut told = futures::future::join_all([
        trail.append(vec![requested(1), refused(1)], None),
        trail.append(vec![requested(1)], None),
        trail.append(vec![refused(1)], Some(2)),
        trail.append(vec![], Some(7)),
        trail.append(vec![started(0), started(1)], None),
    ])
    .await;
    assert!(told.remove(1).is_err());
    let told: Vec<Position> = told.into_iter().map(Result::unwrap).collect();
    assert_eq!(told.iter().map(|position| position.seq).collect::<Vec<_>>(), [2, 3, 3, 5]);
    let connection = Connection::open(folder.trail()).unwrap();
    for position in &told {
        let line: String =
            connection.query_row("SELECT line FROM events WHERE seq = ?1", [position.seq], |row| row.get(0)).unwrap();
        assert_eq!(position.hash, sha256_hex(line.as_bytes()));
    }
    trail.close();
    assert_eq!(verify_file(&folder.trail(), |_| {}).unwrap().head, told[3].hash);
}

/// What SQLite calls done is believed when a row came of it: a trigger can make it keep nothing and say nothing.
#[tokio::test]
async fn nothing_is_told_as_stored_that_a_trigger_swallowed() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1)], None).await.unwrap();
    let other = Connection::open(folder.trail()).unwrap();
    for (what, facts) in [
        ("INSERT ON events", vec![refused(1)]),
        ("INSERT ON links", vec![refused(1)]),
        ("UPDATE OF last ON grants", vec![refused(1)]),
        ("UPDATE OF open ON grants", vec![withdrawn(1)]),
        ("INSERT ON grants", vec![requested(2)]),
    ] {
        let trigger = format!("CREATE TRIGGER swallows BEFORE {what} BEGIN SELECT RAISE(IGNORE); END");
        other.execute_batch(&trigger).unwrap();
        let last = trail.round_trip().await.unwrap();
        // The one beside it shares the commit that could not be made, or comes alone.
        let (swallowed, _) = tokio::join!(trail.append(facts, Some(1)), trail.round_trip());
        assert!(matches!(swallowed, Err(TrailError::Unavailable { .. })), "{what}: {swallowed:?}");
        assert!(trail.fault().is_some());
        assert_eq!(trail.round_trip().await.unwrap(), last, "{what}");
        other.execute_batch("DROP TRIGGER swallows").unwrap();
    }
    trail.append(vec![refused(1)], Some(1)).await.unwrap();
    assert!(trail.fault().is_none());
    trail.close();
    assert_eq!(verify_file(&folder.trail(), |_| {}).unwrap().events, 2);
}

/// A file that somebody else appends to is left to them: what we know of its end is not so any more.
#[tokio::test]
async fn nothing_is_appended_beside_another_writer() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1)], None).await.unwrap();
    let other = Connection::open(folder.trail()).unwrap();
    other.execute(INSERT, params![2, id(1).as_str(), "refused", "{}"]).unwrap();
    for after in [Some(1), Some(2)] {
        let stored = trail.append(vec![refused(1)], after).await;
        assert!(matches!(stored, Err(TrailError::Unavailable { .. })), "{stored:?}");
    }
    assert!(trail.round_trip().await.is_err());
}

/// An approval that is spent is spent for the next daemon too.
#[tokio::test]
async fn once_is_once_across_restarts() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    let intent = || fact(Some(1), None, 2, Event::BindIntended { binding: "jit-x".to_owned() });
    trail.append(vec![requested(1), intent()], None).await.unwrap();
    trail.close();
    drop(trail);
    // The fold refuses it too; here it is the disk that does.
    let connection = Connection::open(folder.trail()).unwrap();
    let line = serde_json::to_string(&intent()).unwrap();
    let again = connection.execute(
        "INSERT INTO events (seq, grant_id, kind, line) VALUES (3, ?1, 'bind_intended', ?2)",
        params![id(1).as_str(), line],
    );
    assert_eq!(again.unwrap_err().sqlite_error_code(), Some(ErrorCode::ConstraintViolation));
}

/// The condition of an index is worked out at each insert, and some take longer than the insert.
#[test]
fn an_insert_fills_no_table_of_its_own() {
    let connection = Connection::open_in_memory().unwrap();
    layout::create(&connection).unwrap();
    let mut program = connection.prepare(&format!("EXPLAIN {INSERT}")).unwrap();
    let rows = program.query_map(params![1, "grant", "kind", "line"], |row| row.get(1)).unwrap();
    let steps: Vec<String> = rows.collect::<Result<_, _>>().unwrap();
    assert!(steps.iter().any(|step| step == "Insert"), "{steps:?}");
    assert!(!steps.iter().any(|step| step == "OpenEphemeral"), "{steps:?}");
}

/// However many events and grants there are, what is looked for is found by its key, and lists are found in their order.
#[test]
fn nothing_is_found_by_reading_all_there_is() {
    let connection = Connection::open_in_memory().unwrap();
    layout::create(&connection).unwrap();
    let latest = format!("{EVENTS_OF} WHERE kind IN ('requested', 'narrowed') ORDER BY seq DESC LIMIT 1");
    for (query, key) in [
        (&*format!("{EVENTS_OF} ORDER BY seq"), "events USING INTEGER PRIMARY KEY"),
        (&latest, "events USING INTEGER PRIMARY KEY"),
        (OPEN, "grants USING INDEX grants_in_order"),
        (CLOSED, "grants USING INDEX grants_in_order (open=? AND rowid>?)"),
        (CLOSED_OF_PERSON, "grants USING INDEX grants_of_person (requester=? AND rowid>?)"),
        (CLOSED_FOR_WATCHER, "watchers USING PRIMARY KEY (watcher=? AND seq>?)"),
        (CLOSED_BEGINNING, "grants USING INDEX sqlite_autoindex_grants_1 (id>? AND id<?)"),
        (WATCHES, "watchers USING PRIMARY KEY (watcher=? AND seq=?)"),
        (ASKED_SINCE, "grants USING INDEX grants_of_person (requester=?)"),
    ] {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let parameters = vec!["grant"; plan.parameter_count()];
        let rows = plan.query_map(rusqlite::params_from_iter(parameters), |row| row.get(3)).unwrap();
        let steps: Vec<String> = rows.collect::<Result<_, _>>().unwrap();
        assert!(steps.iter().any(|step| step.starts_with(&format!("SEARCH {key}"))), "{query}: {steps:?}");
        let tables = ["events", "grants", "watchers", "links"].map(|table| format!("SCAN {table}"));
        assert!(!steps.iter().any(|step| tables.iter().any(|scan| step.starts_with(scan))), "{query}: {steps:?}");
        let sorts = steps.iter().any(|step| step.contains("TEMP B-TREE"));
        assert!(!sorts || query.starts_with(EVENTS_OF) || query == OPEN, "{query}: {steps:?}");
    }
}

/// Who may see what is over, whichever way it is found: by whom it was asked, by their groups, by the beginning of an id.
#[tokio::test]
async fn what_is_over_is_shown_to_whom_it_may_be_newest_first() {
    let folder = Folder::new();
    let trail = simulated(&folder);
    let asked = |number: u8, by: &str, groups: [&str; 2]| {
        let mut fact = requested(number);
        fact.author = Author::Person { name: by.parse().unwrap(), login: None };
        let Event::Requested(requested) = &mut fact.event else { panic!("it was asked for") };
        requested.terms = serde_json::from_value(serde_json::json!({ "rule": "payments", "steps": [{ "groups": groups, "count": 1 }], "maxTotal": "1h", "narrow": false, "drift": "revoke" })).unwrap();
        fact
    };
    // Every third stays open.
    for number in 0..30 {
        let (by, groups) = match number % 5 {
            0 => ("alice", ["leads", "payments"]),
            1 => ("bob", ["leads", "search"]),
            _ => ("leads", ["search", "payments"]),
        };
        trail.append(vec![asked(number, by, groups)], None).await.unwrap();
    }
    for number in (0..30).filter(|number| number % 3 != 0) {
        append_each(&trail, &[withdrawn(number)]).await;
    }
    let person = |name: &str, groups: &[&str]| Person {
        name: name.parse().unwrap(),
        groups: groups.iter().map(ToString::to_string).collect(),
        login: None,
    };
    for viewer in [
        person("alice", &[]),
        person("bob", &["payments"]),
        person("carol", &["leads", "payments"]),
        person("carol", &["leads", "none", "search"]),
        person("erin", &["auditors"]),
        person("dave", &["none"]),
        // A group of that name is not a person of that name.
        person("leads", &[]),
    ] {
        let overseers = ["auditors".to_owned()];
        let mut seen = Vec::new();
        for number in (0..30).rev().filter(|number| number % 3 != 0) {
            let lines = trail.lines_of(&id(number)).await.unwrap();
            let grant = Grant::begin(&parse(&lines[0]).unwrap().fact).unwrap();
            if approval::may_see(&grant, &viewer, &overseers) {
                seen.push(grant.id);
            }
        }
        for limit in [0, 1, 2, 3, 7, 20, 100] {
            let (found, more) = trail.closed(&viewer, &overseers, "", limit).await.unwrap();
            let found: Vec<GrantId> = found.into_iter().map(|grant| grant.id).collect();
            assert_eq!(found, seen[..limit.min(seen.len())], "{viewer:?}, {limit}");
            assert_eq!(more, seen.len() > limit, "{viewer:?}, {limit}");
        }
        for number in 0..30 {
            let whole = id(number);
            for prefix in [whole.as_str(), &whole.as_str()[..8]] {
                let (found, more) = trail.closed(&viewer, &overseers, prefix, 2).await.unwrap();
                let found: Vec<GrantId> = found.into_iter().map(|grant| grant.id).collect();
                assert_eq!((found.contains(&whole), more), (seen.contains(&whole), false), "{viewer:?}, {prefix}");
                assert!(found.iter().all(|id| id.as_str().starts_with(prefix)));
            }
        }
    }
}

/// Requests of a person are counted by their moments, to the one that was asked about and not beyond what is asked for.
#[tokio::test]
async fn requests_are_counted_since_a_moment() {
    let folder = Folder::new();
    let trail = simulated(&folder);
    for number in 0..20 {
        let mut fact = requested(number);
        fact.at = at(i64::from(number) * 10);
        if number % 2 == 1 {
            fact.author = Author::Person { name: "bob".parse().unwrap(), login: None };
        }
        trail.append(vec![fact], None).await.unwrap();
    }
    let alice = "alice".parse().unwrap();
    for (since, most, count) in [
        (Timestamp::MIN, 100, 10),
        (Timestamp::MIN, 1, 1),
        (at(0), 100, 10),
        (at(1), 100, 9),
        (at(180), 100, 1),
        (at(181), 100, 0),
        (at(100), 3, 3),
        (at(170), 3, 1),
    ] {
        assert_eq!(trail.asked_since(&alice, since, most).await.unwrap(), count, "{since}, {most}");
    }
    assert_eq!(trail.asked_since(&"carol".parse().unwrap(), Timestamp::MIN, 1).await.unwrap(), 0);
}

/// A list that takes long keeps nobody waiting who asks about one grant.
#[tokio::test]
async fn a_long_list_holds_up_no_question() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1)], None).await.unwrap();
    let listing = trail.lists.turn().await.unwrap();
    let erin = Person { name: "erin".parse().unwrap(), groups: ["auditors".to_owned()].into(), login: None };
    let overseers = ["auditors".to_owned()];
    let mut list = std::pin::pin!(trail.closed(&erin, &overseers, "", 10));
    assert!(futures::poll!(list.as_mut()).is_pending());
    assert_eq!(trail.lines_of(&id(1)).await.unwrap().len(), 1);
    assert!(trail.closed(&erin, &overseers, id(1).as_str(), 2).await.unwrap().0.is_empty());
    drop(listing);
    assert_eq!(list.await.unwrap(), (vec![], false));
}

/// What files of earlier layouts had beside the events.
const LAYOUTS: [&str; 2] = [
    "CREATE INDEX events_of_grant ON events (grant_id, seq) WHERE grant_id IS NOT NULL;
     CREATE TABLE grants (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, requester TEXT NOT NULL, key TEXT NOT NULL,
        groups TEXT NOT NULL, open INTEGER NOT NULL) STRICT, WITHOUT ROWID;
     CREATE INDEX grants_in_order ON grants (open, seq);
     CREATE INDEX grants_by_key ON grants (key, requester);
     CREATE INDEX grants_of_person ON grants (requester, seq);
     INSERT INTO grants SELECT id, seq, requester, key, '[]', open FROM new.grants;
     PRAGMA user_version = 1;",
    "CREATE TABLE grants (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, requester TEXT NOT NULL, key TEXT NOT NULL,
        groups TEXT NOT NULL, open INTEGER NOT NULL, last INTEGER NOT NULL) STRICT;
     CREATE INDEX grants_in_order ON grants (open);
     CREATE INDEX grants_by_key ON grants (key, requester);
     CREATE INDEX grants_of_person ON grants (requester);
     CREATE TABLE links (seq INTEGER PRIMARY KEY, before INTEGER NOT NULL) STRICT;
     CREATE INDEX draining ON events (seq) WHERE kind IN ('drained', 'resumed');
     INSERT INTO grants SELECT seq, id, requester, key, '[]', open, last FROM new.grants;
     INSERT INTO links SELECT seq, before FROM new.links;
     PRAGMA user_version = 2;",
];

/// Writes the events of one trail as a file of an earlier layout.
fn as_earlier(new: &Folder, old: &Folder, finding: &str) {
    let connection = Connection::open(old.trail()).unwrap();
    connection.execute_batch(layout::EVENTS).unwrap();
    connection.execute("ATTACH ?1 AS new", [new.trail().to_str()]).unwrap();
    connection
        .execute_batch(&format!(
            "INSERT INTO events SELECT * FROM new.events;
             CREATE UNIQUE INDEX once ON events (grant_id, kind) WHERE kind IN ('requested', 'approved', 'denied', 'withdrawn',
                'lapsed', 'bind_intended', 'bound', 'live', 'unbind_intended', 'ended');
             {finding}"
        ))
        .unwrap();
}

/// A trail of before is verified as it is, and becomes at its next start what a new one with the same events is.
#[tokio::test]
async fn a_trail_of_an_earlier_layout_goes_on_as_one_of_the_present() {
    for finding in LAYOUTS {
        let (new, old) = (Folder::new(), Folder::new());
        let trail = Trail::open(&new.trail()).unwrap().trail;
        let mut facts = vec![requested(1), started(0), requested(2), refused(1), refused(2), refused(1), started(3)];
        facts.extend([withdrawn(2), requested(3), refused(1)]);
        append_each(&trail, &facts).await;
        trail.close();
        drop(trail);
        as_earlier(&new, &old, finding);

        let report = verify_file(&new.trail(), |_| {}).unwrap();
        assert_eq!(verify_file(&old.trail(), |_| {}).unwrap(), report, "as it is");
        let Opened { trail, open, .. } = Trail::open(&old.trail()).unwrap();
        let Opened { trail: same, open: same_open, .. } = Trail::open(&new.trail()).unwrap();
        assert_eq!(open, same_open);
        for number in 1..=3 {
            let lines = trail.lines_of(&id(number)).await.unwrap();
            assert_eq!(lines, same.lines_of(&id(number)).await.unwrap());
            assert!(!lines.is_empty());
        }
        assert_eq!(verify_file(&old.trail(), |_| {}).unwrap(), report);
        let found = |folder: &Folder| {
            let connection = Connection::open(folder.trail()).unwrap();
            let names = "SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY name";
            let mut statement = connection.prepare(names).unwrap();
            let rows = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]));
            rows.unwrap().collect::<Result<Vec<[String; 3]>, _>>().unwrap()
        };
        assert_eq!(found(&old), found(&new));

        for trail in [&trail, &same] {
            append_each(trail, &[refused(1), withdrawn(1)]).await;
            trail.close();
        }
        assert_eq!(verify_file(&old.trail(), |_| {}).unwrap(), verify_file(&new.trail(), |_| {}).unwrap());
    }
}

/// What can't be brought to the present layout is refused, and stays what it was.
#[tokio::test]
async fn a_trail_that_cannot_be_brought_up_to_date_stays_as_it_was() {
    for (finding, layout) in LAYOUTS.into_iter().zip(1..) {
        let (new, old) = (Folder::new(), Folder::new());
        let trail = Trail::open(&new.trail()).unwrap().trail;
        trail.append(vec![requested(1), refused(1)], None).await.unwrap();
        trail.close();
        as_earlier(&new, &old, finding);
        let connection = Connection::open(old.trail()).unwrap();
        connection.execute_batch("UPDATE grants SET open = 0; INSERT INTO events VALUES (3, NULL, 'x', 'x')").unwrap();
        let Err(error) = Trail::open(&old.trail()) else { panic!("it was opened") };
        let error = error.to_string();
        assert!(
            error.contains("stays as it was") && error.contains("event 3") && error.contains("\nhint: "),
            "{error}"
        );
        assert_eq!(layout::layout(&connection).unwrap(), layout);
        assert_eq!(connection.query_row("SELECT groups FROM grants", [], |row| row.get(0)), Ok("[]".to_owned()));
        connection.execute_batch("DROP TRIGGER events_are_not_deleted; DELETE FROM events WHERE seq = 3").unwrap();
        let error = verify_file(&old.trail(), |_| {}).unwrap_err().to_string();
        assert!(error.contains("`grants` is not what the events make"), "{error}");
    }
}

/// Links that lead in a circle, which somebody else wrote, are damage and no trap.
#[tokio::test]
async fn a_circle_of_links_ends() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1), refused(1), refused(1)], None).await.unwrap();
    Connection::open(folder.trail()).unwrap().execute_batch("UPDATE links SET before = seq").unwrap();
    assert_eq!(trail.lines_of(&id(1)).await.unwrap().len(), 1);
    trail.close();
    drop(trail);
    let Err(error) = Trail::open(&folder.trail()) else { panic!("it was opened") };
    assert!(matches!(error, TrailError::Damaged { seq: 3, .. }), "{error}");
}

/// An append is answered, also when the writer goes before or after it came.
#[tokio::test]
async fn nobody_waits_for_a_writer_that_is_gone() {
    let queue = Arc::new(Queue::default());
    let put = || queue.put(Append { facts: vec![started(0)], after: None });
    let taker = Taker(Arc::clone(&queue));
    let before = put();
    drop(taker);
    assert!(before.unwrap().await.is_err());
    assert!(put().unwrap().await.is_err());
}

/// On a clock that the test holds: an append waits for both moments around its commit, is stored when whoever waits for it
/// is dropped in the second, and is not when they are dropped in the first; what fails it is told as the disk's answer.
#[tokio::test]
async fn a_simulated_trail_stores_what_the_daemons_does() {
    let (folder, other) = (Folder::new(), Folder::new());
    let (may, stored, fails) =
        (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
    let turn = |semaphore: &Arc<Semaphore>| {
        let semaphore = Arc::clone(semaphore);
        async move { semaphore.acquire().await.unwrap().forget() }
    };
    let before = {
        let (may, fails) = (Arc::clone(&may), Arc::clone(&fails));
        move || {
            let (turn, fails) = (turn(&may), fails.load(Ordering::Relaxed));
            async move {
                turn.await;
                if fails { Err("no space".to_owned()) } else { Ok(()) }
            }
        }
    };
    let after = {
        let stored = Arc::clone(&stored);
        move || turn(&stored)
    };
    let trail = Trail::simulated(&folder.trail(), before, after).unwrap().trail;
    assert!(matches!(Trail::open(&folder.trail()), Err(TrailError::Held(_))));

    drop(futures::poll!(std::pin::pin!(trail.append(vec![requested(1)], None))));
    assert!(trail.lines_of(&id(1)).await.unwrap().is_empty(), "dropped before");
    may.add_permits(1);
    drop(futures::poll!(std::pin::pin!(trail.append(vec![requested(1)], None))));
    assert_eq!(trail.lines_of(&id(1)).await.unwrap().len(), 1, "dropped after");
    may.add_permits(100);
    stored.add_permits(100);
    fails.store(true, Ordering::Relaxed);
    let failed = trail.append(vec![refused(1)], Some(1)).await;
    assert!(matches!(&failed, Err(TrailError::Unavailable { why, .. }) if why == "no space"), "{failed:?}");
    assert_eq!(trail.fault().unwrap(), "no space");
    fails.store(false, Ordering::Relaxed);

    let daemons = Trail::open(&other.trail()).unwrap().trail;
    daemons.append(vec![requested(1)], None).await.unwrap();
    for (facts, after) in [
        (vec![refused(1), refused(1)], Some(1)),
        (vec![refused(1)], Some(1)),
        (vec![requested(1)], None),
        (vec![], None),
        (vec![requested(2), withdrawn(2)], None),
        (vec![withdrawn(1)], Some(3)),
    ] {
        let outcomes = [trail.append(facts.clone(), after).await, daemons.append(facts, after).await];
        let [one, other] = outcomes.map(|outcome| outcome.map_err(|error| error.to_string()));
        assert_eq!(one, other);
    }
    assert!(trail.fault().is_none());
    for trail in [trail, daemons] {
        trail.close();
        assert!(matches!(trail.round_trip().await, Err(TrailError::Unavailable { .. })));
    }
    assert!(Trail::open(&folder.trail()).is_ok());
    assert_eq!(verify_file(&folder.trail(), |_| {}).unwrap(), verify_file(&other.trail(), |_| {}).unwrap());
}

/// While the disk hangs no more wait than have room; the next one is told so at once.
#[tokio::test]
async fn not_ever_more_wait_for_a_disk_that_hangs() {
    let queue = Arc::new(Queue::default());
    let put = || queue.put(Append { facts: vec![], after: None });
    let waiting: Vec<_> = (0..WAITING).map_while(|_| put()).collect();
    assert_eq!(waiting.len(), WAITING);
    assert!(put().is_none());
}

/// A file whose tables, indexes or triggers are not ours is neither written nor believed, and the sentence names what it is.
#[tokio::test]
async fn an_altered_file_is_neither_written_nor_believed() {
    for (alteration, told) in [
        ("DROP INDEX once", "the index `once` is missing"),
        ("DROP TRIGGER events_are_not_deleted", "the trigger `events_are_not_deleted` is missing"),
        (
            "DROP TRIGGER events_are_not_updated;
             CREATE TRIGGER events_are_not_updated BEFORE UPDATE ON events WHEN NEW.seq < 0 BEGIN SELECT 1; END",
            "the trigger `events_are_not_updated` is not ours",
        ),
        (
            "CREATE TRIGGER \"a\u{1b}b\" AFTER INSERT ON events WHEN NEW.kind = 'ended' BEGIN SELECT RAISE(IGNORE); END",
            "the trigger `a\\u{1b}b` is not ours",
        ),
        (
            "ALTER TABLE events RENAME TO elsewhere; CREATE VIEW events AS SELECT * FROM elsewhere WHERE kind <> 'refused'",
            "the table `events` is missing",
        ),
        ("CREATE TABLE more (x)", "the table `more` is not ours"),
        ("ALTER TABLE grants ADD COLUMN x TEXT", "the table `grants` is not ours"),
        ("DROP INDEX once; CREATE INDEX once ON events (grant_id, kind)", "the index `once` is not ours"),
    ] {
        let folder = Folder::new();
        let trail = Trail::open(&folder.trail()).unwrap().trail;
        trail.append(vec![requested(1), refused(1)], None).await.unwrap();
        trail.close();
        drop(trail);
        Connection::open(folder.trail()).unwrap().execute_batch(alteration).unwrap();
        let copy = folder.0.join("copy.db");
        let opened = Trail::open(&folder.trail()).map(|_| ());
        let copied = back_up(&folder.trail(), &copy, |_| {}).map(|_| ());
        for refused in [opened, copied, verify_file(&folder.trail(), |_| {}).map(|_| ())] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("\nhint: "), "{alteration}: {error}");
        }
        assert!(copy.exists(), "it may be needed as evidence");
    }
}

/// One trail, one daemon.
#[test]
fn a_held_trail_is_not_opened() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    let second = Trail::open(&folder.trail());
    assert!(matches!(second, Err(TrailError::Held(_))));
    drop(trail);
    assert!(Trail::open(&folder.trail()).is_ok());
}

/// The newest moment that the trail knows counts, not the last that was written: entries that were made
/// while the clock was back don't make the clock right.
#[tokio::test]
async fn the_latest_moment_is_the_greatest() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![started(3600)], None).await.unwrap();
    trail.append(vec![started(0)], None).await.unwrap();
    trail.close();
    drop(trail);
    assert_eq!(Trail::open(&folder.trail()).unwrap().latest, at(3600));
}

/// Damage in an open grant is told with the event's number, however far back it lies.
#[tokio::test]
async fn damage_is_told_with_its_number_however_old() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1), refused(1), requested(2)], None).await.unwrap();
    trail.append((0..TAIL).map(|_| refused(2)).collect(), Some(3)).await.unwrap();
    trail.close();
    drop(trail);
    let connection = Connection::open(folder.trail()).unwrap();
    let trigger = "SELECT sql FROM sqlite_schema WHERE name = 'events_are_not_updated'";
    let trigger: String = connection.query_row(trigger, [], |row| row.get(0)).unwrap();
    connection
        .execute_batch("DROP TRIGGER events_are_not_updated; UPDATE events SET line = 'x' WHERE seq = 2")
        .unwrap();
    connection.execute_batch(&trigger).unwrap();
    let Err(error) = Trail::open(&folder.trail()) else { panic!("it was opened") };
    assert!(matches!(error, TrailError::Damaged { seq: 2, .. }), "{error}");
}

/// Every event that a grant can have; which of them may follow is for the fold to say.
fn events() -> Vec<Event> {
    let text = || "x".to_owned();
    let mut events = vec![
        requested(0).event,
        Event::Agreed { digest: text(), groups: [text()].into() },
        Event::Approved { digest: text(), groups: [text()].into(), collect_until: at(600) },
        Event::Denied { reason: text() },
        Event::Withdrawn,
        Event::Lapsed { clock: Clock::Pending },
        Event::Lapsed { clock: Clock::Collect },
        Event::Refused { action: text(), code: text() },
        Event::IssueIntended { serial: text(), tbs_sha256: text(), not_before: at(0), not_after: at(9) },
        Event::Issued { serial: text(), leaf_sha256: text() },
        Event::BindIntended { binding: text() },
        Event::Bound { uids: vec![text()] },
        Event::Live { until: at(300) },
        Event::UnbindIntended { why: EndCause::Revoked, reason: Some(text()) },
        Event::GlassBroken {
            reason: "x".parse().unwrap(),
            window: "1m".parse().unwrap(),
            digest: text(),
            collect_until: at(600),
            review_until: at(3600),
        },
    ];
    events.extend([false, true].map(|closes| Event::Reviewed {
        digest: text(),
        groups: [text()].into(),
        verdict: Verdict::Justified,
        words: "x".parse().unwrap(),
        closes,
    }));
    for why in [EndCause::Expired, EndCause::Released, EndCause::Revoked, EndCause::Drifted, EndCause::Failed] {
        events.extend([EndProof::Denied, EndProof::NeverBound].map(|proof| Event::Ended { why, proof, reason: None }));
    }
    events
}

/// What comes next about one of three grants: in most cases one of those that may, else any.
#[derive(Clone, Debug)]
struct Step {
    grant: u8,
    by: &'static str,
    second: i64,
    any: bool,
    may_end: bool,
    which: prop::sample::Index,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let by = prop::sample::select(vec!["alice", "bob", "carol"]);
    let one_in_ten = || prop::bool::weighted(0.1);
    let step = (0_u8..3, by, 0_i64..5000, one_in_ten(), one_in_ten(), any::<prop::sample::Index>());
    let step =
        step.prop_map(|(grant, by, second, any, may_end, which)| Step { grant, by, second, any, may_end, which });
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes in whatever order: the fold takes or refuses it and never panics, and what is stored
    /// of it is afterwards loaded as the same grants, open and over, and passes every check.
    #[test]
    fn what_is_reloaded_is_what_the_facts_make(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = Folder::new();
        let trail = simulated(&folder);
        let mut grants: BTreeMap<GrantId, Grant> = BTreeMap::new();
        let mut stored = Vec::new();
        for step in steps {
            let after = |event: &Event| {
                let fact = fact(Some(step.grant), Some(step.by), step.second, event.clone());
                let next = match grants.get(&id(step.grant)) {
                    Some(before) => before.clone().follow(&fact),
                    None => Grant::begin(&fact),
                };
                next.ok().map(|next| (fact, next))
            };
            let mut events = events();
            if !step.any {
                events.retain(|event| after(event).is_some_and(|(_, next)| step.may_end || !next.is_over()));
            }
            if !events.is_empty()
                && let Some((fact, next)) = after(step.which.get(&events))
            {
                grants.insert(next.id.clone(), next);
                stored.push(fact);
            }
        }
        runtime.block_on(append_each(&trail, &stored));
        trail.close();
        drop(trail);

        let Opened { trail, open, .. } = Trail::open(&folder.trail()).unwrap();
        for open in &open {
            let lines = runtime.block_on(trail.lines_of(&open.grant.id)).unwrap();
            prop_assert_eq!(open.last, parse(lines.last().unwrap()).unwrap().seq);
        }
        let open: BTreeMap<GrantId, Grant> =
            open.into_iter().map(|open| (open.grant.id.clone(), open.grant)).collect();
        let erin = Person { name: "erin".parse().unwrap(), groups: ["auditors".to_owned()].into(), login: None };
        let (over, more) = runtime.block_on(trail.closed(&erin, &["auditors".to_owned()], "", 10)).unwrap();
        let reloaded: BTreeMap<GrantId, Grant> = over.into_iter().map(|grant| (grant.id.clone(), grant)).chain(open.clone()).collect();
        prop_assert!(!more);
        prop_assert_eq!(&reloaded, &grants);
        prop_assert!(open.values().all(|grant| !grant.is_over()));

        let report = verify_file(&folder.trail(), |_| {}).unwrap();
        prop_assert_eq!(usize::try_from(report.events).unwrap(), stored.len());
        let count = |of: fn(&Grant) -> bool| u64::try_from(open.values().filter(|grant| of(grant)).count()).unwrap();
        prop_assert_eq!(report.open, count(|grant| grant.phase.is_open()));
        prop_assert_eq!(report.reviews_owed, count(Grant::owes_review));
        let mut lines = Vec::new();
        export(&folder.trail(), &mut lines).unwrap();
        prop_assert_eq!(verify_lines(lines.as_slice(), Path::new("export")).unwrap(), report);
    }

    /// Lines from anywhere are checked, not believed: a changed byte of an export is an error or, in the
    /// very last line, another head.
    #[test]
    fn a_changed_byte_of_an_export_is_seen(place in 0_usize..10_000, bits in 1_u8..=255) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = Folder::new();
        let trail = simulated(&folder);
        runtime.block_on(trail.append(vec![requested(1), refused(1), requested(2), withdrawn(1)], None)).unwrap();
        trail.close();
        let mut lines = Vec::new();
        export(&folder.trail(), &mut lines).unwrap();
        let before = verify_lines(lines.as_slice(), Path::new("export")).unwrap();
        // The last byte only ends the last line.
        let place = place % (lines.len() - 1);
        lines[place] ^= bits;
        if let Ok(report) = verify_lines(lines.as_slice(), Path::new("export")) {
            prop_assert_ne!(report.head, before.head);
        }
    }
}

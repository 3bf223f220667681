//! Appending: facts that are stored together, facts that are refused alone, and the answer to their author.

use std::sync::atomic::AtomicBool;

use rusqlite::{ErrorCode, params};
use tokio::sync::Semaphore;

use super::super::store::INSERT;
use super::super::writer::{NotQueued, Queue, Taker, WAITING};
use super::*;
use crate::grant::Impersonation;
use crate::grant::digest::sha256_hex;

/// How many transactions the write-ahead log of a trail holds: a frame that ends one carries the size of the file after it, and
/// one of an earlier log other salts (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>, section 4.1).
fn transactions(trail: &Path) -> usize {
    let log = std::fs::read(trail.with_extension("db-wal")).unwrap();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    let page = usize::try_from(number(&log[8..])).unwrap();
    log[32..].chunks(24 + page).filter(|frame| number(&frame[4..]) != 0 && frame[8..16] == log[16..24]).count()
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
async fn waiting_appends_share_a_commit() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    // After the first commit a new log begins.
    trail.append(vec![requested(2)], None).await.unwrap();
    trail.append(vec![requested(1)], None).await.unwrap();
    let before = transactions(&folder.trail());
    // Each follows the one before it, which nobody has been told of.
    let stored = futures::future::join_all((2..=501).map(|last| trail.append(vec![refused(1)], Some(last)))).await;
    let stored: Vec<i64> = stored.into_iter().map(|stored| stored.unwrap().seq).collect();
    assert_eq!(stored, (3..=502).collect::<Vec<i64>>());
    let commits = transactions(&folder.trail()) - before;
    assert!((1..=20).contains(&commits), "{commits} commits for 500 appends");
    assert_eq!(lines(&trail, &id(1)).await.len(), 501);
    trail.close();
    assert_eq!(verify_file(&folder.trail(), |_| {}).unwrap().events, 502);
}

/// Of several appends in one commit, only the invalid one is refused; the others are stored.
#[tokio::test]
async fn a_duplicate_is_refused_alone() {
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

/// All facts of one append are stored or none, also if the last of them is refused.
#[tokio::test]
async fn facts_of_one_append_are_stored_together_or_not_at_all() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1), refused(1)], None).await.unwrap();
    let error = trail.append(vec![requested(2), refused(2), withdrawn(2), requested(1)], None).await.unwrap_err();
    assert!(matches!(error, TrailError::Duplicate), "{error}");
    trail.append(vec![refused(1), withdrawn(1)], Some(2)).await.unwrap();
    assert!(lines(&trail, &id(2)).await.is_empty());
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

/// A fact about a grant must name the event that it follows.
#[tokio::test]
async fn a_fact_that_follows_nothing_is_refused() {
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

/// The answer to an append has the position of its last line, and the hash.
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

/// An insert counts only if it created a row: a trigger can make SQLite drop it without an error.
#[tokio::test]
async fn an_insert_that_a_trigger_drops_is_not_reported_as_stored() {
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

/// If somebody else appends to the file, nothing more is appended: our knowledge of its end is outdated.
#[tokio::test]
async fn nothing_is_appended_after_another_writer() {
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

/// A used approval is used for the next daemon too.
#[tokio::test]
async fn once_is_once_across_restarts() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    let intent = || {
        fact(
            Some(1),
            None,
            2,
            Event::BindIntended { binding: "jit-x".to_owned(), gateway: None, impersonation: Impersonation::default() },
        )
    };
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

/// An append is answered, also if the writer ends before or after it arrived.
#[tokio::test]
async fn nobody_waits_for_a_writer_that_is_gone() {
    let queue = Arc::new(Queue::default());
    let put = || queue.put(Append { facts: vec![started(0)], after: None, over: None });
    let taker = Taker(Arc::clone(&queue));
    let before = put();
    drop(taker);
    assert!(before.unwrap().outcome.await.is_err());
    assert!(put().unwrap().outcome.await.is_err());
}

/// On a clock that the test holds: an append waits for both moments around its commit, is stored when whoever waits for it
/// is dropped in the second, and is not when they are dropped in the first; what fails it is told as the disk's answer.
#[tokio::test]
async fn a_simulated_trail_stores_what_the_daemons_does() {
    let (folder, other) = (Folder::new(), Folder::new());
    let (may, stored) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (fails, lies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
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
        let (stored, lies) = (Arc::clone(&stored), Arc::clone(&lies));
        move || {
            let (turn, lies) = (turn(&stored), lies.load(Ordering::Relaxed));
            async move {
                turn.await;
                if lies { Err("no sync".to_owned()) } else { Ok(()) }
            }
        }
    };
    let trail = Trail::simulated(&folder.trail(), before, after).unwrap().trail;
    assert!(matches!(Trail::open(&folder.trail()), Err(TrailError::InUse(_))));

    drop(futures::poll!(std::pin::pin!(trail.append(vec![requested(1)], None))));
    assert!(lines(&trail, &id(1)).await.is_empty(), "dropped before");
    may.add_permits(1);
    drop(futures::poll!(std::pin::pin!(trail.append(vec![requested(1)], None))));
    assert_eq!(lines(&trail, &id(1)).await.len(), 1, "dropped after");
    may.add_permits(100);
    stored.add_permits(100);
    fails.store(true, Ordering::Relaxed);
    let failed = trail.append(vec![refused(1)], Some(1)).await;
    assert!(matches!(&failed, Err(TrailError::Unavailable { why, .. }) if why == "no space"), "{failed:?}");
    assert_eq!(trail.fault().unwrap(), "no space");
    fails.store(false, Ordering::Relaxed);
    lies.store(true, Ordering::Relaxed);
    let failed = trail.append(vec![requested(3)], None).await;
    assert!(matches!(&failed, Err(TrailError::Unavailable { why, .. }) if why == "no sync"), "{failed:?}");
    assert_eq!(lines(&trail, &id(3)).await.len(), 1, "told as failed, and stored");
    lies.store(false, Ordering::Relaxed);

    let daemons = Trail::open(&other.trail()).unwrap().trail;
    daemons.append(vec![requested(1)], None).await.unwrap();
    daemons.append(vec![requested(3)], None).await.unwrap();
    for (facts, after) in [
        (vec![refused(1), refused(1)], Some(1)),
        (vec![refused(1)], Some(1)),
        (vec![requested(1)], None),
        (vec![], None),
        (vec![requested(2), withdrawn(2)], None),
        (vec![withdrawn(1)], Some(4)),
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

/// While the disk hangs, a limited number of appends waits; the next one is refused at once.
#[tokio::test]
async fn a_limited_number_waits_for_a_disk_that_hangs() {
    let queue = Arc::new(Queue::default());
    let put = || queue.put(Append { facts: vec![], after: None, over: None });
    let waiting: Vec<_> = (0..WAITING).map_while(|_| put().ok()).collect();
    assert_eq!(waiting.len(), WAITING);
    assert_eq!(put().err(), Some(NotQueued::Full));
}

/// An append that the writer has not taken can be withdrawn, and then it is never stored.
#[tokio::test]
async fn an_append_is_withdrawn_until_the_writer_takes_it() {
    let queue = Arc::new(Queue::default());
    let put = || queue.put(Append { facts: vec![started(0)], after: None, over: None }).unwrap();
    let (first, second) = (put(), put());
    assert!(queue.withdraw(first.number));
    assert!(first.outcome.await.is_err());
    let taker = Taker(Arc::clone(&queue));
    assert_eq!(taker.take(1).len(), 1, "the second only");
    assert!(!queue.withdraw(second.number));
}

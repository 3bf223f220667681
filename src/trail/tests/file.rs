//! The file: of this daemon, of an earlier one, locked by another, damaged or altered.

use super::super::sqlite::TAIL;
use super::*;

/// The tables that files of earlier layouts had in addition to the events.
const LAYOUTS: [&str; 4] = [
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
    // `groups` was in none of the layouts 3 and 4; the tests below look at it.
    "CREATE TABLE grants (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, requester TEXT NOT NULL, key TEXT NOT NULL,
        at INTEGER NOT NULL, open INTEGER NOT NULL, last INTEGER NOT NULL, groups TEXT NOT NULL DEFAULT '[]') STRICT;
     CREATE INDEX grants_in_order ON grants (open);
     CREATE INDEX grants_by_key ON grants (key, requester);
     CREATE INDEX grants_of_person ON grants (requester);
     CREATE TABLE watchers (watcher TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (watcher, seq)) STRICT, WITHOUT ROWID;
     CREATE TABLE links (seq INTEGER PRIMARY KEY, before INTEGER NOT NULL) STRICT;
     CREATE INDEX draining ON events (seq) WHERE kind IN ('drained', 'resumed');
     INSERT INTO grants SELECT seq, id, requester, key, at, open, last, '[]' FROM new.grants;
     INSERT INTO watchers SELECT watcher, seq FROM new.watchers;
     INSERT INTO links SELECT seq, before FROM new.links;
     PRAGMA user_version = 3;",
    "CREATE TABLE grants (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, requester TEXT NOT NULL, key TEXT NOT NULL,
        at INTEGER NOT NULL, open INTEGER NOT NULL, last INTEGER NOT NULL, groups TEXT NOT NULL DEFAULT '[]') STRICT;
     CREATE INDEX grants_in_order ON grants (open);
     CREATE INDEX grants_by_key ON grants (key, requester);
     CREATE INDEX grants_of_person ON grants (requester);
     CREATE TABLE watchers (watcher TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (watcher, seq)) STRICT, WITHOUT ROWID;
     CREATE TABLE links (seq INTEGER PRIMARY KEY, before INTEGER NOT NULL) STRICT;
     CREATE TABLE closed (seq INTEGER PRIMARY KEY, made TEXT NOT NULL) STRICT;
     CREATE INDEX draining ON events (seq) WHERE kind IN ('drained', 'resumed');
     INSERT INTO grants SELECT seq, id, requester, key, at, open, last, '[]' FROM new.grants;
     INSERT INTO watchers SELECT watcher, seq FROM new.watchers;
     INSERT INTO links SELECT seq, before FROM new.links;
     INSERT INTO closed SELECT seq, made FROM new.closed;
     PRAGMA user_version = 4;",
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

/// An earlier trail is verified unchanged, and at the next start it becomes equal to a new one with the same events.
#[tokio::test]
async fn a_trail_of_an_earlier_layout_is_upgraded() {
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
            let told = lines(&trail, &id(number)).await;
            assert_eq!(told, lines(&same, &id(number)).await);
            assert!(!told.is_empty());
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

/// A trail that cannot be upgraded to the current layout is refused and not changed.
#[tokio::test]
async fn a_trail_that_cannot_be_upgraded_is_not_changed() {
    for (finding, layout) in LAYOUTS.into_iter().zip(1..) {
        let (new, old) = (Folder::new(), Folder::new());
        let trail = Trail::open(&new.trail()).unwrap().trail;
        trail.append(vec![requested(1), refused(1)], None).await.unwrap();
        trail.close();
        as_earlier(&new, &old, finding);
        let connection = Connection::open(old.trail()).unwrap();
        connection.execute_batch("UPDATE grants SET open = 0; INSERT INTO events VALUES (3, NULL, 'x', 'x')").unwrap();
        let Err(error) = Trail::open(&old.trail()) else { panic!("it was opened") };
        let error = error.in_full().to_string();
        assert!(
            error.contains("and is unchanged") && error.contains("event 3") && error.contains("\nhint: "),
            "{error}"
        );
        assert_eq!(layout::layout(&connection).unwrap(), layout);
        assert_eq!(connection.query_row("SELECT groups FROM grants", [], |row| row.get(0)), Ok("[]".to_owned()));
        connection.execute_batch("DROP TRIGGER events_are_not_deleted; DELETE FROM events WHERE seq = 3").unwrap();
        let error = verify_file(&old.trail(), |_| {}).unwrap_err().to_string();
        assert!(error.contains("`grants` does not match the events"), "{error}");
    }
}

/// A file with other tables, indexes or triggers is neither written nor accepted, and the message names the difference.
#[tokio::test]
async fn an_altered_file_is_neither_written_nor_accepted() {
    for (alteration, told) in [
        ("DROP INDEX once", "the index `once` is missing"),
        ("DROP TRIGGER events_are_not_deleted", "the trigger `events_are_not_deleted` is missing"),
        (
            "DROP TRIGGER events_are_not_updated;
             CREATE TRIGGER events_are_not_updated BEFORE UPDATE ON events WHEN NEW.seq < 0 BEGIN SELECT 1; END",
            "the trigger `events_are_not_updated` is not the one that jitd creates",
        ),
        (
            "CREATE TRIGGER \"a\u{1b}b\" AFTER INSERT ON events WHEN NEW.kind = 'ended' BEGIN SELECT RAISE(IGNORE); END",
            "the trigger `a\\u{1b}b` is not the one that jitd creates",
        ),
        (
            "ALTER TABLE events RENAME TO elsewhere; CREATE VIEW events AS SELECT * FROM elsewhere WHERE kind <> 'refused'",
            "the table `events` is missing",
        ),
        ("CREATE TABLE more (x)", "the table `more` is not the one that jitd creates"),
        ("ALTER TABLE grants ADD COLUMN x TEXT", "the table `grants` is not the one that jitd creates"),
        (
            "DROP INDEX once; CREATE INDEX once ON events (grant_id, kind)",
            "the index `once` is not the one that jitd creates",
        ),
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
            let error = refused.unwrap_err().in_full().to_string();
            assert!(error.contains(told) && error.contains("\nhint: "), "{alteration}: {error}");
        }
        assert!(copy.exists(), "it may be needed as evidence");
    }
}

/// A copy that was made without the log, while the trail is in use or after its daemon was killed, is distinguished from
/// a complete trail and refused; a copy that `jitd backup` makes can be used.
#[tokio::test]
async fn a_file_without_its_log_is_refused() {
    let (folder, copy) = (Folder::new(), Folder::new());
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    for (number, fact) in [requested(1), refused(1), refused(1)].into_iter().enumerate() {
        trail.append(vec![fact], Some(number.try_into().unwrap())).await.unwrap();
    }
    let (log, log_of_copy) = (folder.0.join("trail.db-wal"), copy.0.join("trail.db-wal"));
    let made_whole = copy.0.join("whole.db");
    std::fs::copy(folder.trail(), copy.trail()).unwrap();
    for empty in [false, true] {
        if empty {
            std::fs::write(&log_of_copy, "").unwrap();
        }
        let opened = Trail::open(&copy.trail()).map(|_| ());
        let exported = export(&copy.trail(), Vec::new());
        for refused in [opened, exported, verify_file(&copy.trail(), |_| {}).map(|_| ())] {
            let error = refused.unwrap_err();
            assert!(matches!(error, TrailError::Incomplete { .. }) && error.hint().is_some(), "{error}");
        }
    }
    assert!(matches!(back_up(&copy.trail(), &made_whole, |_| {}), Err(TrailError::Incomplete { .. })));
    assert!(verify_file(&made_whole, |_| {}).unwrap().events < 3);
    assert!(Trail::open(&made_whole).is_ok());

    std::fs::copy(log, log_of_copy).unwrap();
    assert_eq!(verify_file(&copy.trail(), |_| {}).unwrap().events, 3, "with its log it is whole");
    assert_eq!(back_up(&folder.trail(), &copy.0.join("of-the-living.db"), |_| {}).unwrap().events, 3);
}

/// Opens a file for writing in another process and closes it, as `sqlite3` does.
fn look(trail: &std::path::Path) {
    let script =
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM events').fetchone())";
    let mut command = std::process::Command::new("python3");
    let status = command.args(["-c", script]).arg(trail).stdout(std::process::Stdio::null()).status().unwrap();
    assert!(status.success());
}

/// After a kill SQLite carries the log over for whoever opens the file, and takes it away: that is whole, and told from a copy
/// without its log by what the lock says.
#[tokio::test]
async fn a_file_whose_log_was_carried_over_is_whole() {
    let (folder, killed, copy) = (Folder::new(), Folder::new(), Folder::new());
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    for number in 1..=3 {
        trail.append(vec![requested(number)], None).await.unwrap();
    }
    for name in ["trail.db", "trail.db-wal", "trail.lock"] {
        std::fs::copy(folder.0.join(name), killed.0.join(name)).unwrap();
    }
    for name in ["trail.db", "trail.lock"] {
        std::fs::copy(folder.0.join(name), copy.0.join(name)).unwrap();
    }
    look(&killed.trail());
    assert!(!killed.0.join("trail.db-wal").exists(), "it was carried over");
    assert_eq!(verify_file(&killed.trail(), |_| {}).unwrap().events, 3);
    let opened = Trail::open(&killed.trail()).unwrap().trail;
    opened.append(vec![requested(4)], None).await.unwrap();
    assert_eq!(verify_file(&killed.trail(), |_| {}).unwrap().events, 4);

    // Beside the same lock lies a file that lacks what the log had, and then one of which nothing is known.
    look(&copy.trail());
    assert!(matches!(Trail::open(&copy.trail()), Err(TrailError::Incomplete { .. })));
    for said in ["", "x", "1", "x y", "00000000000000000001 ab", "-1 ab"] {
        std::fs::write(copy.0.join("trail.lock"), said).unwrap();
        assert!(matches!(Trail::open(&copy.trail()), Err(TrailError::Incomplete { .. })), "{said}");
    }
}

/// While a daemon has the file open, another process that closes it does not remove the log.
#[tokio::test]
async fn nobody_removes_the_log_of_a_daemon() {
    let folder = Folder::new();
    for number in [1, 3] {
        let trail = Trail::open(&folder.trail()).unwrap().trail;
        trail.append(vec![requested(number)], None).await.unwrap();
        look(&folder.trail());
        trail.append(vec![requested(number + 1)], None).await.unwrap();
        assert!(folder.0.join("trail.db-wal").exists());
        assert_eq!(verify_file(&folder.trail(), |_| {}).unwrap().events, i64::from(number) + 1);
        trail.close();
    }
}

/// After the daemon stops, the one file contains the complete trail.
#[tokio::test]
async fn the_file_of_a_closed_trail_is_complete() {
    let (folder, copy) = (Folder::new(), Folder::new());
    for number in 1..=2 {
        let trail = Trail::open(&folder.trail()).unwrap().trail;
        trail.append(vec![requested(number)], None).await.unwrap();
        trail.close();
        std::fs::copy(folder.trail(), copy.trail()).unwrap();
        assert_eq!(verify_file(&copy.trail(), |_| {}).unwrap().events, i64::from(number));
    }
}

/// One trail, one daemon.
#[test]
fn a_locked_trail_is_not_opened() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    let second = Trail::open(&folder.trail());
    assert!(matches!(second, Err(TrailError::InUse(_))));
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

/// Damage in an open grant is reported with the event's number, however old the event is.
#[tokio::test]
async fn damage_is_reported_with_its_number_however_old() {
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

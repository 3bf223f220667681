//! The tables in the trail's file: in a new file, in one of an earlier jitd, and in one of a newer jitd.
//!
//! SQLite's `user_version` is the number of the layout. The tables for searching are always built from the events, so a
//! file of an earlier layout gets them as a new file does. The events are never changed. Only the trail itself calls this,
//! before anything is read or written.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::Fault;
use super::chain::parse;
use super::projections::{follow, project};
use super::sqlite::PROGRESS;
use crate::grant::{Grant, GrantId};

/// The events, which are the truth. The same in all layouts.
pub(super) const EVENTS: &str = include_str!("events.sql");

/// The tables and indexes for searching.
const FINDING: &str = include_str!("finding.sql");

/// The number of the current layout.
pub(super) const PRESENT: i64 = 6;

/// Removes the tables and indexes for searching of earlier layouts.
const FINDING_OF_EARLIER: &str = "
    DROP TABLE grants;
    DROP TABLE IF EXISTS links;
    DROP TABLE IF EXISTS watchers;
    DROP TABLE IF EXISTS closed;
    DROP INDEX IF EXISTS events_of_grant;
    DROP INDEX once;
    DROP INDEX IF EXISTS draining;
    DROP INDEX IF EXISTS introductions;";

/// The layout of a file; 0 for an empty file.
pub(super) fn layout(connection: &Connection) -> Result<i64, Fault> {
    match connection.pragma_query_value(None, "user_version", |row| row.get(0))? {
        known @ 0..=PRESENT => Ok(known),
        newer => {
            Err(Fault::Layout { why: format!("it was written by a newer jitd (layout {newer})"), hint: "upgrade jitd" })
        }
    }
}

/// Upgrades a file of layout `found` to the current layout, or leaves it unchanged. `progress` is called from time to time.
pub(super) fn bring_up_to_date(connection: &Connection, found: i64, progress: impl FnMut(i64)) -> Result<(), Fault> {
    match found {
        0 => create(connection),
        PRESENT => Ok(()),
        _ => {
            tracing::info!("upgrading the trail to layout {PRESENT}; for a million events this takes a while");
            connection.execute_batch("BEGIN IMMEDIATE")?;
            let brought = find_anew(connection, progress);
            if brought.is_err() {
                // SQLite may have rolled back already; then this fails.
                let _ = connection.execute_batch("ROLLBACK");
            }
            brought.map_err(|fault| Fault::Layout {
                why: format!("it could not be upgraded to layout {PRESENT} and is unchanged: {fault}"),
                hint: "check whether the disk is full; if it is not, run `jitd audit verify`",
            })
        }
    }
}

/// Builds the tables for searching from the events.
fn find_anew(connection: &Connection, mut progress: impl FnMut(i64)) -> Result<(), Fault> {
    connection.execute_batch(FINDING_OF_EARLIER)?;
    connection.execute_batch(FINDING)?;
    let mut open: HashMap<GrantId, Grant> = HashMap::new();
    let mut events = connection.prepare("SELECT seq, line FROM events ORDER BY seq")?;
    let mut rows = events.query([])?;
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        let damaged = |fault: Fault| Fault::System(format!("event {seq}: {fault}"));
        let entry = parse(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?).map_err(damaged)?;
        // If an event of a grant may not follow, the grant is not stored; `verify` and queries report it.
        let over = entry.fact.grant.as_ref().and_then(|id| follow(&mut open, id, &entry.fact).ok().flatten());
        project(connection, seq, &entry.fact, || over.as_ref().map(Cow::Borrowed)).map_err(damaged)?;
        if seq % PROGRESS == 0 {
            progress(seq);
        }
    }
    Ok(connection.execute_batch(&format!("PRAGMA user_version = {PRESENT}; COMMIT;"))?)
}

/// Checks that a file of the current layout has exactly the tables, indexes and triggers that we create: a view in place of a
/// table, or a missing trigger, would make its content worthless.
pub(super) fn check_schema(connection: &Connection) -> Result<(), Fault> {
    let ours = Connection::open_in_memory()?;
    create(&ours)?;
    let (ours, found) = (schema(&ours)?, schema(connection)?);
    let missing = ours.keys().find(|one| !found.contains_key(*one)).map(|one| (one, "is missing"));
    let other = found
        .iter()
        .find(|(one, text)| ours.get(*one) != Some(*text))
        .map(|(one, _)| (one, "is not the one that jitd creates"));
    match missing.or(other) {
        None => Ok(()),
        Some(((kind, name), what)) => Err(Fault::Altered(format!("the {kind} `{}` {what}", name.escape_default()))),
    }
}

/// The SQL of each table, index, trigger and view, by kind and name. Names that begin with `sqlite_` are reserved for
/// SQLite itself.
fn schema(connection: &Connection) -> Result<BTreeMap<(String, String), String>, Fault> {
    let mut statement = connection
        .prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE substr(name, 1, 7) <> 'sqlite_'")?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Creates the tables in an empty file.
pub(super) fn create(connection: &Connection) -> Result<(), Fault> {
    Ok(connection.execute_batch(&format!("BEGIN; {EVENTS} {FINDING} PRAGMA user_version = {PRESENT}; COMMIT;"))?)
}

//! The tables in the trail's file: of a new one, of one that an earlier jitd wrote, and of one that a newer jitd did.
//!
//! What a file holds is told by its number, SQLite's `user_version`. What finds events is always made from the events, so a
//! file of an earlier layout gets it as a new one does. The events are not touched. Only the trail itself calls this, before
//! anything is read or written.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::Fault;
use super::chain::parse;
use super::projections::{follow, project};
use super::sqlite::PROGRESS;
use crate::grant::{Grant, GrantId};

/// What is the truth. The same in all layouts.
pub(super) const EVENTS: &str = include_str!("events.sql");

/// What finds something in it.
const FINDING: &str = include_str!("finding.sql");

/// Which layout that is.
pub(super) const PRESENT: i64 = 4;

/// What stands in its place in files of earlier layouts.
const FINDING_OF_EARLIER: &str = "
    DROP TABLE grants;
    DROP TABLE IF EXISTS links;
    DROP TABLE IF EXISTS watchers;
    DROP INDEX IF EXISTS events_of_grant;
    DROP INDEX once;
    DROP INDEX IF EXISTS draining;";

/// Which layout a file has; 0 is that of an empty file.
pub(super) fn layout(connection: &Connection) -> Result<i64, Fault> {
    match connection.pragma_query_value(None, "user_version", |row| row.get(0))? {
        known @ 0..=PRESENT => Ok(known),
        newer => {
            Err(Fault::Layout { why: format!("it was written by a newer jitd (layout {newer})"), hint: "upgrade jitd" })
        }
    }
}

/// Gives a file of layout `found` the present one, or leaves it as it is.
/// `progress` is called now and then meanwhile.
pub(super) fn bring_up_to_date(connection: &Connection, found: i64, progress: impl FnMut(i64)) -> Result<(), Fault> {
    match found {
        0 => create(connection),
        PRESENT => Ok(()),
        _ => {
            tracing::info!("the trail is brought to layout {PRESENT}; for a million events that takes a while");
            connection.execute_batch("BEGIN IMMEDIATE")?;
            let brought = find_anew(connection, progress);
            if brought.is_err() {
                // SQLite may have rolled back by itself; then there is nothing to roll back.
                let _ = connection.execute_batch("ROLLBACK");
            }
            brought.map_err(|fault| Fault::Layout {
                why: format!("it stays as it was, for it could not be brought to layout {PRESENT}: {fault}"),
                hint: "is the disk full? if not, run `jitd audit verify`",
            })
        }
    }
}

/// Makes what finds events from the events.
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
        // Of a grant with an event that may not follow nothing is kept; `verify` reports it, and so does a question about it.
        let over = entry.fact.grant.as_ref().and_then(|id| follow(&mut open, id, &entry.fact).ok().flatten());
        project(connection, seq, &entry.fact, || over.as_ref().map(Cow::Borrowed)).map_err(damaged)?;
        if seq % PROGRESS == 0 {
            progress(seq);
        }
    }
    Ok(connection.execute_batch(&format!("PRAGMA user_version = {PRESENT}; COMMIT;"))?)
}

/// Whether a file of the present layout has its tables, indexes and triggers as they were made, and nothing beside them: what
/// is asked of a view, or stored past a trigger, is worth nothing.
pub(super) fn check_schema(connection: &Connection) -> Result<(), Fault> {
    let ours = Connection::open_in_memory()?;
    create(&ours)?;
    let (ours, found) = (schema(&ours)?, schema(connection)?);
    let missing = ours.keys().find(|one| !found.contains_key(*one)).map(|one| (one, "is missing"));
    let other = found.iter().find(|(one, text)| ours.get(*one) != Some(*text)).map(|(one, _)| (one, "is not ours"));
    match missing.or(other) {
        None => Ok(()),
        Some(((kind, name), what)) => Err(Fault::Altered(format!("the {kind} `{}` {what}", name.escape_default()))),
    }
}

/// The text of each table, index, trigger and view, by its kind and name. SQLite's own begin with `sqlite_`, and nobody else
/// can make such.
fn schema(connection: &Connection) -> Result<BTreeMap<(String, String), String>, Fault> {
    let mut statement = connection
        .prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE substr(name, 1, 7) <> 'sqlite_'")?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes the tables in an empty file.
pub(super) fn create(connection: &Connection) -> Result<(), Fault> {
    Ok(connection.execute_batch(&format!("BEGIN; {EVENTS} {FINDING} PRAGMA user_version = {PRESENT}; COMMIT;"))?)
}

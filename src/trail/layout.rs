//! The tables in the trail's file: of a new one, of one that an earlier jitd wrote, and of one that a newer jitd did.
//!
//! What a file holds is told by its number, SQLite's `user_version`. Only the trail itself calls this, before anything is
//! read or written.

use rusqlite::Connection;

use super::Fault;

/// What is the truth.
const EVENTS: &str = include_str!("events.sql");

/// What finds something in it.
const FINDING: &str = include_str!("finding.sql");

/// What makes room for that in a file of layout 1.
const ROOM_IN_LAYOUT_1: &str = "
    ALTER TABLE grants RENAME TO grants_of_layout_1;
    DROP INDEX grants_in_order;
    DROP INDEX grants_by_key;
    DROP INDEX grants_of_person;
    DROP INDEX once;
    DROP INDEX IF EXISTS draining;";

/// What fills it there.
const FROM_LAYOUT_1: &str = include_str!("from_layout_1.sql");

/// Which layout a file has: 2 is that of the files beside this one, 0 that of an empty file.
pub(super) fn layout(connection: &Connection) -> Result<i64, Fault> {
    match connection.pragma_query_value(None, "user_version", |row| row.get(0))? {
        known @ 0..=2 => Ok(known),
        newer => Err(Fault::System(format!("it was written by a newer jitd (layout {newer})\nhint: upgrade jitd"))),
    }
}

/// Gives a file of layout `found` the present one, or leaves it as it is.
pub(super) fn bring_up_to_date(connection: &Connection, found: i64) -> Result<(), Fault> {
    match found {
        0 => create(connection),
        1 => {
            tracing::info!("the trail is brought to layout 2; that takes some seconds for a million events");
            let statements = format!(
                "BEGIN IMMEDIATE; {ROOM_IN_LAYOUT_1} {FINDING} {FROM_LAYOUT_1} PRAGMA user_version = 2; COMMIT;"
            );
            connection.execute_batch(&statements).map_err(|error| {
                Fault::System(format!(
                    "it stays as it was, for it could not be brought to layout 2: {error}\nhint: is the disk full? if not, run `jitd audit verify`"
                ))
            })
        }
        _ => Ok(()),
    }
}

/// Makes the tables in an empty file.
pub(super) fn create(connection: &Connection) -> Result<(), Fault> {
    Ok(connection.execute_batch(&format!("BEGIN; {EVENTS} {FINDING} PRAGMA user_version = 2; COMMIT;"))?)
}

//! Whether a trail's file is all of the trail. What was written last stands in SQLite's log beside it, until it is carried over.
//!
//! ```text
//!  first commit ─► the file says that it is in use ─► …log… ─► close: all is carried over, the file says that it is whole
//!  each commit ──► the lock beside the file says which event was the last
//! ```
//! So a copy that was made without the log, of a trail in use or of one whose daemon was killed, says so itself; it would read
//! as a shorter trail, in which nothing is wrong. After a kill whoever opens the file for writing, as `sqlite3` does, carries the
//! log over and takes it away, and the file still says that it is in use: then the lock tells whether the last event is in it.
//! The file itself can't tell, for each of its states is one that was whole once. The store marks file and lock, and whoever
//! opens the file asks first.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use super::Fault;
use super::chain::{Head, Position};

/// SQLite's `application_id` of a file in use: "jitd". That of a file that is whole, or of before, is 0.
const IN_USE: i32 = 0x6a69_7464;

/// Lets the transaction that is open say that the file is in use.
pub(super) fn mark_in_use(connection: &Connection) -> Result<(), Fault> {
    Ok(connection.pragma_update(None, "application_id", IN_USE)?)
}

/// Carries the log over into the file, as far as nobody reads what was there before, and keeps the log.
pub(super) fn carry_over(connection: &Connection) -> Result<(), Fault> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
}

/// Says of a file that it is whole by itself.
pub(super) fn mark_whole(connection: &Connection) -> Result<(), Fault> {
    Ok(connection.pragma_update(None, "application_id", 0)?)
}

/// Makes the file whole by itself, and its log empty. Where somebody reads it meanwhile, the log goes on belonging to it.
pub(super) fn close(connection: &Connection) -> Result<(), Fault> {
    mark_whole(connection)?;
    Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

/// The lock of the trail at `path`. It lies beside the file, for SQLite locks the file itself.
pub(super) fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// Lets the lock say where the last event stands. Always as long as before, in one sector: after a loss of power it is this or
/// what stood there.
pub(super) fn note_last(lock: &File, position: &Position) -> std::io::Result<()> {
    lock.write_all_at(format!("{:020} {}\n", position.seq, position.hash).as_bytes(), 0)
}

/// Whether what belongs into the log of the file at `path`, which was just opened, is there or was carried over.
///
/// The file is asked through SQLite: a process that closes a file of its own making loses all locks on it
/// (<https://www.sqlite.org/howtocorrupt.html>, section 2.2), and then another program takes the log away under the daemon.
pub(super) fn is_complete(path: &Path, connection: &Connection) -> Result<(), Fault> {
    // The log has something before the file says that it is in use, and still has when the file says that it is whole: asked
    // before and after, a daemon that starts or stops meanwhile does not matter.
    if has_log(path) || !says_that_it_is_in_use(connection)? || has_log(path) || has_last(path, connection)? {
        return Ok(());
    }
    Err(Fault::Incomplete { log: log_of(path) })
}

fn has_log(path: &Path) -> bool {
    std::fs::metadata(log_of(path)).is_ok_and(|log| log.size() > 0)
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

fn says_that_it_is_in_use(connection: &Connection) -> Result<bool, Fault> {
    let mark: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(mark == IN_USE)
}

/// Whether the file has the event that the lock calls the last. Where the lock says nothing, it has not.
fn has_last(path: &Path, connection: &Connection) -> Result<bool, Fault> {
    let Ok(said) = std::fs::read_to_string(lock_of(path)) else { return Ok(false) };
    let Some((seq, hash)) = said.trim_end().split_once(' ') else { return Ok(false) };
    let Ok(seq) = seq.parse::<i64>() else { return Ok(false) };
    let line: Option<String> =
        connection.query_row("SELECT line FROM events WHERE seq = ?1", [seq], |row| row.get(0)).optional()?;
    let found = line.map_or_else(Head::beginning, |line| Head::from_line(seq, &line));
    Ok(found.position == Position { seq, hash: hash.to_owned() })
}

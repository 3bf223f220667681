//! Detects whether a trail's file is complete. SQLite keeps the last commits in a log (WAL) next to the file until a
//! checkpoint copies them into it.
//!
//! ```text
//!  first commit ─► the file is marked as in use ─► …log… ─► close: checkpoint, the file is marked as complete
//!  each commit ──► the lock next to the file names the last event
//! ```
//! So a copy without the log, of a trail in use or of one whose daemon was killed, shows that it is incomplete; otherwise it
//! would pass as a shorter trail without faults. After a kill, any program that opens the file for writing, such as
//! `sqlite3`, runs a checkpoint and deletes the log, while the file is still marked as in use: then the lock shows whether
//! the file contains the last event. The file alone cannot show it, because each of its states was complete once. The store
//! marks file and lock, and everybody who opens the file checks them first.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use super::Fault;
use super::chain::{Head, Position};

/// SQLite's `application_id` of a file in use: "jitd". It is 0 in a file that is complete, and in files of earlier versions.
const IN_USE: i32 = 0x6a69_7464;

/// Marks the file as in use, in the open transaction.
pub(super) fn mark_in_use(connection: &Connection) -> Result<(), Fault> {
    Ok(connection.pragma_update(None, "application_id", IN_USE)?)
}

/// Runs a checkpoint as far as no reader needs the previous state, and keeps the log.
pub(super) fn carry_over(connection: &Connection) -> Result<(), Fault> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
}

/// Marks the file as complete without a log.
pub(super) fn mark_whole(connection: &Connection) -> Result<(), Fault> {
    Ok(connection.pragma_update(None, "application_id", 0)?)
}

/// Makes the file complete and empties its log. If somebody is reading, the log still belongs to the file.
pub(super) fn close(connection: &Connection) -> Result<(), Fault> {
    mark_whole(connection)?;
    Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

/// The lock of the trail at `path`. It is a separate file, because SQLite locks the file itself.
pub(super) fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// Writes the position of the last event into the lock. The text always has the same length and fits into one sector, so after
/// a power failure it is either the new or the old one.
pub(super) fn note_last(lock: &File, position: &Position) -> std::io::Result<()> {
    lock.write_all_at(format!("{:020} {}\n", position.seq, position.hash).as_bytes(), 0)
}

/// Checks that the log of the file at `path`, which was just opened, exists or was copied into the file.
///
/// The file is read through SQLite: a process that closes any descriptor of a file loses all its locks on that file
/// (<https://www.sqlite.org/howtocorrupt.html>, section 2.2), and then another program could delete the log under the daemon.
pub(super) fn is_complete(path: &Path, connection: &Connection) -> Result<(), Fault> {
    // The log has content before the file is marked as in use, and still has when the file is marked as complete. Because the
    // log is checked before and after the mark, a daemon that starts or stops in the meantime does not matter.
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

/// Whether the file contains the event that the lock names as the last one; false if the lock names none.
fn has_last(path: &Path, connection: &Connection) -> Result<bool, Fault> {
    let Ok(said) = std::fs::read_to_string(lock_of(path)) else { return Ok(false) };
    let Some((seq, hash)) = said.trim_end().split_once(' ') else { return Ok(false) };
    let Ok(seq) = seq.parse::<i64>() else { return Ok(false) };
    let line: Option<String> =
        connection.query_row("SELECT line FROM events WHERE seq = ?1", [seq], |row| row.get(0)).optional()?;
    let found = line.map_or_else(Head::beginning, |line| Head::from_line(seq, &line));
    Ok(found.position == Position { seq, hash: hash.to_owned() })
}

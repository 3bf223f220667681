//! Opening the file: the lock that keeps a second daemon out, the connection that writes and the one that reads.
//!
//! Nothing is repaired here. [`Trail::open`](super::Trail::open), `verify` and `back_up` call it.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OpenFlags};

use super::chain::{BEGINNING, Head, parse};
use super::layout::{bring_up_to_date, layout};
use super::{Fault, TrailError};
use crate::grant::digest::sha256_hex;

/// How many lines at the end are checked at every start. The whole is checked by `jitd audit verify`.
pub(super) const TAIL: i64 = 1_000;

/// The lock that keeps a second daemon out. It lies beside the file, for SQLite locks the file itself.
pub(super) fn hold(path: &Path) -> Result<Flock<std::fs::File>, TrailError> {
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension("lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&beside)
        .map_err(|error| TrailError::Unavailable { path: beside.display().to_string(), why: error.to_string() })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| TrailError::Held(beside.display().to_string()))
}

pub(super) fn open_for_writing(path: &Path) -> Result<(Connection, Head), Fault> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(|error| Fault::System(error.to_string()))?;
    // Before anything is written to a file that may be a newer jitd's.
    let found = layout(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    bring_up_to_date(&connection, found)?;
    connection.set_prepared_statement_cache_capacity(32);
    let head = check_tail(&connection)?;
    Ok((connection, head))
}

pub(super) fn open_for_reading(path: &Path) -> Result<Connection, Fault> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    layout(&connection)?;
    Ok(connection)
}

/// Checks the last lines: numbered without gaps, each carrying the hash of the one before.
fn check_tail(connection: &Connection) -> Result<Head, Fault> {
    let last: i64 = connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?;
    let before = last.saturating_sub(TAIL).max(0);
    let mut statement = connection.prepare("SELECT seq, line FROM events WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = statement.query([before])?;
    let mut head = Head { seq: before, hash: BEGINNING.to_owned(), at: Timestamp::MIN };
    while let Some(row) = rows.next()? {
        let (seq, line): (i64, String) = (row.get(0)?, row.get(1)?);
        let due = head.seq.saturating_add(1);
        let damaged = |why: &str| Fault::Damaged { seq: due, why: why.to_owned() };
        if seq != due {
            return Err(damaged("is missing"));
        }
        let entry = parse(&line).map_err(|_| damaged("is no entry"))?;
        // The line before the first one that is looked at may be any.
        if entry.seq != seq || (entry.prev != head.hash && (head.seq > before || before == 0)) {
            return Err(damaged("does not follow the one before it"));
        }
        head = Head { seq, hash: sha256_hex(line.as_bytes()), at: head.at.max(entry.fact.at) };
    }
    Ok(head)
}

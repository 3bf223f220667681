//! Opens the file: the lock against a second daemon, and the connections for writing and reading.
//!
//! Nothing is repaired here. [`Trail::open`](super::Trail::open), `verify` and `back_up` call it.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params};

use super::chain::Head;
use super::layout::{bring_up_to_date, check_schema, layout};
use super::{Fault, TrailError, log};

/// How many of the last lines are checked at every start. `jitd audit verify` checks the whole trail.
pub(super) const TAIL: i64 = 1_000;

/// How often to report progress, in events.
pub(super) const PROGRESS: i64 = 10_000;

/// Takes the lock against a second daemon.
pub(super) fn hold(path: &Path) -> Result<Flock<std::fs::File>, TrailError> {
    use std::os::unix::fs::OpenOptionsExt;
    let beside = log::lock_of(path);
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&beside)
        .map_err(|error| TrailError::Unavailable {
            path: beside.display().to_string(),
            why: error.to_string(),
            hint: None,
        })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| TrailError::InUse(beside.display().to_string()))
}

pub(super) fn open_for_writing(path: &Path, progress: impl FnMut(i64)) -> Result<(Connection, Head), Fault> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(|error| Fault::System(error.to_string()))?;
    // The log may be deleted only after a complete checkpoint, which the store runs when it is closed.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    log::is_complete(path, &connection)?;
    // Checked before writing, because a newer jitd may have written the file.
    let found = layout(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    bring_up_to_date(&connection, found, progress)?;
    check_schema(&connection)?;
    connection.set_prepared_statement_cache_capacity(32);
    let head = check_tail(&connection)?;
    Ok((connection, head))
}

pub(super) fn open_for_reading(path: &Path) -> Result<Connection, Fault> {
    let connection = open_what_is_there(path)?;
    log::is_complete(path, &connection)?;
    Ok(connection)
}

/// The same for a file whose log may be lost; the events in that log are not read then.
pub(super) fn open_what_is_there(path: &Path) -> Result<Connection, Fault> {
    // SQLite's own error has no cause, and repeats the path.
    std::fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Fault::Layout {
            why: "there is no such file".to_owned(),
            hint: "the first start of `jitd` makes it; `jitd audit verify --file FILE` verifies a copy",
        },
        _ => Fault::System(error.to_string()),
    })?;
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    layout(&connection)?;
    Ok(connection)
}

/// Checks the last lines: numbered without gaps, each with the hash of the previous one.
fn check_tail(connection: &Connection) -> Result<Head, Fault> {
    let before = last_seq(connection)?.saturating_sub(TAIL).max(0);
    let mut head = Head::beginning();
    if before > 0 {
        let line: Option<String> =
            connection.query_row("SELECT line FROM events WHERE seq = ?1", [before], |row| row.get(0)).optional()?;
        head = Head::from_line(before, &line.ok_or_else(|| missing(before))?);
    }
    let mut statement = connection.prepare("SELECT seq, line FROM events WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = statement.query([before])?;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(0)? != head.next() {
            return Err(missing(head.next()));
        }
        head = head.apply(&row.get::<_, String>(1)?)?.1;
    }
    Ok(head)
}

fn missing(seq: i64) -> Fault {
    Fault::Damaged { seq, why: "it is missing".to_owned() }
}

/// Number of the last event; 0 if there is none.
pub(super) fn last_seq(connection: &Connection) -> Result<i64, Fault> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Runs a statement without parameters, which is parsed once.
pub(super) fn run(connection: &Connection, statement: &str) -> Result<(), Fault> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}

/// Inserts or updates exactly one row. If a trigger raises IGNORE, SQLite reports success although it stored nothing.
pub(super) fn write_one(connection: &Connection, statement: &str, parameters: impl Params) -> Result<(), Fault> {
    match connection.prepare_cached(statement)?.execute(parameters)? {
        1 => Ok(()),
        rows => Err(Fault::System(format!("SQLite stored {rows} rows instead of one"))),
    }
}

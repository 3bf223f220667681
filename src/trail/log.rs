//! Whether a trail's file is all of the trail. What was written last stands in SQLite's log beside it, until it is carried over.
//!
//! ```text
//!  first commit ─► the file says that it is in use ─► …log… ─► close: all is carried over, the file says that it is whole
//! ```
//! So a copy that was made without the log, of a trail in use or of one whose daemon was killed, says so itself; it would read
//! as a shorter trail, in which nothing is wrong. The store marks the file, and whoever opens it asks first.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::Fault;

/// SQLite's `application_id` of a file in use: "jitd". That of a file that is whole, or of before, is 0.
const IN_USE: i32 = 0x6a69_7464;

/// Where it stands in a file, big-endian (<https://www.sqlite.org/fileformat2.html>, section 1.3).
const AT: usize = 68;

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

/// Whether what belongs into the log of the file at `path` is there. SQLite makes an empty one, so this is asked before.
pub(super) fn is_beside(path: &Path) -> Result<(), Fault> {
    // The log has something before the file says that it is in use, and still has when the file says that it is whole: asked
    // before and after, a daemon that starts or stops meanwhile does not matter.
    if has_log(path) || !says_that_it_is_in_use(path) || has_log(path) {
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

/// A file that can't be read says nothing here; SQLite says why.
fn says_that_it_is_in_use(path: &Path) -> bool {
    let mut header = [0; AT + 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut header)).is_ok()
        && header.ends_with(&IN_USE.to_be_bytes())
}

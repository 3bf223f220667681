//! A copy of the trail while the daemon writes it: one moment of it, whole, in a file that was not there before.
//!
//! ```text
//!  new file, 0600 ─► VACUUM INTO (one read transaction, nobody waits) ─► whole by itself ─► fsync file and folder ─► verify
//! ```
//! It never writes over a file, and never says that a copy is good which it has not read again from its beginning.
//! `jitd backup` calls it, beside a daemon or without one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;

use super::sqlite::open_what_is_there;
use super::{Fault, Position, Report, TrailError, log, verify_file};

/// Copies the trail at `trail` to the new file `copy`, and proves the copy.
///
/// # Errors
/// [`TrailError::Unavailable`], when the copy could not be made; nothing is left of it then. [`TrailError::Damaged`],
/// [`TrailError::Altered`] or [`TrailError::Incomplete`], when it was made and is so, as the trail is; then it stays, for it may
/// be needed as evidence, and one that is only not complete can be gone on with.
pub fn back_up(trail: &Path, copy: &Path, each: impl FnMut(&Position)) -> Result<Report, TrailError> {
    let failed = |why: String, hint| TrailError::Unavailable { path: copy.display().to_string(), why, hint };
    let reader = open_what_is_there(trail).map_err(|fault| fault.at(trail))?;
    let is_complete = log::is_complete(trail, &reader).map_err(|fault| fault.at(trail));
    // Whoever made the file holds it: a name that is there already, also as a link, is refused.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).map_err(|error| {
        let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
        failed(error.to_string(), is_there.then_some("name a new file"))
    })?;
    let written = (|| -> Result<(), Fault> {
        let text = copy.to_str().ok_or_else(|| Fault::System("its name is no UTF-8".to_owned()))?;
        // The connection may only read the trail; that it only reads at all would hold for the copy too.
        reader.pragma_update(None, "query_only", false)?;
        reader.execute("VACUUM INTO ?1", [text])?;
        log::mark_whole(&Connection::open(copy)?)?;
        let system = |error: std::io::Error| Fault::System(error.to_string());
        File::open(copy).and_then(|file| file.sync_all()).map_err(system)?;
        let folder = copy.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(system)
    })();
    if let Err(fault) = written {
        let _ = std::fs::remove_file(copy);
        return Err(failed(fault.to_string(), None));
    }
    let report = verify_file(copy, each)?;
    is_complete.map(|()| report)
}

//! Copies the trail while the daemon writes it: a consistent snapshot in a new file.
//!
//! ```text
//!  new file, 0600 ─► VACUUM INTO (one read transaction, nobody waits) ─► complete without a log ─► fsync file and folder ─► verify
//! ```
//! It never overwrites a file, and never reports a copy as good before it has verified it from the beginning.
//! `jitd backup` calls it, with or without a running daemon.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;

use super::sqlite::open_what_is_there;
use super::{Fault, Position, Report, TrailError, log, verify_file};

/// Copies the trail at `trail` to the new file `copy`, and verifies the copy.
///
/// # Errors
/// [`TrailError::Exists`] if there is such a file. [`TrailError::Unavailable`] if the copy could not be made; then nothing
/// of it remains. [`TrailError::Damaged`], [`TrailError::Altered`] or [`TrailError::Incomplete`] if the trail itself is;
/// then the copy remains, because it may be needed as evidence, and a daemon can continue with one that is only incomplete.
pub fn back_up(trail: &Path, copy: &Path, each: impl FnMut(&Position)) -> Result<Report, TrailError> {
    let failed = |why: String| TrailError::Unavailable { path: copy.display().to_string(), why, hint: None };
    let reader = open_what_is_there(trail).map_err(|fault| fault.at(trail))?;
    let is_complete = log::is_complete(trail, &reader).map_err(|fault| fault.at(trail));
    // Fails if the name exists, also as a link, so the new file is certainly ours.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => TrailError::Exists(copy.display().to_string()),
        _ => failed(error.to_string()),
    })?;
    let written = (|| -> Result<(), Fault> {
        let text = copy.to_str().ok_or_else(|| Fault::System("its name is not UTF-8".to_owned()))?;
        // The connection is opened read-only for the trail; `query_only` would apply to the copy too.
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
        return Err(failed(fault.to_string()));
    }
    let report = verify_file(copy, each)?;
    is_complete.map(|()| report)
}

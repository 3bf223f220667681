//! Writes files completely or not at all, also after a power failure, owned by the account that has to read them.
//!
//! It does not interpret what it writes. The daemon's authorities and the gateway's certificate are written with it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use nix::unistd::geteuid;

use super::{FileError, check_folder, new_folder};

/// Creates a folder that only the owner of the folder above it can access. An existing folder must be trusted.
///
/// # Errors
/// It cannot be created, or others could write to it.
pub fn make_folder(folder: &Path) -> Result<(), FileError> {
    match new_folder(folder) {
        Ok(made) => {
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                give_to_owner_of(parent, &made).map_err(io_error(folder, "change the owner of"))?;
                sync_folder(parent)?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_folder(folder),
        Err(source) => Err(FileError::Io { path: folder.to_path_buf(), doing: "create", source }),
    }
}

/// What happens to an existing file of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the new one is not written.
    Refused,
    /// The new one takes its place.
    Replaced,
}

/// Writes a file completely or not at all, also after a power failure. `mode` is its permissions, whatever the umask.
///
/// # Errors
/// It cannot be written; it exists already and `existing` refuses that ([`io::ErrorKind::AlreadyExists`]).
pub fn write(folder: &Path, name: &str, contents: &[u8], mode: u32, existing: Existing) -> Result<(), FileError> {
    let mut random = [0; 8];
    let path = folder.join(name);
    let no_random = |_| io::Error::other("the cryptographic library failed to give random bytes");
    rand::fill(&mut random).map_err(no_random).map_err(io_error(&path, "write"))?;
    let new = folder.join(format!(".{name}.{:016x}.new", u64::from_be_bytes(random)));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).map_err(io_error(&new, "create"))?;
    // The mode is set again, because the umask removed bits from the first one.
    let written = give_to_owner_of(folder, &file)
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| file.write_all(contents))
        .and_then(|()| file.sync_all())
        .and_then(|()| match existing {
            Existing::Replaced => fs::rename(&new, &path),
            // Unlike a rename, a link fails if the name exists.
            Existing::Refused => fs::hard_link(&new, &path).and_then(|()| fs::remove_file(&new)),
        });
    if let Err(source) = written {
        // It may be gone already; the first error is the one to report.
        let _ = fs::remove_file(&new);
        return Err(FileError::Io { path, doing: "write", source });
    }
    sync_folder(folder)
}

/// The service has to own the files that root creates in its folder; otherwise it could not read them.
fn give_to_owner_of(folder: &Path, file: &File) -> io::Result<()> {
    let metadata = fs::metadata(folder)?;
    if geteuid().is_root() && metadata.uid() != 0 {
        fchown(file, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    Ok(())
}

/// Removes a file, also after a power failure.
///
/// # Errors
/// It cannot be removed.
pub fn remove(folder: &Path, name: &str) -> Result<(), FileError> {
    let path = folder.join(name);
    fs::remove_file(&path).map_err(io_error(&path, "remove"))?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error(folder, "write"))
}

fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> FileError {
    let path: PathBuf = path.to_path_buf();
    move |source| FileError::Io { path, doing, source }
}

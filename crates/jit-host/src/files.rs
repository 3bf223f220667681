//! Reads files as strictly as sshd does with `StrictModes`: a file that somebody else could have written is not read, and
//! a secret that somebody else could have read is not used.
//!
//! The checks apply to the open file and to the folders above its real path, never to the path that was given. This module
//! does not know what a file contains, and repairs nothing: a refusal says which command to type. The configuration, the
//! authority and the mains call it, also for the folder of the trail.
//! ```text
//!  configuration   written by root, by us, by the account `jitd` or by the caller of sudo; anybody may read it
//!  private         the same, and nobody else may read it
//!  credential      as systemd passes it: owned by root or by us, read-only; the group may read it only if root owns it
//!  code            written by root or by us only, because it runs with our rights
//! ```

use std::borrow::Cow;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{User, geteuid};
use zeroize::Zeroizing;

use crate::hint::Hint;

mod whole;

pub use self::whole::{Existing, make_folder, remove, write};

/// The account that the daemon runs as if it was installed from a package.
pub const ACCOUNT: &str = "jitd";

/// Larger than any key, certificate or PIN.
const MAX_SECRET: u64 = 256 * 1024;

/// Larger than any policy.
const MAX_CONFIGURATION: u64 = 16 * 1024 * 1024;

/// Why a file or folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system call failed.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation, as a verb.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// It has another type, or is too large.
    #[error("`{}` is not {wanted}", path.display())]
    Kind {
        /// The file or folder.
        path: PathBuf,
        /// The expected type.
        wanted: &'static str,
    },
    /// Others than the owner can access a secret.
    #[error("`{}` has mode {mode:04o}, so others can access a secret", path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The expected permission bits, as written for `chmod`.
        wanted: &'static str,
    },
    /// Others than the owner can change or replace it.
    #[error("`{}` has mode {mode:04o}, so others can change or replace it", path.display())]
    Writable {
        /// The file, or a folder above it.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to an account that is not trusted.
    #[error("`{}` belongs to uid {owner}, not to root, this process (uid {us}) or the account `{ACCOUNT}`", path.display())]
    Owner {
        /// The file, or a folder above it.
        path: PathBuf,
        /// The uid of the owner.
        owner: u32,
        /// Our own uid.
        us: u32,
    },
}

impl Hint for FileError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Open { path, wanted, .. } => Some(format!("chmod {wanted} '{}'", path.display()).into()),
            Self::Writable { path, .. } => Some(format!("chmod go-w '{}'", path.display()).into()),
            Self::Owner { path, .. } => Some(format!("chown root '{}'", path.display()).into()),
            Self::Io { .. } | Self::Kind { .. } => None,
        }
    }
}

/// Reads a configuration file; it may be a symbolic link.
///
/// # Errors
/// It cannot be read, or somebody else could have written it.
pub fn read_configuration(path: &Path) -> Result<String, FileError> {
    let (mut file, metadata) = opened(path, OFlag::empty(), MAX_CONFIGURATION, "a regular file of at most 16 MiB")?;
    trusted(path, &file, &metadata, may_configure)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed(path, "read"))?;
    Ok(text)
}

/// Reads a file with a private key or a PIN: a regular file, not a link.
///
/// # Errors
/// It cannot be read, or somebody else could have written or read it.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let (file, metadata) = opened(path, OFlag::O_NOFOLLOW, MAX_SECRET, "a regular file of at most 256 KiB")?;
    // The file comes first: its faults are more urgent than those of the folders above it.
    if metadata.mode() & 0o077 != 0 {
        return Err(FileError::Open { path: path.to_path_buf(), mode: metadata.mode() & 0o7777, wanted: "600" });
    }
    trusted(path, &file, &metadata, may_configure)?;
    secret(path, file, &metadata)
}

/// Reads a credential that systemd passes to us. systemd 252 creates it with mode 0400. If the file system of the
/// credentials has no access lists, our account owns the file; otherwise root does, and the mask of the access list
/// appears in the group's bits.
///
/// # Errors
/// It cannot be read, or its mode or owner is not what systemd sets.
pub fn read_credential(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let (file, metadata) = opened(path, OFlag::O_NOFOLLOW, MAX_SECRET, "a regular file of at most 256 KiB")?;
    let mode = metadata.mode() & 0o7777;
    let allowed = if metadata.uid() == 0 && metadata.gid() == 0 { 0o640 } else { 0o600 };
    if mode & !allowed != 0 {
        return Err(FileError::Open { path: path.to_path_buf(), mode, wanted: "400" });
    }
    trusted(path, &file, &metadata, may_run)?;
    secret(path, file, &metadata)
}

/// Refuses a library that anybody but root or this process could have written.
///
/// # Errors
/// It cannot be opened, or must not be run.
pub fn check_code(path: &Path) -> Result<(), FileError> {
    let (file, metadata) = opened(path, OFlag::empty(), u64::MAX, "a regular file")?;
    trusted(path, &file, &metadata, may_run)
}

/// Refuses a folder of secrets that somebody else could write to.
///
/// # Errors
/// It does not exist, is not a folder, or is not trusted.
pub fn check_folder(path: &Path) -> Result<(), FileError> {
    let (file, metadata) = opened_folder(path)?;
    if metadata.mode() & 0o022 != 0 {
        return Err(FileError::Open { path: path.to_path_buf(), mode: metadata.mode() & 0o7777, wanted: "700" });
    }
    trusted(path, &file, &metadata, may_configure)
}

/// Refuses a folder in which somebody else could replace a file that we create. A sticky folder such as /tmp is allowed,
/// because only a file's owner can remove it there.
///
/// # Errors
/// It does not exist, is not a folder, or is not trusted.
pub fn check_place(path: &Path) -> Result<(), FileError> {
    let (file, metadata) = opened_folder(path)?;
    unspoilt(path, &metadata, may_configure, STICKY)?;
    above(&file, path, may_configure)
}

/// Creates a folder that only its owner can access, with the folders above it. An existing folder must be private already.
///
/// # Errors
/// It cannot be created, or is not trusted.
pub fn private_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path, "create"))?;
    let mode = fs::metadata(path).map_err(failed(path, "inspect"))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::Open { path: path.to_path_buf(), mode, wanted: "700" });
    }
    check_folder(path)
}

/// Creates a folder that only its owner can access, and opens it, so that a later change of owner applies to this folder:
/// in a folder of somebody else, a link could have replaced it in the meantime.
///
/// # Errors
/// It exists already, or cannot be created.
pub fn new_folder(path: &Path) -> io::Result<File> {
    DirBuilder::new().mode(0o700).create(path)?;
    OpenOptions::new().read(true).custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits()).open(path)
}

fn opened(path: &Path, flags: OFlag, longest: u64, wanted: &'static str) -> Result<(File, Metadata), FileError> {
    let file = OpenOptions::new()
        .read(true)
        // Without O_NONBLOCK, opening a FIFO would block forever.
        .custom_flags((flags | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits())
        .open(path)
        .map_err(failed(path, "open"))?;
    let metadata = file.metadata().map_err(failed(path, "inspect"))?;
    if !metadata.is_file() || metadata.len() > longest {
        return Err(FileError::Kind { path: path.to_path_buf(), wanted });
    }
    Ok((file, metadata))
}

fn opened_folder(path: &Path) -> Result<(File, Metadata), FileError> {
    let file = File::open(path).map_err(failed(path, "open"))?;
    let metadata = file.metadata().map_err(failed(path, "inspect"))?;
    if metadata.is_dir() {
        Ok((file, metadata))
    } else {
        Err(FileError::Kind { path: path.to_path_buf(), wanted: "a folder" })
    }
}

/// The contents, in a single allocation that is wiped: a buffer that grows would leave copies in freed memory.
fn secret(path: &Path, mut file: File, metadata: &Metadata) -> Result<Zeroizing<String>, FileError> {
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(metadata.len()).unwrap_or(0)]);
    file.read_exact(&mut bytes).map_err(failed(path, "read"))?;
    let text =
        str::from_utf8(&bytes).map_err(|_| FileError::Kind { path: path.to_path_buf(), wanted: "text in UTF-8" })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Refuses a file that others could have written or replaced.
fn trusted(path: &Path, file: &File, metadata: &Metadata, owner: fn(u32) -> bool) -> Result<(), FileError> {
    unspoilt(path, metadata, owner, 0)?;
    above(file, path, owner)
}

/// Refuses a file below a folder that others could change.
fn above(file: &File, path: &Path, owner: fn(u32) -> bool) -> Result<(), FileError> {
    let real = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(failed(path, "resolve"))?;
    for folder in real.ancestors().skip(1) {
        let metadata = fs::metadata(folder).map_err(failed(folder, "inspect"))?;
        unspoilt(folder, &metadata, owner, STICKY)?;
    }
    Ok(())
}

/// In a folder with this bit, nobody can move or remove the files of others (inode(7)).
const STICKY: u32 = 0o1000;

fn unspoilt(path: &Path, metadata: &Metadata, owner: fn(u32) -> bool, excused_by: u32) -> Result<(), FileError> {
    if !owner(metadata.uid()) {
        let (owner, us) = (metadata.uid(), geteuid().as_raw());
        return Err(FileError::Owner { path: path.to_path_buf(), owner, us });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 && mode & excused_by == 0 {
        return Err(FileError::Writable { path: path.to_path_buf(), mode });
    }
    Ok(())
}

/// Whether we run code of this owner: only root's and our own.
fn may_run(owner: u32) -> bool {
    // In a user namespace that does not map root, the owner of `/` shows root's uid.
    owner == 0 || owner == geteuid().as_raw() || fs::metadata("/").is_ok_and(|top| top.uid() == owner)
}

/// Whether we use configuration and keys of this owner. Administrators work as root on files of the service or, with sudo,
/// on their own.
fn may_configure(owner: u32) -> bool {
    may_run(owner)
        || (geteuid().is_root() && std::env::var("SUDO_UID").is_ok_and(|caller| caller.parse() == Ok(owner)))
        || User::from_name(ACCOUNT).is_ok_and(|account| account.is_some_and(|account| account.uid.as_raw() == owner))
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_path_buf();
    move |source| FileError::Io { path, doing, source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    /// A separate folder below the sticky one for temporary files.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let mut random = [0; 8];
            aws_lc_rs::rand::fill(&mut random).unwrap();
            let path = std::env::temp_dir().join(format!("jitd-files-{:016x}", u64::from_ne_bytes(random)));
            DirBuilder::new().mode(0o700).create(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, "text").unwrap();
            set(&path, mode);
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_configuration_that_others_can_write_is_not_read() {
        let folder = Folder::new();
        for mode in [0o600, 0o640, 0o644, 0o444] {
            assert_eq!(read_configuration(&folder.file("config", mode)).unwrap(), "text", "{mode:o}");
        }
        for bits in [0o660, 0o602, 0o666, 0o777] {
            let refused = read_configuration(&folder.file("config", bits)).unwrap_err();
            assert!(matches!(refused, FileError::Writable { mode, .. } if mode == bits), "{refused}");
            assert!(refused.hint().unwrap().starts_with("chmod go-w '"), "{refused}");
        }
    }

    /// Also if a link in a trusted place leads there.
    #[test]
    fn a_file_below_a_folder_that_others_can_write_is_refused() {
        let folder = Folder::new();
        let (inner, link) = (folder.0.join("a/b"), folder.0.join("link"));
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("config"), "text").unwrap();
        symlink(inner.join("config"), &link).unwrap();
        read_configuration(&link).unwrap();
        set(&folder.0.join("a"), 0o775);
        for path in [&inner.join("config"), &link] {
            let refused = read_configuration(path).unwrap_err();
            assert!(matches!(&refused, FileError::Writable { path, .. } if path.ends_with("a")), "{refused}");
        }
        set(&folder.0.join("a"), 0o1777);
        read_configuration(&link).unwrap();
    }

    #[test]
    fn a_file_of_another_account_is_not_read() {
        assert!(geteuid().is_root(), "making files of other accounts takes root");
        let folder = Folder::new();
        let path = folder.file("config", 0o644);
        chown(&path, Some(420_001), None).unwrap();
        let refused = read_configuration(&path).unwrap_err();
        assert!(matches!(refused, FileError::Owner { owner: 420_001, us: 0, .. }), "{refused}");
        assert!(refused.hint().unwrap().starts_with("chown root '"), "{refused}");
        assert!(matches!(check_code(&path), Err(FileError::Owner { .. })));
        chown(&path, Some(0), None).unwrap();
        chown(&folder.0, Some(420_001), None).unwrap();
        assert!(matches!(read_configuration(&path), Err(FileError::Owner { .. })), "the folder is a stranger's");
        assert!(matches!(check_folder(&folder.0), Err(FileError::Owner { .. })));
    }

    #[test]
    fn a_secret_is_for_its_owner_only() {
        let folder = Folder::new();
        for mode in [0o600, 0o400] {
            assert_eq!(*read_private(&folder.file("key", mode)).unwrap(), "text");
        }
        for bits in [0o640, 0o604, 0o610, 0o660] {
            let refused = read_private(&folder.file("key", bits)).unwrap_err();
            assert!(matches!(refused, FileError::Open { mode, .. } if mode == bits), "{refused}");
        }
        symlink(folder.file("key", 0o600), folder.0.join("link")).unwrap();
        assert!(matches!(read_private(&folder.0.join("link")), Err(FileError::Io { doing: "open", .. })));
        nix::unistd::mkfifo(&folder.0.join("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(matches!(read_private(&folder.0.join("pipe")), Err(FileError::Kind { .. })));
    }

    /// With an access list for the service's account, root owns systemd's file, and its mode shows the list's mask.
    #[test]
    fn a_credential_is_accepted_only_as_systemd_creates_it() {
        let folder = Folder::new();
        for mode in [0o400, 0o440] {
            assert_eq!(*read_credential(&folder.file("key", mode)).unwrap(), "text");
        }
        for mode in [0o444, 0o460, 0o500] {
            assert!(matches!(read_credential(&folder.file("key", mode)), Err(FileError::Open { .. })), "{mode:o}");
        }
        let path = folder.file("key", 0o440);
        chown(&path, Some(0), Some(420_001)).unwrap();
        assert!(matches!(read_credential(&path), Err(FileError::Open { .. })), "of another group");
    }

    #[test]
    fn a_folder_is_trusted_only_if_nobody_else_can_replace_files_in_it() {
        let folder = Folder::new();
        for mode in [0o700, 0o755, 0o1777] {
            set(&folder.0, mode);
            check_place(&folder.0).unwrap();
        }
        set(&folder.0, 0o777);
        assert!(matches!(check_place(&folder.0), Err(FileError::Writable { mode: 0o777, .. })));
        set(&folder.0, 0o1777);
        chown(&folder.0, Some(420_001), None).unwrap();
        assert!(
            matches!(check_place(&folder.0), Err(FileError::Owner { .. })),
            "its owner can replace files even if it is sticky"
        );
    }

    #[test]
    fn a_new_folder_is_not_a_link_and_did_not_exist() {
        let folder = Folder::new();
        assert!(new_folder(&folder.0.join("new")).unwrap().metadata().unwrap().is_dir());
        symlink(&folder.0, folder.0.join("link")).unwrap();
        for name in ["new", "link"] {
            assert_eq!(new_folder(&folder.0.join(name)).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
    }

    #[test]
    fn a_private_folder_is_created_and_has_to_stay_private() {
        let folder = Folder::new();
        let path = folder.0.join("a/b");
        private_folder(&path).unwrap();
        private_folder(&path).unwrap();
        set(&path, 0o750);
        assert!(matches!(private_folder(&path), Err(FileError::Open { mode: 0o750, .. })));
    }
}

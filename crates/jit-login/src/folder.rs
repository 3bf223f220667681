//! The client's private folders: keys, credentials and kubeconfigs of this account's grants.
//!
//! ```text
//!  keys without a certificate:      ${XDG_STATE_HOME:-~/.local/state}/jit-login      0700, ours, not a link
//!    pending-<random>.key · <grant>.key                                                            0600
//!  live grants:                     $XDG_RUNTIME_DIR/jit-login, else the same folder
//!    <grant>.key · <grant>.credential · <grant>.kubeconfig · <grant>.lock · <grant>.warned         0600
//! ```
//! The first one survives a logout, the second one does not.
//! Every access uses the folder's descriptor, which is checked once, so nobody can replace the folder. It never follows a
//! link, never waits for a FIFO, never writes to a file of another account, and writes each file completely or not at all.
//! Every command that uses a key calls it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};

use crate::failure::Failure;

/// An open folder that only this account may access, or (for a kubeconfig elsewhere) that only it or root may write to.
pub(crate) struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
}

/// Keys and credentials have a few kilobytes; a kubeconfig can contain many clusters.
const LARGEST: u64 = 4 * 1024 * 1024;
const NAME: &str = "jit-login";

impl Folder {
    /// The folder for new files; created if it is missing.
    pub(crate) fn home() -> Result<Self, Failure> {
        let parent = candidates().into_iter().next().ok_or_else(no_home)?;
        Self::private_in(&parent, true)?.ok_or_else(|| refused(&parent.join(NAME), "it cannot be created"))
    }

    /// The folder for files that have to survive a logout; created if it is missing.
    ///
    /// # Errors
    /// Why this account has none.
    pub(crate) fn lasting() -> Result<Self, Failure> {
        let parent = state().ok_or_else(no_lasting)?;
        let of_login = runtime().into_iter().chain([logged_in()]).any(|folder| parent.starts_with(folder));
        if of_login {
            return Err(refused(&parent.join(NAME), "it is removed at logout"));
        }
        Self::private_in(&parent, true)?.ok_or_else(|| refused(&parent.join(NAME), "it cannot be created"))
    }

    /// Whether this is the folder of [`Self::lasting`].
    pub(crate) fn is_lasting(&self) -> bool {
        state().is_some_and(|parent| self.path == parent.join(NAME))
    }

    /// Whether this is another folder than `other`.
    pub(crate) fn is_another(&self, other: &Self) -> bool {
        self.path != other.path
    }

    /// The folder that contains the file `name`, among all folders that this account may have used.
    pub(crate) fn holding(name: &str) -> Result<Option<Self>, Failure> {
        for parent in candidates() {
            if let Some(folder) = Self::private_in(&parent, false)?
                && folder.look(name)?.is_some()
            {
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    /// All existing folders of this account.
    pub(crate) fn every() -> Result<Vec<Self>, Failure> {
        let mut folders = Vec::new();
        for parent in candidates() {
            folders.extend(Self::private_in(&parent, false)?);
        }
        Ok(folders)
    }

    /// A folder that is not the client's own, such as `~/.kube`: it has to belong to this account or root, and others may not
    /// write to it.
    pub(crate) fn foreign(path: &Path) -> Result<Self, Failure> {
        let descriptor = match open_folder(path) {
            Err(Errno::ENOENT) => {
                make_with_parents(path)?;
                open_folder(path)
            }
            other => other,
        };
        let descriptor = descriptor.map_err(|errno| refused(path, errno.desc()))?;
        check_parent(&descriptor, path)?;
        Ok(Self { descriptor, path: path.to_owned() })
    }

    fn private_in(parent: &Path, make: bool) -> Result<Option<Self>, Failure> {
        let above = match open_folder(parent) {
            Ok(above) => above,
            Err(Errno::ENOENT) if !make => return Ok(None),
            Err(Errno::ENOENT) => {
                make_with_parents(parent)?;
                open_folder(parent).map_err(|errno| refused(parent, errno.desc()))?
            }
            Err(Errno::EACCES) if !make => return Ok(None),
            Err(errno) => return Err(refused(parent, errno.desc())),
        };
        let path = parent.join(NAME);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let descriptor = match openat(&above, NAME, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::ENOENT) if !make => return Ok(None),
            Err(Errno::ENOENT) => {
                check_parent(&above, parent)?;
                match mkdirat(&above, NAME, Mode::S_IRWXU) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(refused(&path, errno.desc())),
                }
                openat(&above, NAME, flags, Mode::empty()).map_err(|errno| refused(&path, not_a_folder(errno)))?
            }
            Err(errno) => return Err(refused(&path, not_a_folder(errno))),
        };
        check_parent(&above, parent)?;
        let found = fstat(&descriptor).map_err(|errno| refused(&path, errno.desc()))?;
        if found.st_uid != Uid::effective().as_raw() {
            return Err(refused(&path, "it belongs to another account"));
        }
        if found.st_mode & 0o077 != 0 {
            return Err(refused(&path, "others may access it; its mode must be 0700"));
        }
        Ok(Some(Self { descriptor, path }))
    }

    /// The path of a file in this folder.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether `path` is in this folder.
    pub(crate) fn contains(&self, path: &Path) -> bool {
        path.parent() == Some(self.path.as_path())
    }

    /// The file `name`, if it is a regular file of this account; none if it does not exist.
    fn look(&self, name: &str) -> Result<Option<FileStat>, Failure> {
        match fstatat(&self.descriptor, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => self.check(name, &found).map(|()| Some(found)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(refused(&self.path_of(name), errno.desc())),
        }
    }

    fn check(&self, name: &str, found: &FileStat) -> Result<(), Failure> {
        let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
        if kind != SFlag::S_IFREG {
            return Err(refused(&self.path_of(name), "it is a link, a FIFO or something else that is not a file"));
        }
        if found.st_uid != Uid::effective().as_raw() {
            return Err(refused(&self.path_of(name), "it belongs to another account"));
        }
        Ok(())
    }

    /// The file's text; none if it does not exist.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, Failure> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let descriptor = match openat(&self.descriptor, name, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(refused(&self.path_of(name), "it is a link")),
            Err(errno) => return Err(refused(&self.path_of(name), errno.desc())),
        };
        let found = fstat(&descriptor).map_err(|errno| refused(&self.path_of(name), errno.desc()))?;
        self.check(name, &found)?;
        let mut text = String::with_capacity(usize::try_from(found.st_size).unwrap_or(0).min(64 * 1024));
        let read = File::from(descriptor).take(LARGEST + 1).read_to_string(&mut text);
        match read {
            Err(error) => Err(refused(&self.path_of(name), &error.to_string())),
            Ok(length) if length as u64 > LARGEST => Err(refused(&self.path_of(name), "it is larger than 4 MiB")),
            Ok(_) => Ok(Some(text)),
        }
    }

    /// Writes `text` to `name` completely or not at all, and syncs it to the disk. An existing file keeps its mode; a new one
    /// gets 0600.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let mode = self.look(name)?.map_or(0o600, |found| found.st_mode & 0o777);
        let fail = |errno: Errno| refused(&self.path_of(name), errno.desc());
        let draft = format!(".{name}.{}", random_word()?);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let descriptor =
            openat(&self.descriptor, draft.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(fail)?;
        let written = (|| {
            fchmod(&descriptor, Mode::from_bits_truncate(mode | 0o600)).map_err(std::io::Error::from)?;
            let mut file = File::from(descriptor);
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            renameat(&self.descriptor, draft.as_str(), &self.descriptor, name).map_err(std::io::Error::from)
        })();
        if let Err(error) = written {
            let _ = unlinkat(&self.descriptor, draft.as_str(), UnlinkatFlags::NoRemoveDir);
            return Err(refused(&self.path_of(name), &error.to_string()));
        }
        Ok(())
    }

    /// Renames a file.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), Failure> {
        self.look(to)?;
        renameat(&self.descriptor, from, &self.descriptor, to).map_err(|errno| refused(&self.path_of(to), errno.desc()))
    }

    /// Removes a file, if it exists.
    pub(crate) fn remove(&self, name: &str) {
        let _ = unlinkat(&self.descriptor, name, UnlinkatFlags::NoRemoveDir);
    }

    /// Removes a file that was last written more than `age` ago.
    pub(crate) fn remove_older(&self, name: &str, age: SignedDuration, now: Timestamp) {
        let found = self.look(name).ok().flatten();
        let written = found.and_then(|found| Timestamp::from_second(found.st_mtime).ok());
        if written.is_some_and(|written| now.duration_since(written) > age) {
            self.remove(name);
        }
    }

    /// The names of the files here, without drafts of interrupted writes.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| !name.starts_with('.')).collect()
    }

    /// Creates the file `name`, which must not exist, and removes it when the result is dropped: this is how client-go locks a
    /// file. None if another process held it until `deadline`.
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no notification when the file of another process disappears"
    )]
    pub(crate) fn claim(&self, name: &str, deadline: Instant) -> Result<Option<Claim<'_>>, Failure> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        loop {
            match openat(&self.descriptor, name, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
                Ok(_) => return Ok(Some(Claim { folder: self, name: name.to_owned() })),
                Err(Errno::EEXIST) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Err(Errno::EEXIST) => return Ok(None),
                Err(errno) => return Err(refused(&self.path_of(name), errno.desc())),
            }
        }
    }

    /// Holds the lock file `name` until the result is dropped; none if another process held it until `deadline`. On a file
    /// system without locks, such as some NFS, nothing is locked: two processes may then do the same work, and the last
    /// written file is complete.
    #[expect(clippy::disallowed_methods, reason = "flock has no time limit")]
    pub(crate) fn lock(&self, name: &str, deadline: Instant) -> Result<Option<Lock>, Failure> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        self.look(name)?;
        let descriptor = openat(&self.descriptor, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| refused(&self.path_of(name), errno.desc()))?;
        let mut file = File::from(descriptor);
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Some(Lock { _held: Some(held) })),
                Err((_, Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS)) => return Ok(Some(Lock { _held: None })),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < deadline => {
                    file = back;
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => return Err(refused(&self.path_of(name), errno.desc())),
            }
        }
    }
}

/// A lock, if the file system supports it.
pub(crate) struct Lock {
    _held: Option<Flock<File>>,
}

/// A file that represents the right to change another one.
pub(crate) struct Claim<'a> {
    folder: &'a Folder,
    name: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.folder.remove(&self.name);
    }
}

/// Twelve unpredictable characters.
pub(crate) fn random_word() -> Result<String, Failure> {
    let mut bytes = [0_u8; 6];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Failure::own("the host provides no random numbers", ""))?;
    Ok(jit_core::grant::digest::hex(&bytes))
}

/// The folders that can contain ours, the one for new files first. A kubectl without `XDG_RUNTIME_DIR`, for example from
/// cron, still finds the grant.
fn candidates() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    for place in [runtime(), state(), Some(logged_in())].into_iter().flatten() {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The folder that is removed at logout. It is not created here if it is missing, because the login may be over.
fn runtime() -> Option<PathBuf> {
    absolute("XDG_RUNTIME_DIR").filter(|path| path.symlink_metadata().is_ok())
}

/// The folder that stays on the disk.
fn state() -> Option<PathBuf> {
    absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
}

fn logged_in() -> PathBuf {
    PathBuf::from(format!("/run/user/{}", Uid::effective()))
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    openat(AT_FDCWD, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

fn make_with_parents(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| refused(path, &error.to_string()))
}

/// A folder that others may write to, such as `/tmp`, must not contain ours: they could have created it first.
fn check_parent(descriptor: &OwnedFd, path: &Path) -> Result<(), Failure> {
    let found = fstat(descriptor).map_err(|errno| refused(path, errno.desc()))?;
    if found.st_uid != 0 && found.st_uid != Uid::effective().as_raw() {
        return Err(refused(path, "it belongs to another account"));
    }
    if found.st_mode & 0o002 != 0 {
        return Err(refused(path, "everybody may write to it"));
    }
    Ok(())
}

fn not_a_folder(errno: Errno) -> &'static str {
    match errno {
        Errno::ELOOP | Errno::ENOTDIR => "it is a link or not a folder",
        other => other.desc(),
    }
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::own(
        format!("`{}` is not used: {}", path.display(), why.to_lowercase()),
        "only your account may have access to it; find out who created it and move it away, or set XDG_RUNTIME_DIR to your own folder",
    )
}

fn no_home() -> Failure {
    Failure::own("there is no folder for keys", "set HOME, XDG_RUNTIME_DIR or XDG_STATE_HOME to your own folder")
}

fn no_lasting() -> Failure {
    Failure::own("neither HOME nor XDG_STATE_HOME is set", "set HOME to your own folder")
}

/// The last part of a path as text.
pub(crate) fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(OsStr::to_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("jit-login-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_private_and_is_read_back() {
        let scratch = Scratch::new("file");
        let folder = Folder::private_in(&scratch.0, true).unwrap().unwrap();
        folder.write("a.key", "secret").unwrap();
        folder.write("a.key", "secret two").unwrap();
        assert_eq!(folder.read("a.key").unwrap().as_deref(), Some("secret two"));
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path_of("a.key")), 0o600);
        assert_eq!(mode(scratch.0.join(NAME)), 0o700);
        assert_eq!(folder.names(), ["a.key"], "no draft is left");
        assert_eq!(folder.read("b.key").unwrap(), None);
    }

    #[test]
    fn a_folder_that_is_a_link_is_refused_and_nothing_written() {
        let scratch = Scratch::new("link");
        let elsewhere = scratch.0.join("elsewhere");
        std::fs::DirBuilder::new().mode(0o700).create(&elsewhere).unwrap();
        symlink(&elsewhere, scratch.0.join(NAME)).unwrap();
        assert!(Folder::private_in(&scratch.0, true).is_err());
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_others_may_access_is_refused() {
        let scratch = Scratch::new("open");
        std::fs::DirBuilder::new().mode(0o750).create(scratch.0.join(NAME)).unwrap();
        std::fs::set_permissions(scratch.0.join(NAME), std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(Folder::private_in(&scratch.0, true).is_err());
    }

    #[test]
    fn a_shared_temporary_folder_is_refused() {
        let scratch = Scratch::new("shared");
        std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(Folder::private_in(&scratch.0, true).is_err());
        assert!(!scratch.0.join(NAME).exists());
    }

    #[test]
    fn a_link_or_a_fifo_in_place_of_a_file_is_refused_and_nothing_written() {
        let scratch = Scratch::new("fifo");
        let folder = Folder::private_in(&scratch.0, true).unwrap().unwrap();
        let target = scratch.0.join("target");
        std::fs::write(&target, "theirs").unwrap();
        symlink(&target, folder.path_of("a.key")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.path_of("b.key")).status().unwrap();
        assert!(made.success());
        for name in ["a.key", "b.key"] {
            assert!(folder.write(name, "secret").is_err(), "{name}");
            assert!(folder.read(name).is_err(), "{name}");
            assert!(folder.lock(name, Instant::now()).is_err(), "{name}");
        }
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "theirs");
    }

    #[test]
    fn a_held_lock_is_not_granted_twice() {
        let scratch = Scratch::new("lock");
        let folder = Folder::private_in(&scratch.0, true).unwrap().unwrap();
        let held = folder.lock("a.lock", Instant::now()).unwrap();
        assert!(held.is_some());
        assert!(folder.lock("a.lock", Instant::now()).unwrap().is_none());
        drop(held);
        assert!(folder.lock("a.lock", Instant::now()).unwrap().is_some());
    }
}

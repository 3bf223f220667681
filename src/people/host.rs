//! The accounts and groups of this host, as its name service has them (NSS: files, sssd, LDAP, any other source).
//!
//! Each of these can take as long as a directory likes, so a daemon asks on a thread of its own. A group is read whatever
//! its size, and its members are looked at by nobody but `jitd doctor`. "There is none" and "it can't be told" are two
//! answers. Called by the rest of `people`, and by the programs.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::{Gid, getgrouplist};
use pwd_grp::{PwdGrp, PwdGrpProvider};

use crate::hint::Hint;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name, whatever bytes it has.
    pub name: Vec<u8>,
    /// Its number.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, as the source that has it spells it.
    pub name: String,
    /// Its number.
    pub gid: u32,
    /// The accounts that are listed in it. Whose primary group it is does not have to be.
    pub members: Vec<String>,
}

impl Account {
    /// The name for people to read.
    #[must_use]
    pub fn told(&self) -> String {
        text(&self.name)
    }
}

/// The name service failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host's name service failed: {0}")]
pub struct Failed(String);

impl Hint for Failed {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("try again; `getent passwd` and `getent group` show whether it works".into())
    }
}

/// The account of this number.
///
/// # Errors
/// [`Failed`].
pub fn account(uid: u32) -> Result<Option<Account>, Failed> {
    Ok(present(PwdGrp.getpwuid(uid))?.map(Account::from))
}

/// The account of this name.
///
/// # Errors
/// [`Failed`].
pub fn account_named(name: &[u8]) -> Result<Option<Account>, Failed> {
    Ok(present(PwdGrp.getpwnam(name))?.map(Account::from))
}

/// The group of this number.
///
/// # Errors
/// [`Failed`].
pub fn group(gid: u32) -> Result<Option<Group>, Failed> {
    Ok(present(PwdGrp.getgrgid(gid))?.map(Group::from))
}

/// The group that this name finds, which may be spelled otherwise.
///
/// # Errors
/// [`Failed`].
pub fn group_named(name: &str) -> Result<Option<Group>, Failed> {
    Ok(present(PwdGrp.getgrnam(name.as_bytes()))?.map(Group::from))
}

/// The names of the groups of an account. A group that has no name is `#` and its number, as sudo writes it: it is one all
/// the same.
///
/// # Errors
/// [`Failed`].
pub(super) fn groups_of(account: &Account, names: &GroupNames) -> Result<BTreeSet<String>, Failed> {
    let name = CString::new(account.name.clone()).map_err(|_| Failed("a name holds a zero".to_owned()))?;
    let gids = getgrouplist(&name, Gid::from_raw(account.gid)).map_err(|error| failed(&error.into()))?;
    names.of(gids.into_iter().map(Gid::as_raw))
}

/// Which name a group's number has, kept for a moment: a person may be in a thousand groups, each a look through all that
/// there are. Who is in which is never kept.
#[derive(Debug, Default)]
pub(super) struct GroupNames(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    since: Option<Instant>,
    file: Option<FileState>,
    names: HashMap<u32, String>,
}

/// What changes when somebody edits a file.
type FileState = (u64, u64, i64, i64);

/// How long a name is kept. A directory's own cache keeps it longer; a change of the host's file ends it at once.
const NAMES_KEPT: Duration = Duration::from_secs(60);

impl GroupNames {
    fn of(&self, gids: impl Iterator<Item = u32>) -> Result<BTreeSet<String>, Failed> {
        let file = std::fs::metadata("/etc/group").ok();
        let file = file.map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
        let mut kept = {
            let mut kept = self.lock();
            if kept.file != file || kept.since.is_none_or(|since| since.elapsed() >= NAMES_KEPT) {
                *kept = Kept { since: Some(Instant::now()), file, names: HashMap::new() };
            }
            kept.names.clone()
        };
        let (mut names, mut found) = (BTreeSet::new(), HashMap::new());
        for gid in gids {
            names.insert(match kept.remove(&gid) {
                Some(name) => name,
                None => match group(gid)? {
                    Some(group) => found.entry(gid).insert_entry(group.name).get().clone(),
                    None => format!("#{gid}"),
                },
            });
        }
        if !found.is_empty() {
            let mut kept = self.lock();
            if kept.file == file {
                kept.names.extend(found);
            }
        }
        Ok(names)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Text = Box<[u8]>;

impl From<pwd_grp::Passwd<Text>> for Account {
    fn from(found: pwd_grp::Passwd<Text>) -> Self {
        Self { name: found.name.into(), uid: found.uid, gid: found.gid }
    }
}

impl From<pwd_grp::Group<Text>> for Group {
    fn from(found: pwd_grp::Group<Text>) -> Self {
        Self { name: text(&found.name), gid: found.gid, members: found.mem.iter().map(|name| text(name)).collect() }
    }
}

/// What is no UTF-8 is escaped, so that two names do not become one.
fn text(bytes: &[u8]) -> String {
    str::from_utf8(bytes).map_or_else(|_| bytes.escape_ascii().to_string(), str::to_owned)
}

/// Some sources of the name service say "not found" by an error (getpwnam(3)).
fn present<T>(found: io::Result<Option<T>>) -> Result<Option<T>, Failed> {
    match found {
        Err(error) if is_absence(&error) => Ok(None),
        found => found.map_err(|error| failed(&error)),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOENT | Errno::ESRCH))
}

/// In words: a number of the system's tells nobody anything.
fn failed(error: &io::Error) -> Failed {
    Failed(match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_fails_is_not_one_that_knows_nobody() {
        let error = |number: Errno| Err::<Option<()>, _>(io::Error::from(number));
        assert_eq!(present(error(Errno::ENOENT)), Ok(None));
        assert_eq!(present(error(Errno::EIO)), Err(Failed("i/o error".to_owned())));
        assert_eq!(present(Ok(Some(7))), Ok(Some(7)));
    }

    #[test]
    fn root_is_there_and_its_group_too() {
        assert_eq!(account(0).unwrap(), account_named(b"root").unwrap());
        assert_eq!(group(0).unwrap(), group_named("root").unwrap());
        assert_eq!(group_named("no such group").unwrap(), None);
    }
}

//! The accounts and groups of this host, as its name service has them (NSS: files, sssd, LDAP, any other source).
//!
//! Each of these can take as long as a directory likes, so a daemon asks on a thread of its own. A group is read whatever
//! its size, and its members are looked at by nobody but `jitd doctor`. "There is none" and "it can't be told" are two
//! answers. Called by the rest of `people`, and by the programs.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;

use nix::errno::Errno;
use nix::unistd::{Gid, getgrouplist};
use pwd_grp::{PwdGrp, PwdGrpProvider};

use crate::hint::Hint;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
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
pub fn account_named(name: &str) -> Result<Option<Account>, Failed> {
    Ok(present(PwdGrp.getpwnam(name.as_bytes()))?.map(Account::from))
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

/// The names of the groups of an account.
///
/// # Errors
/// [`Failed`].
pub(super) fn groups_of(account: &Account) -> Result<BTreeSet<String>, Failed> {
    let name = CString::new(account.name.as_bytes()).map_err(|_| Failed("a name holds a zero".to_owned()))?;
    let mut names = BTreeSet::new();
    for gid in getgrouplist(&name, Gid::from_raw(account.gid)).map_err(|error| failed(error.into()))? {
        if let Some(group) = group(gid.as_raw())? {
            names.insert(group.name);
        }
    }
    Ok(names)
}

type Text = Box<[u8]>;

impl From<pwd_grp::Passwd<Text>> for Account {
    fn from(found: pwd_grp::Passwd<Text>) -> Self {
        Self { name: text(&found.name), uid: found.uid, gid: found.gid }
    }
}

impl From<pwd_grp::Group<Text>> for Group {
    fn from(found: pwd_grp::Group<Text>) -> Self {
        Self { name: text(&found.name), gid: found.gid, members: found.mem.iter().map(|name| text(name)).collect() }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Some sources of the name service say "not found" by an error (getpwnam(3)).
fn present<T>(found: io::Result<Option<T>>) -> Result<Option<T>, Failed> {
    match found {
        Err(error) if is_absence(&error) => Ok(None),
        found => found.map_err(failed),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOENT | Errno::ESRCH))
}

/// In words: a number of the system's tells nobody anything.
fn failed(error: io::Error) -> Failed {
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
        assert_eq!(account(0).unwrap(), account_named("root").unwrap());
        assert_eq!(group(0).unwrap(), group_named("root").unwrap());
        assert_eq!(group_named("no such group").unwrap(), None);
    }
}

//! The accounts and groups of this host, from its name service (NSS: files, sssd, LDAP or any other source).
//!
//! Each query can take as long as a directory does, so the daemon runs it on a separate thread. A group can have any size;
//! only `jitd doctor` reads its members. "Not found" and "unknown" are two different answers. The rest of `people` and the
//! programs call this.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::{Gid, getgrouplist};
use parking_lot::Mutex;
use pwd_grp::{PwdGrp, PwdGrpProvider};

use crate::hint::Hint;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name, which can contain any bytes.
    pub name: Vec<u8>,
    /// The uid.
    pub uid: u32,
    /// The gid of the primary group.
    pub gid: u32,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name, as the source spells it.
    pub name: String,
    /// The gid.
    pub gid: u32,
    /// The accounts that it lists. Accounts that have it as their primary group may be missing.
    pub members: Vec<String>,
}

impl Account {
    /// The name for people to read.
    #[must_use]
    pub fn display_name(&self) -> String {
        text(&self.name)
    }
}

/// The name service failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host's name service failed: {0}")]
pub struct Failed(String);

impl Hint for Failed {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("try again; `getent passwd` and `getent group` show whether the name service works".into())
    }
}

/// The account of this uid.
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

/// The names of the accounts in the host's own file (passwd(5)). A directory has others, which only [`account_named`] finds:
/// most do not list them.
///
/// # Errors
/// [`Failed`].
pub fn names_of_accounts() -> Result<Vec<Vec<u8>>, Failed> {
    let file = std::fs::read(ACCOUNTS).map_err(|error| failed(&error))?;
    let names = file.split(|byte| *byte == b'\n').filter_map(|line| {
        let name = line.trim_ascii_start().split(|byte| *byte == b':').next()?;
        // A reference to another source, a comment, or a line without a name.
        name.first().is_some_and(|first| !b"+-#".contains(first)).then(|| name.to_vec())
    });
    Ok(names.collect())
}

/// The group of this gid.
///
/// # Errors
/// [`Failed`].
pub fn group(gid: u32) -> Result<Option<Group>, Failed> {
    Ok(present(PwdGrp.getgrgid(gid))?.map(Group::from))
}

/// The group that this name finds; the source may spell the name differently.
///
/// # Errors
/// [`Failed`].
pub fn group_named(name: &str) -> Result<Option<Group>, Failed> {
    Ok(present(PwdGrp.getgrnam(name.as_bytes()))?.map(Group::from))
}

/// The names of the groups of an account. A group without a name is written `#GID`, as sudo does, so that it still counts.
///
/// # Errors
/// [`Failed`].
pub(super) fn groups_of(account: &Account, names: &GroupNames) -> Result<BTreeSet<String>, Failed> {
    let name = CString::new(account.name.clone()).map_err(|_| Failed("a name contains a zero byte".to_owned()))?;
    let gids = getgrouplist(&name, Gid::from_raw(account.gid)).map_err(|error| failed(&error.into()))?;
    names.of(gids.into_iter().map(Gid::as_raw))
}

/// A short-lived cache of group names by gid: a person can be in a thousand groups, and each query searches the host's
/// whole group file, which can list a whole company. Memberships are never cached.
#[derive(Debug, Default)]
pub(super) struct GroupNames(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    since: Option<Instant>,
    file: Option<FileState>,
    names: HashMap<u32, String>,
}

/// Inode, size and modification time, which change when a file is edited.
type FileState = (u64, u64, i64, i64);

/// How long a name is cached. A directory's own cache is slower; a change of the host's file clears this one at once.
const NAMES_KEPT: Duration = Duration::from_secs(60);

/// The host's file of accounts (passwd(5)).
const ACCOUNTS: &str = "/etc/passwd";

/// The host's group file (group(5)).
const GROUPS: &str = "/etc/group";

impl GroupNames {
    fn of(&self, gids: impl Iterator<Item = u32>) -> Result<BTreeSet<String>, Failed> {
        let file = std::fs::metadata(GROUPS).ok();
        let file = file.map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
        if self.0.lock().is_old(file) {
            // Read without the lock, because reading a file can hang too.
            let names = names_of_the_file();
            *self.0.lock() = Kept { since: Some(Instant::now()), file, names };
        }
        let (mut names, mut unknown) = (BTreeSet::new(), Vec::new());
        {
            let kept = self.0.lock();
            for gid in gids {
                match kept.names.get(&gid) {
                    Some(name) => _ = names.insert(name.clone()),
                    None => unknown.push(gid),
                }
            }
        }
        let mut found = HashMap::new();
        for gid in unknown {
            names.insert(match group(gid)? {
                Some(group) => {
                    found.insert(gid, group.name.clone());
                    group.name
                }
                None => format!("#{gid}"),
            });
        }
        let mut kept = self.0.lock();
        if kept.file == file {
            kept.names.extend(found);
        }
        Ok(names)
    }
}

impl Kept {
    fn is_old(&self, file: Option<FileState>) -> bool {
        self.file != file || self.since.is_none_or(|since| since.elapsed() >= NAMES_KEPT)
    }
}

/// The names in the host's group file, if the name service would search that file first. Otherwise it would search the file
/// once for each group: for 1,500 groups that takes 77 ms in a file of 1,500 lines, and 4.5 s in one with two groups of
/// 80,000 members.
fn names_of_the_file() -> HashMap<u32, String> {
    let asks_it_first = match std::fs::read_to_string("/etc/nsswitch.conf") {
        Ok(sources) => files_come_first(&sources),
        // Without this file, `files` is the only source (nsswitch.conf(5)).
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let file = if asks_it_first { std::fs::read(GROUPS) } else { return HashMap::new() };
    names_in(&file.unwrap_or_default())
}

/// Whether the host's group file is the first source for groups, and what it contains is final.
fn files_come_first(nsswitch: &str) -> bool {
    let line = nsswitch.lines().find_map(|line| line.trim_start().strip_prefix("group:"));
    line.is_some_and(|sources| {
        let sources = sources.split('#').next().unwrap_or_default().to_ascii_lowercase();
        sources.split_whitespace().next() == Some("files") && !sources.contains("success=continue")
    })
}

/// The names by gid; the first line of a gid counts (group(5): name, password, gid, members).
fn names_in(file: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in file.split(|byte| *byte == b'\n') {
        let mut fields = line.trim_ascii_start().splitn(4, |byte| *byte == b':');
        let (Some(name), Some(_), Some(gid), Some(_)) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        // A reference to another source, a comment, or a line without a name.
        if name.first().is_none_or(|first| b"+-#".contains(first)) {
            continue;
        }
        if let Some(gid) = str::from_utf8(gid).ok().and_then(|gid| gid.parse().ok()) {
            names.entry(gid).or_insert_with(|| text(name));
        }
    }
    names
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

/// Bytes that are not UTF-8 are escaped, so that two names cannot become equal.
fn text(bytes: &[u8]) -> String {
    str::from_utf8(bytes).map_or_else(|_| bytes.escape_ascii().to_string(), str::to_owned)
}

/// Some sources of the name service report "not found" as an error (getpwnam(3)).
fn present<T>(found: io::Result<Option<T>>) -> Result<Option<T>, Failed> {
    match found {
        Err(error) if is_absence(&error) => Ok(None),
        found => found.map_err(|error| failed(&error)),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOENT | Errno::ESRCH))
}

/// The error in words, without the system's number.
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
    fn a_failing_source_is_not_an_absent_account() {
        let error = |number: Errno| Err::<Option<()>, _>(io::Error::from(number));
        assert_eq!(present(error(Errno::ENOENT)), Ok(None));
        assert_eq!(present(error(Errno::EIO)), Err(Failed("i/o error".to_owned())));
        assert_eq!(present(Ok(Some(7))), Ok(Some(7)));
    }

    #[test]
    fn the_group_file_is_read_as_the_name_service_reads_it() {
        let file =
            b"root:x:0:\n  ops::7:alice,bob\n# no:x:8:\n+nis::9:\nlate:x:7:\n\nshort:x:5\nodd:x:-1:\n:x:6:\n\xff:x:10:";
        let expected = [(0, "root"), (7, "ops"), (10, "\\xff")].map(|(gid, name)| (gid, name.to_owned()));
        assert_eq!(names_in(file), expected.into());
        for (gid, name) in names_of_the_file() {
            assert_eq!(group(gid).unwrap().map(|group| group.name), Some(name), "{gid}");
        }
    }

    #[test]
    fn the_order_of_the_sources_is_respected() {
        for (line, expected) in [
            ("group:  files systemd", true),
            ("passwd: sss\n group: files [SUCCESS=merge] sss # first", true),
            ("group: sss files", false),
            ("group: files [SUCCESS=continue] sss", false),
            ("group: compat", false),
            ("passwd: files", false),
        ] {
            assert_eq!(files_come_first(line), expected, "{line}");
        }
    }

    #[test]
    fn root_and_its_group_are_found() {
        assert_eq!(account(0).unwrap(), account_named(b"root").unwrap());
        assert_eq!(group(0).unwrap(), group_named("root").unwrap());
        assert_eq!(group_named("no such group").unwrap(), None);
    }
}

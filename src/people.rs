//! Who is behind a uid, and which groups a name has: the people declared in the configuration, then the
//! host's name service.
//!
//! Asked anew each time, so that a person who left a group has left it here too. Root is not a person,
//! and neither is a uid that this user namespace has no mapping for. Called by the API for a caller and
//! by the broker for the approvers of a grant that is collected.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::{Group, Uid, User, getgrouplist};

use crate::grant::request::{Person, PersonName};
use crate::hint::Hint;

/// What the kernel reports for a uid without a mapping (`/proc/sys/kernel/overflowuid`).
const UNMAPPED: u32 = 65534;

/// A person that the configuration declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The name.
    pub name: PersonName,
    /// Every account of the person.
    pub uids: Vec<u32>,
    /// Groups, instead of the host's.
    pub groups: BTreeSet<String>,
}

/// Everybody who may be known. Cheap to clone.
#[derive(Clone, Debug)]
pub struct People {
    declared: Arc<[Declared]>,
    /// Whether only declared people are known.
    strict: bool,
}

/// Why nobody is behind a uid or a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// Root could be anybody.
    #[error("root is not a person: nobody could tell who asked")]
    Root,
    /// The kernel could not say who it is.
    #[error("uid {UNMAPPED} stands for everyone the kernel can't name here")]
    Unmapped,
    /// The name service does not know the account.
    #[error("uid {0} is no account of this host")]
    NoAccount(u32),
    /// The name service knows an account, but only declared people count.
    #[error("`{0}` is not declared")]
    NotDeclared(String),
    /// The account's name can't be a person's.
    #[error("the account name `{0}` can't be used")]
    OddName(String),
    /// The name service failed.
    #[error("the host's name service failed: {0}")]
    NameService(String),
}

impl Hint for Unknown {
    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Root => "call as your own account, without sudo",
            Self::Unmapped => {
                "the daemon may not run with PrivateUsers=yes, nor the caller in a user namespace of its own"
            }
            Self::NoAccount(_) | Self::OddName(_) => {
                "an administrator can declare the person under `people` in config.yaml"
            }
            Self::NotDeclared(_) => {
                "`strictPeople` is on; an administrator can declare the person under `people` in config.yaml"
            }
            Self::NameService(_) => "try again; `getent passwd` shows whether it works",
        };
        Some(hint.into())
    }
}

/// Who was found, or nobody. A name service that fails is not one that knows nobody.
///
/// # Errors
/// [`Unknown::NameService`].
pub fn or_nobody(found: Result<Person, Unknown>) -> Result<Option<Person>, Unknown> {
    match found {
        Ok(person) => Ok(Some(person)),
        Err(failed @ Unknown::NameService(_)) => Err(failed),
        Err(_) => Ok(None),
    }
}

impl People {
    /// The people of a configuration.
    #[must_use]
    pub fn new(declared: Vec<Declared>, strict: bool) -> Self {
        Self { declared: declared.into(), strict }
    }

    /// The person behind `uid`.
    ///
    /// # Errors
    /// [`Unknown`], with what to do about it.
    pub async fn by_uid(&self, uid: u32) -> Result<Person, Unknown> {
        match uid {
            0 => return Err(Unknown::Root),
            UNMAPPED => return Err(Unknown::Unmapped),
            _ => {}
        }
        if let Some(declared) = self.declared.iter().find(|declared| declared.uids.contains(&uid)) {
            return Ok(declared.person());
        }
        let user =
            ask_host(move || present(User::from_uid(Uid::from_raw(uid)))).await?.ok_or(Unknown::NoAccount(uid))?;
        self.of_account(user).await
    }

    /// The person of this name.
    ///
    /// # Errors
    /// [`Unknown`], with what to do about it.
    pub async fn by_name(&self, name: &PersonName) -> Result<Person, Unknown> {
        if let Some(declared) = self.declared.iter().find(|declared| declared.name == *name) {
            return Ok(declared.person());
        }
        let text = name.to_string();
        let user = ask_host(move || present(User::from_name(&text)))
            .await?
            .ok_or_else(|| Unknown::NotDeclared(name.to_string()))?;
        self.of_account(user).await
    }

    /// The declared people of a group; the host may know others.
    pub fn declared_in(&self, group: &str) -> impl Iterator<Item = &PersonName> {
        self.declared.iter().filter(move |declared| declared.groups.contains(group)).map(|declared| &declared.name)
    }

    async fn of_account(&self, user: User) -> Result<Person, Unknown> {
        if user.uid.is_root() {
            return Err(Unknown::Root);
        }
        if self.strict {
            return Err(Unknown::NotDeclared(user.name));
        }
        let name: PersonName =
            user.name.parse().map_err(|_| Unknown::OddName(user.name.escape_default().to_string()))?;
        if name.is_root() {
            return Err(Unknown::OddName(user.name));
        }
        if self.declared.iter().any(|declared| declared.name == name) {
            // A declared person's uids are all listed; an account that only has the same name is another one.
            return Err(Unknown::NotDeclared(format!("{name} (uid {})", user.uid)));
        }
        let groups = ask_host(move || {
            let account = CString::new(user.name).map_err(|_| nix::Error::EINVAL)?;
            let mut names = BTreeSet::new();
            for gid in getgrouplist(&account, user.gid)? {
                if let Some(group) = present(Group::from_gid(gid))? {
                    names.insert(group.name);
                }
            }
            Ok(names)
        })
        .await?;
        Ok(Person { name, groups, login: None })
    }
}

impl Declared {
    fn person(&self) -> Person {
        Person { name: self.name.clone(), groups: self.groups.clone(), login: None }
    }
}

/// Some sources of the name service say "not found" by an error (getpwnam(3)).
fn present<T>(found: nix::Result<Option<T>>) -> nix::Result<Option<T>> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        found => found,
    }
}

/// The name service may go to the network (sssd, LDAP), so it is never asked on an async thread.
async fn ask_host<T: Send + 'static>(question: impl FnOnce() -> nix::Result<T> + Send + 'static) -> Result<T, Unknown> {
    match tokio::task::spawn_blocking(question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Unknown::NameService(error.to_string())),
        Err(error) => Err(Unknown::NameService(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(strict: bool) -> People {
        let alice =
            Declared { name: "alice".parse().unwrap(), uids: vec![4001, 4002], groups: ["oncall".to_owned()].into() };
        People::new(vec![alice], strict)
    }

    #[tokio::test]
    async fn two_accounts_of_one_person_are_one_person() {
        let people = people(true);
        assert_eq!(people.by_uid(4001).await.unwrap(), people.by_uid(4002).await.unwrap());
        assert_eq!(people.by_name(&"alice".parse().unwrap()).await.unwrap().name.as_str(), "alice");
    }

    #[tokio::test]
    async fn root_and_the_unmapped_are_nobody() {
        assert_eq!(people(false).by_uid(0).await, Err(Unknown::Root));
        assert_eq!(people(false).by_uid(65534).await, Err(Unknown::Unmapped));
        assert_eq!(people(false).by_name(&"root".parse().unwrap()).await, Err(Unknown::Root));
    }

    #[tokio::test]
    async fn a_uid_without_an_account_is_nobody() {
        assert_eq!(people(false).by_uid(3_999_999).await, Err(Unknown::NoAccount(3_999_999)));
    }

    #[test]
    fn a_source_that_fails_is_not_one_that_knows_nobody() {
        assert_eq!(present::<()>(Err(Errno::ENOENT)), Ok(None));
        assert_eq!(present::<()>(Err(Errno::EIO)), Err(Errno::EIO));
        assert_eq!(present(Ok(Some(7))), Ok(Some(7)));
    }

    #[tokio::test]
    async fn strict_mode_knows_only_declared_people() {
        assert!(matches!(people(true).by_name(&"daemon".parse().unwrap()).await, Err(Unknown::NotDeclared(_))));
        assert_eq!(people(false).by_name(&"daemon".parse().unwrap()).await.unwrap().name.as_str(), "daemon");
    }
}

//! Where sessions are kept: in a private file, or in the persistent keyring that the kernel has for this account.
//!
//! ```text
//!  file:     ${XDG_STATE_HOME:-~/.local/state}/jit-login/session-<bastion>.json       0600, survives a reboot
//!  keyring:  _persistent.<uid>: user "jit-login:<that path>"                          only in memory
//! ```
//! The persistent keyring (persistent-keyring(7)), because every process of the account finds it, also one of cron, and because it
//! lasts as long as it is used. The session keyring belongs to one login and ends with it, and a process that a user's systemd
//! starts does not possess the user keyring. A key has the name of the file that it is instead of, so the lock beside that file is
//! for both. The kernel lets its possessor read it, which is whoever gets the keyring: a process of this account, or of root.
//! `bastion` calls it.

use std::fmt;

use clap::ValueEnum;
use linux_keyutils::{Key, KeyError, KeyRing, KeyRingIdentifier};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::folder::Folder;
use crate::text::{length, program};

/// Where a session is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Store {
    /// A file that only this account may read
    #[default]
    File,
    /// The kernel's memory, until a reboot or some days without use
    Keyring,
}

/// Where a session is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Place {
    /// The kind of place.
    store: Store,
    /// The file, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => f.write_str(file),
            None => write!(f, "the kernel's keyring, until a reboot or {} without use", expiry()),
        }
    }
}

/// The longest payload of a key of the type `user` (keyrings(7)).
const LONGEST: usize = 32_767;
/// For how many seconds the kernel keeps a persistent keyring that nobody uses.
const EXPIRY: &str = "/proc/sys/kernel/keys/persistent_keyring_expiry";

impl Store {
    pub(crate) fn is_file(&self) -> bool {
        *self == Self::File
    }

    /// Refuses a keyring that this host does not have.
    pub(crate) fn check(self) -> Result<(), Failure> {
        match self {
            Self::File => Ok(()),
            Self::Keyring => keyring().map(drop).map_err(refused),
        }
    }

    /// The text with this name; none if there is none.
    pub(crate) fn read(self, folder: &Folder, name: &str) -> Result<Option<Zeroizing<String>>, Failure> {
        match self {
            Self::File => Ok(folder.read(name)?.map(Zeroizing::new)),
            Self::Keyring => read(&description(folder, name)).map_err(refused),
        }
    }

    /// Writes the text completely, or leaves what was there.
    pub(crate) fn write(self, folder: &Folder, name: &str, text: &str) -> Result<(), Failure> {
        match self {
            Self::File => folder.write(name, text),
            // A key of the same name is changed, not added (add_key(2)). The kernel's own permissions for a new key are right: its
            // possessor may do everything, and the account sees that it exists.
            Self::Keyring => keyring()
                .and_then(|keyring| keyring.add_key(&description(folder, name), text))
                .map(drop)
                .map_err(refused),
        }
    }

    /// Removes the text, if there is one.
    pub(crate) fn remove(self, folder: &Folder, name: &str) -> Result<(), Failure> {
        match self {
            Self::File => folder.remove(name),
            Self::Keyring => match keyring() {
                Ok(keyring) => {
                    if let Some(key) = find(&keyring, &description(folder, name)).map_err(refused)? {
                        unless_gone(key.invalidate()).map_err(refused)?;
                    }
                }
                // Where there is no keyring, nothing is in it.
                Err(error) if is_none(error) => {}
                Err(error) => return Err(refused(error)),
            },
        }
        Ok(())
    }

    /// Where the text is.
    pub(crate) fn place(self, folder: &Folder, name: &str) -> Place {
        let file = self.is_file().then(|| folder.path_of(name).display().to_string());
        Place { store: self, file }
    }
}

/// The keyring of this account. This thread possesses it from then on, and the kernel counts its time from now.
fn keyring() -> Result<KeyRing, KeyError> {
    KeyRing::get_persistent(KeyRingIdentifier::Thread)
}

fn description(folder: &Folder, name: &str) -> String {
    format!("jit-login:{}", folder.path_of(name).display())
}

fn find(keyring: &KeyRing, description: &str) -> Result<Option<Key>, KeyError> {
    unless_gone(keyring.search(description))
}

fn unless_gone<T>(result: Result<T, KeyError>) -> Result<Option<T>, KeyError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(KeyError::KeyDoesNotExist | KeyError::KeyExpired | KeyError::KeyRevoked) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(description: &str) -> Result<Option<Zeroizing<String>>, KeyError> {
    let Some(key) = find(&keyring()?, description)? else { return Ok(None) };
    let mut payload = Zeroizing::new(vec![0; LONGEST]);
    let Some(read) = unless_gone(key.read(&mut payload))? else { return Ok(None) };
    let text = payload.get(..read).and_then(|text| std::str::from_utf8(text).ok());
    text.map(|text| Some(Zeroizing::new(text.to_owned()))).ok_or(KeyError::InvalidArguments)
}

/// Whether this kernel has no such keyrings, or a container's filter of system calls says so.
fn is_none(error: KeyError) -> bool {
    matches!(error, KeyError::OperationNotSupported | KeyError::PermissionDenied)
        || error == KeyError::Unknown(nix::libc::ENOSYS)
}

fn refused(error: KeyError) -> Failure {
    let file = format!("`{} login --store file` keeps the session in a file", program());
    match error {
        KeyError::QuotaExceeded => Failure::own(
            "the kernel keeps no more keys for this account",
            format!("/proc/key-users shows the quota, and an administrator raises kernel.keys.maxbytes; or {file}"),
        ),
        error if is_none(error) => {
            Failure::own("this host has no keyring for this account: the kernel or a container denies it", file)
        }
        error => Failure::own(format!("the kernel's keyring cannot be used: {}", errno(error)), file),
    }
}

fn errno(error: KeyError) -> String {
    match error {
        KeyError::Unknown(number) => nix::errno::Errno::from_raw(number).desc().to_lowercase(),
        named => named.to_string(),
    }
}

/// The time that a keyring lasts without use, as people say it.
fn expiry() -> String {
    let read = std::fs::read_to_string(EXPIRY).ok().and_then(|text| text.trim().parse().ok());
    read.map_or_else(|| "some days".to_owned(), length)
}

//! Who is calling: the uid that the kernel gives for the other end of the socket, as of its connect, and the login
//! that the process came from.
//!
//! Never from a header or a body. Whoever has a [`Caller`] has asked the kernel and the host's people;
//! there is no other way to make one.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerPidfd;
use tokio::net::UnixStream;

use super::problem::ApiError;
use crate::broker::Broker;
use crate::grant::Operator;
use crate::grant::request::{Login, Person, PersonName};
use crate::people::{People, Unknown, or_nobody};

/// By which socket somebody came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The one that everybody may open who may ask.
    Users,
    /// The one for root and the admins, where the daemon is operated.
    Operators,
}

/// The other end of one connection, as the kernel names it (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    uid: u32,
    login_uid: LoginUid,
    door: Listener,
}

/// What the kernel says of the login that a process came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoginUid {
    /// There was none, or this kernel keeps none.
    Unset,
    /// That of this account.
    Of(u32),
    /// The kernel keeps them, and this one can't be read.
    Unknowable,
}

impl Peer {
    /// Asks the kernel.
    ///
    /// # Errors
    /// The socket is closed already.
    pub fn of(stream: &UnixStream, door: Listener) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let uid = credentials.uid();
        // At once: the process waits for its answer now, and may be gone later.
        let login_uid = login_uid(stream, credentials.pid(), uid);
        Ok(Self { uid, login_uid, door })
    }

    /// The uid, for limits that count per account.
    #[must_use]
    pub fn uid(self) -> u32 {
        self.uid
    }
}

/// A known person at the other end.
#[derive(Clone, Debug)]
pub struct Caller {
    person: Person,
    uid: u32,
}

impl Caller {
    /// Who it is, with the groups of this moment.
    #[must_use]
    pub fn person(&self) -> &Person {
        &self.person
    }

    /// The account.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Finds the person behind a peer. Asked at each call, so that who left a group has left it here.
    ///
    /// # Errors
    /// [`Unknown`], with what to do about it.
    pub async fn identify(peer: Peer, people: &People) -> Result<Self, Unknown> {
        let person = people.by_uid(peer.uid).await?;
        let login = match peer.login_uid {
            // Most people act as who they logged in as, and the name service may be far away.
            LoginUid::Of(uid) if uid == peer.uid => Some(Login::Account { uid, person: Some(person.name.clone()) }),
            _ => peer.login(people).await?,
        };
        Ok(Self { person: Person { login, ..person }, uid: peer.uid })
    }
}

/// Proof that a known person may see every grant, and so the whole trail: somebody of the auditors or the admins.
pub(super) struct Auditor(());

impl Auditor {
    /// Checks the groups that the caller has at this moment.
    ///
    /// # Errors
    /// The problem, with what to do about it.
    pub(super) fn of(caller: &Caller, broker: &Broker) -> Result<Self, ApiError> {
        if caller.person().is_in_any(&broker.ledger().overseers().readers) {
            Ok(Self(()))
        } else {
            Err(ApiError::no_auditor())
        }
    }
}

impl Peer {
    /// The operator at the other end: root, or a known person of `admins`, who came by the operators' door.
    ///
    /// # Errors
    /// The problem, with what to do about it.
    pub(super) async fn operator(self, people: &People, broker: &Broker) -> Result<Operator, ApiError> {
        if self.door == Listener::Users {
            return Err(ApiError::wrong_door());
        }
        let name = match people.by_uid(self.uid).await {
            Err(Unknown::Root) => PersonName::root(),
            Err(unknown) => return Err(unknown.into()),
            Ok(person) if broker.is_admin(&person) => person.name,
            Ok(_) => return Err(ApiError::no_operator()),
        };
        // Told by its number while nobody can say whose it is: an operator gives nothing, has to be able to take away, and
        // waits for nobody.
        let login = match tokio::time::timeout(OPERATOR_WAITS, self.login(people)).await {
            Ok(Ok(login)) => login,
            _ => match self.login_uid {
                LoginUid::Of(uid) => Some(Login::Account { uid, person: None }),
                LoginUid::Unset => None,
                LoginUid::Unknowable => Some(Login::Unknowable),
            },
        };
        Ok(Operator { name, uid: self.uid, login })
    }

    /// The login that it came from; an account that nobody is behind is told by its number.
    ///
    /// # Errors
    /// [`Unknown::NameService`] and [`Unknown::Silent`]: whether it is the person who asked, say, can't be told then.
    async fn login(self, people: &People) -> Result<Option<Login>, Unknown> {
        let uid = match self.login_uid {
            LoginUid::Of(uid) => uid,
            LoginUid::Unset => return Ok(None),
            LoginUid::Unknowable => return Ok(Some(Login::Unknowable)),
        };
        let person = match people.by_uid(uid).await {
            // It may be the same human whose name it is.
            Err(Unknown::SameName { name, .. }) => Some(name),
            found => or_nobody(found)?.map(|person| person.name),
        };
        Ok(Some(Login::Account { uid, person }))
    }
}

/// How long it may take to find the name of an operator's login.
const OPERATOR_WAITS: Duration = Duration::from_millis(300);

/// The account of the login that the process `pid` of `uid` came from (proc_pid_loginuid(5)). It gives nobody a right. A
/// process may have gone since it connected, and another one have its number: a kernel of 6.5 or later tells whether that
/// is so; before it, the other one would at least have to be of the same account. What can't be told is not "no login",
/// or whoever wants none would connect and go.
fn login_uid(stream: &UnixStream, pid: Option<i32>, uid: u32) -> LoginUid {
    if !Path::new(OWN_LOGIN).exists() {
        return LoginUid::Unset;
    }
    read_login_uid(stream, pid, uid).unwrap_or(LoginUid::Unknowable)
}

fn read_login_uid(stream: &UnixStream, pid: Option<i32>, uid: u32) -> Option<LoginUid> {
    let held = getsockopt(stream, PeerPidfd);
    // A process in a pid namespace beside ours has the number 0 here (pid_namespaces(7)).
    let folder = PathBuf::from(format!("/proc/{}", pid.filter(|pid| *pid > 0)?));
    let login_uid = parsed(&std::fs::read_to_string(folder.join("loginuid")).ok()?)?;
    let is_it = match held {
        // A descriptor of a process is readable once the process has ended (pidfd_open(2)).
        Ok(held) => {
            let mut waited = [PollFd::new(held.as_fd(), PollFlags::POLLIN)];
            poll(&mut waited, PollTimeout::ZERO) == Ok(0)
        }
        // A kernel that has none.
        Err(Errno::ENOPROTOOPT) => std::fs::metadata(&folder).ok()?.uid() == uid,
        Err(_) => false,
    };
    is_it.then_some(login_uid)
}

/// What `loginuid` says.
fn parsed(written: &str) -> Option<LoginUid> {
    let uid = written.trim().parse().ok()?;
    Some(if uid == NO_LOGIN { LoginUid::Unset } else { LoginUid::Of(uid) })
}

/// A kernel without audit has no such file.
const OWN_LOGIN: &str = "/proc/self/loginuid";

/// What stands where there was no login: daemons, and what they start.
const NO_LOGIN: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_uid_is_a_number_or_unset() {
        assert_eq!(parsed("1003"), Some(LoginUid::Of(1003)));
        assert_eq!(parsed("0\n"), Some(LoginUid::Of(0)));
        assert_eq!(parsed("4294967295"), Some(LoginUid::Unset));
        for text in ["", "-1", "4294967296", "carol"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn what_can_not_be_read_is_not_no_login() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let here = std::process::id().cast_signed();
        let uid = nix::unistd::geteuid().as_raw();
        assert_eq!(Some(login_uid(&ours, Some(here), uid)), parsed(&std::fs::read_to_string(OWN_LOGIN).unwrap()));
        for pid in [Some(i32::MAX), Some(0), None] {
            assert_eq!(login_uid(&ours, pid, uid), LoginUid::Unknowable, "{pid:?}");
        }
    }
}

//! Who is calling: the uid of the client that the kernel recorded when it connected, and the login session that the
//! process came from; or the person whom `jit-frontend` introduced at the beginning of the connection.
//!
//! Never from a header or a body. A [`Caller`] can only be created from the kernel's answer or an introduction, and the
//! people of this host and its providers.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerPidfd;
use tokio::net::UnixStream;

use super::problem::ApiError;
use crate::broker::Broker;
use crate::grant::Operator;
use crate::grant::request::{Login, Person, PersonName, ProviderLogin};
use crate::people::{Guest, Identity, People, Unknown, or_nobody};
use crate::wire::frontend::Introduction;

/// The socket that a client connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The socket for requesters, approvers, reviewers and auditors.
    Users,
    /// The admin socket, for root and members of `admins`.
    Operators,
    /// The socket of `jit-frontend`, for people of identity providers.
    Frontend,
}

/// The client of one connection.
#[derive(Clone, Debug)]
pub struct Peer(Origin);

#[derive(Clone, Debug)]
enum Origin {
    /// A process of this host.
    Process(Process),
    /// A person whom the front end introduced.
    Guest(Arc<Introduced>),
}

/// A process, as the kernel reports it (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug)]
struct Process {
    uid: u32,
    login_uid: LoginUid,
    door: Listener,
}

/// What the front end said about a person.
#[derive(Debug)]
struct Introduced {
    guest: Guest,
    login: ProviderLogin,
    name: PersonName,
}

/// Whose allowance a call is counted against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// An account of the host.
    Host(u32),
    /// A person of an identity provider.
    Guest(PersonName),
}

/// What the kernel reports about the login session that a process came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoginUid {
    /// There was no login, or this kernel does not record logins.
    Unset,
    /// The login of this account.
    Of(u32),
    /// The kernel records logins, but this one cannot be read.
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
        // Read at once: the process is waiting for its answer now, and may be gone later.
        let login_uid = login_uid(stream, credentials.pid(), uid);
        Ok(Self(Origin::Process(Process { uid, login_uid, door })))
    }

    /// The person of an introduction, which came through the front end's own socket.
    ///
    /// # Errors
    /// The problem, with what to do about it.
    pub(super) async fn introduced(
        introduction: Introduction,
        broker: &Broker,
    ) -> Result<(Self, PersonName), ApiError> {
        let Introduction { login, name, groups, .. } = introduction;
        let guest = Guest { identity: Identity::from(&login), name, groups, issued: login.issued };
        let name = broker.introduce(guest.clone(), &login).await?.name;
        Ok((Self(Origin::Guest(Arc::new(Introduced { guest, login, name: name.clone() }))), name))
    }

    /// Whose allowance the calls of this connection are counted against.
    #[must_use]
    pub fn account(&self) -> Account {
        match &self.0 {
            Origin::Process(process) => Account::Host(process.uid),
            Origin::Guest(introduced) => Account::Guest(introduced.name.clone()),
        }
    }
}

/// A client that is a known person.
#[derive(Clone, Debug)]
pub struct Caller {
    person: Person,
    uid: Option<u32>,
}

impl Caller {
    /// The person, with their current groups.
    #[must_use]
    pub fn person(&self) -> &Person {
        &self.person
    }

    /// The uid of the account; `None` for a person of an identity provider.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// Resolves a peer to a person. It is called for each call, so that leaving a group takes effect at once.
    ///
    /// # Errors
    /// [`Unknown`], with what to do about it.
    pub async fn identify(peer: &Peer, people: &People) -> Result<Self, Unknown> {
        let process = match &peer.0 {
            Origin::Process(process) => *process,
            Origin::Guest(introduced) => {
                let person = people.by_identity(&introduced.guest).await?;
                let login = Some(Login::Provider(Box::new(introduced.login.clone())));
                return Ok(Self { person: Person { login, ..person }, uid: None });
            }
        };
        let person = people.by_uid(process.uid).await?;
        let login = match process.login_uid {
            // Usually the account is the one that logged in; this saves a second query of the name service.
            LoginUid::Of(uid) if uid == process.uid => Some(Login::Account { uid, person: Some(person.name.clone()) }),
            _ => process.login(people).await?,
        };
        Ok(Self { person: Person { login, ..person }, uid: Some(process.uid) })
    }
}

/// Proof that a person may see every grant, and thus the whole trail: a member of `auditors` or `admins`.
pub(super) struct Auditor(());

impl Auditor {
    /// Checks the caller's current groups.
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
    /// The operator who is calling: root, or a member of `admins`, through the admin socket.
    ///
    /// # Errors
    /// The problem, with what to do about it.
    pub(super) async fn operator(&self, people: &People, broker: &Broker) -> Result<Operator, ApiError> {
        let process = match &self.0 {
            Origin::Process(process) if process.door == Listener::Operators => process,
            Origin::Process(_) | Origin::Guest(_) => return Err(ApiError::wrong_door()),
        };
        let name = match people.by_uid(process.uid).await {
            Err(Unknown::Root) => PersonName::root(),
            Err(unknown) => return Err(unknown.into()),
            Ok(person) if broker.is_admin(&person) => person.name,
            Ok(_) => return Err(ApiError::no_operator()),
        };
        // If the login's name cannot be found in time, its uid is recorded: an operator grants nothing, and must be able
        // to end access even if the name service hangs.
        let login = match tokio::time::timeout(OPERATOR_WAITS, process.login(people)).await {
            Ok(Ok(login)) => login,
            _ => match process.login_uid {
                LoginUid::Of(uid) => Some(Login::Account { uid, person: None }),
                LoginUid::Unset => None,
                LoginUid::Unknowable => Some(Login::Unknowable),
            },
        };
        Ok(Operator { name, uid: process.uid, login })
    }
}

impl Process {
    /// The login session that the process came from; an account that is not a person's is given by its uid.
    ///
    /// # Errors
    /// [`Unknown::NameService`] and [`Unknown::Silent`]: then it is unknown, for example, whether this is the requester.
    async fn login(self, people: &People) -> Result<Option<Login>, Unknown> {
        let uid = match self.login_uid {
            LoginUid::Of(uid) => uid,
            LoginUid::Unset => return Ok(None),
            LoginUid::Unknowable => return Ok(Some(Login::Unknowable)),
        };
        let person = match people.by_uid(uid).await {
            // Possibly it is the person who has this name.
            Err(Unknown::SameName { name, .. }) => Some(name),
            found => or_nobody(found)?.map(|person| person.name),
        };
        Ok(Some(Login::Account { uid, person }))
    }
}

/// How long finding the name of an operator's login may take.
const OPERATOR_WAITS: Duration = Duration::from_millis(300);

/// The login uid of the process `pid` of `uid` (proc_pid_loginuid(5)). It gives nobody a right. The process may have ended
/// since it connected, and another one may have its pid: kernels from 6.5 show whether that happened; on older kernels the
/// other process at least has to belong to the same account. An unknown login is not "no login"; otherwise a process could
/// hide its login by connecting and exiting.
fn login_uid(stream: &UnixStream, pid: Option<i32>, uid: u32) -> LoginUid {
    if !Path::new(OWN_LOGIN).exists() {
        return LoginUid::Unset;
    }
    read_login_uid(stream, pid, uid).unwrap_or(LoginUid::Unknowable)
}

fn read_login_uid(stream: &UnixStream, pid: Option<i32>, uid: u32) -> Option<LoginUid> {
    let held = getsockopt(stream, PeerPidfd);
    // A process in an unrelated pid namespace has the pid 0 here (pid_namespaces(7)).
    let folder = PathBuf::from(format!("/proc/{}", pid.filter(|pid| *pid > 0)?));
    let login_uid = parsed(&std::fs::read_to_string(folder.join("loginuid")).ok()?)?;
    let is_it = match held {
        // A descriptor of a process is readable once the process has ended (pidfd_open(2)).
        Ok(held) => {
            let mut waited = [PollFd::new(held.as_fd(), PollFlags::POLLIN)];
            poll(&mut waited, PollTimeout::ZERO) == Ok(0)
        }
        // A kernel without this option.
        Err(Errno::ENOPROTOOPT) => std::fs::metadata(&folder).ok()?.uid() == uid,
        Err(_) => false,
    };
    is_it.then_some(login_uid)
}

/// Parses the content of `loginuid`.
fn parsed(written: &str) -> Option<LoginUid> {
    let uid = written.trim().parse().ok()?;
    Some(if uid == NO_LOGIN { LoginUid::Unset } else { LoginUid::Of(uid) })
}

/// This file does not exist on a kernel without audit.
const OWN_LOGIN: &str = "/proc/self/loginuid";

/// The value for no login: daemons, and the processes that they start.
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
    async fn a_login_that_cannot_be_read_is_not_no_login() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let here = std::process::id().cast_signed();
        let uid = nix::unistd::geteuid().as_raw();
        assert_eq!(Some(login_uid(&ours, Some(here), uid)), parsed(&std::fs::read_to_string(OWN_LOGIN).unwrap()));
        for pid in [Some(i32::MAX), Some(0), None] {
            assert_eq!(login_uid(&ours, pid, uid), LoginUid::Unknowable, "{pid:?}");
        }
    }
}

//! Who is calling: the uid that the kernel gives for the other end of the socket, as of its connect.
//!
//! Never from a header or a body. Whoever has a [`Caller`] has asked the kernel and the host's people;
//! there is no other way to make one.

use tokio::net::UnixStream;

use super::wire::Problem;
use crate::broker::Broker;
use crate::grant::Operator;
use crate::grant::request::{Person, PersonName};
use crate::people::{People, Unknown};

/// By which socket somebody came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// The one that everybody may open who may ask.
    Users,
    /// The one for root and the admins, where the daemon is operated.
    Operators,
}

/// The other end of one connection, as the kernel names it (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    uid: u32,
    pid: Option<i32>,
    door: Door,
}

impl Peer {
    /// Asks the kernel.
    ///
    /// # Errors
    /// The socket is closed already.
    pub fn of(stream: &UnixStream, door: Door) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self { uid: credentials.uid(), pid: credentials.pid(), door })
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
        Ok(Self { person: people.by_uid(peer.uid).await?, uid: peer.uid })
    }
}

impl Peer {
    /// The operator at the other end: root, or a known person of `admins`, who came by the operators' door.
    ///
    /// # Errors
    /// The problem, with what to do about it.
    pub(super) async fn operator(self, people: &People, broker: &Broker) -> Result<Operator, Problem> {
        if self.door == Door::Users {
            return Err(Problem::wrong_door());
        }
        let name = match people.by_uid(self.uid).await {
            Err(Unknown::Root) => PersonName::root(),
            Err(unknown) => return Err(unknown.into()),
            Ok(person) if broker.is_admin(&person) => person.name,
            Ok(_) => return Err(Problem::no_operator()),
        };
        Ok(Operator { name, uid: self.uid, login_uid: self.login_uid() })
    }

    /// The account of the login that the process came from (proc_pid_loginuid(5)). It is only told, never decided on:
    /// the process may have gone meanwhile, and another one have its number.
    fn login_uid(self) -> Option<u32> {
        let written = std::fs::read_to_string(format!("/proc/{}/loginuid", self.pid?)).ok()?;
        written.trim().parse().ok().filter(|uid| *uid != NO_LOGIN)
    }
}

/// What stands where there was no login: daemons, and what they start.
const NO_LOGIN: u32 = u32::MAX;

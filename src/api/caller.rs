//! Who is calling: the uid that the kernel gives for the other end of the socket, as of its connect.
//!
//! Never from a header or a body. Whoever has a [`Caller`] has asked the kernel and the host's people;
//! there is no other way to make one.

use tokio::net::UnixStream;

use crate::grant::request::Person;
use crate::people::{People, Unknown};

/// The other end of one connection, as the kernel names it (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    uid: u32,
}

impl Peer {
    /// Asks the kernel.
    ///
    /// # Errors
    /// The socket is closed already.
    pub fn of(stream: &UnixStream) -> std::io::Result<Self> {
        Ok(Self { uid: stream.peer_cred()?.uid() })
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

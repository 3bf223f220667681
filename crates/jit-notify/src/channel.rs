//! A channel: a name, what it is, and whom it serves.

use std::collections::BTreeSet;

use jit_wire::notice::Audience;

use crate::board::Board;
use crate::command::Command;
use crate::webhook::Webhook;

/// A channel.
#[derive(Debug)]
pub struct Channel {
    /// Its name, which is also that of its state on the disk: lower-case letters, digits and `-`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it is told.
    pub audience: Listeners,
}

/// What a channel is.
#[derive(Debug)]
pub enum Kind {
    /// It gets every fact at least once, in order for each request.
    Feed(Feed),
    /// It shows the present state of each request.
    Board(Board),
}

/// A channel that gets every fact.
#[derive(Debug)]
pub enum Feed {
    /// An HTTP request, signed.
    Webhook(Webhook),
    /// A program of this host.
    Command(Command),
}

/// Which facts a channel is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listeners {
    /// All of them.
    Everything,
    /// Those that one of these groups has to answer, and those for administrators if `administrators` says so.
    Some {
        /// Groups as the policy names them.
        groups: BTreeSet<String>,
        /// Whether it is told what concerns the administrators.
        administrators: bool,
    },
}

impl Listeners {
    /// Whether a fact with this audience is for the channel.
    #[must_use]
    pub fn concerns(&self, audience: &Audience) -> bool {
        match self {
            Self::Everything => true,
            Self::Some { groups, administrators } => {
                (*administrators && audience.to_administrators)
                    || audience.to_answer.iter().any(|group| groups.contains(group))
            }
        }
    }
}

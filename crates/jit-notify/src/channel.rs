//! A channel: a name, what it is, and whom it serves.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jit_core::grant::digest::sha256_hex;
use jit_wire::GrantView;
use jit_wire::notice::Audience;

use crate::board::Board;
use crate::command::Command;
use crate::document::Document;
use crate::http::Http;
use crate::outcome::Outcome;
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
    Board(Box<Board>),
}

/// A channel that gets every fact.
#[derive(Debug)]
pub enum Feed {
    /// An HTTP request, signed.
    Webhook(Webhook),
    /// A program of this host.
    Command(Command),
}

impl Feed {
    /// Sends a document once. Returns what became of it, and SHA-256 of what was sent, in hex.
    pub async fn deliver(&self, http: &Http, document: &Document<'_>, now: Timestamp) -> (Outcome, String) {
        let body = match document.to_json() {
            Ok(body) => body,
            Err(error) => {
                return (Outcome::Refused { why: format!("it cannot be written as JSON: {error}") }, String::new());
            }
        };
        let sha256 = sha256_hex(&body);
        let outcome = match self {
            Self::Webhook(webhook) => webhook.deliver(http, &document.id, body, now).await,
            Self::Command(command) => command.deliver(document, &body).await,
        };
        (outcome, sha256)
    }
}

/// Which facts a channel is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listeners {
    /// All of them.
    Everything,
    /// Those about grants that one of these groups approves or reviews or that the rule tells it, and those for administrators if `administrators` says
    /// so.
    Some {
        /// Groups as the policy names them.
        groups: BTreeSet<String>,
        /// Whether it is told what concerns the administrators.
        administrators: bool,
    },
}

impl Listeners {
    /// Whether the channel is told what concerns the administrators.
    #[must_use]
    pub fn has_administrators(&self) -> bool {
        match self {
            Self::Everything => true,
            Self::Some { administrators, .. } => *administrators,
        }
    }

    /// Whether a fact with this audience, about this grant, is for the channel.
    #[must_use]
    pub fn concerns(&self, audience: &Audience, grant: Option<&GrantView>) -> bool {
        match self {
            Self::Everything => true,
            Self::Some { groups, administrators } => {
                let reviews = grant.and_then(|grant| grant.break_glass.as_ref()).map(|glass| &glass.steps);
                let steps = grant.map(|grant| &grant.steps).into_iter().chain(reviews).flatten();
                (*administrators && audience.to_administrators)
                    || audience.to_know_groups.iter().any(|group| groups.contains(group))
                    || steps.flat_map(|step| &step.groups).any(|group| groups.contains(group))
            }
        }
    }
}

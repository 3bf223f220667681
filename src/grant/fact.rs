//! An event with its time and its author: what the trail stores, one a line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::request::{Login, PersonName};
use super::{Event, GrantId};

/// An event with its time and its author, before it has a place in the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// When, by the daemon's clock.
    pub at: Timestamp,
    /// The grant it is about; none for the daemon's own life and for refused requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The person who did it, `root` for root at the operators' door; none for the daemon itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PersonName>,
    /// How that person came to the host; none where the kernel does not know, and in trails of before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// That it was done through the operators' door, and by which account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Operator>,
    /// What happened.
    pub event: Event,
}

/// Who operates the daemon: root, who is no person and may only take away, or a person of `admins`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operator {
    /// The person, or `root`; no person is called so.
    pub name: PersonName,
    /// The account.
    pub uid: u32,
    /// Who became root, or how the person came to the host; none where there was no login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

impl Fact {
    /// Whether it may stand in a trail without a grant, as it is.
    #[must_use]
    pub fn is_of_the_daemon(&self) -> bool {
        match self.event {
            Event::Started { .. } | Event::PolicyLoaded { .. } | Event::Stopped | Event::RequestRefused { .. } => true,
            Event::Drained { .. } | Event::Resumed => {
                self.operator.as_ref().is_some_and(|operator| self.by.as_ref() == Some(&operator.name))
            }
            _ => false,
        }
    }
}

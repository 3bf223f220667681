//! What a directory says about a person now: whether the account is in use, and which of its groups count.
//!
//! ```text
//!  Rule ─► Directory ─► token (client credentials, RFC 6749 section 4.4) ─► Keycloak or Microsoft Graph ─► Found
//! ```
//! One question is about one person. It is asked over https only, follows no redirect and no link of an answer, and ends in
//! time whatever the directory sends. What has another form than documented is an error, and never "gone": a person loses
//! access by it. The daemon's `people` calls this.

mod error;
mod graph;
mod keycloak;
mod rule;
mod session;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

pub use self::error::DirectoryError;
pub use self::rule::{Kind, Rule};
use self::session::Session;

/// What a directory knows about a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The account is in use, and in these groups, as the rule maps them.
    Present(BTreeSet<String>),
    /// The account is disabled.
    Disabled,
    /// There is no such account.
    Gone,
}

/// How long an answer may take, with the token and all pages.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(8);

/// A directory that can be asked.
pub struct Directory {
    session: Session,
}

impl Directory {
    /// Connects to nothing yet, and reads nothing.
    #[must_use]
    pub fn new(rule: Rule) -> Self {
        Self { session: Session::new(rule) }
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.session.rule
    }

    /// What the directory says about the person with this subject at the provider.
    ///
    /// # Errors
    /// [`DirectoryError`], within [`ANSWERS_WITHIN`]. It says nothing about the person.
    pub async fn ask(&self, subject: &str) -> Result<Found, DirectoryError> {
        let asked = async {
            match self.session.rule.kind {
                Kind::Keycloak => keycloak::ask(&self.session, subject).await,
                Kind::Graph => graph::ask(&self.session, subject).await,
            }
        };
        timeout(ANSWERS_WITHIN, asked).await.unwrap_or(Err(DirectoryError::Slow))
    }
}

//! Logins that an identity provider ends: what the person requested with a login there ends too.
//!
//! Whoever has the access was to have it as somebody who is logged in. `jit-frontend` verifies what the provider says, ends
//! the sessions, and repeats it to the daemon until all of this has happened.

use std::collections::VecDeque;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::{Broker, BrokerError};
use crate::grant::login::ProviderLogout;
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{Login, ProviderLogin};
use crate::grant::{Author, Event, Grant, Phase};
use crate::people::Unknown;

/// For how long a logout is remembered: longer than a call that began before it, and so longer than `Limits::call`.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(5);

/// How many; the oldest gives way.
const MOST: usize = 4096;

/// The last logouts, and when the daemon heard of each.
#[derive(Debug, Default)]
pub(super) struct Logouts(Mutex<VecDeque<(Timestamp, ProviderLogout)>>);

impl Logouts {
    fn remember(&self, logout: ProviderLogout, now: Timestamp) {
        let mut last = self.0.lock();
        last.retain(|(heard, _)| now.duration_since(*heard) < REMEMBERED);
        if last.len() >= MOST {
            last.pop_front();
        }
        last.push_back((now, logout));
    }

    /// Refuses a login that the provider has ended since the call began.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn ensure_lasts(&self, login: &ProviderLogin) -> Result<(), Refusal> {
        if self.0.lock().iter().any(|(_, logout)| logout.has_ended(login)) {
            let why = format!("the login at {} was ended there", login.issuer);
            return Err(Refusal::new(Code::LoginStale, why).hint("log in again with `jit-login login`"));
        }
        Ok(())
    }
}

impl Broker {
    /// Ends the access of a person whom a provider has logged out. Returns how many grants end; their end is recorded, and the
    /// sweep continues one that a cluster delays.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`] if something could not be recorded; the caller says it again. [`BrokerError::NameService`] for a
    /// provider that the configuration does not have.
    pub async fn log_out(&self, logout: ProviderLogout) -> Result<usize, BrokerError> {
        if self.people().fresh(&logout.issuer).is_none() {
            return Err(BrokerError::NameService(Unknown::NoProvider(logout.issuer)));
        }
        // First of all: a collection that is under way either finds it, or is found below.
        self.logouts.remember(logout.clone(), self.ledger.now());
        let is_theirs = |grant: &Grant| {
            let login = grant.requester_login.as_ref().and_then(Login::provider);
            login.is_some_and(|login| logout.ends_access_of(login))
        };
        let theirs = self
            .ledger
            .open(|grant| matches!(grant.phase, Phase::Approved | Phase::Collecting | Phase::Live) && is_theirs(grant));
        let noted = self.ledger.note(&Author::Daemon, Event::LoggedOut(Box::new(logout.clone())));
        let ended = join_all(theirs.iter().map(|open_grant| async {
            let grant = open_grant.grant();
            let found = format!("{} was logged out at {}", grant.requester, logout.issuer);
            let lost = self.holder_lost(&grant.id, found).await;
            match open_grant.grant().phase {
                // Nothing was collected, or the end could not be recorded.
                Phase::Pending | Phase::Approved | Phase::Collecting | Phase::Live => lost.map(|()| 0),
                // The sweep continues an end that is recorded.
                _ => Ok(1),
            }
        }));
        // The trail's disk may be slow, and the end does not wait for it.
        let (noted, ended) = tokio::join!(noted, ended);
        noted?;
        ended.into_iter().sum()
    }
}

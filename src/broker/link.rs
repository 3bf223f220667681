//! Links the identity of a person at a provider to their account of this host: from then on both are one person.
//!
//! ```text
//!  identity (through jit-frontend) ─► offer: a code ─► account (users' socket): looks at whose it is, accepts ─► Linked
//! ```
//! Both ways in are proved: the offer by the identity, the acceptance by the account. Whoever accepts lets the identity act as
//! their account, so only the account accepts, and it sees whose identity that is. Codes are in memory and last minutes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::{Broker, BrokerError};
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{Login, Person, PersonName};
use crate::grant::{Author, Event};
use crate::people::Identity;

/// How long a code may be used.
const LASTS: SignedDuration = SignedDuration::from_mins(10);

/// How many offers are open at a time.
const OPEN: usize = 1000;

/// The offers of identities, by code.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<BTreeMap<String, Offer>>);

/// The offer of a person of a provider to be one person with an account of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What the account's owner enters.
    pub code: String,
    /// The identity.
    pub identity: Identity,
    /// The name of the person until now.
    pub name: PersonName,
    /// Until when it can be accepted.
    pub until: Timestamp,
}

impl Links {
    /// Keeps an offer, instead of an earlier one of the same identity.
    fn keep(&self, offer: Offer, now: Timestamp) -> Result<(), Refusal> {
        let mut open = self.0.lock();
        open.retain(|_, other| other.until > now && other.identity != offer.identity);
        if open.len() >= OPEN {
            return Err(Refusal::new(Code::Limit, "too many links are being made").hint("try again in ten minutes"));
        }
        open.insert(offer.code.clone(), offer);
        Ok(())
    }

    fn of(&self, code: &str, now: Timestamp) -> Option<Offer> {
        self.0.lock().get(code).filter(|offer| offer.until > now).cloned()
    }

    fn take(&self, code: &str) {
        self.0.lock().remove(code);
    }
}

impl Broker {
    /// A person of a provider offers to be one person with an account.
    ///
    /// # Errors
    /// The refusal, if the person came by an account, or the identity is an account's already.
    pub fn offer_link(&self, person: &Person) -> Result<Offer, BrokerError> {
        let Some((issuer, subject)) = person.login.as_ref().and_then(Login::identity) else {
            let why = "only a login at an identity provider can be linked to an account, and you came by an account";
            return Err(Refusal::new(Code::NotAllowed, why).hint("begin where you log in at the provider").into());
        };
        let identity = Identity { issuer: issuer.to_owned(), subject: subject.to_owned() };
        if self.people().is_joined(&identity) {
            let why = format!("this login is `{}` already", person.name);
            return Err(Refusal::new(Code::NotAllowed, why).into());
        }
        let now = self.ledger.now();
        let code = (self.ids)().ok_or(BrokerError::Internal)?.to_string();
        let until = now.saturating_add(LASTS).unwrap_or(Timestamp::MAX);
        let offer = Offer { code, identity, name: person.name.clone(), until };
        self.links.keep(offer.clone(), now)?;
        Ok(offer)
    }

    /// The offer with this code, for somebody who came by an account.
    ///
    /// # Errors
    /// The refusal.
    pub fn offered_link(&self, account: &Person, code: &str) -> Result<Offer, BrokerError> {
        if account.login.as_ref().and_then(Login::identity).is_some() {
            let why = "an account accepts a link, and you came from an identity provider";
            return Err(Refusal::new(Code::NotAllowed, why).hint("accept it on the bastion").into());
        }
        let offer = self.links.of(code, self.ledger.now());
        Ok(offer.ok_or_else(|| {
            Refusal::new(Code::TooLate, "no link waits with this code")
                .hint("begin again with `jit-login link` where you log in at the provider")
        })?)
    }

    /// The owner of an account accepts an offer: whoever logs in with the identity is this person from then on.
    ///
    /// # Errors
    /// [`BrokerError`]; then nothing is linked.
    pub async fn accept_link(&self, account: &Person, code: &str) -> Result<Offer, BrokerError> {
        // Held so that an offer is accepted once.
        let _turn = self.introductions.lock().await;
        let offer = self.offered_link(account, code)?;
        if self.people().is_joined(&offer.identity) {
            return Err(Refusal::new(Code::NotAllowed, "this login is another person's already").into());
        }
        let Identity { issuer, subject } = offer.identity.clone();
        let event = Event::Linked { issuer, subject, was: offer.name.clone() };
        self.ledger.note(&Author::from(account), event).await?;
        self.people().link(offer.identity.clone(), account.name.clone());
        self.links.take(code);
        tracing::info!(person = %account.name, was = %offer.name, "linked an identity to an account");
        Ok(offer)
    }
}

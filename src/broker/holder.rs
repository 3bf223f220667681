//! The holders of live grants: who they are now, and which of their grants they may have no longer.
//!
//! It only looks; `end` ends. The sweep calls it, and whoever collects is looked up here.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;

use super::{Broker, BrokerError};
use crate::grant::request::{Login, Person, PersonName, after};
use crate::grant::{Grant, Phase, end};
use crate::people::{Identity, Unknown};

/// Who holds a grant: the name, and the identity if the person came from a provider to request it.
pub type Holder = (PersonName, Option<Identity>);

/// How recent a directory's answer about a requester has to be, so that it is not asked again when they collect.
const RECENT: SignedDuration = SignedDuration::from_secs(20);

impl Broker {
    /// The live grants, by their holders.
    #[must_use]
    pub fn live_by_holder(&self) -> BTreeMap<Holder, Vec<Arc<Grant>>> {
        let mut holders: BTreeMap<Holder, Vec<Arc<Grant>>> = BTreeMap::new();
        for grant in self.ledger.open(|grant| grant.phase == Phase::Live).iter().map(|open_grant| open_grant.grant()) {
            let identity = grant.requester_login.as_ref().and_then(Login::provider).map(Identity::from);
            holders.entry((grant.requester.clone(), identity)).or_default().push(grant);
        }
        holders
    }

    /// Asks the directory of an issuer about those of its people who have live grants. Called only by the sweep.
    pub async fn ask_directory(&self, issuer: &str) {
        let identities = self.live_by_holder().into_keys().filter_map(|(_, identity)| identity);
        let subjects =
            identities.filter(|identity| identity.issuer == issuer).map(|identity| identity.subject).collect();
        self.people().ask_directory(issuer, subjects, || self.ledger.now()).await;
    }

    /// A requester from a provider as the directory knows them now; anybody else as they are.
    ///
    /// # Errors
    /// [`BrokerError::NameService`] if they are nobody any more, [`BrokerError::DirectoryStale`].
    pub(super) async fn as_of_now(&self, requester: &Person) -> Result<Person, BrokerError> {
        let Some(Login::Provider(login)) = &requester.login else { return Ok(requester.clone()) };
        let identity = Identity::from(&**login);
        let (people, since) = (self.people(), after(self.ledger.now(), -RECENT));
        let found =
            people.asked_again(&identity, since, || self.ledger.now()).await.map_err(BrokerError::NameService)?;
        self.directory_is_fresh(requester)?;
        Ok(match found {
            Some(found) => Person { login: requester.login.clone(), ..found },
            None => requester.clone(),
        })
    }

    /// Refuses people of a provider whose directory has not answered for too long. It is not recorded, because nothing about
    /// the person was decided.
    pub(super) fn directory_is_fresh(&self, requester: &Person) -> Result<(), BrokerError> {
        let Some(Login::Provider(login)) = &requester.login else { return Ok(()) };
        self.people().directory_is_fresh(&login.issuer, self.ledger.now()).map_err(BrokerError::DirectoryStale)
    }

    /// Those of a holder's grants that they may have no longer, and why.
    ///
    /// # Errors
    /// [`BrokerError::NameService`] if that cannot be said of one of them; it says nothing about the holder's rights.
    pub async fn lost_by(
        &self,
        holder: &Holder,
        grants: &[Arc<Grant>],
    ) -> Result<Vec<(Arc<Grant>, String)>, BrokerError> {
        let (people, (name, identity)) = (self.people(), holder);
        let person = match people.holder(name, identity.as_ref()).await {
            Ok(person) => person,
            // Each restart of the daemon brings this about; the person's next call tells.
            Err(Unknown::NotSaid(_)) => return Ok(Vec::new()),
            Err(failed) if failed.is_failure() => return Err(BrokerError::NameService(failed)),
            Err(nobody) => {
                let found = format!("{name} is nobody here any more: {nobody}");
                return Ok(grants.iter().map(|grant| (Arc::clone(grant), found.clone())).collect());
            }
        };
        let mut lost = Vec::new();
        for grant in grants {
            if let Some(found) = end::lost_by(grant, &person)
                && people.has_left(&person, &grant.terms.who).await.map_err(BrokerError::NameService)?
            {
                lost.push((Arc::clone(grant), found));
            }
        }
        Ok(lost)
    }
}

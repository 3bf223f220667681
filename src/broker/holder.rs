//! The holders of live grants: who they are now, and which of their grants they may have no longer.
//!
//! It only looks; `end` ends. Called only by the sweep.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Broker, BrokerError};
use crate::grant::request::{Login, PersonName};
use crate::grant::{Grant, Phase, end};
use crate::people::{Identity, Unknown};

/// Who holds a grant: the name, and the identity if the person came from a provider to request it.
pub type Holder = (PersonName, Option<Identity>);

impl Broker {
    /// The live grants, by their holders.
    #[must_use]
    pub fn live_by_holder(&self) -> BTreeMap<Holder, Vec<Arc<Grant>>> {
        let mut holders: BTreeMap<Holder, Vec<Arc<Grant>>> = BTreeMap::new();
        for grant in self.ledger.open(|grant| grant.phase == Phase::Live).iter().map(|open_grant| open_grant.grant()) {
            let identity = match &grant.requester_login {
                Some(Login::Provider(login)) => {
                    Some(Identity { issuer: login.issuer.clone(), subject: login.subject.clone() })
                }
                Some(Login::Account { .. } | Login::Unknowable) | None => None,
            };
            holders.entry((grant.requester.clone(), identity)).or_default().push(grant);
        }
        holders
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

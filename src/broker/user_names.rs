//! Bindings that give something to a person's own user name. Grants are bound to their groups alone, so such a binding is
//! somebody else's: every certificate of that person has it too, and no end of a grant takes it away.
//!
//! The sweep finds them; nothing is given to that person meanwhile. Nothing here deletes one, for none is ours.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::{Broker, BrokerError, Site};
use crate::grant::Found;
use crate::grant::reconcile::people_named;
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{ClusterName, Person, PersonName};

impl Broker {
    /// What the last look at a cluster found of this kind, a binding for each person. Called by the sweep only.
    pub fn note_bound_user_names(&self, cluster: &ClusterName, found: BTreeMap<PersonName, Found>) {
        self.bound_user_names.lock().unwrap_or_else(PoisonError::into_inner).insert(cluster.clone(), found);
    }

    /// How many people have such a binding, cluster by cluster, in all.
    #[must_use]
    pub fn bound_user_names(&self) -> usize {
        self.bound_user_names.lock().unwrap_or_else(PoisonError::into_inner).values().map(BTreeMap::len).sum()
    }

    /// Refuses what would come with more than a grant gives. Only where the sweep found something the cluster is asked
    /// again, for somebody may have deleted it since.
    pub(super) async fn ensure_user_name_is_unbound(&self, site: &Site, person: &Person) -> Result<(), BrokerError> {
        let cluster = site.cluster.name();
        let found = {
            let all = self.bound_user_names.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(cluster).is_some_and(|found| found.contains_key(&person.name))
        };
        if !found {
            return Ok(());
        }
        let is_it = |found: &Found| people_named(found).any(|name| name == person.name);
        let Some(found) = site.cluster.list_related(is_it).await?.into_iter().next() else {
            let mut all = self.bound_user_names.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = all.get_mut(cluster) {
                found.remove(&person.name);
            }
            return Ok(());
        };
        let place = found.namespace.as_ref().map_or_else(String::new, |name| format!(" in namespace {name}"));
        let why = format!("cluster `{cluster}` gives your user name more than a grant would: {found}{place}");
        Err(Refusal::new(Code::UserBound, why)
            .hint(format!("an administrator of the cluster takes it away: {}", found.deletion()))
            .into())
    }
}

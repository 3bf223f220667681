//! Bindings that grant something to a person's own user name. Grants are bound only to their groups, so such a binding
//! is somebody else's: it applies to every certificate of that person, and no end of a grant removes it.
//!
//! The sweep finds them; until they are removed, that person gets no access. Nothing here deletes one, because none is
//! ours.

use std::collections::BTreeMap;

use super::{Broker, BrokerError, Site};
use crate::grant::Found;
use crate::grant::reconcile::people_named;
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{ClusterName, Person, PersonName};

impl Broker {
    /// Stores what the last comparison with a cluster found, one binding for each person. Called only by the sweep.
    pub fn note_bound_user_names(&self, cluster: &ClusterName, found: BTreeMap<PersonName, Found>) {
        self.bound_user_names.lock().insert(cluster.clone(), found);
    }

    /// The number of people with such a binding, summed over all clusters.
    #[must_use]
    pub fn bound_user_names(&self) -> usize {
        self.bound_user_names.lock().values().map(BTreeMap::len).sum()
    }

    /// Refuses a person whose certificate would allow more than the grant. If the sweep found such a binding, the
    /// cluster is asked again, because somebody may have deleted it since.
    pub(super) async fn ensure_user_name_is_unbound(&self, site: &Site, person: &Person) -> Result<(), BrokerError> {
        let cluster = site.cluster.name();
        let found = {
            let all = self.bound_user_names.lock();
            all.get(cluster).is_some_and(|found| found.contains_key(&person.name))
        };
        if !found {
            return Ok(());
        }
        let is_it = |found: &Found| people_named(found).any(|name| name == person.name);
        let Some(found) = site.cluster.list_related(is_it).await?.into_iter().next() else {
            let mut all = self.bound_user_names.lock();
            if let Some(found) = all.get_mut(cluster) {
                found.remove(&person.name);
            }
            return Ok(());
        };
        let place = found.namespace.as_ref().map_or_else(String::new, |name| format!(" in namespace {name}"));
        let why = format!("cluster `{cluster}` grants your user name more than the grant would: {found}{place}");
        Err(Refusal::new(Code::UserBound, why)
            .hint(format!("an administrator of the cluster can remove it: {}", found.deletion()))
            .into())
    }
}

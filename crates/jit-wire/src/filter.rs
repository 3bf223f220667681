//! What is searched for among grants and events, as it stands in a query.
//!
//! [`client`](crate::client) writes it; the daemon reads each part into a type of the core.

use jiff::Timestamp;

/// What is searched for. Each part that is given has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterQuery {
    /// The requester; of events also their author.
    pub person: Option<String>,
    /// The cluster.
    pub cluster: Option<String>,
    /// A namespace of the request; a request for the whole cluster is one for each.
    pub namespace: Option<String>,
    /// The role.
    pub role: Option<String>,
    /// Not before this moment: the request of a grant, an event itself.
    pub since: Option<Timestamp>,
    /// Not after this moment.
    pub until: Option<Timestamp>,
    /// Access that was live at this moment; of grants only.
    pub at: Option<Timestamp>,
}

impl FilterQuery {
    /// The parts that are given, by their names in a query.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, String)> {
        let Self { person, cluster, namespace, role, since, until, at } = self;
        let words = [("person", person), ("cluster", cluster), ("namespace", namespace), ("role", role)];
        let moments = [("since", since), ("until", until), ("at", at)];
        let words = words.map(|(name, word)| (name, word.clone()));
        let moments = moments.map(|(name, at)| (name, at.map(|at| at.to_string())));
        words.into_iter().chain(moments).filter_map(|(name, value)| Some((name, value?)))
    }
}

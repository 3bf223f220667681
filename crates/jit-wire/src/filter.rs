//! The filter for grants and events, as the parameters of a query.
//!
//! [`client`](crate::client) writes it; the daemon parses each part into a type of the core.

use jiff::Timestamp;

/// A filter. Each part that is given has to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterQuery {
    /// The requester; for events also their author.
    pub person: Option<String>,
    /// The cluster.
    pub cluster: Option<String>,
    /// A namespace of the request; a request for the whole cluster matches each namespace.
    pub namespace: Option<String>,
    /// The role.
    pub role: Option<String>,
    /// Not before this time: for a grant its request, for an event the event itself.
    pub since: Option<Timestamp>,
    /// Not after this time.
    pub until: Option<Timestamp>,
    /// Access that was live at this time; for grants only.
    pub at: Option<Timestamp>,
    /// Grants for which break-glass was used; for grants only.
    pub break_glass: bool,
}

impl FilterQuery {
    /// The parts that are given, by the names of their parameters.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, String)> {
        let Self { person, cluster, namespace, role, since, until, at, break_glass } = self;
        let words = [("person", person), ("cluster", cluster), ("namespace", namespace), ("role", role)];
        let moments = [("since", since), ("until", until), ("at", at)];
        let words = words.map(|(name, word)| (name, word.clone()));
        let moments = moments.map(|(name, at)| (name, at.map(|at| at.to_string())));
        let used = [("breakGlass", break_glass.then(|| true.to_string()))];
        words.into_iter().chain(moments).chain(used).filter_map(|(name, value)| Some((name, value?)))
    }
}

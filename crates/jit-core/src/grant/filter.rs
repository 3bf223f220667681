//! Which grants, and which events of them, somebody searches for.
//!
//! It selects among what the person may see; whether they may see it is not decided here. The ledger and the trail ask.

use jiff::Timestamp;

use super::request::{Access, AccessRequest, ClusterName, Namespace, PersonName, RoleRef, Scope};
use super::{Event, Fact, Grant};

/// What is searched for. Each part that is given has to hold; without any it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The requester; of events also their author.
    pub person: Option<PersonName>,
    /// The cluster.
    pub cluster: Option<ClusterName>,
    /// A namespace of the request. A request for the whole cluster is one for each namespace.
    pub namespace: Option<Namespace>,
    /// The role; exact rules have none.
    pub role: Option<RoleRef>,
    /// Not before this moment: the request of a grant, an event itself.
    pub since: Option<Timestamp>,
    /// Not after this moment.
    pub until: Option<Timestamp>,
    /// The access was live at this moment, from the proof that it works to the proof that it does not any more.
    pub live_at: Option<Timestamp>,
    /// Only grants for which break-glass was used.
    pub break_glass: bool,
}

impl Filter {
    /// Whether nothing is searched for in particular.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it selects a grant.
    #[must_use]
    pub fn selects(&self, grant: &Grant) -> bool {
        self.person.as_ref().is_none_or(|person| *person == grant.requester)
            && self.selects_time(grant.requested_at)
            && self.selects_request(&grant.ask)
            && self.live_at.is_none_or(|at| was_live(grant, at))
            && (!self.break_glass || grant.glass.is_some())
    }

    /// Whether it can select a grant that was requested between these moments.
    #[must_use]
    pub fn may_select_requested(&self, first: Timestamp, last: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= last)
            && self.until.is_none_or(|until| first <= until)
            && self.live_at.is_none_or(|at| first <= at)
    }

    /// Whether it selects an event. `request` is asked for who requested the event's grant, and what, where that matters.
    ///
    /// # Errors
    /// Those of `request`.
    pub fn selects_event<E>(
        &self,
        fact: &Fact,
        request: impl FnOnce() -> Result<Option<(PersonName, AccessRequest)>, E>,
    ) -> Result<bool, E> {
        if !self.selects_time(fact.at) {
            return Ok(false);
        }
        let is_author = self.person.as_ref().is_none_or(|person| fact.by() == Some(person));
        let is_of_any_request = self.cluster.is_none() && self.namespace.is_none() && self.role.is_none();
        if is_author && is_of_any_request {
            return Ok(true);
        }
        if let Event::RequestRefused(refused) = &fact.event {
            // Of a long one only the beginning is kept: that it is none of those searched for can't be known.
            return Ok(is_author && refused.ask.as_ref().is_none_or(|ask| self.selects_request(ask)));
        }
        Ok(request()?.is_some_and(|(requester, ask)| {
            (is_author || self.person.as_ref() == Some(&requester)) && self.selects_request(&ask)
        }))
    }

    fn selects_time(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at <= until)
    }

    fn selects_request(&self, ask: &AccessRequest) -> bool {
        let covers = |namespace: &Namespace| match &ask.scope {
            Scope::Cluster => true,
            scope @ Scope::Namespaces(_) => scope.namespaces().contains(namespace),
        };
        let is_of = |role: &RoleRef| matches!(&ask.access, Access::Role(requested) if requested == role);
        self.cluster.as_ref().is_none_or(|cluster| *cluster == ask.cluster)
            && self.namespace.as_ref().is_none_or(covers)
            && self.role.as_ref().is_none_or(is_of)
    }
}

fn was_live(grant: &Grant, at: Timestamp) -> bool {
    grant.live_at.is_some_and(|live_at| live_at <= at) && grant.ended_at.is_none_or(|ended_at| at < ended_at)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::super::tests::brought_to;
    use super::super::{Author, RequestRefused};
    use super::*;
    use jiff::SignedDuration;

    fn searching(change: impl FnOnce(&mut Filter)) -> Filter {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    }

    /// Each part has to hold, and a grant for the whole cluster is one for each namespace.
    #[test]
    fn a_filter_selects_by_each_of_its_parts() {
        let grant = brought_to("live");
        for (right, wrong) in [
            (
                searching(|filter| filter.person = Some("alice".parse().unwrap())),
                searching(|filter| filter.person = Some("bob".parse().unwrap())),
            ),
            (
                searching(|filter| filter.cluster = Some("play".parse().unwrap())),
                searching(|filter| filter.cluster = Some("prod".parse().unwrap())),
            ),
            (
                searching(|filter| filter.namespace = Some("payments".parse().unwrap())),
                searching(|filter| filter.namespace = Some("shop".parse().unwrap())),
            ),
            (
                searching(|filter| filter.role = Some("view".parse().unwrap())),
                searching(|filter| filter.role = Some("role/view".parse().unwrap())),
            ),
        ] {
            assert!(!right.is_empty() && right.selects(&grant), "{right:?}");
            assert!(!wrong.selects(&grant), "{wrong:?}");
            let both = Filter { since: Some(grant.requested_at), ..wrong };
            assert!(!both.selects(&grant), "{both:?}");
        }
        assert!(Filter::default().is_empty() && Filter::default().selects(&grant));
        let elsewhere = searching(|filter| filter.namespace = Some("shop".parse().unwrap()));
        let mut wide = grant;
        wide.ask = AccessRequest { scope: Scope::Cluster, ..(*wide.ask).clone() }.into();
        assert!(elsewhere.selects(&wide));
    }

    /// The ends of a span are in it; of what is live the last moment is before the proof of its end.
    #[test]
    fn a_filter_selects_by_time_to_the_moment() {
        let (live, over, pending) = (brought_to("live"), brought_to("ended"), brought_to("pending"));
        let tick = SignedDuration::from_nanos(1);
        let requested = live.requested_at;
        for (since, until, selected) in [
            (Some(requested), Some(requested), true),
            (Some(requested + tick), None, false),
            (None, Some(requested - tick), false),
            (Some(requested - tick), Some(requested + tick), true),
        ] {
            let filter = Filter { since, until, ..Filter::default() };
            assert_eq!(filter.selects(&live), selected, "{filter:?}");
            assert_eq!(filter.may_select_requested(requested, requested), selected, "{filter:?}");
        }
        assert!(!searching(|filter| filter.break_glass = true).selects(&live));
        let was = |grant: &Grant, at: Timestamp| searching(|filter| filter.live_at = Some(at)).selects(grant);
        let began = live.live_at.unwrap();
        assert!(was(&live, began) && !was(&live, began - tick) && was(&live, began + SignedDuration::from_hours(1)));
        let (began, ended) = (over.live_at.unwrap(), over.ended_at.unwrap());
        assert!(!was(&over, ended), "proven to be over");
        assert_eq!(was(&over, ended - tick), began < ended);
        assert!(!was(&pending, began));
    }

    /// An event is selected by its author or the requester of its grant, and by the request; a refused request by itself.
    #[test]
    fn a_filter_selects_events_by_their_request() {
        let grant = brought_to("pending");
        let (requester, ask) = (grant.requester.clone(), (*grant.ask).clone());
        let at = grant.requested_at;
        let by = |name: &str| Author::Person { name: name.parse().unwrap(), login: None };
        let denied = by("bob").fact(at, Some(grant.id.clone()), Event::Denied { reason: "no".into() });
        let refused = |ask| {
            let refused = RequestRefused::new(ask, "policy-denied", "no rule allows it");
            by("alice").fact(at, None, Event::RequestRefused(Box::new(refused)))
        };
        let of_daemon = Author::Daemon.fact(at, None, Event::Stopped);
        let selects = |filter: &Filter, fact: &Fact| {
            let request = || Ok::<_, Infallible>(fact.grant.as_ref().map(|_| (requester.clone(), ask.clone())));
            filter.selects_event(fact, request).unwrap()
        };
        let person = |name: &str| searching(|filter| filter.person = Some(name.parse().unwrap()));
        let namespace = |name: &str| searching(|filter| filter.namespace = Some(name.parse().unwrap()));
        let asked = refused(ask.clone());
        for (filter, selected) in [
            (Filter::default(), [true, true, true]),
            (person("alice"), [true, true, false]),
            (person("bob"), [true, false, false]),
            (person("carol"), [false, false, false]),
            (namespace("payments"), [true, true, false]),
            (namespace("shop"), [false, false, false]),
            (Filter { person: person("bob").person, ..namespace("payments") }, [true, false, false]),
            (searching(|filter| filter.until = Some(at - SignedDuration::from_secs(1))), [false, false, false]),
        ] {
            assert_eq!([&denied, &asked, &of_daemon].map(|fact| selects(&filter, fact)), selected, "{filter:?}");
        }
        let mut long = refused(ask.clone());
        let Event::RequestRefused(of_long) = &mut long.event else { panic!() };
        of_long.ask = None;
        assert!(selects(&namespace("shop"), &long), "that it is not about it can't be known");
    }
}

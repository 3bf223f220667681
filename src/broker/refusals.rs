//! Limits how many refusals are recorded: the first of a kind gets an event, and the others are counted once a minute.
//!
//! ```text
//!  refused ─► a new kind, and few so far? ─ yes ─► an event of its own
//!                                         └ no ──► counted ─► each minute, and at the end: RefusalsCounted
//! ```
//! Refused calls cost the caller nothing, and the trail is never shortened: if each were recorded, refusals could fill
//! the disk, and with a full disk nobody gets access. A daemon that is killed loses only the count of its last minute.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{Broker, BrokerError};
use crate::grant::request::{Person, PersonName};
use crate::grant::{Author, Event, GrantId};

/// The limit for kinds of refusals of one person that are recorded in a minute; others are counted.
const KINDS: usize = 30;

/// Two refusals of one person with the same kind say the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    /// What it was about.
    pub(super) about: About,
    /// The stable code of the refusal.
    pub(super) code: &'static str,
}

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// An action on a grant.
    Action(GrantId, String),
    /// A request with this hash.
    Request(String),
}

/// The refusals of the last minute.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<PersonName, Vec<Counting>>>);

/// The refusals of one person with one login.
struct Counting {
    author: Author,
    since: Timestamp,
    written: BTreeSet<Kind>,
    counted: BTreeMap<String, u64>,
}

impl Refusals {
    /// Whether this refusal has to be recorded; otherwise it is counted.
    pub(super) fn is_news(&self, by: &Person, kind: Kind, now: Timestamp) -> bool {
        self.of(&Author::from(by), now, |counting| {
            if counting.written.len() < KINDS && counting.written.insert(kind.clone()) {
                return true;
            }
            counting.count(kind.code, 1);
            false
        })
        .unwrap_or(true)
    }

    /// Notes that a refusal could not be recorded, so that the next one of its kind is.
    pub(super) fn is_not_written(&self, by: &Person, kind: &Kind, now: Timestamp) {
        self.of(&Author::from(by), now, |counting| counting.written.remove(kind));
    }

    /// Adds `number` refusals to the count.
    fn count(&self, author: &Author, code: &str, number: u64, now: Timestamp) {
        self.of(author, now, |counting| counting.count(code, number));
    }

    /// Takes the counts. A person without counted refusals starts again with an empty list.
    fn take(&self, now: Timestamp) -> Vec<(Author, Event)> {
        let mut counted = Vec::new();
        self.0.lock().retain(|_, logins| {
            logins.retain_mut(|counting| {
                if counting.counted.is_empty() {
                    return false;
                }
                let codes = std::mem::take(&mut counting.counted);
                let since = std::mem::replace(&mut counting.since, now);
                counted.push((counting.author.clone(), Event::RefusalsCounted { since, codes }));
                true
            });
            !logins.is_empty()
        });
        counted
    }

    fn of<T>(&self, author: &Author, now: Timestamp, work: impl FnOnce(&mut Counting) -> T) -> Option<T> {
        let Author::Person { name, .. } = author else { return None };
        let mut people = self.0.lock();
        let logins = people.entry(name.clone()).or_default();
        let at = logins.iter().position(|counting| counting.author == *author).unwrap_or_else(|| {
            let (written, counted) = (BTreeSet::new(), BTreeMap::new());
            logins.push(Counting { author: author.clone(), since: now, written, counted });
            logins.len() - 1
        });
        logins.get_mut(at).map(work)
    }
}

impl Counting {
    fn count(&mut self, code: &str, number: u64) {
        let counted = self.counted.entry(code.to_owned()).or_default();
        *counted = counted.saturating_add(number);
    }
}

impl Broker {
    /// Records a refusal that happened before the call was examined.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`].
    pub async fn record_refusal(&self, by: &Person, code: &str) -> Result<(), BrokerError> {
        let codes = BTreeMap::from([(code.to_owned(), 1)]);
        let event = Event::RefusalsCounted { since: self.ledger.now(), codes };
        Ok(self.ledger.note(&Author::from(by), event).await?)
    }

    /// Counts refusals that happened before the calls were examined. They are recorded with the other counts.
    pub fn count_refusals(&self, by: &Person, code: &str, number: u64) {
        self.refusals.count(&Author::from(by), code, number, self.ledger.now());
    }

    /// Records what was counted since the last time.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then the counts are kept.
    pub async fn record_refusals(&self) -> Result<(), BrokerError> {
        let mut outcome = Ok(());
        for (author, event) in self.refusals.take(self.ledger.now()) {
            let Err(error) = self.ledger.note(&author, event.clone()).await else { continue };
            if let Event::RefusalsCounted { since, codes } = event {
                codes.iter().for_each(|(code, number)| self.refusals.count(&author, code, *number, since));
            }
            outcome = Err(error.into());
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::request::Login;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn alice(login: Option<u32>) -> Person {
        let login = login.map(|uid| Login::Account { uid, person: None });
        Person { name: "alice".parse().unwrap(), groups: BTreeSet::new(), login }
    }

    fn request(which: usize) -> Kind {
        Kind { about: About::Request(which.to_string()), code: "policy-denied" }
    }

    /// The events for a minute's refusals: since when, and how many.
    fn counted(refusals: &Refusals, now: i64) -> Vec<(i64, u64)> {
        let number = |event: &Event| match event {
            Event::RefusalsCounted { since, codes } => (since.as_second(), codes.values().sum()),
            other => panic!("{other:?}"),
        };
        refusals.take(at(now)).iter().map(|(_, event)| number(event)).collect()
    }

    #[test]
    fn the_first_refusal_of_a_kind_is_recorded_and_the_others_are_counted_once_a_minute() {
        let refusals = Refusals::default();
        let written = (0..1000).filter(|_| refusals.is_news(&alice(None), request(0), at(0))).count();
        assert_eq!((written, counted(&refusals, 60)), (1, vec![(0, 999)]));
        assert!(!refusals.is_news(&alice(None), request(0), at(61)), "the same kind is still counted");
        assert_eq!(counted(&refusals, 120), [(60, 1)]);
        assert_eq!(counted(&refusals, 180), [], "a quiet minute");
        assert!(refusals.is_news(&alice(None), request(0), at(181)));
    }

    #[test]
    fn the_number_of_recorded_kinds_is_limited() {
        let refusals = Refusals::default();
        let written = (0..1000).filter(|which| refusals.is_news(&alice(None), request(*which), at(0))).count();
        assert_eq!((written, counted(&refusals, 60)), (KINDS, vec![(0, 970)]));
        let again = (1000..2000).filter(|which| refusals.is_news(&alice(None), request(*which), at(61))).count();
        assert_eq!(again, 0, "further kinds are only counted");
    }

    #[test]
    fn after_a_failed_write_the_next_refusal_of_the_kind_is_recorded() {
        let refusals = Refusals::default();
        assert!(refusals.is_news(&alice(None), request(0), at(0)));
        refusals.is_not_written(&alice(None), &request(0), at(0));
        assert!(refusals.is_news(&alice(None), request(0), at(1)));
    }

    #[test]
    fn each_login_is_counted_separately() {
        let refusals = Refusals::default();
        assert!(refusals.is_news(&alice(None), request(0), at(0)));
        assert!(refusals.is_news(&alice(Some(7)), request(0), at(0)));
        assert!(!refusals.is_news(&alice(Some(7)), request(0), at(0)));
    }
}

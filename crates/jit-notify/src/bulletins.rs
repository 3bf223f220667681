//! What a board tells the administrators beside the requests: a drain, a revocation by an operator, trouble with a cluster.
//!
//! Each fact is told once. Those that wait become lines of one message, so that an outage of the board does not end in many.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jit_wire::notice::Notice;

use crate::backoff;

/// How many facts wait at most; of more, the oldest are left out, and the message says so.
const WAITING: usize = 100;

/// What waits to be told.
#[derive(Debug, Default)]
pub struct Bulletins {
    waiting: VecDeque<Arc<Notice>>,
    left_out: u64,
    failures: u32,
}

impl Bulletins {
    /// One more fact. Returns the number of one that has no room any more.
    pub fn add(&mut self, fact: Notice) -> Option<u64> {
        self.waiting.push_back(Arc::new(fact));
        if self.waiting.len() <= WAITING {
            return None;
        }
        self.left_out = self.left_out.saturating_add(1);
        self.waiting.pop_front().map(|fact| fact.number)
    }

    /// Whether fact `number` waits.
    #[must_use]
    pub fn have(&self, number: u64) -> bool {
        self.waiting.iter().any(|fact| fact.number == number)
    }

    /// What one message says now: the facts, and how many before them are left out.
    #[must_use]
    pub fn next(&self) -> Option<(Vec<Arc<Notice>>, u64)> {
        (!self.waiting.is_empty()).then(|| (self.waiting.iter().map(Arc::clone).collect(), self.left_out))
    }

    /// These were told, or never will be. Returns their numbers.
    pub fn done(&mut self, facts: &[Arc<Notice>]) -> Vec<u64> {
        (self.failures, self.left_out) = (0, 0);
        let numbers: Vec<u64> = facts.iter().map(|fact| fact.number).collect();
        self.waiting.retain(|fact| !numbers.contains(&fact.number));
        numbers
    }

    /// The receiver did not take them. Returns how long to wait; `asked` is what the receiver wants.
    pub fn failed(&mut self, asked: Option<Duration>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        backoff::wait(self.failures, asked, backoff::chance())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeds::test_notice;

    fn fact(number: u64) -> Notice {
        Notice { number, ..test_notice("2026-11-29T21:00:00Z".parse().unwrap()) }
    }

    /// Nothing is told twice, what comes meanwhile is told next, and of very many it is said that there were more.
    #[test]
    fn what_waits_is_one_message() {
        let mut bulletins = Bulletins::default();
        assert!(bulletins.next().is_none());
        assert_eq!((0..102).filter_map(|number| bulletins.add(fact(number))).collect::<Vec<_>>(), [0, 1]);
        let (facts, left_out) = bulletins.next().unwrap();
        assert_eq!((facts.len(), left_out), (100, 2));
        assert!(bulletins.add(fact(102)).is_some_and(|out| out == 2) && !bulletins.have(2) && bulletins.have(3));
        assert_eq!(bulletins.done(&facts), (2..102).collect::<Vec<_>>());
        let (facts, left_out) = bulletins.next().unwrap();
        assert_eq!((facts.iter().map(|fact| fact.number).collect::<Vec<_>>(), left_out), (vec![102], 0));
    }
}

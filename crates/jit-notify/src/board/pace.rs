//! When people are told: not more often than they can read, again if nobody answers, and not while a board is quiet.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use jit_core::grant::policy::Hours;

use crate::present::Posted;

/// More messages than this in a minute become one.
pub const IN_A_MINUTE: usize = 10;

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// What to do with a first message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// It is posted.
    Free,
    /// It is the last one of this minute, so it should have everything that waits.
    Last,
    /// Nothing before this time.
    NotBefore(Timestamp),
}

/// The first messages of a channel in the last minute.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    posted: VecDeque<Timestamp>,
}

impl Pace {
    /// What to do with a first message at `now`.
    pub fn turn(&mut self, now: Timestamp) -> Turn {
        while self.posted.front().is_some_and(|at| now.duration_since(*at) >= MINUTE) {
            self.posted.pop_front();
        }
        match (self.posted.front(), self.posted.len().checked_add(1)) {
            (_, Some(count)) if count < IN_A_MINUTE => Turn::Free,
            (Some(first), Some(count)) if count > IN_A_MINUTE => {
                Turn::NotBefore(first.checked_add(MINUTE).unwrap_or(now))
            }
            _ => Turn::Last,
        }
    }

    /// A first message was posted.
    pub fn posted(&mut self, now: Timestamp) {
        self.posted.push_back(now);
    }
}

/// How often a question that waits is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reminders {
    /// The time between two of them.
    pub every: SignedDuration,
    /// How many there are at most.
    pub most: u32,
}

impl Reminders {
    /// When the next reminder of an open question is due; `None` after the last one, and for what nobody has to answer.
    #[must_use]
    pub fn due(self, posted: &Posted) -> Option<Timestamp> {
        let count = i32::try_from(posted.reminders).ok()?.checked_add(1)?;
        let after = self.every.checked_mul(count)?;
        (posted.open && posted.reminders < self.most).then(|| posted.at.checked_add(after).ok())?
    }
}

/// Whether a channel may ring at `now`; what is due meanwhile follows when the quiet hours are over.
#[must_use]
pub fn may_ring(quiet: Option<&Hours>, now: Timestamp) -> bool {
    quiet.is_none_or(|quiet| !quiet.contain(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_796_000_000 + seconds).unwrap()
    }

    /// Ten messages in a minute at most, and the tenth has everything that waits.
    #[test]
    fn the_tenth_message_of_a_minute_is_the_last_one() {
        let mut pace = Pace::default();
        for n in 0..9 {
            assert_eq!(pace.turn(at(n)), Turn::Free, "{n}");
            pace.posted(at(n));
        }
        assert_eq!(pace.turn(at(9)), Turn::Last);
        pace.posted(at(9));
        assert_eq!(pace.turn(at(10)), Turn::NotBefore(at(60)));
        assert_eq!(pace.turn(at(60)), Turn::Last);
        assert_eq!(pace.turn(at(62)), Turn::Free);
    }

    #[test]
    fn reminders_are_counted_from_the_question_and_end() {
        let reminders = Reminders { every: SignedDuration::from_mins(5), most: 2 };
        let mut posted =
            Posted { remote: None, sha256: String::new(), open: true, at: at(0), reminders: 0, among_others: false };
        assert_eq!(reminders.due(&posted), Some(at(300)));
        posted.reminders = 1;
        assert_eq!(reminders.due(&posted), Some(at(600)));
        posted.reminders = 2;
        assert_eq!(reminders.due(&posted), None);
        posted = Posted { reminders: 0, open: false, ..posted };
        assert_eq!(reminders.due(&posted), None);
    }

    /// Quiet hours follow the wall clock of their zone, over midnight too.
    #[test]
    fn a_quiet_channel_does_not_ring() {
        let quiet: Hours = serde_json::from_value(serde_json::json!({
            "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "22:00", "to": "07:00", "zone": "Europe/Berlin"
        }))
        .unwrap();
        for (time, rings) in [
            ("2026-11-29T20:59:00Z", true),
            ("2026-11-29T21:00:00Z", false),
            ("2026-11-30T05:59:00Z", false),
            ("2026-11-30T06:00:00Z", true),
            ("2026-07-01T20:00:00Z", false),
        ] {
            assert_eq!(may_ring(Some(&quiet), time.parse().unwrap()), rings, "{time}");
            assert!(may_ring(None, time.parse().unwrap()));
        }
    }
}

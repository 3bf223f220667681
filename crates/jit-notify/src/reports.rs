//! What the receivers of a channel took, until it is in the trail of `jitd`: a hash for each text.
//!
//! ```text
//!  delivered ──► waiting, on the disk ──► sent to jitd, some at a time ──► recorded: forgotten
//! ```
//! So an auditor can tell whether a text that somebody shows is the one that an approver was shown.

use std::collections::VecDeque;

use jit_core::grant::SentText;
use jit_wire::notice::MOST_TEXTS;

/// How many wait at most. `jitd` takes thousands a second, and without it there is nothing to tell.
const WAITING: usize = 8 * 1024;

/// The reports of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reports {
    waiting: VecDeque<SentText>,
    /// How many of them `jitd` has, but did not say yet that they are recorded.
    under_way: usize,
}

impl Reports {
    /// Those that wait after a restart.
    #[must_use]
    pub fn from(waiting: VecDeque<SentText>) -> Self {
        Self { waiting, under_way: 0 }
    }

    /// Those that are not recorded, for the disk.
    #[must_use]
    pub fn waiting(&self) -> &VecDeque<SentText> {
        &self.waiting
    }

    /// A receiver took a text.
    pub fn add(&mut self, text: SentText) {
        if self.waiting.len() >= WAITING {
            let lost = self.waiting.remove(self.under_way);
            tracing::error!(?lost, "jitd records nothing, so the trail will not have what this channel told");
        }
        self.waiting.push_back(text);
    }

    /// What to send to `jitd` now: nothing while it has something, and only many at once or, on `any`, all.
    pub fn next(&mut self, any: bool) -> Option<Vec<SentText>> {
        let is_due = if any { !self.waiting.is_empty() } else { self.waiting.len() >= MOST_TEXTS };
        if self.under_way > 0 || !is_due {
            return None;
        }
        let texts: Vec<SentText> = self.waiting.iter().take(MOST_TEXTS).cloned().collect();
        self.under_way = texts.len();
        Some(texts)
    }

    /// `jitd` says that it has recorded what it got last.
    pub fn recorded(&mut self) {
        self.waiting.drain(..self.under_way.min(self.waiting.len()));
        self.under_way = 0;
    }

    /// The connection is a new one, and what was under way may be lost.
    pub fn begin_again(&mut self) {
        self.under_way = 0;
    }
}

#[cfg(test)]
mod tests {
    use jit_core::grant::About;

    use super::*;

    fn text(seq: u64) -> SentText {
        let at = "2026-11-29T21:00:00Z".parse().unwrap();
        SentText { channel: "leads".to_owned(), grant: None, about: About::Fact, seq, at, sha256: "a".repeat(64) }
    }

    /// What jitd did not record is sent again over the next connection, and what it recorded is not.
    #[test]
    fn a_report_waits_until_it_is_recorded() {
        let mut reports = Reports::default();
        assert_eq!(reports.next(true), None);
        (0..70).for_each(|seq| reports.add(text(seq)));
        let first = reports.next(false).unwrap();
        assert_eq!((first.len(), first.first().unwrap().seq), (MOST_TEXTS, 0));
        assert_eq!(reports.next(true), None, "one at a time");
        reports.begin_again();
        assert_eq!(reports.next(false).unwrap(), first);
        reports.recorded();
        assert_eq!(reports.next(false), None, "few wait for company");
        assert_eq!(
            reports.next(true).unwrap().iter().map(|text| text.seq).collect::<Vec<_>>(),
            [64, 65, 66, 67, 68, 69]
        );
        let again = Reports::from(reports.waiting().clone());
        assert_eq!(again.waiting().len(), 6);
        reports.recorded();
        assert!(reports.waiting().is_empty());
    }

    /// A daemon that records nothing costs no more memory than this.
    #[test]
    fn not_more_than_a_number_wait() {
        let mut reports = Reports::default();
        (0..9_000).for_each(|seq| reports.add(text(seq)));
        assert_eq!((reports.waiting().len(), reports.waiting().front().unwrap().seq), (WAITING, 808));
    }
}

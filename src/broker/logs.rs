//! Where the gateway's logs stand: recorded, so that whoever has the trail can tell whether a line of a log was changed or
//! removed.
//!
//! ```text
//!  feed ─► log_stands (memory; never waits) ─► each second: what is due ─► Logged, or LogContradicted
//! ```
//! The gateway is not believed: it can report anything, about any grant, at any rate. One grant gets an event in ten seconds
//! at most, few after its end, and none if it never was live. A grant that is locked, because it is just ending, is left for
//! the next second, so that it delays no other.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::Broker;
use crate::grant::{Author, Event, GrantId, LogHead, LogHistory, NotLogged};
use crate::hint::Hint;
use crate::ledger::{LedgerError, Locked};

/// How often it looks for what is due.
const ROUND: Duration = Duration::from_secs(1);

/// How long after an event of a grant's log the next one may follow.
const REST: Duration = Duration::from_secs(10);

/// At most so many grants wait. A gateway that is not taken over has at most thousands.
const WAITING: usize = 16 * 1024;

/// At most so many heads of one grant wait, where each contradicts the one before.
const CONTRADICTIONS: usize = 4;

/// How many grants that are over are looked up in a round: each costs a query, also for a grant that does not exist.
const OVER_IN_A_ROUND: usize = 64;

/// How many grants are recorded at once; they share commits.
const AT_ONCE: usize = 64;

/// The reports that are not recorded yet.
#[derive(Default)]
pub(super) struct Logs {
    reports: Mutex<Reports>,
    arrived: Notify,
    contradictions: AtomicU64,
}

#[derive(Default)]
struct Reports {
    /// The newest head of each grant, after those that it contradicts.
    waiting: BTreeMap<GrantId, Vec<LogHead>>,
    /// Until when the grants get no further event.
    resting: HashMap<GrantId, Instant>,
}

impl Reports {
    /// Whether the report was kept.
    fn add(&mut self, grant: GrantId, log: LogHead) -> bool {
        if self.waiting.len() >= WAITING && !self.waiting.contains_key(&grant) {
            return false;
        }
        let heads = self.waiting.entry(grant).or_default();
        let is_full = heads.len() >= CONTRADICTIONS;
        match heads.last_mut() {
            Some(last) if is_full || !last.contradicts(&log) => *last = log,
            _ => heads.push(log),
        }
        true
    }

    /// The grants whose rest is over, those that are open first.
    fn due(&mut self, now: Instant, is_open: impl Fn(&GrantId) -> bool) -> Vec<GrantId> {
        self.resting.retain(|_, until| *until > now);
        let due = self.waiting.keys().filter(|grant| !self.resting.contains_key(*grant)).cloned();
        let (mut open, over): (Vec<GrantId>, Vec<GrantId>) = due.partition(is_open);
        open.extend(over.into_iter().take(OVER_IN_A_ROUND));
        open
    }

    /// Puts back what could not be recorded, before what arrived since.
    fn put_back(&mut self, grant: &GrantId, heads: Vec<LogHead>) {
        let since = self.waiting.remove(grant).unwrap_or_default();
        for log in heads.into_iter().chain(since) {
            self.add(grant.clone(), log);
        }
    }
}

impl Broker {
    /// Takes where the gateway says that the log of a grant stands. It does not wait; [`Broker::record_logs`] records it.
    pub fn log_stands(&self, grant: GrantId, log: LogHead) {
        if !self.logs.reports.lock().add(grant.clone(), log) {
            tracing::warn!(%grant, "too many logs wait to be recorded, so the head of this one is dropped until the gateway reports it again");
        }
        self.logs.arrived.notify_one();
    }

    /// Records what the gateway reports. Never returns.
    pub async fn record_logs(&self) {
        loop {
            self.logs.arrived.notified().await;
            while self.record_due_logs().await {
                sleep(ROUND).await;
            }
        }
    }

    /// How many heads since the start contradicted earlier ones.
    #[must_use]
    pub fn log_contradictions(&self) -> u64 {
        self.logs.contradictions.load(Ordering::Relaxed)
    }

    /// Records what is due now, and returns whether anything still waits.
    pub(super) async fn record_due_logs(&self) -> bool {
        let is_open = |grant: &GrantId| self.ledger.open_grant(grant).is_some();
        let due = self.logs.reports.lock().due(Instant::now(), is_open);
        stream::iter(due).for_each_concurrent(AT_ONCE, |grant| async move { self.record_log(&grant).await }).await;
        !self.logs.reports.lock().waiting.is_empty()
    }

    async fn record_log(&self, grant: &GrantId) {
        let open_grant = self.ledger.open_grant(grant);
        let mut locked = match &open_grant {
            Some(open_grant) => match open_grant.try_lock() {
                // If it has ended since, the next round finds it over.
                Some(locked) if !locked.grant().is_over() => Some(locked),
                _ => return,
            },
            None => None,
        };
        let Some(heads) = self.logs.reports.lock().waiting.remove(grant) else { return };
        let recorded = match self.ledger.log_of(grant).await {
            Ok(Some((history, last))) => self.record_heads(grant, history, last, &heads, &mut locked).await,
            Ok(None) => Err(Unrecorded::Not(NotLogged::NeverLive)),
            Err(error) => Err(Unrecorded::Failed(error)),
        };
        match recorded {
            Ok(0) => {}
            Ok(_) => {
                self.logs.reports.lock().resting.insert(grant.clone(), Instant::now() + REST);
            }
            Err(Unrecorded::Not(why)) => {
                tracing::warn!(%grant, %why, "the gateway reports a log that is not recorded");
            }
            Err(Unrecorded::Failed(error)) => {
                tracing::warn!(%grant, error = %error.in_full(), "where a log stands could not be recorded yet");
                self.logs.reports.lock().put_back(grant, heads);
            }
        }
    }

    /// Records these heads, and returns how many events that took.
    async fn record_heads(
        &self,
        grant: &GrantId,
        mut history: LogHistory,
        last: i64,
        heads: &[LogHead],
        locked: &mut Option<Locked<'_>>,
    ) -> Result<usize, Unrecorded> {
        let (mut events, mut refused) = (Vec::new(), None);
        for head in heads {
            loop {
                match history.news(head) {
                    Ok(Some(event)) => {
                        history = history.after(&event);
                        events.push(event);
                    }
                    Ok(None) => break,
                    Err(why) => {
                        refused = Some(why);
                        break;
                    }
                }
            }
        }
        if events.is_empty() {
            return refused.map_or(Ok(0), |why| Err(Unrecorded::Not(why)));
        }
        let recorded = match locked {
            Some(locked) => self.ledger.record(locked, &Author::Daemon, events.clone()).await.map(drop),
            None => self.ledger.record_late(grant, last, &Author::Daemon, events.clone()).await,
        };
        recorded.map_err(Unrecorded::Failed)?;
        for event in &events {
            if let Event::LogContradicted { lines, before, .. } = event {
                self.logs.contradictions.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%grant, lines, before = before.lines, "the gateway's log of this grant contradicts an earlier head: lines of it were changed or removed");
            }
        }
        Ok(events.len())
    }
}

/// Why heads were not recorded.
enum Unrecorded {
    Not(NotLogged),
    Failed(LedgerError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: u64) -> LogHead {
        LogHead { lines, sha256: "a".repeat(64) }
    }

    fn grant(number: u16) -> GrantId {
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        GrantId::from_random(bytes)
    }

    /// Only the newest head of a grant waits, unless it contradicts one that waits; and only so many grants do.
    #[test]
    fn what_waits_is_bounded_and_keeps_contradictions() {
        let mut reports = Reports::default();
        for lines in [1, 2, 3, 2, 5] {
            assert!(reports.add(grant(0), head(lines)));
        }
        assert_eq!(reports.waiting[&grant(0)], [head(3), head(5)]);
        for lines in (0..100).rev() {
            assert!(reports.add(grant(1), head(lines)));
        }
        assert_eq!(reports.waiting[&grant(1)].len(), CONTRADICTIONS);
        let kept = (2..u16::MAX).filter(|number| reports.add(grant(*number), head(1))).count();
        assert_eq!((kept, reports.waiting.len()), (WAITING - 2, WAITING));
        assert!(reports.add(grant(0), head(6)), "one that waits already is replaced");
    }

    /// Grants that rest wait, and grants that are over take only so many turns.
    #[test]
    fn open_grants_come_first() {
        let mut reports = Reports::default();
        let now = Instant::now();
        for number in 0..200 {
            reports.add(grant(number), head(1));
        }
        reports.resting.insert(grant(0), now + REST);
        let open = [grant(0), grant(150)];
        let due = reports.due(now, |grant| open.contains(grant));
        assert_eq!((&due[0], due.len()), (&grant(150), 1 + OVER_IN_A_ROUND));
        assert!(reports.due(now + REST, |grant| open.contains(grant)).contains(&grant(0)));
    }

    #[test]
    fn what_could_not_be_recorded_comes_before_what_arrived_since() {
        let mut reports = Reports::default();
        reports.add(grant(0), head(2));
        reports.put_back(&grant(0), vec![head(9)]);
        assert_eq!(reports.waiting[&grant(0)], [head(9), head(2)]);
    }
}

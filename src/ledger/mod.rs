//! The ledger: the grants that are not over or owe a review, in memory, consistent with the trail, which it owns.
//!
//! ```text
//!  record: may it follow? ─► trail (on the disk) ─► here ─► waiting calls, subscribers, the next deadline
//! ```
//! It decides nothing and has no effects. Its content is built from the trail's events, again after each restart. The
//! broker records, the API reads and waits, the sweep takes the grants that are due.

mod answers;
mod book;
mod changes;
mod find;
mod open_grant;
mod record;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, broadcast, watch};

use self::book::Book;
pub use self::changes::{Change, Changed, Changes, Gap, Snapshot};
pub use self::find::{NoPlace, Place};
pub use self::open_grant::{Ending, Locked, OpenGrant};
use crate::grant::drain::Draining;
use crate::grant::request::{ClusterName, KeyHash, Person, PersonName};
use crate::grant::{Grant, GrantId, InvalidTransition, approval};
use crate::hint::Hint;
use crate::locks::Locks;
pub use crate::locks::NameLock;
pub use crate::trail::{Folded, Late, Told, TrailError};
use crate::trail::{Open, Opened, Trail};

/// Why nothing was recorded or found.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such grant, or the person may not see it.
    #[error("no grant `{0}` that you may see")]
    NoSuchGrant(String),
    /// More than one grant begins like this.
    #[error("more than one grant begins with `{text}`")]
    Ambiguous {
        /// The beginning of the id.
        text: String,
        /// Some of the grants.
        candidates: Vec<GrantId>,
    },
    /// The trail failed to store or read.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// The event may not follow: a bug of the daemon.
    #[error(transparent)]
    InvalidTransition(#[from] InvalidTransition),
}

impl Hint for LedgerError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Trail(error) => error.hint(),
            Self::Ambiguous { candidates, .. } => {
                let all: Vec<&str> = candidates.iter().map(GrantId::as_str).collect();
                Some(format!("write more of the id; these grants match: {}", all.join(", ")).into())
            }
            Self::NoSuchGrant(_) | Self::InvalidTransition(_) => None,
        }
    }
}

/// Who may see, and who may revoke, the grants of others.
#[derive(Clone, Debug)]
pub struct Overseers {
    /// Groups that may see every grant; the list includes the groups in `admins`.
    pub readers: Vec<String>,
    /// Groups that may also revoke every grant.
    pub admins: Vec<String>,
}

/// The grants that are not over or owe a review.
pub struct Ledger {
    trail: Trail,
    late: tokio::sync::Mutex<UnboundedReceiver<Late>>,
    clock: fn() -> Timestamp,
    overseers: RwLock<Arc<Overseers>>,
    /// The time of the newest entry, in milliseconds.
    latest: AtomicI64,
    book: RwLock<Book>,
    people: Locks<PersonName>,
    keys: Locks<KeyHash>,
    /// Certificates signed for people since the start.
    signed: AtomicU64,
    /// Uses of break-glass since the start.
    glass_broken: AtomicU64,
    /// Notified when a deadline may have become earlier.
    due: Notify,
    /// Whether the daemon is stopping, so that nobody should wait any more.
    stopping: watch::Sender<bool>,
    changes: broadcast::Sender<Change>,
    /// The number of the last event that was appended since the start; 0 before the first one.
    appended: watch::Sender<i64>,
}

impl Ledger {
    /// Builds the ledger from the open grants of the trail.
    #[must_use]
    pub fn new(opened: Opened, overseers: Overseers, clock: fn() -> Timestamp) -> Self {
        let ledger = Self {
            latest: AtomicI64::new(opened.latest.as_millisecond()),
            book: RwLock::new(Book::new(opened.drain)),
            trail: opened.trail,
            late: opened.late.into(),
            clock,
            overseers: RwLock::new(Arc::new(overseers)),
            people: Locks::default(),
            keys: Locks::default(),
            signed: AtomicU64::new(0),
            glass_broken: AtomicU64::new(0),
            due: Notify::new(),
            stopping: watch::Sender::new(false),
            changes: broadcast::Sender::new(changes::KEPT),
            appended: watch::Sender::new(0),
        };
        let now = ledger.now();
        let mut book = ledger.book_mut();
        for Open { grant, last } in opened.open {
            // A grant without a deadline was interrupted between two steps.
            let cut_off = (grant.phase.is_open() && grant.deadline.is_none()).then(|| grant.id.clone());
            book.insert(grant, last);
            if let Some(id) = cut_off {
                book.due_at(now, id);
            }
        }
        drop(book);
        ledger
    }

    /// Stops the trail when all appends are stored.
    pub fn close(&self) {
        self.trail.close();
    }

    /// Returns when the store answers; nothing is recorded.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn store_answers(&self) -> Result<(), LedgerError> {
        self.trail.round_trip().await?;
        Ok(())
    }

    /// Why the last facts could not be stored; none as soon as others are stored.
    #[must_use]
    pub fn store_fault(&self) -> Option<String> {
        self.trail.fault()
    }

    /// What the ledger holds, and the numbered changes that follow.
    #[must_use]
    pub fn subscribe(&self) -> (Snapshot, Changes) {
        let book = self.book();
        let changes = Changes(self.changes.subscribe());
        let grants = book.grants().collect();
        (Snapshot { number: book.number, grants, drain: book.drain.clone() }, changes)
    }

    /// The number of the last event that was appended since the start, as it grows. What was stored although its append was
    /// reported as failed is not counted until the next append.
    #[must_use]
    pub fn appended(&self) -> watch::Receiver<i64> {
        self.appended.subscribe()
    }

    /// The drain in force, if any.
    #[must_use]
    pub fn draining(&self) -> Option<Arc<Draining>> {
        self.book().drain.clone()
    }

    /// Who may see, and who may revoke, the grants of others.
    #[must_use]
    pub fn overseers(&self) -> Arc<Overseers> {
        Arc::clone(&self.overseers.read())
    }

    /// Replaces the overseers.
    pub fn use_overseers(&self, overseers: Overseers) {
        *self.overseers.write() = Arc::new(overseers);
    }

    /// How many certificates were signed for people since the start.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }

    /// How often break-glass was used since the start.
    #[must_use]
    pub fn glass_broken(&self) -> u64 {
        self.glass_broken.load(Ordering::Relaxed)
    }

    /// Waits until the grant's phase or number of answers differs from the given ones, `patience` has passed, or the daemon
    /// stops.
    pub async fn wait(&self, grant: Arc<Grant>, phase: &str, answers: u32, patience: Duration) -> Arc<Grant> {
        let Some(open_grant) = self.open_grant(&grant.id) else { return grant };
        let mut states = open_grant.state.subscribe();
        let changed = states.wait_for(|grant| grant.phase.as_str() != phase || grant.answers != answers);
        let mut stopping = self.stopping.subscribe();
        // On a time-out, and if the grant is dropped, the answer is the last state.
        tokio::select! {
            _ = tokio::time::timeout(patience, changed) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        open_grant.grant()
    }

    /// Waits until something that the person may see has changed after the change with the number `since`, `patience` has
    /// passed, or the daemon stops. Returns the number of the last change; at once if that is not `since`, because the caller
    /// has missed some then, or has the number of an earlier daemon.
    pub async fn change_after(&self, since: u64, person: &Person, patience: Duration) -> u64 {
        let (mut number, mut changes) = {
            let book = self.book();
            (book.number, Changes(self.changes.subscribe()))
        };
        if number != since {
            return number;
        }
        let overseers = self.overseers();
        let concerns = |changed: &Changed| match changed {
            Changed::Grant(grant) => approval::may_see(grant, person, &overseers.readers),
            Changed::Drain(_) => true,
        };
        let mut stopping = self.stopping.subscribe();
        let seen = async {
            loop {
                match changes.next().await {
                    Ok(change) => {
                        number = change.number;
                        if concerns(&change.what) {
                            break;
                        }
                    }
                    // Some of those that were missed may concern the person.
                    Err(Gap::Missed(_) | Gap::Closed) => {
                        number = self.last_change();
                        break;
                    }
                }
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(patience, seen) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        number
    }

    /// The number of the last change; the numbers start again when the daemon restarts.
    #[must_use]
    pub fn last_change(&self) -> u64 {
        self.book().number
    }

    /// Answers all calls that wait for a change.
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// The grants of a person that are open or owe a review.
    #[must_use]
    pub fn of(&self, person: &PersonName) -> Vec<Arc<Grant>> {
        self.book().of_person(person)
    }

    /// How many grants are in each open phase.
    #[must_use]
    pub fn count_by_phase(&self) -> BTreeMap<&'static str, usize> {
        let mut census: BTreeMap<&'static str, usize> =
            ["pending", "approved", "collecting", "live", "ending"].into_iter().map(|phase| (phase, 0)).collect();
        for grant in self.book().grants() {
            // A grant that only owes a review is over, so it is not counted.
            census.entry(grant.phase.as_str()).and_modify(|count| *count += 1);
        }
        census
    }

    /// How many reviews are owed, and how many of them are overdue.
    #[must_use]
    pub fn reviews(&self) -> (usize, usize) {
        let now = self.now();
        let book = self.book();
        let owing: Vec<Arc<Grant>> = book.grants().filter(|grant| grant.owes_review()).collect();
        let is_overdue = |grant: &&Arc<Grant>| grant.glass.as_ref().is_some_and(|glass| glass.is_overdue(now));
        (owing.len(), owing.iter().filter(is_overdue).count())
    }

    /// All grants that are not over and for which `is_meant` is true, oldest first.
    #[must_use]
    pub fn open(&self, is_meant: impl Fn(&Grant) -> bool) -> Vec<Arc<OpenGrant>> {
        let is_meant = |open_grant: &&Arc<OpenGrant>| {
            let grant = open_grant.grant();
            grant.phase.is_open() && is_meant(&grant)
        };
        let mut meant: Vec<Arc<OpenGrant>> = self.book().open.values().filter(is_meant).cloned().collect();
        meant.sort_by_key(|open_grant| open_grant.grant().requested_at);
        meant
    }

    /// The grants that can have a binding in this cluster.
    #[must_use]
    pub fn bound_in(&self, cluster: &ClusterName) -> Vec<Arc<Grant>> {
        let book = self.book();
        book.grants()
            .filter(|grant| grant.phase.is_open() && grant.bind_intended && grant.ask.cluster == *cluster)
            .collect()
    }

    /// Takes the grants whose deadline has passed, and returns the next deadline.
    #[must_use]
    pub fn take_due(&self) -> (Vec<GrantId>, Option<Timestamp>) {
        self.book_mut().take_due(self.now())
    }

    /// Waits until a deadline may have become earlier.
    pub async fn deadline_moved(&self) {
        self.due.notified().await;
    }

    /// The grant of this id, if it is open or owes a review.
    #[must_use]
    pub fn open_grant(&self, id: &GrantId) -> Option<Arc<OpenGrant>> {
        self.book().open.get(id).cloned()
    }

    /// The latest time in the trail.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        Timestamp::from_millisecond(self.latest.load(Ordering::Relaxed)).unwrap_or(Timestamp::MIN)
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        // The trail stores milliseconds, and decisions have to be based on the stored value.
        Timestamp::from_millisecond((self.clock)().as_millisecond()).unwrap_or(Timestamp::MAX)
    }

    fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read()
    }

    fn book_mut(&self) -> RwLockWriteGuard<'_, Book> {
        self.book.write()
    }
}

//! The ledger: the grants that are not over or owe a review, in memory, in step with the trail, which it owns.
//!
//! ```text
//!  record: may it follow? ─► trail (on the disk) ─► here ─► who waits, subscribers, the next deadline
//! ```
//! It decides nothing and does no effect. What is here is what the trail's events make; after a restart it
//! is made from them again. The broker records, the API looks and waits, the sweep takes what is due.

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
use tokio::sync::{Notify, broadcast, watch};

use self::book::Book;
pub use self::changes::{Change, Changed, Changes, Gap, Snapshot};
pub use self::find::{NoPlace, Place};
pub use self::open_grant::{Ending, Locked, OpenGrant};
use crate::grant::drain::Draining;
use crate::grant::request::{ClusterName, KeyHash, PersonName};
use crate::grant::{Grant, GrantId, InvalidTransition};
use crate::hint::Hint;
use crate::locks::Locks;
pub use crate::locks::NameLock;
use crate::trail::{Open, Opened, Trail, TrailError};

/// Why nothing was recorded or found.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such grant, or it is not the person's to see.
    #[error("no grant `{0}` that you may see")]
    NoSuchGrant(String),
    /// More than one grant begins like this.
    #[error("more than one grant begins with `{text}`")]
    Ambiguous {
        /// The beginning.
        text: String,
        /// Some of them.
        candidates: Vec<GrantId>,
    },
    /// The trail could not store or answer.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// The event may not follow: a fault of ours.
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

/// Who may look at, and who may end, what is not theirs.
#[derive(Clone, Debug)]
pub struct Overseers {
    /// Groups that may see every grant; the admins are among them.
    pub readers: Vec<String>,
    /// Groups that may also revoke every grant.
    pub admins: Vec<String>,
}

/// The grants that are not over or owe a review.
pub struct Ledger {
    trail: Trail,
    clock: fn() -> Timestamp,
    overseers: RwLock<Arc<Overseers>>,
    /// The time of the newest entry, in milliseconds.
    latest: AtomicI64,
    book: RwLock<Book>,
    people: Locks<PersonName>,
    keys: Locks<KeyHash>,
    /// Certificates signed for people since the start.
    signed: AtomicU64,
    /// Glass broken since the start.
    glass_broken: AtomicU64,
    /// Notified when a deadline may have come nearer.
    due: Notify,
    /// Whether the daemon is ending, so that nobody waits any more.
    stopping: watch::Sender<bool>,
    changes: broadcast::Sender<Change>,
}

impl Ledger {
    /// Takes up where the trail stands.
    #[must_use]
    pub fn new(opened: Opened, overseers: Overseers, clock: fn() -> Timestamp) -> Self {
        let ledger = Self {
            latest: AtomicI64::new(opened.latest.as_millisecond()),
            book: RwLock::new(Book::new(opened.drain)),
            trail: opened.trail,
            clock,
            overseers: RwLock::new(Arc::new(overseers)),
            people: Locks::default(),
            keys: Locks::default(),
            signed: AtomicU64::new(0),
            glass_broken: AtomicU64::new(0),
            due: Notify::new(),
            stopping: watch::Sender::new(false),
            changes: broadcast::Sender::new(changes::KEPT),
        };
        let now = ledger.now();
        let mut book = ledger.book_mut();
        for Open { grant, last } in opened.open {
            // Without a deadline it was cut off between two steps.
            let cut_off = (grant.phase.is_open() && grant.deadline.is_none()).then(|| grant.id.clone());
            book.insert(grant, last);
            if let Some(id) = cut_off {
                book.due_at(now, id);
            }
        }
        drop(book);
        ledger
    }

    /// Stops the trail after everything that was appended is stored.
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

    /// Why the last facts could not be stored; nothing as soon as others are.
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

    /// The drain in force, if any.
    #[must_use]
    pub fn draining(&self) -> Option<Arc<Draining>> {
        self.book().drain.clone()
    }

    /// Who may look at, and who may end, what is not theirs.
    #[must_use]
    pub fn overseers(&self) -> Arc<Overseers> {
        Arc::clone(&self.overseers.read())
    }

    /// From now on these do.
    pub fn use_overseers(&self, overseers: Overseers) {
        *self.overseers.write() = Arc::new(overseers);
    }

    /// How many certificates were signed for people since the start.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }

    /// How often glass was broken since the start.
    #[must_use]
    pub fn glass_broken(&self) -> u64 {
        self.glass_broken.load(Ordering::Relaxed)
    }

    /// Waits until the grant's phase or number of answers is another than given, `patience` is over or the
    /// daemon ends.
    pub async fn wait(&self, grant: Arc<Grant>, phase: &str, answers: u32, patience: Duration) -> Arc<Grant> {
        let Some(open_grant) = self.open_grant(&grant.id) else { return grant };
        let mut states = open_grant.state.subscribe();
        let changed = states.wait_for(|grant| grant.phase.as_str() != phase || grant.answers != answers);
        let mut stopping = self.stopping.subscribe();
        // On time-out, and when the grant is dropped, the last state is the answer.
        tokio::select! {
            _ = tokio::time::timeout(patience, changed) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        open_grant.grant()
    }

    /// Who waits for a change is answered now.
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// The grants of a person that are open or owe a review.
    #[must_use]
    pub fn of(&self, person: &PersonName) -> Vec<Arc<Grant>> {
        self.book().of_person(person)
    }

    /// How many grants stand in each open phase.
    #[must_use]
    pub fn count_by_phase(&self) -> BTreeMap<&'static str, usize> {
        let mut census: BTreeMap<&'static str, usize> =
            ["pending", "approved", "collecting", "live", "ending"].into_iter().map(|phase| (phase, 0)).collect();
        for grant in self.book().grants() {
            // One that only owes a review is over.
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

    /// Every grant that is not over and that `is_meant`, the oldest first.
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

    /// The grants that may have a binding in this cluster.
    #[must_use]
    pub fn bound_in(&self, cluster: &ClusterName) -> Vec<Arc<Grant>> {
        let book = self.book();
        book.grants()
            .filter(|grant| grant.phase.is_open() && grant.bind_intended && grant.ask.cluster == *cluster)
            .collect()
    }

    /// Takes the grants whose deadline has come, and says when the next one comes.
    #[must_use]
    pub fn take_due(&self) -> (Vec<GrantId>, Option<Timestamp>) {
        self.book_mut().take_due(self.now())
    }

    /// Returns when a deadline may have come nearer.
    pub async fn deadline_moved(&self) {
        self.due.notified().await;
    }

    /// The grant of this id, if it is open or owes a review.
    #[must_use]
    pub fn open_grant(&self, id: &GrantId) -> Option<Arc<OpenGrant>> {
        self.book().open.get(id).cloned()
    }

    /// The latest time that the trail knows.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        Timestamp::from_millisecond(self.latest.load(Ordering::Relaxed)).unwrap_or(Timestamp::MIN)
    }

    /// The moment it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        // The trail keeps milliseconds; what is decided is decided on what is kept.
        Timestamp::from_millisecond((self.clock)().as_millisecond()).unwrap_or(Timestamp::MAX)
    }

    fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read()
    }

    fn book_mut(&self) -> RwLockWriteGuard<'_, Book> {
        self.book.write()
    }
}

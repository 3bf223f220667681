//! One open grant: its current state for readers, and the lock for changing it.
//!
//! ```text
//!  OpenGrant ── grant() ─► the current state (many readers)
//!            └─ lock()  ─► Locked ─► Ledger::record   (one writer, from the check to the recorded outcome)
//! ```
//! Recording requires a [`Locked`], so nobody can decide on one state and record on another.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, watch};

use crate::grant::{Author, EndCause, Grant};

/// One open grant. A reader takes the current state, and can wait for the next one; a writer locks it first.
pub struct OpenGrant {
    writing: Mutex<Writing>,
    pub(super) state: watch::Sender<Arc<Grant>>,
}

/// The data that only the holder of the lock may use.
struct Writing {
    /// Number of the grant's last event in the trail, which the next one follows.
    last: i64,
    /// How often ending the grant failed in a row.
    failures: u32,
    /// An end that was performed as far as possible, but that the trail could not record yet.
    deferred_end: Option<Ending>,
}

/// A locked grant, which [`Ledger::record`](super::Ledger::record) requires. Dropping it unlocks the grant.
pub struct Locked<'a> {
    open: &'a OpenGrant,
    writing: MutexGuard<'a, Writing>,
}

/// An end of a grant, as the trail records it.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Why it ends.
    pub why: EndCause,
    /// Who ends it.
    pub by: Author,
    /// Their reason.
    pub reason: Option<String>,
}

impl Ending {
    /// An end that no person caused.
    #[must_use]
    pub fn by_daemon(why: EndCause) -> Self {
        Self { why, by: Author::Daemon, reason: None }
    }
}

impl OpenGrant {
    pub(super) fn new(grant: Grant, last: i64) -> Arc<Self> {
        let writing = Mutex::new(Writing { last, failures: 0, deferred_end: None });
        Arc::new(Self { writing, state: watch::Sender::new(Arc::new(grant)) })
    }

    /// The current state of the grant.
    #[must_use]
    pub fn grant(&self) -> Arc<Grant> {
        Arc::clone(&self.state.borrow())
    }

    /// Waits until nobody else changes the grant. Call it before [`Ledger::lock_person`](super::Ledger::lock_person), never
    /// after; otherwise two calls could wait for each other.
    pub async fn lock(&self) -> Locked<'_> {
        Locked { writing: self.writing.lock().await, open: self }
    }

    /// Locks the grant if nobody is changing it now.
    #[must_use]
    pub fn try_lock(&self) -> Option<Locked<'_>> {
        self.writing.try_lock().ok().map(|writing| Locked { writing, open: self })
    }
}

impl Locked<'_> {
    /// The current state of the grant; nobody else can change it.
    #[must_use]
    pub fn grant(&self) -> Arc<Grant> {
        self.open.grant()
    }

    /// Keeps an end for later whose intent the trail could not record.
    pub fn defer(&mut self, ending: Ending) {
        self.writing.deferred_end = Some(ending);
    }

    /// Takes the end that was kept for later.
    #[must_use]
    pub fn take_deferred(&mut self) -> Option<Ending> {
        self.writing.deferred_end.take()
    }

    /// Counts a failed end, and returns how many failed in a row before it.
    pub(super) fn count_failure(&mut self) -> u32 {
        let before = self.writing.failures;
        self.writing.failures = before.saturating_add(1);
        before
    }

    pub(super) fn last(&self) -> i64 {
        self.writing.last
    }

    /// Replaces the state of the grant; `last` is the number of its last event.
    pub(super) fn replace(&mut self, next: Arc<Grant>, last: i64) {
        self.writing.last = last;
        self.open.state.send_replace(next);
    }
}

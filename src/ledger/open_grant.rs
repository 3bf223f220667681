//! One open grant: its present state for readers, and the lock of whoever changes it.
//!
//! ```text
//!  OpenGrant ── grant() ─► the present state (many readers)
//!            └─ lock()  ─► Locked ─► Ledger::record   (one writer, from the check to the recorded outcome)
//! ```
//! Only a [`Locked`] can be recorded to, so nobody can decide on one state and record on another.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, watch};

use crate::grant::{Author, EndCause, Grant};

/// One open grant. Who reads takes the present state, and may wait for the next one; who changes it locks it first.
pub struct OpenGrant {
    writing: Mutex<Writing>,
    pub(super) state: watch::Sender<Arc<Grant>>,
}

/// What belongs to whoever holds the lock.
struct Writing {
    /// Number of the grant's last event in the trail: what the next one follows.
    last: i64,
    /// How often ending the grant failed in a row.
    failures: u32,
    /// An end that was carried out as far as possible, and that the trail does not know of yet.
    deferred_end: Option<Ending>,
}

/// A locked grant: the only thing that [`Ledger::record`](super::Ledger::record) takes. Unlocked when dropped.
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
    /// What they said.
    pub reason: Option<String>,
}

impl Ending {
    /// An end that nobody asked for.
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

    /// The grant as it is now.
    #[must_use]
    pub fn grant(&self) -> Arc<Grant> {
        Arc::clone(&self.state.borrow())
    }

    /// Waits until nobody else changes the grant. Take it before [`Ledger::lock_person`](super::Ledger::lock_person),
    /// never after, or two calls could wait for each other.
    pub async fn lock(&self) -> Locked<'_> {
        Locked { writing: self.writing.lock().await, open: self }
    }
}

impl Locked<'_> {
    /// The grant as it is now; nobody else can change it.
    #[must_use]
    pub fn grant(&self) -> Arc<Grant> {
        self.open.grant()
    }

    /// Leaves an end for later whose intent the trail could not take.
    pub fn defer(&mut self, ending: Ending) {
        self.writing.deferred_end = Some(ending);
    }

    /// Takes the end that was left for later.
    #[must_use]
    pub fn take_deferred(&mut self) -> Option<Ending> {
        self.writing.deferred_end.take()
    }

    /// Counts a failed end, and answers how many failed in a row before it.
    pub(super) fn count_failure(&mut self) -> u32 {
        let before = self.writing.failures;
        self.writing.failures = before.saturating_add(1);
        before
    }

    pub(super) fn last(&self) -> i64 {
        self.writing.last
    }

    /// What the grant is after the event of this number.
    pub(super) fn replace(&mut self, next: Arc<Grant>, last: i64) {
        self.writing.last = last;
        self.open.state.send_replace(next);
    }
}

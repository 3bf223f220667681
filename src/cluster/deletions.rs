//! Counts the deletions of bindings in progress, so that the proof of one deletion does not delay another.
//!
//! It must never delay a deletion itself. `binding` counts, and the broker waits before it asks for a proof.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::Cluster;

/// A count with a way to wait until it is zero. Waiters are woken in order, so that a simulation is reproducible;
/// tokio's `watch` wakes them in random order.
pub(super) struct Count {
    pub(super) number: AtomicUsize,
    none: Notify,
}

/// Counts as one until it is dropped.
pub(super) struct Counted<'a>(&'a Count);

impl Cluster {
    /// Waits, for at most `patience`, until every queued deletion of a binding has been sent. Proofs and deletions
    /// share one queue, and the API server answers a question faster than it deletes: when many grants end together,
    /// the proof of one must not delay the deletion of another. For deletions that were sent but not answered it waits
    /// only briefly.
    pub async fn deletions_first(&self, patience: Duration) {
        // A timeout is not an error: the proof follows either way.
        let _ = tokio::time::timeout(patience, self.0.waiting.none()).await;
        let _ = tokio::time::timeout(patience.min(self.0.transport.soon()), self.0.unanswered.none()).await;
    }
}

impl Count {
    pub(super) fn new() -> Self {
        Self { number: AtomicUsize::new(0), none: Notify::new() }
    }

    pub(super) fn one_more(&self) -> Counted<'_> {
        self.number.fetch_add(1, Ordering::SeqCst);
        Counted(self)
    }

    /// Returns when the count is zero.
    async fn none(&self) {
        loop {
            // Registered before the number is read; otherwise a change in between would be missed.
            let none = self.none.notified();
            if self.number.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.0.number.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

//! How many deletions of bindings are under way, so that a proof of one does not hold up another.
//!
//! It only counts: it must never delay a deletion. `binding` counts, and the broker waits before it asks for a proof.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::Cluster;

/// A number whose end can be waited for. Those who wait are woken in their order, so that a simulation is the same twice:
/// tokio's `watch` wakes them in a random one.
pub(super) struct Count {
    pub(super) number: AtomicUsize,
    none: Notify,
}

/// Counts as one until it is dropped.
pub(super) struct Counted<'a>(&'a Count);

impl Cluster {
    /// Waits, at most `patience`, until every queued deletion of a binding was sent. Proofs and deletions share one
    /// queue, and the API server answers a question faster than it deletes: when many grants end together, the proof of
    /// one must not delay the deletion of another. For deletions that were sent and have no answer yet it waits a moment
    /// only.
    pub async fn deletions_first(&self, patience: Duration) {
        // A wait that was too long is no error: the proof follows either way.
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

    /// Returns when there is none.
    async fn none(&self) {
        loop {
            // Before the look at the number, or its end could be missed in between.
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

//! How many deletions of bindings are under way, so that a proof of one does not hold up another.
//!
//! It only counts: it must never delay a deletion. `binding` counts, and the broker waits before it asks for a proof.

use std::time::Duration;

use tokio::sync::watch;

use super::Cluster;

/// A number that can be waited for.
pub(super) struct Count(pub(super) watch::Sender<usize>);

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
        Self(watch::Sender::new(0))
    }

    pub(super) fn one_more(&self) -> Counted<'_> {
        // Nobody waits for it to grow.
        self.0.send_if_modified(|count| {
            *count = count.saturating_add(1);
            false
        });
        Counted(self)
    }

    /// Returns when there is none.
    async fn none(&self) {
        // The sender is never gone.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.0.send_if_modified(|count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

//! How many deletions of bindings are under way, so that a proof of one does not hold up another.
//!
//! It only counts: it must never delay a deletion. `binding` counts, and the broker waits before it asks for a proof.

use std::time::Duration;

use tokio::sync::watch;

use super::Cluster;

/// How many there are of something.
pub(super) struct Count(pub(super) watch::Sender<usize>);

/// One that is counted.
pub(super) struct Counted<'a>(&'a Count);

impl Cluster {
    /// Waits until no deletion of a binding waits for its turn, or patience is over: when many end together, a proof
    /// that one is gone must not hold up the deletion of another, for all have the same turns, and the API server
    /// answers a question sooner than it deletes. One that was sent and gets no answer holds up the proofs of others
    /// for a moment only.
    pub async fn deletions_first(&self, patience: Duration) {
        // Afterwards the proof is asked for all the same.
        let _ = tokio::time::timeout(patience, self.0.waiting.none()).await;
        let _ = tokio::time::timeout(patience.min(self.0.transport.soon()), self.0.unanswered.none()).await;
    }
}

impl Count {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(super) fn one_more(&self) -> Counted<'_> {
        // Nobody waits for more of them.
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

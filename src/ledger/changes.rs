//! The changes of the ledger, numbered: a snapshot, and everything that follows it.
//!
//! ```text
//!  subscribe() ─► Snapshot { number: 7, … }   then   Change 8, 9, 10 …   a receiver that is too slow: Gap
//! ```
//! The numbers start again when the daemon restarts. A subscriber that receives a [`Gap`] subscribes again and gets a new
//! snapshot.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::grant::Grant;
use crate::grant::drain::Draining;

/// How many changes a subscriber may be behind.
pub(super) const KEPT: usize = 4096;

/// The content of the ledger, and the number of the last change in it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The number of the last change.
    pub number: u64,
    /// The grants that are open or owe a review, by id.
    pub grants: Vec<Arc<Grant>>,
    /// The drain in force, if any.
    pub drain: Option<Arc<Draining>>,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// One more than the number of the previous change.
    pub number: u64,
    /// What changed.
    pub what: Changed,
}

/// What changed.
#[derive(Clone, Debug)]
pub enum Changed {
    /// A grant was requested or has changed; this is its new state.
    Grant(Arc<Grant>),
    /// The drain has changed; this is the drain in force, if any.
    Drain(Option<Arc<Draining>>),
}

/// The changes after a snapshot, in order.
pub struct Changes(pub(super) broadcast::Receiver<Change>);

/// Changes were lost: the subscriber was more than `KEPT` changes behind, or the ledger is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// Subscribe again.
    #[error("{0} changes were missed")]
    Missed(u64),
    /// There will be no more changes.
    #[error("the ledger is closed")]
    Closed,
}

impl Changes {
    /// Skips all changes up to now, for a subscriber that reads the current state anyway.
    pub fn skip(&mut self) {
        self.0 = self.0.resubscribe();
    }

    /// Waits for the next change.
    ///
    /// # Errors
    /// [`Gap`].
    pub async fn next(&mut self) -> Result<Change, Gap> {
        self.0.recv().await.map_err(|error| match error {
            RecvError::Lagged(missed) => Gap::Missed(missed),
            RecvError::Closed => Gap::Closed,
        })
    }
}

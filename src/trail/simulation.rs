//! What the tests run the daemon's core on: a store without a thread of its own, that does not wait for the disk.
//!
//! ```text
//!  append ──► before (may fail it) ──► store: the commit of the daemon ──► after ──► who waits is told
//! ```
//! What is stored, refused and answered is decided by the code that the daemon runs; only where it runs differs. On a clock
//! that a test holds, two runs are the same. Whoever is dropped in `before` has stored nothing, and in `after` has stored it
//! and was told nothing: the two ends of a crash. No daemon makes one: what it stores does not outlast a power loss.

use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;

use super::TrailError;
use super::chain::Position;
use super::store::{Append, Store};

/// What a test does at a moment of each append.
pub(super) type Hook<T> = Box<dyn Fn() -> BoxFuture<'static, T> + Send + Sync>;

/// A store, and what is awaited around each of its commits.
pub(super) struct Simulation {
    /// None when it is closed.
    store: Mutex<Option<Store>>,
    before: Hook<Result<(), String>>,
    after: Hook<()>,
}

impl Simulation {
    pub(super) fn new(store: Store, before: Hook<Result<(), String>>, after: Hook<()>) -> Self {
        Self { store: Mutex::new(Some(store)), before, after }
    }

    /// Nothing when it is closed.
    pub(super) async fn append(&self, append: Append) -> Option<Result<Position, TrailError>> {
        let may = (self.before)().await;
        let outcome = {
            let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
            let store = store.as_mut()?;
            let mut outcomes = match may {
                Ok(()) => store.store(&[append]),
                Err(why) => store.fail(&[append], &why),
            };
            outcomes.pop()?
        };
        (self.after)().await;
        Some(outcome)
    }

    pub(super) fn close(&self) {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

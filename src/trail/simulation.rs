//! What the tests run the daemon's core on: a store without a thread of its own, that does not wait for the disk.
//!
//! ```text
//!  append ──► before (may fail it) ──► store: the commit of the daemon ──► after (may lie) ──► who waits is told
//! ```
//! What is stored, refused and answered is decided by the code that the daemon runs; only where it runs differs. On a clock
//! that a test holds, two runs are the same. Whoever is dropped in `before` has stored nothing, and in `after` has stored it
//! and was told nothing: the two ends of a crash. What fails in `after` is told as failed and stands all the same, as with a
//! disk that fails in the midst of a sync. No daemon makes one: what it stores does not outlast a power loss.

use futures::future::BoxFuture;
use parking_lot::Mutex;

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
    after: Hook<Result<(), String>>,
}

impl Simulation {
    pub(super) fn new(store: Store, before: Hook<Result<(), String>>, after: Hook<Result<(), String>>) -> Self {
        Self { store: Mutex::new(Some(store)), before, after }
    }

    /// Nothing when it is closed.
    pub(super) async fn append(&self, append: Append) -> Option<Result<Position, TrailError>> {
        let batch = [append];
        let outcome = self.store_unless((self.before)().await, &batch)?;
        match (self.after)().await {
            Err(why) if outcome.is_ok() => self.with_store(|store| store.fail(&batch, &why)),
            _ => Some(outcome),
        }
    }

    fn store_unless(&self, fails: Result<(), String>, batch: &[Append]) -> Option<Result<Position, TrailError>> {
        self.with_store(|store| match fails {
            Ok(()) => store.store(batch),
            Err(why) => store.fail(batch, &why),
        })
    }

    fn with_store<T>(&self, work: impl FnOnce(&mut Store) -> Vec<T>) -> Option<T> {
        work(self.store.lock().as_mut()?).pop()
    }

    pub(super) fn close(&self) {
        if let Some(store) = self.store.lock().take() {
            store.close();
        }
    }
}

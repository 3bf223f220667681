//! The store for tests of the daemon's core: it has no separate thread and does not wait for the disk.
//!
//! ```text
//!  append ──► before (can make it fail) ──► store: the daemon's own commit ──► after (can lie) ──► answer
//! ```
//! The daemon's own code decides what is stored, refused and answered; only the thread differs. With a clock that the test
//! controls, two runs are identical. A call that is dropped in `before` has stored nothing; one that is dropped in `after`
//! is stored but was never answered: these are the two outcomes of a crash. A failure in `after` is reported although the
//! append is stored, as by a disk that fails during a sync. The daemon never uses it, because its commits do not survive a
//! power failure.

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::TrailError;
use super::chain::Position;
use super::store::{Append, Store};

/// A hook that a test runs during each append.
pub(super) type Hook<T> = Box<dyn Fn() -> BoxFuture<'static, T> + Send + Sync>;

/// A store, and the hooks around each commit.
pub(super) struct Simulation {
    /// None after it was closed.
    store: Mutex<Option<Store>>,
    before: Hook<Result<(), String>>,
    after: Hook<Result<(), String>>,
}

impl Simulation {
    pub(super) fn new(store: Store, before: Hook<Result<(), String>>, after: Hook<Result<(), String>>) -> Self {
        Self { store: Mutex::new(Some(store)), before, after }
    }

    /// None if it is closed.
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

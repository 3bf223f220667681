//! Locks by name, for example one per person or per key. A lock exists only while somebody holds it or waits for it.
//! `ledger` and `dependency` use them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// Locks by name.
pub struct Locks<K>(Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>);

/// A lock, held until this is dropped.
#[must_use]
pub struct NameLock {
    _guard: OwnedMutexGuard<()>,
}

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> Locks<K> {
    /// Acquires the lock of this name, waiting while somebody else holds it.
    pub async fn lock(&self, name: &K) -> NameLock {
        let lock = {
            let mut locks = self.0.lock();
            // Only locks in use remain, so there are never more of them than calls in progress.
            locks.retain(|_, lock| lock.strong_count() > 0);
            locks.get(name).and_then(Weak::upgrade).unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(name.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        NameLock { _guard: lock.lock_owned().await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn different_names_have_different_locks() {
        let locks = Locks::default();
        let alice = locks.lock(&"alice").await;
        let bob = locks.lock(&"bob").await;
        let mut again = Box::pin(locks.lock(&"alice"));
        assert!(futures::poll!(&mut again).is_pending(), "alice's lock is held");
        drop(alice);
        assert!(futures::poll!(&mut again).is_ready(), "the lock is free again");
        drop(bob);
    }

    #[tokio::test]
    async fn an_unused_lock_is_removed() {
        let locks = Locks::default();
        drop(locks.lock(&"alice").await);
        drop(locks.lock(&"bob").await);
        assert_eq!(locks.0.lock().len(), 1, "the last one remains until the next call of `lock`");
    }
}

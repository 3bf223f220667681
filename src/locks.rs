//! Locks by name: one for each person, one for each key. A lock exists while somebody holds it or waits for it. `ledger`
//! and `dependency` hold them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Locks by name.
pub struct Locks<K>(Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>);

/// A lock that is held until it is dropped.
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
    /// Waits until nobody else holds the lock of this name.
    pub async fn lock(&self, name: &K) -> NameLock {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Only those that are in use remain, so there are never more of them than calls under way.
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
    async fn one_name_has_one_lock_and_another_name_another() {
        let locks = Locks::default();
        let alice = locks.lock(&"alice").await;
        let bob = locks.lock(&"bob").await;
        let mut again = Box::pin(locks.lock(&"alice"));
        assert!(futures::poll!(&mut again).is_pending(), "alice's is held");
        drop(alice);
        assert!(futures::poll!(&mut again).is_ready(), "it is free again");
        drop(bob);
    }

    #[tokio::test]
    async fn a_lock_that_nobody_uses_is_forgotten() {
        let locks = Locks::default();
        drop(locks.lock(&"alice").await);
        drop(locks.lock(&"bob").await);
        assert_eq!(locks.0.lock().unwrap().len(), 1, "only the last one, until the next is taken");
    }
}

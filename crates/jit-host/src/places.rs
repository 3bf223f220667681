//! How many of something there may be at a time, such as connections: in total, and for each who has some.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Some places, for whoever `K` tells apart.
pub struct Places<K> {
    most: usize,
    each: usize,
    taken: Mutex<Taken<K>>,
}

struct Taken<K> {
    all: usize,
    of: HashMap<K, usize>,
}

/// One of them, which is free again when this is dropped.
pub struct Place<K: Eq + Hash> {
    whose: K,
    places: Arc<Places<K>>,
}

impl<K: Clone + Eq + Hash> Places<K> {
    /// So many places, in total and for each.
    #[must_use]
    pub fn new(most: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { most, each, taken: Mutex::new(Taken { all: 0, of: HashMap::new() }) })
    }

    /// A place, if one is free.
    #[must_use]
    pub fn take(self: &Arc<Self>, whose: K) -> Option<Place<K>> {
        let mut taken = self.taken.lock();
        let own = taken.of.get(&whose).copied().unwrap_or(0);
        if taken.all >= self.most || own >= self.each {
            return None;
        }
        taken.all += 1;
        taken.of.insert(whose.clone(), own + 1);
        drop(taken);
        Some(Place { whose, places: Arc::clone(self) })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        match taken.of.get_mut(&self.whose) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = taken.of.remove(&self.whose),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_in_total_and_for_each() {
        let places = Places::new(3, 2);
        let (one, _two) = (places.take("alice").unwrap(), places.take("alice").unwrap());
        assert!(places.take("alice").is_none(), "she has two");
        let _three = places.take("bob").unwrap();
        assert!(places.take("carol").is_none(), "all are taken");
        drop(one);
        assert!(places.take("carol").is_some(), "a place is free again");
        assert!(places.take("alice").is_some(), "carol's is free again");
        assert_eq!(places.taken.lock().of.len(), 2, "nothing is kept of whoever has none");
    }
}

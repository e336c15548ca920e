//! A weighted LRU of values that are costly to compute and never change; concurrent callers share
//! one computation.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use lru::LruCache;

use crate::error::Result;

/// Values by key; the least recently used is evicted first.
#[derive(Debug)]
pub struct Kept<K: Hash + Eq, V> {
    slots: Mutex<Slots<K, V>>,
    /// The most the values may weigh together. One that is heavier alone is kept until the next.
    most: usize,
}

#[derive(Debug)]
struct Slots<K: Hash + Eq, V> {
    /// Each slot with its weight, which is 0 while its value is being computed.
    by_key: LruCache<K, (Arc<Slot<V>>, usize)>,
    weight: usize,
}

/// Locked while the value is being computed, so that others wait for it instead of computing it
/// too.
type Slot<V> = Mutex<Option<Arc<V>>>;

impl<K: Hash + Eq + Clone, V> Kept<K, V> {
    /// A cache of at most `most` bytes, or whatever unit the weights have.
    pub fn new(most: usize) -> Self {
        Self { slots: Mutex::new(Slots { by_key: LruCache::unbounded(), weight: 0 }), most }
    }

    /// The value if it is there; does not wait for one that is being computed.
    pub fn ready(&self, key: &K) -> Option<Arc<V>> {
        let slot = self.lock().by_key.get(key)?.0.clone();
        look(&slot)
    }

    /// The value, computed by `find` if it is not there and weighed by `weigh`. Blocks.
    ///
    /// # Errors
    /// The error of `find`, for its caller only; the next caller tries again.
    pub fn get(
        &self,
        key: &K,
        weigh: impl FnOnce(&V) -> usize,
        find: impl FnOnce() -> Result<V>,
    ) -> Result<Arc<V>> {
        let slot = self.lock().by_key.get_or_insert(key.clone(), Default::default).0.clone();
        let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &*held {
            return Ok(value.clone());
        }
        let value = match find() {
            Ok(value) => Arc::new(value),
            Err(error) => {
                drop(held);
                self.forget(key, &slot);
                return Err(error);
            }
        };
        *held = Some(value.clone());
        drop(held);
        self.make_room(key, &slot, weigh(&value));
        Ok(value)
    }

    /// Removes a value; one that is being computed is not kept when it is done.
    pub fn remove(&self, key: &K) {
        let mut slots = self.lock();
        if let Some((_, counted)) = slots.by_key.pop(key) {
            slots.weight -= counted;
        }
    }

    /// Removes a value if it is still this one, so that of several callers who find it too old one alone makes it anew.
    pub fn remove_same(&self, key: &K, value: &Arc<V>) {
        let mut slots = self.lock();
        let held = slots.by_key.peek(key).and_then(|(slot, _)| look(slot));
        let is_same = held.is_some_and(|held| Arc::ptr_eq(&held, value));
        if is_same && let Some((_, counted)) = slots.by_key.pop(key) {
            slots.weight -= counted;
        }
    }

    /// Counts a new value, and evicts old ones.
    fn make_room(&self, key: &K, slot: &Arc<Slot<V>>, weight: usize) {
        let mut slots = self.lock();
        match slots.by_key.get_mut(key) {
            Some((there, counted)) if Arc::ptr_eq(there, slot) => *counted = weight,
            // Removed meanwhile: it cannot be looked up, so it does not count.
            _ => return,
        }
        slots.weight += weight;
        while slots.weight > self.most && slots.by_key.len() > 1 {
            let Some((_, (_, counted))) = slots.by_key.pop_lru() else { break };
            slots.weight -= counted;
        }
    }

    /// Removes the slot of a value that could not be computed, unless it was replaced meanwhile.
    fn forget(&self, key: &K, slot: &Arc<Slot<V>>) {
        let mut slots = self.lock();
        if let Some((there, 0)) = slots.by_key.peek(key)
            && Arc::ptr_eq(there, slot)
        {
            slots.by_key.pop(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots<K, V>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of a slot; `None` while it is being computed.
fn look<V>(slot: &Slot<V>) -> Option<Arc<V>> {
    match slot.try_lock() {
        Ok(held) => held.clone(),
        // Computing it panicked once, and succeeded later.
        Err(TryLockError::Poisoned(held)) => held.into_inner().clone(),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn get(kept: &Kept<u32, usize>, key: u32, value: usize) -> usize {
        *kept.get(&key, |value| *value, || Ok(value)).expect("found")
    }

    #[test]
    fn the_least_used_go_when_it_is_full() {
        let kept = Kept::new(10);
        for key in 0..3 {
            assert_eq!(get(&kept, key, 3), 3);
        }
        assert_eq!(get(&kept, 0, 9), 3, "kept");
        get(&kept, 7, 4);
        assert!(kept.ready(&1).is_none(), "the least used");
        assert!([0, 2, 7].iter().all(|key| kept.ready(key).is_some()));
        get(&kept, 8, 100);
        assert!(kept.ready(&8).is_some(), "too heavy, and alone");
        assert!(kept.ready(&7).is_none());
        get(&kept, 9, 1);
        assert!(kept.ready(&8).is_none());
        assert_eq!(kept.lock().weight, 1);
    }

    #[test]
    fn a_failure_is_tried_again() {
        let kept = Kept::<u32, usize>::new(10);
        let failed = kept.get(&1, |_| 1, || Err(Error::new(Kind::Busy, "locked")));
        assert!(failed.is_err());
        assert!(kept.ready(&1).is_none());
        assert_eq!(get(&kept, 1, 5), 5);
    }

    #[test]
    fn a_value_that_was_replaced_is_not_removed() {
        let kept = Kept::new(10);
        let old = kept.get(&1, |_| 1, || Ok(5)).expect("found");
        kept.remove_same(&1, &old);
        assert!(kept.ready(&1).is_none() && kept.lock().weight == 0);
        assert_eq!(get(&kept, 1, 6), 6);
        kept.remove_same(&1, &old);
        kept.remove_same(&2, &old);
        assert_eq!(kept.ready(&1).as_deref(), Some(&6));
    }

    #[test]
    fn many_who_ask_find_it_once() {
        let (kept, found) = (Kept::new(10), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let find = || Ok(found.fetch_add(1, Ordering::SeqCst));
                    kept.get(&1, |_| 1, find).expect("found")
                });
            }
        });
        assert_eq!(found.into_inner(), 1);
    }
}

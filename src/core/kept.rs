//! What takes long to find and is the same for ever: found once however many ask, and kept while there
//! is room.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::error::Result;

/// Values by key, the least recently used out first.
#[derive(Debug)]
pub struct Kept<K: Hash + Eq, V> {
    slots: Mutex<Slots<K, V>>,
    /// How much the values may weigh together. One that is heavier alone is kept until the next.
    most: usize,
}

#[derive(Debug)]
struct Slots<K: Hash + Eq, V> {
    /// With what each weighs: nothing, as long as its value is being found.
    by_key: LruCache<K, (Arc<Slot<V>>, usize)>,
    weight: usize,
}

/// Held while the value is being found, so that others wait for it rather than find it too.
type Slot<V> = Mutex<Option<Arc<V>>>;

impl<K: Hash + Eq + Clone, V> Kept<K, V> {
    /// Keeps values of together `most` bytes, or of whatever their weights count.
    pub fn new(most: usize) -> Self {
        Self { slots: Mutex::new(Slots { by_key: LruCache::unbounded(), weight: 0 }), most }
    }

    /// The value, if it is there: never waits for one that is being found.
    pub fn ready(&self, key: &K) -> Option<Arc<V>> {
        let slot = self.lock().by_key.get(key)?.0.clone();
        let value = slot.try_lock().ok()?;
        value.clone()
    }

    /// The value, found by `find` where it is not there; `weigh` tells how heavy it is. Blocks.
    ///
    /// # Errors
    /// What `find` says, to its caller; the next one tries again.
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

    /// Drops a value; one that is being found is not kept when it is there.
    pub fn remove(&self, key: &K) {
        let mut slots = self.lock();
        if let Some((_, counted)) = slots.by_key.pop(key) {
            slots.weight -= counted;
        }
    }

    /// Counts a new value, and drops old ones.
    fn make_room(&self, key: &K, slot: &Arc<Slot<V>>, weight: usize) {
        let mut slots = self.lock();
        match slots.by_key.get_mut(key) {
            Some((there, counted)) if Arc::ptr_eq(there, slot) => *counted = weight,
            // Gone meanwhile: nobody will find it, so it does not count.
            _ => return,
        }
        slots.weight += weight;
        while slots.weight > self.most && slots.by_key.len() > 1 {
            let Some((_, (_, counted))) = slots.by_key.pop_lru() else { break };
            slots.weight -= counted;
        }
    }

    /// Drops the place of a value that could not be found, unless another has it by now.
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

//! Row files that were opened lately, to be opened again from memory.
//!
//! Nothing here outlives what it is about: numbers are never given twice, a version's rows never change, and
//! what could be another object at the next look ([`Reader::known`]) is not kept.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::store::{Known, Reader};

/// Descriptors that one of them holds: its data, and its map.
const DESCRIPTORS: u64 = 2;

/// However many descriptors a process may have.
const MOST: u64 = 1 << 16;

/// What was opened lately, by inode number.
#[derive(Debug)]
pub struct Files(Mutex<LruCache<u64, Known>>);

impl Files {
    /// Holds at most half of the `descriptors` that this process may have.
    pub fn new(descriptors: u64) -> Self {
        let most = usize::try_from((descriptors / 2 / DESCRIPTORS).clamp(1, MOST)).unwrap_or(1);
        let most = NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::new(most)))
    }

    /// Keeps what was opened, if it may be.
    pub fn keep(&self, number: u64, reader: &Reader) {
        if let Some(known) = reader.known() {
            self.lock().put(number, known);
        }
    }

    /// What was kept of a file.
    pub fn known(&self, number: u64) -> Option<Known> {
        self.lock().get(&number).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<u64, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

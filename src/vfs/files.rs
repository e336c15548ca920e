//! Recently opened files of rows, for reopening them from memory, and prefetched ones.
//!
//! Entries never become invalid: numbers are never reused, a version's rows never change, and objects that
//! could be different at the next open ([`Reader::known`]) are not kept.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::sync::watch;

use dcfs_store::{Known, Reader};

/// Limit of recently opened files: some hundred bytes each.
const KNOWN: NonZeroUsize = NonZeroUsize::new(1 << 17).expect("not zero");

/// Limit of prefetched files: more than are prefetched for two readers.
const READY: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Recently opened and prefetched files, by inode number.
#[derive(Clone, Debug)]
pub struct Files(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    known: LruCache<u64, Known>,
    ready: LruCache<u64, Reader>,
    coming: HashMap<u64, watch::Receiver<()>>,
}

/// A file that is being fetched: until this is dropped, opens of it wait.
pub struct Coming {
    number: u64,
    files: Files,
    _over: watch::Sender<()>,
}

impl Default for Files {
    fn default() -> Self {
        let (known, ready) = (LruCache::new(KNOWN), LruCache::new(READY));
        Self(Arc::new(Mutex::new(Table { known, ready, coming: HashMap::new() })))
    }
}

impl Files {
    /// Keeps an opened file, if allowed.
    pub fn keep(&self, number: u64, reader: &Reader) {
        if let Some(known) = reader.known() {
            self.lock().known.put(number, known);
        }
    }

    /// A kept file.
    pub fn known(&self, number: u64) -> Option<Known> {
        self.lock().known.get(&number).cloned()
    }

    /// Takes a prefetched file.
    pub fn take_ready(&self, number: u64) -> Option<Reader> {
        self.lock().ready.pop(&number)
    }

    /// Whether a file is present or being fetched.
    pub fn has(&self, number: u64) -> bool {
        self.lock().has(number)
    }

    /// Begins to fetch a file, unless it is present or being fetched.
    pub fn begin(&self, number: u64) -> Option<Coming> {
        let (over, coming) = watch::channel(());
        let mut table = self.lock();
        if table.has(number) {
            return None;
        }
        table.coming.insert(number, coming);
        Some(Coming { number, files: self.clone(), _over: over })
    }

    /// Waits for a file that is being fetched; `None` if that failed.
    pub async fn arrival(&self, number: u64) -> Option<Reader> {
        let coming = self.lock().coming.get(&number).cloned();
        if let Some(mut coming) = coming {
            while coming.changed().await.is_ok() {}
        }
        self.take_ready(number)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn has(&self, number: u64) -> bool {
        let is_known = self.known.peek(&number).is_some_and(Known::is_here);
        is_known || self.ready.contains(&number) || self.coming.contains_key(&number)
    }
}

impl Coming {
    /// The inode.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Marks it as fetched.
    pub fn ready(self, reader: Reader) {
        self.files.lock().ready.put(self.number, reader);
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.files.lock().coming.remove(&self.number);
    }
}

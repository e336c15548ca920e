//! Row files that were opened lately, to be opened again from memory, and those that were fetched before anyone
//! asked.
//!
//! Nothing here outlives what it is about: numbers are never given twice, a version's rows never change, and
//! what could be another object at the next look ([`Reader::known`]) is not kept.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::sync::watch;

use dcfs_store::{Known, Reader};

/// Files that were opened lately, at most: some hundred bytes each.
const KNOWN: NonZeroUsize = NonZeroUsize::new(1 << 17).expect("not zero");

/// Files that wait for who opens them, at most: more than are fetched ahead of two readers.
const READY: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// What was opened lately or is about to be, by inode number.
#[derive(Clone, Debug)]
pub struct Files(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    known: LruCache<u64, Known>,
    ready: LruCache<u64, Reader>,
    coming: HashMap<u64, watch::Receiver<()>>,
}

/// A file that is being fetched: until dropped, who opens it waits.
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
    /// Keeps what was opened, if it may be.
    pub fn keep(&self, number: u64, reader: &Reader) {
        if let Some(known) = reader.known() {
            self.lock().known.put(number, known);
        }
    }

    /// What was kept of a file.
    pub fn known(&self, number: u64) -> Option<Known> {
        self.lock().known.get(&number).cloned()
    }

    /// A file that was fetched before anyone asked.
    pub fn take_ready(&self, number: u64) -> Option<Reader> {
        self.lock().ready.pop(&number)
    }

    /// Whether a file is here or coming.
    pub fn has(&self, number: u64) -> bool {
        self.lock().has(number)
    }

    /// Begins to fetch a file, unless it is here or coming.
    pub fn begin(&self, number: u64) -> Option<Coming> {
        let (over, coming) = watch::channel(());
        let mut table = self.lock();
        if table.has(number) {
            return None;
        }
        table.coming.insert(number, coming);
        Some(Coming { number, files: self.clone(), _over: over })
    }

    /// Waits for a file that is being fetched; it, if it came.
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

    /// It is here.
    pub fn ready(self, reader: Reader) {
        self.files.lock().ready.put(self.number, reader);
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.files.lock().coming.remove(&self.number);
    }
}

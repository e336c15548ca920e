//! The objects whose files are open: one [`Entry`] each, and the most recent ones kept for reuse.
//!
//! An open file takes disk space even after its removal, by this mount or by another: such entries are closed
//! as soon as space is needed, and every [`TICK`].

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::Duration;

use lru::LruCache;

use super::Key;
use super::held::{Entry, Form};
use super::linger::Linger;

/// How often to check for removed files.
const TICK: Duration = Duration::from_secs(30);

/// The open entries of one cache directory.
#[derive(Debug)]
pub struct Opened {
    table: Mutex<Table>,
    ticking: Once,
    linger: Arc<Linger>,
    /// Held while a background thread holds entries, and taken before `table`.
    letting_go: Mutex<()>,
}

#[derive(Debug)]
struct Table {
    all: HashMap<Key, Weak<Entry>>,
    latest: LruCache<Key, Arc<Entry>>,
}

impl Opened {
    /// Keeps at most `most` unused entries.
    pub fn new(most: usize) -> Self {
        let latest = LruCache::new(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN));
        let table = Mutex::new(Table { all: HashMap::new(), latest });
        let (linger, letting_go) = Default::default();
        Self { table, ticking: Once::new(), linger, letting_go }
    }

    /// A new entry, not shared yet.
    pub fn entry(&self, size: u64, form: Form) -> Entry {
        Entry::new(size, form, &self.linger)
    }

    /// The entry of an object, if its files are open.
    pub fn get(&self, key: Key) -> Option<Arc<Entry>> {
        let mut table = self.lock();
        let entry = table.all.get(&key).and_then(Weak::upgrade)?;
        table.latest.put(key, Arc::clone(&entry));
        Some(entry)
    }

    /// Adds an entry, unless another thread was first: returns that one then.
    pub fn add(self: &Arc<Self>, key: Key, entry: Entry) -> Arc<Entry> {
        self.ticking.call_once(|| self.tick());
        let mut table = self.lock();
        let entry = match table.all.get(&key).and_then(Weak::upgrade) {
            Some(first) => first,
            None => Arc::new(entry),
        };
        // Dropped entries are cleaned up now and then.
        if table.all.len().is_power_of_two() {
            table.all.retain(|_, entry| entry.strong_count() > 0);
        }
        table.all.insert(key, Arc::downgrade(&entry));
        table.latest.put(key, Arc::clone(&entry));
        entry
    }

    /// Forgets an entry whose files were removed.
    pub fn forget(&self, key: Key, entry: &Arc<Entry>) {
        let mut table = self.lock();
        if table.all.get(&key).is_some_and(|known| known.as_ptr() == Arc::as_ptr(entry)) {
            table.all.remove(&key);
            table.latest.pop(&key);
        }
    }

    /// Releases unused locks, and closes removed files.
    pub fn let_go(&self) {
        let _turn = self.turn();
        self.linger.let_go();
        let latest: Vec<_> =
            self.lock().latest.iter().map(|(key, one)| (*key, one.clone())).collect();
        for (key, entry) in latest {
            if entry.is_gone() {
                self.forget(key, &entry);
            }
        }
    }

    /// Closes the files of everything that nobody uses, whatever a background thread is doing: afterwards no lock is left
    /// behind.
    pub fn close(&self) {
        let _turn = self.turn();
        self.linger.let_go();
        let mut table = self.lock();
        table.all.clear();
        let closed: Vec<_> = std::iter::from_fn(|| table.latest.pop_lru()).collect();
        drop((table, closed));
    }

    fn tick(self: &Arc<Self>) {
        let opened = Arc::downgrade(self);
        let work = move || {
            while let Some(opened) = opened.upgrade() {
                opened.let_go();
                drop(opened);
                std::thread::sleep(TICK);
            }
        };
        // Without the thread, files are closed when space is needed.
        let _ = std::thread::Builder::new().name("dcfs-opened".into()).spawn(work);
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.letting_go.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

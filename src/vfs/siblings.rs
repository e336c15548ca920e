//! Prefetching: the files that come next in the order in which somebody opens them, or all files of an order
//! that somebody began to read.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Vfs;
use super::files::Coming;
use super::inode::{Inode, Slot};
use super::order::{Order, Readers, Told};
use super::place::Place;
use dcfs_core::error::Result;
use dcfs_core::id::EntryId;
use dcfs_store::{Reader, is_fetchable};

/// Number of files fetched concurrently: the most that a store gives to one client at a latency of 20 ms (a
/// client with 32 in flight reads 1,127 files/s there, with 8 it reads 360).
const AT_A_TIME: usize = 48;

/// Number of rows read from the catalog, and looked up in the cache, at a time.
const ROWS: usize = 32;

/// Limit of concurrent lookups: a disk that is stuck must not take every blocking thread.
const LOOKERS: usize = 8;

/// Limit of a ranking whose order is remembered.
const LONGEST: usize = 1 << 16;

/// The files to prefetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefetch {
    /// None.
    Off,
    /// The next ones, after three opens in the order of a listing.
    #[default]
    Siblings,
    /// All of a version or a query directory, once one of its files is opened.
    All,
}

impl Prefetch {
    /// Every choice, in the order of the help text.
    pub const ALL: [Self; 3] = [Self::Off, Self::Siblings, Self::All];

    /// The word that a user types.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Siblings => "siblings",
            Self::All => "all",
        }
    }

    /// The choice of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }

    /// One line of help.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Off => "None",
            Self::Siblings => "Those that come next, after three opens in the order of a listing",
            Self::All => "All of a version or a query directory, once a file of it is opened",
        }
    }
}

/// The readers and their orders.
#[derive(Debug)]
pub struct Siblings {
    prefetch: Prefetch,
    versions: Mutex<HashMap<Slot, Version>>,
    rights: Arc<Semaphore>,
    lookers: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Version {
    readers: Readers,
    /// Orders that are fetched as a whole: their first entries and lengths.
    begun: HashSet<(EntryId, u64)>,
}

impl Siblings {
    pub fn new(prefetch: Prefetch) -> Self {
        let rights = Arc::new(Semaphore::new(AT_A_TIME));
        let lookers = Arc::new(Semaphore::new(LOOKERS));
        Self { prefetch, versions: Mutex::default(), rights, lookers }
    }

    fn versions(&self) -> MutexGuard<'_, HashMap<Slot, Version>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vfs {
    /// Records that a directory was opened for listing: files may be opened in its order.
    pub(super) fn listed(&self, place: &Place, column: u16) {
        let is_known = place.shown.is_some() && place.pack.is_here();
        if self.siblings.prefetch == Prefetch::Off || !is_known {
            return;
        }
        let (base, key) = (place.view.base, Inode::Column(place.slot, column).number());
        let is_known = |versions: &HashMap<Slot, Version>| {
            versions.get(&base).is_some_and(|version| version.readers.knows(key))
        };
        // Not under the lock, because it takes a while for a long list.
        let order = if is_known(&self.siblings.versions()) { None } else { order(place, column) };
        let mut versions = self.siblings.versions();
        versions.entry(base).or_default().readers.listed(key, || order);
    }

    /// Records that a list with an order was opened: files may be opened in it. Blocking.
    pub(super) fn told(
        &self,
        place: &Place,
        key: u64,
        entries: impl FnOnce() -> Result<Vec<EntryId>>,
    ) -> Result<()> {
        let base = place.view.base;
        let knows = |version: &Version| version.readers.knows(key);
        if self.siblings.prefetch == Prefetch::Off
            || self.siblings.versions().get(&base).is_some_and(knows)
        {
            return Ok(());
        }
        // Not under the lock, because it takes a while for a long list.
        let order = Order::Told(Arc::new(Told::new(entries()?)));
        let mut versions = self.siblings.versions();
        versions.entry(base).or_default().readers.listed(key, || Some(order));
        Ok(())
    }

    /// Records that a file was opened. Called within the runtime.
    pub(super) fn followed(self: &Arc<Self>, place: &Place, entry: EntryId) {
        let Ok(column) = place.pack.column_of(entry) else { return };
        let column = place.pack.columns().get(usize::from(column));
        let whole = column.map(|column| Order::All(column.entries.clone()));
        let wanted = {
            let mut versions = self.siblings.versions();
            let version = versions.entry(place.slot).or_default();
            match self.siblings.prefetch {
                Prefetch::Off => None,
                Prefetch::Siblings => version
                    .readers
                    .opened(entry, || whole)
                    .map(|(order, places)| places.filter_map(|place| order.entry(place)).collect()),
                Prefetch::All => version.all(entry, whole),
            }
        };
        if let Some(entries) = wanted {
            tokio::spawn(self.clone().fetch_ahead(place.clone(), entries));
        }
    }

    /// Prefetches files that somebody is about to open, in order. Called within the runtime.
    pub(super) fn ahead(self: &Arc<Self>, place: &Place, entries: Vec<EntryId>) {
        if self.siblings.prefetch != Prefetch::Off && !entries.is_empty() {
            let place = Place { slot: place.view.base, shown: None, ..place.clone() };
            tokio::spawn(self.clone().fetch_ahead(place, entries));
        }
    }

    async fn fetch_ahead(self: Arc<Self>, place: Place, mut entries: Vec<EntryId>) {
        let number = move |entry| Inode::File(place.slot, entry).number();
        entries.retain(|entry| !self.files.has(number(*entry)));
        for entries in entries.chunks(ROWS) {
            let Ok(looker) = self.siblings.lookers.clone().acquire_owned().await else { return };
            let (vfs, place, entries) = (self.clone(), place.clone(), entries.to_vec());
            let open = move || {
                let opened = vfs.open_ahead(&place, &entries);
                drop(looker);
                opened
            };
            let Ok(begun) = self.blocking(open).await else { return };
            let mut waiting = Vec::new();
            for (coming, reader) in begun {
                match self.siblings.rights.clone().try_acquire_owned() {
                    Ok(right) => self.fetch(coming, reader, right),
                    // Nobody waits for fetches that have not begun: a dead store may hold all permits.
                    Err(_) => waiting.push((coming.number(), reader)),
                }
            }
            for (number, reader) in waiting {
                let Ok(right) = self.siblings.rights.clone().acquire_owned().await else { return };
                if let Some(coming) = self.files.begin(number) {
                    self.fetch(coming, reader, right);
                }
            }
        }
    }

    /// Fetches a file in a task of its own.
    fn fetch(self: &Arc<Self>, coming: Coming, reader: Reader, right: OwnedSemaphorePermit) {
        let vfs = self.clone();
        tokio::spawn(async move {
            vfs.fetch_one(coming, reader).await;
            drop(right);
        });
    }

    /// Opens files in advance: those in the cache are ready, the others are to be fetched. Errors surface at
    /// the next open. Blocks on the catalog and disks.
    fn open_ahead(&self, place: &Place, entries: &[EntryId]) -> Result<Vec<(Coming, Reader)>> {
        let number = |entry: EntryId| Inode::File(place.slot, entry).number();
        let coming: Vec<_> = entries.iter().map(|one| self.files.begin(number(*one))).collect();
        let objects = place.pack.objects(&self.catalog, &place.view.of, entries)?;
        let mut begun = Vec::new();
        for (coming, object) in coming.into_iter().zip(objects) {
            // If a row no longer matches the pack, that surfaces at the next open.
            let Some((coming, object)) = coming.zip(object.filter(is_fetchable)) else { continue };
            match self.stores.open_ahead(&object) {
                Ok(reader) if self.is_enough(&reader) => coming.ready(reader),
                Ok(reader) => begun.push((coming, reader)),
                Err(_) => {}
            }
        }
        Ok(begun)
    }

    /// Whether nothing of a file has to be fetched.
    fn is_enough(&self, reader: &Reader) -> bool {
        match self.siblings.prefetch {
            Prefetch::All => reader.whole_file().is_some(),
            _ => reader.has_begun(),
        }
    }

    /// Prefetches a file. Errors surface at the next open.
    async fn fetch_one(&self, coming: Coming, reader: Reader) {
        let begun = tokio::time::timeout(self.timeout, reader.begin()).await;
        let Ok(Ok(())) = begun else { return };
        let rest = match self.siblings.prefetch {
            Prefetch::All => reader.known().and_then(|known| self.stores.open_again(&known)),
            _ => None,
        };
        coming.ready(reader);
        // An open meanwhile need not wait for the rest.
        if let Some(rest) = rest {
            rest.fill().await.ok();
        }
    }
}

impl Version {
    /// All files of the order that an open begins, once: those after it first.
    fn all(&mut self, entry: EntryId, whole: Option<Order>) -> Option<Vec<EntryId>> {
        let (order, place) = self.readers.likely(entry, whole)?;
        let what = (order.entry(0)?, order.len());
        let places = (place..order.len()).chain(0..place);
        self.begun.insert(what).then(|| places.filter_map(|place| order.entry(place)).collect())
    }
}

/// The order of the files of one File column below a place.
fn order(place: &Place, column: u16) -> Option<Order> {
    let shown = place.shown.as_ref()?;
    let Some(ranking) = &shown.ranking else {
        return Some(Order::Some(Arc::new(place.pack.entries(&shown.set).ok()?.clone())));
    };
    let rows = ranking.rows.iter().take(LONGEST);
    let entry = |row| place.pack.entry_of(column, row).ok().flatten();
    Some(Order::Ranked(rows.filter_map(|ranked| entry(ranked.row)).collect()))
}

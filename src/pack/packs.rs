//! Every pack of a mount: opened or built once, however many ask; dropped when it is not believed.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::sync::OnceCell;

use super::error::Result;
use super::{Limits, Pack, obtain};
use crate::catalog::{Catalog, VersionInfo};
use crate::error::{Error, Kind};
use crate::id::VersionId;
use crate::schema::FileColumn;

/// How many packs stay open. Each holds some seven maps per column, of the 65,530 that Linux gives a
/// process; one that is dropped here stays valid for whoever uses it.
const MOST_OPEN: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Finds or makes one pack; runs where it may block.
type Opener = dyn Fn(&VersionInfo) -> Result<Pack> + Send + Sync;

/// Every pack of a mount: one builder per version however many readers.
pub struct Packs {
    opener: Arc<Opener>,
    /// A *std* mutex: held for a look into the map, never while waiting.
    slots: Mutex<LruCache<Key, Arc<Slot>>>,
}

/// Both, for a catalog made anew gives old keys to new versions, and a strange one may repeat uuids.
#[derive(PartialEq, Eq, Hash)]
struct Key(VersionId, String);

impl Key {
    fn of(version: &VersionInfo) -> Self {
        Self(version.id, version.uuid.clone())
    }
}

#[derive(Default)]
struct Slot {
    pack: OnceCell<Result<Arc<Pack>, Failure>>,
    /// The damaged one that this slot replaces, to be removed from the disk first.
    stale: Option<Arc<Pack>>,
}

impl Slot {
    fn ready(&self) -> Option<&Arc<Pack>> {
        self.pack.get()?.as_ref().ok()
    }
}

/// An error that several callers get.
#[derive(Debug)]
struct Failure {
    kind: Kind,
    text: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { kind: error.kind(), text: error.to_string() }
    }
}

impl Packs {
    /// Keeps packs below `cache/packs`.
    pub fn new(catalog: Arc<Catalog>, cache: PathBuf) -> Self {
        let packs = cache.join("packs");
        Self::with(move |of| {
            let schema = catalog.schema(of)?;
            let columns: Vec<FileColumn> = schema.listed_files().cloned().collect();
            obtain(&(&*catalog, of), &of.uuid, &columns, &packs, Limits::default())
        })
    }

    /// The same over any way to find a pack.
    pub fn with(opener: impl Fn(&VersionInfo) -> Result<Pack> + Send + Sync + 'static) -> Self {
        Self { opener: Arc::new(opener), slots: Mutex::new(LruCache::new(MOST_OPEN)) }
    }

    /// The pack, if it is open already: an answer from memory.
    pub fn ready(&self, of: &VersionInfo) -> Option<Arc<Pack>> {
        let mut slots = self.slots();
        let pack = slots.get(&Key::of(of))?.ready()?;
        (!pack.is_damaged()).then(|| pack.clone())
    }

    /// The pack, opened or built. Waits; many callers of one version share one build.
    ///
    /// # Errors
    /// What went wrong, to everyone who waited for it; who asks after that tries again.
    pub async fn get(&self, of: &VersionInfo) -> Result<Arc<Pack>> {
        let slot = self.slot(of);
        match slot.pack.get_or_init(|| self.open(of, slot.stale.clone())).await {
            Ok(pack) => Ok(pack.clone()),
            Err(failure) => {
                self.forget(of, &slot);
                Err(Error::new(failure.kind, failure.text.clone()))
            }
        }
    }

    /// Tells that `pack` gave an answer that cannot be: it is dropped, removed and built anew at the
    /// next [`Packs::get`].
    pub fn distrust(&self, of: &VersionInfo, why: &str) {
        if let Some(pack) = self.ready(of) {
            pack.distrust(why);
        }
    }

    async fn open(&self, of: &VersionInfo, stale: Option<Arc<Pack>>) -> Result<Arc<Pack>, Failure> {
        let (opener, of) = (self.opener.clone(), of.clone());
        let work = move || {
            if let Some(stale) = stale {
                stale.remove()?;
            }
            opener(&of).map(Arc::new)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => Ok(done?),
            Err(died) => Err(Error::new(Kind::Broken, died).into()),
        }
    }

    /// The slot of a version; a new one where it has none or holds a damaged pack.
    fn slot(&self, of: &VersionInfo) -> Arc<Slot> {
        let mut slots = self.slots();
        let slot = slots.get_or_insert_mut(Key::of(of), Arc::default);
        if let Some(pack) = slot.ready().filter(|pack| pack.is_damaged()) {
            let stale = Some(pack.clone());
            *slot = Arc::new(Slot { pack: OnceCell::new(), stale });
        }
        slot.clone()
    }

    /// Makes room for another try, unless someone did.
    fn forget(&self, of: &VersionInfo, failed: &Arc<Slot>) {
        let mut slots = self.slots();
        let key = Key::of(of);
        if slots.peek(&key).is_some_and(|slot| Arc::ptr_eq(slot, failed)) {
            slots.pop(&key);
        }
    }

    fn slots(&self) -> MutexGuard<'_, LruCache<Key, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Packs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packs").field("open", &self.slots().len()).finish_non_exhaustive()
    }
}

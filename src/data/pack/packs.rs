//! All packs of a mount: each opened or built once for all callers; dropped when damaged.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use tokio::sync::OnceCell;

use super::error::Result;
use super::names::remote::{self, Asked};
use super::shared::{Tier, Told};
use super::{Limits, Pack, name_of, obtain, obtain_shared};
use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::cancel::{self, Flag};
use dcfs_core::error::{Error, Kind};
use dcfs_core::id::VersionId;
use dcfs_core::schema::FileColumn;

/// The most packs kept open. Each has some seven mappings per column, of the 65,530 that Linux
/// allows a process; a pack dropped here stays valid for its users.
const MOST_OPEN: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// A caller that asked for a pack within this time before its build was cancelled gets another
/// build.
const JUST_ASKED: Duration = Duration::from_secs(1);

/// Finds or makes one pack, maybe to replace a damaged one; runs where it may block.
type Opener = dyn Fn(&VersionInfo, bool) -> Result<Pack> + Send + Sync;

/// All packs of a mount: one builder per version however many readers.
pub struct Packs {
    opener: Arc<Opener>,
    /// The folder that hosts share.
    tier: Option<Arc<Tier>>,
    /// A *std* mutex: held for a look-up in the map, never while waiting.
    slots: Mutex<LruCache<Key, Arc<Slot>>>,
}

/// Both, because a recreated catalog gives old keys to new versions, and a foreign one may repeat
/// uuids.
#[derive(PartialEq, Eq, Hash)]
struct Key(VersionId, String);

impl Key {
    fn of(version: &VersionInfo) -> Self {
        Self(version.id, version.uuid.clone())
    }
}

struct Slot {
    pack: OnceCell<Result<Arc<Pack>, Failure>>,
    /// When the pack was last requested.
    asked: Mutex<Instant>,
    /// Cancels its build.
    ended: Flag,
    /// How many asked for it, and how many of these left before it was there.
    askers: AtomicUsize,
    leavers: AtomicUsize,
    /// The damaged pack that this slot replaces, to be removed from the disk first.
    stale: Option<Arc<Pack>>,
}

impl Default for Slot {
    fn default() -> Self {
        Self::replacing(None)
    }
}

impl Slot {
    fn replacing(stale: Option<Arc<Pack>>) -> Self {
        let asked = Mutex::new(Instant::now());
        let (askers, leavers) = (AtomicUsize::default(), AtomicUsize::default());
        Self { pack: OnceCell::new(), asked, ended: Flag::default(), askers, leavers, stale }
    }

    fn asked(&self) -> MutexGuard<'_, Instant> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> Option<&Arc<Pack>> {
        self.pack.get()?.as_ref().ok()
    }
}

/// An error shared by several callers.
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
    /// Keeps packs below `cache/packs`, within `limits`.
    pub fn new(catalog: Arc<Catalog>, cache: PathBuf, limits: Limits) -> Self {
        Self::shared(catalog, cache, limits, None)
    }

    /// The same, with a folder that hosts share.
    pub fn shared(
        catalog: Arc<Catalog>,
        cache: PathBuf,
        limits: Limits,
        tier: Option<Arc<Tier>>,
    ) -> Self {
        let packs = cache.join("packs");
        let shared = tier.clone();
        let opener = move |of: &VersionInfo, is_again: bool| {
            let schema = catalog.schema(of)?;
            let columns: Vec<FileColumn> = schema.listed_files().cloned().collect();
            // A damaged pack may have come from the shared folder: it is built here.
            let shared = shared.as_ref().filter(|_| !is_again).map(|tier| tier.of(of));
            let (catalog, of, packs) = (catalog.clone(), of.clone(), packs.clone());
            let Some(shared) = shared else {
                return obtain(&(&*catalog, &of), &of.uuid, &columns, &packs, limits);
            };
            let name = name_of(&(&*catalog, &of), &of.uuid)?;
            let (rows, ..) = catalog.extent(&of)?;
            let (with, wanted, home) = (shared.clone(), columns.clone(), packs.clone());
            let whole = move || {
                let rows = (&*catalog, &of);
                obtain_shared(&rows, &of.uuid, &wanted, &home, limits, Some(&with))
            };
            let asked = Asked { pack: &name, rows, columns: &columns, packs: &packs, limits };
            let opener = Box::new(whole.clone());
            match remote::open_shared(&asked, &shared, opener)? {
                Some(pack) => Ok(pack),
                None => whole(),
            }
        };
        Self { tier, ..Self::opening(opener) }
    }

    /// The statistics of the shared folder; `None` if there is none.
    pub fn told(&self) -> Option<Told> {
        self.tier.as_ref().map(|tier| tier.told())
    }

    /// The same over any way to obtain a pack.
    pub fn with(opener: impl Fn(&VersionInfo) -> Result<Pack> + Send + Sync + 'static) -> Self {
        Self::opening(move |of, _| opener(of))
    }

    fn opening(
        opener: impl Fn(&VersionInfo, bool) -> Result<Pack> + Send + Sync + 'static,
    ) -> Self {
        let slots = Mutex::new(LruCache::new(MOST_OPEN));
        Self { opener: Arc::new(opener), tier: None, slots }
    }

    /// The pack, if it is already open: answered from memory.
    fn ready(&self, of: &VersionInfo) -> Option<Arc<Pack>> {
        let mut slots = self.slots();
        let pack = slots.get(&Key::of(of))?.ready()?;
        (!pack.is_damaged()).then(|| pack.clone())
    }

    /// The pack, opened or built. Waits; all callers for one version share one build.
    ///
    /// # Errors
    /// The error of the build, for every caller that waited for it; later callers try again.
    pub async fn get(&self, of: &VersionInfo) -> Result<Arc<Pack>> {
        loop {
            let slot = self.slot(of);
            *slot.asked() = Instant::now();
            slot.askers.fetch_add(1, SeqCst);
            match slot.pack.get_or_init(|| self.open(of, &slot)).await {
                Ok(pack) => return Ok(pack.clone()),
                Err(failure) => {
                    self.forget(of, &slot);
                    let was_ended = slot.ended.is_set() && failure.kind == Kind::Busy;
                    // Nobody waited for that build; now somebody does.
                    if !was_ended || slot.asked().elapsed() > JUST_ASKED {
                        return Err(Error::new(failure.kind, failure.text.clone()));
                    }
                }
            }
        }
    }

    /// Cancels the build of a pack that nobody has requested for `patience`.
    pub fn give_up(&self, of: &VersionInfo, patience: Duration) {
        let slot = self.slots().peek(&Key::of(of)).cloned();
        if let Some(slot) = slot.filter(|slot| slot.pack.get().is_none())
            && slot.asked().elapsed() >= patience
        {
            slot.ended.cancel();
        }
    }

    /// One who asked for a pack stops waiting, though nobody will ask again: where all did, its build ends.
    pub fn leave(&self, of: &VersionInfo) {
        let slot = self.slots().peek(&Key::of(of)).cloned();
        if let Some(slot) = slot.filter(|slot| slot.pack.get().is_none())
            && slot.leavers.fetch_add(1, SeqCst) + 1 >= slot.askers.load(SeqCst)
        {
            slot.ended.cancel();
        }
    }

    /// Reports that `pack` gave an impossible answer: it is dropped, removed and rebuilt at the
    /// next [`Packs::get`].
    pub fn distrust(&self, of: &VersionInfo, why: &str) {
        if let Some(pack) = self.ready(of) {
            pack.distrust(why);
        }
    }

    async fn open(&self, of: &VersionInfo, slot: &Slot) -> Result<Arc<Pack>, Failure> {
        let (opener, of) = (self.opener.clone(), of.clone());
        let (stale, ended) = (slot.stale.clone(), slot.ended.clone());
        let work = move || {
            let is_again = stale.is_some();
            if let Some(stale) = stale {
                stale.remove()?;
            }
            opener(&of, is_again).map(Arc::new)
        };
        match tokio::task::spawn_blocking(|| cancel::within(Some(ended), work)).await {
            Ok(done) => Ok(done?),
            Err(died) => Err(Error::new(Kind::Broken, died).into()),
        }
    }

    /// The slot of a version; a new one if it has none or holds a damaged pack.
    fn slot(&self, of: &VersionInfo) -> Arc<Slot> {
        let mut slots = self.slots();
        let slot = slots.get_or_insert_mut(Key::of(of), Arc::default);
        if let Some(pack) = slot.ready().filter(|pack| pack.is_damaged()) {
            *slot = Arc::new(Slot::replacing(Some(pack.clone())));
        }
        slot.clone()
    }

    /// Removes a failed slot, unless it was already replaced.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::ops::RangeInclusive;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;
    use crate::catalog::Row;
    use crate::pack::{Rows, obtain};
    use dcfs_core::id::{DatasetId, RowId};
    use dcfs_core::name::DatasetName;
    use dcfs_core::object::Object;
    use dcfs_core::version::Version;

    /// One row, the file `a`.
    struct One;

    impl Rows for One {
        fn label(&self) -> String {
            "one@1.0.0".into()
        }

        fn extent(&self) -> Result<(u64, RowId, RowId)> {
            Ok((1, RowId::new(1), RowId::new(1)))
        }

        fn scan(
            &self,
            _: &[FileColumn],
            _: RangeInclusive<RowId>,
            each: &mut dyn FnMut(Row<'_>) -> Result<()>,
        ) -> Result<()> {
            let object = Object { path: b"a".to_vec(), ..Object::default() };
            each(Row { id: RowId::new(1), objects: &[Some(object)] })
        }
    }

    fn version(key: i64) -> VersionInfo {
        VersionInfo {
            id: VersionId::from_catalog(key),
            uuid: format!("{key:x}"),
            dataset_id: DatasetId::from_catalog(1),
            dataset: DatasetName::local("one"),
            version: Version { major: 1, minor: 0, patch: 0 },
            rows: Some(1),
            ..VersionInfo::default()
        }
    }

    /// Packs in `folder`, counting the requests for one; the first `failures` fail.
    fn counted(folder: &Path, failures: usize) -> (Packs, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let (folder, asked) = (folder.to_path_buf(), count.clone());
        let packs = Packs::with(move |of| {
            if asked.fetch_add(1, Ordering::Relaxed) < failures {
                return Err(Error::new(Kind::Busy, "not yet"));
            }
            let columns = [FileColumn { name: "file".into(), ..FileColumn::default() }];
            obtain(&One, &of.uuid, &columns, &folder, Limits::default())
        });
        (packs, count)
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
        runtime.expect("a runtime").block_on(work)
    }

    #[test]
    fn many_callers_share_one_build() {
        let folder = tempfile::tempdir().expect("a folder");
        let (packs, count) = counted(folder.path(), 0);
        let of = version(1);
        assert!(packs.ready(&of).is_none());
        let all = run(join_all((0..20).map(|_| packs.get(&of))));
        let ready = packs.ready(&of).expect("open now");
        assert!(all.iter().all(|pack| Arc::ptr_eq(pack.as_ref().expect("built"), &ready)));
        run(packs.get(&version(2))).expect("another version");
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_failure_is_told_to_all_who_waited_and_then_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (packs, count) = counted(folder.path(), 1);
        let of = version(1);
        let error = run(packs.get(&of)).expect_err("the first fails");
        assert_eq!((error.kind(), error.to_string()), (Kind::Busy, "not yet".into()));
        assert!(packs.ready(&of).is_none());
        run(packs.get(&of)).expect("the second does not");
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_build_that_nobody_waits_for_ends_and_is_begun_again_by_who_asks() {
        let folder = tempfile::tempdir().expect("a folder");
        let (began, begun) = std::sync::mpsc::channel();
        let count = AtomicUsize::new(0);
        let home = folder.path().to_path_buf();
        let packs = Arc::new(Packs::with(move |of| {
            if count.fetch_add(1, Ordering::Relaxed) == 0 {
                began.send(()).expect("heard");
                while cancel::check().is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                cancel::check()?;
            }
            let columns = [FileColumn { name: "file".into(), ..FileColumn::default() }];
            obtain(&One, &of.uuid, &columns, &home, Limits::default())
        }));
        let of = version(1);
        run(async {
            let (asked, wanted) = (packs.clone(), of.clone());
            let build = tokio::spawn(async move { asked.get(&wanted).await });
            tokio::task::spawn_blocking(move || begun.recv()).await.expect("ran").expect("begun");
            packs.give_up(&of, Duration::from_secs(3600));
            assert!(!build.is_finished(), "somebody asked just now");
            packs.give_up(&of, Duration::ZERO);
            build.await.expect("no panic").expect("built by who still asked");
        });
    }

    #[test]
    fn a_build_ends_when_the_last_who_waits_leaves() {
        let (began, begun) = std::sync::mpsc::channel();
        let packs = Arc::new(Packs::with(move |_| {
            began.send(()).expect("heard");
            while cancel::check().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(cancel::check().expect_err("ended"))
        }));
        let of = version(1);
        run(async {
            let ask = || {
                let (asked, wanted) = (packs.clone(), of.clone());
                tokio::spawn(async move { asked.get(&wanted).await })
            };
            let builds = [ask(), ask()];
            tokio::task::spawn_blocking(move || begun.recv()).await.expect("ran").expect("begun");
            let slot = packs.slot(&of);
            while slot.askers.load(SeqCst) < 2 {
                tokio::task::yield_now().await;
            }
            packs.leave(&of);
            assert!(!slot.ended.is_set(), "one still waits");
            packs.leave(&of);
            assert!(slot.ended.is_set());
            builds.iter().for_each(|build| build.abort());
        });
    }

    #[test]
    fn a_distrusted_pack_is_removed_and_built_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (packs, _) = counted(folder.path(), 0);
        let of = version(1);
        let old = run(packs.get(&of)).expect("built");
        packs.distrust(&of, "the row has another identity");
        assert!(packs.ready(&of).is_none());
        assert_eq!(
            old.facts(dcfs_core::id::EntryId::new(0)).expect_err("no answers").kind(),
            Kind::Broken
        );
        let new = run(packs.get(&of)).expect("built anew");
        new.facts(dcfs_core::id::EntryId::new(0)).expect("answers");
        assert_ne!(old.home, new.home, "another folder");
        // The old one is reported again; the new one is not touched.
        old.remove().expect("nothing to do");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_written_names_the_flag() {
        let (packs, _) = counted(Path::new("/proc/dcfs"), 0);
        let error = run(packs.get(&version(1))).expect_err("no folder can be made there");
        let text = error.to_string();
        assert!(text.contains("`/proc/dcfs`") && text.contains("--cache-dir"), "{text}");
    }
}

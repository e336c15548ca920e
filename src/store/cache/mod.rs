//! Objects on disk: what was fetched once is not fetched again, by this mount or the next.
//!
//! Every object has a place below `objects/`, called by a hash of what pins it. A small one is a file there, made
//! once its bytes are here; any other a folder: `data`, a sparse file, and `map`, which says what of it is there.
//! Files are only ever made whole and removed whole, never cut: a reader holds a shared lock on the file or the map, who
//! makes room takes only what nobody holds. Nothing is believed before its checksum held. Where the disk is full,
//! reading goes on without.
//!
//! | file | what lives there |
//! |---|---|
//! | [`held`] | one object, and who keeps it on disk |
//! | [`small`], [`mark`] | a small one: its file, and what says that it is whole |
//! | [`mod@entry`], [`trust`] | any other: blocks read, checked, written; which of them are believed |
//! | [`mod@map`] | which blocks are there, on disk |
//! | [`files`] | files opened, made, removed |
//! | [`opened`], [`linger`] | the objects whose files are open, and locked for a moment more |
//! | [`nowait`] | reading what the system has in memory |
//! | [`flight`] | one fetch per block |
//! | [`room`] | how much is kept, and what goes first |
//! | [`seal`] | large objects that are whole: synced and marked for later mounts |
//! | [`upkeep`] | what a person may ask of it |

mod entry;
mod files;
mod flight;
mod held;
mod linger;
mod map;
mod mark;
mod nowait;
mod opened;
mod room;
mod seal;
mod small;
mod trust;
pub mod upkeep;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

pub use self::entry::CHECKED_AT_OPEN;
pub use self::held::{Entry, Hold};

use self::entry::Run;
use self::flight::Claim;
use self::held::Form;
use self::map::BLOCK;
use self::opened::Opened;
use self::room::Room;
use self::seal::Sealer;
use super::CacheConfig;
use super::error::Error;
use super::pin::Held;
use super::stream::Ranges;
use super::window;
use crate::object::Object;

/// The folder of objects in a cache directory.
const OBJECTS: &str = "objects";

/// The largest object that is kept as one file: what is fetched whole ([`window`]).
const SMALL: u64 = window::FIRST;

/// Bytes that wait to be written, at most; a reader whose bytes would be more waits for the disk.
const WAITING: usize = 32 << 20;

/// What a write counts for at least: so many take a thread each at a time ([`WAITING`] of these).
const LEAST: usize = 512 << 10;

/// What pins an object: where it is asked for, and everything of its row that tells it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// `None` where neither a version nor an etag tells the object from one that takes its place: such
    /// an object must be asked for again.
    pub fn of(server: &str, object: &Object) -> Option<Self> {
        Held::of(object).filter(|held| held.is_for_good())?;
        let mut hash = Sha256::new();
        hash.update((server.len() as u64).to_le_bytes());
        hash.update(server);
        hash.update(object.identity().0);
        let mut half = [0; 16];
        half.copy_from_slice(&hash.finalize()[..16]);
        Some(Self(half))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// All cached objects of a cache directory.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    opened: Arc<Opened>,
    room: Arc<Room>,
    waiting: Arc<Semaphore>,
    /// The largest object that is kept as one file.
    small: u64,
    /// The disk cannot mark files.
    lacks_marks: Arc<AtomicBool>,
    sealer: Arc<Sealer>,
}

impl Cache {
    /// Nothing is made before something is kept.
    pub fn new(config: &CacheConfig) -> Self {
        let root = config.folder.join(OBJECTS);
        let opened = Arc::new(Opened::new(config.open));
        let removed = Arc::clone(&opened);
        let room = Room::new(root.clone(), config, move || removed.let_go());
        let waiting = Arc::new(Semaphore::new(WAITING));
        let (room, lacks_marks, sealer) = (Arc::new(room), Arc::default(), Arc::default());
        Self { root, opened, room, waiting, small: SMALL, lacks_marks, sealer }
    }

    /// The files of an object, the same for all that have it open, held. `None` where nothing can be kept.
    /// Waits for the disk.
    pub fn entry(&self, key: Key, size: u64) -> Option<(Arc<Entry>, Hold)> {
        if !self.room.is_wanted() {
            return None;
        }
        // One that was removed meanwhile is made anew.
        (0..3).find_map(|_| {
            let entry = match self.opened.get(key) {
                Some(entry) if self.is_kept(&entry) => entry,
                known => {
                    known.inspect(|unkept| self.opened.forget(key, unkept));
                    self.opened.add(key, self.open(key, size)?)
                }
            };
            let hold = entry.hold();
            if hold.is_none() {
                self.opened.forget(key, &entry);
            }
            Some((entry, hold?))
        })
    }

    fn open(&self, key: Key, size: u64) -> Option<Entry> {
        let is_small = size <= self.small && !self.lacks_marks.load(Ordering::Relaxed);
        let form = Form::open(&self.folder(key), key, size, is_small);
        let form = form.inspect_err(|error| self.room.failed(error)).ok()??;
        Some(self.opened.entry(size, form))
    }

    /// Looks again for what was not here; whether the disk can keep an object in its form.
    fn is_kept(&self, entry: &Entry) -> bool {
        entry.look();
        entry.is_here() || !self.lacks_marks.load(Ordering::Relaxed)
    }

    /// Bytes of a stretch of an object that are kept, as its map says, and whether that is all of it; nothing is made
    /// or compared. Waits for the disk.
    pub fn kept(&self, key: Key, size: u64, part: &Range<u64>) -> (u64, bool) {
        match self.room.is_wanted() {
            true => files::kept(&self.folder(key), key, size, part),
            false => (0, false),
        }
    }

    /// All that waits to be written is written, and what is whole is marked as such.
    pub async fn settled(&self) {
        let _ = self.waiting.acquire_many(u32::try_from(WAITING).unwrap_or(u32::MAX)).await;
        self.sealer.settled().await;
    }

    fn folder(&self, key: Key) -> PathBuf {
        let name = key.to_string();
        self.root.join(&name[..2]).join(&name[2..])
    }
}

/// An object of a store, by way of the cache.
pub struct Cached {
    entry: Arc<Entry>,
    _hold: Hold,
    /// The whole object.
    object: Arc<dyn Ranges>,
    room: Arc<Room>,
    waiting: Arc<Semaphore>,
    lacks_marks: Arc<AtomicBool>,
    sealer: Arc<Sealer>,
}

impl Cached {
    pub fn new(cache: &Cache, (entry, hold): (Arc<Entry>, Hold), object: Arc<dyn Ranges>) -> Self {
        let (room, waiting) = (Arc::clone(&cache.room), Arc::clone(&cache.waiting));
        let lacks_marks = Arc::clone(&cache.lacks_marks);
        let sealer = Arc::clone(&cache.sealer);
        // Where an earlier mount marked it as whole, it is compared while it is read.
        sealer.take(&entry);
        Self { entry, _hold: hold, object, room, waiting, lacks_marks, sealer }
    }

    async fn bytes(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let aligned = self.entry.aligned(&range);
        loop {
            let runs = self.runs(&aligned).await?;
            let missing = missing(&runs);
            if missing.is_empty() {
                match self.on_disk(&range).await? {
                    Some(bytes) => return Ok(bytes),
                    None => continue, // It was damaged just now.
                }
            }
            match self.entry.flights.claim(&missing) {
                Err(busy) => busy.over().await,
                // What was fetched in between is here.
                Ok(_) if self.runs(&aligned).await? != runs => {}
                Ok(claims) => {
                    let whole = self.fill(&aligned, &runs, claims).await?;
                    let start = usize::try_from(range.start - aligned.start).unwrap_or(usize::MAX);
                    let end = start + usize::try_from(range.end - range.start).unwrap_or(0);
                    return Ok(whole.slice(start..end));
                }
            }
        }
    }

    /// All of `aligned`: what is here from the disk, what is missing from the store, which is then kept.
    async fn fill(
        &self,
        aligned: &Range<u64>,
        runs: &[Run],
        claims: Vec<Claim>,
    ) -> Result<Bytes, Error> {
        let pieces = try_join_all(runs.iter().map(|run| self.piece(run))).await?;
        let fetched = runs.iter().zip(&pieces).filter(|(run, _)| !run.is_here);
        for ((run, bytes), claim) in fetched.zip(claims) {
            self.keep(run.range.start, bytes.clone(), claim).await;
        }
        match &pieces[..] {
            [one] => Ok(one.clone()),
            pieces => {
                let length = usize::try_from(aligned.end - aligned.start).unwrap_or(0);
                let mut whole = BytesMut::with_capacity(length);
                pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
                Ok(whole.freeze())
            }
        }
    }

    async fn piece(&self, run: &Run) -> Result<Bytes, Error> {
        if run.is_here
            && let Some(bytes) = self.on_disk(&run.range).await?
        {
            return Ok(bytes);
        }
        let bytes = Arc::clone(&self.object).get(run.range.clone()).await?;
        let wanted = run.range.end - run.range.start;
        if bytes.len() as u64 != wanted {
            let answer = format!("{} bytes in place of {wanted}", bytes.len());
            return Err(Error::Answer { place: self.object.place().to_owned(), answer });
        }
        Ok(bytes)
    }

    /// Writes bytes behind the reader's back. The claim ends with it: then they are here, or anybody may
    /// fetch them again.
    async fn keep(&self, start: u64, bytes: Bytes, claim: Claim) {
        if !self.room.has_room() {
            return;
        }
        // Small ones count for more: each takes a thread.
        let permits = u32::try_from(bytes.len().clamp(LEAST, WAITING)).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.waiting).acquire_many_owned(permits).await else {
            return;
        };
        let (entry, room) = (Arc::clone(&self.entry), Arc::clone(&self.room));
        let lacks_marks = Arc::clone(&self.lacks_marks);
        let (sealer, blocks) = (Arc::clone(&self.sealer), (bytes.len() as u64).div_ceil(BLOCK));
        entry.behind.add(blocks);
        tokio::task::spawn_blocking(move || {
            // Files that were removed meanwhile are not worth writing.
            if let Some(hold) = entry.hold() {
                match entry.write(start, &bytes) {
                    Ok(()) => room.wrote(bytes.len() as u64),
                    Err(error) if mark::is_lacking(&error) => {
                        lacks_marks.store(true, Ordering::Relaxed);
                    }
                    Err(error) => room.failed(&error),
                }
                drop(hold);
            }
            drop(claim);
            entry.behind.done(blocks);
            sealer.take(&entry);
            drop(permit);
        });
    }

    async fn runs(&self, aligned: &Range<u64>) -> Result<Vec<Run>, Error> {
        if self.entry.lacks_now(aligned) {
            return Ok(vec![Run { range: aligned.clone(), is_here: false }]);
        }
        let (entry, aligned) = (Arc::clone(&self.entry), aligned.clone());
        self.blocking(move || entry.runs(&aligned)).await
    }

    async fn on_disk(&self, range: &Range<u64>) -> Result<Option<Bytes>, Error> {
        let (entry, range) = (Arc::clone(&self.entry), range.clone());
        self.blocking(move || entry.read(&range)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        super::blocking(&super::AT_CACHE, self.object.place(), || Ok(work())).await
    }
}

/// What was read to its end has been checked by now.
impl Drop for Cached {
    fn drop(&mut self) {
        self.sealer.take(&self.entry);
    }
}

impl Ranges for Cached {
    fn get(self: Arc<Self>, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, Error>> {
        async move { self.bytes(range).await }.boxed()
    }

    fn place(&self) -> &str {
        self.object.place()
    }
}

fn missing(runs: &[Run]) -> Vec<Range<u64>> {
    runs.iter().filter(|run| !run.is_here).map(|run| run.range.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::future::Future;
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use futures_util::future::join_all;
    use proptest::prelude::*;

    use super::*;
    use crate::store::fake::{Fake, expect};

    const KEY: Key = Key([0xab; 16]);

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
        runtime.unwrap().block_on(test)
    }

    /// One that keeps all in blocks, so that few bytes are many.
    fn cache(folder: &Path, size: u64) -> Cache {
        Cache { small: 0, ..with_files(folder, size) }
    }

    /// One that keeps small objects as files.
    fn with_files(folder: &Path, size: u64) -> Cache {
        Cache::new(&CacheConfig { folder: folder.to_owned(), size, free: 0, open: 16 })
    }

    fn open(cache: &Cache, key: Key, size: u64) -> (Arc<Fake>, Arc<Cached>) {
        let fake = Arc::new(Fake::default());
        let entry = cache.entry(key, size).expect("an entry");
        (fake.clone(), Arc::new(Cached::new(cache, entry, fake)))
    }

    async fn read(cached: &Arc<Cached>, range: Range<u64>) -> Vec<u8> {
        cached.clone().get(range).await.expect("bytes").to_vec()
    }

    /// Fetches all of an object of `size` into `folder`.
    fn filled(folder: &Path, size: u64) {
        run(async {
            let cache = cache(folder, u64::MAX);
            let (_, cached) = open(&cache, KEY, size);
            read(&cached, 0..size).await;
            cache.settled().await;
        });
    }

    #[test]
    fn upkeep_counts_verifies_and_clears() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 3 * BLOCK);
        let usage = upkeep::usage(folder.path());
        assert!(usage.objects == 1 && usage.bytes >= 3 * BLOCK, "{usage:?}");
        let verify = || upkeep::verify(folder.path(), &mut |_| ()).unwrap();
        let whole = upkeep::Verified { objects: 1, blocks: 3, damaged: 0 };
        assert_eq!(verify(), whole);
        let data = OpenOptions::new().write(true).open(file(folder.path(), "data")).unwrap();
        data.write_all_at(b"damage", BLOCK + 5).unwrap();
        assert_eq!(verify(), upkeep::Verified { damaged: 1, ..whole });
        assert_eq!(verify(), upkeep::Verified { blocks: 2, ..whole });
        let cache = cache(folder.path(), u64::MAX);
        let held = cache.entry(KEY, 3 * BLOCK);
        assert_eq!(upkeep::clear(folder.path()).unwrap().in_use.objects, 1);
        drop(held);
        assert_eq!(upkeep::clear(folder.path()).unwrap().removed.objects, 1);
        assert_eq!(upkeep::usage(folder.path()).objects, 0);
    }

    fn file(folder: &Path, name: &str) -> std::path::PathBuf {
        let key = KEY.to_string();
        folder.join("objects").join(&key[..2]).join(&key[2..]).join(name)
    }

    const LARGE: u64 = CHECKED_AT_OPEN + 3 * BLOCK + 5;

    fn entry(folder: &Path) -> Arc<Entry> {
        cache(folder, u64::MAX).entry(KEY, LARGE).expect("an entry").0
    }

    #[test]
    fn what_was_whole_is_so_for_the_next_mount_until_somebody_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), LARGE);
        let found = entry(folder.path());
        let blocks = found.large().unwrap();
        assert!(blocks.is_sealed() && !blocks.is_checked() && found.whole().is_some());
        let path = file(folder.path(), "data");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let data = OpenOptions::new().write(true).open(&path).unwrap();
        data.write_all_at(b"damage", BLOCK + 5).unwrap();
        data.set_modified(modified).unwrap();
        assert!(found.whole().is_none() && entry(folder.path()).whole().is_none());
        run(async {
            let cache = cache(folder.path(), u64::MAX);
            let (_, cached) = open(&cache, KEY, LARGE);
            assert_eq!(read(&cached, 0..LARGE).await, expect(0, LARGE, LARGE));
            cache.settled().await;
        });
        assert!(entry(folder.path()).large().unwrap().is_sealed(), "mended, it is whole again");
    }

    #[test]
    fn damage_that_no_time_tells_of_is_found_behind() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), LARGE);
        let data = OpenOptions::new().write(true).open(file(folder.path(), "data")).unwrap();
        data.write_all_at(b"damage", 5 * BLOCK).unwrap();
        let map = OpenOptions::new().read(true).write(true).open(file(folder.path(), "map"));
        let map = map::Map::of(map.unwrap(), KEY, LARGE).unwrap().unwrap();
        map.set_seal(trust::Seal::of(&data)).unwrap();
        let found = entry(folder.path());
        assert!(found.whole().is_some());
        assert_eq!(found.large().unwrap().compare(0), None);
        assert!(found.whole().is_none() && map.seal().is_none());
        assert!(found.lacks_now(&(5 * BLOCK..6 * BLOCK)) && !found.lacks_now(&(0..BLOCK)));
    }

    #[test]
    fn small_objects_are_not_marked() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 3 * BLOCK);
        let (found, _) = cache(folder.path(), u64::MAX).entry(KEY, 3 * BLOCK).unwrap();
        assert!(found.large().is_none() && found.whole().is_none());
    }

    #[test]
    fn what_is_kept_is_not_asked_for_again() {
        for size in [0, 1, BLOCK, 3 * BLOCK + 5] {
            let folder = tempfile::tempdir().unwrap();
            filled(folder.path(), size);
            run(async {
                let cache = cache(folder.path(), u64::MAX);
                let (fake, cached) = open(&cache, KEY, size);
                assert_eq!(read(&cached, 0..size).await, expect(0, size, size));
                assert_eq!(fake.requests(), (0, 0), "{size}");
            });
        }
    }

    #[test]
    fn a_read_fetches_its_blocks_and_many_readers_fetch_them_once() {
        let folder = tempfile::tempdir().unwrap();
        run(async {
            let size = 10 * BLOCK - 1;
            let cache = cache(folder.path(), u64::MAX);
            let (fake, cached) = open(&cache, KEY, size);
            let at = 4 * BLOCK + 9;
            let reads = (0..20).map(|_| read(&cached, at..at + 10));
            for bytes in join_all(reads).await {
                assert_eq!(bytes, expect(at, 10, size));
            }
            assert_eq!(fake.requests(), (1, BLOCK));
            assert_eq!(read(&cached, 3 * BLOCK..size).await, expect(3 * BLOCK, size, size));
            assert_eq!(fake.requests(), (3, 7 * BLOCK - 1));
        });
    }

    #[test]
    fn a_failure_is_told_and_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        run(async {
            let cache = cache(folder.path(), u64::MAX);
            let (fake, cached) = open(&cache, KEY, 100);
            fake.failures.store(1, Ordering::SeqCst);
            let reads = join_all((0..5).map(|_| cached.clone().get(0..100))).await;
            assert_eq!(reads.iter().filter(|read| read.is_err()).count(), 1);
            assert_eq!(fake.requests().0, 2);
        });
    }

    #[test]
    fn damaged_and_foreign_files_are_fetched_again() {
        type Harm = fn(&Path);
        let write = |name: &'static str, at: u64| {
            move |folder: &Path| {
                let file = OpenOptions::new().write(true).open(file(folder, name)).unwrap();
                file.write_all_at(&[0x55; 4], at).unwrap();
            }
        };
        let shorter: Harm = |folder| {
            OpenOptions::new().write(true).open(file(folder, "data")).unwrap().set_len(7).unwrap();
        };
        let no_map: Harm = |folder| fs::remove_file(file(folder, "map")).unwrap();
        let no_data: Harm = |folder| fs::remove_file(file(folder, "data")).unwrap();
        let link: Harm = |folder| {
            fs::remove_file(file(folder, "data")).unwrap();
            std::os::unix::fs::symlink("/dev/zero", file(folder, "data")).unwrap();
        };
        let harms: [&dyn Fn(&Path); 9] = [
            &write("data", BLOCK + 3),
            &write("data", 0),
            &write("map", 128),
            &write("map", 128 + 4),
            &write("map", 3),
            &shorter,
            &no_map,
            &no_data,
            &link,
        ];
        let size = 2 * BLOCK + 77;
        for (number, harm) in harms.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            filled(folder.path(), size);
            harm(folder.path());
            run(async {
                let cache = cache(folder.path(), u64::MAX);
                let (fake, cached) = open(&cache, KEY, size);
                assert_eq!(read(&cached, 0..size).await, expect(0, size, size), "{number}");
                assert!(fake.requests().0 > 0, "{number}");
                cache.settled().await;
                assert_eq!(read(&cached, 0..size).await, expect(0, size, size), "{number}");
                assert_eq!(fake.requests().0, 1, "{number}");
            });
        }
    }

    /// The place of the object in a folder.
    fn place(folder: &Path) -> PathBuf {
        file(folder, "").components().collect()
    }

    /// Fetches a small object into `folder`, as a file.
    fn filled_small(folder: &Path, size: u64) {
        run(async {
            let cache = with_files(folder, u64::MAX);
            let (fake, cached) = open(&cache, KEY, size);
            assert!(!place(folder).exists(), "nothing is made before the bytes are here");
            assert_eq!(read(&cached, 0..size.min(1)).await, expect(0, size.min(1), size));
            cache.settled().await;
            assert_eq!(read(&cached, 0..size).await, expect(0, size, size));
            assert_eq!(fake.requests(), (1, size));
            assert!(place(folder).is_file() && open(&cache, KEY, size).1.entry.whole().is_some());
        });
    }

    #[test]
    fn a_small_object_is_a_file_that_the_next_mount_finds() {
        for size in [0, 1, BLOCK, SMALL] {
            let folder = tempfile::tempdir().unwrap();
            filled_small(folder.path(), size);
            run(async {
                let (one, two) = (with_files(folder.path(), 1 << 30), with_files(folder.path(), 1));
                for cache in [&one, &two] {
                    let (fake, cached) = open(cache, KEY, size);
                    assert_eq!(read(&cached, 0..size).await, expect(0, size, size));
                    assert_eq!(fake.requests(), (0, 0), "{size}");
                }
            });
            let whole = upkeep::Verified { objects: 1, blocks: 1, damaged: 0 };
            assert_eq!(upkeep::verify(folder.path(), &mut |_| ()).unwrap(), whole);
        }
    }

    #[test]
    fn a_small_object_that_is_damaged_or_left_over_is_fetched_again() {
        type Harm = fn(&Path);
        let harms: [Harm; 6] = [
            |file| {
                OpenOptions::new().write(true).open(file).unwrap().write_all_at(b"x", 9).unwrap()
            },
            |file| OpenOptions::new().write(true).open(file).unwrap().set_len(7).unwrap(),
            |file| OpenOptions::new().write(true).open(file).unwrap().set_len(1 << 40).unwrap(),
            |file| fs::remove_file(file).unwrap(),
            // As a kill leaves it: without a mark.
            |file| {
                let whole = fs::read(file).unwrap();
                fs::remove_file(file).unwrap();
                fs::write(file, whole).unwrap();
            },
            |file| {
                fs::remove_file(file).unwrap();
                std::os::unix::fs::symlink("/dev/zero", file).unwrap();
            },
        ];
        let size = BLOCK + 77;
        for (number, harm) in harms.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            filled_small(folder.path(), size);
            harm(&place(folder.path()));
            run(async {
                let cache = with_files(folder.path(), u64::MAX);
                let (fake, cached) = open(&cache, KEY, size);
                assert_eq!(read(&cached, 0..size).await, expect(0, size, size), "{number}");
                cache.settled().await;
                assert_eq!(read(&cached, 0..size).await, expect(0, size, size), "{number}");
                assert_eq!(fake.requests().0, 1, "{number}");
            });
        }
    }

    #[test]
    fn what_two_mounts_fetch_at_a_time_is_kept_once_and_found_by_both() {
        let (folder, size) = (tempfile::tempdir().unwrap(), BLOCK);
        run(async {
            let caches = [(); 2].map(|()| with_files(folder.path(), u64::MAX));
            let opened = caches.each_ref().map(|cache| open(cache, KEY, size));
            for (fake, cached) in &opened {
                assert_eq!(read(cached, 0..size).await, expect(0, size, size));
                assert_eq!(fake.requests().0, 1);
                caches[0].settled().await;
                caches[1].settled().await;
            }
            for (_, cached) in &opened {
                assert!(cached.entry.is_here());
            }
        });
    }

    #[test]
    fn a_lock_is_kept_a_moment_after_the_last_use_and_given_up_for_room() {
        let (folder, size) = (tempfile::tempdir().unwrap(), 10);
        filled_small(folder.path(), size);
        let cache = with_files(folder.path(), u64::MAX);
        let is_unused = || {
            let file = OpenOptions::new().write(true).open(place(folder.path())).unwrap();
            file.try_lock().is_ok()
        };
        let held = cache.entry(KEY, size).expect("an entry");
        cache.opened.let_go();
        assert!(!is_unused());
        drop(held);
        cache.opened.let_go();
        assert!(is_unused());
        let held = cache.entry(KEY, size).expect("an entry, locked anew");
        assert!(!is_unused());
        drop(held);
        assert_eq!(upkeep::clear(folder.path()).unwrap().removed.objects, 1);
        assert!(cache.entry(KEY, size).is_some_and(|(entry, _)| !entry.is_here()));
    }

    #[test]
    fn files_of_another_object_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 100);
        run(async {
            let cache = cache(folder.path(), u64::MAX);
            let (fake, cached) = open(&cache, KEY, 99);
            assert_eq!(read(&cached, 0..99).await, expect(0, 99, 99));
            assert_eq!(fake.requests(), (1, 99));
        });
    }

    #[test]
    fn without_room_reading_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("objects"), "in the way").unwrap();
        let cache = cache(folder.path(), u64::MAX);
        assert!(cache.entry(KEY, 10).is_none());
        assert!(super::tests::cache(folder.path(), 0).entry(KEY, 10).is_none());
    }

    #[test]
    fn an_object_too_large_for_the_disk_leaves_room_for_others() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), u64::MAX);
        for size in [u64::MAX, i64::MAX as u64, 1 << 62] {
            assert!(cache.entry(Key([1; 16]), size).is_none(), "{size}");
        }
        assert!(cache.room.has_room() && cache.entry(KEY, 10).is_some());
    }

    #[test]
    fn the_longest_unused_goes_first_and_what_is_open_stays() {
        let folder = tempfile::tempdir().unwrap();
        let key = |n: u8| Key([n; 16]);
        let age = |n: u8| std::time::SystemTime::now() - std::time::Duration::from_secs(n.into());
        run(async {
            let all = cache(folder.path(), u64::MAX);
            for n in 1..=9 {
                let (_, cached) = open(&all, key(n), 100_000);
                read(&cached, 0..100_000).await;
                all.settled().await;
                let map = folder.path().join("objects").join(format!("{n:02x}"));
                let map = map.join(format!("{n:02x}").repeat(15)).join("map");
                OpenOptions::new().write(true).open(map).unwrap().set_modified(age(n)).unwrap();
            }
            let held = open(&all, key(9), 100_000);
            all.opened.let_go();
            room::make_room(&folder.path().join("objects"), 500_000, 0);
            drop(held);
        });
        let left = room::kept(&folder.path().join("objects"));
        assert!(left.iter().map(|one| one.bytes).sum::<u64>() <= 500_000);
        let names: Vec<_> = left.iter().map(|one| one.folder.clone()).collect();
        let is_left = |n: u8| {
            names.iter().any(|f| f.to_string_lossy().ends_with(&format!("{n:02x}").repeat(15)))
        };
        assert!(is_left(9) && is_left(1) && !is_left(8) && !is_left(7), "{names:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn any_reads_of_any_openings_are_right(
            size in 1..4 * BLOCK,
            rounds in prop::collection::vec(
                (prop::collection::vec((0..4 * BLOCK, 1..100_000_u64), 1..6), 0..2_usize), 1..4),
        ) {
            let folder = tempfile::tempdir().unwrap();
            for (reads, failures) in rounds {
                run(async {
                    let cache = cache(folder.path(), u64::MAX);
                    let (fake, cached) = open(&cache, KEY, size);
                    fake.failures.store(failures, Ordering::SeqCst);
                    let got = join_all(reads.iter().map(|(at, n)| {
                        let at = *at.min(&(size - 1));
                        cached.clone().get(at..(at + n).min(size))
                    })).await;
                    for (bytes, (at, n)) in got.into_iter().zip(&reads) {
                        match bytes {
                            Ok(bytes) => assert_eq!(bytes, expect(*at.min(&(size - 1)), *n, size)),
                            Err(_) => assert!(failures > 0),
                        }
                    }
                });
            }
        }
    }
}

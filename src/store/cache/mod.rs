//! The cache on disk: fetched objects are not fetched again, by this mount or the next.
//!
//! Every object has a place below `objects/`, named by a hash of its identity. A small one is a file there,
//! created once its bytes have arrived; any other is a folder: `data`, a sparse file, and `map`, which records
//! the blocks that are present. Files are created whole and removed whole, never truncated: a reader holds a
//! shared lock on the file or the map, and eviction skips locked objects. Nothing is trusted before its
//! checksum matched. If the disk is full, reads bypass the cache.
//!
//! | file | contents |
//! |---|---|
//! | [`held`] | one object, and the holds that protect it |
//! | [`small`], [`mark`] | a small object: its file, and the mark of a complete one |
//! | [`mod@entry`], [`trust`] | any other object: blocks read, verified, written; the set of trusted blocks |
//! | [`mod@map`] | the blocks that are present, on disk |
//! | [`files`] | opening, creation and removal of files |
//! | [`opened`], [`linger`] | objects with open files, and locks kept for a moment more |
//! | [`nowait`] | reads from the page cache |
//! | [`flight`] | one fetch per block |
//! | [`writer`] | the queue of writes in the background |
//! | [`room`] | size limits and eviction |
//! | [`seal`] | complete large objects: synced and marked for later mounts |
//! | [`upkeep`] | the operations of `dcfs cache` |

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
mod writer;

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
pub use self::writer::Writer;

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
use super::stream::{Ranges, Rest};
use super::window;
use dcfs_core::cancel;
use dcfs_core::object::Object;

/// The folder of objects in a cache directory.
const OBJECTS: &str = "objects";

/// The largest object that is stored as one file: anything that is fetched whole ([`window`]).
const SMALL: u64 = window::FIRST;

/// Limit of bytes that wait to be written; a reader that would exceed it waits for the disk.
const WAITING: usize = 32 << 20;

/// The least that a write counts for: this bounds the number of waiting writes ([`WAITING`] divided by this).
const LEAST: usize = 512 << 10;

/// The identity of an object: its server, and every part of its row that distinguishes it from other objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// `None` if neither a version nor an etag tells the object from a replacement: such an object must be
    /// requested again.
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

/// The cached objects of one cache directory.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    opened: Arc<Opened>,
    room: Arc<Room>,
    waiting: Arc<Semaphore>,
    writer: Arc<Writer>,
    /// The largest object that is stored as one file.
    small: u64,
    /// Whether the disk has no extended attributes.
    lacks_marks: Arc<AtomicBool>,
    sealer: Arc<Sealer>,
}

impl Cache {
    /// Creates nothing on disk before something is stored.
    pub fn new(config: &CacheConfig) -> Self {
        let root = config.folder.join(OBJECTS);
        let opened = Arc::new(Opened::new(config.open));
        // A thread that makes room must not keep files open that are closed meanwhile.
        let removed = Arc::downgrade(&opened);
        let let_go = move || {
            if let Some(opened) = removed.upgrade() {
                opened.let_go();
            }
        };
        let room = Room::new(root.clone(), config, let_go);
        let waiting = Arc::new(Semaphore::new(WAITING));
        let (lacks_marks, sealer, writer) = Default::default();
        let room = Arc::new(room);
        Self { root, opened, room, waiting, writer, small: SMALL, lacks_marks, sealer }
    }

    /// Whether anything is cached.
    pub fn is_wanted(&self) -> bool {
        self.room.is_wanted()
    }

    /// Whether an object of this size is stored as one file, which is not created before its bytes have arrived.
    pub const fn is_small(&self, size: u64) -> bool {
        size <= self.small
    }

    /// The queue of its writes.
    pub fn writer(&self) -> Arc<Writer> {
        Arc::clone(&self.writer)
    }

    /// The files of an object, shared by all that have it open, with a hold. `None` if nothing can be stored, and for hurried work if
    /// that would have to create or remove files. Blocks on the disk.
    pub fn entry(&self, key: Key, size: u64) -> Option<(Arc<Entry>, Hold)> {
        if !self.room.is_wanted() {
            return None;
        }
        // An entry that was removed meanwhile is created again.
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
        let is_small = self.is_small(size) && !self.lacks_marks.load(Ordering::Relaxed);
        let form = Form::open(&self.folder(key), key, size, is_small);
        let failed = |error: &std::io::Error| {
            if !cancel::is_hurried() {
                self.room.failed(error);
            }
        };
        let form = form.inspect_err(failed).ok()??;
        Some(self.opened.entry(size, form))
    }

    /// Checks again for absent data; returns whether the disk can store an object in this form.
    fn is_kept(&self, entry: &Entry) -> bool {
        entry.look();
        entry.is_here() || !self.lacks_marks.load(Ordering::Relaxed)
    }

    /// The number of bytes of a range of an object that are cached, by its map, and whether that is all of it;
    /// creates and verifies nothing. Blocks on the disk.
    pub fn kept(&self, key: Key, size: u64, part: &Range<u64>) -> (u64, bool) {
        match self.room.is_wanted() {
            true => files::kept(&self.folder(key), key, size, part),
            false => (0, false),
        }
    }

    /// Waits until all pending writes are done, and complete objects are marked as such.
    pub async fn settled(&self) {
        self.writer.hurry();
        let _ = self.waiting.acquire_many(u32::try_from(WAITING).unwrap_or(u32::MAX)).await;
        self.sealer.settled().await;
    }

    fn folder(&self, key: Key) -> PathBuf {
        let name = key.to_string();
        self.root.join(&name[..2]).join(&name[2..])
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.opened.close();
    }
}

/// An object of a store, read through the cache.
pub struct Cached {
    entry: Arc<Entry>,
    _hold: Hold,
    /// The whole object.
    object: Arc<dyn Ranges>,
    room: Arc<Room>,
    waiting: Arc<Semaphore>,
    writer: Arc<Writer>,
    lacks_marks: Arc<AtomicBool>,
    sealer: Arc<Sealer>,
}

impl Cached {
    pub fn new(cache: &Cache, (entry, hold): (Arc<Entry>, Hold), object: Arc<dyn Ranges>) -> Self {
        let (room, waiting) = (Arc::clone(&cache.room), Arc::clone(&cache.waiting));
        let lacks_marks = Arc::clone(&cache.lacks_marks);
        let (sealer, writer) = (Arc::clone(&cache.sealer), Arc::clone(&cache.writer));
        // If an earlier mount marked it as complete, it is verified in the background while it is read.
        sealer.take(&entry);
        Self { entry, _hold: hold, object, room, waiting, writer, lacks_marks, sealer }
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
                Err(busy) => {
                    self.writer.hurry();
                    busy.over().await;
                }
                // Others fetched some of it in between.
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

    /// Fetches the missing blocks of `stretch`, with one request if they are in many parts, unless another task already
    /// fetches some of them.
    async fn complete(&self, stretch: Range<u64>) -> Result<(), Error> {
        let runs = joined(self.runs(&stretch).await?);
        let missing = missing(&runs);
        if !missing.is_empty()
            && let Ok(claims) = self.entry.flights.claim(&missing)
        {
            let fetched = runs.iter().filter(|run| !run.is_here);
            for (run, claim) in fetched.zip(claims) {
                self.keep(run.range.start, self.piece(run).await?, claim).await;
            }
        }
        Ok(())
    }

    /// Returns all of `aligned`: present blocks from the disk, missing ones from the store, which are then
    /// cached.
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

    /// Writes bytes in the background. The claim ends with the write: then they are present, or anybody may
    /// fetch them again.
    async fn keep(&self, start: u64, bytes: Bytes, claim: Claim) {
        if !self.room.has_room() {
            return;
        }
        // Small writes count for more: this bounds their number, and what each takes beside its bytes.
        let permits = u32::try_from(bytes.len().clamp(LEAST, WAITING)).unwrap_or(u32::MAX);
        let permit = match Arc::clone(&self.waiting).try_acquire_many_owned(permits) {
            Ok(permit) => permit,
            Err(_) => {
                self.writer.hurry();
                match Arc::clone(&self.waiting).acquire_many_owned(permits).await {
                    Ok(permit) => permit,
                    Err(_) => return,
                }
            }
        };
        let (entry, room) = (Arc::clone(&self.entry), Arc::clone(&self.room));
        let lacks_marks = Arc::clone(&self.lacks_marks);
        let (sealer, blocks) = (Arc::clone(&self.sealer), (bytes.len() as u64).div_ceil(BLOCK));
        entry.behind.add(blocks);
        let (count, awaited) = (bytes.len(), claim.awaited());
        let work = move || {
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
        };
        self.writer.write(count, work);
        // Those who come after the piece was queued wake it themselves.
        if awaited.is_awaited() || self.entry.is_arriving() {
            self.writer.hurry();
        }
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

/// An object that was read to its end has been verified by then.
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

    fn progressed(&self) -> Option<tokio::time::Instant> {
        self.object.progressed()
    }

    fn rest(self: Arc<Self>, at: u64) -> Option<Rest> {
        let stretch = self.entry.dense(at)?;
        let bytes = stretch.end - stretch.start;
        let work = async move {
            if let Err(error) = self.complete(stretch).await {
                tracing::debug!(place = self.object.place(), %error, "a stretch is not completed");
                self.entry.failed_to_complete();
            }
        };
        Some(Rest { bytes, work: work.boxed() })
    }
}

/// Maximum of missing parts that are requested separately. If there are more, the blocks between them are fetched again:
/// bytes cost less than requests.
const PARTS: usize = 4;

/// The same runs, or one missing run if more than [`PARTS`] are missing.
fn joined(runs: Vec<Run>) -> Vec<Run> {
    let missing = missing(&runs);
    match &missing[..] {
        [first, .., last] if missing.len() > PARTS => {
            vec![Run { range: first.start..last.end, is_here: false }]
        }
        _ => runs,
    }
}

fn missing(runs: &[Run]) -> Vec<Range<u64>> {
    runs.iter().filter(|run| !run.is_here).map(|run| run.range.clone()).collect()
}

#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;

//! Blocks of names: from memory, from the cache directory, or by a range read of a shared object.
//! Wherever it comes from, a block is compared with its digest in the top before it is used.
//!
//! A thread that must not wait asks within [`hurried`]: then only memory answers.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::block::Block;
use super::level::LevelBlock;
use super::top::{Spot, Top, half};
use super::{BLOCKS, PIECE};
use crate::pack::error::PackError;
use dcfs_core::cancel;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::kept::Kept;

/// Memory for blocks of one version, in bytes: some 100 blocks. Others are read from the cache directory, in
/// a fraction of a millisecond.
const MEMORY: usize = 8 << 20;

/// How long a failing folder is left alone: what is asked meanwhile gets the same error.
const AWAY: Duration = Duration::from_secs(1);

/// Reads the file of blocks.
pub trait Source: Send + Sync {
    /// The bytes `at..at + length`, which are in one piece. May wait.
    ///
    /// # Errors
    /// Errors of the folder; [`Kind::Stale`] if the bytes do not exist there.
    fn read(&self, at: u64, length: u64) -> Result<Vec<u8>>;

    /// Hands the bytes of the file of ids, all verified, to `each`, one piece after the other. May wait.
    ///
    /// # Errors
    /// Errors of the folder, of the pieces, and of `each`.
    fn ids(&self, each: &mut dyn FnMut(&[u8]) -> Result<(), PackError>) -> Result<(), PackError>;

    /// Whether to wait for a folder that failed so: if so, the error to tell.
    fn waits(&self, error: Error) -> Option<Error>;

    /// Reports bytes that do not match their digest.
    fn refuse(&self, why: &str);
}

/// A block in memory.
#[derive(Debug)]
pub enum Item {
    Files(Block),
    Dirs(LevelBlock),
}

/// Which block: of entries of a column, or of directories of a depth of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    Files { column: u16, block: usize },
    Dirs { column: u16, depth: u16, block: usize },
}

/// The blocks of a version.
pub struct Shelf {
    pub top: Top,
    source: Box<dyn Source>,
    kept: Kept<Which, Item>,
    /// The blocks that were fetched, each where it is in the shared file; the rest is a hole. `None`
    /// if the disk cannot be written to.
    disk: Option<File>,
    /// Whether a block is not what it should be, or was waited for long enough.
    is_refused: AtomicBool,
    /// When the folder last failed, and how.
    failed: Mutex<Option<(Instant, Kind, String)>>,
    requests: AtomicU64,
}

thread_local! {
    /// Whether the thread must not wait, and whether it would have had to.
    static HURRY: Cell<(bool, bool)> = const { Cell::new((false, false)) };
}

/// Runs `ask` on a thread that must not wait; `None` if the answer takes a request or a read from
/// disk. What `ask` did meanwhile is of no use then.
pub fn hurried<T>(ask: impl FnOnce() -> T) -> Option<T> {
    /// Ends the hurry even if `ask` panics.
    struct Ends((bool, bool));
    impl Drop for Ends {
        fn drop(&mut self) {
            HURRY.set(self.0);
        }
    }
    let ends = Ends(HURRY.replace((true, false)));
    let answer = ask();
    let (_, has_missed) = HURRY.get();
    drop(ends);
    (!has_missed).then_some(answer)
}

/// # Errors
/// The thread must not wait.
pub fn may_wait() -> Result<()> {
    let (is_hurried, _) = HURRY.get();
    if !is_hurried && !cancel::is_hurried() {
        return Ok(());
    }
    HURRY.set((is_hurried, true));
    Err(Error::new(Kind::Busy, "its names are not here yet"))
}

impl Shelf {
    /// `folder` keeps the blocks that are fetched.
    pub fn new(top: Top, source: Box<dyn Source>, folder: &Path) -> Self {
        let mut options = File::options();
        let path = folder.join(BLOCKS);
        let disk =
            dcfs_disk::regular::open_with(options.read(true).write(true).create(true), &path);
        if let Err(error) = &disk {
            tracing::warn!(file = %path.display(), %error, "names are not kept on disk");
        }
        // Held for as long as the folder is in use: see `remote::retire`.
        if let Ok(disk) = &disk
            && let Err(error) = disk.lock_shared()
        {
            tracing::debug!(file = %path.display(), %error, "not locked");
        }
        Self {
            top,
            source,
            kept: Kept::new(MEMORY),
            disk: disk.ok(),
            is_refused: AtomicBool::new(false),
            failed: Mutex::default(),
            requests: AtomicU64::new(0),
        }
    }

    /// Drops what is kept on disk: another source answers from now on. What another process reads there
    /// meanwhile is not what it should be, so it asks the shared folder again.
    pub fn empty(&self) {
        let _ = self.disk.as_ref().map(|disk| disk.set_len(0));
    }

    /// Ends the use of the file on disk.
    pub fn close(&mut self) {
        self.disk = None;
    }

    /// Whether a block was gone, had other bytes than it should, or was waited for long enough: the names
    /// have to come from elsewhere.
    pub fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// The number of range reads so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether a block is in memory.
    pub fn has(&self, which: Which) -> bool {
        self.kept.ready(&which).is_some()
    }

    /// A block; together with `ahead` that follow it, if it has to be fetched.
    pub fn get(&self, which: Which, ahead: usize) -> Result<Arc<Item>, PackError> {
        if let Some(item) = self.kept.ready(&which) {
            return Ok(item);
        }
        may_wait().map_err(PackError::Other)?;
        let weigh = |item: &Item| match item {
            Item::Files(block) => block.weight(),
            Item::Dirs(block) => block.weight(),
        };
        let load = || self.load(which, ahead);
        self.kept.get(&which, weigh, load).map_err(PackError::Other)
    }

    fn load(&self, which: Which, ahead: usize) -> Result<Item> {
        cancel::check()?;
        let gone = || self.refused("no such block");
        let (spot, count) = self.spot(which).ok_or_else(gone)?;
        let bytes = match self.on_disk(spot) {
            Some(bytes) => bytes,
            None => self.fetch(which, spot, ahead)?,
        };
        let read = match which {
            Which::Files { .. } => Block::read(&bytes, count).map(Item::Files),
            Which::Dirs { .. } => LevelBlock::read(&bytes, count).map(Item::Dirs),
        };
        read.map_err(|error| self.refused(&error.to_string()))
    }

    /// Where a block is, and its number of entries or directories.
    fn spot(&self, which: Which) -> Option<(Spot, usize)> {
        match which {
            Which::Files { column, block } => {
                let column = self.top.columns.get(usize::from(column))?;
                Some((column.spot(block)?, column.range(block).len()))
            }
            Which::Dirs { column, depth, block } => {
                let column = self.top.columns.get(usize::from(column))?;
                let level = column.levels.get(usize::from(depth).checked_sub(1)?)?;
                let top = level.get(block)?;
                Some((top.spot, top.count as usize))
            }
        }
    }

    /// The block's bytes from the cache directory, if they are there and are what they should be.
    fn on_disk(&self, spot: Spot) -> Option<Vec<u8>> {
        let mut bytes = vec![0; spot.length as usize];
        self.disk.as_ref()?.read_exact_at(&mut bytes, spot.at).ok()?;
        (half(&bytes) == spot.half).then_some(bytes)
    }

    fn fetch(&self, which: Which, spot: Spot, ahead: usize) -> Result<Vec<u8>> {
        let ahead = self.ahead(which, spot, ahead);
        let end = ahead.last().map_or(spot, |last| *last);
        let length = end.at + u64::from(end.length) - spot.at;
        let mut bytes = self.read(spot.at, length)?;
        if !self.holds(&bytes, spot, spot.at) {
            // Perhaps the connection, or what is between: once more, and this block alone.
            bytes = self.read(spot.at, spot.length.into())?;
        }
        if !self.holds(&bytes, spot, spot.at) {
            return Err(self.refused("a block is not what the catalog says"));
        }
        for other in ahead.into_iter().filter(|other| self.holds(&bytes, *other, spot.at)) {
            let start = (other.at - spot.at) as usize;
            self.keep(other.at, &bytes[start..start + other.length as usize]);
        }
        bytes.truncate(spot.length as usize);
        self.keep(spot.at, &bytes);
        Ok(bytes)
    }

    /// Whether bytes that begin at `from` contain a block.
    fn holds(&self, bytes: &[u8], spot: Spot, from: u64) -> bool {
        let start = (spot.at - from) as usize;
        let found = bytes.get(start..start + spot.length as usize);
        found.is_some_and(|bytes| half(bytes) == spot.half)
    }

    fn keep(&self, at: u64, bytes: &[u8]) {
        // A disk that is full costs requests, and nothing else.
        let _ = self.disk.as_ref().map(|disk| disk.write_all_at(bytes, at));
    }

    /// At most so many blocks of entries that follow one directly, in the same piece.
    fn ahead(&self, which: Which, spot: Spot, most: usize) -> Vec<Spot> {
        let Which::Files { column, block } = which else { return Vec::new() };
        let next = |block| self.spot(Which::Files { column, block }).map(|(spot, _)| spot);
        let mut end = spot.at + u64::from(spot.length);
        let mut found = Vec::new();
        while found.len() < most
            && let Some(spot) = next(block + 1 + found.len())
            && spot.at == end
            && !end.is_multiple_of(PIECE)
        {
            end += u64::from(spot.length);
            found.push(spot);
        }
        found
    }

    /// A range read; a folder that just failed is not asked.
    fn read(&self, at: u64, length: u64) -> Result<Vec<u8>> {
        {
            let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, kind, why)) = failed.as_ref().filter(|f| f.0.elapsed() < AWAY) {
                tracing::trace!(?since, "names are not asked for");
                return Err(Error::new(*kind, why.clone()));
            }
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let read = self.source.read(at, length);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(bytes) => {
                *failed = None;
                Ok(bytes)
            }
            Err(error) if error.kind() == Kind::Stale => Err(self.refused(&error.to_string())),
            Err(error) => {
                let Some(told) = self.waits(error) else {
                    let why = "names could not be read for `patience`; the whole pack is used";
                    return Err(Error::new(Kind::Broken, why));
                };
                let why = format!("names cannot be read: {told}");
                tracing::warn!("{why}");
                *failed = Some((Instant::now(), told.kind(), why.clone()));
                Err(Error::new(told.kind(), why))
            }
        }
    }

    /// The bytes of the file of ids: see [`Source::ids`].
    pub fn ids(
        &self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        self.source.ids(each)
    }

    /// As [`Source::waits`]; if nobody waits any more, the names have to come from elsewhere.
    pub(super) fn waits(&self, error: Error) -> Option<Error> {
        let why = error.to_string();
        let told = self.source.waits(error);
        if told.is_none() && !self.is_refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(why, "names could not be read for `patience`; the whole pack is used");
        }
        told
    }

    pub(super) fn refused(&self, why: &str) -> Error {
        self.is_refused.store(true, Ordering::Relaxed);
        self.source.refuse(why);
        Error::new(Kind::Broken, format!("shared names: {why}"))
    }
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("top", &self.top.weight()).finish_non_exhaustive()
    }
}

//! A cached object in blocks: a sparse file, whose blocks are checked before they are trusted.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::Key;
use super::files::{self, Files};
use super::map::{self, BLOCK, Map, Sum};
use super::nowait;
use super::trust::{Seal, Stamp, Verified};
use dcfs_core::cancel;

/// Objects up to this size are compared with their checksums when they are opened.
pub const CHECKED_AT_OPEN: u64 = 2 << 20;

/// Bytes that are checksummed and then written at a time: a whole number of blocks.
const STEP: usize = 256 << 10;

/// A stretch that is completed once half of it is present: the size of one kernel request. A reader of one of its blocks
/// waits for all of it, so it must not be large on a slow connection: 1 MiB takes 2.6 s at 400 KB/s.
const STRETCH: u64 = 1 << 20;

/// A cached object, with both its files open.
#[derive(Debug)]
pub struct Blocks {
    folder: PathBuf,
    size: u64,
    data: Arc<File>,
    map: Map,
    /// Whether the map is locked against removal.
    is_locked: AtomicBool,
    verified: Mutex<Verified>,
    /// One writer at a time; readers do not wait for it.
    writing: Mutex<()>,
}

/// A run of consecutive blocks, and whether they are present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// In bytes of the object.
    pub range: Range<u64>,
    pub is_here: bool,
}

/// Unlocks explicitly, for the reason that `Small` has.
impl Drop for Blocks {
    fn drop(&mut self) {
        if self.is_locked.load(Ordering::Relaxed) {
            self.unlock();
        }
    }
}

impl Blocks {
    /// Opens or creates the files, as [`files::open_or_make`].
    ///
    /// # Errors
    /// The disk is full, the folder is not writable, the object is too large for the disk.
    pub fn open(folder: &Path, key: Key, size: u64) -> io::Result<Option<Self>> {
        let found = files::open_or_make(folder, key, size)?;
        Ok(found.map(|found| Self::of(folder, size, found)))
    }

    /// The existing files, if they belong to the object; creates and removes nothing.
    pub fn existing(folder: &Path, key: Key, size: u64) -> Option<Self> {
        files::existing(folder, key, size).map(|found| Self::of(folder, size, found))
    }

    fn of(folder: &Path, size: u64, (data, map): Files) -> Self {
        let (folder, data) = (folder.to_owned(), Arc::new(data));
        let (is_locked, verified, writing) = Default::default();
        Self { folder, size, data, map, is_locked, verified, writing }
    }

    /// Whether its files were removed.
    pub fn is_gone(&self) -> bool {
        Stamp::of(&self.data).is_none_or(Stamp::is_gone)
    }

    /// Whether none of these blocks is present. `false` if that cannot be determined without waiting.
    pub fn lacks_now(&self, aligned: &Range<u64>) -> bool {
        let sums = self.map.sums_now(&numbers(aligned));
        sums.is_some_and(|sums| sums.iter().all(Option::is_none))
    }

    /// Locks the files against removal; `false` if they have been removed, or are being. Not called
    /// concurrently.
    pub fn lock(&self) -> bool {
        if !self.is_locked.load(Ordering::Relaxed) {
            let is_ours = files::lock(self.map.file()).is_ok_and(|is_ours| is_ours);
            self.is_locked.store(is_ours, Ordering::Relaxed);
        }
        self.is_locked.load(Ordering::Relaxed)
    }

    /// Not called concurrently.
    pub fn unlock(&self) {
        self.is_locked.store(false, Ordering::Relaxed);
        let _ = self.map.file().unlock();
    }

    /// Marks the object as recently used, for eviction.
    pub fn note(&self) {
        let _ = self.map.file().set_modified(SystemTime::now());
    }

    /// The data file, if it is complete and every checksum matched, or it is unchanged since it was sealed.
    /// Checked at every open: changes by others invalidate it.
    pub fn whole(&self) -> Option<Arc<File>> {
        let is_whole = self.is_checked() || self.is_sealed();
        is_whole.then(|| Arc::clone(&self.data))
    }

    /// Whether it is complete and every checksum was verified in this process.
    pub fn is_checked(&self) -> bool {
        let mut verified = self.verified();
        verified.follow(&self.data);
        verified.is_quiet() && verified.has(&(0..map::blocks(self.size)))
    }

    /// Whether it was once complete and synced, by any process, and has not been written since.
    pub fn is_sealed(&self) -> bool {
        self.is_large() && self.map.seal().is_some_and(|seal| Seal::of(&self.data) == Some(seal))
    }

    /// Whether no work is left for later: it is both verified and sealed, or it is incomplete.
    pub fn is_settled(&self) -> bool {
        self.is_checked() == self.is_sealed()
    }

    /// Small objects are compared when they are opened, and not worth an fsync.
    pub fn is_large(&self) -> bool {
        self.size > CHECKED_AT_OPEN
    }

    /// Syncs a complete object to disk, and records its state then. Blocks on the disk.
    ///
    /// # Errors
    /// The disk fails.
    pub fn seal(&self) -> io::Result<()> {
        let before = Seal::of(&self.data);
        if !self.is_checked() {
            return Ok(());
        }
        self.data.sync_all()?;
        let seal = before.filter(|seal| Seal::of(&self.data) == Some(*seal));
        // No block may be dropped in between: the object would be marked complete without it.
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match seal.filter(|_| self.is_checked()) {
            Some(seal) => self.map.set_seal(Some(seal)),
            None => Ok(()),
        }
    }

    /// Whether it lacks only the `behind` blocks that are waiting to be written.
    pub fn is_arriving(&self, behind: u64) -> bool {
        behind > 0 && self.verified().count() + behind >= map::blocks(self.size)
    }

    /// The stretch around the byte at `at`, if half of it is known to be present, but not all.
    pub fn dense(&self, at: u64) -> Option<Range<u64>> {
        let start = at / STRETCH * STRETCH;
        let stretch = start..start.saturating_add(STRETCH).min(self.size);
        let all = numbers(&stretch);
        let here = self.verified().among(&all);
        let is_dense = here * 2 >= all.end - all.start && here < all.end - all.start;
        is_dense.then_some(stretch)
    }

    /// The smallest range of whole blocks that contains `range`.
    pub fn aligned(&self, range: &Range<u64>) -> Range<u64> {
        let end = range.end.div_ceil(BLOCK).saturating_mul(BLOCK).min(self.size);
        range.start / BLOCK * BLOCK..end.max(range.end)
    }

    /// The bytes of `range`, if all are present and valid. Blocks on the disk.
    pub fn read(&self, range: &Range<u64>) -> Option<Bytes> {
        let aligned = self.aligned(range);
        if self.is_verified(&aligned) {
            return self.bytes(range).or_else(|| {
                self.distrust(&aligned);
                None
            });
        }
        self.part(&self.checked(&aligned)?, &aligned, range)
    }

    /// The bytes of `range`, if all are present, valid and in the page cache: never blocks on the disk.
    pub fn read_now(&self, range: &Range<u64>) -> Option<Bytes> {
        let aligned = self.aligned(range);
        if self.is_verified(&aligned) {
            return self.bytes_now(range);
        }
        let before = Stamp::of(&self.data);
        let sums = self.map.sums_now(&numbers(&aligned))?;
        let bytes = self.bytes_now(&aligned)?;
        let same = blocks(&bytes).map(|block| Some(Sum::of(block))).eq(sums);
        // Damage is handled by callers that may block.
        same.then(|| self.believe(&aligned, before))?;
        self.part(&bytes, &aligned, range)
    }

    fn bytes_now(&self, range: &Range<u64>) -> Option<Bytes> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        let found = nowait::read_at(&self.data, &mut bytes, range.start)?;
        (found == bytes.len()).then(|| bytes.into())
    }

    /// Cuts `range` out of the bytes of whole blocks.
    fn part(&self, bytes: &Bytes, aligned: &Range<u64>, range: &Range<u64>) -> Option<Bytes> {
        let start = usize::try_from(range.start - aligned.start).ok()?;
        let end = start + usize::try_from(range.end - range.start).ok()?;
        Some(bytes.slice(start..end))
    }

    /// The runs of present and missing blocks in `aligned`.
    pub fn runs(&self, aligned: &Range<u64>) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for block in numbers(aligned) {
            let range = self.block(block);
            let is_here = self.is_verified(&range) || self.checked(&range).is_some();
            match runs.last_mut() {
                Some(last) if last.is_here == is_here => last.range.end = range.end,
                _ => runs.push(Run { range, is_here }),
            }
        }
        runs
    }

    /// Verifies all checksums, if the object is complete.
    pub fn check(&self) {
        let all = 0..self.size;
        if !self.is_verified(&all) {
            self.checked(&all);
        }
    }

    /// Bytes that [`Blocks::compare`] verifies at a time.
    pub const SLICE: u64 = 4 << 20;

    /// Verifies the [`Blocks::SLICE`] at `start`; returns the start of the next one, if there is one and this
    /// one is valid. Damaged blocks are dropped.
    pub fn compare(&self, start: u64) -> Option<u64> {
        let slice = start..start.saturating_add(Self::SLICE).min(self.size);
        let holds = self.is_verified(&slice) || self.checked(&slice).is_some();
        (holds && slice.end < self.size).then_some(slice.end)
    }

    /// Verifies every block: the number of blocks, and of damaged ones.
    pub fn verify(&self) -> (u64, u64) {
        let (mut found, mut damaged) = (0, 0);
        for number in 0..map::blocks(self.size) {
            let is_there = self.map.sums(&(number..number + 1)).is_ok_and(|sums| sums[0].is_some());
            if is_there {
                found += 1;
                damaged += u64::from(self.checked(&self.block(number)).is_none());
            }
        }
        (found, damaged)
    }

    /// Stores whole blocks that begin at `start`.
    pub fn write(&self, start: u64, bytes: &[u8]) -> io::Result<()> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.verified().write(&self.data);
        let written = self.sum_and_write(start, bytes);
        let noted = written.and_then(|sums| self.map.set(start / BLOCK, &sums));
        let blocks = numbers(&(start..start + bytes.len() as u64));
        self.verified().wrote(noted.is_ok().then_some(&blocks), &self.data);
        noted
    }

    /// Works in small steps, so that the bytes are still in the processor's cache when they are written.
    fn sum_and_write(&self, start: u64, bytes: &[u8]) -> io::Result<Vec<Option<Sum>>> {
        if bytes.is_empty() {
            return Ok(vec![Some(Sum::of(bytes))]);
        }
        let mut sums = Vec::with_capacity(bytes.len() / BLOCK as usize + 1);
        let mut at = start;
        for some in bytes.chunks(STEP) {
            sums.extend(blocks(some).map(|block| Some(Sum::of(block))));
            self.data.write_all_at(some, at)?;
            at += some.len() as u64;
        }
        Ok(sums)
    }

    /// The bytes of whole blocks, if all are present and their checksums match. Damaged blocks are dropped.
    fn checked(&self, aligned: &Range<u64>) -> Option<Bytes> {
        let (numbers, before) = (numbers(aligned), Stamp::of(&self.data));
        let sums = self.map.sums(&numbers).ok()?;
        if sums.len() as u64 != numbers.end - numbers.start || sums.iter().any(Option::is_none) {
            return None;
        }
        let bytes = self.bytes(aligned);
        // `data` may have been truncated.
        let blocks: Vec<&[u8]> = bytes.as_deref().map(blocks).into_iter().flatten().collect();
        let mut all_hold = true;
        for (at, (number, sum)) in numbers.zip(sums).enumerate() {
            if blocks.get(at).map(|block| Sum::of(block)) != sum {
                all_hold = false;
                self.forget(number);
            }
        }
        if !all_hold {
            return None;
        }
        self.believe(aligned, before);
        bytes
    }

    /// Drops a damaged block, which is then fetched again. Hurried work leaves that to whoever reads it.
    fn forget(&self, block: u64) {
        if cancel::is_hurried() {
            return;
        }
        tracing::warn!(folder = %self.folder.display(), block, "a cached block is damaged; fetched again");
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.verified().forget(&(block..block + 1));
        let _ = self.map.set_seal(None).and_then(|()| self.map.set(block, &[None]));
    }

    fn bytes(&self, range: &Range<u64>) -> Option<Bytes> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        self.data.read_exact_at(&mut bytes, range.start).ok()?;
        Some(bytes.into())
    }

    fn is_verified(&self, aligned: &Range<u64>) -> bool {
        self.verified().has(&numbers(aligned))
    }

    /// Trusts blocks that were read and verified after `before`.
    fn believe(&self, aligned: &Range<u64>, before: Option<Stamp>) {
        self.verified().believe(&numbers(aligned), &self.data, before);
    }

    /// Stops trusting blocks: `data` lost them.
    fn distrust(&self, aligned: &Range<u64>) {
        self.verified().forget(&numbers(aligned));
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block(&self, number: u64) -> Range<u64> {
        number * BLOCK..((number + 1) * BLOCK).min(self.size)
    }
}

/// Splits bytes that begin at a block boundary into blocks; an empty object has one empty block.
fn blocks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let none: &[&[u8]] = if bytes.is_empty() { &[&[]] } else { &[] };
    none.iter().copied().chain(bytes.chunks(BLOCK as usize))
}

/// The block numbers of a range that begins at a block boundary; an empty range is the block of an empty
/// object.
fn numbers(aligned: &Range<u64>) -> Range<u64> {
    aligned.start / BLOCK..aligned.end.div_ceil(BLOCK).max(aligned.start / BLOCK + 1)
}

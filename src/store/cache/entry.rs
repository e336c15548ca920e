//! A cached object in blocks: a sparse file of them, each checked before it is believed.

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

/// Objects up to this size are compared with their checksums as they are opened.
pub const CHECKED_AT_OPEN: u64 = 2 << 20;

/// Bytes that are summed and then written at a time: a whole number of blocks.
const STEP: usize = 256 << 10;

/// A cached object, both its files open.
#[derive(Debug)]
pub struct Blocks {
    folder: PathBuf,
    size: u64,
    data: Arc<File>,
    map: Map,
    /// The map is locked against removal.
    is_locked: AtomicBool,
    verified: Mutex<Verified>,
    /// One writes at a time; who reads does not wait for that.
    writing: Mutex<()>,
}

/// Some blocks in a row, and whether they are here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// In bytes of the object.
    pub range: Range<u64>,
    pub is_here: bool,
}

impl Blocks {
    /// As [`files::open_or_make`].
    ///
    /// # Errors
    /// The disk is full, the folder cannot be written, the object is too large for the disk.
    pub fn open(folder: &Path, key: Key, size: u64) -> io::Result<Option<Self>> {
        let found = files::open_or_make(folder, key, size)?;
        Ok(found.map(|found| Self::of(folder, size, found)))
    }

    /// What is there, if it is of the object; nothing is made or removed.
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

    /// Whether none of these blocks is here. `false` where that cannot be told without a wait.
    pub fn lacks_now(&self, aligned: &Range<u64>) -> bool {
        let sums = self.map.sums_now(&numbers(aligned));
        sums.is_some_and(|sums| sums.iter().all(Option::is_none))
    }

    /// Keeps the files from being removed; `false` where they were, or are being. Called by one at a time.
    pub fn lock(&self) -> bool {
        if !self.is_locked.load(Ordering::Relaxed) {
            let is_ours = files::lock(self.map.file()).is_ok_and(|is_ours| is_ours);
            self.is_locked.store(is_ours, Ordering::Relaxed);
        }
        self.is_locked.load(Ordering::Relaxed)
    }

    /// Called by one at a time.
    pub fn unlock(&self) {
        self.is_locked.store(false, Ordering::Relaxed);
        let _ = self.map.file().unlock();
    }

    /// Notes that the object is wanted, for whoever makes room.
    pub fn note(&self) {
        let _ = self.map.file().set_modified(SystemTime::now());
    }

    /// `data`, if all of it is there and every checksum held, or it is as it was when it was sealed. Asked at every
    /// open: what somebody else wrote since is believed no more.
    pub fn whole(&self) -> Option<Arc<File>> {
        let is_whole = self.is_checked() || self.is_sealed();
        is_whole.then(|| Arc::clone(&self.data))
    }

    /// Whether all of it is there and every checksum held in this process.
    pub fn is_checked(&self) -> bool {
        let mut verified = self.verified();
        verified.follow(&self.data);
        verified.is_quiet() && verified.has(&(0..map::blocks(self.size)))
    }

    /// Whether it was whole and on the disk once, by whatever process, and nobody wrote it since.
    pub fn is_sealed(&self) -> bool {
        self.is_large() && self.map.seal().is_some_and(|seal| Seal::of(&self.data) == Some(seal))
    }

    /// Whether it is both checked here and sealed, or there is not all of it: nothing is to be done for later.
    pub fn is_settled(&self) -> bool {
        self.is_checked() == self.is_sealed()
    }

    /// Small ones are compared as they are opened, and not worth a sync.
    pub fn is_large(&self) -> bool {
        self.size > CHECKED_AT_OPEN
    }

    /// Has the disk keep what is whole, and notes what it is like then. Waits for the disk.
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
        // Nobody forgets a block in between: then it would be marked whole without it.
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match seal.filter(|_| self.is_checked()) {
            Some(seal) => self.map.set_seal(Some(seal)),
            None => Ok(()),
        }
    }

    /// Whether `behind` blocks that wait to be written are all that it lacks.
    pub fn is_arriving(&self, behind: u64) -> bool {
        behind > 0 && self.verified().count() + behind >= map::blocks(self.size)
    }

    /// The smallest range of whole blocks that holds `range`.
    pub fn aligned(&self, range: &Range<u64>) -> Range<u64> {
        let end = range.end.div_ceil(BLOCK).saturating_mul(BLOCK).min(self.size);
        range.start / BLOCK * BLOCK..end.max(range.end)
    }

    /// The bytes of `range`, if all of them are here and right. Waits for the disk.
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

    /// The bytes of `range`, if all of them are here, right, and in the system's memory: never waits for the
    /// disk.
    pub fn read_now(&self, range: &Range<u64>) -> Option<Bytes> {
        let aligned = self.aligned(range);
        if self.is_verified(&aligned) {
            return self.bytes_now(range);
        }
        let before = Stamp::of(&self.data);
        let sums = self.map.sums_now(&numbers(&aligned))?;
        let bytes = self.bytes_now(&aligned)?;
        let same = blocks(&bytes).map(|block| Some(Sum::of(block))).eq(sums);
        // What is damaged is looked into by who may wait.
        same.then(|| self.believe(&aligned, before))?;
        self.part(&bytes, &aligned, range)
    }

    fn bytes_now(&self, range: &Range<u64>) -> Option<Bytes> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        let found = nowait::read_at(&self.data, &mut bytes, range.start)?;
        (found == bytes.len()).then(|| bytes.into())
    }

    /// The bytes of `range` out of those of whole blocks.
    fn part(&self, bytes: &Bytes, aligned: &Range<u64>, range: &Range<u64>) -> Option<Bytes> {
        let start = usize::try_from(range.start - aligned.start).ok()?;
        let end = start + usize::try_from(range.end - range.start).ok()?;
        Some(bytes.slice(start..end))
    }

    /// Which blocks of `aligned` are here, and which are not.
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

    /// Compares all of it with its checksums, if all is there.
    pub fn check(&self) {
        let all = 0..self.size;
        if !self.is_verified(&all) {
            self.checked(&all);
        }
    }

    /// Bytes that are compared at a time by [`Blocks::compare`].
    pub const SLICE: u64 = 4 << 20;

    /// Compares a [`Blocks::SLICE`] from `start` on with its checksums; where the next one begins, if there is one and
    /// this one holds. What is damaged is forgotten.
    pub fn compare(&self, start: u64) -> Option<u64> {
        let slice = start..start.saturating_add(Self::SLICE).min(self.size);
        let holds = self.is_verified(&slice) || self.checked(&slice).is_some();
        (holds && slice.end < self.size).then_some(slice.end)
    }

    /// Compares every block with its checksum: how many there are, and how many do not hold.
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

    /// Keeps whole blocks that begin at `start`.
    pub fn write(&self, start: u64, bytes: &[u8]) -> io::Result<()> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.verified().write(&self.data);
        let written = self.sum_and_write(start, bytes);
        let noted = written.and_then(|sums| self.map.set(start / BLOCK, &sums));
        let blocks = numbers(&(start..start + bytes.len() as u64));
        self.verified().wrote(noted.is_ok().then_some(&blocks), &self.data);
        noted
    }

    /// Some bytes at a time, so that they are still in the processor's cache when they are written.
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

    /// The bytes of whole blocks, if all are here and their checksums hold. What is damaged is forgotten.
    fn checked(&self, aligned: &Range<u64>) -> Option<Bytes> {
        let (numbers, before) = (numbers(aligned), Stamp::of(&self.data));
        let sums = self.map.sums(&numbers).ok()?;
        if sums.len() as u64 != numbers.end - numbers.start || sums.iter().any(Option::is_none) {
            return None;
        }
        let bytes = self.bytes(aligned);
        // `data` may be shorter than it was.
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

    /// A damaged block is fetched again.
    fn forget(&self, block: u64) {
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

    /// Believes what was read and compared after `before`.
    fn believe(&self, aligned: &Range<u64>, before: Option<Stamp>) {
        self.verified().believe(&numbers(aligned), &self.data, before);
    }

    /// `data` lost what it had.
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

/// The blocks of some bytes that begin with one; an empty object has an empty one.
fn blocks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let none: &[&[u8]] = if bytes.is_empty() { &[&[]] } else { &[] };
    none.iter().copied().chain(bytes.chunks(BLOCK as usize))
}

/// The numbers of the blocks of a range that begins with one; an empty range is the one of an empty object.
fn numbers(aligned: &Range<u64>) -> Range<u64> {
    aligned.start / BLOCK..aligned.end.div_ceil(BLOCK).max(aligned.start / BLOCK + 1)
}

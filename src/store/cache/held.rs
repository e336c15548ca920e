//! One cached object, in either form on disk, and the holds that protect it from eviction.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Key;
use super::entry::{Blocks, Run};
use super::flight::Flights;
use super::linger::Linger;
use super::seal::Behind;
use super::small::Small;
use dcfs_core::cancel;

/// Minimum time between two notes that an object is in use.
const WANTED: Duration = Duration::from_secs(60);

/// How long no stretch of an object is completed after that failed.
const PAUSE: Duration = Duration::from_secs(30);

/// A cached object with its files open. They are not removed while a [`Hold`] exists.
#[derive(Debug)]
pub struct Entry {
    size: u64,
    form: Form,
    users: Mutex<Users>,
    linger: Arc<Linger>,
    /// Ranges that are being fetched.
    pub flights: Flights,
    /// Blocks that have arrived and are being written.
    pub behind: Behind,
    /// When completing a stretch last failed.
    failed: Mutex<Option<Instant>>,
}

/// The form on disk.
#[derive(Debug)]
pub enum Form {
    /// In blocks, possibly incomplete: a folder.
    Blocks(Blocks),
    /// As a whole: one file.
    Small(Small),
}

/// The users of an entry.
#[derive(Debug, Default)]
struct Users {
    count: usize,
    /// Whether its lock is kept after the last use, or about to be released.
    is_lingering: bool,
    /// When it was last noted as in use.
    noted: Option<Instant>,
    /// Whether that is to be noted when its lock is released: nobody waits then.
    is_unnoted: bool,
}

/// Protects an entry's files from removal, until dropped.
#[derive(Debug)]
pub struct Hold(Arc<Entry>);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut users = self.0.users();
        users.count -= 1;
        if users.count == 0 && !std::mem::replace(&mut users.is_lingering, true) {
            drop(users);
            self.0.linger.add(&self.0);
        }
    }
}

impl Form {
    /// Opens the cached files of an object, or creates them. `None` if another process is removing them right
    /// now, and for hurried work if they may have to be created.
    ///
    /// # Errors
    /// The disk is full, the folder is not writable, the object is too large for the disk.
    pub fn open(path: &Path, key: Key, size: u64, is_small: bool) -> io::Result<Option<Self>> {
        if is_small && let Some(small) = Small::open(path, key, size)? {
            return Ok(Some(Self::Small(small)));
        }
        if cancel::is_hurried() {
            return Ok(None);
        }
        Ok(Blocks::open(path, key, size)?.map(Self::Blocks))
    }
}

impl Entry {
    pub fn new(size: u64, form: Form, linger: &Arc<Linger>) -> Self {
        let (users, flights, behind, failed) = Default::default();
        Self { size, form, users, linger: Arc::clone(linger), flights, behind, failed }
    }

    /// Checks whether another mount has fetched the object meanwhile. Blocks on the disk.
    pub fn look(&self) {
        if let Form::Small(small) = &self.form {
            let _ = small.look();
        }
    }

    /// Whether it has files.
    pub fn is_here(&self) -> bool {
        match &self.form {
            Form::Blocks(_) => true,
            Form::Small(small) => small.is_here(),
        }
    }

    /// Whether its files were removed.
    pub fn is_gone(&self) -> bool {
        match &self.form {
            Form::Blocks(blocks) => blocks.is_gone(),
            Form::Small(small) => small.is_gone(),
        }
    }

    /// Protects the files from removal, and notes that they are in use, for eviction; where that is hurried, later: the note is a
    /// write. `None` if they have been removed, or are being: the entry has to be opened again.
    pub fn hold(self: &Arc<Self>) -> Option<Hold> {
        let mut users = self.users();
        if !self.lock() {
            return None;
        }
        users.count += 1;
        if users.noted.is_none_or(|noted| noted.elapsed() > WANTED) {
            match cancel::is_hurried() {
                true => users.is_unnoted = true,
                false => self.note(&mut users),
            }
        }
        Some(Hold(Arc::clone(self)))
    }

    /// Releases the lock, if the entry has no users.
    pub fn leave(self: &Arc<Self>) {
        let mut users = self.users();
        users.is_lingering = false;
        if users.is_unnoted {
            self.note(&mut users);
        }
        if users.count == 0 {
            match &self.form {
                Form::Blocks(blocks) => blocks.unlock(),
                Form::Small(small) => small.unlock(),
            }
        }
    }

    fn lock(&self) -> bool {
        match &self.form {
            Form::Blocks(blocks) => blocks.lock(),
            Form::Small(small) => small.lock(),
        }
    }

    fn note(&self, users: &mut Users) {
        users.noted = Some(Instant::now());
        users.is_unnoted = false;
        match &self.form {
            Form::Blocks(blocks) => blocks.note(),
            Form::Small(small) => small.note(),
        }
    }

    /// A file of the complete object, if every checksum matched. Checked at every open: changes by others
    /// invalidate it.
    pub fn whole(&self) -> Option<Arc<File>> {
        match &self.form {
            Form::Blocks(blocks) => blocks.whole(),
            Form::Small(small) => small.whole(),
        }
    }

    /// Its blocks, if it is large enough to be sealed: small objects are compared when they are opened, and not
    /// worth an fsync.
    pub fn large(&self) -> Option<&Blocks> {
        match &self.form {
            Form::Blocks(blocks) => Some(blocks).filter(|blocks| blocks.is_large()),
            Form::Small(_) => None,
        }
    }

    /// Whether it lacks only blocks that are waiting to be written.
    pub fn is_arriving(&self) -> bool {
        self.large().is_some_and(|blocks| blocks.is_arriving(self.behind.count()))
    }

    /// Whether none of this range is present. `false` if that cannot be determined without waiting.
    pub fn lacks_now(&self, aligned: &Range<u64>) -> bool {
        match &self.form {
            Form::Blocks(blocks) => blocks.lacks_now(aligned),
            Form::Small(small) => !small.is_here(),
        }
    }

    /// The stretch around the byte at `at`, if half of it is present, but not all. `None` for a while after a failure.
    pub fn dense(&self, at: u64) -> Option<Range<u64>> {
        if self.failed().is_some_and(|failed| failed.elapsed() < PAUSE) {
            return None;
        }
        match &self.form {
            Form::Blocks(blocks) => blocks.dense(at),
            Form::Small(_) => None,
        }
    }

    /// Notes that a stretch could not be completed.
    pub fn failed_to_complete(&self) {
        *self.failed() = Some(Instant::now());
    }

    fn failed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The smallest storage unit that contains `range`.
    pub fn aligned(&self, range: &Range<u64>) -> Range<u64> {
        match &self.form {
            Form::Blocks(blocks) => blocks.aligned(range),
            Form::Small(_) => 0..self.size,
        }
    }

    /// The bytes of `range`, if all are present and valid. Blocks on the disk.
    pub fn read(&self, range: &Range<u64>) -> Option<Bytes> {
        match &self.form {
            Form::Blocks(blocks) => blocks.read(range),
            Form::Small(small) => small.read(range),
        }
    }

    /// The bytes of `range`, if all are present, valid and in the page cache: never blocks on the disk.
    pub fn read_now(&self, range: &Range<u64>) -> Option<Bytes> {
        match &self.form {
            Form::Blocks(blocks) => blocks.read_now(range),
            Form::Small(small) => small.read_now(range),
        }
    }

    /// The present and missing parts of `aligned`.
    pub fn runs(&self, aligned: &Range<u64>) -> Vec<Run> {
        match &self.form {
            Form::Blocks(blocks) => blocks.runs(aligned),
            Form::Small(small) => {
                let is_here = small.whole().is_some() || small.check();
                vec![Run { range: aligned.clone(), is_here }]
            }
        }
    }

    /// Verifies all checksums, if the object is complete.
    pub fn check(&self) {
        match &self.form {
            Form::Blocks(blocks) => blocks.check(),
            Form::Small(small) => {
                let _ = small.whole().is_some() || small.check();
            }
        }
    }

    /// Stores bytes that are [`Entry::aligned`] and begin at `start`.
    ///
    /// # Errors
    /// The disk is full, the folder is not writable.
    pub fn write(&self, start: u64, bytes: &[u8]) -> io::Result<()> {
        match &self.form {
            Form::Blocks(blocks) => blocks.write(start, bytes),
            Form::Small(small) => small.write(bytes),
        }
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

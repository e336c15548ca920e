//! One cached object, in whichever form the disk has it, and who keeps it there.

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

/// How often an object that is opened again and again is noted as wanted.
const WANTED: Duration = Duration::from_secs(60);

/// A cached object, its files open. While somebody has a [`Hold`] nobody removes them.
#[derive(Debug)]
pub struct Entry {
    size: u64,
    form: Form,
    users: Mutex<Users>,
    linger: Arc<Linger>,
    /// Parts that are being fetched.
    pub flights: Flights,
    /// Blocks that arrived and are being written.
    pub behind: Behind,
}

/// How an object is kept.
#[derive(Debug)]
pub enum Form {
    /// In blocks, some of which are here: a folder.
    Blocks(Blocks),
    /// As a whole: a file.
    Small(Small),
}

/// Who has an entry open.
#[derive(Debug, Default)]
struct Users {
    count: usize,
    /// Its lock is kept, or about to be given up.
    is_lingering: bool,
    /// When it was last noted as wanted.
    noted: Option<Instant>,
}

/// Keeps an entry's files from being removed, until dropped.
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
    /// What is there of an object, made if need be. `None` where another process is removing it right now.
    ///
    /// # Errors
    /// The disk is full, the folder cannot be written, the object is too large for the disk.
    pub fn open(path: &Path, key: Key, size: u64, is_small: bool) -> io::Result<Option<Self>> {
        if is_small && let Some(small) = Small::open(path, key, size)? {
            return Ok(Some(Self::Small(small)));
        }
        Ok(Blocks::open(path, key, size)?.map(Self::Blocks))
    }
}

impl Entry {
    pub fn new(size: u64, form: Form, linger: &Arc<Linger>) -> Self {
        let (users, flights, behind) = Default::default();
        Self { size, form, users, linger: Arc::clone(linger), flights, behind }
    }

    /// Looks whether another mount has fetched meanwhile what was not here. Waits for the disk.
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

    /// Keeps the files from being removed, and notes that they are wanted, for whoever makes room. `None` where they
    /// were, or are being, removed: the entry is to be opened anew.
    pub fn hold(self: &Arc<Self>) -> Option<Hold> {
        let mut users = self.users();
        if !self.lock() {
            return None;
        }
        users.count += 1;
        if users.noted.is_none_or(|noted| noted.elapsed() > WANTED) {
            users.noted = Some(Instant::now());
            self.note();
        }
        Some(Hold(Arc::clone(self)))
    }

    /// Gives up the lock, if nobody uses the entry.
    pub fn leave(self: &Arc<Self>) {
        let mut users = self.users();
        users.is_lingering = false;
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

    fn note(&self) {
        match &self.form {
            Form::Blocks(blocks) => blocks.note(),
            Form::Small(small) => small.note(),
        }
    }

    /// A file of the whole object, if all of it is there and every checksum held. Asked at every open: what somebody
    /// else wrote since is believed no more.
    pub fn whole(&self) -> Option<Arc<File>> {
        match &self.form {
            Form::Blocks(blocks) => blocks.whole(),
            Form::Small(small) => small.whole(),
        }
    }

    /// Its blocks, where it is large enough for a mark: small ones are compared as they are opened, and not worth a
    /// sync.
    pub fn large(&self) -> Option<&Blocks> {
        match &self.form {
            Form::Blocks(blocks) => Some(blocks).filter(|blocks| blocks.is_large()),
            Form::Small(_) => None,
        }
    }

    /// Whether what waits to be written is all that it lacks.
    pub fn is_arriving(&self) -> bool {
        self.large().is_some_and(|blocks| blocks.is_arriving(self.behind.count()))
    }

    /// Whether none of this range is here. `false` where that cannot be told without a wait.
    pub fn lacks_now(&self, aligned: &Range<u64>) -> bool {
        match &self.form {
            Form::Blocks(blocks) => blocks.lacks_now(aligned),
            Form::Small(small) => !small.is_here(),
        }
    }

    /// The smallest range that is kept together and holds `range`.
    pub fn aligned(&self, range: &Range<u64>) -> Range<u64> {
        match &self.form {
            Form::Blocks(blocks) => blocks.aligned(range),
            Form::Small(_) => 0..self.size,
        }
    }

    /// The bytes of `range`, if all of them are here and right. Waits for the disk.
    pub fn read(&self, range: &Range<u64>) -> Option<Bytes> {
        match &self.form {
            Form::Blocks(blocks) => blocks.read(range),
            Form::Small(small) => small.read(range),
        }
    }

    /// The bytes of `range`, if all of them are here, right, and in the system's memory: never waits for the
    /// disk.
    pub fn read_now(&self, range: &Range<u64>) -> Option<Bytes> {
        match &self.form {
            Form::Blocks(blocks) => blocks.read_now(range),
            Form::Small(small) => small.read_now(range),
        }
    }

    /// Which parts of `aligned` are here, and which are not.
    pub fn runs(&self, aligned: &Range<u64>) -> Vec<Run> {
        match &self.form {
            Form::Blocks(blocks) => blocks.runs(aligned),
            Form::Small(small) => {
                let is_here = small.whole().is_some() || small.check();
                vec![Run { range: aligned.clone(), is_here }]
            }
        }
    }

    /// Compares all of it with its checksums, if all is there.
    pub fn check(&self) {
        match &self.form {
            Form::Blocks(blocks) => blocks.check(),
            Form::Small(small) => {
                let _ = small.whole().is_some() || small.check();
            }
        }
    }

    /// Keeps what is [`Entry::aligned`] and begins at `start`.
    ///
    /// # Errors
    /// The disk is full, the folder cannot be written.
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

//! A small object: one file, that is whole or not there.
//!
//! It has the name that another object's folder has, is written once, by whoever could make it, and marked last
//! ([`Mark`]). A file without a mark is being written while its lock is held, and left over of a kill else. Nothing is
//! made before the bytes are here, so opening what was never fetched costs one look.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::Key;
use super::files;
use super::mark::{Mark, Summing};
use super::nowait;
use super::trust::Stamp;

/// How old the time of a file gets before it is noted as wanted again: to the file system that is a write.
const NOTED: Duration = Duration::from_secs(600);

/// Bytes that are read and compared at a time: few enough to stay in the processor's cache.
const STEP: usize = 64 << 10;

/// A small object of the cache.
#[derive(Debug)]
pub struct Small {
    path: PathBuf,
    key: Key,
    size: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    found: Option<Found>,
    is_locked: bool,
}

/// A file that is whole, as far as it says.
#[derive(Debug)]
struct Found {
    file: Arc<File>,
    mark: Mark,
    /// What the file was like when its bytes were compared with its mark.
    believed: Option<Stamp>,
}

impl Small {
    /// Looks for the file of an object. `None` where its folder is there instead.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn open(path: &Path, key: Key, size: u64) -> io::Result<Option<Self>> {
        let small = Self { path: path.to_owned(), key, size, state: Mutex::default() };
        match small.look() {
            Ok(()) => Ok(Some(small)),
            Err(error) if error.raw_os_error() == Some(libc::EISDIR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file that is there, if it is whole as far as it says; nothing is made or removed.
    pub fn existing(path: &Path, key: Key, size: u64) -> Option<Self> {
        let file = files::rewritable(path).ok()?;
        let mark = Mark::read(&file).filter(|_| is_of(&file, size))?;
        let found = Some(Found { file: Arc::new(file), mark, believed: None });
        let state = Mutex::new(State { found, is_locked: false });
        Some(Self { path: path.to_owned(), key, size, state })
    }

    /// Looks for the file, unless it is known: another mount may have made it.
    ///
    /// # Errors
    /// As [`Small::open`].
    pub fn look(&self) -> io::Result<()> {
        if self.state().found.is_some() {
            return Ok(());
        }
        let file = match files::rewritable(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if files::is_in_the_way(&error) => return files::remove(&self.path),
            Err(error) => return Err(error),
        };
        match Mark::read(&file).filter(|_| is_of(&file, self.size)) {
            Some(mark) => self.found(file, mark, None),
            None => self.leftover(&file)?,
        }
        Ok(())
    }

    fn found(&self, file: File, mark: Mark, believed: Option<Stamp>) {
        let mut state = self.state();
        if files::lock(&file).is_ok_and(|is_ours| is_ours) {
            state.is_locked = true;
            state.found = Some(Found { file: Arc::new(file), mark, believed });
        }
    }

    /// Removes what nobody is writing.
    fn leftover(&self, file: &File) -> io::Result<()> {
        if file.try_lock().is_err() {
            return Ok(());
        }
        tracing::warn!(file = %self.path.display(), "not the cache of this object; made anew");
        self.remove(file)
    }

    fn remove(&self, file: &File) -> io::Result<()> {
        match files::is_named(file, &self.path)? {
            true => fs::remove_file(&self.path),
            false => Ok(()),
        }
    }

    /// Keeps the file from being removed, if there is one. `false` where it was, or is being, removed.
    pub fn lock(&self) -> bool {
        let mut state = self.state();
        if let Some(found) = &state.found
            && !state.is_locked
        {
            state.is_locked = files::lock(&found.file).is_ok_and(|is_ours| is_ours);
            return state.is_locked;
        }
        true
    }

    pub fn unlock(&self) {
        let mut state = self.state();
        if let Some(found) = &state.found {
            let _ = found.file.unlock();
        }
        state.is_locked = false;
    }

    /// Notes that the object is wanted, for whoever makes room.
    pub fn note(&self) {
        let mut state = self.state();
        let Some(found) = &mut state.found else { return };
        let is_old = |meta: fs::Metadata| Some(meta.modified().ok()?.elapsed().ok()? > NOTED);
        if found.file.metadata().ok().and_then(is_old) != Some(true) {
            return;
        }
        let is_believed = found.is_believed();
        let _ = found.file.set_modified(SystemTime::now());
        found.believed = Stamp::of(&found.file).filter(|_| is_believed);
    }

    /// Whether its file was removed.
    pub fn is_gone(&self) -> bool {
        let is_gone = |found: &Found| Stamp::of(&found.file).is_none_or(Stamp::is_gone);
        self.state().found.as_ref().is_some_and(is_gone)
    }

    /// Whether there is a file.
    pub fn is_here(&self) -> bool {
        self.state().found.is_some()
    }

    /// The file, if its bytes were compared with its mark, and nobody wrote it since.
    pub fn whole(&self) -> Option<Arc<File>> {
        let mut state = self.state();
        let found = state.found.as_mut()?;
        found.is_believed().then(|| Arc::clone(&found.file))
    }

    /// The bytes of `range`, if they are here and right. Waits for the disk.
    pub fn read(&self, range: &Range<u64>) -> Option<Bytes> {
        if !self.is_believed() && !self.check() {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        match self.file()?.read_exact_at(&mut bytes, range.start) {
            Ok(()) => Some(bytes.into()),
            Err(_) => {
                self.distrust();
                None
            }
        }
    }

    /// The same, if they are in the system's memory: never waits for the disk.
    pub fn read_now(&self, range: &Range<u64>) -> Option<Bytes> {
        if self.is_believed() {
            return self.bytes_now(range);
        }
        let file = self.file()?;
        let before = Stamp::of(&file);
        let bytes = self.bytes_now(&(0..self.size))?;
        let mut summing = Summing::of(self.key);
        summing.add(&bytes);
        // What is damaged is looked into by who may wait.
        self.believe(&file, summing.mark(), before)?;
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
        Some(bytes.slice(at(range.start)..at(range.end)))
    }

    fn bytes_now(&self, range: &Range<u64>) -> Option<Bytes> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        let found = nowait::read_at(&*self.file()?, &mut bytes, range.start)?;
        (found == bytes.len()).then(|| bytes.into())
    }

    /// Compares all of it with its mark; whether it is here and right. What is damaged is removed.
    pub fn check(&self) -> bool {
        let Some(file) = self.file() else { return false };
        let before = Stamp::of(&file);
        let sum = sum(&file, self.key, self.size);
        let is_right = sum.is_ok_and(|mark| self.believe(&file, mark, before).is_some());
        if !is_right {
            self.forget(&file);
        }
        is_right
    }

    /// Believes what was read since `before`, if that is what the file is said to be.
    fn believe(&self, file: &Arc<File>, mark: Mark, before: Option<Stamp>) -> Option<()> {
        let mut state = self.state();
        let found = state.found.as_mut().filter(|found| Arc::ptr_eq(&found.file, file))?;
        found.believed = before.filter(|before| Stamp::of(file) == Some(*before));
        (found.mark == mark).then_some(())
    }

    fn distrust(&self) {
        if let Some(found) = &mut self.state().found {
            found.believed = None;
        }
    }

    /// A damaged file is fetched again.
    fn forget(&self, file: &Arc<File>) {
        tracing::warn!(file = %self.path.display(), "a cached object is damaged; fetched again");
        let _ = self.remove(file);
        let mut state = self.state();
        if state.found.as_ref().is_some_and(|found| Arc::ptr_eq(&found.file, file)) {
            *state = State::default();
        }
    }

    /// Keeps all bytes of the object, unless another is at it.
    ///
    /// # Errors
    /// The disk is full, the folder cannot be written, the file system lacks attributes.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 != self.size || self.is_here() {
            return Ok(());
        }
        let file = match files::made(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return self.look(),
            made => made?,
        };
        // One that is looked at before it is locked is taken for a leftover: then it loses its name.
        let _ = file.try_lock_shared();
        match self.fill(&file, bytes) {
            Ok(mark) => {
                let believed = Stamp::of(&file);
                self.found(file, mark, believed);
                Ok(())
            }
            Err(error) => {
                let _ = self.remove(&file);
                Err(error)
            }
        }
    }

    fn fill(&self, file: &File, bytes: &[u8]) -> io::Result<Mark> {
        let mut summing = Summing::of(self.key);
        summing.add(bytes);
        let mark = summing.mark();
        file.write_all_at(bytes, 0)?;
        mark.write(file)?;
        Ok(mark)
    }

    fn file(&self) -> Option<Arc<File>> {
        self.state().found.as_ref().map(|found| Arc::clone(&found.file))
    }

    fn is_believed(&self) -> bool {
        self.state().found.as_ref().is_some_and(|found| found.believed.is_some())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// Whether nobody wrote the file since it was believed.
    fn is_believed(&mut self) -> bool {
        self.believed = self.believed.filter(|believed| Stamp::of(&self.file) == Some(*believed));
        self.believed.is_some()
    }
}

/// Whether a file is a file, and as long as the object.
fn is_of(file: &File, size: u64) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.size() == size)
}

/// The mark that a file should have.
fn sum(file: &File, key: Key, size: u64) -> io::Result<Mark> {
    let mut summing = Summing::of(key);
    let mut some = vec![0; STEP.min(usize::try_from(size).unwrap_or(STEP))];
    let mut at = 0;
    while at < size {
        let length = some.len().min(usize::try_from(size - at).unwrap_or(STEP));
        file.read_exact_at(&mut some[..length], at)?;
        summing.add(&some[..length]);
        at += length as u64;
    }
    Ok(summing.mark())
}

//! A small object: one file that is complete or absent.
//!
//! It has the name that another object's folder would have, is written once, by whichever process could create
//! it, and marked last ([`Mark`]). A file without a mark is being written if it is locked, otherwise a leftover
//! of a killed process. Nothing is created before the bytes have arrived, so opening an object that is not
//! cached costs one lookup.

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
use dcfs_core::cancel;

/// Minimum age of a file's mtime before it is touched again: for the file system that is a write.
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

/// A file whose mark says that it is complete.
#[derive(Debug)]
struct Found {
    file: Arc<File>,
    mark: Mark,
    /// The state of the file when its bytes were compared with its mark.
    believed: Option<Stamp>,
}

impl Small {
    /// Looks for the file of an object. `None` if there is a folder instead.
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

    /// The existing file, if its mark says that it is complete; creates and removes nothing.
    pub fn existing(path: &Path, key: Key, size: u64) -> Option<Self> {
        let file = files::rewritable(path).ok()?;
        let mark = Mark::read(&file).filter(|_| is_of(&file, size))?;
        let found = Some(Found { file: Arc::new(file), mark, believed: None });
        let state = Mutex::new(State { found, is_locked: false });
        Some(Self { path: path.to_owned(), key, size, state })
    }

    /// Looks for the file, unless it is open already: another mount may have created it.
    ///
    /// # Errors
    /// As [`Small::open`]. For hurried work, something in the way, which others remove.
    pub fn look(&self) -> io::Result<()> {
        if self.state().found.is_some() {
            return Ok(());
        }
        let file = match files::rewritable(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if files::is_in_the_way(&error) && !cancel::is_hurried() => {
                return files::remove(&self.path);
            }
            Err(error) => return Err(error),
        };
        match self.mark(&file) {
            Some(mark) => self.found(file, mark),
            None if cancel::is_hurried() => return Err(io::ErrorKind::WouldBlock.into()),
            None => self.leftover(file)?,
        }
        Ok(())
    }

    /// The mark of a file that is complete.
    fn mark(&self, file: &File) -> Option<Mark> {
        Mark::read(file).filter(|_| is_of(file, self.size))
    }

    fn found(&self, file: File, mark: Mark) {
        let mut state = self.state();
        if files::lock(&file).is_ok_and(|is_ours| is_ours) {
            state.is_locked = true;
            state.found = Some(Found { file: Arc::new(file), mark, believed: None });
        }
    }

    /// Removes a file without a mark that nobody is writing.
    fn leftover(&self, file: File) -> io::Result<()> {
        if file.try_lock().is_err() {
            return Ok(());
        }
        // It may have been completed, or removed, before it was locked here.
        if let Some(mark) = self.mark(&file) {
            file.unlock()?;
            self.found(file, mark);
            return Ok(());
        }
        let meta = file.metadata()?;
        // An empty one may be so new that whoever creates it has not locked it yet: nothing is lost.
        if meta.nlink() > 0 && meta.size() > 0 {
            tracing::warn!(file = %self.path.display(), "not the cache of this object; recreated");
        }
        self.remove(&file)
    }

    fn remove(&self, file: &File) -> io::Result<()> {
        match files::is_named(file, &self.path) {
            Ok(true) => fs::remove_file(&self.path),
            Ok(false) => Ok(()),
            // Another process removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Protects the file from removal, if there is one. `false` if it has been removed, or is being.
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

    /// Marks the object as recently used, for eviction.
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

    /// The file, if its bytes matched its mark, and it has not been written since.
    pub fn whole(&self) -> Option<Arc<File>> {
        let mut state = self.state();
        let found = state.found.as_mut()?;
        found.is_believed().then(|| Arc::clone(&found.file))
    }

    /// The bytes of `range`, if present and valid. Blocks on the disk.
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

    /// The same, if they are in the page cache: never blocks on the disk.
    pub fn read_now(&self, range: &Range<u64>) -> Option<Bytes> {
        if self.is_believed() {
            return self.bytes_now(range);
        }
        let file = self.file()?;
        let before = Stamp::of(&file);
        let bytes = self.bytes_now(&(0..self.size))?;
        let mut summing = Summing::of(self.key);
        summing.add(&bytes);
        // Damage is handled by callers that may block.
        self.believe(&file, summing.mark(), before)?;
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
        Some(bytes.slice(at(range.start)..at(range.end)))
    }

    fn bytes_now(&self, range: &Range<u64>) -> Option<Bytes> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        let found = nowait::read_at(&*self.file()?, &mut bytes, range.start)?;
        (found == bytes.len()).then(|| bytes.into())
    }

    /// Compares the whole file with its mark; returns whether it is present and valid. A damaged file is
    /// removed, unless that is hurried: then by whoever reads it.
    pub fn check(&self) -> bool {
        let Some(file) = self.file() else { return false };
        let before = Stamp::of(&file);
        let sum = sum(&file, self.key, self.size);
        let is_right = sum.is_ok_and(|mark| self.believe(&file, mark, before).is_some());
        if !is_right && !cancel::is_hurried() {
            self.forget(&file);
        }
        is_right
    }

    /// Trusts the bytes read since `before`, if they match the file's mark.
    fn believe(&self, file: &Arc<File>, mark: Mark, before: Option<Stamp>) -> Option<()> {
        let mut state = self.state();
        let found = state.found.as_mut().filter(|found| Arc::ptr_eq(&found.file, file))?;
        let is_right = found.mark == mark;
        found.believed = before.filter(|before| is_right && Stamp::of(file) == Some(*before));
        is_right.then_some(())
    }

    fn distrust(&self) {
        if let Some(found) = &mut self.state().found {
            found.believed = None;
        }
    }

    /// Drops a damaged file, which is then fetched again.
    fn forget(&self, file: &Arc<File>) {
        tracing::warn!(file = %self.path.display(), "a cached object is damaged; fetched again");
        let _ = self.remove(file);
        let mut state = self.state();
        if state.found.as_ref().is_some_and(|found| Arc::ptr_eq(&found.file, file)) {
            *state = State::default();
        }
    }

    /// Stores all bytes of the object, unless another process is writing it.
    ///
    /// # Errors
    /// The disk is full, the folder is not writable, the file system has no extended attributes.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 != self.size || self.is_here() {
            return Ok(());
        }
        let file = match files::made(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return self.look(),
            made => made?,
        };
        // A process that looked at it before it was locked takes it for a leftover and removes its name.
        if file.try_lock_shared().is_err() {
            return Ok(());
        }
        match self.fill(&file, bytes) {
            Ok(mark) => {
                let believed = Stamp::of(&file).filter(|stamp| !stamp.is_gone());
                if believed.is_some() {
                    let found = Some(Found { file: Arc::new(file), mark, believed });
                    *self.state() = State { found, is_locked: true };
                }
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

/// Unlocks explicitly: a process that this one is just starting shares its files, and their locks, until it runs its program.
impl Drop for Small {
    fn drop(&mut self) {
        let state = self.state();
        if let Some(found) = state.found.as_ref().filter(|_| state.is_locked) {
            let _ = found.file.unlock();
        }
    }
}

impl Found {
    /// Whether the file is unchanged since it was verified.
    fn is_believed(&mut self) -> bool {
        self.believed = self.believed.filter(|believed| Stamp::of(&self.file) == Some(*believed));
        self.believed.is_some()
    }
}

/// Whether this is a regular file, as long as the object.
fn is_of(file: &File, size: u64) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.size() == size)
}

/// Computes the mark that a file should have.
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([7; 16]);
    const BYTES: &[u8] = b"some bytes";

    fn small(path: &Path) -> Small {
        Small::open(path, KEY, BYTES.len() as u64).expect("readable").expect("no folder")
    }

    #[test]
    fn a_file_that_was_completed_before_it_was_locked_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("object");
        let late = small(&path);
        let other = small(&path);
        let new = files::made(&path).expect("made");
        // Seen without a mark, then written and let go by another, then locked.
        let seen = files::rewritable(&path).expect("there");
        assert!(late.mark(&seen).is_none());
        other.fill(&new, BYTES).expect("written");
        drop(new);
        late.leftover(seen).expect("looked at");
        assert!(path.exists() && late.is_here());
        assert_eq!(late.read(&(0..4)).as_deref(), Some(&BYTES[..4]));
    }

    #[test]
    fn a_file_that_was_removed_before_it_was_locked_takes_no_other_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("object");
        let late = small(&path);
        fs::write(&path, b"half").expect("written");
        let seen = files::rewritable(&path).expect("there");
        fs::remove_file(&path).expect("removed");
        late.leftover(seen).expect("gone");
        let seen = files::made(&path).expect("made");
        fs::remove_file(&path).expect("removed");
        let other = small(&path);
        other.write(BYTES).expect("written");
        late.leftover(seen).expect("another has its name");
        assert!(path.exists() && other.is_here() && !late.is_here());
        assert_eq!(small(&path).read(&(0..4)).as_deref(), Some(&BYTES[..4]));
    }
}

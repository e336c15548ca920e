//! The size limits of the cache, and eviction: least recently opened first.
//!
//! The size is measured on disk after a certain number of bytes written: other mounts write here too.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use dcfs_disk::space;

use super::files;
use crate::CacheConfig;

/// Maximum of bytes written between two measurements.
const STEP: u64 = 256 << 20;

/// Time between two attempts to free space.
const AGAIN: Duration = Duration::from_secs(10);

/// Leftovers of interrupted runs are removed after this time.
const STALE: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug)]
struct Limits {
    size: u64,
    free: u64,
}

/// The size limits of one cache directory.
pub struct Room {
    root: PathBuf,
    /// Maximum of bytes for all objects, and minimum of free bytes on the disk.
    limits: Limits,
    /// Bytes written since the last measurement.
    written: AtomicU64,
    state: Mutex<State>,
    /// Releases unused locks and removed files: until then they take space.
    let_go: Box<dyn Fn() + Send + Sync>,
    was_told: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a thread is freeing space, or about to.
    is_looking: bool,
    is_full: bool,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Room {
    /// `let_go` closes removed files.
    pub fn new(
        root: PathBuf,
        config: &CacheConfig,
        let_go: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let limits = Limits { size: config.size, free: config.free };
        // The first write triggers a measurement.
        let written = AtomicU64::new(STEP);
        let (state, was_told) = Default::default();
        Self { root, limits, written, state, let_go: Box::new(let_go), was_told }
    }

    /// Whether caching is enabled.
    pub fn is_wanted(&self) -> bool {
        self.limits.size > 0
    }

    /// Whether more may be written.
    pub fn has_room(&self) -> bool {
        !self.state().is_full
    }

    /// Counts written bytes; now and then a thread of its own frees space.
    pub fn wrote(self: &Arc<Self>, bytes: u64) {
        let step = STEP.min(self.limits.size / 16);
        let written = self.written.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if written > step {
            self.written.store(0, Ordering::Relaxed);
            self.look(false);
        }
    }

    /// Handles a failed write. If the disk is the cause, and not the object, caching is suspended for a while.
    pub fn failed(self: &Arc<Self>, error: &io::Error) {
        let of_disk =
            [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::EACCES, libc::EPERM, libc::EIO];
        if !error.raw_os_error().is_some_and(|code| of_disk.contains(&code)) {
            return tracing::debug!(root = %self.root.display(), %error, "an object could not be cached");
        }
        if !self.was_told.swap(true, Ordering::Relaxed) {
            let root = self.root.display();
            tracing::warn!(
                "cannot write below `{root}`: {error}; objects are fetched again until there is room"
            );
        }
        self.look(true);
    }

    /// Starts a thread that frees space: at once, or after a while if a write `failed`.
    fn look(self: &Arc<Self>, failed: bool) {
        let mut state = self.state();
        state.is_full |= failed;
        if std::mem::replace(&mut state.is_looking, true) {
            return;
        }
        let (room, delay) = (Arc::downgrade(self), if failed { AGAIN } else { Duration::ZERO });
        let work = move || {
            std::thread::sleep(delay);
            while let Some(room) = room.upgrade() {
                if room.make() {
                    return;
                }
                drop(room);
                std::thread::sleep(AGAIN);
            }
        };
        if std::thread::Builder::new().name("dcfs-room".into()).spawn(work).is_err() {
            *state = State::default();
        }
    }

    /// Frees space; returns whether there is enough, and the thread may end.
    fn make(&self) -> bool {
        let Limits { size, free: least } = self.limits;
        // Before: unused locks. After: removed files.
        (self.let_go)();
        let bytes = make_room(&self.root, size, least);
        (self.let_go)();
        let has_room = bytes <= size && free(&self.root) >= least;
        let mut state = self.state();
        (state.is_full, state.is_looking) = (!has_room, !has_room);
        has_room
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One object on disk.
#[derive(Debug)]
pub struct Kept {
    /// A folder, or a small object's file.
    pub folder: PathBuf,
    pub bytes: u64,
    pub opened: SystemTime,
}

/// All objects below a folder; removes leftovers of interrupted runs.
pub fn kept(root: &Path) -> Vec<Kept> {
    let mut kept = Vec::new();
    let shelves = fs::read_dir(root).into_iter().flatten().flatten();
    for folder in shelves.flat_map(|shelf| fs::read_dir(shelf.path())).flatten().flatten() {
        let folder = folder.path();
        let is_leftover =
            folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        match look(&folder) {
            Some(one) if !is_leftover => kept.push(one),
            _ => clean(&folder),
        }
    }
    kept
}

fn look(folder: &Path) -> Option<Kept> {
    let known = fs::symlink_metadata(folder).ok()?;
    let (locked, rest) = match known.is_file() {
        true => (known, 0),
        false => {
            let data = fs::metadata(folder.join("data")).ok()?;
            (fs::metadata(folder.join("map")).ok()?, data.blocks())
        }
    };
    // In units of 512 bytes, on every file system.
    let bytes = (locked.blocks() + rest) * 512;
    Some(Kept { opened: locked.modified().ok()?, bytes, folder: folder.to_owned() })
}

fn clean(leftover: &Path) {
    let age = leftover.metadata().and_then(|known| known.modified()).ok();
    if age.and_then(|then| then.elapsed().ok()).is_some_and(|age| age > STALE) {
        let _ = fs::remove_dir_all(leftover).or_else(|_| fs::remove_file(leftover));
    }
}

/// Removes the least recently opened objects that nobody has open, until all objects together take at most
/// `most` bytes and `least` bytes are free on the disk; returns the bytes that objects take then.
pub fn make_room(root: &Path, most: u64, least: u64) -> u64 {
    let mut kept = kept(root);
    let mut bytes: u64 = kept.iter().map(|one| one.bytes).sum();
    let mut free = free(root);
    if bytes <= most && free >= least {
        return bytes;
    }
    kept.sort_by_key(|one| one.opened);
    for one in kept {
        // Frees some more than needed, so that the next write does not trigger it again.
        if bytes <= most / 10 * 9 && free >= least {
            break;
        }
        match files::remove_unused(&one.folder) {
            Ok(true) => (bytes, free) = (bytes - one.bytes, free + one.bytes),
            Ok(false) => {}
            Err(error) => tracing::debug!(folder = %one.folder.display(), %error, "is not removed"),
        }
    }
    bytes
}

/// Free bytes on the disk of a folder; more than any limit if unknown.
fn free(root: &Path) -> u64 {
    space::free(root).unwrap_or(u64::MAX)
}

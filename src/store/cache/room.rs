//! How much is kept, and what goes first: what was opened longest ago.
//!
//! Sizes are counted by looking, after every so many bytes written: other mounts write here too.

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

/// Bytes between two looks, at most.
const STEP: u64 = 256 << 20;

/// Between two tries to make room.
const AGAIN: Duration = Duration::from_secs(10);

/// What is left over of an interrupted run is removed after this time.
const STALE: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug)]
struct Limits {
    size: u64,
    free: u64,
}

/// The room of one cache directory.
pub struct Room {
    root: PathBuf,
    /// Bytes of all objects, and those that stay free on the disk.
    limits: Limits,
    /// Bytes written since somebody looked.
    written: AtomicU64,
    state: Mutex<State>,
    /// Gives up locks that nobody uses, and files that were removed: until then they take room.
    let_go: Box<dyn Fn() + Send + Sync>,
    was_told: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// A thread makes room, or is about to.
    is_looking: bool,
    is_full: bool,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Room {
    /// `let_go` closes files that were removed.
    pub fn new(
        root: PathBuf,
        config: &CacheConfig,
        let_go: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let limits = Limits { size: config.size, free: config.free };
        // The first bytes written make somebody look.
        let written = AtomicU64::new(STEP);
        let (state, was_told) = Default::default();
        Self { root, limits, written, state, let_go: Box::new(let_go), was_told }
    }

    /// Whether anything is to be kept.
    pub fn is_wanted(&self) -> bool {
        self.limits.size > 0
    }

    /// Whether more may be written.
    pub fn has_room(&self) -> bool {
        !self.state().is_full
    }

    /// Counts, and makes room on a thread of its own now and then.
    pub fn wrote(self: &Arc<Self>, bytes: u64) {
        let step = STEP.min(self.limits.size / 16);
        let written = self.written.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if written > step {
            self.written.store(0, Ordering::Relaxed);
            self.look(false);
        }
    }

    /// Something could not be written. Where it is the disk, and not the object, reading goes on without for a
    /// while.
    pub fn failed(self: &Arc<Self>, error: &io::Error) {
        let of_disk =
            [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::EACCES, libc::EPERM, libc::EIO];
        if !error.raw_os_error().is_some_and(|code| of_disk.contains(&code)) {
            return tracing::debug!(root = %self.root.display(), %error, "an object is not kept");
        }
        if !self.was_told.swap(true, Ordering::Relaxed) {
            let root = self.root.display();
            tracing::warn!(
                "cannot write below `{root}`: {error}; objects are fetched again until there is room"
            );
        }
        self.look(true);
    }

    /// Has a thread make room: at once, or where it `failed`, after a while.
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

    /// Makes room; whether there is enough, and the thread may end.
    fn make(&self) -> bool {
        let Limits { size, free: least } = self.limits;
        // Before: locks that nobody uses. After: what was removed.
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

/// One object as the disk has it.
#[derive(Debug)]
pub struct Kept {
    /// A folder, or a small object's file.
    pub folder: PathBuf,
    pub bytes: u64,
    pub opened: SystemTime,
}

/// Every object below a folder; what was left over of interrupted work is removed.
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
    // Blocks of 512 bytes, whatever the file system has.
    let bytes = (locked.blocks() + rest) * 512;
    Some(Kept { opened: locked.modified().ok()?, bytes, folder: folder.to_owned() })
}

fn clean(leftover: &Path) {
    let age = leftover.metadata().and_then(|known| known.modified()).ok();
    if age.and_then(|then| then.elapsed().ok()).is_some_and(|age| age > STALE) {
        let _ = fs::remove_dir_all(leftover).or_else(|_| fs::remove_file(leftover));
    }
}

/// Removes what was opened longest ago, until objects take at most `most` bytes and `least` stay free on
/// the disk, as far as nobody has them open; the bytes that objects take then.
pub fn make_room(root: &Path, most: u64, least: u64) -> u64 {
    let mut kept = kept(root);
    let mut bytes: u64 = kept.iter().map(|one| one.bytes).sum();
    let mut free = free(root);
    if bytes <= most && free >= least {
        return bytes;
    }
    kept.sort_by_key(|one| one.opened);
    for one in kept {
        // Some more than needed, so that the next write is not the next time.
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

/// Bytes that are free on the disk of a folder; more than any limit where nobody knows.
fn free(root: &Path) -> u64 {
    space::free(root).unwrap_or(u64::MAX)
}

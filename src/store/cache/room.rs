//! How much is kept, and what goes first: what was opened longest ago.
//!
//! Sizes are counted by looking, after every so many bytes written: other mounts write here too.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::statvfs;

use super::entry;
use crate::store::CacheConfig;

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
#[derive(Debug)]
pub struct Room {
    root: PathBuf,
    /// Bytes of all objects, and those that stay free on the disk.
    limits: Limits,
    /// Bytes written since somebody looked.
    written: AtomicU64,
    is_looking: AtomicBool,
    is_full: AtomicBool,
    was_told: AtomicBool,
}

impl Room {
    pub fn new(root: PathBuf, config: &CacheConfig) -> Self {
        let limits = Limits { size: config.size, free: config.free };
        let (is_looking, is_full, was_told) = Default::default();
        // The first bytes written make somebody look.
        let written = AtomicU64::new(STEP);
        Self { root, limits, written, is_looking, is_full, was_told }
    }

    /// Whether anything is to be kept.
    pub fn is_wanted(&self) -> bool {
        self.limits.size > 0
    }

    /// Whether more may be written.
    pub fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::Relaxed)
    }

    /// Counts, and makes room on a thread of its own now and then.
    pub fn wrote(self: &Arc<Self>, bytes: u64) {
        let step = STEP.min(self.limits.size / 16);
        let written = self.written.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if written > step && !self.is_looking.swap(true, Ordering::AcqRel) {
            self.written.store(0, Ordering::Relaxed);
            self.look_later(Duration::ZERO);
        }
    }

    /// Something could not be written: reading goes on without, for a while.
    pub fn failed(self: &Arc<Self>, error: &io::Error) {
        if !self.was_told.swap(true, Ordering::Relaxed) {
            let root = self.root.display();
            tracing::warn!(
                "cannot write below {root}: {error}; objects are fetched again until there is room"
            );
        }
        self.is_full.store(true, Ordering::Relaxed);
        if !self.is_looking.swap(true, Ordering::AcqRel) {
            self.look_later(AGAIN);
        }
    }

    /// Makes room on a thread of its own; while there is none, again and again.
    fn look_later(self: &Arc<Self>, delay: Duration) {
        let room = Arc::downgrade(self);
        let work = move || {
            std::thread::sleep(delay);
            while let Some(room) = room.upgrade() {
                let has_room = make_room(&room.root, room.limits.size, room.limits.free);
                room.is_full.store(!has_room, Ordering::Relaxed);
                if has_room {
                    room.is_looking.store(false, Ordering::Release);
                    return;
                }
                drop(room);
                std::thread::sleep(AGAIN);
            }
        };
        if std::thread::Builder::new().name("dcfs-room".into()).spawn(work).is_err() {
            self.is_looking.store(false, Ordering::Release);
        }
    }
}

/// One object as the disk has it.
#[derive(Debug)]
pub struct Kept {
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
    let map = fs::metadata(folder.join("map")).ok()?;
    let data = fs::metadata(folder.join("data")).ok()?;
    // Blocks of 512 bytes, whatever the file system has.
    let bytes = (map.blocks() + data.blocks()) * 512;
    Some(Kept { opened: map.modified().ok()?, bytes, folder: folder.to_owned() })
}

fn clean(leftover: &Path) {
    let age = leftover.metadata().and_then(|known| known.modified()).ok();
    if age.and_then(|then| then.elapsed().ok()).is_some_and(|age| age > STALE) {
        let _ = fs::remove_dir_all(leftover);
    }
}

/// Removes what was opened longest ago, until objects take at most `most` bytes and `least` stay free on
/// the disk; whether they do.
pub fn make_room(root: &Path, most: u64, least: u64) -> bool {
    let mut kept = kept(root);
    let mut bytes: u64 = kept.iter().map(|one| one.bytes).sum();
    let mut free = free(root);
    let is_over = |bytes: u64, free: u64| bytes > most || free < least;
    if !is_over(bytes, free) {
        return true;
    }
    kept.sort_by_key(|one| one.opened);
    for one in kept {
        // Some more than needed, so that the next write is not the next time.
        if bytes <= most / 10 * 9 && free >= least {
            break;
        }
        match entry::remove_unused(&one.folder) {
            Ok(true) => (bytes, free) = (bytes - one.bytes, free + one.bytes),
            Ok(false) => {}
            Err(error) => tracing::debug!(folder = %one.folder.display(), %error, "is not removed"),
        }
    }
    !is_over(bytes, free)
}

/// Bytes that are free on the disk of a folder; more than any limit where nobody knows.
fn free(root: &Path) -> u64 {
    statvfs(root)
        .map_or(u64::MAX, |known| known.blocks_available().saturating_mul(known.fragment_size()))
}

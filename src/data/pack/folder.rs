//! Folders below `<cache>/packs`: their names, their publication by one rename, and their clean-up.
//!
//! - `<name>/` is a pack. It is never changed, only renamed away.
//! - `<name>.building-<pid>-<n>/` is under construction; its builder holds an `flock` on `lock` in
//!   it. If the lock is free, a crash left the folder behind: the next builder removes it.
//! - `<name>.lock` is held while that pack is built. Two builders do no harm; they only waste work.
//! - `<name>.removed-<pid>-<n>/` is being deleted.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dcfs_disk::regular;
use sha2::{Digest, Sha256};

use super::error::PackError;
use dcfs_core::hex::hex;
use dcfs_core::id::RowId;

/// The lock file in a folder under construction.
const LOCK: &str = "lock";

/// How long to wait for another process that builds the same pack before building it as well.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a waiting builder checks.
const PAUSE: Duration = Duration::from_millis(50);

/// The number of folders that this process has named so far.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// The folder name of a version: its uuid if it is valid, else a hash of the recorded text; the
/// number of rows; and a hash of its name, because a foreign catalog may use one uuid twice.
pub fn pack_name(uuid: &str, label: &str, rows: u64, last: RowId) -> String {
    format!("{}-{rows}-{last}-{}", plain_name(uuid), hash(label, 4))
}

/// The uuid if it is valid, else a hash of the recorded text.
pub fn plain_name(uuid: &str) -> String {
    let is_plain = (1..=64).contains(&uuid.len())
        && uuid.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    if is_plain { uuid.into() } else { hash(uuid, 32) }
}

/// The first `bytes` bytes of a hash.
fn hash(text: &str, bytes: usize) -> String {
    hex(&Sha256::digest(text)[..bytes])
}

/// `<path>.<what>-<pid>-<n>`, with a new `n`.
pub fn sibling(path: &Path, what: &str) -> PathBuf {
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{what}-{}-{n}", std::process::id()));
    name.into()
}

/// Removes a pack: renames it away at once, then deletes it. Succeeds if it is already gone.
pub fn remove(path: &Path) -> Result<(), PackError> {
    let aside = sibling(path, "removed");
    match fs::rename(path, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(PackError::write(path))?,
    }
    fs::remove_dir_all(&aside).map_err(PackError::write(&aside))
}

/// The right to build one pack, held until dropped.
pub struct Turn {
    _lock: Option<File>,
    path: PathBuf,
}

impl Turn {
    /// Waits until no other process builds `folder`, until `is_there` is true, or until the
    /// timeout.
    pub fn wait(folder: &Path, is_there: impl Fn() -> bool) -> Result<Self, PackError> {
        let mut path = folder.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let file = regular::open_with(File::options().write(true).create(true), &path)
            .map_err(PackError::write(&path))?;
        let until = Instant::now() + PATIENCE;
        while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            if is_there() || Instant::now() > until {
                return Ok(Self { _lock: None, path });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(Self { _lock: Some(file), path })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self._lock.is_some() {
            // Processes that opened it before check for the pack again once they have the lock.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A pack under construction; removed if dropped unpublished.
pub struct Staging {
    path: PathBuf,
    lock: File,
    is_published: bool,
}

impl Staging {
    /// Creates an empty folder beside `folder`.
    pub fn create(folder: &Path) -> Result<Self, PackError> {
        // A clean-up may remove the folder between its creation and its locking: then try another.
        for _ in 0..16 {
            let path = sibling(folder, "building");
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                // Left by an earlier process with the same pid, and not cleaned up yet.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(PackError::write(&path))?,
            }
            if let Some(lock) = lock_in(&path) {
                return Ok(Self { path, lock, is_published: false });
            }
        }
        let busy = io::Error::other("other builders keep removing the folder");
        Err(PackError::write(folder)(busy))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Publishes it as the pack at `folder`; `false` if there already is one.
    pub fn publish(mut self, folder: &Path) -> Result<bool, PackError> {
        match fs::rename(&self.path, folder) {
            Ok(()) => {
                self.is_published = true;
                let _ = fs::remove_file(folder.join(LOCK));
                Ok(true)
            }
            Err(error) if is_occupied(&error) => Ok(false),
            Err(error) => Err(PackError::write(folder)(error)),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = fs::remove_dir_all(&self.path);
        }
        let _ = self.lock.unlock();
    }
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

/// The locked file `lock` of a new folder, if neither was removed meanwhile.
fn lock_in(folder: &Path) -> Option<File> {
    let path = folder.join(LOCK);
    let file = regular::open_with(File::options().write(true).create_new(true), &path).ok()?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return None;
    }
    let (ours, there) = (file.metadata().ok()?, fs::metadata(&path).ok()?);
    (ours.ino() == there.ino()).then_some(file)
}

/// Removes the remains of crashed builders and removers from `packs`. Errors are ignored.
pub fn clean(packs: &Path) {
    let Ok(entries) = fs::read_dir(packs) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.contains(".removed-") || (name.contains(".building-") && is_left(&entry.path())) {
            tracing::debug!(folder = %name, "removed what a crash has left");
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether the builder of `folder` is gone.
fn is_left(folder: &Path) -> bool {
    match regular::open(&folder.join(LOCK)) {
        Ok(file) => file.try_lock().is_ok(),
        Err(_) => {
            // Empty: between its creation and its locking, or left behind there. Removes only an
            // empty one.
            let _ = fs::remove_dir(folder);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_nothing_of_a_stranger() {
        let last = RowId::new(9);
        let uuid = "5b6f0a1e-1d7c-4a53-9a1b-0123456789ab";
        assert_eq!(pack_name(uuid, "pets@1.0.0", 7, last), format!("{uuid}-7-9-87e82add"));
        assert_ne!(pack_name(uuid, "pets@1.0.0", 7, last), pack_name(uuid, "cats@1.0.0", 7, last));
        for hostile in ["", "../../etc", "A", "a\0b", &"a".repeat(65), "\u{e9}"] {
            let name = pack_name(hostile, hostile, 7, last);
            let (hash, label) = name.split_once("-7-9-").expect(&name);
            assert_eq!((hash.len(), label.len()), (64, 8), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "{name}");
        }
    }

    #[test]
    fn leftovers_go_and_living_builders_stay() {
        let packs = tempfile::tempdir().expect("a folder");
        let living = Staging::create(&packs.path().join("a")).expect("made");
        let left = packs.path().join("b.building-1-1");
        let bare = packs.path().join("c.building-1-1");
        let removed = packs.path().join("d.removed-1-1");
        for folder in [&left, &bare, &removed] {
            fs::create_dir(folder).expect("made");
        }
        fs::write(left.join(LOCK), "").expect("written");
        fs::write(left.join("c0.fst"), "half").expect("written");
        fs::create_dir(packs.path().join("e-1-1")).expect("made");
        clean(packs.path());
        let mut names: Vec<_> = fs::read_dir(packs.path())
            .expect("readable")
            .map(|e| e.expect("readable").path())
            .collect();
        names.sort();
        assert_eq!(names, [living.path().to_path_buf(), packs.path().join("e-1-1")]);
    }

    #[test]
    fn only_one_is_published() {
        let packs = tempfile::tempdir().expect("a folder");
        let folder = packs.path().join("a");
        let staging = || {
            let staging = Staging::create(&folder).expect("made");
            fs::write(staging.path().join(FILE), "").expect("written");
            staging
        };
        const FILE: &str = "manifest.json";
        let (one, two) = (staging(), staging());
        assert!(one.publish(&folder).expect("renamed"));
        assert!(!two.publish(&folder).expect("there is one"));
        let names = fs::read_dir(packs.path()).expect("readable").count();
        assert_eq!(names, 1, "the other is gone");
        let inside = fs::read_dir(&folder).expect("readable").count();
        assert_eq!(inside, 1, "its lock is gone");
        remove(&folder).expect("removed");
        remove(&folder).expect("gone already");
        assert_eq!(fs::read_dir(packs.path()).expect("readable").count(), 0);
    }

    #[test]
    fn a_turn_is_waited_for_until_the_pack_is_there() {
        let packs = tempfile::tempdir().expect("a folder");
        let folder = packs.path().join("a");
        let first = Turn::wait(&folder, || false).expect("free");
        let second = Turn::wait(&folder, || true).expect("given up for the pack");
        assert!(first._lock.is_some() && second._lock.is_none());
        drop((first, second));
        assert_eq!(fs::read_dir(packs.path()).expect("readable").count(), 0);
    }
}

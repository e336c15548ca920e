//! A note per mount, so that `dcfs status` and `dcfs unmount` know its process and its log.
//!
//! The kernel's list of mounts is authoritative; a note only adds to it, and a note without a mount is left
//! over from a crash.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dcfs_disk::regular;
use serde::{Deserialize, Serialize};

use super::places;
use dcfs_core::error::Result;

/// Limit of a note in bytes.
const LARGEST: u64 = 1 << 20;

/// The record of one mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    pub mountpoint: String,
    pub catalog: String,
    pub pid: u32,
    /// `None` in the foreground, when the log is stderr.
    pub log: Option<PathBuf>,
    pub cache: PathBuf,
    /// Seconds since 1970.
    pub since: u64,
}

impl Note {
    /// Writes the note.
    ///
    /// # Errors
    /// The state folder is not writable.
    pub fn write(&self) -> Result<()> {
        let path = path_of(Path::new(&self.mountpoint));
        places::private(path.parent().unwrap_or(&path))?;
        let text = serde_json::to_vec(self).unwrap_or_default();
        // A mount does not fail for lack of a note: without it, status shows less.
        let mut options = fs::File::options();
        let opened = regular::open_with(options.write(true).create(true).truncate(true), &path);
        if let Err(error) = opened.and_then(|mut file| file.write_all(&text)) {
            tracing::warn!("cannot write `{}`: {error}", path.display());
        }
        Ok(())
    }

    /// The note of the mount at `mountpoint`, if there is one.
    pub fn read(mountpoint: &Path) -> Option<Self> {
        serde_json::from_slice(&regular::read(&path_of(mountpoint), LARGEST).ok()?).ok()
    }

    /// Removes the note of the process `pid`; one that another mount has written there since stays.
    pub fn remove(mountpoint: &Path, pid: u32) {
        if Self::read(mountpoint).is_some_and(|note| note.pid == pid) {
            fs::remove_file(path_of(mountpoint)).ok();
        }
    }
}

fn path_of(mountpoint: &Path) -> PathBuf {
    places::state().join("mounts").join(format!("{}.json", file_name(mountpoint)))
}

/// The log of a mount at `mountpoint`.
pub fn log_of(mountpoint: &Path) -> PathBuf {
    places::state().join(format!("{}.log", file_name(mountpoint)))
}

/// `/mnt/dc` becomes `mnt-dc`, with a hash to avoid collisions.
fn file_name(mountpoint: &Path) -> String {
    let bytes = mountpoint.as_os_str().as_bytes();
    let plain = |b: &u8| if b.is_ascii_alphanumeric() { char::from(*b) } else { '-' };
    let words: String = bytes.iter().map(plain).collect();
    let tail: String = words.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
    format!("{}-{:08x}", tail.trim_matches('-'), crc32fast::hash(bytes))
}

//! Verification of packs.
//!
//! Lengths are compared at open. Checksums too, if all files together are small; otherwise a thread
//! compares them while the pack is already in use. Damage found anywhere is reported here, once.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dcfs_disk::{bus, regular};

use super::error::PackError;
use super::output::{Sum, Sums};

/// Bytes compared at a time, and the pause after each if nobody waits for it.
const CHUNK: usize = 1 << 18;
const PAUSE: Duration = Duration::from_micros(500);

/// Whether a pack was found damaged, and why.
#[derive(Debug)]
pub struct Damage {
    folder: PathBuf,
    why: OnceLock<String>,
    /// The number of mappings that had lost pages when it was opened ([`bus::cuts`]).
    cuts: u64,
    /// The number of comparisons under way.
    checking: AtomicUsize,
}

impl Damage {
    pub fn new(folder: &Path) -> Arc<Self> {
        Arc::new(Self {
            folder: folder.to_path_buf(),
            why: OnceLock::new(),
            cuts: bus::cuts(),
            checking: AtomicUsize::new(0),
        })
    }

    /// Marks the pack; only the first call counts and is logged.
    pub fn mark(&self, why: &str) {
        if self.why.set(why.to_owned()).is_ok() {
            tracing::warn!(pack = %self.folder.display(), why, "damaged pack; rebuilding it");
        }
    }

    pub fn is_marked(&self) -> bool {
        if bus::cuts() != self.cuts {
            self.mark("a file of the cache was truncated while in use");
        }
        self.why.get().is_some()
    }

    /// Whether everything that was opened has been compared and matches.
    pub fn is_proven(&self) -> bool {
        self.checking.load(Ordering::Acquire) == 0 && !self.is_marked()
    }

    /// # Errors
    /// [`PackError::Damaged`] once it was marked.
    pub fn check(&self) -> Result<(), PackError> {
        match self.is_marked() {
            true => Err(PackError::damaged(self.why.get().map_or("", String::as_str))),
            false => Ok(()),
        }
    }
}

/// Files to compare with the manifest; already open, so that renaming the pack does not matter.
pub struct Checksums(Vec<(PathBuf, File, Sum)>);

impl Checksums {
    pub fn open(folder: &Path, sums: &Sums) -> Result<Self, PackError> {
        let open = |(name, sum): (&String, &Sum)| {
            let path = folder.join(name);
            let file = regular::open(&path).map_err(PackError::read(&path))?;
            Ok((path, file, *sum))
        };
        sums.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// The total size of the files in bytes.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |total, (_, _, sum)| total.saturating_add(sum.length))
    }

    /// Reads and compares every file, until `is_over`.
    pub fn compare(self, is_over: impl Fn() -> bool) -> Result<(), PackError> {
        let mut buffer = vec![0; CHUNK];
        for (path, mut file, sum) in self.0 {
            let mut crc = crc32fast::Hasher::new();
            loop {
                let length = file.read(&mut buffer).map_err(PackError::read(&path))?;
                if length == 0 {
                    break;
                }
                crc.update(&buffer[..length]);
                if is_over() {
                    return Ok(());
                }
            }
            if crc.finalize() != sum.crc32 {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Err(PackError::damaged(format!("`{name}` does not match its checksum")));
            }
        }
        Ok(())
    }

    /// The same on a thread of its own, for as long as anyone else holds `damage`. It pauses often:
    /// whoever has just opened something waits for other answers.
    pub fn compare_later(self, damage: Arc<Damage>) -> Result<(), PackError> {
        damage.checking.fetch_add(1, Ordering::AcqRel);
        let work = move || {
            let is_over = || {
                std::thread::sleep(PAUSE);
                Arc::strong_count(&damage) == 1
            };
            if let Err(error) = self.compare(is_over) {
                damage.mark(&error.to_string());
            }
            damage.checking.fetch_sub(1, Ordering::AcqRel);
        };
        let thread = std::thread::Builder::new().name("dcfs-check".into()).spawn(work);
        thread.map(drop).map_err(|e| PackError::Thread(e.to_string()))
    }
}

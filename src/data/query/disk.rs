//! Sets of rows in the cache directory, beside the pack whose ordinals they hold.
//!
//! A file is named after a hash of its filter, and contains a checksum of the rest: the canonical
//! form of the filter, a newline, the set. Files are renamed into place by a separate thread,
//! because nobody waits for them; the oldest are removed when there are many.

use dcfs_disk::{private, regular};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use roaring::RoaringBitmap;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::pack::shared::{self, Shared, Written};
use crate::pack::{Ordinals, Pack, home};
use dcfs_core::error::{Error, Kind, Result};

/// Changes whenever filters change their meaning; so does the release. Sets cached by another dcfs
/// version are not used.
const FORMAT: u32 = 3;

/// The most files, and bytes, kept per version; [`Pack::kept`] limits the total over all versions.
const MOST: usize = 512;
const MOST_BYTES: u64 = 256 << 20;

/// The number of new files between removals of the oldest.
const OFTEN: u32 = 32;

/// Smaller sets are as fast to compute again.
const WORTH_KEEPING: u32 = 50_000;

/// The most sets waiting to be written; further ones are not kept.
const WAITING: usize = 8;

/// The length of the checksum in bytes.
const SUM: usize = 4;

/// The file for a filter over a version; `None` if the version is small.
pub fn place(pack: &Pack, filter: &str) -> Option<PathBuf> {
    let hash: String = Sha256::digest(filter)[..16].iter().map(|b| format!("{b:02x}")).collect();
    let name = format!("{hash}-{}-{FORMAT}", env!("CARGO_PKG_VERSION"));
    (pack.row_count() >= WORTH_KEEPING).then(|| pack.folder().join("filters").join(name))
}

/// The cached set of a filter, if it exists and is intact.
pub fn find(place: &Path, filter: &str) -> Option<Ordinals> {
    read(&regular::read(place, u64::MAX - 1).ok()?, filter).or_else(|| {
        tracing::warn!(file = %place.display(), "damaged; made anew");
        None
    })
}

/// The set in the bytes of a file, if they are intact and of this filter.
fn read(bytes: &[u8], filter: &str) -> Option<Ordinals> {
    let (sum, rest) = bytes.split_at_checked(SUM)?;
    if crc32fast::hash(rest).to_le_bytes() != *sum {
        return None;
    }
    let rows = rest.strip_prefix(filter.as_bytes())?.strip_prefix(b"\n")?;
    RoaringBitmap::deserialize_from(rows).ok()
}

/// The most bytes of a set that hosts share: for 4 billion rows.
const MOST_SHARED: u64 = 1 << 30;

/// The set of a filter that other hosts shared; also cached here.
pub fn find_shared(pack: &Pack, place: &Path, filter: &str) -> Option<Ordinals> {
    let bytes = pack.shared()?.find(&shared_name(pack, place), MOST_SHARED)?;
    let rows = read(&bytes, filter)?;
    if let Err(error) = write(place, &bytes) {
        tracing::debug!(%error, "the rows of a filter are not kept");
    }
    Some(rows)
}

/// Shares a set with other hosts, if it is large enough.
///
/// # Errors
/// Errors of the shared folder and the catalog.
pub fn share(pack: &Pack, filter: &str, rows: &Ordinals, with: &Shared) -> Result<Written> {
    let Some(place) = place(pack, filter) else { return Ok(Written::default()) };
    let bytes = contents(filter, rows).map_err(|error| Error::new(Kind::Broken, error))?;
    let kept = Written { objects: 1, bytes: bytes.len() as u64 };
    with.keep(&shared_name(pack, &place), bytes)?;
    Ok(kept)
}

fn shared_name(pack: &Pack, place: &Path) -> String {
    let file = place.file_name().unwrap_or_default().to_string_lossy();
    shared::of_set(&pack.name(), &file)
}

/// The contents of a file.
fn contents(filter: &str, rows: &Ordinals) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(SUM + filter.len() + 1 + rows.serialized_size());
    bytes.extend_from_slice(&[0; SUM]);
    bytes.extend_from_slice(filter.as_bytes());
    bytes.push(b'\n');
    rows.serialize_into(&mut bytes)?;
    let sum = crc32fast::hash(&bytes[SUM..]).to_le_bytes();
    bytes[..SUM].copy_from_slice(&sum);
    Ok(bytes)
}

/// Writes a whole file, replacing an existing one.
fn write(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = place.parent().unwrap_or(place);
    private::folder(folder).map_err(io::Error::other)?;
    let draft = folder.join(format!(".draft-{}", Uuid::new_v4().simple()));
    let mut options = fs::OpenOptions::new();
    regular::open_with(options.write(true).create_new(true), &draft)?.write_all(bytes)?;
    fs::rename(&draft, place)
}

/// Removes the oldest files if there are too many, and drafts left by dead processes.
fn prune(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let dated = entries.flatten().filter_map(|entry| {
        let known = entry.metadata().ok()?;
        Some((known.modified().ok()?, entry.path(), known.len()))
    });
    let mut dated: Vec<_> = dated.collect();
    dated.sort();
    let mut bytes = 0;
    for (number, (_, path, length)) in dated.iter().rev().enumerate() {
        bytes += length;
        if number >= MOST || bytes > MOST_BYTES {
            let _ = fs::remove_file(path);
        }
    }
}

/// How long, and how many times, a set waits for its pack to be verified.
const PACE: Duration = Duration::from_millis(50);
const TIMES: u32 = 1200;

/// How many times it still waits when the mount ends.
const LAST_TIMES: u32 = 60;

/// A set to be written, its path, and the pack it was computed from.
struct Job {
    file: PathBuf,
    bytes: Vec<u8>,
    pack: Arc<Pack>,
}

impl Job {
    /// Writes it once the pack is verified, if that still is the one in its folder.
    fn run(self, is_over: &AtomicBool, patience: u32) {
        let mut last = 0;
        for _ in 0..TIMES {
            if self.pack.is_damaged() || !self.pack.is_current() {
                return;
            }
            if self.pack.is_proven() {
                if let Err(error) = write(&self.file, &self.bytes) {
                    tracing::debug!(%error, "the rows of a filter are not kept");
                }
                if let Some(shared) = self.pack.shared().filter(|shared| shared.may_write()) {
                    let name = shared_name(&self.pack, &self.file);
                    if let Err(error) = shared.keep(&name, self.bytes) {
                        tracing::debug!(%error, "the rows of a filter are not shared");
                    }
                }
                return;
            }
            last += u32::from(is_over.load(Ordering::Acquire));
            if last > patience {
                return;
            }
            // The end of the mount wakes it.
            std::thread::park_timeout(PACE);
        }
    }
}

/// Writes sets, one after another, on a thread that starts with the first. When dropped, it writes
/// those that wait.
#[derive(Debug, Default)]
pub struct Saver {
    running: OnceLock<Mutex<Option<Running>>>,
    is_over: Arc<AtomicBool>,
    /// Whether nobody waits for it at the end.
    is_hurried: bool,
}

#[derive(Debug)]
struct Running {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

impl Saver {
    /// A saver that at the end keeps only sets that can be written at once: a command does not wait
    /// for the benefit of later ones.
    pub fn hurried() -> Self {
        Self { running: OnceLock::new(), is_over: Arc::default(), is_hurried: true }
    }

    /// Queues a set, unless many wait already.
    pub fn save(&self, file: PathBuf, filter: &str, rows: &Ordinals, pack: &Arc<Pack>) {
        let Ok(bytes) = contents(filter, rows) else { return };
        let running =
            self.running.get_or_init(|| Mutex::new(start(self.is_over.clone(), self.is_hurried)));
        let running = running.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(running) = &*running {
            // A full queue is not an error: the set will be computed again.
            let _ = running.jobs.try_send(Job { file, bytes, pack: pack.clone() });
        }
    }
}

fn start(is_over: Arc<AtomicBool>, is_hurried: bool) -> Option<Running> {
    let patience = if is_hurried { 0 } else { LAST_TIMES };
    let (jobs, waiting) = sync_channel::<Job>(WAITING);
    let work = move || {
        for (number, job) in (0..).zip(waiting) {
            let (folder, most) = (job.file.parent().map(Path::to_path_buf), job.pack.kept());
            job.run(&is_over, patience);
            if let Some(folder) = folder.filter(|_| u32::is_multiple_of(number, OFTEN)) {
                prune(&folder);
                // Sets of other versions count too, and tables.
                if let Some(packs) = folder.parent().and_then(Path::parent) {
                    home::prune(packs, most);
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("dcfs-keep".into()).spawn(work).ok()?;
    Some(Running { jobs, thread })
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let running = self.running.take().and_then(|held| held.into_inner().ok().flatten());
        if let Some(Running { jobs, thread }) = running {
            drop(jobs);
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_kept_of_this_filter_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let (place, rows) = (folder.path().join("a/b"), (0..70_000).step_by(3).collect());
        assert_eq!(find(&place, "x > 1"), None);
        let bytes = contents("x > 1", &rows).expect("bytes");
        write(&place, &bytes).expect("written");
        assert_eq!(find(&place, "x > 1"), Some(rows));
        assert_eq!(find(&place, "x > 2"), None);
        for at in [0, 5, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            write(&place, &damaged).expect("written");
            assert_eq!(find(&place, "x > 1"), None, "{at}");
        }
        write(&place, &bytes[..3]).expect("written");
        assert_eq!(find(&place, "x > 1"), None);
    }

    #[test]
    fn the_oldest_go_first() {
        let folder = tempfile::tempdir().expect("a folder");
        for age in 0..MOST as u64 + 3 {
            let then = std::time::SystemTime::now() - std::time::Duration::from_secs(age * 10);
            let file = fs::File::create(folder.path().join(age.to_string())).expect("created");
            file.set_modified(then).expect("dated");
        }
        prune(folder.path());
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), MOST);
        assert!(folder.path().join("0").exists() && !folder.path().join("514").exists());
    }
}

//! Sets of rows in the cache directory, beside the pack that their numbers are of.
//!
//! A file holds the printed form of its filter and then the set; its name tells a hash of the former,
//! and its length and checksum. Files are written on a thread of their own, for nobody waits for them;
//! the oldest go when there are many.

use std::io::{Read, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::thread::JoinHandle;

use roaring::RoaringBitmap;
use sha2::{Digest, Sha256};

use crate::pack::home::Home;
use crate::pack::{Ordinals, Pack};

/// Moves with every change of what a filter means: a set kept by another dcfs is not believed.
const FORMAT: u32 = 1;

/// Sets that are kept of one version.
const MOST: usize = 512;

/// Bytes of the sets of one version.
const MOST_BYTES: u64 = 256 << 20;

/// Sets of fewer rows are found again as fast.
const WORTH_KEEPING: u32 = 50_000;

/// Sets that wait to be written; more are not kept.
const WAITING: usize = 8;

/// Where the sets of a version are; nowhere for a small one.
pub fn home(pack: &Pack) -> Option<Home> {
    (pack.row_count() >= WORTH_KEEPING).then(|| Home::of(pack, "filters"))
}

/// A hash of a set.
pub fn digest(rows: &Ordinals) -> Vec<u8> {
    let mut hash = Sha256::new();
    let mut rows = rows.iter();
    while let Some(range) = rows.next_range() {
        hash.update(range.start().to_le_bytes());
        hash.update(range.end().to_le_bytes());
    }
    hash.finalize()[..16].to_vec()
}

fn stem(filter: &str) -> String {
    let hash: String = Sha256::digest(filter)[..16].iter().map(|b| format!("{b:02x}")).collect();
    format!("{hash}-{FORMAT}")
}

/// The set of a filter, if it was kept.
pub fn find(home: &Option<Home>, filter: &str) -> Option<Ordinals> {
    let mut file = home.as_ref()?.find(&stem(filter))?;
    let mut bytes = Vec::new();
    // Comparing its checksum has read it to the end.
    std::io::Seek::rewind(&mut file).ok()?;
    file.read_to_end(&mut bytes).ok()?;
    let rest = bytes.strip_prefix(filter.as_bytes())?.strip_prefix(b"\n")?;
    RoaringBitmap::deserialize_from(rest).ok()
}

fn keep(home: &Home, filter: &str, rows: &[u8]) {
    let kept = home.create().and_then(|mut draft| {
        let full = |error| crate::error::Error::new(crate::error::Kind::Full, error);
        for bytes in [filter.as_bytes(), b"\n", rows] {
            draft.write_all(bytes).map_err(full)?;
        }
        home.keep(draft, &stem(filter))
    });
    match kept {
        Ok(_) => home.prune(MOST, MOST_BYTES),
        Err(error) => tracing::debug!(%error, "the rows of a filter are not kept"),
    }
}

/// A set to be written.
struct Job {
    home: Home,
    filter: String,
    rows: Vec<u8>,
}

/// Writes sets, one after another, on a thread that starts with the first. Dropped, it writes what
/// waits.
#[derive(Debug, Default)]
pub struct Saver {
    running: OnceLock<Mutex<Option<Running>>>,
}

#[derive(Debug)]
struct Running {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

impl Saver {
    /// Keeps a set, unless many wait already.
    pub fn save(&self, home: Option<Home>, filter: String, rows: &Ordinals) {
        let Some(home) = home else { return };
        let mut bytes = Vec::with_capacity(rows.serialized_size());
        if rows.serialize_into(&mut bytes).is_err() {
            return;
        }
        let running = self.running.get_or_init(|| Mutex::new(start()));
        let running = running.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(running) = &*running {
            // A full queue is no error: the set is found again.
            let _ = running.jobs.try_send(Job { home, filter, rows: bytes });
        }
    }
}

fn start() -> Option<Running> {
    let (jobs, waiting) = sync_channel::<Job>(WAITING);
    let work = move || {
        for job in waiting {
            keep(&job.home, &job.filter, &job.rows);
        }
    };
    let thread = std::thread::Builder::new().name("dcfs-keep".into()).spawn(work).ok()?;
    Some(Running { jobs, thread })
}

impl Drop for Saver {
    fn drop(&mut self) {
        let running = self.running.take().and_then(|held| held.into_inner().ok().flatten());
        if let Some(Running { jobs, thread }) = running {
            drop(jobs);
            let _ = thread.join();
        }
    }
}

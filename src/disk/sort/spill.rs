//! Sorted runs, one after another in a scratch file, and the thread that writes them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::Arena;
use crate::map::Map;
use crate::scratch;

/// Bytes that are gathered before the system is asked to write.
const BUFFER: usize = 256 << 10;

/// Runs on their way to the disk.
pub struct Spill {
    out: Counted,
    runs: Vec<Range<usize>>,
}

impl Spill {
    /// With a new scratch file on the disk of `folder`.
    ///
    /// # Errors
    /// As [`scratch::file`].
    pub fn create(folder: &Path) -> io::Result<Self> {
        let to = BufWriter::with_capacity(BUFFER, scratch::file(folder)?);
        Ok(Self { out: Counted { to, length: 0 }, runs: Vec::new() })
    }

    /// Adds the records of an arena as one run.
    ///
    /// # Errors
    /// A full disk.
    pub fn run(&mut self, arena: &impl Arena) -> io::Result<()> {
        let start = self.out.length;
        arena.write(&mut self.out)?;
        self.runs.push(start..self.out.length);
        Ok(())
    }

    /// Adds bytes to a last run, which [`Spill::finish`] closes: records that come in order, or that need none.
    ///
    /// # Errors
    /// A full disk.
    pub fn put(&mut self, record: &[u8]) -> io::Result<()> {
        self.out.write_all(record)
    }

    /// All runs, for reading.
    ///
    /// # Errors
    /// A full disk; the system refuses to map the file.
    pub fn finish(mut self) -> io::Result<Vec<Run>> {
        let put = self.runs.last().map_or(0, |last| last.end);
        if put < self.out.length {
            self.runs.push(put..self.out.length);
        }
        let file: File = self.out.to.into_inner().map_err(|error| error.into_error())?;
        let file = Arc::new(Map::of(&file)?);
        Ok(self.runs.into_iter().map(|range| Run { file: Arc::clone(&file), range }).collect())
    }
}

/// A file that knows how long it is.
struct Counted {
    to: BufWriter<File>,
    length: usize,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.length += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// One run that is written: records in order, one after another.
#[derive(Clone)]
pub struct Run {
    file: Arc<Map>,
    range: Range<usize>,
}

impl Run {
    /// As [`Arena::write`] wrote them.
    pub fn bytes(&self) -> &[u8] {
        self.file.as_ref().as_ref().get(self.range.clone()).unwrap_or_default()
    }

    /// The error of whoever finds half a record at the end.
    pub fn cut() -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, "a run ends in the middle of a record")
    }
}

/// The spill of a lane, which begins with its first run.
pub fn spill_of<'s>(
    spills: &'s mut [Option<Spill>],
    lane: usize,
    folder: &Path,
) -> io::Result<&'s mut Spill> {
    match &mut spills[lane] {
        Some(spill) => Ok(spill),
        none => Ok(none.insert(Spill::create(folder)?)),
    }
}

/// The thread that sorts and writes full arenas.
pub struct Spiller<A> {
    full: SyncSender<(usize, A)>,
    spare: Receiver<A>,
    thread: JoinHandle<io::Result<Vec<Option<Spill>>>>,
}

impl<A: Arena> Spiller<A> {
    /// For so many lanes. `spare` is the arena that fills while another is written.
    pub fn start(folder: &Path, lanes: usize, spare: A) -> io::Result<Self> {
        let (full, to_sort) = sync_channel(1);
        let (emptied, spares) = channel();
        // Its other end is here.
        let _ = emptied.send(spare);
        let folder: PathBuf = folder.to_path_buf();
        let work = move || spill_all(&folder, lanes, &to_sort, &emptied);
        let thread = std::thread::Builder::new().name("dcfs-sort".into()).spawn(work)?;
        Ok(Self { full, spare: spares, thread })
    }

    /// Takes `arena` for sorting and leaves an empty one; `false` where the thread is gone.
    pub fn swap(&self, lane: usize, arena: &mut A) -> bool {
        let Ok(spare) = self.spare.recv() else { return false };
        self.full.send((lane, std::mem::replace(arena, spare))).is_ok()
    }

    /// The spill of each lane, once all is written; or why the thread ended.
    pub fn finish(self) -> io::Result<Vec<Option<Spill>>> {
        drop(self.full);
        drop(self.spare);
        let died = |_| io::Error::other("the sorting thread panicked");
        self.thread.join().map_err(died)?
    }
}

/// The life of the sorting thread.
fn spill_all<A: Arena>(
    folder: &Path,
    lanes: usize,
    full: &Receiver<(usize, A)>,
    spare: &Sender<A>,
) -> io::Result<Vec<Option<Spill>>> {
    let mut spills: Vec<Option<Spill>> = (0..lanes).map(|_| None).collect();
    for (lane, mut arena) in full {
        arena.sort();
        spill_of(&mut spills, lane, folder)?.run(&arena)?;
        arena.clear();
        // Nobody waits for it at the end.
        let _ = spare.send(arena);
    }
    Ok(spills)
}

//! Sorting more records than memory should hold: full arenas become sorted runs in a file, and runs
//! are merged while they are read.
//!
//! A second thread sorts and writes one arena while the scan fills the next, so there is one arena
//! per column and one spare. What fits one arena never touches the disk. Run files are unlinked as
//! soon as they are mapped: a crash leaves none behind, and their pages are the system's to drop.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::arena::Arena;
use super::error::Error;
use super::map::Map;
use super::output::Output;
use super::record::Record;

/// One sorter per column, sharing a budget of bytes.
pub struct Sorters {
    /// Where runs are written.
    folder: PathBuf,
    /// Told apart from other sorters' files by this.
    prefix: &'static str,
    /// Of one arena.
    limit: usize,
    arenas: Vec<Arena>,
    spiller: Option<Spiller>,
}

impl Sorters {
    /// `budget` is in bytes, over all columns.
    pub fn new(folder: &Path, prefix: &'static str, columns: usize, budget: usize) -> Self {
        let limit = budget / (columns + 1);
        let arenas = (0..columns).map(|_| Arena::new(limit)).collect();
        Self { folder: folder.to_path_buf(), prefix, limit, arenas, spiller: None }
    }

    /// Adds a record of one column.
    pub fn push(&mut self, column: usize, record: &Record<'_>) -> Result<(), Error> {
        if !self.arenas[column].has_room(record.key.len()) {
            self.spill(column)?;
        }
        self.arenas[column].push(record);
        Ok(())
    }

    /// Hands a full arena to the other thread and goes on with the spare one, waiting for it if the
    /// disk is slower than the scan.
    fn spill(&mut self, column: usize) -> Result<(), Error> {
        let spiller = match &mut self.spiller {
            Some(spiller) => spiller,
            none => none.insert(Spiller::start(
                &self.folder,
                self.prefix,
                self.arenas.len(),
                Arena::new(self.limit),
            )?),
        };
        match spiller.swap(column, &mut self.arenas[column]) {
            true => Ok(()),
            false => Err(self.failure()),
        }
    }

    /// Why the other thread ended before its time.
    fn failure(&mut self) -> Error {
        match self.spiller.take().map(Spiller::finish) {
            Some(Err(error)) => error,
            _ => Error::Thread("the sorting thread ended early".into()),
        }
    }

    /// Every column's records in order.
    pub fn finish(mut self) -> Result<Vec<Sorted>, Error> {
        let spilled = match self.spiller.take() {
            Some(spiller) => spiller.finish()?,
            None => self.arenas.iter().map(|_| None).collect(),
        };
        let arenas = self.arenas.into_iter().zip(spilled);
        arenas.map(|(arena, runs)| Sorted::new(arena, runs)).collect()
    }
}

/// The thread that sorts and writes full arenas.
struct Spiller {
    full: SyncSender<(usize, Arena)>,
    spare: Receiver<Arena>,
    thread: JoinHandle<Result<Vec<Option<Runs>>, Error>>,
}

impl Spiller {
    fn start(
        folder: &Path,
        prefix: &'static str,
        columns: usize,
        spare: Arena,
    ) -> Result<Self, Error> {
        let (full, to_sort) = sync_channel(1);
        let (sorted, emptied) = channel();
        sorted.send(spare).map_err(|e| Error::Thread(e.to_string()))?;
        let folder = folder.to_path_buf();
        let work = move || spill_all(&folder, prefix, columns, &to_sort, &sorted);
        let thread = std::thread::Builder::new().name("dcfs-sort".into()).spawn(work);
        let thread = thread.map_err(|e| Error::Thread(e.to_string()))?;
        Ok(Self { full, spare: emptied, thread })
    }

    /// Takes `arena` for sorting and leaves an empty one; `false` where the thread is gone.
    fn swap(&self, column: usize, arena: &mut Arena) -> bool {
        let Ok(spare) = self.spare.recv() else { return false };
        self.full.send((column, std::mem::replace(arena, spare))).is_ok()
    }

    fn finish(self) -> Result<Vec<Option<Runs>>, Error> {
        drop(self.full);
        drop(self.spare);
        let died = |_| Error::Thread("the sorting thread panicked".into());
        self.thread.join().map_err(died)?
    }
}

/// The life of the sorting thread.
fn spill_all(
    folder: &Path,
    prefix: &'static str,
    columns: usize,
    full: &Receiver<(usize, Arena)>,
    spare: &Sender<Arena>,
) -> Result<Vec<Option<Runs>>, Error> {
    let mut runs: Vec<Option<Runs>> = (0..columns).map(|_| None).collect();
    for (column, mut arena) in full {
        let runs = match &mut runs[column] {
            Some(runs) => runs,
            none => none.insert(Runs::create(folder.join(format!("{prefix}{column}.runs")))?),
        };
        arena.sort();
        runs.write(&arena)?;
        arena.clear();
        // Nobody waits for it at the end.
        let _ = spare.send(arena);
    }
    Ok(runs)
}

/// Sorted runs, one after another in one file.
struct Runs {
    file: Output,
    ranges: Vec<Range<usize>>,
}

impl Runs {
    fn create(path: PathBuf) -> Result<Self, Error> {
        Ok(Self { file: Output::create(path)?, ranges: Vec::new() })
    }

    fn write(&mut self, arena: &Arena) -> Result<(), Error> {
        let start = self.file.length() as usize;
        for record in arena.slices() {
            self.file.put(record)?;
        }
        self.ranges.push(start..self.file.length() as usize);
        Ok(())
    }

    /// The runs for reading; their file has no name any more.
    fn map(self) -> Result<Sorted, Error> {
        let path = self.file.path().to_path_buf();
        let (file, _) = self.file.finish()?;
        let map = Map::of(&file, &path)?;
        fs::remove_file(&path).map_err(Error::write(&path))?;
        Ok(Sorted::Runs { map, ranges: self.ranges })
    }
}

/// All records of one column in order, to be gone through once or more.
pub enum Sorted {
    Memory(Arena),
    Runs { map: Map, ranges: Vec<Range<usize>> },
}

impl Sorted {
    /// `rest` is what was never full.
    fn new(mut rest: Arena, runs: Option<Runs>) -> Result<Self, Error> {
        rest.sort();
        let Some(mut runs) = runs else { return Ok(Self::Memory(rest)) };
        if !rest.is_empty() {
            runs.write(&rest)?;
        }
        drop(rest);
        runs.map()
    }

    pub fn records(&self) -> Box<dyn Iterator<Item = Result<Record<'_>, Error>> + '_> {
        match self {
            Self::Memory(arena) => Box::new(arena.records().map(Ok)),
            Self::Runs { map, ranges } => {
                let runs = ranges.iter().map(|range| map.as_ref().get(range.clone()));
                let heads = runs.filter_map(|run| Head::of(run.unwrap_or_default()));
                Box::new(Merge(heads.collect()))
            }
        }
    }
}

/// The next record of a run, and the run after it.
struct Head<'a> {
    record: Record<'a>,
    rest: &'a [u8],
}

impl<'a> Head<'a> {
    fn of(run: &'a [u8]) -> Option<Self> {
        let (record, rest) = Record::split(run)?;
        Some(Self { record, rest })
    }
}

/// The heap gives its greatest first, so the order is turned round.
impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.record.order(&self.record)
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

struct Merge<'a>(BinaryHeap<Head<'a>>);

impl<'a> Iterator for Merge<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut top = self.0.peek_mut()?;
        let record = top.record;
        match Head::of(top.rest) {
            Some(next) => *top = next,
            None if top.rest.is_empty() => drop(PeekMut::pop(top)),
            None => {
                PeekMut::pop(top);
                return Some(Err(Error::damaged("a run ends in the middle of a record")));
            }
        }
        Some(Ok(record))
    }
}

/// Records written as they come, to be read again once in that order.
pub struct Aside(Runs);

impl Aside {
    pub fn create(path: PathBuf) -> Result<Self, Error> {
        Runs::create(path).map(Self)
    }

    pub fn push(&mut self, record: &Record<'_>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        self.0.file.put(&bytes)
    }

    /// All of them, as one run.
    pub fn finish(mut self) -> Result<Sorted, Error> {
        let length = self.0.file.length() as usize;
        self.0.ranges.push(0..length);
        self.0.map()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dcfs_core::object::Object;

    /// Keys of `column`, out of order, some of them twice.
    fn keys(column: usize) -> impl Iterator<Item = (u32, String)> {
        (0..1000_u32).map(move |n| (n, format!("{column}-{:03}", n * 7919 % 700)))
    }

    #[test]
    fn any_budget_gives_the_same_order() {
        for budget in [0, 1_000, 10_000, 10_000_000] {
            let folder = tempfile::tempdir().expect("a folder");
            let mut sorters = Sorters::new(folder.path(), "c", 2, budget);
            for column in 0..2 {
                for (ordinal, key) in keys(column) {
                    let record = Record::new(key.as_bytes(), ordinal, &Object::default());
                    sorters.push(column, &record).expect("pushed");
                }
            }
            let sorted = sorters.finish().expect("sorted");
            assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0, "no file stays");
            for (column, sorted) in sorted.iter().enumerate() {
                let records = sorted.records().map(|r| r.expect("whole"));
                let got: Vec<_> = records
                    .map(|r| (String::from_utf8_lossy(r.key).into_owned(), r.ordinal))
                    .collect();
                let mut want: Vec<_> = keys(column).map(|(n, key)| (key, n)).collect();
                want.sort();
                assert_eq!(got, want, "budget {budget}, column {column}");
            }
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let mut sorters = Sorters::new(Path::new("/nonexistent"), "c", 1, 0);
        let mut push = |n: u32| sorters.push(0, &Record::new(b"a", n, &Object::default()));
        let error = (0..100).find_map(|n| push(n).err()).expect("the second record spills");
        assert!(error.to_string().contains("`/nonexistent/c0.runs`"), "{error}");
    }
}

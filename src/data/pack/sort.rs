//! An external sort of records: full arenas become sorted runs in a file, and runs are merged while
//! they are read.
//!
//! A single reader has a second thread that sorts and writes one arena while the scan fills the
//! next, so there is one arena per column and one spare; parallel readers sort their own. Records
//! that fit the arenas never touch the disk. Run files are unlinked as soon as they are mapped: a
//! crash leaves none behind, and the system may drop their pages.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::arena::{Arena, Records};
use super::error::Error;
use super::map::Map;
use super::output::Output;
use super::record::Record;

/// One sorter per column, sharing a budget of bytes.
pub struct Sorters {
    /// The folder for runs.
    folder: PathBuf,
    /// Distinguishes their files from other sorters'.
    prefix: String,
    /// The size of one arena in bytes.
    limit: usize,
    arenas: Vec<Arena>,
    spilling: Spilling,
}

/// Who sorts and writes full arenas.
enum Spilling {
    /// Another thread, once started.
    Beside(Option<Spiller>),
    /// The thread that fills them; the runs of each column.
    Here(Vec<Option<Runs>>),
}

impl Sorters {
    /// `budget` is in bytes, over all columns.
    pub fn new(folder: &Path, prefix: &str, columns: usize, budget: usize) -> Self {
        Self::with(folder, prefix.into(), columns, budget / (columns + 1), Spilling::Beside(None))
    }

    /// The same without another thread: for one of several that fill sorters.
    pub fn alone(folder: &Path, prefix: String, columns: usize, budget: usize) -> Self {
        let spilling = Spilling::Here((0..columns).map(|_| None).collect());
        Self::with(folder, prefix, columns, budget / columns.max(1), spilling)
    }

    fn with(
        folder: &Path,
        prefix: String,
        columns: usize,
        limit: usize,
        spilling: Spilling,
    ) -> Self {
        let arenas = (0..columns).map(|_| Arena::new(limit)).collect();
        Self { folder: folder.to_path_buf(), prefix, limit, arenas, spilling }
    }

    /// Adds a record of one column.
    pub fn push(&mut self, column: usize, record: &Record<'_>) -> Result<(), Error> {
        if !self.arenas[column].has_room(record.key.len()) {
            self.spill(column)?;
        }
        self.arenas[column].push(record);
        Ok(())
    }

    /// Sorts and writes a full arena, or hands it to the other thread and continues with the spare
    /// one, waiting if the disk is slower than the scan.
    fn spill(&mut self, column: usize) -> Result<(), Error> {
        let spiller = match &mut self.spilling {
            Spilling::Here(runs) => {
                let runs = runs_of(runs, column, &self.folder, &self.prefix)?;
                self.arenas[column].sort();
                runs.write(&self.arenas[column])?;
                self.arenas[column].clear();
                return Ok(());
            }
            Spilling::Beside(Some(spiller)) => spiller,
            Spilling::Beside(none) => none.insert(Spiller::start(
                &self.folder,
                &self.prefix,
                self.arenas.len(),
                Arena::new(self.limit),
            )?),
        };
        match spiller.swap(column, &mut self.arenas[column]) {
            true => Ok(()),
            false => Err(self.failure()),
        }
    }

    /// Why the other thread ended early.
    fn failure(&mut self) -> Error {
        let ended = || Error::Thread("the sorting thread ended early".into());
        match &mut self.spilling {
            Spilling::Here(_) => ended(),
            Spilling::Beside(spiller) => match spiller.take().map(Spiller::finish) {
                Some(Err(error)) => error,
                _ => ended(),
            },
        }
    }

    /// Stops the other thread, which would otherwise continue to write runs.
    pub fn abandon(mut self) {
        if let Spilling::Beside(spiller) = &mut self.spilling
            && let Some(spiller) = spiller.take()
        {
            let _ = spiller.finish();
        }
    }

    /// The last arena of each column, and its runs.
    fn parts(self) -> Result<Vec<(Arena, Option<Runs>)>, Error> {
        let spilled = match self.spilling {
            Spilling::Here(runs) => runs,
            Spilling::Beside(Some(spiller)) => spiller.finish()?,
            Spilling::Beside(None) => self.arenas.iter().map(|_| None).collect(),
        };
        Ok(self.arenas.into_iter().zip(spilled).collect())
    }

    /// Every column's records in order, from sorters with the same columns.
    pub fn finish(all: Vec<Self>) -> Result<Vec<Sorted>, Error> {
        let mut columns: Vec<Vec<(Arena, Option<Runs>)>> = Vec::new();
        for sorters in all {
            for (column, part) in sorters.parts()?.into_iter().enumerate() {
                match columns.get_mut(column) {
                    Some(parts) => parts.push(part),
                    None => columns.push(vec![part]),
                }
            }
        }
        columns.into_iter().map(Sorted::new).collect()
    }
}

/// The runs of a column; creates their file for the first one.
fn runs_of<'r>(
    runs: &'r mut [Option<Runs>],
    column: usize,
    folder: &Path,
    prefix: &str,
) -> Result<&'r mut Runs, Error> {
    match &mut runs[column] {
        Some(runs) => Ok(runs),
        none => Ok(none.insert(Runs::create(folder.join(format!("{prefix}{column}.runs")))?)),
    }
}

/// The thread that sorts and writes full arenas.
struct Spiller {
    full: SyncSender<(usize, Arena)>,
    spare: Receiver<Arena>,
    thread: JoinHandle<Result<Vec<Option<Runs>>, Error>>,
}

impl Spiller {
    fn start(folder: &Path, prefix: &str, columns: usize, spare: Arena) -> Result<Self, Error> {
        let (full, to_sort) = sync_channel(1);
        let (sorted, emptied) = channel();
        sorted.send(spare).map_err(|e| Error::Thread(e.to_string()))?;
        let (folder, prefix) = (folder.to_path_buf(), prefix.to_owned());
        let work = move || spill_all(&folder, &prefix, columns, &to_sort, &sorted);
        let thread = std::thread::Builder::new().name("dcfs-sort".into()).spawn(work);
        let thread = thread.map_err(|e| Error::Thread(e.to_string()))?;
        Ok(Self { full, spare: emptied, thread })
    }

    /// Takes `arena` for sorting and leaves an empty one; `false` if the thread has ended.
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

/// The main loop of the sorting thread.
fn spill_all(
    folder: &Path,
    prefix: &str,
    columns: usize,
    full: &Receiver<(usize, Arena)>,
    spare: &Sender<Arena>,
) -> Result<Vec<Option<Runs>>, Error> {
    let mut runs: Vec<Option<Runs>> = (0..columns).map(|_| None).collect();
    for (column, mut arena) in full {
        let runs = runs_of(&mut runs, column, folder, prefix)?;
        arena.sort();
        runs.write(&arena)?;
        arena.clear();
        // At the end nobody receives it.
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

    /// The runs mapped for reading; their file is unlinked.
    fn map(self) -> Result<(Map, Vec<Range<usize>>), Error> {
        let path = self.file.path().to_path_buf();
        let (file, _) = self.file.finish()?;
        let map = Map::of(&file, &path)?;
        fs::remove_file(&path).map_err(Error::write(&path))?;
        Ok((map, self.ranges))
    }
}

/// All records of one column in order, which can be read repeatedly.
pub enum Sorted {
    Memory(Vec<Arena>),
    /// Mapped files, and the runs in each.
    Runs(Vec<(Map, Vec<Range<usize>>)>),
}

impl Sorted {
    /// Merges parts, each with its last arena and its runs. If any is on the disk, all go there:
    /// the memory is needed for the next step.
    fn new(mut parts: Vec<(Arena, Option<Runs>)>) -> Result<Self, Error> {
        parts.iter_mut().for_each(|(rest, _)| rest.sort());
        let Some(first) = parts.iter().position(|(_, runs)| runs.is_some()) else {
            return Ok(Self::Memory(parts.into_iter().map(|(rest, _)| rest).collect()));
        };
        let mut files: Vec<Runs> = Vec::new();
        // The first part must have runs, so that one without any finds a file.
        parts.swap(0, first);
        for (rest, runs) in parts {
            files.extend(runs);
            if let Some(runs) = files.last_mut().filter(|_| !rest.is_empty()) {
                runs.write(&rest)?;
            }
        }
        files.into_iter().map(Runs::map).collect::<Result<_, _>>().map(Self::Runs)
    }

    pub fn records(&self) -> Box<dyn Iterator<Item = Result<Record<'_>, Error>> + '_> {
        match self {
            Self::Memory(arenas) => match &arenas[..] {
                [only] => Box::new(only.records().map(Ok)),
                many => Box::new(Merge(many.iter().filter_map(Head::first_of).collect())),
            },
            Self::Runs(files) => {
                let runs = files.iter().flat_map(|(map, ranges)| {
                    ranges.iter().map(|range| map.as_ref().get(range.clone()).unwrap_or_default())
                });
                Box::new(Merge(runs.filter_map(Head::of).collect()))
            }
        }
    }
}

/// The next record of a run, and the run after it.
struct Head<'a> {
    record: Record<'a>,
    rest: Rest<'a>,
}

/// The rest of a run.
enum Rest<'a> {
    Bytes(&'a [u8]),
    Arena(Records<'a>),
}

impl<'a> Head<'a> {
    fn of(run: &'a [u8]) -> Option<Self> {
        let (record, rest) = Record::split(run)?;
        Some(Self { record, rest: Rest::Bytes(rest) })
    }

    fn first_of(arena: &'a Arena) -> Option<Self> {
        let mut records = arena.records();
        Some(Self { record: records.next()?, rest: Rest::Arena(records) })
    }

    /// Moves to the next record; `None` at the end.
    ///
    /// # Errors
    /// A run that ends in the middle of a record.
    fn advance(&mut self) -> Result<Option<Record<'a>>, Error> {
        let next = match &mut self.rest {
            Rest::Arena(records) => records.next(),
            Rest::Bytes([]) => None,
            Rest::Bytes(bytes) => {
                let split = Record::split(bytes);
                let whole = || Error::damaged("a run ends in the middle of a record");
                let (record, rest) = split.ok_or_else(whole)?;
                *bytes = rest;
                Some(record)
            }
        };
        let Some(next) = next else { return Ok(None) };
        Ok(Some(std::mem::replace(&mut self.record, next)))
    }
}

/// `BinaryHeap` is a max-heap, so the order is reversed.
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
        match top.advance() {
            Ok(Some(record)) => Some(Ok(record)),
            Ok(None) => Some(Ok(PeekMut::pop(top).record)),
            Err(error) => {
                PeekMut::pop(top);
                Some(Err(error))
            }
        }
    }
}

/// Records written in arrival order, to be read back once in that order.
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
        Ok(Sorted::Runs(vec![self.0.map()?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dcfs_core::object::Object;

    /// Keys of `column`, out of order, with duplicates.
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
            let sorted = Sorters::finish(vec![sorters]).expect("sorted");
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

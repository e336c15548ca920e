//! Reads the rows of a version into sorted records: one pass, on several threads if ids have no
//! gaps.
//!
//! Whether the names of a column begin with sources is known only when all rows are read. Nearly
//! always there is one source, so that is assumed; if another one is found, the pass starts over.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use super::build::Rows;
use super::error::{PackError, Result};
use super::ids::{self, IdsWriter, RowIds};
use super::output::Sums;
use super::progress::Progress;
use super::record::Record;
use super::sort::{Sorted, Sorters};
use super::stamp;
use crate::catalog::Row;
use dcfs_core::cancel;
use dcfs_core::error::{Error, Kind};
use dcfs_core::id::RowId;
use dcfs_core::schema::FileColumn;
use dcfs_core::tree::place;

/// Rows that a thread takes at a time.
const CHUNK: u32 = 1 << 16;

/// Rows between checks for cancellation.
const OFTEN: u64 = 4096;

/// The most reading threads.
const MOST_THREADS: u32 = 4;

/// All rows, sorted.
pub struct Read {
    pub ids: RowIds,
    pub files: Sums,
    /// For each column, its records by path.
    pub sorted: Vec<Sorted>,
    /// For each column, whether it holds several sources.
    pub many: Vec<bool>,
}

/// The rows to be read, and where data beyond the memory limit goes.
pub struct Task<'a> {
    pub rows: &'a dyn Rows,
    pub columns: &'a [FileColumn],
    pub folder: &'a Path,
    /// Whether the stamps of objects are kept.
    pub stamps: bool,
    /// The memory for sorting, in bytes.
    pub budget: usize,
    pub progress: &'a Progress,
}

impl Task<'_> {
    /// Reads every row.
    pub fn read(&self) -> Result<Read> {
        let (count, first, last) = self.rows.extent()?;
        let mut many = vec![false; self.columns.len()];
        loop {
            let pass = Pass::new(self, &many);
            let is_dense = last.key().checked_sub(first.key()).and_then(|n| n.checked_add(1))
                == i64::try_from(count).ok();
            let read = match u32::try_from(count) {
                Ok(count) if is_dense => pass.dense(count, first),
                _ => pass.in_order(),
            };
            let found = pass.others.into_inner().unwrap_or_else(PoisonError::into_inner);
            if found.contains(&true) {
                many.iter_mut().zip(found).for_each(|(many, other)| *many |= other);
                self.progress.again();
                self.clear()?;
                continue;
            }
            let (ids, files, sorted) = read?;
            let (expected, found) = (self.progress.of(), self.progress.done());
            // A version that is shown is complete, so its rows cannot change.
            if expected != found {
                return Err(PackError::Changed { expected, found }.into());
            }
            return Ok(Read { ids, files, sorted, many });
        }
    }
}

impl Task<'_> {
    /// Removes the file of ids that an abandoned pass may have written.
    fn clear(&self) -> Result<(), PackError> {
        let path = self.folder.join(ids::FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(PackError::write(&path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Ids, their file if they have gaps, and the records of each column in order.
type Sifted = (RowIds, Sums, Vec<Sorted>);

/// One pass over the rows.
struct Pass<'a> {
    task: &'a Task<'a>,
    /// Columns known to hold several sources.
    many: &'a [bool],
    /// The first source of each of the other columns.
    sources: Vec<OnceLock<String>>,
    /// Columns in which another source was found: the pass is abandoned.
    others: Mutex<Vec<bool>>,
    is_over: AtomicBool,
    /// Why the first thread failed.
    failed: Mutex<Option<Error>>,
}

impl<'a> Pass<'a> {
    fn new(task: &'a Task<'a>, many: &'a [bool]) -> Self {
        Self {
            task,
            many,
            sources: many.iter().map(|_| OnceLock::new()).collect(),
            others: Mutex::new(vec![false; many.len()]),
            is_over: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    /// Reads every row in order, whatever the ids.
    fn in_order(&self) -> Result<Sifted> {
        let Task { rows, columns, folder, budget, .. } = *self.task;
        let mut ids = IdsWriter::new(folder);
        let mut sifter = self.sifter(Sorters::new(folder, columns.len(), budget));
        let scanned = rows.scan(columns, RowId::ALL, &mut |row| {
            let ordinal = ids.push(row.id)?;
            sifter.take(ordinal, &row)
        });
        if let Err(error) = scanned {
            sifter.sorters.abandon();
            return Err(error);
        }
        let (ids, sum) = ids.finish()?;
        let files = sum.into_iter().map(|sum| (ids::FILE.to_owned(), sum)).collect();
        Ok((ids, files, Sorters::finish(vec![sifter.sorters])?))
    }

    /// Reads rows with ids from `first` on without gaps: threads take ranges of them.
    fn dense(&self, count: u32, first: RowId) -> Result<Sifted> {
        let chunks = count.div_ceil(CHUNK);
        let cores = thread::available_parallelism().map_or(1, |n| n.get() as u32);
        let threads = cores.min(MOST_THREADS).min(chunks).max(1);
        let next = AtomicU32::new(0);
        let budget = self.task.budget / threads as usize;
        let work = || {
            let columns = self.task.columns.len();
            let sorters = Sorters::alone(self.task.folder, columns, budget);
            let mut sifter = self.sifter(sorters);
            if let Err(error) = self.stretches(&mut sifter, (count, first), &next) {
                self.fail(error);
            }
            sifter.sorters
        };
        let sorters: Result<Vec<Sorters>, PackError> = match threads {
            1 => Ok(vec![work()]),
            _ => thread::scope(|scope| {
                let start = |_| {
                    let name = thread::Builder::new().name("dcfs-pack".into());
                    let (work, flag) = (&work, cancel::current());
                    let work = move || cancel::within(flag, work);
                    let started = name.spawn_scoped(scope, work);
                    started.map_err(|error| PackError::Thread(error.to_string()))
                };
                let started: Vec<_> = (0..threads).map(start).collect();
                let died = |_| PackError::Thread("a thread that reads rows panicked".into());
                started.into_iter().map(|thread| thread?.join().map_err(died)).collect()
            }),
        };
        if let Some(error) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let ids = RowIds { count, first: first.key(), map: None };
        Ok((ids, Sums::new(), Sorters::finish(sorters?)?))
    }

    /// Stops every thread; the first error is the one reported.
    fn fail(&self, error: Error) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Reads ranges until none is left.
    fn stretches(
        &self,
        sifter: &mut Sifter<'_>,
        (count, first): (u32, RowId),
        next: &AtomicU32,
    ) -> Result<()> {
        let Task { rows, columns, .. } = *self.task;
        let id = |ordinal: u32| RowId::new(first.key() + i64::from(ordinal));
        loop {
            let from = u64::from(next.fetch_add(1, Ordering::Relaxed)) * u64::from(CHUNK);
            let Some(from) = u32::try_from(from).ok().filter(|from| *from < count) else {
                return Ok(());
            };
            let last = from.saturating_add(CHUNK - 1).min(count - 1);
            let mut least = from;
            rows.scan(columns, id(from)..=id(last), &mut |row| {
                let ordinal = row.id.key().checked_sub(first.key());
                let ordinal = ordinal.and_then(|n| u32::try_from(n).ok());
                // Descending or duplicate ids: `sys__id` is not a key of the table.
                let ordinal = ordinal.filter(|n| (least..=last).contains(n));
                let ordinal = ordinal.ok_or(PackError::Disordered {
                    before: id(least.saturating_sub(1)),
                    id: row.id,
                })?;
                least = ordinal + 1;
                sifter.take(ordinal, &row)
            })?;
        }
    }

    fn sifter(&self, sorters: Sorters) -> Sifter<'_> {
        let known = vec![None; self.many.len()];
        Sifter { pass: self, sorters, known, key: Vec::new(), stamp: Vec::new(), rows: 0 }
    }
}

/// The row processing of one thread.
struct Sifter<'a> {
    pass: &'a Pass<'a>,
    sorters: Sorters,
    /// The source of each column with a single one, once known.
    known: Vec<Option<&'a str>>,
    key: Vec<u8>,
    stamp: Vec<u8>,
    /// So far.
    rows: u64,
}

impl Sifter<'_> {
    fn take(&mut self, ordinal: u32, row: &Row<'_>) -> Result<()> {
        for (column, object) in row.objects.iter().enumerate() {
            let Some(object) = object else { continue };
            let many = self.pass.many[column];
            if !many && self.known[column] != Some(&object.source) {
                self.meet(column, &object.source)?;
            }
            place::write_key(object, many, &mut self.key);
            if self.pass.task.stamps {
                stamp::write(object, &mut self.stamp);
            }
            let record = Record::new(&self.key, ordinal, object, &self.stamp);
            self.sorters.push(column, &record)?;
        }
        self.pass.task.progress.row();
        self.rows += 1;
        if self.rows.is_multiple_of(OFTEN) {
            cancel::check()?;
        }
        match self.pass.is_over.load(Ordering::Relaxed) {
            true => Err(in_vain()),
            false => Ok(()),
        }
    }

    /// Records the only source of a column; a second one abandons the pass.
    fn meet(&mut self, column: usize, source: &str) -> Result<()> {
        let pass = self.pass;
        let only = pass.sources[column].get_or_init(|| source.to_owned());
        if only != source {
            let mut others = pass.others.lock().unwrap_or_else(PoisonError::into_inner);
            others[column] = true;
            return Err(in_vain());
        }
        self.known[column] = Some(only);
        Ok(())
    }
}

/// The error that abandons a pass; never reported.
fn in_vain() -> Error {
    Error::new(Kind::Broken, "the rows are read again")
}

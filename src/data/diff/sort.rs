//! An external sort of records: full buffers become sorted runs in an unnamed file, and runs are
//! merged while they are read.
//!
//! Unlike `pack::sort`, whose records have keys of any length and are filled by one thread per
//! column: here records have a fixed size, and every thread sorts and writes its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::pack::home::{cannot_write, nameless};
use dcfs_core::error::Result;
use dcfs_core::id::RowId;

/// One row: ordered by key, rows of the same key by `sys__id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub key: u128,
    pub id: i64,
    pub values: u64,
}

/// The size of a record in bytes.
const RECORD: usize = 32;

/// Bytes of a run read at a time.
const READ: usize = 32 << 10;

/// Records written at a time.
const WRITE: usize = 4096;

impl Record {
    /// Its `sys__id`.
    pub fn row(&self) -> RowId {
        RowId::new(self.id)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.to_le_bytes());
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.values.to_le_bytes());
    }

    fn read(bytes: &[u8; RECORD]) -> Self {
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(number)
        };
        let key = u128::from(number(8)) << 64 | u128::from(number(0));
        Self { key, id: number(16) as i64, values: number(24) }
    }
}

/// The sorted runs of one version, while threads add to them.
pub struct Runs {
    scratch: PathBuf,
    /// Bytes of records that stay in memory, over all threads.
    memory: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<Arc<File>>,
    /// The bytes of the file that are allocated.
    length: u64,
    runs: Vec<Run>,
}

/// A sorted run.
enum Run {
    Memory(Vec<Record>),
    /// An offset in the file, and the number of records.
    File(u64, usize),
}

/// The unsorted records of one thread.
pub struct Buffer<'r> {
    runs: &'r Runs,
    records: Vec<Record>,
    most: usize,
}

impl Runs {
    pub fn new(scratch: &Path, memory: usize) -> Self {
        Self { scratch: scratch.to_owned(), memory, state: Mutex::default() }
    }

    /// The buffer for one of `threads` threads.
    pub fn buffer(&self, threads: usize) -> Buffer<'_> {
        let most = (self.memory / RECORD / threads.max(1)).max(1);
        Buffer { runs: self, records: Vec::with_capacity(most), most }
    }

    /// Allocates bytes in the file; returns their offset.
    fn reserve(&self, bytes: u64) -> Result<(Arc<File>, u64)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &state.file {
            Some(file) => file.clone(),
            None => {
                let file = nameless(&self.scratch);
                Arc::new(file.map_err(|error| cannot_write(&self.scratch, error))?)
            }
        };
        state.file = Some(file.clone());
        let start = state.length;
        state.length += bytes;
        Ok((file, start))
    }

    fn add(&self, run: Run) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).runs.push(run);
    }

    /// All records, once every buffer is finished.
    pub fn finish(self) -> Result<Sorted> {
        let State { file, runs, .. } =
            self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Sorted { scratch: self.scratch, file, runs })
    }
}

impl Buffer<'_> {
    pub fn push(&mut self, record: Record) -> Result<()> {
        if self.records.len() == self.most {
            self.spill()?;
        }
        self.records.push(record);
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        self.records.sort_unstable();
        let (file, start) = self.runs.reserve((self.records.len() * RECORD) as u64)?;
        let mut bytes = Vec::with_capacity(WRITE * RECORD);
        let mut at = start;
        for records in self.records.chunks(WRITE) {
            bytes.clear();
            records.iter().for_each(|record| record.write(&mut bytes));
            let written = file.write_all_at(&bytes, at);
            written.map_err(|error| cannot_write(&self.runs.scratch, error))?;
            at += bytes.len() as u64;
        }
        self.runs.add(Run::File(start, self.records.len()));
        self.records.clear();
        Ok(())
    }

    /// Hands over the remaining records, which stay in memory.
    pub fn finish(mut self) {
        self.records.sort_unstable();
        self.records.shrink_to_fit();
        self.runs.add(Run::Memory(self.records));
    }
}

/// All records of a version.
pub struct Sorted {
    scratch: PathBuf,
    file: Option<Arc<File>>,
    runs: Vec<Run>,
}

impl Sorted {
    /// The records in order.
    pub fn records(&self) -> Result<Merge<'_>> {
        let mut merge = Merge { runs: Vec::new(), heads: BinaryHeap::new() };
        for run in &self.runs {
            let source = match run {
                Run::Memory(records) => Source::Memory(records.iter()),
                Run::File(start, count) => Source::File(Reader {
                    of: self,
                    at: *start,
                    left: *count,
                    bytes: Vec::new(),
                    used: 0,
                }),
            };
            merge.runs.push(source);
            merge.advance(merge.runs.len() - 1)?;
        }
        Ok(merge)
    }
}

/// The source of a run's records.
enum Source<'s> {
    Memory(std::slice::Iter<'s, Record>),
    File(Reader<'s>),
}

struct Reader<'s> {
    of: &'s Sorted,
    at: u64,
    /// The number of records not yet read from the file.
    left: usize,
    bytes: Vec<u8>,
    used: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Option<Record>> {
        if self.used == self.bytes.len() {
            let count = self.left.min(READ / RECORD);
            self.bytes.resize(count * RECORD, 0);
            self.used = 0;
            if let Some(file) = &self.of.file {
                let read = file.read_exact_at(&mut self.bytes, self.at);
                read.map_err(|error| cannot_write(&self.of.scratch, error))?;
            }
            self.at += self.bytes.len() as u64;
            self.left -= count;
        }
        let record = self.bytes[self.used..].first_chunk().map(Record::read);
        self.used += record.map_or(0, |_| RECORD);
        Ok(record)
    }
}

/// The records of all runs, merged.
pub struct Merge<'s> {
    runs: Vec<Source<'s>>,
    heads: BinaryHeap<Reverse<(Record, usize)>>,
}

impl Merge<'_> {
    /// Adds the next record of a run to the heads.
    fn advance(&mut self, run: usize) -> Result<()> {
        let next = match &mut self.runs[run] {
            Source::Memory(records) => records.next().copied(),
            Source::File(reader) => reader.next()?,
        };
        self.heads.extend(next.map(|record| Reverse((record, run))));
        Ok(())
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((record, run)) = self.heads.pop()?;
        Some(self.advance(run).map(|()| record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_memory_gives_the_same_order() {
        let records: Vec<Record> = (0..5000_u64)
            .map(|n| Record {
                key: u128::from(n * 7919 % 700) << 70 | 5,
                id: (n * 31 % 5000) as i64 - 9,
                values: n,
            })
            .collect();
        let mut want = records.clone();
        want.sort();
        for memory in [0, RECORD * 7, RECORD * 2100, 1 << 20] {
            let folder = tempfile::tempdir().expect("a folder");
            let runs = Runs::new(folder.path(), memory);
            std::thread::scope(|scope| {
                for part in records.chunks(1700) {
                    let runs = &runs;
                    scope.spawn(move || {
                        let mut buffer = runs.buffer(3);
                        part.iter().for_each(|record| buffer.push(*record).expect("pushed"));
                        buffer.finish();
                    });
                }
            });
            let sorted = runs.finish().expect("sorted");
            let got: Vec<_> = sorted.records().expect("runs").map(|r| r.expect("whole")).collect();
            assert_eq!(got, want, "{memory}");
            assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let runs = Runs::new(Path::new("/nonexistent"), 0);
        let mut buffer = runs.buffer(1);
        let mut push = |n: u64| buffer.push(Record { key: 0, id: 0, values: n });
        let error = (0..3).find_map(|n| push(n).err()).expect("the second record spills");
        assert!(error.to_string().contains("`--cache-dir`"), "{error}");
    }
}

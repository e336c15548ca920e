//! The rows of a version in the order of their keys: [`dcfs_disk::sort`] with records of one size.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::slice;

use dcfs_disk::sort::{self, Run, Sorter, merge};

use crate::pack::home::cannot_write;
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

/// Records that are written at a time.
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

/// The records of one thread, while it reads rows.
pub struct Buffer {
    folder: PathBuf,
    sorter: Sorter<Records>,
}

/// Records in memory.
struct Records(Vec<Record>);

impl sort::Arena for Records {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn sort(&mut self) {
        self.0.sort_unstable();
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(WRITE * RECORD);
        self.0.chunks(WRITE).try_for_each(|records| {
            bytes.clear();
            records.iter().for_each(|record| record.write(&mut bytes));
            out.write_all(&bytes)
        })
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

impl Buffer {
    /// `memory`: bytes of records that stay in it; what is more goes to the disk of `scratch`.
    pub fn new(scratch: &Path, memory: usize) -> Self {
        let records = Records(Vec::with_capacity((memory / RECORD).max(1)));
        Self { folder: scratch.to_owned(), sorter: Sorter::alone(scratch, vec![records]) }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// A scratch folder that cannot be written.
    pub fn push(&mut self, record: Record) -> Result<()> {
        let Records(records) = self.sorter.arena(0);
        if records.len() == records.capacity() {
            self.sorter.spill(0).map_err(|error| cannot_write(&self.folder, error))?;
        }
        self.sorter.arena(0).0.push(record);
        Ok(())
    }

    /// The records of all threads.
    ///
    /// # Errors
    /// As [`Buffer::push`].
    pub fn finish(all: Vec<Self>) -> Result<Sorted> {
        let folder = all.first().map(|buffer| buffer.folder.clone()).unwrap_or_default();
        let sorted = Sorter::finish(all.into_iter().map(|buffer| buffer.sorter).collect());
        let mut lanes = sorted.map_err(|error| cannot_write(&folder, error))?;
        Ok(Sorted { lane: lanes.pop(), folder })
    }
}

/// All records of a version.
pub struct Sorted {
    /// None where no thread read.
    lane: Option<sort::Sorted<Records>>,
    folder: PathBuf,
}

impl Sorted {
    /// In order.
    ///
    /// # Errors
    /// What was written cannot be read.
    pub fn records(&self) -> Result<impl Iterator<Item = Result<Record>>> {
        let sources: Vec<Source<'_>> = match &self.lane {
            None => Vec::new(),
            Some(sort::Sorted::Memory(all)) => {
                all.iter().map(|records| Source::Memory(records.0.iter())).collect()
            }
            Some(sort::Sorted::Runs(runs)) => {
                runs.iter().map(|run| Source::Run(run.bytes())).collect()
            }
        };
        let told = |error| cannot_write(&self.folder, error);
        Ok(merge(sources).map_err(told)?.map(move |record| record.map_err(told)))
    }
}

/// Records in order: in memory, or of a run.
enum Source<'s> {
    Memory(slice::Iter<'s, Record>),
    Run(&'s [u8]),
}

impl Iterator for Source<'_> {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Memory(records) => records.next().copied().map(Ok),
            Self::Run([]) => None,
            Self::Run(bytes) => {
                let Some((record, rest)) = bytes.split_first_chunk() else {
                    return Some(Err(Run::cut()));
                };
                *bytes = rest;
                Some(Ok(Record::read(record)))
            }
        }
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
            let all = std::thread::scope(|scope| {
                let fill = |part: &[Record]| {
                    let mut buffer = Buffer::new(folder.path(), memory);
                    part.iter().for_each(|record| buffer.push(*record).expect("pushed"));
                    buffer
                };
                let threads: Vec<_> =
                    records.chunks(1700).map(|part| scope.spawn(move || fill(part))).collect();
                threads.into_iter().map(|thread| thread.join().expect("ended")).collect()
            });
            let sorted = Buffer::finish(all).expect("sorted");
            let got: Vec<_> = sorted.records().expect("runs").map(|r| r.expect("whole")).collect();
            assert_eq!(got, want, "{memory}");
            assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let mut buffer = Buffer::new(Path::new("/nonexistent"), 0);
        let mut push = |n: u64| buffer.push(Record { key: 0, id: 0, values: n });
        let error = (0..3).find_map(|n| push(n).err()).expect("the second record spills");
        assert!(error.to_string().contains("`--cache-dir`"), "{error}");
    }
}

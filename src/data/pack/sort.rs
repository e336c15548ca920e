//! The records of all columns in order, within a budget of memory: [`dcfs_disk::sort`] with a lane for each column.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use dcfs_disk::sort::{self, Run, Sorter, Spill, merge};

use super::arena::{Arena, Records};
use super::error::PackError;
use super::record::Record;

/// One order per column, sharing a budget of bytes.
pub struct Sorters {
    /// For errors.
    folder: PathBuf,
    sorter: Sorter<Arena>,
}

impl Sorters {
    /// `budget` is in bytes, over all columns. Another thread sorts and writes what is full.
    pub fn new(folder: &Path, columns: usize, budget: usize) -> Self {
        let arena = || Arena::new(budget / (columns + 1));
        let arenas = (0..columns).map(|_| arena()).collect();
        let sorter = Sorter::beside(folder, arenas, arena());
        Self { folder: folder.to_path_buf(), sorter }
    }

    /// The same without a thread beside it: for one of several that fill sorters.
    pub fn alone(folder: &Path, columns: usize, budget: usize) -> Self {
        let arenas = (0..columns).map(|_| Arena::new(budget / columns.max(1))).collect();
        Self { folder: folder.to_path_buf(), sorter: Sorter::alone(folder, arenas) }
    }

    /// Adds a record of one column.
    pub fn push(&mut self, column: usize, record: &Record<'_>) -> Result<(), PackError> {
        if !self.sorter.arena(column).has_room(record.length()) {
            self.sorter.spill(column).map_err(PackError::write(&self.folder))?;
        }
        self.sorter.arena(column).push(record);
        Ok(())
    }

    /// Ends the other thread, which else would go on writing runs.
    pub fn abandon(self) {
        self.sorter.abandon();
    }

    /// Every column's records in order, from sorters with the same columns.
    pub fn finish(all: Vec<Self>) -> Result<Vec<Sorted>, PackError> {
        let folder = all.first().map(|sorters| sorters.folder.clone()).unwrap_or_default();
        let sorted = Sorter::finish(all.into_iter().map(|sorters| sorters.sorter).collect());
        let sorted = sorted.map_err(PackError::write(&folder))?;
        Ok(sorted.into_iter().map(|sorted| Sorted { folder: folder.clone(), sorted }).collect())
    }
}

impl sort::Arena for Arena {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn sort(&mut self) {
        self.sort();
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.slices().try_for_each(|record| out.write_all(record))
    }

    fn clear(&mut self) {
        self.clear();
    }
}

/// All records of one column in order, to be gone through once or more.
pub struct Sorted {
    folder: PathBuf,
    sorted: sort::Sorted<Arena>,
}

impl Sorted {
    /// All of them.
    ///
    /// # Errors
    /// A run that is damaged.
    pub fn records(
        &self,
    ) -> Result<impl Iterator<Item = Result<Record<'_>, PackError>>, PackError> {
        let sources: Vec<Source<'_>> = match &self.sorted {
            sort::Sorted::Memory(arenas) => {
                arenas.iter().map(|arena| Source::Arena(arena.records())).collect()
            }
            sort::Sorted::Runs(runs) => runs.iter().map(|run| Source::Run(run.bytes())).collect(),
        };
        let merged = merge(sources).map_err(PackError::read(&self.folder))?;
        Ok(merged.map(|record| record.map_err(PackError::read(&self.folder))))
    }
}

/// Records in order: of an arena, or of a run.
enum Source<'a> {
    Arena(Records<'a>),
    Run(&'a [u8]),
}

impl<'a> Iterator for Source<'a> {
    type Item = io::Result<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Arena(records) => records.next().map(Ok),
            Self::Run([]) => None,
            Self::Run(bytes) => {
                let Some((record, rest)) = Record::split(bytes) else {
                    return Some(Err(Run::cut()));
                };
                *bytes = rest;
                Some(Ok(record))
            }
        }
    }
}

/// Records written as they come, to be read again in that order.
pub struct Aside {
    folder: PathBuf,
    spill: Spill,
    bytes: Vec<u8>,
}

impl Aside {
    pub fn create(folder: &Path) -> Result<Self, PackError> {
        let spill = Spill::create(folder).map_err(PackError::write(folder))?;
        Ok(Self { folder: folder.to_path_buf(), spill, bytes: Vec::new() })
    }

    pub fn push(&mut self, record: &Record<'_>) -> Result<(), PackError> {
        self.bytes.clear();
        record.write(&mut self.bytes);
        self.spill.put(&self.bytes).map_err(PackError::write(&self.folder))
    }

    /// All of them, as one run.
    pub fn finish(self) -> Result<Sorted, PackError> {
        let runs = self.spill.finish().map_err(PackError::write(&self.folder))?;
        Ok(Sorted { folder: self.folder, sorted: sort::Sorted::Runs(runs) })
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
            let mut sorters = Sorters::new(folder.path(), 2, budget);
            for column in 0..2 {
                for (ordinal, key) in keys(column) {
                    let record = Record::new(key.as_bytes(), ordinal, &Object::default(), b"");
                    sorters.push(column, &record).expect("pushed");
                }
            }
            let sorted = Sorters::finish(vec![sorters]).expect("sorted");
            let files = std::fs::read_dir(folder.path()).expect("readable").count();
            assert_eq!(files, 0, "no file stays");
            for (column, sorted) in sorted.iter().enumerate() {
                let records = sorted.records().expect("runs").map(|r| r.expect("whole"));
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
    fn what_is_put_aside_comes_back_as_it_came() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut aside = Aside::create(folder.path()).expect("made");
        for (ordinal, key) in keys(0) {
            let record = Record::new(key.as_bytes(), ordinal, &Object::default(), b"");
            aside.push(&record).expect("pushed");
        }
        let sorted = aside.finish().expect("written");
        let got: Vec<u32> =
            sorted.records().expect("a run").map(|r| r.expect("whole").ordinal).collect();
        assert_eq!(got, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let mut sorters = Sorters::new(Path::new("/nonexistent"), 1, 0);
        let mut push = |n: u32| sorters.push(0, &Record::new(b"a", n, &Object::default(), b""));
        let error = (0..100).find_map(|n| push(n).err()).expect("the second record spills");
        assert!(error.to_string().contains("`/nonexistent`"), "{error}");
    }
}

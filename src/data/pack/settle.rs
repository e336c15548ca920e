//! Turns sorted records into a column's files: each object under its final name.
//!
//! One pass over the records in key order, with a look-ahead of one key (see
//! [`dcfs_core::tree::settle`]). Nearly always every object keeps its key, and that is all.
//! Otherwise those that do not are set aside; once all that stay are known, the others are named,
//! sorted, and merged with them.
//!
//! Names are chosen at the recorded paths; the renaming of a reserved directory is applied
//! afterwards, to everything below it.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::column::{ColumnReader, ColumnWriter};
use super::error::PackError;
use super::ids::RowIds;
use super::merge;
use super::output::Sums;
use super::progress::Progress;
use super::record::{Entry, Record, entries};
use super::sort::{Aside, Sorted, Sorters};
use dcfs_core::tree::{key, settle};

/// The input for a column.
pub struct Task<'a> {
    /// The folder for its files.
    pub folder: &'a Path,
    /// Its index among the listed columns.
    pub number: usize,
    /// Whether its tree is the version's directory.
    pub is_root: bool,
    pub ids: &'a RowIds,
    /// Whether the stamps of objects are kept.
    pub stamps: bool,
    /// Memory for sorting moved objects, in bytes.
    pub budget: usize,
    pub progress: &'a Progress,
}

/// A written column.
pub struct Written {
    pub sums: Sums,
    pub entries: u32,
    /// Whether any file's name differs from its recorded one.
    pub has_moved: bool,
}

impl Task<'_> {
    /// Writes the column's files.
    pub fn write(&self, records: Sorted) -> Result<Written, PackError> {
        let mut first = FirstPass::new(self)?;
        for entry in entries(records.records()?) {
            first.push(entry?)?;
            self.progress.row();
        }
        let (sums, count, moves) = first.finish()?;
        drop(records);
        match moves {
            None => Ok(Written { sums, entries: count, has_moved: false }),
            Some(moves) => {
                let (sums, entries) = self.write_moved(&sums, count, moves)?;
                Ok(Written { sums, entries, has_moved: true })
            }
        }
    }

    /// Writes the column again, with the moved objects; replaces the files of the first pass.
    fn write_moved(&self, sums: &Sums, count: u32, moves: Moves) -> Result<(Sums, u32), PackError> {
        let stayed = ColumnReader::open(self.folder, self.number, count, self.ids.count)?;
        for name in sums.keys() {
            let path = self.folder.join(name);
            fs::remove_file(&path).map_err(PackError::write(&path))?;
        }
        let (directories, moved) = self.name(&stayed, moves)?;
        let mut writer = ColumnWriter::create(self.folder, self.number, self.stamps)?;
        merge::merge(&stayed, &directories, &moved, &mut writer)?;
        writer.finish(self.ids.count)
    }

    /// Names every moved object, and sorts them by name.
    fn name(
        &self,
        stayed: &ColumnReader,
        moves: Moves,
    ) -> Result<(Directories, Sorted), PackError> {
        let mut names = Names { task: self, stayed, given: HashSet::new() };
        let mut directories = Directories::new();
        for (name, ordinal) in moves.directories {
            directories.insert(name, names.give(name, ordinal)?);
        }
        let mut sorters = Sorters::new(self.folder, 1, self.budget);
        let aside = moves.files.map(Aside::finish).transpose()?;
        let aside = aside.as_ref().map(Sorted::records).transpose()?;
        for entry in aside.into_iter().flat_map(entries) {
            let entry = entry?;
            let mut key = names.give(entry.row.key, entry.row.ordinal)?;
            if let Some(name) = settle::reserved_directory(&key, self.is_root)
                && let Some(renamed) = directories.get(name)
            {
                key.splice(..name.len(), renamed.iter().copied());
            }
            for ordinal in entry.ordinals() {
                sorters.push(0, &Record { key: &key, ordinal, ..entry.row })?;
            }
        }
        let sorted = Sorters::finish(vec![sorters])?.pop();
        Ok((directories, sorted.expect("one sorter was made")))
    }
}

/// Reserved top-level directories, and their new names.
pub type Directories = BTreeMap<&'static [u8], Vec<u8>>;

/// Objects and directories that cannot keep their keys.
#[derive(Default)]
struct Moves {
    files: Option<Aside>,
    /// With the first row below each, in key order.
    directories: Vec<(&'static [u8], u32)>,
}

/// Visits entries in key order, and writes those that keep their key.
struct FirstPass<'t, 'r> {
    task: &'t Task<'t>,
    writer: ColumnWriter,
    moves: Moves,
    /// The object of the lowest row so far at the last key.
    best: Option<Entry<'r>>,
}

impl<'t, 'r> FirstPass<'t, 'r> {
    fn new(task: &'t Task<'t>) -> Result<Self, PackError> {
        let writer = ColumnWriter::create(task.folder, task.number, task.stamps)?;
        Ok(Self { task, writer, moves: Moves::default(), best: None })
    }

    fn push(&mut self, entry: Entry<'r>) -> Result<(), PackError> {
        let Some(best) = self.best.take() else {
            self.best = Some(entry);
            return Ok(());
        };
        if best.row.key != entry.row.key {
            self.settle(&best, Some(entry.row.key))?;
            self.best = Some(entry);
            return Ok(());
        }
        let is_lower = best.row.ordinal < entry.row.ordinal;
        let (best, other) = if is_lower { (best, entry) } else { (entry, best) };
        self.best = Some(best);
        self.put_aside(&other)
    }

    /// Decides on the best object of a key, now that the next key is known.
    fn settle(&mut self, best: &Entry<'_>, next: Option<&[u8]>) -> Result<(), PackError> {
        let row = best.row;
        if let Some(name) = settle::reserved_directory(row.key, self.task.is_root)
            && self.moves.directories.last().is_none_or(|(last, _)| *last != name)
        {
            self.moves.directories.push((name, row.ordinal));
        }
        if settle::is_kept(row.key, next, self.task.is_root) {
            self.writer.push(best)
        } else {
            self.put_aside(best)
        }
    }

    fn put_aside(&mut self, entry: &Entry<'_>) -> Result<(), PackError> {
        let aside = match &mut self.moves.files {
            Some(aside) => aside,
            none => none.insert(Aside::create(self.task.folder)?),
        };
        for ordinal in entry.ordinals() {
            aside.push(&Record { ordinal, ..entry.row })?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Sums, u32, Option<Moves>), PackError> {
        if let Some(best) = self.best.take() {
            self.settle(&best, None)?;
        }
        let (sums, count) = self.writer.finish(self.task.ids.count)?;
        let is_done = self.moves.files.is_none() && self.moves.directories.is_empty();
        Ok((sums, count, (!is_done).then_some(self.moves)))
    }
}

/// Chooses names that are free.
struct Names<'a> {
    task: &'a Task<'a>,
    stayed: &'a ColumnReader,
    /// Hashes of eight bytes each, because a catalog may move millions. If two names have the same
    /// hash, the second only gets a higher number.
    given: HashSet<u64>,
}

impl Names<'_> {
    /// The name of the object at `key`, marked with the row `ordinal`.
    fn give(&mut self, key: &[u8], ordinal: u32) -> Result<Vec<u8>, PackError> {
        let (directory, name) = key::split_last(key);
        let id = self.task.ids.get(ordinal).ok_or_else(|| PackError::damaged("a row has no id"))?;
        let mut failed = None;
        let free = settle::free_name(directory, name, id, |key| {
            self.is_taken(key).unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
        });
        self.given.insert(hash(&free));
        failed.map_or(Ok(free), Err)
    }

    fn is_taken(&self, key: &[u8]) -> Result<bool, PackError> {
        let is_reserved = self.task.is_root && settle::is_reserved(key);
        Ok(is_reserved
            || self.given.contains(&hash(key))
            || self.stayed.paths.find_key(key)?.is_some())
    }
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

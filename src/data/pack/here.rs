//! Answers from the buffers of a pack on this machine.

use std::ops::ControlFlow;

use super::column::ColumnReader;
use super::error::{PackError, Result};
use super::paths::{Found, Place};
use super::{Child, Dir, Facts, Node, Pack, Subset};
use dcfs_core::id::{EntryId, RowId};
use dcfs_core::tree::key;

/// One column's reader, and the number of its first entry.
type Part<'a> = (&'a ColumnReader, u32);

impl Pack {
    /// The child `name` of `dir`; `None` if there is none, or none `within` a set of rows.
    pub(super) fn lookup_here(
        &self,
        dir: Dir,
        name: &[u8],
        within: Option<&Subset>,
    ) -> Result<Option<Node>> {
        let found = self.guarded(|| {
            let ((reader, base), place) = self.place(dir)?;
            let found = reader.paths.find(place, name)?;
            Ok(found.map(|found| node(dir, base, found)))
        })?;
        let (Some(node), Some(set)) = (found, within) else { return Ok(found) };
        let is_in = match node {
            Node::File(entry) => self.entries(set)?.contains(entry.number()),
            Node::Dir(below) => self.meets(set, below.first..self.last_in(below)? + 1)?,
        };
        Ok(is_in.then_some(node))
    }

    /// The last entry below a directory that is not empty.
    pub(super) fn last_in(&self, dir: Dir) -> Result<u32> {
        self.guarded(|| {
            let ((reader, base), _) = self.place(dir)?;
            match dir.depth {
                // The root of a column covers all of it.
                0 => Ok(self.columns[usize::from(dir.column)].entries.end.saturating_sub(1)),
                depth => Ok(base + reader.paths.last_in(dir.first - base, depth)?),
            }
        })
    }

    /// Calls `each` with the children of `dir` in byte order of names, from the entry `from` on
    /// (`dir.first` for the beginning, else a [`Child::next`]), until it breaks; only those
    /// `within` a set of rows, if one is given.
    ///
    /// A child costs a fraction of a microsecond, however many entries are below it; one after a
    /// gap in the set about two.
    pub(super) fn list_here(
        &self,
        dir: Dir,
        from: u32,
        within: Option<&Subset>,
        each: &mut dyn FnMut(Child<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let ((reader, base), place) = self.guarded(|| self.place(dir))?;
        let from = from.max(dir.first);
        let within = within.map(|set| self.entries(set)).transpose()?;
        let next_in = |from: u32| match within {
            Some(entries) => entries.range(from..).next(),
            None => Some(from),
        };
        let Some(mut start) = next_in(from) else { return Ok(()) };
        let enter = |start: u32| self.guarded(|| reader.paths.children(place, start - base));
        let mut walk = enter(start)?;
        // A panic of the caller must not be taken for damage: only the walk is guarded.
        while let Some((found, next)) = self.guarded(|| walk.advance())? {
            let (node, next) = (node(dir, base, found), base + next);
            if each(Child { name: walk.name(), node, next }).is_break() {
                break;
            }
            match next_in(next) {
                Some(wanted) if wanted == next => {}
                Some(wanted) => {
                    start = wanted;
                    walk = enter(start)?;
                }
                None => break,
            }
        }
        Ok(())
    }

    /// The directory that contains `dir`; the root itself for a root.
    pub(super) fn parent_here(&self, dir: Dir) -> Result<Dir> {
        self.guarded(|| {
            self.place(dir)?;
            self.ancestor(dir.first, dir.column, dir.depth.saturating_sub(1))
        })
    }

    /// The directory that contains an entry.
    pub(super) fn dir_of_here(&self, entry: EntryId) -> Result<Dir> {
        self.guarded(|| {
            let column = self.find_column(entry)?;
            let (reader, base) = self.part(column)?;
            let depth = reader.paths.depth_of(entry.number() - base)?;
            self.ancestor(entry.number(), column, depth)
        })
    }

    /// The size, time and identity of an entry.
    pub(super) fn facts_here(&self, entry: EntryId) -> Result<Facts> {
        self.guarded(|| {
            let (reader, base) = self.part(self.find_column(entry)?)?;
            reader.facts(entry.number() - base)
        })
    }

    /// The stamp of an entry; empty if there is none.
    pub(super) fn stamp_here(&self, entry: EntryId) -> Result<Vec<u8>> {
        self.guarded(|| {
            let (reader, base) = self.part(self.find_column(entry)?)?;
            reader.stamp(entry.number() - base).map(<[u8]>::to_vec)
        })
    }

    /// The entry's path below its column's root, segments joined by `/`.
    pub(super) fn path_here(&self, entry: EntryId) -> Result<Vec<u8>> {
        self.guarded(|| {
            let (reader, base) = self.part(self.find_column(entry)?)?;
            Ok(key::to_path(&reader.paths.key_of(entry.number() - base)?))
        })
    }

    /// A directory's path below its column's root; empty for the root.
    pub(super) fn dir_path_here(&self, dir: Dir) -> Result<Vec<u8>> {
        self.guarded(|| {
            let ((reader, base), _) = self.place(dir)?;
            if dir.depth == 0 {
                return Ok(Vec::new());
            }
            let key = reader.paths.key_of(dir.first - base)?;
            let names: Vec<&[u8]> = key::names(&key).take(usize::from(dir.depth)).collect();
            Ok(names.join(&b'/'))
        })
    }

    /// The first `most` of [`Pack::rows`], of which there may be millions.
    pub(super) fn first_rows_here(&self, entry: EntryId, most: usize) -> Result<Vec<RowId>> {
        self.guarded(|| {
            let (reader, base) = self.part(self.find_column(entry)?)?;
            let ids = self.ids().map_err(PackError::Other)?;
            let unknown = || PackError::damaged("an entry names a row that is not there");
            reader
                .ordinals(entry.number() - base)?
                .take(most)
                .map(|ordinal| ids.get(ordinal).ok_or_else(unknown))
                .collect()
        })
    }

    /// The first of [`Pack::rows`]: each of them names the object, and there may be millions.
    pub(super) fn first_row_here(&self, entry: EntryId) -> Result<RowId> {
        self.guarded(|| {
            let (reader, base) = self.part(self.find_column(entry)?)?;
            let first = reader.ordinals(entry.number() - base)?.next();
            let ids = self.ids().map_err(PackError::Other)?;
            let id = first.and_then(|ordinal| ids.get(ordinal));
            id.ok_or_else(|| PackError::damaged("an entry names no row"))
        })
    }

    /// The entry that the row with this ordinal names in a column; `None` if it names none.
    pub(super) fn entry_of_here(&self, column: u16, ordinal: u32) -> Result<Option<EntryId>> {
        self.guarded(|| {
            let (reader, base) = self.part(column)?;
            Ok(reader.entry_of(ordinal)?.map(|entry| EntryId::new(base + entry)))
        })
    }

    pub(super) fn part(&self, column: u16) -> Result<Part<'_>, PackError> {
        let index = usize::from(column);
        let part = self.readers.get(index).zip(self.columns.get(index));
        part.map(|(reader, column)| (reader, column.entries.start))
            .ok_or(PackError::Gone { what: "column", number: column.into() })
    }

    pub(super) fn find_column(&self, entry: EntryId) -> Result<u16, PackError> {
        let index = self.columns.partition_point(|column| column.entries.end <= entry.number());
        let gone = PackError::Gone { what: "entry", number: entry.number().into() };
        let index = u16::try_from(index).ok().filter(|i| usize::from(*i) < self.columns.len());
        index.ok_or(gone)
    }

    /// The position of a directory in its index, if this pack gave its number out.
    fn place(&self, dir: Dir) -> Result<(Part<'_>, Place<'_>), PackError> {
        let gone = || PackError::Gone { what: "directory", number: dir.first.into() };
        let (reader, base) = self.part(dir.column)?;
        let first = dir.first.checked_sub(base).ok_or_else(gone)?;
        let place = reader.paths.ancestor(first, dir.depth)?.filter(|p| p.first() == first);
        Ok(((reader, base), place.ok_or_else(gone)?))
    }

    /// The directory at `depth` that contains an entry of `column`.
    fn ancestor(&self, entry: u32, column: u16, depth: u16) -> Result<Dir, PackError> {
        let (reader, base) = self.part(column)?;
        let place = reader.paths.ancestor(entry - base, depth)?;
        let place = place.ok_or(PackError::Gone { what: "directory of", number: entry.into() })?;
        Ok(Dir { column, depth, first: base + place.first() })
    }
}

/// Converts a result of `parent` to the numbers of the whole pack.
pub(super) fn node(parent: Dir, base: u32, found: Found) -> Node {
    match found {
        Found::File(entry) => Node::File(EntryId::new(base + entry)),
        Found::Dir(first) => {
            Node::Dir(Dir { depth: parent.depth + 1, first: base + first, ..parent })
        }
    }
}

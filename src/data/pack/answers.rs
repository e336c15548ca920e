//! Answers about the names of a version: from the buffers of its pack, or from blocks of names that
//! another host shared, as long as these suffice.

use std::ops::ControlFlow;

use super::error::{PackError, Result};
use super::here::node;
use super::names::Names;
use super::{Child, Dir, Facts, Node, Pack, Subset};
use dcfs_core::id::{EntryId, RowId};
use dcfs_core::tree::key;

impl Pack {
    /// Whether every question is answered from this machine, without waiting.
    pub fn is_here(&self) -> bool {
        self.remote.as_ref().is_none_or(|remote| remote.ready().is_some())
    }

    /// The number of range reads of names that it has made.
    pub fn requests(&self) -> u64 {
        self.remote.as_ref().map_or(0, |remote| remote.names.requests())
    }

    /// The pack with buffers on this machine: this one, or the one that its names are of, which may
    /// have to be fetched or built.
    ///
    /// # Errors
    /// Errors of obtaining it.
    pub(super) fn whole(&self) -> Result<&Self> {
        match &self.remote {
            None => Ok(self),
            Some(remote) => {
                self.damage.check()?;
                let whole = remote.whole();
                if remote.is_of_another() {
                    self.damage.mark("its names are of another pack");
                }
                Ok(whole?)
            }
        }
    }

    /// Fetches or builds the whole pack if names are in blocks: for those who need all names.
    ///
    /// # Errors
    /// Errors of obtaining it.
    pub fn bring(&self) -> Result<()> {
        self.whole().map(drop)
    }

    /// Answers from buffers if they are here, else from blocks; and if these are not what they should
    /// be, from buffers all the same.
    fn either<T>(
        &self,
        here: impl FnOnce(&Self) -> Result<T>,
        there: impl FnOnce(&Names) -> Result<T, PackError>,
    ) -> Result<T> {
        let Some(remote) = &self.remote else { return here(self) };
        if let Some(whole) = remote.ready() {
            return here(whole);
        }
        match self.guarded(|| there(&remote.names)) {
            Err(_) if remote.names.is_refused() => here(self.whole()?),
            answer => answer,
        }
    }

    /// The column of an entry, and the entry's number in it.
    fn in_column(&self, entry: EntryId) -> Result<(u16, u32), PackError> {
        let column = self.find_column(entry)?;
        Ok((column, entry.number() - self.columns[usize::from(column)].entries.start))
    }

    /// A directory's number in its column.
    fn in_its_column(&self, dir: Dir) -> Result<((u16, u16, u32), u32), PackError> {
        let gone = || PackError::Gone { what: "directory", number: dir.first.into() };
        let base = self.columns.get(usize::from(dir.column)).ok_or_else(gone)?.entries.start;
        let first = dir.first.checked_sub(base).ok_or_else(gone)?;
        Ok(((dir.column, dir.depth, first), base))
    }

    /// The child `name` of `dir`; `None` if there is none, or none `within` a set of rows.
    ///
    /// # Errors
    /// Damage; a directory that this pack did not give out; names that cannot be read.
    pub fn lookup(&self, dir: Dir, name: &[u8], within: Option<&Subset>) -> Result<Option<Node>> {
        if within.is_some() {
            return self.whole()?.lookup_here(dir, name, within);
        }
        let there = |names: &Names| {
            let (number, base) = self.in_its_column(dir)?;
            Ok(names.find(number, name)?.map(|found| node(dir, base, found)))
        };
        self.either(|pack| pack.lookup_here(dir, name, None), there)
    }

    /// Calls `each` with the children of `dir` in byte order of names, from the entry `from` on
    /// (`dir.first` for the beginning, else a [`Child::next`]), until it breaks; only those
    /// `within` a set of rows, if one is given.
    ///
    /// From buffers a child costs a fraction of a microsecond, however many entries are below it; one
    /// after a gap in the set about two. From blocks each block costs a request the first time, and so
    /// may a directory that ends in another block.
    ///
    /// # Errors
    /// As [`Pack::lookup`].
    pub fn list(
        &self,
        dir: Dir,
        from: u32,
        within: Option<&Subset>,
        each: &mut dyn FnMut(Child<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let blocks = self.remote.as_ref().filter(|remote| remote.ready().is_none());
        let Some(remote) = blocks.filter(|_| within.is_none()) else {
            return self.whole()?.list_here(dir, from, within, each);
        };
        // Where to go on with the whole pack, if blocks fail halfway.
        let mut from = from.max(dir.first);
        match self.list_blocks(&remote.names, dir, &mut from, each) {
            Err(_) if remote.names.is_refused() => self.whole()?.list_here(dir, from, None, each),
            done => done,
        }
    }

    fn list_blocks(
        &self,
        names: &Names,
        dir: Dir,
        from: &mut u32,
        each: &mut dyn FnMut(Child<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let (number, base) = self.in_its_column(dir)?;
        let mut walk = self.guarded(|| names.children(number, from.saturating_sub(base)))?;
        // A panic of the caller must not be taken for damage: only the walk is guarded.
        while let Some((found, next)) = self.guarded(|| walk.advance())? {
            *from = base + next;
            let child = Child { name: walk.name(), node: node(dir, base, found), next: *from };
            if each(child).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The directory that contains `dir`; the root itself for a root.
    ///
    /// # Errors
    /// As [`Pack::lookup`].
    pub fn parent(&self, dir: Dir) -> Result<Dir> {
        let there = |names: &Names| {
            let ((column, depth, first), base) = self.in_its_column(dir)?;
            names.key_of_dir((column, depth, first))?;
            let depth = depth.saturating_sub(1);
            let found = names.ancestor(column, first, depth)?;
            let first =
                found.ok_or(PackError::Gone { what: "directory of", number: first.into() })?;
            Ok(Dir { depth, first: base + first, ..dir })
        };
        self.either(|pack| pack.parent_here(dir), there)
    }

    /// The directory that contains an entry.
    ///
    /// # Errors
    /// As [`Pack::lookup`].
    pub fn dir_of(&self, entry: EntryId) -> Result<Dir> {
        let there = |names: &Names| {
            let (column, own) = self.in_column(entry)?;
            let depth = names.depth_of(column, own)?;
            let found = names.ancestor(column, own, depth)?;
            let first =
                found.ok_or(PackError::Gone { what: "directory of", number: own.into() })?;
            Ok(Dir { column, depth, first: entry.number() - own + first })
        };
        self.either(|pack| pack.dir_of_here(entry), there)
    }

    /// The size, time and identity of an entry.
    ///
    /// # Errors
    /// As [`Pack::lookup`].
    pub fn facts(&self, entry: EntryId) -> Result<Facts> {
        let there = |names: &Names| {
            let (column, own) = self.in_column(entry)?;
            names.facts(column, own)
        };
        self.either(|pack| pack.facts_here(entry), there)
    }

    /// The stamp of an entry; empty if there is none.
    pub(super) fn stamp(&self, entry: EntryId) -> Result<Vec<u8>> {
        let there = |names: &Names| {
            let (column, own) = self.in_column(entry)?;
            names.stamp(column, own)
        };
        self.either(|pack| pack.stamp_here(entry), there)
    }

    /// The column of an entry: an index into [`Pack::columns`].
    ///
    /// # Errors
    /// There is no such entry.
    pub fn column_of(&self, entry: EntryId) -> Result<u16> {
        Ok(self.find_column(entry)?)
    }

    /// The entry's path below its column's root, segments joined by `/`.
    ///
    /// # Errors
    /// As [`Pack::lookup`].
    pub fn path(&self, entry: EntryId) -> Result<Vec<u8>> {
        let there = |names: &Names| {
            let (column, own) = self.in_column(entry)?;
            Ok(key::to_path(&names.key_of(column, own)?))
        };
        self.either(|pack| pack.path_here(entry), there)
    }

    /// A directory's path below its column's root; empty for the root.
    ///
    /// # Errors
    /// As [`Pack::lookup`].
    pub fn dir_path(&self, dir: Dir) -> Result<Vec<u8>> {
        let there = |names: &Names| {
            let key = names.key_of_dir(self.in_its_column(dir)?.0)?;
            Ok(key::to_path(key.strip_suffix(&[key::SEPARATOR]).unwrap_or(&key)))
        };
        self.either(|pack| pack.dir_path_here(dir), there)
    }

    /// The rows that name the entry's object, in order; at least one.
    ///
    /// # Errors
    /// As [`Pack::lookup`].
    pub fn rows(&self, entry: EntryId) -> Result<Vec<RowId>> {
        self.first_rows(entry, usize::MAX)
    }

    /// The first `most` of [`Pack::rows`], of which there may be millions.
    ///
    /// # Errors
    /// As [`Pack::lookup`].
    pub fn first_rows(&self, entry: EntryId, most: usize) -> Result<Vec<RowId>> {
        let there = |names: &Names| {
            let (column, own) = self.in_column(entry)?;
            names.rows(column, own, most)
        };
        let rows = self.either(
            |pack| pack.first_rows_here(entry, most).map(Some),
            |names| Ok(there(names)?.map(|ids| ids.into_iter().map(RowId::new).collect())),
        )?;
        match rows {
            Some(rows) => Ok(rows),
            // More than a block has.
            None => self.whole()?.first_rows_here(entry, most),
        }
    }

    /// The first of [`Pack::rows`]: each of them names the object, and there may be millions.
    ///
    /// # Errors
    /// As [`Pack::lookup`].
    pub fn first_row(&self, entry: EntryId) -> Result<RowId> {
        let there = |names: &Names| {
            let (column, own) = self.in_column(entry)?;
            let id = names.rows(column, own, 1)?.and_then(|rows| rows.first().copied());
            id.map(RowId::new).ok_or_else(|| PackError::damaged("an entry names no row"))
        };
        self.either(|pack| pack.first_row_here(entry), there)
    }

    /// The entry that the row with this ordinal names in a column; `None` if it names none.
    ///
    /// # Errors
    /// Damage; errors of obtaining the whole pack.
    pub fn entry_of(&self, column: u16, ordinal: u32) -> Result<Option<EntryId>> {
        self.whole()?.entry_of_here(column, ordinal)
    }
}

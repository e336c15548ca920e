//! A view ready for queries: its pack, and the rows that it shows.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::inode::{Inode, Slot};
use super::views::{Step, View};
use super::{Error, Vfs, beside};
use dcfs_core::error::Result;
use dcfs_core::id::EntryId;
use dcfs_core::render::rows::Beside;
use dcfs_core::tree::values::Value;
use dcfs_data::pack::{Child, Dir, Node, Pack, Subset};
use dcfs_data::query::Ranking;
use dcfs_data::tables::source::with_keys;
use dcfs_data::tables::{Rows, Source};

/// One view over its pack. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Place {
    pub slot: Slot,
    pub view: Arc<View>,
    pub pack: Arc<Pack>,
    /// The rows it shows; `None` for all.
    pub shown: Option<Arc<Shown>>,
}

/// The rows that a view shows.
#[derive(Debug)]
pub struct Shown {
    pub set: Subset,
    /// If they have an order: its files are in one directory, ranked.
    pub ranking: Option<Arc<Ranking>>,
}

impl Shown {
    /// Approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let ranking = self.ranking.as_ref().map_or(0, |ranking| ranking.weight());
        self.set.weight() + ranking
    }
}

impl Place {
    /// The directory of files at the top; `None` if the top has a directory for every File column.
    pub fn top(&self) -> Option<Dir> {
        let is_single = self.pack.columns().len() == 1;
        self.view.root.or_else(|| self.pack.root(0).filter(|_| is_single))
    }

    /// The rows it shows, unless all.
    pub fn set(&self) -> Option<&Subset> {
        self.shown.as_ref().map(|shown| &shown.set)
    }

    /// The order of its rows, if they have one.
    pub fn ranking(&self) -> Option<&Arc<Ranking>> {
        self.shown.as_ref()?.ranking.as_ref()
    }

    /// The root of a column's tree. `number` is the requested inode, for the error.
    pub fn root(&self, number: u64, column: u16) -> Result<Dir> {
        Ok(self.pack.root(column).ok_or(Error::Unknown(number))?)
    }

    /// The directory of an inode number. A forged one is detected by the pack.
    pub fn dir(&self, depth: u16, first: u32) -> Result<Dir> {
        Ok(Dir { column: self.pack.column_of(EntryId::new(first))?, depth, first })
    }

    /// The inode of a directory of the pack.
    pub fn inode(&self, dir: Dir) -> Inode {
        if self.top() == Some(dir) { self.view.own } else { self.view.inode(self.slot, dir) }
    }

    /// The child `name` of a directory of the pack, if any of its rows is shown.
    pub fn lookup(&self, dir: Dir, name: &[u8]) -> Result<Option<Node>> {
        let found = self.pack.lookup(dir, name, self.set())?;
        Ok(found.filter(|node| !self.hides(name, *node)))
    }

    /// Whether a file is hidden because of its name.
    fn hides(&self, name: &[u8], node: Node) -> bool {
        let Some((_, Step::Beside(step))) = self.view.from else { return false };
        matches!(node, Node::File(_)) && beside::narrowing(step).hides(step, name)
    }

    /// Whether its rows name files at all.
    pub fn names_files(&self) -> bool {
        !self.pack.columns().is_empty()
    }

    /// Whether a visible file has this name in the directory of helper files. At the top of a version such
    /// files were renamed; below a directory they keep their recorded names, and win.
    pub fn records(&self, name: &[u8]) -> Result<bool> {
        match (self.view.root, self.ranking()) {
            (Some(root), None) => Ok(self.lookup(root, name)?.is_some()),
            _ => Ok(false),
        }
    }

    /// [`Pack::list`], restricted to the rows shown.
    pub fn list(
        &self,
        dir: Dir,
        from: u32,
        each: &mut dyn FnMut(Child<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.pack.list(dir, from, self.set(), &mut |child| match self.hides(child.name, child.node)
        {
            true => ControlFlow::Continue(()),
            false => each(child),
        })
    }

    /// The File columns that have files here, with their directories.
    pub fn columns(&self) -> Result<Vec<(u16, &[u8])>> {
        let mut found = Vec::new();
        for (number, column) in (0..).zip(self.pack.columns()) {
            let is_shown = match self.set() {
                Some(set) => self.pack.meets(set, column.entries.clone())?,
                None => true,
            };
            found.extend(is_shown.then_some((number, &column.directory[..])));
        }
        Ok(found)
    }

    /// The file at a place of the ranking: its entry, and its name there. `None` if the row names no file in
    /// this File column.
    pub fn ranked(
        &self,
        ranking: &Ranking,
        column: u16,
        place: u32,
    ) -> Result<Option<(EntryId, Vec<u8>)>> {
        let Some(row) = ranking.row(place) else { return Ok(None) };
        let Some(entry) = self.pack.entry_of(column, row)? else { return Ok(None) };
        Ok(Some((entry, ranking.name(place, &self.pack.path(entry)?))))
    }

    /// The path, from its top directory, of the file that a row names in a File column; `None` if it names
    /// none. `position` is the row's place in [`Place::source`].
    pub fn path_of(&self, column: u16, position: u32, ordinal: u32) -> Result<Option<Vec<u8>>> {
        let Some(entry) = self.pack.entry_of(column, ordinal)? else { return Ok(None) };
        let path = self.pack.path(entry)?;
        if let Some(ranking) = self.ranking() {
            return Ok(Some(ranking.name(position, &path)));
        }
        if let Some(root) = self.view.root {
            let above = self.pack.dir_path(root)?;
            let below = path.strip_prefix(&above[..]).filter(|_| root.column == column);
            return Ok(below.map(|below| below.strip_prefix(b"/").unwrap_or(below).to_vec()));
        }
        Ok(Some(match self.pack.columns() {
            [_] => path,
            columns => [&columns[usize::from(column)].directory, &path[..]].join(&b'/'),
        }))
    }

    /// The rows of its tables.
    pub fn source(&self, vfs: &Vfs) -> Result<Source> {
        let plain = self.source_by_id(vfs)?;
        let Some(ranking) = self.ranking() else { return Ok(plain) };
        let schema = Arc::new(with_keys(&plain.schema, ranking));
        let rows = Rows::Ranked(ranking.clone());
        Ok(Source { schema, rows, is_ranked: true, ..plain })
    }

    /// The rows it shows by ascending `sys__id`, whatever their order.
    pub fn source_by_id(&self, vfs: &Vfs) -> Result<Source> {
        Ok(Source {
            catalog: vfs.catalog.clone(),
            of: self.view.of.clone(),
            schema: self.view.schema(&vfs.catalog)?,
            pack: self.pack.clone(),
            rows: self.set().map_or(Rows::All, |set| Rows::Some(set.rows().clone())),
            root: self.view.root,
            is_ranked: false,
            beside: Beside::ALL,
        })
    }

    /// Every row of the version, for questions about a column as a whole.
    pub fn whole(&self, vfs: &Vfs) -> Result<Source> {
        Ok(Source { rows: Rows::All, root: None, ..self.source_by_id(vfs)? })
    }

    /// Whether it shows the row with this ordinal, if there is one.
    pub fn shows(&self, ordinal: u32) -> bool {
        self.set().is_none_or(|set| set.rows().contains(ordinal))
    }

    /// Whether it shows any row with this value.
    pub fn meets(&self, value: &Value) -> bool {
        self.set().is_none_or(|set| !value.rows.is_disjoint(set.rows()))
    }
}

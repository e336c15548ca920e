//! A view that can be asked: its pack, and the rows that it shows.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::inode::{Inode, Slot};
use super::views::View;
use super::{Error, Vfs};
use crate::error::Result;
use crate::pack::{Child, Dir, Node, Pack, Subset};
use crate::render::rows::Beside;
use crate::tables::Source;
use crate::tree::values::Value;

/// One view over its pack. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Place {
    pub slot: Slot,
    pub view: Arc<View>,
    pub pack: Arc<Pack>,
    /// The rows it shows; all where it is `None`.
    pub set: Option<Arc<Subset>>,
}

impl Place {
    /// Whether the one File column is the top directory itself.
    pub fn is_single(&self) -> bool {
        self.pack.columns().len() == 1
    }

    /// The root of a column's tree. `number` is the inode that was asked, for the error.
    pub fn root(&self, number: u64, column: u16) -> Result<Dir> {
        Ok(self.pack.root(column).ok_or(Error::Unknown(number))?)
    }

    /// A directory as its inode number tells it. A forged one is caught by the pack.
    pub fn dir(&self, depth: u16, first: u32) -> Result<Dir> {
        Ok(Dir { column: self.pack.column_of(first)?, depth, first })
    }

    /// The inode of a directory of the pack.
    pub fn inode(&self, dir: Dir) -> Inode {
        match (dir.depth, self.is_single()) {
            (0, true) => self.view.own,
            (0, false) => Inode::Column(self.slot, dir.column),
            (depth, _) => Inode::Dir(self.slot, depth, dir.first),
        }
    }

    /// The child `name` of a directory of the pack, if any of its rows is shown.
    pub fn lookup(&self, dir: Dir, name: &[u8]) -> Result<Option<Node>> {
        self.pack.lookup(dir, name, self.set.as_deref())
    }

    /// [`Pack::list`], of the rows that are shown.
    pub fn list(
        &self,
        dir: Dir,
        from: u32,
        each: &mut dyn FnMut(Child<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.pack.list(dir, from, self.set.as_deref(), each)
    }

    /// The File columns that have files here, with their directories.
    pub fn columns(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let columns = (0..).zip(self.pack.columns());
        let shown = columns.filter(|(_, column)| match &self.set {
            Some(set) => set.meets(column.entries.clone()),
            None => true,
        });
        shown.map(|(number, column)| (number, &column.directory[..]))
    }

    /// The rows it shows, for a table.
    pub fn source(&self, vfs: &Vfs) -> Result<Source> {
        Ok(Source {
            catalog: vfs.catalog.clone(),
            of: self.view.of.clone(),
            schema: self.view.schema(&vfs.catalog)?,
            pack: self.pack.clone(),
            rows: self.set.as_ref().map(|set| set.rows().clone()),
            beside: Beside::ALL,
        })
    }

    /// Whether it shows the row with this ordinal, if there is one.
    pub fn shows(&self, ordinal: u32) -> bool {
        self.set.as_ref().is_none_or(|set| set.rows().contains(ordinal))
    }

    /// Whether it shows any row with this value.
    pub fn meets(&self, value: &Value) -> bool {
        self.set.as_ref().is_none_or(|set| !value.rows.is_disjoint(set.rows()))
    }
}

//! One view: the rows it shows, and its place in the tree.

use std::sync::{Arc, OnceLock, RwLock, Weak};

use super::hashed;
use crate::beside;
use crate::inode::{Inode, Slot};
use dcfs_core::error::Result;
use dcfs_core::schema::Schema;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::pack::{Dir, Pack};

/// The way from one view to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The rows of one value, as a class folder: a leaf of the schema, and the ordinal of the value's first
    /// row.
    Value(u16, u32),
    /// A query directory: a number of [`crate::filters`], one for each spelling, and the parent directory,
    /// unless that is the top of the parent view.
    Query(u32, Option<Dir>),
    /// A view that a directory below `_views/` makes.
    Beside(ViewStep),
}

/// A view of a directory below `_views/` ([`crate::beside`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewStep {
    /// The number of the directory.
    pub directory: u8,
    /// One of the directory's kinds of views.
    pub kind: u8,
    /// Defined by the directory.
    pub number: u64,
    /// The name by which it was looked up, if that defines its rows: a number of [`crate::filters`].
    pub text: Option<u32>,
}

impl Step {
    /// The number of its text in [`crate::filters`], if it has one.
    pub const fn text(self) -> Option<u32> {
        match self {
            Self::Query(number, _) => Some(number),
            Self::Beside(step) => step.text,
            Self::Value(..) => None,
        }
    }

    /// The same, if the text is a filter.
    pub fn filter(self) -> Option<u32> {
        let is_filter = match self {
            Self::Beside(step) => beside::narrowing(step).is_filter(),
            Self::Query(..) | Self::Value(..) => true,
        };
        self.text().filter(|_| is_filter)
    }
}

/// The contents of a view's top directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Helper files, tables, files and `_views`: a version, or a subset of its rows by a filter or a
    /// comparison, where helper files are not listed.
    Version,
    /// The files of one value; tables and `_views` are not listed.
    Class,
    /// Defined by the directory below `_views/` that made it.
    Own,
}

/// A version, or a subset of its rows, as shown by this mount.
#[derive(Debug)]
pub struct View {
    /// The version.
    pub of: VersionInfo,
    /// The slot of the version itself, which is part of the numbers of its files.
    pub base: Slot,
    /// The parent view and the step from it; `None` for a version itself.
    pub from: Option<(Slot, Step)>,
    /// Number of steps from the version.
    pub(super) depth: usize,
    /// Its own directory.
    pub own: Inode,
    /// The parent directory.
    pub up: Inode,
    /// The directory of the version's tree from which its files are shown, unless that is the top.
    pub root: Option<Dir>,
    /// The most recently used pack. Weak: [`dcfs_data::pack::Packs`] decides how many stay open.
    pack: RwLock<Weak<Pack>>,
    schema: OnceLock<Arc<Schema>>,
    generation: u32,
    /// Distinguishes views that had the same slot. 0 for a version.
    pub(super) serial: u32,
}

impl View {
    pub(super) fn version(of: &VersionInfo, slot: Slot) -> Self {
        Self {
            of: of.clone(),
            base: slot,
            from: None,
            depth: 0,
            own: Inode::View(slot),
            up: Inode::Datasets,
            root: None,
            pack: RwLock::default(),
            schema: OnceLock::new(),
            generation: hashed(&of.uuid, 4),
            serial: 0,
        }
    }

    /// The contents of its top directory.
    pub fn kind(&self) -> Kind {
        match self.from {
            None => Kind::Version,
            Some((_, step)) => match step {
                Step::Value(..) => Kind::Class,
                Step::Query(..) => Kind::Version,
                Step::Beside(step) => beside::narrowing(step).kind(step),
            },
        }
    }

    /// The step that made it, if its directory handles its top.
    pub fn made(&self) -> Option<ViewStep> {
        match self.from {
            Some((_, Step::Beside(step))) if self.kind() == Kind::Own => Some(step),
            _ => None,
        }
    }

    /// The view one `step` from this one, which has the slot `parent`; the new view's slot is `slot`.
    pub(super) fn below(&self, parent: Slot, step: Step, slot: Slot) -> Self {
        let (own, up) = match step {
            Step::Value(leaf, first) => {
                (Inode::Value(parent, leaf, first), beside::by::column(parent, leaf))
            }
            Step::Query(_, None) => (Inode::View(slot), self.own),
            Step::Query(_, Some(dir)) => (Inode::View(slot), self.inode(parent, dir)),
            Step::Beside(step) => (Inode::View(slot), beside::narrowing(step).above(parent, step)),
        };
        let root = match step {
            Step::Query(_, Some(dir)) => Some(dir),
            _ => self.root,
        };
        let (from, depth) = (Some((parent, step)), self.depth + 1);
        let (schema, generation) = (self.schema.clone(), self.generation);
        Self {
            base: self.base,
            from,
            depth,
            own,
            up,
            root,
            schema,
            generation,
            ..Self::version(&self.of, slot)
        }
    }

    /// The inode of a directory of files that is not the top of this view, which has the slot `slot`.
    pub fn inode(&self, slot: Slot, dir: Dir) -> Inode {
        match dir.depth {
            0 => Inode::Column(slot, dir.column),
            depth => Inode::Dir(slot, depth, dir.first),
        }
    }

    /// Distinguishes its version from another one with the same slot on another mount.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Distinguishes it from a view that had its slot before on this mount.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The version's columns, read once.
    pub fn schema(&self, catalog: &Catalog) -> Result<Arc<Schema>> {
        if let Some(schema) = self.schema.get() {
            return Ok(schema.clone());
        }
        let schema = Arc::new(catalog.schema(&self.of)?);
        Ok(self.schema.get_or_init(|| schema).clone())
    }

    /// The same, if already read.
    pub fn known_schema(&self) -> Option<Arc<Schema>> {
        self.schema.get().cloned()
    }

    /// The pack, if it is open.
    pub fn pack(&self) -> Option<Arc<Pack>> {
        self.pack.read().unwrap_or_else(|e| e.into_inner()).upgrade()
    }

    /// Remembers the most recently used pack.
    pub fn keep(&self, pack: &Arc<Pack>) {
        *self.pack.write().unwrap_or_else(|e| e.into_inner()) = Arc::downgrade(pack);
    }
}

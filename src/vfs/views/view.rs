//! One view: what it shows, and where it stands.

use std::sync::{Arc, OnceLock, RwLock, Weak};

use super::hashed;
use crate::beside;
use crate::inode::{Inode, Slot};
use dcfs_core::error::Result;
use dcfs_core::schema::Schema;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::pack::{Dir, Pack};

/// How one comes from one view to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The rows of one value, as a class folder: a leaf of the schema, and the ordinal of the value's
    /// first row.
    Value(u16, u32),
    /// A query directory: a number of [`crate::filters`], for each spelling one, and the directory it
    /// stands in, where that is not the top of the view around it.
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
    /// What the directory makes of it.
    pub number: u64,
    /// The name it was looked up by, where that says which rows it shows: a number of [`crate::filters`].
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

/// What the top directory of a view has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Helper files, tables, files and `_views`: a version, or some of its rows by a filter or a comparison, where
    /// helper files are there by name alone.
    Version,
    /// The files of one value; tables and `_views` by name.
    Class,
    /// What the directory below `_views/` that made it says.
    Own,
}

/// A version, or some of its rows, as this mount shows it.
#[derive(Debug)]
pub struct View {
    /// The version.
    pub of: VersionInfo,
    /// The slot of the version itself, whose numbers its files have.
    pub base: Slot,
    /// The view around it and the step from there; `None` for a version itself.
    pub from: Option<(Slot, Step)>,
    /// How many steps it is from the version.
    pub(super) depth: usize,
    /// The directory that it is.
    pub own: Inode,
    /// The directory around that.
    pub up: Inode,
    /// The directory of the version's tree that its files are shown from, where that is not the top.
    pub root: Option<Dir>,
    /// The pack that answered last. Weak: how many stay open is for [`dcfs_data::pack::Packs`] to say.
    pack: RwLock<Weak<Pack>>,
    schema: OnceLock<Arc<Schema>>,
    generation: u32,
    /// Which view of the mount it is: a slot may have been another's. 0 of a version.
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

    /// What its top directory has.
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

    /// The step that made it, where the directory that did answers for its top.
    pub fn made(&self) -> Option<ViewStep> {
        match self.from {
            Some((_, Step::Beside(step))) if self.kind() == Kind::Own => Some(step),
            _ => None,
        }
    }

    /// The view one `step` from this one, which has the slot `parent`; its own will be `slot`.
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

    /// What tells its version from another that has, or had, its slot on another mount.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// What tells it from a view that had its slot before on this mount.
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

    /// The same, if it was read.
    pub fn known_schema(&self) -> Option<Arc<Schema>> {
        self.schema.get().cloned()
    }

    /// The pack, where it is open.
    pub fn pack(&self) -> Option<Arc<Pack>> {
        self.pack.read().unwrap_or_else(|e| e.into_inner()).upgrade()
    }

    /// Remembers the pack that answers.
    pub fn keep(&self, pack: &Arc<Pack>) {
        *self.pack.write().unwrap_or_else(|e| e.into_inner()) = Arc::downgrade(pack);
    }
}

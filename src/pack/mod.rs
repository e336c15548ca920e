//! One immutable version, laid out for looking: sorted entries in memory-mapped buffers.
//!
//! A *row* is numbered by its ordinal in `sys__id` order. An *entry* is one file of the mount,
//! numbered over all listed File columns of the version, column after column, in path order within
//! each. A *directory* is a range of entries of one column.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use crate::catalog::{Catalog, VersionInfo};
use crate::error::Result;
use crate::id::RowId;
use crate::schema::FileColumn;
use crate::time::Timestamp;

/// A directory of one File column's tree. `depth` 0 is the column's own root.
///
/// Two directories of a version are the same if and only if these are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dir {
    /// Index into [`Pack::columns`].
    pub column: u16,
    /// Segments of its path: 0 for the root, at most [`DEEPEST`].
    pub depth: u16,
    /// The first entry below it (0-based over the whole pack; for an empty root, its column's first).
    pub first: u32,
}

/// The most segments of a path; what is deeper becomes one escaped name.
pub const DEEPEST: u16 = 1000;

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// An entry number.
    File(u32),
    Dir(Dir),
}

/// One child of a directory, as listed.
#[derive(Debug)]
pub struct Child<'a> {
    pub name: &'a [u8],
    pub node: Node,
    /// Where to go on after this child: pass it as `from`.
    pub next: u32,
}

/// What a pack knows of one entry without asking the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `None` where the row records no size.
    pub size: Option<u64>,
    /// `None` where the row records no time.
    pub mtime: Option<Timestamp>,
    /// Half of the object's identity, to be compared with the row's on open.
    pub identity: u64,
}

/// One listed File column of the version.
#[derive(Clone, Debug)]
pub struct Column {
    pub file: FileColumn,
    /// Its name in the version's directory where there are several columns, escaped and unique.
    pub directory: Vec<u8>,
    /// Its entries.
    pub entries: std::ops::Range<u32>,
}

/// A version's pack, open.
#[derive(Debug)]
pub struct Pack {}

impl Pack {
    /// Whether nothing has spoken against it: checksums, impossible answers.
    pub fn is_sound(&self) -> bool {
        todo!()
    }

    /// The listed File columns, in schema order.
    pub fn columns(&self) -> &[Column] {
        todo!()
    }

    /// The child `name` of `dir`; `None` where there is none.
    pub fn lookup(&self, _dir: Dir, _name: &[u8]) -> Result<Option<Node>> {
        todo!()
    }

    /// Calls `each` with the children of `dir` in byte order of names, from the entry `from` on
    /// (`dir.first` for the beginning, else a [`Child::next`]), until it breaks.
    pub fn list(
        &self,
        _dir: Dir,
        _from: u32,
        _each: &mut dyn FnMut(Child<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        todo!()
    }

    /// The directory that holds `dir`; itself for a root.
    pub fn parent(&self, _dir: Dir) -> Result<Dir> {
        todo!()
    }

    pub fn facts(&self, _entry: u32) -> Option<Facts> {
        todo!()
    }

    /// The column of an entry: an index into [`Pack::columns`].
    pub fn column_of(&self, _entry: u32) -> u16 {
        todo!()
    }

    /// The entry's path below its column's root, segments joined by `/`.
    pub fn path(&self, _entry: u32) -> Result<Vec<u8>> {
        todo!()
    }

    /// The rows that name the entry's object, in order; at least one.
    pub fn rows(&self, _entry: u32) -> Vec<RowId> {
        todo!()
    }

    pub fn first_row(&self, _entry: u32) -> Option<RowId> {
        todo!()
    }

    /// The entry that the row with this ordinal names in a column.
    pub fn entry_of(&self, _column: u16, _ordinal: u32) -> Option<u32> {
        todo!()
    }
}

/// Every pack of a mount: one builder per version however many readers.
#[derive(Debug)]
pub struct Packs {}

impl Packs {
    /// Keeps packs below `cache/packs`.
    pub fn new(_catalog: Arc<Catalog>, _cache: PathBuf) -> Self {
        todo!()
    }

    /// The pack, if it is open already: an answer from memory.
    pub fn ready(&self, _of: &VersionInfo) -> Option<Arc<Pack>> {
        todo!()
    }

    /// The pack, opened or built. Waits; many callers of one version share one build.
    pub async fn get(&self, _of: &VersionInfo) -> Result<Arc<Pack>> {
        todo!()
    }

    /// Tells that `pack` gave an answer that cannot be: it is dropped, removed and built anew at the
    /// next [`Packs::get`].
    pub fn distrust(&self, _of: &VersionInfo, _why: &str) {
        todo!()
    }
}

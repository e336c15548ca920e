//! One immutable version indexed for look-ups: sorted entries in memory-mapped buffers.
//!
//! A *row* is numbered by its ordinal in `sys__id` order. An *entry* is one file of the mount,
//! numbered over all listed File columns of the version, column after column, in path order within
//! each. A *directory* is a range of entries of one column.
//!
//! Numbers come back from the kernel long after they were given out, and files may be damaged:
//! every answer is checked. A number that was never given out is [`dcfs_core::error::Kind::Stale`];
//! bytes that no builder wrote mark the pack as damaged, and [`Packs`] rebuilds it.

mod arena;
mod build;
mod check;
mod column;
pub mod columns;
mod error;
mod folder;
mod fst_writer;
pub mod home;
mod ids;
mod index;
mod manifest;
mod merge;
mod objects;
mod open;
mod output;
mod packs;
mod paths;
pub mod progress;
mod read;
mod record;
mod settle;
pub mod shared;
mod sort;
mod subset;

use std::fs;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roaring::RoaringBitmap;
use sha2::{Digest, Sha256};

use self::check::Damage;
use self::column::ColumnReader;
use self::columns::Columns;
use self::error::Result;
use self::ids::RowIds;
use self::paths::{Found, Place};
use self::shared::{Shared, Written};
use dcfs_core::id::{EntryId, RowId};
use dcfs_core::schema::FileColumn;
use dcfs_core::time::Timestamp;
use dcfs_core::tree::key;

pub use self::build::Rows;
pub use self::error::PackError;
pub use self::open::{name_of, obtain, obtain_shared};
pub use self::packs::Packs;
pub use self::subset::Subset;
pub use dcfs_core::tree::DEEPEST;

/// A set of rows, by ordinal.
pub type Ordinals = RoaringBitmap;

/// Hashes everything that identifies a set of rows.
pub fn hash_ordinals(rows: &Ordinals, hash: &mut Sha256) {
    let mut rows = rows.iter();
    while let Some(range) = rows.next_range() {
        hash.update(range.start().to_le_bytes());
        hash.update(range.end().to_le_bytes());
    }
}

/// Limits for building and opening packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory for sorting, over all columns.
    pub arena: usize,
    /// Packs up to this many bytes are verified before they are used, larger ones meanwhile.
    pub checked_at_open: u64,
    /// The most bytes of tables and differences kept on disk, over all packs of a cache directory.
    pub kept: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { arena: 56 << 20, checked_at_open: 8 << 20, kept: 16 << 30 }
    }
}

/// A directory of one File column's tree. `depth` 0 is the column's own root.
///
/// Two directories of a version are the same if and only if these values are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dir {
    /// Index into [`Pack::columns`].
    pub column: u16,
    /// The number of segments in its path: 0 for the root, less than [`DEEPEST`].
    pub depth: u16,
    /// The first entry below it (0-based over the whole pack; for an empty root, its column's first).
    pub first: u32,
}

/// The meaning of a name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    File(EntryId),
    Dir(Dir),
}

/// One child of a directory, as listed.
#[derive(Debug)]
pub struct Child<'a> {
    pub name: &'a [u8],
    pub node: Node,
    /// Where to continue after this child: pass it as `from`.
    pub next: u32,
}

/// Facts about one entry that need no query to the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `None` if the row records no size.
    pub size: Option<u64>,
    /// `None` if the row records no time.
    pub mtime: Option<Timestamp>,
    /// Half of the object's identity, compared with the row's on open.
    pub identity: u64,
}

/// One listed File column of the version.
#[derive(Clone, Debug)]
pub struct Column {
    pub file: FileColumn,
    /// Its name in the version's directory if there are several columns, escaped and unique.
    pub directory: Vec<u8>,
    /// Its entries.
    pub entries: Range<u32>,
    /// Whether paths begin with their source.
    pub many_sources: bool,
    /// Whether every file is at its recorded path: then [`dcfs_core::tree::place`] alone gives its
    /// path, in a fraction of the time of an index look-up.
    pub is_plain: bool,
}

/// An open pack of a version.
#[derive(Debug)]
pub struct Pack {
    columns: Vec<Column>,
    readers: Vec<ColumnReader>,
    ids: RowIds,
    folder: PathBuf,
    /// Device and inode of `folder`, because another pack may take its name.
    home: (u64, u64),
    /// Identifies the pack among all that this process has opened: device and inode are reused.
    serial: u64,
    damage: Arc<Damage>,
    /// The columns that filters have used.
    packed: Columns,
    /// See [`Limits::kept`].
    kept: u64,
    /// The version's objects in the folder that hosts share, if there is one.
    shared: Option<Shared>,
}

/// One column's reader, and the number of its first entry.
type Part<'a> = (&'a ColumnReader, u32);

impl Pack {
    /// The listed File columns, in schema order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The number of rows of the version: ordinals are less.
    pub fn row_count(&self) -> u32 {
        self.ids.count
    }

    /// The `sys__id` of the row with this ordinal.
    pub fn row_id(&self, ordinal: u32) -> Option<RowId> {
        self.ids.get(ordinal)
    }

    /// The ordinal of the row with this `sys__id`; `None` if there is no such row.
    pub fn ordinal(&self, id: RowId) -> Option<u32> {
        self.ids.find(id)
    }

    /// The first `sys__id`, if the others follow without gaps.
    pub fn first_of_all(&self) -> Option<RowId> {
        (self.ids.map.is_none() && self.ids.count > 0).then(|| RowId::new(self.ids.first))
    }

    /// The root directory of a column's tree.
    pub fn root(&self, column: u16) -> Option<Dir> {
        let first = self.columns.get(usize::from(column))?.entries.start;
        Some(Dir { column, depth: 0, first })
    }

    /// The child `name` of `dir`; `None` if there is none, or none `within` a set of rows.
    pub fn lookup(&self, dir: Dir, name: &[u8], within: Option<&Subset>) -> Result<Option<Node>> {
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
    fn last_in(&self, dir: Dir) -> Result<u32> {
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
    pub fn list(
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
    pub fn parent(&self, dir: Dir) -> Result<Dir> {
        self.guarded(|| {
            self.place(dir)?;
            self.ancestor(dir.first, dir.column, dir.depth.saturating_sub(1))
        })
    }

    /// The directory that contains an entry.
    pub fn dir_of(&self, entry: EntryId) -> Result<Dir> {
        self.guarded(|| {
            let column = self.find_column(entry)?;
            let (reader, base) = self.part(column)?;
            let depth = reader.paths.depth_of(entry.number() - base)?;
            self.ancestor(entry.number(), column, depth)
        })
    }

    /// The size, time and identity of an entry.
    pub fn facts(&self, entry: EntryId) -> Result<Facts> {
        self.guarded(|| {
            let (reader, base) = self.part(self.find_column(entry)?)?;
            reader.facts(entry.number() - base)
        })
    }

    /// The column of an entry: an index into [`Pack::columns`].
    pub fn column_of(&self, entry: EntryId) -> Result<u16> {
        Ok(self.find_column(entry)?)
    }

    /// The entry's path below its column's root, segments joined by `/`.
    pub fn path(&self, entry: EntryId) -> Result<Vec<u8>> {
        self.guarded(|| {
            let (reader, base) = self.part(self.find_column(entry)?)?;
            Ok(key::to_path(&reader.paths.key_of(entry.number() - base)?))
        })
    }

    /// A directory's path below its column's root; empty for the root.
    pub fn dir_path(&self, dir: Dir) -> Result<Vec<u8>> {
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

    /// The rows that name the entry's object, in order; at least one.
    pub fn rows(&self, entry: EntryId) -> Result<Vec<RowId>> {
        self.first_rows(entry, usize::MAX)
    }

    /// The first `most` of [`Pack::rows`], of which there may be millions.
    pub fn first_rows(&self, entry: EntryId, most: usize) -> Result<Vec<RowId>> {
        self.guarded(|| {
            let (reader, base) = self.part(self.find_column(entry)?)?;
            let unknown = || PackError::damaged("an entry names a row that is not there");
            reader
                .ordinals(entry.number() - base)?
                .take(most)
                .map(|ordinal| self.ids.get(ordinal).ok_or_else(unknown))
                .collect()
        })
    }

    /// The first of [`Pack::rows`]: each of them names the object, and there may be millions.
    pub fn first_row(&self, entry: EntryId) -> Result<RowId> {
        self.guarded(|| {
            let (reader, base) = self.part(self.find_column(entry)?)?;
            let first = reader.ordinals(entry.number() - base)?.next();
            let id = first.and_then(|ordinal| self.ids.get(ordinal));
            id.ok_or_else(|| PackError::damaged("an entry names no row"))
        })
    }

    /// The entry that the row with this ordinal names in a column; `None` if it names none.
    pub fn entry_of(&self, column: u16, ordinal: u32) -> Result<Option<EntryId>> {
        self.guarded(|| {
            let (reader, base) = self.part(column)?;
            Ok(reader.entry_of(ordinal)?.map(|entry| EntryId::new(base + entry)))
        })
    }

    /// The folder of its buffers; other files kept there are removed with them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The version's objects in the folder that hosts share, if there is one.
    pub fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// The name of its folder, which distinguishes it from packs of other versions on every host.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Shares it and its packed columns with other hosts, unless they are shared already.
    ///
    /// # Errors
    /// Errors of the shared folder and the catalog; a damaged pack.
    pub fn share(&self, with: &Shared) -> Result<Written> {
        let sums = manifest::Manifest::read(&self.folder)?.files;
        let mut kept =
            with.share_if_missing(&shared::of_pack(&self.name()), &self.folder, &sums)?;
        for (stem, folder) in columns::folders(&self.folder) {
            let name = shared::of_column(&self.name(), &stem);
            kept += with.share_if_missing(&name, &folder, &columns::files(&folder)?)?;
        }
        Ok(kept)
    }

    /// The most bytes of all files kept beside packs; see [`Limits::kept`].
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Whether damage was found in it.
    pub fn is_damaged(&self) -> bool {
        self.damage.is_marked()
    }

    /// Whether everything read from it has been verified.
    pub fn is_proven(&self) -> bool {
        self.damage.is_proven()
    }

    /// A number that no other pack of this process has or had.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether its folder's name still leads to it.
    pub fn is_current(&self) -> bool {
        let there = fs::metadata(&self.folder);
        there.is_ok_and(|there| (there.dev(), there.ino()) == self.home)
    }

    /// Refuses all further requests; [`Packs`] replaces it.
    fn distrust(&self, why: &str) {
        self.damage.mark(why);
    }

    /// Removes it from the disk, unless another has taken its place.
    fn remove(&self) -> Result<()> {
        if self.is_current() {
            folder::remove(&self.folder)?;
        }
        Ok(())
    }

    /// Reads the buffers; damage, found as an error or as a panic of the index, marks the pack.
    fn guarded<T>(&self, ask: impl FnOnce() -> Result<T, PackError>) -> Result<T> {
        self.damage.check()?;
        let panicked = |_| Err(PackError::damaged("its index cannot be followed"));
        let answer = catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(panicked);
        if let Err(PackError::Damaged(why)) = &answer {
            self.damage.mark(why);
        }
        Ok(answer?)
    }

    fn part(&self, column: u16) -> Result<Part<'_>, PackError> {
        let index = usize::from(column);
        let part = self.readers.get(index).zip(self.columns.get(index));
        part.map(|(reader, column)| (reader, column.entries.start))
            .ok_or(PackError::Gone { what: "column", number: column.into() })
    }

    fn find_column(&self, entry: EntryId) -> Result<u16, PackError> {
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
fn node(parent: Dir, base: u32, found: Found) -> Node {
    match found {
        Found::File(entry) => Node::File(EntryId::new(base + entry)),
        Found::Dir(first) => {
            Node::Dir(Dir { depth: parent.depth + 1, first: base + first, ..parent })
        }
    }
}

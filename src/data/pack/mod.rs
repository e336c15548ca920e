//! One immutable version indexed for look-ups: sorted entries in memory-mapped buffers.
//!
//! A *row* is numbered by its ordinal in `sys__id` order. An *entry* is one file of the mount,
//! numbered over all listed File columns of the version, column after column, in path order within
//! each. A *directory* is a range of entries of one column.
//!
//! Numbers come back from the kernel long after they were given out, and files may be damaged:
//! every answer is checked. A number that was never given out is [`dcfs_core::error::Kind::Stale`];
//! bytes that no builder wrote mark the pack as damaged, and [`Packs`] rebuilds it.

mod answers;
mod arena;
mod build;
mod check;
mod column;
pub mod columns;
mod error;
mod folder;
mod fst_writer;
mod here;
pub mod home;
mod ids;
mod index;
mod manifest;
mod merge;
pub mod names;
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
mod stamp;
mod subset;

use std::fs;
use std::ops::Range;
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
use self::names::remote::{self, Remote};
use self::shared::{Shared, Written};
use self::stamp::Sources;
use dcfs_core::id::{EntryId, RowId};
use dcfs_core::schema::FileColumn;
use dcfs_core::time::Timestamp;

pub use self::build::Rows;
pub use self::error::PackError;
pub use self::ids::RowIds;
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
    rows: u32,
    /// `None` if they have gaps and are on another host.
    ids: Option<RowIds>,
    folder: PathBuf,
    /// Device and inode of `folder`, because another pack may take its name.
    home: (u64, u64),
    /// Identifies the pack among all that this process has opened: device and inode are reused.
    serial: u64,
    damage: Arc<Damage>,
    /// The columns that filters have used.
    packed: Columns,
    /// Sources of its objects, as far as they are known.
    sources: Sources,
    /// See [`Limits::kept`].
    kept: u64,
    /// The version's objects in the folder that hosts share, if there is one.
    shared: Option<Shared>,
    /// Its names, if they are not here: then there are no `readers`.
    remote: Option<Box<Remote>>,
}

impl Pack {
    /// The listed File columns, in schema order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The number of rows of the version: ordinals are less.
    pub fn row_count(&self) -> u32 {
        self.rows
    }

    /// The `sys__id` of every row. Waits if names are in blocks and ids have gaps: then they are fetched
    /// once.
    ///
    /// # Errors
    /// Errors of fetching them, or the whole pack.
    pub fn ids(&self) -> Result<&RowIds> {
        match (&self.ids, &self.remote) {
            (Some(ids), _) => Ok(ids),
            (None, Some(remote)) => remote.ids(&self.folder),
            (None, None) => Err(PackError::damaged("it has no ids").into()),
        }
    }

    /// The same, if they are here.
    fn known_ids(&self) -> Option<&RowIds> {
        self.ids.as_ref().or_else(|| self.remote.as_ref()?.known_ids())
    }

    /// The `sys__id` of the row with this ordinal; `None` if there is no such row.
    ///
    /// # Errors
    /// As [`Pack::ids`].
    pub fn row_id(&self, ordinal: u32) -> Result<Option<RowId>> {
        Ok(self.ids()?.get(ordinal))
    }

    /// The ordinal of the row with this `sys__id`; `None` if there is no such row.
    ///
    /// # Errors
    /// As [`Pack::ids`].
    pub fn ordinal(&self, id: RowId) -> Result<Option<u32>> {
        Ok(self.ids()?.find(id))
    }

    /// The first `sys__id`, if the others follow without gaps.
    pub fn first_of_all(&self) -> Option<RowId> {
        let ids = self.ids.as_ref().filter(|ids| ids.map.is_none() && ids.count > 0);
        ids.map(|ids| RowId::new(ids.first))
    }

    /// The root directory of a column's tree.
    pub fn root(&self, column: u16) -> Option<Dir> {
        let first = self.columns.get(usize::from(column))?.entries.start;
        Some(Dir { column, depth: 0, first })
    }

    /// The folder of its buffers; other files kept there are removed with them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The version's objects in the folder that hosts share, if there is one.
    pub fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// The name of its folder, which distinguishes it from packs of other versions on every host;
    /// that of the whole pack, if it has names in blocks.
    pub fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        name.strip_suffix(remote::ENDING).unwrap_or(&name).to_owned()
    }

    /// Shares it and its packed columns with other hosts, unless they are shared already.
    ///
    /// # Errors
    /// Errors of the shared folder and the catalog; a damaged pack.
    pub fn share(&self, with: &Shared) -> Result<Written> {
        let folder = &self.whole()?.folder;
        let sums = manifest::Manifest::read(folder)?.files;
        let mut kept = with.share_if_missing(&shared::of_pack(&self.name()), folder, &sums)?;
        kept += remote::share(with, folder)?;
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
        self.damage.is_marked() || self.ready_whole().is_some_and(Self::is_damaged)
    }

    /// Whether everything read from it has been verified.
    pub fn is_proven(&self) -> bool {
        self.damage.is_proven() && self.ready_whole().is_none_or(Self::is_proven)
    }

    /// The whole pack that answers in its place, once it was obtained.
    fn ready_whole(&self) -> Option<&Self> {
        self.remote.as_ref()?.ready().map(|whole| &**whole)
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
        if let Some(whole) = self.ready_whole() {
            whole.damage.mark(why);
        }
    }

    /// Removes it from the disk, unless another has taken its place.
    fn remove(&self) -> Result<()> {
        if let Some(whole) = self.ready_whole().filter(|whole| whole.is_damaged()) {
            whole.remove()?;
        }
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
}

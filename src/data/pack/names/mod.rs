//! Names in blocks: how a version too large to be packed on every host is read from shared objects.
//!
//! A host that has the whole pack writes its names as blocks of some thousand entries
//! ([`write::split`]) and shares the file. Another host fetches the [`top`] of it, and then one block
//! for a look-up, a page of a listing or an open. Entries have the same numbers as in the pack, so it
//! can be exchanged for the blocks at any time; whatever blocks cannot answer, it does.
//!
//! | file | holds |
//! |---|---|
//! | `names.blocks` | blocks of entries ([`block`]) and of directories ([`level`]), none across a multiple of 8 MiB |
//! | `names.top` | where each block is, its first key and its digest ([`top`]) |
//! | `names.ids` | the `sys__id` of each row, if they have gaps ([`ids`]) |
//! | `manifest.json` | the manifest of the pack |

mod block;
mod codec;
mod fetch;
mod ids;
mod level;
pub mod remote;
mod top;
mod walk;
pub mod write;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use self::block::Block;
use self::fetch::{Item, Shelf, Which};
use self::level::LevelBlock;
use self::top::ColumnTop;
use super::Facts;
use super::error::PackError;
use super::output::Sum;
use super::paths::Found;
use dcfs_core::error::Error;
use dcfs_core::tree::key::{self, SEPARATOR};

pub use self::fetch::{hurried, may_wait};
pub use self::walk::Walk;
pub use super::shared::PIECE;

/// Changes whenever the form of blocks changes.
pub const FORMAT: u32 = 3;

/// The file of blocks.
pub const BLOCKS: &str = "names.blocks";

/// The file of ids that have gaps.
pub const IDS: &str = "names.ids";

/// The file that says where they are.
pub const TOP: &str = "names.top";

/// Memory for keys of directories of one version, in bytes.
const DIRECTORIES: usize = 1 << 20;

/// A directory that begins in this many blocks and more is not fetched when it is looked up.
const SMALL: usize = 3;

/// Column, depth, first entry.
type DirNumber = (u16, u16, u32);

/// The keys of directories, with a separator after them, so that a look-up in one reads only the block
/// of the name. The least recently used are dropped.
#[derive(Debug)]
struct Directories {
    keys: LruCache<DirNumber, Arc<[u8]>>,
    weight: usize,
}

impl Default for Directories {
    fn default() -> Self {
        Self { keys: LruCache::unbounded(), weight: 0 }
    }
}

impl Directories {
    fn get(&mut self, dir: DirNumber) -> Option<Arc<[u8]>> {
        self.keys.get(&dir).cloned()
    }

    fn put(&mut self, dir: DirNumber, key: Arc<[u8]>) {
        // An entry of the map takes about as much again as a short key.
        let weigh = |key: &[u8]| key.len() + 64;
        self.weight += weigh(&key);
        if let Some(before) = self.keys.put(dir, key) {
            self.weight -= weigh(&before);
        }
        while self.weight > DIRECTORIES && self.keys.len() > 1 {
            let Some((_, dropped)) = self.keys.pop_lru() else { break };
            self.weight -= weigh(&dropped);
        }
    }
}

/// The names of a version, in blocks. Entries are numbered from 0 in each column.
#[derive(Debug)]
pub struct Names {
    shelf: Shelf,
    directories: Mutex<Directories>,
}

/// A block of entries, and the first of them.
struct Page {
    item: Arc<Item>,
    start: u32,
}

impl Page {
    fn block(&self) -> Result<&Block, PackError> {
        match &*self.item {
            Item::Files(block) => Ok(block),
            Item::Dirs(_) => Err(codec::odd()),
        }
    }

    /// The place of an entry in the block.
    fn at(&self, entry: u32) -> usize {
        entry.saturating_sub(self.start) as usize
    }
}

fn gone(what: &'static str, number: u32) -> PackError {
    PackError::Gone { what, number: number.into() }
}

impl Names {
    fn new(shelf: Shelf) -> Self {
        Self { shelf, directories: Mutex::default() }
    }

    /// Whether the blocks proved not to be what the catalog says.
    pub fn is_refused(&self) -> bool {
        self.shelf.is_refused()
    }

    /// Makes the file of ids in `folder` from what is shared; `sum` is what the manifest says of it.
    fn unfold_ids(&self, folder: &Path, sum: Sum) -> Result<(), PackError> {
        ids::unfold(folder, sum, |each| self.shelf.ids(each))
    }

    /// See [`Shelf::waits`].
    fn waits(&self, error: Error) -> Option<Error> {
        self.shelf.waits(error)
    }

    /// The whole pack answers from now on.
    fn empty(&self) {
        self.shelf.empty();
    }

    /// Nothing is asked any more.
    fn close(&mut self) {
        self.shelf.close();
    }

    /// What is shared is not what it should be.
    fn refuse(&self, why: &str) {
        drop(self.shelf.refused(why));
    }

    /// The number of range reads so far.
    pub fn requests(&self) -> u64 {
        self.shelf.requests()
    }

    fn column(&self, column: u16) -> Result<&ColumnTop, PackError> {
        let top = self.shelf.top.columns.get(usize::from(column));
        top.ok_or_else(|| gone("column", column.into()))
    }

    /// A block of entries, together with so many that follow it if it has to be fetched.
    fn page(&self, column: u16, block: usize, ahead: usize) -> Result<Page, PackError> {
        let item = self.shelf.get(Which::Files { column, block }, ahead)?;
        Ok(Page { item, start: self.column(column)?.range(block).start })
    }

    /// Whether a block of entries is in memory.
    fn has(&self, column: u16, block: usize) -> bool {
        self.shelf.has(Which::Files { column, block })
    }

    /// The block of an entry.
    fn page_of(&self, column: u16, entry: u32) -> Result<(usize, Page), PackError> {
        let block = self.column(column)?.block_of(entry).ok_or_else(|| gone("entry", entry))?;
        Ok((block, self.page(column, block, 0)?))
    }

    /// The directory of this depth that contains an entry: its name, its first entry, and the first
    /// after it. `None` if the entry is not that deep.
    fn around(
        &self,
        column: u16,
        depth: u16,
        entry: u32,
    ) -> Result<Option<(Vec<u8>, u32, u32)>, PackError> {
        let Some((block, _)) = self.column(column)?.level(depth, entry) else { return Ok(None) };
        let item = self.shelf.get(Which::Dirs { column, depth, block }, 0)?;
        let Item::Dirs(dirs) = &*item else { return Err(codec::odd()) };
        let dirs: &LevelBlock = dirs;
        Ok(dirs.around(entry).map(|dir| (dir.name.to_vec(), dir.first, dir.end)))
    }

    /// The key of an entry.
    pub fn key_of(&self, column: u16, entry: u32) -> Result<Vec<u8>, PackError> {
        let (_, page) = self.page_of(column, entry)?;
        page.block()?.key(page.at(entry))
    }

    /// The size, time and identity of an entry.
    pub fn facts(&self, column: u16, entry: u32) -> Result<Facts, PackError> {
        let (_, page) = self.page_of(column, entry)?;
        page.block()?.facts(page.at(entry))
    }

    /// The stamp of an entry; empty if there is none.
    pub fn stamp(&self, column: u16, entry: u32) -> Result<Vec<u8>, PackError> {
        let (_, page) = self.page_of(column, entry)?;
        page.block()?.stamp(page.at(entry)).map(<[u8]>::to_vec)
    }

    /// The first `most` rows of an entry, by `sys__id`; `None` if not all are in its block.
    pub fn rows(
        &self,
        column: u16,
        entry: u32,
        most: usize,
    ) -> Result<Option<Vec<i64>>, PackError> {
        let (_, page) = self.page_of(column, entry)?;
        page.block()?.rows(page.at(entry), most)
    }

    /// The key of a directory with a separator after it; empty for the root.
    ///
    /// # Errors
    /// [`PackError::Gone`]: there is no directory of this number.
    pub fn key_of_dir(&self, dir: DirNumber) -> Result<Arc<[u8]>, PackError> {
        let (column, depth, first) = dir;
        let no_dir = || gone("directory", first);
        if depth == 0 {
            self.column(column)?;
            return if first == 0 { Ok(Arc::default()) } else { Err(no_dir()) };
        }
        if let Some(key) = self.directories().get(dir) {
            return Ok(key);
        }
        let (block, page) = self.page_of(column, first)?;
        let (own, at) = (page.block()?, page.at(first));
        let shared = match at {
            0 => self.column(column)?.shared(block),
            _ => own.shared(at)?,
        };
        let key = own.key(at)?;
        let end = key::nth_separator(&key, depth.into()).filter(|_| shared < usize::from(depth));
        let key: Arc<[u8]> = key[..=end.ok_or_else(no_dir)?].into();
        self.directories().put(dir, key.clone());
        Ok(key)
    }

    fn directories(&self) -> std::sync::MutexGuard<'_, Directories> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up `name` in a directory: reads the block in which it would be, and no other if the
    /// directory was looked up before. A name that first names of blocks prove to be a directory is fetched
    /// with all that is in it, if that is little: whoever asks for it will want one of its names, or all.
    pub fn find(&self, dir: DirNumber, name: &[u8]) -> Result<Option<Found>, PackError> {
        let above = self.key_of_dir(dir)?;
        if name.is_empty() || name.contains(&SEPARATOR) {
            return Ok(None);
        }
        let (column, depth, _) = dir;
        let key = [&above, name].concat();
        let top = self.column(column)?;
        let block = top.block_for(&key);
        let (next, following) = match block {
            Some(block) => {
                let more = top.below(&key, block + 1, SMALL);
                let page = self.page(column, block, if more < SMALL { more } else { 0 })?;
                let (own, start) = (page.block()?, page.start);
                let at = own.from(&key)?;
                match at < own.count() {
                    true => (start + at as u32, own.key(at)?),
                    false => match top.key(block + 1) {
                        Some(key) => (top.range(block + 1).start, key.to_vec()),
                        None => return Ok(None),
                    },
                }
            }
            None => match top.key(0) {
                Some(key) => (0, key.to_vec()),
                None => return Ok(None),
            },
        };
        Ok(match following.strip_prefix(&key[..]) {
            Some([]) => Some(Found::File(next)),
            Some([SEPARATOR, ..]) => {
                let key = following[..=key.len()].into();
                self.directories().put((column, depth + 1, next), key);
                Some(Found::Dir(next))
            }
            _ => None,
        })
    }

    /// [`Names::ancestor`], if the directory begins in the block of the entry.
    fn ancestor_in_block(
        &self,
        column: u16,
        entry: u32,
        depth: u16,
    ) -> Result<Option<u32>, PackError> {
        let (block, page) = self.page_of(column, entry)?;
        let own = page.block()?;
        let key = own.key(page.at(entry))?;
        let Some(end) = key::nth_separator(&key, depth.into()) else { return Ok(None) };
        let at = own.from(&key[..=end])?;
        let is_first = at > 0 || self.column(column)?.shared(block) < usize::from(depth);
        Ok(is_first.then(|| page.start + at as u32))
    }

    /// The number of directories above an entry.
    pub fn depth_of(&self, column: u16, entry: u32) -> Result<u16, PackError> {
        let depth = key::depth(&self.key_of(column, entry)?);
        u16::try_from(depth).map_err(|_| codec::odd())
    }

    /// The first entry of the directory of this depth that contains an entry; `None` if the entry is
    /// not that deep.
    pub fn ancestor(&self, column: u16, entry: u32, depth: u16) -> Result<Option<u32>, PackError> {
        let entries = self.column(column)?.entries;
        // The root is there even if nothing is in it.
        if depth == 0 {
            return Ok(Some(0));
        }
        if entry >= entries {
            return Err(gone("entry", entry));
        }
        if let Some(first) = self.ancestor_in_block(column, entry, depth)? {
            return Ok(Some(first));
        }
        Ok(self.around(column, depth, entry)?.map(|(_, first, _)| first))
    }
}

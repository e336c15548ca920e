//! Directories at the top of the mount that are found by name but not listed, so that programs that walk a mount do not enter
//! them. Each is one file here, a [`Folder`], and one line of [`ALL`].
//!
//! ```text
//! /runs/<run>/  status.json  log  errors.jsonl    runs of programs over files
//! /sql/<statement>.csv|.jsonl|.md                 the result of a SELECT
//! ```
//!
//! The files are texts, made on demand: `stat` makes a text again if it may have changed, and `open` gives the text of the
//! last `stat`, so that the reported size is the size that is read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::inode::Inode;
use super::listing::Listing;
use super::wrong::Notes;
use super::{Answer, Attr, Entry, Error, FOREVER, FileKind, Opened, SHORT, Vfs};
use dcfs_core::error::Result;
use dcfs_core::kept::Kept;

mod runs;
mod sql;

/// Every folder.
static ALL: [&dyn Folder; 2] = [&runs::Runs, &sql::Sql];

/// The most bytes of texts kept.
const MOST: usize = 64 << 20;

/// A node of a folder.
pub enum Node {
    Directory,
    File(Bytes),
}

/// A directory at the top of the mount. All methods are called in a task: they may block.
trait Folder: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The node at a path below it, which is not empty; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be made; `Invalid` if its name is wrong.
    fn find(&self, vfs: &Arc<Vfs>, path: &str) -> Result<Option<Node>>;

    /// Names in one of its directories, and whether they are directories themselves; the path of its top is empty.
    ///
    /// # Errors
    /// Errors of the catalog.
    fn names(&self, vfs: &Arc<Vfs>, path: &str) -> Result<Vec<(String, bool)>>;

    /// Whether it shows what this user does: then it does not exist in a mount shared with other users.
    fn is_private(&self) -> bool {
        false
    }

    /// The state of the source of its texts: a text of the same stamp is not made again. `None` if texts may change at any
    /// time.
    ///
    /// # Errors
    /// Errors of the catalog.
    fn stamp(&self, vfs: &Vfs) -> Result<Option<String>>;
}

/// The nodes looked up so far.
pub struct ByName {
    /// The numbers of paths, from the top of the mount.
    numbers: Notes,
    /// Texts by path, each with its stamp.
    texts: Kept<String, (Option<String>, Bytes)>,
}

impl Default for ByName {
    fn default() -> Self {
        Self { numbers: Notes::default(), texts: Kept::new(MOST) }
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").finish_non_exhaustive()
    }
}

impl ByName {
    /// The path of a node, from the top of the mount.
    pub fn path(&self, number: u32) -> Option<String> {
        Some(self.numbers.text(number)?.to_string())
    }
}

impl Vfs {
    /// A folder by its name at the top of the mount.
    pub(super) fn lookup_by_name(&self, name: &[u8]) -> Option<Attr> {
        let (found, _) = self.folder(std::str::from_utf8(name).ok()?)?;
        Some(self.by_name_directory(found.name()))
    }

    /// The folder of a path, and the path below it.
    fn folder<'p>(&self, path: &'p str) -> Option<(&'static dyn Folder, &'p str)> {
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let is_there = |folder: &&dyn Folder| !(folder.is_private() && self.is_shared());
        let found = ALL.into_iter().find(|folder| folder.name() == first).filter(is_there);
        found.map(|folder| (folder, rest))
    }

    /// A name in a folder, or below.
    pub(super) fn lookup_in_folder(self: &Arc<Self>, number: u32, name: &[u8]) -> Answer<Entry> {
        let Ok(name) = String::from_utf8(name.to_vec()) else {
            return Answer::Now(Ok(Entry::Absent(FOREVER)));
        };
        let Some(above) = self.by_name.path(number) else {
            return Answer::Now(Err(Error::Unknown(Inode::ByName(number).number()).into()));
        };
        let vfs = self.clone();
        self.in_long_turn(move || {
            Ok(vfs
                .by_name_attr(&format!("{above}/{name}"))?
                .map_or(Entry::Absent(SHORT), Entry::Found))
        })
    }

    /// The attributes of a node.
    pub(super) fn getattr_by_name(self: &Arc<Self>, number: u32) -> Answer<Attr> {
        let vfs = self.clone();
        self.in_long_turn(move || {
            let unknown = || Error::Unknown(Inode::ByName(number).number());
            let path = vfs.by_name.path(number).ok_or_else(unknown)?;
            Ok(vfs.by_name_attr(&path)?.ok_or_else(unknown)?)
        })
    }

    /// A directory of a folder.
    pub(super) fn list_by_name(self: &Arc<Self>, number: u32) -> Answer<Listing> {
        let vfs = self.clone();
        self.in_long_turn(move || {
            let own = Inode::ByName(number);
            let path = vfs.by_name.path(number).ok_or(Error::Unknown(own.number()))?;
            let (folder, below) = vfs.folder(&path).ok_or(Error::Unknown(own.number()))?;
            let up = vfs.up_by_name(number)?;
            let mut heads = Vec::new();
            for (name, is_directory) in folder.names(&vfs, below)? {
                let path = format!("{path}/{name}");
                let attr = match is_directory {
                    true => vfs.by_name_directory(&path),
                    // Its size is reported by `stat`.
                    false => Attr { ttl: Duration::ZERO, ..vfs.by_name_file(&path, 0) },
                };
                heads.push((name.into_bytes(), attr));
            }
            Ok(Listing::known(&vfs, (own, up), heads))
        })
    }

    /// The directory around a node.
    pub(super) fn up_by_name(&self, number: u32) -> Result<Inode> {
        let path = self.by_name.path(number);
        let path = path.ok_or(Error::Unknown(Inode::ByName(number).number()))?;
        Ok(match path.rsplit_once('/') {
            Some((above, _)) => self.by_name_inode(above),
            None => Inode::Root,
        })
    }

    /// Opens a text, as of the last `stat`.
    pub(super) fn open_by_name(self: &Arc<Self>, number: u32) -> Answer<Opened> {
        let vfs = self.clone();
        self.open_text(false, move |_| {
            let inode = Inode::ByName(number);
            let path = vfs.by_name.path(number).ok_or(Error::Unknown(inode.number()))?;
            if let Some(kept) = vfs.by_name.texts.ready(&path) {
                return Ok(kept.1.clone());
            }
            match vfs.by_name_node(&path)? {
                Some(Node::File(text)) => Ok(text),
                _ => Err(Error::Wrong(inode.number(), "file").into()),
            }
        })
    }

    fn by_name_attr(self: &Arc<Self>, path: &str) -> Result<Option<Attr>> {
        Ok(self.by_name_node(path)?.map(|node| match node {
            Node::Directory => self.by_name_directory(path),
            Node::File(text) => self.by_name_file(path, text.len() as u64),
        }))
    }

    /// A node as it is now.
    fn by_name_node(self: &Arc<Self>, path: &str) -> Result<Option<Node>> {
        let Some((folder, below)) = self.folder(path) else { return Ok(None) };
        if below.is_empty() {
            return Ok(Some(Node::Directory));
        }
        let (stamp, texts, key) = (folder.stamp(self)?, &self.by_name.texts, path.to_owned());
        if let Some(kept) = texts.ready(&key)
            && kept.0.is_some()
            && kept.0 == stamp
        {
            return Ok(Some(Node::File(kept.1.clone())));
        }
        texts.remove(&key);
        let node = folder.find(self, below)?;
        if let Some(Node::File(text)) = &node {
            texts.get(&key, |(_, text)| text.len() + path.len(), || Ok((stamp, text.clone())))?;
        }
        Ok(node)
    }

    fn by_name_inode(&self, path: &str) -> Inode {
        Inode::ByName(self.by_name.numbers.number(path))
    }

    fn by_name_directory(&self, path: &str) -> Attr {
        Attr { ttl: SHORT, ..self.directory(self.by_name_inode(path), None) }
    }

    fn by_name_file(&self, path: &str, size: u64) -> Attr {
        let (inode, mtime) = (self.by_name_inode(path), self.born);
        Attr { inode, kind: FileKind::File, size, mtime, ttl: SHORT }
    }
}

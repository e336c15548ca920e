//! Open files and directories by handle, with everything that a read needs.

use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use bytes::Bytes;

use super::listing::Listing;
use super::tables::Content;
use dcfs_core::error::Result;
use dcfs_store::Reader;

/// An open file or directory. Cheap to clone: a read clones it and holds no lock while it waits.
#[derive(Clone, Debug)]
pub enum Handle {
    /// A helper file as it was when opened.
    Text(Bytes),
    /// A table of rows.
    Table(Arc<Content>),
    /// An object of a store.
    Object(Arc<Reader>),
    /// A file generated from objects while it is read.
    Stream(Arc<dyn Stream>),
    /// A directory as it was when opened.
    Directory(Arc<Listing>),
}

/// A file that is generated from objects while it is read.
pub trait Stream: Debug + Send + Sync {
    /// In bytes.
    fn size(&self) -> u64;

    /// The bytes `offset..offset + length`, cut at the end.
    fn read(self: Arc<Self>, offset: u64, length: u32) -> Reading;
}

/// A pending read.
pub type Reading = Pin<Box<dyn Future<Output = Result<Bytes>> + Send>>;

impl Handle {
    /// In bytes; 0 for a directory.
    pub fn size(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Table(table) => table.size(),
            Self::Object(reader) => reader.size(),
            Self::Stream(stream) => stream.size(),
            Self::Directory(_) => 0,
        }
    }
}

/// The number of an open file or directory; [`Handles`] gives each number once.
///
/// Not an inode number: a file that is open twice has one inode and two handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(pub u64);

/// Every open file of a mount. Numbers are never reused.
#[derive(Debug, Default)]
pub struct Handles {
    next: AtomicU64,
    open: RwLock<HashMap<HandleId, Handle>>,
}

impl Handles {
    /// Adds an open file and returns its number.
    pub fn insert(&self, handle: Handle) -> HandleId {
        let number = HandleId(self.next.fetch_add(1, Ordering::Relaxed));
        self.open.write().unwrap_or_else(|e| e.into_inner()).insert(number, handle);
        number
    }

    /// The number of open files.
    pub fn count(&self) -> usize {
        self.open.read().unwrap_or_else(|e| e.into_inner()).len()
    }

    /// The open file with that number.
    pub fn get(&self, number: HandleId) -> Option<Handle> {
        self.open.read().unwrap_or_else(|e| e.into_inner()).get(&number).cloned()
    }

    /// Removes it. Reads in progress continue.
    pub fn remove(&self, number: HandleId) {
        self.open.write().unwrap_or_else(|e| e.into_inner()).remove(&number);
    }
}

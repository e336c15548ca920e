//! Open files and directories: what a read needs, by the number that the kernel gives back.

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

/// An open file or directory. Cheap to clone: a read takes its own and holds no lock while it waits.
#[derive(Clone, Debug)]
pub enum Handle {
    /// A helper file as it was when opened.
    Text(Bytes),
    /// A table of rows.
    Table(Arc<Content>),
    /// An object of a store.
    Object(Arc<Reader>),
    /// What is made of objects while it is read.
    Stream(Arc<dyn Stream>),
    /// A directory as it was when opened.
    Directory(Arc<Listing>),
}

/// A file that is made of objects while it is read.
pub trait Stream: Debug + Send + Sync {
    /// Bytes.
    fn size(&self) -> u64;

    /// The bytes `offset..offset + length`, cut at the end.
    fn read(self: Arc<Self>, offset: u64, length: u32) -> Reading;
}

/// Bytes that are on their way.
pub type Reading = Pin<Box<dyn Future<Output = Result<Bytes>> + Send>>;

impl Handle {
    /// Bytes; of a directory, none.
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

/// Every open file of a mount. Numbers are never used twice.
#[derive(Debug, Default)]
pub struct Handles {
    next: AtomicU64,
    open: RwLock<HashMap<u64, Handle>>,
}

impl Handles {
    /// Keeps an open file and gives its number.
    pub fn insert(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.write().unwrap_or_else(|e| e.into_inner()).insert(number, handle);
        number
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.read().unwrap_or_else(|e| e.into_inner()).len()
    }

    /// The open file with that number.
    pub fn get(&self, number: u64) -> Option<Handle> {
        self.open.read().unwrap_or_else(|e| e.into_inner()).get(&number).cloned()
    }

    /// Forgets it. Reads that hold it already go on.
    pub fn remove(&self, number: u64) {
        self.open.write().unwrap_or_else(|e| e.into_inner()).remove(&number);
    }
}

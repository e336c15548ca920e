//! Objects that many hosts share, as the code that builds and reads caches needs them: names and
//! bytes, nothing else.
//!
//! Anybody may have written an object: callers trust only what they can verify.

use std::ops::Range;

use crate::error::Result;
use crate::time::Timestamp;

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the clock of the store.
    pub written: Timestamp,
}

/// An object as last read: compared before it is overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its ETag or the like, which distinguishes it from other objects of that name; empty if the
    /// store has none.
    pub tag: String,
}

/// Small objects of stores as other hosts fetched them, by the key of each: 16 bytes that stand for its server and for
/// everything that tells it from other objects. Calls block.
pub trait Small: Send + Sync {
    /// The bytes of an object that is `size` long, verified; `None` if no host shared it, or nothing answers.
    fn find(&self, key: &[u8; 16], size: u64) -> Option<Vec<u8>>;

    /// Offers an object that was just fetched. Returns at once; where too many wait already, it is not shared.
    fn offer(&self, key: &[u8; 16], bytes: &[u8]);
}

/// A folder of objects. Keys consist of lower-case letters, digits, `-`, `.` and `/`. Calls block,
/// and are allowed on any thread.
pub trait Objects: Send + Sync {
    /// Its address, for messages.
    fn place(&self) -> &str;

    /// Reads an object of at most `most` bytes; `None` if there is none.
    ///
    /// # Errors
    /// [`Kind::Stale`](crate::error::Kind::Stale): a longer object; errors of the store.
    fn get(&self, key: &str, most: u64) -> Result<Option<Seen>>;

    /// Reads a part of an object; `None` if there is none, it ends before, or the store cannot read parts.
    ///
    /// # Errors
    /// Errors of the store.
    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>>;

    /// Writes an object, replacing any that exists.
    ///
    /// # Errors
    /// Errors of the store.
    fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()>;

    /// Writes an object that must not exist; `false` if it does.
    ///
    /// # Errors
    /// Errors of the store.
    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<bool>;

    /// Replaces the object that was `seen`; `false` if it has changed since.
    ///
    /// # Errors
    /// Errors of the store.
    fn replace(&self, key: &str, bytes: Vec<u8>, seen: &Seen) -> Result<bool>;

    /// Removes an object; succeeds if it is already gone.
    ///
    /// # Errors
    /// Errors of the store.
    fn remove(&self, key: &str) -> Result<()>;

    /// Removes objects, many with one request if the store can; those already gone count as removed. `each` is told the index of each,
    /// and whether it is gone.
    ///
    /// # Errors
    /// The first error, after all were tried.
    fn remove_all(&self, keys: &[String], each: &mut dyn FnMut(usize, bool)) -> Result<()> {
        let mut first = None;
        for (at, key) in keys.iter().enumerate() {
            let removed = self.remove(key);
            each(at, removed.is_ok());
            first = first.or(removed.err());
        }
        first.map_or(Ok(()), Err)
    }

    /// The objects below `folder`, which is empty or ends with `/`.
    ///
    /// # Errors
    /// Errors of the store.
    fn list(&self, folder: &str) -> Result<Vec<Listed>>;
}

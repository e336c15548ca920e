//! Objects that many hosts share, as whoever builds and reads caches asks for them: names and bytes, nothing else.
//!
//! What comes back may have been written by anybody: whoever asks believes only what it can check.

use crate::error::Result;
use crate::time::Timestamp;

/// One object, as a listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the clock of whoever keeps it.
    pub written: Timestamp,
}

/// What an object was when it was seen: compared before it is written over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Tells it from others of its name; empty where the store does not say.
    pub tag: String,
}

/// A folder of objects. Keys are of lower-case letters, digits, `-`, `.` and `/`. Calls wait, and may be made on any
/// thread.
pub trait Objects: Send + Sync {
    /// Where it is, for messages.
    fn place(&self) -> &str;

    /// An object of at most `most` bytes; `None` where there is none.
    ///
    /// # Errors
    /// One that is longer; what the store says.
    fn get(&self, key: &str, most: u64) -> Result<Option<Seen>>;

    /// Writes an object over any that is there.
    ///
    /// # Errors
    /// What the store says.
    fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()>;

    /// Writes an object that must not be there; `false` where one is.
    ///
    /// # Errors
    /// What the store says.
    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<bool>;

    /// Writes an object over the one that was `seen`; `false` where it is another by now.
    ///
    /// # Errors
    /// What the store says.
    fn replace(&self, key: &str, bytes: Vec<u8>, seen: &Seen) -> Result<bool>;

    /// Removes an object; one that is gone is no error.
    ///
    /// # Errors
    /// What the store says.
    fn remove(&self, key: &str) -> Result<()>;

    /// The objects below `folder`, which is empty or ends with `/`.
    ///
    /// # Errors
    /// What the store says.
    fn list(&self, folder: &str) -> Result<Vec<Listed>>;
}

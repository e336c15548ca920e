//! The bytes of recorded objects: pinned when asked for, checked when they come.
//!
//! Everything a store may do wrong ends here: the bytes that come out are those of the object that
//! the row recorded, or an error. `object_store` types stay inside.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::error::Result;
use crate::object::Object;

/// How to reach stores; what the command line says, and nothing read from elsewhere.
#[derive(Clone, Debug)]
pub struct Config {
    /// For S3-compatible servers; `None` means `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, else AWS.
    pub endpoint_url: Option<String>,
    pub region: Option<String>,
    /// Do not sign requests.
    pub anon: bool,
    /// No request waits longer, retries included.
    pub timeout: Duration,
    /// Folders and files never served, whatever a row says: the open catalog and the cache.
    pub forbidden: Vec<PathBuf>,
}

/// Every store of a mount.
#[derive(Debug)]
pub struct Stores {}

impl Stores {
    pub fn new(_config: Config) -> Self {
        todo!()
    }

    /// Opens an object for reading. A local file is opened and compared with the row; nothing is
    /// asked of a network yet.
    ///
    /// # Errors
    /// `Stale` where it is not the object recorded, `Denied` where the system or the row's place
    /// forbids it, `Broken` for a store that dcfs does not know or a key it cannot ask for exactly.
    pub async fn open(&self, _object: &Object) -> Result<Reader> {
        todo!()
    }
}

/// One open object; reads may overlap and come in any order.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// Length in bytes, as recorded.
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// The bytes `offset..offset + length`, cut at the end of the object and nowhere else.
    pub async fn read(&self, _offset: u64, _length: u32) -> Result<Bytes> {
        todo!()
    }
}

//! Helper files, rendered once per change and kept, so that a size given is the size read.
//!
//! Looking a file up or asking its attributes renders it anew where the catalog moved ([`Texts::fresh`]);
//! opening takes what was last shown ([`Texts::kept`]). So the kernel's size and the bytes that an
//! open reads are of one text. At most [`MOST`] texts are kept, least recently used first out.

use std::num::NonZeroUsize;
use std::sync::Mutex;

use bytes::Bytes;
use lru::LruCache;

use super::inode::Slot;
use crate::catalog::{Catalog, Revision, VersionInfo};
use crate::error::Result;
use crate::pages::{self, Page};

/// Some kilobytes each: a few megabytes at most.
const MOST: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

/// A helper file, or `README.md` at the top.
type Key = Option<(Slot, Page)>;

/// The texts of a mount.
#[derive(Debug)]
pub struct Texts {
    kept: Mutex<LruCache<Key, (Revision, Bytes)>>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { kept: Mutex::new(LruCache::new(MOST)) }
    }
}

impl Texts {
    /// The text as the catalog stands now.
    pub fn fresh(
        &self,
        catalog: &Catalog,
        slot: Slot,
        page: Page,
        of: &VersionInfo,
    ) -> Result<Bytes> {
        let key = Some((slot, page));
        if page.is_fixed()
            && let Some((_, text)) = self.look(key)
        {
            return Ok(text);
        }
        self.at(key, catalog.revision()?, || pages::text(catalog, page, of))
    }

    /// The text as it was last shown; rendered where it never was, or long ago.
    pub fn kept(
        &self,
        catalog: &Catalog,
        slot: Slot,
        page: Page,
        of: &VersionInfo,
    ) -> Result<Bytes> {
        match self.look(Some((slot, page))) {
            Some((_, text)) => Ok(text),
            None => self.fresh(catalog, slot, page, of),
        }
    }

    /// [`Texts::fresh`] for `README.md` at the top.
    pub fn fresh_top(&self, catalog: &Catalog) -> Result<Bytes> {
        self.at(None, catalog.revision()?, || pages::top(catalog))
    }

    /// [`Texts::kept`] for `README.md` at the top.
    pub fn kept_top(&self, catalog: &Catalog) -> Result<Bytes> {
        match self.look(None) {
            Some((_, text)) => Ok(text),
            None => self.fresh_top(catalog),
        }
    }

    fn look(&self, key: Key) -> Option<(Revision, Bytes)> {
        self.kept.lock().unwrap_or_else(|e| e.into_inner()).get(&key).cloned()
    }

    /// What is kept of this revision, else a rendering. No lock is held while rendering: two callers
    /// may render the same text, and one is kept.
    fn at(
        &self,
        key: Key,
        revision: Revision,
        render: impl FnOnce() -> Result<String>,
    ) -> Result<Bytes> {
        if let Some((kept, text)) = self.look(key)
            && kept == revision
        {
            return Ok(text);
        }
        let text = Bytes::from(render()?);
        let mut kept = self.kept.lock().unwrap_or_else(|e| e.into_inner());
        kept.put(key, (revision, text.clone()));
        Ok(text)
    }
}

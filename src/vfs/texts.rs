//! Helper files, rendered once per change and cached, so that the reported size is the size read.
//!
//! A lookup or a request for attributes renders the text again if the catalog has changed ([`Texts::fresh`]);
//! an open uses the last version ([`Texts::kept`]). So the kernel's size and the bytes that an open reads
//! belong to one text. At most [`MOST`] texts are kept; the least recently used is dropped first.

use std::num::NonZeroUsize;
use std::sync::Mutex;

use bytes::Bytes;
use lru::LruCache;

use super::inode::Slot;
use dcfs_core::error::Result;
use dcfs_data::catalog::{Catalog, Revision, VersionInfo};
use dcfs_data::pages::{self, Narrowed, Page};

/// Some kilobytes each: a few megabytes at most.
const MOST: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

/// A helper file of a version, or of some of its rows.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    pub slot: Slot,
    pub page: Page,
    pub of: &'a VersionInfo,
    pub narrowed: Option<&'a Narrowed>,
}

/// The key of a [`Text`].
type PageKey = (Slot, Page);

/// The texts of a mount.
#[derive(Debug)]
pub struct Texts {
    kept: Mutex<LruCache<PageKey, (Revision, Bytes)>>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { kept: Mutex::new(LruCache::new(MOST)) }
    }
}

impl Text<'_> {
    fn key(&self) -> PageKey {
        (self.slot, self.page)
    }

    fn render(&self, catalog: &Catalog) -> Result<String> {
        pages::text(catalog, self.page, self.of, self.narrowed)
    }
}

impl Texts {
    /// The text in the catalog's current state. No lock is held while rendering: two callers may render the
    /// same text, and one is kept.
    pub fn fresh(&self, catalog: &Catalog, text: &Text<'_>) -> Result<Bytes> {
        let known = self.look(text.key());
        if text.page.is_fixed()
            && let Some((_, bytes)) = known
        {
            return Ok(bytes);
        }
        let revision = catalog.revision()?;
        if let Some((kept, bytes)) = known
            && kept == revision
        {
            return Ok(bytes);
        }
        let bytes = Bytes::from(text.render(catalog)?);
        let mut kept = self.kept.lock().unwrap_or_else(|e| e.into_inner());
        kept.put(text.key(), (revision, bytes.clone()));
        Ok(bytes)
    }

    /// The text as last shown; rendered if there is none.
    pub fn kept(&self, catalog: &Catalog, text: &Text<'_>) -> Result<Bytes> {
        match self.look(text.key()) {
            Some((_, bytes)) => Ok(bytes),
            None => self.fresh(catalog, text),
        }
    }

    /// Drops the texts of an evicted view.
    pub fn forget(&self, slot: Slot) {
        let mut kept = self.kept.lock().unwrap_or_else(|e| e.into_inner());
        for page in Page::ALL {
            kept.pop(&(slot, page));
        }
    }

    fn look(&self, key: PageKey) -> Option<(Revision, Bytes)> {
        self.kept.lock().unwrap_or_else(|e| e.into_inner()).get(&key).cloned()
    }
}

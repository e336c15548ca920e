//! Listings of buckets and folders: rows as DataChain records them, in batches, each object once.
//!
//! | file | contents |
//! |---|---|
//! | [`origin`] | parsing of an address: storage, prefix, patterns, the name of the listing |
//! | `walk` | local files |
//! | `page` | one answer of a store: its rows, its order, its continuation |
//! | `ranges`, `halves` | concurrent requests, and the range of keys that each reads |
//! | `ask`, `xml` | one request with its retries; the answers of S3 and Azure |
//!
//! Memory use is one page per request in progress, however long the listing is; a slow receiver of batches
//! slows the listing. The request for a page belongs to each store (`backend`). Keys that DataChain skips (`/`
//! at an end, `//`) are skipped and counted.

pub mod ask;
mod halves;
pub mod origin;
pub mod page;
mod ranges;
mod walk;
pub mod xml;

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc::Sender;

pub use origin::{End, Origin, Storage};

use super::backend::{Folder, StoreKind};
use super::error::Error;
use super::{Result, Stores};
use dcfs_core::time::Timestamp;
use page::{Ask, Page, Pages};

/// Approximate number of rows in a batch.
pub const BATCH: usize = 1000;

/// One object, as DataChain's `File` without its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The whole key; for local files, the path below the source.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// The version's id; empty if the store has no versions.
    pub version: String,
    /// Without quotes; for local files `float(mtime).hex()`.
    pub etag: String,
    /// Whether it is neither replaced nor deleted.
    pub is_latest: bool,
    pub last_modified: Timestamp,
}

/// Options of a listing.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Leave out old versions; DataChain's `versions=False`.
    pub is_current: bool,
    /// One request after another, for servers whose keys come in no order.
    pub is_sequential: bool,
    /// An empty prefix is no error, as long as the bucket exists.
    pub may_be_empty: bool,
}

/// The totals of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Rows, and the bytes of their objects.
    pub objects: u64,
    pub bytes: u64,
    /// Rows that are neither replaced nor deleted.
    pub latest: u64,
    /// Keys with `/` at an end, or `//`.
    pub keys: u64,
    /// Skipped: names that are not UTF-8.
    pub not_utf8: u64,
    /// Skipped: links to folders, which may form cycles.
    pub folder_links: u64,
    /// Skipped: links to nothing, in a circle, or to a place that may not be read.
    pub broken_links: u64,
    /// Skipped: FIFOs, sockets, devices; on Azure, folders that are listed as blobs.
    pub special: u64,
    /// Rows that are links to files outside of the folder.
    pub outside_links: u64,
    /// Skipped: folders called `.datachain`, and those that the caller named.
    pub own: u64,
    /// Whether old versions are missing, because they were not requested or the store does not list them: the
    /// listing then has current objects only. Never for local files.
    pub is_current: bool,
    /// Number of entries examined.
    #[serde(skip)]
    seen: u64,
}

impl Totals {
    /// The number of skipped objects of the user; a catalog is not counted.
    pub fn skipped(&self) -> u64 {
        self.keys + self.not_utf8 + self.folder_links + self.broken_links + self.special
    }

    fn count(&mut self, rows: &[Listed]) {
        self.objects += rows.len() as u64;
        for row in rows {
            self.bytes = self.bytes.saturating_add(row.size);
            self.latest += u64::from(row.is_latest);
        }
    }

    fn add(&mut self, other: &Self) {
        self.objects += other.objects;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.latest += other.latest;
        self.keys += other.keys;
        self.not_utf8 += other.not_utf8;
        self.folder_links += other.folder_links;
        self.broken_links += other.broken_links;
        self.outside_links += other.outside_links;
        self.special += other.special;
        self.own += other.own;
    }
}

impl Stores {
    /// Finds out whether `origin` is a single object. As in DataChain, an object of exactly that name takes
    /// precedence over a folder.
    ///
    /// # Errors
    /// As [`Stores::list`]. If nothing exists there, the listing reports it.
    pub async fn settle(&self, origin: Origin) -> Result<Origin> {
        if origin.end() != End::Unknown {
            return Ok(origin);
        }
        let is_object = match origin.storage() {
            Storage::File => origin.local_path().is_file(),
            Storage::Store(kind) => self.single(kind, &origin, How::default()).await?.is_some(),
        };
        Ok(origin.settled(if is_object { End::Object } else { End::Folder }))
    }

    /// Sends all rows of `origin`, whatever its patterns ([`Origin::selects`] applies them), in no order. An
    /// origin that is not settled is a folder.
    ///
    /// # Errors
    /// `Missing`: no such bucket, or nothing below the prefix. `Denied`, `Busy`, `Broken`: from the store or
    /// the system. Rows sent before an error are incomplete. If the receiver is gone, the error is `Broken`.
    pub async fn list(
        &self,
        origin: &Origin,
        how: How,
        to: &Sender<Vec<Listed>>,
    ) -> Result<Totals> {
        let totals = match (origin.storage(), origin.end()) {
            (_, End::Object) => self.list_one(origin, how, to).await?,
            (Storage::File, _) => walked(origin, to).await?,
            (Storage::Store(kind), _) => self.list_folder(kind, origin, how, to).await?,
        };
        Ok(totals)
    }

    async fn list_one(
        &self,
        origin: &Origin,
        how: How,
        to: &Sender<Vec<Listed>>,
    ) -> Result<Totals, Error> {
        let gone = || Error::Missing { place: origin.label(), answer: "no such object".into() };
        let row = match origin.storage() {
            Storage::File => walk::single(&origin.local_path(), origin.name()).ok(),
            Storage::Store(kind) => self.single(kind, origin, how).await?,
        };
        let rows = vec![row.ok_or_else(gone)?];
        let mut totals = Totals::default();
        totals.count(&rows);
        to.send(rows).await.map_err(|_| Error::Unheard)?;
        Ok(totals)
    }

    async fn single(
        &self,
        kind: &StoreKind,
        origin: &Origin,
        how: How,
    ) -> Result<Option<Listed>, Error> {
        ranges::single(&*self.pages(kind, origin, how)?, origin.path()).await
    }

    async fn list_folder(
        &self,
        kind: &StoreKind,
        origin: &Origin,
        how: How,
        to: &Sender<Vec<Listed>>,
    ) -> Result<Totals, Error> {
        let pages = self.pages(kind, origin, how)?;
        let may_split = !how.is_sequential;
        let mut totals = ranges::list(Arc::clone(&pages), &origin.prefix(), may_split, to).await?;
        totals.is_current = pages.is_current();
        if totals.seen == 0 && !origin.prefix().is_empty() && !how.may_be_empty {
            let answer = "the store lists nothing there".into();
            return Err(Error::Missing { place: origin.label(), answer });
        }
        Ok(totals)
    }

    fn pages(&self, kind: &StoreKind, origin: &Origin, how: How) -> Result<Arc<dyn Pages>, Error> {
        let (place, bucket, prefix) = (origin.label(), origin.bucket(), origin.prefix());
        self.backends().of(kind).pages(Folder { bucket, prefix: &prefix, place, how })
    }
}

async fn walked(origin: &Origin, to: &Sender<Vec<Listed>>) -> Result<Totals, Error> {
    let (root, to, place) = (origin.local_path(), to.clone(), origin.label());
    let besides = origin.besides().to_owned();
    let work = tokio::task::spawn_blocking(move || walk::walk(root, &besides, &to));
    work.await.unwrap_or_else(|error| Err(Error::Failed { place, cause: error.to_string() }))
}

//! `dcfs index`: makes a version of a dataset from objects in storage.
//!
//! 1. Invalid requests are refused before anything is listed: names, numbers, patterns, columns
//!    that differ from the last version's.
//! 2. A listing is found or made ([`mod@listing`]), complete and as a version of its own, which
//!    stays even if the rest fails.
//! 3. Its wanted rows are copied in the order of their addresses, or merged with those of the last
//!    version ([`delta`]), whose unchanged rows are copied with all their columns. Columns of new
//!    rows are computed ([`columns`], [`images`]).
//! 4. Memory is bounded: two or three arenas for sorting, and a few batches of rows.
//!
//! | file | contents |
//! |---|---|
//! | `listing` | the listing: reused, or made |
//! | `keep`, `relist` | saves a listing as a version; compares it with the one before |
//! | `wanted` | the rows of it that are wanted; refuses addresses without rows |
//! | `shape` | the columns of the new version, and how the last one was made |
//! | `item`, `sort` | rows in their sortable form; sorting on disk |
//! | `rows` | the rows of versions, in order |
//! | `delta` | two versions side by side |
//! | `write`, `lazy_stage` | the new version; a stage created only if there is something to write |
//! | `pattern`, `columns` | columns from paths; all requested columns |
//! | `images` | the headers of images, many at a time |
//! | `checkpoint` | image sizes read by an interrupted run |

mod checkpoint;
mod columns;
pub mod delta;
mod images;
pub(crate) mod item;
mod keep;
mod lazy_stage;
mod listing;
mod pattern;
mod relist;
pub(crate) mod rows;
mod shape;
pub(crate) mod sort;
mod wanted;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tokio::runtime::Runtime;

pub use columns::{Columns, With};
pub use delta::Counts;
pub use listing::Report;
pub use shape::KeptColumns;

use dcfs_core::error::{Kind, Result};
use dcfs_core::id::VersionId;
use dcfs_core::name::DatasetName;
use dcfs_core::provenance::Provenance;
use dcfs_data::catalog::{self, Catalog, Number, Saved, VersionInfo, Writer};
use dcfs_store::Stores;
use dcfs_store::list::Origin;
use listing::Listing;
use shape::Shape;

/// How often a delta starts over because another version was saved meanwhile.
const TRIES: usize = 4;

/// The request.
#[derive(Clone, Debug)]
pub struct Request {
    pub origins: Vec<Origin>,
    /// For each address as typed, its indices in `origins`: at least one of them must exist.
    pub groups: Vec<Vec<usize>>,
    pub name: DatasetName,
    /// Columns besides `file`; empty means those of the last version.
    pub with: Vec<With>,
    /// List anew, even if a recent listing exists.
    pub update: bool,
    /// Reuse a recent listing, even one of a folder of this machine.
    pub reuse: bool,
    /// Whether the result may have no rows.
    pub allows_empty: bool,
    pub delta: Option<Delta>,
    pub number: Number,
    pub description: Option<String>,
    pub attrs: Option<Vec<String>>,
    /// Images read in parallel.
    pub jobs: usize,
    pub provenance: Provenance,
}

/// Compute only new rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Keep the rows of changed or deleted objects, as DataChain does.
    pub keeps_deleted: bool,
}

/// Receives progress.
pub trait Watch: Sync {
    /// This many more objects were listed.
    fn listed(&self, objects: u64, bytes: u64);
    /// Another phase begins, over this many rows if known.
    fn begins(&self, phase: Phase, rows: Option<u64>);
    /// This many more of its rows are done.
    fn wrote(&self, rows: u64);
}

/// A phase after a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The listing is saved as a version of its own.
    Keeping,
    /// The rows of the dataset are written.
    Writing,
    /// The same, while images are read, which is most of the work.
    Pictures,
}

/// The result.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Indexed {
    /// `None` if a delta found nothing new.
    #[serde(skip)]
    pub saved: Option<Saved>,
    /// The version that a delta was made from.
    #[serde(skip)]
    pub last: Option<VersionInfo>,
    pub listings: Vec<Report>,
    pub counts: Counts,
    /// Columns that were not requested: those of the version before, computed again.
    pub kept_columns: Option<KeptColumns>,
    #[serde(flatten)]
    pub computed: Computed,
    /// No version was made, but the description of the dataset was changed.
    pub is_described: bool,
}

/// Counts of rows whose columns were computed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Computed {
    pub images: u64,
    /// Rows whose object is not an image, or a damaged one.
    pub no_images: u64,
    /// Rows whose object was replaced after it was listed.
    pub replaced: u64,
    /// Rows whose object cannot be read from the store.
    pub unreadable: u64,
    /// The reasons, for the first few.
    pub unreadable_first: Vec<String>,
    /// Rows whose path does not match a pattern.
    pub unmatched: u64,
    /// One such path.
    pub unmatched_path: Option<String>,
}

/// The environment of the work.
pub struct Desk<'d> {
    /// The database file, which may not exist yet.
    pub path: PathBuf,
    /// The folder for sorted runs.
    pub folder: PathBuf,
    pub stores: &'d Arc<Stores>,
    pub runtime: &'d Runtime,
    pub watch: &'d dyn Watch,
    catalog: Option<Arc<Catalog>>,
    writer: Option<Writer>,
}

impl<'d> Desk<'d> {
    /// `is_there`: whether there is a catalog at `path`.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn new(
        (path, is_there): (&Path, bool),
        folder: &Path,
        (stores, runtime): (&'d Arc<Stores>, &'d Runtime),
        watch: &'d dyn Watch,
    ) -> Result<Self> {
        let (path, folder) = (path.to_owned(), folder.to_owned());
        // Whether servers hold a catalog is told by asking them.
        let open = || match catalog::is_address(&path) {
            true => Writer::open_or_create(&path),
            false => Writer::open(&path),
        };
        let writer = is_there.then(open).transpose()?;
        let catalog = is_there.then(|| Catalog::open(&path)).transpose()?.map(Arc::new);
        Ok(Self { path, folder, stores, runtime, watch, catalog, writer })
    }

    /// The catalog, created if necessary.
    fn writer(&mut self) -> Result<&mut Writer> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::open_or_create(&self.path)?,
        };
        Ok(self.writer.insert(writer))
    }

    fn catalog(&mut self) -> Result<Arc<Catalog>> {
        let catalog = match self.catalog.take() {
            Some(catalog) => catalog,
            None => {
                self.writer()?;
                Arc::new(Catalog::open(&self.path)?)
            }
        };
        Ok(Arc::clone(self.catalog.insert(catalog)))
    }
}

/// Lists and saves.
///
/// # Errors
/// Invalid requests; errors of a store, the catalog and the disk. No version was added then, except
/// complete listings.
pub fn index(desk: &mut Desk<'_>, mut request: Request) -> Result<Indexed> {
    Writer::check_form(&request.name)?;
    if let Some(writer) = &mut desk.writer {
        writer.check_name(&request.name)?;
        writer.check_number(&request.name, request.number)?;
    }
    let mut last = last(desk, &request)?;
    let mut shape = Shape::new(desk, &request, last.as_ref())?;
    let origins = std::mem::take(&mut request.origins);
    let listings = listings(desk, &request, origins, last.as_ref())?;
    if last.is_none() {
        wanted::check_patterns(&*desk.catalog()?, &shape, &listings)?;
    }
    for _ in 1..TRIES {
        match write::write(desk, &shape.told(&request), &listings, &shape, last.clone()) {
            Err(error) if error.kind() == Kind::Busy => {
                let newer = self::last(desk, &request)?;
                if id(newer.as_ref()) == id(last.as_ref()) {
                    return Err(error);
                }
                shape = Shape::new(desk, &request, newer.as_ref())?;
                last = newer;
            }
            done => return done,
        }
    }
    write::write(desk, &shape.told(&request), &listings, &shape, last)
}

fn id(of: Option<&VersionInfo>) -> Option<VersionId> {
    of.map(|of| of.id)
}

/// All listings, each of which has rows.
fn listings(
    desk: &mut Desk<'_>,
    request: &Request,
    origins: Vec<Origin>,
    last: Option<&VersionInfo>,
) -> Result<Vec<Listing>> {
    let mut done: Vec<Listing> = Vec::new();
    for origin in origins {
        done.push(listing::obtain(desk, request, origin, (last, &done))?);
    }
    wanted::check(&*desk.catalog()?, request, &done, last)?;
    Ok(done)
}

/// The version that a delta starts from.
fn last(desk: &Desk<'_>, request: &Request) -> Result<Option<VersionInfo>> {
    match (&desk.catalog, request.delta) {
        (Some(catalog), Some(_)) => catalog.latest(&request.name),
        _ => Ok(None),
    }
}

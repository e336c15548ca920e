//! `datasets/` in the catalog's current state: read again after another process commits, else from memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::Totals;
use dcfs_core::error::Result;
use dcfs_core::id::VersionId;
use dcfs_core::tree::datasets::{Datasets as Names, Entry};
use dcfs_data::catalog::{Catalog, Revision, VersionInfo};

/// The directory of datasets, kept up to date.
#[derive(Debug)]
pub struct Datasets {
    catalog: Arc<Catalog>,
    last: Mutex<Option<(Revision, Arc<Snapshot>)>>,
}

/// The meaning of a name in `datasets/`.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The directory of a version.
    Version(&'a VersionInfo),
    /// A link to the directory of that name beside it.
    Link(&'a [u8]),
}

/// The versions at one moment.
#[derive(Debug)]
pub struct Snapshot {
    versions: HashMap<VersionId, VersionInfo>,
    names: Names,
}

impl Datasets {
    /// Reads nothing yet.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog, last: Mutex::default() }
    }

    /// The versions in the catalog's current state. Blocks on the catalog if it has changed.
    pub fn current(&self) -> Result<Arc<Snapshot>> {
        // Read before the versions, so that a commit in between is noticed next time.
        let revision = self.catalog.revision()?;
        let mut last = self.last.lock().unwrap_or_else(|e| e.into_inner());
        match &*last {
            Some((seen, snapshot)) if *seen == revision => Ok(snapshot.clone()),
            _ => {
                let snapshot = Arc::new(Snapshot::of(self.catalog.versions()?));
                *last = Some((revision, snapshot.clone()));
                Ok(snapshot)
            }
        }
    }
}

impl Snapshot {
    fn of(versions: Vec<VersionInfo>) -> Self {
        let names = Names::new(versions.iter().map(|of| (&of.dataset, of.id, of.version)));
        Self { versions: versions.into_iter().map(|of| (of.id, of)).collect(), names }
    }

    /// Every listed name, in byte order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], Found<'_>)> {
        let named = self.names.entries().iter();
        named.filter_map(|(name, entry)| Some((&name[..], self.found(entry)?)))
    }

    /// The version whose directory has this name, listed or not.
    pub fn version(&self, name: &[u8]) -> Option<&VersionInfo> {
        match self.names.lookup(name)? {
            Entry::Version(id) => self.versions.get(&id),
            Entry::Link(_) => None,
        }
    }

    /// The target of a link, listed or not.
    pub fn link(&self, name: &[u8]) -> Option<Vec<u8>> {
        match self.names.lookup(name)? {
            Entry::Version(_) => None,
            Entry::Link(target) => Some(target),
        }
    }

    /// The other versions of a version's dataset, by number.
    pub fn others(&self, of: &VersionInfo) -> Vec<&VersionInfo> {
        let others = self.versions.values().filter(|other| other.dataset_id == of.dataset_id);
        let mut others: Vec<_> = others.filter(|other| other.id != of.id).collect();
        others.sort_by_key(|other| (other.version, other.id));
        // A stranger's catalog may have duplicate numbers.
        others.dedup_by_key(|other| other.version);
        others
    }

    /// Rows and bytes of all versions.
    pub fn totals(&self) -> Totals {
        let add = |sum: Totals, of: &VersionInfo| Totals {
            rows: sum.rows.saturating_add(of.rows.unwrap_or(0)),
            bytes: sum.bytes.saturating_add(of.size.unwrap_or(0)),
        };
        self.versions.values().fold(Totals::default(), add)
    }

    fn found<'a>(&'a self, entry: &'a Entry) -> Option<Found<'a>> {
        Some(match entry {
            Entry::Version(id) => Found::Version(self.versions.get(id)?),
            Entry::Link(target) => Found::Link(target),
        })
    }
}

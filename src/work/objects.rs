//! Every object that some rows of a version name, without duplicates, several at a time.

use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinSet;

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::EntryId;
use dcfs_core::loader::permutation::Permutation;
use dcfs_core::object::Object;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::pack::{Ordinals, Pack, Subset};

/// Objects whose rows are queried from the catalog at a time.
const ROWS: usize = 256;

/// Some rows of a version.
#[derive(Debug)]
pub struct Selection {
    catalog: Arc<Catalog>,
    of: VersionInfo,
    pack: Arc<Pack>,
    /// Entries of the pack, one for every file of the mount.
    entries: Ordinals,
    /// The rows of these entries; `None` for all.
    rows: Option<Arc<Ordinals>>,
    /// The order of processing, if it is not that of paths.
    order: Option<Vec<EntryId>>,
}

/// An object, and its path in the mount.
#[derive(Clone, Debug)]
pub struct Found {
    /// Relative to the version's directory.
    pub path: String,
    /// `None` if its row names none, or a different one from when the version was packed.
    pub object: Option<Object>,
}

impl Selection {
    /// The files of `rows`, or of all rows. Blocks.
    ///
    /// # Errors
    /// A damaged pack.
    pub fn new(
        (catalog, of): (Arc<Catalog>, VersionInfo),
        pack: Arc<Pack>,
        rows: Option<Arc<Ordinals>>,
    ) -> Result<Self> {
        // All of its names are needed, not some blocks of them.
        pack.bring()?;
        let entries = match rows.clone() {
            Some(rows) => pack.entries(&Subset::new(rows))?.clone(),
            None => pack.columns().iter().flat_map(|column| column.entries.clone()).collect(),
        };
        Ok(Self { catalog, of, pack, entries, rows, order: None })
    }

    /// The same in the order of an epoch, as `_views/epochs/<seed>/<epoch>.txt` lists the files of
    /// the first File column; files of other columns go with them. Blocks.
    ///
    /// # Errors
    /// A damaged pack.
    pub fn in_epoch(mut self, seed: u64, epoch: u32) -> Result<Self> {
        let all = || Box::new(0..self.pack.row_count()) as Box<dyn Iterator<Item = u32>>;
        let ordinals = self.rows.as_ref().map_or_else(all, |rows| Box::new(rows.iter()));
        let mut rows = Vec::new();
        for ordinal in ordinals {
            if self.pack.entry_of(0, ordinal)?.is_some() {
                rows.push(ordinal);
            }
        }
        let permutation = Permutation::new(seed, epoch, rows.len() as u64);
        let (mut left, mut order) = (self.entries.clone(), Vec::new());
        for place in 0..rows.len() as u64 {
            let ordinal = rows[permutation.at(place) as usize];
            for column in 0..self.pack.columns().len() as u16 {
                let entry = self.pack.entry_of(column, ordinal)?;
                order.extend(entry.filter(|entry| left.remove(entry.number())));
            }
        }
        // Rows without a file in the first column may have one in another.
        order.extend(left.into_iter().map(EntryId::new));
        self.order = Some(order);
        Ok(self)
    }

    /// The number of files, and their recorded bytes.
    ///
    /// # Errors
    /// A damaged pack.
    pub fn totals(&self) -> Result<(u64, u64)> {
        let mut bytes = 0_u64;
        for entry in self.entries.iter().map(EntryId::new) {
            bytes = bytes.saturating_add(self.pack.facts(entry)?.size.unwrap_or(0));
        }
        Ok((self.entries.len(), bytes))
    }

    /// Runs `work` on every object, `jobs` at a time, started in order; calls `done` with each
    /// result, in the order in which they finish.
    ///
    /// # Errors
    /// Errors of the catalog. Errors of a single object are results of `work`.
    pub async fn each<T, F>(
        self: &Arc<Self>,
        jobs: usize,
        work: impl Fn(Found) -> F,
        mut done: impl FnMut(T),
    ) -> Result<()>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = JoinSet::new();
        let mut entries: Box<dyn Iterator<Item = EntryId> + Send + '_> = match &self.order {
            Some(order) => Box::new(order.iter().copied()),
            None => Box::new(self.entries.iter().map(EntryId::new)),
        };
        loop {
            let some: Vec<EntryId> = entries.by_ref().take(ROWS).collect();
            if some.is_empty() {
                break;
            }
            for found in self.clone().find(some).await? {
                while running.len() >= jobs {
                    ended(running.join_next().await, &mut done)?;
                }
                running.spawn(work(found));
            }
        }
        while !running.is_empty() {
            ended(running.join_next().await, &mut done)?;
        }
        Ok(())
    }

    async fn find(self: Arc<Self>, entries: Vec<EntryId>) -> Result<Vec<Found>> {
        let find = move || {
            let objects = self.pack.objects(&self.catalog, &self.of, &entries)?;
            let found = |(entry, object)| Ok(Found { path: self.path(entry)?, object });
            entries.into_iter().zip(objects).map(found).collect()
        };
        tokio::task::spawn_blocking(find).await.unwrap_or_else(|error| Err(lost(&error)))
    }

    /// The path of an entry in the mount, relative to the version's directory.
    fn path(&self, entry: EntryId) -> Result<String> {
        let path = self.pack.path(entry)?;
        let column = self.pack.columns().get(usize::from(self.pack.column_of(entry)?));
        let below = match column.filter(|_| self.pack.columns().len() > 1) {
            Some(column) => [&column.directory[..], b"/", &path].concat(),
            None => path,
        };
        Ok(String::from_utf8_lossy(&below).into_owned())
    }
}

impl Found {
    /// The object, if there still is one.
    ///
    /// # Errors
    /// `Stale` if the row no longer names it.
    pub fn object(&self) -> Result<&Object> {
        let gone = || Error::new(Kind::Stale, "its row is gone, or names another object now");
        self.object.as_ref().ok_or_else(gone)
    }

    /// The recorded size in bytes.
    pub fn size(&self) -> u64 {
        self.object.as_ref().and_then(|object| object.size).unwrap_or(0)
    }
}

fn ended<T>(
    ended: Option<std::result::Result<T, tokio::task::JoinError>>,
    done: &mut impl FnMut(T),
) -> Result<()> {
    match ended {
        Some(Ok(value)) => done(value),
        Some(Err(error)) => return Err(lost(&error)),
        None => {}
    }
    Ok(())
}

fn lost(error: &tokio::task::JoinError) -> Error {
    Error::new(Kind::Broken, format!("the work on an object was cut off: {error}"))
}

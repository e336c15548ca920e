//! Stages: tables without a version, filled with rows, in SQLite or in ClickHouse.

use std::fmt;
use std::ops::RangeInclusive;
use std::slice;

use super::in_file::FileStage;
use super::mix::Piece;
use super::publish::{Copied, Publication, Saved};
use crate::catalog::split::ServerStage;
use crate::catalog::{Digest, VersionInfo};
use dcfs_core::cell::Cell;
use dcfs_core::error::Result;
use dcfs_core::expr::sql::Sql;
use dcfs_core::id::RowId;
use dcfs_core::schema::Layout;

/// The rows of a new version. If dropped without [`Stage::publish`], nothing is left.
#[derive(Debug)]
pub struct Stage<'w>(Held<'w>);

#[derive(Debug)]
enum Held<'w> {
    File(FileStage<'w>),
    Servers(ServerStage<'w>),
}

/// The columns of every row table; copied rows keep their values.
pub const KEPT: [&str; 2] = ["sys__rand", "sys__id"];

/// A callback for the number of rows, called now and then.
pub struct Watch<'w>(Box<dyn Fn(u64) + 'w>);

impl Watch<'_> {
    pub fn nobody() -> Self {
        Self(Box::new(|_| ()))
    }

    pub fn tell(&self, rows: u64) {
        (self.0)(rows);
    }
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl<'w> Stage<'w> {
    pub(super) fn in_file(stage: FileStage<'w>) -> Self {
        Self(Held::File(stage))
    }

    pub(super) fn on_servers(stage: ServerStage<'w>) -> Self {
        Self(Held::Servers(stage))
    }

    /// The shape of the rows.
    pub fn layout(&self) -> &Layout {
        match &self.0 {
            Held::File(stage) => stage.layout(),
            Held::Servers(stage) => stage.layout(),
        }
    }

    /// Calls `each` with the number of rows so far, now and then, while no lock is held: it may block.
    pub fn watch(&mut self, each: impl Fn(u64) + 'w) {
        let watch = Watch(Box::new(each));
        match &mut self.0 {
            Held::File(stage) => stage.watch(watch),
            Held::Servers(stage) => stage.watch(watch),
        }
    }

    /// Rows so far. On servers, buffered rows are sent first, because only ClickHouse knows which of the rows to copy exist.
    ///
    /// # Errors
    /// As [`Stage::insert`].
    pub fn rows(&mut self) -> Result<u64> {
        match &mut self.0 {
            Held::File(stage) => Ok(stage.rows()),
            Held::Servers(stage) => Ok(stage.rows()?),
        }
    }

    /// Reads the rows back: their number, and the digest of their ids, random numbers and cells, as
    /// [`crate::catalog::digest()`] of a version. Calls `each` with the number of rows read, now and then.
    ///
    /// # Errors
    /// As [`Stage::insert`]; rows with the same id.
    pub fn digest(&mut self, each: &dyn Fn(u64)) -> Result<(u64, Digest)> {
        match &mut self.0 {
            Held::File(stage) => stage.digest(each),
            Held::Servers(stage) => Ok(stage.digest(each)?),
        }
    }

    /// Adds rows, each with a cell for every column of the layout; missing ones are NULL. `rows`
    /// should not block: the write lock may be held meanwhile.
    ///
    /// # Errors
    /// A full disk, a catalog locked for long; on servers, a value that its column cannot hold. Part of the batch may have
    /// been added: drop the stage.
    pub fn insert<'r, R: AsRef<[Cell<'r>]>>(
        &mut self,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<()> {
        self.mix(&[], &[], rows.into_iter().map(Piece::New))
    }

    /// Copies rows of a version, in the given order, with their `sys__rand`. A column that the
    /// version's table lacks is NULL. `ranges` should not block.
    ///
    /// # Errors
    /// As [`Stage::insert`]; [`dcfs_core::error::Kind::Stale`] if the version is removed meanwhile.
    pub fn copy(
        &mut self,
        of: &VersionInfo,
        ranges: impl IntoIterator<Item = RangeInclusive<RowId>>,
    ) -> Result<()> {
        let pieces = ranges.into_iter().map(|range| Piece::<[Cell<'_>; 0]>::Rows(0, range));
        self.mix(slice::from_ref(of), &[], pieces)
    }

    /// Adds rows in the given order, some of them from the versions `of`. `pieces` should not block.
    ///
    /// # Errors
    /// As [`Stage::copy`].
    pub fn mix<'r, R: AsRef<[Cell<'r>]>>(
        &mut self,
        of: &[VersionInfo],
        columns: &[&str],
        pieces: impl IntoIterator<Item = Piece<R>>,
    ) -> Result<()> {
        match &mut self.0 {
            Held::File(stage) => stage.mix(of, columns, pieces),
            Held::Servers(stage) => Ok(stage.mix(of, columns, pieces)?),
        }
    }

    /// Copies the rows of a version for which the engine's part of a filter is true (see [`crate::catalog::Catalog::split`]), in
    /// the order of their ids, without fetching them. Returns `false` if there is no such engine; then nothing was done.
    ///
    /// # Errors
    /// As [`Stage::copy`].
    pub fn select(&mut self, of: &VersionInfo, filter: &Sql) -> Result<bool> {
        match &mut self.0 {
            Held::File(_) => Ok(false),
            Held::Servers(stage) => Ok(stage.select(of, filter)?),
        }
    }

    /// Publishes the rows as a version, in one short transaction.
    ///
    /// # Errors
    /// A refused name or number; as [`Stage::insert`]. Nothing was changed then.
    pub fn publish(self, publication: &Publication<'_>) -> Result<Saved> {
        self.published(publication, None)
    }

    /// The same for a version copied from another catalog, where its name and number are in use already.
    ///
    /// # Errors
    /// As [`Stage::publish`].
    pub fn publish_copy(self, publication: &Publication<'_>, copied: &Copied<'_>) -> Result<Saved> {
        self.published(publication, Some(copied))
    }

    fn published(
        self,
        publication: &Publication<'_>,
        copied: Option<&Copied<'_>>,
    ) -> Result<Saved> {
        match self.0 {
            Held::File(stage) => stage.publish(publication, copied),
            Held::Servers(stage) => Ok(stage.publish(publication, copied)?),
        }
    }

    /// Adds rows that keep their ids: each has a cell for every column of the layout, then its `sys__rand`, then its
    /// `sys__id`. A stage has only such rows, or none.
    ///
    /// # Errors
    /// As [`Stage::insert`].
    pub fn keep<'r, R: AsRef<[Cell<'r>]>>(
        &mut self,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<()> {
        self.mix(&[], &KEPT, rows.into_iter().map(Piece::New))
    }
}

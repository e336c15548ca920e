//! The half of a catalog that holds rows: a table for each version.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Instant;

use roaring::{RoaringBitmap, RoaringTreemap};

use super::error::Error;
use super::{EachRow, Row, VersionInfo};
use dcfs_core::expr::sql::groups::GroupSql;
use dcfs_core::expr::sql::{Remote, Sql};
use dcfs_core::expr::{Column, Group};
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use dcfs_core::schema::FileColumn;

/// Reads the rows of versions. Each method is described in [`super::Catalog`].
pub(super) trait Warehouse: Debug + Send + Sync {
    fn schema_texts(&self, of: &VersionInfo) -> Result<SchemaTexts, Error>;

    fn examples(
        &self,
        of: &VersionInfo,
        rows: Option<&[RowId]>,
        most: usize,
    ) -> Result<Vec<(String, String)>, Error>;

    fn scan(
        &self,
        of: &VersionInfo,
        columns: &[FileColumn],
        within: RangeInclusive<RowId>,
        each: &mut Each<'_>,
    ) -> Result<(), Error>;

    /// Frees what is kept in memory of rows that were read and are not read again.
    fn forget_pages(&self) -> Result<(), Error> {
        Ok(())
    }

    fn cells(
        &self,
        of: &VersionInfo,
        columns: &[String],
        ranges: &mut dyn Iterator<Item = RangeInclusive<RowId>>,
        each: &mut EachRow<'_>,
    ) -> Result<(), Error>;

    fn extent(&self, of: &VersionInfo) -> Result<Extent, Error>;

    fn object(&self, of: &VersionInfo, column: &FileColumn, row: RowId) -> Result<Found, Error>;

    fn objects(
        &self,
        of: &VersionInfo,
        column: &FileColumn,
        rows: &[RowId],
    ) -> Result<Vec<Option<Object>>, Error>;

    /// How a database engine stores a column, if it can evaluate filters on it.
    fn remote(&self, _of: &VersionInfo, _column: &Column) -> Option<Remote> {
        None
    }

    /// Whether reading a row costs a request of a server.
    fn is_far(&self) -> bool {
        false
    }

    /// Fails if a version was removed, without reading of its rows.
    fn check(&self, _of: &VersionInfo) -> Result<(), Error> {
        Ok(())
    }

    /// Bytes to transfer for some columns; `None` if the rows are local.
    fn fetched(&self, _of: &VersionInfo, _columns: &[&str]) -> Option<u64> {
        None
    }

    /// The rows for which such a filter is true; `first` is the first id if ids have no gaps.
    fn matching(
        &self,
        _of: &VersionInfo,
        _filter: &Sql,
        _first: Option<RowId>,
    ) -> Result<Option<Matching>, Error> {
        Ok(None)
    }

    /// Groups of rows of some versions, in the order of their keys.
    fn groups(
        &self,
        _of: &[&VersionInfo],
        _ask: &GroupSql,
        _most: usize,
        _until: Option<Instant>,
    ) -> Result<Option<Vec<Group>>, Error> {
        Ok(None)
    }

    /// The number of rows for which such a filter is true.
    fn count(&self, of: &VersionInfo, _filter: &Sql) -> Result<u64, Error> {
        Ok(self.extent(of)?.rows)
    }
}

/// Rows that a database engine found.
#[derive(Clone, Debug, PartialEq)]
pub enum Matching {
    /// By their position in the order of ids, counted from 0.
    Ordinals(RoaringBitmap),
    /// By their ids.
    Ids(RoaringTreemap),
}

/// `feature_schema`, `schema`, and the columns of the table with their types: the arguments of
/// [`dcfs_core::schema::Schema::parse`].
pub(super) type SchemaTexts = (String, String, Vec<(String, String)>);

/// The callback of a scan for every row.
pub(super) type Each<'e> = dyn FnMut(Row<'_>) -> dcfs_core::error::Result<()> + 'e;

/// The object that a row names in one File column.
#[derive(Debug)]
pub(super) enum Found {
    Object(Object),
    /// The row exists and names no object.
    Nothing,
    NoRow,
}

/// The number of rows, and the first and last id; all zero if there are none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub rows: u64,
    pub first: i64,
    pub last: i64,
}

impl Extent {
    /// The number of rows, if ids from `first` to `last` without gaps match the recorded count.
    pub fn dense(of: &VersionInfo, first: i64, last: i64) -> Option<u64> {
        let dense = last.abs_diff(first).checked_add(1)?;
        of.rows.filter(|rows| *rows == dense)
    }
}

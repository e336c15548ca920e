//! The half of a catalog that holds rows: a table for each version.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use roaring::{RoaringBitmap, RoaringTreemap};

use super::error::Error;
use super::{EachRow, Row, VersionInfo};
use dcfs_core::expr::Column;
use dcfs_core::expr::sql::{Remote, Sql};
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use dcfs_core::schema::FileColumn;

/// What the rows of versions answer. Each method is described where [`super::Catalog`] has it.
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

    /// How an engine beside the rows keeps a column, if it can be told filters about it.
    fn remote(&self, _of: &VersionInfo, _column: &Column) -> Option<Remote> {
        None
    }

    /// Bytes of some columns, as they travel; `None` where they do not.
    fn fetched(&self, _of: &VersionInfo, _columns: &[&str]) -> Option<u64> {
        None
    }

    /// The rows for which such a filter is true; `first` is the first id where ids have no gaps.
    fn matching(
        &self,
        _of: &VersionInfo,
        _filter: &Sql,
        _first: Option<RowId>,
    ) -> Result<Option<Matching>, Error> {
        Ok(None)
    }
}

/// Rows that an engine beside them found.
#[derive(Clone, Debug, PartialEq)]
pub enum Matching {
    /// By their place in the order of ids, counted from 0.
    Ordinals(RoaringBitmap),
    /// By their ids.
    Ids(RoaringTreemap),
}

/// `feature_schema`, `schema`, and the columns of the table with their types, as [`dcfs_core::schema::Schema::parse`]
/// takes them.
pub(super) type SchemaTexts = (String, String, Vec<(String, String)>);

/// What a scan calls for every row.
pub(super) type Each<'e> = dyn FnMut(Row<'_>) -> dcfs_core::error::Result<()> + 'e;

/// What a row names in one File column.
#[derive(Debug)]
pub(super) enum Found {
    Object(Object),
    /// The row is there and names no object.
    Nothing,
    NoRow,
}

/// How many rows there are, and between which ids; all zero for none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub rows: u64,
    pub first: i64,
    pub last: i64,
}

impl Extent {
    /// The number of rows where ids from `first` to `last` without gaps are as many as the version says.
    pub fn dense(of: &VersionInfo, first: i64, last: i64) -> Option<u64> {
        let dense = last.abs_diff(first).checked_add(1)?;
        of.rows.filter(|rows| *rows == dense)
    }
}

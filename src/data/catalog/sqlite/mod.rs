//! A catalog in one SQLite file: metastore and warehouse in one, as DataChain keeps it on a single
//! machine.
//!
//! | file | contents |
//! |---|---|
//! | `connect` | connections, and whether the file is still the same |
//! | `ask` | queries to the tables of names |
//! | `rows` | the objects that rows name |
//! | `cells` | the cells of rows, column by column |
//! | `bounds` | limits for a query |
//! | `cell` | cells of any type |

mod ask;
pub(super) mod bounds;
pub(super) mod cell;
mod cells;
pub(super) mod connect;
pub(super) mod rows;

use std::ops::RangeInclusive;
use std::sync::Arc;

use connect::Pool;

use super::error::Error;
use super::warehouse::{Each, Extent, Found, SchemaTexts, Warehouse};
use super::{EachRow, VersionInfo};
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use dcfs_core::schema::FileColumn;

/// The row tables of a SQLite file. Each method is one short transaction.
#[derive(Debug)]
pub(super) struct Rows(pub Arc<Pool>);

impl Warehouse for Rows {
    fn schema_texts(&self, of: &VersionInfo) -> Result<SchemaTexts, Error> {
        rows::read(&self.0, of, |table| table.schema_texts())
    }

    fn examples(
        &self,
        of: &VersionInfo,
        rows: Option<&[RowId]>,
        most: usize,
    ) -> Result<Vec<(String, String)>, Error> {
        rows::read(&self.0, of, |table| table.examples(rows, most))
    }

    fn scan(
        &self,
        of: &VersionInfo,
        columns: &[FileColumn],
        within: RangeInclusive<RowId>,
        each: &mut Each<'_>,
    ) -> Result<(), Error> {
        rows::scan(&self.0, of, columns, within, each)
    }

    fn forget_pages(&self) -> Result<(), Error> {
        self.0.read(|connection| Ok(connection.execute_batch("PRAGMA shrink_memory")?))
    }

    fn cells(
        &self,
        of: &VersionInfo,
        columns: &[String],
        ranges: &mut dyn Iterator<Item = RangeInclusive<RowId>>,
        each: &mut EachRow<'_>,
    ) -> Result<(), Error> {
        cells::scan(&self.0, of, columns, ranges, each)
    }

    fn extent(&self, of: &VersionInfo) -> Result<Extent, Error> {
        rows::read(&self.0, of, |table| {
            let Some((first, last)) = table.ends()? else { return Ok(Extent::default()) };
            let rows = match Extent::dense(of, first, last) {
                Some(rows) => rows,
                None => table.count()?,
            };
            Ok(Extent { rows, first, last })
        })
    }

    fn object(&self, of: &VersionInfo, column: &FileColumn, row: RowId) -> Result<Found, Error> {
        rows::read(&self.0, of, |table| table.object(column, row))
    }

    fn objects(
        &self,
        of: &VersionInfo,
        column: &FileColumn,
        rows: &[RowId],
    ) -> Result<Vec<Option<Object>>, Error> {
        rows::read(&self.0, of, |table| table.objects(column, rows))
    }
}

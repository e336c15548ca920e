//! Reads the cells of any columns for the rows of any ranges, in short transactions.

use std::ops::RangeInclusive;

use rusqlite::Row as SqlRow;
use rusqlite::types::ValueRef;

use super::connect::Pool;
use super::rows::{SLICE, Table, patiently};
use crate::catalog::error::Error;
use crate::catalog::{EachRow, VersionInfo};
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::id::RowId;

/// See [`crate::catalog::Catalog::cells`].
pub(in crate::catalog) fn scan(
    pool: &Pool,
    of: &VersionInfo,
    columns: &[String],
    ranges: &mut dyn Iterator<Item = RangeInclusive<RowId>>,
    each: &mut EachRow<'_>,
) -> Result<(), Error> {
    let mut left = Left { current: ranges.next(), more: ranges };
    while left.current.is_some() {
        patiently(|| {
            pool.read_once(|connection| {
                slice(&Table::of(connection, of)?, columns, &mut left, each)
            })
        })?;
    }
    Ok(())
}

/// The rest of a scan; nothing is left if `current` is `None`.
struct Left<'r> {
    current: Option<RangeInclusive<RowId>>,
    more: &'r mut dyn Iterator<Item = RangeInclusive<RowId>>,
}

impl Left<'_> {
    /// Removes the row `id` from the current range.
    fn take(&mut self, id: i64) {
        self.current = self.current.take().and_then(|range| {
            let next = id.checked_add(1).filter(|next| *next <= range.end().key())?;
            Some(RowId::new(next)..=*range.end())
        });
    }
}

/// Passes on rows until [`SLICE`] rows, or as many ranges, are done.
fn slice(
    table: &Table<'_>,
    columns: &[String],
    left: &mut Left<'_>,
    each: &mut EachRow<'_>,
) -> Result<(), Error> {
    let known = table.columns()?;
    let mut list = vec!["t.sys__id".to_owned()];
    list.extend(columns.iter().map(|name| known.or_null("t", name)));
    let rest = "WHERE t.sys__id BETWEEN ?1 AND ?2 ORDER BY t.sys__id";
    let mut statement = table.prepare(&list, rest)?;
    let mut room = SLICE;
    while room > 0
        && let Some(range) = left.current.clone()
    {
        let mut rows = statement.query([range.start().key(), range.end().key()])?;
        while room > 0
            && let Some(row) = rows.next()?
        {
            room -= 1;
            let id = row.get(0)?;
            left.take(id);
            if each(RowId::new(id), &Found(row)).map_err(Error::Caller)?.is_break() {
                left.current = None;
                return Ok(());
            }
        }
        if room > 0 || left.current.is_none() {
            left.current = left.more.next();
            // A range costs about as much as a row, and may contain none.
            room = room.saturating_sub(1);
        }
    }
    Ok(())
}

/// A row of the result: its id, then the cells.
struct Found<'a, 'r>(&'a SqlRow<'r>);

impl Cells for Found<'_, '_> {
    fn cell(&self, index: usize) -> Cell<'_> {
        match self.0.get_ref(index + 1) {
            Ok(ValueRef::Integer(n)) => Cell::Integer(n),
            Ok(ValueRef::Real(x)) => Cell::Real(x),
            Ok(ValueRef::Text(text)) => Cell::Text(text),
            Ok(ValueRef::Blob(bytes)) => Cell::Blob(bytes),
            Ok(ValueRef::Null) | Err(_) => Cell::Null,
        }
    }
}

//! What the rows of a version are, as a digest that does not depend on where they are kept.
//!
//! Cells are hashed as ClickHouse would be sent them: what is one value in two catalogs (`1` and `1.0` in a column of
//! floats, times with and without their microseconds, a list that is NULL and an empty one) is one there.

use sha2::{Digest as _, Sha256};

use super::split::Column;
use super::{Catalog, Digest, VersionInfo};
use crate::catalog::error::Error;
use dcfs_core::cell::Cell;
use dcfs_core::error::Result;
use dcfs_core::id::RowId;
use dcfs_core::schema::Layout;
use std::ops::ControlFlow;

/// The number of rows of a version, and the digest of their ids, random numbers and cells.
///
/// # Errors
/// As [`Catalog::cells`]; a cell that is not of its column's type.
pub fn of(
    catalog: &Catalog,
    of: &VersionInfo,
    layout: &Layout,
    each: &dyn Fn(u64),
) -> Result<(u64, Digest)> {
    let columns = Column::all(layout);
    let names: Vec<String> = std::iter::once("sys__rand".into())
        .chain(layout.columns.iter().map(|c| c.name.clone()))
        .collect();
    let (mut rows, mut hasher, mut row) = (0, Sha256::new(), Vec::new());
    catalog.cells(of, &names, &mut std::iter::once(RowId::ALL), &mut |id, cells| {
        row.clear();
        row.extend(id.key().to_le_bytes());
        if let Cell::Integer(rand) = cells.cell(0) {
            row.extend(rand.to_le_bytes());
        }
        for (at, column) in columns.iter().enumerate() {
            column.put(&cells.cell(at + 1), &mut row).map_err(Error::from)?;
        }
        hasher.update(&row);
        rows += 1;
        if rows % 65_536 == 0 {
            each(rows);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((rows, hasher.finalize().into()))
}

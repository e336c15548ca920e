//! Digests of rows that do not depend on the database that holds them.
//!
//! Cells are hashed as ClickHouse would be sent them: what is one value in two catalogs (`1` and `1.0` in a column of
//! floats, times with and without their microseconds, a list that is NULL and an empty one) is one there.

use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use super::split::Column;
use super::{Catalog, Digest, VersionInfo};
use crate::catalog::error::Error;
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::error::Result;
use dcfs_core::id::RowId;
use dcfs_core::schema::Layout;

/// Rows between calls of whoever watches.
const TOLD: u64 = 65_536;

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
    let mut hashed = Hashed::new(layout);
    let names = columns(layout);
    catalog.cells(of, &names, &mut std::iter::once(RowId::ALL), &mut |id, cells| {
        hashed.add(id.key(), cells, each)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(hashed.end())
}

/// The columns whose cells [`Hashed::add`] takes, in their order.
pub(super) fn columns(layout: &Layout) -> Vec<String> {
    let own = layout.columns.iter().map(|column| column.name.clone());
    std::iter::once("sys__rand".to_owned()).chain(own).collect()
}

/// A digest of rows that are handed over in the order of their ids.
pub(super) struct Hashed {
    columns: Vec<Column>,
    hasher: Sha256,
    row: Vec<u8>,
    rows: u64,
}

impl Hashed {
    pub fn new(layout: &Layout) -> Self {
        Self { columns: Column::all(layout), hasher: Sha256::new(), row: Vec::new(), rows: 0 }
    }

    /// Adds a row: its id, and a cell for each of [`columns`]. Tells `each` the rows so far, now and then.
    pub fn add(&mut self, id: i64, cells: &dyn Cells, each: &dyn Fn(u64)) -> Result<(), Error> {
        self.row.clear();
        self.row.extend(id.to_le_bytes());
        if let Cell::Integer(rand) = cells.cell(0) {
            self.row.extend(rand.to_le_bytes());
        }
        for (at, column) in self.columns.iter().enumerate() {
            column.put(&cells.cell(at + 1), &mut self.row)?;
        }
        self.hasher.update(&self.row);
        self.rows += 1;
        if self.rows.is_multiple_of(TOLD) {
            each(self.rows);
        }
        Ok(())
    }

    pub fn end(self) -> (u64, Digest) {
        (self.rows, self.hasher.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use dcfs_core::schema::NewColumn;

    #[test]
    fn a_digest_tells_ids_and_cells_apart_and_not_how_they_are_kept() {
        let column = NewColumn { name: "x".into(), declared: "FLOAT" };
        let layout = Layout { columns: vec![column], ..Layout::default() };
        assert_eq!(columns(&layout), ["sys__rand", "x"]);
        let of = |id: i64, rand: i64, x: Cell<'_>| {
            let mut hashed = Hashed::new(&layout);
            let cells = [Cell::Integer(rand), x];
            hashed.add(id, &&cells[..], &|_| ()).expect("a row");
            hashed.end()
        };
        let wanted = of(1, 2, Cell::Real(1.0));
        assert_eq!(wanted.0, 1);
        assert_eq!(of(1, 2, Cell::Integer(1)), wanted);
        for other in [of(2, 2, Cell::Real(1.0)), of(1, 3, Cell::Real(1.0)), of(1, 2, Cell::Null)] {
            assert_ne!(other, wanted);
        }
    }
}

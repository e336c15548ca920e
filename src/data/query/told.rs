//! Conditions that the catalog's database engine evaluates, if it has one: the engine returns a set
//! of rows, and no column is transferred.
//!
//! A term whose columns are all packed already is evaluated here, at nanoseconds per row; so is a
//! term that does not mean exactly the same there.

use super::{Error, Version};
use crate::catalog::Matching;
use crate::pack::{Ordinals, RowIds};
use dcfs_core::error::Result;
use dcfs_core::expr::Expr;
use dcfs_core::expr::sql::Split;

/// Splits a filter; `None` if all of it is evaluated here.
pub fn split(version: Version<'_>, filter: &Expr) -> Option<Split> {
    let stays = |term: &Expr| {
        let mut is_here = true;
        term.each_column(&mut |column| is_here &= version.pack.is_packed(column));
        is_here
    };
    version.catalog.split(version.of, filter, &stays)
}

/// The rows of the engine's part.
pub fn rows(version: Version<'_>, split: &Split) -> Result<Option<Ordinals>> {
    let Version { catalog, of, pack, .. } = version;
    let rows = match catalog.matching(of, &split.sql, pack.first_of_all())? {
        None => return Ok(None),
        Some(Matching::Ordinals(rows)) => rows,
        Some(Matching::Ids(ids)) => {
            let ids = ids.iter().filter_map(|id| i64::try_from(id).ok());
            ordinals(pack.ids()?, ids).ok_or(Error::Damaged)?
        }
    };
    // Rows that the pack does not have come from a different table than the one it was built from.
    if rows.max().is_some_and(|last| last >= pack.row_count()) {
        return Err(Error::Damaged.into());
    }
    Ok(Some(rows))
}

/// Ascending ids as ordinals; `None` if the pack lacks one.
fn ordinals(known: &RowIds, ids: impl Iterator<Item = i64>) -> Option<Ordinals> {
    ids.map(|id| known.find(dcfs_core::id::RowId::new(id))).collect()
}

//! Conditions that an engine beside the rows is told, where the catalog has one: it answers with a set of rows, and no
//! column travels.
//!
//! A term whose columns are all packed already stays here, where it costs nanoseconds a row; so does a term that does not
//! mean exactly the same there.

use super::{Error, Version};
use crate::catalog::Matching;
use crate::pack::{Ordinals, Pack};
use dcfs_core::error::Result;
use dcfs_core::expr::Expr;
use dcfs_core::expr::sql::Split;

/// Takes a filter apart; `None` where all of it is evaluated here.
pub fn split(version: Version<'_>, filter: &Expr) -> Option<Split> {
    let stays = |term: &Expr| {
        let mut is_here = true;
        term.each_column(&mut |column| is_here &= version.pack.is_packed(column));
        is_here
    };
    version.catalog.split(version.of, filter, &stays)
}

/// The rows of what was told.
pub fn rows(version: Version<'_>, split: &Split) -> Result<Option<Ordinals>> {
    let Version { catalog, of, pack, .. } = version;
    let rows = match catalog.matching(of, &split.sql, pack.first_of_all())? {
        None => return Ok(None),
        Some(Matching::Ordinals(rows)) => rows,
        Some(Matching::Ids(ids)) => {
            let ids = ids.iter().filter_map(|id| i64::try_from(id).ok());
            ordinals(pack, ids).ok_or(Error::Damaged)?
        }
    };
    // Rows that the pack does not know are of another table than it was made from.
    if rows.max().is_some_and(|last| last >= pack.row_count()) {
        return Err(Error::Damaged.into());
    }
    Ok(Some(rows))
}

/// Ids that rise, as ordinals; `None` where the pack lacks one.
fn ordinals(pack: &Pack, ids: impl Iterator<Item = i64>) -> Option<Ordinals> {
    ids.map(|id| pack.ordinal(dcfs_core::id::RowId::new(id))).collect()
}

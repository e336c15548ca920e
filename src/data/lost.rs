//! Filters and columns that a version lost: the message names another version of the dataset that
//! has the column.
//!
//! A column disappears when a version is saved without it, and a filter that worked yesterday now
//! fails with an unknown column. The newest version that has it is what the user needs to know.

use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::{self, Query};
use dcfs_core::schema::Schema;

/// The most versions whose columns are read, newest first: a dataset may have thousands.
const MOST: usize = 50;

/// [`expr::check`], whose message also names a version that has the column that `of` lacks. Queries
/// the catalog only if the filter is wrong.
///
/// # Errors
/// A wrong filter.
pub fn check(catalog: &Catalog, of: &VersionInfo, schema: &Schema, filter: &str) -> Result<Query> {
    expr::check(filter, schema).map_err(|error| match &error.unknown {
        Some(column) => {
            let hint = hint(catalog, of, column).unwrap_or_default();
            error.with_hint(&hint).into()
        }
        None => error.into(),
    })
}

/// [`Schema::select`], with the same addition to its message.
///
/// # Errors
/// A name that no column has.
pub fn select(
    (catalog, of): (&Catalog, &VersionInfo),
    schema: &Schema,
    (names, others): (&[&str], &[&str]),
) -> Result<Schema> {
    schema.select(names, others).map_err(|unknown| {
        let hint = hint(catalog, of, &unknown.wanted).unwrap_or_default();
        Error::new(Kind::Invalid, format!("{unknown}{hint}"))
    })
}

/// A hint that another version has the column; `None` if none has, or the catalog cannot be read.
fn hint(catalog: &Catalog, of: &VersionInfo, column: &str) -> Option<String> {
    let mut others = catalog.versions().ok()?;
    others.retain(|other| other.dataset == of.dataset && other.version != of.version);
    others.sort_by_key(|other| std::cmp::Reverse(other.version));
    // A path component is not a column of its own: every version with the path has it.
    let has = |other: &&VersionInfo| catalog.schema(other).is_ok_and(|schema| schema.has(column));
    let found = others.iter().take(MOST).find(has)?;
    Some(format!(" (`{found}` has it, `{of}` has not)"))
}

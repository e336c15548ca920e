//! Filters and columns that this version lost: a message that names another version of the dataset that has the column.
//!
//! A column goes where a version is saved without it, and a filter that worked yesterday is told today that there is no such
//! column. The newest version that has it is what the person wants to know.

use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::{self, Query};
use dcfs_core::schema::Schema;

/// Versions whose columns are read, newest first: a dataset may have thousands.
const MOST: usize = 50;

/// [`expr::check`], whose message names a version that has a column which `of` lacks. Asks the catalog only where the filter is
/// wrong.
///
/// # Errors
/// What is wrong with the filter.
pub fn check(catalog: &Catalog, of: &VersionInfo, schema: &Schema, filter: &str) -> Result<Query> {
    expr::check(filter, schema).map_err(|error| match &error.unknown {
        Some(column) => {
            let hint = hint(catalog, of, column).unwrap_or_default();
            error.with_hint(&hint).into()
        }
        None => error.into(),
    })
}

/// [`Schema::select`], with the same in its message.
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

/// That another version has the column; `None` where none has, or the catalog does not say.
fn hint(catalog: &Catalog, of: &VersionInfo, column: &str) -> Option<String> {
    let mut others = catalog.versions().ok()?;
    others.retain(|other| other.dataset == of.dataset && other.version != of.version);
    others.sort_by_key(|other| std::cmp::Reverse(other.version));
    // A part of a path is no column of its own, and no version lacks it that has the path.
    let has = |other: &&VersionInfo| catalog.schema(other).is_ok_and(|schema| schema.has(column));
    let found = others.iter().take(MOST).find(has)?;
    Some(format!(" (`{found}` has it, `{of}` has not)"))
}

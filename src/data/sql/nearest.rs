//! The nearest rows of one version for each row of another, as a table that a statement joins.

use std::sync::Arc;
use std::time::Instant;

use super::engine::{Engine, Error, Limits};
use crate::catalog::{Catalog, VersionInfo};
use crate::pack::Pack;
use crate::query;
use dcfs_core::error::{self, Kind, Result};
use dcfs_core::expr::{self, Column, Fault, Form};
use dcfs_core::sql::{Nearest, SqlColumn};

/// The most pairs of a table.
const MOST: usize = 1 << 24;

/// A version and its pack.
type Side<'s> = (&'s VersionInfo, &'s Arc<Pack>);

/// Finds the pairs and gives them to the engine as table `number`.
///
/// # Errors
/// [`Error::TooLong`]; more than [`MOST`] pairs; what the catalog and the packs say.
pub fn fill(
    engine: &Engine,
    number: usize,
    nearest: &Nearest,
    catalog: &Catalog,
    [to, of]: [Side<'_>; 2],
    limits: Limits,
) -> Result<()> {
    let count = to.1.row_count() as usize;
    if count.saturating_mul(nearest.k) > MOST {
        let message = format!(
            "nearest rows of {count} rows are more than {MOST} pairs; ask for fewer, or of fewer rows"
        );
        return Err(error::Error::new(Kind::Invalid, message));
    }
    let vectors = |column: &SqlColumn| {
        let (name, database) = (column.name.clone(), column.column.clone());
        let value = column.value.clone();
        Arc::new(Column { name, column: database, value, form: Form::Vector })
    };
    let hold = |(version, pack): Side<'_>, column: &SqlColumn| {
        let wanted = [vectors(column)];
        let asked: Vec<_> = wanted.iter().collect();
        Ok::<_, error::Error>(pack.packed(catalog, version, &asked, &|_| {})?.hold(pack, &wanted))
    };
    let (queries, all) = (hold(to, &nearest.to.1)?, hold(of, &nearest.of.1)?);
    let until = Instant::now() + limits.time;
    let goes_on = || Instant::now() < until;
    let found = expr::nearest(&queries.get(0), &all.get(0), nearest.metric, nearest.k, &goes_on);
    let found = found.map_err(|fault| match fault {
        Fault::Cancelled => Error::TooLong(limits.time).into(),
        fault => error::Error::from(query::Error::from(fault)),
    })?;
    let id = |pack: &Pack, row: usize| pack.row_id(row as u32).map_or(0, |id| id.key());
    let rows = found.iter().enumerate().flat_map(|(row, near)| {
        let own = id(to.1, row);
        near.iter()
            .enumerate()
            .map(move |(rank, near)| [own, rank as i64 + 1, id(of.1, near.row as usize)])
    });
    engine.pairs(number, rows)
}

//! The nearest rows of one version for each row of another, as a table that a statement joins.

use std::sync::Arc;
use std::time::Instant;

use super::engine::{Engine, Error, Limits};
use crate::catalog::{Catalog, VersionInfo};
use crate::pack::{Pack, RowIds};
use crate::query;
use dcfs_core::cancel::{self, Flag};
use dcfs_core::error::{self, Kind, Result};
use dcfs_core::expr::{self, Column, Fault, Form};
use dcfs_core::sql::{Nearest, SqlColumn};

/// The most pairs of a table, if the limits allow as many.
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
    limits.check()?;
    let count = to.1.row_count() as usize;
    let most = usize::try_from(limits.pairs).unwrap_or(MOST).min(MOST);
    if count.saturating_mul(nearest.k) > most {
        let message = format!(
            "nearest rows of {count} rows are more than {most} pairs; ask for fewer, or of fewer rows"
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
    let (until, flag) = (limits.deadline(), cancel::current());
    let goes_on = || {
        !flag.as_ref().is_some_and(Flag::is_set) && until.is_none_or(|until| Instant::now() < until)
    };
    let found = expr::nearest(&queries.get(0), &all.get(0), nearest.metric, nearest.k, &goes_on);
    let found = found.map_err(|fault| match fault {
        Fault::Cancelled => {
            cancel::check().err().unwrap_or_else(|| Error::TooLong(limits.time).into())
        }
        fault => error::Error::from(query::Error::from(fault)),
    })?;
    let (of_ids, to_ids) = (of.1.ids()?, to.1.ids()?);
    let id = |ids: &RowIds, row: usize| ids.get(row as u32).map_or(0, |id| id.key());
    let rows = found.iter().enumerate().flat_map(|(row, near)| {
        let own = id(to_ids, row);
        near.iter()
            .enumerate()
            .map(move |(rank, near)| [own, rank as i64 + 1, id(of_ids, near.row as usize)])
    });
    engine.pairs(number, rows)
}

//! Evaluates conditions and orders over packed columns.

use std::sync::Arc;

use super::prefix::{self, Split};
use super::target::{self, Targets};
use super::{Error, Ranking, Version, told, type_of};
use crate::pack::columns::Open;
use crate::pack::{Ordinals, Pack};
use dcfs_core::error::Result;
use dcfs_core::expr::packed::Packed;
use dcfs_core::expr::{self, Column, Columns, Expr, Query, Target, Val};
use dcfs_core::schema::ValueType;
use dcfs_core::time::Timestamp;

/// The opened columns of one filter.
struct Bound<'p> {
    open: Open<'p>,
    targets: Targets,
}

impl Columns for Bound<'_> {
    fn rows(&self) -> usize {
        self.open.rows()
    }

    fn packed(&self, column: &Arc<Column>) -> Packed<'_> {
        self.open.get(column)
    }

    fn target(&self, column: &Column, target: &Target) -> Option<Vec<f64>> {
        self.targets.get(column, target)
    }
}

/// Every row.
pub fn all(pack: &Pack) -> Ordinals {
    let mut rows = Ordinals::new();
    rows.insert_range(0..pack.row_count());
    rows
}

/// Skips `offset` rows and takes the next `limit`.
pub fn slice(rows: &Ordinals, offset: u64, limit: u64) -> Ordinals {
    let place = |rank: u64| u32::try_from(rank).ok().and_then(|rank| rows.select(rank));
    let Some(first) = place(offset) else { return Ordinals::new() };
    let mut slice = rows.clone();
    slice.remove_range(0..first);
    if let Some(end) = place(offset.saturating_add(limit)) {
        slice.remove_range(end..);
    }
    slice
}

/// The rows for which a condition is true.
pub fn rows(version: Version<'_>, filter: &Expr) -> Result<Ordinals> {
    match prefix::split(version, filter)? {
        Some(Split { rows, rest: None }) => Ok(rows),
        Some(Split { rows, rest: Some(rest) }) => evaluate(version, &rest, Some(&rows)),
        None => evaluate(version, filter, None),
    }
}

/// The same for all rows or those `within`, with the help of a database engine as far as possible.
fn evaluate(version: Version<'_>, filter: &Expr, within: Option<&Ordinals>) -> Result<Ordinals> {
    let Some(split) = told::split(version, filter) else { return here(version, filter, within) };
    let Some(mut rows) = told::rows(version, &split)? else { return here(version, filter, within) };
    if let Some(within) = within {
        rows &= within;
    }
    match &split.rest {
        Some(rest) if !rows.is_empty() => here(version, rest, Some(&rows)),
        _ => Ok(rows),
    }
}

/// The same over packed columns only.
fn here(version: Version<'_>, filter: &Expr, within: Option<&Ordinals>) -> Result<Ordinals> {
    let mut columns = Vec::new();
    filter.each_column(&mut |column| columns.push(column));
    let bound = bind(version, &columns, &[filter])?;
    Ok(expr::rows(filter, &bound, within).map_err(|fault| failed(&bound, fault))?)
}

/// Some rows in the order of a query, from its offset up to its limit.
pub fn ranking(version: Version<'_>, query: &Query, rows: &Ordinals) -> Result<Ranking> {
    let keys: Vec<&Expr> = query.order.iter().map(|key| &key.by).collect();
    let mut columns = Vec::new();
    keys.iter().for_each(|key| key.each_column(&mut |column| columns.push(column)));
    let bound = bind(version, &columns, &keys)?;
    let most = query.limit.map_or(u64::MAX, |limit| limit.saturating_add(query.offset));
    let ranked = expr::rank(&query.order, most, &bound, Some(rows));
    let mut rows = ranked.map_err(|fault| failed(&bound, fault))?.ok_or(Error::TooManyRows)?;
    let offset = usize::try_from(query.offset).unwrap_or(usize::MAX).min(rows.len());
    rows.drain(..offset);
    rows.shrink_to_fit();
    let key = type_of(keys[0]);
    if key == ValueType::Time {
        rows.iter_mut().for_each(|ranked| ranked.key = as_text(&ranked.key));
    }
    Ok(Ranking { rows, key, offset: query.offset })
}

/// A datetime in the text form of tables.
fn as_text(key: &Val<'_>) -> Val<'static> {
    match key {
        Val::Int(micros) => Val::Text(Timestamp::from_micros(*micros).fixed().into_bytes().into()),
        _ => Val::Null,
    }
}

/// Opens the columns, packing missing ones, and finds the targets of distances.
fn bind<'p>(version: Version<'p>, columns: &[&Arc<Column>], exprs: &[&Expr]) -> Result<Bound<'p>> {
    let open = version.pack.packed(version.catalog, version.of, columns, version.each)?;
    let targets = target::find(version, &open, exprs)?;
    Ok(Bound { open, targets })
}

fn failed(bound: &Bound<'_>, fault: expr::Fault) -> Error {
    if fault == expr::Fault::Damaged {
        bound.open.distrust();
    }
    fault.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_some_of_the_rows_in_order() {
        let rows: Ordinals = [1, 4, 9, 70_000].into_iter().collect();
        let cases: [(u64, u64, &[u32]); 7] = [
            (0, 2, &[1, 4]),
            (1, 2, &[4, 9]),
            (3, 9, &[70_000]),
            (4, 9, &[]),
            (0, 0, &[]),
            (0, u64::MAX, &[1, 4, 9, 70_000]),
            (u64::MAX, u64::MAX, &[]),
        ];
        for (offset, limit, want) in cases {
            let found: Vec<u32> = slice(&rows, offset, limit).into_iter().collect();
            assert_eq!(found, want, "{limit} after {offset}");
        }
    }
}

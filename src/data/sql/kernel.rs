//! Groups of the rows of a version, by the loops of `expr` over its packed columns.

use std::sync::Arc;

use super::table::{BytesOf, TableColumns};
use crate::catalog::{Catalog, VersionInfo};
use crate::pack::{Ordinals, Pack};
use crate::query::{self, Queries, Version};
use dcfs_core::error::Result;
use dcfs_core::expr::{self, Fold, Group, Operand, Query, Ungrouped};
use dcfs_core::sql::{FoldKind, Grouped, SqlColumn};

/// The most groups that each thread holds in memory: some 100 bytes each, with what is added up in them. More are for
/// SQLite, which sorts on the disk.
const MOST: usize = 1 << 20;

/// The groups of a statement over one version. `None` where there are too many, or a sum is too large: SQLite then says
/// what it says.
///
/// # Errors
/// What the filter, the pack and the catalog say.
pub fn groups(
    (catalog, of): (&Catalog, &VersionInfo),
    pack: &Arc<Pack>,
    filter: Option<&Query>,
    grouped: &Grouped,
) -> Result<Option<Vec<Group>>> {
    let version = Version { catalog, of, pack, each: &|_| {} };
    let within =
        filter.map(|query| Queries::for_a_command().select(version, query, None)).transpose()?;
    let within = within.map(|selected| selected.rows);
    of_rows((catalog, of), pack, within.as_deref(), &grouped.keys, &grouped.folds)
}

/// The groups of some rows of a version, or of all.
///
/// # Errors
/// As [`groups`].
pub fn of_rows(
    (catalog, of): (&Catalog, &VersionInfo),
    pack: &Arc<Pack>,
    within: Option<&Ordinals>,
    keys: &[SqlColumn],
    folds: &[(FoldKind, Option<SqlColumn>)],
) -> Result<Option<Vec<Group>>> {
    let operands = folds.iter().filter_map(|(_, column)| column.clone());
    let columns: Vec<SqlColumn> = keys.iter().cloned().chain(operands).collect();
    let wanted: Vec<_> = columns.iter().map(TableColumns::form).collect();
    let asked: Vec<_> = wanted.iter().collect();
    let held = pack.packed(catalog, of, &asked, &|_| {})?.hold(pack, &wanted);
    let table = TableColumns::new(columns, held, BytesOf(Box::new(|_, _| Ok(None))));
    let keys: Vec<Operand> = keys.iter().map(TableColumns::operand).collect();
    let folds: Vec<Fold> = folds.iter().map(fold).collect();
    match expr::group(&table, within, &keys, &folds, MOST) {
        Ok(groups) => Ok(Some(groups)),
        Err(Ungrouped::TooMany(_) | Ungrouped::Overflow) => Ok(None),
        Err(Ungrouped::Fault(fault)) => Err(query::Error::from(fault).into()),
    }
}

fn fold((kind, column): &(FoldKind, Option<SqlColumn>)) -> Fold {
    let Some(of) = column.as_ref().map(TableColumns::operand) else { return Fold::Rows };
    match kind {
        FoldKind::Rows => Fold::Rows,
        FoldKind::Count => Fold::Count(of),
        FoldKind::Sum => Fold::Sum(of),
        FoldKind::Mean => Fold::Mean(of),
        FoldKind::Least => Fold::Least(of),
        FoldKind::Greatest => Fold::Greatest(of),
    }
}

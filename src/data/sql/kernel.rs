//! Groups the rows of a version with the kernels of `expr` over its packed columns.

use std::sync::Arc;

use super::engine::Limits;
use super::join::{self, Joined, Side};
use super::table::{BytesOf, TableColumns};
use crate::catalog::{Catalog, VersionInfo};
use crate::pack::{Ordinals, Pack};
use crate::query::{self, Queries, Version};
use dcfs_core::error::Result;
use dcfs_core::expr::{self, Column, Fold, Group, Operand, Query, Ungrouped};
use dcfs_core::sql::{FoldKind, Grouped, Of, SqlColumn};

/// The most groups that each thread holds in memory: some 100 bytes each, with their aggregates. If
/// there are more, SQLite groups, which sorts on the disk.
pub(super) const MOST: usize = 1 << 20;

/// A version that a statement reads, and its filter.
#[derive(Clone, Copy)]
pub struct Taking<'t> {
    pub catalog: &'t Catalog,
    pub of: &'t VersionInfo,
    pub pack: &'t Arc<Pack>,
    pub filter: Option<&'t Query>,
}

impl Taking<'_> {
    /// The rows that pass the filter; `None` for all.
    fn within(&self) -> Result<Option<Arc<Ordinals>>> {
        let version =
            Version { catalog: self.catalog, of: self.of, pack: self.pack, each: &|_| {} };
        let queries = Queries::for_a_command();
        let selected = self.filter.map(|query| queries.select(version, query, None)).transpose()?;
        Ok(selected.map(|selected| selected.rows))
    }

    fn table(&self, columns: Vec<SqlColumn>) -> Result<TableColumns> {
        let wanted: Vec<_> = columns.iter().map(TableColumns::form).collect();
        let asked: Vec<_> = wanted.iter().collect();
        let held =
            self.pack.packed(self.catalog, self.of, &asked, &|_| {})?.hold(self.pack, &wanted);
        Ok(TableColumns::new(columns, held, BytesOf(Box::new(|_, _| Ok(None)))))
    }
}

/// The groups of a statement over one version, or a join of two. `None` if there are too many, or a
/// sum overflows: SQLite then answers or reports the error.
///
/// # Errors
/// Errors of the filter, the pack and the catalog; [`super::Error::TooLong`].
pub fn groups(
    taking: &[Taking<'_>],
    grouped: &Grouped,
    limits: &Limits,
) -> Result<Option<Vec<Group>>> {
    limits.check()?;
    match taking {
        [one] => {
            let within = one.within()?;
            limits.check()?;
            of_one(one, within.as_deref(), grouped)
        }
        [first, second] => joined([first, second], grouped, limits),
        _ => Ok(None),
    }
}

/// The groups of rows of the one version that is spoken of.
fn of_one(
    of: &Taking<'_>,
    within: Option<&Ordinals>,
    grouped: &Grouped,
) -> Result<Option<Vec<Group>>> {
    let plain = |of: &Of| of.1.clone();
    let keys: Vec<SqlColumn> = grouped.keys.iter().map(plain).collect();
    let folds: Vec<(FoldKind, Option<SqlColumn>)> =
        grouped.folds.iter().map(|(kind, of)| (*kind, of.as_ref().map(plain))).collect();
    of_rows((of.catalog, of.of), of.pack, within, &keys, &folds)
}

/// The groups of the pairs of a join.
fn joined(
    taking: [&Taking<'_>; 2],
    grouped: &Grouped,
    limits: &Limits,
) -> Result<Option<Vec<Group>>> {
    let operands = grouped.folds.iter().filter_map(|(_, of)| of.as_ref());
    let read: Vec<&Of> = grouped.keys.iter().chain(operands).collect();
    let mut columns: [Vec<SqlColumn>; 2] = Default::default();
    let mut add = |side: usize, column: &SqlColumn| {
        let known = columns[side].iter().position(|own| own == column);
        known.unwrap_or_else(|| {
            columns[side].push(column.clone());
            columns[side].len() - 1
        })
    };
    let on: Vec<(usize, usize)> = grouped.on.iter().map(|(a, b)| (add(0, a), add(1, b))).collect();
    // Two tables may have columns of one name: each is prefixed with the index of its table.
    let named = |of: &Of| {
        let form = TableColumns::form(&of.1);
        Arc::new(Column { name: format!("{}.{}", of.0, form.name), ..(*form).clone() })
    };
    let wanted: Vec<(usize, usize, Arc<Column>)> =
        read.iter().map(|of| (of.0, add(of.0, &of.1), named(of))).collect();
    let [first, second] = columns;
    let tables = [taking[0].table(first)?, taking[1].table(second)?];
    let within = [taking[0].within()?, taking[1].within()?];
    limits.check()?;
    let side =
        |at: usize, on: Vec<usize>| Side { table: &tables[at], within: within[at].as_deref(), on };
    let (left, right) = on.into_iter().unzip();
    let (first, second) = (side(0, left), side(1, right));
    let found = join::pairs(&first, &second, grouped.join, limits)?;
    let Some(mut pairs) = found else { return Ok(None) };
    if grouped.join.is_test() {
        let rows = join::tested(&pairs, grouped.join, &first);
        return of_one(taking[0], Some(&rows), grouped);
    }
    join::add_unmatched(&mut pairs, grouped.join, &first, &second);
    let Some(joined) = Joined::new([&tables[0], &tables[1]], &pairs, &wanted, limits.memory) else {
        return Ok(None);
    };
    limits.check()?;
    let operand = |of: &Of| Operand { column: named(of), part: of.1.part };
    let keys: Vec<Operand> = grouped.keys.iter().map(operand).collect();
    let folds: Vec<Fold> =
        grouped.folds.iter().map(|(kind, of)| fold(*kind, of.as_ref().map(operand))).collect();
    told(expr::group(&joined, None, &keys, &folds, MOST))
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
    let operand = TableColumns::operand;
    let folds: Vec<Fold> =
        folds.iter().map(|(kind, of)| fold(*kind, of.as_ref().map(operand))).collect();
    told(expr::group(&table, within, &keys, &folds, MOST))
}

fn told(groups: Result<Vec<Group>, Ungrouped>) -> Result<Option<Vec<Group>>> {
    match groups {
        Ok(groups) => Ok(Some(groups)),
        Err(Ungrouped::TooMany(_) | Ungrouped::Overflow) => Ok(None),
        Err(Ungrouped::Fault(fault)) => Err(query::Error::from(fault).into()),
    }
}

pub(super) fn fold(kind: FoldKind, of: Option<Operand>) -> Fold {
    let Some(of) = of else { return Fold::Rows };
    match kind {
        FoldKind::Rows => Fold::Rows,
        FoldKind::Count => Fold::Count(of),
        FoldKind::Distinct => Fold::Distinct(of),
        FoldKind::Sum => Fold::Sum(of),
        FoldKind::Mean => Fold::Mean(of),
        FoldKind::Least => Fold::Least(of),
        FoldKind::Greatest => Fold::Greatest(of),
    }
}

//! Groups of rows that the catalog's database engine makes, if it has one: no column is transferred,
//! and no pack is needed.
//!
//! Only what the engine computes exactly as the kernels do; see [`dcfs_core::expr::sql::groups`].

use super::engine::Limits;
use super::kernel::{MOST, fold};
use super::table::TableColumns;
use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::error::{Kind, Result};
use dcfs_core::expr::sql::groups::GroupSql;
use dcfs_core::expr::{self, Fold, Group, Operand};
use dcfs_core::schema::{Schema, ValueType};
use dcfs_core::sql::{Grouped, Of};

/// The question for the engine; `None` if the kernels answer.
pub fn question(
    catalog: &Catalog,
    (of, schema): (&VersionInfo, &Schema),
    grouped: &Grouped,
) -> Option<GroupSql> {
    // A join takes the rows of both sides, which are here.
    let [filter] = &grouped.filters[..] else { return None };
    let keys: Option<Vec<Operand>> = grouped.keys.iter().map(operand).collect();
    let fold_of = |(kind, of): &(_, Option<Of>)| match of {
        Some(of) => Some(fold(*kind, Some(operand(of)?))),
        None => Some(fold(*kind, None)),
    };
    let folds: Option<Vec<Fold>> = grouped.folds.iter().map(fold_of).collect();
    let query = match filter {
        Some(filter) => expr::check(filter, schema).ok().filter(expr::Query::is_plain)?,
        None => expr::Query::default(),
    };
    catalog.grouping(of, (&keys?, &folds?), query.filter.as_ref())
}

/// A column whose values the engine stores as such: lists, JSON and datetimes are texts in SQL.
fn operand(of: &Of) -> Option<Operand> {
    let is_stored =
        matches!(of.1.value, ValueType::Bool | ValueType::Int | ValueType::Float | ValueType::Text);
    is_stored.then(|| TableColumns::operand(&of.1))
}

/// The groups of a statement over one version. `None` if the kernels have to answer: there is no
/// engine, it cannot say the same, there are too many groups, a sum exceeds 64 bits, or it is away.
///
/// # Errors
/// [`super::Error::TooLong`]; an engine that refuses.
pub fn groups(
    catalog: &Catalog,
    of: (&VersionInfo, &Schema),
    grouped: &Grouped,
    limits: &Limits,
) -> Result<Option<Vec<Group>>> {
    let Some(ask) = question(catalog, of, grouped) else { return Ok(None) };
    limits.check()?;
    let groups = match catalog.groups(of.0, &ask, MOST) {
        // What is packed here answers without it.
        Err(error) if matches!(error.kind(), Kind::Broken | Kind::Busy) => {
            tracing::debug!(%error, "the server does not group");
            None
        }
        groups => groups?,
    };
    limits.check()?;
    Ok(groups)
}

//! Groups of rows that the catalog's database engine makes, if it has one: no column is transferred,
//! and no pack is needed. Rows of two versions are joined there too.
//!
//! Only what the engine computes exactly as the kernels do; see [`dcfs_core::expr::sql::groups`].

use std::time::Instant;

use super::engine::{Error, Limits};
use super::kernel::{MOST, fold};
use super::table::TableColumns;
use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::error::{Kind, Result};
use dcfs_core::expr::sql::groups::{GroupSql, Groups, Stays};
use dcfs_core::expr::{self, Fold, Group, Operand, Query};
use dcfs_core::schema::{Schema, ValueType};
use dcfs_core::sql::{Grouped, SqlColumn};

/// The versions of a statement, in the order of its tables.
pub type Versions<'v> = [(&'v VersionInfo, &'v Schema)];

/// The question for the engine, or why the kernels answer; `None` if there is no engine.
pub fn question(
    catalog: &Catalog,
    of: &Versions<'_>,
    grouped: &Grouped,
) -> Option<std::result::Result<GroupSql, Stays>> {
    let asked = queries(of, grouped).and_then(|queries| Ok((queries, Asked::of(grouped)?)));
    let (queries, asked) = match asked {
        Ok(asked) => asked,
        // A file has no engine that could do it.
        Err(stays) => return catalog.fetched(of.first()?.0, &[]).map(|_| Err(stays)),
    };
    let Asked { keys, folds, on } = &asked;
    let join = (of.len() > 1).then(|| (grouped.join, &on[..]));
    let tables: Vec<_> =
        of.iter().zip(&queries).map(|((of, _), query)| (*of, query.filter.as_ref())).collect();
    catalog.grouping(&tables, &Groups { keys, folds, join })
}

/// The filters of the tables.
fn queries(of: &Versions<'_>, grouped: &Grouped) -> std::result::Result<Vec<Query>, Stays> {
    let query = |((_, schema), filter): (&(_, &Schema), &Option<String>)| match filter {
        None => Ok(Query::default()),
        Some(filter) => {
            let query = expr::check(filter, schema).ok().filter(Query::is_plain);
            query.ok_or_else(|| Stays::Condition(filter.clone()))
        }
    };
    of.iter().zip(&grouped.filters).map(query).collect()
}

/// What is asked, in terms of the kernels.
struct Asked {
    keys: Vec<(usize, Operand)>,
    folds: Vec<(usize, Fold)>,
    on: Vec<(Operand, Operand)>,
}

impl Asked {
    fn of(grouped: &Grouped) -> std::result::Result<Self, Stays> {
        let keys = grouped.keys.iter().map(|(table, key)| Ok((*table, operand(key)?)));
        let folds = grouped.folds.iter().map(|(kind, of)| match of {
            Some((table, of)) => Ok((*table, fold(*kind, Some(operand(of)?)))),
            None => Ok((0, fold(*kind, None))),
        });
        let on = grouped.on.iter().map(|(a, b)| Ok((operand(a)?, operand(b)?)));
        Ok(Self {
            keys: keys.collect::<std::result::Result<_, _>>()?,
            folds: folds.collect::<std::result::Result<_, _>>()?,
            on: on.collect::<std::result::Result<_, _>>()?,
        })
    }
}

/// A column whose values the engine stores as such: lists, JSON and datetimes are texts in SQL.
fn operand(of: &SqlColumn) -> std::result::Result<Operand, Stays> {
    match of.value {
        ValueType::Bool | ValueType::Int | ValueType::Float | ValueType::Text => {
            Ok(TableColumns::operand(of))
        }
        ValueType::Time => Err(Stays::Time(of.name.clone())),
        ValueType::Bytes => Err(Stays::Column(of.name.clone())),
        ValueType::List(_) | ValueType::Model(_) | ValueType::Json => {
            Err(Stays::Nested(of.name.clone()))
        }
    }
}

/// The groups of a statement. `None` if the kernels have to answer: there is no engine, it cannot say
/// the same, there are too many groups, a sum exceeds 64 bits, or it is away.
///
/// # Errors
/// [`Error::TooLong`]; an engine that refuses.
pub fn groups(
    catalog: &Catalog,
    of: &Versions<'_>,
    grouped: &Grouped,
    limits: &Limits,
) -> Result<Option<Vec<Group>>> {
    let Some(Ok(ask)) = question(catalog, of, grouped) else { return Ok(None) };
    limits.check()?;
    let until = limits.deadline();
    let versions: Vec<&VersionInfo> = of.iter().map(|(of, _)| *of).collect();
    let groups = match catalog.groups(&versions, &ask, MOST, until) {
        Err(_) if until.is_some_and(|until| Instant::now() >= until) => {
            limits.check()?;
            return Err(Error::TooLong(limits.time).into());
        }
        // What is packed here answers without it.
        Err(error) if matches!(error.kind(), Kind::Broken | Kind::Busy | Kind::NoSpace) => {
            tracing::debug!(%error, "the server does not group");
            None
        }
        groups => groups?,
    };
    limits.check()?;
    Ok(groups)
}

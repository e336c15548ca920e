//! Groups of rows that ClickHouse makes, for statements.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Instant;

use dcfs_core::cell::Cell;
use dcfs_core::expr::sql::groups::{Answered, GroupSql, OWN};
use dcfs_core::expr::{Group, Val};

use super::error::ServerError;
use super::http::{Ask, ClickHouse};
use super::select::few;
use super::table::Table;

/// The groups, in the order of their keys. `None` if there are more than `most`, a sum exceeds 64 bits,
/// or the server shows none where there has to be one.
///
/// # Errors
/// Errors of the server; that it is not done at `until`.
pub fn ask(
    server: &ClickHouse,
    tables: &[Arc<Table>],
    ask: &GroupSql,
    (most, until): (usize, Option<Instant>),
) -> Result<Option<Vec<Group>>, ServerError> {
    let is_own = |table: &Arc<Table>| table.columns.iter().any(|of| of.name.starts_with(OWN));
    if tables.len() != ask.tables() || (tables.len() > 1 && tables.iter().any(is_own)) {
        return Ok(None);
    }
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let sql = ask.statement(&names, most.saturating_add(1)) + " FORMAT RowBinaryWithNamesAndTypes";
    let question = Ask { sql: &sql, parameters: &ask.parameters };
    let answer = server.whole_until(&question, until)?;
    let (mut groups, mut fits) = (Vec::new(), true);
    few(server, &answer, vec![false; ask.width()], &mut |row| {
        let keys = (0..ask.keys).map(|at| value(row.cell(at))).collect();
        let folds = ask.answered.iter().enumerate();
        let folds = folds.map(|(at, how)| folded(*how, row.cell(ask.keys + at)));
        match folds.collect::<Option<Vec<_>>>() {
            Some(folds) => groups.push((keys, folds)),
            None => fits = false,
        }
    })?;
    if !fits || groups.len() > most || (ask.keys == 0 && groups.len() != 1) {
        return Ok(None);
    }
    groups.sort_unstable_by(|(a, _): &Group, (b, _)| {
        let order = a.iter().zip(b).map(|(a, b)| ordered(a, b));
        order.fold(Ordering::Equal, Ordering::then)
    });
    Ok(Some(groups))
}

fn value(cell: Cell<'_>) -> Val<'static> {
    match cell {
        Cell::Null => Val::Null,
        Cell::Integer(n) => Val::Int(n),
        Cell::Real(x) => Val::Real(x),
        Cell::Text(text) | Cell::Blob(text) => Val::Text(text.to_vec().into()),
    }
}

/// The value of an aggregate; `None` if it exceeds 64 bits, or is not what was asked for.
fn folded(how: Answered, cell: Cell<'_>) -> Option<Val<'static>> {
    let text = match (how, cell) {
        (Answered::Value, cell) => return Some(value(cell)),
        (_, Cell::Null) => return Some(Val::Null),
        (_, Cell::Text(text)) => std::str::from_utf8(text).ok()?,
        _ => return None,
    };
    Some(match text.split_once(' ') {
        None => Val::Int(i64::try_from(text.parse::<i128>().ok()?).ok()?),
        // As the kernels divide.
        Some((sum, count)) => {
            Val::Real(sum.parse::<i128>().ok()? as f64 / count.parse::<u64>().ok()? as f64)
        }
    })
}

/// The order of keys: NULL, numbers, texts.
fn ordered(a: &Val<'_>, b: &Val<'_>) -> Ordering {
    let rank = |val: &Val<'_>| match val {
        Val::Null => 0,
        Val::Int(_) | Val::Real(_) => 1,
        Val::Text(_) => 2,
    };
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => a.cmp(b),
        (Val::Real(a), Val::Real(b)) => a.total_cmp(b),
        (Val::Text(a), Val::Text(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_values() {
        let text = |text: &[u8]| Val::Text(text.to_vec().into());
        let kinds = [
            vec![Val::Null, Val::Int(i64::MIN), Val::Int(-1), Val::Int(2)],
            vec![Val::Null, Val::Real(f64::NEG_INFINITY), Val::Real(-0.5), Val::Real(1e300)],
            vec![Val::Null, text(b""), text(b"B"), text(b"a"), text(b"\xff")],
        ];
        for keys in kinds {
            for (a, first) in keys.iter().enumerate() {
                for (b, second) in keys.iter().enumerate() {
                    assert_eq!(ordered(first, second), a.cmp(&b), "{first:?} {second:?}");
                }
            }
        }
    }

    #[test]
    fn sums_come_as_text_and_means_are_divided_here() {
        let cases = [
            (Answered::Sum, Cell::Text(b"-9223372036854775808"), Some(Val::Int(i64::MIN))),
            (Answered::Sum, Cell::Text(b"9223372036854775808"), None),
            (Answered::Sum, Cell::Null, Some(Val::Null)),
            (
                Answered::SumAndCount,
                Cell::Text(b"18446744073709551614 2"),
                Some(Val::Real(9_223_372_036_854_775_807.0)),
            ),
            (Answered::SumAndCount, Cell::Text(b"7 2"), Some(Val::Real(3.5))),
            (Answered::Value, Cell::Integer(7), Some(Val::Int(7))),
            (Answered::Sum, Cell::Integer(7), None),
        ];
        for (how, cell, want) in cases {
            assert_eq!(folded(how, cell), want, "{how:?} {cell:?}");
        }
    }
}

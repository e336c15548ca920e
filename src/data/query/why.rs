//! Why a filter selects no rows, if a reason can be found: a value in different case, a pattern
//! without `%`, a number out of range, an empty column, conditions that no row meets together.
//!
//! Runs only for filters that select nothing: each sentence costs a few more filters over the same
//! packed columns.

use std::sync::Arc;

use super::{Queries, Version};
use crate::pack::Ordinals;
use dcfs_core::expr::{
    Column, Comparison, Expr, Form, Function, Key, Match, Part, Query, Type, Val, Value,
};
use dcfs_core::render::numbers::counted;

/// The most conditions examined; a filter with more was written by a program.
const MOST: usize = 8;

/// Why `query` selects none of the rows `within`, or of all; `None` if no reason is known.
pub fn why(
    queries: &Queries,
    version: Version<'_>,
    query: &Query,
    within: Option<&Arc<Ordinals>>,
) -> Option<String> {
    let asker = Asker { queries, version, within };
    let all = within.map_or(u64::from(version.pack.row_count()), |within| within.len());
    if all == 0 {
        return Some("there is no row to begin with".into());
    }
    let Some(filter) = &query.filter else { return cut_off(query, all) };
    match asker.count(filter)? {
        0 => asker.of_filter(filter, all),
        some => cut_off(query, some),
    }
}

/// Why `limit` and `offset` leave none of some rows.
fn cut_off(query: &Query, rows: u64) -> Option<String> {
    if query.limit == Some(0) {
        return Some("`limit 0` takes no row".into());
    }
    let offset = query.offset;
    (offset >= rows).then(|| format!("`offset {offset}` skips all {}", counted(rows, "row")))
}

struct Asker<'q> {
    queries: &'q Queries,
    version: Version<'q>,
    within: Option<&'q Arc<Ordinals>>,
}

impl Asker<'_> {
    /// The number of rows for which a condition is true; `None` if that fails.
    fn count(&self, filter: &Expr) -> Option<u64> {
        let query = Query { filter: Some(filter.clone()), ..Query::default() };
        let selected = self.queries.select(self.version, &query, self.within);
        Some(selected.ok()?.rows.len())
    }

    fn of_filter(&self, filter: &Expr, all: u64) -> Option<String> {
        let Expr::And(terms) = filter else { return self.of_term(filter, all) };
        if terms.len() > MOST {
            return None;
        }
        let mut met = Vec::new();
        for term in terms {
            match self.count(term)? {
                0 => return self.of_term(term, all).or_else(|| Some(alone(term))),
                rows => met.push(format!("`{term}` by {}", counted(rows, "row"))),
            }
        }
        Some(format!("each condition alone is met ({}), but no row meets all", met.join(", ")))
    }

    /// Why no row meets one condition.
    fn of_term(&self, term: &Expr, all: u64) -> Option<String> {
        if let Some(reason) = beside_null(term) {
            return Some(reason);
        }
        if let Some(empty) = self.empty_column(term, all) {
            return Some(format!("`{empty}` is NULL in every row"));
        }
        match term {
            Expr::Compare(Comparison::Equal, of, value) => self.equal(of, value),
            Expr::Compare(_, of, _) => self.range(of),
            Expr::In(of, items) => items.iter().find_map(|item| self.equal(of, item)),
            Expr::Between(of, low, high) => match is_above(low, high) {
                true => Some(format!(
                    "`between` wants the smaller value first, as `between {high} and {low}`"
                )),
                false => self.range(of),
            },
            Expr::Match(kind @ (Match::Like | Match::Ilike | Match::Glob), of, Some(pattern)) => {
                self.pattern(*kind, of, pattern)
            }
            _ => None,
        }
    }

    /// Finds a column of a condition that has no value in any row.
    fn empty_column(&self, term: &Expr, all: u64) -> Option<String> {
        if matches!(term, Expr::IsNull(_) | Expr::IsAbsent(_) | Expr::Not(_)) {
            return None;
        }
        let mut columns = Vec::new();
        term.each_column(&mut |column| columns.push(column.clone()));
        let is_empty = |column: &&Arc<Column>| {
            let presence = Column { form: Form::Presence, ..(***column).clone() };
            let null = Expr::IsNull(Expr::Column(presence.into()).into());
            self.count(&null) == Some(all)
        };
        columns.iter().find(is_empty).map(|column| column.name.clone())
    }

    /// Explains that no row has this value.
    fn equal(&self, of: &Expr, value: &Expr) -> Option<String> {
        let Expr::Value(Value::Text(text)) = value else { return self.range(of) };
        if of.kind() != Type::Text {
            return None;
        }
        if let (Expr::Part(_, Part::Ext, _), Some(bare)) = (of, text.strip_prefix('.')) {
            let bare = Expr::Value(Value::Text(bare.to_owned()));
            let without = Expr::Compare(Comparison::Equal, of.clone().into(), bare.into());
            if let Some(rows @ 1..) = self.count(&without) {
                let rows = counted(rows, "row");
                return Some(format!("an extension has no dot; `{without}` selects {rows}"));
            }
        }
        let lower = |expr: Expr| Expr::Call(Function::Lower, vec![expr]);
        let lowered = Expr::Value(Value::Text(text.to_ascii_lowercase()));
        let in_any_case =
            Expr::Compare(Comparison::Equal, lower(of.clone()).into(), lowered.into());
        if let Some(rows @ 1..) = self.count(&in_any_case) {
            return Some(format!(
                "no row has `{of} = {value}`; upper and lower case differ, and `{in_any_case}` selects {}",
                counted(rows, "row")
            ));
        }
        if text.is_empty() || text.contains(['%', '_']) {
            return None;
        }
        self.within_text(of, text)
    }

    /// Explains that a text is only a part of the values.
    fn within_text(&self, of: &Expr, text: &str) -> Option<String> {
        let part = Expr::Match(Match::Ilike, of.clone().into(), Some(format!("%{text}%")));
        let rows = self.count(&part).filter(|rows| *rows > 0)?;
        Some(format!("no value is exactly that; `{part}` selects {}", counted(rows, "row")))
    }

    fn pattern(&self, kind: Match, of: &Expr, pattern: &str) -> Option<String> {
        if kind == Match::Like {
            let any_case = Expr::Match(Match::Ilike, of.clone().into(), Some(pattern.to_owned()));
            if let Some(rows @ 1..) = self.count(&any_case) {
                let rows = counted(rows, "row");
                return Some(format!("upper and lower case differ; `{any_case}` selects {rows}"));
            }
        }
        let wild: &[char] = if kind == Match::Glob { &['*', '?', '['] } else { &['%', '_'] };
        if pattern.is_empty() || pattern.contains(wild) {
            return None;
        }
        let many = if kind == Match::Glob { '*' } else { '%' };
        let found = self.within_text(of, pattern)?;
        Some(format!(
            "a pattern has to match the whole value, and `{many}` stands for any text: {found}"
        ))
    }

    /// The range of the existing values.
    fn range(&self, of: &Expr) -> Option<String> {
        if !matches!(of.kind(), Type::Int | Type::Float | Type::Time)
            || matches!(of, Expr::Value(_))
        {
            return None;
        }
        let (low, high) = (self.end(of, false)?, self.end(of, true)?);
        match low == high {
            true => Some(format!("`{of}` is {low} in every row that has a value")),
            false => Some(format!("`{of}` lies between {low} and {high}")),
        }
    }

    /// The least value, or the greatest.
    fn end(&self, of: &Expr, down: bool) -> Option<String> {
        let order = vec![Key { by: of.clone(), down }];
        let query = Query { order, limit: Some(1), ..Query::default() };
        let selected = self.queries.select(self.version, &query, self.within).ok()?;
        match &selected.ranking?.rows.first()?.key {
            Val::Int(number) => Some(number.to_string()),
            Val::Real(number) => Some(format!("{number:?}")),
            Val::Text(time) => Some(format!("\"{}\"", String::from_utf8_lossy(time))),
            Val::Null => None,
        }
    }
}

/// That a condition compares with NULL, which is never true.
fn beside_null(term: &Expr) -> Option<String> {
    let Expr::Compare(comparison, a, b) = term else { return None };
    let null = Expr::Value(Value::Null);
    let of = match (**a == null, **b == null) {
        (false, true) => a,
        (true, false) => b,
        _ => return None,
    };
    Some(match comparison {
        Comparison::Equal => format!("nothing compares with NULL; write `{of} is null`"),
        Comparison::NotEqual => format!("nothing compares with NULL; write `{of} is not null`"),
        _ => "nothing compares with NULL".to_owned(),
    })
}

fn alone(term: &Expr) -> String {
    format!("no row has `{term}`")
}

/// Whether the lower end of a range is above its upper end.
fn is_above(low: &Expr, high: &Expr) -> bool {
    let number = |expr: &Expr| match expr {
        Expr::Value(Value::Int(n)) => Some(*n as f64),
        Expr::Value(Value::Real(x)) => Some(*x),
        _ => None,
    };
    match (low, high) {
        (Expr::Value(Value::Text(low)), Expr::Value(Value::Text(high))) => low > high,
        (Expr::Value(Value::Time(low)), Expr::Value(Value::Time(high))) => low > high,
        _ => number(low).zip(number(high)).is_some_and(|(low, high)| low > high),
    }
}

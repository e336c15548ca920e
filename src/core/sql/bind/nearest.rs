//! `join p on nearest(q.emb, p.emb, 5)`: for each row before the join the nearest rows of the table.
//!
//! SQLite gets a table of the pairs in between, which is made before the statement runs.

use std::ops::Range;

use super::{Binder, Meaning, nearest_name};
use crate::expr::{Error, Metric};
use crate::schema::ValueType;
use crate::sql::known::SqlColumn;
use crate::sql::lex::Kind;
use crate::sql::quoted;
use crate::sql::scan::{Call, Chain, Join};

/// How the function is called.
const WORD: &str = "nearest";

/// The most rows for each row.
const MOST: usize = 1000;

/// Pairs of rows that a statement reads: for each row of one table, the nearest of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    /// The table whose rows have nearest ones, and its column.
    pub to: (usize, SqlColumn),
    /// The table of those.
    pub of: (usize, SqlColumn),
    pub k: usize,
    pub metric: Metric,
}

impl Binder<'_> {
    /// Writes every `nearest` in an ON as a join with its table of pairs.
    pub(super) fn nearest(&mut self) -> Result<Vec<Nearest>, Error> {
        let scan = self.scan;
        let mut found = Vec::new();
        for call in scan.calls.iter().filter(|call| scan.tokens[call.token].is(WORD)) {
            let whole = call.token..call.inside.end + 1;
            let number = self.joined_by(call).ok_or_else(|| {
                let message = "`nearest` stands behind the ON of an inner join, as `join p on nearest(q.emb, p.emb, 5)`; \
                               other conditions follow with AND";
                Error::new(self.span(&whole), message)
            })?;
            let nearest = self.pairs(call, number)?;
            let (name, table) = (quoted(&nearest_name(found.len())), &scan.tables[number]);
            let alias = |table: usize| quoted(&scan.tables[table].alias);
            let (to, of) = (alias(nearest.to.0), alias(nearest.of.0));
            let own = self.out[table.tokens.start].clone();
            self.out[table.tokens.start] =
                format!("{name} ON {name}.\"of\" = {to}.\"sys__id\" JOIN {own}");
            self.replace(&whole, format!("{of}.\"sys__id\" = {name}.\"id\""));
            for table in [nearest.to.0, nearest.of.0] {
                if let Some(id) = self.known[table].find("sys__id") {
                    self.used(table, id);
                }
            }
            found.push(nearest);
        }
        Ok(found)
    }

    /// Whether a name is an argument of `nearest`.
    pub(super) fn is_of_nearest(&self, chain: &Chain) -> bool {
        let mut calls = self.scan.calls.iter().filter(|call| self.scan.tokens[call.token].is(WORD));
        calls.any(|call| call.inside.contains(&chain.tokens.start))
    }

    /// The table in whose ON a call stands: of an inner join, where the call is one of the
    /// conditions that all have to hold.
    fn joined_by(&self, call: &Call) -> Option<usize> {
        let mut tables = self.scan.tables.iter().enumerate();
        let (number, table) = tables.rfind(|(_, table)| table.tokens.end < call.token)?;
        let on = table.tokens.end;
        let is_inner =
            self.scan.tokens.get(on)?.is("on") && table.join == Join::Inner && number > 0;
        let whole = call.token..call.inside.end + 1;
        let conditions = self.scan.conjuncts(&(on + 1..self.end_of_on(on)));
        (is_inner && conditions.contains(&whole)).then_some(number)
    }

    fn pairs(&self, call: &Call, table: usize) -> Result<Nearest, Error> {
        let arguments = self.arguments(&call.inside);
        let span = self.span(&(call.token..call.inside.end + 1));
        let wrong = |message: &str| Error::new(span.clone(), message);
        let usage =
            "call it as `nearest(q.emb, p.emb, 5)`, and with 'euclidean' behind for that distance";
        let (columns, rest) = arguments.split_at_checked(2).ok_or_else(|| wrong(usage))?;
        let mut sides = Vec::new();
        for tokens in columns {
            let chain = self.scan.chains.iter().find(|chain| chain.tokens == *tokens);
            match self.meaning(chain.ok_or_else(|| wrong(usage))?)? {
                Meaning::Column { table, column, .. } if is_vector(&column.value) => {
                    sides.push((table, column.clone()));
                }
                _ => {
                    let message = "expected a column of lists of numbers";
                    return Err(Error::new(self.span(tokens), message));
                }
            }
        }
        sides.sort_by_key(|(number, _)| *number == table);
        let [to, of] = <[_; 2]>::try_from(sides).map_err(|_| wrong(usage))?;
        if to.0 == table || of.0 != table {
            return Err(wrong(
                "one of the columns is of the table that is joined, the other of one before it",
            ));
        }
        let text = |tokens: &Range<usize>| match &self.scan.tokens[tokens.clone()] {
            [one] => Some((one.kind, one.text.as_str())),
            _ => None,
        };
        let k = rest.first().and_then(text).filter(|(kind, _)| *kind == Kind::Number);
        let k = k.and_then(|(_, text)| text.parse().ok()).filter(|k| (1..=MOST).contains(k));
        let k =
            k.ok_or_else(|| wrong(&format!("the third argument says how many, from 1 to {MOST}")))?;
        let metric = match rest.get(1).map(text) {
            None => Metric::Cosine,
            Some(Some((Kind::Text, "cosine"))) => Metric::Cosine,
            Some(Some((Kind::Text, "euclidean"))) => Metric::Euclidean,
            Some(_) => return Err(wrong("the distance is 'cosine' or 'euclidean'")),
        };
        if rest.len() > 2 {
            return Err(wrong(usage));
        }
        Ok(Nearest { to, of, k, metric })
    }

    /// The arguments between the brackets of a call.
    fn arguments(&self, inside: &Range<usize>) -> Vec<Range<usize>> {
        let (mut found, mut start, mut depth) = (Vec::new(), inside.start, 0_usize);
        for at in inside.clone() {
            let token = &self.scan.tokens[at];
            depth += usize::from(token.is_sign("("));
            depth -= usize::from(token.is_sign(")")).min(depth);
            if depth == 0 && token.is_sign(",") {
                found.push(start..at);
                start = at + 1;
            }
        }
        found.push(start..inside.end);
        found.retain(|tokens| !tokens.is_empty());
        found
    }
}

fn is_vector(value: &ValueType) -> bool {
    matches!(value, ValueType::List(item) if matches!(**item, ValueType::Int | ValueType::Float))
}

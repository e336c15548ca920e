//! Resolves the names of a statement and writes the statement that SQLite runs.

mod items;
mod names;
mod nearest;
mod tested;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;

use super::grouped::{self, Grouped, Reason};
use super::known::{Known, SqlColumn, TAG};
use super::lex::Kind;
use super::scan::{Chain, Clause, Item, Scan};
use super::{nearest_name, quoted, table_name};
use crate::expr::Error;
use crate::schema::ValueType;
pub use nearest::Nearest;

/// Aggregate functions: GROUP BY ALL does not group by an item that calls one.
pub const AGGREGATES: [&str; 24] = [
    "any_value",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "collect",
    "count",
    "count_distinct",
    "group_concat",
    "histogram",
    "json_group_array",
    "json_group_object",
    "max",
    "median",
    "min",
    "mode",
    "quantile",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "total",
    "var_pop",
    "variance",
];

/// Whether a function is an aggregate: one value for many rows.
pub fn is_aggregate(name: &str) -> bool {
    AGGREGATES.contains(&name)
}

/// A statement for SQLite.
#[derive(Clone, Debug)]
pub struct Bound {
    pub sql: String,
    /// The columns it reads, table by table, declared in this order.
    pub columns: Vec<Vec<SqlColumn>>,
    /// Tables of pairs, by the number in their names ([`super::nearest_name`]).
    pub nearest: Vec<Nearest>,
    /// The statement over groups if the kernels can answer it, otherwise the reason why not.
    pub grouped: Result<Box<Grouped>, Reason>,
    /// The columns of its answer; `None` if only SQLite knows how many there are.
    pub results: Option<Vec<ResultColumn>>,
    /// Positions of parts of `sql` in the text as typed, ascending.
    pub(super) places: Vec<(usize, Range<usize>)>,
    pub(super) text: String,
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultColumn {
    pub name: String,
    pub hint: Hint,
}

/// How to type a column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Unknown: the values decide.
    None,
    /// It is this column of this table.
    Column(usize, String),
    /// Its values are of this type.
    Value(ValueType),
}

impl Bound {
    /// SQLite's error for the statement, with the position in the text as typed.
    pub fn error(&self, message: &str, offset: Option<usize>) -> Error {
        let place = offset.and_then(|offset| {
            let at = self.places.partition_point(|(start, _)| *start <= offset);
            self.places.get(at.checked_sub(1)?).map(|(_, span)| span.clone())
        });
        match place {
            Some(span) => Error::new(span, message).in_text(&self.text),
            None => Error::new(0..0, message),
        }
    }
}

/// The meaning of a name.
pub enum Meaning<'k> {
    Column {
        table: usize,
        alias: &'k str,
        column: &'k SqlColumn,
    },
    /// A key path inside a JSON column.
    Inside {
        table: usize,
        alias: &'k str,
        column: &'k SqlColumn,
        keys: Vec<String>,
    },
    Model {
        table: usize,
        alias: &'k str,
        columns: Vec<&'k SqlColumn>,
    },
    /// Left to SQLite.
    Other(String),
}

pub struct Binder<'k> {
    text: &'k str,
    scan: &'k Scan,
    known: &'k [Known],
    /// The text written for each token.
    out: Vec<String>,
    used: Vec<Vec<SqlColumn>>,
    aliases: HashSet<&'k str>,
    /// What is written after the last token.
    tail: String,
}

/// See [`super::Statement::bind`].
pub fn bind(text: &str, scan: &Scan, known: &[Known]) -> Result<Bound, Error> {
    let out = scan.tokens.iter().map(|token| text[token.span.clone()].to_owned()).collect();
    let aliases =
        scan.scopes.iter().flat_map(|scope| scope.aliases.iter().map(String::as_str)).collect();
    let used = vec![Vec::new(); known.len()];
    let mut binder = Binder { text, scan, known, out, used, aliases, tail: String::new() };
    binder.tables();
    binder.signs();
    let mut hints: Vec<(usize, Hint)> = Vec::new();
    for chain in &scan.chains {
        // Its vectors are read before the statement runs.
        if binder.is_of_nearest(chain) {
            continue;
        }
        let hint = binder.chain(chain)?;
        hints.push((chain.tokens.start, hint));
    }
    let mut results = Some(Vec::new());
    for (number, scope) in scan.scopes.iter().enumerate() {
        let mut groups = Vec::new();
        for item in &scope.items {
            let columns = binder.item(number, item, &hints)?;
            if let (true, Some(results)) = (scope.is_top, &mut results) {
                results.extend(columns.iter().flatten().cloned());
            }
            if columns.is_none() && scope.is_top {
                results = None;
            }
            if !binder.has_aggregate(&item.tokens) {
                groups.push(binder.out[item.tokens.clone()].join(" "));
            }
        }
        binder.name_items(number);
        for (_, at) in scan.group_all.iter().filter(|(of, _)| *of == number) {
            binder.group_all(*at, &groups);
        }
    }
    if scan.is_compound || scan.scopes.iter().all(|scope| !scope.is_top) {
        results = None;
    }
    binder.natural();
    let nearest = binder.nearest()?;
    binder.tests_of_rows()?;
    let mut bound = binder.finish(results, nearest);
    bound.grouped = grouped::grouped(&binder, scan, &bound).map(Box::new);
    Ok(bound)
}

impl<'k> Binder<'k> {
    /// Replaces table names by those of their virtual tables.
    fn tables(&mut self) {
        for (number, table) in self.scan.tables.iter().enumerate() {
            let text = format!("{} AS {}", quoted(&table_name(number)), quoted(&table.alias));
            self.replace(&table.tokens, text);
        }
    }

    /// Replaces operators: `/` divides as in filters, and ILIKE has no implementation in SQLite.
    fn signs(&mut self) {
        for at in 0..self.out.len() {
            if self.scan.tokens[at].is_sign("/") || self.scan.tokens[at].is("ilike") {
                self.out[at] = self.written(at);
            }
        }
    }

    fn replace(&mut self, tokens: &Range<usize>, text: String) {
        self.out[tokens.clone()].iter_mut().for_each(String::clear);
        self.out[tokens.start] = text;
    }

    /// Writes the meaning of a name, and returns the type hint for a column of the answer made of
    /// it.
    fn chain(&mut self, chain: &Chain) -> Result<Hint, Error> {
        if chain.has_star {
            return Ok(Hint::None); // An item of its own.
        }
        if chain.clause == Clause::Using {
            return self.using(chain);
        }
        let (text, hint, after) = match self.meaning(chain)? {
            Meaning::Column { table, alias, column } => {
                self.used(table, column);
                let text = format!("{}.{}", quoted(alias), quoted(&column.name));
                let (path, after) = self.indices(chain.tokens.end);
                match path.is_empty() {
                    true => (text, Hint::Column(table, column.name.clone()), after),
                    false => (format!("item({text}{path})"), Hint::None, after),
                }
            }
            Meaning::Inside { table, alias, column, keys } => {
                self.used(table, column);
                let mut path = String::new();
                for key in keys {
                    let _ = write!(path, ", '{}'", key.replace('\'', "''"));
                }
                let (rest, after) = self.indices(chain.tokens.end);
                (
                    format!("item({}.{}{path}{rest})", quoted(alias), quoted(&column.name)),
                    Hint::None,
                    after,
                )
            }
            Meaning::Model { columns, .. } => {
                if self.is_item(chain) {
                    return Ok(Hint::None);
                }
                let first = columns.iter().find(|column| !column.name.ends_with(TAG));
                let hint = first.map_or(String::new(), |first| format!(", e.g. `{}`", first.name));
                let message = format!(
                    "`{}` is a model; name one of its columns{hint}",
                    chain.parts.join(".")
                );
                return Err(Error::new(self.span(&chain.tokens), message));
            }
            Meaning::Other(text) => (text, Hint::None, chain.tokens.end),
        };
        self.replace(&(chain.tokens.start..after), text);
        Ok(hint)
    }

    fn used(&mut self, table: usize, column: &SqlColumn) {
        if !self.used[table].contains(column) {
            self.used[table].push(column.clone());
        }
    }

    /// Writes `[0].x` after a column as arguments; returns them and the index of the next token.
    fn indices(&self, from: usize) -> (String, usize) {
        let tokens = &self.scan.tokens;
        let (mut path, mut at) = (String::new(), from);
        loop {
            let is =
                |at: usize, sign: &str| tokens.get(at).is_some_and(|token| token.is_sign(sign));
            if is(at, "[") {
                let minus = usize::from(is(at + 1, "-"));
                let Some(index) = tokens.get(at + 1 + minus) else { break };
                if !is(at + 2 + minus, "]") {
                    break;
                }
                match index.kind {
                    Kind::Number => {
                        let _ =
                            write!(path, ", {}{}", if minus == 1 { "-" } else { "" }, index.text);
                    }
                    _ => {
                        let _ = write!(path, ", '{}'", index.text.replace('\'', "''"));
                    }
                }
                at += 3 + minus;
            } else if is(at, ".") && at > from && tokens.get(at + 1).is_some_and(|t| t.is_name()) {
                let _ = write!(path, ", '{}'", tokens[at + 1].text.replace('\'', "''"));
                at += 2;
            } else {
                break;
            }
        }
        (path, at)
    }

    /// A column named without its table because USING or NATURAL joins on it.
    fn using(&mut self, chain: &Chain) -> Result<Hint, Error> {
        let name = chain.parts.join(".");
        let mut found = false;
        for entry in &self.scan.scopes[chain.scope].tables {
            let Some(table) = entry.table else {
                found = true;
                continue;
            };
            if let Some(column) = self.known[table].find(&name) {
                self.used(table, column);
                found = true;
            }
        }
        if !found {
            return Err(self.unknown(chain, &name));
        }
        self.replace(&chain.tokens, quoted(&name));
        Ok(Hint::None)
    }

    /// A token as typed.
    pub fn slice(&self, at: usize) -> &str {
        &self.text[self.scan.tokens[at].span.clone()]
    }

    /// A token as written for SQLite, for tokens that are not names.
    pub fn written(&self, at: usize) -> String {
        match &self.scan.tokens[at] {
            token if token.is_sign("/") => "* 1.0 /".to_owned(),
            token if token.is("ilike") => "MATCH".to_owned(),
            _ => self.slice(at).to_owned(),
        }
    }

    /// The name of a column of the answer.
    pub fn item_name(&self, item: &Item) -> String {
        let chain = self.scan.chains.iter().find(|chain| chain.tokens == item.tokens);
        item.alias.clone().unwrap_or_else(|| match chain {
            Some(chain) => self.name_of(chain),
            None => {
                let text = &self.text[self.span(&item.tokens)];
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            }
        })
    }

    fn span(&self, tokens: &Range<usize>) -> Range<usize> {
        self.scan.tokens[tokens.start].span.start..self.scan.tokens[tokens.end - 1].span.end
    }

    pub fn has_aggregate(&self, tokens: &Range<usize>) -> bool {
        self.scan.calls.iter().any(|call| {
            let name = self.scan.tokens[call.token].text.to_ascii_lowercase();
            let is_window =
                self.scan.tokens.get(call.inside.end + 1).is_some_and(|token| token.is("over"));
            let many = matches!(name.as_str(), "min" | "max") && self.has_comma(&call.inside);
            tokens.contains(&call.token) && is_aggregate(&name) && !is_window && !many
        })
    }

    pub fn has_comma(&self, tokens: &Range<usize>) -> bool {
        let mut depth = 0_usize;
        self.scan.tokens[tokens.clone()].iter().any(|token| {
            depth += usize::from(token.is_sign("("));
            depth -= usize::from(token.is_sign(")")).min(depth);
            depth == 0 && token.is_sign(",")
        })
    }

    /// GROUP BY ALL: groups by every item that is not an aggregate.
    fn group_all(&mut self, at: usize, groups: &[String]) {
        let plain: Vec<String> = groups.iter().flat_map(|group| without_names(group)).collect();
        if plain.is_empty() {
            // With no item to group by, all rows are one group.
            self.out[at] = "NULL".to_owned();
            return;
        }
        self.out[at] = plain.join(", ");
    }

    /// NATURAL JOIN compares every column, so all are declared.
    fn natural(&mut self) {
        if !self.scan.has_natural {
            return;
        }
        for table in 0..self.known.len() {
            self.known[table].all().into_iter().for_each(|column| self.used(table, column));
        }
    }

    fn finish(&mut self, results: Option<Vec<ResultColumn>>, nearest: Vec<Nearest>) -> Bound {
        let mut sql = String::new();
        let mut places = Vec::new();
        for (token, out) in
            self.scan.tokens.iter().zip(&self.out).filter(|(_, out)| !out.is_empty())
        {
            places.push((sql.len(), token.span.clone()));
            sql += out.trim_start();
            sql.push(' ');
        }
        sql += &self.tail;
        sql.truncate(sql.trim_end().len());
        let columns = std::mem::take(&mut self.used);
        let (text, grouped) = (self.text.to_owned(), Err(""));
        Bound { sql, columns, nearest, grouped, results, places, text }
    }
}

/// Items for GROUP BY: columns without their aliases.
fn without_names(item: &str) -> Vec<String> {
    // Written by `expand`: `"a"."b" AS "c", ...`. Other items have no alias yet.
    if !item.contains(" AS \"") {
        return vec![item.to_owned()];
    }
    item.split(", \"")
        .enumerate()
        .map(|(at, part)| {
            let part = if at == 0 { part.to_owned() } else { format!("\"{part}") };
            part.split(" AS \"").next().unwrap_or_default().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests;

//! Resolves the names of a statement and writes the statement that SQLite runs.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;

use super::grouped::{self, Grouped, Reason};
use super::known::{Known, SqlColumn, TAG};
use super::lex::Kind;
use super::scan::{Chain, Clause, Item, Scan, Star};
use super::{quoted, table_name};
use crate::expr::Error;
use crate::name::nearest;
use crate::schema::ValueType;

/// Aggregate functions: GROUP BY ALL does not group by an item that calls one.
const AGGREGATES: [&str; 24] = [
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

/// The columns that replace one item.
type Expanded = Vec<(usize, String, SqlColumn)>;

pub struct Binder<'k> {
    text: &'k str,
    scan: &'k Scan,
    known: &'k [Known],
    /// The text written for each token.
    out: Vec<String>,
    used: Vec<Vec<SqlColumn>>,
    aliases: HashSet<&'k str>,
}

/// See [`super::Statement::bind`].
pub fn bind(text: &str, scan: &Scan, known: &[Known]) -> Result<Bound, Error> {
    let out = scan.tokens.iter().map(|token| text[token.span.clone()].to_owned()).collect();
    let aliases =
        scan.scopes.iter().flat_map(|scope| scope.aliases.iter().map(String::as_str)).collect();
    let used = vec![Vec::new(); known.len()];
    let mut binder = Binder { text, scan, known, out, used, aliases };
    binder.tables();
    binder.signs();
    let mut hints: Vec<(usize, Hint)> = Vec::new();
    for chain in &scan.chains {
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
    let mut bound = binder.finish(results);
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

    pub fn meaning(&self, chain: &Chain) -> Result<Meaning<'k>, Error> {
        let whole = chain.parts.join(".");
        let is_alias = chain.parts.len() == 1 && self.aliases.contains(whole.as_str());
        if is_alias && chain.clause == Clause::Order {
            return Ok(Meaning::Other(quoted(&whole)));
        }
        let mut scope = Some(chain.scope);
        let mut is_open = false;
        while let Some(number) = scope {
            if let Some(found) = self.in_scope(number, chain, &whole)? {
                return Ok(found);
            }
            let current = &self.scan.scopes[number];
            is_open |= current.tables.iter().any(|entry| entry.table.is_none());
            scope = current.parent;
        }
        if is_open || is_alias || chain.is_soft || self.scan.is_compound {
            return Ok(Meaning::Other(self.other(chain)));
        }
        Err(self.unknown(chain, &whole))
    }

    /// A name of a subquery, or one that only SQLite knows.
    fn other(&self, chain: &Chain) -> String {
        match chain.parts.as_slice() {
            [_] => self.text[self.span(&chain.tokens)].to_owned(),
            [first, rest @ ..] => {
                let tables = self.scan.scopes.iter().flat_map(|scope| &scope.tables);
                let is_table =
                    tables.into_iter().any(|entry| entry.alias.eq_ignore_ascii_case(first));
                match is_table {
                    true => format!("{}.{}", quoted(first), quoted(&rest.join("."))),
                    false => quoted(&chain.parts.join(".")),
                }
            }
            [] => String::new(),
        }
    }

    /// Resolves a name among the tables of one select.
    fn in_scope(
        &self,
        scope: usize,
        chain: &Chain,
        whole: &str,
    ) -> Result<Option<Meaning<'k>>, Error> {
        let entries = &self.scan.scopes[scope].tables;
        let datasets =
            || entries.iter().filter_map(|entry| Some((entry.table?, entry.alias.as_str())));
        // `p.info.width`
        if let [first, rest @ ..] = chain.parts.as_slice()
            && !rest.is_empty()
        {
            for entry in entries.iter().filter(|entry| entry.alias.eq_ignore_ascii_case(first)) {
                let Some(table) = entry.table else {
                    return Ok(Some(Meaning::Other(self.other(chain))));
                };
                if let Some(found) = self.in_table(table, &entry.alias, rest) {
                    return Ok(Some(found));
                }
                if datasets()
                    .all(|(table, alias)| self.in_table(table, alias, &chain.parts).is_none())
                {
                    return Err(self.unknown(chain, &rest.join(".")));
                }
            }
        }
        let mut found =
            datasets().filter_map(|(table, alias)| self.in_table(table, alias, &chain.parts));
        let Some(first) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            let tables: Vec<String> = datasets()
                .filter(|(table, alias)| self.in_table(*table, alias, &chain.parts).is_some())
                .map(|(_, alias)| format!("`{alias}.{whole}`"))
                .collect();
            let message = format!("several tables have `{whole}`; write {}", tables.join(" or "));
            return Err(Error::new(self.span(&chain.tokens), message));
        }
        Ok(Some(first))
    }

    fn in_table(&self, table: usize, alias: &'k str, parts: &[String]) -> Option<Meaning<'k>> {
        let known = &self.known[table];
        let name = parts.join(".");
        if let Some(column) = known.find(&name) {
            return Some(Meaning::Column { table, alias, column });
        }
        let columns = known.model(&name);
        if !columns.is_empty() {
            return Some(Meaning::Model { table, alias, columns });
        }
        // The longest prefix that is a column of JSON.
        (1..parts.len()).rev().find_map(|length| {
            let column = known.find(&parts[..length].join("."))?;
            let keys = parts[length..].to_vec();
            (column.value == ValueType::Json).then_some(Meaning::Inside {
                table,
                alias,
                column,
                keys,
            })
        })
    }

    fn unknown(&self, chain: &Chain, name: &str) -> Error {
        let mut names: Vec<&str> = Vec::new();
        let mut scope = Some(chain.scope);
        while let Some(number) = scope {
            let entries = &self.scan.scopes[number].tables;
            let tables = entries.iter().filter_map(|entry| entry.table);
            names.extend(
                tables.flat_map(|table| self.known[table].columns.iter().map(|c| c.name.as_str())),
            );
            scope = self.scan.scopes[number].parent;
        }
        names.extend(self.aliases.iter().copied());
        names.retain(|name| !name.ends_with(TAG));
        let mut near = nearest::to(name, names.iter().copied());
        if near.is_empty() {
            // `width` as a short name of `info.width`.
            let ending = format!(".{name}");
            near = names
                .iter()
                .filter(|known| known.ends_with(&ending))
                .take(3)
                .map(|n| (*n).to_owned())
                .collect();
        }
        let otherwise = match chain.is_quoted {
            true => "a string has single quotes: 'x'",
            false => "`dcfs schema` lists what there is",
        };
        Error::new(
            self.span(&chain.tokens),
            format!("no column `{name}`{}", nearest::hint(&near, otherwise)),
        )
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

    fn is_item(&self, chain: &Chain) -> bool {
        self.scan.scopes[chain.scope].items.iter().any(|item| item.tokens == chain.tokens)
    }

    /// Writes an item that stands for several columns. Returns them; `None` if only SQLite knows
    /// them.
    fn item(
        &mut self,
        scope: usize,
        item: &Item,
        hints: &[(usize, Hint)],
    ) -> Result<Option<Vec<ResultColumn>>, Error> {
        let scan = self.scan;
        if let Some(star) = scan.stars.iter().find(|star| star.tokens == item.tokens) {
            return self.star(scope, star);
        }
        let chain = scan.chains.iter().find(|chain| chain.tokens == item.tokens);
        if let Some(chain) = chain {
            if chain.has_star {
                return self.table_star(scope, chain);
            }
            if let Meaning::Model { table, alias, columns } = self.meaning(chain)? {
                let whole = chain.parts.join(".");
                let prefix = match self.known[table].model(&whole).is_empty() {
                    false => whole,
                    true => chain.parts[1..].join("."),
                };
                let renamed = item.alias.clone().unwrap_or_else(|| prefix.clone());
                let columns: Expanded = columns
                    .into_iter()
                    .map(|column| {
                        let name = format!("{renamed}{}", &column.name[prefix.len()..]);
                        (table, name, column.clone())
                    })
                    .collect();
                let alias = alias.to_owned();
                let written = self.expand(&item.tokens, &columns, |_| alias.clone());
                if item.alias.is_some() {
                    self.drop_alias(item);
                }
                return Ok(Some(written));
            }
        }
        let name = self.item_name(item);
        let hint = match chain {
            Some(chain) => {
                hints.iter().find(|(at, _)| *at == chain.tokens.start).map(|(_, hint)| hint.clone())
            }
            None => self.call_hint(item, hints),
        };
        Ok(Some(vec![ResultColumn { name, hint: hint.unwrap_or(Hint::None) }]))
    }

    /// The last part of a column's name, without its table.
    fn name_of(&self, chain: &Chain) -> String {
        let entries = &self.scan.scopes[chain.scope].tables;
        match chain.parts.as_slice() {
            [first, rest @ ..] if !rest.is_empty() => {
                let is_table = entries.iter().any(|entry| entry.alias.eq_ignore_ascii_case(first));
                let is_column = entries
                    .iter()
                    .filter_map(|e| e.table)
                    .any(|t| self.known[t].find(&chain.parts.join(".")).is_some());
                if is_table && !is_column { rest.join(".") } else { chain.parts.join(".") }
            }
            _ => chain.parts.join("."),
        }
    }

    /// The type that a call returns, judged by the function's name, if the item is nothing but the
    /// call.
    fn call_hint(&self, item: &Item, hints: &[(usize, Hint)]) -> Option<Hint> {
        let call = self.scan.calls.iter().find(|call| {
            call.token == item.tokens.start && call.inside.end + 1 == item.tokens.end
        })?;
        let name = self.scan.tokens[call.token].text.to_ascii_lowercase();
        match name.as_str() {
            "count" | "count_distinct" | "row_number" | "rank" | "dense_rank" | "length" => {
                Some(Hint::Value(ValueType::Int))
            }
            "avg" | "median" | "quantile" | "stddev" | "stddev_pop" | "variance" | "var_pop"
            | "total" | "cosine_distance" | "euclidean_distance" => {
                Some(Hint::Value(ValueType::Float))
            }
            "sum" | "min" | "max" | "any_value" | "mode" | "collect" => {
                let chain = self.scan.chains.iter().find(|chain| chain.tokens == call.inside)?;
                let (_, hint) = hints.iter().find(|(at, _)| *at == chain.tokens.start)?;
                let Hint::Column(table, column) = hint else { return None };
                let value = self.known[*table].find(column)?.value.clone();
                if name == "collect" {
                    return value
                        .is_scalar()
                        .then(|| Hint::Value(ValueType::List(Box::new(value))));
                }
                (value.is_scalar() && (name != "sum" || value != ValueType::Bool))
                    .then_some(Hint::Value(value))
            }
            _ => None,
        }
    }

    fn star(&mut self, scope: usize, star: &Star) -> Result<Option<Vec<ResultColumn>>, Error> {
        let entries = &self.scan.scopes[scope].tables;
        if entries.iter().any(|entry| entry.table.is_none()) {
            if let Some(name) = star.exclude.first() {
                let message = format!(
                    "`exclude` is for tables that are datasets; list what is wanted in place of all but `{name}`"
                );
                return Err(Error::new(self.span(&star.tokens), message));
            }
            // Columns of datasets are listed one by one: only columns that are named are declared.
            let written: Vec<String> =
                entries.iter().map(|entry| self.written_star(entry.table, &entry.alias)).collect();
            for table in entries.iter().filter_map(|entry| entry.table) {
                self.known[table].all().into_iter().for_each(|column| self.used(table, column));
            }
            self.replace(&star.tokens, written.join(", "));
            return Ok(None);
        }
        let mut columns: Expanded = Vec::new();
        for table in entries.iter().filter_map(|entry| entry.table) {
            for column in self.known[table].all() {
                let is_excluded = star.exclude.iter().any(|name| {
                    let rest = column.name.strip_prefix(name.as_str());
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                });
                if !is_excluded {
                    columns.push((table, column.name.clone(), column.clone()));
                }
            }
        }
        for name in &star.exclude {
            let is_there = |table: usize| {
                self.known[table].find(name).is_some() || !self.known[table].model(name).is_empty()
            };
            if !entries.iter().filter_map(|entry| entry.table).any(is_there) {
                let message = format!("no column `{name}` to exclude");
                return Err(Error::new(self.span(&star.tokens), message));
            }
        }
        if columns.is_empty() {
            return Err(Error::new(self.span(&star.tokens), "nothing is left to select"));
        }
        distinct(&mut columns);
        let scan = self.scan;
        let aliases = |table: usize| {
            let entry = scan.scopes[scope].tables.iter().find(|entry| entry.table == Some(table));
            entry.map_or(String::new(), |entry| entry.alias.clone())
        };
        Ok(Some(self.expand(&star.tokens, &columns, aliases)))
    }

    fn written_star(&self, table: Option<usize>, alias: &str) -> String {
        let Some(table) = table else { return format!("{}.*", quoted(alias)) };
        let written = self.known[table].all().into_iter().map(|column| {
            format!("{}.{} AS {}", quoted(alias), quoted(&column.name), quoted(&column.name))
        });
        written.collect::<Vec<_>>().join(", ")
    }

    /// `p.*`
    fn table_star(
        &mut self,
        scope: usize,
        chain: &Chain,
    ) -> Result<Option<Vec<ResultColumn>>, Error> {
        let name = chain.parts.join(".");
        let entry = self.scan.scopes[scope]
            .tables
            .iter()
            .find(|entry| entry.alias.eq_ignore_ascii_case(&name));
        match entry.map(|entry| (entry.table, entry.alias.clone())) {
            Some((Some(table), alias)) => {
                let columns: Expanded = self.known[table]
                    .all()
                    .into_iter()
                    .map(|c| (table, c.name.clone(), c.clone()))
                    .collect();
                Ok(Some(self.expand(&chain.tokens, &columns, |_| alias.clone())))
            }
            Some((None, _)) => Ok(None),
            None => Err(Error::new(
                self.span(&chain.tokens),
                format!("no table is called `{name}` here"),
            )),
        }
    }

    fn expand(
        &mut self,
        tokens: &Range<usize>,
        columns: &Expanded,
        alias: impl Fn(usize) -> String,
    ) -> Vec<ResultColumn> {
        let mut written = Vec::new();
        let mut results = Vec::new();
        for (table, name, column) in columns {
            self.used(*table, column);
            let of = quoted(&alias(*table));
            written.push(format!("{of}.{} AS {}", quoted(&column.name), quoted(name)));
            results.push(ResultColumn {
                name: name.clone(),
                hint: Hint::Column(*table, column.name.clone()),
            });
        }
        self.replace(tokens, written.join(", "));
        results
    }

    /// Leaves out `AS x` behind an item.
    fn drop_alias(&mut self, item: &Item) {
        let mut at = item.tokens.end;
        if self.scan.tokens.get(at).is_some_and(|token| token.is("as")) {
            self.out[at].clear();
            at += 1;
        }
        if let Some(out) = self.out.get_mut(at) {
            out.clear();
        }
    }

    /// Names items without an alias after their own text.
    fn name_items(&mut self, scope: usize) {
        for item in self.scan.scopes[scope].items.iter().filter(|item| item.alias.is_none()) {
            let is_star = self.scan.stars.iter().any(|star| star.tokens == item.tokens);
            let chain = self.scan.chains.iter().find(|chain| chain.tokens == item.tokens);
            let is_plain = match chain {
                Some(chain) if chain.has_star => false,
                Some(chain) => !matches!(self.meaning(chain), Ok(Meaning::Model { .. })),
                None => !is_star,
            };
            if is_plain {
                let name = self.item_name(item);
                let last = &mut self.out[item.tokens.end - 1];
                let _ = write!(last, " AS {}", quoted(&name));
            }
        }
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

    fn finish(&mut self, results: Option<Vec<ResultColumn>>) -> Bound {
        let mut sql = String::new();
        let mut places = Vec::new();
        for (token, out) in
            self.scan.tokens.iter().zip(&self.out).filter(|(_, out)| !out.is_empty())
        {
            places.push((sql.len(), token.span.clone()));
            sql += out.trim_start();
            sql.push(' ');
        }
        sql.truncate(sql.trim_end().len());
        let columns = std::mem::take(&mut self.used);
        let (text, grouped) = (self.text.to_owned(), Err(""));
        Bound { sql, columns, grouped, results, places, text }
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

/// Resolves duplicate names: the second is prefixed with `right_`, as in DataChain's merge.
fn distinct(columns: &mut Expanded) {
    let mut roots: Vec<(usize, String)> = Vec::new();
    for (table, name, _) in columns.iter_mut() {
        let root = name.split('.').next().unwrap_or_default().to_owned();
        while roots.iter().any(|(other, known)| {
            other != table && known.eq_ignore_ascii_case(name.split('.').next().unwrap_or_default())
        }) {
            name.insert_str(0, "right_");
        }
        let own = name.split('.').next().unwrap_or_default().to_owned();
        if !roots.contains(&(*table, own.clone())) {
            roots.push((*table, own));
        }
        let _ = root;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Statement;
    use super::*;
    use crate::schema::Schema;

    fn known() -> Known {
        let features = r#"{"file": "File@v1", "info": "Optional[Image@v1]", "label": "str", "tags": "list[str]", "meta": "dict", "rows": "int"}"#;
        let table = [
            "file__source",
            "file__path",
            "info___type_tag",
            "info__width",
            "label",
            "tags",
            "meta",
            "rows",
        ];
        let table: Vec<_> = table.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        Known::of(&Schema::parse(features, "{}", &table).expect("a schema"))
    }

    fn bound(text: &str) -> Result<Bound, Error> {
        let statement = Statement::read(text)?;
        let known = vec![known(); statement.tables().len()];
        statement.bind(&known)
    }

    #[test]
    fn columns_have_their_tables() {
        let cases = [
            (
                "select info.width from pets",
                r#"select "pets"."info.width" AS "info.width" from "dcfs table 0" AS "pets""#,
            ),
            (
                "select p.label l, count(*) from pets@1.0.0 as p group by p.label order by l",
                r#"select "p"."label" l , count ( * ) AS "count(*)" from "dcfs table 0" AS "p" group by "p"."label" order by "l""#,
            ),
            (
                "select label, count(*) n from pets group by all",
                r#"select "pets"."label" AS "label" , count ( * ) n from "dcfs table 0" AS "pets" group by "pets"."label""#,
            ),
            (
                "select info from pets",
                r#"select "pets"."info.___type_tag" AS "info.___type_tag", "pets"."info.width" AS "info.width" from "dcfs table 0" AS "pets""#,
            ),
            (
                "select p.info as i from pets p",
                r#"select "p"."info.___type_tag" AS "i.___type_tag", "p"."info.width" AS "i.width" from "dcfs table 0" AS "p""#,
            ),
            (
                "select tags[-1], meta.a.b from pets where label ilike 'p%'",
                r#"select item("pets"."tags", -1) AS "tags[-1]" , item("pets"."meta", 'a', 'b') AS "meta.a.b" from "dcfs table 0" AS "pets" where "pets"."label" MATCH 'p%'"#,
            ),
            (
                "select rows from pets where info.width / 2 > 1",
                r#"select "pets"."rows" AS "rows" from "dcfs table 0" AS "pets" where "pets"."info.width" * 1.0 / 2 > 1"#,
            ),
            (
                "select x.n from (select label, count(*) n from pets group by label) x",
                r#"select "x"."n" AS "n" from ( select "pets"."label" AS "label" , count ( * ) n from "dcfs table 0" AS "pets" group by "pets"."label" ) x"#,
            ),
            (
                "select cast(label as int) from pets",
                r#"select cast ( "pets"."label" as int ) AS "cast(label as int)" from "dcfs table 0" AS "pets""#,
            ),
        ];
        for (text, want) in cases {
            assert_eq!(bound(text).unwrap_or_else(|e| panic!("{text}: {e}")).sql, want, "{text}");
        }
    }

    #[test]
    fn a_star_is_all_but_what_is_derived() {
        let found = bound("select * exclude (file, tags, info, meta) from pets").expect("sound");
        let names: Vec<&str> =
            found.results.as_ref().expect("known").iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["label", "rows"]);
        let found = bound("select * exclude (file, tags, info, meta) from pets a join pets b on a.label = b.label").expect("sound");
        let names: Vec<&str> =
            found.results.as_ref().expect("known").iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["label", "rows", "right_label", "right_rows"]);
    }

    #[test]
    fn points_at_what_is_wrong() {
        for (text, message) in [
            ("select info.widht from pets", "no column `info.widht`; did you mean `info.width`?"),
            ("select width from pets", "did you mean `info.width`"),
            ("select p.nothing from pets p", "no column `nothing`"),
            ("select label from pets where label = \"pug\"", "a string has single quotes"),
            ("select label from pets a, pets b", "write `a.label` or `b.label`"),
            (
                "select count(info) from pets",
                "is a model; name one of its columns, e.g. `info.width`",
            ),
            ("select q.* from pets", "no table is called `q`"),
        ] {
            let error = bound(text).map(|b| b.sql).expect_err(text).to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn an_end_too_soon_is_no_panic() {
        for text in [
            "select x from pets p, with y as",
            "select * exclude (label.",
            "select * exclude label.",
        ] {
            let _ = bound(text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(words in proptest::collection::vec("select|from pets p|\\(|\\)|,|label|p\\.info|info\\.width|\\.|\\*|as|join pets q on|where|group by all|order by|exclude|meta\\.a|tags\\[0\\]|count\\(\\*\\)|x|=|'x'|union|with y as|using", 0..25)) {
            let _ = bound(&format!("select {}", words.join(" ")));
        }
    }
}

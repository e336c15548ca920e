//! The items of a SELECT list: expands a model to its columns and `*` to every column, and names the
//! columns of the answer.

use std::fmt::Write as _;
use std::ops::Range;

use super::{Binder, Hint, Meaning, ResultColumn};
use crate::expr::Error;
use crate::schema::ValueType;
use crate::sql::known::SqlColumn;
use crate::sql::quoted;
use crate::sql::scan::{Chain, Entry, Item, Star};

/// The columns that replace one item.
type Expanded = Vec<(usize, String, SqlColumn)>;

impl Binder<'_> {
    pub(super) fn is_item(&self, chain: &Chain) -> bool {
        self.scan.scopes[chain.scope].items.iter().any(|item| item.tokens == chain.tokens)
    }

    /// Writes an item that stands for several columns. Returns them; `None` if only SQLite knows
    /// them.
    pub(super) fn item(
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
    pub(super) fn name_of(&self, chain: &Chain) -> String {
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
        let entries = self.scan.scopes[scope].tables.iter().filter(|entry| !entry.is_tested);
        let entries: Vec<&Entry> = entries.collect();
        if entries.iter().any(|entry| entry.table.is_none()) {
            if let Some(name) = star.exclude.first() {
                let message = format!(
                    "`exclude` works only on datasets; list the wanted columns instead of excluding `{name}`"
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
            .find(|entry| !entry.is_tested && entry.alias.eq_ignore_ascii_case(&name));
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

    /// Removes `AS x` after an item.
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
    pub(super) fn name_items(&mut self, scope: usize) {
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

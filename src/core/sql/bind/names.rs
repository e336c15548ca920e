//! Resolves a name among the tables of its select: a column, a model, a JSON key, or a name that only
//! SQLite knows.

use super::{Binder, Meaning};
use crate::expr::Error;
use crate::name::nearest;
use crate::schema::ValueType;
use crate::sql::known::TAG;
use crate::sql::quoted;
use crate::sql::scan::{Chain, Clause, Entry};

impl<'k> Binder<'k> {
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
        let entries = self.scan.scopes[scope].tables.iter();
        let entries: Vec<&'k Entry> = entries.filter(|entry| self.is_seen(entry, chain)).collect();
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

    pub(super) fn unknown(&self, chain: &Chain, name: &str) -> Error {
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
            true => "a string needs single quotes: 'x'",
            false => "`dcfs schema` lists what there is",
        };
        Error::new(
            self.span(&chain.tokens),
            format!("no column `{name}`{}", nearest::hint(&near, otherwise)),
        )
    }
}

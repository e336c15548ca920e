//! The columns that tables actually have, and SQL identifiers.
//!
//! Tables of older DataChain releases lack columns that a newer one adds on its first use. Queries
//! are written for the full shape, with NULL in place of missing columns.

use super::ask::Ask;
use super::error::Error;

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    /// The type declared in the table, e.g. `VARCHAR`; may be empty.
    pub declared: String,
    /// Whether it is part of the primary key.
    pub key: bool,
}

/// The columns of one table, in order; empty if there is no such table.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    table: String,
    columns: Vec<Column>,
}

impl Columns {
    /// The columns found in `table`.
    pub fn new(table: &str, columns: Vec<Column>) -> Self {
        Self { table: table.to_owned(), columns }
    }

    /// Queries the columns of `table`.
    pub fn of(tables: &dyn Ask, table: &str) -> Result<Self, Error> {
        tables.columns(table)
    }

    /// Whether the table exists.
    pub fn exist(&self) -> bool {
        !self.columns.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter()
    }

    pub fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    /// # Errors
    /// [`Error::Lacks`] with the first of `names` that is missing.
    pub fn require(&self, names: &[&str]) -> Result<(), Error> {
        match names.iter().find(|name| !self.has(name)) {
            Some(name) => Err(Error::Lacks(format!("{}.{name}", self.table))),
            None => Ok(()),
        }
    }

    /// SQL for the column `name` of this table, whose alias in the query is `alias`; NULL if the
    /// table has no such column.
    pub fn or_null(&self, alias: &str, name: &str) -> String {
        match identifier(name) {
            Some(quoted) if self.has(name) => format!("{alias}.{quoted}"),
            _ => "NULL".into(),
        }
    }
}

/// A stranger's name as an SQL identifier; `None` if it contains NUL, which SQL cannot express.
pub(super) fn identifier(name: &str) -> Option<String> {
    (!name.contains('\0')).then(|| format!("\"{}\"", name.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    use rusqlite::Connection;

    #[test]
    fn a_name_stays_a_name() {
        let cases = [
            ("a", Some("\"a\"")),
            ("", Some("\"\"")),
            ("a\"; DROP TABLE b; --", Some("\"a\"\"; DROP TABLE b; --\"")),
            ("\u{e9}\n'`[]", Some("\"\u{e9}\n'`[]\"")),
            ("a\0b", None),
        ];
        for (name, want) in cases {
            assert_eq!(identifier(name).as_deref(), want, "{name:?}");
        }
    }

    #[test]
    fn tells_what_a_table_has() {
        let db = Connection::open_in_memory().expect("a database");
        let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY, \"a\"\"b\" JSON, c AS (id + 1))";
        db.execute_batch(sql).expect("a table");
        let t = Columns::of(&db, "t").expect("columns");
        let names: Vec<&str> = t.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "a\"b"]);
        assert_eq!(t.or_null("v", "a\"b"), "v.\"a\"\"b\"");
        assert_eq!(t.or_null("v", "none"), "NULL");
        assert!(t.require(&["id"]).is_ok());
        let lacks = t.require(&["id", "none"]).expect_err("not there").to_string();
        assert_eq!(lacks, "`t.none` is not in the catalog");
        assert!(!Columns::of(&db, "none").expect("an answer").exist());
    }
}

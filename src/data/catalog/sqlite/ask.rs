//! A metastore in SQLite.

use rusqlite::types::{Null, ToSql, ToSqlOutput};
use rusqlite::{Connection, Transaction, params_from_iter};

use super::cell;
use crate::catalog::ask::{Answer, Ask, Bound, Write};
use crate::catalog::columns::{Column, Columns};
use crate::catalog::error::Error;

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Null => Null.to_sql(),
            Self::Int(n) => n.to_sql(),
            Self::Text(text) => text.to_sql(),
        }
    }
}

impl Ask for Connection {
    /// Leaves out hidden and computed columns, and those whose name is not UTF-8, which SQL cannot
    /// name.
    fn columns(&self, table: &str) -> Result<Columns, Error> {
        let mut statement =
            self.prepare_cached("SELECT name, type, pk FROM pragma_table_info(?1)")?;
        let mut rows = statement.query([table])?;
        let mut columns = Vec::new();
        while let Some(row) = rows.next()? {
            let Ok(name) = row.get_ref(0)?.as_str() else { continue };
            if name.contains('\0') {
                continue;
            }
            let declared = cell::text(row.get_ref(1)?).unwrap_or_default();
            columns.push(Column { name: name.to_owned(), declared, key: row.get(2)? });
        }
        Ok(Columns::new(table, columns))
    }

    fn ask(&self, sql: &str, bound: &[Bound<'_>]) -> Result<Vec<Answer>, Error> {
        let mut statement = self.prepare_cached(sql)?;
        let count = statement.column_count();
        let mut rows = statement.query(params_from_iter(bound))?;
        let mut answers = Vec::new();
        while let Some(row) = rows.next()? {
            let texts = (0..count).map(|at| Ok(cell::text(row.get_ref(at)?)));
            answers.push(Answer::new(texts.collect::<rusqlite::Result<_>>()?));
        }
        Ok(answers)
    }
}

impl Ask for Transaction<'_> {
    fn columns(&self, table: &str) -> Result<Columns, Error> {
        Connection::columns(self, table)
    }

    fn ask(&self, sql: &str, bound: &[Bound<'_>]) -> Result<Vec<Answer>, Error> {
        Connection::ask(self, sql, bound)
    }
}

impl Write for Transaction<'_> {
    fn run(&self, sql: &str, bound: &[Bound<'_>]) -> Result<u64, Error> {
        let rows = self.prepare_cached(sql)?.execute(params_from_iter(bound))?;
        Ok(rows as u64)
    }

    fn define(&self, sql: &str) -> Result<(), Error> {
        Ok(self.execute_batch(sql)?)
    }
}

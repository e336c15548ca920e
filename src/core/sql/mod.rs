//! SQL over datasets: which tables and columns a statement means, and the statement that SQLite runs in its place.
//!
//! SQLite knows no dotted columns, versions, models or items of lists. So the names of a statement are found ([`mod@scan`]),
//! looked up in the schemas of its tables ([`mod@bind`]), and written anew; everything else reaches SQLite as it was typed,
//! but for `/`, which divides as in filters, and ILIKE.
//!
//! Pure: no catalog, no database. Nothing here decides what may be run: that the connection does, which holds no table of
//! a catalog and lets nothing but SELECT pass.

mod bind;
mod grouped;
mod known;
mod lex;
mod scan;

pub use bind::{Bound, Hint, ResultColumn};
pub use grouped::{FoldKind, GROUPS, Grouped, Of};
pub use known::{Known, SqlColumn};
pub use scan::Table;

use crate::expr::Error;

/// A statement whose tables are known by name.
#[derive(Clone, Debug)]
pub struct Statement {
    text: String,
    scan: scan::Scan,
}

impl Statement {
    /// Reads a statement.
    ///
    /// # Errors
    /// What is no SELECT; with the place.
    pub fn read(text: &str) -> Result<Self, Error> {
        let scan = scan::scan(text).map_err(|error| error.in_text(text))?;
        Ok(Self { text: text.to_owned(), scan })
    }

    /// The tables that it names, each as often as it stands there.
    pub fn tables(&self) -> &[Table] {
        &self.scan.tables
    }

    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// An error at the name of a table.
    pub fn wrong_table(&self, table: &Table, message: impl Into<String>) -> Error {
        Error::new(table.span.clone(), message).in_text(&self.text)
    }

    /// The statement over the columns of its tables, of which `known` are as many as [`Statement::tables`].
    ///
    /// # Errors
    /// A column that is not there, with the nearest names; a name that two tables have.
    pub fn bind(&self, known: &[Known]) -> Result<Bound, Error> {
        bind::bind(&self.text, &self.scan, known).map_err(|error| error.in_text(&self.text))
    }
}

/// A name in double quotes, for SQLite.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What the virtual table of a statement's table is called: no statement can say it by chance.
pub fn table_name(number: usize) -> String {
    format!("dcfs table {number}")
}

//! SQL over datasets: finds the tables and columns a statement refers to, and rewrites it for
//! SQLite.
//!
//! SQLite has no dotted columns, versions, models or list items. So the names of a statement are
//! found ([`mod@scan`]), looked up in the schemas of its tables ([`mod@bind`]) and rewritten.
//! Everything else reaches SQLite as typed, except `/`, which divides as in filters, and ILIKE.
//!
//! Pure: no catalog, no database. Nothing here decides what may run: the connection does. It holds
//! no table of a catalog and allows only SELECT.

mod bind;
mod grouped;
mod known;
mod lex;
mod scan;

pub use bind::{AGGREGATES, Bound, Hint, Nearest, ResultColumn};
pub use grouped::{FoldKind, GROUPS, Grouped, Of};
pub use known::{Known, SqlColumn};
pub use scan::{Join, Table};

use crate::expr::Error;

/// A parsed statement; its tables are known by name only.
#[derive(Clone, Debug)]
pub struct Statement {
    text: String,
    scan: scan::Scan,
}

impl Statement {
    /// Parses a statement.
    ///
    /// # Errors
    /// Text that is not one SELECT, with the position.
    pub fn read(text: &str) -> Result<Self, Error> {
        let scan = scan::scan(text).map_err(|error| error.in_text(text))?;
        Ok(Self { text: text.to_owned(), scan })
    }

    /// The tables it names, once per mention.
    pub fn tables(&self) -> &[Table] {
        &self.scan.tables
    }

    /// The statement as typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// An error at the position of a table's name.
    pub fn wrong_table(&self, table: &Table, message: impl Into<String>) -> Error {
        Error::new(table.span.clone(), message).in_text(&self.text)
    }

    /// Rewrites the statement over the columns of its tables: `known` holds one entry per table of
    /// [`Statement::tables`].
    ///
    /// # Errors
    /// A column that does not exist, with the nearest names; a name that two tables have.
    pub fn bind(&self, known: &[Known]) -> Result<Bound, Error> {
        bind::bind(&self.text, &self.scan, known).map_err(|error| error.in_text(&self.text))
    }
}

/// A name in double quotes, escaped for SQLite.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name of the virtual table for table `number` of a statement; unlikely to be typed by chance.
pub fn table_name(number: usize) -> String {
    format!("dcfs table {number}")
}

/// The name of a table of nearest rows: its columns are `of`, `rank` and `id`.
pub fn nearest_name(number: usize) -> String {
    format!("dcfs nearest {number}")
}

//! Queries to a metastore, the tables of names, versions and lineage: in SQLite, or in PostgreSQL.
//!
//! One SQL text serves both: bound values are `?1`, `?2`, identifiers are in double quotes, and
//! only constructs with the same meaning in both are used. Every value comes back as text, so that
//! types that differ (integers, booleans, JSON, times) are parsed in one place.

use dcfs_core::time::Timestamp;

use super::columns::Columns;
use super::error::Error;

/// A value for `?N`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound<'b> {
    Int(i64),
    Text(&'b str),
}

/// One row of a result.
#[derive(Debug)]
pub(super) struct Answer(Vec<Option<String>>);

impl Answer {
    pub fn new(texts: Vec<Option<String>>) -> Self {
        Self(texts)
    }

    /// Takes the text of the value at `index`; `None` for NULL.
    pub fn take(&mut self, index: usize) -> Option<String> {
        self.0.get_mut(index)?.take()
    }

    /// The text of the value at `index`; `None` for NULL.
    pub fn text(&self, index: usize) -> Option<&str> {
        self.0.get(index)?.as_deref()
    }

    /// An integer; `None` for anything else.
    pub fn integer(&self, index: usize) -> Option<i64> {
        self.text(index)?.trim().parse().ok()
    }

    /// A count or a length; `None` for anything else.
    pub fn unsigned(&self, index: usize) -> Option<u64> {
        self.integer(index).and_then(|n| n.try_into().ok())
    }

    /// A time; `None` for anything else.
    pub fn time(&self, index: usize) -> Option<Timestamp> {
        Timestamp::parse(self.text(index)?)
    }
}

/// Tables that can be queried.
pub(super) trait Ask {
    /// The columns of `table`; empty if there is no such table.
    ///
    /// # Errors
    /// Errors of the database.
    fn columns(&self, table: &str) -> Result<Columns, Error>;

    /// The rows of `sql`, a text without any foreign part.
    ///
    /// # Errors
    /// Errors of the database.
    fn ask(&self, sql: &str, bound: &[Bound<'_>]) -> Result<Vec<Answer>, Error>;

    /// The first row of `sql`.
    ///
    /// # Errors
    /// Errors of the database.
    fn first(&self, sql: &str, bound: &[Bound<'_>]) -> Result<Option<Answer>, Error> {
        Ok(self.ask(sql, bound)?.into_iter().next())
    }
}

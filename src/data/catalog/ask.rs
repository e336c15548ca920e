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
    Null,
    Int(i64),
    Text(&'b str),
}

impl From<i64> for Bound<'_> {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

/// Both databases read 1 and 0 as a boolean.
impl From<bool> for Bound<'_> {
    fn from(is: bool) -> Self {
        Self::Int(is.into())
    }
}

impl<'b> From<&'b str> for Bound<'b> {
    fn from(text: &'b str) -> Self {
        Self::Text(text)
    }
}

impl<'b> From<&'b String> for Bound<'b> {
    fn from(text: &'b String) -> Self {
        Self::Text(text)
    }
}

impl<'b, T: Into<Self>> From<Option<T>> for Bound<'b> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Values in place of `?1`, `?2` and on.
macro_rules! bound {
    ($($value:expr),* $(,)?) => {
        &[$($crate::catalog::ask::Bound::from($value)),*]
    };
}
pub(super) use bound;

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

/// Tables that can be changed, within a transaction: all or nothing.
pub(super) trait Write: Ask {
    /// Runs a statement that changes rows; returns their number.
    ///
    /// # Errors
    /// Errors of the database.
    fn run(&self, sql: &str, bound: &[Bound<'_>]) -> Result<u64, Error>;

    /// Runs statements that define tables, with types as SQLite has them.
    ///
    /// # Errors
    /// Errors of the database.
    fn define(&self, sql: &str) -> Result<(), Error>;

    /// Runs an `INSERT ... RETURNING id`; returns the id.
    ///
    /// # Errors
    /// Errors of the database; a table without generated ids.
    fn insert(&self, sql: &str, bound: &[Bound<'_>]) -> Result<i64, Error> {
        let id = self.first(sql, bound)?.and_then(|row| row.integer(0));
        id.ok_or_else(|| Error::Lacks("id, counted by the table itself,".into()))
    }
}

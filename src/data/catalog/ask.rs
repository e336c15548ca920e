//! Questions to a metastore, the tables of names, versions and lineage: in SQLite, or in PostgreSQL.
//!
//! One text of SQL serves both: bound values are `?1`, `?2`, identifiers are in double quotes, and only what the two mean
//! alike is used. Every value comes back as its text, so that types that differ (whole numbers, booleans, JSON, times)
//! are read by one hand.

use dcfs_core::time::Timestamp;

use super::columns::Columns;
use super::error::Error;

/// A value in place of `?N`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound<'b> {
    Int(i64),
    Text(&'b str),
}

/// One row of an answer.
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

    /// A whole number; `None` for anything that is not one.
    pub fn integer(&self, index: usize) -> Option<i64> {
        self.text(index)?.trim().parse().ok()
    }

    /// A count or a length; `None` for anything that is neither.
    pub fn unsigned(&self, index: usize) -> Option<u64> {
        self.integer(index).and_then(|n| n.try_into().ok())
    }

    /// A moment; `None` for anything else.
    pub fn time(&self, index: usize) -> Option<Timestamp> {
        Timestamp::parse(self.text(index)?)
    }
}

/// Tables that can be asked.
pub(super) trait Ask {
    /// The columns of `table`; none where there is no such table.
    ///
    /// # Errors
    /// What the database says.
    fn columns(&self, table: &str) -> Result<Columns, Error>;

    /// The rows of `sql`, whose text is ours alone.
    ///
    /// # Errors
    /// What the database says.
    fn ask(&self, sql: &str, bound: &[Bound<'_>]) -> Result<Vec<Answer>, Error>;

    /// The first row of `sql`.
    ///
    /// # Errors
    /// What the database says.
    fn first(&self, sql: &str, bound: &[Bound<'_>]) -> Result<Option<Answer>, Error> {
        Ok(self.ask(sql, bound)?.into_iter().next())
    }
}

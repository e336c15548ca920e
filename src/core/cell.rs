//! One cell of a row table as SQLite holds it: a value of any type may be in any column.
//!
//! The column ([`crate::schema::Field`]) gives a cell its meaning; here it is only a value. Cells
//! are borrowed while their row is read.

/// A value of one of SQLite's five storage classes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Cell<'a> {
    /// Also the value of a column that the table does not have.
    #[default]
    Null,
    Integer(i64),
    /// Never NaN: SQLite stores that as NULL. May be infinite.
    Real(f64),
    /// Should be UTF-8, but a stranger's may not be. May contain NUL.
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

/// The cells of one row, by their index in the query.
pub trait Cells {
    /// The cell of the requested column `index`; [`Cell::Null`] past the last.
    fn cell(&self, index: usize) -> Cell<'_>;
}

impl Cells for &[Cell<'_>] {
    fn cell(&self, index: usize) -> Cell<'_> {
        self.get(index).copied().unwrap_or_default()
    }
}

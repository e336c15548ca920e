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

/// A cell that outlives its row.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum OwnedCell {
    #[default]
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl OwnedCell {
    /// The cell, borrowed.
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Integer(n) => Cell::Integer(*n),
            Self::Real(x) => Cell::Real(*x),
            Self::Text(text) => Cell::Text(text),
            Self::Blob(bytes) => Cell::Blob(bytes),
        }
    }
}

impl From<Cell<'_>> for OwnedCell {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Integer(n) => Self::Integer(n),
            Cell::Real(x) => Self::Real(x),
            Cell::Text(text) => Self::Text(text.to_vec()),
            Cell::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
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

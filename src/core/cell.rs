//! One cell of a row table, as SQLite holds it: any kind may stand in any column.
//!
//! What a cell means is told by its column ([`crate::schema::Field`]); here it is only what it is.
//! Cells are borrowed for as long as their row is looked at.

/// A value of one of SQLite's five storage classes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Cell<'a> {
    /// Also what a column gives that the table does not have.
    #[default]
    Null,
    Integer(i64),
    /// Never NaN: SQLite stores that as NULL. May be infinite.
    Real(f64),
    /// Should be UTF-8; a stranger's need not be. May hold NUL.
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

/// The cells of one row, by their number in the question.
pub trait Cells {
    /// The cell of the column asked for as number `index`; [`Cell::Null`] past the last.
    fn cell(&self, index: usize) -> Cell<'_>;
}

impl Cells for &[Cell<'_>] {
    fn cell(&self, index: usize) -> Cell<'_> {
        self.get(index).copied().unwrap_or_default()
    }
}

//! Rows of a result as lines of text.

use std::ops::ControlFlow;

use super::{Answer, Shape};
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::error::Result;
use dcfs_core::id::RowId;
use dcfs_core::render::rows::{Beside, Format, Layout};
use dcfs_core::render::{grid, markdown};

/// Writes rows as JSON Lines or CSV.
#[derive(Debug)]
pub struct Lines {
    layout: Layout,
    /// The column number in the result of each column of the layout.
    numbers: Vec<usize>,
}

impl Lines {
    /// For rows of this shape.
    pub fn new(shape: &Shape<'_>, format: Format) -> Self {
        let layout = Layout::new(&shape.schema(), format, &[], Beside { path: false, id: false });
        let numbers = layout.columns().iter().filter_map(|name| name.parse().ok()).collect();
        Self { layout, numbers }
    }

    /// The line before the first row; empty for JSON.
    pub fn header(&self) -> &[u8] {
        self.layout.header()
    }

    /// Appends a row and a line end.
    pub fn write(&self, out: &mut Vec<u8>, cells: &[Cell<'_>]) {
        let cells = Numbered { cells, numbers: &self.numbers };
        self.layout.write(out, RowId::new(0), &[], &cells);
    }
}

/// The cells of a row, looked up by the column numbers of a schema.
pub(super) struct Numbered<'c> {
    pub cells: &'c [Cell<'c>],
    pub numbers: &'c [usize],
}

impl Cells for Numbered<'_> {
    fn cell(&self, index: usize) -> Cell<'_> {
        let number = self.numbers.get(index);
        number.and_then(|number| self.cells.get(*number)).copied().unwrap_or_default()
    }
}

/// Writes a whole result as a Markdown table: `each` is called with every line.
///
/// # Errors
/// As [`Answer::rows`]; errors of `each`.
pub fn markdown(
    ready: Answer<'_>,
    shape: &Shape<'_>,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let columns = grid::columns(&shape.schema());
    let numbers: Vec<usize> =
        columns.iter().map(|column| column.column.parse().unwrap_or_default()).collect();
    let line = |cells: &mut dyn Iterator<Item = String>| {
        cells.fold("|".to_owned(), |line, cell| line + " " + &cell + " |") + "\n"
    };
    let titles = &mut columns.iter().map(|column| markdown::text(&column.title()));
    each(line(titles).as_bytes())?;
    each(line(&mut columns.iter().map(|_| "---".to_owned())).as_bytes())?;
    ready.rows(&mut |cells| {
        let texts = columns.iter().zip(&numbers).map(|(column, number)| {
            markdown::text(&column.text(cells.get(*number).copied().unwrap_or_default()))
        });
        each(line(&mut { texts }).as_bytes())?;
        Ok(ControlFlow::Continue(()))
    })
}

//! An answer as Parquet or Arrow: models nest as they do in the versions that they come from.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use super::engine::Answer;
use super::lines::Numbered;
use super::shape::{Seen, Shape};
use super::spool::Spool;
use crate::tables::parquet::{self, Encoding, Take};
use dcfs_core::cell::{Cell, OwnedCell};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::schema::Schema;
use dcfs_disk::scratch;

/// Writes an answer, and returns how many rows it has. Where only values tell the types of columns, its rows lie in a
/// file without a name on the disk of `folder` until all were seen.
///
/// # Errors
/// What the statement says; that `out` or the disk takes no more.
pub fn write(
    answer: Answer<'_>,
    shape: &Shape<'_>,
    encoding: Encoding,
    folder: &Path,
    out: impl Write + Send,
) -> Result<u64> {
    if !shape.is_typed_by_values() {
        return rows(&shape.schema(), encoding, out, |each| answer.rows(&mut |cells| each(cells)));
    }
    let unwritten = |error: io::Error| {
        Error::new(Kind::NoSpace, format!("cannot write a temporary file: {error}"))
    };
    let mut spool = Spool::new(scratch::file(folder).map_err(unwritten)?);
    let mut seen = vec![Seen::default(); answer.columns().len()];
    answer.rows(&mut |cells| {
        seen.iter_mut().zip(cells).for_each(|(seen, cell)| seen.add(*cell));
        spool.push(cells).map_err(unwritten)?;
        Ok(ControlFlow::Continue(()))
    })?;
    rows(&shape.schema_of(&seen), encoding, out, |each| {
        for row in spool.read(seen.len()).map_err(unwritten)? {
            let row = row.map_err(unwritten)?;
            let cells: Vec<Cell<'_>> = row.iter().map(OwnedCell::cell).collect();
            if each(&cells)?.is_break() {
                break;
            }
        }
        Ok(())
    })
}

/// Takes the cells of a row, by their numbers.
type Each<'e> = dyn FnMut(&[Cell<'_>]) -> Result<ControlFlow<()>> + 'e;

fn rows(
    schema: &Schema,
    encoding: Encoding,
    out: impl Write + Send,
    give: impl FnOnce(&mut Each<'_>) -> Result<()>,
) -> Result<u64> {
    parquet::write_rows(schema, encoding, out, |columns: &[String], take: &mut Take<'_>| {
        // An optional model without fields has a column that no answer has.
        let numbers: Vec<usize> =
            columns.iter().map(|name| name.parse().unwrap_or(usize::MAX)).collect();
        give(&mut |cells| take(&Numbered { cells, numbers: &numbers }))
    })
}

//! An answer as Parquet or Arrow: models nest as they do in the versions that they come from.

use std::io::Write;

use super::engine::Answer;
use super::lines::Numbered;
use super::shape::Shape;
use crate::tables::parquet::{self, Encoding};
use dcfs_core::error::Result;

/// Writes an answer, and returns how many rows it has.
///
/// # Errors
/// What the statement says; that `out` takes no more.
pub fn write(
    answer: Answer<'_>,
    shape: &Shape<'_>,
    encoding: Encoding,
    out: impl Write + Send,
) -> Result<u64> {
    parquet::write_rows(&shape.schema(), encoding, out, |columns, take| {
        // An optional model without fields has a column that no answer has.
        let numbers: Vec<usize> =
            columns.iter().map(|name| name.parse().unwrap_or(usize::MAX)).collect();
        answer.rows(&mut |cells| take(&Numbered { cells, numbers: &numbers }))
    })
}

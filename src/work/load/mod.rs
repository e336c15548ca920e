//! Loads the records of a file as a dataset: a row each, with types that hold all values.
//!
//! The file is read twice: once for the types, then for the rows, so that types are not guessed
//! from the first lines and memory does not grow with the number of records.
//!
//! | file | contents |
//! |---|---|
//! | [`records`] | CSV, JSON Lines and JSON as records |
//! | [`mod@parquet`], [`footer`] | Parquet as records; its footer, before anything is built from it |
//! | [`mod@xml`], [`labels`] | elements of XML, and label files of the field, as records |
//! | [`names`] | the names of classes beside YOLO's labels |
//! | [`types`] | finds the types that hold the values seen |

mod footer;
mod labels;
mod names;
pub mod parquet;
mod records;
mod types;
mod xml;

use std::path::Path;

use dcfs_core::cell::Cell;
use dcfs_core::error::{self, Kind, Result};
use dcfs_core::schema::{Layout, Scalar};
use dcfs_data::catalog::{Publication, Saved, Writer};

pub use labels::class_file;
pub use records::{Format, Reading};
use types::Columns;

/// Rows written at a time.
const BATCH: usize = 256;

/// Why a file cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read `{file}`: {cause}")]
    Unread { file: String, cause: std::io::Error },
    #[error("`{file}`, line {line}: {what}")]
    Line { file: String, line: u64, what: String },
    #[error("`{file}`: {what}")]
    File { file: String, what: String },
    #[error(
        "`{file}`, line {line}: `{value}` in column `{column}` is no {wanted}; leave out `--types {column}:...`, or fix the file"
    )]
    Type { file: String, line: u64, column: String, value: String, wanted: &'static str },
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Unread { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => {
                Kind::Missing
            }
            Error::Unread { .. } => Kind::Denied,
            _ => Kind::Invalid,
        };
        Self::new(kind, error)
    }
}

/// The types of a file's records.
#[derive(Debug)]
pub struct Found {
    columns: Columns,
    /// The number of records.
    pub rows: u64,
}

impl Found {
    /// The layout of a version of the records.
    pub fn layout(&self) -> Layout {
        Layout::of_signals(&self.columns.signals())
    }

    /// Columns and their types, for people: `class: int`.
    pub fn told(&self) -> Vec<String> {
        self.columns.told()
    }
}

/// Reads all of `file` and returns the types that hold its values; `types` are requested by the
/// user.
///
/// # Errors
/// [`enum@Error`].
pub fn look(file: &Path, reading: &Reading, types: &[(String, Scalar)]) -> Result<Found> {
    let mut columns = Columns::default();
    let mut rows = 0;
    records::each(file, reading, &mut |_, record| {
        rows += 1;
        columns.see(&record);
        Ok(())
    })?;
    columns.want(types).map_err(|what| Error::File { file: reading.shown(file), what })?;
    Ok(Found { columns, rows })
}

/// Saves the records as a new version; calls `each` with the number of rows so far.
///
/// # Errors
/// As [`look`], if the file changed meanwhile; as [`dcfs_data::catalog::Stage::publish`].
pub fn save<'w>(
    file: &Path,
    reading: &Reading,
    found: &Found,
    writer: &'w mut Writer,
    publication: &Publication<'_>,
    each: impl Fn(u64) + 'w,
) -> Result<Saved> {
    let mut stage = writer.stage(found.layout())?;
    stage.watch(each);
    let mut batch: Vec<Vec<types::Value>> = Vec::new();
    records::each(file, reading, &mut |line, record| {
        let row = found.columns.row(&record).map_err(|odd| Error::Type {
            file: reading.shown(file),
            line,
            column: odd.column,
            value: odd.value,
            wanted: odd.wanted,
        })?;
        batch.push(row);
        if batch.len() == BATCH {
            stage.insert(batch.iter().map(|row| cells(row)))?;
            batch.clear();
        }
        Ok(())
    })?;
    stage.insert(batch.iter().map(|row| cells(row)))?;
    stage.publish(publication)
}

fn cells(row: &[types::Value]) -> Vec<Cell<'_>> {
    row.iter().map(types::Value::cell).collect()
}

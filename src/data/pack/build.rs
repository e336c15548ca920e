//! From the rows of a version to the files of its pack: one scan, one sort, one or two passes.
//!
//! Anonymous memory stays below [`Limits::arena`] for sorting, 64 MiB for turning entries round,
//! and 9 to 18 bytes for every name that has to move, whatever the number of rows.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Limits;
use super::error::{Error, Result};
use super::ids::{self, IdsWriter, RowIds};
use super::manifest::{ColumnPart, Manifest};
use super::output::Sums;
use super::record::Record;
use super::settle::Task;
use super::sort::{Sorted, Sorters};
use crate::catalog::{Catalog, Row, VersionInfo};
use dcfs_core::cancel;
use dcfs_core::id::RowId;
use dcfs_core::schema::FileColumn;
use dcfs_core::tree::place;

/// Where a builder gets its rows: a version in a catalog, or a list in a test.
pub trait Rows {
    /// For the log: `pets@1.0.0`.
    fn label(&self) -> String;

    /// The number of rows, and the first and the last `sys__id`.
    fn extent(&self) -> Result<(u64, RowId, RowId)>;

    /// Whether a column holds more than one source.
    fn has_many_sources(&self, column: &FileColumn) -> Result<bool>;

    /// Every row, by rising `sys__id`.
    fn scan(
        &self,
        columns: &[FileColumn],
        each: &mut dyn FnMut(Row<'_>) -> Result<()>,
    ) -> Result<()>;
}

impl Rows for (&Catalog, &VersionInfo) {
    fn label(&self) -> String {
        format!("{}@{}", self.1.dataset, self.1.version)
    }

    fn extent(&self) -> Result<(u64, RowId, RowId)> {
        self.0.extent(self.1)
    }

    fn has_many_sources(&self, column: &FileColumn) -> Result<bool> {
        self.0.has_many_sources(self.1, column)
    }

    fn scan(
        &self,
        columns: &[FileColumn],
        each: &mut dyn FnMut(Row<'_>) -> Result<()>,
    ) -> Result<()> {
        self.0.scan(self.1, columns, each)
    }
}

/// Writes the pack of `rows` into the empty folder `folder`.
pub fn build(rows: &dyn Rows, columns: &[FileColumn], folder: &Path, limits: Limits) -> Result<()> {
    let mut progress = Progress::new(rows)?;
    let many: Vec<bool> =
        columns.iter().map(|column| rows.has_many_sources(column)).collect::<Result<_>>()?;
    let (ids, mut files, sorted) =
        sort_rows(rows, (columns, &many), folder, limits, &mut progress)?;
    let mut parts = Vec::with_capacity(columns.len());
    for (number, (column, records)) in columns.iter().zip(sorted).enumerate() {
        let is_root = columns.len() == 1;
        let task = Task { folder, number, is_root, ids: &ids, budget: limits.arena };
        let written = task.write(records)?;
        files.extend(written.sums);
        parts.push(ColumnPart::new(column, written.entries, many[number], written.has_moved));
    }
    let entries: u64 = parts.iter().map(|part| u64::from(part.entries)).sum();
    if entries >= u64::from(u32::MAX) {
        return Err(Error::TooMany { what: "files" }.into());
    }
    Manifest::new(ids.count, ids.first, parts, files).write(folder)?;
    progress.done(entries);
    Ok(())
}

/// Scans the rows once and gives the records of every column in order. `many` tells which columns hold
/// several sources.
fn sort_rows(
    rows: &dyn Rows,
    (columns, many): (&[FileColumn], &[bool]),
    folder: &Path,
    limits: Limits,
    progress: &mut Progress,
) -> Result<(RowIds, Sums, Vec<Sorted>)> {
    let mut ids = IdsWriter::new(folder);
    let mut sorters = Sorters::new(folder, "c", columns.len(), limits.arena);
    let mut key = Vec::new();
    rows.scan(columns, &mut |row| {
        let ordinal = ids.push(row.id)?;
        for (column, (object, many)) in row.objects.iter().zip(many).enumerate() {
            let Some(object) = object else { continue };
            place::write_key(object, *many, &mut key);
            sorters.push(column, &Record::new(&key, ordinal, object))?;
        }
        progress.row()
    })?;
    let (ids, sum) = ids.finish()?;
    progress.check()?;
    let files = sum.into_iter().map(|sum| (ids::FILE.to_owned(), sum)).collect();
    Ok((ids, files, sorters.finish()?))
}

/// Says where a long build stands.
struct Progress {
    label: String,
    expected: u64,
    rows: u64,
    started: Instant,
    told: Instant,
}

impl Progress {
    /// Builds shorter than this say nothing.
    const LONG: Duration = Duration::from_secs(1);
    const PAUSE: Duration = Duration::from_secs(2);

    fn new(rows: &dyn Rows) -> Result<Self> {
        let (expected, _, _) = rows.extent()?;
        if expected >= u64::from(u32::MAX) {
            return Err(Error::TooMany { what: "rows" }.into());
        }
        let now = Instant::now();
        // The first line comes after a second, the others every two.
        let told = now.checked_sub(Self::PAUSE - Self::LONG).unwrap_or(now);
        Ok(Self { label: rows.label(), expected, rows: 0, started: now, told })
    }

    /// # Errors
    /// Nobody waits for the pack any more.
    fn row(&mut self) -> Result<()> {
        self.rows += 1;
        if !self.rows.is_multiple_of(4096) {
            return Ok(());
        }
        cancel::check()?;
        if self.told.elapsed() > Self::PAUSE {
            self.told = Instant::now();
            let (version, rows, of) = (&self.label, self.rows, self.expected);
            tracing::info!(version, rows, of, "packing");
        }
        Ok(())
    }

    /// A version is complete when it is shown, so its rows cannot come and go.
    fn check(&self) -> Result<(), Error> {
        let (expected, found) = (self.expected, self.rows);
        if expected == found { Ok(()) } else { Err(Error::Changed { expected, found }) }
    }

    fn done(&self, entries: u64) {
        let took = self.started.elapsed();
        let (version, rows, seconds) = (&self.label, self.rows, took.as_secs_f32());
        if took > Self::LONG {
            tracing::info!(version, rows, entries, seconds, "packed");
        } else {
            tracing::debug!(version, rows, entries, seconds, "packed");
        }
    }
}

//! Builds the files of a pack from the rows of a version: one scan, one sort, one or two passes
//! over the sorted records.
//!
//! Anonymous memory stays below [`Limits::arena`] for sorting, 64 MiB for inverting the map of
//! entries, and 9 to 18 bytes for every name that has to move, whatever the number of rows.

use std::ops::RangeInclusive;
use std::path::Path;

use super::Limits;
use super::error::{PackError, Result};
use super::manifest::{ColumnPart, MOST, Manifest};
use super::progress::Progress;
use super::read;
use super::settle::Task;
use crate::catalog::{Catalog, Row, VersionInfo};
use dcfs_core::id::RowId;
use dcfs_core::schema::FileColumn;

/// The source of a builder's rows: a version in a catalog, or a list in a test.
pub trait Rows: Sync {
    /// For the log: `pets@1.0.0`.
    fn label(&self) -> String;

    /// The number of rows, and the first and the last `sys__id`.
    fn extent(&self) -> Result<(u64, RowId, RowId)>;

    /// Whether a row costs a query of a server, so that the pack keeps what an open asks of it.
    fn are_far(&self) -> bool {
        false
    }

    /// Reads the rows `within` a range, by ascending `sys__id`. Called from several threads.
    fn scan(
        &self,
        columns: &[FileColumn],
        within: RangeInclusive<RowId>,
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

    fn are_far(&self) -> bool {
        self.0.is_far()
    }

    fn scan(
        &self,
        columns: &[FileColumn],
        within: RangeInclusive<RowId>,
        each: &mut dyn FnMut(Row<'_>) -> Result<()>,
    ) -> Result<()> {
        self.0.scan(self.1, columns, within, each)
    }
}

/// Writes the pack of `rows` into the empty folder `folder`.
pub fn build(rows: &dyn Rows, columns: &[FileColumn], folder: &Path, limits: Limits) -> Result<()> {
    let progress = &Progress::new(rows.label(), rows.extent()?.0)?;
    let (budget, stamps) = (limits.arena, rows.are_far());
    let reading = read::Task { rows, columns, folder, stamps, budget, progress };
    let read::Read { ids, mut files, sorted, many } = reading.read()?;
    progress.writing();
    let mut parts = Vec::with_capacity(columns.len());
    for (number, (column, records)) in columns.iter().zip(sorted).enumerate() {
        let is_root = columns.len() == 1;
        let task = Task { folder, number, is_root, ids: &ids, stamps, budget, progress };
        let written = task.write(records)?;
        files.extend(written.sums);
        parts.push(ColumnPart::new(column, written.entries, many[number], written.has_moved));
    }
    let entries: u64 = parts.iter().map(|part| u64::from(part.entries)).sum();
    if entries >= MOST {
        return Err(PackError::TooMany { what: "files" }.into());
    }
    Manifest::new(ids.count, ids.first, parts, files).write(folder)?;
    progress.whole(entries);
    Ok(())
}

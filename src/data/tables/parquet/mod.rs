//! `_rows.parquet`: typed, nested like the models, in row groups of limited size.
//!
//! Uses the column writers of the crate `parquet`: its Arrow layer would build buffers only to take
//! them apart again, and takes longer to compile than everything else here together. One thread
//! reads rows into a group while another encodes the group before it.

mod column;
mod fill;
mod shape;

pub(super) use self::column::Values as LeafValues;
pub(super) use self::fill::Group;

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::TypePtr;

use self::shape::Plan;
use super::arrow;
use super::paths::Paths;
use super::source::Source;
use crate::pack::home::{Draft, Home};
use dcfs_core::cell::Cells;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::render::rows::{Beside, is_metadata};
use dcfs_core::schema::{FileColumn, Schema};

/// The most rows of a row group: as pyarrow and DuckDB write, so that readers can share groups out
/// among threads.
const MOST_ROWS: usize = 122_880;

/// The most bytes of a row group before encoding. Three are in memory at a time.
const MOST_BYTES: usize = 24 << 20;

/// Rows between checks of a group's size, each of which visits every column. Divides [`MOST_ROWS`].
const LOOK: usize = 256;

/// Writes that take longer are logged.
const LONG: Duration = Duration::from_secs(1);

/// How columns are written: both nest as the models nest, and both are made of the same groups of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Compressed and with statistics.
    Parquet,
    /// Arrow IPC: as it lies in memory.
    Arrow,
}

impl Encoding {
    const fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    fn encode(self, root: TypePtr, groups: Receiver<Group>, out: impl Write + Send) -> Result<()> {
        match self {
            Self::Parquet => encode(root, groups, out).map_err(failed),
            Self::Arrow => arrow::encode(&root, groups, out)
                .map_err(|error| unwritten("Arrow", &error.to_string())),
        }
    }
}

/// Translates an error of the writer of Parquet.
fn failed(error: ParquetError) -> Error {
    let cause = match error {
        ParquetError::External(cause) => cause.to_string(),
        other => other.to_string(),
    };
    unwritten("Parquet", &cause)
}

fn unwritten(format: &str, cause: &str) -> Error {
    let is_full = cause.contains("No space left") || cause.contains("os error 28");
    let kind = if is_full { Kind::NoSpace } else { Kind::Broken };
    Error::new(kind, format!("cannot write {format}: {cause}"))
}

/// The table of `source` as a file: from the cache, or written now. Blocks meanwhile.
///
/// # Errors
/// As [`write()`].
pub fn open(source: &Source, encoding: Encoding) -> Result<File> {
    kept(source, encoding.name(), |source, out, each| write(source, encoding, out, each))
}

/// Hugging Face's `metadata.parquet` of `source`, cached like [`open`].
///
/// # Errors
/// As [`write()`].
pub fn open_metadata(source: &Source) -> Result<File> {
    kept(source, "metadata-parquet", |source, out, each| {
        let plan = Plan::metadata(&source.schema, &listed(source)).map_err(failed)?;
        write_plan(source, plan, Encoding::Parquet, out, each)
    })
}

fn kept(
    source: &Source,
    what: &str,
    write: impl FnOnce(&Source, &mut Draft, &dyn Fn(u64)) -> Result<u64>,
) -> Result<File> {
    let home = Home::of(&source.pack, "tables");
    let stem = source.stem(what);
    if let Some(file) = home.find(&stem) {
        return Ok(file);
    }
    let mut draft = home.create()?;
    write(source, &mut draft, &|_| {})?;
    home.keep(draft, &stem)
}

fn listed(source: &Source) -> Vec<FileColumn> {
    source.pack.columns().iter().map(|column| column.file.clone()).collect()
}

/// Writes the rows of `source` and returns their number. Calls `each` now and then with the number
/// of rows read.
///
/// # Errors
/// Errors of the catalog and the pack; a failed write to `out`.
pub fn write(
    source: &Source,
    encoding: Encoding,
    out: impl Write + Send,
    each: &dyn Fn(u64),
) -> Result<u64> {
    let plan = Plan::new(&source.schema, &listed(source), source.beside).map_err(failed)?;
    write_plan(source, plan, encoding, out, each)
}

fn write_plan(
    source: &Source,
    plan: Plan,
    encoding: Encoding,
    out: impl Write + Send,
    each: &dyn Fn(u64),
) -> Result<u64> {
    let started = Instant::now();
    let written = encoded(&plan, encoding, out, |give| read(source, &plan, each, give))?;
    let (version, rows) = (&source.of, written.rows);
    if written.lost > 0 {
        let (cells, table) = (written.lost, encoding.name());
        tracing::warn!(%version, cells, table, "cells of another type than their column's are NULL in a table");
    }
    if started.elapsed() > LONG {
        let (seconds, table) = (started.elapsed().as_secs_f32(), encoding.name());
        tracing::info!(%version, rows, seconds, table, "wrote a table");
    }
    Ok(rows)
}

/// Hands over groups of rows; answers whether more are wanted.
type Give<'g> = dyn FnMut(Group) -> bool + 'g;

/// Encodes on a thread of its own what `read` hands over.
fn encoded(
    plan: &Plan,
    encoding: Encoding,
    out: impl Write + Send,
    read: impl FnOnce(&mut Give<'_>) -> Result<Read>,
) -> Result<Read> {
    thread::scope(|scope| {
        let (full, groups) = sync_channel(1);
        let root = plan.root.clone();
        let encoder = scope.spawn(move || encoding.encode(root, groups, out));
        let read = read(&mut |group| full.send(group).is_ok());
        drop(full);
        // The encoder's error goes first: it is the reason why a group was not taken.
        match encoder.join() {
            Ok(encoded) => encoded.and(read),
            Err(_) => Err(Error::new(Kind::Broken, "the thread that encodes a table died")),
        }
    })
}

/// What takes the rows of an answer one by one; breaks where no more are wanted.
pub type Take<'t> = dyn FnMut(&dyn Cells) -> Result<ControlFlow<()>> + 't;

/// Writes rows that are no version's: `schema` is of their columns, and `rows` is given the database columns whose cells
/// it has to hand over, in order.
///
/// # Errors
/// What `rows` returns; that `out` takes no more.
pub fn write_rows(
    schema: &Schema,
    encoding: Encoding,
    out: impl Write + Send,
    rows: impl FnOnce(&[String], &mut Take<'_>) -> Result<()>,
) -> Result<u64> {
    let beside = Beside { path: false, id: false };
    let plan = Plan::new(schema, &[], beside).map_err(failed)?;
    let written = encoded(&plan, encoding, out, |give| {
        let mut filling = Filling::new(&plan, give);
        rows(&plan.cells, &mut |cells| Ok(filling.add(RowId::new(0), &[], cells, &|_| {})))?;
        Ok(filling.finish())
    })?;
    Ok(written.rows)
}

/// Rows on their way into groups.
struct Filling<'f, 'g> {
    plan: &'f Plan,
    group: Group,
    total: Read,
    give: &'f mut Give<'g>,
}

impl<'f, 'g> Filling<'f, 'g> {
    fn new(plan: &'f Plan, give: &'f mut Give<'g>) -> Self {
        Self { plan, group: Group::new(&plan.columns), total: Read::default(), give }
    }

    fn hand_over(&mut self) -> bool {
        let done = std::mem::replace(&mut self.group, Group::new(&self.plan.columns));
        self.total.rows += done.rows as u64;
        self.total.lost += done.lost;
        (self.give)(done)
    }

    /// Adds a row; breaks where no more are wanted.
    fn add(
        &mut self,
        id: RowId,
        files: &[Option<Vec<u8>>],
        cells: &dyn Cells,
        each: &dyn Fn(u64),
    ) -> ControlFlow<()> {
        self.group.push(&self.plan.nodes, id, files, cells);
        // Cells of strangers may be megabytes each.
        if !self.group.rows.is_multiple_of(LOOK) && self.group.text <= MOST_BYTES {
            return ControlFlow::Continue(());
        }
        each(self.total.rows + self.group.rows as u64);
        if self.group.rows < MOST_ROWS && self.group.weight() <= MOST_BYTES {
            return ControlFlow::Continue(());
        }
        if self.hand_over() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn finish(mut self) -> Read {
        if self.group.rows > 0 {
            self.hand_over();
        }
        self.total
    }
}

/// The outcome of reading.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    rows: u64,
    lost: u64,
}

/// Reads rows into groups.
fn read(source: &Source, plan: &Plan, each: &dyn Fn(u64), give: &mut Give<'_>) -> Result<Read> {
    let mut columns = plan.cells.clone();
    let mut paths = Paths::new(source, &mut columns)?;
    let mut filling = Filling::new(plan, give);
    source.scan(&columns, 0..=u32::MAX, &mut |at, id, cells| {
        let files = paths.of(at, cells)?;
        if plan.needs_file
            && !files.first().is_some_and(|path| path.as_deref().is_some_and(is_data))
        {
            return Ok(ControlFlow::Continue(()));
        }
        Ok(filling.add(id, files, cells, each))
    })?;
    Ok(filling.finish())
}

/// Whether a file is one that the metadata covers.
fn is_data(path: &[u8]) -> bool {
    !is_metadata(path.rsplit(|byte| *byte == b'/').next().unwrap_or_default())
}

/// Encodes groups as they arrive.
fn encode(
    root: TypePtr,
    groups: Receiver<Group>,
    out: impl Write + Send,
) -> Result<(), ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(concat!("dcfs ", env!("CARGO_PKG_VERSION")).into())
        .build();
    let mut file = SerializedFileWriter::new(out, root, Arc::new(properties))?;
    for group in groups {
        let mut row_group = file.next_row_group()?;
        for column in group.columns {
            let Some(mut writer) = row_group.next_column()? else { break };
            column.write(writer.untyped())?;
            writer.close()?;
        }
        row_group.close()?;
    }
    file.close()?;
    Ok(())
}

#[cfg(test)]
mod tests;

//! `_rows.parquet`: typed, nested like the models, in row groups of limited size.
//!
//! Uses the column writers of the crate `parquet`: its Arrow layer would build buffers only to take
//! them apart again, and takes longer to compile than everything else here together. One thread
//! reads rows into a group while another encodes the group before it.

mod column;
mod fill;
mod shape;

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

use self::fill::Group;
use self::shape::Plan;
use super::paths::Paths;
use super::source::Source;
use crate::pack::home::{Draft, Home};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::rows::is_metadata;
use dcfs_core::schema::FileColumn;

/// The most rows of a row group: as pyarrow and DuckDB write, so that readers can share groups out
/// among threads.
const MOST_ROWS: usize = 122_880;

/// The most bytes of a row group before encoding. Three are in memory at a time.
const MOST_BYTES: usize = 24 << 20;

/// Rows between checks of a group's size, each of which visits every column. Divides [`MOST_ROWS`].
const LOOK: usize = 256;

/// Writes that take longer are logged.
const LONG: Duration = Duration::from_secs(1);

/// Translates an error of the Parquet writer.
fn failed(error: ParquetError) -> Error {
    let cause = match error {
        ParquetError::External(cause) => cause.to_string(),
        other => other.to_string(),
    };
    let is_full = cause.contains("No space left") || cause.contains("os error 28");
    let kind = if is_full { Kind::NoSpace } else { Kind::Broken };
    Error::new(kind, format!("cannot write Parquet: {cause}"))
}

/// The table of `source` as a file: from the cache, or written now. Blocks meanwhile.
///
/// # Errors
/// As [`write()`].
pub fn open(source: &Source) -> Result<File> {
    kept(source, "parquet", |source, out, each| write(source, out, each))
}

/// Hugging Face's `metadata.parquet` of `source`, cached like [`open`].
///
/// # Errors
/// As [`write()`].
pub fn open_metadata(source: &Source) -> Result<File> {
    kept(source, "metadata-parquet", |source, out, each| {
        let plan = Plan::metadata(&source.schema, &listed(source)).map_err(failed)?;
        write_plan(source, plan, out, each)
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
pub fn write(source: &Source, out: impl Write + Send, each: &dyn Fn(u64)) -> Result<u64> {
    let plan = Plan::new(&source.schema, &listed(source), source.beside).map_err(failed)?;
    write_plan(source, plan, out, each)
}

fn write_plan(
    source: &Source,
    plan: Plan,
    out: impl Write + Send,
    each: &dyn Fn(u64),
) -> Result<u64> {
    let started = Instant::now();
    let written = thread::scope(|scope| {
        let (full, groups) = sync_channel(1);
        let root = plan.root.clone();
        let encoder = scope.spawn(move || encode(root, groups, out).map_err(failed));
        let read = read(source, &plan, each, &mut |group| full.send(group).is_ok());
        drop(full);
        // The encoder's error goes first: it is the reason why a group was not taken.
        match encoder.join() {
            Ok(encoded) => encoded.and(read),
            Err(_) => Err(Error::new(Kind::Broken, "the thread that encodes Parquet died")),
        }
    })?;
    let (version, rows) = (&source.of, written.rows);
    if written.lost > 0 {
        let cells = written.lost;
        tracing::warn!(%version, cells, "cells of another type than their column's are NULL in Parquet");
    }
    if started.elapsed() > LONG {
        let seconds = started.elapsed().as_secs_f32();
        tracing::info!(%version, rows, seconds, "wrote a table as Parquet");
    }
    Ok(rows)
}

/// The outcome of reading.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    rows: u64,
    lost: u64,
}

/// Reads rows into groups; `give` returns whether more are wanted.
fn read(
    source: &Source,
    plan: &Plan,
    each: &dyn Fn(u64),
    give: &mut dyn FnMut(Group) -> bool,
) -> Result<Read> {
    let mut group = Group::new(&plan.columns);
    let mut total = Read::default();
    let mut columns = plan.cells.clone();
    let mut paths = Paths::new(source, &mut columns)?;
    let mut hand_over = |group: Group, total: &mut Read| {
        total.rows += group.rows as u64;
        total.lost += group.lost;
        give(group)
    };
    source.scan(&columns, 0..=u32::MAX, &mut |at, id, cells| {
        let files = paths.of(at, cells)?;
        if plan.needs_file
            && !files.first().is_some_and(|path| path.as_deref().is_some_and(is_data))
        {
            return Ok(ControlFlow::Continue(()));
        }
        group.push(&plan.nodes, id, files, cells);
        // A stranger's cells may be megabytes each.
        if !group.rows.is_multiple_of(LOOK) && group.text <= MOST_BYTES {
            return Ok(ControlFlow::Continue(()));
        }
        each(total.rows + group.rows as u64);
        if group.rows < MOST_ROWS && group.weight() <= MOST_BYTES {
            return Ok(ControlFlow::Continue(()));
        }
        let done = std::mem::replace(&mut group, Group::new(&plan.columns));
        let goes_on = hand_over(done, &mut total);
        Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    if group.rows > 0 {
        hand_over(group, &mut total);
    }
    Ok(total)
}

/// Whether a file is one that the metadata covers.
fn is_data(path: &[u8]) -> bool {
    !is_metadata(path.rsplit(|byte| *byte == b'/').next().unwrap_or_default())
}

/// Encodes groups as they arrive.
fn encode(
    root: parquet::schema::types::TypePtr,
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

//! Saves the result of a statement as a version.

use std::io;

use dcfs_core::cell::OwnedCell;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_data::catalog::{Publication, Saved, Writer};
use dcfs_data::sql::{Seen, Shape, Spool};

/// Rows written at a time: the write lock is held no longer than that takes.
const BATCH: usize = 256;

/// Saves the rows of `spool`, with the columns of `shape`, as a new version; calls `each` with the
/// number of rows so far.
///
/// # Errors
/// As [`dcfs_data::catalog::Stage::publish`]; a temporary file that cannot be read. Nothing was
/// saved then.
pub fn save<'w>(
    spool: Spool,
    shape: &Shape<'_>,
    seen: &[Seen],
    writer: &'w mut Writer,
    publication: &Publication<'_>,
    each: impl Fn(u64) + 'w,
) -> Result<Saved> {
    let unread = |error: io::Error| {
        Error::new(Kind::Broken, format!("cannot read a temporary file: {error}"))
    };
    let (layout, order) = shape.layout(seen);
    let mut stage = writer.stage(layout)?;
    stage.watch(each);
    let mut rows = spool.read(seen.len()).map_err(unread)?;
    loop {
        let batch: Vec<Vec<OwnedCell>> =
            rows.by_ref().take(BATCH).collect::<io::Result<_>>().map_err(unread)?;
        let count = batch.len();
        stage.insert(
            batch.iter().map(|row| order.iter().map(|at| row[*at].cell()).collect::<Vec<_>>()),
        )?;
        if count < BATCH {
            break;
        }
    }
    stage.publish(publication)
}

//! Reads the rows for a program ahead of it: ids, objects, and the requested columns.

use std::cell::{Cell as Slot, RefCell};
use std::ops::{ControlFlow, RangeInclusive};

use dcfs_core::cell::Cells;
use dcfs_core::error::{Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use dcfs_core::render::rows::{Beside, Format, Layout};
use dcfs_core::schema::{FileColumn, Schema};
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::runs::{Shard, key};
use roaring::RoaringTreemap;
use tokio::sync::mpsc::Sender;

/// Rows read at a time, in one transaction.
const CHUNK: usize = 256;

/// A row on its way to a program.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: RowId,
    /// One, or those of a group; empty if no file is wanted, or the row names none.
    pub objects: Vec<Object>,
    /// The requested columns, as a JSON object.
    pub columns: Vec<u8>,
    /// The name of the group, if it stands for one: its columns are lists then.
    pub group: Option<String>,
}

/// The data to read of a row.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub file: Option<FileColumn>,
    pub columns: Layout,
    pub shard: Option<Shard>,
}

impl Wanted {
    /// The file of `file`, and the named columns: leaves, or whole models.
    ///
    /// # Errors
    /// A name that no column has.
    pub fn new(
        schema: &Schema,
        file: Option<FileColumn>,
        columns: &[String],
        shard: Option<Shard>,
    ) -> Result<Self> {
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        let schema = schema.select(&names, &[])?;
        let columns = Layout::new(&schema, Format::Jsonl, &[], Beside { path: false, id: false });
        Ok(Self { file, columns, shard })
    }
}

/// Reads the rows of `ranges` in order, without those that are `done`, until there are `most` of
/// them or nobody takes them any more.
///
/// # Errors
/// Errors of the catalog.
pub fn feed(
    (catalog, of): (&Catalog, &VersionInfo),
    wanted: &Wanted,
    ranges: &mut dyn Iterator<Item = RangeInclusive<RowId>>,
    (done, most): (&RoaringTreemap, u64),
    to: &Sender<Vec<Row>>,
) -> Result<()> {
    let mut left = most;
    let mut rest: Option<RangeInclusive<RowId>> = None;
    loop {
        // The current range, and the last row read of it.
        let now: RefCell<Option<RangeInclusive<RowId>>> = RefCell::new(None);
        let last: Slot<Option<RowId>> = Slot::new(None);
        let mut next = std::iter::from_fn(|| {
            let range = rest.take().or_else(|| ranges.next());
            now.replace(range.clone());
            last.set(None);
            range
        });
        let mut rows = Vec::new();
        let (mut seen, mut is_over) = (0, true);
        let mut each = |id: RowId, cells: &dyn Cells| {
            seen += 1;
            last.set(Some(id));
            let is_mine = wanted.shard.is_none_or(|shard| shard.has(id));
            if is_mine && !done.contains(key(id)) && (rows.len() as u64) < left {
                let mut columns = Vec::new();
                wanted.columns.write(&mut columns, id, &[], cells);
                columns.truncate(columns.trim_ascii_end().len());
                rows.push(Row { id, objects: Vec::new(), columns, group: None });
            }
            // Rows that are done are skipped quickly, but not endlessly in one transaction.
            is_over = rows.len() < CHUNK && seen < 64 * CHUNK;
            Ok(if is_over { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        };
        catalog.cells(of, wanted.columns.columns(), &mut next, &mut each)?;
        rest = now.take().and_then(|range| {
            let next = last.get()?.key().checked_add(1)?;
            (next <= range.end().key()).then(|| RowId::new(next)..=*range.end())
        });
        if let Some(file) = &wanted.file {
            let ids: Vec<RowId> = rows.iter().map(|row| row.id).collect();
            let objects = catalog.objects(of, file, &ids)?;
            rows.iter_mut().zip(objects).for_each(|(row, object)| row.objects.extend(object));
        }
        // Otherwise the page cache fills with rows that are not read again.
        catalog.forget_pages()?;
        left -= rows.len() as u64;
        let is_taken = rows.is_empty() || to.blocking_send(rows).is_ok();
        if is_over || left == 0 || !is_taken {
            return Ok(());
        }
    }
}

/// Whether the error means that a version was removed during the run.
pub fn is_gone(error: &dcfs_core::error::Error) -> bool {
    matches!(error.kind(), Kind::Stale | Kind::Missing)
}

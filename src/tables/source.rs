//! The rows that a table shows, in order.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::catalog::{Catalog, VersionInfo};
use crate::cell::Cells;
use crate::error::{Error, Kind, Result};
use crate::id::RowId;
use crate::pack::{Ordinals, Pack};
use crate::render::rows::{Format, Layout};
use crate::schema::Schema;

/// Moves with every change of how rows are written: a table kept by another dcfs is not read.
const FORMAT: u32 = 1;

/// All rows of a version, or a set of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source {
    pub catalog: Arc<Catalog>,
    pub of: VersionInfo,
    pub schema: Arc<Schema>,
    /// Knows which file each row names.
    pub pack: Arc<Pack>,
    /// Which rows; all where it is `None`.
    pub rows: Option<Arc<Ordinals>>,
}

/// What a scan calls for every row: its ordinal, its id, and the cells asked for.
pub type EachRow<'e> = dyn FnMut(u32, RowId, &dyn Cells) -> Result<ControlFlow<()>> + 'e;

impl Source {
    /// How many rows there are.
    pub fn row_count(&self) -> u64 {
        self.rows.as_ref().map_or_else(|| self.pack.row_count().into(), |rows| rows.len())
    }

    /// How its rows are written in `format`.
    pub fn layout(&self, format: Format) -> Layout {
        let listed: Vec<_> = self.pack.columns().iter().map(|column| column.file.clone()).collect();
        Layout::new(&self.schema, format, &listed)
    }

    /// The name of a file about these rows: what it is, which rows, and which dcfs wrote it, for
    /// another may write rows otherwise.
    pub(super) fn stem(&self, what: &str) -> String {
        let rows = match &self.rows {
            None => "all".into(),
            Some(rows) => {
                let mut hash = Sha256::new();
                let ranges = std::iter::from_fn({
                    let mut rows = rows.iter();
                    move || rows.next_range()
                });
                for range in ranges {
                    hash.update(range.start().to_le_bytes());
                    hash.update(range.end().to_le_bytes());
                }
                hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
            }
        };
        format!("{what}-{rows}-{FORMAT}-{}", env!("CARGO_PKG_VERSION").replace('.', "_"))
    }

    /// Calls `each` with the rows whose ordinals are in `within`, by rising `sys__id`, until it
    /// breaks. Within a short transaction: `each` should not wait on anything.
    ///
    /// # Errors
    /// [`Kind::Stale`] where the version is removed, or its rows are not those that were packed; what
    /// `each` returns.
    pub fn scan(
        &self,
        columns: &[String],
        within: RangeInclusive<u32>,
        each: &mut EachRow<'_>,
    ) -> Result<()> {
        let mut ordinals = self.ordinals(within.clone());
        let mut ranges = self.id_ranges(within);
        self.catalog.cells(&self.of, columns, &mut ranges, &mut |id, cells| match ordinals
            .next()
            .filter(|ordinal| self.pack.row_id(*ordinal) == Some(id))
        {
            Some(ordinal) => each(ordinal, id, cells),
            None => Err(Error::new(
                Kind::Stale,
                format!("row {id} of `{}` is not the one that was packed", self.of),
            )),
        })
    }

    /// The ordinals of the rows, rising.
    pub fn ordinals(&self, within: RangeInclusive<u32>) -> Box<dyn Iterator<Item = u32> + '_> {
        match &self.rows {
            Some(rows) => Box::new(rows.range(within)),
            None => Box::new(clamp(&within, self.pack.row_count()).into_iter().flatten()),
        }
    }

    /// The same as ranges of ids, each as long as it can be.
    fn id_ranges(
        &self,
        within: RangeInclusive<u32>,
    ) -> Box<dyn Iterator<Item = RangeInclusive<RowId>> + '_> {
        let ids = |run: RangeInclusive<u32>| {
            Some(self.pack.row_id(*run.start())?..=self.pack.row_id(*run.end())?)
        };
        match &self.rows {
            Some(rows) => {
                let mut rows = rows.range(within);
                Box::new(std::iter::from_fn(move || rows.next_range().and_then(ids)))
            }
            None => Box::new(clamp(&within, self.pack.row_count()).and_then(ids).into_iter()),
        }
    }
}

/// The numbers of `within` that are below `count`.
fn clamp(within: &RangeInclusive<u32>, count: u32) -> Option<RangeInclusive<u32>> {
    let last = count.checked_sub(1)?.min(*within.end());
    (*within.start() <= last).then(|| *within.start()..=last)
}

//! The rows of a table, in order.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::catalog::{Catalog, VersionInfo};
use crate::pack::{Dir, Ordinals, Pack, RowIds, hash_ordinals};
use crate::query::Ranking;
use dcfs_core::cancel;
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::Val;
use dcfs_core::hex::hex;
use dcfs_core::id::RowId;
use dcfs_core::render::rows::{Beside, Format, Layout};
use dcfs_core::schema::{Field, Schema, Shape, ValueType};

/// Changes whenever rows are written differently: a table cached by another dcfs version is not
/// read.
const FORMAT: u32 = 2;

/// All rows of a version, or a set of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source {
    pub catalog: Arc<Catalog>,
    pub of: VersionInfo,
    pub schema: Arc<Schema>,
    /// The pack that maps rows to files.
    pub pack: Arc<Pack>,
    pub rows: Rows,
    /// The directory of the table, if it is not the version's own.
    pub root: Option<Dir>,
    /// Whether that is a directory of ranked names.
    pub is_ranked: bool,
    /// The columns besides those of the schema.
    pub beside: Beside,
}

/// The rows, and their order.
#[derive(Clone, Debug)]
pub enum Rows {
    All,
    /// By ascending ordinals.
    Some(Arc<Ordinals>),
    Ranked(Arc<Ranking>),
}

/// A row's position in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Its ordinal or, in a ranking, its rank counted from 0.
    pub position: u32,
    pub ordinal: u32,
}

/// The callback of a scan for every row: its position, its id, and the requested cells.
pub type EachRow<'e> = dyn FnMut(At, RowId, &dyn Cells) -> Result<ControlFlow<()>> + 'e;

/// The name of the column with a ranking's keys in a table, if no signal has that name.
const ORDER_KEY: &str = "order_key";

/// The column of keys as a database column, which no table has.
const KEY_COLUMN: &str = "\0order_key";

/// Rows between checks for cancellation.
const OFTEN: u32 = 4096;

/// A schema with the keys of a ranking as its last column.
pub fn with_keys(schema: &Schema, ranking: &Ranking) -> Schema {
    let mut name = ORDER_KEY.to_owned();
    while schema.signals.iter().any(|signal| signal.name == name) {
        name.insert(0, '_');
    }
    let type_text = match ranking.key {
        ValueType::Bool => "bool",
        ValueType::Int => "int",
        ValueType::Float => "float",
        ValueType::Time => "datetime",
        _ => "str",
    };
    let shape = Shape::Column { column: KEY_COLUMN.to_owned(), value: ranking.key.clone() };
    let type_text = type_text.to_owned();
    let mut schema = schema.clone();
    schema.signals.push(Field { name, type_text, shape, optional: true, hidden: false });
    schema
}

/// Cells with the key of a ranking among them.
struct WithKey<'c> {
    cells: &'c dyn Cells,
    at: Option<usize>,
    key: Cell<'c>,
}

impl Cells for WithKey<'_> {
    fn cell(&self, index: usize) -> Cell<'_> {
        if Some(index) == self.at { self.key } else { self.cells.cell(index) }
    }
}

fn key_cell(ranking: &Ranking, position: u32) -> Cell<'_> {
    match ranking.rows.get(position as usize).map(|ranked| &ranked.key) {
        Some(Val::Int(n)) => Cell::Integer(*n),
        Some(Val::Real(x)) => Cell::Real(*x),
        Some(Val::Text(text)) => Cell::Text(text),
        Some(Val::Null) | None => Cell::Null,
    }
}

impl Source {
    /// The number of rows.
    pub fn row_count(&self) -> u64 {
        match &self.rows {
            Rows::All => self.pack.row_count().into(),
            Rows::Some(rows) => rows.len(),
            Rows::Ranked(ranking) => ranking.rows.len() as u64,
        }
    }

    /// Positions are below this.
    pub fn positions(&self) -> u32 {
        match &self.rows {
            Rows::All | Rows::Some(_) => self.pack.row_count(),
            Rows::Ranked(ranking) => ranking.rows.len() as u32,
        }
    }

    /// The layout of its rows in `format`.
    pub fn layout(&self, format: Format) -> Layout {
        let listed: Vec<_> = self.pack.columns().iter().map(|column| column.file.clone()).collect();
        Layout::new(&self.schema, format, &listed, self.beside)
    }

    /// The name of a file in the cache about these rows: its kind, the rows, and the version of
    /// dcfs, because another may write rows differently.
    pub fn stem(&self, what: &str) -> String {
        let mut hash = Sha256::new();
        let rows = match &self.rows {
            Rows::All if self.root.is_none() => "all".into(),
            rows => {
                rows.hash(&mut hash);
                if let Some(dir) = self.root {
                    hash.update(format!("{dir:?}"));
                }
                if self.is_ranked {
                    hash.update([1]);
                }
                hex(&hash.finalize()[..16])
            }
        };
        format!("{what}-{rows}-{FORMAT}-{}", env!("CARGO_PKG_VERSION").replace('.', "_"))
    }

    /// Calls `each` with the rows whose positions are in `within`, in order, until it breaks.
    /// `each` runs inside a short transaction, and should not block.
    ///
    /// # Errors
    /// [`Kind::Stale`] if the version was removed, or its rows are not those that were packed;
    /// errors of `each`.
    pub fn scan(
        &self,
        columns: &[String],
        within: RangeInclusive<u32>,
        each: &mut EachRow<'_>,
    ) -> Result<()> {
        let key = columns.iter().position(|column| column == KEY_COLUMN);
        let mut scanned = 0_u32;
        let mut places = self.places(within.clone());
        let ids = self.pack.ids()?;
        let mut ranges = self.id_ranges(ids, within);
        self.catalog.cells(&self.of, columns, &mut ranges, &mut |id, cells| {
            scanned = scanned.wrapping_add(1);
            if scanned.is_multiple_of(OFTEN) {
                cancel::check()?;
            }
            let at = places.next().filter(|at| ids.get(at.ordinal) == Some(id));
            match at {
                Some(at) => match &self.rows {
                    Rows::Ranked(ranking) => {
                        let key_of_row = key_cell(ranking, at.position);
                        each(at, id, &WithKey { cells, at: key, key: key_of_row })
                    }
                    _ => each(at, id, cells),
                },
                None => Err(Error::new(
                    Kind::Stale,
                    format!("row {id} of `{}` is not the one that was packed", self.of),
                )),
            }
        })
    }

    /// The positions of the rows, in order.
    pub fn places(&self, within: RangeInclusive<u32>) -> Box<dyn Iterator<Item = At> + '_> {
        let plain = |ordinal| At { position: ordinal, ordinal };
        match &self.rows {
            Rows::Some(rows) => Box::new(rows.range(within).map(plain)),
            Rows::All => {
                Box::new(clamp(&within, self.positions()).into_iter().flatten().map(plain))
            }
            Rows::Ranked(ranking) => {
                let positions = clamp(&within, self.positions()).into_iter().flatten();
                Box::new(
                    positions.filter_map(|position| {
                        Some(At { position, ordinal: ranking.row(position)? })
                    }),
                )
            }
        }
    }

    /// The same as ranges of ids, each as long as possible.
    fn id_ranges<'s>(
        &'s self,
        known: &'s RowIds,
        within: RangeInclusive<u32>,
    ) -> Box<dyn Iterator<Item = RangeInclusive<RowId>> + 's> {
        let ids =
            |run: RangeInclusive<u32>| Some(known.get(*run.start())?..=known.get(*run.end())?);
        match &self.rows {
            Rows::Some(rows) => {
                let mut rows = rows.range(within);
                Box::new(std::iter::from_fn(move || rows.next_range().and_then(ids)))
            }
            Rows::All => Box::new(clamp(&within, self.positions()).and_then(ids).into_iter()),
            Rows::Ranked(_) => {
                Box::new(self.places(within).filter_map(move |at| ids(at.ordinal..=at.ordinal)))
            }
        }
    }
}

impl Rows {
    /// Hashes everything that identifies these rows.
    fn hash(&self, hash: &mut Sha256) {
        match self {
            Self::All => {}
            Self::Some(rows) => hash_ordinals(rows, hash),
            Self::Ranked(ranking) => {
                hash.update(format!("{} {:?}", ranking.offset, ranking.key));
                for ranked in &ranking.rows {
                    hash.update(ranked.row.to_le_bytes());
                    hash.update(format!("{:?}", ranked.key));
                }
            }
        }
    }
}

/// The part of `within` that is below `count`.
fn clamp(within: &RangeInclusive<u32>, count: u32) -> Option<RangeInclusive<u32>> {
    let last = count.checked_sub(1)?.min(*within.end());
    (*within.start() <= last).then(|| *within.start()..=last)
}

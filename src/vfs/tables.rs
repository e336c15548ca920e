//! The tables of a view's rows: there by name, with exact sizes, never listed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::handles::Handle;
use super::inode::{Inode, Slot};
use super::place::Place;
use super::{Answer, Attr, Opened, Vfs};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::kept::Kept;
use dcfs_core::render::rows::Format;
use dcfs_data::stats;
use dcfs_data::tables::{Blocks, TextTable, parquet};

/// A table, by its name in the directory of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    Count,
    Csv,
    Jsonl,
    Parquet,
    /// `metadata.jsonl` of `_views/hf`, where it is listed.
    Metadata,
    /// The same as Parquet, by name alone: Hugging Face takes one kind of metadata, and refuses two.
    MetadataParquet,
    /// Names and texts, where a column has texts for captions. By name alone as well.
    Captions,
    /// Statistics of the columns: for programs, and for people.
    Stats,
    StatsPage,
}

impl Table {
    /// Every table, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Count,
        Self::Csv,
        Self::Jsonl,
        Self::Parquet,
        Self::Metadata,
        Self::MetadataParquet,
        Self::Captions,
        Self::Stats,
        Self::StatsPage,
    ];

    /// Those of `_views/hf`.
    pub const HUGGING_FACE: [Self; 3] = [Self::Metadata, Self::MetadataParquet, Self::Captions];

    /// Those that a version has, unlisted.
    pub const BY_NAME: [Self; 6] =
        [Self::Count, Self::Csv, Self::Jsonl, Self::Parquet, Self::Stats, Self::StatsPage];

    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "_count",
            Self::Csv => "_rows.csv",
            Self::Jsonl => "_rows.jsonl",
            Self::Parquet => "_rows.parquet",
            Self::Metadata => "metadata.jsonl",
            Self::MetadataParquet => "metadata.parquet",
            Self::Captions => "captions.csv",
            Self::Stats => "_stats.json",
            Self::StatsPage => "_stats.md",
        }
    }
}

/// Memory for tables that stay ready, in bytes: each counts as [`TABLE`], an index or an open file, and
/// the rows that it is of.
const MOST: usize = 64 << 20;
const TABLE: usize = 256 << 10;

/// Memory for text rendered lately, in bytes.
const BLOCKS: usize = 32 << 20;

/// The tables of a mount.
#[derive(Debug)]
pub struct Tables {
    open: Kept<(Slot, Table), Content>,
    blocks: Arc<Blocks>,
}

impl Default for Tables {
    fn default() -> Self {
        Self { open: Kept::new(MOST), blocks: Arc::new(Blocks::new(BLOCKS)) }
    }
}

impl Tables {
    /// Drops the tables of a view that went.
    pub fn forget(&self, slot: Slot) {
        Table::ALL.iter().for_each(|table| self.open.remove(&(slot, *table)));
    }
}

/// A table that can be read.
#[derive(Debug)]
pub enum Content {
    Small(Bytes),
    Text(Box<TextTable>),
    /// A file of the cache, and its size.
    File(File, u64),
    /// What a directory below `_views/` makes.
    Made(Arc<dyn Made>),
}

/// A file that is computed where it is read.
pub trait Made: std::fmt::Debug + Send + Sync {
    /// Bytes.
    fn size(&self) -> u64;

    /// The bytes `offset..offset + length`, cut at the end. Blocks.
    fn read(&self, offset: u64, length: u32) -> Result<Bytes>;
}

impl Content {
    /// Bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Small(text) => text.len() as u64,
            Self::Text(table) => table.size(),
            Self::File(_, size) => *size,
            Self::Made(made) => made.size(),
        }
    }

    /// The bytes `offset..offset + length`, cut at the end. Blocks.
    pub fn read(&self, offset: u64, length: u32) -> Result<Bytes> {
        match self {
            Self::Small(text) => Ok(super::cut(text, offset, length)),
            Self::Text(table) => table.read(offset, length),
            Self::File(file, size) => read_file(file, *size, offset, length),
            Self::Made(made) => made.read(offset, length),
        }
    }
}

fn read_file(file: &File, size: u64, offset: u64, length: u32) -> Result<Bytes> {
    let length = u64::from(length).min(size.saturating_sub(offset)) as usize;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).map_err(broken)?;
    Ok(bytes.into())
}

fn broken(error: std::io::Error) -> Error {
    Error::new(Kind::Broken, format!("a table in the cache cannot be read: {error}"))
}

impl Vfs {
    /// The attributes of a table; its size is found first, which may take a pass over the rows.
    pub(super) fn table_attr(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        table: Table,
    ) -> Answer<Attr> {
        self.with_place_in_task(number, slot, move |vfs, place| vfs.table_of(place, table))
    }

    pub(super) fn table_of(&self, place: &Place, table: Table) -> Result<Attr> {
        let size = self.table(place, table)?.size();
        Ok(self.fixed(Inode::Table(place.slot, table), &place.view.of, size))
    }

    /// Opens a table.
    pub(super) fn open_table(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        table: Table,
    ) -> Answer<Opened> {
        let vfs = self.clone();
        let found =
            self.with_place_in_task(number, slot, move |vfs, place| vfs.table(place, table));
        found.map(move |content| vfs.opened(Handle::Table(content)))
    }

    /// The table, made where it is not there. Blocks.
    fn table(&self, place: &Place, table: Table) -> Result<Arc<Content>> {
        self.tables.open.get(
            &(place.slot, table),
            |_| TABLE + place.shown.as_ref().map_or(0, |shown| shown.weight()),
            || {
                let source = place.source(self)?;
                let format = match table {
                    Table::Count => {
                        return Ok(Content::Small(format!("{}\n", source.row_count()).into()));
                    }
                    Table::Parquet | Table::MetadataParquet => {
                        let file = match table {
                            Table::Parquet => parquet::open(&source)?,
                            _ => parquet::open_metadata(&source)?,
                        };
                        let size = file.metadata().map_err(broken)?.len();
                        return Ok(Content::File(file, size));
                    }
                    Table::Stats => {
                        return Ok(Content::Small(stats::of(&source, &|_| {})?.json.into()));
                    }
                    Table::StatsPage => {
                        let filters = self.narrowed(place).map_or(Vec::new(), |of| of.filters);
                        let found = stats::of(&source, &|_| {})?;
                        return Ok(Content::Small(found.facts.page(&filters).into()));
                    }
                    Table::Csv => Format::Csv,
                    Table::Jsonl => Format::Jsonl,
                    Table::Metadata => Format::Metadata,
                    Table::Captions => Format::Captions,
                };
                let text = TextTable::open(source, format, self.tables.blocks.clone())?;
                Ok(Content::Text(Box::new(text)))
            },
        )
    }
}

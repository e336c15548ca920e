//! The buffers of one File column: written entry by entry in key order, read by entry number.
//!
//! | file | one per | holds |
//! |---|---|---|
//! | `c<N>.fst` | | sort key > entry |
//! | `c<N>.size` | entry | u64 bytes, `u64::MAX` for none |
//! | `c<N>.mtime` | entry | i64 microseconds, `i64::MIN` for none |
//! | `c<N>.identity` | entry | u64, the first half of the object's identity |
//! | `c<N>.rows` | row with an object | u32 ordinal, entry after entry |
//! | `c<N>.offsets` | entry, and one more | u32, the start of its rows; only if any entry has several |
//! | `c<N>.entry` | row | u32 entry, `u32::MAX` for none |
//! | `c<N>.stamps`, `c<N>.stampat` | entry | version and etag, in some packs: [`super::stamp`] |

use std::fs;
use std::path::{Path, PathBuf};

use super::error::PackError;
use super::index::IndexWriter;
use super::output::{Output, Sum, Sums, mapped};
use super::paths::Paths;
use super::record::{Entry, NO_SIZE, NO_TIME};
use super::stamp::{StampWriter, Stamps};
use dcfs_core::time::Timestamp;
use dcfs_disk::map::Map;

/// Marks a row without an object in `c<N>.entry`.
const NO_ENTRY: u32 = u32::MAX;

/// Rows of `c<N>.entry` assembled in memory at a time: 64 MiB.
const WINDOW: u32 = 1 << 24;

/// `c0.fst`.
pub fn file_name(column: usize, part: &str) -> String {
    format!("c{column}.{part}")
}

/// Writes a column; entries must come in key order.
pub struct ColumnWriter {
    folder: PathBuf,
    number: usize,
    paths: IndexWriter,
    size: Output,
    mtime: Output,
    identity: Output,
    rows: Output,
    offsets: Output,
    stamps: Option<StampWriter>,
    entries: u32,
    row_count: u32,
}

impl ColumnWriter {
    /// `stamps` says whether entries have stamps.
    pub fn create(folder: &Path, number: usize, stamps: bool) -> Result<Self, PackError> {
        let file = |part| Output::create(folder.join(file_name(number, part)));
        Ok(Self {
            folder: folder.to_path_buf(),
            number,
            paths: IndexWriter::new(file("fst")?)?,
            size: file("size")?,
            mtime: file("mtime")?,
            identity: file("identity")?,
            rows: file("rows")?,
            offsets: file("offsets")?,
            stamps: stamps.then(|| StampWriter::create(folder, number)).transpose()?,
            entries: 0,
            row_count: 0,
        })
    }

    /// Adds an object under its own key.
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<(), PackError> {
        let row = entry.row;
        self.push_as(row.key, (row.size, row.mtime, row.identity.short()), row.stamp)?;
        self.push_row(row.ordinal)?;
        entry.more.iter().try_for_each(|ordinal| self.push_row(*ordinal))
    }

    /// Begins an entry with its size, time, identity and stamp; its rows follow.
    pub fn push_as(
        &mut self,
        key: &[u8],
        (size, mtime, identity): (u64, i64, u64),
        stamp: &[u8],
    ) -> Result<(), PackError> {
        self.paths.push(key)?;
        self.size.put(&size.to_le_bytes())?;
        self.mtime.put(&mtime.to_le_bytes())?;
        self.identity.put(&identity.to_le_bytes())?;
        self.offsets.put(&self.row_count.to_le_bytes())?;
        if let Some(stamps) = &mut self.stamps {
            stamps.push(stamp)?;
        }
        // No overflow: there are at most as many entries as rows.
        self.entries += 1;
        Ok(())
    }

    pub fn push_row(&mut self, ordinal: u32) -> Result<(), PackError> {
        self.row_count += 1;
        self.rows.put(&ordinal.to_le_bytes())
    }

    /// Closes the files, and writes `c<N>.entry` for `rows` rows; returns the files and the number
    /// of entries.
    pub fn finish(mut self, rows: u32) -> Result<(Sums, u32), PackError> {
        let mut sums = Sums::new();
        self.offsets.put(&self.row_count.to_le_bytes())?;
        let has_offsets = self.row_count != self.entries;
        let parts = [
            ("fst", self.paths.finish()?),
            ("size", self.size),
            ("mtime", self.mtime),
            ("identity", self.identity),
            ("rows", self.rows),
            ("offsets", self.offsets),
        ];
        for (part, file) in parts {
            let path = file.path().to_path_buf();
            let (_, sum) = file.finish()?;
            if part == "offsets" && !has_offsets {
                fs::remove_file(&path).map_err(PackError::write(&path))?;
            } else {
                sums.insert(file_name(self.number, part), sum);
            }
        }
        for (part, sum) in self.stamps.map(StampWriter::finish).transpose()?.into_iter().flatten() {
            sums.insert(file_name(self.number, part), sum);
        }
        let (name, sum) = write_entry_of(&self.folder, self.number, self.entries, rows)?;
        sums.insert(name, sum);
        Ok((sums, self.entries))
    }
}

/// Inverts entry > rows into row > entry: window by window, so that memory stays bounded and files
/// are written sequentially.
fn write_entry_of(
    folder: &Path,
    number: usize,
    entries: u32,
    rows: u32,
) -> Result<(String, Sum), PackError> {
    let by_entry = RowsOf::open(folder, number)?;
    let name = file_name(number, "entry");
    let mut out = Output::create(folder.join(&name))?;
    let mut start = 0;
    while start < rows {
        let length = WINDOW.min(rows - start);
        let mut window = vec![NO_ENTRY; length as usize];
        for entry in 0..entries {
            for ordinal in by_entry.get(entry)? {
                if let Some(slot) = window.get_mut(ordinal.wrapping_sub(start) as usize) {
                    *slot = entry;
                }
            }
        }
        window.iter().try_for_each(|entry| out.put(&entry.to_le_bytes()))?;
        start += length;
    }
    let (_, sum) = out.finish()?;
    Ok((name, sum))
}

/// The ordinals of each entry.
#[derive(Debug)]
struct RowsOf {
    rows: Map,
    offsets: Option<Map>,
}

impl RowsOf {
    fn open(folder: &Path, number: usize) -> Result<Self, PackError> {
        let rows = mapped(folder, &file_name(number, "rows"))?;
        let offsets = match mapped(folder, &file_name(number, "offsets")) {
            Ok(map) => Some(map),
            Err(PackError::Absent(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { rows, offsets })
    }

    fn get(&self, entry: u32) -> Result<impl Iterator<Item = u32>, PackError> {
        let index = entry as usize;
        let range = match &self.offsets {
            None => Some(index..index + 1),
            Some(offsets) => offsets
                .u32_at(index)
                .zip(offsets.u32_at(index + 1))
                .map(|(start, end)| start as usize..end as usize),
        };
        let bytes = range
            .filter(|range| range.start < range.end)
            .and_then(|range| self.rows.as_ref().get(range.start * 4..range.end * 4));
        let (ordinals, _) =
            bytes.ok_or_else(|| PackError::damaged("an entry has no rows"))?.as_chunks();
        Ok(ordinals.iter().map(|ordinal| u32::from_le_bytes(*ordinal)))
    }
}

/// A column's buffers, mapped into memory.
#[derive(Debug)]
pub struct ColumnReader {
    pub paths: Paths,
    size: Map,
    mtime: Map,
    identity: Map,
    rows: RowsOf,
    stamps: Option<Stamps>,
    entry_of: Map,
    row_total: u32,
}

impl ColumnReader {
    /// Maps the files in `folder`, which must contain `entries` entries for `rows` rows.
    pub fn open(folder: &Path, number: usize, entries: u32, rows: u32) -> Result<Self, PackError> {
        let map = |part| mapped(folder, &file_name(number, part));
        let this = Self {
            paths: Paths::new(map("fst")?, entries)?,
            size: map("size")?,
            mtime: map("mtime")?,
            identity: map("identity")?,
            rows: RowsOf::open(folder, number)?,
            stamps: Stamps::open(folder, number, entries)?,
            entry_of: map("entry")?,
            row_total: rows,
        };
        this.check_lengths(entries)
    }

    fn check_lengths(self, entries: u32) -> Result<Self, PackError> {
        let lengths = [
            (&self.size, 8, entries as usize),
            (&self.mtime, 8, entries as usize),
            (&self.identity, 8, entries as usize),
            (&self.entry_of, 4, self.row_total as usize),
        ];
        let fits = lengths.iter().all(|(map, width, count)| map.as_ref().len() == width * count);
        let has_rows = match &self.rows.offsets {
            None => self.rows.rows.as_ref().len() == entries as usize * 4,
            Some(offsets) => offsets.as_ref().len() == (entries as usize + 1) * 4,
        };
        if fits && has_rows {
            Ok(self)
        } else {
            Err(PackError::damaged("a file has the wrong length"))
        }
    }

    /// The size, time and half of the identity of an entry, as stored in the buffers.
    pub fn raw(&self, entry: u32) -> Result<(u64, i64, u64), PackError> {
        let at = entry as usize;
        let all = (self.size.u64_at(at), self.mtime.i64_at(at), self.identity.u64_at(at));
        match all {
            (Some(size), Some(mtime), Some(identity)) => Ok((size, mtime, identity)),
            _ => Err(PackError::Gone { what: "entry", number: entry.into() }),
        }
    }

    /// The stamp of an entry; empty if it has none.
    pub fn stamp(&self, entry: u32) -> Result<&[u8], PackError> {
        self.stamps.as_ref().map_or(Ok(&[]), |stamps| stamps.get(entry))
    }

    /// The same as [`ColumnReader::raw`], converted.
    pub fn facts(&self, entry: u32) -> Result<super::Facts, PackError> {
        let (size, mtime, identity) = self.raw(entry)?;
        Ok(super::Facts {
            size: (size != NO_SIZE).then_some(size),
            mtime: (mtime != NO_TIME).then_some(Timestamp::from_micros(mtime)),
            identity,
        })
    }

    /// The ordinals of the rows that name an entry, ascending; at least one.
    pub fn ordinals(&self, entry: u32) -> Result<impl Iterator<Item = u32>, PackError> {
        self.rows.get(entry)
    }

    /// The entry that a row names; `None` if it names none or there is no such row.
    pub fn entry_of(&self, ordinal: u32) -> Result<Option<u32>, PackError> {
        match self.entry_of.u32_at(ordinal as usize) {
            None | Some(NO_ENTRY) => Ok(None),
            Some(entry) if entry < self.paths.count() => Ok(Some(entry)),
            Some(_) => Err(PackError::damaged("a row names an entry that is not there")),
        }
    }
}

//! A set of rows and their entries: the contents of a query directory or a class folder.
//!
//! An entry is in the set if any of its rows is. A directory is, if any entry below it is: since a
//! directory is a range of entries, that is one look-up in the set.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;

use super::column::ColumnReader;
use super::error::{PackError, Result};
use super::{Dir, Ordinals, Pack};
use dcfs_core::name::escape::KEPT;
use dcfs_core::tree::key::SEPARATOR;

/// Rows of one pack, with their entries, which are computed when a name is first needed.
#[derive(Debug)]
pub struct Subset {
    rows: Arc<Ordinals>,
    entries: OnceLock<RoaringBitmap>,
}

impl Subset {
    /// A set of rows of any pack.
    pub fn new(rows: Arc<Ordinals>) -> Self {
        Self { rows, entries: OnceLock::new() }
    }

    /// The rows.
    pub fn rows(&self) -> &Arc<Ordinals> {
        &self.rows
    }

    /// Whether its entries are known, so that names need no pass over its rows.
    pub fn is_ready(&self) -> bool {
        self.entries.get().is_some()
    }

    /// The approximate size in memory, in bytes, at most.
    pub fn weight(&self) -> usize {
        // There are no more entries than rows, but they may be less dense.
        self.rows.serialized_size() * 2 + 64
    }
}

impl Pack {
    /// The entries that the rows of `set` name. The first call makes one pass over the rows.
    ///
    /// # Errors
    /// Damage. Ordinals past the last row are not an error: they name nothing.
    pub fn entries<'s>(&self, set: &'s Subset) -> Result<&'s RoaringBitmap> {
        if let Some(entries) = set.entries.get() {
            return Ok(entries);
        }
        let whole = self.whole()?;
        let found = whole.guarded(|| {
            let mut entries = RoaringBitmap::new();
            for (reader, column) in whole.readers.iter().zip(&whole.columns) {
                let range = &column.entries;
                entries |= entries_of(reader, range.start, range.len(), &set.rows)?;
            }
            Ok(entries)
        })?;
        Ok(set.entries.get_or_init(|| found))
    }

    /// Whether `set` names any of these entries.
    ///
    /// # Errors
    /// Damage.
    pub fn meets(&self, set: &Subset, entries: Range<u32>) -> Result<bool> {
        Ok(self.entries(set)?.range(entries).next().is_some())
    }

    /// The rows whose file in the directory's column is in the directory, at any depth.
    ///
    /// # Errors
    /// Damage; a directory that this pack did not give out.
    pub fn rows_below(&self, dir: Dir) -> Result<Ordinals> {
        let whole = self.whole()?;
        let last = whole.last_in(dir)?;
        whole.guarded(|| {
            let (reader, base) = whole.part(dir.column)?;
            whole.rows_of(reader, dir.first - base..last - base + 1)
        })
    }

    /// The rows whose recorded path in a File column begins with `prefix`, by the index of names
    /// alone. `None` if names differ from recorded paths, or could for these bytes.
    ///
    /// # Errors
    /// Damage.
    pub fn rows_with_prefix(&self, column: u16, prefix: &[u8]) -> Result<Option<Ordinals>> {
        let Some(known) = self.columns.get(usize::from(column)) else { return Ok(None) };
        if !known.is_plain || known.many_sources || !is_as_recorded(prefix) {
            return Ok(None);
        }
        let key: Vec<u8> =
            prefix.iter().map(|byte| if *byte == b'/' { SEPARATOR } else { *byte }).collect();
        let whole = self.whole()?;
        whole.guarded(|| {
            let (reader, _) = whole.part(column)?;
            whole.rows_of(reader, reader.paths.beginning_with(&key)?).map(Some)
        })
    }

    /// The rows that some entries of a column name. They come in the order of names, so they are
    /// collected in a plain bit array.
    fn rows_of(&self, reader: &ColumnReader, entries: Range<u32>) -> Result<Ordinals, PackError> {
        let mut bits = vec![0_u8; (self.rows as usize).div_ceil(8)];
        for entry in entries {
            for row in reader.ordinals(entry)? {
                let byte = bits.get_mut(row as usize / 8);
                *byte.ok_or_else(|| {
                    PackError::damaged("an entry names a row that is not there")
                })? |= 1 << (row % 8);
            }
        }
        Ok(RoaringBitmap::from_lsb0_bytes(0, &bits))
    }
}

/// Whether the names with this prefix are exactly those of the paths with it: no part of it could
/// be escaped (see [`dcfs_core::name::escape`]), or be the escape of another.
fn is_as_recorded(prefix: &[u8]) -> bool {
    /// Longer names may be truncated, at a character boundary.
    const SHORT: usize = KEPT - 4;
    let is_safe = |name: &[u8]| {
        name.len() <= SHORT
            && !name.starts_with(b".")
            && !name.contains(&b'%')
            && !name.contains(&0)
    };
    let mut names = prefix.split(|byte| *byte == b'/').rev();
    // The last one may continue, and may be empty.
    names.next().is_some_and(is_safe) && names.all(|name| !name.is_empty() && is_safe(name))
}

/// The entries of one column. They come in the order of rows, so they are collected in a plain bit
/// array: an eighth of a byte for each entry of the column.
fn entries_of(
    reader: &ColumnReader,
    base: u32,
    count: usize,
    rows: &Ordinals,
) -> Result<RoaringBitmap, PackError> {
    let mut bits = vec![0_u8; count.div_ceil(8)];
    for row in rows {
        let Some(entry) = reader.entry_of(row)? else { continue };
        let byte = bits.get_mut(entry as usize / 8);
        *byte.ok_or_else(|| PackError::damaged("a row names an entry that is not there"))? |=
            1 << (entry % 8);
    }
    // A bitmap takes bits at multiples of eight.
    let shift = base % 8;
    if shift > 0 {
        shift_left(&mut bits, shift);
    }
    Ok(RoaringBitmap::from_lsb0_bytes(base - shift, &bits))
}

/// Shifts every bit by `by` positions (1 to 7) towards the end.
fn shift_left(bits: &mut Vec<u8>, by: u32) {
    bits.push(0);
    let mut carried = 0;
    for byte in bits {
        let (low, high) = (*byte << by | carried, *byte >> (8 - by));
        (*byte, carried) = (low, high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_move_over_the_ends_of_bytes() {
        for by in 1..8 {
            let mut bits = vec![0b1000_0001, 0b0100_0000];
            shift_left(&mut bits, by);
            let moved = RoaringBitmap::from_lsb0_bytes(0, &bits);
            assert_eq!(moved.into_iter().collect::<Vec<_>>(), [by, 7 + by, 14 + by]);
        }
    }
}

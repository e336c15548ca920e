//! A set of rows, and the entries that they name: what a query directory or a class folder holds.
//!
//! An entry is in the set if any of its rows is. A directory is, if any entry below it is: a
//! directory is a range of entries, so that is one look into the set.

use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::column::ColumnReader;
use super::error::{Error, Result};
use super::{Ordinals, Pack};

/// Rows of one pack, with their entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Subset {
    rows: Arc<Ordinals>,
    entries: RoaringBitmap,
}

impl Subset {
    /// The rows.
    pub fn rows(&self) -> &Arc<Ordinals> {
        &self.rows
    }

    /// Whether the entry is in it.
    pub fn contains(&self, entry: u32) -> bool {
        self.entries.contains(entry)
    }

    /// The least entry in it that is not below `entry`.
    pub(super) fn next(&self, entry: u32) -> Option<u32> {
        self.entries.range(entry..).next()
    }

    /// Whether any of these entries is in it.
    pub fn meets(&self, entries: Range<u32>) -> bool {
        self.next(entries.start).is_some_and(|entry| entry < entries.end)
    }

    /// Bytes of memory, about.
    pub fn weight(&self) -> usize {
        self.rows.serialized_size() + self.entries.serialized_size()
    }
}

impl Pack {
    /// The entries that `rows` name. One pass over the rows, whatever their number.
    ///
    /// # Errors
    /// Damage. Ordinals past the last row are no error: they name nothing.
    pub fn subset(&self, rows: Arc<Ordinals>) -> Result<Subset> {
        self.guarded(|| {
            let mut entries = RoaringBitmap::new();
            for (reader, column) in self.readers.iter().zip(&self.columns) {
                entries |= entries_of(reader, column.entries.start, column.entries.len(), &rows)?;
            }
            Ok(Subset { rows, entries })
        })
    }
}

/// The entries of one column. They come in the order of rows, so they are gathered as single bits:
/// an eighth of a byte for each entry of the column.
fn entries_of(
    reader: &ColumnReader,
    base: u32,
    count: usize,
    rows: &Ordinals,
) -> Result<RoaringBitmap, Error> {
    let mut bits = vec![0_u8; count.div_ceil(8)];
    for row in rows {
        let Some(entry) = reader.entry_of(row)? else { continue };
        let byte = bits.get_mut(entry as usize / 8);
        *byte.ok_or_else(|| Error::damaged("a row names an entry that is not there"))? |=
            1 << (entry % 8);
    }
    // A bitmap takes its bits from a multiple of eight on.
    let shift = base % 8;
    if shift > 0 {
        shift_left(&mut bits, shift);
    }
    Ok(RoaringBitmap::from_lsb0_bytes(base - shift, &bits))
}

/// Moves every bit `by` places (1 to 7) towards the end.
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

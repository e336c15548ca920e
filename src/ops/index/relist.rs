//! A listing beside the one before: rows that are there already, in every column, are copied; the others are new.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::path::Path;
use std::sync::Arc;

use super::item::{self, Item};
use super::rows::{self, Items, text};
use super::sort::sorted;
use crate::catalog::{Catalog, VersionInfo};
use crate::cell::{Cell, Cells};
use crate::error::Result;
use crate::id::RowId;
use crate::time::Timestamp;

/// How an [`Item`] of a listing tells things. Its key is the path; the order of items is that of rows, which are the latest
/// and the newest of a path first.
pub const IS_OLD: usize = 0;
/// Microseconds, negated.
pub const MODIFIED: usize = 1;
pub const SIZE: usize = 2;
pub const VERSION: usize = 0;
pub const ETAG: usize = 1;
/// Of a row of the listing before: its id.
const ROW: usize = 2;

/// What is read of a row.
const COLUMNS: [&str; 8] = [
    "file__path",
    "file__size",
    "file__version",
    "file__etag",
    "file__is_latest",
    "file__last_modified",
    "file__source",
    "file__location",
];

/// One row of the new listing.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A row of the listing before.
    Same(RowId),
    New(Item),
}

/// The rows of the new listing, in order. Where the old rows lie otherwise than expected, fewer of them are found.
pub struct Beside {
    new: Peekable<Items>,
    old: Peekable<Items>,
    is_other: bool,
}

impl Beside {
    /// `new` in order, `old` as [`stored`] gives them.
    pub fn new(new: Items, old: Items) -> Self {
        Self { new: new.peekable(), old: old.peekable(), is_other: false }
    }

    /// Whether a row was new so far, or one is gone.
    pub fn is_other(&self) -> bool {
        self.is_other
    }

    /// The next row.
    ///
    /// # Errors
    /// Those of both sequences.
    pub fn step(&mut self) -> Result<Option<Step>> {
        loop {
            let order = match (self.new.peek(), self.old.peek()) {
                (Some(Ok(new)), Some(Ok(old))) => order(new, old),
                (None, None) => return Ok(None),
                (None | Some(Ok(_)), Some(_)) => Ordering::Greater,
                (Some(_), _) => Ordering::Less,
            };
            self.is_other |= order.is_ne();
            match order {
                Ordering::Less => return Ok(self.new.next().transpose()?.map(Step::New)),
                Ordering::Greater => drop(self.old.next().transpose()?),
                Ordering::Equal => {
                    self.new.next();
                    return Ok(self.old.next().transpose()?.map(|old| Step::Same(row(&old))));
                }
            }
        }
    }
}

/// The order of items but for their row ids.
fn order(one: &Item, other: &Item) -> Ordering {
    let numbers = |item: &Item| [IS_OLD, MODIFIED, SIZE].map(|index| item.number(index));
    let (key, numbers) = (one.key().cmp(other.key()), || numbers(one).cmp(&numbers(other)));
    let text = |index| one.text(index).cmp(other.text(index));
    key.then_with(numbers).then_with(|| text(VERSION)).then_with(|| text(ETAG))
}

fn row(item: &Item) -> RowId {
    let bytes = item.text(ROW).try_into();
    RowId::new(bytes.map_or(0, i64::from_be_bytes))
}

/// The rows of a listing of `source`, in order; those of other sources are none.
///
/// # Errors
/// What the catalog and the disk say.
pub fn stored(
    catalog: &Arc<Catalog>,
    of: &VersionInfo,
    source: String,
    folder: &Path,
) -> Result<Items> {
    let write =
        move |row: RowId, cells: &dyn Cells, out: &mut Vec<u8>| write(&source, row, cells, out);
    let items = rows::read(catalog, of.clone(), &COLUMNS, write);
    if rows::is_indexed(catalog, of)? {
        return Ok(items);
    }
    Ok(Box::new(sorted(items, folder)?))
}

/// Writes a row as it would be listed; one that could not be is never the same.
fn write(source: &str, row: RowId, cells: &dyn Cells, out: &mut Vec<u8>) {
    let number = |index| if let Cell::Integer(n) = cells.cell(index) { n } else { -1 };
    let (path, version, etag) = (cells.cell(0), cells.cell(2), cells.cell(3));
    let (modified, of) = (cells.cell(5), cells.cell(6));
    let micros = Timestamp::parse(text(&modified)).map_or(i64::MAX, Timestamp::micros);
    let is_plain = text(&of) == source && cells.cell(7) == Cell::Null;
    let size = if is_plain { number(1) } else { -1 };
    let numbers = [i64::from(number(4) == 0), micros.wrapping_neg(), size, 0];
    let row = row.key().to_be_bytes();
    let texts = [text(&version).as_bytes(), text(&etag).as_bytes(), &row];
    item::write(out, text(&path).as_bytes(), numbers, texts);
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// Path, whether it is old, etag.
    type Row = (u8, bool, u8);

    fn items(rows: &[Row], numbered: bool) -> Items {
        let mut all: Vec<Item> = rows
            .iter()
            .enumerate()
            .map(|(number, (path, is_old, etag))| {
                let row = if numbered { &(number as i64).to_be_bytes()[..] } else { b"" };
                Item::new(&[*path], [i64::from(*is_old), 0, 0, 0], [b"", &[*etag], row])
            })
            .collect();
        all.sort();
        Box::new(all.into_iter().map(Ok))
    }

    proptest! {
        #[test]
        fn every_row_is_a_copy_of_one_that_is_the_same_or_new(
            new in prop::collection::vec((0..5_u8, any::<bool>(), 0..3_u8), 0..12),
            old in prop::collection::vec((0..5_u8, any::<bool>(), 0..3_u8), 0..12),
        ) {
            let mut beside = Beside::new(items(&new, false), items(&old, true));
            let (mut got, mut used, mut fresh) = (Vec::new(), Vec::new(), 0);
            while let Some(step) = beside.step()? {
                got.push(match step {
                    Step::Same(row) => {
                        used.push(row.key());
                        old[row.key() as usize]
                    }
                    Step::New(item) => {
                        fresh += 1;
                        (item.key()[0], item.number(IS_OLD) == 1, item.text(ETAG)[0])
                    }
                });
            }
            let mut want = new.clone();
            want.sort();
            prop_assert_eq!(got, want);
            let mut once = used.clone();
            once.sort();
            once.dedup();
            prop_assert_eq!(once.len(), used.len());
            prop_assert_eq!(beside.is_other(), fresh > 0 || used.len() < old.len());
            // As many as can be.
            let mut left = old.clone();
            let missing = new.iter().filter(|row| {
                let at = left.iter().position(|other| other == *row);
                at.map(|at| left.remove(at)).is_none()
            });
            prop_assert_eq!(fresh, missing.count());
        }
    }
}

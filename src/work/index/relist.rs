//! Compares a listing with the one before: rows that are equal in every column are copied; the
//! others are new.
//!
//! Rows are copied only from listings that dcfs made: these are in order. Those of DataChain are
//! not, and format times differently; they are compared, and replaced as a whole if anything
//! differs.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::path::Path;
use std::sync::Arc;

use super::item::{self, Item};
use super::rows::{self, Items, text};
use super::sort::{Sorted, sorted};
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::error::Result;
use dcfs_core::id::RowId;
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::{Catalog, VersionInfo};

/// A row of a listing, as an [`Item`]: ordered by path; for each path the latest and the newest
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedRow<'a> {
    pub path: &'a [u8],
    /// Whether it was replaced or deleted.
    pub is_old: bool,
    /// Microseconds.
    pub modified: i64,
    /// Bytes; -1 for a row of the listing before that would be written differently now.
    pub size: i64,
    pub version: &'a [u8],
    pub etag: &'a [u8],
    /// For a row of the listing before.
    pub row: Option<RowId>,
}

impl<'a> ListedRow<'a> {
    pub fn of(item: &'a Item) -> Self {
        let [is_old, newest, size, _] = item.numbers();
        let [version, etag, row] = item.texts();
        let row = row.try_into().ok().map(|row| RowId::new(i64::from_be_bytes(row)));
        let (is_old, modified) = (is_old != 0, newest.wrapping_neg());
        Self { path: item.key(), is_old, modified, size, version, etag, row }
    }

    /// Appends it as an item.
    pub fn write(&self, out: &mut Vec<u8>) {
        let numbers = [i64::from(self.is_old), self.modified.wrapping_neg(), self.size, 0];
        let row = self.row.map(|row| row.key().to_be_bytes());
        let row = row.as_ref().map_or(&[][..], |row| row);
        item::write(out, self.path, numbers, [self.version, self.etag, row]);
    }
}

/// The columns that are read.
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
    /// The row equals this one of the listing before.
    Same(RowId),
    New(Item),
}

/// Merges the rows of the new listing with the old ones, in order. If the old rows are in another
/// order than expected, fewer are found.
pub struct MergeJoin {
    new: Peekable<Items>,
    old: Peekable<Items>,
    is_other: bool,
}

impl MergeJoin {
    /// `new` and `old` must be in order.
    pub fn new(new: Items, old: Items) -> Self {
        Self { new: new.peekable(), old: old.peekable(), is_other: false }
    }

    /// Whether any row so far was new, or is gone.
    pub fn is_other(&self) -> bool {
        self.is_other
    }

    /// The next row.
    ///
    /// # Errors
    /// Errors of both sequences.
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
                    let old = self.old.next().transpose()?;
                    return Ok(old.and_then(|old| ListedRow::of(&old).row).map(Step::Same));
                }
            }
        }
    }
}

/// Compares items, ignoring their row ids.
fn order(one: &Item, other: &Item) -> Ordering {
    one.key().cmp(other.key()).then_with(|| one.numbers().cmp(&other.numbers())).then_with(|| {
        let what = |item| {
            let ListedRow { version, etag, .. } = ListedRow::of(item);
            (version, etag)
        };
        what(one).cmp(&what(other))
    })
}

/// The rows of a listing of `source` that dcfs made, as stored: in order.
pub fn stored(catalog: &Arc<Catalog>, of: &VersionInfo, source: &str) -> Items {
    let source = source.to_owned();
    rows::read(catalog, of.clone(), &COLUMNS, move |row, cells, out| {
        write(&source, Strictness::Copied, row, cells, out);
    })
}

/// Whether a listing of `source`, in whatever order and formatting, contains exactly the `new`
/// rows.
///
/// # Errors
/// Errors of the catalog and the disk.
pub fn is_same(
    (catalog, of): (&Arc<Catalog>, &VersionInfo),
    source: &str,
    new: &Sorted,
    folder: &Path,
) -> Result<bool> {
    let source = source.to_owned();
    let old = rows::read(catalog, of.clone(), &COLUMNS, move |row, cells, out| {
        write(&source, Strictness::Compared, row, cells, out);
    });
    let old = sorted(old, folder)?.items()?;
    let mut join = MergeJoin::new(Box::new(new.items()?), Box::new(old));
    while !join.is_other() && join.step()?.is_some() {}
    Ok(!join.is_other())
}

/// The criterion for equal rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strictness {
    /// They mean the same.
    Compared,
    /// Each cell is exactly as it would be written.
    Copied,
}

/// Writes a row in the form of a listed one. A row in another form gets a size that never occurs.
fn write(source: &str, how: Strictness, row: RowId, cells: &dyn Cells, out: &mut Vec<u8>) {
    let number = |index| if let Cell::Integer(n) = cells.cell(index) { Some(n) } else { None };
    let texts = [0, 2, 3, 5, 6].map(|index| cells.cell(index));
    let is_text = texts
        .iter()
        .all(|cell| matches!(cell, Cell::Text(text) if std::str::from_utf8(text).is_ok()));
    let [path, version, etag, modified, of] = texts.each_ref().map(text);
    let (time, is_latest) = (Timestamp::parse(modified), number(4));
    let is_exact = || {
        is_text
            && matches!(is_latest, Some(0 | 1))
            && time.is_some_and(|time| time.catalog() == modified)
            && cells.cell(7) == Cell::Null
    };
    let is_fit = of == source && (how == Strictness::Compared || is_exact());
    let size = number(1).filter(|size| is_fit && *size >= 0).unwrap_or(-1);
    let (is_old, modified) = (is_latest == Some(0), time.map_or(i64::MAX, Timestamp::micros));
    let [path, version, etag] = [path, version, etag].map(str::as_bytes);
    ListedRow { path, is_old, modified, size, version, etag, row: Some(row) }.write(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// Path, whether it is old, time and size, version and etag.
    type Row = (u8, bool, (i64, i64), (u8, u8));

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let row = (0..4_u8, any::<bool>(), (0..2_i64, 0..2_i64), (0..2_u8, 0..2_u8));
        prop::collection::vec(row, 0..24)
    }

    fn items(rows: &[Row], numbered: bool) -> Items {
        let mut all: Vec<Item> = rows
            .iter()
            .enumerate()
            .map(|(number, (path, is_old, (time, size), (version, etag)))| {
                let row = ListedRow {
                    path: &[*path],
                    is_old: *is_old,
                    // Rows are in descending order of time.
                    modified: -*time,
                    size: *size,
                    version: &[*version],
                    etag: &[*etag],
                    row: numbered.then(|| RowId::new(number as i64)),
                };
                Item::new(|out| row.write(out))
            })
            .collect();
        all.sort();
        Box::new(all.into_iter().map(Ok))
    }

    proptest! {
        #[test]
        fn every_row_is_a_copy_of_one_that_is_the_same_or_new(new in rows(), old in rows()) {
            let mut join = MergeJoin::new(items(&new, false), items(&old, true));
            let (mut got, mut used, mut fresh) = (Vec::new(), Vec::new(), 0);
            while let Some(step) = join.step()? {
                got.push(match step {
                    Step::Same(row) => {
                        used.push(row.key());
                        old[row.key() as usize]
                    }
                    Step::New(item) => {
                        fresh += 1;
                        let row = ListedRow::of(&item);
                        let texts = (row.version[0], row.etag[0]);
                        (row.path[0], row.is_old, (-row.modified, row.size), texts)
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
            prop_assert_eq!(join.is_other(), fresh > 0 || used.len() < old.len());
            // As many as possible.
            let mut left = old.clone();
            let missing = new.iter().filter(|row| {
                let at = left.iter().position(|other| other == *row);
                at.map(|at| left.remove(at)).is_none()
            });
            prop_assert_eq!(fresh, missing.count());
        }
    }

    #[test]
    fn an_error_of_either_ends_it() {
        let bad = || -> Items {
            let error = dcfs_core::error::Error::new(dcfs_core::error::Kind::Broken, "bad");
            Box::new(items(&[(1, false, (0, 0), (0, 0))], true).chain([Err(error)]))
        };
        let none = || -> Items { Box::new(std::iter::empty()) };
        let more = || items(&[(0, false, (0, 0), (0, 0)), (9, false, (0, 0), (0, 0))], true);
        let cases = [(bad(), none()), (none(), bad()), (bad(), more()), (more(), bad())];
        for (new, old) in cases {
            let mut join = MergeJoin::new(new, old);
            let steps = std::iter::from_fn(|| join.step().transpose());
            assert_eq!(steps.take(9).filter(Result::is_err).count(), 1);
        }
    }

    struct Row8([Cell<'static>; 8]);

    impl Cells for Row8 {
        fn cell(&self, index: usize) -> Cell<'_> {
            self.0[index]
        }
    }

    #[test]
    fn only_what_would_be_written_is_copied() {
        let text = |text: &'static str| Cell::Text(text.as_bytes());
        let good = [
            text("a"),
            Cell::Integer(5),
            text("v"),
            text("e"),
            Cell::Integer(1),
            text("2024-01-02 03:04:05"),
            text("s3://b"),
            Cell::Null,
        ];
        let size = |how, at: usize, cell| {
            let mut row = good;
            row[at] = cell;
            let mut out = Vec::new();
            write("s3://b", how, RowId::new(7), &Row8(row), &mut out);
            ListedRow::of(&Item::of(&out)).size
        };
        for how in [Strictness::Copied, Strictness::Compared] {
            assert_eq!(size(how, 0, text("a")), 5);
            assert_eq!(size(how, 6, text("s3://c")), -1);
            assert_eq!(size(how, 1, Cell::Null), -1);
            assert_eq!(size(how, 1, Cell::Integer(-7)), -1);
        }
        let odd = [
            (2, Cell::Null),
            (3, Cell::Blob(b"e")),
            (2, Cell::Text(b"\xff")),
            (4, Cell::Null),
            (4, Cell::Integer(7)),
            (5, text("2024-01-02T03:04:05Z")),
            (5, text("2024-01-02 03:04:05.000000")),
            (7, text("[]")),
        ];
        for (at, cell) in odd {
            assert_eq!(size(Strictness::Copied, at, cell), -1, "{at} {cell:?}");
            assert_eq!(size(Strictness::Compared, at, cell), 5, "{at} {cell:?}");
        }
    }
}

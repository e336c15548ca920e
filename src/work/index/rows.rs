//! The rows of versions as items, in the order of their addresses.
//!
//! A thread reads ahead, a batch per short transaction, and waits outside of transactions. Versions
//! that dcfs indexed are already in order; others are sorted.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::item::{self, Item};
use super::shape::INDEX;
use super::sort::sorted;
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::{Catalog, VersionInfo};

/// Rows of a batch.
const BATCH: usize = 8192;

/// The most batches waiting to be taken.
const WAITING: usize = 4;

/// The columns that are read.
const COLUMNS: [&str; 7] = [
    "file__source",
    "file__path",
    "file__size",
    "file__version",
    "file__etag",
    "file__last_modified",
    "file__is_latest",
];

/// A batch of items; `None` after the last. A thread that ends without it has panicked.
type Batch = Result<Option<Vec<Item>>>;

/// A sequence of items.
pub type Items = Box<dyn Iterator<Item = Result<Item>>>;

/// A row of a version, or an object that is in no listing, as an [`Item`]: in the order of
/// addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRow<'a> {
    /// The source and the path.
    pub address: &'a [u8],
    /// The offset of the path in the address.
    pub path: usize,
    pub from: From,
    /// Bytes; -1 if the row has none.
    pub size: i64,
    pub version: &'a [u8],
    pub etag: &'a [u8],
    /// In the catalog's format for times.
    pub modified: &'a [u8],
}

/// The origin of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A row of one of the versions that are read.
    Row(usize, RowId),
    /// A single object that was requested: the index of its listing.
    Single(usize),
}

/// Stored in place of a version's index.
const SINGLE: i64 = -1;

impl<'a> StoredRow<'a> {
    pub fn of(item: &'a Item) -> Self {
        let [of, row, size, path] = item.numbers();
        let [version, etag, modified] = item.texts();
        let index = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        let from = match of {
            SINGLE => From::Single(index(row)),
            of => From::Row(index(of), RowId::new(row)),
        };
        let address = item.key();
        Self { address, path: index(path).min(address.len()), from, size, version, etag, modified }
    }

    /// Appends it as an item.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (of, row) = match self.from {
            From::Row(of, row) => (of as i64, row.key()),
            From::Single(listing) => (SINGLE, listing as i64),
        };
        let texts = [self.version, self.etag, self.modified];
        item::write(out, self.address, [of, row, self.size, self.path as i64], texts);
    }

    /// Whether both are the same, unchanged object.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.size, self.version, self.etag) == (other.size, other.version, other.etag)
    }

    /// The path below the source.
    pub fn path(&self) -> &'a str {
        std::str::from_utf8(&self.address[self.path..]).unwrap_or_default()
    }

    pub fn object(&self) -> Object {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let source = match text(&self.address[..self.path]) {
            root if root == "file:///" => "file:////".to_owned(),
            source => source.trim_end_matches('/').to_owned(),
        };
        Object {
            source,
            path: self.address[self.path..].to_vec(),
            size: u64::try_from(self.size).ok(),
            version: text(self.version),
            etag: text(self.etag),
            last_modified: Timestamp::parse(&text(self.modified)),
            location: None,
        }
    }

    /// The cells of a `File`, for an object that is in no listing.
    pub fn file_cells<'c>(&self, source: &'c str) -> [Cell<'c>; 8]
    where
        'a: 'c,
    {
        [
            Cell::Text(source.as_bytes()),
            Cell::Text(self.path().as_bytes()),
            Cell::Integer(self.size),
            Cell::Text(self.version),
            Cell::Text(self.etag),
            Cell::Integer(1),
            Cell::Text(self.modified),
            Cell::Null,
        ]
    }
}

/// Selects rows by address, and by whether they are the latest.
pub type Wanted = Arc<dyn Fn(&str, bool) -> bool + Send + Sync>;

/// A version whose rows are wanted.
pub struct Source {
    pub of: VersionInfo,
    /// The version's index in the items.
    pub number: usize,
    /// Whether rows are known to be in order.
    pub is_ordered: bool,
    pub wanted: Wanted,
}

/// The address and the offset of the path in it: `source/path`; for the root of a disk with one
/// slash less.
pub fn address(source: &str, path: &str) -> (String, usize) {
    let mut address = String::with_capacity(source.len() + path.len() + 1);
    let plain = source.strip_suffix('/').unwrap_or(source);
    address.push_str(plain);
    if !plain.ends_with('/') {
        address.push('/');
    }
    let start = address.len();
    address.push_str(path);
    (address, start)
}

/// The wanted rows of some versions, in the order of their addresses, each object only once.
///
/// # Errors
/// Errors of the catalog and the disk.
pub fn ordered(
    catalog: &Arc<Catalog>,
    sources: Vec<Source>,
    more: Vec<Item>,
    folder: &Path,
) -> Result<Items> {
    if let [source] = &sources[..]
        && more.is_empty()
        && (source.is_ordered || is_ordered(catalog, &source.of)?)
    {
        return Ok(sources.into_iter().next().map_or_else(nothing, |source| {
            let of = source.of.to_string();
            guarded(wanted(catalog, source), of)
        }));
    }
    let items = sources.into_iter().flat_map(|source| wanted(catalog, source));
    Ok(Box::new(sorted(items.chain(more.into_iter().map(Ok)), folder)?.items()?))
}

/// No items.
pub fn nothing() -> Items {
    Box::new(std::iter::empty())
}

/// Checks that items are in order.
fn guarded(items: Items, of: String) -> Items {
    let mut last: Vec<u8> = Vec::new();
    Box::new(items.map(move |item| {
        let item = item?;
        if item.key() < last.as_slice() {
            let message = format!("the rows of `{of}` were changed by another program; leave `--delta` out and list with `--update`");
            return Err(Error::new(Kind::Broken, message));
        }
        last.clear();
        last.extend_from_slice(item.key());
        Ok(item)
    }))
}

/// Drops duplicates: two addresses may include the same object.
pub fn once(items: Items) -> Items {
    let mut last: Option<Item> = None;
    Box::new(items.filter(move |item| {
        let Ok(item) = item else { return true };
        let same = |other: &Item| {
            other.key() == item.key() && StoredRow::of(other).is_same(&StoredRow::of(item))
        };
        let is_new = !last.as_ref().is_some_and(same);
        last = Some(item.clone());
        is_new
    }))
}

/// The path of the first row that is `wanted`, which is called with the address, the offset of the
/// path in it, and whether the row is the latest.
///
/// # Errors
/// Errors of the catalog.
pub fn first(
    catalog: &Catalog,
    of: &VersionInfo,
    wanted: &mut dyn FnMut(&str, usize, bool) -> bool,
) -> Result<Option<String>> {
    let columns = ["file__source", "file__path", "file__is_latest"].map(str::to_owned);
    let mut found = None;
    let mut each = |_: RowId, cells: &dyn Cells| {
        let (address, path) = address(text(&cells.cell(0)), text(&cells.cell(1)));
        if !wanted(&address, path, cells.cell(2) != Cell::Integer(0)) {
            return Ok(ControlFlow::Continue(()));
        }
        found = Some(address[path..].to_owned());
        Ok(ControlFlow::Break(()))
    };
    catalog.cells(of, &columns, &mut std::iter::once(RowId::ALL), &mut each)?;
    Ok(found)
}

/// Whether `dcfs index` saved a version: its rows are in order.
pub fn is_indexed(catalog: &Catalog, of: &VersionInfo) -> Result<bool> {
    let by = catalog.details(of)?.provenance;
    Ok(by.is_some_and(|by| by.operation() == Some(INDEX)))
}

/// Whether the rows of a version are in the order of their addresses.
fn is_ordered(catalog: &Catalog, of: &VersionInfo) -> Result<bool> {
    if is_indexed(catalog, of)? {
        return Ok(true);
    }
    let mut last = String::new();
    let mut is_ordered = true;
    let columns = COLUMNS[..2].iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut each = |_: RowId, cells: &dyn Cells| {
        let (next, _) = address(text(&cells.cell(0)), text(&cells.cell(1)));
        is_ordered = last <= next;
        last = next;
        Ok(if is_ordered { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    };
    catalog.cells(of, &columns, &mut std::iter::once(RowId::ALL), &mut each)?;
    Ok(is_ordered)
}

/// The wanted rows of a version, in stored order.
fn wanted(catalog: &Arc<Catalog>, source: Source) -> Items {
    let of = source.of.clone();
    read(catalog, of, &COLUMNS, move |row, cells, out| write(&source, row, cells, out))
}

/// The rows of a version, in stored order; `write` writes one with [`item::write`]. A thread reads
/// ahead.
pub fn read(
    catalog: &Arc<Catalog>,
    of: VersionInfo,
    columns: &[&str],
    write: impl Fn(RowId, &dyn Cells, &mut Vec<u8>) + Send + 'static,
) -> Items {
    let catalog = Arc::clone(catalog);
    let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
    ahead("dcfs-rows", move |give| give_rows((&catalog, &of), &columns, &write, give))
}

/// Runs `work` on a thread of its own, a few batches ahead of the reader. `work` should end when a
/// batch is not taken any more.
pub fn ahead(
    name: &str,
    work: impl FnOnce(&dyn Fn(Vec<Item>) -> bool) -> Result<()> + Send + 'static,
) -> Items {
    let (to, from) = sync_channel(WAITING);
    let work = move || {
        let end = work(&|batch| to.send(Ok(Some(batch))).is_ok());
        // If nobody receives it, nobody needs to know.
        to.send(end.map(|()| None)).ok();
    };
    match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
        Ok(_) => flattened(from),
        Err(error) => Box::new(std::iter::once(Err(Error::new(Kind::Broken, error)))),
    }
}

/// Batches as one sequence.
fn flattened(from: Receiver<Batch>) -> Items {
    let mut is_over = false;
    let batches = std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let died = |_| Err(Error::new(Kind::Broken, "the thread that reads rows panicked"));
        let batch = from.recv().unwrap_or_else(died);
        is_over = !matches!(batch, Ok(Some(_)));
        batch.transpose()
    });
    Box::new(batches.flat_map(|batch| match batch {
        Ok(items) => items.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    }))
}

fn give_rows(
    (catalog, of): (&Catalog, &VersionInfo),
    columns: &[String],
    write: &impl Fn(RowId, &dyn Cells, &mut Vec<u8>),
    give: &dyn Fn(Vec<Item>) -> bool,
) -> Result<()> {
    let mut next = *RowId::ALL.start();
    loop {
        let (mut batch, mut seen, mut last) = (Vec::new(), 0, None);
        let mut each = |row: RowId, cells: &dyn Cells| {
            (seen, last) = (seen + 1, Some(row));
            write(row, cells, &mut batch);
            Ok(if seen < BATCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        };
        let range = next..=*RowId::ALL.end();
        catalog.cells(of, columns, &mut std::iter::once(range), &mut each)?;
        let is_taken = give(Item::all(batch));
        match last.and_then(|last| last.key().checked_add(1)) {
            Some(key) if is_taken && seen == BATCH => next = RowId::new(key),
            _ => return Ok(()),
        }
    }
}

/// Writes a row if it is wanted.
fn write(source: &Source, row: RowId, cells: &dyn Cells, out: &mut Vec<u8>) {
    let (address, path) = address(text(&cells.cell(0)), text(&cells.cell(1)));
    if !(source.wanted)(&address, cells.cell(6) != Cell::Integer(0)) {
        return;
    }
    let size = if let Cell::Integer(size) = cells.cell(2) { size } else { -1 };
    let texts = [3, 4, 5].map(|index| cells.cell(index));
    let [version, etag, modified] = texts.each_ref().map(|cell| text(cell).as_bytes());
    let (address, from) = (address.as_bytes(), From::Row(source.number, row));
    StoredRow { address, path, from, size, version, etag, modified }.write(out);
}

/// A text cell; empty for anything else.
pub fn text<'c>(cell: &Cell<'c>) -> &'c str {
    match cell {
        Cell::Text(text) => std::str::from_utf8(text).unwrap_or_default(),
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(address: &[u8]) -> StoredRow<'_> {
        StoredRow {
            address,
            path: 0,
            from: From::Row(0, RowId::new(1)),
            size: 2,
            version: b"v",
            etag: b"e",
            modified: b"1970-01-01 00:00:00",
        }
    }

    fn item(address: &str) -> Item {
        Item::new(|out| row(address.as_bytes()).write(out))
    }

    #[test]
    fn a_single_object_comes_back() {
        let single = StoredRow { from: From::Single(7), ..row(b"s3://b/a") };
        assert_eq!(StoredRow::of(&Item::new(|out| single.write(out))), single);
    }

    #[test]
    fn an_address_is_the_same_from_any_folder() {
        let cases = [
            ("file:///a", "b/c", "file:///a/b/c"),
            ("file:///a/b", "c", "file:///a/b/c"),
            ("file:////", "a/b/c", "file:///a/b/c"),
            ("s3://b", "a", "s3://b/a"),
        ];
        for (source, path, want) in cases {
            let (address, start) = address(source, path);
            assert_eq!((address.as_str(), &address[start..]), (want, path));
            let row = StoredRow { path: start, ..row(address.as_bytes()) };
            let item = Item::new(|out| row.write(out));
            assert_eq!(StoredRow::of(&item), row);
            let object = StoredRow::of(&item).object();
            assert_eq!((object.source.as_str(), object.path.as_slice()), (source, path.as_bytes()));
        }
    }

    #[test]
    fn what_lies_in_no_order_is_told() {
        let told = |keys: &[&str]| {
            let items: Vec<Result<Item>> = keys.iter().map(|key| Ok(item(key))).collect();
            guarded(Box::new(items.into_iter()), "x@1.0.0".into()).filter(Result::is_err).count()
        };
        assert_eq!((told(&["a", "a", "b"]), told(&["a", "b", "a"])), (0, 1));
    }

    #[test]
    fn a_thread_that_dies_is_no_end() {
        let item = || item("a");
        let told = |items: Items| items.map(|item| item.is_ok()).collect::<Vec<_>>();
        let whole = ahead("dcfs-test", move |give| {
            // An empty batch is not the end either.
            assert!(give(vec![item()]) && give(Vec::new()) && give(vec![item()]));
            Ok(())
        });
        assert_eq!(told(whole), [true, true]);
        let failed = ahead("dcfs-test", move |give| {
            give(vec![item()]);
            Err(Error::new(Kind::Broken, "bad"))
        });
        assert_eq!(told(failed), [true, false]);
        let dead = ahead("dcfs-test", move |give| {
            give(vec![item()]);
            panic!("as a test asks for")
        });
        assert_eq!(told(dead), [true, false]);
    }

    #[test]
    fn what_two_ask_for_is_there_once() {
        let item = |key: &str, id, etag: &str| {
            let from = From::Row(0, RowId::new(id));
            let row = StoredRow { from, etag: etag.as_bytes(), ..row(key.as_bytes()) };
            Ok(Item::new(|out| row.write(out)))
        };
        let all = vec![item("a", 1, "x"), item("a", 2, "x"), item("a", 3, "y"), item("b", 4, "y")];
        let rows: Vec<From> = once(Box::new(all.into_iter()))
            .map(|item| StoredRow::of(&item.expect("an item")).from)
            .collect();
        assert_eq!(rows, [1, 3, 4].map(|id| From::Row(0, RowId::new(id))));
    }
}

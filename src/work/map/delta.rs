//! Finds the rows of a new version that were computed before: rows of the last version whose input
//! is equal, cell by cell.
//!
//! Both versions are read in the order of their objects' addresses and merged; sorted on disk if
//! they are large.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use dcfs_core::cell::{Cell, Cells};
use dcfs_core::error::Result;
use dcfs_core::id::RowId;
use dcfs_core::schema::FileColumn;
use dcfs_data::catalog::{Catalog, VersionInfo};
use sha2::{Digest as _, Sha256};

use super::silent::Digest;
use crate::index::delta::{Counts, group, least};
use crate::index::item::{self, Item};
use crate::index::rows;
use crate::index::sort::{Sorted, sorted};

/// A row as an [`Item`]: keyed by the address of its object, or by its contents if it has none.
struct HeldRow<'a> {
    key: &'a [u8],
    row: RowId,
    /// A digest of its cells.
    holds: &'a [u8],
}

impl<'a> HeldRow<'a> {
    fn of(item: &'a Item) -> Self {
        let ([_, row, ..], [_, holds, _]) = (item.numbers(), item.texts());
        Self { key: item.key(), row: RowId::new(row), holds }
    }

    /// Appends it as an item.
    fn write(&self, out: &mut Vec<u8>) {
        item::write(out, self.key, [0, self.row.key(), 0, 0], [b"", self.holds, b""]);
    }
}

fn holds(item: &Item) -> &[u8] {
    HeldRow::of(item).holds
}

fn row(item: &Item) -> RowId {
    HeldRow::of(item).row
}

/// A row of the new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A row of the last version, unchanged.
    Keep(RowId),
    /// A row of the input to be computed.
    Compute(RowId),
    /// A row of the input known to give no row.
    Nothing(Digest),
}

/// Two versions to be compared.
pub struct Compared {
    input: Sorted,
    last: Sorted,
    /// Whether one input may give any number of rows.
    is_many: bool,
    /// Digests of input rows known to give no row.
    silent: HashSet<Digest>,
    keeps_deleted: bool,
}

/// The data read of one version.
pub struct Side<'s> {
    pub of: &'s VersionInfo,
    /// The database columns that are compared.
    pub columns: &'s [String],
    /// The File column with the address of a row's object; `None` if rows have none.
    pub file: Option<&'s FileColumn>,
    /// A column that says whether a row failed, so that it is computed again.
    pub error: Option<&'s str>,
    /// Selects the rows that count.
    pub is_wanted: Arc<dyn Fn(RowId) -> bool + Send + Sync>,
}

impl Compared {
    /// Reads both sides.
    ///
    /// # Errors
    /// Errors of the catalog and the disk.
    pub fn new(
        catalog: &Arc<Catalog>,
        (input, last): (&Side<'_>, &Side<'_>),
        (is_many, keeps_deleted): (bool, bool),
        silent: HashSet<Digest>,
        folder: &Path,
    ) -> Result<Self> {
        let input = sorted(read(catalog, input), folder)?;
        let last = sorted(read(catalog, last), folder)?;
        Ok(Self { input, last, is_many, silent, keeps_deleted })
    }

    /// Visits the rows of the new version; an error of `each` stops it.
    ///
    /// # Errors
    /// Errors of the disk; errors of `each`.
    pub fn each(&self, mut each: impl FnMut(Step) -> Result<()>) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut input = self.input.items()?.peekable();
        let mut last = self.last.items()?.peekable();
        loop {
            let Some(least) = least(&mut input, &mut last)? else { return Ok(counts) };
            let mut new = group(&mut input, least.key())?;
            let mut old = group(&mut last, least.key())?;
            new.sort_by(|one, other| holds(one).cmp(holds(other)));
            old.sort_by(|one, other| holds(one).cmp(holds(other)));
            self.group((&new, &old), &mut counts, &mut each)?;
        }
    }

    /// Matches the rows of one address, both sorted by their contents.
    fn group(
        &self,
        (new, old): (&[Item], &[Item]),
        counts: &mut Counts,
        each: &mut impl FnMut(Step) -> Result<()>,
    ) -> Result<()> {
        let (mut fresh, mut rest) = (0_usize, Vec::new());
        let (mut new, mut old) = (new, old);
        while let Some(held) = new.first().into_iter().chain(old.first()).map(holds).min() {
            let some = new.iter().take_while(|item| holds(item) == held).count();
            let there = old.iter().take_while(|item| holds(item) == held).count();
            // Of equal rows each has its own answer; if rows may be many, all of them share the
            // answers.
            let kept = match self.is_many {
                true if some > 0 => there,
                true => 0,
                false => some.min(there),
            };
            let silent = <&Digest>::try_from(held)
                .ok()
                .filter(|held| some > 0 && there == 0 && self.silent.contains(*held));
            if let Some(held) = silent {
                each(Step::Nothing(*held))?;
            }
            let computed = match self.is_many && (there > 0 || silent.is_some()) {
                true => 0,
                false => some - some.min(there),
            };
            for item in &old[..kept] {
                each(Step::Keep(row(item)))?;
            }
            for item in &new[some - computed..some] {
                each(Step::Compute(row(item)))?;
            }
            counts.unchanged += (some - computed) as u64;
            fresh += computed;
            rest.extend(&old[kept..there]);
            (new, old) = (&new[some..], &old[there..]);
        }
        // Newly computed rows replace old ones: one for one, or all rows of the file.
        let replaced = match self.is_many && fresh > 0 {
            true => rest.len(),
            false => fresh.min(rest.len()),
        };
        let changed = replaced.min(fresh);
        counts.changed += changed as u64;
        counts.new += (fresh - changed) as u64;
        match self.keeps_deleted {
            true => rest[replaced..].iter().try_for_each(|item| each(Step::Keep(row(item))))?,
            false => counts.gone += (rest.len() - replaced) as u64,
        }
        Ok(())
    }
}

/// The rows of a version as items: the address of the object, the row, and a digest of its
/// contents.
fn read(catalog: &Arc<Catalog>, side: &Side<'_>) -> rows::Items {
    let mut names: Vec<String> = side.columns.to_vec();
    let mut at = |name: Option<&String>| {
        let name = name?;
        Some(names.iter().position(|other| other == name).unwrap_or_else(|| {
            names.push(name.clone());
            names.len() - 1
        }))
    };
    let source = at(side.file.and_then(|file| file.source.as_ref()));
    let path = at(side.file.and_then(|file| file.path.as_ref()));
    let error = side.error.map(str::to_owned);
    let error = at(error.as_ref());
    let compared = side.columns.len();
    let is_wanted = Arc::clone(&side.is_wanted);
    let has_file = side.file.is_some();
    let columns: Vec<&str> = names.iter().map(String::as_str).collect();
    let write = move |row: RowId, cells: &dyn Cells, out: &mut Vec<u8>| {
        if !is_wanted(row) {
            return;
        }
        let text = |at: Option<usize>| at.map_or(Cell::Null, |at| cells.cell(at));
        let (source, path) = (text(source), text(path));
        let (address, _) = rows::address(rows::text(&source), rows::text(&path));
        let has_failed = error.is_some_and(|at| cells.cell(at) != Cell::Null);
        let mut digest = digest(cells, compared);
        if has_failed {
            // A failed row matches no row, so it is computed again.
            digest = [0; 16];
        }
        // Rows without an object are keyed by their contents.
        let key = if has_file { address.as_bytes() } else { &digest[..] };
        HeldRow { key, row, holds: &digest }.write(out);
    };
    rows::read(catalog, side.of.clone(), &columns, write)
}

/// 128 bits of the contents of a row's first cells.
pub fn digest(cells: &dyn Cells, count: usize) -> Digest {
    let mut hash = Sha256::new();
    let mut field = |kind: u8, bytes: &[u8]| {
        hash.update([kind]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for at in 0..count {
        match cells.cell(at) {
            Cell::Null => field(0, &[]),
            Cell::Integer(n) => field(1, &n.to_le_bytes()),
            Cell::Real(x) => field(2, &x.to_le_bytes()),
            Cell::Text(text) => field(3, text),
            Cell::Blob(bytes) => field(4, bytes),
        }
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    half
}

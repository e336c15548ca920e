//! Saves listed objects as a listing in the catalog: a new version, or the last one if nothing
//! changed.

use std::sync::Arc;

use super::item::Item;
use super::lazy_stage::LazyStage;
use super::listing::{file_layout, is_plain, version};
use super::relist::{self, ListedRow, MergeJoin, Step};
use super::rows::{self, Items};
use super::sort::Sorted;
use super::{Desk, Phase, Request};
use dcfs_core::cell::Cell;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::DatasetName;
use dcfs_core::time::Timestamp;
use dcfs_core::version::Bump;
use dcfs_data::catalog::{Catalog, Number, Piece, Publication, Stage, VersionInfo};
use dcfs_store::list::Origin;

/// Rows of a batch that is merged, and the most pieces waiting to be written.
const BATCH: u64 = 8192;

/// The sorted rows of a listing, and their number.
pub type SortedListing = (Sorted, u64);

/// Saves a listing. Also returns whether its rows are known to be in order.
///
/// # Errors
/// Errors of the catalog and the disk. No listing was added then.
pub fn keep(
    desk: &mut Desk<'_>,
    request: &Request,
    of: (&Origin, &DatasetName),
    listed: &SortedListing,
) -> Result<(VersionInfo, bool)> {
    if let Some(before) = before(desk, of.1)? {
        match renewed(desk, request, of, listed, &before) {
            Err(error) if is_lost(&error) => {}
            done => return done,
        }
    }
    Ok((new(desk, request, of, listed)?, true))
}

/// An existing listing, whose rows may be reused.
type Before = (Arc<Catalog>, VersionInfo);

/// The latest listing of a name.
fn before(desk: &Desk<'_>, name: &DatasetName) -> Result<Option<Before>> {
    let Some(catalog) = desk.catalog.clone() else { return Ok(None) };
    let Some(last) = catalog.latest(name)? else { return Ok(None) };
    match is_plain(&catalog, &last) {
        Err(error) if is_lost(&error) => Ok(None),
        Err(error) => Err(error),
        Ok(is_plain) => Ok(is_plain.then_some((catalog, last))),
    }
}

/// Whether an optional listing cannot be read: it was removed meanwhile, or is damaged.
fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), Kind::Stale | Kind::Broken)
}

/// Keeps the listing `before` if nothing changed, else saves a new version.
fn renewed(
    desk: &mut Desk<'_>,
    request: &Request,
    (origin, name): (&Origin, &DatasetName),
    listed: &SortedListing,
    before: &Before,
) -> Result<(VersionInfo, bool)> {
    let (catalog, last) = before;
    let saved = if rows::is_indexed(catalog, last)? {
        copied(desk, request, (origin, name), listed, Some(before))?
    } else if last.rows == Some(listed.1)
        && relist::is_same((catalog, last), &origin.source(), &listed.0, &desk.folder)?
    {
        None
    } else {
        Some(new(desk, request, (origin, name), listed)?)
    };
    match saved {
        Some(of) => Ok((of, true)),
        None => {
            desk.writer()?.refresh(last)?;
            Ok((last.clone(), false))
        }
    }
}

/// Saves a new version with new rows only.
fn new(
    desk: &mut Desk<'_>,
    request: &Request,
    of: (&Origin, &DatasetName),
    listed: &SortedListing,
) -> Result<VersionInfo> {
    let saved = copied(desk, request, of, listed, None)?;
    saved.ok_or_else(|| Error::new(Kind::Broken, "a listing of nothing"))
}

/// Writes a new version, copying unchanged rows from the listing `before`; `None` if nothing
/// changed.
fn copied(
    desk: &mut Desk<'_>,
    request: &Request,
    (origin, name): (&Origin, &DatasetName),
    (sorted, rows): &SortedListing,
    before: Option<&Before>,
) -> Result<Option<VersionInfo>> {
    let (watch, source) = (desk.watch, origin.source());
    watch.begins(Phase::Keeping, Some(*rows));
    let stored = |(catalog, last): &Before| relist::stored(catalog, last, &source);
    let old = before.map_or_else(rows::nothing, stored);
    let last = before.map(|(_, last)| last.clone());
    let mut join = MergeJoin::new(batches(sorted)?, old);
    let mut stage = LazyStage::new(desk.writer()?, file_layout());
    let (mut ready, mut done) = (Vec::new(), 0);
    while let Some(step) = join.step()? {
        match step {
            Step::Same(row) => Piece::copied(&mut ready, 0, row),
            Step::New(item) => ready.push(Piece::New(item)),
        }
        done += 1;
        if done % BATCH == 0 {
            // While there is no difference, perhaps nothing needs to be written.
            if join.is_other() || ready.len() >= BATCH as usize {
                put(stage.get()?, &source, last.as_slice(), &std::mem::take(&mut ready))?;
            }
            watch.wrote(BATCH);
        }
    }
    if done != *rows {
        let message = format!("of {rows} objects that were listed {done} came back from sorting");
        return Err(Error::new(Kind::Broken, message));
    }
    if last.is_some() && !join.is_other() {
        return Ok(None);
    }
    put(stage.get()?, &source, last.as_slice(), &ready)?;
    watch.wrote(done % BATCH);
    let saved = stage.begun()?.publish(&Publication {
        name,
        number: Number::Next(Bump::Major),
        upon: None,
        parents: &[],
        script: &request.provenance.script(),
        description: None,
        attrs: None,
        provenance: &request.provenance,
        job: None,
    })?;
    Ok(Some(version(&saved)))
}

/// Writes the pending rows.
fn put(
    stage: &mut Stage<'_>,
    source: &str,
    last: &[VersionInfo],
    ready: &[Piece<Item>],
) -> Result<()> {
    let times: Vec<String> = ready.iter().map(modified).collect();
    let pieces = ready.iter().zip(&times).filter_map(|(piece, time)| match piece {
        Piece::Rows(of, range) => Some(Piece::Rows(*of, range.clone())),
        Piece::New(item) => Some(Piece::New(cells(source, item, time))),
        Piece::Row(..) => None,
    });
    stage.mix(last, &[], pieces)
}

/// The items, merged on a thread of its own while they are written.
fn batches(sorted: &Sorted) -> Result<Items> {
    let mut items = sorted.items()?;
    Ok(rows::ahead("dcfs-merge", move |give| {
        loop {
            let batch: Vec<Item> = items.by_ref().take(BATCH as usize).collect::<Result<_>>()?;
            if batch.is_empty() || !give(batch) {
                return Ok(());
            }
        }
    }))
}

/// The time of a new row, in the catalog's format.
fn modified(piece: &Piece<Item>) -> String {
    match piece {
        Piece::New(item) => Timestamp::from_micros(ListedRow::of(item).modified).catalog(),
        Piece::Rows(..) | Piece::Row(..) => String::new(),
    }
}

/// The cells of a listing's row.
fn cells<'c>(source: &'c str, item: &'c Item, modified: &'c str) -> [Cell<'c>; 8] {
    let row = ListedRow::of(item);
    [
        Cell::Text(source.as_bytes()),
        Cell::Text(row.path),
        Cell::Integer(row.size),
        Cell::Text(row.version),
        Cell::Text(row.etag),
        Cell::Integer(i64::from(!row.is_old)),
        Cell::Text(modified.as_bytes()),
        Cell::Null,
    ]
}

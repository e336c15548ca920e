//! The listing that a dataset is made from: an existing one that is recent enough, or a new one.
//!
//! As in DataChain: a listing is a dataset in `system.listing`, named after the listed address;
//! that of a bucket is reused for four hours, also for folders below, if it contains any of their
//! objects: an unknown folder is listed itself. Folders of this machine are listed anew unless
//! `--reuse` is given: that takes seconds, and files change often. A new listing equal to the last
//! one gets no new version. Its rows are in the order of their paths, so the same bucket gives the
//! same row ids.

use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::mpsc;

use super::keep;
use super::relist::ListedRow;
use super::sort::Sorter;
use super::wanted;
use super::{Desk, Request, Watch};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::DatasetName;
use dcfs_core::render::numbers::counted;
use dcfs_core::schema::{Layout, Signal, SignalKind};
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::{Catalog, Saved, VersionInfo};
use dcfs_store::list::{End, How, Listed, Origin, Storage, Totals};

/// How long DataChain reuses a listing, in microseconds.
const LIFE: i64 = 4 * 3600 * 1_000_000;

/// The most batches from a store waiting to be sorted.
const WAITING: usize = 16;

/// A listing of an origin.
#[derive(Clone, Debug)]
pub struct Listing {
    pub origin: Origin,
    /// The version; `None` for a single object, which DataChain does not list.
    pub of: Option<VersionInfo>,
    /// The single object.
    pub single: Option<Listed>,
    /// Whether rows are known to be in the order of paths.
    pub is_ordered: bool,
    pub report: Report,
}

/// The report on a listing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// `s3://bucket/prefix/`
    pub of: String,
    /// The dataset that holds it.
    pub dataset: Option<String>,
    /// Its age, if it was reused.
    pub age_seconds: Option<u64>,
    /// The number of rows, and the total bytes of their objects.
    pub objects: u64,
    pub bytes: u64,
    /// The number of objects that cannot be recorded.
    pub skipped: u64,
    /// The same by kind, and links out of the folder, which are rows; empty for a reused listing.
    pub kinds: Totals,
}

/// Lists `origin`, or reuses a listing. `last` is the version that a delta starts from, `done` the
/// listings made before.
///
/// # Errors
/// Errors of the store, the catalog and the disk. No listing was added then.
pub fn obtain(
    desk: &mut Desk<'_>,
    request: &Request,
    origin: Origin,
    (last, done): (Option<&VersionInfo>, &[Listing]),
) -> Result<Listing> {
    let origin = desk.runtime.block_on(desk.stores.settle(origin))?;
    if origin.end() == End::Object {
        return single(desk, origin);
    }
    if let Some(mut listing) = reused(desk, request, &origin, done)? {
        let is_new = |other: &Listing| {
            other.report.age_seconds.is_none() && other.report.dataset == listing.report.dataset
        };
        if done.iter().any(is_new) {
            listing.report.age_seconds = None;
        }
        return Ok(listing);
    }
    anew(desk, request, origin, last)
}

/// Whether a listing is this version.
fn is_of(listing: &Listing, version: &VersionInfo) -> bool {
    listing.of.as_ref().is_some_and(|of| of.id == version.id)
}

fn single(desk: &mut Desk<'_>, origin: Origin) -> Result<Listing> {
    let mut found = None;
    let totals = list(desk, (&origin, How::default()), &mut |rows| {
        found = found.take().or_else(|| rows.into_iter().next());
        Ok(())
    })?;
    let report = report(&origin, &totals);
    Ok(Listing { origin, of: None, single: found, is_ordered: true, report })
}

/// Lists; `take` receives all rows.
fn list(
    desk: &Desk<'_>,
    (origin, how): (&Origin, How),
    take: &mut (dyn FnMut(Vec<Listed>) -> Result<()> + Send),
) -> Result<Totals> {
    let (to, mut from) = mpsc::channel::<Vec<Listed>>(WAITING);
    let (stores, watch): (_, &dyn Watch) = (desk.stores, desk.watch);
    let listing = async {
        let done = stores.list(origin, how, &to).await;
        drop(to);
        done
    };
    let taking = move || -> Result<()> {
        while let Some(rows) = from.blocking_recv() {
            let bytes = rows.iter().fold(0_u64, |sum, row| sum.saturating_add(row.size));
            watch.listed(rows.len() as u64, bytes);
            take(rows)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let taking = scope.spawn(taking);
        let done = desk.runtime.block_on(listing);
        let died = |_| Err(Error::new(Kind::Broken, "the thread that sorts a listing panicked"));
        // If nobody takes rows any more, the listing fails for that reason, which is not the cause.
        taking.join().unwrap_or_else(died)?;
        done
    })
}

fn report(origin: &Origin, totals: &Totals) -> Report {
    let (objects, bytes, skipped) = (totals.objects, totals.bytes, totals.skipped());
    let kinds = *totals;
    Report { of: origin.label(), objects, bytes, skipped, kinds, ..Report::default() }
}

/// Whether existing listings may be reused.
fn may_reuse(request: &Request, origin: &Origin) -> bool {
    !request.update && (request.reuse || origin.storage() != Storage::File)
}

/// An existing listing that covers the origin and is recent enough; the latest of several, as
/// DataChain chooses. `None` if it has nothing below the origin: the origin may be newer than it,
/// or wrong. Listings made in this run are always reused.
fn reused(
    desk: &Desk<'_>,
    request: &Request,
    origin: &Origin,
    done: &[Listing],
) -> Result<Option<Listing>> {
    let Some(catalog) = desk.catalog.clone() else { return Ok(None) };
    let is_made = |of: &VersionInfo| done.iter().any(|other| is_of(other, of));
    let now = Timestamp::of_system(SystemTime::now());
    let mut best: Option<(VersionInfo, i64, String)> = None;
    for (name, label) in covering(origin) {
        let Some(of) = catalog.latest(&listing(name))? else { continue };
        if !may_reuse(request, origin) && !is_made(&of) {
            continue;
        }
        let Some(finished) = of.finished_at else { continue };
        let age = now.micros().saturating_sub(finished.micros());
        let is_younger = best.as_ref().is_none_or(|(other, ..)| other.created_at < of.created_at);
        if age <= LIFE && is_younger && is_plain(&catalog, &of)? {
            best = Some((of, age, label));
        }
    }
    let Some((of, age, label)) = best else { return Ok(None) };
    if !wanted::is_any_below(&catalog, &of, origin)? {
        return Ok(None);
    }
    let report = Report {
        of: label,
        dataset: Some(of.to_string()),
        age_seconds: Some(u64::try_from(age / 1_000_000).unwrap_or(0)),
        objects: of.rows.unwrap_or(0),
        bytes: of.size.unwrap_or(0),
        ..Report::default()
    };
    let origin = origin.clone();
    Ok(Some(Listing { origin, of: Some(of), single: None, is_ordered: false, report }))
}

/// The names of the listings that cover an origin, with the listed addresses: its own, and those of
/// its parent folders.
fn covering(origin: &Origin) -> Vec<(String, String)> {
    let mut label = origin.label();
    if !label.ends_with('/') {
        label.push('/');
    }
    let mut names: Vec<(String, String)> = Vec::new();
    for is_current in [false, true] {
        let Some(name) = origin.listing_name(is_current) else { continue };
        for (number, end) in folders(&name).enumerate() {
            let name = name[..end].to_owned();
            if names.iter().all(|(other, _)| *other != name) {
                let end = folders(&label).nth(number).unwrap_or(label.len());
                names.push((name, label[..end].to_owned()));
            }
        }
    }
    names
}

/// The ends of the folders in an address.
fn folders(address: &str) -> impl Iterator<Item = usize> {
    let start = address.find("://").map_or(0, |at| at + 3);
    address.match_indices('/').map(|(at, _)| at + 1).filter(move |end| *end > start)
}

fn listing(name: String) -> DatasetName {
    DatasetName { namespace: "system".into(), project: "listing".into(), name }
}

/// Whether it has the columns of a listing; DataChain can be configured to name them differently.
pub fn is_plain(catalog: &Catalog, of: &VersionInfo) -> Result<bool> {
    let layout = catalog.layout(of)?;
    let names: Vec<&str> = layout.columns.iter().map(|column| column.name.as_str()).collect();
    Ok(file_layout().columns.iter().all(|column| names.contains(&column.name.as_str())))
}

pub fn file_layout() -> Layout {
    Layout::of_signals(&[Signal::new("file", SignalKind::File)])
}

/// Lists, and saves the result: as a new version, or as the last one if nothing changed.
fn anew(
    desk: &mut Desk<'_>,
    request: &Request,
    origin: Origin,
    last: Option<&VersionInfo>,
) -> Result<Listing> {
    if let Some((writer, name)) = desk.writer.as_mut().zip(origin.listing_name(false)) {
        writer.check_listing(&listing(name))?;
    }
    let mut sorter = Sorter::new(&desk.folder);
    let may_be_empty = last.is_some() || request.allows_empty;
    let how = How { may_be_empty, ..How::default() };
    let totals = list(desk, (&origin, how), &mut |rows| {
        for row in &rows {
            let listed = ListedRow {
                path: row.path.as_bytes(),
                is_old: !row.is_latest,
                modified: row.last_modified.micros(),
                size: i64::try_from(row.size).unwrap_or(i64::MAX),
                version: row.version.as_bytes(),
                etag: row.etag.as_bytes(),
                row: None,
            };
            sorter.push(|out| listed.write(out))?;
        }
        Ok(())
    })?;
    let sorted = sorter.finish()?;
    let mut report = report(&origin, &totals);
    if totals.objects == 0 {
        return match request.allows_empty || is_gone(desk, &origin, last)? {
            true => Ok(Listing { origin, of: None, single: None, is_ordered: true, report }),
            false => Err(nothing_there(&report)),
        };
    }
    let name = listing(origin.listing_name(totals.is_current).unwrap_or_default());
    let listed = (sorted, totals.objects);
    let (of, is_ordered) = keep::keep(desk, request, (&origin, &name), &listed)?;
    report.dataset = Some(of.to_string());
    Ok(Listing { origin, of: Some(of), single: None, is_ordered, report })
}

/// Whether an empty listing means that everything is gone: for a folder of this machine, if it
/// exists; otherwise if the last version has rows of it, since a prefix exists only as long as
/// objects begin with it.
fn is_gone(desk: &Desk<'_>, origin: &Origin, last: Option<&VersionInfo>) -> Result<bool> {
    match desk.catalog.as_ref().zip(last) {
        Some(_) if origin.storage() == Storage::File => Ok(true),
        Some((catalog, last)) => wanted::is_any_below(catalog, last, origin),
        None => Ok(false),
    }
}

/// The advice for a person who wants a version without rows.
pub const ALLOW_EMPTY: &str = "`--allow-empty` saves a version without rows";

/// The error for a listing without rows.
fn nothing_there(report: &Report) -> Error {
    let skipped = match report.skipped {
        0 => String::new(),
        n => format!(" ({} cannot be recorded)", counted(n, "name")),
    };
    let message = format!("there are no files in `{}`{skipped}; {ALLOW_EMPTY}", report.of);
    Error::new(Kind::Missing, message)
}

/// A version that was just saved.
pub fn version(saved: &Saved) -> VersionInfo {
    VersionInfo {
        id: saved.id,
        uuid: saved.uuid.clone(),
        dataset: saved.dataset.clone(),
        version: saved.version,
        rows: Some(saved.rows),
        size: saved.size,
        ..VersionInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;

    #[test]
    fn a_listing_covers_what_lies_below_it() {
        let all = |text: &str| {
            let origins = Origin::parse(text, Path::new("/here")).expect(text);
            covering(&origins[0].clone().settled(End::Folder))
        };
        let names = |text| all(text).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let labels = |text| all(text).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        let want = ["lst__s3://b/", "lst__s3://b/a/", "lst__s3://b/a/c/"];
        let current = want.map(|name| name.replace("lst__", "lst__current__"));
        assert_eq!(names("s3://b/a/c/*.jpg"), [&want.map(str::to_owned)[..], &current].concat());
        assert_eq!(names("/a/b")[..], ["lst__file:///", "lst__file:///a/", "lst__file:///a/b/"]);
        assert_eq!(labels("/a.c/b")[..], ["file:///", "file:///a.c/", "file:///a.c/b/"]);
        assert_eq!(labels("s3://b/a.c/*.jpg")[..2], ["s3://b/", "s3://b/a.c/"]);
    }
}

//! Selects the rows of the listings that are wanted, and refuses requests without rows.
//!
//! Every address as typed must have rows, otherwise nothing is saved: a dataset without a requested
//! folder or pattern is not what was asked for. With `--delta` the result may be empty for an
//! existing, empty folder, and for addresses of which the last version has rows.

use std::sync::Arc;

use super::item::Item;
use super::listing::Listing;
use super::pattern::Pattern;
use super::rows::{self, From, Items, Source, StoredRow};
use super::shape::Shape;
use super::{Desk, Request};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::numbers::counted;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_store::list::Origin;

/// The wanted rows of all listings, in order, each object once.
///
/// # Errors
/// Errors of the catalog and the disk.
pub fn rows(
    catalog: &Arc<Catalog>,
    desk: &Desk<'_>,
    listings: &[Listing],
    versions: &[VersionInfo],
) -> Result<Items> {
    let mut sources = Vec::new();
    for listing in listings {
        let Some(of) = &listing.of else { continue };
        let number = versions.iter().position(|other| other.id == of.id).unwrap_or(0);
        let wanted = selection(&listing.origin);
        sources.push(Source { of: of.clone(), number, is_ordered: listing.is_ordered, wanted });
    }
    let singles =
        listings.iter().enumerate().filter_map(|(at, listing)| single(at, listing)).collect();
    let items = rows::ordered(catalog, sources, singles, &desk.folder)?;
    Ok(if listings.len() == 1 { items } else { rows::once(items) })
}

/// The row of a single object.
fn single(at: usize, listing: &Listing) -> Option<Item> {
    let listed = listing.single.as_ref()?;
    let (address, path) = rows::address(&listing.origin.source(), &listed.path);
    let size = i64::try_from(listed.size).unwrap_or(i64::MAX);
    let modified = listed.last_modified.catalog();
    let texts = [&listed.version, &listed.etag, &modified];
    let [version, etag, modified] = texts.map(|text| text.as_bytes());
    let (address, from) = (address.as_bytes(), From::Single(at));
    let row = StoredRow { address, path, from, size, version, etag, modified };
    Some(Item::new(|out| row.write(out)))
}

/// Selects the rows of an origin in a listing, which may be one of a parent folder.
fn selection(origin: &Origin) -> rows::Wanted {
    let origin = origin.clone();
    let (start, path) = start(&origin);
    Arc::new(move |address, is_latest| {
        is_latest && address.starts_with(&start) && origin.selects(&address[path..])
    })
}

/// The prefix of addresses below an origin, and the offset of the paths that its patterns match.
fn start(origin: &Origin) -> (String, usize) {
    let (start, path) = rows::address(&origin.source(), &origin.prefix());
    let path = path.min(start.len());
    (start, path)
}

/// Whether a version has a row below an origin, ignoring patterns.
///
/// # Errors
/// Errors of the catalog.
pub fn is_any_below(catalog: &Catalog, of: &VersionInfo, origin: &Origin) -> Result<bool> {
    let (start, _) = start(origin);
    let mut is_below = |address: &str, _, is_latest: bool| is_latest && address.starts_with(&start);
    Ok(rows::first(catalog, of, &mut is_below)?.is_some())
}

/// Whether a version has a row that an origin selects.
fn is_any(catalog: &Catalog, of: &VersionInfo, origin: &Origin) -> Result<bool> {
    let wanted = selection(origin);
    Ok(rows::first(catalog, of, &mut |address, _, is_latest| wanted(address, is_latest))?.is_some())
}

/// Refuses addresses that have no rows.
///
/// # Errors
/// `Missing`, with all such addresses; errors of the catalog.
pub fn check(
    catalog: &Catalog,
    request: &Request,
    listings: &[Listing],
    last: Option<&VersionInfo>,
) -> Result<()> {
    let mut told = Vec::new();
    for group in &request.groups {
        let group: Vec<&Listing> = group.iter().filter_map(|at| listings.get(*at)).collect();
        let mut is_there = false;
        for listing in &group {
            is_there = is_there || request.allows_empty || gives(catalog, listing, last)?;
        }
        if !is_there {
            told.extend(group.into_iter().map(nothing));
        }
    }
    match told.is_empty() {
        true => Ok(()),
        false => Err(Error::new(Kind::Missing, format!("{}; nothing was saved", told.join("; ")))),
    }
}

/// Refuses a pattern that no path matches: all its columns would be empty.
///
/// # Errors
/// `Invalid`, with a path beside the pattern; errors of the catalog.
pub fn check_patterns(catalog: &Catalog, shape: &Shape, listings: &[Listing]) -> Result<()> {
    for pattern in shape.columns.patterns() {
        let mut odd = None;
        let mut is_matched = false;
        for listing in listings {
            is_matched = is_matched || matches(catalog, listing, pattern, &mut odd)?;
        }
        if let Some(odd) = odd.filter(|_| !is_matched) {
            return Err(unmatched(pattern, &odd, shape));
        }
    }
    Ok(())
}

/// Whether a pattern matches any path; `odd` is the first path that it does not match.
fn matches(
    catalog: &Catalog,
    listing: &Listing,
    pattern: &Pattern,
    odd: &mut Option<String>,
) -> Result<bool> {
    let mut is_matched = |path: &str| {
        let is_matched = pattern.matched(path).is_some();
        if !is_matched && odd.is_none() {
            *odd = Some(path.to_owned());
        }
        is_matched
    };
    let Some(of) = &listing.of else {
        return Ok(listing.single.as_ref().is_some_and(|single| is_matched(&single.path)));
    };
    let wanted = selection(&listing.origin);
    let mut is_found = |address: &str, path: usize, is_latest: bool| {
        wanted(address, is_latest) && is_matched(&address[path..])
    };
    Ok(rows::first(catalog, of, &mut is_found)?.is_some())
}

fn unmatched(pattern: &Pattern, odd: &str, shape: &Shape) -> Error {
    let kept = shape.kept().map(|kept| {
        format!(". The pattern is that of `{}`: `--with none` saves without its columns", kept.of)
    });
    let message = format!(
        "no path matches the pattern `{}`, e.g. not `{odd}`; a pattern has to match the last segments of a path, as many as it has{}",
        pattern.text(),
        kept.unwrap_or_default()
    );
    Error::new(Kind::Invalid, message)
}

/// Whether a listing has rows, or shows that those of the last version are gone.
fn gives(catalog: &Catalog, listing: &Listing, last: Option<&VersionInfo>) -> Result<bool> {
    let is_there = match &listing.of {
        None => listing.single.is_some(),
        Some(of) => is_any(catalog, of, &listing.origin)?,
    };
    match last {
        Some(last) if !is_there => {
            Ok(listing.origin.globs().is_empty() || is_any(catalog, last, &listing.origin)?)
        }
        _ => Ok(is_there),
    }
}

/// The error for a listing without rows.
fn nothing(listing: &Listing) -> String {
    let globs: Vec<String> =
        listing.origin.globs().iter().map(|glob| format!("`{}`", glob.text())).collect();
    let (of, globs) = (listing.origin.label(), globs.join(" or "));
    let objects = counted(listing.report.objects, "object");
    match (globs.is_empty(), listing.report.age_seconds) {
        (true, _) => format!("nothing in `{of}` is there now; the listing has {objects}"),
        (false, None) => format!("none of {objects} in `{of}` matches {globs}"),
        (false, Some(_)) => format!(
            "none of {objects} in the listing of `{}`, which was there already, is in `{of}` and matches \
             {globs}: `--update` lists anew",
            listing.report.of
        ),
    }
}

//! Writes the rows of the new version.

use std::cell::RefCell;
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::columns::Columns;
use super::delta::{Merge, Step};
use super::images::{self, Seen};
use super::item::Item;
use super::lazy_stage::LazyStage;
use super::listing::{ALLOW_EMPTY, Listing};
use super::rows::{self, From, Items, Source, StoredRow};
use super::wanted;
use super::{Computed, Desk, Indexed, Phase, Request, Shape};
use dcfs_core::cell::Cell;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::VersionId;
use dcfs_data::catalog::{Catalog, Description, Parent, Piece, Publication, Saved, VersionInfo};

/// Rows, or ranges of them, written at a time. At most twice as many pieces wait, to bound memory.
const BATCH: u64 = 8192;

/// Saves the wanted rows of `listings`.
pub fn write(
    desk: &mut Desk<'_>,
    request: &Request,
    listings: &[Listing],
    shape: &Shape,
    last: Option<VersionInfo>,
) -> Result<Indexed> {
    let catalog = desk.catalog()?;
    let versions = versions(listings, last.as_ref());
    let new = wanted::rows(&catalog, desk, listings, &versions)?;
    let old = kept(&catalog, desk, last.as_ref(), &versions)?;
    let keeps_deleted = request.delta.is_some_and(|delta| delta.keeps_deleted);
    let merge = Merge::new(new, old, keeps_deleted);
    let phase = if shape.columns.has_image { Phase::Pictures } else { Phase::Writing };
    desk.watch.begins(phase, expected(listings));
    let parents = parents(&catalog, listings, last.as_ref())?;
    let (stores, runtime, watch) = (desk.stores, desk.runtime, desk.watch);
    let checkpoint = match shape.columns.has_image {
        true => Checkpoint::open(&desk.path, &request.name),
        false => Checkpoint::default(),
    };
    let checkpoint = RefCell::new(checkpoint);
    let mut writing = Writing {
        stage: LazyStage::new(desk.writer()?, shape.layout.clone()),
        versions,
        singles: listings,
        columns: &shape.columns,
        names: shape.columns.names(),
        ready: Vec::new(),
        computed: Computed::default(),
        first_error: None,
        look: &|items| {
            let objects = items.into_iter().map(|item| StoredRow::of(item).object()).collect();
            let mut checkpoint = checkpoint.borrow_mut();
            images::look_anew(objects, &mut checkpoint, watch, |objects, each| {
                runtime.block_on(images::look(stores, objects, request.jobs, each))
            })
        },
        wrote: &|rows| watch.wrote(rows),
    };
    let (counts, rows) = writing.all(merge, last.is_some())?;
    writing.hopeful()?;
    let reports = listings.iter().map(|listing| listing.report.clone()).collect();
    let computed = std::mem::take(&mut writing.computed);
    let saved = match last.is_some() && counts.is_nothing() {
        true => {
            drop(writing);
            None
        }
        false if rows == 0 && !request.allows_empty => return Err(empty(last.as_ref())),
        false => {
            let upon = last.as_ref().map(|last| last.id);
            Some(writing.publish(request, &parents, upon)?)
        }
    };
    checkpoint.into_inner().done();
    let is_described = saved.is_none() && describe(desk, request)?;
    // A delta computes exactly the columns of the last version: no need to report it.
    let kept_columns = shape.kept().filter(|_| last.is_none());
    Ok(Indexed { saved, last, listings: reports, counts, kept_columns, computed, is_described })
}

/// The error for a result without rows: as the latest version it would leave readers of the dataset
/// with nothing.
fn empty(last: Option<&VersionInfo>) -> Error {
    let gone = last.map(|last| format!(": all of `{last}` is gone")).unwrap_or_default();
    Error::new(Kind::Missing, format!("no row is left{gone}; nothing was saved; {ALLOW_EMPTY}"))
}

/// The expected number of rows, if known: for listings made now of which every object is wanted.
fn expected(listings: &[Listing]) -> Option<u64> {
    let rows = |listing: &Listing| match &listing.of {
        None => Some(u64::from(listing.single.is_some())),
        Some(_) => {
            let is_whole = listing.origin.globs().is_empty() && listing.report.kinds.latest > 0;
            is_whole.then_some(listing.report.kinds.latest)
        }
    };
    listings.iter().map(rows).sum()
}

/// Changes the description of a dataset that got no new version; returns whether anything changed.
fn describe(desk: &mut Desk<'_>, request: &Request) -> Result<bool> {
    let Request { name, description, attrs, .. } = request;
    let said = Description { description: description.clone(), attrs: attrs.clone() };
    let is_any = said != Description::default();
    if is_any {
        desk.writer()?.describe(name, &said)?;
    }
    Ok(is_any)
}

/// The rows of the last version, in order.
fn kept(
    catalog: &Arc<Catalog>,
    desk: &Desk<'_>,
    last: Option<&VersionInfo>,
    versions: &[VersionInfo],
) -> Result<Items> {
    let Some(last) = last else { return Ok(rows::nothing()) };
    let number = versions.iter().position(|of| of.id == last.id).unwrap_or(0);
    let wanted: rows::Wanted = Arc::new(|_, _| true);
    let source = Source { of: last.clone(), number, is_ordered: false, wanted };
    rows::ordered(catalog, vec![source], Vec::new(), &desk.folder)
}

/// The versions that rows come from, without duplicates.
fn versions(listings: &[Listing], last: Option<&VersionInfo>) -> Vec<VersionInfo> {
    let mut versions: Vec<VersionInfo> = Vec::new();
    for of in listings.iter().filter_map(|listing| listing.of.as_ref()).chain(last) {
        if versions.iter().all(|other| other.id != of.id) {
            versions.push(of.clone());
        }
    }
    versions
}

/// The parents of the new version: the listings, and other parents of the last version.
fn parents(
    catalog: &Catalog,
    listings: &[Listing],
    last: Option<&VersionInfo>,
) -> Result<Vec<VersionId>> {
    let new: Vec<&VersionInfo> =
        listings.iter().filter_map(|listing| listing.of.as_ref()).collect();
    let is_replaced = |parent: &Parent| {
        let name = parent.dataset.as_ref().map(|(name, _)| name);
        new.iter().any(|of| name == Some(&of.dataset))
    };
    let mut parents: Vec<VersionId> = new.iter().map(|of| of.id).collect();
    if let Some(last) = last {
        let old = catalog.parents(last.id)?;
        parents.extend(
            old.iter().filter(|parent| !is_replaced(parent)).filter_map(|parent| parent.id),
        );
    }
    Ok(parents)
}

/// A version being written.
struct Writing<'w, 'a> {
    stage: LazyStage<'w>,
    versions: Vec<VersionInfo>,
    singles: &'a [Listing],
    columns: &'a Columns,
    names: Vec<String>,
    ready: Vec<Piece<Item>>,
    computed: Computed,
    /// The error of the first unreadable image.
    first_error: Option<Arc<Error>>,
    look: &'a dyn Fn(Vec<&Item>) -> Result<Vec<Seen>>,
    wrote: &'a dyn Fn(u64),
}

impl Writing<'_, '_> {
    /// Writes all rows, and counts them. If `may_be_nothing` and there is no change, perhaps
    /// nothing was written.
    fn all(
        &mut self,
        mut merge: Merge<Items, Items>,
        may_be_nothing: bool,
    ) -> Result<(super::Counts, u64)> {
        let (mut rows, mut untold) = (0, 0);
        while let Some(step) = merge.step()? {
            // An image is reported once it was read.
            untold += u64::from(!self.columns.has_image || matches!(step, Step::Keep(_)));
            match step {
                Step::Keep(item) => self.unchanged(&item),
                Step::Fresh(item) if self.columns.is_empty() => self.unchanged(&item),
                Step::Fresh(item) => self.ready.push(computed(&item)),
            }
            rows += 1;
            if rows % BATCH == 0 {
                // Images are read in large batches; rows that are only copied keep up with the
                // reader.
                let may_wait =
                    self.columns.has_image || may_be_nothing && merge.counts().is_nothing();
                if !may_wait || self.ready.len() >= BATCH as usize {
                    self.flush()?;
                }
                (self.wrote)(std::mem::take(&mut untold));
            }
        }
        let counts = merge.counts();
        if !(may_be_nothing && counts.is_nothing()) {
            self.flush()?;
        }
        (self.wrote)(untold);
        Ok((counts, rows))
    }

    /// A row of a listing already has all its cells; those of an object in no listing are created.
    fn unchanged(&mut self, item: &Item) {
        match StoredRow::of(item).from {
            From::Row(of, row) => Piece::copied(&mut self.ready, of, row),
            From::Single(_) => self.ready.push(computed(item)),
        }
    }

    /// Writes the pending rows.
    fn flush(&mut self) -> Result<()> {
        let ready = std::mem::take(&mut self.ready);
        let mut images = self.images(&ready)?.into_iter();
        let sources: Vec<String> =
            self.singles.iter().map(|listing| listing.origin.source()).collect();
        let mut pieces = Vec::with_capacity(ready.len());
        for piece in &ready {
            pieces.extend(match piece {
                Piece::Rows(of, range) => Some(Piece::Rows(*of, range.clone())),
                Piece::Row(of, row, item) => {
                    Some(Piece::Row(*of, *row, self.cells(item, images.next())))
                }
                Piece::New(item) => {
                    let cells = self.cells(item, images.next());
                    let row = StoredRow::of(item);
                    let source = match row.from {
                        From::Single(listing) => sources.get(listing),
                        From::Row(..) => None,
                    };
                    source.map(|source| Piece::New([&row.file_cells(source)[..], &cells].concat()))
                }
            });
        }
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        self.stage.get()?.mix(&self.versions, &names, pieces)
    }

    /// The cells of a row's computed columns.
    fn cells<'i>(&mut self, item: &'i Item, seen: Option<Seen>) -> Vec<Cell<'i>> {
        let image = if let Some(Seen::Image(image)) = seen { Some(image) } else { None };
        let path = StoredRow::of(item).path();
        let (cells, is_matched) = self.columns.cells(path, image);
        if !is_matched {
            self.computed.unmatched += 1;
            self.computed.unmatched_path.get_or_insert_with(|| path.to_owned());
        }
        cells
    }

    /// Reads the images among rows.
    fn images(&mut self, ready: &[Piece<Item>]) -> Result<Vec<Seen>> {
        if !self.columns.has_image {
            return Ok(Vec::new());
        }
        let seen = (self.look)(ready.iter().filter_map(row).collect())?;
        for seen in &seen {
            match seen {
                Seen::Image(_) => self.computed.images += 1,
                Seen::No => self.computed.no_images += 1,
                Seen::Gone => self.computed.replaced += 1,
                Seen::Unreadable(error) => self.unreadable(error)?,
            }
        }
        Ok(seen)
    }

    /// A single unreadable image does not stop the work; if none is readable, the store is the
    /// problem.
    fn unreadable(&mut self, error: &Arc<Error>) -> Result<()> {
        let computed = &mut self.computed;
        computed.unreadable += 1;
        if computed.unreadable_first.len() < MOST_TOLD {
            computed.unreadable_first.push(error.to_string());
        }
        self.first_error.get_or_insert_with(|| Arc::clone(error));
        if self.computed.unreadable >= HOPELESS { self.hopeful() } else { Ok(()) }
    }

    /// # Errors
    /// The error of the first, if no image at all could be read.
    fn hopeful(&self) -> Result<()> {
        let Computed { images, no_images, .. } = &self.computed;
        match &self.first_error {
            Some(error) if images + no_images == 0 => {
                Err(Error::new(error.kind(), error.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn publish(
        self,
        request: &Request,
        parents: &[VersionId],
        upon: Option<VersionId>,
    ) -> Result<Saved> {
        let stage = self.stage.begun()?;
        stage.publish(&Publication {
            name: &request.name,
            number: request.number,
            upon,
            parents,
            script: &request.provenance.script(),
            description: request.description.as_deref(),
            attrs: request.attrs.as_deref(),
            provenance: &request.provenance,
            job: None,
        })
    }
}

/// The most unreadable images reported with their errors.
const MOST_TOLD: usize = 5;

/// If this many images are unreadable and none was read, the store is away or refuses.
const HOPELESS: u64 = 100;

/// A row whose columns are computed.
fn computed(item: &Item) -> Piece<Item> {
    match StoredRow::of(item).from {
        From::Single(_) => Piece::New(item.copy()),
        From::Row(of, row) => Piece::Row(of, row, item.copy()),
    }
}

/// The row, if its columns are computed.
fn row(piece: &Piece<Item>) -> Option<&Item> {
    match piece {
        Piece::Row(_, _, item) | Piece::New(item) => Some(item),
        Piece::Rows(..) => None,
    }
}

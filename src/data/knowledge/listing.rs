//! The facts of a listing, for its page: folders, times, and how some of its files begin.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::snapshot::Listing;
use super::{Depth, Knowledge, bucket, place};
use crate::catalog::{Catalog, VersionInfo};
use crate::pack::Pack;
use crate::query::{Queries, Version};
use crate::sql::kernel;
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::error::{Kind, Result};
use dcfs_core::expr::{self, Part, Val};
use dcfs_core::id::RowId;
use dcfs_core::sql::{FoldKind, Known};
use dcfs_core::time::Timestamp;

/// The most sample files of a listing, and the most rows that they are searched in.
const MOST_SAMPLES: usize = 6;
const MOST_LOOKED_AT: usize = 10_000;

impl Knowledge {
    /// Everything about a listing.
    pub(super) fn listing_facts(&self, of: &Listing, depth: Depth) -> Result<bucket::Facts> {
        let mut facts = bucket::Facts { is_anon: self.is_anon(of)?, ..bucket::Facts::default() };
        if depth == Depth::Brief || self.is_large(&of.of) {
            return Ok(facts);
        }
        match self.read_listing(of, &mut facts) {
            Err(error) if matches!(error.kind(), Kind::Busy | Kind::Full | Kind::NoSpace) => {
                return Err(error);
            }
            Err(error) => tracing::warn!(listing = %of.uri, %error, "a page without its rows"),
            Ok(()) => {}
        }
        Ok(facts)
    }

    /// Adds the facts that require reading the rows of a listing.
    fn read_listing(&self, of: &Listing, facts: &mut bucket::Facts) -> Result<()> {
        let pack = (self.packs)(&of.of)?;
        facts.statistics = Some(self.statistics(&of.of, &pack)?);
        let known = Known::of(&self.catalog.schema(&of.of)?);
        let files = facts.statistics.as_ref().and_then(|found| found.files.first());
        let Some(file) = files.map(|files| files.column_name.clone()) else { return Ok(()) };
        let column = |part: &str| known.find(&format!("{file}.{part}")).cloned();
        let version = (&*self.catalog, &of.of);
        if let (Some(parent), Some(size)) = (column("parent"), column("size")) {
            let folds = [(FoldKind::Rows, None), (FoldKind::Sum, Some(size))];
            // Too many folders for one page: none are shown.
            let groups = kernel::of_rows(version, &pack, None, &[parent], &folds)?;
            let prefix = place::parts(&of.uri).2.trim_end_matches('/').to_owned();
            facts.folders = folders(groups.unwrap_or_default(), &prefix);
        }
        self.sample(of, &file, facts)?;
        if let Some(path) = column("path") {
            facts.spaced = spaced((&self.catalog, &of.of), &pack, &path.name)?;
        }
        if let Some(time) = column("last_modified") {
            let folds =
                [FoldKind::Least, FoldKind::Greatest].map(|kind| (kind, Some(time.clone())));
            let groups = kernel::of_rows(version, &pack, None, &[], &folds)?.unwrap_or_default();
            let moment = |value: &Val<'_>| {
                let text = value.text()?;
                Timestamp::parse(std::str::from_utf8(text).ok()?)
            };
            facts.times = groups.first().and_then(|(_, values)| match &values[..] {
                [first, last] => moment(first).zip(moment(last)),
                _ => None,
            });
        }
        Ok(())
    }

    /// Adds the first file of each of the most frequent extensions, among the first rows.
    fn sample(&self, of: &Listing, file: &str, facts: &mut bucket::Facts) -> Result<()> {
        let schema = self.catalog.schema(&of.of)?;
        let Some(file) = schema.files.iter().find(|known| known.name == file) else {
            return Ok(());
        };
        let Some(path) = file.path.clone() else { return Ok(()) };
        let told = facts.statistics.as_ref().and_then(|found| found.files.first());
        let told = told.map(|files| &files.extensions[..]).unwrap_or_default();
        let mut wanted: Vec<&str> =
            told.iter().take(MOST_SAMPLES).map(|one| one.extension.as_str()).collect();
        let (mut found, mut seen) = (Vec::new(), 0);
        let mut each = |id: RowId, cells: &dyn Cells| {
            seen += 1;
            if let Cell::Text(path) = cells.cell(0) {
                let path = String::from_utf8_lossy(path);
                let extension = Part::Ext.of(path.as_bytes());
                if let Some(at) = wanted.iter().position(|own| own.as_bytes() == extension) {
                    wanted.remove(at);
                    found.push((id, path.into_owned()));
                }
            }
            Ok(match wanted.is_empty() || seen >= MOST_LOOKED_AT {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        };
        self.catalog.cells(&of.of, &[path], &mut std::iter::once(RowId::ALL), &mut each)?;
        for (id, path) in found {
            let object = self.catalog.objects(&of.of, file, &[id])?.pop().flatten();
            let size = object.as_ref().and_then(|object| object.size);
            let beginning = object.and_then(|object| self.look_into.as_ref()?(&object));
            facts.samples.push(bucket::Sample { path, size, beginning });
        }
        Ok(())
    }

    /// Whether a listing was made without credentials, if dcfs made it.
    fn is_anon(&self, of: &Listing) -> Result<Option<bool>> {
        let settings = self.catalog.settings()?;
        let (scheme, bucket, _) = place::parts(&of.uri);
        Ok(settings.get(&format!("{scheme}://{bucket}")).map(|reached| reached.anon))
    }
}

/// The number of files with a space in their path.
fn spaced(
    (catalog, of): (&Arc<Catalog>, &VersionInfo),
    pack: &Arc<Pack>,
    path: &str,
) -> Result<u64> {
    let filter = format!("`{}` like '% %'", path.replace('`', "``"));
    let Ok(query) = expr::check(&filter, &catalog.schema(of)?) else { return Ok(0) };
    let version = Version { catalog, of, pack, each: &|_| {} };
    Ok(Queries::for_a_command().select(version, &query, None)?.rows.len())
}

/// Sums the groups by folder over the first two levels below `prefix`.
fn folders(
    groups: Vec<(Vec<Val<'static>>, Vec<Val<'static>>)>,
    prefix: &str,
) -> BTreeMap<String, (u64, u64)> {
    let whole = |value: Option<&Val<'_>>| match value {
        Some(Val::Int(n)) => n.max(&0).unsigned_abs(),
        _ => 0,
    };
    let mut folders: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (keys, values) in groups {
        let path = keys.first().and_then(Val::text).unwrap_or_default();
        let path = String::from_utf8_lossy(path);
        let inside = path.strip_prefix(prefix).map_or(&*path, |rest| rest.trim_start_matches('/'));
        let levels: Vec<&str> = inside.split('/').take(2).collect();
        let sums = folders.entry(levels.join("/")).or_default();
        sums.0 = sums.0.saturating_add(whole(values.first()));
        sums.1 = sums.1.saturating_add(whole(values.get(1)));
    }
    folders
}

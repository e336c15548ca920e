//! Pages about a catalog, compiled from facts: for people, agents, editors, Obsidian and GitHub, in the layout of DataChain's own
//! knowledge base. Equal catalogs and equal notes give equal bytes; no model writes any of it.
//!
//! | file | what lives there |
//! |---|---|
//! | [`snapshot`], [`place`] | what the catalog holds, and where the page of each is |
//! | [`dataset`], [`bucket`], [`index`] | one page each |
//! | [`frontmatter`], [`fitted`] | the head of a page; lines within a budget |
//! | [`hand`] | what people write: read, and never changed |
//! | [`search`] | words in all of it |
//! | [`folder`] | the pages as files |

mod bucket;
mod dataset;
mod fitted;
pub mod folder;
mod frontmatter;
mod hand;
mod index;
mod place;
mod search;
mod snapshot;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use self::dataset::Preview;
pub use self::hand::notes_file;
use self::search::Document;
pub use self::search::Hit;
use self::snapshot::{Dataset, Listing, Snapshot};
use crate::catalog::{Catalog, VersionInfo};
use crate::diff::{Plan, Versions, compare};
use crate::pack::Pack;
use crate::sql::kernel;
use crate::stats;
use crate::tables::{Rows, Source};
use dcfs_core::error::Result;
use dcfs_core::expr::Val;
use dcfs_core::id::RowId;
use dcfs_core::name::{DatasetName, escape};
use dcfs_core::render::grid;
use dcfs_core::render::rows::Beside;
use dcfs_core::secrets::masked;
use dcfs_core::sql::{FoldKind, Known};
use dcfs_core::time::Timestamp;

/// Rows of a preview.
const PREVIEWED: usize = 5;

/// Versions are compared row by row up to so many rows each; of larger ones only the numbers of rows are told.
const MOST_COMPARED: u64 = 200_000;

/// Scripts of earlier versions that are looked at.
const MOST_SCRIPTS: usize = 20;

/// Opens or builds the pack of a version. May block.
pub type PackOf = dyn Fn(&VersionInfo) -> Result<Arc<Pack>> + Send + Sync;

/// The pages of one catalog.
pub struct Knowledge {
    catalog: Arc<Catalog>,
    packs: Box<PackOf>,
    /// Where people's notes are, if anywhere.
    folder: Option<PathBuf>,
}

/// A page that there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageInfo {
    /// Below the folder of pages: `datasets/pets.md`.
    pub path: String,
    /// Of a dataset its name, of a listing its storage.
    pub title: String,
    pub kind: PageKind,
}

/// What a page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PageKind {
    Index,
    Dataset,
    Bucket,
    /// `datasets.base`, a table for Obsidian.
    Base,
}

/// How much is looked into for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// All of it: rows are read.
    Full,
    /// What the catalog says of datasets and versions.
    Brief,
}

impl Knowledge {
    /// Over an open catalog; `folder` is that of the pages as files, where people write notes beside them.
    pub fn new(
        catalog: Arc<Catalog>,
        packs: impl Fn(&VersionInfo) -> Result<Arc<Pack>> + Send + Sync + 'static,
        folder: Option<PathBuf>,
    ) -> Self {
        Self { catalog, packs: Box::new(packs), folder }
    }

    /// The folder of pages where nothing else is said: `dc-knowledge` beside `.datachain`.
    pub fn default_folder(catalog: &Catalog) -> Option<PathBuf> {
        Some(catalog.path().parent()?.parent()?.join("dc-knowledge"))
    }

    /// Where people's notes are, if anywhere.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Every page there is, the index first. Costs some questions to the catalog for each dataset, and reads no rows.
    ///
    /// # Errors
    /// What the catalog says.
    pub fn pages(&self) -> Result<Vec<PageInfo>> {
        Ok(listed(&Snapshot::take(&self.catalog)?))
    }

    /// The text of the page at `path`; `None` where there is no such page. Reads the rows of its dataset where their statistics
    /// are not kept yet: blocks.
    ///
    /// # Errors
    /// What the catalog, the pack and the statistics say.
    pub fn page(&self, path: &str) -> Result<Option<String>> {
        self.compiled(&Snapshot::take(&self.catalog)?, path, Depth::Full)
    }

    /// The path of the page about a dataset.
    ///
    /// # Errors
    /// What the catalog says.
    pub fn page_of(&self, name: &DatasetName) -> Result<Option<String>> {
        let all = Snapshot::take(&self.catalog)?;
        Ok(all.dataset(name).map(|dataset| dataset.page.clone()))
    }

    /// `index.md`.
    ///
    /// # Errors
    /// What the catalog says.
    pub fn index(&self) -> Result<String> {
        Ok(index::index(&Snapshot::take(&self.catalog)?))
    }

    /// What opens a mount: every dataset in a line, and what can be done; at most 2 KiB.
    ///
    /// # Errors
    /// What the catalog says.
    pub fn front(&self) -> Result<String> {
        let columns = |dataset: &Dataset| {
            let schema = self.catalog.schema(dataset.latest()).ok()?;
            Some(schema.leaves().iter().filter(|leaf| !leaf.hidden).count())
        };
        Ok(index::front(&Snapshot::take(&self.catalog)?, &columns))
    }

    /// Pages, notes, documents and scripts with `words`, best first, at most `most`.
    ///
    /// # Errors
    /// No word; what the catalog says.
    pub fn search(&self, words: &str, most: usize) -> Result<Vec<Hit>> {
        let all = Snapshot::take(&self.catalog)?;
        let mut documents = Vec::new();
        for dataset in &all.datasets {
            let text = self.compiled(&all, &dataset.page, Depth::Brief)?.unwrap_or_default();
            // What lies in the folder has statistics: labels and values can be found.
            let written =
                self.folder.as_deref().and_then(|folder| folder::read(folder, &dataset.page));
            let script = masked(&dataset.details.script);
            let title = dataset.name().to_string();
            let text = format!("{}\n{script}", written.unwrap_or(text));
            documents.push(Document { path: dataset.page.clone(), title, text });
        }
        for listing in &all.listings {
            let (path, title) = (listing.page.clone(), listing.uri.clone());
            let text = self.compiled(&all, &path, Depth::Brief)?.unwrap_or_default();
            documents.push(Document { path, title, text });
        }
        documents.extend(self.folder.as_deref().map(hand::documents).unwrap_or_default());
        search::search(&documents, words, most)
    }

    /// A page of a snapshot.
    fn compiled(&self, all: &Snapshot, path: &str, depth: Depth) -> Result<Option<String>> {
        if path == index::INDEX {
            return Ok(Some(index::index(all)));
        }
        if path == index::BASE {
            return Ok(Some(index::BASE_TEXT.to_owned()));
        }
        if let Some(of) = all.datasets.iter().find(|dataset| dataset.page == path) {
            let hand = hand::of_page(self.folder.as_deref(), path);
            return Ok(Some(dataset::page(of, all, &self.facts(of, depth)?, &hand)));
        }
        if let Some(of) = all.listings.iter().find(|listing| listing.page == path) {
            return Ok(Some(bucket::page(of, all, &self.listing_facts(of, depth)?)));
        }
        Ok(index::of_letter(all, path))
    }

    /// Everything about a dataset.
    fn facts(&self, of: &Dataset, depth: Depth) -> Result<dataset::Facts> {
        let latest = of.latest();
        let schema = self.catalog.schema(latest).ok();
        let mut facts = dataset::Facts { schema, ..dataset::Facts::default() };
        facts.scripts = self.scripts(of)?;
        if depth == Depth::Brief {
            return Ok(facts);
        }
        let pack = (self.packs)(latest)?;
        facts.statistics = Some(self.statistics(latest, &pack)?);
        facts.preview = self.preview(latest, &pack)?;
        if let [.., before, after] = &of.versions[..]
            && [before, after].iter().all(|of| of.rows.is_some_and(|rows| rows <= MOST_COMPARED))
        {
            let versions = Versions { catalog: &self.catalog, left: before, right: after };
            let schemas = (&self.catalog.schema(before)?, &self.catalog.schema(after)?);
            let plan = Plan::new((before, after), schemas, &[])?;
            let counts = compare(versions, &plan, pack.folder(), &|_| {}, &mut |_| Ok(()))?;
            facts.changed = Some(counts);
        }
        Ok(facts)
    }

    fn statistics(&self, of: &VersionInfo, pack: &Arc<Pack>) -> Result<stats::facts::Statistics> {
        let source = Source {
            catalog: self.catalog.clone(),
            of: of.clone(),
            schema: Arc::new(self.catalog.schema(of)?),
            pack: pack.clone(),
            rows: Rows::All,
            root: None,
            is_ranked: false,
            beside: Beside::ALL,
        };
        Ok(stats::of(&source, &|_| {})?.facts)
    }

    /// The scripts of the first version and of those that have another than the one before; not that of the latest.
    fn scripts(&self, of: &Dataset) -> Result<Vec<(String, String)>> {
        let newest = of.versions.len().saturating_sub(MOST_SCRIPTS);
        let earlier = &of.versions[newest..of.versions.len() - 1];
        let mut found = Vec::new();
        let mut before: Option<String> = None;
        for version in earlier {
            let Ok(details) = self.catalog.details(version) else { continue };
            let script = details.script;
            if before.as_ref() != Some(&script) && script != of.details.script {
                found.push((version.version.to_string(), script.clone()));
            }
            before = Some(script);
        }
        Ok(found)
    }

    /// The first rows, and where the first file is.
    fn preview(&self, of: &VersionInfo, pack: &Pack) -> Result<Preview> {
        let schema = self.catalog.schema(of)?;
        let columns = grid::columns(&schema);
        let names: Vec<String> = columns.iter().map(|column| column.column.clone()).collect();
        let dotted = |column: &grid::Column| match column.field.is_empty() {
            true => column.signal.clone(),
            false => format!("{}.{}", column.signal, column.field),
        };
        let mut rows = Vec::new();
        let mut each = |_: RowId, cells: &dyn dcfs_core::cell::Cells| {
            let texts = columns.iter().enumerate();
            rows.push(texts.map(|(at, column)| short(&column.text(cells.cell(at)))).collect());
            Ok(if rows.len() < PREVIEWED {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        };
        self.catalog.cells(of, &names, &mut std::iter::once(RowId::ALL), &mut each)?;
        let file = self.first_file(of, pack)?;
        Ok(Preview { columns: columns.iter().map(dotted).collect(), rows, file })
    }

    /// The first row's file, from the top of a mount.
    fn first_file(&self, of: &VersionInfo, pack: &Pack) -> Result<Option<String>> {
        let columns = pack.columns();
        let Some(column) = columns.first() else { return Ok(None) };
        let Some(entry) = pack.entry_of(0, 0)? else { return Ok(None) };
        let name = escape::segment(of.to_string().as_bytes()).into_owned();
        let mut path = [b"datasets/".as_slice(), &name, b"/"].concat();
        if columns.len() > 1 {
            path.extend_from_slice(&column.directory);
            path.push(b'/');
        }
        path.extend_from_slice(&pack.path(entry)?);
        Ok(Some(String::from_utf8_lossy(&path).into_owned()))
    }

    /// Everything about a listing.
    fn listing_facts(&self, of: &Listing, depth: Depth) -> Result<bucket::Facts> {
        let mut facts = bucket::Facts { is_anon: self.is_anon(of)?, ..bucket::Facts::default() };
        if depth == Depth::Brief {
            return Ok(facts);
        }
        let pack = (self.packs)(&of.of)?;
        facts.statistics = Some(self.statistics(&of.of, &pack)?);
        let known = Known::of(&self.catalog.schema(&of.of)?);
        let files = facts.statistics.as_ref().and_then(|found| found.files.first());
        let Some(file) = files.map(|files| files.column_name.clone()) else { return Ok(facts) };
        let column = |part: &str| known.find(&format!("{file}.{part}")).cloned();
        let version = (&*self.catalog, &of.of);
        if let (Some(parent), Some(size)) = (column("parent"), column("size")) {
            let folds = [(FoldKind::Rows, None), (FoldKind::Sum, Some(size))];
            // Too many folders for one page: it has none.
            let groups = kernel::of_rows(version, &pack, None, &[parent], &folds)?;
            let prefix = place::parts(&of.uri).2.trim_end_matches('/').to_owned();
            facts.folders = folders(groups.unwrap_or_default(), &prefix);
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
        Ok(facts)
    }

    /// Whether a listing was made without credentials, where dcfs made it.
    fn is_anon(&self, of: &Listing) -> Result<Option<bool>> {
        let settings = self.catalog.settings()?;
        let (scheme, bucket, _) = place::parts(&of.uri);
        Ok(settings.get(&format!("{scheme}://{bucket}")).map(|reached| reached.anon))
    }
}

/// Every page of a snapshot.
fn listed(all: &Snapshot) -> Vec<PageInfo> {
    let page = |path: &str, title: &str, kind| PageInfo {
        path: path.to_owned(),
        title: title.to_owned(),
        kind,
    };
    let mut pages = vec![page(index::INDEX, "index", PageKind::Index)];
    let datasets = all.datasets.iter();
    pages.extend(datasets.map(|of| page(&of.page, &of.name().to_string(), PageKind::Dataset)));
    pages.extend(index::letters(all).keys().map(|path| page(path, path, PageKind::Index)));
    pages.extend(all.listings.iter().map(|of| page(&of.page, &of.uri, PageKind::Bucket)));
    pages.push(page(index::BASE, "datasets", PageKind::Base));
    pages
}

/// Groups by folder as sums over the first two levels below `prefix`.
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
        sums.0 += whole(values.first());
        sums.1 = sums.1.saturating_add(whole(values.get(1)));
    }
    folders
}

/// A long list as its first items and how many there are.
fn short(text: &str) -> String {
    const SHOWN: usize = 3;
    if !text.starts_with('[')
        || text.len() <= 60
        || text.starts_with("[{")
        || text.starts_with("[\"")
    {
        return text.to_owned();
    }
    let items: Vec<&str> = text.trim_matches(['[', ']']).splitn(SHOWN + 1, ',').collect();
    format!("[{}, ...]", items[..items.len().min(SHOWN)].join(","))
}

impl std::fmt::Debug for Knowledge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Knowledge")
            .field("catalog", &self.catalog)
            .field("folder", &self.folder)
            .finish()
    }
}

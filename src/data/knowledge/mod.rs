//! Pages about a catalog, compiled from facts: for people, agents, editors, Obsidian and GitHub, in
//! the layout of DataChain's own knowledge base. Equal catalogs and equal notes give equal bytes;
//! no language model is involved.
//!
//! | file | what lives there |
//! |---|---|
//! | [`snapshot`], [`place`] | the contents of the catalog, and the path of each page |
//! | [`dataset`], [`bucket`], [`index`] | one page each |
//! | [`frontmatter`], [`fitted`] | the frontmatter of a page; lines within a budget |
//! | [`listing`] | the facts of a listing |
//! | [`hand`], [`team`] | text written by people: about one dataset; documents of a team. Read, and never changed |
//! | [`search`] | full-text search in all of it |
//! | [`folder`] | the pages as files |

mod bucket;
mod dataset;
mod fitted;
pub mod folder;
mod frontmatter;
mod hand;
mod index;
mod listing;
mod place;
mod search;
mod snapshot;
mod team;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use self::dataset::Preview;
pub use self::hand::notes_file;
pub use self::search::{Document, Hit};
use self::snapshot::{Dataset, Snapshot};
use self::team::{Links, Team};
use crate::catalog::{Catalog, Revision, VersionInfo};
use crate::diff::{Plan, Versions, compare};
use crate::pack::Pack;
use crate::stats;
use crate::tables::{Rows, Source};
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::error::{Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::name::{DatasetName, escape};
use dcfs_core::object::Object;
use dcfs_core::render::grid;
use dcfs_core::render::rows::Beside;
use dcfs_core::schema::ValueType;
use dcfs_core::secrets::masked;

/// The rows of a preview.
const PREVIEWED: usize = 5;

/// The most rows of a version for which a page that somebody waits for has statistics
/// ([`Knowledge::within`]): more rows take long.
pub const AT_ONCE: u64 = 200_000;

/// Versions are compared row by row up to this many rows each; for larger ones only the row counts
/// are compared.
const MOST_COMPARED: u64 = 200_000;

/// The most scripts of earlier versions that are read.
const MOST_SCRIPTS: usize = 20;

/// Opens or builds the pack of a version. May block.
pub type PackOf = dyn Fn(&VersionInfo) -> Result<Arc<Pack>> + Send + Sync;

/// Describes how a file begins: its header, its first line. May block; `None` if it cannot.
pub type LookInto = dyn Fn(&Object) -> Option<String> + Send + Sync;

/// The pages of one catalog.
pub struct Knowledge {
    catalog: Arc<Catalog>,
    packs: Box<PackOf>,
    look_into: Option<Box<LookInto>>,
    /// The folder of people's notes, if any.
    folder: Option<PathBuf>,
    /// Versions with more rows are not read.
    most_rows: u64,
    /// The last snapshot of the catalog.
    last: Mutex<Option<(Revision, Arc<Snapshot>)>>,
    team: Team,
}

/// A page that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageInfo {
    /// Relative to the folder of pages: `datasets/pets.md`.
    pub path: String,
    /// The name of a dataset, or the storage of a listing.
    pub title: String,
    pub kind: PageKind,
}

/// The subject of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PageKind {
    Index,
    Dataset,
    Bucket,
    /// `datasets.base`, a table for Obsidian.
    Base,
}

/// How much is read for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// Everything, including rows.
    Full,
    /// Only the facts in the catalog about datasets and versions.
    Brief,
}

impl Knowledge {
    /// Over an open catalog; `folder` is that of the pages as files, where people keep their notes.
    pub fn new(
        catalog: Arc<Catalog>,
        packs: impl Fn(&VersionInfo) -> Result<Arc<Pack>> + Send + Sync + 'static,
        folder: Option<PathBuf>,
    ) -> Self {
        let team = Team::of(folder.clone());
        Self {
            catalog,
            packs: Box::new(packs),
            look_into: None,
            folder,
            most_rows: u64::MAX,
            last: Mutex::default(),
            team,
        }
    }

    /// The same; pages of listings describe how some files begin.
    #[must_use]
    pub fn looking(
        self,
        look_into: impl Fn(&Object) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { look_into: Some(Box::new(look_into)), ..self }
    }

    /// The same; rows of versions with more than `rows` are not read.
    #[must_use]
    pub fn within(self, rows: u64) -> Self {
        Self { most_rows: rows, ..self }
    }

    /// A number that changes when a person writes something that the page at `path` shows. Nothing
    /// is read for it.
    pub fn stamp(&self, path: &str) -> u64 {
        match path.split_once('/') {
            Some(("datasets", _)) => {
                hand::stamp(self.folder.as_deref(), path) ^ self.documents_stamp()
            }
            Some(("docs", _)) => self.documents_stamp(),
            _ => 0,
        }
    }

    /// Moves when a document of the team is written, a second later at most. Nothing is read for it.
    pub fn documents_stamp(&self) -> u64 {
        self.team.stamp()
    }

    /// The documents of the team, whose pages they are linked from: `docs/` of the folder.
    pub fn documents(&self) -> Arc<Vec<Document>> {
        self.team.documents()
    }

    /// From now on there are no documents of the team: pages are read by others than the owner of their files.
    pub fn hide_documents(&self) {
        self.team.hide();
    }

    /// The present snapshot of the catalog.
    fn snapshot(&self) -> Result<Arc<Snapshot>> {
        // Queried before the snapshot, so that a commit in between is seen next time.
        let revision = self.catalog.revision()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, snapshot)) = &*last
            && *seen == revision
        {
            return Ok(snapshot.clone());
        }
        let snapshot = Arc::new(Snapshot::take(&self.catalog)?);
        *last = Some((revision, snapshot.clone()));
        Ok(snapshot)
    }

    fn is_large(&self, of: &VersionInfo) -> bool {
        of.rows.is_none_or(|rows| rows > self.most_rows) && self.most_rows != u64::MAX
    }

    /// The default folder of pages: `dc-knowledge` beside `.datachain`.
    pub fn default_folder(catalog: &Catalog) -> Option<PathBuf> {
        // Nothing lies beside a catalog on servers.
        catalog.check_folder().ok()?;
        Some(catalog.path().parent()?.parent()?.join("dc-knowledge"))
    }

    /// The folder of people's notes, if any.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Every page, the index first. Costs some queries to the catalog per dataset, and reads no
    /// rows.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub fn pages(&self) -> Result<Vec<PageInfo>> {
        Ok(listed(&*self.snapshot()?))
    }

    /// The text of the page at `path`; `None` if there is no such page. Reads the rows of its
    /// dataset if their statistics are not cached yet: blocks.
    ///
    /// # Errors
    /// Errors of the catalog, the pack and the statistics.
    pub fn page(&self, path: &str) -> Result<Option<String>> {
        if let Some(document) = self.documents().iter().find(|document| document.path == path) {
            return Ok(Some(document.text.clone()));
        }
        let all = self.snapshot()?;
        let of = all.datasets.iter().filter(|dataset| dataset.page == path);
        let links = Links::of(&self.documents(), of.map(Dataset::name));
        self.compiled((&*all, &links), path, Depth::Full)
    }

    /// The path of the page about a dataset.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub fn page_of(&self, name: &DatasetName) -> Result<Option<String>> {
        let all = self.snapshot()?;
        Ok(all.dataset(name).map(|dataset| dataset.page.clone()))
    }

    /// `index.md`.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub fn index(&self) -> Result<String> {
        Ok(index::index(&*self.snapshot()?))
    }

    /// The page at the top of a mount: one line for every dataset, and examples; at most 2 KiB.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub fn front(&self) -> Result<String> {
        let columns = |dataset: &Dataset| {
            let schema = self.catalog.schema(dataset.latest()).ok()?;
            Some(schema.leaves().iter().filter(|leaf| !leaf.hidden).count())
        };
        Ok(index::front(&*self.snapshot()?, &columns))
    }

    /// `AGENTS.md`: how to work in a mount.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub fn agents(&self) -> Result<String> {
        Ok(index::agents(&*self.snapshot()?))
    }

    /// Pages, notes, documents and scripts that match `words`, best first, at most `most`.
    ///
    /// # Errors
    /// No word; errors of the catalog.
    pub fn search(&self, words: &str, most: usize) -> Result<Vec<Hit>> {
        let all = self.snapshot()?;
        let links = Links::of(&self.documents(), all.datasets.iter().map(Dataset::name));
        let state = (&*all, &links);
        let mut documents = Vec::new();
        for dataset in &all.datasets {
            let text = self.compiled(state, &dataset.page, Depth::Brief)?.unwrap_or_default();
            // Pages in the folder include statistics, so labels and values can be found.
            let written =
                self.folder.as_deref().and_then(|folder| folder::read(folder, &dataset.page));
            let details = self.catalog.details(dataset.latest());
            let script = masked(&details.map(|details| details.script).unwrap_or_default());
            let title = dataset.name().to_string();
            let text = format!("{}\n{script}", written.unwrap_or(text));
            documents.push(Document { path: dataset.page.clone(), title, text });
        }
        for listing in &all.listings {
            let (path, title) = (listing.page.clone(), listing.uri.clone());
            let text = self.compiled(state, &path, Depth::Brief)?.unwrap_or_default();
            documents.push(Document { path, title, text });
        }
        documents.extend(self.folder.as_deref().map(team::written).unwrap_or_default());
        search::search(&documents, words, most)
    }

    /// Makes a page of a snapshot.
    fn compiled(
        &self,
        (all, links): (&Snapshot, &Links),
        path: &str,
        depth: Depth,
    ) -> Result<Option<String>> {
        if path == index::INDEX {
            return Ok(Some(index::index(all)));
        }
        if path == index::BASE {
            return Ok(Some(index::BASE_TEXT.to_owned()));
        }
        if let Some(of) = all.datasets.iter().find(|dataset| dataset.page == path) {
            let hand = hand::of_page(self.folder.as_deref(), path, of.name(), links);
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
        let script = self.catalog.details(latest).map(|details| details.script).unwrap_or_default();
        let scripts = self.scripts(of, &script);
        let mut facts = dataset::Facts { schema, script, scripts, ..dataset::Facts::default() };
        if depth == Depth::Brief {
            return Ok(facts);
        }
        if self.is_large(latest) {
            let why = "There are many rows: see `_stats.md` in its directory, or `dcfs stats`.";
            facts.unread = Some(why.to_owned());
            return Ok(facts);
        }
        match self.read_rows(of, &mut facts) {
            // A caller that was cancelled wants no page, and without disk space there is none.
            Err(error) if matches!(error.kind(), Kind::Busy | Kind::Full | Kind::NoSpace) => {
                Err(error)
            }
            // One damaged dataset does not prevent the pages of others.
            Err(error) => {
                tracing::warn!(dataset = %latest, %error, "a page without its rows");
                facts.unread = Some(format!("The rows cannot be read: {error}"));
                Ok(facts)
            }
            Ok(()) => Ok(facts),
        }
    }

    /// Adds the facts that require reading rows.
    fn read_rows(&self, of: &Dataset, facts: &mut dataset::Facts) -> Result<()> {
        let latest = of.latest();
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
        Ok(())
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

    /// The scripts of the first version and of those whose script differs from the one before;
    /// without that of the latest, which is `latest`.
    fn scripts(&self, of: &Dataset, latest: &str) -> Vec<(String, String)> {
        let newest = of.versions.len().saturating_sub(MOST_SCRIPTS);
        let mut found = Vec::new();
        let mut before: Option<String> = None;
        for version in &of.versions[newest..of.versions.len() - 1] {
            let Ok(details) = self.catalog.details(version) else { continue };
            let script = details.script;
            if before.as_ref() != Some(&script) && script != latest {
                found.push((version.version.to_string(), script.clone()));
            }
            before = Some(script);
        }
        found
    }

    /// The first rows, and the path of the first file.
    fn preview(&self, of: &VersionInfo, pack: &Pack) -> Result<Preview> {
        let schema = self.catalog.schema(of)?;
        let columns = grid::columns(&schema);
        let names: Vec<String> = columns.iter().map(|column| column.column.clone()).collect();
        let dotted = |column: &grid::Column| match column.field.is_empty() {
            true => column.signal.clone(),
            false => format!("{}.{}", column.signal, column.field),
        };
        let (mut rows, mut vector) = (Vec::new(), None);
        let mut each = |id: RowId, cells: &dyn Cells| {
            let found = columns
                .iter()
                .enumerate()
                .find(|(at, column)| is_vector(&column.value) && is_finite_list(cells.cell(*at)));
            vector = vector.take().or_else(|| found.map(|(_, column)| (dotted(column), id)));
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
        Ok(Preview { columns: columns.iter().map(dotted).collect(), rows, file, vector })
    }

    /// The file of the first row, by its path in a mount.
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

fn is_vector(value: &ValueType) -> bool {
    matches!(value, ValueType::List(item) if **item == ValueType::Float)
}

/// Whether a cell is a list of numbers, not empty, all finite.
fn is_finite_list(cell: Cell<'_>) -> bool {
    let Cell::Text(text) = cell else { return false };
    let inside = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]"));
    inside.is_some_and(|text| {
        text.iter().any(u8::is_ascii_digit) && !text.iter().any(|b| matches!(b, b'N' | b'I' | b'n'))
    })
}

/// A long list as its first items and its length.
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

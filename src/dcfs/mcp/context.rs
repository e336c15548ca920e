//! `context` and `search`: an overview of the catalog, and full-text search.

use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Handle;

use super::Setup;
use super::answer::{Answer, Fitting};
use super::server::{Server, blocking};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::DatasetRef;
use dcfs_core::render::numbers::{bytes, count};
use dcfs_core::render::stranger::visible;
use dcfs_core::secrets::masked;
use dcfs_data::catalog::VersionInfo;
use dcfs_data::pages::{self, Page};
use dcfs_data::trace::Tracer;

/// Limit of datasets and of hits in a list.
const MOST_DATASETS: usize = 100;
const MOST_HITS: usize = 20;

/// Limit of a description, and of the lines around a hit, in characters.
const SUMMARY: usize = 120;
const AROUND: usize = 300;

/// Limit of a name or a path in a line, in characters.
const LONGEST_NAME: usize = 1000;

/// Limit of parents in a line.
const PARENTS: usize = 3;

/// The arguments of `context`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    name: Option<String>,
    row: Option<String>,
}

/// The arguments of `search`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    words: String,
}

/// The index, or the page of a dataset.
pub async fn answer(server: &Server, arguments: Arguments) -> Result<Answer> {
    let setup = server.setup();
    blocking(move || match (arguments.name, arguments.row) {
        (None, None) => index(&setup),
        (Some(name), None) => page(&setup, &name.parse()?),
        (Some(name), Some(row)) => why(&setup, &name.parse()?, &row),
        (None, Some(_)) => {
            Err(Error::new(Kind::Invalid, "say which dataset the row belongs to: `name`"))
        }
    })
    .await
}

fn index(setup: &Setup) -> Result<Answer> {
    let versions = setup.catalog.versions()?;
    let mut datasets = Fitting::new(MOST_DATASETS);
    for of in versions.chunk_by(|a, b| a.dataset == b.dataset) {
        let Some(last) = of.last() else { continue };
        if !datasets.is_open() {
            datasets.more(1);
            continue;
        }
        let line = line(setup, last)?;
        datasets.item(|| {
            let data = json!({
                "name": last.dataset.to_string(),
                "latest": last.version.to_string(),
                "versions": of.len(),
                "rows": last.rows,
                "size": last.size,
            });
            (line, data)
        });
    }
    Ok(datasets.answer("datasets", "datasets", "`search`, or query catalog.datasets"))
}

/// One line about a dataset.
fn line(setup: &Setup, last: &VersionInfo) -> Result<String> {
    let rows = last.rows.map_or("?".into(), count);
    let size = last.size.map_or("?".into(), bytes);
    let schema = setup.catalog.schema(last)?;
    let columns: Vec<&str> =
        schema.signals.iter().filter(|s| !s.hidden).map(|s| s.name.as_str()).collect();
    let name = visible(&last.to_string(), LONGEST_NAME);
    let mut line =
        format!("{name} | {rows} rows | {size} | {}", visible(&columns.join(", "), SUMMARY));
    let parents = setup.catalog.parents(last.id)?;
    let parents: Vec<String> = parents
        .iter()
        .filter_map(|parent| parent.dataset.as_ref())
        .map(|(name, version)| {
            let uri = name.listed_uri().map(|uri| masked(&uri));
            uri.unwrap_or_else(|| format!("{name}@{version}"))
        })
        .take(PARENTS)
        .collect();
    if !parents.is_empty() {
        line += &format!(" | from {}", visible(&parents.join(", "), SUMMARY));
    }
    if let Some(said) = setup.catalog.details(last)?.description.filter(|said| !said.is_empty()) {
        line += &format!(" | \"{}\"", visible(&said, SUMMARY));
    }
    Ok(line)
}

fn page(setup: &Setup, wanted: &DatasetRef) -> Result<Answer> {
    let of = setup.catalog.find(wanted)?;
    let latest = setup.catalog.latest(&of.dataset)?;
    let path = setup.knowledge.page_of(&of.dataset)?;
    let page = path.as_deref().map(|path| setup.knowledge.page(path)).transpose()?.flatten();
    let mut text = match page {
        Some(page) => page,
        // Listings and other hidden datasets have no page.
        None => pages::text(&setup.catalog, Page::Readme, &of, None)?,
    };
    if let Some(latest) = latest.filter(|latest| latest.id != of.id) {
        text = format!(
            "This page is about {latest}; of {of} read dcfs://dataset/{of}/schema, /stats or /lineage.\n\n{text}",
            latest = visible(&latest.to_string(), LONGEST_NAME),
            of = visible(&of.to_string(), LONGEST_NAME),
        );
    }
    Ok(Answer::text(text)
        .with("dataset", of.dataset.to_string())
        .with("version", of.version.to_string())
        .with("rows", of.rows)
        .with("size", of.size)
        .with("page", path))
}

/// The origin of a row.
fn why(setup: &Setup, wanted: &DatasetRef, row: &str) -> Result<Answer> {
    let of = setup.catalog.find(wanted)?;
    let packs = |of: &_| Handle::current().block_on(setup.packs.get(of));
    let mut tracer = Tracer::new(&setup.catalog, &packs)?;
    let row = tracer.row(&of, row)?;
    let step = tracer.trace(&of, row)?;
    let data = serde_json::to_value(&step).map_err(|error| Error::new(Kind::Broken, error))?;
    Ok(Answer::text(step.text()).with("why", data))
}

/// Searches pages, notes, documents, scripts and memories.
pub async fn search(server: &Server, arguments: Search) -> Result<Answer> {
    let setup = server.setup();
    blocking(move || {
        if !arguments.words.chars().any(char::is_alphanumeric) {
            return Err(Error::new(Kind::Invalid, "say which words to look for"));
        }
        let mut hits = Fitting::new(MOST_HITS);
        for hit in setup.knowledge.search(&arguments.words, MOST_HITS + 1)? {
            hits.item(|| {
                let around = visible(&hit.snippet, AROUND);
                let (path, title) =
                    (visible(&hit.path, LONGEST_NAME), visible(&hit.title, SUMMARY));
                let line = format!("{path} | {title} | {around}");
                (line, json!({ "path": hit.path, "title": hit.title, "text": around }))
            });
        }
        Ok(hits.answer("hits", "pages with these words", "say more of them"))
    })
    .await
}

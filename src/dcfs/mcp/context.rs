//! `context` and `search`: what there is, and where words are.

use serde::Deserialize;
use serde_json::json;

use super::Setup;
use super::answer::{Answer, Fitting};
use super::server::{Server, blocking};
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;
use dcfs_core::render::numbers::{bytes, count};
use dcfs_core::render::stranger::visible;
use dcfs_data::catalog::VersionInfo;
use dcfs_data::memory;
use dcfs_data::pages::{self, Page};

/// Datasets and hits that are listed.
const MOST: usize = 100;

/// Characters of a description in a list.
const SUMMARY: usize = 120;

/// Lines of memory on a page.
const REMEMBERED: usize = 10;

/// What may be asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    name: Option<String>,
}

/// What may be searched.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    words: String,
}

/// The index, or the page of a dataset.
pub async fn answer(server: &Server, arguments: Arguments) -> Result<Answer> {
    let setup = server.setup();
    blocking(move || match arguments.name {
        None => index(&setup),
        Some(name) => page(&setup, &name.parse()?),
    })
    .await
}

fn index(setup: &Setup) -> Result<Answer> {
    let versions = setup.catalog.versions()?;
    let mut datasets = Fitting::new(MOST);
    for of in versions.chunk_by(|a, b| a.dataset == b.dataset) {
        let Some(last) = of.last() else { continue };
        if !datasets.is_open() {
            datasets.more(1);
            continue;
        }
        let said = setup.catalog.details(last)?.description.unwrap_or_default();
        datasets.item(|| {
            let said = visible(&said, SUMMARY);
            let (rows, size) =
                (last.rows.map_or("?".into(), count), last.size.map_or("?".into(), bytes));
            let line = format!("{last} | {rows} rows | {size} | {said}");
            let data = json!({
                "name": last.dataset.to_string(),
                "latest": last.version.to_string(),
                "versions": of.len(),
                "rows": last.rows,
                "size": last.size,
                "description": said,
            });
            (line, data)
        });
    }
    Ok(datasets.answer("datasets", "datasets", "`search`, or query catalog.datasets"))
}

fn page(setup: &Setup, wanted: &DatasetRef) -> Result<Answer> {
    let of: VersionInfo = setup.catalog.find(wanted)?;
    let mut text = pages::text(&setup.catalog, Page::Readme, &of, None)?;
    let folder = memory::knowledge(setup.catalog.path());
    let remembered = memory::recall(&folder, Some(&of.dataset), REMEMBERED)?;
    if !remembered.is_empty() {
        text += "\n## Remembered\n\n";
        for line in &remembered {
            text += &format!("- {} {} (by {})\n", line.when, visible(&line.text, 400), line.by);
        }
    }
    Ok(Answer::text(text)
        .with("dataset", of.dataset.to_string())
        .with("version", of.version.to_string())
        .with("rows", of.rows)
        .with("size", of.size))
}

/// Where words are: names, descriptions, columns, what is remembered.
pub async fn search(server: &Server, arguments: Search) -> Result<Answer> {
    let setup = server.setup();
    blocking(move || {
        let words: Vec<String> =
            arguments.words.split_whitespace().map(str::to_lowercase).collect();
        let has = |text: &str| {
            let text = text.to_lowercase();
            !words.is_empty() && words.iter().all(|word| text.contains(word))
        };
        let mut hits = Fitting::new(MOST);
        let mut hit = |dataset: &str, place: &str, text: &str| {
            if has(text) {
                let text = visible(text, SUMMARY);
                hits.item(|| {
                    let data = json!({ "dataset": dataset, "where": place, "text": text });
                    (format!("{dataset} | {place} | {text}"), data)
                });
            }
        };
        let versions = setup.catalog.versions()?;
        for of in versions.chunk_by(|a, b| a.dataset == b.dataset).filter_map(<[_]>::last) {
            let name = of.dataset.to_string();
            hit(&name, "name", &name);
            hit(&name, "description", &setup.catalog.details(of)?.description.unwrap_or_default());
            for leaf in setup.catalog.schema(of)?.leaves() {
                hit(&name, "column", &leaf.name);
            }
        }
        let folder = memory::knowledge(setup.catalog.path());
        for line in memory::recall(&folder, None, 1000)? {
            let about = line.dataset.as_ref().map_or("all".into(), ToString::to_string);
            hit(&about, "memory", &line.text);
        }
        Ok(hits.answer("hits", "hits", "more words"))
    })
    .await
}

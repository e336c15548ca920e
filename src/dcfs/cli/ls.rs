//! `dcfs ls`: the datasets of a catalog, or the versions of one.

use std::io;

use serde::Serialize;

use super::CatalogArg;
use super::complete;
use super::output::Output;
use super::terminal;
use dcfs_core::error::Result;
use dcfs_core::name::DatasetName;
use dcfs_core::render::numbers::{bytes, count};
use dcfs_core::render::table::TextTable;
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::{Catalog, VersionInfo};

/// List the datasets of the catalog, or the versions of one
#[derive(Debug, clap::Args)]
pub struct Ls {
    /// Dataset whose versions to list, e.g. `pets` or `pets@1`
    #[arg(add = complete::datasets())]
    dataset: Option<dcfs_core::name::DatasetRef>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One line of JSON: a version.
#[derive(Debug, Serialize)]
struct Line {
    dataset: String,
    version: String,
    latest: bool,
    rows: Option<u64>,
    size: Option<u64>,
    created_at: Option<String>,
    finished_at: Option<String>,
    uuid: String,
}

impl Ls {
    /// Lists only from the catalog.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let catalog = self.catalog.open()?;
        let versions = self.versions(&catalog)?;
        if self.json {
            let latest = latest(&versions);
            let lines: Vec<Line> =
                versions.iter().map(|of| Line::of(of, latest.contains(&of.id))).collect();
            return out.json(&lines);
        }
        let table =
            if self.dataset.is_some() { of_versions(&versions) } else { of_datasets(&versions) };
        out.text(&table.fitted(terminal::width(&io::stdout())))
    }

    /// All visible versions, or those that match the argument.
    fn versions(&self, catalog: &Catalog) -> Result<Vec<VersionInfo>> {
        let all = catalog.versions()?;
        let Some(wanted) = &self.dataset else { return Ok(all) };
        // Reports a missing name with suggestions.
        catalog.find(wanted)?;
        let admitted =
            |of: &VersionInfo| of.dataset == wanted.name && wanted.requirement.admits(of.version);
        Ok(all.into_iter().filter(admitted).collect())
    }
}

fn latest(versions: &[VersionInfo]) -> Vec<dcfs_core::id::VersionId> {
    by_dataset(versions).iter().filter_map(|(_, of)| of.last()).map(|of| of.id).collect()
}

/// The versions of each dataset, oldest first, in the catalog's order.
fn by_dataset(versions: &[VersionInfo]) -> Vec<(&DatasetName, &[VersionInfo])> {
    versions.chunk_by(|a, b| a.dataset == b.dataset).map(|of| (&of[0].dataset, of)).collect()
}

fn of_datasets(versions: &[VersionInfo]) -> TextTable {
    let mut table = TextTable::new(["DATASET", "LATEST", "VERSIONS", "ROWS", "SIZE", "SAVED"]);
    for (name, of) in by_dataset(versions) {
        let Some(last) = of.last() else { continue };
        let versions = of.len().to_string();
        table.row([
            name.to_string(),
            last.version.to_string(),
            versions,
            rows(last),
            size(last),
            saved(last),
        ]);
    }
    table
}

fn of_versions(versions: &[VersionInfo]) -> TextTable {
    let mut table = TextTable::new(["VERSION", "ROWS", "SIZE", "SAVED", "UUID"]);
    for of in versions {
        let version = format!("{}@{}", of.dataset, of.version);
        table.row([version, rows(of), size(of), saved(of), of.uuid.clone()]);
    }
    table
}

fn rows(of: &VersionInfo) -> String {
    of.rows.map_or("-".into(), count)
}

fn size(of: &VersionInfo) -> String {
    of.size.map_or("-".into(), bytes)
}

fn saved(of: &VersionInfo) -> String {
    of.finished_at.or(of.created_at).map_or("-".into(), |time| time.to_string())
}

impl Line {
    fn of(of: &VersionInfo, latest: bool) -> Self {
        Self {
            dataset: of.dataset.to_string(),
            version: of.version.to_string(),
            latest,
            rows: of.rows,
            size: of.size,
            created_at: of.created_at.map(Timestamp::rfc3339),
            finished_at: of.finished_at.map(Timestamp::rfc3339),
            uuid: of.uuid.clone(),
        }
    }
}

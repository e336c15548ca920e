//! `dcfs save`: the rows of a dataset that pass a filter, as a new version.

use std::thread;

use serde::Serialize;

use super::asking::AskingArgs;
use super::command_line;
use super::complete;
use super::interrupt;
use super::naming::{self, DescriptionArgs, Numbering};
use super::output::Output;
use super::progress::{Progress, Unit};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::{DatasetName, DatasetRef};
use dcfs_core::render::numbers::{bytes, counted};
use dcfs_data::catalog::{Publication, Saved, VersionInfo, Writer};
use dcfs_work::author;
use dcfs_work::save::{self, Chosen};

/// Save the rows of a dataset, or those that pass a filter, as a new version
#[derive(Debug, clap::Args)]
#[command(after_help = super::explain::LANGUAGE)]
pub struct Save {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    #[command(flatten)]
    asking: AskingArgs,
    /// Only the rows that pass this filter, in its order, e.g. `info.width > 400 order by score desc limit 100`
    #[arg(long = "where", value_name = "FILTER", allow_hyphen_values = true, add = complete::filters())]
    filter: Option<String>,
    /// Name of the dataset to save; an existing one gets its next version
    #[arg(long = "as", value_name = "NAME", value_parser = naming::dataset, add = complete::names_alone())]
    name: DatasetName,
    /// Save a version even if it has no rows
    #[arg(long)]
    allow_empty: bool,
    #[command(flatten)]
    numbering: Numbering,
    #[command(flatten)]
    described: DescriptionArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
pub struct Told {
    dataset: String,
    version: String,
    uuid: String,
    rows: u64,
    /// Size of its files in bytes; null if it has no rows.
    size: Option<u64>,
}

impl Save {
    /// Saves, and prints the result.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let asked = self.asking.ask(&self.dataset)?;
        let query = self.filter.as_deref().map(|filter| asked.check(filter)).transpose()?;
        let number = self.numbering.number();
        let mut writer = Writer::open(asked.catalog.path())?;
        writer.check_name(&self.name)?;
        writer.check_number(&self.name, number)?;
        let printed = query.as_ref().map(ToString::to_string);
        // In parallel with the query: git may be slow.
        let author = thread::spawn(move || author::ask(&command_line(), printed));

        // All of it may be told ClickHouse: then no row is looked for here.
        let told = query.as_ref().and_then(|query| asked.told(query));
        let pack = match (&query, &told) {
            (Some(_), None) => Some(asked.pack()?),
            _ => None,
        };
        let found = match (&pack, &query) {
            (Some(pack), Some(query)) => Some((pack, asked.select(pack, query)?)),
            _ => None,
        };
        let rows = match (&found, &told) {
            (Some((_, some)), _) => Some(some.rows.len()),
            (None, Some(filter)) => Some(asked.catalog.count(&asked.of, filter)?),
            (None, None) => asked.of.rows,
        };
        if rows == Some(0) && !self.allow_empty {
            return Err(self.empty(&asked.of));
        }
        let by = author.join().unwrap_or_default();
        let script = by.script();
        let publication = Publication {
            name: &self.name,
            number,
            upon: None,
            parents: &[asked.of.id],
            script: &script,
            description: self.described.description.as_deref(),
            attrs: self.described.attrs(),
            provenance: &by,
            job: None,
        };
        let progress = Progress::new(Unit::Rows).labelled("saving");
        let _interrupt = interrupt::says(|| "nothing was saved".to_owned());
        progress.set_total(rows.unwrap_or(0));
        let of = (&*asked.catalog, &asked.of);
        let each = |rows| progress.reach(rows);
        let saved = match (&found, &told) {
            (None, Some(filter)) => save::told(of, filter, &mut writer, &publication, each),
            (Some((pack, selected)), _) => {
                let chosen = Chosen::Some(pack, selected);
                save::save(of, chosen, &mut writer, &publication, each)
            }
            (None, None) => save::save(of, Chosen::All, &mut writer, &publication, each),
        };
        progress.clear();
        tell(&saved?, self.json, out)
    }

    /// Refuses an empty version: it would become the latest, and readers of the dataset would find nothing.
    fn empty(&self, of: &VersionInfo) -> Error {
        let why = match self.filter {
            Some(_) => format!("no row of `{of}` passes the filter"),
            None => format!("`{of}` has no rows"),
        };
        let advice = "`--allow-empty` saves a version without rows";
        Error::new(Kind::Missing, format!("{why}; nothing was saved; {advice}"))
    }
}

/// Prints the saved version.
pub fn tell(saved: &Saved, json: bool, out: &mut Output) -> Result<()> {
    let Saved { dataset, version, uuid, rows, size, .. } = saved;
    if json {
        let (dataset, version) = (dataset.to_string(), version.to_string());
        return out.json(&Told { dataset, version, uuid: uuid.clone(), rows: *rows, size: *size });
    }
    let size = size.filter(|size| *size > 0).map(|size| format!(", {}", bytes(size)));
    out.line(format_args!(
        "saved {dataset}@{version}: {}{}",
        counted(*rows, "row"),
        size.unwrap_or_default()
    ))
}

//! `dcfs remember`: notes for later readers, people and agents.

use std::io::{self, IsTerminal};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::output::Output;
use super::{CatalogArg, complete, naming};
use dcfs_core::error::Result;
use dcfs_core::name::{DatasetName, DatasetRef};
use dcfs_core::time::Timestamp;
use dcfs_core::version::Requirement;
use dcfs_data::catalog::Catalog;
use dcfs_data::memory::{self, Memory};
use dcfs_work::author;

/// Default of --limit.
const SHOWN: usize = 20;

/// Leave a note for later readers: people, and agents that ask
///
/// It is appended to dc-knowledge/memory/YYYY-MM.md beside the catalog, with the date and your name. Without a
/// text, existing notes are printed.
#[derive(Debug, clap::Args)]
pub struct Remember {
    /// The note, a sentence
    text: Option<String>,
    /// The dataset that it is about [default: the whole catalog]
    #[arg(long, value_name = "NAME", value_parser = naming::dataset, add = complete::names_alone())]
    dataset: Option<DatasetName>,
    /// Strike through the line that contains these words; it stays in the file
    #[arg(long, value_name = "WORDS", conflicts_with = "text")]
    forget: Option<String>,
    /// Number of lines to print, newest first
    #[arg(long, value_name = "N", default_value_t = SHOWN)]
    limit: usize,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Remember {
    /// Remembers, forgets or prints.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let catalog = self.catalog.open()?;
        catalog.check_folder()?;
        if let Some(name) = &self.dataset {
            // Suggests the nearest names.
            catalog.find(&DatasetRef { name: name.clone(), requirement: Requirement::Latest })?;
        }
        let (folder, dataset) = (memory::knowledge(catalog.path()), self.dataset.as_ref());
        match (&self.text, &self.forget) {
            (Some(text), _) => self.remember(&catalog, text, out),
            (None, Some(words)) => print(&memory::forget(&folder, dataset, words)?, self.json, out),
            (None, None) => print(&memory::recall(&folder, dataset, self.limit)?, self.json, out),
        }
    }

    fn remember(&self, catalog: &Catalog, text: &str, out: &mut Output) -> Result<()> {
        let (by, now) = (author::name(), Timestamp::of_system(SystemTime::now()));
        let folder = memory::knowledge(catalog.path());
        let path = memory::remember(&folder, self.dataset.as_ref(), text, &by, now)?;
        match self.json {
            true => out.json(&json!({ "file": path.to_string_lossy() })),
            false if io::stdout().is_terminal() => {
                out.line(format_args!("remembered in {}", path.display()))
            }
            false => Ok(()),
        }
    }
}

fn print(found: &[Memory], json: bool, out: &mut Output) -> Result<()> {
    if json {
        return out.json(&found.iter().map(told).collect::<Vec<_>>());
    }
    found.iter().try_for_each(|memory| {
        let about = memory.dataset.as_ref().map_or("all".to_owned(), ToString::to_string);
        out.line(format_args!("{}  {about}  {} (by {})", memory.when, memory.text, memory.by))
    })
}

fn told(memory: &Memory) -> Value {
    json!({
        "when": memory.when,
        "dataset": memory.dataset.as_ref().map(ToString::to_string),
        "text": memory.text,
        "by": memory.by,
    })
}

//! `dcfs stats`: statistics of the columns of a dataset, or of the rows that pass a filter.

use std::io;

use super::asking::AskingArgs;
use super::complete;
use super::output::Output;
use super::progress::{Progress, Unit};
use super::terminal;
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;
use dcfs_data::stats;

/// Print statistics of the columns of a dataset: minima, maxima, means, quantiles, labels, NULLs, file
/// extensions
///
/// Exact, over all rows or those that pass a filter. With --json in the shape of the Hugging Face viewer's
/// statistics, like _stats.json in the directories of a mount.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Stats {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    #[command(flatten)]
    asking: AskingArgs,
    /// Only the rows that pass this filter, e.g. `info.width > 400`
    #[arg(long = "where", value_name = "FILTER", allow_hyphen_values = true)]
    filter: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "Examples:
  dcfs stats pets
  dcfs stats pets --where 'info.width > 400'
  dcfs stats pets --json | jq '.statistics[] | select(.flags)'
In a mount: cat pets@1.0.0/_stats.md, and _stats.json in the directory of any filter";

impl Stats {
    /// Computes and prints them.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let asked = self.asking.ask(&self.dataset)?;
        let query = self.filter.as_deref().map(|filter| asked.check(filter)).transpose()?;
        let source = asked.source(query.as_ref(), 0, None)?;
        let progress = Progress::new(Unit::Rows).labelled("reading columns");
        let found = stats::of(&source, &|rows| progress.reach(rows));
        progress.clear();
        let found = found?;
        match self.json {
            true => out.json_text(&found.json),
            false => out.text(&found.facts.plain(terminal::width(&io::stdout()))),
        }
    }
}

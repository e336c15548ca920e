//! `dcfs count`: how many rows a version has, or how many of them pass a filter.

use serde::Serialize;

use super::asking::AskingArgs;
use super::complete;
use super::output::Output;
use super::warn;
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;

/// Print how many rows a dataset has, or how many of them pass a filter
#[derive(Debug, clap::Args)]
#[command(after_help = super::explain::LANGUAGE)]
pub struct Count {
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

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Counted {
    dataset: String,
    /// The printed form; null for all rows.
    filter: Option<String>,
    rows: u64,
}

impl Count {
    /// Counts, and prints the number.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let asked = self.asking.ask(&self.dataset)?;
        let query = self.filter.as_deref().map(|filter| asked.check(filter)).transpose()?;
        let rows = match &query {
            Some(query) => {
                let pack = asked.pack()?;
                let rows = asked.select(&pack, query)?.rows.len();
                if let Some(why) = (rows == 0).then(|| asked.why_empty(&pack, query)).flatten() {
                    warn(why);
                }
                rows
            }
            None => asked.catalog.extent(&asked.of)?.0,
        };
        if !self.json {
            return out.line(rows);
        }
        let filter = query.map(|query| query.to_string());
        out.json(&Counted { dataset: asked.of.to_string(), filter, rows })
    }
}

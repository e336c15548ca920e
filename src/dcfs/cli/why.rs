//! `dcfs why`: the origin of a row.

use super::asking::AskingArgs;
use super::complete;
use super::output::Output;
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;
use dcfs_data::trace::Tracer;

/// Print the origin of a row: its parents' rows back to the storage, the filter it passed, the programs that
/// computed it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Why {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    /// The row: its number (`sys__id`), the path of its file in the version, or the file's name
    row: String,
    #[command(flatten)]
    asking: AskingArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  dcfs why wide pug/pug_7.jpg
  dcfs why wide 47 --json";

impl Why {
    /// Follows the row and prints the chain.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let asked = self.asking.ask(&self.dataset)?;
        let asking = self.asking.clone();
        let packs = move |of: &_| asking.ask_exactly(of)?.pack();
        let mut tracer = Tracer::new(&asked.catalog, &packs)?;
        let row = tracer.row(&asked.of, &self.row)?;
        let step = tracer.trace(&asked.of, row)?;
        if self.json { out.json(&step) } else { out.text(&step.text()) }
    }
}

//! `dcfs subtract`: the rows of a dataset that are missing in another, without SQL.

use super::answering::{Answering, named, table};
use super::complete;
use super::output::Output;
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;

/// Keep the rows of a dataset that are missing in another
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Subtract {
    /// Dataset whose rows are kept
    #[arg(add = complete::datasets())]
    from: DatasetRef,
    /// Dataset whose rows are removed
    #[arg(add = complete::datasets())]
    what: DatasetRef,
    /// Columns that identify equal rows; a row with NULL in one of them is kept
    #[arg(long, value_name = "C,..", value_delimiter = ',', required = true)]
    on: Vec<String>,
    #[command(flatten)]
    answering: Answering,
}

const EXAMPLES: &str = "Examples:
  dcfs subtract pets labelled --on file.path --as unlabelled
  dcfs subtract new@latest new@1.0.0 --on file.source,file.path --json";

impl Subtract {
    /// Subtracts, and prints or saves the rest.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let equal = |name: &String| format!("\"what\".{0} = \"from\".{0}", named(name));
        let on: Vec<String> = self.on.iter().map(equal).collect();
        let (from, what, on) = (table(&self.from), table(&self.what), on.join(" AND "));
        let text = format!(
            "SELECT * FROM {from} AS \"from\" WHERE NOT EXISTS (SELECT 1 FROM {what} AS \"what\" WHERE {on})"
        );
        self.answering.answer(&text, out)
    }
}

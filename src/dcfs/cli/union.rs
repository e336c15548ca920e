//! `dcfs union`: the concatenated rows of several datasets, without SQL.

use super::answering::{Answering, named, table};
use super::complete;
use super::output::Output;
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;

/// Concatenate the rows of several datasets
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Union {
    /// Datasets; the columns are those of the first, and all the others must have them
    #[arg(required = true, num_args = 2.., add = complete::datasets())]
    datasets: Vec<DatasetRef>,
    #[command(flatten)]
    answering: Answering,
}

const EXAMPLES: &str = "Examples:
  dcfs union cats dogs --as pets
  dcfs union pets@1.0.0 pets@2.0.0 --json";

impl Union {
    /// Prints or saves all rows.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let columns = self.answering.signals(&self.datasets[0])?;
        let columns: Vec<String> = columns.iter().map(|name| named(name)).collect();
        let select =
            |dataset: &DatasetRef| format!("SELECT {} FROM {}", columns.join(", "), table(dataset));
        let text: Vec<String> = self.datasets.iter().map(select).collect();
        self.answering.answer(&text.join(" UNION ALL "), out)
    }
}

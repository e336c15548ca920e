//! `dcfs merge`: a join of two datasets, without SQL.

use clap::ValueEnum;

use super::answering::{Answering, named, table};
use super::complete;
use super::output::Output;
use super::usage;
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;

/// Join the rows of two datasets where columns are equal
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Merge {
    /// Dataset whose rows come first
    #[arg(add = complete::datasets())]
    left: DatasetRef,
    /// Dataset to join; columns with the same names as in the first get the prefix `right_`
    #[arg(add = complete::datasets())]
    right: DatasetRef,
    /// Columns that must be equal
    #[arg(long, value_name = "C,..", value_delimiter = ',', required = true)]
    on: Vec<String>,
    /// The corresponding columns of the second dataset, if their names differ
    #[arg(long, value_name = "C,..", value_delimiter = ',')]
    right_on: Vec<String>,
    /// Rows without a match to keep
    #[arg(long, value_enum, default_value_t = Keep::Left)]
    keep: Keep,
    #[command(flatten)]
    answering: Answering,
}

const EXAMPLES: &str = "Examples:
  dcfs merge pets masks --on file.stem --as pets_masks
  dcfs merge pets breeds --on file.stem --right-on name --keep none --json
`dcfs sql` says more: conditions, expressions, more than two datasets";

/// Rows without a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Keep {
    /// Those of the first dataset, like DataChain's merge
    Left,
    /// Those of the second dataset
    Right,
    /// All
    Both,
    /// None
    None,
}

impl Merge {
    /// Merges, and prints or saves the rows.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let right_on = if self.right_on.is_empty() { &self.on } else { &self.right_on };
        if right_on.len() != self.on.len() {
            return Err(usage("--on and --right-on must name the same number of columns"));
        }
        let join = match self.keep {
            Keep::Left => "LEFT JOIN",
            Keep::Right => "RIGHT JOIN",
            Keep::Both => "FULL JOIN",
            Keep::None => "JOIN",
        };
        let equal = |(left, right): (&String, &String)| {
            format!("\"left\".{} = \"right\".{}", named(left), named(right))
        };
        let on: Vec<String> = self.on.iter().zip(right_on).map(equal).collect();
        let (left, right) = (table(&self.left), table(&self.right));
        let on = on.join(" AND ");
        let text = format!("SELECT * FROM {left} AS \"left\" {join} {right} AS \"right\" ON {on}");
        self.answering.answer(&text, out)
    }
}

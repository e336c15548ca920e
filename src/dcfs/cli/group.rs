//! `dcfs group`: groups of the rows of a dataset, without SQL.

use super::answering::{Answering, named, table};
use super::complete;
use super::output::Output;
use super::usage;
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;

/// Group the rows of a dataset by values, and count or aggregate each group
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Group {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    /// Columns whose values the rows of a group share; none for one group of all rows
    #[arg(long, value_name = "C,..", value_delimiter = ',', add = complete::columns())]
    by: Vec<String>,
    /// Count the rows of each group
    #[arg(long)]
    count: bool,
    /// Sums of these columns
    #[arg(long, value_name = "C,..", value_delimiter = ',')]
    sum: Vec<String>,
    /// Means of these columns
    #[arg(long, value_name = "C,..", value_delimiter = ',')]
    avg: Vec<String>,
    /// Minima of these columns
    #[arg(long, value_name = "C,..", value_delimiter = ',')]
    min: Vec<String>,
    /// Maxima of these columns
    #[arg(long, value_name = "C,..", value_delimiter = ',')]
    max: Vec<String>,
    /// Medians of these columns
    #[arg(long, value_name = "C,..", value_delimiter = ',')]
    median: Vec<String>,
    /// All values of these columns, as lists
    #[arg(long, value_name = "C,..", value_delimiter = ',')]
    collect: Vec<String>,
    #[command(flatten)]
    answering: Answering,
}

const EXAMPLES: &str = "Examples:
  dcfs group pets --by label --count --avg info.width
  dcfs group pets --by file.parent --max file.size --as largest
`dcfs sql` says more: having, order by, expressions";

impl Group {
    /// Groups, and prints or saves the groups.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let keys = self.by.iter().map(|key| named(key));
        let mut items: Vec<String> = keys.clone().collect();
        if self.count {
            items.push("count(*) AS count".to_owned());
        }
        let folds = [
            ("sum", &self.sum),
            ("avg", &self.avg),
            ("min", &self.min),
            ("max", &self.max),
            ("median", &self.median),
            ("collect", &self.collect),
        ];
        for (fold, columns) in folds {
            let item = |column: &String| {
                format!("{fold}({}) AS {}", named(column), named(&format!("{fold}_{column}")))
            };
            items.extend(columns.iter().map(item));
        }
        if items.len() == self.by.len() {
            return Err(usage(
                "say what to compute for each group, e.g. --count or --avg info.width",
            ));
        }
        let mut text = format!("SELECT {} FROM {}", items.join(", "), table(&self.dataset));
        if !self.by.is_empty() {
            let keys = keys.collect::<Vec<_>>().join(", ");
            text += &format!(" GROUP BY {keys} ORDER BY {keys}");
        }
        self.answering.answer(&text, out)
    }
}

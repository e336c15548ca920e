//! `dcfs sql`: a SELECT over datasets, printed or saved as a version.

use std::io::{self, IsTerminal};

use super::answering::Answering;
use super::output::Output;
use super::shell;
use dcfs_core::error::{Error, Kind, Result};

/// Run a SELECT over datasets: filter, group, join; print the answer or save it as a version
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Sql {
    /// The statement; `-` reads it from stdin; without one, an interactive shell
    text: Option<String>,
    #[command(flatten)]
    answering: Answering,
}

const EXAMPLES: &str = "Examples:
  dcfs sql 'select label, count(*) n, avg(info.width) from pets group by label order by n desc'
  dcfs sql 'select file.parent, count(*) from pets@1.0.0 group by all'
  dcfs sql 'select * exclude (emb) from pets where file.ext = '\\''jpg'\\'' limit 10' --json
  dcfs sql 'select p.*, m.file as mask from pets p left join masks m on p.file.stem = m.file.stem' --as pets_masks
  dcfs sql 'select name, versions, rows from catalog.datasets'
  dcfs sql                 a shell: history, completion, \\d lists datasets

Tables:    a dataset (pets, pets@1.0.0, pets@latest, team.prod.pets; odd names in double quotes),
           catalog.datasets, .versions, .columns, .dependencies, .usage, .runs
Columns:   dotted, without quotes: info.width, p.info.width; a model as a whole: p.file; file.name .stem .ext .parent;
           inside lists and JSON: boxes[0].x, meta.key
Functions: those of filters (dcfs explain --help) and of SQLite; median quantile stddev variance mode count_distinct
           any_value collect histogram(x, bins); group by all; select * exclude (a, b)
Strings have single quotes. `/` divides as in filters: 7 / 2 is 3.5.";

impl Sql {
    /// Runs the statement.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let text = match self.text.as_deref() {
            None if io::stdin().is_terminal() => {
                self.answering.is_printed()?;
                return shell::run(self.answering, out);
            }
            None | Some("-") => io::read_to_string(io::stdin()).map_err(|error| {
                Error::new(Kind::Invalid, format!("cannot read the statement: {error}"))
            })?,
            Some(text) => text.to_owned(),
        };
        self.answering.answer(&text, out)
    }
}

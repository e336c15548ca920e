//! `dcfs runs`: results of `map` and `gen` that are not a version yet.

use std::path::PathBuf;

use serde_json::Value;

use super::output::Output;
use super::{CatalogArg, again};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::numbers::count;
use dcfs_core::render::table::TextTable;
use dcfs_data::catalog;
use dcfs_data::runs::{self, Found, Shard};

/// List runs of programs that are not versions yet: running, stopped, or dead
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Runs {
    #[command(subcommand)]
    command: Option<Command>,
    /// The beginning of a run's id: prints its details
    id: Option<String>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  dcfs runs                running, or waits to be resumed
  dcfs runs 3f2a           one of them
  dcfs runs log 3f2a       what its program said on standard error
  dcfs runs rm 3f2a        discard its results";

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the standard error of a run's program
    Log(Of),
    /// Discard the results of a run
    Rm(Of),
    /// Make a version from the parts that `--shard` computed
    Merge(Merge),
}

#[derive(Debug, clap::Args)]
struct Merge {
    /// The dataset of the parts
    name: String,
    /// Run files from other machines (`.datachain/dcfs-runs/ID.db`)
    files: Vec<PathBuf>,
    #[command(flatten)]
    catalog: CatalogArg,
}

#[derive(Debug, clap::Args)]
struct Of {
    /// The beginning of the run's id
    id: String,
    #[command(flatten)]
    catalog: CatalogArg,
}

impl Runs {
    /// Lists, shows or removes runs.
    pub fn run(self, out: &mut Output) -> Result<()> {
        match self.command {
            Some(Command::Log(of)) => {
                let found = of.find()?;
                match std::fs::read(found.log()) {
                    Ok(text) => out.text(&String::from_utf8_lossy(&text)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(Error::new(Kind::Denied, error)),
                }
            }
            Some(Command::Rm(of)) => {
                let found = of.find()?;
                runs::remove(&found)?;
                let rows = count(found.rows);
                out.line(format!("removed run {} and its {rows} rows", found.short()))
            }
            Some(Command::Merge(merge)) => merge.run(),
            None => self.list(out),
        }
    }

    fn list(&self, out: &mut Output) -> Result<()> {
        let database = catalog::locate(self.catalog.catalog.as_deref())?;
        let found = match &self.id {
            Some(id) => vec![runs::find(&database, id)?],
            None => runs::list(&database),
        };
        if self.json {
            let told: Vec<Value> = found.iter().map(Found::status).collect();
            return match (&self.id, &told[..]) {
                (Some(_), [only]) => out.json(only),
                _ => out.json(&told),
            };
        }
        if self.id.is_some() {
            return found.iter().try_for_each(|found| shown(found, out));
        }
        if found.is_empty() {
            return out.line("no runs: all that began have become versions");
        }
        let head = ["RUN", "MAKES", "FROM", "STATE", "ROWS", "ERRORS", "STARTED", "HOST"];
        let mut table = TextTable::new(head);
        for found in &found {
            let about = &found.about;
            let rows = format!("{} of {}", count(found.rows), count(about.rows));
            table.row([
                found.short().to_owned(),
                found.makes().to_owned(),
                about.input.clone(),
                found.state.text().to_owned(),
                rows,
                count(found.errors),
                about.started.get(..16).unwrap_or(&about.started).replace('T', " "),
                about.host.clone(),
            ]);
        }
        out.text(&table.to_string())
    }
}

impl Merge {
    /// Runs the command of the parts again without `--shard`: their results are present, so nothing is left to
    /// compute, and it makes the version.
    fn run(&self) -> Result<()> {
        let database = catalog::locate(self.catalog.catalog.as_deref())?;
        for file in &self.files {
            runs::bring(&database, file)?;
        }
        let mut parts = runs::list(&database);
        parts.retain(|found| found.about.shard.is_some() && found.makes() == self.name);
        let Some(first) = parts.last() else {
            return Err(missing(format!(
                "no parts of `{}`; `dcfs map --shard 1/4 ...` computes one",
                self.name
            )));
        };
        let identity = first.about.identity.clone();
        parts.retain(|found| found.about.identity == identity);
        let left = |of: u32| -> Vec<String> {
            let is_done = |number: &u32| {
                let shard = Some(Shard { number: *number, of });
                parts.iter().any(|found| found.is_done_part() && found.about.shard == shard)
            };
            (1..=of).filter(|number| !is_done(number)).map(|number| number.to_string()).collect()
        };
        // If the rows were split in several ways, one of them has to be complete.
        let ways = parts
            .iter()
            .filter_map(|found| found.about.shard)
            .map(|shard| (shard.of, left(shard.of)));
        let (of, left) = ways.min_by_key(|(_, left)| left.len()).unwrap_or_default();
        if !left.is_empty() {
            let message = format!(
                "of {} parts of `{}` these are not done: {}",
                of,
                self.name,
                left.join(", ")
            );
            return Err(missing(message));
        }
        let about = &parts[parts.len() - 1].about;
        again::run(&about.words, about.folder.as_deref(), &database, &|words| without_shard(words))
    }
}

/// Removes `--shard` from a command.
fn without_shard(words: &mut Vec<String>) {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    if let Some(at) = words[..end].iter().position(|word| word == "--shard") {
        words.drain(at..(at + 2).min(words.len()));
    } else if let Some(at) = words[..end].iter().position(|word| word.starts_with("--shard=")) {
        words.remove(at);
    }
}

fn missing(message: String) -> Error {
    Error::new(Kind::Missing, message)
}

impl Of {
    fn find(&self) -> Result<Found> {
        runs::find(&catalog::locate(self.catalog.catalog.as_deref())?, &self.id)
    }
}

fn shown(found: &Found, out: &mut Output) -> Result<()> {
    let about = &found.about;
    out.line(format!("run      {}", about.id))?;
    out.line(format!("makes    {} by `dcfs {}`", found.makes(), about.kind))?;
    out.line(format!("from     {}", about.input))?;
    out.line(format!("state    {}", found.state.text()))?;
    out.line(format!("rows     {} of {}", count(found.rows), count(about.rows)))?;
    out.line(format!("errors   {}", count(found.errors)))?;
    out.line(format!("process  {} on {}", about.pid, about.host))?;
    out.line(format!("started  {}", about.started))?;
    out.line(format!("command  {}", about.command))?;
    match &found.ended {
        Some(why) => out.line(format!("ended    {why}")),
        None => Ok(()),
    }
}

//! `dcfs runs`: what `map` and `gen` have computed that is no version yet.

use serde_json::{Value, json};

use super::CatalogArg;
use super::output::Output;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::numbers::count;
use dcfs_core::render::table::Table;
use dcfs_data::catalog;
use dcfs_data::runs::{self, Found};

/// Runs of programs that are not versions yet: at work, stopped, or dead
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Runs {
    #[command(subcommand)]
    command: Option<Command>,
    /// The beginning of a run's id: all about it
    id: Option<String>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  dcfs runs                what is at work, or waits to be gone on with
  dcfs runs 3f2a           one of them
  dcfs runs log 3f2a       what its program said on standard error
  dcfs runs rm 3f2a        give up what it computed";

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// What the program of a run said on standard error
    Log(Of),
    /// Give up what a run computed
    Rm(Of),
}

#[derive(Debug, clap::Args)]
struct Of {
    /// The beginning of its id
    id: String,
    #[command(flatten)]
    catalog: CatalogArg,
}

impl Runs {
    /// Lists, shows, removes.
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
                out.line(format!("removed run {} and its {rows} rows", short(&found)))
            }
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
            let told: Vec<Value> = found.iter().map(told).collect();
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
        let mut table = Table::new(head);
        for found in &found {
            let about = &found.about;
            let rows = format!("{} of {}", count(found.rows), count(about.rows));
            table.row([
                short(found).to_owned(),
                name(found).to_owned(),
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

impl Of {
    fn find(&self) -> Result<Found> {
        runs::find(&catalog::locate(self.catalog.catalog.as_deref())?, &self.id)
    }
}

fn short(found: &Found) -> &str {
    dcfs_work::map::short(&found.about.id)
}

/// The name of what is made; datasets of this catalog go without their namespace.
fn name(found: &Found) -> &str {
    found.about.name.strip_prefix("local.local.").unwrap_or(&found.about.name)
}

fn shown(found: &Found, out: &mut Output) -> Result<()> {
    let about = &found.about;
    out.line(format!("run      {}", about.id))?;
    out.line(format!("makes    {} by `dcfs {}`", name(found), about.kind))?;
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

fn told(found: &Found) -> Value {
    let about = &found.about;
    json!({
        "id": about.id,
        "kind": about.kind,
        "name": name(found),
        "input": about.input,
        "state": found.state.text(),
        "rows": found.rows,
        "of": about.rows,
        "errors": found.errors,
        "pid": about.pid,
        "host": about.host,
        "started": about.started,
        "command": about.command,
        "ended": found.ended,
    })
}

//! `dcfs refresh`: brings a dataset and everything it came from up to date.

use std::collections::HashSet;

use serde::Serialize;

use super::CatalogArg;
use super::again;
use super::naming;
use super::output::Output;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::DatasetName;
use dcfs_core::provenance::Provenance;
use dcfs_core::render::numbers::counted;
use dcfs_data::catalog::{self, Catalog, VersionInfo};
use dcfs_work::map::Recipe;

/// Limit of datasets that one came from.
const MOST: usize = 1000;

/// Bring a dataset and everything it came from up to date
///
/// Begins at the storage: datasets made by `dcfs index` are listed again, and files that `dcfs load` read are looked
/// at again; then those that `map`, `gen`, `agg` and `save` made of them follow, each step only for what is new or changed. The commands are those that were
/// recorded, run in their original folders.
#[derive(Debug, clap::Args)]
pub struct Refresh {
    /// The dataset
    #[arg(value_parser = naming::dataset)]
    name: DatasetName,
    /// Run nothing: print what would run, and why
    #[arg(long)]
    plan: bool,
    /// Print JSON (with --plan)
    #[arg(long, requires = "plan")]
    json: bool,
    #[command(flatten)]
    catalog: CatalogArg,
}

/// A dataset to bring up to date.
#[derive(Clone, Debug, Serialize)]
struct Step {
    dataset: String,
    version: String,
    command: String,
    /// The reason to run it.
    why: String,
    /// The largest possible number of rows to compute, and the seconds that takes at the last rate; null if
    /// unknown.
    rows: Option<u64>,
    seconds: Option<f64>,
    #[serde(skip)]
    by: Provenance,
}

impl Refresh {
    /// Runs the steps.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let database = catalog::locate(self.catalog.catalog.as_deref())?;
        // In a catalog that others may write to, the recorded commands may be theirs.
        if let Some(whose) = catalog::foreign(&database) {
            let message = format!(
                "the catalog `{}` could be written by {whose}, and its commands are not run; run them yourself: \
                 `dcfs refresh --plan` lists them",
                database.display()
            );
            if !self.plan {
                return Err(Error::new(Kind::Denied, message));
            }
        }
        let catalog = Catalog::open(&database)?;
        let mut steps = Vec::new();
        let mut seen = HashSet::new();
        descend(&catalog, &self.name, &mut seen, &mut steps)?;
        if steps.is_empty() {
            let message = format!(
                "`{}` was not made by dcfs, so there is no command to run again",
                self.name
            );
            return Err(Error::new(Kind::Invalid, message));
        }
        if self.json {
            return out.json(&steps);
        }
        if self.plan {
            return steps.iter().try_for_each(|step| step.tell(out));
        }
        for step in &steps {
            out.line(format!("{}: {}", step.dataset, step.command))?;
            out.flush()?;
            let done =
                again::run(&step.by.command, step.by.folder.as_deref(), &database, &with_delta);
            match done {
                // Rows that failed are kept, and so are the results of the following steps.
                Err(error) if error.kind() == Kind::Incomplete => super::warn(error),
                done => done?,
            }
        }
        Ok(())
    }
}

/// Adds the parents of a dataset, then itself.
fn descend(
    catalog: &Catalog,
    name: &DatasetName,
    seen: &mut HashSet<String>,
    steps: &mut Vec<Step>,
) -> Result<()> {
    if !seen.insert(name.to_string()) || seen.len() > MOST {
        return Ok(());
    }
    let Some(of) = catalog.latest(name)? else {
        let message = format!("no dataset `{name}`; `dcfs ls` lists them");
        return Err(Error::new(Kind::Missing, message));
    };
    let Some(by) = catalog.details(&of)?.provenance else { return Ok(()) };
    let before = steps.len();
    for parent in catalog.parents(of.id)? {
        if let Some((parent, _)) = parent.dataset.filter(|(parent, _)| !parent.is_internal()) {
            descend(catalog, &parent, seen, steps)?;
        }
    }
    if let Some(step) = step(catalog, &of, by, steps.len() > before)? {
        steps.push(step);
    }
    Ok(())
}

/// The command that brings a version up to date, if there is one.
fn step(
    catalog: &Catalog,
    of: &VersionInfo,
    by: Provenance,
    follows: bool,
) -> Result<Option<Step>> {
    let mut words = by.command.clone();
    with_delta(&mut words);
    let command = Provenance { command: words.clone(), ..Provenance::default() }.script();
    let recipe = Recipe::of(Some(&by));
    let mut parents = catalog.parents(of.id)?.into_iter();
    let newer = parents.find_map(|parent| {
        let (name, version) = parent.dataset?;
        let latest = catalog.latest(&name).ok()??;
        (latest.version != version && !name.is_internal()).then_some(latest)
    });
    let why = match (by.operation(), &newer, follows) {
        (Some("index"), _, _) => "the storage is listed again".to_owned(),
        (Some("load"), _, _) => "its files are looked at again".to_owned(),
        (Some("map" | "gen" | "agg" | "save"), Some(newer), _) => {
            format!("`{newer}` is newer than what it was made of")
        }
        (Some("map" | "gen" | "agg" | "save"), None, true) => {
            "what it was made of may change by the steps before".to_owned()
        }
        _ => return Ok(None),
    };
    let rows = newer.as_ref().and_then(|newer| newer.rows);
    let rate =
        recipe.filter(|made| made.computed > 0).map(|made| made.seconds / made.computed as f64);
    let seconds = rows.zip(rate).map(|(rows, each)| rows as f64 * each);
    let (dataset, version) = (of.dataset.to_string(), of.version.to_string());
    Ok(Some(Step { dataset, version, command, why, rows, seconds, by }))
}

impl Step {
    fn tell(&self, out: &mut Output) -> Result<()> {
        let cost = match (self.rows, self.seconds) {
            (Some(rows), Some(seconds)) => {
                format!("; at most {}, {seconds:.0} s at the last rate", counted(rows, "row"))
            }
            (Some(rows), None) => format!("; at most {}", counted(rows, "row")),
            _ => String::new(),
        };
        out.line(format!("{}@{}: {}{cost}", self.dataset, self.version, self.why))?;
        out.line(format!("    {}", self.command))
    }
}

/// Adds `--delta` for commands that support it: only new and changed rows.
fn with_delta(words: &mut Vec<String>) {
    let knows = matches!(words.get(1).map(String::as_str), Some("index" | "load" | "map" | "gen"));
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let is_said = words[..end].iter().any(|word| word == "--delta");
    if let Some(at) = words[..end].iter().position(|word| word == "--update") {
        words.remove(at);
    }
    if knows && !is_said {
        words.insert(2.min(words.len()), "--delta".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_go_on_from_the_last_version() {
        let cases = [
            ("dcfs index a --save b --update", "dcfs index --delta a --save b"),
            ("dcfs load a.csv --as b", "dcfs load --delta a.csv --as b"),
            ("dcfs map a --as b -- x --delta", "dcfs map --delta a --as b -- x --delta"),
            ("dcfs map a --delta --as b -- x", "dcfs map a --delta --as b -- x"),
            ("dcfs save a --as b", "dcfs save a --as b"),
        ];
        for (before, want) in cases {
            let mut words: Vec<String> = before.split(' ').map(str::to_owned).collect();
            with_delta(&mut words);
            assert_eq!(words.join(" "), want);
        }
    }
}

//! `dcfs verify`: checks that every object still is the recorded one.

use std::collections::BTreeMap;

use serde::Serialize;

use super::output::Output;
use super::progress::{Progress, Unit};
use super::selecting::{Selected, SelectingArgs};
use crate::session::{self, FIRST_ANSWER};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::numbers::{self, count, counted};
use dcfs_core::render::table::TextTable;
use dcfs_work::Found;

/// Number of objects that are listed; `--json` has all.
const SHOWN: usize = 20;

/// Compare every object of a dataset with what the version recorded
///
/// Requests one byte of each object under the conditions of a read, bypassing the cache; nothing is cached. A
/// store that does not answer at all is given up after 5 s, for all objects. Exits with 3 if objects changed or
/// are gone.
#[derive(Debug, clap::Args)]
pub struct Verify {
    #[command(flatten)]
    selecting: SelectingArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Verified {
    dataset: String,
    objects: u64,
    bytes: u64,
    /// Objects that match.
    same: u64,
    /// Objects that changed or are gone.
    drifted: Vec<Drift>,
    /// Objects whose state is unknown, because the request failed.
    failed: Vec<Drift>,
    #[serde(skip)]
    worst: Option<Kind>,
}

#[derive(Clone, Debug, Serialize)]
struct Drift {
    path: String,
    why: String,
}

impl Verify {
    /// Compares, and prints the differences.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let selected = self.selecting.select_within(Some(FIRST_ANSWER))?;
        let verified = compare(&selected, self.selecting.jobs.into())?;
        match self.json {
            true => out.json(&verified)?,
            false => verified.print(out)?,
        }
        verified.end(out)
    }
}

fn compare(selected: &Selected, jobs: usize) -> Result<Verified> {
    let runtime = session::runtime()?;
    let progress = Progress::new(Unit::Objects).labelled("comparing");
    let (objects, bytes) = selected.selection.totals()?;
    progress.set_total(objects);
    let dataset = selected.dataset.clone();
    let mut verified = Verified { dataset, objects, bytes, ..Verified::default() };
    let work = |found: Found| {
        let stores = selected.stores.clone();
        async move {
            let compared = match found.object() {
                Ok(object) => stores.compare(object).await,
                Err(gone) => Err(gone),
            };
            (found.path, compared)
        }
    };
    let done = |(path, compared)| {
        progress.add(1);
        verified.add(path, compared);
    };
    runtime.block_on(selected.selection.each(jobs, work, done))?;
    progress.clear();
    verified.drifted.sort_by(|one, other| one.path.cmp(&other.path));
    verified.failed.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(verified)
}

/// Failures by cause: the count, and the first of each. Causes are compared without the object's name, in
/// backquotes.
fn causes(failed: &[Drift]) -> BTreeMap<String, (u64, &Drift)> {
    let mut causes = BTreeMap::new();
    for drift in failed {
        let cause = drift.why.splitn(3, '`').enumerate().filter(|(n, _)| *n != 1);
        let cause: String = cause.map(|(_, part)| part).collect();
        causes.entry(cause).or_insert((0, drift)).0 += 1;
    }
    causes
}

impl Verified {
    fn add(&mut self, path: String, compared: Result<()>) {
        let Err(error) = compared else {
            self.same += 1;
            return;
        };
        let drift = Drift { path, why: error.to_string() };
        match error.kind() {
            Kind::Stale => self.drifted.push(drift),
            kind => {
                self.failed.push(drift);
                let kinds = self.worst.into_iter().chain([kind]);
                self.worst = kinds.max_by_key(|kind| kind.codes().1);
            }
        }
    }

    fn print(&self, out: &mut Output) -> Result<()> {
        out.line(format!("{}: {}", self.dataset, numbers::objects(self.objects, self.bytes)))?;
        if !self.drifted.is_empty() {
            let mut table = TextTable::new(["PATH", "WHY"]);
            for drift in self.drifted.iter().take(SHOWN) {
                table.row([drift.path.clone(), drift.why.clone()]);
            }
            out.text(&table.to_string())?;
        }
        let more = self.drifted.len().saturating_sub(SHOWN);
        if more > 0 {
            out.line(format!("and {} more; `--json` prints all", count(more as u64)))?;
        }
        // If many fail for one cause, it is printed in full.
        let causes = causes(&self.failed);
        for (_, (number, first)) in causes.iter().take(SHOWN) {
            let others = match number - 1 {
                0 => String::new(),
                others => format!(", and {} like it", counted(others, "object")),
            };
            out.line(format!("not asked for: {}: {}{others}", first.path, first.why))?;
        }
        let more = causes.len().saturating_sub(SHOWN) as u64;
        if more > 0 {
            out.line(format!("and {}; `--json` prints all", counted(more, "other cause")))?;
        }
        if self.same == self.objects {
            out.line("every object matches its record")?;
        }
        Ok(())
    }

    /// Determines the exit code.
    fn end(&self, out: &mut Output) -> Result<()> {
        let (drifted, failed) = (self.drifted.len() as u64, self.failed.len() as u64);
        let kind = match (drifted, self.worst) {
            (0, None) => return Ok(()),
            (0, Some(kind)) => kind,
            _ => Kind::Stale,
        };
        out.flush()?;
        let mut parts = Vec::new();
        if drifted > 0 {
            parts.push(format!(
                "{} changed or {} gone",
                counted(drifted, "object"),
                numbers::verb(drifted, "is", "are")
            ));
        }
        if failed > 0 {
            parts.push(format!("{} could not be requested", count(failed)));
        }
        Err(Error::new(kind, parts.join(", ")))
    }
}

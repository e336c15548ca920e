//! `dcfs warm`: fetches the objects of a dataset into the cache in advance.

use std::sync::Arc;

use serde::Serialize;

use super::interrupt;
use super::output::Output;
use super::plan::Planned;
use super::progress::{Progress, Unit};
use super::selecting::{EpochOrder, Selected, SelectingArgs, SharedVersion};
use super::sharing::{self, SmallObjects};
use super::usage;
use crate::session;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::numbers::{self, bytes, counted};
use dcfs_data::pack::shared::Written;
use dcfs_store::Warmed;
use dcfs_work::Found;

/// Number of failures that are listed; the rest is counted.
const TOLD: u64 = 20;

/// Fetch the objects of a dataset into the cache
///
/// Objects that are cached already are not fetched again: an interrupted run resumes where it stopped.
#[derive(Debug, clap::Args)]
pub struct Warm {
    #[command(flatten)]
    selecting: SelectingArgs,
    /// Fetch in the order of an epoch, as a mount lists it in `_views/epochs/<seed>/<n>.txt`: a reader of that
    /// order can start at once
    #[arg(long, value_name = "epochs/SEED[/N]")]
    order: Option<EpochOrder>,
    /// Fetch nothing: print what is missing, and exit with 1 if anything is
    #[arg(long)]
    check: bool,
    /// Write the packed version, its packed columns and with `--where` the rows of the filter to the folder
    /// `[shared]` of config.toml, so that no other host has to build them; with `objects = true` there, its small
    /// objects too
    #[arg(long, conflicts_with_all = ["order", "check"])]
    to_shared: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The result of `--to-shared`.
#[derive(Debug, Serialize)]
struct SharedNow {
    dataset: String,
    prefix: String,
    /// Objects written by this run, and their bytes; existing ones are not changed.
    #[serde(flatten)]
    kept: Written,
    /// Small objects written by this run; null unless the settings say that they are shared.
    small: Option<SmallObjects>,
}

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Tally {
    dataset: String,
    /// Objects that are cached now, and their bytes.
    objects: u64,
    bytes: u64,
    /// Those fetched by this run.
    fetched: u64,
    fetched_bytes: u64,
    /// Objects that the cache cannot keep, because they have neither an etag nor a version.
    not_kept: u64,
    failed: u64,
    /// Objects that were fetched but are not in the cache: it is too small, or its disk full.
    lost: u64,
    #[serde(skip)]
    worst: Option<Kind>,
}

/// The result for one object.
struct Ended {
    path: String,
    size: u64,
    result: Result<Warmed>,
}

impl Warm {
    /// Fetches; an object that fails is reported, and the others continue.
    pub fn run(self, out: &mut Output) -> Result<()> {
        if self.to_shared {
            return self.share(out);
        }
        let selected = self.selecting.select_ordered(self.order)?;
        if !selected.is_cached {
            return Err(usage("`--cache-size 0` keeps nothing; there is nothing to warm"));
        }
        let jobs = self.selecting.jobs.into();
        if self.check {
            let planned = Planned::of(&selected, jobs)?;
            planned.print(self.json, out)?;
            return match planned.missing {
                0 => Ok(()),
                some => {
                    out.flush()?;
                    Err(Error::new(
                        Kind::Missing,
                        format!(
                            "{} {} not cached",
                            counted(some, "object"),
                            numbers::verb(some, "is", "are")
                        ),
                    ))
                }
            };
        }
        self.selecting.look_near(&selected)?;
        let mut warmed = fetch(&selected, jobs)?;
        // Objects that did not fit have been evicted again.
        let missing = Planned::of(&selected, jobs)?.missing;
        warmed.lost = missing.saturating_sub(warmed.not_kept + warmed.failed);
        warmed.print(self.json, out)
    }

    fn share(self, out: &mut Output) -> Result<()> {
        let SharedVersion { dataset, prefix, kept, small } = self.selecting.share()?;
        let jobs = self.selecting.jobs.into();
        let share = |small| sharing::objects(&self.selecting.select()?, &small, jobs);
        let small = small.map(share).transpose()?;
        let failed = small.as_ref().map_or(0, |small| small.failed);
        if self.json {
            out.json(&SharedNow { dataset, prefix, kept, small })?;
        } else {
            let written = numbers::objects(kept.objects, kept.bytes);
            out.line(format!("{dataset}: {written} written to `{prefix}`"))?;
            if let Some(SmallObjects { written, there, .. }) = &small {
                let objects = numbers::objects(written.objects, written.bytes);
                out.line(format!("small objects: {objects} written, {there} were there"))?;
            }
        }
        match failed {
            0 => Ok(()),
            some => {
                out.flush()?;
                let failed = counted(some, "small object");
                Err(Error::new(Kind::Broken, format!("{failed} could not be shared")))
            }
        }
    }
}

fn fetch(selected: &Selected, jobs: usize) -> Result<Tally> {
    let runtime = session::runtime()?;
    let progress = Arc::new(Progress::new(Unit::Bytes).labelled("fetching"));
    progress.set_total(selected.selection.totals()?.1);
    let so_far = Arc::clone(&progress);
    let _interrupt = interrupt::says(move || {
        let here = bytes(so_far.done());
        format!("{here} of the dataset are here and kept; the same command goes on from there")
    });
    let mut warmed = Tally { dataset: selected.dataset.clone(), ..Tally::default() };
    let work = |found: Found| {
        let stores = selected.stores.clone();
        async move {
            let result = match found.object() {
                Ok(object) => stores.warm(object).await,
                Err(gone) => Err(gone),
            };
            Ended { size: found.size(), path: found.path, result }
        }
    };
    let done = |ended: Ended| {
        progress.add(ended.size);
        progress.add_file();
        warmed.add(ended, &progress);
    };
    runtime.block_on(async {
        selected.selection.each(jobs, work, done).await?;
        selected.stores.settled().await;
        Ok::<_, Error>(())
    })?;
    progress.clear();
    Ok(warmed)
}

impl Tally {
    fn add(&mut self, ended: Ended, progress: &Progress) {
        match ended.result {
            Ok(warmed) => {
                self.objects += 1;
                self.bytes += ended.size;
                match warmed {
                    Warmed::Here => {}
                    Warmed::NotKept => self.not_kept += 1,
                    Warmed::Fetched(bytes) => {
                        self.fetched += 1;
                        self.fetched_bytes += bytes;
                    }
                }
            }
            Err(error) => {
                self.failed += 1;
                let kinds = self.worst.into_iter().chain([error.kind()]);
                self.worst = kinds.max_by_key(|kind| kind.codes().1);
                if self.failed <= TOLD {
                    progress.say(&format!("`{}`: {error}", ended.path));
                }
            }
        }
    }

    fn print(&self, json: bool, out: &mut Output) -> Result<()> {
        if json {
            out.json(self)?;
        } else {
            let fetched = numbers::objects(self.fetched, self.fetched_bytes);
            out.line(format!(
                "{}: {} here, of which {fetched} {} fetched",
                self.dataset,
                numbers::objects(self.objects, self.bytes),
                numbers::verb(self.fetched, "was", "were")
            ))?;
            if self.not_kept > 0 {
                out.line(format!(
                    "{} cannot be kept: neither an etag nor a version tells {} apart",
                    counted(self.not_kept, "object"),
                    numbers::verb(self.not_kept, "it", "them")
                ))?;
            }
        }
        if self.lost > 0 {
            out.flush()?;
            let lost = counted(self.lost, "object");
            let message =
                format!("{lost} did not stay: the cache (`--cache-size`) or its disk is too small");
            return Err(Error::new(self.worst.unwrap_or(Kind::NoSpace), message));
        }
        match self.worst {
            None => Ok(()),
            Some(kind) => {
                out.flush()?;
                let failed = counted(self.failed, "object");
                Err(Error::new(kind, format!("{failed} could not be fetched")))
            }
        }
    }
}

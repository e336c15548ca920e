//! `dcfs map`, `dcfs gen` and `dcfs agg`: run a program over every file of a dataset, or over groups of them.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

use super::access::AccessArgs;
use super::asking::AskingArgs;
use super::complete;
use super::index::told_counts;
use super::naming::{self, DescriptionArgs, Numbering};
use super::options::parse_duration;
use super::output::Output;
use super::progress::{Progress, Unit};
use super::{command_line, warn};
use crate::session;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::{DatasetName, DatasetRef};
use dcfs_core::render::numbers::{count, counted, verb};
use dcfs_data::runs::Shard;
use dcfs_work::author;
use dcfs_work::map::{
    self, Desk, Edited, Finished, Input, KeepDeleted, Request, Shape, Step, Watch,
};
use dcfs_work::save::Chosen;

/// Run a program over every file of a dataset; its answers become columns of a new version
///
/// A program is a Python function (`python FILE.py:FUNCTION`, whose annotations are the types), any command
/// that is run for each file and prints its answer, or one that keeps running and answers lines of JSON
/// (`--worker`). It sees plain paths: no mount is needed. A run that was stopped or killed resumes with the
/// same command.
#[derive(Debug, clap::Args)]
#[command(after_help = MAP)]
pub struct Map {
    #[command(flatten)]
    args: MapArgs,
}

/// Run a program over every file of a dataset that returns many rows for each
///
/// Like `dcfs map`, for a Python function that yields, a worker that answers `values`, or a command that prints
/// a value on each line. Rows keep no column of their input unless `--only` names some.
#[derive(Debug, clap::Args)]
#[command(after_help = GEN)]
pub struct Gen {
    #[command(flatten)]
    args: MapArgs,
}

/// Run a program over groups of rows: it sees the files and columns of all rows that have the same values in
/// some columns
///
/// Like `dcfs map`, for a Python function whose arguments are lists and that returns one answer for the group
/// or yields many, a worker that reads `files` and lists, or a command in which `{}` stands for the paths of
/// all files. The new version has the columns of `--by` and those of the answers.
#[derive(Debug, clap::Args)]
#[command(after_help = AGG)]
pub struct Agg {
    /// Columns whose values the rows of a group share, e.g. `label` or `info.format,split`
    #[arg(long, required = true, value_name = "COLUMN,..", value_delimiter = ',')]
    by: Vec<String>,
    #[command(flatten)]
    args: MapArgs,
}

const AGG: &str = "Examples:
  dcfs agg pets --by label --as labels -- python labels.py:summary         def summary(files: list, width: list[int]) -> Summary
  dcfs agg scans --by patient --as volumes --out 'voxels: int' -- ./count-voxels {}
  dcfs agg pets --by label --try 2 --out 'n: int' --with-columns file.path --no-file --worker -- ./count";

const MAP: &str = "Examples:
  dcfs map pets --as pets_info -- python get_info.py:get_info
  dcfs map pets --where 'info.width > 400' --try 5 -- python embed.py:encode     a few rows, shown, nothing saved
  dcfs map clips --as durations --out 'seconds: float' -- ffprobe -v error -show_entries format=duration -of csv=p=0 {}
  dcfs map pets --as emb --out 'emb: list[float]' --worker --batch 32 -- ./embed
  dcfs map pets --as pets_info --delta -- python get_info.py:get_info            only what is new or changed

In a command: {} the file, {.} without its ending, {/} its name, {uri}, {id}, {col:info.width}.
Exit codes: 0 done, 2 a decision is needed, 3 done but rows failed, 4 at work already, 5 stopped on an error, 130 interrupted.";

const GEN: &str = "Examples:
  dcfs gen videos --as frames --only file -- python frames.py:split
  dcfs gen docs --as lines --out 'line: str' -- cat {}
  dcfs gen archives --as members --step tar";

/// The flags, as typed.
#[derive(Clone, Debug, clap::Args)]
struct MapArgs {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    /// Name of the dataset to save the result as; an existing one gets its next version
    #[arg(long = "as", value_name = "NAME", value_parser = naming::dataset, required_unless_present = "sample")]
    name: Option<DatasetName>,
    /// Only the rows that pass this filter, in its order, e.g. `info.width > 400 limit 100`
    #[arg(long = "where", value_name = "FILTER", allow_hyphen_values = true, add = complete::filters())]
    filter: Option<String>,
    /// Types of the answers, e.g. `seconds: float, info: {w: int, tags: list[str]}?`; @FILE.json; for a
    /// function, other names of its columns
    #[arg(long, value_name = "TYPES")]
    out: Option<String>,
    /// Run a few rows, show them, and save nothing
    #[arg(long = "try", id = "sample", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Rows to process in parallel [default: cores for a process per file, 1 for a program that keeps running]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Built-in step instead of a program: `hash`, `text`, `image`, `media` by ffprobe; `tar` for gen
    /// (docs/map.md)
    #[arg(long, value_name = "NAME", value_parser = step(), conflicts_with_all = ["worker", "stdin", "depends"])]
    step: Option<Step>,
    /// The program keeps running, and answers lines of JSON
    #[arg(long, conflicts_with = "stdin")]
    worker: bool,
    /// Rows that a worker receives at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,
    /// Pass the file's bytes on standard input
    #[arg(long)]
    stdin: bool,
    /// Compute only rows that are new or changed since the last version, copy the rest, drop rows that are gone
    #[arg(long)]
    delta: bool,
    /// With --delta: keep rows that are gone
    #[arg(long, requires = "delta")]
    keep_deleted: bool,
    /// Handling of rows that fail: `stop` ends the run, `keep` keeps them with their message in the column
    /// `error`
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnError::Stop)]
    on_error: OnError,
    /// With --on-error keep: more errors end the run [default: 100, or 1% of the rows]
    #[arg(long, value_name = "N")]
    max_errors: Option<u64>,
    /// Number of tries per row
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    tries: u32,
    /// Time limit of a row; its program is killed and the row counts as failed
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    row_timeout: Option<Duration>,
    /// Time limit for a worker to become ready
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = parse_duration)]
    start_timeout: Duration,
    /// Compute the failed rows of the last version again
    #[arg(long)]
    retry_errors: bool,
    /// If the program changed: compute all rows again
    #[arg(long, conflicts_with = "keep")]
    fresh: bool,
    /// If the program changed: compute only what is missing
    #[arg(long)]
    keep: bool,
    /// A file whose content is part of the program; those named in the command are included anyway. Repeatable
    #[arg(long, value_name = "FILE")]
    depends: Vec<PathBuf>,
    /// Columns to pass to the program in addition to the file
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    with_columns: Vec<String>,
    /// The File column to use, if there are several
    #[arg(long, value_name = "COLUMN")]
    file: Option<String>,
    /// Pass columns only, and fetch no files
    #[arg(long, conflicts_with_all = ["file", "stdin"])]
    no_file: bool,
    /// Columns of the input that the result keeps [default: all for map, none for gen]
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    only: Option<Vec<String>>,
    /// Maximum of rows between two commits; they are at most a second apart in any case
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    commit: u32,
    /// Objects to fetch ahead of the program
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    prefetch: u16,
    /// Compute this part of the rows, e.g. `2/8`, on one of several machines; `dcfs runs merge NAME` makes the version
    #[arg(long, value_name = "I/N", value_parser = shard, conflicts_with_all = ["sample", "delta", "retry_errors"])]
    shard: Option<Shard>,
    /// Make a version even if it has no rows
    #[arg(long)]
    allow_empty: bool,
    #[command(flatten)]
    numbering: Numbering,
    #[command(flatten)]
    described: DescriptionArgs,
    /// Print events as lines of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
    /// The program and its arguments
    #[arg(last = true, required_unless_present = "step", value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// The handling of rows that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OnError {
    Stop,
    Keep,
}

impl Map {
    /// Runs the program, and prints the result.
    pub fn run(self, out: &mut Output) -> Result<()> {
        self.args.run(Shape::Map, Vec::new(), out)
    }
}

impl Gen {
    /// Runs the program, and prints the result.
    pub fn run(self, out: &mut Output) -> Result<()> {
        self.args.run(Shape::Gen, Vec::new(), out)
    }
}

impl Agg {
    /// Runs the program, and prints the result.
    pub fn run(self, out: &mut Output) -> Result<()> {
        self.args.run(Shape::Agg, self.by, out)
    }
}

impl MapArgs {
    fn run(self, shape: Shape, by: Vec<String>, out: &mut Output) -> Result<()> {
        let (catalog, cache_dir) = (self.access.catalog.clone(), self.access.cache_dir.clone());
        let asked = AskingArgs { catalog, cache_dir }.ask(&self.dataset)?;
        let query = self.filter.as_deref().map(|filter| asked.check(filter)).transpose()?;
        let filter = query.as_ref().map(ToString::to_string);
        let request = Request { by, ..self.request(shape, filter) };
        let access = self.access.clone().resolve()?;
        let stores = Arc::new(access.stores(&[])?);
        let pack = query.as_ref().map(|_| asked.pack()).transpose()?;
        let found = match (&pack, &query) {
            (Some(pack), Some(query)) => Some((pack, asked.select(pack, query)?)),
            _ => None,
        };
        let (chosen, rows) = match &found {
            Some((pack, selected)) => {
                let ranked = selected.ranking.as_ref().map(|ranking| ranking.rows.len() as u64);
                (Chosen::Some(pack, selected), ranked.unwrap_or(selected.rows.len()))
            }
            None => (Chosen::All, asked.catalog.extent(&asked.of)?.0),
        };
        let (catalog, of, schema) = (asked.catalog.clone(), asked.of.clone(), asked.schema.clone());
        let input = Input { catalog, of, schema, chosen, rows };
        let runtime = session::runtime()?;
        let (stop, _) = watch::channel(false);
        let listening = listen(&stop)?;
        let telling = Telling::new(self.json);
        let desk = Desk { stores, runtime: &runtime, cache: access.cache, stop, watch: &telling };
        let finished = map::run(&desk, &input, &request);
        telling.progress.clear();
        listening.close();
        drop(desk);
        // Tasks that still wait for a store are abandoned.
        runtime.shutdown_background();
        match finished {
            Ok(finished) => self.tell(&finished, out),
            Err(error) => {
                if self.json {
                    out.json_line(&json!({ "event": "error", "message": error.to_string() }))?;
                }
                Err(error)
            }
        }
    }

    fn request(&self, shape: Shape, filter: Option<String>) -> Request {
        let edited = match (self.fresh, self.keep) {
            (true, _) => Some(Edited::Fresh),
            (_, true) => Some(Edited::Keep),
            _ => None,
        };
        Request {
            shape,
            name: self.name.clone().unwrap_or_else(|| DatasetName::local("sample")),
            number: self.numbering.number(),
            description: self.described.description.clone(),
            attrs: self.described.attrs().map(<[_]>::to_vec),
            words: self.program.clone(),
            step: self.step,
            stays: self.worker,
            stdin: self.stdin,
            depends: self.depends.clone(),
            out: self.out.clone(),
            by: Vec::new(),
            columns: self.with_columns.clone(),
            file: self.file.clone(),
            no_file: self.no_file,
            only: self.only.clone(),
            jobs: self.jobs.map(Into::into),
            batch: self.batch.into(),
            commit: self.commit as usize,
            prefetch: self.prefetch.into(),
            keeps_errors: self.on_error == OnError::Keep,
            max_errors: self.max_errors,
            tries: self.tries,
            row_timeout: self.row_timeout,
            start_timeout: self.start_timeout,
            retry_errors: self.retry_errors,
            delta: self.delta.then_some(KeepDeleted(self.keep_deleted)),
            edited,
            shard: self.shard,
            sample: self.sample,
            allow_empty: self.allow_empty,
            provenance: author::ask(&command_line(), filter.clone()),
            filter,
        }
    }

    fn tell(&self, finished: &Finished, out: &mut Output) -> Result<()> {
        if self.json {
            out.json_line(&told(finished))?;
        } else if self.sample.is_some() {
            sampled(finished, self.jobs, out)?;
        } else {
            said(finished, out)?;
        }
        if finished.errors > 0 {
            out.flush()?;
            let n = finished.errors;
            let have = verb(n, "has", "have");
            let mut message = format!("{} failed and {have} no answer", counted(n, "row"));
            if self.sample.is_none() {
                message +=
                    " (`--where 'error is not null'` lists them; `--retry-errors` tries again)";
            }
            return Err(Error::new(Kind::Incomplete, message));
        }
        Ok(())
    }
}

/// Prints the result for people.
fn said(finished: &Finished, out: &mut Output) -> Result<()> {
    if let Some(counts) = finished.counts {
        out.line(told_counts(counts))?;
    }
    for why in &finished.first_errors {
        warn(why);
    }
    if let Some(part) = finished.part {
        let (computed, reused) = (counted(finished.computed, "row"), count(finished.reused));
        return out.line(format!(
            "part {part} is done: {computed} computed, {reused} there before; when all are, `dcfs runs merge NAME` makes the version"
        ));
    }
    match (&finished.saved, &finished.unchanged) {
        (Some(saved), _) => {
            let computed = counted(finished.computed, "row");
            let reused = match finished.reused {
                0 => String::new(),
                n => format!(", {} there before", count(n)),
            };
            let rate = finished.computed as f64 / finished.seconds.max(0.001);
            out.line(format!(
                "saved {}@{}: {}; {computed} computed in {:.1} s ({rate:.0} a second){reused}",
                saved.dataset,
                saved.version,
                counted(saved.rows, "row"),
                finished.seconds
            ))
        }
        (None, Some(there)) => out.line(format!("nothing to compute; {there} is as it was")),
        (None, None) => Ok(()),
    }
}

/// Prints a few rows, and an estimate for all.
fn sampled(finished: &Finished, jobs: Option<u16>, out: &mut Output) -> Result<()> {
    for row in &finished.sample {
        match &row.answer {
            Ok(value) => out.line(format!("{}  {value}", row.label))?,
            Err(why) => out.line(format!("failed: {why}"))?,
        }
    }
    let rows = finished.sample.len() as f64;
    if rows > 0.0 {
        let each = finished.seconds / rows;
        let all = each * finished.of_rows as f64;
        let jobs = jobs.map_or_else(|| "as many jobs".to_owned(), |n| counted(n.into(), "job"));
        out.line(format!(
            "{:.0} ms a row; all {} would take about {} with {jobs} (measured on {})",
            each * 1000.0,
            counted(finished.of_rows, "row"),
            duration(all),
            counted(finished.sample.len() as u64, "row"),
        ))?;
    }
    out.line("nothing was saved; leave `--try` out and say `--as NAME`")
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Parses a [`Step`] from its name.
fn step() -> impl TypedValueParser<Value = Step> {
    let values = Step::ALL.map(|step| PossibleValue::new(step.name()).help(step.help()));
    PossibleValuesParser::new(values).try_map(|name| name.parse::<Step>())
}

/// Parses a part of the rows: `2/8`.
fn shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match numbers {
        Some((number, of)) if 1 <= number && number <= of => Ok(Shard { number, of }),
        _ => Err("write a part as `2/8`: from 1 up to the number of parts".into()),
    }
}

/// The last event.
fn told(finished: &Finished) -> Value {
    let rows: Vec<Value> = finished
        .sample
        .iter()
        .map(|row| {
            let value = |text: &String| {
                serde_json::from_str::<Value>(text).unwrap_or_else(|_| Value::from(text.clone()))
            };
            match &row.answer {
                Ok(text) => json!({ "id": row.row, "uri": row.label, "value": value(text) }),
                Err(why) => json!({ "id": row.row, "uri": row.label, "error": why }),
            }
        })
        .collect();
    let saved = finished.saved.as_ref();
    let unchanged = finished.unchanged.as_ref();
    let dataset = saved.map(|saved| saved.dataset.to_string());
    let version = saved.map(|saved| saved.version.to_string());
    let mut event = json!({
        "event": "done",
        "run": finished.run,
        "dataset": dataset.or_else(|| unchanged.map(|of| of.dataset.to_string())),
        "version": version.or_else(|| unchanged.map(|of| of.version.to_string())),
        "is_new": saved.is_some(),
        "rows": saved.map(|saved| saved.rows),
        "computed": finished.computed,
        "reused": finished.reused,
        "errors": finished.errors,
        "part": finished.part.map(|part| part.to_string()),
        "seconds": finished.seconds,
    });
    if let Some(counts) = finished.counts {
        event["delta"] = json!(counts);
    }
    if !rows.is_empty() {
        event["sample"] = rows.into();
    }
    event
}

/// The first signal stops the run after the rows in progress; the second ends it at once.
fn listen(stop: &watch::Sender<bool>) -> Result<signal_hook::iterator::Handle> {
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|e| Error::new(Kind::Broken, e))?;
    let handle = signals.handle();
    let stop = stop.clone();
    let work = move || {
        for (n, signal) in signals.forever().enumerate() {
            if n > 0 {
                map::kill_all();
                std::process::exit(128 + signal);
            }
            eprintln!("dcfs: stopping: rows in flight are finished; press again to stop at once");
            stop.send_replace(true);
        }
    };
    thread::Builder::new()
        .name("dcfs-signals".into())
        .spawn(work)
        .map_err(|error| Error::new(Kind::Broken, error))?;
    Ok(handle)
}

/// Progress reports of a run.
struct Telling {
    progress: Progress,
    writing: Progress,
    is_json: bool,
    last: std::sync::Mutex<(std::time::Instant, u64, u64)>,
}

impl Telling {
    fn new(is_json: bool) -> Self {
        let progress =
            if is_json { Progress::hidden(Unit::Rows) } else { Progress::new(Unit::Rows) };
        let last = std::sync::Mutex::new((std::time::Instant::now(), 0, 0));
        Self { progress, writing: Progress::hidden(Unit::Rows), is_json, last }
    }

    /// Prints an event. A closed pipe is no error: the run continues.
    fn event(event: &Value) {
        writeln!(io::stdout(), "{event}").ok();
    }
}

/// Time between two progress events.
const PACE: Duration = Duration::from_secs(1);

/// Time between two progress lines if stderr is not a terminal.
const SLOW: Duration = Duration::from_secs(60);

impl Watch for Telling {
    fn say(&self, what: &str) {
        match self.is_json {
            true => Self::event(&json!({ "event": "note", "message": what })),
            false => self.progress.say(what),
        }
    }

    fn begin(&self, run: &str, rows: u64, done: u64) {
        self.progress.set_total(rows);
        self.progress.reach(done);
        if self.is_json {
            Self::event(&json!({ "event": "start", "run": run, "rows": rows, "done": done }));
        } else if done > 0 {
            let left = counted(rows.saturating_sub(done), "row");
            self.progress.say(&format!("resuming: {} are done, {left} left", count(done)));
        }
    }

    fn rows(&self, rows: u64, bytes: u64, errors: u64) {
        self.progress.add_bytes(bytes);
        self.progress.add(rows);
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        last.1 += rows;
        last.2 += errors;
        let pace = if self.is_json { PACE } else { SLOW };
        if last.0.elapsed() < pace {
            return;
        }
        last.0 = std::time::Instant::now();
        if self.is_json {
            Self::event(&json!({ "event": "progress", "rows": last.1, "errors": last.2 }));
        } else if !self.progress.is_shown() {
            warn(format_args!("{} computed, {} failed", counted(last.1, "row"), count(last.2)));
        }
    }

    fn wrote(&self, rows: u64) {
        self.writing.reach(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        let cases = [(3.2, "3 s"), (600.0, "10 min"), (7200.0, "2.0 h")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}

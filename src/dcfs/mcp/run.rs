//! `run`: commands of dcfs that make datasets, as child processes. A run has an id at once, by which its state
//! can be queried.
//!
//! Only if the server was started with `--allow-write`: `map` and `gen` run any program that the client names.
//! A run continues when the client disconnects; results of `map` and `gen` up to then are in `dcfs runs`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::process::{Child, Command};

use super::answer::Answer;
use super::server::Server;
use super::{Flags, Setup};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::provenance::Provenance;
use dcfs_core::secrets::masked;
use dcfs_disk::private;

/// The resources that a command accesses, which determine the flags it gets from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Stores, through the cache.
    Stores,
    /// The catalog and its packs.
    Catalog,
    /// Files or other commands, which the server's flags cannot restrict: refused if the server has
    /// restrictions.
    Unbound,
}

/// Commands that make datasets, the flag that makes each do so, and the resources it accesses.
const COMMANDS: [(&str, &str, Reach); 11] = [
    ("index", "--save", Reach::Stores),
    ("load", "--as", Reach::Unbound),
    ("save", "--as", Reach::Catalog),
    ("map", "--as", Reach::Stores),
    ("gen", "--as", Reach::Stores),
    ("sql", "--as", Reach::Catalog),
    ("group", "--as", Reach::Catalog),
    ("merge", "--as", Reach::Catalog),
    ("union", "--as", Reach::Catalog),
    ("subtract", "--as", Reach::Catalog),
    ("refresh", "", Reach::Unbound),
];

/// Flags that select another catalog, or bypass the server's restrictions.
const REFUSED: [&str; 13] = [
    "--catalog",
    "--cache-dir",
    "--config",
    "--output",
    "-o",
    "--anon",
    "--profile",
    "--endpoint-url",
    "--region",
    "--request-payer",
    "--local-root",
    "--no-local-files",
    "--allow-uri",
];

/// Limit of rows for a trial run.
const MOST_TRIED: u32 = 100;

/// How long to wait for a new run, so that a short one takes one call; and for one that is queried by its id.
const PATIENCE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// Bytes at the end of a run's output that are shown.
const SHOWN: u64 = 4 << 10;

/// How long the output of a run is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Number of runs that a server remembers.
const MOST_RUNS: usize = 1000;

/// The arguments of `run`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    command: Option<Vec<String>>,
    #[serde(rename = "try")]
    tried: Option<u32>,
    id: Option<String>,
}

/// The runs of one server.
#[derive(Debug, Default)]
pub struct Runs(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Run>>>>);

#[derive(Debug)]
struct Run {
    id: String,
    command: String,
    child: Child,
    output: PathBuf,
    began: Instant,
    /// The exit status, and the duration.
    ended: Option<(ExitStatus, Duration)>,
}

/// Starts a run, or reports the state of one.
pub async fn answer(server: &Server, arguments: Arguments) -> Result<Answer> {
    let setup = server.setup();
    if !setup.may_write {
        let message = "this server only reads; a person starts it with `dcfs mcp --allow-write` to let it make datasets";
        return Err(Error::new(Kind::Denied, message));
    }
    let (run, patience) = match (arguments.command, arguments.id) {
        (Some(command), None) => {
            let words = words(&setup.flags, &command, arguments.tried)?;
            (server.runs().begin(&setup, words)?, PATIENCE[0])
        }
        (None, Some(id)) => (server.runs().find(&id)?, PATIENCE[1]),
        _ => return Err(wrong("give either `command`, to begin a run, or the `id` of one")),
    };
    run.lock().await.told(patience).await
}

/// The command line to run.
fn words(flags: &Flags, command: &[String], tried: Option<u32>) -> Result<Vec<String>> {
    // Accepts `["dcfs", "save", ...]` too.
    let command = match command {
        [first, rest @ ..] if first == "dcfs" && !rest.is_empty() => rest,
        command => command,
    };
    let Some((name, rest)) = command.split_first() else {
        return Err(wrong("`command` is empty"));
    };
    let Some((_, saves, reach)) = COMMANDS.iter().find(|(known, ..)| known == name) else {
        let known: Vec<&str> = COMMANDS.iter().map(|(name, ..)| *name).collect();
        return Err(wrong(&format!("`{name}` is none of {}", known.join(", "))));
    };
    // Arguments after `--` belong to the program.
    let own = rest.split(|word| word == "--").next().unwrap_or_default();
    let has =
        |flag: &str| own.iter().any(|word| *word == flag || word.starts_with(&format!("{flag}=")));
    // `-oFILE` is equivalent to `-o FILE`.
    let is_glued = |flag: &str| flag == "-o" && own.iter().any(|word| word.starts_with(flag));
    if let Some(flag) = REFUSED.iter().find(|flag| has(flag) || is_glued(flag)) {
        return Err(wrong(&format!(
            "`{flag}` is not for runs: they work on the catalog that is served, and reach what its server may reach"
        )));
    }
    if *reach == Reach::Unbound && !flags.limits.is_empty() {
        let message = format!(
            "`{name}` cannot be restricted as this server was ({}); a person runs it",
            masked(&flags.limits.join(" "))
        );
        return Err(Error::new(Kind::Denied, message));
    }
    let is_program = matches!(name.as_str(), "map" | "gen");
    if tried.is_some() && !is_program {
        return Err(wrong("`try` is for map and gen"));
    }
    if tried.is_some_and(|rows| !(1..=MOST_TRIED).contains(&rows)) {
        return Err(wrong(&format!("`try` is from 1 to {MOST_TRIED}")));
    }
    let is_tried = tried.is_some() || has("--try");
    if !saves.is_empty() && !has(saves) && !is_tried {
        return Err(wrong(&format!("a run makes a dataset: name it with `{saves} NAME`")));
    }
    let mut words = vec![name.clone()];
    words.extend(flags.catalog.iter().cloned());
    if *reach != Reach::Unbound {
        words.extend(flags.cache.iter().cloned());
    }
    if *reach == Reach::Stores {
        words.extend(flags.limits.iter().cloned());
        let is_said = |word: &String| has(word.split('=').next().unwrap_or_default());
        words.extend(flags.sizes.iter().filter(|word| !is_said(word)).cloned());
    }
    words.extend(tried.map(|rows| format!("--try={rows}")));
    words.extend(rest.iter().cloned());
    Ok(words)
}

impl Runs {
    fn begin(&self, setup: &Setup, words: Vec<String>) -> Result<Arc<tokio::sync::Mutex<Run>>> {
        let told = |error: std::io::Error| {
            Error::new(Kind::Broken, format!("cannot begin a run: {error}"))
        };
        private::folder(&setup.state)?;
        clear(&setup.state);
        // Locked until the run is registered, so that the limit cannot be exceeded.
        let mut runs = self.0.lock().unwrap_or_else(|error| error.into_inner());
        if runs.len() >= MOST_RUNS {
            runs.retain(|_, run| run.try_lock().map_or(true, |mut run| !run.is_over()));
        }
        if runs.len() >= MOST_RUNS {
            return Err(Error::new(Kind::Full, "too many runs; wait for some to end"));
        }
        let id = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
        let output = setup.state.join(format!("{id}.log"));
        let log = File::create_new(&output).map_err(told)?;
        let shown = std::iter::once("dcfs".to_owned()).chain(words.iter().cloned());
        let command = Provenance { command: shown.collect(), ..Provenance::default() }.script();
        let command = masked(&command);
        let child = Command::new(std::env::current_exe().map_err(told)?)
            .args(&words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(told)?)
            .stderr(log)
            // A signal to the client's process group must not reach the run.
            .process_group(0)
            .spawn()
            .map_err(told)?;
        let run =
            Run { id: id.clone(), command, child, output, began: Instant::now(), ended: None };
        let run = Arc::new(tokio::sync::Mutex::new(run));
        runs.insert(id, run.clone());
        Ok(run)
    }

    fn find(&self, id: &str) -> Result<Arc<tokio::sync::Mutex<Run>>> {
        let runs = self.0.lock().unwrap_or_else(|error| error.into_inner());
        runs.get(id).cloned().ok_or_else(|| {
            let message = format!(
                "no run `{id}` of this server; of runs of other servers that are not done, `dcfs runs` tells"
            );
            Error::new(Kind::Missing, message)
        })
    }
}

impl Run {
    /// Whether it has ended.
    fn is_over(&mut self) -> bool {
        self.ended.is_some() || !matches!(self.child.try_wait(), Ok(None))
    }

    /// The state of the run, after waiting for its end for a while.
    async fn told(&mut self, patience: Duration) -> Result<Answer> {
        if self.ended.is_none() {
            let waited = tokio::time::timeout(patience, self.child.wait()).await;
            if let Ok(status) = waited {
                let status = status.map_err(|error| Error::new(Kind::Broken, error))?;
                self.ended = Some((status, self.began.elapsed()));
            }
        }
        let (state, seconds) = match &self.ended {
            None => ("running", self.began.elapsed()),
            Some((status, after)) if status.success() => ("done", *after),
            Some((_, after)) => ("failed", *after),
        };
        let output = last(&self.output).unwrap_or_default();
        let next = match state {
            "running" => format!("; ask again with id {}", self.id),
            _ => String::new(),
        };
        let text = format!(
            "run {} is {state} after {:.1} s{next}\n{}\n{output}",
            self.id,
            seconds.as_secs_f64(),
            self.command
        );
        let code = self.ended.and_then(|(status, _)| status.code());
        Ok(Answer::text(text)
            .with("id", self.id.clone())
            .with("state", state)
            .with("exit_code", code)
            .with("seconds", seconds.as_secs_f64())
            .with("output", output))
    }
}

/// Removes outputs of runs that ended long ago. An output still being written has a recent mtime.
fn clear(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_old = |entry: &std::fs::DirEntry| {
        let changed = entry.metadata().ok().and_then(|found| found.modified().ok());
        changed.and_then(|changed| changed.elapsed().ok()).is_some_and(|age| age > KEPT)
    };
    for entry in entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "log")) {
        if is_old(&entry) {
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

/// The end of a run's output. Of lines overwritten by progress bars, only the last state.
fn last(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SHOWN)))?;
    let mut bytes = Vec::new();
    file.take(SHOWN).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines = text.lines().map(|line| line.rsplit('\r').next().unwrap_or_default());
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn wrong(message: &str) -> Error {
    Error::new(Kind::Invalid, message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(limits: &[&str]) -> Flags {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Flags {
            catalog: own(&["--catalog", "/c"]),
            cache: own(&["--cache-dir", "/x"]),
            limits: own(limits),
            sizes: own(&["--timeout=5000ms"]),
        }
    }

    fn run(limits: &[&str], command: &str, tried: Option<u32>) -> Result<String> {
        let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
        words(&flags(limits), &command, tried).map(|words| words.join(" "))
    }

    #[test]
    fn a_run_reaches_what_the_server_may_reach() {
        let cases = [
            (
                "index /d --save d",
                "index --catalog /c --cache-dir /x --anon --timeout=5000ms /d --save d",
            ),
            (
                "map d --as e --timeout 9s -- x --anon",
                "map --catalog /c --cache-dir /x --anon d --as e --timeout 9s -- x --anon",
            ),
            ("dcfs save d --as e", "save --catalog /c --cache-dir /x d --as e"),
        ];
        for (command, want) in cases {
            assert_eq!(run(&["--anon"], command, None).expect(command), want);
        }
        assert_eq!(
            run(&[], "refresh d", None).expect("bound by nothing"),
            "refresh --catalog /c d"
        );
        for command in ["refresh d", "load f --as d"] {
            assert!(run(&["--no-local-files"], command, None).is_err(), "{command}");
        }
        for flag in ["--region=x", "--local-root /", "--allow-uri s3://b", "-o f", "-of"] {
            assert!(run(&[], &format!("map d --as e {flag} -- x"), None).is_err(), "{flag}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for command in ["", "dcfs", "dcfs dcfs save d --as e", "save d", "rm d"] {
            assert!(run(&[], command, None).is_err(), "{command}");
        }
        for (tried, is_right) in [(0, false), (1, true), (100, true), (101, false)] {
            assert_eq!(run(&[], "map d -- x", Some(tried)).is_ok(), is_right, "{tried}");
        }
    }
}

//! `run`: commands of dcfs that make datasets, as processes of their own. A run has an id at once, and is asked for by it.
//!
//! Only where the server was started with `--allow-write`: `map` and `gen` run any program that the client names. A run
//! goes on when the client has gone; what `map` and `gen` have computed by then is in `dcfs runs`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::process::{Child, Command};

use super::Setup;
use super::answer::Answer;
use super::server::Server;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::provenance::Provenance;
use dcfs_disk::private;

/// Commands that make datasets, and the flag by which each is told to.
const COMMANDS: [(&str, &str); 11] = [
    ("index", "--save"),
    ("load", "--as"),
    ("save", "--as"),
    ("map", "--as"),
    ("gen", "--as"),
    ("sql", "--as"),
    ("group", "--as"),
    ("merge", "--as"),
    ("union", "--as"),
    ("subtract", "--as"),
    ("refresh", ""),
];

/// Flags that lead away from the catalog that is served.
const REFUSED: [&str; 5] = ["--catalog", "--cache-dir", "--config", "--output", "-o"];

/// How long a new run is waited for, so that a short one is one call, and one that is asked for by its id.
const PATIENCE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// Bytes of a run's output that are shown, its last.
const SHOWN: u64 = 4 << 10;

/// How long the output of a run is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Runs of one server that are remembered.
const MOST_RUNS: usize = 1000;

/// What may be asked.
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
    /// How it ended, and after how long.
    ended: Option<(ExitStatus, Duration)>,
}

/// Begins a run, or tells of one.
pub async fn answer(server: &Server, arguments: Arguments) -> Result<Answer> {
    let setup = server.setup();
    if !setup.may_write {
        let message = "this server only reads; a person starts it with `dcfs mcp --allow-write` to let it make datasets";
        return Err(Error::new(Kind::Denied, message));
    }
    let (run, patience) = match (arguments.command, arguments.id) {
        (Some(command), None) => {
            let words = words(&setup, &command, arguments.tried)?;
            (server.runs().begin(&setup, words)?, PATIENCE[0])
        }
        (None, Some(id)) => (server.runs().find(&id)?, PATIENCE[1]),
        _ => return Err(wrong("give either `command`, to begin a run, or the `id` of one")),
    };
    run.lock().await.told(patience).await
}

/// The command as it is run.
fn words(setup: &Setup, command: &[String], tried: Option<u32>) -> Result<Vec<String>> {
    let Some((name, rest)) = command.split_first() else {
        return Err(wrong("`command` is empty"));
    };
    // `["dcfs", "save", ...]` means what it says.
    if name == "dcfs" && !rest.is_empty() {
        return words(setup, rest, tried);
    }
    let Some((_, saves)) = COMMANDS.iter().find(|(known, _)| known == name) else {
        let known: Vec<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
        return Err(wrong(&format!("`{name}` is none of {}", known.join(", "))));
    };
    // What follows `--` belongs to the program.
    let own = rest.split(|word| word == "--").next().unwrap_or_default();
    let has =
        |flag: &str| own.iter().any(|word| *word == flag || word.starts_with(&format!("{flag}=")));
    if let Some(flag) = REFUSED.iter().find(|flag| has(flag)) {
        return Err(wrong(&format!(
            "`{flag}` is not for runs: they work on the catalog that is served"
        )));
    }
    let is_program = matches!(name.as_str(), "map" | "gen");
    if tried.is_some() && !is_program {
        return Err(wrong("`try` is for map and gen"));
    }
    let is_tried = tried.is_some() || has("--try");
    if !saves.is_empty() && !has(saves) && !is_tried {
        return Err(wrong(&format!("a run makes a dataset: name it with `{saves} NAME`")));
    }
    let mut words = vec![name.clone()];
    words.extend(setup.flags.iter().cloned());
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
        let id = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
        let output = setup.state.join(format!("{id}.log"));
        let log = File::create_new(&output).map_err(told)?;
        let shown = std::iter::once("dcfs".to_owned()).chain(words.iter().cloned());
        let command = Provenance { command: shown.collect(), ..Provenance::default() }.script();
        let child = Command::new(std::env::current_exe().map_err(told)?)
            .args(&words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(told)?)
            .stderr(log)
            // A signal to the client's group is not for the run.
            .process_group(0)
            .spawn()
            .map_err(told)?;
        let run =
            Run { id: id.clone(), command, child, output, began: Instant::now(), ended: None };
        let run = Arc::new(tokio::sync::Mutex::new(run));
        let mut runs = self.0.lock().unwrap_or_else(|error| error.into_inner());
        if runs.len() >= MOST_RUNS {
            return Err(Error::new(Kind::Full, "too many runs; start another server"));
        }
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
    /// How it stands, after waiting for its end for a while.
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

/// Removes outputs of runs that ended long ago. One that is still written to is young.
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

/// The end of a run's output. Where a line was written over, as bars of progress do, its last form.
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

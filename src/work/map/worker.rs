//! A worker: a long-running program that reads and writes lines of JSON (protocol version 1,
//! `docs/map.md`).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::{Duration, Instant};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::json;
use dcfs_core::schema::{Signal, signature};
use serde_json::Value;
use tokio::time::{sleep_until, timeout};

use super::each::LONGEST;
use super::engine::Shared;
use super::lines::Lines;
use super::process::{Log, Process, Started, ending};
use super::program::invalid;
use super::task::Task;

/// The version of the protocol.
const PROTOCOL: u64 = 1;

/// The most unanswered rows at a worker, in addition to two batches.
const WINDOW: usize = 64;

/// The rows at a worker should take about this long: it bounds the work lost by a kill, and the
/// delay after a signal.
const AHEAD: Duration = Duration::from_millis(100);

/// The assumed time per row, in seconds, until it is measured.
const SLOW: f64 = 0.05;

/// Deaths within [`MINUTE`] after which we give up.
const DEATHS: usize = 5;
const MINUTE: Duration = Duration::from_secs(60);

/// How long a worker may take to exit by itself, and then after SIGTERM.
const FAREWELL: Duration = Duration::from_secs(30);
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How long an incomplete batch waits for more rows while the worker is idle.
const LINGER: Duration = Duration::from_millis(100);

/// The most bytes of a malformed line that are shown.
const SHOWN: usize = 200;

/// The first message of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The types of its answers; `None` if not declared.
    pub out: Option<Vec<Signal>>,
    /// Why they are not declared, if known.
    pub why: Option<String>,
    /// For a function: whether it has a single column, which may be renamed.
    pub is_named: bool,
    /// Whether it gives many values per row.
    pub is_many: bool,
    /// Columns it requires, and columns it accepts if they exist.
    pub needs: Vec<String>,
    pub takes: Vec<String>,
    /// Whether it wants the file; `None` if not declared.
    pub wants_file: Option<bool>,
    /// The version of its Python.
    pub python: Option<String>,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    lines: Lines,
}

/// How a worker ended.
enum Ended {
    /// There is no more work.
    Well,
    /// It died, or was killed.
    Died(String),
}

impl Worker {
    /// Starts a worker and waits for its first line.
    ///
    /// # Errors
    /// It cannot be started; its first line is missing or malformed, or it refuses.
    pub async fn start(
        words: &[OsString],
        variables: &[(&str, String)],
        log: &Log,
        patience: Duration,
    ) -> Result<(Self, Hello)> {
        let Started::Well(mut process) = Process::start(words, variables, Stdio::piped(), log)?
        else {
            return Err(invalid("the worker's command line is longer than the system allows"));
        };
        let (stdin, stdout) = process.pipes();
        let mut worker = Self { process: *process, lines: Lines::new(stdin, stdout) };
        let stopped = |message: String| Error::new(Kind::Stopped, message);
        let first = match timeout(patience, worker.lines.next()).await {
            Err(_) => {
                let seconds = patience.as_secs_f64();
                let said = worker.process.said();
                return Err(stopped(format!(
                    "the worker did not say that it is ready within {seconds} s (`--start-timeout`); its first line is \
                     `{{\"dcfs\":1}}`{said}"
                )));
            }
            Ok(None) => {
                let status = worker.process.end().await;
                return Err(stopped(format!(
                    "the worker ended with {} before it said that it is ready{}",
                    ending(status),
                    worker.process.said()
                )));
            }
            Ok(Some(line)) => line.map_err(stopped)?,
        };
        let hello = hello(&first)?;
        Ok((worker, hello))
    }

    /// Passes the names of its columns to a Python function, and whether its rows have a time limit.
    pub fn name(&mut self, signals: &[Signal], is_limited: bool) {
        let names: Vec<&str> = signals.iter().map(|signal| signal.name.as_str()).collect();
        let line = serde_json::json!({ "names": names, "limited": is_limited }).to_string() + "\n";
        self.lines.say(line.as_bytes());
    }

    /// Lets it exit: there is no more work.
    async fn farewell(mut self) {
        self.lines.close();
        let ends = async {
            tokio::select! {
                _ = self.process.wait() => {}
                // It may still print more than a pipe holds.
                () = self.lines.drain() => drop(self.process.wait().await),
            }
        };
        if timeout(FAREWELL, ends).await.is_err() {
            self.process.terminate();
            timeout(LAST_WORDS, self.process.wait()).await.ok();
        }
    }
}

/// Parses the first line.
fn hello(line: &[u8]) -> Result<Hello> {
    let odd = || {
        Error::new(
            Kind::Stopped,
            format!("the first line of the worker is not `{{\"dcfs\":1}}`: `{}`", shown(line)),
        )
    };
    let told: Value = serde_json::from_slice(line).map_err(|_| odd())?;
    let version = told.get("dcfs").and_then(Value::as_u64).ok_or_else(odd)?;
    if version != PROTOCOL {
        return Err(Error::new(
            Kind::Stopped,
            format!(
                "the worker speaks version {version} of the protocol; this dcfs speaks {PROTOCOL}"
            ),
        ));
    }
    if let Some(why) = told.get("refused").and_then(Value::as_str) {
        return Err(invalid(why));
    }
    let names = |key: &str| -> Vec<String> {
        let items = told.get(key).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let out = match told.get("out") {
        Some(Value::Object(fields)) => Some(signature::of_json(fields)?),
        Some(Value::String(text)) if told.get("needs").is_none() => Some(signature::parse(text)?),
        _ => None,
    };
    // A function with an unusable annotation says why; if `--out` gives the types, that does not
    // matter.
    let why = match told.get("out") {
        Some(Value::String(why)) if out.is_none() => Some(why.clone()),
        _ => None,
    };
    Ok(Hello {
        out,
        why,
        is_named: told.get("needs").is_some(),
        is_many: told.get("gen").and_then(Value::as_bool).unwrap_or(false),
        needs: names("needs"),
        takes: names("wants"),
        wants_file: told.get("file").and_then(Value::as_bool),
        python: told.get("python").and_then(Value::as_str).map(str::to_owned),
    })
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).trim_end().to_owned()
}

/// Takes rows until there are none, and passes them to workers, one after another.
///
/// # Errors
/// Workers cannot be started, die repeatedly, or report that they cannot continue.
pub async fn work(shared: &Shared, mut first: Option<Worker>) -> Result<()> {
    let mut again: VecDeque<Task> = VecDeque::new();
    let mut deaths: VecDeque<Instant> = VecDeque::new();
    loop {
        let worker = match first.take() {
            Some(worker) => worker,
            None => {
                if again.is_empty() {
                    let Some(task) = shared.next().await else { return Ok(()) };
                    again.push_back(task);
                }
                let patience = shared.start_timeout;
                let (mut worker, _) =
                    Worker::start(&shared.words, &shared.variables, &shared.log, patience).await?;
                if shared.is_function {
                    worker.name(&shared.types.signals, shared.row_timeout.is_some());
                }
                worker
            }
        };
        let mut desk = Desk {
            worker,
            in_flight: VecDeque::new(),
            again: &mut again,
            last: Instant::now(),
            each: SLOW,
            has_answered: false,
        };
        match desk.attend(shared).await? {
            Ended::Well => {
                desk.worker.farewell().await;
                return Ok(());
            }
            Ended::Died(why) => {
                desk.worker.process.kill();
                let held = std::mem::take(&mut desk.in_flight);
                // A program that answers is not hopeless, whatever some rows do to it.
                if std::mem::take(&mut desk.has_answered) {
                    deaths.clear();
                }
                drop(desk);
                let is_blamed = lost(shared, held, &why, &mut again).await;
                let now = Instant::now();
                if !is_blamed {
                    deaths.push_back(now);
                }
                deaths.retain(|death| now.duration_since(*death) < MINUTE);
                if deaths.len() > DEATHS {
                    let message = format!("workers died {} times in a minute: {why}", deaths.len());
                    return Err(Error::new(Kind::Stopped, message));
                }
            }
        }
    }
}

/// Retries the rows of a dead worker once more, one by one; a row that was alone with it twice is
/// what killed it. Returns whether there was one.
async fn lost(
    shared: &Shared,
    held: VecDeque<Held>,
    why: &str,
    again: &mut VecDeque<Task>,
) -> bool {
    let was_alone = held.len() == 1;
    let mut is_blamed = false;
    for mut held in held {
        held.task.tries += 1;
        if was_alone && held.task.tries >= shared.tries.max(2) {
            shared.done(held.task.failed(why)).await;
            is_blamed = true;
        } else {
            again.push_back(held.task);
        }
    }
    is_blamed
}

/// A row waiting for its answer.
struct Held {
    task: Task,
    since: Instant,
    /// The values so far, for a row with many.
    values: Vec<u8>,
}

/// A worker and its rows.
struct Desk<'d> {
    worker: Worker,
    in_flight: VecDeque<Held>,
    /// Rows to be retried, one at a time.
    again: &'d mut VecDeque<Task>,
    /// The time of its last answer.
    last: Instant,
    /// The approximate time per row, in seconds.
    each: f64,
    has_answered: bool,
}

impl Desk<'_> {
    async fn attend(&mut self, shared: &Shared) -> Result<Ended> {
        let mut waiting: Vec<Task> = Vec::new();
        let mut is_over = false;
        loop {
            let window = self.window(shared.batch);
            if self.in_flight.is_empty() && waiting.is_empty() && !shared.is_stopping() {
                if let Some(task) = self.again.pop_front() {
                    self.send(shared, vec![task]);
                } else if is_over {
                    return Ok(Ended::Well);
                }
            }
            if shared.is_stopping() && self.in_flight.is_empty() {
                return Ok(Ended::Well);
            }
            // Half of the window at once: a single row costs as many system calls.
            let has_room = self.again.is_empty()
                && !is_over
                && !shared.is_stopping()
                && self.in_flight.len() <= window / 2
                && self.in_flight.len() + waiting.len() < window;
            let is_idle = self.in_flight.is_empty() && !waiting.is_empty();
            let late = shared
                .row_timeout
                .zip(self.in_flight.front())
                .map(|(limit, held)| held.since.max(self.last) + limit);
            tokio::select! {
                biased;
                line = self.worker.lines.next() => match line {
                    None => {
                        let status = self.worker.process.end().await;
                        let said = self.worker.process.said();
                        self.in_flight.extend(waiting.drain(..).map(held));
                        return Ok(Ended::Died(format!("killed the worker ({}){said}", ending(status))));
                    }
                    Some(line) => {
                        let mut line = Some(line);
                        let sent = self.in_flight.front().map(|held| held.since);
                        let mut count = 0;
                        while let Some(told) = line {
                            count += 1;
                            let told = match told {
                                Ok(line) => self.answer(shared, &line).await?,
                                Err(why) => Err(why),
                            };
                            if let Err(why) = told {
                                self.in_flight.extend(waiting.drain(..).map(held));
                                return Ok(Ended::Died(why));
                            }
                            line = self.worker.lines.ready().map(Ok);
                        }
                        self.note(sent, count);
                    }
                },
                task = shared.next(), if has_room => match task {
                    None => is_over = true,
                    Some(task) => {
                        waiting.push(task);
                        while self.in_flight.len() + waiting.len() < window
                            && let Some(task) = shared.next_now()
                        {
                            waiting.push(task);
                        }
                    }
                },
                () = wait(Some(Instant::now() + LINGER)), if is_idle => {
                    self.send(shared, std::mem::take(&mut waiting));
                    continue;
                },
                () = wait(late), if late.is_some() => {
                    let limit = shared.row_timeout.unwrap_or_default().as_secs_f64();
                    let why = format!("took longer than {limit} s (`--row-timeout`)");
                    // In a batch it is unknown which row is slow: each is then tried alone.
                    if shared.batch == 1 || self.in_flight.len() == 1 {
                        if let Some(Held { mut task, .. }) = self.in_flight.pop_front() {
                            task.tries += 1;
                            match task.tries >= shared.tries {
                                true => shared.done(task.failed(&why)).await,
                                false => self.again.push_back(task),
                            }
                        }
                        self.has_answered = true;
                    }
                    self.in_flight.extend(waiting.drain(..).map(held));
                    // The others are innocent.
                    let rest = std::mem::take(&mut self.in_flight);
                    self.again.extend(rest.into_iter().map(|held| held.task));
                    return Ok(Ended::Died("a row took too long".into()));
                },
                () = shared.stopping(), if !shared.is_stopping() => {
                    waiting.clear();
                }
            }
            while waiting.len() >= shared.batch || is_over && !waiting.is_empty() {
                let rest = waiting.split_off(shared.batch.min(waiting.len()));
                self.send(shared, std::mem::replace(&mut waiting, rest));
            }
        }
    }

    /// The number of rows that may be at the worker, given its speed.
    fn window(&self, batch: usize) -> usize {
        let fast = AHEAD.as_secs_f64() / self.each.max(1e-6);
        2 * batch + (fast as usize).min(WINDOW)
    }

    /// Records the time of `count` answers that came together; the first of their rows was sent at `sent`.
    fn note(&mut self, sent: Option<Instant>, count: u32) {
        let now = Instant::now();
        let began = sent.map_or(now, |sent| sent.max(self.last));
        let took = now.saturating_duration_since(began).as_secs_f64() / f64::from(count);
        self.each += (took - self.each) * (f64::from(count) / 8.0).min(1.0);
        self.last = now;
    }

    /// Sends rows to the worker.
    fn send(&mut self, shared: &Shared, tasks: Vec<Task>) {
        let mut request = Vec::new();
        let is_batch = shared.batch > 1;
        if is_batch {
            request.extend_from_slice(b"{\"rows\":[");
        }
        for (at, task) in tasks.iter().enumerate() {
            if at > 0 {
                request.push(b',');
            }
            task.request(&mut request);
        }
        request.extend_from_slice(if is_batch { b"]}\n" } else { b"\n" });
        self.worker.lines.say(&request);
        self.in_flight.extend(tasks.into_iter().map(held));
    }

    /// Takes an answer: the outer error is the worker's report that it cannot continue, the inner
    /// one a malformed line.
    async fn answer(&mut self, shared: &Shared, line: &[u8]) -> Result<Result<(), String>> {
        let odd = |what: &str| format!("the worker answered {what}: `{}`", shown(line));
        let Some(fields) = json::fields(line.trim_ascii()) else {
            return Ok(Err(odd("no JSON")));
        };
        let field =
            |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        let text = |name: &str| field(name).and_then(json::text);
        if text("kind").as_deref() == Some("fatal") {
            let why = text("error").unwrap_or_default();
            return Err(Error::new(Kind::Stopped, format!("the worker cannot go on: {why}")));
        }
        let id = field("id").and_then(|id| std::str::from_utf8(id).ok()?.parse::<i64>().ok());
        let Some(at) =
            id.and_then(|id| self.in_flight.iter().position(|held| held.task.id.key() == id))
        else {
            return Ok(Err(odd("for a row that it does not have")));
        };
        if let Some(error) = text("error") {
            if let Some(Held { mut task, .. }) = self.in_flight.remove(at) {
                task.tries += 1;
                match task.tries >= shared.tries {
                    true => shared.done(task.failed(&error)).await,
                    false => self.again.push_back(task),
                }
            }
            return Ok(Ok(()));
        }
        let value = match (field("value"), field("values")) {
            (Some(value), _) if !shared.types.is_many => value.to_vec(),
            (_, Some(values)) if shared.types.is_many => {
                let held = &mut self.in_flight[at];
                let inner = values.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
                let Some(inner) = inner else { return Ok(Err(odd("no list of values"))) };
                if !held.values.is_empty() && !inner.trim_ascii().is_empty() {
                    held.values.push(b',');
                }
                held.values.extend_from_slice(inner.trim_ascii());
                if held.values.len() > LONGEST {
                    return Ok(Err(format!("answered more than {} MiB for a row", LONGEST >> 20)));
                }
                if field("more") == Some(b"true") {
                    return Ok(Ok(()));
                }
                [b"[", &held.values[..], b"]"].concat()
            }
            (_, Some(_)) => {
                return Ok(Err(odd(
                    "many values for a row; `dcfs gen` takes them, and `dcfs agg` of a worker that says `\"gen\":true`",
                )));
            }
            _ if shared.types.is_many => return Ok(Err(odd("without `values`"))),
            _ => return Ok(Err(odd("neither `value` nor `error`"))),
        };
        self.has_answered = true;
        if let Some(held) = self.in_flight.remove(at) {
            shared.done(held.task.answered(&shared.types, value)).await;
        }
        Ok(Ok(()))
    }
}

fn held(task: Task) -> Held {
    Held { task, since: Instant::now(), values: Vec::new() }
}

async fn wait(until: Option<Instant>) {
    if let Some(until) = until {
        sleep_until(until.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_says_what_it_is() {
        let said = br#"{"dcfs":1,"out":{"f":"int"},"gen":false,"needs":["a"],"wants":[],"file":true,"python":"3.11"}"#;
        let told = hello(said).expect("a hello");
        assert_eq!(
            (told.needs, told.wants_file, told.is_named),
            (vec!["a".into()], Some(true), true)
        );
        assert_eq!(told.out.expect("types").len(), 1);
        assert_eq!(hello(b"{\"dcfs\":1}\n").expect("a hello"), Hello::default());
        let cases: [(&[u8], &str); 4] = [
            (b"Loading model...\n", "the first line of the worker is not"),
            (b"{\"dcfs\":2}", "version 2"),
            (b"{\"dcfs\":1,\"refused\":\"no such function\"}", "no such function"),
            (b"{\"dcfs\":1,\"out\":{\"a\":\"integer\"}}", "`integer` is not a type"),
        ];
        for (line, want) in cases {
            let told = hello(line).expect_err("refused").to_string();
            assert!(told.contains(want), "{told}");
        }
    }
}

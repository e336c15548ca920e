//! One run, from its beginning to its version: resumes an earlier one, passes rows to the program,
//! and records how it ended.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Instant;

use dcfs_core::error::{Error, Kind, Result};
use dcfs_data::catalog::{JobEnd, NewJob, VersionInfo, Writer};
use dcfs_data::runs::{self, About, RunFile, State};
use tokio::sync::mpsc;

use super::engine::{self, Fetching, Shared, Way};
use super::feed::{self, Wanted};
use super::identity::{self, Recipe, short};
use super::keeper::{Keeping, Policy};
use super::local::Folder;
use super::plan::{self, Plan, Rows};
use super::process::Log;
use super::program::{self, Call, Program};
use super::publish;
use super::worker::{Hello, Worker};
use super::{Desk, Edited, Finished, Input, Request, Shape, group};

/// Runs a program over the rows of a version.
///
/// # Errors
/// `Stopped` if the program failed, `Interrupted` if a person stopped it: finished work is kept,
/// and the same call resumes it.
pub fn run(desk: &Desk<'_>, input: &Input<'_>, request: &Request) -> Result<Finished> {
    let began = Instant::now();
    let program = match request.step {
        Some(step) => Program::step(step, &request.words)?,
        None => {
            let how = (request.stays, request.stdin);
            Program::new(request.words.clone(), how, &request.depends)?
        }
    };
    let id = uuid::Uuid::new_v4().to_string();
    let folder = Arc::new(Folder::new(&desk.cache, &id)?);
    let calling = Calling::new(&program, &folder, &id)?;
    // A worker declares its types, so the first one is started before anything is decided.
    let log = Log::default();
    let (mut first, hello) = match calling.stays {
        false => (None, Hello::default()),
        true => {
            let patience = request.start_timeout;
            let start = Worker::start(&calling.words, &calling.variables, &log, patience);
            let mut stop = desk.stop.subscribe();
            let (worker, hello) = desk.runtime.block_on(async {
                tokio::select! {
                    started = start => started,
                    _ = stop.wait_for(|stop| *stop) => Err(Error::new(Kind::Interrupted, "stopped")),
                }
            })?;
            (Some(worker), hello)
        }
    };
    let plan = Plan::new(input, request, &program, &hello)?;
    if let Some(worker) = first.as_mut().filter(|_| calling.is_function) {
        worker.name(&plan.types.signals, request.row_timeout.is_some());
    }
    let mut work = Work { desk, input, request, program, calling, plan, folder, first, log, began };
    if request.sample.is_some() {
        return work.sample();
    }
    work.whole(&id, &hello)
}

/// How the program is called.
struct Calling {
    words: Vec<OsString>,
    variables: Vec<(&'static str, String)>,
    stays: bool,
    is_function: bool,
}

impl Calling {
    fn new(program: &Program, folder: &Folder, id: &str) -> Result<Self> {
        let mut variables = vec![("DCFS_RUN", id.to_owned())];
        let (mut stays, mut is_function) = (false, false);
        let words = match &program.call {
            Call::Each { .. } | Call::Step(_) => program.words.clone(),
            Call::Stays => {
                stays = true;
                program.words.clone()
            }
            Call::Function { file, function } => {
                (stays, is_function) = (true, true);
                let shim = folder.path().join("dcfs_shim.py");
                std::fs::write(&shim, program::SHIM)
                    .map_err(|error| Error::new(Kind::Broken, error))?;
                let mut word = file.clone().into_os_string();
                word.push(format!(":{function}"));
                vec![program.words[0].clone(), shim.into_os_string(), word]
            }
        };
        if stays {
            variables.push(("DCFS_PROTOCOL", "1".to_owned()));
        }
        Ok(Self { words, variables, stays, is_function })
    }
}

/// A run in progress.
struct Work<'w> {
    desk: &'w Desk<'w>,
    input: &'w Input<'w>,
    request: &'w Request,
    program: Program,
    calling: Calling,
    plan: Plan,
    folder: Arc<Folder>,
    first: Option<Worker>,
    log: Log,
    began: Instant,
}

impl Work<'_> {
    /// Computes a few rows, which are shown and not stored.
    fn sample(&mut self) -> Result<Finished> {
        let most = self.request.sample.unwrap_or(0);
        let mut keeping = Keeping::sample(usize::try_from(most).unwrap_or(usize::MAX));
        let rows = match self.request.shape {
            Shape::Agg => {
                plan::rows(self.input, self.request, &self.plan, (None, None), ("", &self.folder))?
            }
            Shape::Map | Shape::Gen => Rows::All,
        };
        let began = Instant::now();
        self.compute(&rows, &roaring::RoaringTreemap::new(), most, &mut keeping)?;
        let seconds = began.elapsed().as_secs_f64();
        let errors = keeping.errors;
        let file = self.plan.file.as_ref().filter(|_| !matches!(rows, Rows::Groups(_)));
        let mut sample = keeping.into_sample(&self.input.catalog, &self.input.of, file)?;
        if let Rows::Groups(groups) = &rows {
            for sampled in &mut sample {
                sampled.label = groups.name(sampled.row).unwrap_or_default().to_owned();
            }
        }
        Ok(Finished {
            computed: sample.len() as u64,
            errors,
            seconds,
            sample,
            of_rows: rows.count(self.input.rows),
            ..Finished::default()
        })
    }

    /// Computes all rows, and makes the version.
    fn whole(&mut self, id: &str, hello: &Hello) -> Result<Finished> {
        let request = self.request;
        let database = self.input.catalog.path().to_owned();
        let mut writer = Writer::open(&database)?;
        writer.check_name(&request.name)?;
        writer.check_number(&request.name, request.number)?;
        let digest = self.program.digest()?;
        let last = self.input.catalog.latest(&request.name)?;
        let made = match &last {
            Some(last) => Recipe::of(self.input.catalog.details(last)?.provenance.as_ref()),
            None => None,
        };
        close_dead(&mut writer, &database);
        if let Some(there) = self.is_there(last.as_ref(), made.as_ref(), &digest) {
            return Ok(Finished { unchanged: Some(there), ..Finished::default() });
        }
        let rows = plan::rows(
            self.input,
            request,
            &self.plan,
            (last.as_ref(), made.as_ref()),
            (&digest, &self.folder),
        )?;
        if let (Rows::Delta(delta), Some(last)) = (&rows, &last)
            && delta.counts.is_nothing()
        {
            let counts = Some(delta.counts);
            return Ok(Finished { unchanged: Some(last.clone()), counts, ..Finished::default() });
        }
        let total = rows.count(self.input.rows);
        let total = request.shard.map_or(total, |shard| total / u64::from(shard.of));
        if total == 0
            && request.shard.is_none()
            && !matches!(rows, Rows::Delta(_))
            && !request.allow_empty
        {
            return Err(Error::new(
                Kind::Invalid,
                "there are no rows, so nothing was made; `--allow-empty` makes a version without rows",
            ));
        }
        let mut run = self.begin(id, total, &digest)?;
        let done = run.done(false)?;
        let about = run.about()?;
        self.log.lock().unwrap_or_else(PoisonError::into_inner).goes_to(Box::new(run.log()?));
        let job = format!("dcfs {} {}", request.shape.text(), request.name.whole());
        let query = self.query();
        let python = hello.python.as_deref();
        writer.begin_job(&NewJob { id: &about.id, name: &job, query: &query, python })?;
        drop(writer);
        self.desk.watch.begin(&about.id, total, done.len());
        let reused = done.len();
        let policy = Policy::new(request, total);
        let mut keeping = Keeping::new((&mut run, self.desk.watch, &self.desk.stop), policy);
        let computed = self.compute(&rows, &done, u64::MAX, &mut keeping);
        let (count, errors, first_errors) =
            (keeping.rows, keeping.errors, std::mem::take(&mut keeping.first_errors));
        let stopped = keeping.why.take();
        drop(keeping);
        let ended = match (computed, stopped) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(why)) => Err(why),
            (Ok(()), None) if *self.desk.stop.borrow() => {
                Err(Error::new(Kind::Interrupted, "stopped"))
            }
            (Ok(()), None) => Ok(()),
        };
        if let Err(error) = ended {
            return Err(self.stopped(&run, &database, error));
        }
        let seconds = self.began.elapsed().as_secs_f64();
        if let Some(part) = request.shard {
            run.ended(runs::PART_DONE)?;
            Writer::open(&database)?.end_job(&about.id, JobEnd::Complete)?;
            let (run, part) = (about.id, Some(part));
            return Ok(Finished {
                run,
                part,
                computed: count,
                reused,
                errors,
                first_errors,
                seconds,
                ..Finished::default()
            });
        }
        let publishing = publish::Publishing {
            input: self.input,
            request,
            plan: &self.plan,
            rows: &rows,
            last: last.as_ref(),
            made: made.as_ref(),
            digest: &digest,
            run: &run,
            program: self.program.name(),
            query: &query,
            done: (count, reused, seconds),
            watch: self.desk.watch,
        };
        let saved = match publish::publish(&publishing) {
            Ok(saved) => saved,
            Err(error) => return Err(self.stopped(&run, &database, error)),
        };
        let all_errors = run.done(true)?.len();
        let run_id = about.id;
        run.remove();
        for part in self.parts(&request.name.whole()) {
            runs::remove(&part).ok();
        }
        Ok(Finished {
            run: run_id,
            saved: Some(saved),
            computed: count,
            reused,
            errors: errors.max(all_errors),
            first_errors,
            counts: match &rows {
                Rows::Delta(delta) => Some(delta.counts),
                _ => None,
            },
            seconds,
            of_rows: total,
            ..Finished::default()
        })
    }

    /// The version that this call would make, if it is the latest already.
    fn is_there(
        &self,
        last: Option<&VersionInfo>,
        made: Option<&Recipe>,
        digest: &str,
    ) -> Option<VersionInfo> {
        let request = self.request;
        let made = made.filter(|made| made.identity == self.plan.identity.hash())?;
        let is_same = made.latest() == Some(digest) || request.edited == Some(Edited::Keep);
        let is_asked_again =
            request.edited == Some(Edited::Fresh) || request.retry_errors && made.errors > 0;
        last.filter(|_| is_same && !is_asked_again).cloned()
    }

    /// The run that this call resumes, or a new one.
    fn begin(&self, id: &str, total: u64, digest: &str) -> Result<RunFile> {
        let (request, watch) = (self.request, self.desk.watch);
        let identity = self.plan.identity.hash();
        let database = self.input.catalog.path();
        let name = request.name.whole();
        // If two processes start the same run at once, the second finds the first at work.
        let _turn = runs::turn(database)?;
        let parts = if request.shard.is_none() { self.parts(&name) } else { Vec::new() };
        for found in runs::list(database) {
            if found.about.name != name || found.about.shard != request.shard {
                continue;
            }
            if found.state == State::Running {
                let About { id, pid, host, .. } = &found.about;
                let message = format!(
                    "run {} makes `{}` already: process {pid} on {host}; `dcfs runs {}` shows it",
                    short(id),
                    request.name,
                    short(id)
                );
                return Err(Error::new(Kind::Busy, message));
            }
            if found.about.identity != identity {
                watch.say(&identity::why_anew(&self.plan.identity, &found.about));
                continue;
            }
            let Some(mut run) = RunFile::go_on(&found.path, id)? else {
                let message = format!(
                    "run {} was just taken by another process; try again",
                    short(&found.about.id)
                );
                return Err(Error::new(Kind::Busy, message));
            };
            // A run started with `--fresh` is resumed.
            if request.edited == Some(Edited::Fresh) && !found.about.is_fresh {
                watch.say("`--fresh`: all rows are computed again");
                run.forget_rows(false)?;
                run.is_fresh()?;
            } else if request.retry_errors || !request.keeps_errors {
                run.forget_rows(true)?;
            }
            for part in &parts {
                run.take_over(&part.path)?;
            }
            let before = run.programs()?;
            if let Some(other) = before.iter().find(|made| made.digest != digest) {
                watch.say(&format!(
                    "the program changed: {} of {} rows were computed by another one ({}) and stay; `--fresh` computes all \
                     again",
                    other.rows,
                    total,
                    short(&other.digest)
                ));
            }
            run.made_by(digest)?;
            return Ok(run);
        }
        let about = About {
            id: id.to_owned(),
            kind: request.shape.text().to_owned(),
            name,
            identity,
            parts: self.plan.identity.0.clone(),
            input: self.input.of.to_string(),
            rows: total,
            command: request.provenance.script(),
            host: request.provenance.host.clone().unwrap_or_default(),
            pid: std::process::id(),
            started: dcfs_core::time::Timestamp::of_system(std::time::SystemTime::now()).rfc3339(),
            words: request.provenance.command.clone(),
            folder: request.provenance.folder.clone(),
            shard: request.shard,
            is_fresh: request.edited == Some(Edited::Fresh),
        };
        let mut run = RunFile::create(database, &about)?;
        for part in &parts {
            run.take_over(&part.path)?;
        }
        run.made_by(digest)?;
        Ok(run)
    }

    /// The finished shards of this computation.
    fn parts(&self, name: &str) -> Vec<runs::Found> {
        let identity = self.plan.identity.hash();
        let mut parts = runs::list(self.input.catalog.path());
        parts.retain(|found| {
            found.about.name == name && found.about.identity == identity && found.is_done_part()
        });
        parts
    }

    /// The command, followed by the text of the program if it is a script.
    fn query(&self) -> String {
        let script = self.request.provenance.script();
        match self.program.text() {
            Some(text) => format!("{script}\n\n{text}"),
            None => script,
        }
    }

    /// Records that a run ended early, and adds to the error how to resume it.
    fn stopped(&self, run: &RunFile, database: &Path, error: Error) -> Error {
        let kept = run.done(false).map_or(0, |done| done.len());
        let about = run.about().unwrap_or_default();
        let is_person = error.kind() == Kind::Interrupted;
        let message = error.to_string();
        run.ended(if is_person { "stopped by a person" } else { &message }).ok();
        let (first, rest) = message.split_once('\n').unwrap_or((&message, ""));
        let how = match is_person {
            true => JobEnd::Canceled,
            false => JobEnd::Failed { message: first, stack: rest },
        };
        let noted = Writer::open(database).and_then(|mut writer| writer.end_job(&about.id, how));
        if let Err(error) = noted {
            tracing::debug!(%error, "the end of a job is not noted");
        }
        let kind = match error.kind() {
            Kind::Interrupted | Kind::Invalid => error.kind(),
            // Also for a lock that others held all the time: code 4 is for a run that did not begin.
            _ => Kind::Stopped,
        };
        if !run.path().exists() {
            let message =
                format!("{message}\nthe run's file was removed meanwhile, and what it kept");
            return Error::new(kind, message);
        }
        let kept = dcfs_core::render::numbers::counted(kept, "row");
        Error::new(
            kind,
            format!(
                "{message}\nrun {} keeps {kept} of {}; the same command goes on",
                short(&about.id),
                about.rows
            ),
        )
    }

    /// Passes the rows that are not `done` to the program.
    fn compute(
        &mut self,
        rows: &Rows,
        done: &roaring::RoaringTreemap,
        most: u64,
        keeping: &mut Keeping<'_>,
    ) -> Result<()> {
        let (request, plan) = (self.request, &self.plan);
        let (ready_to, ready, results_to, results) = engine::channels(request.prefetch);
        let (rows_to, rows_from) = mpsc::channel(2);
        let way = match &self.program.call {
            Call::Each { stdin } => Way::Each { words: plan.words.clone(), stdin: *stdin },
            Call::Step(step) => Way::Step(*step),
            _ => Way::Stays(self.first.take().map(Box::new)),
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let jobs = request.jobs.unwrap_or(if self.calling.stays { 1 } else { cores });
        let shared = Arc::new(Shared {
            words: self.calling.words.clone(),
            variables: self.calling.variables.clone(),
            is_function: self.calling.is_function,
            types: plan.types.clone(),
            batch: request.batch,
            tries: request.tries,
            row_timeout: request.row_timeout,
            start_timeout: request.start_timeout,
            log: Arc::clone(&self.log),
            stop: self.desk.stop.subscribe(),
            ready: tokio::sync::Mutex::new(ready),
            results: results_to.clone(),
        });
        let fetching = Arc::new(Fetching {
            stores: Arc::clone(&self.desk.stores),
            folder: Arc::clone(&self.folder),
            ahead: request.prefetch,
            needs_file: plan.needs_bytes,
        });
        let wanted =
            Wanted::new(&self.input.schema, plan.file.clone(), &plan.columns, request.shard)?;
        let (desk, input) = (self.desk, self.input);
        thread::scope(|scope| {
            let feeding = scope.spawn(move || {
                let of = (&*input.catalog, &input.of);
                if let Rows::Groups(groups) = rows {
                    return group::feed(of, &wanted, groups, (done, most), &rows_to);
                }
                let mut ranges = rows.ranges(&input.chosen)?;
                feed::feed(of, &wanted, &mut ranges, (done, most), &rows_to)
            });
            let ran = desk.runtime.block_on(async {
                let prepare = engine::prepare(rows_from, fetching, ready_to, results_to);
                let prepare = tokio::spawn(prepare);
                let ran = engine::run(shared, way, jobs, &desk.stop, results, keeping).await;
                // Rows not handed out yet are no longer wanted; this also ends the feeder.
                prepare.abort();
                ran
            });
            let fed = feeding.join().unwrap_or_else(|_| {
                Err(Error::new(Kind::Broken, "the thread that reads rows panicked"))
            });
            ran.and_then(|()| match fed {
                Err(error) if feed::is_gone(&error) => Err(Error::new(
                    Kind::Stopped,
                    format!("`{}` was removed while its rows were computed", input.of),
                )),
                fed => fed,
            })
        })
    }
}

/// Records the end of jobs whose runs died.
fn close_dead(writer: &mut Writer, database: &Path) {
    for found in runs::list(database) {
        if found.state == State::Dead {
            let how = JobEnd::Failed { message: "ended without a word", stack: "" };
            writer.end_job(&found.about.id, how).ok();
        }
    }
}

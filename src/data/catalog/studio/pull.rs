//! The rows of a version, pulled as DataChain's `dataset pull` does: an export, its parts, a table.
//!
//! Parts that arrived are kept in `parts/`, so that a pull that was interrupted goes on with the same export. Rows become a catalog
//! of their own, made aside and named with one rename when it is complete: nobody sees a half. One process at a time pulls a
//! version, under a lock that dies with it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dcfs_core::cancel;
use dcfs_core::cell::OwnedCell;
use dcfs_core::name::DatasetName;
use dcfs_core::provenance::Provenance;
use dcfs_core::schema::Layout;
use dcfs_disk::{private, regular};
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;

use super::error::StudioError;
use super::http::{self, Api, Failure};
use super::part::{self, Column, Part, Wrong};
use super::{Studio, folder};
use crate::catalog::error::Error;
use crate::catalog::split::error::line;
use crate::catalog::warehouse::SchemaTexts;
use crate::catalog::{Copied, Number, Publication, VersionInfo, Writer};
use crate::parquet_file::Fault;

/// Parts fetched at the same time, as DataChain does.
const AT_ONCE: usize = 5;

/// The pause until a part that is not there yet is asked for again, and the longest such pause.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(2);

/// How often the status of an export is asked for, and how long an export may stand still.
const STATUS: Duration = Duration::from_secs(20);
const STILL: Duration = Duration::from_secs(3600);

/// How long a part may be missing after Studio says that the export is complete.
const COMPLETE: Duration = Duration::from_secs(10);

/// The most parts, and the longest link to one.
const MOST_PARTS: usize = 100_000;
const LONGEST_LINK: usize = 16 << 10;

/// Rows handed over at a time, and their size.
const ROWS: usize = 1024;
const BYTES: usize = 8 << 20;

/// The name of the only dataset in the catalog of a version.
const NAME: &str = "rows";

/// The file of a version's rows, pulled if it is not there.
///
/// # Errors
/// Errors of the server and of its store; parts that are not what the schema says; a full disk. Nothing of the version is to be
/// seen then.
pub(super) fn rows(
    studio: &Studio,
    of: &VersionInfo,
    dataset: &DatasetName,
    texts: SchemaTexts,
) -> Result<PathBuf, Error> {
    let name = folder::of_version(&of.uuid);
    let done = studio.folder.join(folder::VERSIONS).join(&name);
    let _lock = patiently(&studio.folder, &name, of)?;
    if !done.join("db").exists() {
        let pull = Pull::new(studio, of, texts, &name)?;
        tracing::info!(version = %of, rows = of.rows, "pulling from Studio");
        let parts = pull.fetch(dataset)?;
        pull.build(parts)?;
        // Somebody may have removed the file alone.
        fs::remove_dir_all(&done).ok();
        let placed = fs::rename(pull.building(), &done);
        placed.map_err(|cause| pull.disk(cause))?;
        fs::remove_dir_all(&pull.folder).ok();
        tracing::info!(version = %of, "pulled from Studio");
    }
    Ok(done.join("db"))
}

/// The lock of a version; `None` if another process holds it.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn lock(folder: &Path, name: &str) -> Result<Option<Flock<File>>, Error> {
    let path = folder.join(folder::LOCKS).join(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    let opened = regular::open_with(&options, &path);
    let file = opened.map_err(|cause| Error::NotReachable { path: path.clone(), cause })?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(held)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(Error::NotReachable { path, cause: error.into() }),
    }
}

fn patiently(folder: &Path, name: &str, of: &VersionInfo) -> Result<Flock<File>, Error> {
    loop {
        if let Some(held) = lock(folder, name)? {
            return Ok(held);
        }
        if cancel::is_cancelled() {
            return Err(StudioError::Cancelled(of.to_string()).into());
        }
        thread::sleep(SOON);
    }
}

/// A version that is being pulled.
struct Pull<'s> {
    api: &'s Api,
    of: &'s VersionInfo,
    columns: Vec<Column>,
    layout: Layout,
    /// The folder of its parts.
    folder: PathBuf,
}

/// The parts of an export, while they are fetched.
struct Parts {
    export: String,
    links: Vec<String>,
    watch: Mutex<Watch>,
    is_over: AtomicBool,
}

/// What is known of an export.
struct Watch {
    asked: Option<Instant>,
    done: Option<u64>,
    /// When it last went on.
    moved: Instant,
}

impl<'s> Pull<'s> {
    fn new(
        studio: &'s Studio,
        of: &'s VersionInfo,
        (features, types, table): SchemaTexts,
        name: &str,
    ) -> Result<Self, Error> {
        let wrong = |what| StudioError::Schema { of: of.to_string(), what };
        let columns = part::columns(&types).map_err(wrong)?;
        let layout = Layout::of_version(&features, &types, &table);
        let layout = layout.map_err(|error| wrong(error.to_string()))?;
        let folder = studio.folder.join(folder::PARTS).join(name);
        private::folder(&folder).map_err(|error| Error::Caller(error.into()))?;
        Ok(Self { api: &studio.api, of, columns, layout, folder })
    }

    /// Fetches the parts that are not there; how many there are.
    fn fetch(&self, dataset: &DatasetName) -> Result<usize, Error> {
        let export = self.api.export(dataset, &self.of.version.to_string())?;
        let (export, links) = (export.id(), export.links());
        if links.len() > MOST_PARTS || links.iter().any(|link| link.len() > LONGEST_LINK) {
            let (server, why) = (self.api.server().to_owned(), "an export without bounds".into());
            return Err(StudioError::Odd { server, why }.into());
        }
        self.keep_parts_of(&export, links.len())?;
        let watch = Watch { asked: None, done: None, moved: Instant::now() };
        let (watch, is_over) = (Mutex::new(watch), AtomicBool::new(false));
        let parts = Parts { export, links, watch, is_over };
        let next = AtomicUsize::new(0);
        let flag = cancel::current();
        let work = || {
            cancel::within(flag.clone(), || {
                let mut done = Ok(());
                while let (Ok(()), number) = (&done, next.fetch_add(1, Ordering::Relaxed)) {
                    if number >= parts.links.len() || parts.is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    done = self.part(&parts, number);
                }
                if done.is_err() {
                    parts.is_over.store(true, Ordering::Relaxed);
                }
                done
            })
        };
        thread::scope(|scope| {
            let threads = (0..AT_ONCE.min(parts.links.len())).map(|_| scope.spawn(work));
            let threads: Vec<_> = threads.collect();
            let mut all = Ok(());
            for thread in threads {
                let done = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
                all = match (all, done) {
                    (Ok(()), done) => done,
                    // Others only stopped because of the error.
                    (Err(StudioError::Cancelled(_)), Err(error)) => Err(error),
                    (all, _) => all,
                };
            }
            all
        })?;
        Ok(parts.links.len())
    }

    /// Removes the parts of another export.
    fn keep_parts_of(&self, export: &str, parts: usize) -> Result<(), Error> {
        let note = self.folder.join("export");
        let now = json!([export, parts]).to_string();
        if regular::read_text(&note, 1 << 20).is_ok_and(|was| was == now) {
            return Ok(());
        }
        let made = (|| {
            fs::remove_dir_all(&self.folder)?;
            fs::create_dir(&self.folder)?;
            fs::write(&note, now)
        })();
        Ok(made.map_err(|cause| self.disk(cause))?)
    }

    /// Fetches one part, unless it is there.
    fn part(&self, parts: &Parts, number: usize) -> Result<(), StudioError> {
        let (place, count) = (self.place(number), parts.links.len());
        if place.exists() {
            return Ok(());
        }
        let mut attempt = 0;
        loop {
            let what = match self.once(parts, number, &place)? {
                None => return Ok(()),
                Some(what) => what,
            };
            if http::is_last(attempt) {
                let of = self.of.to_string();
                return Err(StudioError::Fetch { of, number: number + 1, parts: count, what });
            }
            http::pause(attempt).ok_or_else(|| self.cancelled())?;
            attempt += 1;
        }
    }

    /// One attempt; why it may be worth another, if it is.
    fn once(
        &self,
        parts: &Parts,
        number: usize,
        place: &Path,
    ) -> Result<Option<String>, StudioError> {
        let count = parts.links.len();
        let body = match self.body(parts, number) {
            Ok(Some(body)) => body,
            Ok(None) | Err(Failure::Cancelled) => return Err(self.cancelled()),
            Err(Failure::Passing(what)) => return Ok(Some(what)),
            Err(Failure::Lasting(what)) => {
                let (of, number) = (self.of.to_string(), number + 1);
                return Err(StudioError::Fetch { of, number, parts: count, what });
            }
        };
        let draft = place.with_extension("draft");
        let unpacked = (|| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true).mode(0o600);
            let mut file = regular::open_with(&options, &draft).map_err(Wrong::Disk)?;
            part::unpack(body, &mut file)?;
            Part::open(file, &self.columns)?;
            fs::rename(&draft, place).map_err(Wrong::Disk)
        })();
        if unpacked.is_err() {
            fs::remove_file(&draft).ok();
        }
        match unpacked {
            Ok(()) => Ok(None),
            Err(Wrong::Broken(_)) if cancel::is_cancelled() => Err(self.cancelled()),
            Err(Wrong::Broken(what)) => Ok(Some(what)),
            Err(Wrong::Content(what)) => Err(self.content(number, count, what)),
            Err(Wrong::Disk(cause)) => Err(self.disk(cause)),
        }
    }

    /// Waits for a part; `None` if nobody needs it any more.
    fn body(&self, parts: &Parts, number: usize) -> Result<Option<http::Body>, Failure> {
        let mut wait = SOON;
        loop {
            if cancel::is_cancelled() || parts.is_over.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let is_complete = self.status(parts)?;
            match self.api.part(&parts.links[number])? {
                http::Part::Body(body) => return Ok(Some(body)),
                http::Part::NotYet if is_complete => {
                    let what =
                        "Studio says that the export is complete, and its store has not got it";
                    return Err(Failure::Lasting(what.into()));
                }
                http::Part::NotYet => thread::sleep(wait),
            }
            wait = (wait * 2).min(LATER);
        }
    }

    /// Asks how far the export is, now and then; whether it stands still though it is complete.
    fn status(&self, parts: &Parts) -> Result<bool, Failure> {
        let mut watch = parts.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.asked.is_none_or(|asked| asked.elapsed() >= STATUS) {
            let asked = self.api.progress(&parts.export);
            let found = asked.map_err(|error| match error.is_away() {
                true => Failure::Passing(error.to_string()),
                false => Failure::Lasting(error.to_string()),
            })?;
            watch.asked = Some(Instant::now());
            if watch.done != found.files_done {
                (watch.done, watch.moved) = (found.files_done, Instant::now());
            }
            if matches!(found.status.as_str(), "failed" | "removed") {
                let what = format!(
                    "Studio says that its export {}",
                    match &*found.status {
                        "failed" => "failed",
                        _ => "was removed",
                    }
                );
                return Err(Failure::Lasting(what));
            }
        }
        let still = watch.moved.elapsed();
        if still >= STILL {
            let what = format!("its export stands still since {} seconds", still.as_secs());
            return Err(Failure::Lasting(line(&what)));
        }
        let count = parts.links.len() as u64;
        Ok(watch.done.is_some_and(|done| done >= count) && still >= COMPLETE)
    }

    /// Makes the catalog of the rows, aside.
    fn build(&self, parts: usize) -> Result<(), Error> {
        let building = self.building();
        match fs::remove_dir_all(&building) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => {
                return Err(self.disk(cause).into());
            }
            _ => {}
        }
        let built = self.built(&building.join("db"), parts);
        if let Err(error) = &built {
            fs::remove_dir_all(&building).ok();
            // Parts that are wrong are not looked at again.
            if matches!(error, Error::Studio(StudioError::Part { .. } | StudioError::Rows { .. })) {
                fs::remove_dir_all(&self.folder).ok();
            }
        }
        built
    }

    fn built(&self, file: &Path, parts: usize) -> Result<(), Error> {
        let mut writer = Writer::open_or_create(file).map_err(Error::Caller)?;
        writer.in_order().map_err(Error::Caller)?;
        let mut stage = writer.stage(self.layout.clone()).map_err(Error::Caller)?;
        let mut batch = Batch::default();
        let mut came: u64 = 0;
        for number in 0..parts {
            let read = (|| {
                let opened = regular::open(&self.place(number)).map_err(Wrong::Disk)?;
                Part::open(opened, &self.columns)?.each::<Ended>(&mut |cells| {
                    came += 1;
                    batch.add(cells, came);
                    if batch.is_full() {
                        cancel::check().map_err(|_| Ended::Cancelled)?;
                        stage.keep(part::borrowed(&batch.rows)).map_err(Ended::Caller)?;
                        batch = Batch::default();
                    }
                    Ok(())
                })
            })();
            read.map_err(|ended| match ended {
                Ended::Part(Wrong::Disk(cause)) => self.disk(cause).into(),
                Ended::Part(Wrong::Content(what) | Wrong::Broken(what)) => {
                    self.content(number, parts, what).into()
                }
                Ended::Cancelled => self.cancelled().into(),
                Ended::Caller(error) => Error::Caller(error),
            })?;
        }
        stage.keep(part::borrowed(&batch.rows)).map_err(Error::Caller)?;
        if let Some(wanted) = self.of.rows.filter(|wanted| *wanted != came) {
            return Err(StudioError::Rows { of: self.of.to_string(), came, wanted }.into());
        }
        let name =
            DatasetName { namespace: "local".into(), project: "local".into(), name: NAME.into() };
        let none = Provenance::default();
        let publication = Publication {
            name: &name,
            number: Number::Exactly(self.of.version),
            upon: None,
            parents: &[],
            script: "",
            description: None,
            attrs: None,
            provenance: &none,
            job: None,
        };
        let copied = Copied {
            uuid: &self.of.uuid,
            created_at: self.of.created_at,
            finished_at: self.of.finished_at,
            has_provenance: false,
        };
        stage.publish_copy(&publication, &copied).map_err(Error::Caller)?;
        Ok(())
    }

    fn building(&self) -> PathBuf {
        self.folder.join("building")
    }

    fn place(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number}.parquet"))
    }

    fn content(&self, number: usize, parts: usize, what: String) -> StudioError {
        StudioError::Part { of: self.of.to_string(), number: number + 1, parts, what: line(&what) }
    }

    fn disk(&self, cause: io::Error) -> StudioError {
        StudioError::Disk { of: self.of.to_string(), folder: self.folder.clone(), cause }
    }

    fn cancelled(&self) -> StudioError {
        StudioError::Cancelled(self.of.to_string())
    }
}

/// Why rows of a part were not all handed over.
enum Ended {
    Part(Wrong),
    Cancelled,
    Caller(dcfs_core::error::Error),
}

impl From<Wrong> for Ended {
    fn from(wrong: Wrong) -> Self {
        Self::Part(wrong)
    }
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Part(fault.into())
    }
}

/// Rows that wait to be written.
#[derive(Default)]
struct Batch {
    rows: Vec<Vec<OwnedCell>>,
    bytes: usize,
}

impl Batch {
    /// Adds a row, with its id as the last cell.
    fn add(&mut self, mut cells: Vec<OwnedCell>, id: u64) {
        let size = |cell: &OwnedCell| match cell {
            OwnedCell::Text(text) | OwnedCell::Blob(text) => text.len(),
            _ => 8,
        };
        self.bytes += cells.iter().map(size).sum::<usize>();
        cells.push(OwnedCell::Integer(id.cast_signed()));
        self.rows.push(cells);
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= ROWS || self.bytes >= BYTES
    }
}

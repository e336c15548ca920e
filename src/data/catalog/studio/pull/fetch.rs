//! The parts of an export, fetched into a folder where they stay until their rows are written.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dcfs_core::cancel;
use dcfs_core::hex::hex;
use dcfs_core::name::DatasetName;
use dcfs_disk::regular;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::error::StudioError;
use super::super::http::{self, Failure, LinkAnswer};
use super::super::part::{self, PartFile, Wrong};
use super::{Pull, SOON, private_folder};
use crate::catalog::error::Error;

/// Parts fetched at the same time, as DataChain does.
const AT_ONCE: usize = 5;

/// The longest pause until a part that is not there yet is asked for again; the first is [`SOON`].
const LATER: Duration = Duration::from_secs(2);

/// How often the status of an export is asked for, and how long an export may make no progress.
const STATUS: Duration = Duration::from_secs(20);
const STILL: Duration = Duration::from_secs(3600);

/// How long a part may be missing after Studio says that the export is complete.
const COMPLETE: Duration = Duration::from_secs(10);

/// The most parts, and the longest link to one.
const MOST_PARTS: usize = 100_000;
const LONGEST_LINK: usize = 16 << 10;

/// The parts of an export, while they are fetched.
struct Parts {
    export: String,
    links: Vec<String>,
    watch: Mutex<ExportWatch>,
    is_over: AtomicBool,
}

/// What is known of an export.
struct ExportWatch {
    /// When its status was last asked for.
    asked: Option<Instant>,
    done: Option<u64>,
    /// When it last made progress: a part arrived, or Studio finished one.
    moved: Instant,
}

impl Parts {
    fn watch(&self) -> MutexGuard<'_, ExportWatch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to ask for the status. One thread at a time is told so.
    fn is_due(&self) -> bool {
        let mut watch = self.watch();
        let is_due = watch.asked.is_none_or(|asked| asked.elapsed() >= http::hastened(STATUS));
        if is_due {
            watch.asked = Some(Instant::now());
        }
        is_due
    }
}

/// What to do about a part that its store does not have.
#[derive(Debug, PartialEq, Eq)]
enum Missing {
    /// It may still be written.
    Wait,
    /// The export makes no progress.
    Stuck,
    /// The export is complete without it.
    Lost,
}

impl Missing {
    /// Judges by the parts that Studio finished, of so many, and the time without any progress.
    fn of(done: Option<u64>, count: u64, still: Duration) -> Self {
        if still >= STILL {
            return Self::Stuck;
        }
        let is_complete = done.is_some_and(|done| done >= count);
        if is_complete && still >= http::hastened(COMPLETE) { Self::Lost } else { Self::Wait }
    }
}

impl Pull<'_> {
    /// Fetches the parts that are not there; how many there are.
    pub(super) fn fetch(&self, dataset: &DatasetName) -> Result<usize, Error> {
        let export = self.api.export(dataset, &self.of.version.to_string())?;
        let odd = |why: String| StudioError::Odd { server: self.api.server().to_owned(), why };
        let (id, links) = (export.id(), export.links());
        let export = id.ok_or_else(|| odd("an export without a number".into()))?;
        if links.len() > MOST_PARTS {
            return Err(odd(format!("an export of more than {MOST_PARTS} parts")).into());
        }
        if links.iter().any(|link| link.len() > LONGEST_LINK) {
            return Err(odd(format!("a link of more than {LONGEST_LINK} bytes")).into());
        }
        self.keep_parts_of(&export, &links)?;
        self.progress.fetching(links.len() as u64);
        let watch = ExportWatch { asked: None, done: None, moved: Instant::now() };
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
            // As many as the system gives.
            let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
            let threads: Vec<_> = (0..AT_ONCE.min(parts.links.len())).map_while(spawn).collect();
            let mut all = if threads.is_empty() { work() } else { Ok(()) };
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
    fn keep_parts_of(&self, export: &str, links: &[String]) -> Result<(), Error> {
        let note = self.folder.join("export");
        let now = json!([self.of.uuid, export, links.len(), hash_of(links)]).to_string();
        if regular::read_text(&note, 1 << 20).is_ok_and(|was| was == now) {
            return Ok(());
        }
        let made = (|| {
            fs::remove_dir_all(&self.folder)?;
            private_folder(&self.folder)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            regular::open_with(&options, &note)?.write_all(now.as_bytes())
        })();
        Ok(made.map_err(|cause| self.disk(cause))?)
    }

    /// Fetches one part, unless it is there.
    fn part(&self, parts: &Parts, number: usize) -> Result<(), StudioError> {
        let (place, count) = (self.place(number), parts.links.len());
        if place.exists() {
            self.progress.add(1);
            return Ok(());
        }
        let mut attempt = 0;
        loop {
            let what = match self.once(parts, number, &place)? {
                None => {
                    self.progress.add(1);
                    return Ok(());
                }
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
            part::unpack(body, &mut file, &|bytes| self.progress.add_bytes(bytes))?;
            let rows = PartFile::open(file, &self.columns)?.count();
            if let Some(all) = self.of.rows.filter(|all| *all < rows) {
                let what = format!("it claims {rows} rows, but Studio counts {all} in all parts");
                return Err(Wrong::Content(what));
            }
            fs::rename(&draft, place).map_err(Wrong::Disk)
        })();
        if unpacked.is_err() {
            fs::remove_file(&draft).ok();
        }
        match unpacked {
            Ok(()) => {
                parts.watch().moved = Instant::now();
                Ok(None)
            }
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
            match self.api.part(&parts.links[number])? {
                LinkAnswer::Body(body) => {
                    parts.watch().moved = Instant::now();
                    return Ok(Some(body));
                }
                LinkAnswer::NotYet => self.check_progress(parts)?,
            }
            self.progress.add(0);
            thread::sleep(wait);
            wait = (wait * 2).min(LATER);
        }
    }

    /// Whether it is worth to wait for a part that is missing.
    fn check_progress(&self, parts: &Parts) -> Result<(), Failure> {
        if parts.is_due() {
            self.ask_progress(parts).inspect_err(|_| parts.watch().asked = None)?;
        }
        let (done, moved) = {
            let watch = parts.watch();
            (watch.done, watch.moved)
        };
        let still = moved.elapsed();
        match Missing::of(done, parts.links.len() as u64, still) {
            Missing::Wait => Ok(()),
            Missing::Stuck => {
                let what =
                    format!("its export has made no progress for {} seconds", still.as_secs());
                Err(Failure::Lasting(what))
            }
            Missing::Lost => {
                let what = "Studio says that the export is complete, and its store has not got it";
                Err(Failure::Lasting(what.into()))
            }
        }
    }

    /// Asks how far the export is.
    fn ask_progress(&self, parts: &Parts) -> Result<(), Failure> {
        let asked = self.api.progress(&parts.export);
        let found = asked.map_err(|error| match error.is_away() {
            true => Failure::Passing(error.to_string()),
            false => Failure::Lasting(error.to_string()),
        })?;
        let failed = |what: &str| Failure::Lasting(format!("Studio says that its export {what}"));
        match found.status.as_str() {
            "failed" => return Err(failed("failed")),
            "removed" => return Err(failed("was removed")),
            _ => {}
        }
        let mut watch = parts.watch();
        if watch.done != found.files_done {
            (watch.done, watch.moved) = (found.files_done, Instant::now());
        }
        Ok(())
    }
}

/// Tells exports apart: a hash of the links without what signs them, which is new with each answer.
fn hash_of(links: &[String]) -> String {
    let mut hash = Sha256::new();
    for link in links {
        hash.update(link.split('?').next().unwrap_or_default());
        hash.update("\n");
    }
    hex(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_part_is_waited_for_while_its_export_makes_progress() {
        let almost = |wait: Duration| wait - Duration::from_millis(1);
        for (done, still, want) in [
            (None, Duration::ZERO, Missing::Wait),
            (Some(2), almost(STILL), Missing::Wait),
            (Some(2), STILL, Missing::Stuck),
            (None, STILL, Missing::Stuck),
            (Some(3), almost(COMPLETE), Missing::Wait),
            (Some(3), COMPLETE, Missing::Lost),
            (Some(9), COMPLETE, Missing::Lost),
            (Some(3), STILL, Missing::Stuck),
        ] {
            assert_eq!(Missing::of(done, 3, still), want, "{done:?} {still:?}");
        }
    }

    #[test]
    fn an_export_is_its_links_without_their_signatures() {
        let links = |texts: [&str; 2]| hash_of(&texts.map(str::to_owned));
        let first = links(["https://s/1?a=b", "https://s/2?a=b"]);
        assert_eq!(links(["https://s/1?c", "https://s/2"]), first);
        assert_ne!(links(["https://s/2?a=b", "https://s/1?a=b"]), first);
        assert_ne!(links(["https://s/1https://s/2", ""]), first);
    }
}

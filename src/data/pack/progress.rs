//! Progress of the packs that this process builds: for the log, and for the status of a mount.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::error::PackError;
use super::manifest::MOST;

/// Shorter builds are not logged; longer ones after this time, and then repeatedly.
const LONG: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_secs(2);

/// Rows between checks of the clock.
const OFTEN: u64 = 4096;

/// One build, as reported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnderWay {
    /// `pets@1.0.0`.
    pub version: String,
    /// `reading` rows, `writing` names, or another stage.
    pub doing: &'static str,
    /// Rows of this stage done, and their total.
    pub done: u64,
    pub of: u64,
    pub seconds: f32,
}

/// The stages of a build.
const STAGES: [&str; 2] = ["reading", "writing"];

/// The builds of this process.
static BUILDS: Mutex<Vec<Arc<Build>>> = Mutex::new(Vec::new());

/// Every unfinished build of this process, the oldest first.
pub fn under_way() -> Vec<UnderWay> {
    builds().iter().map(|build| build.told()).collect()
}

fn builds() -> MutexGuard<'static, Vec<Arc<Build>>> {
    BUILDS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Build {
    version: String,
    of: u64,
    started: Instant,
    stage: AtomicU8,
    done: AtomicU64,
    /// Milliseconds after the start when the next line is due.
    due: AtomicU64,
}

impl Build {
    fn told(&self) -> UnderWay {
        let stage = usize::from(self.stage.load(Ordering::Relaxed));
        UnderWay {
            version: self.version.clone(),
            doing: STAGES[stage % STAGES.len()],
            done: self.done.load(Ordering::Relaxed),
            of: self.of,
            seconds: self.started.elapsed().as_secs_f32(),
        }
    }
}

/// One running build.
#[derive(Debug)]
pub struct Progress(Arc<Build>);

impl Progress {
    /// Starts reporting a build of `of` rows.
    ///
    /// # Errors
    /// More rows than a pack can number.
    pub fn new(version: String, of: u64) -> Result<Self, PackError> {
        if of >= MOST {
            return Err(PackError::TooMany { what: "rows" });
        }
        let build = Arc::new(Build {
            version,
            of,
            started: Instant::now(),
            stage: AtomicU8::new(0),
            done: AtomicU64::new(0),
            due: AtomicU64::new(millis(LONG)),
        });
        builds().push(build.clone());
        Ok(Self(build))
    }

    /// The number of rows of the version.
    pub fn of(&self) -> u64 {
        self.0.of
    }

    /// Rows of this stage so far.
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Counts one more row of this stage; may be called from many threads.
    pub fn row(&self) {
        if self.0.done.fetch_add(1, Ordering::Relaxed).is_multiple_of(OFTEN) {
            self.tell();
        }
    }

    /// Restarts: all rows are read again.
    pub fn again(&self) {
        self.0.done.store(0, Ordering::Relaxed);
    }

    /// All rows are read; now they are written in order.
    pub fn writing(&self) {
        self.0.done.store(0, Ordering::Relaxed);
        self.0.stage.store(1, Ordering::Relaxed);
    }

    fn tell(&self) {
        let (now, due) = (millis(self.0.started.elapsed()), self.0.due.load(Ordering::Relaxed));
        let next = now + millis(PAUSE);
        let is_due = now >= due;
        let relaxed = Ordering::Relaxed;
        // One of the threads logs it.
        if is_due && self.0.due.compare_exchange(due, next, relaxed, relaxed).is_ok() {
            let UnderWay { version, doing, done, of, .. } = self.0.told();
            tracing::info!(version, doing, rows = done, of, "packing");
        }
    }

    /// The build is complete.
    pub fn whole(&self, entries: u64) {
        let UnderWay { version, of: rows, seconds, .. } = self.0.told();
        if seconds > LONG.as_secs_f32() {
            tracing::info!(version, rows, entries, seconds, "packed");
        } else {
            tracing::debug!(version, rows, entries, seconds, "packed");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        builds().retain(|build| !Arc::ptr_eq(build, &self.0));
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_told_while_it_runs() {
        let find = || under_way().into_iter().find(|build| build.version == "told@1.0.0");
        let progress = Progress::new("told@1.0.0".into(), 7).expect("few rows");
        progress.row();
        let now = find().expect("it runs");
        assert_eq!((now.doing, now.done, now.of), ("reading", 1, 7));
        progress.writing();
        let now = find().expect("it runs");
        assert_eq!((now.doing, now.done), ("writing", 0));
        drop(progress);
        assert_eq!(find(), None);
        assert!(Progress::new("told@2.0.0".into(), MOST).is_err());
    }
}

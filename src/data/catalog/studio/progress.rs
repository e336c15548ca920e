//! Progress of the pulls of this process: for the status of a mount, and for the person who waits for a command.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::catalog::VersionInfo;

/// One pull, as reported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pulling {
    /// `pets@1.0.0`.
    pub version: String,
    /// `fetching` parts, or `writing` rows.
    pub doing: &'static str,
    /// Parts or rows done, and their total; 0 if it is not known.
    pub done: u64,
    pub of: u64,
    /// Bytes of parts that arrived, unpacked.
    pub bytes: u64,
    pub seconds: f32,
}

/// The pulls of this process.
static PULLS: Mutex<Vec<Arc<State>>> = Mutex::new(Vec::new());

type Watch = dyn Fn(Option<&Pulling>) + Send + Sync;

static WATCH: OnceLock<Box<Watch>> = OnceLock::new();

/// Every unfinished pull of this process, the oldest first.
pub fn pulls() -> Vec<Pulling> {
    all().iter().map(|pull| pull.told()).collect()
}

/// Calls `watch` whenever a pull of this process makes progress, and with `None` when one ends. Only the first call has an effect.
pub fn watch_pulls(watch: impl Fn(Option<&Pulling>) + Send + Sync + 'static) {
    WATCH.set(Box::new(watch)).ok();
}

fn all() -> MutexGuard<'static, Vec<Arc<State>>> {
    PULLS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct State {
    started: Instant,
    told: Mutex<Pulling>,
}

impl State {
    fn told(&self) -> Pulling {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        Pulling { seconds: self.started.elapsed().as_secs_f32(), ..told.clone() }
    }
}

/// One running pull.
pub struct Progress(Arc<State>);

impl Progress {
    pub fn new(of: &VersionInfo) -> Self {
        let version = of.to_string();
        let (doing, seconds) = ("fetching", 0.0);
        let told = Mutex::new(Pulling { version, doing, done: 0, of: 0, bytes: 0, seconds });
        let state = Arc::new(State { started: Instant::now(), told });
        all().push(state.clone());
        Self(state)
    }

    /// There are so many parts.
    pub fn fetching(&self, parts: u64) {
        self.tell(|told| told.of = parts);
    }

    /// All parts are there; now their rows are written.
    pub fn writing(&self, rows: Option<u64>) {
        self.tell(|told| (told.doing, told.done, told.of) = ("writing", 0, rows.unwrap_or(0)));
    }

    /// Counts more parts or rows; may be called from many threads.
    pub fn add(&self, more: u64) {
        self.tell(|told| told.done += more);
    }

    /// Counts more bytes of parts.
    pub fn add_bytes(&self, more: u64) {
        self.tell(|told| told.bytes += more);
    }

    fn tell(&self, change: impl FnOnce(&mut Pulling)) {
        change(&mut self.0.told.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(watch) = WATCH.get() {
            watch(Some(&self.0.told()));
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.told())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        all().retain(|pull| !Arc::ptr_eq(pull, &self.0));
        if let Some(watch) = WATCH.get() {
            watch(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_told_while_it_runs() {
        let mut of = VersionInfo::default();
        of.dataset.name = "told".into();
        let find = || pulls().into_iter().find(|pull| pull.version == of.to_string());
        let progress = Progress::new(&of);
        progress.fetching(3);
        progress.add(1);
        progress.add_bytes(20);
        let now = find().expect("it runs");
        assert_eq!((now.doing, now.done, now.of, now.bytes), ("fetching", 1, 3, 20));
        progress.writing(Some(9));
        progress.add(4);
        let now = find().expect("it runs");
        assert_eq!((now.doing, now.done, now.of, now.bytes), ("writing", 4, 9, 20));
        drop(progress);
        assert_eq!(find(), None);
    }
}

//! Rate limits of errors in the log: an unreachable store fails for every file, and shells ask for a wrong name
//! again and again.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fuser::Errno;
use lru::LruCache;

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::markdown::visible;
use dcfs_core::secrets::masked;
use dcfs_vfs::Vfs;

/// Limit of a path or cause in a log line: strangers' names may be of any length.
const LONGEST_LINE: usize = 4096;

/// Number of wrong names that are remembered, so that each is logged once; and of kinds of failures.
const MOST_TOLD: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Limit of lines about failures of one kind in one [`WHILE`]; the rest is counted.
const MOST_LINES: u64 = 20;

/// The period over which lines are counted.
const WHILE: Duration = Duration::from_secs(60);

/// The operation, caller and file of a request: the fields of a log line.
#[derive(Clone, Debug)]
pub struct Call {
    pub vfs: Arc<Vfs>,
    pub op: &'static str,
    pub ino: u64,
    pub name: Option<Box<OsStr>>,
    pub pid: u32,
    pub uid: u32,
    pub told: Arc<Told>,
}

impl Call {
    /// Converts a result for the kernel, and logs an error.
    pub fn report<T>(&self, result: Result<T>) -> std::result::Result<T, Errno> {
        result.map_err(|error| {
            self.log(&error);
            Errno::from_i32(error.kind().codes().0)
        })
    }

    fn log(&self, error: &Error) {
        let mut path = self.vfs.path(self.ino);
        if let Some(name) = &self.name {
            path = format!("{}/{}", path.trim_end_matches('/'), name.to_string_lossy());
        }
        // Names come from strangers and logs are read in terminals.
        let (op, pid, path) = (self.op, self.pid, visible(&masked(&path), LONGEST_LINE));
        // An error in a filter has a line that shows the position.
        let lines = masked(&error.to_string());
        let lines: Vec<String> = lines.lines().map(|line| visible(line, LONGEST_LINE)).collect();
        let cause = lines.join("\n");
        match error.kind() {
            Kind::Invalid if self.told.is_told(&path, &cause) => {}
            Kind::Missing | Kind::Interrupted => {
                tracing::debug!("{op} `{path}` for process {pid}: {cause}")
            }
            // The lines below the first show the text as typed.
            _ => match self.told.turn(what(op, &lines[0]), Instant::now()) {
                Turn::Tell { left_out: 0 } => {
                    tracing::warn!("{op} `{path}` for process {pid}: {cause}");
                }
                Turn::Tell { left_out } => tracing::warn!(
                    "{op} `{path}` for process {pid}: {cause} (before it, {left_out} similar ones were not logged)"
                ),
                Turn::LeaveOut => tracing::debug!("{op} `{path}` for process {pid}: {cause}"),
            },
        }
    }
}

/// An operation and a cause, without names and numbers.
type What = (&'static str, String);

/// The kind of a failure: text in backquotes and numbers differ from file to file.
fn what(op: &'static str, cause: &str) -> What {
    let outside = cause.split('`').step_by(2);
    (op, outside.flat_map(str::chars).filter(|c| !c.is_ascii_digit()).collect())
}

/// The state of the rate limits.
#[derive(Debug)]
pub struct Told {
    /// Paths and causes of invalid names.
    wrong: Mutex<LruCache<String, ()>>,
    failures: Mutex<LruCache<What, Lines>>,
}

#[derive(Debug)]
struct Lines {
    since: Instant,
    count: u64,
}

/// Whether a line is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Log it, with the number of similar lines that were suppressed.
    Tell {
        left_out: u64,
    },
    LeaveOut,
}

impl Default for Told {
    fn default() -> Self {
        let (wrong, failures) = (LruCache::new(MOST_TOLD), LruCache::new(MOST_TOLD));
        Self { wrong: Mutex::new(wrong), failures: Mutex::new(failures) }
    }
}

impl Told {
    /// Whether this was logged before; marks it as logged.
    fn is_told(&self, path: &str, cause: &str) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.put(format!("{path}\0{cause}"), ()).is_some()
    }

    fn turn(&self, what: What, now: Instant) -> Turn {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = failures.get_or_insert_mut(what, || Lines { since: now, count: 0 });
        let left_out = match now.saturating_duration_since(lines.since) >= WHILE {
            true => {
                let before = std::mem::replace(lines, Lines { since: now, count: 0 });
                before.count.saturating_sub(MOST_LINES)
            }
            false => 0,
        };
        lines.count += 1;
        if lines.count > MOST_LINES { Turn::LeaveOut } else { Turn::Tell { left_out } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_failures_some_are_told_and_the_others_counted() {
        let (told, start) = (Told::default(), Instant::now());
        let read = |name: usize| what("read", &format!("`s3://b/{name}` could not be read: 503"));
        let told_first = (0..100).filter(|n| told.turn(read(*n), start) != Turn::LeaveOut).count();
        assert_eq!(told_first, MOST_LINES as usize);
        let other = |op, cause| told.turn(what(op, cause), start);
        assert_eq!(other("open", "`a` could not be read: 503"), Turn::Tell { left_out: 0 });
        assert_eq!(other("read", "`a` is gone"), Turn::Tell { left_out: 0 });
        assert_eq!(told.turn(read(1), start + WHILE), Turn::Tell { left_out: 80 });
        assert_eq!(told.turn(read(2), start + WHILE), Turn::Tell { left_out: 0 });
    }

    #[test]
    fn what_is_wrong_as_written_is_told_once() {
        let told = Told::default();
        assert!(!told.is_told("a", "b") && told.is_told("a", "b") && !told.is_told("a", "c"));
    }
}

//! The log of a background mount: a file that is rotated when it grows large.
//!
//! One old file is kept as `<name>.log.old`, so a log takes at most twice [`LARGEST`], whatever readers cause.
//! In the foreground stderr is the log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dcfs_disk::regular;
use tracing::level_filters::LevelFilter;

/// Size in bytes at which a log is rotated.
const LARGEST: u64 = 8 << 20;

/// `DCFS_LOG=debug` logs more; `warn` less.
fn level() -> LevelFilter {
    let level = std::env::var("DCFS_LOG").ok().and_then(|level| level.parse().ok());
    level.unwrap_or(LevelFilter::INFO)
}

/// Logs to stderr.
pub fn to_stderr() {
    tracing_subscriber::fmt()
        .with_max_level(level())
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}

/// Logs to the file at `path`, and prints its name; to stderr if it is not writable.
pub fn to_file(path: &Path) -> Option<Arc<Log>> {
    let Ok(log) = Log::open(path, LARGEST) else {
        to_stderr();
        return None;
    };
    let log = Arc::new(log);
    tracing_subscriber::fmt()
        .with_max_level(level())
        .with_target(false)
        .with_ansi(false)
        .with_writer(Arc::clone(&log))
        .init();
    Some(log)
}

/// Opens a log for appending, readable by its owner only.
///
/// # Errors
/// The system refuses; the name belongs to something else.
pub fn open(path: &Path) -> io::Result<File> {
    regular::open_with(OpenOptions::new().create(true).append(true), path)
}

/// A log file with rotation.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    largest: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    length: u64,
}

impl Log {
    fn open(path: &Path, largest: u64) -> io::Result<Self> {
        let state = State::open(path)?;
        Ok(Self { path: path.to_owned(), largest, state: Mutex::new(state) })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reopens a file of the same name, because another program may have renamed the old one. If that fails,
    /// the old one stays in use.
    pub fn reopen(&self) {
        if let Ok(new) = State::open(&self.path) {
            *self.state.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }
}

impl State {
    fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }
}

impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.length > self.largest {
            // If rotation fails, the old file stays in use: no line is lost.
            let old = self.path.with_extension("log.old");
            if fs::rename(&self.path, old).is_ok()
                && let Ok(new) = State::open(&self.path)
            {
                *state = new;
            }
        }
        let written = state.file.write(line)?;
        state.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_takes_twice_its_size_at_most() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mnt.log");
        let log = Log::open(&path, 1000).expect("a log");
        for number in 0..1000 {
            writeln!(&log, "line {number:04}").expect("written");
        }
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
        assert!(text("mnt.log").ends_with("line 0999\n"));
        assert!(text("mnt.log").len() < 1100 && text("mnt.log.old").len() < 1100);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
    }

    #[test]
    fn a_log_that_was_moved_away_goes_on_under_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, moved) = (folder.path().join("mnt.log"), folder.path().join("mnt.log.1"));
        let log = Log::open(&path, 1000).expect("a log");
        writeln!(&log, "one").expect("written");
        fs::rename(&path, &moved).expect("moved");
        writeln!(&log, "two").expect("written");
        log.reopen();
        writeln!(&log, "three").expect("written");
        let text = |path: &Path| fs::read_to_string(path).expect("readable");
        assert_eq!((text(&moved), text(&path)), ("one\ntwo\n".into(), "three\n".into()));
    }
}

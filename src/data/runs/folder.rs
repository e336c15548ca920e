//! The folder of runs: `<id>.db`, `<id>.lock` while a process works on it, `<id>.log` with the
//! output of its program.

use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::hex::hex;
use dcfs_disk::{private, regular, space};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use sha2::{Digest as _, Sha256};

use super::file::{About, RunFile};
use crate::catalog;

/// The name of the folder beside the catalog.
const FOLDER: &str = "dcfs-runs";

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A process works on it.
    Running,
    /// It ended and recorded why; the same command resumes it.
    Stopped,
    /// It ended without a record: killed, or the machine went down.
    Dead,
}

impl State {
    /// The word shown to people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Dead => "dead",
        }
    }
}

/// A run that is not a version yet.
#[derive(Clone, Debug)]
pub struct Found {
    pub about: About,
    pub path: PathBuf,
    pub state: State,
    /// The number of rows done, and of those that failed.
    pub rows: u64,
    pub errors: u64,
    /// Why it ended, if recorded.
    pub ended: Option<String>,
}

impl Found {
    /// The path of its log.
    pub fn log(&self) -> PathBuf {
        self.path.with_extension("log")
    }
}

/// A lock, held while a run is worked on.
#[derive(Debug)]
pub struct Life(#[expect(dead_code, reason = "held, not read")] Flock<fs::File>);

impl Life {
    /// Whether another process works on the run. Does not disturb others that check at the same
    /// time.
    pub fn is_held(run: &Path) -> bool {
        let Ok(file) = regular::open(&run.with_extension("lock")) else { return false };
        matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
    }

    /// As [`Life::take`], but waits for processes that only check.
    ///
    /// # Errors
    /// As [`Life::take`].
    pub fn take_patiently(run: &Path) -> Result<Option<Self>> {
        let began = Instant::now();
        loop {
            match Self::take(run)? {
                None if began.elapsed() < PATIENCE => sleep(PAUSE),
                taken => return Ok(taken),
            }
        }
    }

    /// Locks a run; `None` if another process works on it.
    ///
    /// # Errors
    /// The lock file cannot be created.
    pub fn take(run: &Path) -> Result<Option<Self>> {
        let path = run.with_extension("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600);
        let file = regular::open_with(&options, &path).map_err(|cause| refused(&path, &cause))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Some(Self(held))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(refused(&path, &error.into())),
        }
    }
}

/// How long to wait for a lock that others hold only for a moment, and the pause between attempts.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The right to start a run: held by one process at a time, for a moment.
///
/// # Errors
/// The folder cannot be created; another process holds it for long.
pub fn turn(database: &Path) -> Result<Life> {
    let path = made(database)?.join("begin");
    let busy = || Error::new(Kind::Busy, "another process is about to begin a run; try again");
    Life::take_patiently(&path)?.ok_or_else(busy)
}

/// The folder for runs of the catalog at `database`: this user's, whoever the catalog belongs to.
///
/// Of a catalog on servers it is below `$XDG_STATE_HOME`, by a hash of the address.
pub fn folder(database: &Path) -> PathBuf {
    if catalog::is_address(database) {
        let hash = Sha256::digest(database.as_os_str().as_bytes());
        return catalog::state().join("dcfs/catalogs").join(hex(&hash[..16])).join(FOLDER);
    }
    let beside = database.parent().unwrap_or(Path::new("."));
    let owner = fs::metadata(beside).map_or(0, |found| found.uid());
    let user = geteuid().as_raw();
    match owner == user {
        true => beside.join(FOLDER),
        false => beside.join(format!("{FOLDER}-{user}")),
    }
}

/// The same, created if necessary.
///
/// # Errors
/// It cannot be created, or others may write to it.
pub fn made(database: &Path) -> Result<PathBuf> {
    let folder = folder(database);
    if catalog::is_address(database)
        && let Some(around) = folder.parent()
    {
        private::folder(around)?;
    }
    private::folder_beside(&folder)?;
    Ok(folder)
}

/// All runs, the oldest first. Unreadable files are left out.
pub fn list(database: &Path) -> Vec<Found> {
    let folder = folder(database);
    if private::check_beside(&folder).is_err() {
        return Vec::new();
    }
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let runs = paths.filter(|path| path.extension().is_some_and(|end| end == "db"));
    let mut found: Vec<Found> = runs.filter_map(|path| RunFile::look(&path).ok()).collect();
    found.sort_by(|one, other| one.about.started.cmp(&other.about.started));
    found
}

/// The run whose id begins with `id`.
///
/// # Errors
/// There is none, or there are several.
pub fn find(database: &Path, id: &str) -> Result<Found> {
    let is_it = |found: &Found| found.about.id.starts_with(id);
    let mut some: Vec<Found> = list(database).into_iter().filter(is_it).collect();
    match (some.pop(), some.is_empty()) {
        (Some(found), true) if !id.is_empty() => Ok(found),
        (None, _) => {
            let message = format!("no run `{id}`; `dcfs runs` lists those there are");
            Err(Error::new(Kind::Missing, message))
        }
        _ => {
            Err(Error::new(Kind::Invalid, format!("`{id}` is the beginning of several runs' ids")))
        }
    }
}

impl Found {
    /// Whether it has computed its whole shard.
    pub fn is_done_part(&self) -> bool {
        self.about.shard.is_some() && self.ended.as_deref() == Some(super::PART_DONE)
    }
}

/// Copies the file of a run from another machine into the folder.
///
/// # Errors
/// It is not a run; a run of that id already exists.
pub fn bring(database: &Path, file: &Path) -> Result<()> {
    let found = RunFile::look(file)?;
    let id = &found.about.id;
    // The id becomes part of a path.
    if uuid::Uuid::parse_str(id).is_err() {
        return Err(Error::new(Kind::Invalid, format!("`{}` is no run of dcfs", file.display())));
    }
    let place = made(database)?.join(format!("{id}.db"));
    if RunFile::look(&place)
        .is_ok_and(|there| there.is_done_part() || there.state == State::Running)
    {
        return Ok(());
    }
    let wal = file.with_extension("db-wal");
    if fs::metadata(&wal).is_ok_and(|found| found.len() > 0) {
        let message = format!("`{}` has more in its `-wal`; copy that beside it", file.display());
        return Err(Error::new(Kind::Invalid, message));
    }
    // Copied completely or not at all.
    let draft = place.with_extension("draft");
    let copied = fs::copy(file, &draft).and_then(|_| fs::rename(&draft, &place));
    copied.map_err(|cause| refused(&place, &cause))
}

/// Deletes a run and its results.
///
/// # Errors
/// A process works on it; errors of the disk.
pub fn remove(found: &Found) -> Result<()> {
    let Some(_life) = Life::take(&found.path)? else {
        let About { id, host, pid, .. } = &found.about;
        let message = format!("run {} is at work: process {pid} on {host}", &id[..id.len().min(8)]);
        return Err(Error::new(Kind::Busy, message));
    };
    removed(&found.path);
    Ok(())
}

/// Deletes the files of a run whose lock is held.
pub fn removed(run: &Path) {
    for end in ["db-wal", "db-shm", "log", "db", "lock"] {
        fs::remove_file(run.with_extension(end)).ok();
    }
}

pub fn refused(path: &Path, cause: &std::io::Error) -> Error {
    let kind = if space::is_full(cause) { Kind::NoSpace } else { Kind::Denied };
    Error::new(kind, format!("cannot write `{}`: {cause}", path.display()))
}

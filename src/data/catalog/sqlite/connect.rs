//! Connections to the catalog's file: opened read-only, pooled, and closed when the file is
//! replaced.
//!
//! 1. Only SQLite ever opens the file: closing it through any other handle in this process would
//!    drop SQLite's locks on it (POSIX locks belong to the process). Elsewhere it is only `stat`ed.
//! 2. Before each operation the file's device and inode are compared with the open ones.
//! 3. *Live*: like any reader beside a writer. Reading a WAL database needs its `-wal` and `-shm`
//!    files and may create them.
//! 4. *Still*: `immutable=1`, without locks and without those files; for a folder where they cannot
//!    be created, or where creating them would lock the owner out (they would be ours). Only while
//!    the `-wal` is empty. Every operation ends by checking that the file did not change meanwhile.

use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::sleep;
use std::time::Duration;

use dcfs_core::cancel;
use dcfs_disk::regular;
use nix::errno::Errno;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, StatementStatus, ffi};

use super::bounds::{self, Steps};
use crate::catalog::Revision;
use crate::catalog::columns::Columns;
use crate::catalog::error::Error;

/// How long SQLite waits for another program's lock. DataChain waits a minute.
pub(in crate::catalog) const PATIENCE: Duration = Duration::from_secs(10);

/// The first pauses between two tries to take a lock, in milliseconds.
const PAUSES: [u64; 12] = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100];
/// And each of those after them.
const LONGEST: u64 = 100;

/// Connections kept for the next operation; more are opened when more threads query at once.
const KEPT: usize = 8;

/// Prepared statements kept per connection: a few per version that is being read.
const STATEMENTS: usize = 64;

/// How often work is retried because a Still file changed meanwhile.
const AGAIN: usize = 3;

/// Every connection to one catalog. Shared by all threads; the lock is held for microseconds, or, while the file is reopened,
/// as long as another program holds its own.
#[derive(Debug)]
pub(in crate::catalog) struct Pool {
    path: PathBuf,
    state: Mutex<State>,
    /// Whether a warning about a Still catalog was logged.
    warned: AtomicBool,
}

/// The open connections.
#[derive(Debug)]
struct State {
    /// Starts at 1 and increments whenever the file is reopened.
    opened: u64,
    mode: Mode,
    stamp: Stamp,
    /// A separate connection: `data_version` is comparable on one connection only.
    watch: Connection,
    idle: Vec<Bounded>,
}

/// A connection, and the limit on its transactions.
type Bounded = (Connection, Steps);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Live,
    Still,
}

/// The access to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::catalog) enum Access {
    Read,
    /// Without locks, of a file that does not change.
    ReadStill,
    Write,
    /// May also create it.
    Create,
}

/// Identifies a state of the file without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    /// Device and inode.
    file: (u64, u64),
    /// Zero if [`Mode::Live`]: SQLite itself follows the content.
    content: Content,
}

/// Values that change with the content: size, seconds and nanoseconds of modification, length of
/// the `-wal`.
type Content = (u64, i64, i64, u64);

impl Pool {
    /// Opens the catalog at `path`, which is absolute.
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let (mode, stamp, watch) = match look(&path) {
            Err(Error::Gone(path)) => Err(Error::Missing(path)),
            found => open(&path, &found?),
        }?;
        let state = State { opened: 1, mode, stamp, watch, idle: Vec::new() };
        let pool = Self { path, state: Mutex::new(state), warned: AtomicBool::new(false) };
        pool.warn_if_still(mode);
        Ok(pool)
    }

    /// Runs `work` in one read transaction on a connection of its own. If a Still file changed
    /// meanwhile, runs it again.
    pub fn read<T>(
        &self,
        mut work: impl FnMut(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..AGAIN {
            match self.read_once(&mut work) {
                Err(Error::Changed(_)) => {}
                answer => return answer,
            }
        }
        self.read_once(work)
    }

    /// The same for work that must not run twice.
    pub fn read_once<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let lease = self.lease()?;
        lease.connection.1.begin();
        let answer = in_transaction(&lease.connection.0, work).map_err(|e| e.at(&self.path));
        if lease.mode == Mode::Still && stamp(&self.path, Mode::Still)? != lease.stamp {
            return Err(Error::Changed(self.path.clone()));
        }
        self.give_back(lease);
        answer
    }

    /// See [`Revision`].
    pub fn revision(&self) -> Result<Revision, Error> {
        let state = self.current()?;
        let data_version = state
            .watch
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(|e| Error::from(e).at(&self.path))?;
        Ok(Revision { data_version, file: state.stamp.file, opened: state.opened })
    }

    /// The open connections, reopened if the file was replaced.
    fn current(&self) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.state()?;
        if stamp(&self.path, state.mode)? != state.stamp {
            let (mode, stamp, watch) = open(&self.path, &look(&self.path)?)?;
            let opened = state.opened + 1;
            *state = State { opened, mode, stamp, watch, idle: Vec::new() };
            self.warn_if_still(mode);
        }
        Ok(state)
    }

    /// The open connections. Hurried work does not wait for a thread that itself waits for another program.
    fn state(&self) -> Result<MutexGuard<'_, State>, Error> {
        // The state is consistent whenever the lock is free, even after a panic: it is replaced in
        // one step.
        if !cancel::is_hurried() {
            return Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner));
        }
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(Error::Locked { path: self.path.clone(), seconds: 0 })
            }
        }
    }

    fn lease(&self) -> Result<Lease, Error> {
        let mut state = self.current()?;
        let (opened, mode, stamp) = (state.opened, state.mode, state.stamp);
        let kept = state.idle.pop();
        drop(state);
        let connection = match kept {
            Some(connection) => connection,
            None => connect(&self.path, mode).map_err(|e| e.at(&self.path))?,
        };
        Ok(Lease { connection, opened, mode, stamp })
    }

    /// Keeps the connection for the next operation, or closes it, as one whose transaction could not be ended.
    fn give_back(&self, lease: Lease) {
        if !lease.connection.0.is_autocommit() {
            return;
        }
        let Ok(mut state) = self.state() else { return };
        if state.opened == lease.opened && state.idle.len() < KEPT {
            state.idle.push(lease.connection);
        }
    }

    fn warn_if_still(&self, mode: Mode) {
        if mode == Mode::Still && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                catalog = %self.path.display(),
                "read without locks, for its folder may not be written to; new commits are followed \
                 only once the file itself changes"
            );
        }
    }
}

/// A borrowed connection, and the state it was taken from.
struct Lease {
    connection: Bounded,
    opened: u64,
    mode: Mode,
    stamp: Stamp,
}

/// Runs `work` in a deferred transaction, which is rolled back.
fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    // Before BEGIN: if that fails halfway, it is rolled back too.
    let transaction = Reading(connection);
    run(connection, "BEGIN DEFERRED")?;
    let answer = work(connection);
    transaction.finish()?;
    answer
}

/// A transaction, rolled back when dropped. Its statements are kept prepared: one is begun for every file that is opened.
struct Reading<'c>(&'c Connection);

impl Reading<'_> {
    /// Rolls it back; if that fails, it is tried once more when dropped.
    fn finish(self) -> Result<(), Error> {
        self.end()
    }

    fn end(&self) -> Result<(), Error> {
        // SQLite ends it by itself after some errors.
        if !self.0.is_autocommit() {
            run(self.0, "ROLLBACK")?;
        }
        Ok(())
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Runs a kept statement that must not be interrupted. SQLite counts the steps of a kept statement over all its runs, and the limit
/// of [`bounds`] would end the run that reaches it halfway.
fn run(connection: &Connection, sql: &str) -> Result<(), Error> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.reset_status(StatementStatus::VmStep);
    statement.execute([])?;
    Ok(())
}

/// The metadata of the file.
fn look(path: &Path) -> Result<Metadata, Error> {
    let found = fs::metadata(path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            Error::Gone(path.to_owned())
        }
        _ => Error::NotReachable { path: path.to_owned(), cause },
    })?;
    if found.is_file() { Ok(found) } else { Err(Error::NotAFile(path.to_owned())) }
}

/// Files that SQLite opens beside the database, following links and waiting for pipes.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// Checks that the names beside the database, if they exist, are files.
pub(in crate::catalog) fn check_beside(path: &Path) -> Result<(), Error> {
    for ending in BESIDE {
        let mut beside = path.as_os_str().to_owned();
        beside.push(ending);
        let beside = PathBuf::from(beside);
        match regular::check(&beside) {
            // SQLite does not follow a link of this name, and reads without it.
            Err(cause) if ending == "-shm" && cause.raw_os_error() == Some(Errno::ELOOP as i32) => {
            }
            checked => checked.map_err(|cause| Error::Blocked { path: beside, cause })?,
        }
    }
    Ok(())
}

fn stamp(path: &Path, mode: Mode) -> Result<Stamp, Error> {
    Ok(stamp_of(path, &look(path)?, mode))
}

fn stamp_of(path: &Path, found: &Metadata, mode: Mode) -> Stamp {
    let content = match mode {
        Mode::Live => (0, 0, 0, 0),
        Mode::Still => (found.size(), found.mtime(), found.mtime_nsec(), wal_length(path)),
    };
    Stamp { file: (found.dev(), found.ino()), content }
}

/// The size of the database and its `-wal`, in bytes.
fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.size()).saturating_add(wal_length(path))
}

/// The size of the `-wal` beside the file in bytes; 0 if there is none.
fn wal_length(path: &Path) -> u64 {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    fs::metadata(wal).map_or(0, |found| found.size())
}

/// Opens the file in the mode that fits, and checks that it is a catalog.
///
/// The stamp is taken before, so that the next operation sees a change meanwhile.
fn open(path: &Path, found: &Metadata) -> Result<(Mode, Stamp, Connection), Error> {
    let (mode, (connection, _)) = open_somehow(path, found).map_err(|e| e.at(path))?;
    check(&connection, path)?;
    Ok((mode, stamp_of(path, found, mode), connection))
}

fn open_somehow(path: &Path, found: &Metadata) -> Result<(Mode, Bounded), Error> {
    let has_commits = wal_length(path) > 0;
    if !has_commits && !is_ours(found) {
        return Ok((Mode::Still, connect(path, Mode::Still)?));
    }
    match connect(path, Mode::Live) {
        Ok(connection) => Ok((Mode::Live, connection)),
        Err(error) if !may_lack_files(&error) => Err(error),
        Err(_) if !has_commits => Ok((Mode::Still, connect(path, Mode::Still)?)),
        // Distinguishes a file that cannot be read at all from one whose `-wal` cannot.
        Err(_) => match connect(path, Mode::Still) {
            Ok(_) => Err(Error::NeedsWal(path.to_owned())),
            Err(error) => Err(error),
        },
    }
}

/// Whether files created beside the database by this process lock nobody out: SQLite running as
/// root gives them to the database's owner.
fn is_ours(found: &Metadata) -> bool {
    let us = fs::metadata("/proc/self").map_or(0, |process| process.uid());
    us == 0 || us == found.uid()
}

/// Whether SQLite may have failed because it could not create or open the `-wal` or `-shm`.
fn may_lack_files(error: &Error) -> bool {
    let Error::Sqlite(rusqlite::Error::SqliteFailure(error, _)) = error else { return false };
    match error.code {
        ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied => true,
        ErrorCode::SystemIoFailure => SHM_FAILURES.contains(&error.extended_code),
        _ => false,
    }
}

/// SQLite's errors for a `-shm` that it cannot use.
const SHM_FAILURES: [i32; 4] = [
    ffi::SQLITE_IOERR_SHMOPEN,
    ffi::SQLITE_IOERR_SHMSIZE,
    ffi::SQLITE_IOERR_SHMLOCK,
    ffi::SQLITE_IOERR_SHMMAP,
];

/// Opens one connection and verifies it by reading the schema. Nothing in the file is trusted to be
/// harmless: views and triggers are off, and a quoted name is never taken for a string.
fn connect(path: &Path, mode: Mode) -> Result<Bounded, Error> {
    check_beside(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let access = if mode == Mode::Live { Access::Read } else { Access::ReadStill };
    let mut connection = Connection::open_with_flags(uri(path, access), flags)?;
    let file = path.to_owned();
    let steps = bounds::set(&mut connection, move || size_of(&file))?;
    connection.busy_handler(Some(waits))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    // Otherwise a statement may be planned anew for each bound value: a twelfth of opening a file.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch("PRAGMA query_only = 1; PRAGMA cell_size_check = 1;")?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok((connection, steps))
}

/// Waits for another program's lock, for the `count`th time, as `sqlite3_busy_timeout` does; `false` after [`PATIENCE`], and
/// at once where nobody may wait.
fn waits(count: i32) -> bool {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let pause = |count: usize| PAUSES.get(count).copied().unwrap_or(LONGEST);
    let waited = PAUSES.iter().take(count).sum::<u64>();
    let waited = waited + LONGEST * (count.saturating_sub(PAUSES.len()) as u64);
    let goes_on = !cancel::is_hurried() && Duration::from_millis(waited) < PATIENCE;
    if goes_on {
        sleep(Duration::from_millis(pause(count)));
    }
    goes_on
}

/// The URI of the file: every byte percent-encoded, except harmless ones.
pub(in crate::catalog) fn uri(path: &Path, access: Access) -> String {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => uri.push(byte.into()),
            _ => write!(uri, "%{byte:02x}").expect("a string takes any text"),
        }
    }
    uri.push_str(match access {
        Access::Read => "?mode=ro",
        Access::ReadStill => "?mode=ro&immutable=1",
        Access::Write => "?mode=rw",
        Access::Create => "?mode=rwc",
    });
    uri
}

/// A table whose rows come from code inside SQLite, whatever the file holds. DataChain creates
/// none.
fn virtual_table(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage = 0 LIMIT 1";
    connection
        .query_row(sql, [], |row| Ok(super::cell::text(row.get_ref(0)?)))
        .optional()
        .map(Option::flatten)
}

/// Checks that the database is DataChain's, and of the only schema version so far.
pub(in crate::catalog) fn check(connection: &Connection, path: &Path) -> Result<(), Error> {
    let place = |error: rusqlite::Error| Error::from(error).at(path);
    if let Some(name) = virtual_table(connection).map_err(place)? {
        return Err(Error::Virtual { path: path.to_owned(), name });
    }
    // Refuses one with computed columns.
    let meta = Columns::of(connection, "meta")?;
    if !meta.exist()
        && Columns::of(connection, "datasets")?.exist()
        && Columns::of(connection, "datasets_versions")?.exist()
    {
        return Err(Error::Ancient(path.to_owned()));
    }
    if !meta.has("schema_version") {
        return Err(Error::NotDataChain(path.to_owned()));
    }
    let mut statement = connection.prepare("SELECT schema_version FROM meta").map_err(place)?;
    let mut rows = statement.query([]).map_err(place)?;
    // No row: DataChain is just creating the catalog.
    let Some(row) = rows.next().map_err(place)? else { return Ok(()) };
    let found = super::cell::text(row.get_ref(0).map_err(place)?);
    match found.as_deref() {
        Some("1") => Ok(()),
        _ => Err(Error::UnknownSchema {
            path: path.to_owned(),
            found: found.unwrap_or_else(|| "NULL".into()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::ffi::OsStr;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    #[test]
    fn nobody_waits_for_ever() {
        assert!(waits(0) && !waits(i32::MAX) && !waits(109));
    }

    /// A catalog without datasets, and a connection to it of another program.
    fn catalog() -> (tempfile::TempDir, Connection, Arc<Pool>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        let other = Connection::open(&path).expect("a database");
        let made = "CREATE TABLE meta (id INTEGER PRIMARY KEY, schema_version INTEGER NOT NULL);
                    INSERT INTO meta VALUES (1, 1);";
        other.execute_batch(made).expect("a catalog");
        let pool = Arc::new(Pool::open(path).expect("a pool"));
        (folder, other, pool)
    }

    fn schema(pool: &Pool) -> Result<i64, Error> {
        let sql = "SELECT schema_version FROM meta";
        pool.read(|connection| Ok(connection.query_row(sql, [], |row| row.get(0))?))
    }

    #[test]
    fn who_is_hurried_does_not_wait_for_locks_of_others() {
        let (_folder, other, pool) = catalog();
        assert!(matches!(cancel::hurried(|| schema(&pool)), Ok(1)));
        other.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
        // With the connection that is open, and with a new one.
        for _ in 0..2 {
            let told = cancel::hurried(|| schema(&pool));
            assert!(matches!(told, Err(Error::Locked { .. })), "{told:?}");
            pool.state().expect("free").idle.clear();
        }
        other.execute_batch("COMMIT").expect("no lock");
        assert!(matches!(schema(&pool), Ok(1)));
    }

    #[test]
    fn who_is_hurried_does_not_wait_for_the_pool() {
        let (_folder, _other, pool) = catalog();
        let held = pool.state().expect("free");
        let (sender, told) = channel();
        let asked = Arc::clone(&pool);
        std::thread::spawn(move || sender.send(cancel::hurried(|| schema(&asked))));
        let told = told.recv_timeout(Duration::from_secs(20)).expect("no wait");
        assert!(matches!(told, Err(Error::Locked { .. })), "{told:?}");
        drop(held);
        assert!(matches!(cancel::hurried(|| schema(&pool)), Ok(1)));
    }

    #[test]
    fn a_transaction_begins_and_ends_whatever_ran_before() {
        let mut connection = Connection::open_in_memory().expect("memory");
        connection.progress_handler(1_000, Some(|| true)).expect("a handler");
        for _ in 0..1_000 {
            let read = in_transaction(&connection, |connection| Ok(connection.is_autocommit()));
            assert!(matches!(read, Ok(false)), "{read:?}");
            assert!(connection.is_autocommit());
        }
    }

    #[test]
    fn a_connection_whose_transaction_is_open_is_not_kept() {
        let (_folder, _other, pool) = catalog();
        let kept = || pool.state().expect("free").idle.len();
        pool.give_back(pool.lease().expect("a connection"));
        assert_eq!(kept(), 1);
        let lease = pool.lease().expect("a connection");
        lease.connection.0.execute_batch("BEGIN").expect("a transaction");
        pool.give_back(lease);
        assert_eq!(kept(), 0);
        assert!(matches!(schema(&pool), Ok(1)));
    }

    #[test]
    fn every_odd_byte_of_a_path_is_escaped() {
        let cases: [(&[u8], &str); 4] = [
            (b"/a/.datachain/db", "file:/a/.datachain/db?mode=ro"),
            (b"/a b/100%?x#y", "file:/a%20b/100%25%3fx%23y?mode=ro"),
            (b"/\xff\n/db", "file:/%ff%0a/db?mode=ro"),
            (b"/a&immutable=0", "file:/a%26immutable%3d0?mode=ro"),
        ];
        for (path, want) in cases {
            assert_eq!(uri(Path::new(OsStr::from_bytes(path)), Access::Read), want);
        }
    }
}

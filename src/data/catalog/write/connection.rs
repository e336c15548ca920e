//! The write connection and its transactions.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::create;
use crate::catalog::error::Error;
use crate::catalog::sqlite::bounds;
use crate::catalog::sqlite::connect::{self, Access};

/// How long a writer waits for its turn: as long as DataChain itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between attempts to open a file that others hold exclusively.
const PAUSE: Duration = Duration::from_millis(20);

/// Pages in the `-wal` after which a commit checkpoints them into the database: 64 MiB.
/// Checkpointing more often would sync more often.
const CHECKPOINT: u32 = 16_384;

/// The page cache of a connection, in KiB: many pages for rows that are copied in any order, few for those that are
/// copied in the order of their ids.
const MANY: i64 = 64 << 10;
const FEW: i64 = 512;

/// A write connection.
#[derive(Debug)]
pub struct Writing {
    path: PathBuf,
    connection: Connection,
}

impl Writing {
    pub fn open(path: PathBuf, may_create: bool) -> Result<Self, Error> {
        let open = || if may_create { made(&path) } else { connect(&path, Access::Write) };
        let connection = patiently(open).map_err(|error| at(error, &path))?;
        connect::check(&connection, &path)?;
        create::check(&connection).map_err(|error| at(error, &path))?;
        // Lock files are beside the real file: all writers find the same ones, through whatever
        // links they come.
        let path = path.canonicalize().unwrap_or(path);
        Ok(Self { path, connection })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Makes the page cache small.
    pub fn keep_few_pages(&self) -> Result<(), Error> {
        Ok(self.connection.pragma_update(None, "cache_size", -FEW)?)
    }

    /// Runs work whose errors are reported with the file they concern.
    pub fn placed<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        work(self).map_err(|error| at(error, &self.path))
    }

    /// Runs `work` in a transaction that holds the write lock from its beginning: all of it or
    /// nothing.
    pub fn brief<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        let answer = work(&transaction)?;
        transaction.commit()?;
        Ok(answer)
    }
}

/// Translates SQLite's error for a writer; see [`Error::at`]. A file that cannot be opened was there
/// when it was read before: either it is gone since, or it may not be written.
pub fn at(error: Error, path: &Path) -> Error {
    match error.at(path) {
        Error::Locked { path, .. } => Error::Locked { path, seconds: PATIENCE.as_secs() },
        Error::Unreadable(path) if !path.exists() => Error::Missing(path),
        Error::Unreadable(path) => Error::NotWritable(path),
        other => other,
    }
}

/// Retries while others hold the file exclusively: for the change to WAL, and for the clean-up of
/// the last connection to close, SQLite does not wait, whatever its timeout is.
fn patiently<T>(mut open: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let began = Instant::now();
    loop {
        match open() {
            Err(error) if error.is_locked() && began.elapsed() < PATIENCE => thread::sleep(PAUSE),
            opened => return opened,
        }
    }
}

/// Opens a catalog and creates what it lacks.
fn made(path: &Path) -> Result<Connection, Error> {
    if let Some(folder) = path.parent() {
        let cause = |cause| Error::NotReachable { path: folder.to_owned(), cause };
        fs::create_dir_all(folder).map_err(cause)?;
    }
    let mut connection = connect(path, Access::Create)?;
    let transaction = Transaction::new(&mut connection, TransactionBehavior::Immediate)?;
    create::tables(&transaction)?;
    transaction.commit()?;
    Ok(connection)
}

/// Opens one connection, with those of DataChain's settings that the file stores, and trusts
/// nothing in the file to be harmless.
fn connect(path: &Path, access: Access) -> Result<Connection, Error> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    connect::check_beside(path)?;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, access == Access::Create);
    let connection = Connection::open_with_flags(connect::uri(path, access), flags)?;
    // SQLite opens a file read-only if it may not write it.
    if connection.is_readonly(rusqlite::MAIN_DB)? {
        return Err(Error::NotWritable(path.to_owned()));
    }
    bounds::limit(&connection)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    // Renaming a table leaves a stranger's views and triggers alone.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, true)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        tracing::debug!(catalog = %path.display(), mode, "not a WAL database");
    }
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
    connection.pragma_update(None, "cache_size", -MANY)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

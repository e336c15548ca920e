//! One run: its description, the programs that made its rows, and the rows.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use roaring::RoaringTreemap;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::folder::{self, Found, Life, State};

/// The most bytes of a log; further output is dropped.
const LOG: u64 = 16 << 20;

const CREATE: &str = "
    CREATE TABLE run (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE programs (number INTEGER NOT NULL PRIMARY KEY, digest TEXT NOT NULL UNIQUE);
    CREATE TABLE rows (row INTEGER NOT NULL PRIMARY KEY, program INTEGER NOT NULL, error TEXT, value BLOB);";

/// The description of a run, written when it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// A uuid; also that of its job in the catalog.
    pub id: String,
    /// `map` or `gen`.
    pub kind: String,
    /// The name of the dataset to be made.
    pub name: String,
    /// The identity of the computation: 64 hex digits. The same command over the same rows has the
    /// same.
    pub identity: String,
    /// The parts of the identity, each with its text, to explain why a run cannot resume another.
    pub parts: Vec<(String, String)>,
    /// The version that it reads.
    pub input: String,
    /// The number of rows to compute.
    pub rows: u64,
    pub command: String,
    pub host: String,
    pub pid: u32,
    /// As RFC 3339.
    pub started: String,
    /// The words of the command, and the folder it ran in.
    #[serde(default)]
    pub words: Vec<String>,
    #[serde(default)]
    pub folder: Option<String>,
    /// The shard, if the run computes only a part of the rows.
    #[serde(default)]
    pub shard: Option<Shard>,
    /// Whether all rows are computed, ignoring earlier results.
    #[serde(default)]
    pub is_fresh: bool,
}

/// A shard of the rows: every row is in exactly one of `of` shards, the same on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Counted from 1.
    pub number: u32,
    pub of: u32,
}

impl Shard {
    /// Whether a row is in this shard. Adjacent rows are in different shards: slow rows are often
    /// adjacent.
    pub fn has(self, row: RowId) -> bool {
        // The last step of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
        let mut x = key(row).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % u64::from(self.of.max(1)) == u64::from(self.number.wrapping_sub(1))
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// The reason recorded when a run has computed its whole shard.
pub const PART_DONE: &str = "its part is done";

/// A program that made rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// SHA-256 of its files.
    pub digest: String,
    pub rows: u64,
}

/// The result for a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// JSON: the value of a row, or a list of values.
    Value(Vec<u8>),
    /// The error message.
    Error(String),
}

/// A run in progress.
#[derive(Debug)]
pub struct RunFile {
    connection: Connection,
    path: PathBuf,
    program: i64,
    _life: Life,
}

impl RunFile {
    /// Starts a run.
    ///
    /// # Errors
    /// The folder cannot be written to; the disk is full.
    pub fn create(database: &Path, about: &About) -> Result<Self> {
        let path = folder::made(database)?.join(format!("{}.db", about.id));
        let gone = || Error::new(Kind::Busy, "the run was taken by another process; try again");
        let life = Life::take(&path)?.ok_or_else(gone)?;
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|cause| folder::refused(&path, &cause))?;
        let connection = connect(&path).map_err(|error| at(&path, &error))?;
        let about =
            serde_json::to_string(about).map_err(|error| Error::new(Kind::Broken, error))?;
        let begin = || {
            connection.execute_batch(CREATE)?;
            connection.execute("INSERT INTO run VALUES ('about', ?1)", [&about])
        };
        begin().map_err(|error| at(&path, &error))?;
        Ok(Self { connection, path, program: 0, _life: life })
    }

    /// Resumes a run; `None` if another process holds it, or has just ended it.
    ///
    /// # Errors
    /// Errors of the disk; a damaged file.
    pub fn go_on(path: &Path, id: &str) -> Result<Option<Self>> {
        let Some(life) = Life::take_patiently(path)? else { return Ok(None) };
        if !path.exists() {
            return Ok(None);
        }
        let connection = connect(path).map_err(|error| at(path, &error))?;
        let file = Self { connection, path: path.to_owned(), program: 0, _life: life };
        let mut about = file.about()?;
        // The run is continued under the new job.
        about.id = id.to_owned();
        about.pid = std::process::id();
        file.set_about(&about)?;
        file.forget("ended")?;
        Ok(Some(file))
    }

    /// Reads a run without locking it.
    pub(super) fn look(path: &Path) -> Result<Found> {
        let is_alive = Life::is_held(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let read = || -> rusqlite::Result<Found> {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            let value = |key: &str| -> rusqlite::Result<Option<String>> {
                let sql = "SELECT value FROM run WHERE key = ?1";
                connection.query_row(sql, [key], |row| row.get(0)).optional()
            };
            let about = value("about")?.unwrap_or_default();
            let about: About = serde_json::from_str(&about).unwrap_or_default();
            let sql = "SELECT count(*), count(error) FROM rows";
            let (rows, errors): (i64, i64) =
                connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let ended = value("ended")?;
            let state = match (is_alive, &ended) {
                (true, _) => State::Running,
                (false, Some(_)) => State::Stopped,
                (false, None) => State::Dead,
            };
            let (rows, errors) = (rows.unsigned_abs(), errors.unsigned_abs());
            Ok(Found { about, path: path.to_owned(), state, rows, errors, ended })
        };
        read().map_err(|error| at(path, &error))
    }

    /// Calls `each` with the failed rows and their errors, in order and without a lock, until it returns false.
    pub(super) fn errors(path: &Path, each: &mut dyn FnMut(RowId, &str) -> bool) -> Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut read = || -> rusqlite::Result<()> {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            let sql = "SELECT row, error FROM rows WHERE error IS NOT NULL ORDER BY row";
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let error: String = row.get(1)?;
                if !each(RowId::new(row.get(0)?), &error) {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|error| at(path, &error))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The description of the run.
    ///
    /// # Errors
    /// A damaged file.
    pub fn about(&self) -> Result<About> {
        let sql = "SELECT value FROM run WHERE key = 'about'";
        let text: String =
            self.ask(|connection| connection.query_row(sql, [], |row| row.get(0)))?;
        serde_json::from_str(&text).map_err(|error| Error::new(Kind::Broken, error))
    }

    /// Records that all rows are computed, ignoring earlier results.
    ///
    /// # Errors
    /// Errors of the disk.
    pub fn is_fresh(&self) -> Result<()> {
        let about = About { is_fresh: true, ..self.about()? };
        self.set_about(&about)
    }

    /// Records the program that makes the rows from here on.
    ///
    /// # Errors
    /// Errors of the disk.
    pub fn made_by(&mut self, digest: &str) -> Result<()> {
        self.program = self.ask(|connection| {
            connection.execute("INSERT OR IGNORE INTO programs (digest) VALUES (?1)", [digest])?;
            let sql = "SELECT number FROM programs WHERE digest = ?1";
            connection.query_row(sql, [digest], |row| row.get(0))
        })?;
        Ok(())
    }

    /// The programs that made rows, in order of first use.
    ///
    /// # Errors
    /// A damaged file.
    pub fn programs(&self) -> Result<Vec<Program>> {
        self.ask(|connection| {
            let sql = "SELECT digest, count(*) FROM rows JOIN programs ON number = program \
                       GROUP BY number ORDER BY number";
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(Program { digest: row.get(0)?, rows: row.get::<_, i64>(1)?.unsigned_abs() })
            })?;
            rows.collect()
        })
    }

    /// The rows that are done, numbered by [`key`]; with `errors` only those that failed.
    ///
    /// # Errors
    /// A damaged file.
    pub fn done(&self, errors: bool) -> Result<RoaringTreemap> {
        let sql = match errors {
            true => "SELECT row FROM rows WHERE error IS NOT NULL",
            false => "SELECT row FROM rows",
        };
        self.ask(|connection| {
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut done = RoaringTreemap::new();
            while let Some(row) = rows.next()? {
                done.insert(key(RowId::new(row.get(0)?)));
            }
            Ok(done)
        })
    }

    /// Deletes rows that failed, or all rows, so that they are computed again.
    ///
    /// # Errors
    /// Errors of the disk.
    pub fn forget_rows(&self, only_errors: bool) -> Result<()> {
        let sql = match only_errors {
            true => "DELETE FROM rows WHERE error IS NOT NULL",
            false => "DELETE FROM rows",
        };
        self.ask(|connection| connection.execute(sql, [])).map(drop)
    }

    /// Stores answers, all or none.
    ///
    /// # Errors
    /// `NoSpace` if the disk is full: none were stored, and the call may be repeated.
    pub fn commit(&mut self, answers: &[(RowId, Answer)]) -> Result<()> {
        let program = self.program;
        let mut keep = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            {
                let sql = "INSERT OR REPLACE INTO rows (row, program, error, value) VALUES (?1, ?2, ?3, ?4)";
                let mut statement = transaction.prepare_cached(sql)?;
                for (row, answer) in answers {
                    let (error, value) = match answer {
                        Answer::Value(value) => (None, Some(value)),
                        Answer::Error(error) => (Some(error), None),
                    };
                    statement.execute(params![row.key(), program, error, value])?;
                }
            }
            transaction.commit()
        };
        keep().map_err(|error| at(&self.path, &error))
    }

    /// Copies the rows of another run of the same computation.
    ///
    /// # Errors
    /// A damaged file; errors of the disk.
    pub fn take_over(&mut self, other: &Path) -> Result<()> {
        let name = other.to_str().ok_or_else(|| {
            Error::new(Kind::Invalid, format!("`{}` is no name that SQLite takes", other.display()))
        })?;
        let take = |connection: &Connection| {
            connection.execute("ATTACH DATABASE ?1 AS other", [name])?;
            connection.execute_batch(
                "BEGIN;
                 INSERT OR IGNORE INTO programs (digest) SELECT digest FROM other.programs;
                 INSERT OR IGNORE INTO rows (row, program, error, value)
                 SELECT r.row, p.number, r.error, r.value FROM other.rows r
                 JOIN other.programs o ON o.number = r.program JOIN programs p ON p.digest = o.digest;
                 COMMIT;
                 DETACH DATABASE other;",
            )
        };
        self.ask(take)
    }

    /// Records why it ended.
    ///
    /// # Errors
    /// Errors of the disk.
    pub fn ended(&self, why: &str) -> Result<()> {
        self.set("ended", why)
    }

    fn set_about(&self, about: &About) -> Result<()> {
        let text = serde_json::to_string(about).map_err(|error| Error::new(Kind::Broken, error))?;
        self.set("about", &text)
    }

    fn set(&self, key: &str, value: &str) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO run VALUES (?1, ?2)";
        self.ask(|connection| connection.execute(sql, [key, value])).map(drop)
    }

    fn forget(&self, key: &str) -> Result<()> {
        self.ask(|connection| connection.execute("DELETE FROM run WHERE key = ?1", [key])).map(drop)
    }

    /// A reader of the answers, in any order.
    pub fn answers(&self) -> Answers<'_> {
        Answers { file: self, next: Vec::new().into_iter(), ahead: 1 }
    }

    /// The log for its program's output.
    ///
    /// # Errors
    /// Errors of the disk.
    pub fn log(&self) -> Result<Log> {
        let path = self.path.with_extension("log");
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let file = file.map_err(|cause| folder::refused(&path, &cause))?;
        let left = LOG.saturating_sub(file.metadata().map_or(0, |found| found.len()));
        Ok(Log { file, left })
    }

    /// Deletes the run: its rows have become a version.
    pub fn remove(self) {
        let Self { connection, path, _life, .. } = self;
        drop(connection);
        folder::removed(&path);
    }

    fn ask<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        ask(&self.connection).map_err(|error| at(&self.path, &error))
    }
}

/// A row as an unsigned number in the order of rows.
pub fn key(row: RowId) -> u64 {
    row.key().cast_unsigned() ^ (1 << 63)
}

/// The inverse of [`key`].
pub fn row(key: u64) -> RowId {
    RowId::new((key ^ (1 << 63)).cast_signed())
}

/// The log of a program's standard error, up to a limit.
#[derive(Debug)]
pub struct Log {
    file: std::fs::File,
    left: u64,
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        // A log that cannot be written to is no reason to stop.
        if most > 0 && self.file.write_all(&bytes[..most]).is_ok() {
            self.left -= most as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the answers of a run. Consecutive rows are read in batches.
#[derive(Debug)]
pub struct Answers<'f> {
    file: &'f RunFile,
    next: std::vec::IntoIter<(RowId, Answer)>,
    /// The number of answers to read next: it grows as long as rows are consecutive, and is one
    /// otherwise.
    ahead: i64,
}

/// The most answers read at a time.
const AHEAD: i64 = 256;

impl Answers<'_> {
    /// The answer for a row.
    ///
    /// # Errors
    /// A damaged file.
    pub fn of(&mut self, row: RowId) -> Result<Option<Answer>> {
        if let Some((next, _)) = self.next.as_slice().first()
            && *next == row
        {
            return Ok(self.next.next().map(|(_, answer)| answer));
        }
        let is_random = !self.next.as_slice().is_empty();
        self.ahead = if is_random { 1 } else { (self.ahead * 2).min(AHEAD) };
        self.next = self.read(row..=*RowId::ALL.end())?.into_iter();
        match self.next.as_slice().first() {
            Some((next, _)) if *next == row => Ok(self.next.next().map(|(_, answer)| answer)),
            _ => Ok(None),
        }
    }

    fn read(&self, rows: RangeInclusive<RowId>) -> Result<Vec<(RowId, Answer)>> {
        self.file.ask(|connection| {
            let sql = "SELECT row, error, value FROM rows WHERE row >= ?1 ORDER BY row LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([rows.start().key(), self.ahead], |row| {
                let answer = match row.get::<_, Option<String>>(1)? {
                    Some(error) => Answer::Error(error),
                    None => Answer::Value(row.get::<_, Option<Vec<u8>>>(2)?.unwrap_or_default()),
                };
                Ok((RowId::new(row.get(0)?), answer))
            })?;
            rows.collect()
        })
    }
}

/// The page cache, in KiB.
const CACHE: i64 = 256;

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(60))?;
    let _: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    // A power failure may lose the last commits; a killed process loses none.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // Rows are written and read in order: few pages are needed again.
    connection.pragma_update(None, "cache_size", -CACHE)?;
    Ok(connection)
}

fn at(path: &Path, error: &rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Kind::NoSpace,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Kind::Busy,
        _ => Kind::Broken,
    };
    Error::new(kind, format!("the run `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_part() {
        let mut counts = [0; 3];
        for row in -500..500 {
            let is_in = |number: &u32| Shard { number: *number, of: 3 }.has(RowId::new(row));
            let parts: Vec<u32> = (1..=3).filter(is_in).collect();
            assert_eq!(parts.len(), 1, "{row}");
            counts[parts[0] as usize - 1] += 1;
        }
        assert!(counts.iter().all(|count| (280..390).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_run_goes_on_where_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("db");
        let about = About { id: "a1".into(), name: "x".into(), ..About::default() };
        let row = RowId::new;
        let value = |text: &str| Answer::Value(text.as_bytes().to_vec());
        let mut run = RunFile::create(&database, &about).expect("a run");
        run.made_by("one").expect("written");
        run.commit(&[(row(1), value("1")), (row(-7), Answer::Error("bad".into()))])
            .expect("written");
        let path = run.path().to_owned();
        assert!(RunFile::go_on(&path, "a2").expect("asked").is_none(), "somebody works on it");
        assert_eq!(folder::list(&database)[0].state, State::Running);
        drop(run);

        let found = folder::find(&database, "a").expect("found");
        assert_eq!((found.state, found.rows, found.errors), (State::Dead, 2, 1));
        let mut run = RunFile::go_on(&path, "a2").expect("asked").expect("free");
        run.made_by("two").expect("written");
        run.commit(&[(row(2), value("2"))]).expect("written");
        let keys: Vec<u64> = run.done(false).expect("read").iter().collect();
        assert_eq!(keys, [-7, 1, 2].map(|n| key(row(n))));
        let mut answers = run.answers();
        for (id, want) in
            [(2, Some(value("2"))), (-7, Some(Answer::Error("bad".into()))), (5, None)]
        {
            assert_eq!(answers.of(row(id)).expect("read"), want, "{id}");
        }
        let programs = run.programs().expect("read");
        let told: Vec<(&str, u64)> = programs.iter().map(|p| (p.digest.as_str(), p.rows)).collect();
        assert_eq!(told, [("one", 2), ("two", 1)]);
        run.forget_rows(true).expect("written");
        run.ended("stopped by a person").expect("written");
        drop(run);
        let found = folder::find(&database, "a2").expect("found");
        assert_eq!((found.state, found.rows), (State::Stopped, 2));
        folder::remove(&found).expect("removed");
        assert!(folder::list(&database).is_empty());
    }
}

//! Stages in SQLite: tables without a version, filled with rows in short transactions.

use std::time::Instant;

use super::connection::{Writing, at};
use super::error::Refused;
use super::lock::Lock;
use super::pace::Pace;
use super::publish::{self, Copied, Publication, Saved};
use super::stage::Watch;
use super::{HELD, preview, sweep};
use crate::catalog::Digest;
use crate::catalog::columns::identifier;
use crate::catalog::digest::Hashed;
use crate::catalog::error::Error;
use dcfs_core::cell::Cell;
use dcfs_core::error::Result;
use dcfs_core::schema::Layout;

/// The prefix of stage tables; not `tmp_`, because DataChain's clean-up drops such tables while
/// they are in use.
pub const PREFIX: &str = "dcfs_stage_";

/// Rows that are read together.
const READ: u32 = 4096;

/// The rows of a new version in SQLite; see [`super::Stage`].
#[derive(Debug)]
pub struct FileStage<'w> {
    pub(super) writing: &'w mut Writing,
    layout: Layout,
    lock: Option<Lock>,
    pub(super) rows: u64,
    turn: Option<Instant>,
    pub(super) pace: Pace,
    watch: Watch<'w>,
}

impl<'w> FileStage<'w> {
    pub(super) fn begin(writing: &'w mut Writing, layout: Layout) -> Result<Self, Error> {
        let mut columns = String::new();
        for column in &layout.columns {
            let refused = || Refused::Column(column.name.clone());
            let quoted = identifier(&column.name).ok_or_else(refused)?;
            columns += &format!(", {quoted} {}", column.declared);
        }
        let lock = Lock::new(writing.path())?;
        let sql = format!(
            "CREATE TABLE {} (sys__id INTEGER NOT NULL, \
             sys__rand INTEGER DEFAULT (abs(random())) NOT NULL{columns}, PRIMARY KEY (sys__id))",
            quoted(lock.id())
        );
        let watch = Watch::nobody();
        // From here on a failure drops the stage, and with it the table if it was created.
        let stage = Self {
            writing,
            layout,
            lock: Some(lock),
            rows: 0,
            turn: None,
            pace: Pace::new(),
            watch,
        };
        stage.writing.placed(|writing| writing.brief(|write| Ok(write.execute_batch(&sql)?)))?;
        Ok(stage)
    }

    /// The shape of the rows.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Calls `each` with the number of rows so far, now and then, while the write lock is free: it
    /// may block.
    pub fn watch(&mut self, watch: Watch<'w>) {
        self.watch = watch;
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// See [`super::Stage::digest`].
    pub fn digest(&mut self, each: &dyn Fn(u64)) -> Result<(u64, Digest)> {
        let path = self.writing.path().to_owned();
        Ok(self.hashed(each).map_err(|error| at(error, &path))?)
    }

    /// The same, in short reads.
    fn hashed(&mut self, each: &dyn Fn(u64)) -> Result<(u64, Digest), Error> {
        self.commit()?;
        let columns = self.layout.columns.iter().filter_map(|column| identifier(&column.name));
        let list: String = columns.map(|quoted| format!(", {quoted}")).collect();
        let sql = format!(
            "SELECT sys__id, sys__rand{list} FROM {} WHERE sys__id >= ?1 ORDER BY sys__id LIMIT {READ}",
            self.table()
        );
        let cells = self.layout.columns.len() + 1;
        let mut hashed = Hashed::new(&self.layout);
        let mut statement = self.writing.connection().prepare(&sql)?;
        let mut next = Some(i64::MIN);
        while let Some(first) = next.take() {
            let mut rows = statement.query([first])?;
            while let Some(row) = rows.next()? {
                let id: i64 = row.get(0)?;
                let cells: Vec<Cell<'_>> = (1..=cells)
                    .map(|index| Ok(preview::of_value(row.get_ref(index)?)))
                    .collect::<rusqlite::Result<_>>()?;
                hashed.add(id, &&cells[..], each)?;
                next = id.checked_add(1);
            }
        }
        Ok(hashed.end())
    }

    /// See [`super::Stage::publish`].
    pub fn publish(
        mut self,
        publication: &Publication<'_>,
        copied: Option<&Copied<'_>>,
    ) -> Result<Saved> {
        let table = self.lock.as_ref().map(Lock::id).unwrap_or_default().to_owned();
        let layout = std::mem::take(&mut self.layout);
        let saved = self.writing.placed(|writing| {
            publish::publish(writing, &format!("{PREFIX}{table}"), &layout, (publication, copied))
        })?;
        if let Some(lock) = self.lock.take() {
            lock.end();
        }
        Ok(saved)
    }

    /// The stage's table, quoted for SQL.
    pub(super) fn table(&self) -> String {
        quoted(self.lock.as_ref().map(Lock::id).unwrap_or_default())
    }

    /// Begins a transaction if none is open.
    pub(super) fn start(&mut self) -> Result<(), Error> {
        if self.turn.is_none() {
            self.writing.connection().execute_batch("BEGIN IMMEDIATE")?;
            self.turn = Some(Instant::now());
        }
        Ok(())
    }

    /// Whether the lock has been held for as long as allowed.
    pub(super) fn is_over(&self) -> bool {
        self.turn.is_some_and(|since| since.elapsed() >= HELD)
    }

    /// Reports the number of rows so far.
    pub(super) fn tell(&self) {
        self.watch.tell(self.rows);
    }

    pub(super) fn roll_back(&mut self) {
        self.turn = None;
        if !self.writing.connection().is_autocommit() {
            self.writing.connection().execute_batch("ROLLBACK").ok();
        }
    }

    pub(super) fn commit(&mut self) -> Result<(), Error> {
        if self.turn.take().is_some() {
            self.writing.connection().execute_batch("COMMIT")?;
        }
        Ok(())
    }
}

/// Gives up an unpublished stage. A table that cannot be dropped now is left to the next writer.
impl Drop for FileStage<'_> {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        self.roll_back();
        if let Err(error) = sweep::one(self.writing, lock) {
            tracing::debug!(%error, "a stage is left to the next writer");
        }
    }
}

/// The table of a stage, quoted for SQL.
pub fn quoted(id: &str) -> String {
    format!("\"{PREFIX}{id}\"")
}

//! Rows on their way into SQLite: a table without a version, filled in short transactions.

use std::time::Instant;

use super::connection::Writing;
use super::error::Refused;
use super::lock::Lock;
use super::pace::Pace;
use super::publish::{self, Copied, Publication, Saved};
use super::stage::Watch;
use super::{HELD, sweep};
use crate::catalog::columns::identifier;
use crate::catalog::error::Error;
use dcfs_core::error::Result;
use dcfs_core::schema::Layout;

/// How the tables of stages are called; not `tmp_`, which DataChain's clearing drops while they are in use.
pub const PREFIX: &str = "dcfs_stage_";

/// A new version's rows in SQLite; see [`super::Stage`].
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
        // From here on a failure drops the stage, and with it the table if it was made.
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

    /// What the rows look like.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Tells `each` the rows so far, now and then, while the write lock is free: it may wait.
    pub fn watch(&mut self, watch: Watch<'w>) {
        self.watch = watch;
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
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

    /// The stage's table, for SQL.
    pub(super) fn table(&self) -> String {
        quoted(self.lock.as_ref().map(Lock::id).unwrap_or_default())
    }

    /// Begins a transaction where none is open.
    pub(super) fn start(&mut self) -> Result<(), Error> {
        if self.turn.is_none() {
            self.writing.connection().execute_batch("BEGIN IMMEDIATE")?;
            self.turn = Some(Instant::now());
        }
        Ok(())
    }

    /// Whether the lock has been held for as long as it may be.
    pub(super) fn is_over(&self) -> bool {
        self.turn.is_some_and(|since| since.elapsed() >= HELD)
    }

    /// Tells the rows so far.
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

/// Gives up what was not published. What cannot be dropped now is left to the next writer.
impl Drop for FileStage<'_> {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        self.roll_back();
        if let Err(error) = sweep::one(self.writing, lock) {
            tracing::debug!(%error, "a stage is left to the next writer");
        }
    }
}

/// The table of a stage, for SQL.
pub fn quoted(id: &str) -> String {
    format!("\"{PREFIX}{id}\"")
}

//! Stages: tables without a version, filled with rows in short transactions.

use std::fmt;
use std::ops::RangeInclusive;
use std::slice;
use std::time::Instant;

use super::connection::Writing;
use super::error::Refused;
use super::lock::Lock;
use super::mix::Piece;
use super::pace::Pace;
use super::publish::{self, Publication, Saved};
use super::{HELD, sweep};
use crate::catalog::VersionInfo;
use crate::catalog::columns::identifier;
use crate::catalog::error::Error;
use dcfs_core::cell::Cell;
use dcfs_core::error::Result;
use dcfs_core::id::RowId;
use dcfs_core::schema::Layout;

/// The prefix of stage tables; not `tmp_`, because DataChain's clean-up drops such tables while
/// they are in use.
pub const PREFIX: &str = "dcfs_stage_";

/// The rows of a new version. If dropped without [`Stage::publish`], nothing is left.
#[derive(Debug)]
pub struct Stage<'w> {
    pub(super) writing: &'w mut Writing,
    layout: Layout,
    lock: Option<Lock>,
    pub(super) rows: u64,
    turn: Option<Instant>,
    pub(super) pace: Pace,
    watch: Watch<'w>,
}

/// A callback for the number of rows, called between transactions.
struct Watch<'w>(Box<dyn Fn(u64) + 'w>);

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl<'w> Stage<'w> {
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
        let watch = Watch(Box::new(|_| ()));
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
    pub fn watch(&mut self, each: impl Fn(u64) + 'w) {
        self.watch = Watch(Box::new(each));
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds rows, each with a cell for every column of the layout; missing ones are NULL. `rows`
    /// should not block: the write lock may be held meanwhile.
    ///
    /// # Errors
    /// A full disk, a catalog locked for long. Part of the batch may have been added: drop the
    /// stage.
    pub fn insert<'r, R: AsRef<[Cell<'r>]>>(
        &mut self,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<()> {
        self.mix(&[], &[], rows.into_iter().map(Piece::New))
    }

    /// Copies rows of a version, in the given order, with their `sys__rand`. A column that the
    /// version's table lacks is NULL. `ranges` should not block.
    ///
    /// # Errors
    /// As [`Stage::insert`]; [`dcfs_core::error::Kind::Stale`] if the version is removed meanwhile.
    pub fn copy(
        &mut self,
        of: &VersionInfo,
        ranges: impl IntoIterator<Item = RangeInclusive<RowId>>,
    ) -> Result<()> {
        let pieces = ranges.into_iter().map(|range| Piece::<[Cell<'_>; 0]>::Rows(0, range));
        self.mix(slice::from_ref(of), &[], pieces)
    }

    /// Publishes the rows as a version, in one short transaction.
    ///
    /// # Errors
    /// A refused name or number; as [`Stage::insert`]. Nothing was changed then.
    pub fn publish(mut self, publication: &Publication<'_>) -> Result<Saved> {
        let table = self.lock.as_ref().map(Lock::id).unwrap_or_default().to_owned();
        let layout = std::mem::take(&mut self.layout);
        let saved = self.writing.placed(|writing| {
            publish::publish(writing, &format!("{PREFIX}{table}"), &layout, publication)
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
        (self.watch.0)(self.rows);
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
impl Drop for Stage<'_> {
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

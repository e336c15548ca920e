//! Rows on their way in: a table without a version, filled in short transactions.

use std::fmt;
use std::ops::RangeInclusive;
use std::thread::sleep;
use std::time::Instant;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql, params_from_iter};

use super::connection::{Writing, at};
use super::error::Refused;
use super::lock::Lock;
use super::pace::Pace;
use super::publish::{self, Publication, Saved};
use super::{HELD, REST, sweep};
use crate::catalog::VersionInfo;
use crate::catalog::columns::identifier;
use crate::catalog::error::Error;
use crate::catalog::rows::{Table, patiently};
use crate::cell::Cell;
use crate::error::Result;
use crate::id::RowId;
use crate::schema::Layout;

/// How the tables of stages are called; not `tmp_`, which DataChain's clearing drops while they are in use.
pub const PREFIX: &str = "dcfs_stage_";

/// Rows between looks at the clock.
pub(super) const LOOK: usize = 128;

/// A new version's rows. Dropped without [`Stage::publish`], nothing is left.
#[derive(Debug)]
pub struct Stage<'w> {
    pub(super) writing: &'w mut Writing,
    layout: Layout,
    lock: Option<Lock>,
    pub(super) rows: u64,
    turn: Option<Instant>,
    watch: Watch<'w>,
}

/// Who is told how many rows there are, between two transactions.
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
        // From here on a failure drops the stage, and with it the table if it was made.
        let stage = Self { writing, layout, lock: Some(lock), rows: 0, turn: None, watch };
        stage.writing.placed(|writing| writing.brief(|write| Ok(write.execute_batch(&sql)?)))?;
        Ok(stage)
    }

    /// What the rows look like.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Tells `each` the rows so far, now and then, while the write lock is free: it may wait.
    pub fn watch(&mut self, each: impl Fn(u64) + 'w) {
        self.watch = Watch(Box::new(each));
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds rows, each with a cell for every column of the layout; missing ones are NULL. `rows` should not wait
    /// on anything: the write lock may be held meanwhile.
    ///
    /// # Errors
    /// A full disk, a catalog locked for long. The rows of the batch may be there in part: the stage is to be dropped.
    pub fn insert<'r, R: AsRef<[Cell<'r>]>>(
        &mut self,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<()> {
        let width = self.layout.columns.len();
        let names: Vec<&str> = self.layout.columns.iter().map(|c| c.name.as_str()).collect();
        let marks: Vec<String> = (1..=width).map(|n| format!("?{n}")).collect();
        let sql = self.insertion(&names, &format!("VALUES ({})", marks.join(", ")));
        Ok(self.batch(rows.into_iter(), |connection, row| {
            let cells = (0..width).map(|at| Bound(row.as_ref().get(at)));
            Ok(connection.prepare_cached(&sql)?.execute(params_from_iter(cells))?)
        })?)
    }

    /// Copies rows of a version, in the order given, with their `sys__rand`. A column that the version's table lacks is
    /// NULL. `ranges` should not wait on anything.
    ///
    /// # Errors
    /// As [`Stage::insert`]; [`crate::error::Kind::Stale`] where the version is removed meanwhile.
    pub fn copy(
        &mut self,
        of: &VersionInfo,
        ranges: impl IntoIterator<Item = RangeInclusive<RowId>>,
    ) -> Result<()> {
        let mut open = ranges.into_iter();
        let mut rest: Option<RangeInclusive<RowId>> = None;
        let mut pace = Pace::new();
        let mut next = move |source: &Table<'_>, rows: i64| {
            let Some(range) = rest.take().or_else(|| open.next()) else {
                return Ok::<_, Error>(None);
            };
            let (first, last) = (range.start().key(), range.end().key());
            let end = match last.checked_sub(first) {
                Some(length) if length < rows => last,
                _ => source.nth(first, rows)?.unwrap_or(last).min(last),
            };
            rest = (end < last).then(|| RowId::new(end + 1)..=RowId::new(last));
            Ok(Some((first, end)))
        };
        Ok(self.copying(of, &[], |stage, sql, source| {
            let mut statement = stage.writing.connection().prepare_cached(sql)?;
            let mut copied = 0;
            while let Some((first, last)) = next(source, pace.rows())? {
                copied += pace.run(|| statement.execute([first, last]))?;
                if stage.is_over() {
                    return Ok((copied, true));
                }
            }
            Ok((copied, false))
        })?)
    }

    /// Copies single rows of a version, in the order given, with other values in `columns` (of the layout).
    ///
    /// # Errors
    /// As [`Stage::copy`].
    pub fn copy_with<'r, R: AsRef<[Cell<'r>]>>(
        &mut self,
        of: &VersionInfo,
        columns: &[&str],
        rows: impl IntoIterator<Item = (RowId, R)>,
    ) -> Result<()> {
        let mut rows = rows.into_iter();
        Ok(self.copying(of, columns, |stage, sql, _| {
            let mut statement = stage.writing.connection().prepare_cached(sql)?;
            let mut copied = 0;
            for (count, (row, cells)) in rows.by_ref().enumerate() {
                copied += one(&mut statement, row, columns.len(), cells.as_ref())?;
                if count % LOOK == LOOK - 1 && stage.is_over() {
                    return Ok((copied, true));
                }
            }
            Ok((copied, false))
        })?)
    }

    /// Makes the rows a version, in one short transaction.
    ///
    /// # Errors
    /// A name or a number that is refused; as [`Stage::insert`]. Then nothing was changed.
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

    /// `INSERT INTO stage (columns) <what>`.
    pub(super) fn insertion(&self, columns: &[&str], what: &str) -> String {
        let names: Vec<String> = columns.iter().filter_map(|name| identifier(name)).collect();
        let id = self.lock.as_ref().map(Lock::id).unwrap_or_default();
        match names.is_empty() {
            true => format!("INSERT INTO {} DEFAULT VALUES", quoted(id)),
            false => format!("INSERT INTO {} ({}) {what}", quoted(id), names.join(", ")),
        }
    }

    /// One statement for each row, in transactions that end in time.
    fn batch<R>(
        &mut self,
        rows: impl Iterator<Item = R>,
        mut write: impl FnMut(&Connection, R) -> Result<usize, Error>,
    ) -> Result<(), Error> {
        let path = self.writing.path().to_owned();
        let all = || {
            for (count, row) in rows.enumerate() {
                self.start()?;
                self.rows += write(self.writing.connection(), row)? as u64;
                if count % LOOK == LOOK - 1 && self.is_over() {
                    self.commit()?;
                    self.rest();
                }
            }
            self.commit()
        };
        all().map_err(|error: Error| at(error, &path))
    }

    /// Runs `some` with the statement that copies from `of` until it says that nothing is left; each time in a
    /// transaction of its own, for which the version's table is looked for anew.
    fn copying(
        &mut self,
        of: &VersionInfo,
        columns: &[&str],
        mut some: impl FnMut(&Self, &str, &Table<'_>) -> Result<(usize, bool), Error>,
    ) -> Result<(), Error> {
        let path = self.writing.path().to_owned();
        let mut all = || loop {
            self.start_on(of)?;
            let source = Table::of(self.writing.connection(), of)?;
            let sql = self.copy_sql(&source, columns)?;
            let (copied, is_more) = some(self, &sql, &source)?;
            self.rows += copied as u64;
            self.commit()?;
            if !is_more {
                (self.watch.0)(self.rows);
                return Ok(());
            }
            self.rest();
        };
        all().map_err(|error: Error| at(error, &path))
    }

    /// Begins a transaction in which the rows of `of` are there. DataChain renames a dataset first and its tables right
    /// after: between the two it is waited, without the lock.
    fn start_on(&mut self, of: &VersionInfo) -> Result<(), Error> {
        patiently(|| {
            self.start()?;
            let source = Table::of(self.writing.connection(), of);
            let there = source.and_then(|source| source.columns().map(drop));
            if there.is_err() {
                self.roll_back();
            }
            there
        })
    }

    /// Without other values, for a range of rows; else for one row, ?1, and the values of `columns` from ?2 on.
    pub(super) fn copy_sql(&self, source: &Table<'_>, columns: &[&str]) -> Result<String, Error> {
        let there = source.columns()?;
        let given = |name: &str| columns.iter().position(|column| *column == name);
        let mut names = Vec::new();
        let mut values = Vec::new();
        if there.has("sys__rand") {
            names.push("sys__rand");
            values.push("t.sys__rand".to_owned());
        }
        for column in &self.layout.columns {
            names.push(&column.name);
            values.push(match given(&column.name) {
                Some(at) => format!("?{}", at + 2),
                None => there.or_null("t", &column.name),
            });
        }
        let condition = match columns {
            [] => "t.sys__id BETWEEN ?1 AND ?2 ORDER BY t.sys__id",
            _ => "t.sys__id = ?1",
        };
        let from = format!("FROM {} t WHERE {condition}", source.quoted());
        Ok(self.insertion(&names, &format!("SELECT {} {from}", values.join(", "))))
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

    /// Lets others come to their turn.
    pub(super) fn rest(&self) {
        (self.watch.0)(self.rows);
        sleep(REST);
    }

    fn roll_back(&mut self) {
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
impl Drop for Stage<'_> {
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

/// Copies one row.
pub(super) fn one(
    statement: &mut Statement<'_>,
    row: RowId,
    columns: usize,
    cells: &[Cell<'_>],
) -> Result<usize, Error> {
    statement.raw_bind_parameter(1, row.key())?;
    for at in 0..columns {
        statement.raw_bind_parameter(at + 2, Bound(cells.get(at)))?;
    }
    Ok(statement.raw_execute()?)
}

/// A cell as a parameter.
pub(super) struct Bound<'c>(pub(super) Option<&'c Cell<'c>>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            None | Some(Cell::Null) => ValueRef::Null,
            Some(Cell::Integer(n)) => ValueRef::Integer(*n),
            Some(Cell::Real(x)) => ValueRef::Real(*x),
            Some(Cell::Text(text)) => ValueRef::Text(text),
            Some(Cell::Blob(bytes)) => ValueRef::Blob(bytes),
        }))
    }
}

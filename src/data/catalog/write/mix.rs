//! Adds rows to a stage in a given order: new rows, rows of versions as they are, and rows of
//! versions with other values.

use std::ops::RangeInclusive;
use std::thread::sleep;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Statement, ToSql};

use super::REST;
use super::connection::at;
use super::in_file::FileStage;
use super::pace::Pace;
use crate::catalog::VersionInfo;
use crate::catalog::columns::{Columns, identifier};
use crate::catalog::error::Error;
use crate::catalog::sqlite::rows::{Table, patiently};
use dcfs_core::cell::Cell;
use dcfs_core::error::Result;
use dcfs_core::id::RowId;

/// Rows between checks of the clock.
const LOOK: usize = 128;

/// Some rows of a new version. Versions are identified by their index in the list given to
/// [`Stage::mix`](super::Stage::mix).
#[derive(Clone, Debug)]
pub enum Piece<R> {
    /// Rows of a version, with their `sys__rand`.
    Rows(usize, RangeInclusive<RowId>),
    /// A row of a version, with other values in the columns given to [`Stage::mix`](super::Stage::mix).
    Row(usize, RowId, R),
    /// A new row: cells for the columns that were not given to [`Stage::mix`](super::Stage::mix), then for those that
    /// were.
    New(R),
}

impl<R> Piece<R> {
    /// Adds an unchanged row to `pieces`: extends the last piece if the row follows it.
    pub fn copied(pieces: &mut Vec<Self>, of: usize, row: RowId) {
        if let Some(Self::Rows(last, range)) = pieces.last_mut()
            && *last == of
            && range.end().key().checked_add(1) == Some(row.key())
        {
            *range = *range.start()..=row;
            return;
        }
        pieces.push(Self::Rows(of, row..=row));
    }
}

/// Pieces that are not copied yet.
struct Left<R, I> {
    first: Option<Piece<R>>,
    more: I,
}

impl<R, I: Iterator<Item = Piece<R>>> Left<R, I> {
    fn next(&mut self) -> Option<Piece<R>> {
        self.first.take().or_else(|| self.more.next())
    }
}

impl FileStage<'_> {
    /// Adds rows in the given order, some of them from the versions `of`, in transactions limited
    /// in time. `pieces` should not block.
    ///
    /// # Errors
    /// As [`Stage::copy`](super::Stage::copy).
    pub fn mix<'r, R: AsRef<[Cell<'r>]>>(
        &mut self,
        of: &[VersionInfo],
        columns: &[&str],
        pieces: impl IntoIterator<Item = Piece<R>>,
    ) -> Result<()> {
        let path = self.writing.path().to_owned();
        let left = Left { first: None, more: pieces.into_iter() };
        Ok(self.all(of, columns, left).map_err(|error| at(error, &path))?)
    }

    fn all<'r, R: AsRef<[Cell<'r>]>>(
        &mut self,
        of: &[VersionInfo],
        columns: &[&str],
        mut left: Left<R, impl Iterator<Item = Piece<R>>>,
    ) -> Result<(), Error> {
        let mut told = None;
        loop {
            left.first = left.next();
            if left.first.is_none() {
                if told != Some(self.rows) {
                    self.tell();
                }
                return Ok(());
            }
            self.start_on(of)?;
            let mut pace = self.pace;
            let (added, is_more) = self.some(of, columns, &mut left, &mut pace)?;
            self.pace = pace;
            self.rows += added as u64;
            self.commit()?;
            if is_more {
                self.tell();
                told = Some(self.rows);
                // Gives others their turn.
                sleep(REST);
            }
        }
    }

    /// Begins a transaction in which the tables of `of` exist. DataChain renames a dataset first
    /// and its tables right after: in between we wait, without the lock.
    fn start_on(&mut self, of: &[VersionInfo]) -> Result<(), Error> {
        patiently(|| {
            self.start()?;
            let there = of
                .iter()
                .try_for_each(|of| Table::of(self.writing.connection(), of)?.columns().map(drop));
            if there.is_err() {
                self.roll_back();
            }
            there
        })
    }

    /// Adds as many pieces as [`super::HELD`] allows; returns the number of rows, and whether time
    /// was up.
    fn some<'r, R: AsRef<[Cell<'r>]>>(
        &self,
        of: &[VersionInfo],
        columns: &[&str],
        left: &mut Left<R, impl Iterator<Item = Piece<R>>>,
        pace: &mut Pace,
    ) -> Result<(usize, bool), Error> {
        let connection = self.writing.connection();
        let tables: Vec<Table<'_>> =
            of.iter().map(|of| Table::of(connection, of)).collect::<Result<_, Error>>()?;
        let mut sources: Vec<Source<'_>> =
            tables.iter().map(|table| self.source(table, columns)).collect::<Result<_, Error>>()?;
        let (new, width) = self.addition(columns);
        let mut new = connection.prepare_cached(&new)?;
        let (mut added, mut count) = (0, 0);
        while let Some(piece) = left.next() {
            count += 1;
            // A range may be many rows.
            let mut is_time = count % LOOK == 0;
            match piece {
                Piece::New(cells) => added += one(&mut new, 1, width, cells.as_ref())?,
                Piece::Row(number, row, cells) => {
                    let single = &mut sources[number].single;
                    single.raw_bind_parameter(1, row.key())?;
                    added += one(single, 2, columns.len(), cells.as_ref())?;
                }
                Piece::Rows(number, range) => {
                    let (done, rest) = sources[number].copy(&range, pace)?;
                    added += done;
                    is_time = true;
                    left.first = rest.map(|rest| Piece::Rows(number, rest));
                }
            }
            if is_time && self.is_over() {
                return Ok((added, true));
            }
        }
        Ok((added, false))
    }

    /// SQL that adds a new row, and the number of its cells.
    fn addition(&self, columns: &[&str]) -> (String, usize) {
        let own = self.layout().columns.iter().map(|column| column.name.as_str());
        let names: Vec<&str> =
            own.filter(|name| !columns.contains(name)).chain(columns.iter().copied()).collect();
        let marks: Vec<String> = (1..=names.len()).map(|n| format!("?{n}")).collect();
        (self.insertion(&names, &format!("VALUES ({})", marks.join(", "))), names.len())
    }

    fn source<'t>(&'t self, table: &'t Table<'t>, columns: &[&str]) -> Result<Source<'t>, Error> {
        let connection = self.writing.connection();
        let there = table.columns()?;
        let range =
            self.copy_sql((table, &there), &[], "t.sys__id BETWEEN ?1 AND ?2 ORDER BY t.sys__id");
        let single = self.copy_sql((table, &there), columns, "t.sys__id = ?1");
        let (ranges, single) =
            (connection.prepare_cached(&range)?, connection.prepare_cached(&single)?);
        Ok(Source { table, ranges, single })
    }

    /// SQL that copies the rows for which `condition` is true, with the values of `columns` from ?2
    /// on.
    fn copy_sql(
        &self,
        (source, there): (&Table<'_>, &Columns),
        columns: &[&str],
        condition: &str,
    ) -> String {
        let given = |name: &str| columns.iter().position(|column| *column == name);
        let mut names = Vec::new();
        let mut values = Vec::new();
        if there.has("sys__rand") {
            names.push("sys__rand");
            values.push("t.sys__rand".to_owned());
        }
        for column in &self.layout().columns {
            names.push(&column.name);
            values.push(match given(&column.name) {
                Some(at) => format!("?{}", at + 2),
                None => there.or_null("t", &column.name),
            });
        }
        let from = format!("FROM {} t WHERE {condition}", source.quoted());
        self.insertion(&names, &format!("SELECT {} {from}", values.join(", ")))
    }

    /// `INSERT INTO stage (columns) <what>`.
    fn insertion(&self, columns: &[&str], what: &str) -> String {
        let names: Vec<String> = columns.iter().filter_map(|name| identifier(name)).collect();
        match names.is_empty() {
            true => format!("INSERT INTO {} DEFAULT VALUES", self.table()),
            false => format!("INSERT INTO {} ({}) {what}", self.table(), names.join(", ")),
        }
    }
}

/// A version's table, and the statements that copy from it.
struct Source<'t> {
    table: &'t Table<'t>,
    ranges: CachedStatement<'t>,
    single: CachedStatement<'t>,
}

impl Source<'_> {
    /// Copies the beginning of a range; returns the number of rows, and the rest of the range.
    fn copy(
        &mut self,
        range: &RangeInclusive<RowId>,
        pace: &mut Pace,
    ) -> Result<(usize, Option<RangeInclusive<RowId>>), Error> {
        let (first, last) = (range.start().key(), range.end().key());
        let end = match last.checked_sub(first) {
            Some(length) if length < pace.rows() => last,
            _ => self.table.nth(first, pace.rows())?.unwrap_or(last).min(last),
        };
        let copied = pace.run(|| self.ranges.execute([first, end]))?;
        Ok((copied, (end < last).then(|| RowId::new(end + 1)..=*range.end())))
    }
}

/// Adds one row, with `width` cells from the parameter `first` on; missing ones are NULL.
fn one(
    statement: &mut Statement<'_>,
    first: usize,
    width: usize,
    cells: &[Cell<'_>],
) -> Result<usize, Error> {
    for at in 0..width {
        statement.raw_bind_parameter(first + at, Bound(cells.get(at)))?;
    }
    Ok(statement.raw_execute()?)
}

/// A cell as a parameter.
struct Bound<'c>(Option<&'c Cell<'c>>);

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

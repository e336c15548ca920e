//! Rows of several versions, and rows with values of their own, in one order.

use std::ops::RangeInclusive;

use rusqlite::{CachedStatement, params_from_iter};

use super::connection::at;
use super::pace::Pace;
use super::stage::{Bound, LOOK, Stage, one};
use crate::catalog::VersionInfo;
use crate::catalog::error::Error;
use crate::catalog::rows::Table;
use crate::cell::Cell;
use crate::error::Result;
use crate::id::RowId;

/// Some rows of a new version. Versions are told by their place in the list given to [`Stage::mix`].
#[derive(Clone, Debug)]
pub enum Piece<R> {
    /// Rows of a version, with their `sys__rand`.
    Rows(usize, RangeInclusive<RowId>),
    /// A row of a version, with other values in the columns given to [`Stage::mix`].
    Row(usize, RowId, R),
    /// A row of no version: cells for the columns that were not given to [`Stage::mix`], then for those that were.
    New(R),
}

/// Pieces that are not copied yet.
struct Left<R, I> {
    first: Option<Piece<R>>,
    more: I,
    pace: Pace,
}

impl<R, I: Iterator<Item = Piece<R>>> Left<R, I> {
    fn next(&mut self) -> Option<Piece<R>> {
        self.first.take().or_else(|| self.more.next())
    }
}

impl Stage<'_> {
    /// Copies rows of several versions, in the order given. `pieces` should not wait on anything.
    ///
    /// # Errors
    /// As [`Stage::copy`].
    pub fn mix<'r, R: AsRef<[Cell<'r>]>>(
        &mut self,
        of: &[VersionInfo],
        columns: &[&str],
        pieces: impl IntoIterator<Item = Piece<R>>,
    ) -> Result<()> {
        let mut left = Left { first: None, more: pieces.into_iter(), pace: Pace::new() };
        let path = self.writing.path().to_owned();
        let mut all = || loop {
            left.first = left.next();
            if left.first.is_none() {
                return Ok(());
            }
            self.start()?;
            let (copied, is_more) = self.some(of, columns, &mut left)?;
            self.rows += copied as u64;
            self.commit()?;
            if is_more {
                self.rest();
            }
        };
        all().map_err(|error: Error| at(error, &path))?;
        Ok(())
    }

    /// As many pieces as [`super::HELD`] allows: how many rows they were, and whether time was up.
    fn some<'r, R: AsRef<[Cell<'r>]>>(
        &self,
        of: &[VersionInfo],
        columns: &[&str],
        left: &mut Left<R, impl Iterator<Item = Piece<R>>>,
    ) -> Result<(usize, bool), Error> {
        let tables: Vec<Table<'_>> = of
            .iter()
            .map(|of| Table::of(self.writing.connection(), of))
            .collect::<Result<_, Error>>()?;
        let mut sources: Vec<Source<'_>> =
            tables.iter().map(|table| self.source(table, columns)).collect::<Result<_, Error>>()?;
        let (mut copied, mut count) = (0, 0);
        while let Some(piece) = left.next() {
            count += 1;
            // A range may be many rows.
            let mut is_time = count % LOOK == 0;
            match piece {
                Piece::New(cells) => copied += self.add(columns, cells.as_ref())?,
                Piece::Row(number, row, cells) => {
                    let statement = &mut sources[number].single;
                    copied += one(statement, row, columns.len(), cells.as_ref())?;
                }
                Piece::Rows(number, range) => {
                    let (done, rest) = sources[number].copy(&range, &mut left.pace)?;
                    copied += done;
                    is_time = true;
                    left.first = rest.map(|rest| Piece::Rows(number, rest));
                }
            }
            if is_time && self.is_over() {
                return Ok((copied, true));
            }
        }
        Ok((copied, false))
    }

    /// Adds a row that is in no version.
    fn add(&self, columns: &[&str], cells: &[Cell<'_>]) -> Result<usize, Error> {
        let own = self.layout().columns.iter().map(|column| column.name.as_str());
        let names: Vec<&str> =
            own.filter(|name| !columns.contains(name)).chain(columns.iter().copied()).collect();
        let marks: Vec<String> = (1..=names.len()).map(|n| format!("?{n}")).collect();
        let sql = self.insertion(&names, &format!("VALUES ({})", marks.join(", ")));
        let cells = (0..names.len()).map(|at| Bound(cells.get(at)));
        Ok(self.writing.connection().prepare_cached(&sql)?.execute(params_from_iter(cells))?)
    }

    fn source<'t>(&'t self, table: &'t Table<'t>, columns: &[&str]) -> Result<Source<'t>, Error> {
        let connection = self.writing.connection();
        let ranges = connection.prepare_cached(&self.copy_sql(table, &[])?)?;
        let single = connection.prepare_cached(&self.copy_sql(table, columns)?)?;
        Ok(Source { table, ranges, single })
    }
}

/// A version's table, and how it is copied from.
struct Source<'t> {
    table: &'t Table<'t>,
    ranges: CachedStatement<'t>,
    /// Not to be used where no columns are given.
    single: CachedStatement<'t>,
}

impl Source<'_> {
    /// Copies the beginning of a range: how many rows, and what is left of it.
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

//! Saves a version of another's rows: those that a filter selects, in its order, or all.
//!
//! Types and cells are those of the source, word for word: rows are copied inside the database, by runs of ids, and nothing
//! of them is read here. Where ClickHouse is told all of a filter, not even ids are.

use std::ops::RangeInclusive;

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::sql::Sql;
use dcfs_core::id::RowId;
use dcfs_data::catalog::{Catalog, Publication, Saved, VersionInfo, Writer};
use dcfs_data::pack::Pack;
use dcfs_data::query::Selected;

/// The rows of a version to save.
#[derive(Clone, Copy, Debug)]
pub enum Chosen<'s> {
    All,
    /// The rows of a set, in its order if it has one.
    Some(&'s Pack, &'s Selected),
}

/// Saves the rows `chosen` of `of` as a new version; calls `each` with the number of rows copied so
/// far.
///
/// # Errors
/// [`Kind::Stale`] if the version is removed meanwhile, or its rows are not those that were packed;
/// errors of the catalog. Nothing was saved then.
pub fn save<'w>(
    (catalog, of): (&Catalog, &VersionInfo),
    chosen: Chosen<'_>,
    writer: &'w mut Writer,
    publication: &Publication<'_>,
    each: impl Fn(u64) + 'w,
) -> Result<Saved> {
    let mut stage = writer.stage(catalog.layout(of)?)?;
    stage.watch(each);
    match chosen {
        Chosen::All => stage.copy(of, [RowId::ALL])?,
        Chosen::Some(pack, selected) => {
            stage.copy(of, ids(pack, selected)?)?;
            if stage.rows()? != selected.rows.len() {
                let message = format!("the rows of `{of}` are not those that were packed");
                return Err(Error::new(Kind::Stale, message));
            }
        }
    }
    stage.publish(publication)
}

/// The same of the rows for which a filter is true that the engine beside the rows is told as a whole: they are copied there,
/// and nobody looks for them here.
///
/// # Errors
/// As [`save()`]; a catalog without such an engine.
pub fn told<'w>(
    (catalog, of): (&Catalog, &VersionInfo),
    filter: &Sql,
    writer: &'w mut Writer,
    publication: &Publication<'_>,
    each: impl Fn(u64) + 'w,
) -> Result<Saved> {
    let mut stage = writer.stage(catalog.layout(of)?)?;
    stage.watch(each);
    if !stage.select(of, filter)? {
        return Err(Error::new(Kind::Broken, "a filter was told to no engine"));
    }
    stage.publish(publication)
}

/// The ids of a set in its order, as ranges that are as long as they can be.
pub(crate) fn ids<'s>(
    pack: &'s Pack,
    selected: &'s Selected,
) -> Result<impl Iterator<Item = RangeInclusive<RowId>> + 's> {
    let ids = pack.ids()?;
    let runs: Box<dyn Iterator<Item = RangeInclusive<u32>>> = match &selected.ranking {
        Some(ranking) => Box::new(runs(ranking.rows.iter().map(|ranked| ranked.row))),
        None => {
            let mut rows = selected.rows.iter();
            Box::new(std::iter::from_fn(move || rows.next_range()))
        }
    };
    // A row that the pack does not have is detected when rows are counted.
    Ok(runs.filter_map(|run| Some(ids.get(*run.start())?..=ids.get(*run.end())?)))
}

/// Groups consecutive numbers into ranges.
fn runs(rows: impl Iterator<Item = u32>) -> impl Iterator<Item = RangeInclusive<u32>> {
    let mut rows = rows.peekable();
    std::iter::from_fn(move || {
        let first = rows.next()?;
        let mut last = first;
        while let Some(next) = rows.next_if(|next| last.checked_add(1) == Some(*next)) {
            last = next;
        }
        Some(first..=last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_follow_each_other_are_one_range() {
        let cases: [(&[u32], &[RangeInclusive<u32>]); 5] = [
            (&[], &[]),
            (&[7], &[7..=7]),
            (&[1, 2, 3, 9, 8, 10], &[1..=3, 9..=9, 8..=8, 10..=10]),
            (&[3, 3, 4], &[3..=3, 3..=4]),
            (&[u32::MAX - 1, u32::MAX, 0], &[u32::MAX - 1..=u32::MAX, 0..=0]),
        ];
        for (rows, want) in cases {
            assert_eq!(runs(rows.iter().copied()).collect::<Vec<_>>(), want, "{rows:?}");
        }
    }
}

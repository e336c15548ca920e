//! Finds the columns in which pairs of rows differ: pairs stored with different texts are read
//! again, many at a time.

use std::ops::{ControlFlow, RangeInclusive};

use super::plan::{Pair, Plan};
use super::row::{Keys, Kind};
use super::{Counts, Difference, Each};
use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::error::{Error, Result};
use dcfs_core::id::RowId;

/// Memory for the values of one batch, in bytes.
const MEMORY: usize = 16 << 20;

/// The most pairs in one batch.
const MOST: usize = 1 << 16;

/// Pairs waiting to be compared.
pub struct Looker<'l> {
    catalog: &'l Catalog,
    versions: (&'l VersionInfo, &'l VersionInfo),
    plan: &'l Plan,
    keys: &'l Keys,
    pairs: Vec<(RowId, RowId)>,
    most: usize,
}

impl<'l> Looker<'l> {
    pub fn new(
        catalog: &'l Catalog,
        left: &'l VersionInfo,
        right: &'l VersionInfo,
        plan: &'l Plan,
        keys: &'l Keys,
    ) -> Self {
        let most = (MEMORY / 16 / plan.compared.len().max(1)).clamp(1, MOST);
        Self { catalog, versions: (left, right), plan, keys, pairs: Vec::new(), most }
    }

    /// Adds a pair.
    pub fn push(
        &mut self,
        pair: (RowId, RowId),
        counts: &mut Counts,
        each: &mut Each<'_>,
    ) -> Result<()> {
        self.pairs.push(pair);
        if self.pairs.len() == self.most { self.finish(counts, each) } else { Ok(()) }
    }

    /// Compares the waiting pairs.
    pub fn finish(&mut self, counts: &mut Counts, each: &mut Each<'_>) -> Result<()> {
        let pairs = std::mem::take(&mut self.pairs);
        let (left, right) = self.versions;
        let lefts = self.said(left, Pair::of_left, pairs.iter().map(|pair| pair.0))?;
        let rights = self.said(right, Pair::of_right, pairs.iter().map(|pair| pair.1))?;
        let width = self.plan.compared.len().max(1);
        let both = lefts.chunks(width).zip(rights.chunks(width));
        let mut columns = Vec::new();
        for ((left, right), (one, other)) in pairs.into_iter().zip(both) {
            columns.clear();
            let numbered = (0..).zip(one.iter().zip(other));
            columns.extend(numbered.filter(|(_, (one, other))| one != other).map(|(at, _)| at));
            if columns.is_empty() {
                counts.same += 1;
                continue;
            }
            counts.changed += 1;
            each(Difference::Changed { left, right, columns: &columns })?;
        }
        Ok(())
    }

    /// The values of the compared columns in some rows, in the order requested.
    fn said(
        &self,
        of: &VersionInfo,
        side: fn(&Pair) -> (String, Kind),
        rows: impl Iterator<Item = RowId>,
    ) -> Result<Vec<u64>> {
        let (names, kinds): (Vec<String>, Vec<Kind>) = self.plan.compared.iter().map(side).unzip();
        let mut order: Vec<(RowId, usize)> = rows.zip(0..).collect();
        order.sort_unstable();
        let mut said = vec![0; order.len() * names.len()];
        let mut places = order.iter();
        let ids = order.iter().map(|(id, _)| *id);
        let found = self.catalog.cells(of, &names, &mut ranges(ids), &mut |id, cells| {
            let (_, place) =
                places.next().filter(|(want, _)| *want == id).ok_or_else(|| gone(of))?;
            let hashes = said[place * kinds.len()..].iter_mut();
            for ((at, kind), hash) in kinds.iter().enumerate().zip(hashes) {
                *hash = self.keys.cell(cells.cell(at), *kind);
            }
            Ok(ControlFlow::Continue(()))
        });
        found?;
        if places.next().is_some() { Err(gone(of)) } else { Ok(said) }
    }
}

/// Ascending ids as ranges, each as long as possible.
pub fn ranges(ids: impl Iterator<Item = RowId>) -> impl Iterator<Item = RangeInclusive<RowId>> {
    let mut ids = ids.peekable();
    std::iter::from_fn(move || {
        let first = ids.next()?;
        let mut last = first;
        while let Some(next) = ids.next_if(|id| last.key().checked_add(1) == Some(id.key())) {
            last = next;
        }
        Some(first..=last)
    })
}

/// The error for a row that has disappeared since it was read.
pub fn gone(of: &VersionInfo) -> Error {
    Error::new(
        dcfs_core::error::Kind::Stale,
        format!("the rows of `{of}` changed while they were compared"),
    )
}

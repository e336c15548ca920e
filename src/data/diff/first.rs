//! The first few of many differences, by `sys__id`, and the cells of their rows.

use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use super::Difference;
use super::look::{gone, ranges};
use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::cell::{Cells, OwnedCell};
use dcfs_core::error::Result;
use dcfs_core::id::RowId;

/// A difference that is kept: by its row on the right side, else on the left; ordered by row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    row: i64,
    pub left: Option<RowId>,
    pub right: Option<RowId>,
    /// Indices of compared columns.
    pub columns: Vec<u16>,
}

/// The first differences of each kind.
#[derive(Clone, Debug, Default)]
pub struct First {
    most: usize,
    added: BinaryHeap<Kept>,
    removed: BinaryHeap<Kept>,
    changed: BinaryHeap<Kept>,
}

impl First {
    /// Keeps `most` of each kind, at about 100 bytes each.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Offers one more difference.
    pub fn push(&mut self, difference: Difference<'_>) {
        let (heap, left, right, columns) = match difference {
            Difference::Added(right) => (&mut self.added, None, Some(right), &[][..]),
            Difference::Removed(left) => (&mut self.removed, Some(left), None, &[][..]),
            Difference::Changed { left, right, columns } => {
                (&mut self.changed, Some(left), Some(right), columns)
            }
        };
        let row = right.or(left).map_or(0, RowId::key);
        let is_full = heap.len() >= self.most;
        if is_full && heap.peek().is_none_or(|last| last.row <= row) {
            return;
        }
        heap.push(Kept { row, left, right, columns: columns.to_vec() });
        if is_full {
            heap.pop();
        }
    }

    /// The added, changed and removed rows, by ascending id.
    pub fn finish(self) -> [Vec<Kept>; 3] {
        [self.added, self.changed, self.removed].map(BinaryHeap::into_sorted_vec)
    }
}

/// The cells of some database columns in some rows, in the order of the rows requested.
///
/// # Errors
/// Errors of the catalog; [`dcfs_core::error::Kind::Stale`] if a row is gone.
pub fn cells(
    catalog: &Catalog,
    of: &VersionInfo,
    rows: &[RowId],
    columns: &[String],
) -> Result<Vec<Vec<OwnedCell>>> {
    let mut order: Vec<(RowId, usize)> = rows.iter().copied().zip(0..).collect();
    order.sort_unstable();
    let mut found = vec![Vec::new(); rows.len()];
    let mut places = order.iter();
    let ids = order.iter().map(|(id, _)| *id);
    catalog.cells(of, columns, &mut ranges(ids), &mut |id, cells: &dyn Cells| {
        let (_, place) = places.next().filter(|(want, _)| *want == id).ok_or_else(|| gone(of))?;
        found[*place] = (0..columns.len()).map(|at| cells.cell(at).into()).collect();
        Ok(ControlFlow::Continue(()))
    })?;
    if places.next().is_some() { Err(gone(of)) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_in_order() {
        let mut first = First::new(2);
        for id in [5, 3, 9, -1, 4] {
            first.push(Difference::Added(RowId::new(id)));
            let (left, right) = (RowId::new(-id), RowId::new(id));
            first.push(Difference::Changed { left, right, columns: &[1] });
        }
        let [added, changed, removed] = first.finish();
        let ids = |kept: &[Kept]| kept.iter().map(|kept| kept.row).collect::<Vec<_>>();
        assert_eq!((ids(&added), ids(&changed), ids(&removed)), (vec![-1, 3], vec![-1, 3], vec![]));
        assert_eq!((changed[1].left, &changed[1].columns[..]), (Some(RowId::new(-3)), &[1][..]));
        assert!(First::new(0).finish()[0].is_empty());
    }
}

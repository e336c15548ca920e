//! Cells of any columns, in any ranges of rows.

use std::ops::{ControlFlow, RangeInclusive};

use dcfs_core::cell::Cell;
use dcfs_core::id::RowId;
use dcfs_data::catalog::Catalog;

use super::{find, new, open};
use crate::support::catalog::{self, row};

/// More than two slices of a scan.
const MANY: i64 = 2 * 65_536 + 1;

/// The ids returned for `ranges`, at most `most` of them.
fn ids(
    catalog: &Catalog,
    name: &str,
    ranges: impl IntoIterator<Item = RangeInclusive<i64>>,
    most: usize,
) -> Vec<i64> {
    let of = find(catalog, name);
    let ranges = ranges.into_iter().map(|r| RowId::new(*r.start())..=RowId::new(*r.end()));
    let mut seen = Vec::new();
    let each = &mut |id: RowId, _: &dyn dcfs_core::cell::Cells| {
        seen.push(id.key());
        let is_enough = seen.len() == most;
        Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    catalog.cells(&of, &[], &mut ranges.into_iter(), each).expect("a scan");
    seen
}

#[test]
fn every_range_is_read_once_and_nothing_else() {
    let (_dir, writer) = new();
    let rows = |ids: &mut dyn Iterator<Item = i64>| ids.map(|id| row().id(id)).collect::<Vec<_>>();
    writer.dataset("many").version("1.0.0").rows(rows(&mut (1..=MANY))).save();
    let ends = [i64::MIN, -1, 0, i64::MAX];
    writer.dataset("ends").version("1.0.0").rows(rows(&mut ends.into_iter())).save();
    let catalog = open(&writer);
    let all = i64::MIN..=i64::MAX;
    assert_eq!(ids(&catalog, "ends", [all.clone()], 9), ends);
    assert_eq!(
        ids(&catalog, "ends", [i64::MIN..=-1, 5..=9, i64::MAX..=i64::MAX], 9),
        [i64::MIN, -1, i64::MAX]
    );
    assert_eq!(ids(&catalog, "many", [all.clone()], usize::MAX), (1..=MANY).collect::<Vec<_>>());
    for edge in [65_535, 65_536, 65_537] {
        let got = ids(&catalog, "many", [1..=edge, edge + 1..=edge + 1, MANY..=MANY + 9], 1 << 20);
        assert_eq!(got, (1..=edge + 1).chain([MANY]).collect::<Vec<_>>(), "{edge}");
    }
    let odd = (0..=MANY).filter(|id| id % 2 == 1);
    let got = ids(&catalog, "many", odd.clone().map(|id| id..=id), usize::MAX);
    assert_eq!(got, odd.collect::<Vec<_>>());
    assert_eq!(ids(&catalog, "many", [all.clone()], 65_536).len(), 65_536, "a break at a slice");
    assert_eq!(ids(&catalog, "many", [all], 3), [1, 2, 3]);
    assert!(ids(&catalog, "many", [], 3).is_empty());
}

#[test]
fn a_cell_is_what_the_table_holds() {
    let (_dir, writer) = new();
    let cells: Vec<catalog::Cell> = vec![
        catalog::Cell::Null,
        7.into(),
        0.5.into(),
        "a\0b".into(),
        catalog::Cell::Blob(vec![0xff]),
    ];
    let rows = cells.into_iter().map(|cell| row().cell(cell));
    writer.dataset("a").version("1.0.0").bare_column("x", "JSON").rows(rows).save();
    let catalog = open(&writer);
    let want =
        [Cell::Null, Cell::Integer(7), Cell::Real(0.5), Cell::Text(b"a\0b"), Cell::Blob(b"\xff")];
    let mut seen = 0;
    let columns = ["none\0", "x", "sys__id"].map(String::from);
    let each = &mut |id: RowId, cells: &dyn dcfs_core::cell::Cells| {
        assert_eq!(cells.cell(0), Cell::Null, "no such column");
        assert_eq!(cells.cell(1), want[seen]);
        assert_eq!(cells.cell(2), Cell::Integer(id.key()));
        assert_eq!(cells.cell(3), Cell::Null, "past the last");
        seen += 1;
        Ok(ControlFlow::Continue(()))
    };
    let ranges = &mut std::iter::once(RowId::ALL);
    catalog.cells(&find(&catalog, "a"), &columns, ranges, each).expect("a scan");
    assert_eq!(seen, want.len());
}

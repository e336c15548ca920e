//! The comparison of versions against a model that holds everything in memory, over any rows and any memory.

use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::diff::first::First;
use dcfs_data::diff::sets::{Diffs, Side, Tally};
use dcfs_data::diff::{Counts, Difference, Plan, Versions, compare_within};
use dcfs_data::pack::{Limits, Packs};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::catalog::{CatalogBuilder, Cell, file, row};

/// `sys__id`, key, two values and a list.
type ModelRow = (i64, [Cell; 4]);

/// Values that are similar to each other.
fn any_cell() -> impl Strategy<Value = Cell> {
    let text = ["", "a", "1", "a\0", "\u{e9}"];
    prop_oneof![
        3 => prop::sample::select(text.to_vec()).prop_map(Cell::from),
        1 => Just(Cell::Text(vec![0xff])),
        1 => Just(Cell::Blob(b"a".to_vec())),
        2 => Just(Cell::Null),
        3 => (0..2_i64).prop_map(Cell::from),
        3 => prop::sample::select(vec![1.0, 0.5, -0.0, 0.0, 1e300]).prop_map(Cell::from),
    ]
}

/// Lists of few values, written in several ways; and texts that are not lists.
fn any_list() -> impl Strategy<Value = Cell> {
    let texts = [
        "[1,2]",
        "[1, 2]",
        "[1.0,2e0]",
        "[1,3]",
        "[]",
        " []",
        "[\"a\\/b\"]",
        "[\"a/b\"]",
        "[1",
        "",
    ];
    prop_oneof![
        8 => prop::sample::select(texts.to_vec()).prop_map(Cell::from),
        1 => Just(Cell::Null),
        1 => Just(Cell::Int(7)),
    ]
}

fn any_rows() -> impl Strategy<Value = Vec<ModelRow>> {
    let cells =
        (any_cell(), any_cell(), any_cell(), any_list()).prop_map(|(a, b, c, d)| [a, b, c, d]);
    let jumps = prop::sample::select(vec![1, 1, 1, 2, 1 << 40]);
    let starts = prop::sample::select(vec![1, -3, i64::MIN]);
    (prop::collection::vec((cells, jumps), 0..40), starts).prop_map(|(rows, mut id)| {
        let numbered = rows.into_iter().map(|(cells, jump)| {
            id += jump;
            (id, cells)
        });
        numbered.collect()
    })
}

/// The meaning of a cell, computed independently of the engine.
fn said(cell: &Cell, is_list: bool) -> String {
    fn plain(json: &Value) -> String {
        match json {
            Value::Number(number) => format!("{}", number.as_f64().expect("small")),
            Value::Array(items) => {
                format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(";"))
            }
            other => format!("{other:?}"),
        }
    }
    match cell {
        Cell::Real(x) if *x == 0.0 => "Int(0)".into(),
        Cell::Real(x) if *x == 1.0 => "Int(1)".into(),
        Cell::Text(text) if is_list => match serde_json::from_slice(text) {
            Ok(json) => format!("json {}", plain(&json)),
            Err(_) => format!("{cell:?}"),
        },
        other => format!("{other:?}"),
    }
}

/// Differences by row: columns for changed ones, nothing for others.
type Told = BTreeMap<(Option<i64>, Option<i64>), Vec<u16>>;

fn model(left: &[ModelRow], right: &[ModelRow]) -> (Told, u64) {
    let by_key = |rows: &[ModelRow]| {
        let mut by_key: BTreeMap<String, Vec<ModelRow>> = BTreeMap::new();
        for row in rows {
            by_key.entry(said(&row.1[0], false)).or_default().push(row.clone());
        }
        by_key
    };
    let (lefts, rights) = (by_key(left), by_key(right));
    let (mut told, mut same) = (Told::new(), 0);
    for key in lefts.keys().chain(rights.keys().filter(|key| !lefts.contains_key(*key))) {
        let empty = Vec::new();
        let (lefts, rights) = (lefts.get(key).unwrap_or(&empty), rights.get(key).unwrap_or(&empty));
        for at in 0..lefts.len().max(rights.len()) {
            match (lefts.get(at), rights.get(at)) {
                (Some(one), Some(other)) => {
                    let differs = |column: &usize| {
                        said(&one.1[*column], *column == 3) != said(&other.1[*column], *column == 3)
                    };
                    let columns: Vec<u16> =
                        (1..4).filter(differs).map(|column| column as u16 - 1).collect();
                    match columns.is_empty() {
                        true => same += 1,
                        false => drop(told.insert((Some(one.0), Some(other.0)), columns)),
                    }
                }
                (one, other) => drop(told.insert((one.map(|r| r.0), other.map(|r| r.0)), vec![])),
            }
        }
    }
    (told, same)
}

fn save(catalog: &CatalogBuilder, version: &str, rows: &[ModelRow]) {
    let version = catalog.dataset("rows").version(version);
    let version = version.column("k", "", "str").column("a", "", "str").column("b", "", "int");
    let rows = rows
        .iter()
        .map(|(id, cells)| cells.iter().fold(row().id(*id), |row, cell| row.cell(cell.clone())));
    version.column("l", "", "list[int]").rows(rows).save();
}

fn told(difference: Difference<'_>) -> ((Option<i64>, Option<i64>), Vec<u16>) {
    match difference {
        Difference::Added(id) => ((None, Some(id.key())), vec![]),
        Difference::Removed(id) => ((Some(id.key()), None), vec![]),
        Difference::Changed { left, right, columns } => {
            ((Some(left.key()), Some(right.key())), columns.to_vec())
        }
    }
}

/// The two versions of the only dataset.
fn versions(catalog: &Catalog) -> [VersionInfo; 2] {
    catalog.versions().expect("versions").try_into().expect("two")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn versions_differ_as_the_model_says(
        left in any_rows(),
        right in any_rows(),
        is_near: bool,
        memory in prop::sample::select(vec![0, 200, 1 << 20]),
    ) {
        // Usually mostly the same rows, sometimes hardly any.
        let right = if is_near { left.iter().take(20).cloned().chain(right).collect() } else { right };
        let mut seen = std::collections::BTreeSet::new();
        let mut right: Vec<ModelRow> = right.into_iter().filter(|row| seen.insert(row.0)).collect();
        right.sort_by_key(|row| row.0);
        let home = tempfile::tempdir().expect("a folder");
        let writer = CatalogBuilder::new(home.path());
        save(&writer, "1.0.0", &left);
        save(&writer, "1.0.1", &right);
        let catalog = Catalog::open(writer.path()).expect("a catalog");
        let [old, new] = versions(&catalog);
        let (one, other) = (catalog.schema(&old).expect("columns"), catalog.schema(&new).expect("columns"));
        let plan = Plan::new((&old, &new), (&one, &other), &["k".into()]).expect("a plan");
        let sides = Versions { catalog: &catalog, left: &old, right: &new };
        let (mut found, mut tally) = (Told::new(), Tally::new(&plan));
        let counts = compare_within(memory, sides, &plan, home.path(), &|_| (), &mut |difference| {
            tally.push(difference);
            let (rows, columns) = told(difference);
            assert!(found.insert(rows, columns).is_none(), "told once");
            Ok(())
        }).expect("compared");
        let (want, same) = model(&left, &right);
        let count = |of: fn(&(Option<i64>, Option<i64>)) -> bool| want.keys().filter(|k| of(k)).count() as u64;
        prop_assert_eq!(counts, Counts {
            same,
            added: count(|(left, _)| left.is_none()),
            removed: count(|(_, right)| right.is_none()),
            changed: count(|(left, right)| left.is_some() && right.is_some()),
        });
        prop_assert_eq!(&found, &want);
        let summary = tally.summary(&old, &new, counts);
        let columns: u64 = summary.columns.changed.iter().map(|changed| changed.rows).sum();
        prop_assert_eq!(columns, want.values().map(|columns| columns.len() as u64).sum::<u64>());
    }
}

/// 1,000 files; the second version lacks some, has others, and has one with another size.
fn of_files(home: &std::path::Path) -> CatalogBuilder {
    let writer = CatalogBuilder::new(home);
    let rows = |range: std::ops::Range<i64>| {
        range.map(|n| {
            let size = if n == 500 { 7 } else { 3 };
            row().file(file("s3://b", format!("{n}.txt")).size(size)).cell(n)
        })
    };
    for (version, range) in [("1.0.0", 0..500), ("1.0.1", 10..510)] {
        let version = writer.dataset("files").version(version).file_column("file");
        version.column("n", "INTEGER", "int").rows(rows(range)).save();
    }
    writer
}

#[test]
fn sets_are_kept_beside_the_pack_and_found_again() {
    let home = tempfile::tempdir().expect("a folder");
    let writer = of_files(home.path());
    let catalog = Arc::new(Catalog::open(writer.path()).expect("a catalog"));
    let [old, new] = versions(&catalog);
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let packs = Packs::new(catalog.clone(), home.path().join("cache"), Limits::default());
    let find = || {
        let pack = |of: &VersionInfo| runtime.block_on(packs.get(of)).expect("a pack");
        let (left, right) = (pack(&old), pack(&new));
        let schema = catalog.schema(&new).expect("columns");
        let left = Side { of: &old, schema: &schema, pack: &left };
        let right = Side { of: &new, schema: &schema, pack: &right };
        let sets = Diffs::default().get(&catalog, left, right).map(|sets| (*sets).clone());
        (sets, right.pack.folder().join("diffs"))
    };
    let (first, folder) = find();
    let first = first.expect("compared");
    assert_eq!(first.removed.iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(first.added.iter().collect::<Vec<_>>(), (490..500).collect::<Vec<_>>());
    assert!(first.changed.is_empty());
    let kept: Vec<_> =
        std::fs::read_dir(&folder).expect("kept").map(|e| e.expect("one").path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    // The rows are not read again: they no longer exist.
    let table = writer.table(old.id.key());
    writer.sql(&format!("ALTER TABLE \"{table}\" RENAME TO aside"));
    let (again, _) = find();
    assert_eq!(again.expect("kept"), first);
    // A damaged file is not used, and a version that is half there is an error.
    let mut bytes = std::fs::read(&kept[0]).expect("readable");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&kept[0], bytes).expect("damaged");
    find().0.expect_err("nothing to compare");
    writer.sql(&format!("ALTER TABLE aside RENAME TO \"{table}\""));
    assert_eq!(find().0.expect("compared anew"), first);
}

#[test]
fn a_version_that_goes_meanwhile_is_an_error() {
    let home = tempfile::tempdir().expect("a folder");
    let writer = of_files(home.path());
    let catalog = Catalog::open(writer.path()).expect("a catalog");
    let [old, new] = versions(&catalog);
    let schema = catalog.schema(&new).expect("columns");
    let plan = Plan::new((&old, &new), (&schema, &schema), &[]).expect("a plan");
    writer.remove(old.id.key());
    let sides = Versions { catalog: &catalog, left: &old, right: &new };
    let mut first = First::new(3);
    let compared = compare_within(0, sides, &plan, home.path(), &|_| (), &mut |difference| {
        first.push(difference);
        Ok(())
    });
    let error = compared.expect_err("it is gone");
    assert_eq!(error.kind(), dcfs_core::error::Kind::Stale, "{error}");
    assert!(first.finish().iter().all(Vec::is_empty));
}

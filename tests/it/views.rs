//! `_views/` of a real mount against the reference model: every value a folder, every row in exactly one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::mount::{Files, expected, named, row_of, walk};
use crate::pack::any_rows;
use crate::support::catalog::{CatalogBuilder, Cell};
use crate::support::model::{self, ModelRow};
use crate::support::mounted::{Mounted, why_not};

/// Values that claim the same name, claim a helper's name, or are not text.
fn any_cell() -> impl Strategy<Value = Cell> {
    let text =
        ["pug", "", ".null", "a/b", "a%2Fb", ".", "%2E", "%", "x\0y", "7", "_views", "\u{e9}"];
    prop_oneof![
        6 => prop::sample::select(text.to_vec()).prop_map(Cell::from),
        1 => Just(Cell::from("l".repeat(300))),
        1 => Just(Cell::Text(vec![0xff, 0xfe])),
        2 => Just(Cell::Null),
        1 => (6..8_i64).prop_map(Cell::from),
        1 => prop::sample::select(vec![7.0, 0.5, -0.0, 0.0]).prop_map(Cell::from),
    ]
}

/// The identity of a value.
fn key(cell: &Cell) -> String {
    match cell {
        Cell::Real(x) if *x == 0.0 => "zero".into(),
        other => format!("{other:?}"),
    }
}

/// The ordinals of each value.
fn groups(cells: &[Cell]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (ordinal, cell) in cells.iter().enumerate() {
        groups.entry(key(cell)).or_default().push(ordinal);
    }
    groups.into_values().collect()
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("listed");
    entries.map(|entry| folder.join(entry.expect("an entry").file_name())).collect()
}

fn files(folder: &Path) -> Files {
    let mut found = Files::new();
    walk(folder, &[], &mut found);
    found
}

fn count(folder: &Path) -> usize {
    let text = fs::read_to_string(folder.join("_count")).expect("a count");
    text.trim_end().parse().expect("a number")
}

/// The contents of a folder: the number of its rows and its files. Empty directories of columns are left out.
type Shown = (usize, Files);

fn shown(folder: &Path) -> Shown {
    (count(folder), files(folder))
}

fn sorted(mut all: Vec<Shown>) -> Vec<Shown> {
    all.sort();
    all
}

/// Checks that the folders of `by` are the values of `cells` among the rows `within`; rows without a value are
/// there but not listed.
fn agrees(by: &Path, columns: &[&str], rows: &[ModelRow], cells: &[Cell], within: &[usize]) {
    let groups = groups(cells)
        .into_iter()
        .map(|group| group.into_iter().filter(|row| within.contains(row)).collect::<Vec<_>>());
    let (nulls, values): (Vec<_>, Vec<_>) =
        groups.filter(|group| !group.is_empty()).partition(|group| cells[group[0]] == Cell::Null);
    let want =
        |group: &Vec<usize>| (group.len(), expected(columns, rows, |row| group.contains(&row)));
    let found = names(by).iter().map(|folder| shown(folder)).collect();
    let wanted = values.iter().map(want).collect();
    assert_eq!(sorted(found), sorted(wanted), "{} of {cells:?}", by.display());
    if let Some(nulls) = nulls.first() {
        assert_eq!(shown(&by.join(".null")), want(nulls), "{} of {cells:?}", by.display());
    }
}

fn save(catalog: &CatalogBuilder, columns: &[&str], rows: &[ModelRow], cells: &[[Cell; 2]]) {
    let version = catalog.dataset("pets").version("1.0.0");
    let version = columns.iter().fold(version, |version, name| version.file_column(name));
    let version = version.column("label", "", "str").column("fold", "", "Optional[int]");
    let whole = rows
        .iter()
        .zip(cells)
        .map(|(row, [label, fold])| row_of(row).cell(label.clone()).cell(fold.clone()));
    version.rows(whole).save();
}

/// Checks one value's folder: its name if no other claims it, and its own views.
fn inside(top: &Path, columns: &[&str], rows: &[ModelRow], cells: &[[Cell; 2]]) {
    let folds: Vec<Cell> = cells.iter().map(|[_, fold]| fold.clone()).collect();
    for text in ["pug", "\u{e9}"] {
        let with: Vec<usize> =
            (0..cells.len()).filter(|n| cells[*n][0] == Cell::from(text)).collect();
        let folder = top.join("_views/by/label").join(text);
        assert_eq!(folder.exists(), !with.is_empty(), "{text}");
        if with.is_empty() {
            continue;
        }
        agrees(&folder.join("_views/by/fold"), columns, rows, &folds, &with);
        let again = folder.join("_views/by/label").join(text);
        assert_eq!(shown(&again), shown(&folder), "a value of itself");
        let ids: Vec<i64> = with.iter().map(|row| rows[*row].id).collect();
        assert_eq!(row_ids(&folder), ids);
    }
}

fn row_ids(folder: &Path) -> Vec<i64> {
    let names = names(&folder.join("_views/rows")).into_iter().map(|path| {
        let name = path.file_name().expect("a name").to_owned().into_vec();
        let name = String::from_utf8(name).expect("digits");
        name.strip_suffix(".json").expect("JSON").parse::<i64>().expect("an id")
    });
    let mut ids: Vec<i64> = names.collect();
    ids.sort_unstable();
    ids
}

/// Checks that every row of `_rows.jsonl` has the paths of its files, and that CSV and the row's own file
/// agree.
fn paths_agree(top: &Path, columns: &[&str], rows: &[ModelRow]) {
    let text = fs::read(top.join("_rows.jsonl")).expect("readable");
    let tree = model::version(columns, rows);
    let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
    assert_eq!(lines.len(), rows.len());
    for (ordinal, line) in lines.into_iter().enumerate() {
        let row: serde_json::Value = serde_json::from_slice(line).expect("JSON");
        assert_eq!(row["sys__id"], rows[ordinal].id);
        let one = fs::read(top.join(format!("_views/rows/{}.json", rows[ordinal].id)));
        let one: serde_json::Value = serde_json::from_slice(&one.expect("readable")).expect("JSON");
        assert_eq!(one, row);
        for (column, name) in columns.iter().enumerate() {
            let path = if columns.len() == 1 { &row["path"] } else { &row["path"][name] };
            let top = (columns.len() > 1).then_some(name.as_bytes());
            let mut named = tree.iter().filter(|(path, file)| {
                file.rows.contains(&ordinal) && top.is_none_or(|top| path[0] == top)
            });
            let want = rows[ordinal].objects[column].as_ref().and_then(|_| named.next());
            let want =
                want.map(|(path, _)| String::from_utf8_lossy(&path.join(&b'/')).into_owned());
            assert_eq!(path.as_str(), want.as_deref(), "row {ordinal}, {name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn folders_by_value_are_as_the_model_says(
        double: bool,
        rows in any_rows(2),
        cells in prop::collection::vec([any_cell(), any_cell()], 40),
    ) {
        if let Some(why) = why_not() {
            eprintln!("SKIPPED, nothing was mounted: {why}");
            return Ok(());
        }
        let home = tempfile::tempdir().expect("a folder");
        let catalog = CatalogBuilder::new(home.path());
        let columns: &[&str] = if double { &["image", "frag.audio"] } else { &["file"] };
        let rows: Vec<ModelRow> = named(rows)
            .into_iter()
            .map(|row| ModelRow { objects: row.objects[..columns.len()].to_vec(), ..row })
            .collect();
        let cells = &cells[..rows.len()];
        save(&catalog, columns, &rows, cells);
        let mounted = Mounted::new(home.path(), home.path());
        let top = mounted.datasets.join("pets@1.0.0");
        let all: Vec<usize> = (0..rows.len()).collect();
        for (column, name) in ["label", "fold"].iter().enumerate() {
            let cells: Vec<Cell> = cells.iter().map(|both| both[column].clone()).collect();
            agrees(&top.join("_views/by").join(name), columns, &rows, &cells, &all);
        }
        inside(&top, columns, &rows, cells);
        paths_agree(&top, columns, &rows);
        prop_assert_eq!(row_ids(&top), rows.iter().map(|row| row.id).collect::<Vec<_>>());
        prop_assert_eq!(mounted.worries(), Vec::<String>::new());
    }
}

#[test]
fn parts_of_paths_are_folders_and_rows_without_a_value_are_no_class() {
    if let Some(why) = why_not() {
        eprintln!("SKIPPED, nothing was mounted: {why}");
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let catalog = CatalogBuilder::new(home.path());
    let rows =
        [("cat/1.jpg", Some("a")), ("cat/2.png", None), ("dog/old/3.jpg", Some("a")), ("4", None)];
    let rows = rows.map(|(path, label)| {
        let row =
            crate::support::catalog::row().file(crate::support::catalog::file("s3://b", path));
        row.cell(label.map_or(Cell::Null, Cell::from))
    });
    let version = catalog.dataset("pets").version("1.0.0").file_column("file");
    version.column("label", "VARCHAR", "Optional[str]").rows(rows).save();
    let mounted = Mounted::new(home.path(), home.path());
    let by = mounted.datasets.join("pets@1.0.0/_views/by");
    let listed = |column: &str| -> Vec<String> {
        let folders = names(&by.join(column));
        let name =
            |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
        folders.iter().map(name).collect()
    };
    assert_eq!(listed("label"), ["a"]);
    assert_eq!(count(&by.join("label/.null")), 2);
    assert_eq!(listed("file.parent"), ["%", "cat", "dog%2Fold"]);
    assert_eq!(listed("file.ext"), ["%", "jpg", "png"]);
    assert_eq!(names(&by.join("file.ext/png")), [by.join("file.ext/png/cat")]);
    assert_eq!(listed("file.stem"), ["1", "2", "3", "4"], "by name");
    assert!(!listed("").contains(&"file.stem".to_owned()), "and not listed");
    assert!(listed("").contains(&"file.parent".to_owned()));
    assert_eq!(count(&by.join("file.parent/cat/_views/by/label/a")), 1);
    assert_eq!(mounted.worries(), Vec::<String>::new());
}

#[test]
fn a_column_of_too_many_values_is_looked_up_by_name() {
    if let Some(why) = why_not() {
        eprintln!("SKIPPED, nothing was mounted: {why}");
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let catalog = CatalogBuilder::new(home.path());
    let rows = (0..10_001_i64).map(|n| {
        let path = format!("{n}.txt");
        let object = crate::support::catalog::file("s3://b", path.as_str());
        let parity = if n % 2 == 0 { "even" } else { "odd" };
        crate::support::catalog::row().file(object).cell(format!("v{n}")).cell(parity)
    });
    let version = catalog.dataset("pets").version("1.0.0").file_column("file");
    version.column("label", "VARCHAR", "str").column("parity", "VARCHAR", "str").rows(rows).save();
    let mounted = Mounted::new(home.path(), home.path());
    let by = mounted.datasets.join("pets@1.0.0/_views/by");
    assert_eq!(names(&by.join("label")), [by.join("label/_too_many_values.md")]);
    let page = fs::read_to_string(by.join("label/_too_many_values.md")).expect("a page");
    assert!(page.contains("more than 10,000 values"), "{page}");
    assert_eq!(names(&by.join("label/v10000")), [by.join("label/v10000/10000.txt")]);
    assert_eq!(count(&by.join("label/v7")), 1);
    assert!(!by.join("label/v10001").exists());
    let odd = by.join("parity/odd");
    assert_eq!(count(&odd), 5000);
    assert!(odd.join("_views/by/label/v7").exists() && !odd.join("_views/by/label/v8").exists());
    assert_eq!(mounted.worries(), Vec::<String>::new());
}

//! Writing into a catalog: versions are complete or absent, numbers only go up, and other versions are
//! unaffected.

use std::path::{Path, PathBuf};

use dcfs_core::cell::Cell;
use dcfs_core::error::{Kind, Result};
use dcfs_core::id::{RowId, VersionId};
use dcfs_core::name::DatasetName;
use dcfs_core::schema::{Layout, Scalar, Signal, SignalKind};
use dcfs_core::version::Bump;
use dcfs_data::catalog::{
    Catalog, Number, Piece, Provenance, Publication, Saved, VersionInfo, Writer,
};

fn place(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join(".datachain/db")
}

fn layout() -> Layout {
    Layout::of_signals(&[
        Signal::new("n", SignalKind::Scalar(Scalar::Int)),
        Signal::optional("label", SignalKind::Scalar(Scalar::Text)),
    ])
}

fn publication<'a>(
    name: &'a DatasetName,
    number: Number,
    parents: &'a [VersionId],
    by: &'a Provenance,
) -> Publication<'a> {
    let (upon, description, attrs) = (None, None, None);
    Publication {
        name,
        number,
        upon,
        parents,
        script: "dcfs",
        description,
        attrs,
        provenance: by,
        job: None,
    }
}

/// Saves a dataset `name` with `rows` numbers.
fn save(path: &Path, name: &str, rows: i64, number: Number) -> Result<Saved> {
    let mut writer = Writer::open_or_create(path)?;
    let mut stage = writer.stage(layout())?;
    stage.insert((0..rows).map(|n| [Cell::Integer(n), Cell::Text(b"x")]))?;
    let by = Provenance { user: Some("ann".into()), ..Provenance::default() };
    stage.publish(&publication(&DatasetName::local(name), number, &[], &by))
}

fn numbers(catalog: &Catalog, of: &VersionInfo) -> Vec<i64> {
    let mut found = Vec::new();
    let mut each = |_: RowId, cells: &dyn dcfs_core::cell::Cells| {
        if let Cell::Integer(n) = cells.cell(0) {
            found.push(n);
        }
        Ok(std::ops::ControlFlow::Continue(()))
    };
    let all = &mut std::iter::once(RowId::ALL);
    catalog.cells(of, &["n".into()], all, &mut each).expect("cells");
    found
}

/// Names of the files beside the database.
fn leftovers(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path.parent().expect("a folder")).expect("a folder");
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("dcfs")).collect()
}

fn find(catalog: &Catalog, name: &str) -> Result<VersionInfo> {
    catalog.find(&name.parse().expect(name))
}

#[test]
fn a_version_is_made_out_of_nothing_and_the_next_is_made_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = place(&folder);
    let saved = save(&path, "pets", 10_000, Number::Next(Bump::Patch)).expect("saved");
    assert_eq!((saved.version.to_string(), saved.rows), ("1.0.0".into(), 10_000));
    let catalog = Catalog::open(&path).expect("a catalog");
    let first = find(&catalog, "pets").expect("a version");
    assert_eq!(first.rows, Some(10_000));
    let provenance = catalog.details(&first).expect("details").provenance.expect("noted");
    assert_eq!(provenance.user.as_deref(), Some("ann"));

    let mut writer = Writer::open(&path).expect("a writer");
    let mut stage = writer.stage(catalog.layout(&first).expect("a layout")).expect("a stage");
    let row = |n| RowId::new(n);
    stage.copy(&first, [row(9_001)..=row(10_000), row(1)..=row(9_000)]).expect("copied");
    let piece = Piece::Row(0, row(7), [Cell::Integer(-1)]);
    stage.mix(std::slice::from_ref(&first), &["n"], [piece]).expect("copied");
    let (name, by) = (DatasetName::local("pets"), Provenance::default());
    let of = [first.id, first.id];
    let saved = stage.publish(&publication(&name, Number::Next(Bump::Minor), &of, &by));
    assert_eq!(saved.expect("saved").version.to_string(), "1.1.0");
    let second = find(&catalog, "pets").expect("a version");
    let found = numbers(&catalog, &second);
    let want: Vec<i64> = (9_000..10_000).chain(0..9_000).chain([-1]).collect();
    assert_eq!(found, want);
    assert_eq!(catalog.parents(second.id).expect("parents").len(), 1);
    assert!(leftovers(&path).is_empty(), "{:?}", leftovers(&path));
}

#[test]
fn what_is_not_published_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = place(&folder);
    save(&path, "pets", 3, Number::Next(Bump::Patch)).expect("saved");
    let tables = || {
        let db = rusqlite::Connection::open(&path).expect("a database");
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'dcfs_stage%'";
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a count")
    };
    let mut writer = Writer::open(&path).expect("a writer");
    let mut stage = writer.stage(layout()).expect("a stage");
    stage.insert((0..50_000).map(|n| [Cell::Integer(n)])).expect("rows");
    assert_eq!((tables(), leftovers(&path).len()), (1, 1));
    drop(stage);
    assert_eq!((tables(), leftovers(&path).len()), (0, 0));
    // As after a killed process: the file exists and nobody holds it.
    let mut stage = writer.stage(layout()).expect("a stage");
    stage.insert([[Cell::Integer(1)]]).expect("rows");
    let alive = Writer::open(&path).expect("another writer");
    assert_eq!(tables(), 1, "the living are left alone");
    drop(alive);
    std::mem::forget(stage);
    drop(writer);
    let file = path.parent().expect("a folder").join(&leftovers(&path)[0]);
    std::fs::remove_file(file).expect("removed");
    Writer::open(&path).expect("a third writer");
    assert_eq!((tables(), leftovers(&path).len()), (0, 0));
}

#[test]
fn names_and_numbers_that_would_lose_something_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = place(&folder);
    let next = Number::Next(Bump::Patch);
    save(&path, "Pets", 3, Number::Exactly("2.0.0".parse().expect("a version"))).expect("saved");
    for name in ["pets", "PETS", "lst__x", "session_x", "a@b", ""] {
        let error = save(&path, name, 1, next).expect_err(name);
        assert_eq!(error.kind(), Kind::Invalid, "{name}: {error}");
    }
    for version in ["1.0.0", "2.0.0"] {
        let number = Number::Exactly(version.parse().expect("a version"));
        let error = save(&path, "Pets", 1, number).expect_err(version);
        assert!(error.to_string().contains("versions only go up"), "{error}");
    }
    assert_eq!(save(&path, "Pets", 1, next).expect("saved").version.to_string(), "2.0.1");
    assert!(leftovers(&path).is_empty());
}

#[test]
fn what_was_compared_with_has_to_be_the_latest_still() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = place(&folder);
    let next = Number::Next(Bump::Patch);
    let ids = [0, 1].map(|n| save(&path, "pets", n, next).expect("saved").id);
    let (name, by) = (DatasetName::local("pets"), Provenance::default());
    let upon = |id: VersionId| {
        let mut writer = Writer::open(&path).expect("a writer");
        let stage = writer.stage(layout()).expect("a stage");
        let said = publication(&name, next, &[], &by);
        stage.publish(&Publication { upon: Some(id), ..said })
    };
    let error = upon(ids[0]).expect_err("not the latest");
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    assert!(leftovers(&path).is_empty());
    let third = upon(ids[1]).expect("saved");
    assert_eq!(third.version.to_string(), "1.0.2");
    // A removed version cannot be continued.
    let mut writer = Writer::open(&path).expect("a writer");
    let latest = find(&Catalog::open(&path).expect("a catalog"), "pets").expect("a version");
    writer.remove(&latest).expect("removed");
    drop(writer);
    assert_eq!(upon(third.id).expect_err("removed").kind(), Kind::Busy);
    assert!(upon(ids[1]).is_ok());
}

#[test]
fn a_removed_version_keeps_its_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = place(&folder);
    let next = Number::Next(Bump::Patch);
    save(&path, "pets", 20_000, next).expect("saved");
    let catalog = Catalog::open(&path).expect("a catalog");
    let first = find(&catalog, "pets").expect("a version");
    let mut writer = Writer::open(&path).expect("a writer");
    writer.remove(&first).expect("removed");
    assert_eq!(writer.remove(&first).expect_err("gone").kind(), Kind::Stale);
    assert_eq!(find(&catalog, "pets").expect_err("gone").kind(), Kind::Missing);
    assert_eq!(save(&path, "pets", 1, next).expect("saved").version.to_string(), "1.0.1");
    assert!(leftovers(&path).is_empty());
}

#[test]
fn a_dataset_is_renamed_with_all_its_versions() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = place(&folder);
    let next = Number::Next(Bump::Patch);
    for name in ["pets", "pets", "cats"] {
        save(&path, name, 5, next).expect("saved");
    }
    let mut writer = Writer::open(&path).expect("a writer");
    let name = DatasetName::local;
    assert_eq!(writer.rename(&name("dogs"), &name("x")).expect_err("none").kind(), Kind::Missing);
    for taken in ["cats", "Cats", "lst__x"] {
        let error = writer.rename(&name("pets"), &name(taken)).expect_err(taken);
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
    }
    writer.rename(&name("pets"), &name("Pets")).expect("the case alone");
    writer.rename(&name("Pets"), &name("dogs")).expect("renamed");
    let catalog = Catalog::open(&path).expect("a catalog");
    for version in ["dogs@1.0.0", "dogs@1.0.1", "cats@1.0.0"] {
        let of = find(&catalog, version).expect(version);
        assert_eq!(numbers(&catalog, &of), [0, 1, 2, 3, 4], "{version}");
    }
}

#[test]
fn sizes_add_up_and_those_that_do_not_are_no_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = place(&folder);
    let cases =
        [(vec![3, 1 << 40], Some((1 << 40) + 3)), (vec![i64::MAX, 1], None), (vec![], None)];
    for (sizes, want) in cases {
        let mut writer = Writer::open_or_create(&path).expect("a writer");
        let layout = Layout::of_signals(&[Signal::new("file", SignalKind::File)]);
        let mut stage = writer.stage(layout).expect("a stage");
        let row = |size| [Cell::Text(b"s3://b"), Cell::Text(b"x"), Cell::Integer(size)];
        stage.insert(sizes.iter().copied().map(row)).expect("rows");
        let (name, by) = (DatasetName::local("pets"), Provenance::default());
        let publication = publication(&name, Number::Next(Bump::Patch), &[], &by);
        assert_eq!(stage.publish(&publication).expect("saved").size, want, "{sizes:?}");
    }
}

#[test]
fn pieces_of_several_versions_are_one_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = place(&folder);
    let next = Number::Next(Bump::Patch);
    for (name, rows) in [("one", 20_000), ("two", 10)] {
        save(&path, name, rows, next).expect("saved");
    }
    let catalog = Catalog::open(&path).expect("a catalog");
    let of = ["one", "two"].map(|name| find(&catalog, name).expect("a version"));
    let mut writer = Writer::open(&path).expect("a writer");
    let mut stage = writer.stage(layout()).expect("a stage");
    let rows = |of, first, last| Piece::Rows(of, RowId::new(first)..=RowId::new(last));
    let pieces = [
        rows(0, 1, 15_000),
        Piece::Row(1, RowId::new(3), vec![Cell::Integer(-7)]),
        rows(1, 10, 10),
        Piece::Row(0, RowId::new(20_000), vec![Cell::Null]),
        // The columns that were not given, then those that were.
        Piece::New(vec![Cell::Text(b"text"), Cell::Integer(-8)]),
        rows(0, 15_001, 15_001),
        // Rows that do not exist.
        rows(1, 90, 99),
    ];
    stage.mix(&of, &["n"], pieces).expect("copied");
    assert_eq!(stage.rows().expect("counted"), 15_005);
    let (name, by) = (DatasetName::local("both"), Provenance::default());
    stage.publish(&publication(&name, next, &[of[0].id, of[1].id], &by)).expect("saved");
    let both = find(&catalog, "both").expect("a version");
    assert_eq!(catalog.parents(both.id).expect("parents").len(), 2);
    let mut found = Vec::new();
    let mut each = |_: RowId, cells: &dyn dcfs_core::cell::Cells| {
        found.push(if let Cell::Integer(n) = cells.cell(0) { Some(n) } else { None });
        assert_eq!(cells.cell(1) == Cell::Text(b"text"), found.last() == Some(&Some(-8)));
        Ok(std::ops::ControlFlow::Continue(()))
    };
    let all = &mut std::iter::once(RowId::ALL);
    catalog.cells(&both, &["n".into(), "label".into()], all, &mut each).expect("cells");
    let want = (0..15_000).map(Some).chain([Some(-7), Some(9), None, Some(-8), Some(15_000)]);
    assert_eq!(found, want.collect::<Vec<_>>());
}

#[test]
fn a_number_is_checked_before_work_and_children_are_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = place(&folder);
    let (next, name) = (Number::Next(Bump::Patch), DatasetName::local("pets"));
    save(&path, "pets", 5, next).expect("saved");
    let mut writer = Writer::open(&path).expect("a writer");
    let exactly = |version: &str| Number::Exactly(version.parse().expect(version));
    for (number, is_free) in [(next, true), (exactly("1.0.1"), true), (exactly("1.0.0"), false)] {
        assert_eq!(writer.check_number(&name, number).is_ok(), is_free, "{number:?}");
    }
    writer.check_number(&DatasetName::local("new"), exactly("0.0.1")).expect("nothing is there");

    let catalog = Catalog::open(&path).expect("a catalog");
    let first = find(&catalog, "pets").expect("a version");
    assert!(catalog.children(first.id).expect("children").is_empty());
    let layout = catalog.layout(&first).expect("a layout");
    for child in ["b", "a"] {
        let (child, by) = (DatasetName::local(child), Provenance::default());
        let stage = writer.stage(layout.clone()).expect("a stage");
        stage.publish(&publication(&child, next, &[first.id], &by)).expect("saved");
    }
    let children = catalog.children(first.id).expect("children");
    let names: Vec<String> = children.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a@1.0.0", "b@1.0.0"]);
    writer.remove(&children[0]).expect("removed");
    assert_eq!(catalog.children(first.id).expect("children").len(), 1, "the removed are not told");
}

#[test]
fn who_watches_is_told_while_the_lock_is_free() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = place(&folder);
    save(&path, "pets", 200_000, Number::Next(Bump::Patch)).expect("saved");
    let catalog = Catalog::open(&path).expect("a catalog");
    let of = find(&catalog, "pets").expect("a version");
    let mut writer = Writer::open(&path).expect("a writer");
    let other = rusqlite::Connection::open(&path).expect("a neighbour");
    other.busy_timeout(std::time::Duration::ZERO).expect("at once");
    let last = std::cell::Cell::new(0);
    let mut stage = writer.stage(catalog.layout(&of).expect("a layout")).expect("a stage");
    stage.watch(|rows| {
        other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").expect("the lock is free");
        assert!(rows > last.replace(rows), "more than before");
    });
    stage.copy(&of, [RowId::ALL]).expect("copied");
    drop(stage);
    assert_eq!(last.get(), 200_000);
}

#[test]
fn a_catalog_of_an_older_shape_is_read_and_not_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = place(&folder);
    save(&path, "pets", 5, Number::Next(Bump::Patch)).expect("saved");
    let db = rusqlite::Connection::open(&path).expect("a database");
    db.execute_batch("ALTER TABLE datasets_versions DROP COLUMN preview").expect("dropped");
    let error = Writer::open(&path).expect_err("too old");
    assert!(error.to_string().contains("lacks `datasets_versions.preview`"), "{error}");
    let catalog = Catalog::open(&path).expect("a catalog");
    assert_eq!(numbers(&catalog, &find(&catalog, "pets").expect("a version")).len(), 5);
}

//! Rows: every cell a stranger may write, and every way in which a table may disappear while it is read.

use dcfs_core::error::Kind;
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use dcfs_core::schema::FileColumn;
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::{Catalog, Row, VersionInfo};
use dcfs_data::pack::{Limits, obtain};

use super::{failure, find, new, open};
use crate::support::catalog::{Cell, FileCells, file, row};

/// More than two slices of a scan.
const MANY: i64 = 2 * 65_536 + 1;

fn scan(
    catalog: &Catalog,
    of: &VersionInfo,
    files: &[FileColumn],
) -> Vec<(i64, Vec<Option<Object>>)> {
    let mut rows = Vec::new();
    let each = &mut |row: Row<'_>| {
        rows.push((row.id.key(), row.objects.to_vec()));
        Ok(())
    };
    catalog.scan(of, files, RowId::ALL, each).expect("a scan");
    rows
}

fn ids(catalog: &Catalog, of: &VersionInfo) -> Vec<i64> {
    scan(catalog, of, &[]).into_iter().map(|(id, _)| id).collect()
}

fn plain() -> Object {
    Object {
        source: "s3://b".into(),
        path: b"a".to_vec(),
        size: Some(0),
        last_modified: Some(Timestamp::from_micros(1_704_164_645_123_456)),
        ..Object::default()
    }
}

#[test]
fn any_cell_makes_an_object_or_none() {
    let bare = FileCells {
        size: Cell::Null,
        version: Cell::Null,
        etag: Cell::Null,
        last_modified: Cell::Null,
        ..file("s3://b", "a")
    };
    let none = FileCells { source: Cell::Null, path: Cell::Null, ..bare.clone() };
    let unnamed = Object { size: None, last_modified: None, ..plain() };
    let cases: Vec<(FileCells, Option<Object>)> = vec![
        (file("s3://b", "a"), Some(plain())),
        (none, None),
        (file("", "").size(7), None),
        (bare, Some(unnamed)),
        (file("s3://b", &b"\xff\0/"[..]), Some(Object { path: b"\xff\0/".to_vec(), ..plain() })),
        (
            file("s3://b", Cell::Blob(b"\xfe".to_vec())),
            Some(Object { path: vec![0xfe], ..plain() }),
        ),
        (file("s3://b", 7), Some(Object { path: b"7".to_vec(), ..plain() })),
        (file("", "a"), Some(Object { source: String::new(), ..plain() })),
        (file("s3://b", ""), Some(Object { path: Vec::new(), ..plain() })),
        (file("s3://b", "a").size(-1), Some(Object { size: None, ..plain() })),
        (file("s3://b", "a").size("x"), Some(Object { size: None, ..plain() })),
        (file("s3://b", "a").size(3.0), Some(Object { size: Some(3), ..plain() })),
        (file("s3://b", "a").etag(12), Some(Object { etag: "12".into(), ..plain() })),
        (file("s3://b", "a").version("v"), Some(Object { version: "v".into(), ..plain() })),
        (
            file("s3://b", "a").last_modified("1970-01-01 00:00:00"),
            Some(Object { last_modified: Some(Timestamp::from_micros(0)), ..plain() }),
        ),
        (
            file("s3://b", "a").last_modified("soon"),
            Some(Object { last_modified: None, ..plain() }),
        ),
        (
            file("s3://b", "a").location("[]"),
            Some(Object { location: Some("[]".into()), ..plain() }),
        ),
    ];
    let (_dir, writer) = new();
    let rows = cases.iter().map(|(cells, _)| row().file(cells.clone()).no_file());
    let version = writer.dataset("odd").version("1.0.0").file_column("file");
    version.file_column("more.mask").rows(rows).save();
    let catalog = open(&writer);
    let odd = find(&catalog, "odd");
    let files = catalog.schema(&odd).expect("a schema").files;
    assert_eq!(files.len(), 2);
    let rows = scan(&catalog, &odd, &files);
    assert_eq!(rows.len(), cases.len());
    for ((id, objects), (cells, want)) in rows.iter().zip(&cases) {
        assert_eq!(objects, &[want.clone(), None], "{cells:?}");
        let alone = catalog.object(&odd, &files[0], RowId::new(*id)).expect("a row");
        assert_eq!(&alone, want, "{cells:?}");
    }
}

#[test]
fn parts_that_the_table_lacks_are_null() {
    let (_dir, writer) = new();
    let rows = [row().cell("s3://b").cell("a")];
    let version = writer.dataset("old").version("1.0.0");
    version.bare_column("f__source", "").bare_column("f__path", "").rows(rows).save();
    let catalog = open(&writer);
    let old = find(&catalog, "old");
    let files = catalog.schema(&old).expect("a schema").files;
    let want = Object { size: None, last_modified: None, ..plain() };
    assert_eq!(scan(&catalog, &old, &files), [(1, vec![Some(want)])]);
    let odd = FileColumn {
        path: Some("f__path".into()),
        etag: Some("f\"; DROP TABLE meta; --".into()),
        version: Some("\0".into()),
        ..FileColumn::default()
    };
    let want = Some(Object { source: String::new(), size: None, last_modified: None, ..plain() });
    assert_eq!(catalog.object(&old, &odd, RowId::new(1)).expect("a row"), want);
    assert_eq!(scan(&catalog, &old, &[odd]), [(1, vec![want])]);
}

#[test]
fn every_row_comes_once_in_order() {
    let (_dir, writer) = new();
    let ends = [i64::MIN, -5, 0, i64::MAX - 1, i64::MAX];
    let save = |name: &str, ids: &mut dyn Iterator<Item = i64>| {
        writer.dataset(name).version("1.0.0").rows(ids.map(|id| row().id(id))).save();
    };
    save("none", &mut std::iter::empty());
    save("ends", &mut ends.into_iter().rev());
    save("slice", &mut (1..=65_536));
    save("many", &mut (1..=MANY));
    save("gaps", &mut (1..=MANY).map(|id| id * 3));
    let catalog = open(&writer);
    let row_ids = |name: &str| ids(&catalog, &find(&catalog, name));
    assert_eq!(row_ids("none"), Vec::<i64>::new());
    assert_eq!(row_ids("ends"), ends);
    assert_eq!(row_ids("slice"), (1..=65_536).collect::<Vec<_>>());
    assert_eq!(row_ids("many"), (1..=MANY).collect::<Vec<_>>());
    assert_eq!(row_ids("gaps"), (1..=MANY).map(|id| id * 3).collect::<Vec<_>>());

    let extent = |name: &str| {
        let (count, first, last) = catalog.extent(&find(&catalog, name)).expect(name);
        (count, first.key(), last.key())
    };
    assert_eq!(extent("none"), (0, 0, 0));
    assert_eq!(extent("ends"), (5, i64::MIN, i64::MAX));
    assert_eq!(extent("many"), (MANY as u64, 1, MANY));
    assert_eq!(extent("gaps"), (MANY as u64, 3, MANY * 3));
    writer.sql("UPDATE datasets_versions SET num_objects = NULL");
    assert_eq!(extent("many"), (MANY as u64, 1, MANY));
}

#[test]
fn a_scan_ends_where_its_caller_says() {
    let (dir, writer) = new();
    writer.dataset("a").version("1.0.0").rows([row(), row()]).save();
    let catalog = open(&writer);
    let stop = dcfs_core::error::Error::new(Kind::Full, "enough");
    let mut stop = Some(stop);
    let result = catalog
        .scan(&find(&catalog, "a"), &[], RowId::ALL, &mut |_| stop.take().map_or(Ok(()), Err));
    assert_eq!(failure(result, dir.path()), (Kind::Full, "enough".into()));
}

#[test]
fn several_sources_are_told_from_one() {
    let (_dir, writer) = new();
    let save = |name: &str, sources: &[Cell]| {
        let rows = sources.iter().map(|source| match source {
            Cell::Null => row().no_file(),
            source => row().file(file(source.clone(), "a")),
        });
        writer.dataset(name).version("1.0.0").file_column("file").rows(rows).save();
    };
    let a = || Cell::from("s3://a");
    let cases = [
        ("none", vec![], false),
        ("absent", vec![Cell::Null, Cell::Null], false),
        ("one", vec![a(), Cell::Null, a()], false),
        ("two", vec![a(), Cell::Null, "s3://b".into()], true),
        ("unsaid", vec![a(), "".into()], true),
    ];
    for (name, sources, _) in &cases {
        save(name, sources);
    }
    let mut late: Vec<Cell> = vec![a(); MANY as usize];
    late.push("s3://b".into());
    save("late", &late);
    let catalog = open(&writer);
    let cache = tempfile::tempdir().expect("a folder");
    let many = |name: &str| {
        let of = find(&catalog, name);
        let files = catalog.schema(&of).expect("a schema").files;
        let rows = (&catalog, &of);
        let pack = obtain(&rows, &of.uuid, &files, cache.path(), Limits::default());
        pack.expect(name).columns()[0].many_sources
    };
    for (name, _, want) in cases {
        assert_eq!(many(name), want, "{name}");
    }
    assert!(many("late"));
}

#[test]
fn examples_are_the_first_that_are_not_null() {
    let (_dir, writer) = new();
    let version = writer.dataset("a").version("1.0.0").column("n", "INTEGER", "int");
    let version = version.column("x", "FLOAT", "float").column("text", "VARCHAR", "str");
    let mut rows = vec![row().cell(Cell::Null).cell(0.5).cell("\u{e9}t\u{e9}s")];
    rows.push(row().cell(7).cell(1.5).cell(Cell::Null));
    version
        .column("late", "VARCHAR", "str")
        .rows(rows.into_iter().map(|r| r.cell(Cell::Null)))
        .save();
    let catalog = open(&writer);
    let examples = catalog.examples(&find(&catalog, "a"), None, 3).expect("examples");
    let want = [("n", "7"), ("x", "0.5"), ("text", "\u{e9}t\u{e9}")];
    assert_eq!(examples, want.map(|(name, text)| (name.to_owned(), text.to_owned())));
    writer.dataset("b").version("1.0.0").rows([row()]).save();
    assert_eq!(catalog.examples(&find(&catalog, "b"), None, 3).expect("examples"), []);
}

#[test]
fn a_version_removed_while_it_is_read_is_stale() {
    let (dir, writer) = new();
    let key = writer.dataset("a").version("1.0.0").rows((0..MANY).map(|_| row())).save();
    let catalog = open(&writer);
    let a = find(&catalog, "a");
    let mut seen = 0;
    let result = catalog.scan(&a, &[], RowId::ALL, &mut |_| {
        if seen == 0 {
            writer.remove(key);
        }
        seen += 1;
        Ok(())
    });
    let gone = (Kind::Stale, "`a@1.0.0` was removed from the catalog".to_owned());
    assert_eq!(failure(result, dir.path()), gone);
    assert_eq!(seen, 65_536, "the slice that was being read is whole");
    let file = FileColumn::default();
    assert_eq!(failure(catalog.schema(&a), dir.path()), gone);
    assert_eq!(failure(catalog.details(&a), dir.path()), gone);
    assert_eq!(failure(catalog.extent(&a), dir.path()), gone);
    assert_eq!(failure(catalog.examples(&a, None, 9), dir.path()), gone);
    assert_eq!(failure(catalog.object(&a, &file, RowId::new(1)), dir.path()), gone);
}

#[test]
fn a_key_that_now_is_another_version_is_stale() {
    let (dir, writer) = new();
    writer.dataset("a").version("1.0.0").rows([row()]).save();
    let catalog = open(&writer);
    let a = find(&catalog, "a");
    let gone = (Kind::Stale, "`a@1.0.0` was removed from the catalog".to_owned());
    for change in ["uuid = 'another'", "version = '1.0.1'"] {
        let save = "SAVEPOINT s; UPDATE datasets_versions SET";
        writer.sql(&format!("{save} {change}; RELEASE s"));
        assert_eq!(failure(catalog.extent(&a), dir.path()), gone, "{change}");
        writer.sql(&format!("UPDATE datasets_versions SET uuid = '{}', version = '1.0.0'", a.uuid));
        assert!(catalog.extent(&a).is_ok());
    }
}

#[test]
fn a_row_that_is_not_there_is_stale() {
    let (dir, writer) = new();
    let rows = [row().file(file("s3://b", "a"))];
    writer.dataset("a").version("1.0.0").file_column("file").rows(rows).save();
    let catalog = open(&writer);
    let a = find(&catalog, "a");
    let file = catalog.schema(&a).expect("a schema").files.remove(0);
    let message = "row 2 of `a@1.0.0` is gone from the catalog".to_owned();
    let result = catalog.object(&a, &file, RowId::new(2));
    assert_eq!(failure(result, dir.path()), (Kind::Stale, message));
}

#[test]
fn a_dataset_may_be_renamed_while_it_is_read() {
    let (_dir, writer) = new();
    let key = writer.dataset("a").version("1.0.0").rows((0..MANY).map(|_| row())).save();
    let catalog = open(&writer);
    let a = find(&catalog, "a");
    let mut seen = 0;
    let each = &mut |_: Row<'_>| {
        if seen == 0 {
            let table = writer.table(key);
            writer.sql("UPDATE datasets SET name = 'b'");
            writer.sql(&format!("ALTER TABLE \"{table}\" RENAME TO \"{}\"", writer.table(key)));
        }
        seen += 1;
        Ok(())
    };
    catalog.scan(&a, &[], RowId::ALL, each).expect("the rows are the same");
    assert_eq!(seen, MANY);
}

#[test]
fn tables_that_are_not_what_they_should_be_are_told() {
    let (dir, writer) = new();
    let name = "\"ds_local_local_a_1_0_0\"";
    writer.dataset("a").version("1.0.0").rows([row()]).save();
    let catalog = open(&writer);
    let a = find(&catalog, "a");
    let missing = "the rows of `a@1.0.0` (the table `ds_local_local_a_1_0_0`) are not in the \
                   catalog; remove the version with `datachain dataset rm` and save it again";
    let odd = |why: &str| {
        format!("the rows of `a@1.0.0` cannot be told apart: {why}; save it again with DataChain")
    };
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i";
    let cases = [
        (format!("CREATE TABLE {name} (x)"), odd("their table has no `sys__id`")),
        (
            format!("CREATE TABLE {name} (sys__id INTEGER)"),
            odd("`sys__id` is not the key of their table"),
        ),
        (
            format!("CREATE TABLE {name} (sys__id INTEGER, x, PRIMARY KEY (sys__id, x))"),
            odd("`sys__id` is not the key of their table"),
        ),
        (
            format!("CREATE VIEW {name} AS {endless} AS sys__id FROM n"),
            odd("`sys__id` is not the key of their table"),
        ),
        (String::new(), missing.into()),
    ];
    let mut kind = "TABLE";
    for (make, message) in cases {
        writer.sql(&format!("DROP {kind} {name}; {make}"));
        kind = if make.starts_with("CREATE VIEW") { "VIEW" } else { "TABLE" };
        let failed = failure(catalog.extent(&a), dir.path());
        assert_eq!(failed, (Kind::Broken, message), "{make}");
    }
}

//! Opening, following and losing the file.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dcfs_core::error::Kind;
use dcfs_core::id::RowId;
use dcfs_data::catalog::Catalog;
use rusqlite::Connection;

use super::{failure, find, names, new, open};
use crate::support::catalog::{CatalogBuilder, row};

/// SQLite's file beside the database with this suffix.
fn beside(db: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes creating the `-shm` impossible, even for root: SQLite follows no link there.
fn block_shm(db: &Path) {
    symlink("nowhere", beside(db, "-shm")).expect("a link");
}

#[test]
fn what_is_no_catalog_is_told() {
    let point = "point `--catalog` to the folder that holds `.datachain`";
    let sqlite = |statements: &'static str| {
        move |db: &Path| {
            Connection::open(db).expect("a file").execute_batch(statements).expect("run")
        }
    };
    type Make = Box<dyn Fn(&Path)>;
    let cases: Vec<(&str, Make, Kind, String)> = vec![
        ("none", Box::new(|_| ()), Kind::Missing, format!("no catalog at `/db`; {point}")),
        (
            "a folder",
            Box::new(|db| fs::create_dir(db).expect("a folder")),
            Kind::Broken,
            format!("`/db` is not a file; {point}"),
        ),
        (
            "text",
            Box::new(|db| fs::write(db, "no database ".repeat(99)).expect("a file")),
            Kind::Broken,
            format!("`/db` is not a catalog: it is not an SQLite database; {point}"),
        ),
        (
            "empty",
            Box::new(|db| fs::write(db, "").expect("a file")),
            Kind::Broken,
            format!(
                "`/db` is not a catalog: it is a SQLite database, but not one that DataChain made \
                 (it has no table `meta`); {point}"
            ),
        ),
        (
            "another program's",
            Box::new(sqlite("CREATE TABLE datasets (id)")),
            Kind::Broken,
            format!(
                "`/db` is not a catalog: it is a SQLite database, but not one that DataChain made \
                 (it has no table `meta`); {point}"
            ),
        ),
        (
            "newer",
            Box::new(sqlite("CREATE TABLE meta (id, schema_version); INSERT INTO meta VALUES (1, 2)")),
            Kind::Broken,
            "the catalog `/db` has schema version 2, and this dcfs knows only version 1; update dcfs"
                .into(),
        ),
        (
            "odd",
            Box::new(sqlite("CREATE TABLE meta (id, schema_version); INSERT INTO meta VALUES (1, NULL)")),
            Kind::Broken,
            "the catalog `/db` has schema version NULL, and this dcfs knows only version 1; update \
             dcfs"
                .into(),
        ),
    ];
    for (what, make, kind, message) in cases {
        let dir = tempfile::tempdir().expect("a folder");
        let db = dir.path().canonicalize().expect("a folder").join("db");
        make(&db);
        assert_eq!(failure(Catalog::open(&db), dir.path()), (kind, message), "{what}");
        let made = fs::read_dir(dir.path()).expect("a folder").count();
        assert!(made <= 1, "{what}: nothing is made beside it");
    }
}

#[test]
fn any_path_leads_to_its_file() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["a b", "100%", "%41", "a?mode=rwc", "a#b", "a\nb", "file:x", "a&immutable=1"] {
        let db = dir.path().join(name);
        let writer = CatalogBuilder::at(&db);
        writer.dataset(name).version("1.0.0").save();
        let catalog = open(&writer);
        assert_eq!(catalog.versions().expect(name)[0].dataset.name, name);
    }
    // SQLite itself takes any bytes; rusqlite's own paths must be UTF-8, so it is moved there.
    let (_dir, writer) = new();
    writer.dataset("odd").version("1.0.0").save();
    writer.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let odd = dir.path().join(OsStr::from_bytes(b"\xff\xfe"));
    fs::copy(writer.path(), &odd).expect("a copy");
    assert_eq!(names(&Catalog::open(&odd).expect("a catalog")), ["odd@1.0.0"]);
}

#[test]
fn the_catalog_is_only_read() {
    let (_dir, writer) = new();
    writer.dataset("a").version("1.0.0").rows([row()]).save();
    writer.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let before = fs::read(writer.path()).expect("a file");
    let catalog = open(&writer);
    let a = find(&catalog, "a");
    catalog.schema(&a).expect("a schema");
    catalog.scan(&a, &[], RowId::ALL, &mut |_| Ok(())).expect("a scan");
    drop(catalog);
    assert_eq!(fs::read(writer.path()).expect("a file"), before);
}

#[test]
fn commits_of_others_are_followed_and_nothing_else_moves_the_revision() {
    let (_dir, writer) = new();
    writer.dataset("a").version("1.0.0").save();
    let catalog = open(&writer);
    let first = catalog.revision().expect("a revision");
    assert_eq!(names(&catalog), ["a@1.0.0"]);
    assert_eq!(catalog.revision().expect("a revision"), first, "reading moves nothing");
    writer.dataset("a").version("1.0.1").save();
    let second = catalog.revision().expect("a revision");
    assert_ne!(second, first);
    assert_eq!(names(&catalog), ["a@1.0.0", "a@1.0.1"]);
    assert_eq!(catalog.revision().expect("a revision"), second);
}

#[test]
fn a_catalog_made_anew_is_followed() {
    let (dir, writer) = new();
    writer.dataset("old").version("1.0.0").rows([row()]).save();
    let catalog = open(&writer);
    let old = find(&catalog, "old");
    let first = catalog.revision().expect("a revision");
    drop(writer);
    fs::remove_dir_all(dir.path().join(".datachain")).expect("removed");
    let gone = "the catalog `/.datachain/db` is gone; put it back, or unmount".to_owned();
    assert_eq!(failure(catalog.versions(), dir.path()), (Kind::Broken, gone.clone()));
    assert_eq!(failure(catalog.revision(), dir.path()), (Kind::Broken, gone));

    let writer = CatalogBuilder::new(dir.path());
    assert_eq!(names(&catalog), Vec::<String>::new());
    writer.dataset("new").version("1.0.0").rows([row(), row()]).save();
    assert_ne!(catalog.revision().expect("a revision"), first);
    assert_eq!(names(&catalog), ["new@1.0.0"]);
    let stale = "`old@1.0.0` was removed from the catalog".to_owned();
    assert_eq!(failure(catalog.extent(&old), dir.path()), (Kind::Stale, stale));
}

#[test]
fn rubbish_in_its_place_is_told_and_forgotten() {
    let (dir, writer) = new();
    writer.dataset("a").version("1.0.0").save();
    writer.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let catalog = open(&writer);
    let good = fs::read(writer.path()).expect("a file");
    let swap = |bytes: &[u8]| {
        let fresh = dir.path().join("fresh");
        fs::write(&fresh, bytes).expect("a file");
        fs::rename(&fresh, writer.path()).expect("renamed");
    };
    swap(&b"rubbish ".repeat(999));
    assert_eq!(catalog.versions().expect_err("rubbish").kind(), Kind::Broken);
    swap(&good);
    assert_eq!(names(&catalog), ["a@1.0.0"]);
}

#[test]
fn where_the_shm_cannot_be_made_the_file_is_read_as_it_stands() {
    let (dir, writer) = new();
    writer.dataset("a").version("1.0.0").rows([row()]).save();
    let db = writer.path().to_owned();
    drop(writer);
    block_shm(&db);
    let catalog = Catalog::open(&db).expect("a catalog");
    let first = catalog.revision().expect("a revision");
    assert_eq!(names(&catalog), ["a@1.0.0"]);
    assert_eq!(catalog.extent(&find(&catalog, "a")).expect("an extent").0, 1);

    // After the writer has closed, its commits are in the file.
    fs::remove_file(beside(&db, "-shm")).expect("removed");
    CatalogBuilder::at(&db).dataset("a").version("1.0.1").save();
    block_shm(&db);
    assert_ne!(catalog.revision().expect("a revision"), first);
    assert_eq!(names(&catalog), ["a@1.0.0", "a@1.0.1"]);

    // While it is open, its commits are in the `-wal`.
    fs::remove_file(beside(&db, "-shm")).expect("removed");
    let writer = CatalogBuilder::at(&db);
    writer.dataset("a").version("1.0.2").save();
    assert_eq!(names(&catalog), ["a@1.0.0", "a@1.0.1", "a@1.0.2"]);

    // A copy of both without the `-shm`.
    let copy = dir.path().join("copy");
    fs::copy(&db, &copy).expect("a copy");
    fs::copy(beside(&db, "-wal"), beside(&copy, "-wal")).expect("a copy");
    block_shm(&copy);
    let message = "the catalog `/copy` has commits in its `-wal` file that cannot be read from a read-only folder; copy `db` and `db-wal` to a folder of your own, or \
                   close the program that writes";
    assert_eq!(failure(Catalog::open(&copy), dir.path()), (Kind::Broken, message.into()));
}

#[test]
fn many_threads_read_beside_a_writer() {
    let (_dir, writer) = new();
    let rows = || (0..100).map(|_| row());
    writer.dataset("steady").version("1.0.0").rows(rows()).save();
    let catalog = open(&writer);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for version in catalog.versions().expect("versions") {
                        let mut seen = 0;
                        let each = &mut |_: dcfs_data::catalog::Row<'_>| {
                            seen += 1;
                            Ok(())
                        };
                        match catalog.scan(&version, &[], RowId::ALL, each) {
                            Ok(()) => assert_eq!(seen, 100, "{version} is whole"),
                            Err(error) => assert_eq!(error.kind(), Kind::Stale, "{error}"),
                        }
                    }
                    catalog.revision().expect("a revision");
                }
            });
        }
        for patch in 0..50 {
            let version = format!("1.0.{patch}");
            let key = writer.dataset("loop").version(&version).rows(rows()).save();
            writer.remove(key);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(&catalog), ["steady@1.0.0"]);
}

//! A real mount against the reference model: random catalogs in SQLite, walked through the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dcfs_core::object::Object;
use proptest::prelude::*;

use crate::pack::any_rows;
use crate::support::catalog::{CatalogBuilder, Cell, FileCells, Row, file, row};
use crate::support::model::{self, ModelRow};
use crate::support::mounted::{Mounted, why_not};

/// Size and time in microseconds of a file, by its path below the version's directory.
pub type Files = BTreeMap<Vec<Vec<u8>>, (u64, i64)>;

const HELPERS: [&str; 3] = ["_README.md", "_lineage.md", "_schema.json"];

fn cells(object: &Object) -> FileCells {
    let time = object.last_modified.map(|t| t.to_string().replace(" UTC", ""));
    FileCells {
        size: object.size.map_or(Cell::Null, |size| Cell::Int(size as i64)),
        etag: object.etag.as_str().into(),
        last_modified: time.as_deref().map_or(Cell::Null, Cell::from),
        ..file(object.source.as_str(), Cell::Text(object.path.clone()))
    }
}

pub fn row_of(model: &ModelRow) -> Row {
    let add = |row: Row, object: &Option<Object>| match object {
        Some(object) => row.file(cells(object)),
        None => row.no_file(),
    };
    model.objects.iter().fold(row().id(model.id), add)
}

/// The files that `find` should find for the rows that are `shown`, by the model.
pub fn expected(columns: &[&str], rows: &[ModelRow], shown: impl Fn(usize) -> bool) -> Files {
    let stat = |object: &Object| {
        (
            object.size.unwrap_or(0),
            object.last_modified.map_or(0, dcfs_core::time::Timestamp::micros),
        )
    };
    let tree = model::version(columns, rows).into_iter();
    let named = tree.filter(|(_, file)| file.rows.iter().any(|row| shown(*row)));
    named.map(|(path, file)| (path, stat(&file.object))).collect()
}

/// The files that the kernel shows. A directory of paths is never empty; one of a File column may be.
pub fn walk(folder: &Path, above: &[Vec<u8>], found: &mut Files) {
    let entries: Vec<_> = fs::read_dir(folder).expect("listed").collect();
    assert!(!entries.is_empty() || above.len() < 2, "{} is empty", folder.display());
    for entry in entries {
        let entry = entry.expect("an entry");
        let meta = fs::symlink_metadata(entry.path()).expect("every name listed can be looked up");
        assert_eq!(meta.ino(), std::os::unix::fs::DirEntryExt::ino(&entry), "one number per inode");
        let mut path = above.to_vec();
        path.push(entry.file_name().as_bytes().to_vec());
        if meta.is_dir() {
            walk(&entry.path(), &path, found);
        } else {
            let micros = meta.mtime() * 1_000_000 + meta.mtime_nsec() / 1000;
            assert!(found.insert(path, (meta.len(), micros)).is_none(), "a name is listed twice");
        }
    }
}

fn agrees(mounted: &Mounted, name: &str, columns: &[&str], rows: &[ModelRow]) {
    let top = mounted.datasets.join(format!("{name}@1.0.0"));
    let mut found = Files::new();
    walk(&top, &[], &mut found);
    for helper in HELPERS {
        let (size, _) = found.remove(&vec![helper.into()]).expect("helpers are listed");
        assert_eq!(fs::read(top.join(helper)).expect("readable").len() as u64, size, "{helper}");
    }
    assert_eq!(found, expected(columns, rows, |_| true), "{name}");
}

/// The catalog drops objects with neither source nor path, so the model must too.
pub fn named(rows: Vec<ModelRow>) -> Vec<ModelRow> {
    let named = |row: ModelRow| ModelRow {
        objects: row.objects.into_iter().map(|o| o.filter(Object::is_named)).collect(),
        ..row
    };
    rows.into_iter().map(named).collect()
}

/// A catalog of `versions`: each a dataset of one local file `1.txt` that contains the dataset's name.
fn of_local_files(home: &Path, versions: &[(&str, &str)]) -> CatalogBuilder {
    let catalog = CatalogBuilder::new(home);
    for (name, uuid) in versions {
        let folder = home.join(name);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("1.txt"), name).expect("a file");
        let source = format!("file://{}", folder.display());
        let object = file(source.as_str(), "1.txt").size(name.len() as i64);
        let object = FileCells { last_modified: Cell::Null, ..object };
        let version = catalog.dataset(name).version("1.0.0").uuid(*uuid).file_column("file");
        version.rows([row().file(object)]).save();
    }
    catalog
}

fn read(mounted: &Mounted, name: &str) -> std::io::Result<String> {
    fs::read_to_string(mounted.datasets.join(format!("{name}@1.0.0/1.txt")))
}

#[test]
fn one_uuid_given_twice_never_mixes_bytes() {
    if let Some(why) = why_not() {
        eprintln!("SKIPPED, nothing was mounted: {why}");
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    of_local_files(home.path(), &[("one", "u"), ("two", "u")]);
    let mounted = Mounted::new(home.path(), home.path());
    for _ in 0..2 {
        for name in ["one", "two"] {
            assert_eq!(read(&mounted, name).expect("readable"), name);
        }
    }
    assert_eq!(mounted.worries(), Vec::<String>::new());
}

#[test]
fn a_pack_damaged_while_in_use_is_built_anew() {
    if let Some(why) = why_not() {
        eprintln!("SKIPPED, nothing was mounted: {why}");
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    of_local_files(home.path(), &[("one", "0a")]);
    let mounted = Mounted::new(home.path(), home.path());
    let top = mounted.datasets.join("one@1.0.0");
    // Everything is in the kernel's cache now, for good.
    assert_eq!(fs::read_dir(&top).expect("listed").count(), 4);
    fs::metadata(top.join("1.txt")).expect("there");
    let packs = home.path().join("cache/dcfs/packs");
    let pack = fs::read_dir(packs).expect("packs").next().expect("one").expect("readable").path();
    let identity = fs::File::options().write(true).open(pack.join("c0.identity")).expect("there");
    std::os::unix::fs::FileExt::write_all_at(&identity, &[0xff; 8], 0).expect("damaged");
    // Linux looks a path up again after ESTALE; a program may see one such error before that.
    let found = read(&mounted, "one").or_else(|_| read(&mounted, "one"));
    assert_eq!(found.expect("the pack is built anew"), "one");
    let worries = mounted.worries();
    assert!(worries[0].contains("damaged pack; rebuilding it"), "{worries:?}");
    assert!(worries.len() <= 2, "one line of the pack, one of the open: {worries:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_of_the_mount_is_the_model(
        single in prop::collection::vec(any_rows(1), 8),
        double in prop::collection::vec(any_rows(2), 4),
    ) {
        if let Some(why) = why_not() {
            eprintln!("SKIPPED, nothing was mounted: {why}");
            return Ok(());
        }
        let home = tempfile::tempdir().expect("a folder");
        let catalog = CatalogBuilder::new(home.path());
        let columns: [&[&str]; 2] = [&["file"], &["image", "frag.audio"]];
        let single = single.into_iter().map(|rows| (columns[0], rows));
        let double = double.into_iter().map(|rows| (columns[1], rows));
        let versions: Vec<_> =
            single.chain(double).map(|(columns, rows)| (columns, named(rows))).collect();
        for (number, (columns, rows)) in versions.iter().enumerate() {
            let version = catalog.dataset(&format!("d{number}")).version("1.0.0");
            let version = columns.iter().fold(version, |version, name| version.file_column(name));
            version.rows(rows.iter().map(row_of)).save();
        }
        let mounted = Mounted::new(home.path(), home.path());
        for (number, (columns, rows)) in versions.iter().enumerate() {
            agrees(&mounted, &format!("d{number}"), columns, rows);
        }
        prop_assert_eq!(mounted.worries(), Vec::<String>::new());
    }
}

//! The file system against the reference model without a kernel: many random catalogs in the time of one mount.

use std::fs;

use proptest::prelude::*;

use dcfs_core::error::Kind;

use crate::mount::{expected, named, row_of};
use crate::pack::any_rows;
use crate::support::catalog::{CatalogBuilder, Cell, file, row};
use crate::support::unmounted::Unmounted;

const HELPERS: [&str; 3] = ["_README.md", "_lineage.md", "_schema.json"];

/// Checks that helper files exist with the sizes they report; returns the other files.
fn helpers_apart(mounted: &Unmounted, top: &str) -> crate::mount::Files {
    let mut found = mounted.walk(top);
    for helper in HELPERS {
        let (size, _) = found.remove(&vec![helper.into()]).expect("helpers are listed");
        let text = mounted.read(&format!("{top}/{helper}")).expect("readable");
        assert_eq!(text.len() as u64, size, "{helper}");
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_is_the_model(single in any_rows(1), double in any_rows(2)) {
        let home = tempfile::tempdir().expect("a folder");
        let catalog = CatalogBuilder::new(home.path());
        let versions: [(&str, &[&str], _); 2] = [
            ("one", &["file"], named(single)),
            ("two", &["image", "frag.audio"], named(double)),
        ];
        for (name, columns, rows) in &versions {
            let version = catalog.dataset(name).version("1.0.0");
            let version = columns.iter().fold(version, |version, name| version.file_column(name));
            version.rows(rows.iter().map(row_of)).save();
        }
        let unmounted = Unmounted::new(catalog.path(), home.path());
        for (name, columns, rows) in &versions {
            let found = helpers_apart(&unmounted, &format!("{name}@1.0.0"));
            prop_assert_eq!(found, expected(columns, rows, |_| true));
        }
    }

    #[test]
    fn a_filter_shows_the_rows_that_pass(
        rows in any_rows(1),
        numbers in prop::collection::vec(0..6_i64, 64),
        least in 0..6_i64,
    ) {
        let home = tempfile::tempdir().expect("a folder");
        let catalog = CatalogBuilder::new(home.path());
        let rows = named(rows);
        let number = |ordinal: usize| numbers[ordinal % numbers.len()];
        let version = catalog.dataset("pets").version("1.0.0").file_column("file");
        let version = version.column("n", "INTEGER", "int");
        let of = |(ordinal, model)| row_of(model).cell(number(ordinal));
        version.rows(rows.iter().enumerate().map(of)).save();
        let unmounted = Unmounted::new(catalog.path(), home.path());
        let found = unmounted.walk(&format!("pets@1.0.0/n >= {least}"));
        prop_assert_eq!(found, expected(&["file"], &rows, |ordinal| number(ordinal) >= least));
        let count = unmounted.read(&format!("pets@1.0.0/n >= {least}/_count")).expect("a count");
        let want = (0..rows.len()).filter(|ordinal| number(*ordinal) >= least).count();
        prop_assert_eq!(count, format!("{want}\n").into_bytes());
    }
}

#[test]
fn bytes_are_those_of_the_row_or_an_error() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("files");
    fs::create_dir(&folder).expect("a folder");
    for (name, text) in [("1.txt", "one"), ("2.txt", "changed since")] {
        fs::write(folder.join(name), text).expect("a file");
    }
    let source = format!("file://{}", folder.display());
    let catalog = CatalogBuilder::new(home.path());
    let version = catalog.dataset("texts").version("1.0.0").file_column("file");
    let files = ["1.txt", "2.txt", "3.txt"].map(|name| file(source.as_str(), name).size(3));
    version.rows(files.map(|cells| row().file(cells.last_modified(Cell::Null)))).save();
    let unmounted = Unmounted::new(catalog.path(), home.path());
    let read = |path: &str| unmounted.read(path).map_err(|error| error.kind());
    assert_eq!(read("texts@1.0.0/1.txt"), Ok(b"one".to_vec()));
    assert_eq!(read("texts/1.txt"), Ok(b"one".to_vec()), "the name alone is the latest version");
    assert_eq!(read("texts@1.0.0/2.txt"), Err(Kind::Stale));
    assert_eq!(read("texts@1.0.0/3.txt"), Err(Kind::Stale), "a file that is gone");
    assert_eq!(read("texts@1.0.0/4.txt"), Err(Kind::Missing));
    assert_eq!(unmounted.find("texts@1.0.0/nosuch > 1").map_err(|e| e.kind()), Err(Kind::Invalid));
}

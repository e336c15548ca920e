//! Damaged files: any result except a panic or a hang.

use std::fs;

use dcfs_core::error::{Kind, Result};
use dcfs_core::id::RowId;
use dcfs_data::catalog::Catalog;
use proptest::prelude::*;

use super::{failure, new};
use crate::support::catalog::{file, row};

/// The bytes of a whole catalog with two versions, and nothing in the `-wal`.
fn whole() -> Vec<u8> {
    let (_dir, writer) = new();
    for version in ["1.0.0", "1.0.1"] {
        let rows = (0..200).map(|n| row().file(file("s3://b", format!("{n}.jpg"))));
        writer.dataset("a").version(version).file_column("file").rows(rows).save();
    }
    writer.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    fs::read(writer.path()).expect("a file")
}

/// Reads everything in a file with these bytes.
fn ask(bytes: &[u8]) -> Result<u64> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("db");
    fs::write(&path, bytes).expect("a file");
    let catalog = Catalog::open(&path)?;
    let mut rows = 0;
    for version in catalog.versions()? {
        let schema = catalog.schema(&version)?;
        catalog.details(&version)?;
        catalog.parents(version.id)?;
        catalog.examples(&version, None, 20)?;
        catalog.extent(&version)?;
        catalog.scan(&version, &schema.files, RowId::ALL, &mut |_| {
            rows += 1;
            Ok(())
        })?;
    }
    Ok(rows)
}

#[test]
fn a_file_cut_short_is_told() {
    let whole = whole();
    assert_eq!(ask(&whole).expect("whole"), 400);
    for pages in 1..whole.len() / 4096 {
        if let Err(error) = ask(&whole[..pages * 4096]) {
            assert_eq!(error.kind(), Kind::Broken, "{pages} pages: {error}");
        }
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("db");
    fs::write(&path, &whole[..2 * 4096]).expect("a file");
    let message = "the catalog `/db` is damaged (database disk image is malformed); restore a copy, \
                   or save what can be saved with `sqlite3 db .recover | sqlite3 new.db`";
    assert_eq!(failure(Catalog::open(&path), dir.path()), (Kind::Broken, message.into()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn flipped_bytes_make_no_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)
    ) {
        let mut bytes = whole();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Err(error) = ask(&bytes) {
            prop_assert_ne!(error.kind(), Kind::Invalid);
        }
    }
}

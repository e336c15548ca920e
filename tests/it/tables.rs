//! Text tables: reads at any offset, with a new index or a cached one.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dcfs_core::error::Kind;
use dcfs_core::render::rows::{Beside, Format};
use dcfs_data::catalog::Catalog;
use dcfs_data::pack::{Limits, Ordinals, Packs};
use dcfs_data::tables::{Blocks, Rows, Source, TextTable, text};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::catalog::{CatalogBuilder, file, row};

/// Rows of about a kilobyte each, so that a table has many blocks.
const ROWS: u32 = 6000;

fn note(number: u32) -> String {
    format!("{number} \u{e9}\"\n").repeat(1 + number as usize % 150)
}

/// A catalog of one version, and its rows; all, or every third.
struct Fixture {
    home: TempDir,
    writer: CatalogBuilder,
    source: Source,
}

fn fixture(every_third: bool) -> Fixture {
    let home = tempfile::tempdir().expect("a folder");
    let writer = CatalogBuilder::new(home.path());
    let rows = (0..ROWS).map(|n| {
        let object = file("s3://b", format!("dir/{n}.txt"));
        row().file(object).cell(note(n)).cell(f64::from(n) / 7.0)
    });
    let version = writer.dataset("a").version("1.0.0").file_column("file");
    version.column("note", "VARCHAR", "str").column("x", "FLOAT", "float").rows(rows).save();
    let catalog = Arc::new(Catalog::open(writer.path()).expect("a catalog"));
    let of = catalog.versions().expect("versions").remove(0);
    let packs = Packs::new(catalog.clone(), home.path().join("cache"), Limits::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let pack = runtime.block_on(packs.get(&of)).expect("a pack");
    let schema = Arc::new(catalog.schema(&of).expect("a schema"));
    let third = || Rows::Some(Arc::new((0..ROWS).step_by(3).collect::<Ordinals>()));
    let rows = if every_third { third() } else { Rows::All };
    Fixture {
        home,
        writer,
        source: Source {
            catalog,
            of,
            schema,
            pack,
            rows,
            root: None,
            is_ranked: false,
            beside: Beside::ALL,
        },
    }
}

/// All of a table at once.
fn whole(source: &Source, format: Format) -> Vec<u8> {
    let layout = source.layout(format);
    let mut out = layout.header().to_vec();
    text::write(source, &layout, 0..=u32::MAX, &mut out, &mut |_, _| true).expect("written");
    out
}

fn open(source: &Source, format: Format) -> TextTable {
    // Room for one block only, so that blocks are evicted.
    TextTable::open(source.clone(), format, Arc::new(Blocks::new(1))).expect("a table")
}

fn kept(home: &Path) -> Vec<std::path::PathBuf> {
    let packs = fs::read_dir(home.join("cache/packs")).expect("packs");
    let tables = packs.map(|pack| pack.expect("a pack").path().join("tables"));
    let files = tables.flat_map(|tables| fs::read_dir(tables).into_iter().flatten());
    files.map(|file| file.expect("a file").path()).collect()
}

#[test]
fn a_table_reads_the_same_at_any_place() {
    for every_third in [false, true] {
        let fixture = fixture(every_third);
        for format in [Format::Jsonl, Format::Csv, Format::Metadata] {
            let want = whole(&fixture.source, format);
            let table = open(&fixture.source, format);
            assert_eq!(table.size(), want.len() as u64, "{format:?}");
            let runner = &mut proptest::test_runner::TestRunner::default();
            let places = (0..want.len() as u64 + 9, prop_oneof![0..9_u32, 0..600_000_u32]);
            let check = |(offset, length): (u64, u32)| {
                let end = (offset + u64::from(length)).min(want.len() as u64);
                let part = &want[offset.min(end) as usize..end as usize];
                prop_assert!(table.read(offset, length).expect("readable") == part);
                Ok(())
            };
            runner.run(&places, check).expect("every part is the same");
        }
    }
}

#[test]
fn an_index_is_kept_and_a_damaged_one_is_made_anew() {
    let fixture = fixture(false);
    let want = whole(&fixture.source, Format::Jsonl);
    open(&fixture.source, Format::Jsonl);
    let [index] = &kept(fixture.home.path())[..] else { panic!("one index is kept") };
    for damage in [&b""[..], b"\0\0\0\0\0\0\0\0", b"x"] {
        fs::write(index, damage).expect("damaged");
        let table = open(&fixture.source, Format::Jsonl);
        assert_eq!(table.read(0, u32::MAX).expect("readable"), want);
        assert_eq!(kept(fixture.home.path()), std::slice::from_ref(index), "made anew");
    }
}

#[test]
fn rows_that_change_are_an_error_and_never_other_bytes() {
    let fixture = fixture(false);
    let table = open(&fixture.source, Format::Jsonl);
    let name = fixture.writer.table(fixture.source.of.id.key());
    fixture
        .writer
        .sql(&format!("UPDATE \"{name}\" SET note = 'longer than before' WHERE sys__id = 1"));
    let error = table.read(0, 10).expect_err("not what was measured");
    assert_eq!(error.kind(), Kind::Broken, "{error}");
    fixture.writer.sql(&format!("DELETE FROM \"{name}\" WHERE sys__id = 5999"));
    let error = table.read(table.size() - 10, 10).expect_err("a row is gone");
    assert_eq!(error.kind(), Kind::Stale, "{error}");
}

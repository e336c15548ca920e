//! A pack against the reference model: random rows of hostile catalogs, walked in every way; and packs after a
//! crash, truncated or with a changed byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use dcfs_core::error::{Kind, Result};
use dcfs_core::id::{EntryId, RowId};
use dcfs_core::object::Object;
use dcfs_core::schema::FileColumn;
use dcfs_core::time::Timestamp;
use dcfs_core::tree::place;
use dcfs_data::catalog::Row;
use dcfs_data::pack::{Dir, Limits, Node, Ordinals, Pack, Rows, Subset, obtain};
use proptest::prelude::*;

use crate::support::model::{self, ModelFile, ModelRow, Tree};

pub const UUID: &str = "5b6f0a1e-1d7c-4a53-9a1b-0123456789ab";

/// Rows of a test; `fails_at` breaks the scan off there.
pub struct List<'a> {
    rows: &'a [ModelRow],
    fails_at: Option<usize>,
}

impl<'a> List<'a> {
    pub fn new(rows: &'a [ModelRow]) -> Self {
        Self { rows, fails_at: None }
    }

    fn number(&self, column: &FileColumn) -> usize {
        let path = column.path.as_deref().and_then(|path| path.parse().ok());
        path.expect("columns of tests are named by their number")
    }
}

impl Rows for List<'_> {
    fn label(&self) -> String {
        "list@1.0.0".into()
    }

    fn extent(&self) -> Result<(u64, RowId, RowId)> {
        let id = |row: Option<&ModelRow>| RowId::new(row.map_or(0, |row| row.id));
        Ok((self.rows.len() as u64, id(self.rows.first()), id(self.rows.last())))
    }

    fn are_far(&self) -> bool {
        true
    }

    fn scan(
        &self,
        columns: &[FileColumn],
        within: RangeInclusive<RowId>,
        each: &mut dyn FnMut(Row<'_>) -> Result<()>,
    ) -> Result<()> {
        let wanted = |(_, row): &(usize, &ModelRow)| within.contains(&RowId::new(row.id));
        for (index, row) in self.rows.iter().enumerate().filter(wanted) {
            if self.fails_at == Some(index) {
                return Err(dcfs_core::error::Error::new(Kind::Stale, "the version is gone"));
            }
            let objects: Vec<_> =
                columns.iter().map(|column| row.objects[self.number(column)].clone()).collect();
            each(Row { id: RowId::new(row.id), objects: &objects })?;
        }
        Ok(())
    }
}

pub fn file_columns(names: &[&str]) -> Vec<FileColumn> {
    let part = |number: usize| Some(number.to_string());
    let column = |(number, name): (usize, &&str)| FileColumn {
        name: (*name).into(),
        source: part(number),
        path: part(number),
        size: part(number),
        ..FileColumn::default()
    };
    names.iter().enumerate().map(column).collect()
}

pub fn pack_of(packs: &FsPath, names: &[&str], rows: &[ModelRow], limits: Limits) -> Result<Pack> {
    obtain(&List::new(rows), UUID, &file_columns(names), packs, limits)
}

pub fn object(path: &str, etag: &str) -> Object {
    Object {
        source: "s3://b".into(),
        path: path.into(),
        size: Some(path.len() as u64),
        etag: etag.into(),
        last_modified: Some(Timestamp::from_micros(1_700_000_000_000_000)),
        ..Object::default()
    }
}

pub fn rows_of(paths: &[&str]) -> Vec<ModelRow> {
    let row = |(index, path): (usize, &&str)| ModelRow {
        id: index as i64 + 1,
        objects: vec![Some(object(path, &index.to_string()))],
    };
    paths.iter().enumerate().map(row).collect()
}

/// A pack as one value: every file by its path, found by walking, with all its properties.
///
/// `page` is how many children are read before the listing is resumed from its position. With `within`, a set
/// of rows, only their files are found.
pub fn walk(pack: &Pack, page: usize, within: Option<&Subset>) -> Result<Tree> {
    let mut found = Tree::new();
    for column in 0..pack.columns().len() as u16 {
        let root = pack.root(column).expect("a column has a root");
        let top = match pack.columns().len() {
            1 => Vec::new(),
            _ => vec![pack.columns()[usize::from(column)].directory.clone()],
        };
        walk_dir(pack, root, &top, (page, within), &mut found)?;
    }
    Ok(found)
}

fn walk_dir(
    pack: &Pack,
    dir: Dir,
    above: &[Vec<u8>],
    (page, within): (usize, Option<&Subset>),
    found: &mut Tree,
) -> Result<()> {
    let children = list(pack, dir, page, within)?;
    for (name, _) in list(pack, dir, page, None)? {
        let is_listed = children.iter().any(|(listed, _)| *listed == name);
        assert_eq!(pack.lookup(dir, &name, within)?.is_some(), is_listed, "{name:?} in {above:?}");
    }
    let names: BTreeSet<_> = children.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), children.len(), "names are unique in {above:?}");
    assert!(children.is_sorted(), "names come in byte order in {above:?}");
    for (name, node) in children {
        assert_eq!(pack.lookup(dir, &name, None)?, Some(node.0), "{name:?} in {above:?}");
        let path = [above, &[name]].concat();
        match node.0 {
            Node::Dir(below) => {
                assert_eq!(pack.parent(below)?, dir, "the parent of {path:?}");
                walk_dir(pack, below, &path, (page, within), found)?;
            }
            Node::File(entry) => {
                assert_eq!(pack.dir_of(entry)?, dir, "the directory of {path:?}");
                let file = file(pack, dir, entry)?;
                assert!(found.insert(path.clone(), file).is_none(), "{path:?} comes twice");
            }
        }
    }
    Ok(())
}

/// For sorting checks only the name counts.
#[derive(Debug, PartialEq, Eq)]
pub struct Unsorted(pub Node);

impl PartialOrd for Unsorted {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        Some(std::cmp::Ordering::Equal)
    }
}

pub fn list(
    pack: &Pack,
    dir: Dir,
    page: usize,
    within: Option<&Subset>,
) -> Result<Vec<(Vec<u8>, Unsorted)>> {
    let mut children = Vec::new();
    let mut from = dir.first;
    loop {
        let before = children.len();
        pack.list(dir, from, within, &mut |child| {
            children.push((child.name.to_vec(), Unsorted(child.node)));
            from = child.next;
            let is_full = children.len() - before == page;
            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if children.len() - before < page {
            return Ok(children);
        }
    }
}

/// An entry of the pack, in the shape of the model; the object is checked by [`agree`].
fn file(pack: &Pack, dir: Dir, entry: EntryId) -> Result<ModelFile> {
    assert_eq!(pack.column_of(entry)?, dir.column);
    let facts = pack.facts(entry)?;
    let ids: Vec<RowId> = pack.rows(entry)?;
    let known = pack.ids()?;
    let ordinals = (0..pack.row_count()).filter(|n| ids.contains(&known.get(*n).expect("a row")));
    let rows: Vec<usize> = ordinals.map(|n| n as usize).collect();
    for ordinal in &rows {
        assert_eq!(pack.entry_of(dir.column, *ordinal as u32)?, Some(entry), "row {ordinal}");
    }
    let path = [pack.dir_path(dir)?, pack.path(entry)?];
    assert!(path[0].is_empty() || path[1].starts_with(&[&path[0][..], b"/"].concat()));
    let object = Object {
        size: facts.size,
        last_modified: facts.mtime,
        version: facts.identity.to_string(),
        ..Object::default()
    };
    Ok(ModelFile { object, rows })
}

/// The model's tree with only those parts of an object that a pack keeps.
pub fn as_told(tree: Tree) -> Tree {
    let told = |file: ModelFile| ModelFile {
        object: Object {
            size: file.object.size,
            last_modified: file.object.last_modified,
            version: file.object.identity().short().to_string(),
            ..Object::default()
        },
        rows: file.rows,
    };
    tree.into_iter().map(|(path, file)| (path, told(file))).collect()
}

/// Checks that objects put together by a pack are those of the rows, and that all are which keep their path.
pub fn agree_on_objects(pack: &Pack, rows: &[ModelRow]) -> Result<()> {
    let entries = || pack.columns().iter().flat_map(|column| column.entries.clone());
    for entry in entries().map(EntryId::new) {
        assert_eq!(pack.recorded(entry)?, None, "no source is known");
    }
    for (column, object) in rows.iter().flat_map(|row| row.objects.iter().enumerate()) {
        object.iter().for_each(|object| pack.learn(column as u16, &object.source));
    }
    for entry in entries().map(EntryId::new) {
        let column = usize::from(pack.column_of(entry)?);
        let id = pack.first_row(entry)?.key();
        let row = rows.iter().find(|row| row.id == id).expect("a row of the version");
        let object = row.objects[column].as_ref().expect("the row names the entry");
        let above = match pack.columns()[column].many_sources {
            true => place::below_source(&object.source),
            false => Vec::new(),
        };
        match pack.recorded(entry)? {
            Some(found) => assert_eq!(found, *object, "{entry:?}"),
            None => assert_ne!(pack.path(entry)?, [above, object.path.clone()].concat()),
        }
    }
    Ok(())
}

/// Checks that the pack shows exactly what the model says.
fn agree(names: &[&str], rows: &[ModelRow], limits: Limits, page: usize) -> Result<()> {
    let cache = tempfile::tempdir().expect("a folder");
    let packs = cache.path().join("packs");
    let pack = pack_of(&packs, names, rows, limits)?;
    let all = as_told(model::version(names, rows));
    assert_eq!(walk(&pack, page, None)?, all);
    agree_on_objects(&pack, rows)?;
    for step in [1, 2, 3, 7] {
        let set: Ordinals = (0..rows.len() as u32 + 2).skip(1).step_by(step).collect();
        let named = |file: &ModelFile| file.rows.iter().any(|row| set.contains(*row as u32));
        let want: Tree = all.clone().into_iter().filter(|(_, file)| named(file)).collect();
        assert_eq!(walk(&pack, page, Some(&Subset::new(Arc::new(set.clone()))))?, want, "{set:?}");
    }
    for (ordinal, row) in rows.iter().enumerate() {
        for (column, object) in row.objects.iter().enumerate() {
            let entry = pack.entry_of(column as u16, ordinal as u32)?;
            assert_eq!(entry.is_some(), object.is_some(), "row {ordinal}, column {column}");
        }
    }
    let names: Vec<PathBuf> =
        fs::read_dir(&packs).expect("readable").map(|e| e.expect("readable").path()).collect();
    assert_eq!(names.len(), 1, "only the pack stays: {names:?}");
    Ok(())
}

pub const TINY: Limits = Limits { arena: 300, checked_at_open: u64::MAX, kept: 0 };

/// Segments that clash, hide, climb or are reserved.
fn segment() -> impl Strategy<Value = String> {
    let plain = ["a", "b", "a.jpg", "a~1", "a~2.jpg", "a~1~2", "dir"];
    let hostile =
        ["", ".", "..", "%2E", "%", "a\0b", "a%00b", "x\ny", "_views", "_schema.json", "_views~1"];
    prop_oneof![
        4 => prop::sample::select(plain.to_vec()).prop_map(str::to_owned),
        3 => prop::sample::select(hostile.to_vec()).prop_map(str::to_owned),
        1 => prop::sample::select(vec![254, 255, 256, 400]).prop_map(|n| "l".repeat(n)),
        1 => "[ -~]{1,3}|\u{e9}{1,200}",
    ]
}

fn any_object() -> impl Strategy<Value = Object> {
    let path = prop::collection::vec(segment(), 1..4).prop_map(|s| s.join("/"));
    let source = prop::sample::select(vec!["s3://b", "s3://b", "s3://b", "file:///a", "", "a/b"]);
    let size = prop_oneof![Just(None), (0..3_u64).prop_map(Some)];
    let time = prop_oneof![Just(None), (-2..2_i64).prop_map(|t| Some(Timestamp::from_micros(t)))];
    (path, source, prop::sample::select(vec!["", "e", "f"]), size, time).prop_map(
        |(path, source, etag, size, last_modified)| Object {
            source: source.into(),
            path: path.into_bytes(),
            etag: etag.into(),
            size,
            last_modified,
            ..Object::default()
        },
    )
}

/// Rows of `columns` columns; with ids that are consecutive or have gaps; of one source or several.
pub fn any_rows(columns: usize) -> impl Strategy<Value = Vec<ModelRow>> {
    let objects = prop::collection::vec(prop::option::weighted(0.9, any_object()), columns);
    let rows = prop::collection::vec((objects, 1..3_i64), 0..40);
    (rows, -3..3_i64, any::<bool>(), any::<bool>()).prop_map(|(rows, mut id, jumps, one_source)| {
        let row = |(mut objects, jump): (Vec<Option<Object>>, i64)| {
            id += if jumps { jump } else { 1 };
            if one_source {
                objects.iter_mut().flatten().for_each(|object| object.source = "s3://b".into());
            }
            ModelRow { id, objects }
        };
        rows.into_iter().map(row).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn one_column_is_as_the_model_says(
        rows in any_rows(1),
        arena in prop::sample::select(vec![0, 300, 2_000, 1 << 20]),
        page in 1..5_usize,
    ) {
        let limits = Limits { arena, ..Limits::default() };
        agree(&["file"], &rows, limits, page).expect("a pack of any rows");
    }

    #[test]
    fn several_columns_are_as_the_model_says(
        rows in any_rows(3),
        names in prop::sample::select(vec![["image", "mask", "frag.audio"], ["_views", ".", "%2E"]]),
        arena in prop::sample::select(vec![0, 1_000, 1 << 20]),
    ) {
        let limits = Limits { arena, ..Limits::default() };
        agree(&names, &rows, limits, 3).expect("a pack of any rows");
    }

    #[test]
    fn forged_numbers_are_refused(
        rows in any_rows(2),
        forged in prop::collection::vec((0..4_u16, 0..5_u16, any::<u32>(), 0..50_u32), 20),
    ) {
        let cache = tempfile::tempdir().expect("a folder");
        let pack = pack_of(cache.path(), &["a", "b"], &rows, TINY).expect("a pack of any rows");
        for (column, depth, far, near) in forged {
            for number in [far, near] {
                let dir = Dir { column, depth, first: number };
                for answer in [
                    pack.lookup(dir, b"a", None).err(),
                    pack.parent(dir).err(),
                    pack.dir_path(dir).err(),
                    pack.list(dir, near, None, &mut |_| ControlFlow::Continue(())).err(),
                    pack.list(dir, far, None, &mut |_| ControlFlow::Continue(())).err(),
                    pack.facts(EntryId::new(number)).err(),
                    pack.rows(EntryId::new(number)).err(),
                    pack.path(EntryId::new(number)).err(),
                    pack.entry_of(column, number).err(),
                    pack.column_of(EntryId::new(number)).err(),
                ] {
                    prop_assert!(answer.is_none_or(|error| error.kind() == Kind::Stale));
                }
            }
        }
        prop_assert!(!pack.is_damaged());
    }
}

#[test]
fn names_are_settled_as_the_design_says() {
    let cases: [(&[&str], &[&str]); 9] = [
        (&["a", "a"], &["a", "a~2"]),
        (&["a.jpg", "a.jpg", "a~2.jpg"], &["a.jpg", "a~2.jpg", "a~2~2.jpg"]),
        (&["a", "a/b"], &["a/b", "a~1"]),
        (&["a/b", "a/b/c", "a/b~1"], &["a/b/c", "a/b~1", "a/b~1~2"]),
        (&["_views", "_views/x", "_count"], &["_count~3", "_views~1", "_views~2/x"]),
        (&["_views/b", "_views/a", "_views~2/x"], &["_views~2/x", "_views~2~2/a", "_views~2~2/b"]),
        (&["d/_views", "_schema.json"], &["_schema~2.json", "d/_views"]),
        (&["%2E", "."], &["%2E", "%2E~2"]),
        (&[".", "%2E"], &["%2E", "%2E~2"]),
    ];
    for (paths, want) in cases {
        let cache = tempfile::tempdir().expect("a folder");
        let pack = pack_of(cache.path(), &["file"], &rows_of(paths), TINY).expect("a pack");
        let tree = walk(&pack, 100, None).expect("whole");
        let got: Vec<_> = tree
            .keys()
            .map(|path| String::from_utf8_lossy(&path.join(&b'/')).into_owned())
            .collect();
        assert_eq!(got, want, "{paths:?}");
    }
}

#[test]
fn no_rows_and_no_columns_are_a_pack_too() {
    agree(&["file"], &[], TINY, 1).expect("no rows");
    agree(&[], &[], TINY, 1).expect("nothing at all");
    let bare = [3, 5].map(|id| ModelRow { id, objects: vec![] });
    agree(&[], &bare, TINY, 1).expect("no columns");
    let unnamed = [1, 2].map(|id| ModelRow { id, objects: vec![None, None] });
    agree(&["a", "b"], &unnamed, TINY, 1).expect("rows without objects");
}

#[test]
fn a_pack_is_built_once_and_opened_after() {
    let cache = tempfile::tempdir().expect("a folder");
    let rows = rows_of(&["a", "b/c"]);
    let first = pack_of(cache.path(), &["file"], &rows, TINY).expect("built");
    let broken = List { rows: &rows, fails_at: Some(0) };
    let again = obtain(&broken, UUID, &file_columns(&["file"]), cache.path(), TINY);
    assert_eq!(
        walk(&again.expect("no scan"), 9, None).expect("whole"),
        walk(&first, 9, None).expect("whole")
    );
    // Another schema under the same name is another pack.
    let error = obtain(&broken, UUID, &file_columns(&["image"]), cache.path(), TINY);
    assert_eq!(error.expect_err("a scan is needed").kind(), Kind::Stale);
}

#[test]
fn a_build_that_fails_leaves_nothing() {
    let cache = tempfile::tempdir().expect("a folder");
    let rows = rows_of(&["a", "b", "c", "d", "e", "f"]);
    let columns = file_columns(&["file"]);
    let failing = List { rows: &rows, fails_at: Some(5) };
    let error = obtain(&failing, UUID, &columns, cache.path(), TINY).expect_err("the scan fails");
    assert_eq!(error.to_string(), "the version is gone");
    assert_eq!(fs::read_dir(cache.path()).expect("readable").count(), 0);
    obtain(&List::new(&rows), UUID, &columns, cache.path(), TINY).expect("the next builds");
}

#[test]
fn what_a_killed_builder_left_is_cleaned_by_the_next() {
    let cache = tempfile::tempdir().expect("a folder");
    let rows = rows_of(&["a", "b"]);
    let left = cache.path().join(format!("{UUID}-2-2.building-4194305-0"));
    fs::create_dir(&left).expect("made");
    fs::write(left.join("lock"), "").expect("written");
    fs::write(left.join("c0.fst"), "half of it").expect("written");
    fs::write(cache.path().join(format!("{UUID}-2-2.lock")), "").expect("written");
    agree_in(cache.path(), &rows);
    assert!(!left.exists());
}

fn agree_in(packs: &FsPath, rows: &[ModelRow]) {
    let pack = pack_of(packs, &["file"], rows, TINY).expect("a pack");
    assert_eq!(walk(&pack, 9, None).expect("whole"), as_told(model::version(&["file"], rows)));
}

#[test]
fn rows_must_be_those_announced() {
    struct Lies<'a>(List<'a>);
    impl Rows for Lies<'_> {
        fn label(&self) -> String {
            self.0.label()
        }
        fn extent(&self) -> Result<(u64, RowId, RowId)> {
            Ok((7, RowId::new(1), RowId::new(7)))
        }
        fn scan(
            &self,
            columns: &[FileColumn],
            within: RangeInclusive<RowId>,
            each: &mut dyn FnMut(Row<'_>) -> Result<()>,
        ) -> Result<()> {
            self.0.scan(columns, within, each)
        }
    }
    let cache = tempfile::tempdir().expect("a folder");
    let mut rows = rows_of(&["a", "b"]);
    let build = |rows: &dyn Rows| obtain(rows, UUID, &file_columns(&["f"]), cache.path(), TINY);
    let error = build(&Lies(List::new(&rows))).expect_err("two are not seven");
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    rows[1].id = rows[0].id;
    let error = build(&List::new(&rows)).expect_err("ids rise");
    assert!(error.to_string().contains("`sys__id` must ascend"), "{error}");
}

/// Rows that produce every file of a pack: gaps, several rows of one object, two columns.
pub fn small() -> Vec<ModelRow> {
    let row = |(index, path): (usize, &&str)| ModelRow {
        id: index as i64 * 2,
        objects: vec![Some(object(path, "e")), (index % 2 == 0).then(|| object(path, "m"))],
    };
    ["a/1.jpg", "a/2.jpg", "b", "a/1.jpg", "b/c"].iter().enumerate().map(row).collect()
}

fn files_of(packs: &FsPath) -> BTreeMap<PathBuf, Vec<u8>> {
    let pack = fs::read_dir(packs).expect("readable").next().expect("a pack").expect("readable");
    let files = fs::read_dir(pack.path()).expect("readable").map(|e| e.expect("readable").path());
    files.map(|path| (path.clone(), fs::read(&path).expect("readable"))).collect()
}

/// Calls `check` with a small pack, for every `step`th byte of every file changed by `change`.
fn for_bytes(step: usize, change: fn(&mut Vec<u8>, usize), check: impl Fn(&FsPath)) {
    let cache = tempfile::tempdir().expect("a folder");
    let names = ["image", "mask"];
    pack_of(cache.path(), &names, &small(), TINY).expect("built");
    let files = files_of(cache.path());
    assert!(files.len() > 12, "offsets and rows.ids are among them: {files:?}");
    let put = |path: &PathBuf, bytes: &[u8]| {
        // Never in place: an open pack has the old file mapped.
        let new = path.with_extension("new");
        fs::write(&new, bytes).expect("written");
        fs::rename(&new, path).expect("renamed");
    };
    for (path, bytes) in &files {
        for at in (0..bytes.len()).step_by(step) {
            for (path, bytes) in &files {
                if !path.exists() {
                    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                    put(path, bytes);
                }
            }
            let mut changed = bytes.clone();
            change(&mut changed, at);
            put(path, &changed);
            check(cache.path());
            put(path, bytes);
        }
    }
}

#[test]
fn a_changed_byte_is_noticed_and_the_pack_rebuilt() {
    let rows = small();
    let want = as_told(model::version(&["image", "mask"], &rows));
    for_bytes(
        1,
        |bytes, at| bytes[at] ^= 1 << (at % 8),
        |packs| {
            let pack = pack_of(packs, &["image", "mask"], &rows, TINY).expect("built anew");
            assert_eq!(walk(&pack, 9, None).expect("whole"), want);
        },
    );
}

#[test]
fn a_file_cut_short_is_noticed_and_the_pack_rebuilt() {
    let rows = small();
    let want = as_told(model::version(&["image", "mask"], &rows));
    for_bytes(5, Vec::truncate, |packs| {
        let limits = Limits { checked_at_open: 0, ..TINY };
        let pack = pack_of(packs, &["image", "mask"], &rows, limits).expect("built anew");
        assert_eq!(walk(&pack, 9, None).expect("whole"), want);
    });
}

#[test]
fn a_pack_used_before_it_is_checked_errs_or_answers_but_never_panics() {
    let rows = small();
    let ask = |pack: &Pack| -> Result<()> {
        for number in 0..10 {
            let entry = EntryId::new(number);
            let _ = (pack.facts(entry), pack.rows(entry), pack.path(entry), pack.dir_of(entry));
            let _ = (pack.entry_of(0, number), pack.entry_of(1, number));
        }
        for column in 0..2 {
            let mut open = vec![pack.root(column).expect("a column has a root")];
            while let Some(dir) = open.pop() {
                pack.lookup(dir, b"a", None)?;
                pack.list(dir, dir.first, None, &mut |child| {
                    open.extend(match child.node {
                        Node::Dir(below) => Some(below),
                        Node::File(_) => None,
                    });
                    ControlFlow::Continue(())
                })?;
            }
        }
        Ok(())
    };
    for_bytes(
        3,
        |bytes, at| bytes[at] = !bytes[at],
        |packs| {
            let limits = Limits { checked_at_open: 0, ..TINY };
            let pack = pack_of(packs, &["image", "mask"], &rows, limits).expect("opened or built");
            if let Err(error) = ask(&pack) {
                assert_eq!(error.kind() == Kind::Broken, pack.is_damaged(), "{error}");
            }
        },
    );
}

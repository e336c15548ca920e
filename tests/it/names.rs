//! Names in blocks against the reference model and the pack that they are of; and blocks that are damaged, or of
//! another pack.

use std::fs;
use std::path::Path;

use dcfs_core::error::{Kind, Result};
use dcfs_core::id::{EntryId, RowId};
use dcfs_core::object::Object;
use dcfs_data::pack::names::remote::{ENDING, Opener, open_here};
use dcfs_data::pack::names::write::split;
use dcfs_data::pack::{Dir, Limits, Node, Pack, obtain};
use dcfs_data::query::alias;
use proptest::prelude::*;

use crate::pack::{
    List, TINY, UUID, agree_on_objects, any_rows, as_told, file_columns, list, object, pack_of,
    rows_of, small, walk,
};
use crate::support::model::{self, ModelFile, ModelRow, Tree};

/// Obtains the pack of some rows below `packs`.
fn opener(packs: &Path, names: &[&str], rows: &[ModelRow]) -> Box<Opener> {
    let (packs, columns, rows) = (packs.to_path_buf(), file_columns(names), rows.to_vec());
    Box::new(move || obtain(&List::new(&rows), UUID, &columns, &packs, Limits::default()))
}

/// The names of a pack in blocks beside it, as in the cache of a host that reads them.
fn in_blocks(pack: &Pack, names: &[&str], per_block: usize, whole: Box<Opener>) -> Result<Pack> {
    let home = pack.folder().with_file_name(format!("{}{ENDING}", pack.name()));
    fs::create_dir(&home).expect("made");
    split(pack.folder(), &home, per_block).expect("written");
    open_here(&home, &file_columns(names), Limits::default(), whole)
}

/// Checks that names in blocks show exactly what the model says, and refuse what the pack refuses.
fn agree(names: &[&str], rows: &[ModelRow], per_block: usize, page: usize) -> Result<()> {
    let cache = tempfile::tempdir().expect("a folder");
    let packs = cache.path().join("packs");
    let pack = pack_of(&packs, names, rows, TINY)?;
    let all = as_told(model::version(names, rows));
    let blocks = in_blocks(&pack, names, per_block, opener(&packs, names, rows))?;
    assert_eq!(blocks.first_of_all(), pack.first_of_all());
    assert_eq!(walk_names(&blocks, page)?, all, "{per_block} entries in a block");
    for ordinal in 0..pack.row_count() + 2 {
        assert_eq!(blocks.row_id(ordinal)?, pack.row_id(ordinal)?, "row {ordinal}");
    }
    for id in rows.iter().flat_map(|row| [row.id, row.id + 1].map(RowId::new)) {
        assert_eq!(blocks.ordinal(id)?, pack.ordinal(id)?, "row {id}");
    }
    agree_on_objects(&blocks, rows)?;
    assert!(!blocks.is_here(), "blocks were enough");
    forged(&blocks, &pack);
    // Whatever else is asked needs the pack, and then all comes from it.
    assert_eq!(walk(&blocks, page, None)?, all);
    assert!(blocks.is_here() || all.is_empty());
    Ok(())
}

/// [`walk`], without what only a whole pack knows.
fn walk_names(pack: &Pack, page: usize) -> Result<Tree> {
    let mut found = Tree::new();
    let mut open = Vec::new();
    for (number, column) in (0..).zip(pack.columns()) {
        let top = if pack.columns().len() == 1 { vec![] } else { vec![column.directory.clone()] };
        open.push((pack.root(number).expect("a column has a root"), top));
    }
    while let Some((dir, above)) = open.pop() {
        for (name, node) in list(pack, dir, page, None)? {
            assert_eq!(pack.lookup(dir, &name, None)?, Some(node.0), "{name:?} in {above:?}");
            let longer = [&name[..], b"~"].concat();
            let path = [&above[..], &[name]].concat();
            if pack.lookup(dir, &longer, None)?.is_some() {
                let listed = list(pack, dir, page, None)?;
                assert!(listed.iter().any(|(name, _)| *name == longer), "{longer:?}");
            }
            match node.0 {
                Node::Dir(below) => {
                    assert_eq!(pack.parent(below)?, dir, "the parent of {path:?}");
                    open.push((below, path));
                }
                Node::File(entry) => {
                    assert_eq!(pack.dir_of(entry)?, dir, "the directory of {path:?}");
                    let facts = pack.facts(entry)?;
                    let rows = pack.rows(entry)?.into_iter().map(|id| pack.ordinal(id));
                    let rows = rows.map(|row| row.map(|row| row.expect("a row") as usize));
                    let rows = rows.collect::<Result<_>>()?;
                    let object = Object {
                        size: facts.size,
                        last_modified: facts.mtime,
                        version: facts.identity.to_string(),
                        ..Object::default()
                    };
                    let below = [pack.dir_path(dir)?, pack.path(entry)?];
                    let is_below = below[1].starts_with(&[&below[0][..], b"/"].concat());
                    assert!(below[0].is_empty() || is_below, "{path:?}");
                    found.insert(path, ModelFile { object, rows });
                }
            }
        }
    }
    Ok(found)
}

/// Checks that numbers which the pack never gave out are refused by its names in blocks too.
fn forged(blocks: &Pack, pack: &Pack) {
    for column in 0..3 {
        for (depth, first) in (0..4).flat_map(|depth| (0..12).map(move |first| (depth, first))) {
            let dir = Dir { column, depth, first };
            let (ours, theirs) = (blocks.dir_path(dir), pack.dir_path(dir));
            assert_eq!(ours.as_ref().ok(), theirs.as_ref().ok(), "{dir:?}");
            let name = |pack: &Pack| pack.lookup(dir, b"a", None).ok();
            assert_eq!(name(blocks), name(pack), "{dir:?}");
            let entry = EntryId::new(first);
            assert_eq!(blocks.facts(entry).ok(), pack.facts(entry).ok());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn one_column_in_blocks_is_as_the_model_says(
        rows in any_rows(1),
        per_block in prop::sample::select(vec![1, 2, 3, 1024]),
        page in 1..5_usize,
    ) {
        agree(&["file"], &rows, per_block, page).expect("names of any rows");
    }

    #[test]
    fn several_columns_in_blocks_are_as_the_model_says(
        rows in any_rows(3),
        names in prop::sample::select(vec![["image", "mask", "frag.audio"], ["_views", ".", "%2E"]]),
        per_block in prop::sample::select(vec![1, 2, 3, 1024]),
    ) {
        agree(&names, &rows, per_block, 3).expect("names of any rows");
    }
}

#[test]
fn no_rows_and_no_columns_are_in_blocks_too() {
    agree(&["file"], &[], 2, 1).expect("no rows");
    agree(&[], &[], 2, 1).expect("nothing at all");
    let unnamed = [1, 2].map(|id| ModelRow { id, objects: vec![None, None] });
    agree(&["a", "b"], &unnamed, 2, 1).expect("rows without objects");
}

#[test]
fn the_root_of_an_empty_column_is_its_own_parent() {
    let cache = tempfile::tempdir().expect("a folder");
    let row = |id| ModelRow { id, objects: vec![Some(object("d/a", "e")), None] };
    let (names, rows) = (["image", "mask"], [1, 2, 3].map(row));
    let packs = cache.path().join("packs");
    let pack = pack_of(&packs, &names, &rows, TINY).expect("a pack");
    let blocks = in_blocks(&pack, &names, 2, opener(&packs, &names, &rows)).expect("opened");
    let root = blocks.root(1).expect("a column has a root");
    assert_eq!(blocks.parent(root).expect("a root"), pack.parent(root).expect("a root"));
    assert!(!blocks.is_here());
}

#[test]
fn a_short_name_that_blocks_stored_is_found_by_the_pack() {
    let cache = tempfile::tempdir().expect("a folder");
    let (names, rows) = (["file"], rows_of(&["a", "b/c"]));
    let packs = cache.path().join("packs");
    let pack = pack_of(&packs, &names, &rows, TINY).expect("a pack");
    let blocks = in_blocks(&pack, &names, 2, opener(&packs, &names, &rows)).expect("opened");
    let name = alias::remember(&blocks, "width > 5").expect("written");
    assert_eq!(alias::find(&pack, name.as_bytes()).as_deref(), Some("width > 5"));
    assert_eq!(alias::names(&blocks), alias::names(&pack));
    let own = pack.folder().file_name().expect("a name");
    assert!(cache.path().join("aliases").join(own).is_dir(), "named as before there were blocks");
}

#[test]
fn names_of_another_pack_are_damage() {
    let cache = tempfile::tempdir().expect("a folder");
    let (names, other) = (["file"], rows_of(&["a", "c"]));
    let pack = pack_of(&cache.path().join("packs"), &names, &rows_of(&["a", "b"]), TINY);
    let whole = opener(&cache.path().join("other"), &names, &other);
    let blocks = in_blocks(&pack.expect("a pack"), &names, 2, whole).expect("opened");
    let root = blocks.root(0).expect("a column has a root");
    assert!(blocks.lookup(root, b"b", None).expect("read").is_some() && blocks.is_proven());
    assert_eq!(blocks.bring().expect_err("entries have other numbers").kind(), Kind::Broken);
    assert!(blocks.is_damaged() && !blocks.is_proven());
    assert!(blocks.lookup(root, b"b", None).is_err(), "it is replaced before it answers again");
}

#[test]
fn a_panic_of_who_obtains_the_pack_is_an_error() {
    let cache = tempfile::tempdir().expect("a folder");
    let names = ["file"];
    let pack = pack_of(&cache.path().join("packs"), &names, &rows_of(&["a", "b"]), TINY);
    let whole = || -> Result<Pack> { panic!("as told") };
    let blocks = in_blocks(&pack.expect("a pack"), &names, 2, Box::new(whole)).expect("opened");
    for _ in 0..2 {
        assert_eq!(blocks.bring().expect_err("no pack").kind(), Kind::Broken);
    }
    assert!(!blocks.is_damaged(), "names still answer");
}

#[test]
fn a_changed_byte_of_blocks_is_noticed_and_the_pack_used() {
    let mut rows = small();
    (1..).zip(&mut rows).for_each(|(id, row)| row.id = id);
    let home = tempfile::tempdir().expect("a folder");
    let pack = pack_of(&home.path().join("packs"), &["a", "b"], &rows, TINY).expect("a pack");
    let all = walk(&pack, 3, None).expect("whole");
    let names = home.path().join("names");
    fs::create_dir(&names).expect("made");
    split(pack.folder(), &names, 2).expect("written");
    let mut refused = 0;
    for file in ["names.blocks", "names.top", "manifest.json"] {
        let path = names.join(file);
        let bytes = fs::read(&path).expect("readable");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            fs::write(&path, &changed).expect("written");
            let whole = opener(&home.path().join("packs"), &["a", "b"], &rows);
            let columns = file_columns(&["a", "b"]);
            // The top and the manifest are compared with the catalog before they are opened; here
            // they may be anything, and must not panic.
            let Ok(opened) = open_here(&names, &columns, Limits::default(), whole) else {
                refused += 1;
                continue;
            };
            if file == "names.blocks" {
                let walked = walk_names(&opened, 3).expect("from the pack");
                assert_eq!(walked, all, "byte {at} of {file}");
                refused += usize::from(opened.is_here());
            } else {
                let root = opened.root(0).expect("a column");
                let dir = Dir { column: 0, depth: 1, first: 0 };
                drop((list(&opened, root, 3, None), list(&opened, dir, 3, None)));
                drop((opened.lookup(root, b"b", None), opened.facts(EntryId::new(2))));
            }
        }
        fs::write(&path, &bytes).expect("written");
    }
    assert!(refused > 100, "{refused} changes were noticed");
}

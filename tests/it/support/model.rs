//! The reference model of a version's tree: the naming rules of the design, implemented again in the simplest
//! way, over a `BTreeMap` and without regard to speed.
//!
//! Takes rows, returns every path of the tree with the rows behind it. A pack, the file system without a kernel
//! and a real mount must all agree with it.

use std::collections::{BTreeMap, BTreeSet};

use dcfs_core::name::escape;
use dcfs_core::object::{Identity, Object};

/// Names in a version's directory that are not rows' files.
pub const RESERVED: [&str; 9] = [
    "_schema.json",
    "_lineage.md",
    "_README.md",
    "_rows.jsonl",
    "_rows.csv",
    "_rows.arrow",
    "_rows.parquet",
    "_count",
    "_views",
];

/// The most names of a path.
const DEEPEST: usize = 1000;

/// A `sys__id`, and the object that the row names in each listed File column.
#[derive(Clone, Debug)]
pub struct ModelRow {
    pub id: i64,
    pub objects: Vec<Option<Object>>,
}

/// Names from the top down.
pub type Path = Vec<Vec<u8>>;

/// One file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// As recorded by the first row that names it.
    pub object: Object,
    /// The ordinals of its rows, ascending.
    pub rows: Vec<usize>,
}

/// The files of one column, by their path below the column's root.
pub type Tree = BTreeMap<Path, ModelFile>;

/// Every file of a version by its path below the version's directory.
pub fn version(columns: &[&str], rows: &[ModelRow]) -> Tree {
    let directories = column_directories(columns);
    let mut all = Tree::new();
    for (number, directory) in directories.iter().enumerate() {
        for (mut path, file) in column(number, columns.len() == 1, rows) {
            if columns.len() > 1 {
                path.insert(0, directory.clone());
            }
            assert!(all.insert(path, file).is_none(), "the model gives a name twice");
        }
    }
    all
}

/// The tree of one column.
pub fn column(number: usize, is_root: bool, rows: &[ModelRow]) -> Tree {
    let named = || {
        let objects = rows.iter().enumerate();
        objects.filter_map(move |(ordinal, row)| Some((ordinal, row.objects[number].as_ref()?)))
    };
    let sources: BTreeSet<&str> = named().map(|(_, object)| object.source.as_str()).collect();
    let mut wanted: BTreeMap<Path, Vec<(Identity, ModelFile)>> = BTreeMap::new();
    for (ordinal, object) in named() {
        let at = wanted.entry(candidate(object, sources.len() > 1)).or_default();
        let identity = object.identity();
        match at.iter_mut().find(|(other, _)| *other == identity) {
            Some((_, file)) => file.rows.push(ordinal),
            None => at.push((identity, ModelFile { object: object.clone(), rows: vec![ordinal] })),
        }
    }
    let files = |at: Vec<(Identity, ModelFile)>| at.into_iter().map(|(_, file)| file).collect();
    settle(is_root, rows, wanted.into_iter().map(|(path, at)| (path, files(at))).collect())
}

/// The path of a row's object if nothing else claims it.
fn candidate(object: &Object, many_sources: bool) -> Path {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    if many_sources {
        let (scheme, rest) = match object.source.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest.strip_prefix('/').unwrap_or(rest)),
            None => (None, object.source.as_str()),
        };
        segments.extend(scheme.map(|scheme| scheme.as_bytes().to_vec()));
        segments.extend(rest.split('/').map(|segment| segment.as_bytes().to_vec()));
    }
    segments.extend(object.path.split(|byte| *byte == b'/').map(<[u8]>::to_vec));
    if segments.len() > DEEPEST {
        let rest = segments.split_off(DEEPEST - 1);
        segments.push(rest.join(&b'/'));
    }
    segments.iter().map(|segment| escape::segment(segment).into_owned()).collect()
}

/// Gives every file a unique path. `wanted` has the files of each candidate, lowest row first.
fn settle(is_root: bool, rows: &[ModelRow], wanted: BTreeMap<Path, Vec<ModelFile>>) -> Tree {
    let directories: BTreeSet<Path> = wanted
        .keys()
        .flat_map(|path| (1..path.len()).map(|length| path[..length].to_vec()))
        .collect();
    let mut stays = Tree::new();
    let mut moves = Vec::new();
    for (path, files) in &wanted {
        let is_vacated = directories.contains(path) || (is_root && is_reserved(path));
        let mut files = files.iter();
        if !is_vacated {
            let lowest = files.next().expect("a candidate has a file");
            stays.insert(path.clone(), lowest.clone());
        }
        moves.extend(files.map(|file| (path.clone(), file.clone())));
    }
    let mut taken: BTreeSet<Path> = stays.keys().cloned().chain(directories).collect();
    taken.extend(RESERVED.iter().filter(|_| is_root).map(|name| vec![name.as_bytes().to_vec()]));

    let mut renamed: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (path, files) in wanted.iter().filter(|(path, _)| is_root && path.len() > 1) {
        let top = path[..1].to_vec();
        if is_reserved(&top) && !renamed.contains_key(&top[0]) {
            let new = free(&mut taken, &top, rows[files[0].rows[0]].id);
            renamed.insert(top[0].clone(), new[0].clone());
        }
    }
    let mut tree = stays;
    for (path, file) in moves {
        let new = free(&mut taken, &path, rows[file.rows[0]].id);
        assert!(tree.insert(new, file).is_none(), "a free name is free");
    }
    let rename = |(mut path, file): (Path, ModelFile)| {
        if let Some(new) = renamed.get(&path[0]).filter(|_| path.len() > 1) {
            path[0].clone_from(new);
        }
        (path, file)
    };
    tree.into_iter().map(rename).collect()
}

/// The first marked form of `path` that is free, which is then taken.
fn free(taken: &mut BTreeSet<Path>, path: &Path, id: i64) -> Path {
    let (last, above) = path.split_last().expect("a path has a name");
    let marks = (1..).map(|n| if n == 1 { id.to_string() } else { format!("{id}~{n}") });
    for mark in marks {
        let mut new = above.to_vec();
        new.push(escape::marked(last, &mark));
        if taken.insert(new.clone()) {
            return new;
        }
    }
    unreachable!("marks do not end")
}

fn is_reserved(path: &[Vec<u8>]) -> bool {
    path.len() == 1 && RESERVED.iter().any(|name| name.as_bytes() == path[0])
}

/// The directory of each column, where there are several.
fn column_directories(columns: &[&str]) -> Vec<Vec<u8>> {
    let wanted: Vec<Vec<u8>> =
        columns.iter().map(|name| escape::segment(name.as_bytes()).into_owned()).collect();
    let mut given: Vec<Vec<u8>> = Vec::new();
    for (index, name) in wanted.iter().enumerate() {
        let mut new = name.clone();
        let mut again = 0;
        if is_reserved(std::slice::from_ref(name)) || wanted[..index].contains(name) {
            while new == *name || wanted.contains(&new) || given.contains(&new) {
                again += 1;
                let mark = if again == 1 { index.to_string() } else { format!("{index}~{again}") };
                new = escape::marked(name, &mark);
            }
        }
        given.push(new);
    }
    given
}

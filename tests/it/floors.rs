//! The order of crates and modules, checked by a test: architecture that cannot erode unnoticed.
//!
//! Cargo itself refuses cycles between crates; here their order is written down, and so is the order of the
//! modules inside a crate.

use std::fs;
use std::path::Path;

/// Bottom to top: a crate may import only crates before it. Each is a folder of `src/`, followed by its
/// modules, bottom to top as well; a module may import only modules before it, and itself. If none are listed,
/// the modules of a crate are unordered.
const FLOORS: &[(&str, &[&str])] = &[
    (
        "core",
        &[
            "hex",
            "sum",
            "error",
            "id",
            "time",
            "shared",
            "version",
            "name",
            "schema",
            "object",
            "cell",
            "json",
            "answer",
            "kept",
            "cancel",
            "provenance",
            "annotation",
            "secrets",
            "expr",
            "sql",
            "glob",
            "loader",
            "tree",
            "render",
        ],
    ),
    ("disk", &[]),
    (
        "data",
        &[
            "parquet_file",
            "catalog",
            "pack",
            "query",
            "diff",
            "lost",
            "memory",
            "usage",
            "pages",
            "runs",
            "tables",
            "trace",
            "stats",
            "sql",
            "knowledge",
        ],
    ),
    ("store", &[]),
    ("vfs", &[]),
    ("work", &[]),
    ("dcfs", &["picture", "sample", "session", "fuse", "skill", "mcp", "view", "csi", "cli"]),
];

/// One source file: where it is, and the text without comments.
struct Source {
    file: String,
    krate: String,
    /// The top-level module in its crate.
    module: String,
    code: String,
}

/// Every source file below `dir`, whose folders are crates.
fn sources(dir: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(source(&path, path.strip_prefix(dir).expect("below src")));
            }
        }
    }
    found
}

fn source(path: &Path, inside: &Path) -> Source {
    let mut parts = inside.components().map(|part| Path::new(part.as_os_str()));
    let krate = parts.next().expect("a crate").display().to_string();
    let first = parts.next().unwrap_or_else(|| panic!("{}: in no crate", inside.display()));
    let text = fs::read_to_string(path).expect("sources are UTF-8");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    Source {
        file: inside.display().to_string(),
        krate,
        module: first.file_stem().expect("a name").to_string_lossy().into_owned(),
        code: lines.flat_map(|line| [line, "\n"]).collect(),
    }
}

/// Every module that `crate::module` or `crate::{module, ...}` names.
fn imports(code: &str) -> Vec<String> {
    let named = |path: &str| -> String {
        path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let after = code.split("crate::").skip(1);
    let modules = after.flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => parts(group).iter().map(|part| named(part)).collect(),
        None => vec![named(rest)],
    });
    modules.filter(|module| !module.is_empty()).collect()
}

/// The parts of `a, b::{c, d}, e} ...` up to the brace that closes it.
fn parts(group: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {}
        }
        if let Some(last) = parts.last_mut().filter(|_| c != ',' || depth > 0) {
            last.push(c);
        }
    }
    parts
}

#[test]
fn every_form_of_import_is_seen() {
    let code = "use crate::a::b;\nuse crate::{c, d::{e, f},\n g};\nfn f() { crate::h::i() }";
    assert_eq!(imports(code), ["a", "c", "d", "g", "h"]);
}

#[test]
fn imports_point_down() {
    let sources = sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(sources.len() > 100, "the walk finds the house");
    for source in sources {
        let file = &source.file;
        let own = FLOORS.iter().position(|(name, _)| *name == source.krate);
        let own = own.unwrap_or_else(|| panic!("{file}: `{}` is not in FLOORS", source.krate));
        for (name, _) in &FLOORS[own + 1..] {
            let path = format!("dcfs_{name}::");
            assert!(!source.code.contains(&path), "{file} imports {path}, which is above it");
        }
        modules_point_down(&source, FLOORS[own].1);
    }
}

/// The order inside a crate that has one.
fn modules_point_down(source: &Source, order: &[&str]) {
    let (file, module) = (&source.file, &source.module);
    if order.is_empty() || ["lib", "main"].contains(&module.as_str()) {
        return;
    }
    let floor = |module: &str| order.iter().position(|m| *m == module);
    let own = floor(module).unwrap_or_else(|| panic!("{file}: `{module}` is not in FLOORS"));
    for import in imports(&source.code).iter().filter(|import| *import != module) {
        let other = floor(import)
            .unwrap_or_else(|| panic!("{file}: `crate::{import}` is no module of FLOORS"));
        assert!(other < own, "{file}: `{module}` imports `{import}`, which is not below it");
    }
}

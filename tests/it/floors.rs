//! The floors of the house, kept by a test: architecture that cannot rot unseen.

use std::fs;
use std::path::Path;

/// Bottom to top. A module may import only modules before it, and itself.
const ORDER: &[&str] = &[
    "error",
    "id",
    "time",
    "version",
    "name",
    "schema",
    "object",
    "cell",
    "json",
    "kept",
    "provenance",
    "expr",
    "glob",
    "image",
    "tree",
    "render",
    "catalog",
    "pack",
    "store",
    "query",
    "diff",
    "pages",
    "tables",
    "vfs",
    "ops",
    "fuse",
    "cli",
];

/// `(file, module, modules it imports)` of every source file below `dir`.
fn sources(dir: &Path) -> Vec<(String, String, Vec<String>)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let inside = path.strip_prefix(dir).expect("below src");
            let first = inside.components().next().expect("a name").as_os_str();
            let module =
                Path::new(first).file_stem().expect("a name").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            found.push((inside.display().to_string(), module, imports(&text)));
        }
    }
    found
}

/// Every module that `crate::module` or `crate::{module, ...}` names in code, comments left out.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
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
    let text =
        "use crate::a::b;\nuse crate::{c, d::{e, f},\n g};\n// crate::x\nfn f() { crate::h::i() }";
    assert_eq!(imports(text), ["a", "c", "d", "g", "h"]);
}

#[test]
fn imports_point_down() {
    let floor = |module: &str| ORDER.iter().position(|m| *m == module);
    let sources = sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(sources.len() > 10, "the walk finds the house");
    for (file, module, imports) in sources {
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let own = floor(&module).unwrap_or_else(|| panic!("{file}: `{module}` is not in ORDER"));
        for import in imports.iter().filter(|import| **import != module) {
            let other = floor(import)
                .unwrap_or_else(|| panic!("{file}: `crate::{import}` is no module of ORDER"));
            assert!(other < own, "{file}: `{module}` imports `{import}`, which is not below it");
        }
    }
}

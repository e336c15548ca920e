//! The documents stay true: every test that `docs/semantics.md` names is there.

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below a folder of the project, as one text.
fn sources(folders: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut text = String::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("readable");
            open.extend(entries.map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|e| e == "rs" || e == "py") {
            text += &fs::read_to_string(&path).expect("sources are UTF-8");
        }
    }
    text
}

#[test]
fn every_promise_names_a_test_that_is_there() {
    let page = include_str!("../../docs/semantics.md");
    let sources = sources(&["src", "tests"]);
    let promises = page.lines().filter_map(|line| line.strip_prefix("| ")?.rsplit_once(" | "));
    let mut named = 0;
    for (promise, tests) in promises.filter(|(promise, _)| *promise != "promise") {
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test holds: {promise}");
        for name in names {
            let there = [format!("fn {name}("), format!("def {name}(")];
            assert!(there.iter().any(|text| sources.contains(text)), "`{name}` is gone: {promise}");
            named += 1;
        }
    }
    assert!(named > 20, "the table is read");
}

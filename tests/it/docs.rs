//! The documents stay true: every test that `docs/semantics.md` names exists, and every message that
//! `docs/troubleshooting.md` quotes is in the sources.

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

/// The sources without comments and tests, line continuations of strings joined.
fn messages() -> String {
    let sources = sources(&["src"]).replace("#[cfg(test)]", "\u{0}");
    let code = sources.split("//! ").map(|file| file.split('\u{0}').next().unwrap_or_default());
    let sources = code.collect::<Vec<_>>().join("\n");
    let mut text = String::new();
    let mut lines = sources.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        let mut line = line.to_owned();
        while let Some(head) = line.strip_suffix('\\') {
            line = format!("{head}{}", lines.next().unwrap_or_default().trim_start());
        }
        text += &line;
        text.push('\n');
    }
    text.replace('`', "")
}

#[test]
fn every_message_quoted_is_printed() {
    let page = include_str!("../../docs/troubleshooting.md");
    let messages = messages();
    let tables = page
        .split("\n## ")
        .filter(|part| part.lines().next().is_some_and(|title| title.contains(" says")));
    let mut quoted = 0;
    for row in tables.flat_map(str::lines).filter(|line| line.starts_with("| `")) {
        let cell = row.trim_start_matches("| ").split(" | ").next().expect("a cell");
        // `...` stands for variable parts; so does the text between two quotations.
        for part in cell.split("...").flat_map(|part| part.split("`, `")) {
            let part = part.replace('`', "").replace("(", "").replace(")", "");
            let part = part.trim_matches(|c: char| c == ' ' || c == ';' || c == ',');
            assert!(
                messages.replace(['(', ')'], "").contains(part),
                "`{part}` is not printed: {row}"
            );
            quoted += 1;
        }
    }
    assert!(quoted > 40, "the tables are read");
}

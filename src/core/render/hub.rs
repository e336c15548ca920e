//! `README.md` of `_views/hf`: which directory is which split, in the format of a Hugging Face
//! dataset card.
//!
//! Without it `load_dataset("imagefolder", ...)` recognises splits by directory names only, and if
//! it recognises any, it silently leaves out the rows of all other directories.

use std::fmt::Write;

use super::markdown::{code, text};

/// Parts of directory names that Hugging Face recognises as a split (`datasets/data_files.py`).
const KNOWN: [&str; 10] = [
    "train",
    "training",
    "validation",
    "valid",
    "dev",
    "val",
    "test",
    "testing",
    "eval",
    "evaluation",
];

/// The card of the version called `name`, whose splits are in the directories `folders`. `without`
/// says whether there are rows without a split, which the card mentions but does not load: Hugging
/// Face infers the type of a column from each metadata file separately, and theirs would hold only
/// nulls, so that loading all others would fail as well.
pub fn card(name: &str, folders: &[Vec<u8>], without: bool) -> String {
    let mut page = "---\nconfigs:\n- config_name: default\n  data_files:\n".to_owned();
    let splits = splits(folders);
    for (folder, split) in folders.iter().zip(&splits) {
        let path = quoted(&(pattern(folder) + "/**"));
        let _ = writeln!(page, "  - split: {}\n    path: {path}", quoted(split));
    }
    let _ = write!(
        page,
        "---\n\n# {} for Hugging Face\n\nA directory per split. With this file every one is loaded, under its name:\n\n    \
         load_dataset(\".../_views/hf\")\n\n",
        text(name)
    );
    let is_known = |folder: &&Vec<u8>| is_known(folder);
    let lost: Vec<String> = match folders.iter().any(|folder| is_known(&folder)) {
        true => folders.iter().filter(|folder| !is_known(folder)).map(|f| shown(f)).collect(),
        false => Vec::new(),
    };
    if without {
        page += "Rows without a split are in `.null/`, and are not loaded.\n\n";
    }
    page += &match &lost[..] {
        [] => "`load_dataset(\"imagefolder\", data_dir=\".../_views/hf\")` recognises splits by words such as `train` and `test`\n\
               alone.\n"
            .to_owned(),
        lost => format!(
            "`load_dataset(\"imagefolder\", data_dir=\".../_views/hf\")` leaves out the rows of {}, because it recognises\n\
             splits by words such as `train` and `test` alone.\n",
            lost.join(", ")
        ),
    };
    page
}

/// The card of a version without splits: all files are in one.
pub fn whole(name: &str) -> String {
    format!(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: \"train\"\n    path: \"**\"\n---\n\n\
         # {} for Hugging Face\n\nWith this file all rows are loaded as one split, `train`, whatever their directories are called:\n\n    \
         load_dataset(\".../_views/hf\")\n",
        text(name)
    )
}

fn shown(folder: &[u8]) -> String {
    code(&String::from_utf8_lossy(folder))
}

/// Whether Hugging Face recognises a directory of this name as a split by itself.
fn is_known(folder: &[u8]) -> bool {
    let name = String::from_utf8_lossy(folder);
    let is_between = |c: char| "-._ ".contains(c) || c.is_ascii_digit();
    !name.starts_with('.') && name.split(is_between).any(|word| KNOWN.contains(&word))
}

/// The names of the splits: valid words, all different. `all` is avoided because it means all
/// splits.
fn splits(folders: &[Vec<u8>]) -> Vec<String> {
    let mut given: Vec<String> = Vec::new();
    for folder in folders {
        let name = String::from_utf8_lossy(folder);
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut name: String = name
            .trim_start_matches('.')
            .chars()
            .map(|c| if is_word(c) { c } else { '_' })
            .collect();
        while name.is_empty() || name == "all" || given.contains(&name) {
            name.push('_');
        }
        given.push(name);
    }
    given
}

/// A glob that matches only this name; bytes that are not UTF-8 match anything.
fn pattern(name: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(name).chars() {
        match c {
            '[' | '*' | '?' => out.extend(['[', c, ']']),
            '\u{fffd}' => out.push('*'),
            c => out.push(c),
        }
    }
    out
}

/// A quoted text; YAML reads it like JSON.
fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    super::rows::json::string(&mut out, text.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn every_directory_is_a_split_of_its_own() {
        let names = folders(&["train", "fold-1", "fold_1", "a*", "all", "\"\n---"]);
        let page = card("pets@1.0.0", &names, true);
        for line in [
            "  - split: \"train\"\n    path: \"train/**\"\n",
            "  - split: \"fold_1\"\n    path: \"fold-1/**\"\n",
            "  - split: \"fold_1_\"\n    path: \"fold_1/**\"\n",
            "  - split: \"a_\"\n    path: \"a[*]/**\"\n",
            "  - split: \"all_\"\n    path: \"all/**\"\n",
            "Rows without a split are in `.null/`",
            "leaves out the rows of `fold-1`, `fold_1`, `a*`",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
        assert_eq!(page.lines().filter(|line| *line == "---").count(), 2, "{page}");
    }

    #[test]
    fn splits_are_known_by_words() {
        for (name, want) in [
            ("train", true),
            ("train-1", true),
            ("my_test", true),
            ("trained", false),
            ("fold1", false),
            ("Train", false),
            (".train", false),
        ] {
            assert_eq!(is_known(name.as_bytes()), want, "{name}");
        }
        let page = card("pets@1.0.0", &folders(&["a", "b"]), false);
        assert!(!page.contains(".null"), "{page}");
        assert!(!page.contains("leaves out"), "nothing is known, so all is one split: {page}");
    }
}

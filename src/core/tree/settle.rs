//! Resolves names that several objects want.
//!
//! Decided over the whole version, per File column, so that a filter never renames a file:
//!
//! 1. Of the objects at one key, that of the lowest row keeps it; the others are marked: `~<sys__id
//!    of the first row>` goes before the extension.
//! 2. If a key is also a directory or (in the top directory of a version with one File column) a
//!    reserved name, no object keeps it.
//! 3. A top-level directory with a reserved name is marked with the `sys__id` of the first row
//!    below it in key order; everything below it moves along.
//! 4. If a marked name is taken (by a real or an earlier name, or reserved), the mark counts up:
//!    `~17`, `~17~2`, `~17~3`. Directories are named before files, each in key order.

use std::fmt::Display;

use crate::name::escape;
use crate::tree::key;

/// Reserved names of a version's directory.
pub const RESERVED: [&[u8]; 11] = [
    b"_README.md",
    b"_count",
    b"_lineage.md",
    b"_rows.arrow",
    b"_rows.csv",
    b"_rows.jsonl",
    b"_rows.parquet",
    b"_schema.json",
    b"_stats.json",
    b"_stats.md",
    b"_views",
];

/// Whether rows may not use this name in a version's directory.
pub fn is_reserved(name: &[u8]) -> bool {
    RESERVED.contains(&name)
}

/// Whether the object of the lowest row keeps `key`; `next` is the key after it, if any.
///
/// `is_root` says whether the column's tree is the version's directory itself.
pub fn is_kept(key: &[u8], next: Option<&[u8]>, is_root: bool) -> bool {
    let is_directory = next.is_some_and(|next| key::is_below(next, key));
    let is_answered = is_root && is_reserved(key);
    !is_directory && !is_answered
}

/// The reserved name of the top directory that `key` is in, if it is in one.
pub fn reserved_directory(key: &[u8], is_root: bool) -> Option<&'static [u8]> {
    let (name, is_below) = key::top(key);
    let found = RESERVED.iter().find(|reserved| **reserved == name);
    found.copied().filter(|_| is_root && is_below)
}

/// The first free marked form of `name` in `directory` (a key with its separator, or empty).
///
/// Terminates because all marks differ and the taken names are finite: a call asks at most once
/// more than there are taken names with its own mark.
pub fn free_name(
    directory: &[u8],
    name: &[u8],
    mark: impl Display,
    mut is_taken: impl FnMut(&[u8]) -> bool,
) -> Vec<u8> {
    let mut again = 1_u64;
    let mut text = mark.to_string();
    loop {
        let key = [directory, &escape::marked(name, &text)].concat();
        if !is_taken(&key) {
            return key;
        }
        again += 1;
        text = format!("{mark}~{again}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_where_nothing_stands_against_it() {
        let cases = [
            ("a", None, true, true),
            ("a", Some("b"), true, true),
            ("a", Some("a\0b"), true, false),
            ("a", Some("ab"), true, true),
            ("_views", None, true, false),
            ("_views", None, false, true),
            ("a\0_views", None, true, true),
            ("_views\0a", None, true, true),
        ];
        for (key, next, is_root, kept) in cases {
            let got = is_kept(key.as_bytes(), next.map(str::as_bytes), is_root);
            assert_eq!(got, kept, "{key:?} before {next:?}");
        }
    }

    #[test]
    fn only_top_directories_are_reserved() {
        let cases = [
            ("_views\0a", true, Some("_views")),
            ("_views\0a", false, None),
            ("_views", true, None),
            ("a\0_views\0a", true, None),
            ("_viewsa\0a", true, None),
        ];
        for (key, is_root, want) in cases {
            let got = reserved_directory(key.as_bytes(), is_root);
            assert_eq!(got, want.map(str::as_bytes), "{key:?}");
        }
    }

    #[test]
    fn marks_count_on_until_a_name_is_free() {
        let taken: [&[u8]; 3] = [b"d\0a~7.jpg", b"d\0a~7~2.jpg", b"d\0a~8~2.jpg"];
        let free = |mark: i64| free_name(b"d\0", b"a.jpg", mark, |key| taken.contains(&key));
        assert_eq!(free(7), b"d\0a~7~3.jpg");
        assert_eq!(free(8), b"d\0a~8.jpg");
        assert_eq!(free(-1), b"d\0a~-1.jpg");
    }
}

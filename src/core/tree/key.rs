//! Sort keys: the names of a path joined by the byte 0, which no name contains.
//!
//! Byte order of keys is order by names, level by level: the contents of a directory directly
//! follow a file of the same name, and a directory is one contiguous range.

use crate::name::escape;

/// Separates the names of a key.
pub const SEPARATOR: u8 = 0;

/// The longest key in bytes: names of at most 255 bytes, and the separators.
pub const LONGEST: usize = super::DEEPEST as usize * (escape::LONGEST + 1);

/// The names of `key`, first level first.
pub fn names(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    key.split(|b| *b == SEPARATOR)
}

/// The number of directories that the beginning of a key names: those with a separator after them.
pub fn depth(key: &[u8]) -> usize {
    key.iter().filter(|b| **b == SEPARATOR).count()
}

/// Where the separator number `n` is, counted from 1.
pub fn nth_separator(key: &[u8], n: usize) -> Option<usize> {
    let mut separators = key.iter().enumerate().filter(|(_, b)| **b == SEPARATOR);
    separators.nth(n.checked_sub(1)?).map(|(at, _)| at)
}

/// Whether `key` is below the directory `directory`, at any depth.
pub fn is_below(key: &[u8], directory: &[u8]) -> bool {
    key.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&SEPARATOR))
}

/// `(the directory with the separator after it, the last name)`; the directory is empty at the top.
pub fn split_last(key: &[u8]) -> (&[u8], &[u8]) {
    let start = key.iter().rposition(|b| *b == SEPARATOR).map_or(0, |at| at + 1);
    key.split_at(start)
}

/// `(the first name, whether more follow)`.
pub fn top(key: &[u8]) -> (&[u8], bool) {
    match key.iter().position(|b| *b == SEPARATOR) {
        Some(end) => (&key[..end], true),
        None => (key, false),
    }
}

/// The path with slashes, for people.
pub fn to_path(key: &[u8]) -> Vec<u8> {
    key.iter().map(|b| if *b == SEPARATOR { b'/' } else { *b }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_is_the_order_of_listings() {
        let sorted: [&[u8]; 6] = [b"a", b"a\0b", b"a\0b\0c", b"a\x01", b"a b", b"ab"];
        assert!(sorted.is_sorted());
    }

    #[test]
    fn takes_keys_apart() {
        let cases = [
            ("a", "", "a", "a", false),
            ("a\0b", "a\0", "b", "a", true),
            ("a\0b\0c", "a\0b\0", "c", "a", true),
        ];
        for (key, directory, last, first, more) in cases {
            assert_eq!(split_last(key.as_bytes()), (directory.as_bytes(), last.as_bytes()));
            assert_eq!(top(key.as_bytes()), (first.as_bytes(), more));
        }
        assert!(is_below(b"a\0b", b"a") && is_below(b"a\0b\0c", b"a"));
        assert!(!is_below(b"a", b"a") && !is_below(b"ab", b"a") && !is_below(b"a\0b", b"a\0b"));
        assert_eq!(to_path(b"a\0b"), b"a/b");
        assert_eq!(names(b"a\0b").count(), 2);
    }
}

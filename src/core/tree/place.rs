//! Where a row's object would be if no other object wanted its name.
//!
//! 1. The recorded path is split on `/`; each segment becomes one legal name, none is dropped.
//! 2. If a column holds several sources, the source's segments come first: `s3://bucket` is
//!    `s3/bucket`, `file:///a/b` is `file/a/b`, a source without `://` is split into its own
//!    segments.
//! 3. Beyond [`DEEPEST`] segments, everything from the last level on becomes one name.

use crate::name::escape;
use crate::object::Object;
use crate::tree::key::SEPARATOR;

/// The most segments of a path; anything deeper becomes one escaped name.
pub const DEEPEST: u16 = 1000;

/// Writes the key (see [`crate::tree::key`]) of `object` over `key`.
///
/// `many_sources` says whether its column holds several sources over the whole version: it must be
/// the same for every row, or a filter would rename files.
pub fn write_key(object: &Object, many_sources: bool, key: &mut Vec<u8>) {
    key.clear();
    if many_sources {
        let (scheme, rest) = source_parts(&object.source);
        let source = scheme.into_iter().chain(rest.split(|b| *b == b'/'));
        write_names(source.chain(object.path.split(|b| *b == b'/')), key);
    } else {
        write_names(object.path.split(|b| *b == b'/'), key);
    }
}

/// What the paths of a source's objects begin with in a column of several sources: its segments, with a
/// slash after each.
pub fn below_source(source: &str) -> Vec<u8> {
    let (scheme, rest) = source_parts(source);
    let mut key = Vec::new();
    write_names(scheme.into_iter().chain(rest.split(|b| *b == b'/')), &mut key);
    let mut path = super::key::to_path(&key);
    path.push(b'/');
    path
}

/// `(scheme, the rest without its first slash)`: `file:///a` gives `file` and `a`.
fn source_parts(source: &str) -> (Option<&[u8]>, &[u8]) {
    match source.split_once("://") {
        Some((scheme, rest)) => {
            (Some(scheme.as_bytes()), rest.strip_prefix('/').unwrap_or(rest).as_bytes())
        }
        None => (None, source.as_bytes()),
    }
}

fn write_names<'a>(mut segments: impl Iterator<Item = &'a [u8]>, key: &mut Vec<u8>) {
    for raw in segments.by_ref().take(usize::from(DEEPEST) - 1) {
        write_name(raw, key);
    }
    if let Some(last) = segments.next() {
        let mut joined = last.to_vec();
        for raw in segments {
            joined.push(b'/');
            joined.extend_from_slice(raw);
        }
        write_name(&joined, key);
    }
}

fn write_name(raw: &[u8], key: &mut Vec<u8>) {
    if !key.is_empty() {
        key.push(SEPARATOR);
    }
    key.extend_from_slice(&escape::segment(raw));
}

/// The directory of each column of a version with several, in order: the escaped column name; one
/// that is reserved or taken by an earlier column gets `~<index>`.
pub fn column_directories(columns: &[&str]) -> Vec<Vec<u8>> {
    let wanted: Vec<_> = columns.iter().map(|name| escape::segment(name.as_bytes())).collect();
    let mut given: Vec<Vec<u8>> = Vec::with_capacity(columns.len());
    for (index, name) in wanted.iter().enumerate() {
        let keeps = !super::settle::is_reserved(name) && !wanted[..index].contains(name);
        given.push(if keeps {
            name.to_vec()
        } else {
            let taken =
                |new: &[u8]| wanted.iter().any(|n| **n == *new) || given.iter().any(|n| n == new);
            super::settle::free_name(b"", name, index, taken)
        });
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::key;

    fn placed(source: &str, path: &str, many: bool) -> String {
        let object =
            Object { source: source.into(), path: path.as_bytes().to_vec(), ..Object::default() };
        let mut out = b"left over".to_vec();
        write_key(&object, many, &mut out);
        String::from_utf8(key::to_path(&out)).expect("UTF-8 goes in and comes out")
    }

    #[test]
    fn paths_keep_every_segment() {
        let cases = [
            ("images/cat.jpg", "images/cat.jpg"),
            ("cat.jpg", "cat.jpg"),
            ("", "%"),
            ("/", "%/%"),
            ("/a", "%/a"),
            ("a//b/", "a/%/b/%"),
            ("../../etc/passwd", "%2E./%2E./etc/passwd"),
            ("./a\0b", "%2E/a%00b"),
        ];
        for (path, want) in cases {
            assert_eq!(placed("s3://b", path, false), want, "{path:?}");
        }
    }

    #[test]
    fn sources_come_first_where_there_are_several() {
        let cases = [
            ("s3://bucket", "s3/bucket/a"),
            ("file:///data/pets", "file/data/pets/a"),
            ("file://", "file/%/a"),
            ("http://h:1", "http/h:1/a"),
            ("s3://b/../c", "s3/b/%2E./c/a"),
            ("", "%/a"),
            ("plain/dir", "plain/dir/a"),
            ("://x", "%/x/a"),
        ];
        for (source, want) in cases {
            assert_eq!(placed(source, "a", true), want, "{source:?}");
            assert_eq!([&below_source(source)[..], b"a"].concat(), want.as_bytes(), "{source:?}");
        }
    }

    #[test]
    fn what_is_too_deep_is_one_name() {
        let at = |segments: usize| placed("", &vec!["d"; segments].join("/"), false);
        assert_eq!(at(1000).split('/').count(), 1000);
        assert!(at(1000).ends_with("d/d"));
        assert_eq!(at(1002).split('/').count(), 1000);
        assert!(at(1002).ends_with("d/d%2Fd%2Fd"));
        assert!(key::LONGEST >= placed("", &"x".repeat(300).repeat(2000), false).len());
    }

    #[test]
    fn columns_have_directories_of_their_own() {
        let cases: [(&[&str], &[&str]); 4] = [
            (&["image", "mask"], &["image", "mask"]),
            (&["_views", "a"], &["_views~0", "a"]),
            (&["a/b", "a%2Fb", ".", "%2E"], &["a%2Fb", "a%2Fb~1", "%2E", "%2E~3"]),
            (&["_count", "_count~0"], &["_count~0~2", "_count~0"]),
        ];
        for (columns, want) in cases {
            let want: Vec<_> = want.iter().map(|d| d.as_bytes().to_vec()).collect();
            assert_eq!(column_directories(columns), want, "{columns:?}");
        }
    }
}

//! Turns any text of a stranger into one legal Linux file name; nothing is dropped, and no name
//! leaves its directory.
//!
//! 1. `/`, NUL, and the first `.` of `.` and `..` become `%2F`, `%00` and `%2E`.
//! 2. An empty segment is `%`.
//! 3. Over 255 bytes: the first 200 at a character boundary, `~`, 16 hex digits of the SHA-256 of
//!    the whole, and the extension.
//!
//! Two texts may escape to one name (`.` and `%2E`); [`crate::tree`] decides which keeps it.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// The most bytes that Linux allows in a name.
pub const LONGEST: usize = 255;

/// The bytes of an overlong name that are kept.
pub const KEPT: usize = 200;

/// The longest extension, with its dot, that an overlong name keeps: 200 + 17 + 32 < 255.
const LONGEST_EXTENSION: usize = 32;

/// The legal name of one segment. Borrowed if nothing had to change, which is nearly always.
pub fn segment(raw: &[u8]) -> Cow<'_, [u8]> {
    let escaped = match raw {
        b"" => Cow::Borrowed(&b"%"[..]),
        b"." => Cow::Borrowed(&b"%2E"[..]),
        b".." => Cow::Borrowed(&b"%2E."[..]),
        _ if raw.iter().any(|b| matches!(b, b'/' | 0)) => Cow::Owned(percent(raw)),
        _ => Cow::Borrowed(raw),
    };
    if escaped.len() <= LONGEST { escaped } else { Cow::Owned(shorten(&escaped)) }
}

fn percent(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + 8);
    for &byte in raw {
        match byte {
            b'/' => out.extend_from_slice(b"%2F"),
            0 => out.extend_from_slice(b"%00"),
            _ => out.push(byte),
        }
    }
    out
}

/// Rule 3, for a name over 255 bytes.
fn shorten(name: &[u8]) -> Vec<u8> {
    let mut end = KEPT;
    while end > KEPT - 4 && is_continuation(name[end]) {
        end -= 1;
    }
    let mut out = name[..end].to_vec();
    out.push(b'~');
    out.extend(Sha256::digest(name)[..8].iter().flat_map(|b| hex(*b)));
    let (_, extension) = split_extension(name);
    if extension.len() <= LONGEST_EXTENSION {
        out.extend_from_slice(extension);
    }
    out
}

/// Whether a byte continues a UTF-8 character.
fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

fn hex(byte: u8) -> [u8; 2] {
    let digit = |n: u8| b"0123456789abcdef"[usize::from(n)];
    [digit(byte >> 4), digit(byte & 15)]
}

/// `(stem, extension with its dot)`: `a.tar.gz` is `a.tar` and `.gz`; `.hidden`, `a` and `a.` have
/// no extension. Concatenating the parts gives the name back.
pub fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|b| *b == b'.') {
        Some(dot) if dot > 0 && dot + 1 < name.len() => name.split_at(dot),
        _ => (name, b""),
    }
}

/// `name` with `~<mark>` before its extension, still a legal name: `a.jpg` and `17` give `a~17.jpg`.
pub fn marked(name: &[u8], mark: &str) -> Vec<u8> {
    let (stem, extension) = split_extension(name);
    let joined = [stem, b"~", mark.as_bytes(), extension].concat();
    if joined.len() <= LONGEST {
        return joined;
    }
    // The hash distinguishes long names, so the stem may lose its end to make room.
    let room = LONGEST - mark.len() - 1 - 17 - extension.len().min(LONGEST_EXTENSION);
    let mut end = room.min(stem.len());
    while end > 0 && stem.get(end).is_some_and(|b| is_continuation(*b)) {
        end -= 1;
    }
    let hash: Vec<u8> = Sha256::digest(name)[..8].iter().flat_map(|b| hex(*b)).collect();
    let extension = if extension.len() <= LONGEST_EXTENSION { extension } else { b"" };
    [&stem[..end], b"~", &hash, b"~", mark.as_bytes(), extension].concat()
}

/// Decodes one escape of DataChain's listing names at the start of `text`: returns the character
/// and the length of the escape in bytes. `_x_x` stands for the two letters `_x` and gives `('_',
/// 4)`.
pub(super) fn desanitize(text: &str) -> Option<(char, usize)> {
    let digits = match text.as_bytes() {
        [b'_', b'x', ..] => 2,
        [b'_', b'y', ..] => 4,
        [b'_', b'z', ..] => 6,
        _ => return None,
    };
    if text.get(2..4) == text.get(..2) {
        return Some(('_', 4));
    }
    let code = text.get(2..2 + digits).filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let c = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
    Some((c, 2 + digits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &str) -> String {
        String::from_utf8(segment(raw.as_bytes()).into_owned()).expect("cut at a character")
    }

    #[test]
    fn escapes_only_what_linux_cannot_hold() {
        let cases = [
            ("cat.jpg", "cat.jpg"),
            ("", "%"),
            (".", "%2E"),
            ("..", "%2E."),
            ("...", "..."),
            (".hidden", ".hidden"),
            ("a/b", "a%2Fb"),
            ("a\0b", "a%00b"),
            ("%2E", "%2E"),
            ("new\nline", "new\nline"),
        ];
        for (raw, name) in cases {
            assert_eq!(text(raw), name, "{raw:?}");
        }
    }

    #[test]
    fn long_names_keep_their_extension_and_their_characters_whole() {
        let long = format!("{}\u{e9}{}.jpg", "a".repeat(199), "b".repeat(100));
        let name = text(&long);
        assert!(name.starts_with(&"a".repeat(199)) && name.ends_with(".jpg"), "{name}");
        assert_eq!(name.len(), 199 + 1 + 16 + 4);
        assert_eq!(text(&"x".repeat(255)), "x".repeat(255));
        assert_eq!(text(&"x".repeat(256)).len(), 217);
        assert_eq!(text(&format!("a.{}", "x".repeat(300))).len(), 217);
        assert_ne!(text(&"x".repeat(256)), text(&"x".repeat(257)));
    }

    #[test]
    fn marks_go_before_the_extension() {
        let cases = [
            ("a.jpg", "a~17.jpg"),
            ("a", "a~17"),
            (".hidden", ".hidden~17"),
            ("a.tar.gz", "a.tar~17.gz"),
            ("a.", "a.~17"),
        ];
        for (name, want) in cases {
            assert_eq!(marked(name.as_bytes(), "17"), want.as_bytes(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_legal(raw in prop::collection::vec(any::<u8>(), 0..600), id: i64) {
            let name = segment(&raw).into_owned();
            for name in [marked(&name, &id.to_string()), name] {
                prop_assert!((1..=LONGEST).contains(&name.len()));
                prop_assert!(!name.contains(&b'/') && !name.contains(&0));
                prop_assert!(name != b"." && name != b"..");
            }
        }

        #[test]
        fn a_legal_name_stays_as_it_is(raw in "[^/\0]{1,60}") {
            prop_assume!(raw != "." && raw != "..");
            prop_assert_eq!(text(&raw), raw);
        }

        #[test]
        fn long_names_with_other_marks_differ(raw in "[a-z]{230,255}", a: i64, b: i64) {
            prop_assume!(a != b);
            prop_assert_ne!(
                marked(raw.as_bytes(), &a.to_string()),
                marked(raw.as_bytes(), &b.to_string())
            );
        }
    }
}

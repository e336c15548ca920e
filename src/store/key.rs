//! Object keys exactly as recorded.
//!
//! `object_store` names objects by its own `Path`, which strips a slash from either end and has no
//! empty, `.` or `..` segment and no control character. Its S3 client then percent-encodes every
//! byte but letters, digits, `-._~` and `/`, which is reversible. So a key that survives
//! `Path::parse` unchanged is requested exactly, and any other is refused. (They could be requested
//! with `AwsAuthorizer` and a request of our own, all but dot segments, which `reqwest` resolves.)

use object_store::path::Path;

/// Longer than S3's 1,024 bytes, for servers over a file system, and short enough for any URL.
const LONGEST: usize = 4096;

/// The path that requests exactly `key`.
///
/// # Errors
/// The reason, for a message.
pub fn exact(key: &[u8]) -> Result<Path, &'static str> {
    let text = std::str::from_utf8(key).map_err(|_| "its key is not UTF-8")?;
    if text.is_empty() {
        return Err("its key is empty");
    }
    if text.len() > LONGEST {
        return Err("its key is longer than 4,096 bytes");
    }
    if text.bytes().any(|b| b.is_ascii_control()) {
        return Err("its key holds a control character");
    }
    if text.starts_with('/') || text.ends_with('/') || text.contains("//") {
        return Err("its key begins or ends with `/`, or holds `//`");
    }
    match Path::parse(text) {
        Ok(path) if path.as_ref() == text => Ok(path),
        Ok(_) | Err(_) => Err("its key holds a `.` or `..` segment"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn odd_keys_survive_or_are_refused() {
        let survive = [
            "a",
            "a b",
            "%20",
            "a%2Fb",
            "#",
            "?a=b&c",
            "[x]",
            "*",
            "+",
            "~",
            "\\",
            "...",
            "a/.b",
            "caf\u{e9}/\u{1f600}",
            "\u{85}",
            "`\"'<>|^{}",
            " ",
            "a/ /b",
        ];
        for key in survive {
            assert_eq!(exact(key.as_bytes()).map(String::from), Ok(key.to_owned()));
        }
        let refused: [(&[u8], &str); 12] = [
            (b"", "its key is empty"),
            (b"/", "its key begins or ends with `/`, or holds `//`"),
            (b"/a", "its key begins or ends with `/`, or holds `//`"),
            (b"a/", "its key begins or ends with `/`, or holds `//`"),
            (b"a//b", "its key begins or ends with `/`, or holds `//`"),
            (b"..", "its key holds a `.` or `..` segment"),
            (b"a/./b", "its key holds a `.` or `..` segment"),
            (b"a/..", "its key holds a `.` or `..` segment"),
            (b"a\nb", "its key holds a control character"),
            (b"a\x7f", "its key holds a control character"),
            (b"\xff", "its key is not UTF-8"),
            (&[b'k'; 4097], "its key is longer than 4,096 bytes"),
        ];
        for (key, reason) in refused {
            assert_eq!(exact(key).unwrap_err(), reason, "{}", key.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_asked_for_is_what_was_recorded(key in ".{0,40}") {
            if let Ok(path) = exact(key.as_bytes()) {
                prop_assert_eq!(path.as_ref(), key);
            }
        }
    }
}

//! Percent-encoding for text of rows in URLs, such that a server decodes the very same bytes.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// Characters that are kept: letters, digits and `-._~`.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same, and `/`.
const KEY: &AsciiSet = &SEGMENT.remove(b'/');

/// Encodes one segment of a path.
pub fn segment(text: &[u8]) -> String {
    percent_encode(text, SEGMENT).to_string()
}

/// Encodes a path of segments.
pub fn key(text: &str) -> String {
    percent_encode(text.as_bytes(), KEY).to_string()
}

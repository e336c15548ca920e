//! Texts of rows in URLs, percent-encoded so that a server decodes the very same bytes.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// What stays: letters, digits and `-._~`.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same, and `/`.
const KEY: &AsciiSet = &SEGMENT.remove(b'/');

/// One segment of a path.
pub fn segment(text: &[u8]) -> String {
    percent_encode(text, SEGMENT).to_string()
}

/// A path of segments.
pub fn key(text: &str) -> String {
    percent_encode(text.as_bytes(), KEY).to_string()
}

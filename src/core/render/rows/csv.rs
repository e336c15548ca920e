//! Cells as CSV (RFC 4180, with `\n` at the end of lines): NULL is an empty field, an empty text is
//! `""`.
//!
//! Every header field is quoted: DuckDB looks for a quote only in its first 20,480 lines, and takes
//! one that comes later for a literal character.
//!
//! Infinity is `1e999`, which every reader of floats parses as infinity; DuckDB takes a column of
//! only `inf` for dates.

use super::json;
use crate::cell::Cell;
use crate::schema::ValueType;

/// Writes one cell of a column of `value`s.
pub fn cell(out: &mut Vec<u8>, cell: Cell<'_>, value: &ValueType) {
    match (cell, value) {
        (Cell::Null, _) => {}
        (Cell::Real(f64::INFINITY), _) => out.extend_from_slice(b"1e999"),
        (Cell::Real(f64::NEG_INFINITY), _) => out.extend_from_slice(b"-1e999"),
        (Cell::Integer(_) | Cell::Real(_), _) => json::cell(out, cell, value),
        (Cell::Text(text), ValueType::Time) => time(out, text),
        (Cell::Text(text), ValueType::List(_) | ValueType::Json) => {
            let mut text_of = Vec::with_capacity(text.len());
            json::cell(&mut text_of, cell, value);
            field(out, &text_of);
        }
        (Cell::Text(text), _) => field(out, text),
        (Cell::Blob(_), _) => {
            // Base64 in quotes: nothing in it needs escaping.
            json::cell(out, cell, value);
        }
    }
}

/// The format DataChain stores, which every reader recognises as a time: no zone, UTC; always six
/// digits.
fn time(out: &mut Vec<u8>, text: &[u8]) {
    match json::fixed_time(text) {
        Some(time) => out.extend_from_slice(&time),
        None => field(out, text),
    }
}

/// A text, quoted if needed. Invalid UTF-8 and NUL become U+FFFD: readers end a line or a file at
/// NUL.
pub fn field(out: &mut Vec<u8>, text: &[u8]) {
    let needs_quotes = |b: &u8| matches!(b, b'"' | b',' | b'\n' | b'\r');
    let is_odd = text.contains(&0) || std::str::from_utf8(text).is_err();
    if is_odd {
        let text = String::from_utf8_lossy(text).replace('\0', "\u{fffd}");
        return field(out, text.as_bytes());
    }
    let is_spaced = text.first() == Some(&b' ') || text.last() == Some(&b' ');
    if !text.is_empty() && !is_spaced && !text.iter().any(needs_quotes) {
        return out.extend_from_slice(text);
    }
    wrap(out, text);
}

/// The name of a column, always in quotes.
pub fn quoted(out: &mut Vec<u8>, name: &[u8]) {
    wrap(out, String::from_utf8_lossy(name).replace('\0', "\u{fffd}").as_bytes());
}

fn wrap(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_a_text() {
        use Cell::{Blob, Integer, Null, Real, Text};
        let floats = || ValueType::List(Box::new(ValueType::Float));
        let cases: Vec<(Cell<'_>, ValueType, &str)> = vec![
            (Null, ValueType::Text, ""),
            (Text(b""), ValueType::Text, "\"\""),
            (Text(b"a b"), ValueType::Text, "a b"),
            (Text(b" a"), ValueType::Text, "\" a\""),
            (Text(b"a,\"b\"\n"), ValueType::Text, "\"a,\"\"b\"\"\n\""),
            (Text(b"a\0\xff"), ValueType::Text, "a\u{fffd}\u{fffd}"),
            (Integer(1), ValueType::Bool, "true"),
            (Integer(7), ValueType::Int, "7"),
            (Real(0.5), ValueType::Float, "0.5"),
            (Real(f64::NEG_INFINITY), ValueType::Float, "-1e999"),
            (Text(b"2024-01-02 03:04:05.5"), ValueType::Time, "2024-01-02 03:04:05.500000"),
            (Text(b"so,on"), ValueType::Time, "\"so,on\""),
            (Text(b"[0.5,1]"), floats(), "\"[0.5,1]\""),
            (Text(b"[]"), floats(), "[]"),
            (Blob(b"\xff"), ValueType::Bytes, "\"/w==\""),
        ];
        for (cell, value, want) in cases {
            let mut out = Vec::new();
            super::cell(&mut out, cell, &value);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), want, "{cell:?} as {value:?}");
        }
    }
}

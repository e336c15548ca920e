//! Cells as JSON.
//!
//! Infinities are the tokens `Infinity` and `-Infinity`, and a `NaN` inside a stored list stays
//! one: Python's `json`, pandas, pyarrow and DuckDB all read them; all four read no other spelling.

use std::borrow::Cow;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cell::Cell;
use crate::schema::ValueType;
use crate::time::Timestamp;

/// Writes one cell of a column of `value`s.
pub fn cell(out: &mut Vec<u8>, cell: Cell<'_>, value: &ValueType) {
    match (cell, value) {
        (Cell::Null, _) => out.extend_from_slice(b"null"),
        (Cell::Integer(0), ValueType::Bool) => out.extend_from_slice(b"false"),
        (Cell::Integer(1), ValueType::Bool) => out.extend_from_slice(b"true"),
        (Cell::Integer(n), ValueType::Float) => put(out, format_args!("{n}.0")),
        (Cell::Integer(n), _) => put(out, format_args!("{n}")),
        (Cell::Real(x), _) => real(out, x),
        (Cell::Text(text), ValueType::Time) => time(out, text),
        (Cell::Text(text), ValueType::List(item)) => list(out, text, item),
        (Cell::Text(text), ValueType::Json) => stored(out, text),
        (Cell::Text(text), _) => string(out, text),
        (Cell::Blob(bytes), _) => string(out, STANDARD.encode(bytes).as_bytes()),
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes any bytes");
}

/// The shortest digits that read back as the same float, always with a point or an exponent.
fn real(out: &mut Vec<u8>, x: f64) {
    match x {
        f64::INFINITY => out.extend_from_slice(b"Infinity"),
        f64::NEG_INFINITY => out.extend_from_slice(b"-Infinity"),
        _ => put(out, format_args!("{x:?}")),
    }
}

/// RFC 3339 in UTC with six digits, `2024-01-02T03:04:05.000000Z`; a text that is not a time stays
/// as it is.
fn time(out: &mut Vec<u8>, text: &[u8]) {
    let start = out.len() + 1;
    match fixed_time(text) {
        Some(time) => {
            string(out, &time);
            out[start + 10] = b'T';
            out.truncate(out.len() - 1);
            out.extend_from_slice(b"Z\"");
        }
        None => string(out, text),
    }
}

/// A time as DataChain stores it, always with six digits; `None` if it is not a time.
pub fn fixed_time(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let time = Timestamp::parse(std::str::from_utf8(text).ok()?)?;
    let is_stored = text.get(10) == Some(&b' ');
    let fixed = match text.len() {
        26 if is_stored => Cow::Borrowed(text),
        19 if is_stored => Cow::Owned([text, b".000000"].concat()),
        _ => Cow::Owned(time.fixed().into_bytes()),
    };
    (fixed.len() == 26).then_some(fixed)
}

/// A string. Invalid UTF-8 becomes U+FFFD.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    let lossy;
    let text = match std::str::from_utf8(text) {
        Ok(_) => text,
        Err(_) => {
            lossy = String::from_utf8_lossy(text).into_owned();
            lossy.as_bytes()
        }
    };
    out.push(b'"');
    let mut plain = 0;
    for (at, byte) in text.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' && *byte != 0x7f {
            continue;
        }
        out.extend_from_slice(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => put(out, format_args!("\\u{byte:04x}")),
        }
    }
    out.extend_from_slice(&text[plain..]);
    out.push(b'"');
}

/// A stored list. In a list of models that is a signal of its own, items are JSON texts in strings;
/// here they become objects.
fn list(out: &mut Vec<u8>, text: &[u8], item: &ValueType) {
    let is_model = matches!(item, ValueType::Model(_));
    if !is_model
        || !text
            .trim_ascii_start()
            .get(1..)
            .is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\""))
    {
        return stored(out, text);
    }
    let Ok(items) = serde_json::from_slice::<Vec<Option<String>>>(text) else {
        return stored(out, text);
    };
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match item {
            Some(item) => stored(out, item.as_bytes()),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b']');
}

/// A stored JSON text, on one line; as a string if it is not valid JSON.
pub fn stored(out: &mut Vec<u8>, text: &[u8]) {
    let is_json = std::str::from_utf8(text).is_ok() && crate::json::is_valid(text);
    if !is_json {
        return string(out, text);
    }
    let text = text.trim_ascii();
    let start = out.len();
    out.extend_from_slice(text);
    // Outside strings line breaks are only white space; inside, they would not be valid.
    out[start..].iter_mut().filter(|b| matches!(b, b'\n' | b'\r')).for_each(|b| *b = b' ');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(cell: Cell<'_>, value: &ValueType) -> String {
        let mut out = Vec::new();
        super::cell(&mut out, cell, value);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn every_cell_has_a_text() {
        use Cell::{Blob, Integer, Null, Real, Text};
        let model = || ValueType::List(Box::new(ValueType::Model(Vec::new())));
        let floats = || ValueType::List(Box::new(ValueType::Float));
        let cases: Vec<(Cell<'_>, ValueType, &str)> = vec![
            (Null, ValueType::Text, "null"),
            (Integer(1), ValueType::Bool, "true"),
            (Integer(0), ValueType::Bool, "false"),
            (Integer(2), ValueType::Bool, "2"),
            (Integer(i64::MIN), ValueType::Int, "-9223372036854775808"),
            (Integer(3), ValueType::Float, "3.0"),
            (Real(0.1), ValueType::Float, "0.1"),
            (Real(1e300), ValueType::Float, "1e300"),
            (Real(3.0), ValueType::Float, "3.0"),
            (Real(f64::INFINITY), ValueType::Float, "Infinity"),
            (Real(f64::NEG_INFINITY), ValueType::Float, "-Infinity"),
            (
                Text(b"a\"\\\n\x00\x7f\xc3\xa9"),
                ValueType::Text,
                "\"a\\\"\\\\\\n\\u0000\\u007f\u{e9}\"",
            ),
            (Text(b"\xff"), ValueType::Text, "\"\u{fffd}\""),
            (Text(b"2024-01-02 03:04:05"), ValueType::Time, "\"2024-01-02T03:04:05.000000Z\""),
            (Text(b"2024-01-02 03:04:05.5"), ValueType::Time, "\"2024-01-02T03:04:05.500000Z\""),
            (Text(b"soon"), ValueType::Time, "\"soon\""),
            (Text(b"[0.5,NaN,-Infinity]"), floats(), "[0.5,NaN,-Infinity]"),
            (Text(b" {\"a\":\n [] } "), ValueType::Json, "{\"a\":  [] }"),
            (Text(b"{\"a\":"), ValueType::Json, "\"{\\\"a\\\":\""),
            (Text(b"[\"{\\\"x\\\":1}\",null]"), model(), "[{\"x\":1},null]"),
            (Text(b"[\"no\"]"), model(), "[\"no\"]"),
            (Text(b"[{\"x\":1}]"), model(), "[{\"x\":1}]"),
            (Text(b"[]"), model(), "[]"),
            (Text(b"["), model(), "\"[\""),
            (Blob(b"\xff\x00"), ValueType::Bytes, "\"/wA=\""),
        ];
        for (cell, value, want) in cases {
            assert_eq!(written(cell, &value), want, "{cell:?} as {value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_line_of_json(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[\\[\\]{}\",:0-9a-z\\\\ \n.-]{0,20}".prop_map(String::into_bytes),
            ],
        ) {
            let list = ValueType::List(Box::new(ValueType::Model(Vec::new())));
            for value in [ValueType::Text, ValueType::Json, list, ValueType::Time] {
                let line = written(Cell::Text(&text), &value);
                prop_assert!(!line.contains('\n'));
                let parsed = serde_json::from_str::<serde_json::Value>(&line);
                prop_assert!(parsed.is_ok() || line.contains("NaN") || line.contains("Infinity"), "{}", line);
            }
        }
    }
}

//! Reads cells of SQLite as the expected type: any type may be stored in any column.
//!
//! Text that is not UTF-8 keeps its bytes in a path; elsewhere they become U+FFFD.

use std::io::Write as _;

use rusqlite::types::ValueRef;

use dcfs_core::time::Timestamp;

/// Replaces `out` with the cell's text as bytes; numbers as SQLite prints them, NULL as nothing.
pub(in crate::catalog) fn bytes_into(cell: ValueRef<'_>, out: &mut Vec<u8>) {
    out.clear();
    match cell {
        ValueRef::Null => {}
        ValueRef::Integer(n) => write!(out, "{n}").expect("a vector takes any bytes"),
        ValueRef::Real(x) => write!(out, "{x:?}").expect("a vector takes any bytes"),
        ValueRef::Text(text) | ValueRef::Blob(text) => out.extend_from_slice(text),
    }
}

/// Replaces `out` with the cell's text; NULL as nothing.
pub(in crate::catalog) fn text_into(cell: ValueRef<'_>, out: &mut String) {
    let mut bytes = std::mem::take(out).into_bytes();
    bytes_into(cell, &mut bytes);
    *out = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
}

/// The cell's text; `None` for NULL.
pub(in crate::catalog) fn text(cell: ValueRef<'_>) -> Option<String> {
    let mut out = String::new();
    text_into(cell, &mut out);
    (cell != ValueRef::Null).then_some(out)
}

/// An integer; `None` for anything else.
pub(in crate::catalog) fn integer(cell: ValueRef<'_>) -> Option<i64> {
    match cell {
        ValueRef::Integer(n) => Some(n),
        // Above 2^53 not every integer is a float.
        ValueRef::Real(x) if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 => {
            Some(x as i64)
        }
        ValueRef::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
        _ => None,
    }
}

/// A count or a length; `None` for anything else.
pub(in crate::catalog) fn unsigned(cell: ValueRef<'_>) -> Option<u64> {
    integer(cell).and_then(|n| n.try_into().ok())
}

/// A time as DataChain writes it; `None` for anything else.
pub(in crate::catalog) fn time(cell: ValueRef<'_>) -> Option<Timestamp> {
    match cell {
        ValueRef::Text(text) => Timestamp::parse(std::str::from_utf8(text).ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ValueRef::{Blob, Integer, Null, Real, Text};

    #[test]
    fn any_cell_reads_as_text() {
        let cases = [
            (Null, None),
            (Integer(-7), Some("-7")),
            (Real(1.0), Some("1.0")),
            (Real(f64::INFINITY), Some("inf")),
            (Text(b"a\0b"), Some("a\0b")),
            (Text(b"\xffa"), Some("\u{fffd}a")),
            (Blob(b"a"), Some("a")),
        ];
        for (cell, want) in cases {
            assert_eq!(text(cell).as_deref(), want, "{cell:?}");
            let mut old = String::from("old");
            text_into(cell, &mut old);
            assert_eq!(old, want.unwrap_or_default(), "{cell:?}");
        }
    }

    #[test]
    fn a_path_keeps_its_bytes() {
        let mut out = b"old".to_vec();
        bytes_into(Text(b"\xff/\0"), &mut out);
        assert_eq!(out, b"\xff/\0");
    }

    #[test]
    fn only_whole_numbers_that_are_not_negative_count() {
        let cases = [
            (Integer(7), Some(7)),
            (Integer(-1), None),
            (Integer(i64::MAX), Some(i64::MAX as u64)),
            (Real(7.0), Some(7)),
            (Real(7.5), None),
            (Real(1e300), None),
            (Real(f64::NAN), None),
            (Text(b"7"), Some(7)),
            (Text(b"7x"), None),
            (Text(b"\xff"), None),
            (Blob(b"7"), None),
            (Null, None),
        ];
        for (cell, want) in cases {
            assert_eq!(unsigned(cell), want, "{cell:?}");
        }
    }

    #[test]
    fn the_epoch_is_a_time() {
        assert_eq!(time(Text(b"1970-01-01 00:00:00")), Some(Timestamp::from_micros(0)));
        for cell in [Null, Integer(0), Text(b""), Text(b"\xff"), Blob(b"1970-01-01")] {
            assert_eq!(time(cell), None, "{cell:?}");
        }
    }
}

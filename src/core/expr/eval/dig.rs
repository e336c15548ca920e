//! Extracts values inside lists and JSON from their text.

use std::borrow::Cow;

use super::value::Val;
use crate::json;
use crate::schema::ValueType;
use crate::time::Timestamp;

/// A JSON text.
pub type Raw<'a> = Cow<'a, [u8]>;

/// The item of a list at `index`, counted from the end if negative; `None` if it is not a list, or
/// past its ends.
pub fn item<'a>(list: Raw<'a>, index: i64) -> Option<Raw<'a>> {
    let items = json::items(&list)?;
    let index = if index < 0 { index.checked_add_unsigned(items.len() as u64)? } else { index };
    let found = *items.get(usize::try_from(index).ok()?)?;
    Some(narrowed(&list, found))
}

/// The value of a key; `None` if it is not an object, or has no such key.
pub fn field<'a>(object: Raw<'a>, key: &str) -> Option<Raw<'a>> {
    let object = unfolded(object)?;
    let fields = json::fields(&object)?;
    let (_, found) = fields.into_iter().find(|(name, _)| name == key)?;
    Some(narrowed(&object, found))
}

/// Unwraps a model in a list that is a signal of its own: a JSON text in a JSON string.
fn unfolded(object: Raw<'_>) -> Option<Raw<'_>> {
    match object.first() {
        Some(b'"') => Some(json::text(&object)?.into_bytes().into()),
        _ => Some(object),
    }
}

/// A part of a text, borrowed if the whole is.
fn narrowed<'a>(whole: &Raw<'a>, part: &[u8]) -> Raw<'a> {
    match whole {
        Cow::Borrowed(whole) => {
            let start = part.as_ptr() as usize - whole.as_ptr() as usize;
            Cow::Borrowed(&whole[start..start + part.len()])
        }
        Cow::Owned(_) => Cow::Owned(part.to_vec()),
    }
}

/// Parses a JSON text as a value of type `value`; NULL if it is of any other.
pub fn value<'a>(raw: Raw<'a>, value: &ValueType) -> Val<'a> {
    let found = match value {
        ValueType::Bool => boolean(&raw),
        ValueType::Int | ValueType::Float => number(&raw),
        ValueType::Text => text(&raw),
        ValueType::Time => time(&raw),
        ValueType::Json => return any(raw),
        ValueType::List(_) | ValueType::Model(_) | ValueType::Bytes => {
            return if *raw == *b"null" { Val::Null } else { Val::Text(raw) };
        }
    };
    found.unwrap_or_default()
}

/// The result of SQLite's `json_extract`: an SQL value, or the text of a list or an object.
fn any(raw: Raw<'_>) -> Val<'_> {
    match raw.first() {
        Some(b'[' | b'{') => Val::Text(raw),
        Some(b'"') => text(&raw).unwrap_or_default(),
        _ => boolean(&raw).or_else(|| number(&raw)).unwrap_or_default(),
    }
}

fn boolean(raw: &[u8]) -> Option<Val<'static>> {
    match raw {
        b"true" => Some(Val::Int(1)),
        b"false" => Some(Val::Int(0)),
        _ => None,
    }
}

fn number(raw: &[u8]) -> Option<Val<'static>> {
    let text = std::str::from_utf8(raw).ok()?;
    if let Ok(number) = text.parse() {
        return Some(Val::Int(number));
    }
    match text {
        "Infinity" => Some(Val::Real(f64::INFINITY)),
        "-Infinity" => Some(Val::Real(f64::NEG_INFINITY)),
        _ if raw.first().is_some_and(|b| b.is_ascii_digit() || *b == b'-') => {
            text.parse().ok().map(Val::Real)
        }
        _ => None,
    }
}

fn text(raw: &[u8]) -> Option<Val<'static>> {
    Some(Val::Text(json::text(raw)?.into_bytes().into()))
}

fn time(raw: &[u8]) -> Option<Val<'static>> {
    Some(Val::Int(Timestamp::parse(&json::text(raw)?)?.micros()))
}

/// The number of items of a list, or keys of an object; `None` for anything else.
pub fn length(raw: &[u8]) -> Option<i64> {
    let count = match raw.first()? {
        b'{' => json::fields(raw)?.len(),
        _ => json::items(raw)?.len(),
    };
    i64::try_from(count).ok()
}

/// Whether a list has an item equal to `wanted`; `None` if it is not a list.
pub fn contains(list: &[u8], item: &ValueType, wanted: &Val<'_>) -> Option<bool> {
    let items = json::items(list)?;
    let is_wanted = |raw: &&[u8]| {
        value(Cow::Borrowed(raw), item).order(wanted).is_some_and(|order| order.is_eq())
    };
    Some(items.iter().any(is_wanted))
}

/// Splits a text at the separator, at most `times` times unless negative; the pieces as a JSON
/// list.
pub fn split(text: &[u8], separator: &[u8], times: i64) -> Option<Vec<u8>> {
    if separator.is_empty() {
        return None;
    }
    let (text, separator) = (String::from_utf8_lossy(text), String::from_utf8_lossy(separator));
    let pieces: Vec<&str> = match usize::try_from(times) {
        Ok(times) => text.splitn(times.saturating_add(1), &*separator).collect(),
        Err(_) => text.split(&*separator).collect(),
    };
    serde_json::to_vec(&pieces).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Raw<'_> {
        Cow::Borrowed(text.as_bytes())
    }

    fn shown(found: Option<Raw<'_>>) -> Option<String> {
        found.map(|raw| String::from_utf8_lossy(&raw).into_owned())
    }

    #[test]
    fn digs() {
        let list = r#"[1, {"x": [2]}, "{\"x\": \"\\u00e9\"}", NaN]"#;
        let cases = [
            (item(raw(list), 0), Some("1")),
            (item(raw(list), -1), Some("NaN")),
            (item(raw(list), 4), None),
            (item(raw(list), -5), None),
            (item(raw(list), i64::MIN), None),
            (item(raw("{}"), 0), None),
            (item(raw(list), 1).and_then(|o| field(o, "x")).and_then(|l| item(l, 0)), Some("2")),
            (item(raw(list), 2).and_then(|o| field(o, "x")), Some("\"\\u00e9\"")),
            (item(raw(list), 1).and_then(|o| field(o, "y")), None),
            (field(raw("not json"), "x"), None),
        ];
        for (number, (found, want)) in cases.into_iter().enumerate() {
            assert_eq!(shown(found).as_deref(), want, "{number}");
        }
    }

    #[test]
    fn values_have_the_type_they_should() {
        let text = |text: &str| Val::Text(text.as_bytes().to_vec().into());
        let cases = [
            ("1", ValueType::Int, Val::Int(1)),
            ("1.5", ValueType::Float, Val::Real(1.5)),
            ("1e3", ValueType::Float, Val::Real(1000.0)),
            ("NaN", ValueType::Float, Val::Null),
            ("-Infinity", ValueType::Float, Val::Real(f64::NEG_INFINITY)),
            ("\"1\"", ValueType::Int, Val::Null),
            ("1", ValueType::Text, Val::Null),
            ("\"a\\/b\"", ValueType::Text, text("a/b")),
            ("true", ValueType::Bool, Val::Int(1)),
            ("\"1970-01-01T00:00:01\"", ValueType::Time, Val::Int(1_000_000)),
            ("true", ValueType::Json, Val::Int(1)),
            ("null", ValueType::Json, Val::Null),
            ("\"x\"", ValueType::Json, text("x")),
            ("[1]", ValueType::Json, text("[1]")),
            ("12345678901234567890", ValueType::Json, Val::Real(12_345_678_901_234_567_890.0)),
        ];
        for (raw_text, of, want) in cases {
            assert_eq!(value(raw(raw_text), &of), want, "{raw_text} as {of:?}");
        }
    }

    #[test]
    fn splits_and_counts() {
        assert_eq!(split(b"a/b/c", b"/", -1).as_deref(), Some(&br#"["a","b","c"]"#[..]));
        assert_eq!(split(b"a/b/c", b"/", 1).as_deref(), Some(&br#"["a","b/c"]"#[..]));
        assert_eq!(split(b"a", b"", -1), None);
        assert_eq!(length(b"[1,[2,3]]"), Some(2));
        assert_eq!(length(br#"{"a":1}"#), Some(1));
        assert_eq!(length(b"7"), None);
    }
}

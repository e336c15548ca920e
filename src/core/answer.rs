//! Checks a program's answer for a row against the declared types, and turns its JSON into cells.
//!
//! Nothing is coerced: a number in a string is not a number. Lists keep their own text, digit by
//! digit.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cell::Cell;
use crate::json;
use crate::schema::{Scalar, Signal, SignalKind, signature};
use crate::time::Timestamp;

/// The most bytes of a wrong value shown in a message.
const SHOWN: usize = 80;

/// An owned or borrowed cell on its way into a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Held<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, [u8]>),
    Blob(Vec<u8>),
}

impl Held<'_> {
    /// The cell, borrowed.
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Integer(n) => Cell::Integer(*n),
            Self::Real(x) => Cell::Real(*x),
            Self::Text(text) => Cell::Text(text),
            Self::Blob(bytes) => Cell::Blob(bytes),
        }
    }
}

/// An answer that does not match its declaration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("the answer is not JSON: `{0}`")]
    NoJson(String),
    #[error("`{column}` should be {wanted}, and is `{found}`")]
    Type { column: String, wanted: String, found: String },
    #[error("the answer lacks `{0}`")]
    Lacks(String),
}

/// The cells of `signals`, in the order of their columns, from the JSON `text`: an object with
/// their names or, if there is only one signal, its bare value.
///
/// # Errors
/// The first value that does not match its declaration.
pub fn cells<'a>(signals: &[Signal], text: &'a [u8]) -> Result<Vec<Held<'a>>, Wrong> {
    let text = text.trim_ascii();
    typed(signals, text).map_err(|wrong| match json::is_valid(text) {
        true => wrong,
        false => Wrong::NoJson(cut(text)),
    })
}

/// The same; an error does not say whether the text is JSON at all. A text that is not has an error: every branch
/// reads all of it.
fn typed<'a>(signals: &[Signal], text: &'a [u8]) -> Result<Vec<Held<'a>>, Wrong> {
    let mut cells = Vec::new();
    match signals {
        [only] => {
            let named = json::fields(text).and_then(|fields| match &fields[..] {
                [(name, value)] if *name == only.name => Some(*value),
                _ => None,
            });
            let is_named = match &only.kind {
                SignalKind::Json | SignalKind::Dict => false,
                SignalKind::Model(fields) => fields.iter().all(|field| field.name != only.name),
                _ => true,
            };
            one(&mut cells, only, &only.name, named.filter(|_| is_named).unwrap_or(text))?;
        }
        several => below(&mut cells, several, "", "an object", text)?,
    }
    Ok(cells)
}

/// The cells of a row without an answer: all NULL.
pub fn nothing(signals: &[Signal]) -> Vec<Held<'static>> {
    let mut cells = Vec::new();
    signals.iter().for_each(|signal| absent(&mut cells, signal));
    cells
}

fn below<'a>(
    cells: &mut Vec<Held<'a>>,
    signals: &[Signal],
    column: &str,
    wanted: &str,
    text: &'a [u8],
) -> Result<(), Wrong> {
    let Some(fields) = json::fields(text) else {
        let column = if column.is_empty() { "the answer" } else { column };
        return Err(wrong(column, wanted.to_owned(), text));
    };
    for signal in signals {
        let name = match column {
            "" => signal.name.clone(),
            column => format!("{column}.{}", signal.name),
        };
        match fields.iter().rfind(|(field, _)| *field == signal.name) {
            Some((_, value)) => one(cells, signal, &name, value)?,
            None if signal.optional => absent(cells, signal),
            None => return Err(Wrong::Lacks(name)),
        }
    }
    Ok(())
}

fn one<'a>(
    cells: &mut Vec<Held<'a>>,
    signal: &Signal,
    column: &str,
    text: &'a [u8],
) -> Result<(), Wrong> {
    if text == b"null" && signal.optional {
        absent(cells, signal);
        return Ok(());
    }
    let wanted = || signature::kind(&signal.kind);
    let cell = match &signal.kind {
        SignalKind::Scalar(scalar) => self::scalar(*scalar, text).filter(|_| json::is_valid(text)),
        SignalKind::List(item) => list(item, text).then_some(Held::Text(Cow::Borrowed(text))),
        SignalKind::Dict | SignalKind::Json => {
            (text != b"null" && json::is_valid(text)).then_some(Held::Text(Cow::Borrowed(text)))
        }
        SignalKind::Model(fields) => {
            if signal.optional {
                cells.push(Held::Integer(0));
            }
            return below(cells, fields, column, &wanted(), text);
        }
        SignalKind::File | SignalKind::Image => {
            if signal.optional {
                cells.push(Held::Integer(0));
            }
            let fields = signal.kind.fields();
            return below(cells, &fields, column, &wanted(), text);
        }
    };
    cells.push(cell.ok_or_else(|| wrong(column, wanted(), text))?);
    Ok(())
}

/// One NULL for each column of a signal.
fn absent(cells: &mut Vec<Held<'_>>, signal: &Signal) {
    match &signal.kind {
        SignalKind::Model(fields) => {
            if signal.optional {
                cells.push(Held::Null);
            }
            fields.iter().for_each(|field| absent(cells, field));
        }
        SignalKind::File | SignalKind::Image => {
            if signal.optional {
                cells.push(Held::Null);
            }
            signal.kind.fields().iter().for_each(|field| absent(cells, field));
        }
        _ => cells.push(Held::Null),
    }
}

fn scalar(scalar: Scalar, text: &[u8]) -> Option<Held<'_>> {
    let word = || std::str::from_utf8(text).ok();
    match scalar {
        Scalar::Text => Some(Held::Text(Cow::Owned(json::text(text)?.into_bytes()))),
        Scalar::Int => Some(Held::Integer(word()?.parse().ok()?)),
        Scalar::Bool => match text {
            b"true" => Some(Held::Integer(1)),
            b"false" => Some(Held::Integer(0)),
            _ => None,
        },
        Scalar::Float => float(word()?),
        Scalar::Time => {
            let time = Timestamp::parse(&json::text(text)?)?;
            Some(Held::Text(Cow::Owned(time.catalog().into_bytes())))
        }
        Scalar::Bytes => Some(Held::Blob(STANDARD.decode(json::text(text)?).ok()?)),
    }
}

/// NaN is NULL in SQLite, and DataChain stores it as NULL.
fn float<'a>(word: &str) -> Option<Held<'a>> {
    match word {
        "NaN" => Some(Held::Null),
        "Infinity" => Some(Held::Real(f64::INFINITY)),
        "-Infinity" => Some(Held::Real(f64::NEG_INFINITY)),
        // Rust also parses words such as `inf`, which begin differently from JSON's numbers.
        _ if word.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            Some(Held::Real(word.parse().ok()?))
        }
        _ => None,
    }
}

/// Whether a text is a list of such items; optional items may be null.
fn list(item: &SignalKind, text: &[u8]) -> bool {
    json::all_items(text, |text| match item {
        // Every number of JSON is one of Rust; it is not parsed, because the text is what is stored.
        SignalKind::Scalar(Scalar::Float) => {
            text.first().is_some_and(|c| matches!(c, b'-' | b'N' | b'I') || c.is_ascii_digit())
        }
        SignalKind::Scalar(scalar) => self::scalar(*scalar, text).is_some(),
        SignalKind::List(inner) => list(inner, text),
        _ => true,
    })
}

fn wrong(column: &str, wanted: String, text: &[u8]) -> Wrong {
    Wrong::Type { column: column.to_owned(), wanted, found: cut(text) }
}

/// The beginning of a text, for a message.
fn cut(text: &[u8]) -> String {
    let end = if text.len() > SHOWN { "..." } else { "" };
    String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned() + end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::signature::parse;

    fn read<'a>(types: &str, text: &'a str) -> Result<Vec<Held<'a>>, String> {
        let signals = parse(types).expect(types);
        cells(&signals, text.as_bytes()).map_err(|wrong| wrong.to_string())
    }

    fn text(text: &str) -> Held<'_> {
        Held::Text(Cow::Borrowed(text.as_bytes()))
    }

    #[test]
    fn answers_become_cells() {
        use Held::{Blob, Integer, Null, Real};
        let cases: Vec<(&str, &str, Vec<Held<'_>>)> = vec![
            ("a: float", "3", vec![Real(3.0)]),
            ("a: float", " NaN\n", vec![Null]),
            ("a: float", "-Infinity", vec![Real(f64::NEG_INFINITY)]),
            ("a: float", "{\"a\": 3.5}", vec![Real(3.5)]),
            ("a: json", "{\"a\": 3.5}", vec![text("{\"a\": 3.5}")]),
            ("a: int?", "null", vec![Null]),
            ("a: str", "\"x\\ny\"", vec![text("x\ny")]),
            ("a: bytes", "\"/wA=\"", vec![Blob(vec![255, 0])]),
            ("a: datetime", "\"2024-01-02T03:04:05Z\"", vec![text("2024-01-02 03:04:05")]),
            ("a: int, b: bool", "{\"b\":true,\"c\":1,\"a\":-5}", vec![Integer(-5), Integer(1)]),
            ("v: list[float]", "[0.10,1e3, -2]", vec![text("[0.10,1e3, -2]")]),
            ("v: list[list[int]]", "[[1],[]]", vec![text("[[1],[]]")]),
            ("i: {w: int, h: int?}", "{\"w\":1}", vec![Integer(1), Null]),
            ("i: {w: int}", "{\"i\":{\"w\":1}}", vec![Integer(1)]),
            ("i: {w: int}?", "{\"w\":1}", vec![Integer(0), Integer(1)]),
            ("i: {w: int}?, k: int", "{\"k\":2}", vec![Null, Null, Integer(2)]),
        ];
        for (types, answer, want) in cases {
            assert_eq!(read(types, answer), Ok(want), "{types} <- {answer}");
        }
        assert_eq!(nothing(&parse("i: {w: int}?, k: int").expect("types")).len(), 3);
    }

    #[test]
    fn what_is_not_as_declared_is_told() {
        let long = format!("\"{}\"", "x".repeat(500));
        let cases = [
            ("a: int", "\"3\"", "`a` should be int, and is `\"3\"`"),
            ("a: int", "3.0", "`a` should be int, and is `3.0`"),
            ("a: int", "99999999999999999999", "`a` should be int"),
            ("a: int", "null", "`a` should be int, and is `null`"),
            ("a: int", "{", "the answer is not JSON"),
            ("a: int", &long, "..."),
            ("a: int, b: int", "7", "`the answer` should be an object, and is `7`"),
            ("a: int, b: int", "{\"a\":1}", "the answer lacks `b`"),
            ("i: {w: {h: int}}", "{\"w\":{\"h\":true}}", "`i.w.h` should be int, and is `true`"),
            ("v: list[int]", "[1,2.5]", "`v` should be list[int], and is `[1,2.5]`"),
            ("v: list[list[int]]", "[1]", "`v` should be list[list[int]]"),
            ("t: datetime", "\"soon\"", "`t` should be datetime"),
            ("b: bytes", "\"?\"", "`b` should be bytes"),
            ("a: float", "inf", "not JSON"),
        ];
        for (types, answer, want) in cases {
            let told = read(types, answer).expect_err(answer);
            assert!(told.contains(want), "{types} <- {answer}: {told}");
        }
    }
}

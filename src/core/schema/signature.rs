//! The types of a program's answer, as typed: `seconds: float, info: {width: int, tags:
//! list[str]}?`.
//!
//! ```text
//! signature  name ':' type {',' name ':' type}
//! type       ('int' | 'float' | 'str' | 'bool' | 'datetime' | 'bytes' | 'json' | 'list' '[' type ']' | '{' signature '}') ['?']
//! ```
//!
//! Also read as JSON, from a file or from the program itself: `{"seconds": "float", "info":
//! {"width": "int"}}`. There `["float"]` is a list of floats, and `"Optional[int]"` and `"dict"`
//! are accepted too.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

use super::layout::{Scalar, Signal, SignalKind};

/// The deepest nesting of models and lists, and the most fields: a table has 2,000 columns at most.
const DEEPEST: usize = 8;
const MOST: usize = 1000;

/// Why a signature is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("expected {wanted} at `{}` of the types `{text}`; e.g. `seconds: float, tags: list[str]`", left(text, *at))]
    Syntax { text: String, at: usize, wanted: &'static str },
    #[error(
        "`{0}` is not a type; the types are int, float, str, bool, datetime, bytes, json, list[T], {{name: T}}, and `?` after each"
    )]
    Type(String),
    #[error("`{0}` cannot be the name of a column: {1}")]
    Name(String, &'static str),
    #[error("`{0}` is there twice")]
    Twice(String),
    #[error("more than {MOST} fields, or more than {DEEPEST} levels of them")]
    TooMuch,
    #[error("a list of {0} cannot be stored; use `list[json]`")]
    List(&'static str),
    #[error("no types are given; e.g. `seconds: float`")]
    Empty,
}

impl From<Wrong> for crate::error::Error {
    fn from(wrong: Wrong) -> Self {
        Self::new(crate::error::Kind::Invalid, wrong)
    }
}

fn left(text: &str, at: usize) -> &str {
    match text.get(at..) {
        Some("") | None => "the end",
        Some(rest) => rest,
    }
}

/// Reads a signature.
///
/// # Errors
/// An invalid signature.
pub fn parse(text: &str) -> Result<Vec<Signal>, Wrong> {
    let mut parsing = Parsing { text, at: 0, fields: 0 };
    let signals = parsing.signature(0)?;
    parsing.space();
    match parsing.at == text.len() {
        true => Ok(signals),
        false => Err(parsing.expected("`,` or the end")),
    }
}

/// Reads a signature from JSON.
///
/// # Errors
/// An invalid signature.
pub fn of_json(value: &Map<String, Value>) -> Result<Vec<Signal>, Wrong> {
    fields(value, 0, &mut 0)
}

fn fields(
    value: &Map<String, Value>,
    depth: usize,
    count: &mut usize,
) -> Result<Vec<Signal>, Wrong> {
    if value.is_empty() {
        return Err(Wrong::Empty);
    }
    let mut signals = Vec::new();
    for (name, told) in value {
        *count += 1;
        if depth >= DEEPEST || *count > MOST {
            return Err(Wrong::TooMuch);
        }
        let signal = match told {
            Value::String(text) => {
                let mut parsing = Parsing { text, at: 0, fields: *count };
                let (kind, optional) = parsing.typed(depth)?;
                parsing.space();
                if parsing.at < text.len() {
                    return Err(Wrong::Type(text.clone()));
                }
                Signal { name: name.clone(), kind, optional }
            }
            Value::Object(below) => {
                Signal::new(name, SignalKind::Model(fields(below, depth + 1, count)?))
            }
            Value::Array(items) if let [Value::String(item)] = &items[..] => {
                let mut parsing = Parsing { text: item, at: 0, fields: *count };
                let (kind, _) = parsing.typed(depth)?;
                Signal::new(name, SignalKind::List(Box::new(item_of(kind)?)))
            }
            other => return Err(Wrong::Type(other.to_string())),
        };
        named(&signals, &signal)?;
        signals.push(signal);
    }
    Ok(signals)
}

/// Checks a name against those beside it: DataChain splits column names at `__`.
fn named(others: &[Signal], signal: &Signal) -> Result<(), Wrong> {
    let name = &signal.name;
    let refused = |why| Err(Wrong::Name(name.clone(), why));
    let is_plain = |c: char| c.is_alphanumeric() || c == '_';
    if name.is_empty()
        || !name.chars().all(is_plain)
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return refused("letters, digits and `_`, no digit first");
    }
    if name.contains("__") || name.starts_with('_') || name.ends_with('_') {
        return refused("DataChain splits names at `__`, so none may begin or end with `_`");
    }
    if name.len() > 100 {
        return refused("it is longer than 100 bytes");
    }
    if name == "sys" {
        return refused("DataChain's own columns have such names");
    }
    match others.iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
        true => Err(Wrong::Twice(name.clone())),
        false => Ok(()),
    }
}

fn item_of(kind: SignalKind) -> Result<SignalKind, Wrong> {
    match kind {
        SignalKind::Model(_) => Err(Wrong::List("models")),
        SignalKind::Scalar(Scalar::Bytes) => Err(Wrong::List("bytes")),
        kind => Ok(kind),
    }
}

struct Parsing<'t> {
    text: &'t str,
    at: usize,
    fields: usize,
}

impl<'t> Parsing<'t> {
    fn expected(&self, wanted: &'static str) -> Wrong {
        Wrong::Syntax { text: self.text.to_owned(), at: self.at, wanted }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn is(&mut self, mark: char) -> bool {
        self.space();
        let is = self.rest().starts_with(mark);
        self.at += usize::from(is) * mark.len_utf8();
        is
    }

    fn word(&mut self) -> &'t str {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn signature(&mut self, depth: usize) -> Result<Vec<Signal>, Wrong> {
        let mut signals = Vec::new();
        loop {
            self.fields += 1;
            if depth >= DEEPEST || self.fields > MOST {
                return Err(Wrong::TooMuch);
            }
            let name = self.word();
            if name.is_empty() {
                return Err(self.expected("a name"));
            }
            if !self.is(':') {
                return Err(self.expected("`:` and a type"));
            }
            let (kind, optional) = self.typed(depth)?;
            let signal = Signal { name: name.to_owned(), kind, optional };
            named(&signals, &signal)?;
            signals.push(signal);
            if !self.is(',') {
                return Ok(signals);
            }
            self.space();
            if self.rest().is_empty() || self.rest().starts_with('}') {
                return Ok(signals);
            }
        }
    }

    /// A type, and whether it is optional.
    fn typed(&mut self, depth: usize) -> Result<(SignalKind, bool), Wrong> {
        if depth >= DEEPEST {
            return Err(Wrong::TooMuch);
        }
        if self.is('{') {
            let fields = self.signature(depth + 1)?;
            if !self.is('}') {
                return Err(self.expected("`}`"));
            }
            return Ok((SignalKind::Model(fields), self.is('?')));
        }
        let word = self.word();
        let scalar = |scalar| Ok(SignalKind::Scalar(scalar));
        let kind = match word {
            "int" => scalar(Scalar::Int),
            "float" => scalar(Scalar::Float),
            "str" => scalar(Scalar::Text),
            "bool" => scalar(Scalar::Bool),
            "datetime" => scalar(Scalar::Time),
            "bytes" => scalar(Scalar::Bytes),
            "json" | "dict" => Ok(SignalKind::Json),
            "list" => {
                let item = self.inside(depth)?.0;
                Ok(SignalKind::List(Box::new(item_of(item)?)))
            }
            "Optional" => {
                let kind = self.inside(depth)?.0;
                self.is('?');
                return Ok((kind, true));
            }
            "" => return Err(self.expected("a type")),
            other => Err(Wrong::Type(other.to_owned())),
        }?;
        Ok((kind, self.is('?')))
    }

    fn inside(&mut self, depth: usize) -> Result<(SignalKind, bool), Wrong> {
        if !self.is('[') {
            return Err(self.expected("`[` and a type"));
        }
        let typed = self.typed(depth + 1)?;
        match self.is(']') {
            true => Ok(typed),
            false => Err(self.expected("`]`")),
        }
    }
}

/// Prints signals as they are typed: equal signatures print equally.
#[derive(Clone, Copy, Debug)]
pub struct Printed<'s>(pub &'s [Signal]);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, signal) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            let mark = if signal.optional { "?" } else { "" };
            write!(f, "{}: {}{mark}", signal.name, kind(&signal.kind))?;
        }
        Ok(())
    }
}

/// A type as typed, without `?`.
pub fn kind(kind: &SignalKind) -> String {
    match kind {
        SignalKind::Scalar(scalar) => match scalar {
            Scalar::Text => "str",
            Scalar::Int => "int",
            Scalar::Float => "float",
            Scalar::Bool => "bool",
            Scalar::Time => "datetime",
            Scalar::Bytes => "bytes",
        }
        .to_owned(),
        SignalKind::List(item) => format!("list[{}]", self::kind(item)),
        SignalKind::Dict | SignalKind::Json => "json".to_owned(),
        SignalKind::File => "file".to_owned(),
        SignalKind::Image => "image".to_owned(),
        SignalKind::Model(fields) => {
            let mut text = String::from("{");
            let _ = write!(text, "{}", Printed(fields));
            text + "}"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_printed_again() {
        let cases = [
            ("seconds: float", "seconds: float"),
            (" a :int , b:str? ,", "a: int, b: str?"),
            ("info: {width: int, tags: list[str]}?", "info: {width: int, tags: list[str]}?"),
            (
                "m: list[list[float]], j: json, t: datetime",
                "m: list[list[float]], j: json, t: datetime",
            ),
            ("a: Optional[int], d: dict, b: bytes, c: bool", "a: int?, d: json, b: bytes, c: bool"),
        ];
        for (text, want) in cases {
            let signals = parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
            assert_eq!(Printed(&signals).to_string(), want);
            assert_eq!(parse(want).as_ref(), Ok(&signals));
        }
    }

    #[test]
    fn json_says_the_same() {
        let value = serde_json::json!({
            "seconds": "float?", "info": {"width": "int", "tags": ["str"]}, "m": "list[list[float]]"
        });
        let signals = of_json(value.as_object().expect("an object")).expect("a signature");
        let want = "seconds: float?, info: {width: int, tags: list[str]}, m: list[list[float]]";
        assert_eq!(Printed(&signals).to_string(), want);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let deep = "a: ".to_owned() + &"list[".repeat(20) + "int" + &"]".repeat(20);
        let cases = [
            ("", "expected a name at `the end`"),
            ("a", "expected `:` and a type at `the end`"),
            ("a: integer", "`integer` is not a type"),
            ("a: int b", "expected `,` or the end at `b`"),
            ("a: list[int", "expected `]`"),
            ("a: {b: int", "expected `}`"),
            ("a: int, A: str", "`A` is there twice"),
            ("a__b: int", "cannot be the name of a column"),
            ("1a: int", "cannot be the name of a column"),
            ("a: list[{x: int}]", "a list of models cannot be stored"),
            (&deep, "levels"),
        ];
        for (text, want) in cases {
            let told = parse(text).expect_err(text).to_string();
            assert!(told.contains(want), "{text}: {told}");
        }
    }
}

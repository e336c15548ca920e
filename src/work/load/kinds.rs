//! The kinds of single values: what a text of a file may be, and how it becomes a cell.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use dcfs_core::cell::Cell;
use dcfs_core::schema::Scalar;
use dcfs_core::time::Timestamp;

/// The kinds of values seen in a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub struct Kinds {
    pub null: bool,
    pub bool: bool,
    pub int: bool,
    pub float: bool,
    pub time: bool,
    pub text: bool,
    pub object: bool,
    pub list: bool,
}

impl From<Kinds> for u8 {
    fn from(kinds: Kinds) -> Self {
        let Kinds { null, bool, int, float, time, text, object, list } = kinds;
        let bits = [null, bool, int, float, time, text, object, list];
        (0..).zip(bits).map(|(at, bit)| Self::from(bit) << at).sum()
    }
}

impl From<u8> for Kinds {
    fn from(bits: u8) -> Self {
        let bit = |at: u8| bits >> at & 1 == 1;
        Self {
            null: bit(0),
            bool: bit(1),
            int: bit(2),
            float: bit(3),
            time: bit(4),
            text: bit(5),
            object: bit(6),
            list: bit(7),
        }
    }
}

impl Kinds {
    /// The type that holds all values that are neither lists nor objects.
    pub fn scalar(self) -> Scalar {
        match (self.text, self.bool, self.time, self.float, self.int) {
            (true, ..) => Scalar::Text,
            (_, true, false, false, false) => Scalar::Bool,
            (_, false, true, false, false) => Scalar::Time,
            (_, false, false, true, _) => Scalar::Float,
            (_, false, false, false, true) => Scalar::Int,
            _ => Scalar::Text,
        }
    }

    pub fn has_scalars(self) -> bool {
        self.bool || self.int || self.float || self.time || self.text
    }

    /// Adds the kinds of more values.
    pub fn add(&mut self, other: Self) {
        *self = Self::from(u8::from(*self) | u8::from(other));
    }
}

/// An owned cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
}

impl Value {
    /// The cells of a row.
    pub fn cells(row: &[Self]) -> Vec<Cell<'_>> {
        row.iter().map(Self::cell).collect()
    }

    fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Int(n) => Cell::Integer(*n),
            Self::Real(x) => Cell::Real(*x),
            Self::Text(text) => Cell::Text(text.as_bytes()),
        }
    }
}

/// The kind of a text in CSV or XML.
pub fn kind_of(text: &str) -> Kinds {
    let mut kinds = Kinds::default();
    let flag = match text {
        "" => &mut kinds.null,
        _ if is_whole(text) => &mut kinds.int,
        _ if is_real(text) => &mut kinds.float,
        _ if truth(text).is_some() => &mut kinds.bool,
        _ if is_time(text) => &mut kinds.time,
        _ => &mut kinds.text,
    };
    *flag = true;
    kinds
}

/// A 64-bit integer. One with a leading zero is a name: `007`.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_padded = digits.len() > 1 && digits.starts_with('0');
    !is_padded && digits.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_ok()
}

fn is_real(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_padded =
        digits.len() > 1 && digits.starts_with('0') && !digits[1..].starts_with(['.', 'e', 'E']);
    let is_named = ["nan", "inf", "infinity"].iter().any(|name| digits.eq_ignore_ascii_case(name));
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    !is_padded && (is_named || is_number) && text.parse::<f64>().is_ok()
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A date, or a date with time; a year alone is a number.
fn is_time(text: &str) -> bool {
    text.len() >= 10
        && text.starts_with(|c: char| c.is_ascii_digit())
        && Timestamp::parse(text).is_some()
}

/// Whether the strings of a record are texts of JSON, or of XML: there they may say any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    Typed,
    Untyped,
}

pub fn kinds_of(json: &Json, texts: Texts) -> Kinds {
    let mut kinds = Kinds::default();
    let flag = match json {
        Json::Null => &mut kinds.null,
        Json::Bool(_) => &mut kinds.bool,
        Json::Number(number) if number.is_i64() => &mut kinds.int,
        Json::Number(_) => &mut kinds.float,
        Json::String(text) if texts == Texts::Untyped => return kind_of(text),
        Json::String(text) if is_time(text) => &mut kinds.time,
        Json::String(_) => &mut kinds.text,
        Json::Array(_) => &mut kinds.list,
        Json::Object(_) => &mut kinds.object,
    };
    *flag = true;
    kinds
}

/// The kind of a value within a list, where JSON has no NaN and no infinity: these are texts there.
pub fn kinds_inside(json: &Json, texts: Texts) -> Kinds {
    let kinds = kinds_of(json, texts);
    let is_finite = |text: &str| text.parse::<f64>().is_ok_and(f64::is_finite);
    match json {
        Json::String(text) if kinds.float && !is_finite(text) => {
            Kinds { text: true, ..Kinds::default() }
        }
        _ => kinds,
    }
}

/// Converts a text to a type.
pub fn of_text(text: &str, scalar: Scalar) -> Option<Value> {
    match scalar {
        Scalar::Text => Some(Value::Text(text.to_owned())),
        Scalar::Int => text.parse().ok().map(Value::Int),
        Scalar::Float => {
            text.parse().ok().map(|x: f64| if x.is_nan() { Value::Null } else { Value::Real(x) })
        }
        Scalar::Bool => truth(text)
            .or(match text {
                "1" => Some(true),
                "0" => Some(false),
                _ => None,
            })
            .map(|is| Value::Int(is.into())),
        Scalar::Time => Timestamp::parse(text).map(|time| Value::Text(time.fixed())),
        Scalar::Bytes => None,
    }
}

/// Converts JSON other than a string to a type.
pub fn of_json(json: &Json, scalar: Scalar) -> Option<Value> {
    match (json, scalar) {
        (_, Scalar::Text) => Some(Value::Text(json.to_string())),
        (Json::Bool(is), Scalar::Bool) => Some(Value::Int((*is).into())),
        (Json::Number(number), Scalar::Int) => number.as_i64().map(Value::Int),
        (Json::Number(number), Scalar::Float) => number.as_f64().map(Value::Real),
        _ => None,
    }
}

/// A value within a list, as JSON of its type. Numbers and times keep their own text.
pub fn inside(json: &Json, scalar: Scalar) -> Json {
    match (json, scalar) {
        (Json::Null, _) => Json::Null,
        (Json::String(text), Scalar::Int | Scalar::Float | Scalar::Bool) => {
            match (of_text(text, scalar), scalar) {
                (Some(Value::Int(n)), Scalar::Bool) => Json::from(n != 0),
                (Some(Value::Int(n)), _) => Json::from(n),
                (Some(Value::Real(x)), _) => Json::from(x),
                _ => json.clone(),
            }
        }
        (Json::String(_), _) => json.clone(),
        (other, Scalar::Text) => Json::from(other.to_string()),
        (other, _) => other.clone(),
    }
}

pub const fn word(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Text => "text",
        Scalar::Int => "whole number",
        Scalar::Float => "number",
        Scalar::Bool => "boolean",
        Scalar::Time => "datetime",
        Scalar::Bytes => "bytes",
    }
}

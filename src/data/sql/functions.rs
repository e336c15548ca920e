//! Scalar functions that SQLite lacks, or defines differently from filters.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error, Result};
use serde_json::Value as Json;

use dcfs_core::expr::{Regexp, Wild};
use dcfs_core::json;
use dcfs_core::time::Timestamp;

/// The longest list that is parsed, in bytes.
const LONGEST: usize = 16 << 20;

/// Registers them on a connection.
pub fn add(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    let scalar = |name, count, function: Scalar| {
        connection.create_scalar_function(name, count, flags, function)
    };
    // `x like p` calls like(p, x).
    scalar("like", 2, |context| wild(context, Wild::like))?;
    scalar("match", 2, |context| wild(context, Wild::ilike))?;
    scalar("regexp", 2, regexp)?;
    scalar("item", -1, item)?;
    scalar("contains", 2, contains)?;
    scalar("split", 2, split)?;
    scalar("split", 3, split)?;
    scalar("year", 1, |context| part(context, 0))?;
    scalar("month", 1, |context| part(context, 1))?;
    scalar("day", 1, |context| part(context, 2))?;
    scalar("hour", 1, |context| part(context, 3))?;
    scalar("greatest", -1, |context| extreme(context, std::cmp::Ordering::Greater))?;
    scalar("least", -1, |context| extreme(context, std::cmp::Ordering::Less))?;
    scalar("cosine_distance", 2, |context| distance(context, cosine))?;
    scalar("euclidean_distance", 2, |context| distance(context, euclidean))?;
    for (name, function) in MATH {
        connection.create_scalar_function(name, 1, flags, move |context: &Context<'_>| {
            Ok(number(context.get_raw(0)).map(function).filter(|x| !x.is_nan()))
        })?;
    }
    scalar("pow", 2, |context| {
        let (Some(x), Some(y)) = (number(context.get_raw(0)), number(context.get_raw(1))) else {
            return Ok(Value::Null);
        };
        Ok(Value::Real(x.powf(y)))
    })
}

/// A scalar function.
type Scalar = fn(&Context<'_>) -> Result<Value>;

/// A function of one number.
type Math = fn(f64) -> f64;

const MATH: [(&str, Math); 8] = [
    ("sqrt", f64::sqrt),
    ("exp", f64::exp),
    ("ln", f64::ln),
    ("log10", f64::log10),
    ("log2", f64::log2),
    ("floor", f64::floor),
    ("ceil", f64::ceil),
    ("trunc", f64::trunc),
];

pub fn number(value: ValueRef<'_>) -> Option<f64> {
    match value {
        ValueRef::Integer(n) => Some(n as f64),
        ValueRef::Real(x) => Some(x),
        _ => None,
    }
}

/// The bytes of a text, or of a number as printed.
fn text(value: ValueRef<'_>) -> Option<Vec<u8>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Text(text) | ValueRef::Blob(text) => Some(text.to_vec()),
        ValueRef::Integer(n) => Some(n.to_string().into_bytes()),
        ValueRef::Real(x) => Some(format!("{x:?}").into_bytes()),
    }
}

/// A part of a datetime, as [`Timestamp::parts`] numbers them.
fn part(context: &Context<'_>, number: usize) -> Result<Value> {
    let text = match context.get_raw(0) {
        ValueRef::Text(text) => std::str::from_utf8(text).ok(),
        _ => None,
    };
    let parts = text.and_then(Timestamp::parse).and_then(Timestamp::parts);
    Ok(parts.map_or(Value::Null, |parts| Value::Integer(parts[number])))
}

fn truth(is: bool) -> Value {
    Value::Integer(is.into())
}

fn wild(context: &Context<'_>, of: fn(&str) -> Wild) -> Result<Value> {
    let Some(text) = text(context.get_raw(1)) else { return Ok(Value::Null) };
    let pattern =
        context.get_or_create_aux(0, |value| -> Result<Wild, rusqlite::types::FromSqlError> {
            Ok(of(value.as_str().unwrap_or_default()))
        });
    match context.get_raw(0) {
        ValueRef::Null => Ok(Value::Null),
        _ => Ok(truth(pattern?.is_match(&text))),
    }
}

fn regexp(context: &Context<'_>) -> Result<Value> {
    let Some(text) = text(context.get_raw(1)) else { return Ok(Value::Null) };
    if context.get_raw(0) == ValueRef::Null {
        return Ok(Value::Null);
    }
    let pattern = context.get_or_create_aux(0, |value| {
        Regexp::new(value.as_str().unwrap_or_default())
            .map_err(|why| Box::new(Message(why)) as Box<_>)
    })?;
    let found = pattern.is_match(&text);
    found.map(truth).map_err(|_| said("a regular expression backtracks too much"))
}

/// A message, as the error of a function.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Message(String);

fn said(message: &str) -> Error {
    Error::UserFunctionError(Box::new(Message(message.to_owned())))
}

/// The bytes of a JSON text.
fn raw<'c>(context: &'c Context<'_>, number: usize) -> Option<&'c [u8]> {
    match context.get_raw(number) {
        ValueRef::Text(text) if text.len() <= LONGEST => Some(text.trim_ascii()),
        _ => None,
    }
}

/// `item(list, 0, 'x')`: the value at that path; NULL if there is none.
fn item(context: &Context<'_>) -> Result<Value> {
    let Some(whole) = raw(context, 0) else { return Ok(Value::Null) };
    let mut at = whole.to_vec();
    for number in 1..context.len() {
        let found = match context.get_raw(number) {
            ValueRef::Integer(index) => item_of(&at, index),
            ValueRef::Text(key) => std::str::from_utf8(key).ok().and_then(|key| field_of(&at, key)),
            _ => None,
        };
        let Some(found) = found else { return Ok(Value::Null) };
        at = found;
    }
    Ok(value(&at))
}

fn item_of(list: &[u8], index: i64) -> Option<Vec<u8>> {
    let items = json::items(list)?;
    let index = if index < 0 { index.checked_add_unsigned(items.len() as u64)? } else { index };
    Some((*items.get(usize::try_from(index).ok()?)?).to_vec())
}

fn field_of(object: &[u8], key: &str) -> Option<Vec<u8>> {
    // In a list that is a signal of its own, a model is a text with its JSON.
    let unfolded = (object.first() == Some(&b'"')).then(|| json::text(object)).flatten();
    let object = unfolded.as_ref().map_or(object, |text| text.as_bytes());
    let (_, found) = json::fields(object)?.into_iter().find(|(name, _)| name == key)?;
    Some(found.to_vec())
}

/// A JSON text as an SQL value; NaN is NULL.
fn value(raw: &[u8]) -> Value {
    let text = || String::from_utf8_lossy(raw).into_owned();
    match raw.first() {
        None | Some(b'n' | b'N') => Value::Null,
        Some(b't') => truth(true),
        Some(b'f') => truth(false),
        Some(b'"') => json::text(raw).map_or(Value::Null, Value::Text),
        Some(b'[' | b'{') => Value::Text(text()),
        Some(_) => match (text().parse(), text().parse()) {
            (Ok(n), _) => Value::Integer(n),
            (_, Ok(x)) => Value::Real(x),
            _ if raw.starts_with(b"-I") => Value::Real(f64::NEG_INFINITY),
            _ => Value::Real(f64::INFINITY),
        },
    }
}

fn contains(context: &Context<'_>) -> Result<Value> {
    let wanted = context.get::<Value>(1)?;
    let items = raw(context, 0).and_then(json::items);
    let Some(items) = items.filter(|_| wanted != Value::Null) else { return Ok(Value::Null) };
    let is_equal = |item: &&[u8]| match (value(item), &wanted) {
        (Value::Integer(a), Value::Real(b)) => a as f64 == *b,
        (Value::Real(a), Value::Integer(b)) => a == *b as f64,
        (a, b) => a == *b,
    };
    Ok(truth(items.iter().any(is_equal)))
}

fn split(context: &Context<'_>) -> Result<Value> {
    let (Some(of), Some(separator)) = (text(context.get_raw(0)), text(context.get_raw(1))) else {
        return Ok(Value::Null);
    };
    let (of, separator) = (
        String::from_utf8_lossy(&of).into_owned(),
        String::from_utf8_lossy(&separator).into_owned(),
    );
    if separator.is_empty() {
        return Ok(Value::Null);
    }
    let times = if context.len() == 3 { context.get::<Option<i64>>(2)?.unwrap_or(-1) } else { -1 };
    let pieces: Vec<&str> = match usize::try_from(times) {
        Ok(times) => of.splitn(times + 1, &separator).collect(),
        Err(_) => of.split(&separator).collect(),
    };
    Ok(Value::Text(Json::from(pieces).to_string()))
}

/// The greatest or the least argument; NULL if any is NULL.
fn extreme(context: &Context<'_>, wanted: std::cmp::Ordering) -> Result<Value> {
    let mut best: Option<Value> = None;
    for number in 0..context.len() {
        let value: Value = context.get(number)?;
        if value == Value::Null {
            return Ok(Value::Null);
        }
        if best.as_ref().is_none_or(|best| order(&value, best) == wanted) {
            best = Some(value);
        }
    }
    Ok(best.unwrap_or(Value::Null))
}

/// SQLite's order of values: numbers, then texts.
pub fn order(a: &Value, b: &Value) -> std::cmp::Ordering {
    let class = |value: &Value| match value {
        Value::Null => 0,
        Value::Integer(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Blob(_) => 3,
    };
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
        _ => match (number(a.into()), number(b.into())) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => class(a).cmp(&class(b)),
        },
    }
}

/// The numbers of a JSON list, or of a blob of single-precision floats; `None` if it is not a
/// vector.
fn vector(value: ValueRef<'_>) -> Option<Vec<f64>> {
    match value {
        ValueRef::Text(text) => {
            let inside = text.trim_ascii().strip_prefix(b"[")?.strip_suffix(b"]")?;
            let item = |item: &[u8]| -> Option<f64> {
                let item = item.trim_ascii();
                std::str::from_utf8(item).ok()?.parse().ok().filter(|_| json::is_valid(item))
            };
            inside.split(|byte| *byte == b',').map(item).collect()
        }
        _ => None,
    }
}

fn distance(context: &Context<'_>, between: fn(&[f64], &[f64]) -> f64) -> Result<Value> {
    let (Some(from), Some(to)) = (vector(context.get_raw(0)), vector(context.get_raw(1))) else {
        return Ok(Value::Null);
    };
    if from.len() != to.len() {
        return Ok(Value::Null);
    }
    let distance = between(&from, &to);
    Ok(if distance.is_nan() { Value::Null } else { Value::Real(distance) })
}

fn cosine(u: &[f64], v: &[f64]) -> f64 {
    let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    (1.0 - sum(u, v) / (sum(u, u) * sum(v, v)).sqrt()).clamp(0.0, 2.0)
}

fn euclidean(u: &[f64], v: &[f64]) -> f64 {
    u.iter().zip(v).map(|(u, v)| (u - v) * (u - v)).sum::<f64>().sqrt()
}

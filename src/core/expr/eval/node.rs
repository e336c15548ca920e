//! Evaluates values for one block of rows.

use std::borrow::Cow;

use super::Fault;
use super::bind::Node;
use super::bits::Bits;
use super::dig::{self, Raw};
use super::distance;
use super::kernel::Block;
use super::number::{Number, arithmetic};
use super::value::Val;
use crate::expr::function::{Function, LONGEST};
use crate::expr::packed::{Packed, Texts, Valid};
use crate::expr::syntax::Arithmetic;
use crate::schema::ValueType;
use crate::time::Timestamp;

/// The values of a block's rows, NULL for rows that are not wanted.
pub type Values<'v> = Vec<Val<'v>>;

impl<'a> Node<'a> {
    /// Evaluates the rows `wanted`.
    pub fn values(&self, block: Block, wanted: &Bits) -> Result<Values<'_>, Fault> {
        match self {
            Self::Column(column) => read(column, block, wanted),
            Self::Part(part, column) => {
                let paths = read(column, block, wanted)?;
                Ok(paths.into_iter().map(|path| part_of(*part, path)).collect())
            }
            Self::Constant(value) => Ok(vec![value.clone(); block.length]),
            Self::Test(test) => {
                let truth = test.truth(block, wanted)?;
                each(block, wanted, |row| {
                    Ok(Val::of_truth((!truth.null.get(row)).then(|| truth.yes.get(row))))
                })
            }
            Self::Rand(column) => {
                let numbers = read(column, block, wanted)?;
                Ok(numbers.into_iter().map(share).collect())
            }
            Self::Minus(of) => {
                let values = of.values(block, wanted)?;
                let minus = |value: Val<'_>| value.number().and_then(Number::minus);
                Ok(values
                    .into_iter()
                    .map(|value| minus(value).map_or(Val::Null, Val::from))
                    .collect())
            }
            Self::Arithmetic(operation, a, b) => {
                let (a, b) = (a.values(block, wanted)?, b.values(block, wanted)?);
                let pairs = a.into_iter().zip(b);
                Ok(pairs.map(|(a, b)| combined(*operation, a, b)).collect())
            }
            Self::Call(function, arguments, of) => call(*function, arguments, of, block, wanted),
            Self::Distance(metric, vectors, valid, to) => {
                let Some(vectors) = vectors else { return Ok(vec![Val::Null; block.length]) };
                each(block, wanted, |row| match valid.get(block.start + row) {
                    true => distance::of(*metric, vectors, block.start + row, to),
                    false => Ok(Val::Null),
                })
            }
            Self::Given(values) => Ok(values
                .get(block.start..block.start + block.length)
                .ok_or(Fault::Damaged)?
                .to_vec()),
            Self::Item(_, _, value) | Self::Field(_, _, value) => {
                let found = self.raw(block, wanted)?;
                let decoded = found.into_iter().map(|raw| match raw {
                    Some(raw) => dig::value(raw, value),
                    None => Val::Null,
                });
                Ok(decoded.collect())
            }
        }
    }

    /// The JSON texts of the rows `wanted`, if they have any.
    pub fn raw(&self, block: Block, wanted: &Bits) -> Result<Vec<Option<Raw<'_>>>, Fault> {
        match self {
            Self::Item(of, index, _) => {
                let inner = of.raw(block, wanted)?;
                Ok(inner.into_iter().map(|raw| dig::item(raw?, *index)).collect())
            }
            Self::Field(of, key, _) => {
                let inner = of.raw(block, wanted)?;
                Ok(inner.into_iter().map(|raw| dig::field(raw?, key)).collect())
            }
            other => {
                let values = other.values(block, wanted)?;
                Ok(values.into_iter().map(Val::into_text).collect())
            }
        }
    }
}

/// A value for every row of the block, NULL if not wanted.
fn each<'v>(
    block: Block,
    wanted: &Bits,
    mut value: impl FnMut(usize) -> Result<Val<'v>, Fault>,
) -> Result<Values<'v>, Fault> {
    let mut values = vec![Val::Null; block.length];
    for row in wanted.iter() {
        values[row] = value(row)?;
    }
    Ok(values)
}

/// A column's values.
fn read<'a>(column: &Packed<'a>, block: Block, wanted: &Bits) -> Result<Values<'a>, Fault> {
    let start = block.start;
    let there = |valid: &Valid<'_>| wanted.and(&block.valid(valid));
    match column {
        Packed::Null => Ok(vec![Val::Null; block.length]),
        Packed::Sequence(first) => {
            each(block, wanted, |row| Ok(Val::Int(first.wrapping_add((start + row) as i64))))
        }
        Packed::Ints(values, valid) => {
            let values = block.of(values)?;
            each(block, &there(valid), |row| Ok(Val::Int(i64::from_le_bytes(values[row]))))
        }
        Packed::Narrow(values, valid) => {
            let values = block.of(values)?;
            each(block, &there(valid), |row| Ok(Val::Int(i32::from_le_bytes(values[row]).into())))
        }
        Packed::Floats(values, valid) => {
            let values = block.of(values)?;
            each(block, &there(valid), |row| {
                Ok(Number::real(f64::from_le_bytes(values[row])).map_or(Val::Null, Val::from))
            })
        }
        Packed::Bools(bits, valid) => {
            let all = Valid(Some(bits));
            each(block, &there(valid), |row| Ok(Val::Int(all.get(start + row).into())))
        }
        Packed::Texts(texts, valid) => each(block, &there(valid), |row| text(texts, start + row)),
        Packed::Words(codes, texts, valid) => {
            let codes = block.of(codes)?;
            each(block, &there(valid), |row| text(texts, u16::from_le_bytes(codes[row]).into()))
        }
        // These are only tested with `is null`; their values are never read.
        Packed::Vectors(_, valid) | Packed::Presence(valid) => {
            each(block, &there(valid), |_| Ok(Val::Int(1)))
        }
    }
}

fn text<'a>(texts: &Texts<'a>, row: usize) -> Result<Val<'a>, Fault> {
    Ok(Val::Text(Cow::Borrowed(texts.get(row).ok_or(Fault::Damaged)?)))
}

fn part_of(part: crate::expr::typed::Part, path: Val<'_>) -> Val<'_> {
    match path {
        Val::Text(Cow::Borrowed(path)) => Val::Text(part.of(path).into()),
        Val::Text(Cow::Owned(path)) => Val::Text(part.of(&path).to_vec().into()),
        _ => Val::Null,
    }
}

/// `sys__rand` is 63 random bits.
fn share(number: Val<'_>) -> Val<'_> {
    match number {
        Val::Int(n) => Val::Real(n as f64 / 2.0_f64.powi(63)),
        _ => Val::Null,
    }
}

fn combined<'v>(operation: Arithmetic, a: Val<'v>, b: Val<'v>) -> Val<'v> {
    if operation == Arithmetic::Concat {
        let (Some(a), Some(b)) = (a.into_text(), b.into_text()) else { return Val::Null };
        return made([&a[..], &b[..]].concat());
    }
    let numbers = a.number().zip(b.number());
    numbers.and_then(|(a, b)| arithmetic(operation, a, b)).map_or(Val::Null, Val::from)
}

/// A computed text; NULL if too long.
fn made<'v>(text: Vec<u8>) -> Val<'v> {
    if text.len() > LONGEST { Val::Null } else { Val::Text(text.into()) }
}

fn call<'v>(
    function: Function,
    arguments: &'v [Node<'_>],
    of: &ValueType,
    block: Block,
    wanted: &Bits,
) -> Result<Values<'v>, Fault> {
    let values = arguments.iter().map(|argument| argument.values(block, wanted));
    let mut values = values.collect::<Result<Vec<_>, _>>()?;
    each(block, wanted, |row| {
        let mut arguments = values.iter_mut().map(|values| std::mem::take(&mut values[row]));
        Ok(match function {
            Function::Coalesce => arguments.find(|value| !value.is_null()).unwrap_or_default(),
            _ => apply(function, arguments.collect(), of).unwrap_or_default(),
        })
    })
}

/// Applies a function whose arguments are not NULL; `None` is NULL.
fn apply<'v>(function: Function, arguments: Vec<Val<'v>>, of: &ValueType) -> Option<Val<'v>> {
    if arguments.iter().any(Val::is_null) {
        return None;
    }
    let count = |at: usize| match arguments.get(at) {
        Some(Val::Int(n)) => Some(*n),
        _ => None,
    };
    Some(match function {
        Function::Lower => made(arguments[0].clone().into_text()?.to_ascii_lowercase()),
        Function::Upper => made(arguments[0].clone().into_text()?.to_ascii_uppercase()),
        Function::Length => Val::Int(length(&arguments[0], of)?),
        Function::Replace => {
            let [text, from, to] = &arguments[..] else { return None };
            replaced(text.text()?, from.text()?, to.text()?)
        }
        Function::Split => Val::Text(
            dig::split(arguments[0].text()?, arguments[1].text()?, count(2).unwrap_or(-1))?.into(),
        ),
        Function::Abs => arguments[0].number()?.abs().into(),
        Function::Round => arguments[0].number()?.round(count(1).unwrap_or(0)).into(),
        Function::Greatest => arguments.into_iter().reduce(|a, b| pick(a, b, true))?,
        Function::Least => arguments.into_iter().reduce(|a, b| pick(a, b, false))?,
        Function::Contains => {
            Val::of_truth(Some(dig::contains(arguments[0].text()?, of, &arguments[1])?))
        }
        Function::Year => Val::Int(Timestamp::from_micros(count(0)?).parts()?[0]),
        Function::Month => Val::Int(Timestamp::from_micros(count(0)?).parts()?[1]),
        Function::Day => Val::Int(Timestamp::from_micros(count(0)?).parts()?[2]),
        Function::Hour => Val::Int(Timestamp::from_micros(count(0)?).parts()?[3]),
        Function::Date => Val::Int(Timestamp::from_micros(count(0)?).midnight().micros()),
        Function::Coalesce => return None,
    })
}

/// The one that SQLite's `max` or `min` returns: among equals (which may be an integer and a real,
/// and give different results later) the first for `max` and the last for `min`.
fn pick<'v>(a: Val<'v>, b: Val<'v>, greatest: bool) -> Val<'v> {
    let second =
        a.order(&b).is_some_and(|order| if greatest { order.is_lt() } else { order.is_ge() });
    if second { b } else { a }
}

/// The number of items of a list, or of characters up to the first NUL.
fn length(value: &Val<'_>, of: &ValueType) -> Option<i64> {
    let text = value.text()?;
    match (of, dig::length(text)) {
        (ValueType::List(_), items) => return items,
        // A JSON value may be a string as well.
        (ValueType::Json, Some(items)) => return Some(items),
        _ => {}
    }
    let seen = memchr::memchr(0, text).map_or(text, |end| &text[..end]);
    // Continuation bytes are not counted.
    i64::try_from(seen.iter().filter(|byte| **byte & 0xc0 != 0x80).count()).ok()
}

/// SQLite treats a text that begins with NUL as empty, and leaves it alone.
fn replaced<'v>(text: &[u8], from: &[u8], to: &[u8]) -> Val<'v> {
    if from.is_empty() || from[0] == 0 {
        return made(text.to_vec());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for found in memchr::memmem::find_iter(text, from) {
        out.extend_from_slice(&text[at..found]);
        out.extend_from_slice(to);
        at = found + from.len();
        if out.len() > LONGEST {
            return Val::Null;
        }
    }
    out.extend_from_slice(&text[at..]);
    made(out)
}

//! Aggregate functions that SQLite lacks.

use std::collections::{HashMap, HashSet};

use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Result};
use serde_json::Value as Json;

use super::functions::{number, order};

/// Registers them on a connection.
pub fn add(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_aggregate_function("median", 1, flags, Quantile { of: Some(0.5) })?;
    connection.create_aggregate_function("quantile", 2, flags, Quantile { of: None })?;
    connection.create_aggregate_function(
        "stddev",
        1,
        flags,
        Spread { is_sample: true, is_root: true },
    )?;
    connection.create_aggregate_function(
        "stddev_pop",
        1,
        flags,
        Spread { is_sample: false, is_root: true },
    )?;
    connection.create_aggregate_function(
        "variance",
        1,
        flags,
        Spread { is_sample: true, is_root: false },
    )?;
    connection.create_aggregate_function(
        "var_pop",
        1,
        flags,
        Spread { is_sample: false, is_root: false },
    )?;
    connection.create_aggregate_function("mode", 1, flags, Mode)?;
    connection.create_aggregate_function("count_distinct", 1, flags, Distinct)?;
    connection.create_aggregate_function("any_value", 1, flags, Any)?;
    connection.create_aggregate_function("collect", 1, flags, Collect)?;
    connection.create_aggregate_function("histogram", 2, flags, Histogram)
}

/// The value below which a given share of all values lies, interpolated between two values.
struct Quantile {
    /// The share; `None` if it is the second argument.
    of: Option<f64>,
}

impl Aggregate<(Vec<f64>, f64), Option<f64>> for Quantile {
    fn init(&self, _: &mut Context<'_>) -> Result<(Vec<f64>, f64)> {
        Ok((Vec::new(), self.of.unwrap_or(0.5)))
    }

    fn step(&self, context: &mut Context<'_>, (values, share): &mut (Vec<f64>, f64)) -> Result<()> {
        values.extend(number(context.get_raw(0)));
        if self.of.is_none() {
            *share = number(context.get_raw(1)).unwrap_or(*share);
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, all: Option<(Vec<f64>, f64)>) -> Result<Option<f64>> {
        Ok(all.and_then(|(mut values, share)| quantile(&mut values, share)))
    }
}

/// The quantile of numbers, which are reordered.
pub fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    let (_, at, above) = values.select_nth_unstable_by(low, f64::total_cmp);
    let at = *at;
    if part == 0.0 {
        return Some(at);
    }
    let next = above.iter().copied().min_by(f64::total_cmp).unwrap_or(at);
    Some(at + (next - at) * part)
}

/// The variance of values (Welford).
struct Spread {
    is_sample: bool,
    is_root: bool,
}

impl Aggregate<(f64, f64, f64), Option<f64>> for Spread {
    fn init(&self, _: &mut Context<'_>) -> Result<(f64, f64, f64)> {
        Ok((0.0, 0.0, 0.0))
    }

    fn step(
        &self,
        context: &mut Context<'_>,
        (count, mean, squares): &mut (f64, f64, f64),
    ) -> Result<()> {
        if let Some(x) = number(context.get_raw(0)) {
            *count += 1.0;
            let apart = x - *mean;
            *mean += apart / *count;
            *squares += apart * (x - *mean);
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, all: Option<(f64, f64, f64)>) -> Result<Option<f64>> {
        let Some((count, _, squares)) = all else { return Ok(None) };
        let by = if self.is_sample { count - 1.0 } else { count };
        let variance = (by > 0.0).then(|| squares / by);
        Ok(variance.map(|variance| if self.is_root { variance.sqrt() } else { variance }))
    }
}

/// A value as a key for counting: floats by their bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Int(i64),
    Real(u64),
    /// Paths need not be UTF-8.
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

fn key(value: ValueRef<'_>) -> Option<Key> {
    Some(match value {
        ValueRef::Null => return None,
        ValueRef::Integer(n) => Key::Int(n),
        // As in SQL, 1 and 1.0 are the same value.
        ValueRef::Real(x) if x.fract() == 0.0 && x.abs() < 9e15 => Key::Int(x as i64),
        ValueRef::Real(x) => Key::Real(x.to_bits()),
        ValueRef::Text(text) => Key::Text(text.to_vec()),
        ValueRef::Blob(bytes) => Key::Blob(bytes.to_vec()),
    })
}

struct Distinct;

impl Aggregate<HashSet<Key>, i64> for Distinct {
    fn init(&self, _: &mut Context<'_>) -> Result<HashSet<Key>> {
        Ok(HashSet::new())
    }

    fn step(&self, context: &mut Context<'_>, all: &mut HashSet<Key>) -> Result<()> {
        all.extend(key(context.get_raw(0)));
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, all: Option<HashSet<Key>>) -> Result<i64> {
        Ok(all.map_or(0, |all| all.len() as i64))
    }
}

/// The most frequent value; the smallest of several.
struct Mode;

impl Aggregate<HashMap<Key, (u64, Value)>, Value> for Mode {
    fn init(&self, _: &mut Context<'_>) -> Result<HashMap<Key, (u64, Value)>> {
        Ok(HashMap::new())
    }

    fn step(&self, context: &mut Context<'_>, all: &mut HashMap<Key, (u64, Value)>) -> Result<()> {
        let value: Value = context.get(0)?;
        if let Some(key) = key((&value).into()) {
            all.entry(key).or_insert((0, value)).0 += 1;
        }
        Ok(())
    }

    fn finalize(
        &self,
        _: &mut Context<'_>,
        all: Option<HashMap<Key, (u64, Value)>>,
    ) -> Result<Value> {
        let best = all
            .unwrap_or_default()
            .into_values()
            .max_by(|a, b| a.0.cmp(&b.0).then_with(|| order(&b.1, &a.1)));
        Ok(best.map_or(Value::Null, |(_, value)| value))
    }
}

/// The first value that is not NULL.
struct Any;

impl Aggregate<Value, Value> for Any {
    fn init(&self, _: &mut Context<'_>) -> Result<Value> {
        Ok(Value::Null)
    }

    fn step(&self, context: &mut Context<'_>, found: &mut Value) -> Result<()> {
        if *found == Value::Null {
            *found = context.get(0)?;
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, found: Option<Value>) -> Result<Value> {
        Ok(found.unwrap_or(Value::Null))
    }
}

/// All values as a JSON list.
struct Collect;

impl Aggregate<Vec<Json>, Option<String>> for Collect {
    fn init(&self, _: &mut Context<'_>) -> Result<Vec<Json>> {
        Ok(Vec::new())
    }

    fn step(&self, context: &mut Context<'_>, all: &mut Vec<Json>) -> Result<()> {
        match context.get(0)? {
            Value::Null | Value::Blob(_) => {}
            Value::Integer(n) => all.push(n.into()),
            Value::Real(x) => all.push(x.into()),
            Value::Text(text) => all.push(text.into()),
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, all: Option<Vec<Json>>) -> Result<Option<String>> {
        Ok(all.map(|all| Json::from(all).to_string()))
    }
}

/// The number of values in each of a given number of equal bins, as a JSON list of `[from, to,
/// count]`.
struct Histogram;

/// The most bins.
const BINS: usize = 10_000;

impl Aggregate<(Vec<f64>, usize), Option<String>> for Histogram {
    fn init(&self, context: &mut Context<'_>) -> Result<(Vec<f64>, usize)> {
        let bins = number(context.get_raw(1)).unwrap_or(10.0);
        Ok((Vec::new(), (bins as usize).clamp(1, BINS)))
    }

    fn step(&self, context: &mut Context<'_>, (values, _): &mut (Vec<f64>, usize)) -> Result<()> {
        values.extend(number(context.get_raw(0)).filter(|x| x.is_finite()));
        Ok(())
    }

    fn finalize(
        &self,
        _: &mut Context<'_>,
        all: Option<(Vec<f64>, usize)>,
    ) -> Result<Option<String>> {
        let Some((values, bins)) = all.filter(|(values, _)| !values.is_empty()) else {
            return Ok(None);
        };
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let width = (high - low) / bins as f64;
        let mut counts = vec![0_u64; bins];
        for value in values {
            let bin = if width > 0.0 { ((value - low) / width) as usize } else { 0 };
            counts[bin.min(bins - 1)] += 1;
        }
        let bin = |(at, count): (usize, &u64)| {
            serde_json::json!([low + width * at as f64, low + width * (at + 1) as f64, count])
        };
        Ok(Some(Json::from(counts.iter().enumerate().map(bin).collect::<Vec<_>>()).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_between_values() {
        let cases = [
            (&[1.0, 2.0, 3.0, 4.0][..], 0.5, Some(2.5)),
            (&[3.0, 1.0], 1.0, Some(3.0)),
            (&[7.0], 0.9, Some(7.0)),
            (&[], 0.5, None),
        ];
        for (values, share, want) in cases {
            assert_eq!(quantile(&mut values.to_vec(), share), want, "{values:?}");
        }
    }
}

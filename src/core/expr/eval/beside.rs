//! Comparisons of a column with a constant: the range of values, or the single value, that
//! satisfies one.

use std::cmp::Ordering;

use super::bind::Test;
use super::number::Number;
use super::value::Val;
use crate::expr::packed::Packed;
use crate::expr::syntax::Comparison;

/// The loop for a comparison with a constant, if there is one.
pub fn beside<'a>(
    column: Packed<'a>,
    comparison: Comparison,
    constant: &Val<'_>,
) -> Option<Test<'a>> {
    match (column, constant) {
        (Packed::Ints(values, valid), _) => {
            whole(comparison, constant, |low, high| Test::Range(values, valid, low, high))
        }
        (Packed::Narrow(values, valid), _) => {
            whole(comparison, constant, |low, high| Test::Narrow(values, valid, low, high))
        }
        (Packed::Floats(values, valid), Val::Real(x)) => {
            Some(Test::Floats(values, valid, comparison, *x))
        }
        (Packed::Floats(values, valid), Val::Int(n)) => {
            let (comparison, x) = as_float(comparison, *n)?;
            Some(Test::Floats(values, valid, comparison, x))
        }
        (Packed::Texts(texts, valid), Val::Text(text)) => {
            let equal = Test::Equal(texts, valid, text.to_vec());
            match comparison {
                Comparison::Equal => Some(equal),
                Comparison::NotEqual => Some(Test::Not(equal.into())),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Integers compared with any number.
fn whole<'a>(
    comparison: Comparison,
    constant: &Val<'_>,
    range: impl Fn(i64, i64) -> Test<'a>,
) -> Option<Test<'a>> {
    match constant {
        Val::Int(n) => Some(ints(comparison, *n, range)),
        Val::Real(x) => Some(between_ints(comparison, *x, range)),
        _ => None,
    }
}

fn ints<'a>(comparison: Comparison, n: i64, range: impl Fn(i64, i64) -> Test<'a>) -> Test<'a> {
    // An empty range is written from high to low.
    let below = |n: i64| n.checked_sub(1).map_or((1, 0), |high| (i64::MIN, high));
    let above = |n: i64| n.checked_add(1).map_or((1, 0), |low| (low, i64::MAX));
    let (low, high) = match comparison {
        Comparison::Equal | Comparison::NotEqual => (n, n),
        Comparison::Less => below(n),
        Comparison::AtMost => (i64::MIN, n),
        Comparison::Greater => above(n),
        Comparison::AtLeast => (n, i64::MAX),
    };
    match comparison {
        Comparison::NotEqual => Test::Not(range(low, high).into()),
        _ => range(low, high),
    }
}

/// Integers compared with a float: those up to the last one below it, or from the first one above.
fn between_ints<'a>(
    comparison: Comparison,
    x: f64,
    range: impl Fn(i64, i64) -> Test<'a>,
) -> Test<'a> {
    let order = |n: i64| Number::Int(n).order(Number::Real(x));
    let nearest = x as i64;
    if order(nearest).is_eq() {
        return ints(comparison, nearest, range);
    }
    // `x` is not an integer. The cast truncates, or saturates.
    let (last_below, first_above) = match order(nearest).is_lt() {
        true => (Some(nearest), nearest.checked_add(1)),
        false => (nearest.checked_sub(1), Some(nearest)),
    };
    let (low, high) = match comparison {
        Comparison::Equal | Comparison::NotEqual => (1, 0),
        Comparison::Less | Comparison::AtMost => match last_below {
            Some(high) => (i64::MIN, high),
            None => (1, 0),
        },
        Comparison::Greater | Comparison::AtLeast => match first_above {
            Some(low) => (low, i64::MAX),
            None => (1, 0),
        },
    };
    match comparison {
        Comparison::NotEqual => Test::Not(range(low, high).into()),
        _ => range(low, high),
    }
}

/// An integer as a float that gives the same result for every float; `None` if equality would need
/// a value that is not a float.
fn as_float(comparison: Comparison, n: i64) -> Option<(Comparison, f64)> {
    let x = n as f64;
    Some(match (Number::Real(x).order(Number::Int(n)), comparison) {
        (Ordering::Equal, comparison) => (comparison, x),
        (_, Comparison::Equal | Comparison::NotEqual) => return None,
        // `x` is the first float above `n`: greater than `n` means `x` or greater.
        (Ordering::Greater, Comparison::Greater | Comparison::AtLeast) => (Comparison::AtLeast, x),
        (Ordering::Greater, _) => (Comparison::Less, x),
        (Ordering::Less, Comparison::Greater | Comparison::AtLeast) => (Comparison::Greater, x),
        (Ordering::Less, _) => (Comparison::AtMost, x),
    })
}

//! A column beside a constant: which range of its values, or which one of them, a comparison means.

use std::cmp::Ordering;

use super::bind::Test;
use super::number::Number;
use super::value::Val;
use crate::expr::packed::Packed;
use crate::expr::syntax::Comparison;

/// The loop for a column beside a constant, if there is one.
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

/// Whole numbers beside any number.
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
    // An empty range is from more to less.
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

/// Whole numbers beside a float: those up to the last one that is less, or from the first that is more.
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
    // No whole number is `x`. The cast goes towards zero, or to an end.
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

/// A whole number as a float that floats compare with alike; `None` where equality would have to be with
/// no float.
fn as_float(comparison: Comparison, n: i64) -> Option<(Comparison, f64)> {
    let x = n as f64;
    Some(match (Number::Real(x).order(Number::Int(n)), comparison) {
        (Ordering::Equal, comparison) => (comparison, x),
        (_, Comparison::Equal | Comparison::NotEqual) => return None,
        // `x` is the first float above `n`: more than `n` is `x` or more.
        (Ordering::Greater, Comparison::Greater | Comparison::AtLeast) => (Comparison::AtLeast, x),
        (Ordering::Greater, _) => (Comparison::Less, x),
        (Ordering::Less, Comparison::Greater | Comparison::AtLeast) => (Comparison::Greater, x),
        (Ordering::Less, _) => (Comparison::AtMost, x),
    })
}

//! Numbers with SQLite's arithmetic: exact integers that become reals on overflow.

use std::cmp::Ordering;

use super::value::Val;
use crate::expr::syntax::Arithmetic;

/// The largest integer up to which all integers are doubles.
const EXACT: u64 = 1 << 53;

/// A number; never NaN, which is NULL.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Int(i64),
    Real(f64),
}

use Number::{Int, Real};

impl Number {
    /// NULL for NaN.
    pub fn real(number: f64) -> Option<Self> {
        (!number.is_nan()).then_some(Real(number))
    }

    pub fn to_real(self) -> f64 {
        match self {
            Int(n) => n as f64,
            Real(x) => x,
        }
    }

    /// Casts as SQLite: truncates, saturates at 64 bits.
    fn to_int(self) -> i64 {
        match self {
            Int(n) => n,
            Real(x) => x as i64,
        }
    }

    /// Prints as SQLite: at most 15 digits, always with a point if real.
    pub fn to_text(self) -> String {
        match self {
            Int(n) => n.to_string(),
            Real(x) => real_text(x),
        }
    }

    /// Compares two numbers exactly: 2^53 + 1 is greater than 2^53 as a float.
    pub fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Int(a), Int(b)) => a.cmp(&b),
            (Real(a), Real(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Int(a), Real(b)) => int_and_real(a, b),
            (Real(a), Int(b)) => int_and_real(b, a).reverse(),
        }
    }

    /// `-x`, which is `0 - x`.
    pub fn minus(self) -> Option<Self> {
        arithmetic(Arithmetic::Subtract, Int(0), self)
    }

    pub fn abs(self) -> Self {
        match self {
            // SQLite's `abs` fails for `i64::MIN`.
            Int(n) => n.checked_abs().map_or(Real(-(n as f64)), Int),
            Real(x) => Real(x.abs()),
        }
    }

    /// Rounds to `digits` after the point (0 to 30), halves away from zero; always real.
    pub fn round(self, digits: i64) -> Self {
        let x = self.to_real();
        let digits = digits.clamp(0, 30) as usize;
        if !x.is_finite() || x.abs() >= EXACT as f64 {
            return Real(x);
        }
        if digits == 0 {
            return Real(x.round());
        }
        Real(round_decimal(x, digits))
    }
}

impl From<Number> for Val<'_> {
    fn from(number: Number) -> Self {
        match number {
            Int(n) => Self::Int(n),
            Real(x) => Self::Real(x),
        }
    }
}

fn int_and_real(a: i64, b: f64) -> Ordering {
    // Both ends of the integer range are powers of two: exact as floats.
    if b < i64::MIN as f64 {
        return Ordering::Greater;
    }
    if b >= i64::MAX as f64 {
        return Ordering::Less;
    }
    let whole = b as i64;
    a.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&(b - whole as f64)).unwrap_or(Ordering::Equal))
}

/// The result of an operator; `None` is NULL: division by zero, and results that are not numbers.
pub fn arithmetic(operation: Arithmetic, a: Number, b: Number) -> Option<Number> {
    match operation {
        Arithmetic::Add => whole(a, b, i64::checked_add).or_else(|| real(a, b, |a, b| a + b)),
        Arithmetic::Subtract => whole(a, b, i64::checked_sub).or_else(|| real(a, b, |a, b| a - b)),
        Arithmetic::Multiply => whole(a, b, i64::checked_mul).or_else(|| real(a, b, |a, b| a * b)),
        Arithmetic::Divide => divide(a, b),
        Arithmetic::Remainder => remainder(a, b),
        Arithmetic::Concat => None,
    }
}

fn whole(a: Number, b: Number, of: fn(i64, i64) -> Option<i64>) -> Option<Number> {
    match (a, b) {
        (Int(a), Int(b)) => of(a, b).map(Int),
        _ => None,
    }
}

fn real(a: Number, b: Number, of: fn(f64, f64) -> f64) -> Option<Number> {
    Number::real(of(a.to_real(), b.to_real()))
}

/// Divides as Python does: the double nearest to the true quotient.
fn divide(a: Number, b: Number) -> Option<Number> {
    if b.to_real() == 0.0 {
        return None;
    }
    match (a, b) {
        (Int(a), Int(b)) if a.unsigned_abs().max(b.unsigned_abs()) > EXACT => {
            Some(Real(quotient(a, b)))
        }
        _ => real(a, b, |a, b| a / b),
    }
}

/// The double nearest to `a / b`, ties to even; dividing doubles would round twice.
fn quotient(a: i64, b: i64) -> f64 {
    let (n, d) = (u128::from(a.unsigned_abs()), u128::from(b.unsigned_abs()));
    if n == 0 {
        return 0.0;
    }
    // Shift the first bit to the very top, so that the quotient has 64 bits or more: rounding needs
    // 55.
    let shift = n.leading_zeros();
    let (mut q, rest) = ((n << shift) / d, (n << shift) % d);
    // A sticky last bit for the remainder decides ties; the conversion rounds once.
    q |= u128::from(rest != 0);
    let magnitude = q as f64 / 2.0_f64.powi(shift as i32);
    if (a < 0) == (b < 0) { magnitude } else { -magnitude }
}

/// The remainder of both truncated to integers, with the sign of the first.
fn remainder(a: Number, b: Number) -> Option<Number> {
    let (x, y) = (a.to_int(), b.to_int());
    let rest = if y == -1 { 0 } else { x.checked_rem(y)? };
    Some(match (a, b) {
        (Int(_), Int(_)) => Int(rest),
        _ => Real(rest as f64),
    })
}

/// Rounds the exact decimal digits of the double, of which there may be more than a thousand.
fn round_decimal(x: f64, digits: usize) -> f64 {
    let exact = format!("{:.1100}", x.abs());
    let point = exact.find('.').unwrap_or(exact.len());
    let (kept, rest) = exact.split_at(point + 1 + digits);
    let up = rest.as_bytes().first().is_some_and(|digit| *digit >= b'5');
    let rounded = if up { increment(kept) } else { kept.to_owned() };
    rounded.parse::<f64>().unwrap_or(x).copysign(x)
}

/// The next decimal number with the same number of digits after the point.
fn increment(decimal: &str) -> String {
    let mut digits: Vec<u8> = decimal.bytes().collect();
    for digit in digits.iter_mut().rev() {
        match *digit {
            b'9' => *digit = b'0',
            b'.' => {}
            _ => {
                *digit += 1;
                return String::from_utf8_lossy(&digits).into_owned();
            }
        }
    }
    format!("1{}", String::from_utf8_lossy(&digits))
}

/// SQLite's `%!.15g`.
fn real_text(x: f64) -> String {
    if x.is_infinite() {
        return if x > 0.0 { "Inf" } else { "-Inf" }.to_owned();
    }
    // Negative zero prints as zero.
    let x = if x == 0.0 { 0.0 } else { x };
    let written = format!("{x:.14e}");
    let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..15).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", pointed(digits), exponent.unsigned_abs());
    }
    let places = usize::try_from(14 - exponent).unwrap_or(0);
    pointed(&format!("{x:.places$}"))
}

/// The number without trailing zeros after the point, but at least one digit there.
fn pointed(number: &str) -> String {
    let Some((whole, rest)) = number.split_once('.') else { return format!("{number}.0") };
    match rest.trim_end_matches('0') {
        "" => format!("{whole}.0"),
        rest => format!("{whole}.{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rusqlite::types::{Value, ValueRef};

    fn sqlite(sql: &str, a: Number, b: Number) -> Option<Number> {
        let db = rusqlite::Connection::open_in_memory().expect("a database");
        let bound = |number| match number {
            Int(n) => Value::Integer(n),
            Real(x) => Value::Real(x),
        };
        db.query_row(sql, [bound(a), bound(b)], |row| {
            Ok(match row.get_ref(0)? {
                ValueRef::Integer(n) => Some(Int(n)),
                ValueRef::Real(x) => Some(Real(x)),
                _ => None,
            })
        })
        .expect("an answer")
    }

    /// The answers of SQLite 3.40 to `SELECT ? ''`; some later releases print more than 15 digits.
    #[test]
    fn prints_as_sqlite_does() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "0.0"),
            (-2.5, "-2.5"),
            (0.1 + 0.2, "0.3"),
            (1e14, "100000000000000.0"),
            (1e15, "1.0e+15"),
            (999_999_999_999_999.9, "1.0e+15"),
            (1e-4, "0.0001"),
            (-1.5e-7, "-1.5e-07"),
            (1e300, "1.0e+300"),
            (5e-324, "4.94065645841247e-324"),
            (f64::MAX, "1.79769313486232e+308"),
            (f64::INFINITY, "Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (number, printed) in cases {
            assert_eq!(Real(number).to_text(), printed, "{number:?}");
        }
    }

    fn number() -> impl Strategy<Value = Number> {
        const INTS: [i64; 11] =
            [0, 1, -1, 2, 7, -7, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN, i64::MIN + 1];
        const REALS: [f64; 13] = [
            0.0,
            -0.0,
            0.5,
            -2.5,
            0.125,
            2.675,
            1e15,
            9007199254740993.0,
            9.3e18,
            -9.3e18,
            1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];
        prop_oneof![
            proptest::sample::select(&INTS[..]).prop_map(Int),
            any::<i64>().prop_map(Int),
            (-50..50_i64).prop_map(Int),
            proptest::sample::select(&REALS[..]).prop_map(Real),
            (-1e4..1e4_f64).prop_map(Real),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn counts_as_sqlite_does(a in number(), b in number()) {
            for operation in [Arithmetic::Add, Arithmetic::Subtract, Arithmetic::Multiply, Arithmetic::Remainder] {
                let want = sqlite(&format!("SELECT ?1 {} ?2", operation.sign()), a, b);
                prop_assert_eq!(arithmetic(operation, a, b), want, "{:?}", operation);
            }
            prop_assert_eq!(a.minus(), sqlite("SELECT -?1, ?2", a, b));
        }

        #[test]
        fn orders_as_sqlite_does(a in number(), b in number()) {
            let order = sqlite("SELECT (?1 > ?2) - (?1 < ?2)", a, b);
            prop_assert_eq!(order, Some(Int(a.order(b) as i64)));
        }

        #[test]
        fn rounds_as_sqlite_does(a in -1e6..1e6_f64, digits in 0..6_i64) {
            let want = sqlite("SELECT round(?1, ?2)", Real(a), Int(digits));
            prop_assert_eq!(Some(Real(a).round(digits)), want);
        }

        #[test]
        fn small_quotients_are_those_of_doubles(a in -(1_i64 << 53)..1 << 53, b in 1..1_i64 << 53) {
            prop_assert_eq!(quotient(a, b), a as f64 / b as f64);
        }
    }

    #[test]
    fn divides_truly() {
        let cases = [
            (Int(7), Int(2), Some(3.5)),
            (Int(-7), Int(2), Some(-3.5)),
            (Int(1), Int(0), None),
            (Real(1.0), Real(-0.0), None),
            (Real(f64::INFINITY), Real(f64::INFINITY), None),
            // Python: 9007199254740993 / 3 and (2**63 - 1) / (2**62 + 1)
            (Int(9_007_199_254_740_993), Int(3), Some(3_002_399_751_580_331.0)),
            (Int(i64::MAX), Int(i64::MAX), Some(1.0)),
            (Int(i64::MIN), Int(-1), Some(-(i64::MIN as f64))),
        ];
        for (a, b, want) in cases {
            assert_eq!(arithmetic(Arithmetic::Divide, a, b), want.map(Real), "{a:?} / {b:?}");
        }
    }

    #[test]
    fn ties_go_away_from_zero() {
        let cases = [
            (0.125, 2, 0.13),
            (-0.125, 2, -0.13),
            (2.5, 0, 3.0),
            (9.995, 2, 9.99),
            (9.5, 0, 10.0),
            (99.96, 1, 100.0),
        ];
        for (x, digits, want) in cases {
            assert_eq!(Real(x).round(digits), Real(want), "{x}");
        }
    }
}

//! Measures of numbers given as keys: integers, floats, times and lengths alike.
//!
//! Two walks: one in any order for the count, the ends and the mean, one in ascending order for
//! everything else. Floats are added with compensation for rounding (Neumaier), so the mean does
//! not depend on the number of threads; the ascending order makes the rest exact.

use super::facts::{Frequent, Histogram, Measures, Number};
use dcfs_core::sum::RealSum;
use dcfs_core::time::Timestamp;

/// The number of bins of a histogram, as in Hugging Face's.
const BARS: usize = 10;

/// The most frequent values that are reported.
const MOST_FREQUENT: usize = 10;

/// The meaning of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An integer, or a length.
    Int,
    Float,
    /// Microseconds.
    Time,
}

/// The key of an integer, in its order.
pub const fn key_of_int(n: i64) -> u64 {
    n as u64 ^ (1 << 63)
}

/// The key of a float; both zeros have the same.
pub fn key_of_real(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) }
}

impl Kind {
    fn int(key: u64) -> i64 {
        (key ^ (1 << 63)) as i64
    }

    fn real(self, key: u64) -> f64 {
        match self {
            Self::Int | Self::Time => Self::int(key) as f64,
            Self::Float if key >> 63 == 1 => f64::from_bits(key ^ (1 << 63)),
            Self::Float => f64::from_bits(!key),
        }
    }

    fn number(self, key: u64) -> Option<Number> {
        match self {
            Self::Int => Some(Number::Int(Self::int(key))),
            Self::Float => Number::of_real(self.real(key)),
            Self::Time => Some(moment(Self::int(key))),
        }
    }

    /// A value between two others, such as a mean.
    fn between(self, x: f64) -> Option<Number> {
        match self {
            Self::Int | Self::Float => Number::of_real(x),
            Self::Time => Some(moment(x.round() as i64)),
        }
    }

    /// A distance between values, such as a deviation.
    fn distance(self, x: f64) -> Option<Number> {
        match self {
            Self::Int | Self::Float => Number::of_real(x),
            Self::Time => Some(Number::Text(days(x.round() as i64))),
        }
    }
}

fn moment(micros: i64) -> Number {
    Number::Text(Timestamp::from_micros(micros).catalog())
}

/// Prints a `timedelta` that is not negative as Python does: `3 days, 4:05:06`.
fn days(micros: i64) -> String {
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    let (days, seconds) = (seconds / 86_400, seconds % 86_400);
    let fraction = if rest == 0 { String::new() } else { format!(".{rest:06}") };
    let clock =
        format!("{}:{:02}:{:02}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match days {
        0 => clock,
        1 => format!("1 day, {clock}"),
        _ => format!("{days} days, {clock}"),
    }
}

/// Visits every key and its count, each time the same.
pub type Walk<'w> = dyn Fn(&mut dyn FnMut(u64, u64)) + 'w;

/// Measures keys of one kind. `any` visits them in any order, `rising` each once, ascending.
pub fn measure(kind: Kind, any: &Walk<'_>, rising: &Walk<'_>) -> Measures {
    let mut ends = Ends::new(kind);
    any(&mut |key, count| ends.add(key, count));
    let Ends { count, first, last, .. } = ends;
    if count == 0 {
        return Measures { n_unique: Some(0), ..Measures::default() };
    }
    let mean = ends.mean();
    let mut bars = Bars::new(kind, &ends);
    let mut quantiles = [0.1, 0.25, 0.5, 0.75, 0.9].map(|share| Quantile::new(share, count));
    let (mut different, mut before, mut squares) = (0, 0, 0.0);
    let mut frequent = Frequents::default();
    rising(&mut |key, times| {
        let value = kind.real(key);
        different += 1;
        squares += (value - mean) * (value - mean) * times as f64;
        quantiles.iter_mut().for_each(|quantile| quantile.look(value, before, times));
        bars.add(key, value, times);
        frequent.look(key, times);
        before += times;
    });
    let std = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
    let [q10, q25, median, q75, q90] = quantiles.map(|quantile| kind.between(quantile.value()));
    let named = |(key, count)| Some(Frequent { value: kind.number(key)?, count });
    Measures {
        n_unique: Some(different),
        min: kind.number(first),
        max: kind.number(last),
        mean: kind.between(mean),
        median,
        std: std.and_then(|std| kind.distance(std)),
        q10,
        q25,
        q75,
        q90,
        histogram: bars.finish(),
        most_frequent: frequent.0.into_iter().filter_map(named).collect(),
        ..Measures::default()
    }
}

/// The least and the greatest key, and the sum.
struct Ends {
    kind: Kind,
    count: u64,
    first: u64,
    last: u64,
    /// The same of the finite ones.
    finite: Option<(u64, u64)>,
    whole: i128,
    sum: RealSum,
}

impl Ends {
    const fn new(kind: Kind) -> Self {
        let (first, last) = (u64::MAX, 0);
        Self { kind, count: 0, first, last, finite: None, whole: 0, sum: RealSum::ZERO }
    }

    fn add(&mut self, key: u64, times: u64) {
        self.count += times;
        self.first = self.first.min(key);
        self.last = self.last.max(key);
        if self.kind != Kind::Float {
            self.whole += i128::from(Kind::int(key)) * i128::from(times);
            self.finite = Some((self.first, self.last));
            return;
        }
        let value = self.kind.real(key);
        if value.is_finite() {
            let (first, last) = self.finite.unwrap_or((key, key));
            self.finite = Some((first.min(key), last.max(key)));
        }
        self.sum.add(value * times as f64);
    }

    fn mean(&self) -> f64 {
        let count = self.count as f64;
        match self.kind {
            Kind::Float => self.sum.total() / count,
            // As exact as one division allows: the whole part is divided separately.
            Kind::Int | Kind::Time => {
                let (whole, rest) =
                    (self.whole / i128::from(self.count), self.whole % i128::from(self.count));
                whole as f64 + rest as f64 / count
            }
        }
    }
}

/// A quantile by linear interpolation between the two values next to its position.
#[derive(Clone, Copy)]
struct Quantile {
    below: u64,
    share: f64,
    low: f64,
    high: f64,
}

impl Quantile {
    fn new(share: f64, count: u64) -> Self {
        let place = share * (count - 1) as f64;
        Self { below: place.floor() as u64, share: place.fract(), low: 0.0, high: 0.0 }
    }

    /// Takes a value at the positions from `before` on, `times` of them.
    fn look(&mut self, value: f64, before: u64, times: u64) {
        let holds = |place: u64| (before..before + times).contains(&place);
        if holds(self.below) {
            (self.low, self.high) = (value, value);
        }
        if holds(self.below + 1) {
            self.high = value;
        }
    }

    fn value(self) -> f64 {
        match self.share {
            0.0 => self.low,
            share => self.low + (self.high - self.low) * share,
        }
    }
}

/// The most frequent values that occur more than once, most frequent first; of equally frequent
/// ones the lowest.
#[derive(Default)]
struct Frequents(Vec<(u64, u64)>);

impl Frequents {
    fn look(&mut self, key: u64, times: u64) {
        let is_full = self.0.len() == MOST_FREQUENT;
        if times < 2 || is_full && self.0.last().is_some_and(|(_, least)| times <= *least) {
            return;
        }
        if is_full {
            self.0.pop();
        }
        let place = self.0.partition_point(|(_, count)| *count >= times);
        self.0.insert(place, (key, times));
    }
}

/// A histogram of the finite values.
struct Bars {
    kind: Kind,
    ends: Option<(u64, u64)>,
    /// The width of a bin: for integers, and for floats.
    whole: i128,
    wide: f64,
    hist: Vec<u64>,
}

impl Bars {
    fn new(kind: Kind, ends: &Ends) -> Self {
        let mut bars = Self { kind, ends: ends.finite, whole: 1, wide: 0.0, hist: Vec::new() };
        let Some((first, last)) = bars.ends else { return bars };
        let number = if first == last {
            1
        } else if kind == Kind::Float {
            // Halves first: the distance of two floats may overflow.
            bars.wide = (kind.real(last) / BARS as f64) - (kind.real(first) / BARS as f64);
            BARS
        } else {
            let span = i128::from(Kind::int(last)) - i128::from(Kind::int(first)) + 1;
            let up = |n: i128, by: i128| (n + by - 1) / by;
            bars.whole = up(span, BARS as i128);
            up(span, bars.whole) as usize
        };
        bars.hist = vec![0; number];
        bars
    }

    fn add(&mut self, key: u64, value: f64, times: u64) {
        let Some((first, _)) = self.ends.filter(|_| value.is_finite()) else { return };
        let place = if self.hist.len() == 1 {
            0
        } else if self.kind == Kind::Float {
            let first = self.kind.real(first);
            // Uses the edges as reported, so that a bin contains what its edges say.
            let guess = ((value / self.wide) - (first / self.wide)) as usize;
            let guess = guess.min(self.hist.len() - 1);
            let edge = |bar: usize| first + self.wide * bar as f64;
            match () {
                () if value < edge(guess) => guess.saturating_sub(1),
                () if guess + 1 < self.hist.len() && value >= edge(guess + 1) => guess + 1,
                () => guess,
            }
        } else {
            ((i128::from(Kind::int(key)) - i128::from(Kind::int(first))) / self.whole) as usize
        };
        if let Some(bar) = self.hist.get_mut(place) {
            *bar += times;
        }
    }

    fn finish(self) -> Option<Histogram> {
        let (first, last) = self.ends?;
        let edge = |bar: usize| match (bar, self.kind) {
            (0, kind) => kind.number(first),
            (_, Kind::Float) => Number::of_real(self.kind.real(first) + self.wide * bar as f64),
            (_, kind) => {
                let edge = i128::from(Kind::int(first)) + self.whole * bar as i128;
                kind.number(key_of_int(i64::try_from(edge).ok()?))
            }
        };
        let edges: Option<Vec<Number>> = (0..self.hist.len()).map(edge).collect();
        let mut bin_edges = edges?;
        bin_edges.push(self.kind.number(last)?);
        Some(Histogram { hist: self.hist, bin_edges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::runs;
    use proptest::prelude::*;

    fn measured(kind: Kind, keys: &[u64]) -> Measures {
        let any: &Walk<'_> = &|give| keys.iter().for_each(|key| give(*key, 1));
        let each: &runs::Each<'_, u64> = &|give| keys.iter().for_each(|key| give(*key));
        measure(kind, any, &|give| runs::runs(keys.len() as u64, each, give))
    }

    fn ints(numbers: &[i64]) -> Measures {
        let keys: Vec<u64> = numbers.iter().map(|n| key_of_int(*n)).collect();
        measured(Kind::Int, &keys)
    }

    fn reals(numbers: &[f64]) -> Measures {
        let keys: Vec<u64> = numbers.iter().map(|x| key_of_real(*x)).collect();
        measured(Kind::Float, &keys)
    }

    #[test]
    fn a_few_numbers_by_hand() {
        let found = ints(&[4, 1, 3, 2, 4]);
        assert_eq!((found.min, found.max), (Some(Number::Int(1)), Some(Number::Int(4))));
        assert_eq!((found.mean, found.median), (Some(Number::Real(2.8)), Some(Number::Real(3.0))));
        assert_eq!((found.q25, found.q75), (Some(Number::Real(2.0)), Some(Number::Real(4.0))));
        assert_eq!(found.n_unique, Some(4));
        assert_eq!(found.most_frequent, [Frequent { value: Number::Int(4), count: 2 }]);
        let histogram = found.histogram.expect("of values");
        assert_eq!(histogram.hist, [1, 1, 1, 2]);
        assert_eq!(histogram.bin_edges, [1, 2, 3, 4, 4].map(Number::Int));
    }

    #[test]
    fn the_ends_of_what_there_is() {
        let wide = ints(&[i64::MIN, i64::MAX, 0]);
        let histogram = wide.histogram.expect("of values");
        assert_eq!(histogram.hist.iter().sum::<u64>(), 3);
        assert_eq!(histogram.hist.len() + 1, histogram.bin_edges.len());
        let odd = reals(&[f64::INFINITY, 1.0, f64::MAX, -f64::MAX, -0.0, 0.0]);
        assert_eq!(odd.max, Some(Number::Text("Infinity".into())));
        assert_eq!(odd.n_unique, Some(5));
        assert_eq!(odd.histogram.expect("of values").hist.iter().sum::<u64>(), 5);
        assert_eq!(reals(&[]), Measures { n_unique: Some(0), ..Measures::default() });
        let one = reals(&[0.5]);
        assert_eq!((one.std, one.histogram.expect("of it").hist), (None, vec![1]));
        let infinite = reals(&[f64::INFINITY, f64::NEG_INFINITY]);
        assert_eq!((infinite.mean, infinite.histogram), (None, None));
    }

    #[test]
    fn distances_of_moments_are_those_of_python() {
        let cases = [
            (0, "0:00:00"),
            (86_399_000_001, "23:59:59.000001"),
            (90_000_000_000, "1 day, 1:00:00"),
            (31 * 86_400_000_000, "31 days, 0:00:00"),
        ];
        for (micros, text) in cases {
            assert_eq!(days(micros), text);
        }
    }

    proptest! {
        #[test]
        fn as_a_plain_computation_has_it(numbers in proptest::collection::vec(-1000.0..1000.0_f64, 1..80)) {
            let found = reals(&numbers);
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let count = sorted.len() as f64;
            let mean = sorted.iter().sum::<f64>() / count;
            let real = |number: &Option<Number>| number.as_ref().and_then(Number::real);
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (1.0 + b.abs());
            prop_assert!(near(real(&found.mean).expect("a mean"), mean));
            prop_assert_eq!(real(&found.min), sorted.first().copied());
            prop_assert_eq!(real(&found.max), sorted.last().copied());
            let place = 0.25 * (count - 1.0);
            let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            prop_assert!(near(real(&found.q25).expect("a quantile"), low + (high - low) * place.fract()));
            let histogram = found.histogram.expect("of values");
            prop_assert_eq!(histogram.hist.iter().sum::<u64>(), sorted.len() as u64);
            let edges: Vec<f64> = histogram.bin_edges.iter().filter_map(Number::real).collect();
            for (bar, count) in histogram.hist.iter().enumerate() {
                let is_last = bar + 1 == histogram.hist.len();
                let inside = |x: &&f64| **x >= edges[bar] && (**x < edges[bar + 1] || is_last);
                prop_assert_eq!(sorted.iter().filter(inside).count() as u64, *count);
            }
        }

        #[test]
        fn keys_order_as_numbers(a in any::<f64>(), b in any::<f64>(), n: i64, m: i64) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(a.partial_cmp(&b), Some(key_of_real(a).cmp(&key_of_real(b))));
            prop_assert_eq!(n.cmp(&m), key_of_int(n).cmp(&key_of_int(m)));
            prop_assert_eq!(Kind::Float.real(key_of_real(a)), a);
        }
    }
}

//! Distances between vectors: sums in double precision, whatever the stored precision.

use super::Fault;
use super::value::Val;
use crate::expr::packed::{Numbers, Vectors};
use crate::expr::typed::Metric;

/// Partial sums kept side by side, so that the compiler can vectorise.
const LANES: usize = 8;

/// The distance of the vector in `row` from `to`; NULL if their lengths differ, and for the angle
/// with a zero vector.
pub fn of<'v>(
    metric: Metric,
    vectors: &Vectors<'_>,
    row: usize,
    to: &[f64],
) -> Result<Val<'v>, Fault> {
    if vectors.width != to.len() {
        return Ok(Val::Null);
    }
    let width = vectors.width;
    let range = row * width..(row + 1) * width;
    let distance = match vectors.numbers {
        Numbers::Single(numbers) => {
            let numbers = numbers.get(range).ok_or(Fault::Damaged)?;
            between(metric, numbers, to, |bytes| f32::from_le_bytes(bytes).into())
        }
        Numbers::Double(numbers) => {
            let numbers = numbers.get(range).ok_or(Fault::Damaged)?;
            between(metric, numbers, to, f64::from_le_bytes)
        }
    };
    Ok(if distance.is_nan() { Val::Null } else { Val::Real(distance) })
}

fn between<const N: usize>(
    metric: Metric,
    numbers: &[[u8; N]],
    to: &[f64],
    number: impl Fn([u8; N]) -> f64 + Copy,
) -> f64 {
    match metric {
        Metric::Cosine => {
            let [product, own] = sums(numbers, to, |u, v| {
                let u = number(u);
                [u * v, u * u]
            });
            let other: f64 = to.iter().map(|v| v * v).sum();
            (1.0 - product / (own * other).sqrt()).clamp(0.0, 2.0)
        }
        Metric::Euclidean => {
            let [squares] = sums(numbers, to, |u, v| {
                let apart = number(u) - v;
                [apart * apart]
            });
            squares.sqrt()
        }
    }
}

/// The sums of the results of `terms` over all pairs.
fn sums<const N: usize, const S: usize>(
    numbers: &[[u8; N]],
    to: &[f64],
    terms: impl Fn([u8; N], f64) -> [f64; S],
) -> [f64; S] {
    let mut lanes = [[0.0; LANES]; S];
    let (whole, rest) = numbers.as_chunks::<LANES>();
    let (whole_to, rest_to) = to.as_chunks::<LANES>();
    for (us, vs) in whole.iter().zip(whole_to) {
        for lane in 0..LANES {
            let terms = terms(us[lane], vs[lane]);
            for sum in 0..S {
                lanes[sum][lane] += terms[sum];
            }
        }
    }
    let mut sums = lanes.map(|lanes| lanes.iter().sum::<f64>());
    for (u, v) in rest.iter().zip(rest_to) {
        let terms = terms(*u, *v);
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(metric: Metric, of_vector: &[f32], to: &[f64]) -> Val<'static> {
        let bytes: Vec<[u8; 4]> = of_vector.iter().map(|x| x.to_le_bytes()).collect();
        let vectors = Vectors { width: of_vector.len(), numbers: Numbers::Single(&bytes) };
        of(metric, &vectors, 0, to).expect("sound")
    }

    #[test]
    fn measures() {
        let nine: Vec<f32> = (1..10_u8).map(f32::from).collect();
        let same: Vec<f64> = nine.iter().map(|x| f64::from(*x)).collect();
        let opposite: Vec<f64> = same.iter().map(|x| -x).collect();
        assert_eq!(distance(Metric::Cosine, &nine, &same), Val::Real(0.0));
        assert_eq!(distance(Metric::Cosine, &nine, &opposite), Val::Real(2.0));
        assert_eq!(distance(Metric::Cosine, &[1.0, 0.0], &[0.0, 1.0]), Val::Real(1.0));
        assert_eq!(distance(Metric::Cosine, &[0.0, 0.0], &[0.0, 1.0]), Val::Null);
        assert_eq!(distance(Metric::Euclidean, &[0.0, 3.0], &[4.0, 0.0]), Val::Real(5.0));
        assert_eq!(distance(Metric::Euclidean, &nine, &same), Val::Real(0.0));
        assert_eq!(distance(Metric::Euclidean, &[1.0], &[1.0, 2.0]), Val::Null);
    }
}

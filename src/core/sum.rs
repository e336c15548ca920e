//! Compensated sums of floats (Neumaier, 1974), as SQLite computes them.

/// A running sum.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealSum {
    sum: f64,
    lost: f64,
}

impl RealSum {
    /// The empty sum.
    pub const ZERO: Self = Self { sum: 0.0, lost: 0.0 };

    /// Adds a value, infinities and NaN too.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_finite() {
            let is_larger = self.sum.abs() >= value.abs();
            self.lost +=
                if is_larger { (self.sum - sum) + value } else { (value - sum) + self.sum };
        }
        self.sum = sum;
    }

    /// Adds another sum.
    #[inline]
    pub fn merge(&mut self, other: Self) {
        self.add(other.sum);
        self.add(other.lost);
    }

    /// The rounded result.
    pub fn total(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_in_rounding_is_added() {
        let mut sum = RealSum::ZERO;
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.total(), 2.0);
        sum.add(f64::INFINITY);
        sum.add(1.0);
        assert_eq!(sum.total(), f64::INFINITY);
    }
}

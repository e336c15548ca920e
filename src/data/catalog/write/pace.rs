//! How many rows one statement takes: the write lock is not given back within one, and rows may be large.

use std::time::{Duration, Instant};

/// Rows of the first statement.
const FIRST: i64 = 16;

/// The most: no statement gets faster by more.
const MOST: i64 = 4096;

/// How long a statement should take.
const LONG: Duration = Duration::from_millis(10);

/// Rows of the next statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace(i64);

impl Pace {
    pub const fn new() -> Self {
        Self(FIRST)
    }

    pub const fn rows(self) -> i64 {
        self.0
    }

    /// Runs a statement of so many rows at most, and learns from how long it takes; it answers how many they were.
    pub fn run<E>(&mut self, statement: impl FnOnce() -> Result<usize, E>) -> Result<usize, E> {
        let began = Instant::now();
        let rows = statement()?;
        self.took(i64::try_from(rows).unwrap_or(MOST), began.elapsed());
        Ok(rows)
    }

    /// That few rows were fast says nothing of many.
    fn took(&mut self, rows: i64, time: Duration) {
        let next = match () {
            () if time > 2 * LONG => self.0.min(rows) / 4,
            () if time > LONG => self.0.min(rows) / 2,
            () if time < LONG / 2 && rows >= self.0 => self.0 * 2,
            () => self.0,
        };
        self.0 = next.clamp(1, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows that are taken in the end where each takes so long.
    fn settled(each: Duration) -> i64 {
        let mut pace = Pace::new();
        for _ in 0..20 {
            pace.took(pace.rows(), each * u32::try_from(pace.rows()).expect("rows"));
        }
        pace.rows()
    }

    #[test]
    fn large_rows_are_few_at_a_time() {
        let cases = [(0, 4096), (1, 4096), (100, 64), (9_000, 1), (1_000_000, 1)];
        for (micros, rows) in cases {
            assert_eq!(settled(Duration::from_micros(micros)), rows, "{micros} us");
        }
    }

    #[test]
    fn few_rows_say_nothing_of_many() {
        let mut pace = Pace::new();
        (0..20).for_each(|_| pace.took(1, Duration::ZERO));
        assert_eq!(pace, Pace::new());
        pace.took(2, Duration::from_secs(1));
        assert_eq!(pace.rows(), 1);
    }
}

//! Adapts the number of rows per statement: the write lock cannot be released within one, and rows
//! may be large.

use std::time::{Duration, Instant};

/// Rows in the first statement.
const FIRST: i64 = 16;

/// The most rows: more do not make a statement faster.
const MOST: i64 = 4096;

/// How long a statement should take.
const LONG: Duration = Duration::from_millis(10);

/// The number of rows for the next statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace(i64);

impl Pace {
    pub const fn new() -> Self {
        Self(FIRST)
    }

    pub const fn rows(self) -> i64 {
        self.0
    }

    /// Runs a statement of at most so many rows, and adapts to the time it takes; it returns the
    /// number of rows.
    pub fn run<E>(&mut self, statement: impl FnOnce() -> Result<usize, E>) -> Result<usize, E> {
        let began = Instant::now();
        let rows = statement()?;
        self.took(i64::try_from(rows).unwrap_or(MOST), began.elapsed());
        Ok(rows)
    }

    /// A fast statement with few rows says nothing about many.
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

    /// The number of rows that it converges to if each takes that long.
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

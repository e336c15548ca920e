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

    /// Runs a statement of that many rows, and learns from how long it takes.
    pub fn run<T>(&mut self, statement: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let answer = statement();
        self.took(began.elapsed());
        answer
    }

    fn took(&mut self, time: Duration) {
        let next = match () {
            () if time > 2 * LONG => self.0 / 4,
            () if time > LONG => self.0 / 2,
            () if time < LONG / 2 => self.0 * 2,
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
            pace.took(each * u32::try_from(pace.rows()).expect("rows"));
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
}

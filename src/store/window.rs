//! Which bytes to fetch for one read: policy, decided apart from I/O.
//!
//! | the object or the read | fetched | kept |
//! |---|---|---|
//! | up to [`FIRST`] bytes | all of it, with one request | while open |
//! | continues the last fetch, or the first read at 0 | a window, doubling up to [`MOST`] | the last two |
//! | anywhere else | exactly what was asked | not at all |
//!
//! The kernel sends the reads of one readahead at the same time and they arrive in any order, so a
//! read a little past the end of the last window continues it too ([`NEAR`]).

use std::ops::Range;

/// The first window, and the size up to which an object is fetched whole: 1 MiB, and 128 KiB more
/// so that Linux's readahead rides along with a read of 1 MiB (reasoned in mountpoint-s3,
/// `prefetch.rs`).
pub const FIRST: u64 = 1024 * 1024 + 128 * 1024;

/// The largest request: at 8 MiB a round trip of 20 ms is a small part of a transfer, and two of
/// them per open file are bearable.
pub const MOST: u64 = 8 * 1024 * 1024;

/// How far past the last window a read still continues it: one kernel request (1 MiB).
pub const NEAR: u64 = 1024 * 1024;

/// What to fetch, in bytes of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// To be kept: others will ask for the rest of it.
    Keep(Range<u64>),
    /// For this read alone.
    Once(Range<u64>),
}

/// How one open object is being read.
#[derive(Debug, Default)]
pub struct Window {
    /// Where the last fetch ended.
    next: u64,
    /// Length of the last window; 0 after a read elsewhere.
    ahead: u64,
}

impl Window {
    /// Decides what to fetch for a read of `wanted`, which is not empty and ends at `size` at most;
    /// `size` is the length of the object.
    ///
    /// The plan is not empty, holds `wanted.start` and at most [`MOST`] bytes: a long read may take
    /// several plans.
    pub fn plan(&mut self, wanted: Range<u64>, size: u64) -> Plan {
        if size <= FIRST {
            return Plan::Keep(0..size);
        }
        let near = self.next..=self.next.saturating_add(NEAR);
        if near.contains(&wanted.start) {
            return Plan::Keep(self.grow(size));
        }
        let range = wanted.start..wanted.end.min(wanted.start + MOST);
        (self.next, self.ahead) = (range.end, 0);
        Plan::Once(range)
    }

    /// The window after the last, to be fetched before anyone asks. `None` at the end of the object
    /// and where reading has not been sequential.
    pub fn further(&mut self, size: u64) -> Option<Range<u64>> {
        (self.ahead > 0 && self.next < size).then(|| self.grow(size))
    }

    /// A window that was fetched before anyone asked has been reached: reading is sequential there.
    pub fn reached(&mut self, range: &Range<u64>) {
        (self.next, self.ahead) = (range.end, range.end - range.start);
    }

    fn grow(&mut self, size: u64) -> Range<u64> {
        self.ahead = (self.ahead * 2).clamp(FIRST, MOST);
        let range = self.next..(self.next + self.ahead).min(size);
        self.next = range.end;
        range
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1024;
    const BIG: u64 = 1 << 30;

    #[test]
    fn small_objects_are_fetched_whole() {
        for size in [1, 4096, FIRST] {
            let mut window = Window::default();
            assert_eq!(window.plan(size - 1..size, size), Plan::Keep(0..size));
            assert_eq!(window.further(size), None);
        }
    }

    #[test]
    fn the_window_doubles_while_reading_is_sequential() {
        let mut window = Window::default();
        let (mut at, mut lengths) = (0, Vec::new());
        for _ in 0..6 {
            match window.plan(at..at + 128 * KIB, BIG) {
                Plan::Keep(range) => {
                    assert_eq!(range.start, at);
                    lengths.push((range.end - range.start) / (128 * KIB));
                    at = range.end;
                }
                once => panic!("{once:?}"),
            }
        }
        assert_eq!(lengths, [9, 18, 36, 64, 64, 64]);
    }

    #[test]
    fn a_read_elsewhere_is_exact_and_starts_anew() {
        let mut window = Window::default();
        window.plan(0..KIB, BIG);
        let far = 500 * 1024 * KIB;
        assert_eq!(window.plan(far..far + 4 * KIB, BIG), Plan::Once(far..far + 4 * KIB));
        assert_eq!(window.further(BIG), None);
        assert_eq!(window.plan(KIB..2 * KIB, BIG), Plan::Once(KIB..2 * KIB));
        let next = 2 * KIB;
        assert_eq!(window.plan(next..next + 1, BIG), Plan::Keep(next..next + FIRST));
    }

    #[test]
    fn reads_that_overtake_each_other_are_sequential() {
        let mut window = Window::default();
        window.plan(0..KIB, BIG);
        let late = FIRST + 128 * KIB;
        assert_eq!(window.plan(late..late + KIB, BIG), Plan::Keep(FIRST..3 * FIRST));
    }

    proptest! {
        #[test]
        fn a_plan_holds_what_was_asked(
            size in 1..2 * BIG,
            reads in prop::collection::vec((0..u64::MAX, 1..20 * MOST), 1..50),
        ) {
            let mut window = Window::default();
            for (start, length) in reads {
                let start = start % size;
                let wanted = start..(start + length).min(size);
                let (Plan::Keep(range) | Plan::Once(range)) = window.plan(wanted.clone(), size);
                prop_assert!(range.contains(&wanted.start), "{wanted:?} {range:?}");
                prop_assert!(range.end <= size && range.end - range.start <= MOST);
            }
        }

        #[test]
        fn reading_once_through_fetches_each_byte_once(
            size in 1..64 * MOST,
            step in 1..4 * 1024 * KIB,
            eager in any::<bool>(),
        ) {
            let mut window = Window::default();
            let (mut at, mut fetched) = (0, 0);
            while at < size {
                if at >= fetched {
                    match window.plan(at..(at + step).min(size), size) {
                        Plan::Keep(range) => {
                            prop_assert_eq!(range.start, fetched);
                            fetched = range.end;
                        }
                        once => prop_assert!(false, "{:?}", once),
                    }
                    if let Some(range) = eager.then(|| window.further(size)).flatten() {
                        prop_assert_eq!(range.start, fetched);
                        fetched = range.end;
                    }
                }
                at = (at + step).min(fetched);
            }
            prop_assert_eq!(fetched, size);
        }
    }
}

//! Chooses the bytes to fetch for a read: policy, separate from I/O.
//!
//! | the object or the read | fetched | kept |
//! |---|---|---|
//! | up to [`FIRST`] bytes | all of it, with one request | while open |
//! | continues the last fetch, or the first read at 0 | pieces, further ahead the longer it continues | until read |
//! | anywhere else | exactly the requested bytes | not at all |
//! | anywhere else, with half of a stretch in the cache | the rest of the stretch, in the background ([`super::stream::Ranges::rest`]) | in the cache |
//!
//! Look-ahead: twice what was read sequentially so far (four times after [`FIRM`]), up to [`REACH`]; each piece
//! is as large as all before it, up to [`MOST`]. So a reader that stops early has fetched a few times what it
//! read, and one that continues has many large requests in flight. The kernel sends the reads of one readahead
//! at the same time and they arrive in any order, so a read a little past the end of the last fetch continues
//! it too ([`NEAR`]).

use std::ops::Range;

/// The first piece, and the size up to which an object is fetched whole: 1 MiB, and 128 KiB more so that
/// Linux's readahead rides along with a read of 1 MiB (reasoned in mountpoint-s3, `prefetch.rs`).
pub const FIRST: u64 = 1024 * 1024 + 128 * 1024;

/// The largest request: at 8 MiB a round trip of 20 ms is a small part of a transfer.
pub const MOST: u64 = 8 * 1024 * 1024;

/// Maximum distance between a reader and the pieces fetched ahead: 20 ms at 1.5 GB/s are 30 MB, and as much
/// again arrives meanwhile.
pub const REACH: u64 = 64 * 1024 * 1024;

/// A reader that has read this many bytes sequentially will most likely continue.
const FIRM: u64 = 4 * 1024 * 1024;

/// How far past the last fetch a read still continues it: one kernel request (1 MiB).
pub const NEAR: u64 = 1024 * 1024;

/// Pieces end at block boundaries of the cache, and large ones at those of the kernel's requests: a read that
/// needs two pieces is copied.
const STEP: u64 = 64 * 1024;

/// The bytes to fetch, as a range of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Keep it: other reads will want the rest.
    Keep(Range<u64>),
    /// Only for this read.
    Once(Range<u64>),
}

/// The access pattern of one open object.
#[derive(Debug, Default)]
pub struct Window {
    /// Where sequential reading began.
    from: u64,
    /// Where the last fetch ended.
    next: u64,
    /// Whether reading is sequential: not after a read elsewhere.
    is_in_order: bool,
}

impl Window {
    /// Chooses the bytes to fetch for a read of `wanted`, which is not empty and ends at `size` at most; `size`
    /// is the length of the object.
    ///
    /// The plan is not empty, contains `wanted.start` and at most [`MOST`] bytes: a long read may take several
    /// plans.
    pub fn plan(&mut self, wanted: Range<u64>, size: u64) -> Plan {
        if size <= FIRST {
            return Plan::Keep(0..size);
        }
        let near = self.next..=self.next.saturating_add(NEAR);
        if near.contains(&wanted.start) {
            self.is_in_order = true;
            return Plan::Keep(self.piece(size));
        }
        let range = wanted.start..wanted.end.min(wanted.start + MOST);
        *self = Self { from: range.start, next: range.end, is_in_order: false };
        Plan::Once(range)
    }

    /// The piece after the last, to be fetched in advance, for a reader at `at`. `None` if enough is in
    /// progress, at the end of the object, and if reading is not sequential.
    pub fn further(&mut self, at: u64, size: u64) -> Option<Range<u64>> {
        let is_due = self.is_in_order && self.next < size && self.next < at + self.reach(at);
        is_due.then(|| self.piece(size))
    }

    /// Whether the last read did not continue the one before it.
    pub fn is_scattered(&self) -> bool {
        !self.is_in_order
    }

    /// Reverts a piece that [`Window::further`] returned and that is not fetched after all.
    pub fn undo(&mut self, piece: &Range<u64>) {
        self.next = piece.start;
    }

    /// Drops everything planned beyond `at`, which will not arrive.
    pub fn lost(&mut self, at: u64) {
        (self.next, self.is_in_order) = (at, false);
    }

    fn reach(&self, at: u64) -> u64 {
        let read = at.saturating_sub(self.from);
        read.saturating_mul(if read < FIRM { 2 } else { 4 }).min(REACH)
    }

    fn piece(&mut self, size: u64) -> Range<u64> {
        // As much again as all before it: few requests, soon large ones.
        let length = (self.next - self.from).clamp(FIRST, MOST);
        let start = self.next;
        let step = if length < MOST { STEP } else { NEAR };
        self.next = ((start + length) / step * step).min(size);
        start..self.next
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
            assert_eq!(window.further(size - 1, size), None);
        }
    }

    #[test]
    fn more_is_fetched_ahead_the_longer_reading_goes_on() {
        let mut window = Window::default();
        assert_eq!(window.plan(0..KIB, BIG), Plan::Keep(0..FIRST));
        assert_eq!(window.further(256 * KIB, BIG), None, "a header alone");
        let mut end = FIRST;
        for at in (0..1024).map(|n| n * 128 * KIB) {
            while let Some(range) = window.further(at, BIG) {
                assert_eq!(range.start, end);
                end = range.end;
                assert!(end <= 6 * at + FIRST.max(MOST.min(at * 2)), "{at}: {range:?}");
            }
            assert!(end - at.min(end) <= REACH + MOST);
        }
        assert!(end >= 128 * 1024 * KIB + REACH - MOST);
    }

    #[test]
    fn a_read_elsewhere_is_exact_and_starts_anew() {
        let mut window = Window::default();
        window.plan(0..KIB, BIG);
        let far = 500 * 1024 * KIB;
        assert_eq!(window.plan(far..far + 4 * KIB, BIG), Plan::Once(far..far + 4 * KIB));
        assert_eq!(window.further(far + 4 * KIB, BIG), None);
        assert_eq!(window.plan(KIB..2 * KIB, BIG), Plan::Once(KIB..2 * KIB));
        let next = 2 * KIB;
        assert_eq!(window.plan(next..next + 1, BIG), Plan::Keep(next..FIRST));
    }

    #[test]
    fn reads_that_overtake_each_other_are_sequential() {
        let mut window = Window::default();
        window.plan(0..KIB, BIG);
        let late = FIRST + 128 * KIB;
        assert_eq!(window.plan(late..late + KIB, BIG), Plan::Keep(FIRST..2 * FIRST));
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
                    while let Some(range) = eager.then(|| window.further(at, size)).flatten() {
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

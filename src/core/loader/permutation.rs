//! The order of an epoch: a permutation of `0..count` that is computed per position and stored
//! nowhere.
//!
//! A balanced Feistel network over the smallest power of four that is at least `count`; a result
//! outside the range is mapped again until it is inside (cycle walking: fewer than four steps on
//! average). The round keys come from `SHA-256("dcfs epoch <seed> <epoch>")`, so the order is the
//! same on every machine and in every language.

use sha2::{Digest, Sha256};

/// Four give a pseudorandom permutation (Luby and Rackoff); the others are for domains of a few bits.
const ROUNDS: usize = 8;

/// A permutation of `0..count`.
#[derive(Clone, Debug)]
pub struct Permutation {
    count: u64,
    /// Bits of each half.
    half: u32,
    keys: [u32; ROUNDS],
}

impl Permutation {
    /// The order of an epoch. `count` is at most 2^32.
    pub fn new(seed: u64, epoch: u32, count: u64) -> Self {
        let hash = Sha256::digest(format!("dcfs epoch {seed} {epoch}"));
        let mut keys = [0; ROUNDS];
        for (key, bytes) in keys.iter_mut().zip(hash.chunks_exact(4)) {
            *key = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        Self { count, half: bits.div_ceil(2).max(1), keys }
    }

    /// The row at a position; `place` is less than the count.
    pub fn at(&self, place: u64) -> u64 {
        debug_assert!(place < self.count);
        let mut at = self.walk(place);
        while at >= self.count {
            at = self.walk(at);
        }
        at
    }

    fn walk(&self, at: u64) -> u64 {
        let mask = (1_u64 << self.half) - 1;
        let (mut left, mut right) = (at >> self.half, at & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (u64::from(mix(right as u32 ^ key)) & mask));
        }
        left << self.half | right
    }
}

/// The 32-bit finalizer of MurmurHash3.
fn mix(mut x: u32) -> u32 {
    x = (x ^ x >> 16).wrapping_mul(0x85eb_ca6b);
    x = (x ^ x >> 13).wrapping_mul(0xc2b2_ae35);
    x ^ x >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_has_one_place(seed: u64, epoch: u32, count in 1_u64..3000) {
            let order = Permutation::new(seed, epoch, count);
            let mut found: Vec<u64> = (0..count).map(|place| order.at(place)).collect();
            found.sort_unstable();
            prop_assert!(found.into_iter().eq(0..count));
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let order = |seed, epoch| {
            let order = Permutation::new(seed, epoch, 1000);
            (0..1000).map(|place| order.at(place)).collect::<Vec<_>>()
        };
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        let stay = order(1, 0).into_iter().enumerate().filter(|(at, to)| *at as u64 == *to).count();
        assert!(stay < 10, "{stay} of 1000 stay where they are; one is expected");
    }

    #[test]
    fn places_far_apart_are_as_good_as_neighbours() {
        let order = Permutation::new(42, 3, 1_000_000);
        // Half of the positions hit half of the rows: 250,000 each, within 1,500 by chance (six
        // sigma).
        let low = (0..500_000).filter(|place| order.at(*place) < 500_000).count();
        assert!(low.abs_diff(250_000) < 1_500, "{low}");
    }
}

//! Counts equal keys in ascending order, in bounded memory.
//!
//! Up to [`MOST`] keys are held and sorted. If there are more, they are counted by their first 16
//! bits, and one pass is made for every range of those that fits; a range of a single value is
//! split by the next 16 bits. So memory does not grow with the rows, and nothing is written to
//! disk.

/// The most keys held at a time: 16 MiB of the wider ones.
const MOST: u64 = 1 << 20;

/// The number of values of 16 bits.
const DIGITS: usize = 1 << 16;

/// A key, processed 16 bits at a time.
pub trait Key: Copy + Ord {
    /// The number of its 16-bit digits.
    const LEVELS: u32;

    /// The digit of a level, the highest first.
    fn digit(self, level: u32) -> usize;
}

impl Key for u64 {
    const LEVELS: u32 = 4;

    fn digit(self, level: u32) -> usize {
        (self >> (48 - 16 * level)) as usize & (DIGITS - 1)
    }
}

impl Key for u128 {
    const LEVELS: u32 = 8;

    fn digit(self, level: u32) -> usize {
        (self >> (112 - 16 * level)) as usize & (DIGITS - 1)
    }
}

/// Visits all keys in any order, each time the same.
pub type Each<'e, K> = dyn Fn(&mut dyn FnMut(K)) + 'e;

/// Calls `take` with every distinct key, ascending, and its count. `count` is the number of all
/// keys that `each` visits.
pub fn runs<K: Key>(count: u64, each: &Each<'_, K>, take: &mut dyn FnMut(K, u64)) {
    within(MOST, count, each, take);
}

fn within<K: Key>(most: u64, count: u64, each: &Each<'_, K>, take: &mut dyn FnMut(K, u64)) {
    match count <= most {
        true => sorted(count, each, take),
        false => split(most, 0, each, take),
    }
}

/// Holds all keys.
fn sorted<K: Key>(count: u64, each: &Each<'_, K>, take: &mut dyn FnMut(K, u64)) {
    let mut keys = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    each(&mut |key| keys.push(key));
    keys.sort_unstable();
    keys.chunk_by(|a, b| a == b).for_each(|run| take(run[0], run.len() as u64));
}

/// Processes keys that are equal above `level`, range by range.
fn split<K: Key>(most: u64, level: u32, each: &Each<'_, K>, take: &mut dyn FnMut(K, u64)) {
    let mut counts = vec![0_u64; DIGITS];
    each(&mut |key| counts[key.digit(level)] += 1);
    let mut from = 0;
    while from < DIGITS {
        let (mut to, mut held) = (from + 1, counts[from]);
        while to < DIGITS && held + counts[to] <= most {
            held += counts[to];
            to += 1;
        }
        let part: &Each<'_, K> = &|give| {
            each(&mut |key| {
                if (from..to).contains(&key.digit(level)) {
                    give(key);
                }
            });
        };
        match held {
            0 => {}
            _ if held <= most => sorted(held, part, take),
            // A single 16-bit value with more keys than can be held.
            _ if level + 1 < K::LEVELS => split(most, level + 1, part, take),
            _ => {
                let mut one = None;
                part(&mut |key| one = Some(key));
                one.into_iter().for_each(|key| take(key, held));
            }
        }
        from = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted<K: Key>(most: u64, keys: &[K]) -> Vec<(K, u64)> {
        let mut found = Vec::new();
        let each: &Each<'_, K> = &|give| keys.iter().for_each(|key| give(*key));
        within(most, keys.len() as u64, each, &mut |key, count| found.push((key, count)));
        found
    }

    proptest! {
        #[test]
        fn few_are_held_and_all_are_counted(
            keys in proptest::collection::vec(prop_oneof![0..4_u64, any::<u64>(), (0..4_u64).prop_map(|n| n << 50)], 0..60),
            most in 1..8_u64,
        ) {
            prop_assert_eq!(counted(most, &keys), counted(1000, &keys));
            let wide: Vec<u128> = keys.iter().map(|key| u128::from(*key) << 60 | u128::from(*key)).collect();
            prop_assert_eq!(counted(most, &wide), counted(1000, &wide));
            let total: u64 = counted(most, &keys).iter().map(|(_, count)| count).sum();
            prop_assert_eq!(total, keys.len() as u64);
        }
    }
}

//! Sets of rows of one block, and three-valued logic.

/// Rows processed together: their values fit the L1 cache.
pub const BLOCK: usize = 4096;

const WORDS: usize = BLOCK / 64;

/// Some rows of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits(pub [u64; WORDS]);

/// The rows where a condition is true, and where it is NULL; disjoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    pub yes: Bits,
    pub null: Bits,
}

impl Bits {
    pub const NONE: Self = Self([0; WORDS]);

    /// The first `count` rows.
    pub fn first(count: usize) -> Self {
        Self::of(|word| match count.saturating_sub(word * 64) {
            0 => 0,
            left @ 1..64 => (1 << left) - 1,
            _ => u64::MAX,
        })
    }

    /// From a function that gives each 64-bit word by its index.
    pub fn of(word: impl FnMut(usize) -> u64) -> Self {
        Self(std::array::from_fn(word))
    }

    pub fn and(&self, other: &Self) -> Self {
        Self::of(|word| self.0[word] & other.0[word])
    }

    pub fn or(&self, other: &Self) -> Self {
        Self::of(|word| self.0[word] | other.0[word])
    }

    pub fn without(&self, other: &Self) -> Self {
        Self::of(|word| self.0[word] & !other.0[word])
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn get(&self, row: usize) -> bool {
        self.0[row / 64] >> (row % 64) & 1 == 1
    }

    pub fn insert(&mut self, row: usize) {
        self.0[row / 64] |= 1 << (row % 64);
    }

    /// The rows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(number, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(number * 64 + bit)
            })
        })
    }
}

impl Truth {
    pub const NO: Self = Self { yes: Bits::NONE, null: Bits::NONE };

    /// True in `yes`, except that rows without a value are NULL; limited to the rows in `all`.
    pub fn of(yes: &Bits, valid: &Bits, all: &Bits) -> Self {
        Self { yes: yes.and(valid).and(all), null: all.without(valid) }
    }

    /// The same answer for all rows.
    pub fn constant(answer: Option<bool>, all: &Bits) -> Self {
        match answer {
            Some(true) => Self { yes: *all, null: Bits::NONE },
            Some(false) => Self::NO,
            None => Self { yes: Bits::NONE, null: *all },
        }
    }

    pub fn not(&self, all: &Bits) -> Self {
        Self { yes: all.without(&self.yes).without(&self.null), null: self.null }
    }

    pub fn and(&self, other: &Self) -> Self {
        let yes = self.yes.and(&other.yes);
        let possible = self.yes.or(&self.null).and(&other.yes.or(&other.null));
        Self { yes, null: possible.without(&yes) }
    }

    pub fn or(&self, other: &Self) -> Self {
        let yes = self.yes.or(&other.yes);
        Self { yes, null: self.null.or(&other.null).without(&yes) }
    }

    /// Sets one row's answer.
    pub fn put(&mut self, row: usize, answer: Option<bool>) {
        match answer {
            Some(true) => self.yes.insert(row),
            Some(false) => {}
            None => self.null.insert(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [Option<bool>; 3] = [Some(false), Some(true), None];

    /// Every pair of truth values, one per row.
    fn pairs() -> (Truth, Truth) {
        let (mut a, mut b) = (Truth::NO, Truth::NO);
        for row in 0..9 {
            a.put(row, VALUES[row / 3]);
            b.put(row, VALUES[row % 3]);
        }
        (a, b)
    }

    fn get(truth: &Truth, row: usize) -> Option<bool> {
        (!truth.null.get(row)).then(|| truth.yes.get(row))
    }

    #[test]
    fn three_values_as_sql_has_them() {
        let (a, b) = pairs();
        let all = Bits::first(9);
        for row in 0..9 {
            let (x, y) = (VALUES[row / 3], VALUES[row % 3]);
            let and = match (x, y) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
            let or = match (x, y) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
            assert_eq!(get(&a.and(&b), row), and, "{x:?} and {y:?}");
            assert_eq!(get(&a.or(&b), row), or, "{x:?} or {y:?}");
            assert_eq!(get(&a.not(&all), row), x.map(|x| !x), "not {x:?}");
        }
        assert!(a.not(&all).yes.iter().all(|row| row < 9));
    }

    #[test]
    fn rows_come_rising() {
        for count in [0, 1, 63, 64, 65, 4095, 4096] {
            let bits = Bits::first(count);
            assert_eq!(bits.count(), count);
            assert!(bits.iter().eq(0..count), "{count}");
        }
    }
}

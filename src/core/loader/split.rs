//! Splits by a seeded hash: `train=0.8,val=0.1,test=0.1,seed=7,by=file.parent`.
//!
//! A row is in the part whose share of `[0, 1)` contains the hash of its identity: the first eight
//! bytes of `SHA-256("<seed>\0<identity>")`, read as a big-endian number, divided by 2^64. So a row
//! stays in its part as others come and go, on every machine, and rows of one identity are never
//! separated. Shares are counted in billionths, so that 0.1 three times is 0.3.

use sha2::{Digest, Sha256};

use super::options::{self, Error, wrong};

/// Billionths of the whole.
const WHOLE: u64 = 1_000_000_000;

/// The most parts; more than anybody splits into.
const MOST_PARTS: usize = 64;

const OPTIONS: &str = "`seed=`, `by=`, `stratify=`, and a share for each part";

/// A division of rows into parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split<'t> {
    parts: Vec<(&'t str, u64)>,
    pub seed: u64,
    /// The column whose value is the identity, so that rows with equal values stay together.
    pub by: Option<&'t str>,
    /// The column for stratification: shares hold within each of its values.
    pub stratify: Option<&'t str>,
}

impl<'t> Split<'t> {
    /// Parses the name of a directory.
    ///
    /// # Errors
    /// An invalid split.
    pub fn parse(text: &'t str) -> Result<Self, Error> {
        let mut split = Self { parts: Vec::new(), seed: 0, by: None, stratify: None };
        let mut end = 0;
        for (key, value) in options::parse(text)? {
            match key {
                "seed" => {
                    let seed = options::digits(value);
                    split.seed =
                        seed.ok_or_else(|| wrong(key, value, "a seed is a whole number"))?;
                }
                "by" => split.by = Some(value),
                "stratify" => split.stratify = Some(value),
                _ => {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                    if !key.chars().all(is_name) || key.starts_with('_') {
                        return Err(Error::Unknown(key.to_owned(), OPTIONS));
                    }
                    let share = billionths(value).filter(|share| *share > 0);
                    let share = share.ok_or_else(|| {
                        wrong(key, value, "a share is a decimal above 0 and at most 1, as 0.8")
                    })?;
                    end += share;
                    if end > WHOLE {
                        return Err(wrong(key, value, "the shares add up to more than 1"));
                    }
                    split.parts.push((key, end));
                }
            }
        }
        match (split.parts.len(), split.by, split.stratify) {
            (0, ..) => Err(Error::Unknown(text.to_owned(), OPTIONS)),
            (MOST_PARTS.., ..) => Err(wrong("parts", "64 or more", "fewer are wanted")),
            (_, Some(by), Some(_)) => {
                Err(wrong("by", by, "cannot be combined with `stratify=`: groups are never split"))
            }
            _ => Ok(split),
        }
    }

    /// The names of the parts, in order.
    pub fn names(&self) -> impl Iterator<Item = &'t str> + '_ {
        self.parts.iter().map(|(name, _)| *name)
    }

    /// The hash of a row's identity, which decides its part.
    pub fn hash(&self, identity: &[u8]) -> u64 {
        let hash = Sha256::new_with_prefix(format!("{}\0", self.seed)).chain_update(identity);
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.finalize().into();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// The part that a hash falls into; none if the shares add up to less than the whole.
    pub fn part(&self, hash: u64) -> Option<usize> {
        let is_below =
            |(_, end): &(&str, u64)| u128::from(hash) * u128::from(WHOLE) < u128::from(*end) << 64;
        self.parts.iter().position(is_below)
    }

    /// The part of a row by rank: of `count` rows, `rank` have a lower hash.
    pub fn part_of_rank(&self, rank: u64, count: u64) -> Option<usize> {
        let end = |end: u64| {
            (u128::from(count) * u128::from(end) + u128::from(WHOLE / 2)) / u128::from(WHOLE)
        };
        self.parts.iter().position(|(_, share)| u128::from(rank) < end(*share))
    }
}

/// Parses a decimal of at most nine places, between 0 and 1, in billionths.
fn billionths(text: &str) -> Option<u64> {
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(places) || places.len() > 9 || !(whole.is_empty() || is_number(whole)) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let places: u64 = format!("{places:0<9}").parse().ok()?;
    whole.checked_mul(WHOLE)?.checked_add(places).filter(|share| *share <= WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Split<'_> {
        Split::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn shares_are_exact_decimals() {
        let split = of("train=0.7,val=.1,test=0.2,seed=7,by=file.parent");
        assert_eq!(split.names().collect::<Vec<_>>(), ["train", "val", "test"]);
        assert_eq!((split.seed, split.by), (7, Some("file.parent")));
        assert_eq!(split.part(0), Some(0));
        assert_eq!(split.part(u64::MAX), Some(2), "nothing is left out where shares are all");
        assert_eq!(of("a=0.5").part(u64::MAX), None);
        assert_eq!(of("a=0.5,b=0.5").part(1 << 63), Some(1));
        assert_eq!(of("a=0.5,b=0.5").part((1 << 63) - 1), Some(0));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, message) in [
            ("train=0.9,val=0.2", "`val=0.2`: the shares add up to more than 1"),
            ("train=0", "`train=0`: a share is a decimal above 0 and at most 1, as 0.8"),
            ("train=80%", "`train=80%`: a share is a decimal above 0 and at most 1, as 0.8"),
            ("train=1,seed=-1", "`seed=-1`: a seed is a whole number"),
            (
                "a=1,by=x,stratify=y",
                "`by=x`: cannot be combined with `stratify=`: groups are never split",
            ),
            (
                "../x=1",
                "`../x` is not an option here; the options are `seed=`, `by=`, `stratify=`, and a share for each part",
            ),
            (
                "seed=1",
                "`seed=1` is not an option here; the options are `seed=`, `by=`, `stratify=`, and a share for each part",
            ),
        ] {
            assert_eq!(Split::parse(text).expect_err(text).to_string(), message);
        }
    }

    /// Computed with Python's `hashlib`, as `docs/training.md` shows.
    #[test]
    fn a_hash_is_that_of_the_page() {
        assert_eq!(of("a=1,seed=7").hash(b"cats/1.jpg"), 0x381c_2dee_b171_02d9);
    }

    proptest! {
        #[test]
        fn any_name_is_read_without_a_panic(text: String) {
            let _ = Split::parse(&text);
        }

        #[test]
        fn ranks_keep_the_shares(count in 1_u64..5000) {
            let split = of("train=0.8,val=0.1,test=0.1");
            let mut counts = [0_u64; 3];
            for rank in 0..count {
                counts[split.part_of_rank(rank, count).expect("all are in one")] += 1;
            }
            for (found, share) in counts.into_iter().zip([8, 1, 1]) {
                prop_assert!((found * 10).abs_diff(count * share) <= 10, "{counts:?}");
            }
        }
    }
}

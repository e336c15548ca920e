//! Chooses keys at which to split an unread range, based on the keys read so far: keys are treated as numbers,
//! whose digits are the characters seen so far. Pure.
//!
//! After DataChain's `client/ranges.py`, which has the same task: a young range is split a few pages ahead, so
//! that a small listing stays a few requests; an old one far ahead, and once more nearer, in case the data ends
//! or clusters. A badly placed split costs a request, never a row.

use std::collections::BTreeSet;

/// A range is young until this many pages were read in it and in those it was split from.
const YOUNG: u64 = 4;

/// How many pages ahead a young range is split.
const AHEAD: u64 = 4;

/// Distances are measured this many characters above the first difference: a page may end where a count
/// carries.
const ABOVE: usize = 6;

/// Numbers stay below this many bits, so that a few of them can be added.
const BITS: u32 = 120;

/// The state of a range.
#[derive(Debug)]
pub struct Known<'a> {
    /// The prefix of all keys.
    pub prefix: &'a str,
    /// The range begins after this key, which may be empty...
    pub after: &'a str,
    /// ... and up to this one.
    pub until: Option<&'a str>,
    /// The last key that was read.
    pub read_to: &'a str,
    /// The first key of the page that ended there.
    pub page_start: &'a str,
    /// Pages read in it and in those it was split from.
    pub age: u64,
    pub letters: &'a BTreeSet<char>,
}

impl Known<'_> {
    /// The keys at which to split the part after `read_to`, farthest first; each is inside the range.
    pub fn cuts(&self) -> Vec<String> {
        let steps: [Option<(&str, u64)>; 2] = match self.age {
            ..=YOUNG => [Some((self.page_start, AHEAD)), None],
            age => [Some((self.after, age)), Some((self.page_start, age.saturating_mul(age)))],
        };
        let mut cuts: Vec<String> = Vec::new();
        for (first, pages) in steps.into_iter().flatten() {
            let until = cuts.last().map(String::as_str).or(self.until);
            if let Some(cut) = self.cut(until, first, pages) {
                cuts.push(cut);
            }
        }
        cuts
    }

    /// A key between `read_to` and `until`: half way, but at most `pages` times the distance from `first` to
    /// `read_to` ahead.
    fn cut(&self, until: Option<&str>, first: &str, pages: u64) -> Option<String> {
        let is_measure = first.starts_with(self.prefix) && first < self.read_to;
        let (stem, limit) = match until {
            _ if is_measure => (above(self.read_to, common(first, self.read_to)), until),
            Some(until) => (common(until, self.read_to), Some(until)),
            None => (self.prefix.len(), None),
        };
        let stem = &self.read_to[..stem.max(self.prefix.len())];
        // A limit beyond the stem cannot be measured in the stem's digits.
        let limit = limit.filter(|limit| limit.starts_with(stem));
        let scale = Scale::new(self.letters, &[self.read_to, first, until.unwrap_or_default()]);
        let below = |key: &str| scale.number(&key[stem.len()..]);
        let start = below(self.read_to);
        let end = limit.map_or(scale.end(), below);
        let room = end.saturating_sub(start);
        let mut ahead = room / 2;
        if is_measure {
            let step = start.saturating_sub(below(first));
            if step == 0 || room / 2 < step {
                // Near its end; beyond the stem there may be more.
                return (limit.is_none() && stem.len() > self.prefix.len())
                    .then(|| self.cut(until, "", 0).filter(|_| pages > 0))
                    .flatten();
            }
            ahead = ahead.min(step.saturating_mul(u128::from(pages)));
        }
        let key = format!("{stem}{}", scale.text(start + ahead));
        let mut ends =
            key.char_indices().map(|(at, c)| at + c.len_utf8()).filter(|end| *end > stem.len());
        let shortest =
            ends.find(|end| &key[..*end] > self.read_to).map(|end| key[..end].to_owned())?;
        (until.is_none_or(|until| shortest.as_str() < until)).then_some(shortest)
    }
}

/// The position [`ABOVE`] characters before `end`.
fn above(text: &str, end: usize) -> usize {
    text[..end].char_indices().rev().take(ABOVE).last().map_or(end, |(at, _)| at)
}

/// The length in bytes of the common prefix, in whole characters.
fn common(a: &str, b: &str) -> usize {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

/// Characters as digits; 0 means no character.
struct Scale {
    letters: Vec<char>,
    base: u128,
    digits: u32,
}

impl Scale {
    fn new(letters: &BTreeSet<char>, keys: &[&str]) -> Self {
        let mut all = letters.clone();
        keys.iter().for_each(|key| all.extend(key.chars()));
        let letters: Vec<char> = all.into_iter().collect();
        let base = letters.len() as u128 + 1;
        let digits = (BITS / (u128::BITS - base.leading_zeros())).max(1);
        Self { letters, base, digits }
    }

    fn number(&self, text: &str) -> u128 {
        let mut text = text.chars();
        (0..self.digits).fold(0, |number, _| {
            let digit = text
                .next()
                .map_or(0, |c| self.letters.binary_search(&c).map_or_else(|n| n, |n| n + 1));
            number * self.base + digit as u128
        })
    }

    /// The number after every text.
    fn end(&self) -> u128 {
        self.base.pow(self.digits)
    }

    fn text(&self, mut number: u128) -> String {
        let mut digits = Vec::new();
        for _ in 0..self.digits {
            digits.push(usize::try_from(number % self.base).unwrap_or_default());
            number /= self.base;
        }
        // A digit of a longer text: the first letter stands for none.
        let letter = |digit: &usize| self.letters.get(digit.saturating_sub(1));
        digits.iter().rev().filter_map(letter).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters(text: &str) -> BTreeSet<char> {
        text.chars().collect()
    }

    #[test]
    fn a_young_range_is_cut_a_few_pages_ahead() {
        let letters = letters("0123456789p/");
        let known = Known {
            prefix: "p/",
            after: "",
            until: None,
            read_to: "p/001999",
            page_start: "p/001000",
            age: 2,
            letters: &letters,
        };
        let [cut] = &known.cuts()[..] else { panic!() };
        assert!(("p/003".."p/009").contains(&cut.as_str()), "{cut}");
    }

    #[test]
    fn an_old_range_is_cut_far_ahead_and_nearer() {
        let letters = letters("0123456789");
        let known = Known {
            prefix: "",
            after: "100000",
            until: Some("900000"),
            read_to: "110000",
            page_start: "109000",
            age: 10,
            letters: &letters,
        };
        let cuts = known.cuts();
        assert_eq!(cuts.len(), 2);
        assert!(cuts[0] > cuts[1], "{cuts:?}");
    }

    proptest! {
        #[test]
        fn every_cut_is_inside(
            mut keys in proptest::collection::btree_set("p/[a-c/\u{e9}\u{1f600}]{0,30}", 4),
            age in 1_u64..100,
            open in any::<bool>(),
            alphabet in "[a-z]{0,5}",
        ) {
            let mut next = || keys.pop_first().unwrap_or_default();
            let (after, page_start, read_to, until) = (next(), next(), next(), next());
            let letters = letters(&alphabet);
            let known = Known {
                prefix: "p/",
                after: &after,
                until: (!open).then_some(&*until),
                read_to: &read_to,
                page_start: &page_start,
                age,
                letters: &letters,
            };
            let mut last = until.clone();
            for cut in known.cuts() {
                prop_assert!(cut > read_to && cut.starts_with("p/"), "{cut}");
                prop_assert!(open || cut < last, "{cut}");
                last = cut;
            }
        }
    }
}

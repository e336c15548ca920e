//! Loops over whole columns: one condition, one block of rows, one bit per row.
//!
//! Written to be vectorised: no branch, no call, no check inside.

use std::borrow::Cow;

use memchr::memmem::Finder;

use super::Fault;
use super::bits::Bits;
use crate::expr::packed::{Texts, Valid};
use crate::expr::syntax::Comparison;

/// A block of rows: the first row, and the number of rows.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub start: usize,
    pub length: usize,
}

impl Block {
    /// All of its rows.
    pub fn all(self) -> Bits {
        Bits::first(self.length)
    }

    /// The rows that have a value. Blocks begin at multiples of 64.
    pub fn valid(self, valid: &Valid<'_>) -> Bits {
        match valid.0 {
            None => self.all(),
            Some(_) => Bits::of(|word| valid.word(self.start / 64 + word)).and(&self.all()),
        }
    }

    /// The block's part of a column.
    pub fn of<T>(self, column: &[T]) -> Result<&[T], Fault> {
        column.get(self.start..self.start + self.length).ok_or(Fault::Damaged)
    }
}

/// One bit per value.
#[inline]
fn each<const N: usize>(values: &[[u8; N]], is: impl Fn([u8; N]) -> bool) -> Bits {
    let mut bits = Bits::NONE;
    let (whole, rest) = values.as_chunks::<64>();
    let (words, last) = bits.0.split_at_mut(whole.len());
    for (word, values) in words.iter_mut().zip(whole) {
        *word = gathered(&values.map(|value| u8::from(is(value))));
    }
    if let Some(last) = last.first_mut().filter(|_| !rest.is_empty()) {
        let mut flags = [0_u8; 64];
        flags.iter_mut().zip(rest).for_each(|(flag, value)| *flag = u8::from(is(*value)));
        *last = gathered(&flags);
    }
    bits
}

/// Packs the lowest bits of 64 bytes, in order.
#[inline]
fn gathered(flags: &[u8; 64]) -> u64 {
    /// Moves the lowest bit of byte `n` of a word to bit `56 + n`: the partial products do not
    /// overlap.
    const SPREAD: u64 = 0x0102_0408_1020_4080;
    let (eights, _) = flags.as_chunks::<8>();
    let byte = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(SPREAD) >> 56;
    eights.iter().enumerate().fold(0, |word, (number, eight)| word | byte(eight) << (8 * number))
}

/// Integers from `low` to `high`, inclusive.
pub fn in_range(values: &[[u8; 8]], low: i64, high: i64) -> Bits {
    if low > high {
        return Bits::NONE;
    }
    let span = high.wrapping_sub(low) as u64;
    each(values, |value| i64::from_le_bytes(value).wrapping_sub(low) as u64 <= span)
}

/// The same for 32 bits.
pub fn in_narrow_range(values: &[[u8; 4]], low: i64, high: i64) -> Bits {
    let clamped = |end: i64| i32::try_from(end.clamp(i32::MIN.into(), i32::MAX.into())).ok();
    let (Some(from), Some(to)) = (clamped(low), clamped(high)) else { return Bits::NONE };
    if low > high || low > i32::MAX.into() || high < i32::MIN.into() {
        return Bits::NONE;
    }
    let span = to.wrapping_sub(from) as u32;
    each(values, |value| i32::from_le_bytes(value).wrapping_sub(from) as u32 <= span)
}

/// Floats compared with a constant.
pub fn floats(values: &[[u8; 8]], comparison: Comparison, than: f64) -> Bits {
    let value = f64::from_le_bytes;
    match comparison {
        Comparison::Equal => each(values, |v| value(v) == than),
        Comparison::NotEqual => each(values, |v| value(v) != than),
        Comparison::Less => each(values, |v| value(v) < than),
        Comparison::AtMost => each(values, |v| value(v) <= than),
        Comparison::Greater => each(values, |v| value(v) > than),
        Comparison::AtLeast => each(values, |v| value(v) >= than),
    }
}

/// Dictionary indices through a table of answers: (yes, NULL).
pub fn words(codes: &[[u8; 2]], table: &[u8]) -> (Bits, Bits) {
    // Two bits per answer; an index outside the table answers no.
    let answer =
        |code: [u8; 2]| table.get(usize::from(u16::from_le_bytes(code))).copied().unwrap_or(0);
    (each(codes, |code| answer(code) & 1 == 1), each(codes, |code| answer(code) & 2 == 2))
}

/// Texts equal to a constant.
pub fn equal(texts: &Texts<'_>, block: Block, wanted: &[u8]) -> Result<Bits, Fault> {
    let offsets =
        texts.offsets.get(block.start..=block.start + block.length).ok_or(Fault::Damaged)?;
    let mut bits = Bits::NONE;
    for (row, ends) in offsets.windows(2).enumerate() {
        let [start, end] = [ends[0], ends[1]].map(u64::from_le_bytes);
        if end.wrapping_sub(start) == wanted.len() as u64 {
            let text = texts.bytes.get(start as usize..end as usize).ok_or(Fault::Damaged)?;
            if text == wanted {
                bits.insert(row);
            }
        }
    }
    Ok(bits)
}

/// Finds a text in many rows at once.
#[derive(Clone, Debug)]
pub struct Searcher {
    finder: Finder<'static>,
    /// Whether case is ignored: rows are searched in lower case.
    folds: bool,
}

impl Searcher {
    /// `None` for an empty text. `wanted` is in lower case if case is ignored.
    pub fn new(wanted: &[u8], folds: bool) -> Option<Self> {
        let folds = folds && wanted.iter().any(u8::is_ascii_alphabetic);
        (!wanted.is_empty()).then(|| Self { finder: Finder::new(wanted).into_owned(), folds })
    }

    /// The rows that contain it and for which `is_match` agrees, given the row's text and the
    /// position in it.
    pub fn rows(
        &self,
        texts: &Texts<'_>,
        block: Block,
        is_match: impl Fn(&[u8], usize) -> bool,
    ) -> Result<Bits, Fault> {
        let base = texts.offset(block.start).ok_or(Fault::Damaged)?;
        let offset = |row: usize| {
            let offset = texts.offset(block.start + row).and_then(|at| at.checked_sub(base));
            offset.ok_or(Fault::Damaged)
        };
        let all = texts.bytes.get(base..).and_then(|rest| rest.get(..offset(block.length).ok()?));
        let all = all.ok_or(Fault::Damaged)?;
        // A block fits the cache, so lowering its case is cheaper than a case-insensitive search.
        let searched = match self.folds {
            true => Cow::Owned(all.to_ascii_lowercase()),
            false => Cow::Borrowed(all),
        };
        let mut bits = Bits::NONE;
        let (mut row, mut from) = (0, 0);
        while let Some(found) = searched.get(from..).and_then(|rest| self.finder.find(rest)) {
            let (start, end) = (from + found, from + found + self.finder.needle().len());
            while offset(row + 1)? <= start {
                row += 1;
            }
            let (first, last) = (offset(row)?, offset(row + 1)?);
            if end > last {
                // The match crosses into the next row.
                from = start + 1;
                continue;
            }
            let text = all.get(first..last).ok_or(Fault::Damaged)?;
            if is_match(text, start - first) {
                bits.insert(row);
            }
            from = last;
        }
        Ok(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_are_the_answers(values in proptest::collection::vec(-5..5_i64, 0..300), a in -6..6_i64, b in -6..6_i64) {
            let bytes: Vec<[u8; 8]> = values.iter().map(|v| v.to_le_bytes()).collect();
            let found: Vec<usize> = in_range(&bytes, a, b).iter().collect();
            let want: Vec<usize> = (0..values.len()).filter(|i| (a..=b).contains(&values[*i])).collect();
            prop_assert_eq!(&found, &want);
            let narrow: Vec<[u8; 4]> = values.iter().map(|v| (*v as i32).to_le_bytes()).collect();
            prop_assert_eq!(in_narrow_range(&narrow, a, b).iter().collect::<Vec<_>>(), want);
            prop_assert_eq!(in_narrow_range(&narrow, i64::MIN, i64::MAX).count(), values.len());
            prop_assert!(in_narrow_range(&narrow, 1 << 40, i64::MAX).is_empty());
        }

        #[test]
        fn a_search_finds_rows(texts in proptest::collection::vec("[abAB]{0,5}", 1..40), wanted in "[ab]{1,3}", folds: bool) {
            let mut offsets = vec![0_u64.to_le_bytes()];
            let mut bytes = Vec::new();
            for text in &texts {
                bytes.extend_from_slice(text.as_bytes());
                offsets.push((bytes.len() as u64).to_le_bytes());
            }
            let column = Texts { offsets: &offsets, bytes: &bytes };
            let block = Block { start: 0, length: texts.len() };
            let searcher = Searcher::new(wanted.as_bytes(), folds).expect("a text");
            let found: Vec<usize> = searcher.rows(&column, block, |_, _| true).expect("sound").iter().collect();
            let fold = |text: &str| if folds { text.to_ascii_lowercase() } else { text.to_owned() };
            let want: Vec<usize> = (0..texts.len()).filter(|i| fold(&texts[*i]).contains(&wanted)).collect();
            prop_assert_eq!(found, want);
            let same: Vec<usize> = equal(&column, block, wanted.as_bytes()).expect("sound").iter().collect();
            let want: Vec<usize> = (0..texts.len()).filter(|i| texts[*i] == wanted).collect();
            prop_assert_eq!(same, want);
        }
    }

    #[test]
    fn damaged_offsets_are_no_answer() {
        let offsets = [0, 9, 3_u64].map(u64::to_le_bytes);
        let column = Texts { offsets: &offsets, bytes: b"aaa" };
        let block = Block { start: 0, length: 2 };
        let searcher = Searcher::new(b"a", false).expect("a text");
        assert!(searcher.rows(&column, block, |_, _| true).is_err());
        assert!(equal(&column, block, b"aaaaaaaaa").is_err());
    }
}

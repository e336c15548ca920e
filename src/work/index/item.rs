//! The unit of sorting and comparing: one row of a listing or of a version, in one piece of memory.
//!
//! An item has a key, numbers and texts without meaning: [`StoredRow`](super::rows::StoredRow),
//! [`ListedRow`](super::relist::ListedRow) and [`map`'s rows](crate::map) each serialise and parse
//! them in one place.

use std::cmp::Ordering;

use bytes::Bytes;

/// The count of numbers in an item.
const NUMBERS: usize = 4;

/// The count of texts in an item, including its key.
const TEXTS: usize = 4;

/// The bytes before the texts.
const HEAD: usize = NUMBERS * 8 + TEXTS * 4;

/// One row: a key, a few numbers and texts. Ordered by key, then by numbers, then by texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item(Bytes);

impl Item {
    /// The item that `write` appends by calling [`write()`].
    pub fn new(write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::new();
        write(&mut bytes);
        Self(bytes.into())
    }

    /// Wraps the output of [`write()`].
    pub fn of(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// Splits the concatenated output of many [`write()`] calls. The items share its memory: make
    /// an [`Item::copy`] of one that is kept for long.
    pub fn all(bytes: Vec<u8>) -> Vec<Self> {
        let mut rest = Bytes::from(bytes);
        let mut items = Vec::new();
        while let Some(length) = length(&rest) {
            items.push(Self(rest.split_to(length.min(rest.len()))));
        }
        items
    }

    /// A copy with memory of its own.
    pub fn copy(&self) -> Self {
        Self::of(&self.0)
    }

    pub fn key(&self) -> &[u8] {
        text(&self.0, 0)
    }

    /// All numbers.
    pub fn numbers(&self) -> [i64; NUMBERS] {
        numbers(&self.0)
    }

    /// All texts, without the key.
    pub fn texts(&self) -> [&[u8]; TEXTS - 1] {
        texts(&self.0)
    }

    /// The serialised form, as from [`write()`].
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Appends an item: its numbers, the lengths of its texts, its texts.
pub fn write(out: &mut Vec<u8>, key: &[u8], numbers: [i64; NUMBERS], texts: [&[u8]; TEXTS - 1]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let all = [key, texts[0], texts[1], texts[2]];
    for text in all {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    }
    for text in all {
        out.extend_from_slice(text);
    }
}

/// The length of the item at the start of `bytes`; `None` if there are too few bytes.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let lengths = bytes.get(NUMBERS * 8..HEAD)?.chunks_exact(4);
    let sum =
        lengths.map(|bytes| bytes.try_into().map_or(0, u32::from_le_bytes) as usize).sum::<usize>();
    Some(HEAD + sum)
}

/// Compares two serialised items.
pub fn order(one: &[u8], other: &[u8]) -> Ordering {
    let key = text(one, 0).cmp(text(other, 0));
    key.then_with(|| numbers(one).cmp(&numbers(other))).then_with(|| texts(one).cmp(&texts(other)))
}

fn numbers(bytes: &[u8]) -> [i64; NUMBERS] {
    [0, 1, 2, 3].map(|index| number(bytes, index))
}

fn texts(bytes: &[u8]) -> [&[u8]; TEXTS - 1] {
    [1, 2, 3].map(|index| text(bytes, index))
}

fn number(bytes: &[u8], index: usize) -> i64 {
    let found = bytes.get(index * 8..index * 8 + 8).and_then(|bytes| bytes.try_into().ok());
    found.map_or(0, i64::from_le_bytes)
}

fn text(bytes: &[u8], index: usize) -> &[u8] {
    let length = |index: usize| {
        let at = NUMBERS * 8 + index * 4;
        let found = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        found.map_or(0, u32::from_le_bytes) as usize
    };
    let start = HEAD + (0..index).map(length).sum::<usize>();
    bytes.get(start..start + length(index)).unwrap_or_default()
}

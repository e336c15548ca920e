//! Columns in the form that filters read: plain little-endian buffers in row order.
//!
//! Buffers may be mapped from a damaged file: every access is checked, and a value that cannot be
//! read is `None`, never another row's value.

/// 64 rows of a bitmap, the first in the lowest bit.
pub type Word = [u8; 8];

/// A packed column.
#[derive(Clone, Copy, Debug)]
pub enum Packed<'a> {
    /// NULL in every row.
    Null,
    /// The ordinal plus this number.
    Sequence(i64),
    Ints(&'a [[u8; 8]], Valid<'a>),
    /// Integers that all fit 32 bits: half the bytes to read, and twice as many at once.
    Narrow(&'a [[u8; 4]], Valid<'a>),
    Floats(&'a [[u8; 8]], Valid<'a>),
    Bools(&'a [Word], Valid<'a>),
    Texts(Texts<'a>, Valid<'a>),
    /// A dictionary of few distinct texts: the index of its text for every row.
    Words(&'a [[u8; 2]], Texts<'a>, Valid<'a>),
    Vectors(Vectors<'a>, Valid<'a>),
    /// Only whether a row has a value.
    Presence(Valid<'a>),
}

/// The rows that have a value: a bitmap, or all of them.
#[derive(Clone, Copy, Debug)]
pub struct Valid<'a>(pub Option<&'a [Word]>);

/// Texts stored one after another.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// The start of each text, and the end of the last one.
    pub offsets: &'a [[u8; 8]],
    pub bytes: &'a [u8],
}

/// Lists of numbers, all of one length.
#[derive(Clone, Copy, Debug)]
pub struct Vectors<'a> {
    /// The length of each list.
    pub width: usize,
    pub numbers: Numbers<'a>,
}

/// Numbers in the lowest precision that loses nothing.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    Single(&'a [[u8; 4]]),
    Double(&'a [[u8; 8]]),
}

impl<'a> Packed<'a> {
    /// Whether a row has a value.
    pub fn is_valid(&self, row: usize) -> bool {
        match self {
            Self::Null => false,
            Self::Sequence(_) => true,
            Self::Ints(_, valid)
            | Self::Narrow(_, valid)
            | Self::Floats(_, valid)
            | Self::Bools(_, valid)
            | Self::Texts(_, valid)
            | Self::Words(_, _, valid)
            | Self::Vectors(_, valid)
            | Self::Presence(valid) => valid.get(row),
        }
    }

    /// The integer of a row that has a value, for columns of integers or booleans; `None` if
    /// damaged.
    pub fn int(&self, row: usize) -> Option<i64> {
        match self {
            Self::Sequence(first) => first.checked_add(i64::try_from(row).ok()?),
            Self::Ints(values, _) => Some(i64::from_le_bytes(*values.get(row)?)),
            Self::Narrow(values, _) => Some(i32::from_le_bytes(*values.get(row)?).into()),
            Self::Bools(words, _) => {
                let word = u64::from_le_bytes(*words.get(row / 64)?);
                Some(i64::from(word >> (row % 64) & 1 == 1))
            }
            _ => None,
        }
    }

    /// The float of a row that has a value; `None` if damaged.
    pub fn real(&self, row: usize) -> Option<f64> {
        match self {
            Self::Floats(values, _) => Some(f64::from_le_bytes(*values.get(row)?)),
            _ => None,
        }
    }

    /// The text of a row that has a value; `None` if damaged.
    pub fn text(&self, row: usize) -> Option<&'a [u8]> {
        match self {
            Self::Texts(texts, _) => texts.get(row),
            Self::Words(codes, texts, _) => {
                texts.get(usize::from(u16::from_le_bytes(*codes.get(row)?)))
            }
            _ => None,
        }
    }
}

impl Valid<'_> {
    /// Every row has a value.
    pub const ALL: Self = Self(None);

    /// The bits of 64 rows; zeros past the end of the bitmap.
    pub fn word(&self, index: usize) -> u64 {
        match self.0 {
            None => u64::MAX,
            Some(words) => words.get(index).map_or(0, |word| u64::from_le_bytes(*word)),
        }
    }

    pub fn get(&self, row: usize) -> bool {
        self.word(row / 64) >> (row % 64) & 1 == 1
    }
}

impl<'a> Texts<'a> {
    /// The text of a row; `None` if damaged.
    pub fn get(&self, row: usize) -> Option<&'a [u8]> {
        self.bytes.get(self.offset(row)?..self.offset(row + 1)?)
    }

    /// The offset at which the text of a row begins.
    pub fn offset(&self, row: usize) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(*self.offsets.get(row)?)).ok()
    }

    /// The number of texts.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Vectors<'_> {
    /// The number of vectors.
    pub fn len(&self) -> usize {
        let numbers = match self.numbers {
            Numbers::Single(all) => all.len(),
            Numbers::Double(all) => all.len(),
        };
        numbers.checked_div(self.width).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of a row; `None` if damaged.
    pub fn get(&self, row: usize) -> Option<Vec<f64>> {
        let range = row.checked_mul(self.width)?..(row + 1).checked_mul(self.width)?;
        match self.numbers {
            Numbers::Single(all) => {
                let numbers = all.get(range)?.iter().map(|bytes| f32::from_le_bytes(*bytes).into());
                Some(numbers.collect())
            }
            Numbers::Double(all) => {
                Some(all.get(range)?.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
            }
        }
    }
}

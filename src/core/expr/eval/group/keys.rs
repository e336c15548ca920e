//! Numbers the values of keys in the order in which they first appear.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use crate::expr::eval::Fault;
use crate::expr::eval::kernel::Block;
use crate::expr::eval::value::Val;
use crate::expr::packed::{Packed, Valid};
use crate::expr::typed::Part;

/// A key value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value<'a> {
    Null,
    Int(i64),
    /// A float as bits that sort like the float.
    Real(i64),
    Text(&'a [u8]),
}

impl Hash for Value<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Null => state.write_u64(0),
            Self::Int(n) | Self::Real(n) => state.write_u64(*n as u64),
            Self::Text(text) => state.write(text),
        }
    }
}

/// The bits of a float, in its order; both zeros are one.
pub(super) fn ordered(x: f64) -> i64 {
    let bits = (x + 0.0).to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

pub(super) fn unordered(bits: i64) -> f64 {
    f64::from_bits((bits ^ (((bits >> 63) as u64) >> 1) as i64) as u64)
}

impl Value<'_> {
    pub(super) fn val(self) -> Val<'static> {
        match self {
            Self::Null => Val::Null,
            Self::Int(n) => Val::Int(n),
            Self::Real(bits) => Val::Real(unordered(bits)),
            Self::Text(text) => Val::Text(text.to_vec().into()),
        }
    }
}

/// Seeds the hash unpredictably, against crafted collisions.
#[derive(Clone, Copy)]
pub(super) struct Seed(pub(super) u64);

/// A hash that takes eight bytes at a time and folds by multiplication.
pub(super) struct Quick(u64);

impl BuildHasher for Seed {
    type Hasher = Quick;

    fn build_hasher(&self) -> Quick {
        Quick(self.0)
    }
}

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        eights.iter().for_each(|eight| self.write_u64(u64::from_le_bytes(*eight)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last) ^ bytes.len() as u64);
    }

    fn write_u64(&mut self, value: u64) {
        let folded = u128::from(self.0 ^ value) * 0x9e37_79b9_7f4a_7c15_u128;
        self.0 = folded as u64 ^ (folded >> 64) as u64;
    }
}

/// Numbers values in the order in which they first appear.
pub(super) struct Numbers<'a> {
    known: HashMap<Value<'a>, u32, Seed>,
    pub(super) values: Vec<Value<'a>>,
    /// The last one: adjacent rows often have equal values.
    last: Option<(Value<'a>, u32)>,
}

impl<'a> Numbers<'a> {
    pub(super) fn new(seed: Seed) -> Self {
        Self { known: HashMap::with_hasher(seed), values: Vec::new(), last: None }
    }

    pub(super) fn of(&mut self, value: Value<'a>) -> u32 {
        if let Some((last, number)) = self.last
            && last == value
        {
            return number;
        }
        let next = self.values.len() as u32;
        let number = *self.known.entry(value).or_insert(next);
        if number == next {
            self.values.push(value);
        }
        self.last = Some((value, number));
        number
    }
}

/// A key column.
pub(super) struct KeyColumn<'a> {
    packed: Packed<'a>,
    part: Option<Part>,
    pub(super) numbers: Numbers<'a>,
    /// For dictionary-encoded texts: the number of each, `u32::MAX` if not seen yet; the last entry
    /// is NULL's.
    table: Vec<u32>,
}

pub(super) const UNSEEN: u32 = u32::MAX;

impl<'a> KeyColumn<'a> {
    pub(super) fn new(packed: Packed<'a>, part: Option<Part>, seed: Seed) -> Self {
        let table = match &packed {
            Packed::Words(_, texts, _) => vec![UNSEEN; texts.len() + 1],
            _ => Vec::new(),
        };
        Self { packed, part, numbers: Numbers::new(seed), table }
    }

    /// Numbers the values of some rows of a block.
    pub(super) fn number(
        &mut self,
        block: Block,
        rows: &[u32],
        out: &mut [u32],
    ) -> Result<(), Fault> {
        let packed = self.packed;
        let part = self.part;
        let numbers = &mut self.numbers;
        match packed {
            Packed::Words(codes, texts, valid) => {
                let codes = block.of(codes)?;
                for (out, row) in out.iter_mut().zip(rows) {
                    let row = *row as usize;
                    let code = match valid.0.is_none() || valid.get(block.start + row) {
                        true => usize::from(u16::from_le_bytes(codes[row])),
                        false => texts.len(),
                    };
                    let slot = self.table.get_mut(code).ok_or(Fault::Damaged)?;
                    if *slot == UNSEEN {
                        *slot = match code == texts.len() {
                            true => numbers.of(Value::Null),
                            false => numbers.of(Value::Text(part_of(
                                part,
                                texts.get(code).ok_or(Fault::Damaged)?,
                            ))),
                        };
                    }
                    *out = *slot;
                }
            }
            Packed::Texts(texts, valid) => {
                for (out, row) in out.iter_mut().zip(rows) {
                    let row = block.start + *row as usize;
                    *out = numbers.of(match valid.get(row) {
                        true => Value::Text(part_of(part, texts.get(row).ok_or(Fault::Damaged)?)),
                        false => Value::Null,
                    });
                }
            }
            _ => {
                for (out, row) in out.iter_mut().zip(rows) {
                    *out = numbers.of(plain(&packed, block.start + *row as usize)?);
                }
            }
        }
        Ok(())
    }
}

pub(super) fn part_of(part: Option<Part>, text: &[u8]) -> &[u8] {
    part.map_or(text, |part| part.of(text))
}

/// A value that is not a text.
pub(super) fn plain<'a>(packed: &Packed<'a>, row: usize) -> Result<Value<'a>, Fault> {
    let when = |valid: &Valid<'_>, value: Option<Value<'a>>| match valid.get(row) {
        true => value.ok_or(Fault::Damaged),
        false => Ok(Value::Null),
    };
    match packed {
        Packed::Sequence(first) => Ok(Value::Int(first.wrapping_add(row as i64))),
        Packed::Ints(values, valid) => {
            when(valid, values.get(row).map(|v| Value::Int(i64::from_le_bytes(*v))))
        }
        Packed::Narrow(values, valid) => {
            when(valid, values.get(row).map(|v| Value::Int(i32::from_le_bytes(*v).into())))
        }
        Packed::Floats(values, valid) => {
            when(valid, values.get(row).map(|v| Value::Real(ordered(f64::from_le_bytes(*v)))))
        }
        Packed::Bools(words, valid) => {
            let bit = |word: &[u8; 8]| u64::from_le_bytes(*word) >> (row % 64) & 1;
            when(valid, words.get(row / 64).map(|word| Value::Int(bit(word) as i64)))
        }
        _ => Ok(Value::Null),
    }
}

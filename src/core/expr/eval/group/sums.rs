//! Sums, counts and extremes of one column, for every group.

use super::keys::{Value, part_of, plain};
use super::{Fold, Ungrouped};
use crate::expr::eval::Fault;
use crate::expr::eval::kernel::Block;
use crate::expr::eval::value::Val;
use crate::expr::packed::{Packed, Texts, Valid};
use crate::expr::typed::Part;
use crate::sum::RealSum;

/// The running aggregates of one column, for every group.
pub(super) enum Sums<'a> {
    Ints(Vec<IntSum>),
    Reals(Vec<Reals>),
    Texts(Vec<TextSum<'a>>),
}

#[derive(Clone, Copy)]
pub(super) struct IntSum {
    pub(super) sum: i128,
    pub(super) count: u64,
    pub(super) least: i64,
    pub(super) greatest: i64,
}

#[derive(Clone, Copy)]
pub(super) struct Reals {
    pub(super) sum: RealSum,
    pub(super) count: u64,
    pub(super) least: f64,
    pub(super) greatest: f64,
}

#[derive(Clone, Copy, Default)]
pub(super) struct TextSum<'a> {
    pub(super) count: u64,
    pub(super) least: Option<&'a [u8]>,
    pub(super) greatest: Option<&'a [u8]>,
}

pub(super) const NO_INT: IntSum = IntSum { sum: 0, count: 0, least: i64::MAX, greatest: i64::MIN };

pub(super) const NO_REAL: Reals =
    Reals { sum: RealSum::ZERO, count: 0, least: f64::INFINITY, greatest: f64::NEG_INFINITY };

impl IntSum {
    #[inline]
    fn add(&mut self, value: i64) {
        self.sum += i128::from(value);
        self.count += 1;
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }
}

impl Reals {
    #[inline]
    fn add(&mut self, value: f64) {
        self.sum.add(value);
        self.count += 1;
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }
}

impl<'a> TextSum<'a> {
    pub(super) fn add(&mut self, text: &'a [u8]) {
        self.count += 1;
        self.least = Some(self.least.map_or(text, |least| least.min(text)));
        self.greatest = Some(self.greatest.map_or(text, |greatest| greatest.max(text)));
    }
}

/// The result of an aggregate. Without a value it is NULL, except for a count.
pub(super) fn folded(
    fold: &Fold,
    sums: &Sums<'_>,
    group: usize,
) -> Result<Val<'static>, Ungrouped> {
    let count = match sums {
        Sums::Ints(sums) => sums[group].count,
        Sums::Reals(sums) => sums[group].count,
        Sums::Texts(sums) => sums[group].count,
    };
    if let Fold::Count(_) = fold {
        return Ok(Val::Int(count as i64));
    }
    if count == 0 {
        return Ok(Val::Null);
    }
    let text = |text: Option<&[u8]>| text.map_or(Val::Null, |text| Val::Text(text.to_vec().into()));
    Ok(match (fold, sums) {
        (Fold::Sum(_), Sums::Ints(sums)) => {
            Val::Int(i64::try_from(sums[group].sum).map_err(|_| Ungrouped::Overflow)?)
        }
        (Fold::Mean(_), Sums::Ints(sums)) => Val::Real(sums[group].sum as f64 / count as f64),
        (Fold::Least(_), Sums::Ints(sums)) => Val::Int(sums[group].least),
        (Fold::Greatest(_), Sums::Ints(sums)) => Val::Int(sums[group].greatest),
        (Fold::Sum(_), Sums::Reals(sums)) => real(sums[group].sum.total()),
        (Fold::Mean(_), Sums::Reals(sums)) => real(sums[group].sum.total() / count as f64),
        (Fold::Least(_), Sums::Reals(sums)) => Val::Real(sums[group].least),
        (Fold::Greatest(_), Sums::Reals(sums)) => Val::Real(sums[group].greatest),
        (Fold::Least(_), Sums::Texts(sums)) => text(sums[group].least),
        (Fold::Greatest(_), Sums::Texts(sums)) => text(sums[group].greatest),
        _ => Val::Null,
    })
}

/// NaN, the result of adding infinities of both signs, is NULL.
fn real(x: f64) -> Val<'static> {
    if x.is_nan() { Val::Null } else { Val::Real(x) }
}

/// Adds the values of some rows of a block to their groups.
pub(super) fn add_up<'a>(
    packed: &Packed<'a>,
    part: Option<Part>,
    sums: &mut Sums<'a>,
    block: Block,
    rows: &[u32],
    groups: &[u32],
) -> Result<(), Fault> {
    let pairs =
        || rows.iter().map(|row| *row as usize).zip(groups.iter().map(|group| *group as usize));
    let is_valid =
        |valid: &Valid<'_>, row: usize| valid.0.is_none() || valid.get(block.start + row);
    match (packed, sums) {
        (Packed::Narrow(values, valid), Sums::Ints(sums)) => {
            let values = block.of(values)?;
            for (row, group) in pairs().filter(|(row, _)| is_valid(valid, *row)) {
                sums[group].add(i32::from_le_bytes(values[row]).into());
            }
        }
        (Packed::Ints(values, valid), Sums::Ints(sums)) => {
            let values = block.of(values)?;
            for (row, group) in pairs().filter(|(row, _)| is_valid(valid, *row)) {
                sums[group].add(i64::from_le_bytes(values[row]));
            }
        }
        (Packed::Floats(values, valid), Sums::Reals(sums)) => {
            let values = block.of(values)?;
            for (row, group) in pairs().filter(|(row, _)| is_valid(valid, *row)) {
                sums[group].add(f64::from_le_bytes(values[row]));
            }
        }
        (Packed::Texts(..) | Packed::Words(..), Sums::Texts(sums)) => {
            for (row, group) in pairs() {
                if let Some(text) = text(packed, block.start + row)? {
                    sums[group].add(part_of(part, text));
                }
            }
        }
        (_, Sums::Ints(sums)) => {
            for (row, group) in pairs() {
                if let Value::Int(n) = plain(packed, block.start + row)? {
                    sums[group].add(n);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn text<'a>(packed: &Packed<'a>, row: usize) -> Result<Option<&'a [u8]>, Fault> {
    let of = |texts: &Texts<'a>, at: usize| texts.get(at).map(Some).ok_or(Fault::Damaged);
    match packed {
        Packed::Texts(texts, valid) if valid.get(row) => of(texts, row),
        Packed::Words(codes, texts, valid) if valid.get(row) => {
            let code = codes.get(row).ok_or(Fault::Damaged)?;
            of(texts, u16::from_le_bytes(*code).into())
        }
        _ => Ok(None),
    }
}

//! Evaluates conditions for one block of rows.

use super::Fault;
use super::bind::{Items, Matcher, Node, Test, Thing};
use super::bits::{Bits, Truth};
use super::kernel::{self, Block};
use super::value::Val;
use crate::expr::packed::Texts;
use crate::expr::wild::Wild;

/// If fewer than one in this many rows are wanted, they are tested one by one.
const FEW: usize = 16;

impl Test<'_> {
    /// The rows where it is true and where it is NULL. Only the rows `wanted` are defined.
    pub fn truth(&self, block: Block, wanted: &Bits) -> Result<Truth, Fault> {
        Ok(match self {
            Self::Constant(answer) => Truth::constant(*answer, wanted),
            Self::And(terms) => all(terms, block, wanted)?,
            Self::Or(terms) => any(terms, block, wanted)?,
            Self::Not(of) => of.truth(block, wanted)?.not(wanted),
            Self::Valid(valid) => Truth { yes: block.valid(valid), null: Bits::NONE },
            Self::Bools(bits, valid) => {
                let words = bits.get(block.start / 64..).ok_or(Fault::Damaged)?;
                let word = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(*word));
                Truth::of(&Bits::of(word), &block.valid(valid), &block.all())
            }
            Self::Range(values, valid, low, high) => {
                let yes = kernel::in_range(block.of(values)?, *low, *high);
                Truth::of(&yes, &block.valid(valid), &block.all())
            }
            Self::Narrow(values, valid, low, high) => {
                let yes = kernel::in_narrow_range(block.of(values)?, *low, *high);
                Truth::of(&yes, &block.valid(valid), &block.all())
            }
            Self::Floats(values, valid, comparison, than) => {
                let yes = kernel::floats(block.of(values)?, *comparison, *than);
                Truth::of(&yes, &block.valid(valid), &block.all())
            }
            Self::Words(codes, valid, table, of_null) => {
                let (yes, null) = kernel::words(block.of(codes)?, table);
                let (valid, all) = (block.valid(valid), block.all());
                let absent = Truth::constant(*of_null, &all.without(&valid));
                Truth {
                    yes: yes.and(&valid).or(&absent.yes),
                    null: null.and(&valid).or(&absent.null),
                }
            }
            Self::Equal(texts, valid, text) => {
                let yes = kernel::equal(texts, block, text)?;
                Truth::of(&yes, &block.valid(valid), &block.all())
            }
            Self::Search(texts, valid, searcher, wild) => {
                let valid = block.valid(valid);
                let yes = match wanted.count() * FEW < block.length {
                    true => one_by_one(texts, wild, block, &wanted.and(&valid))?,
                    false if wild.is_contains() => {
                        // Text after a NUL is not seen.
                        let is_seen =
                            |text: &[u8], at: usize| memchr::memchr(0, &text[..at]).is_none();
                        searcher.rows(texts, block, is_seen)?
                    }
                    false => searcher.rows(texts, block, |text, _| wild.is_match(text))?,
                };
                Truth::of(&yes, &valid, &block.all())
            }
            Self::Compare(comparison, a, b) => {
                let (a, b) = (a.values(block, wanted)?, b.values(block, wanted)?);
                each(wanted, |row| Ok(a[row].order(&b[row]).map(|order| comparison.holds(order))))?
            }
            Self::In(of, items) => is_in(of, items, block, wanted)?,
            Self::Between(of, low, high) => between([of, low, high], block, wanted)?,
            Self::Match(of, matcher) => matched(of, matcher, block, wanted)?,
            Self::IsNull(of) => {
                let values = of.values(block, wanted)?;
                each(wanted, |row| Ok(Some(values[row].is_null())))?
            }
            Self::Any(any) => any.truth(block, wanted)?,
            Self::Value(of) => {
                let values = of.values(block, wanted)?;
                each(wanted, |row| Ok(values[row].truth()))?
            }
        })
    }
}

fn each(
    wanted: &Bits,
    mut answer: impl FnMut(usize) -> Result<Option<bool>, Fault>,
) -> Result<Truth, Fault> {
    let mut truth = Truth::NO;
    for row in wanted.iter() {
        truth.put(row, answer(row)?);
    }
    Ok(truth)
}

fn all(terms: &[Test<'_>], block: Block, wanted: &Bits) -> Result<Truth, Fault> {
    let mut truth = Truth::constant(Some(true), wanted);
    for term in terms {
        // False rows stay false.
        let open = truth.yes.or(&truth.null);
        if open.is_empty() {
            break;
        }
        truth = truth.and(&term.truth(block, &open)?);
    }
    Ok(truth)
}

fn any(terms: &[Test<'_>], block: Block, wanted: &Bits) -> Result<Truth, Fault> {
    let mut truth = Truth::NO;
    for term in terms {
        // True rows stay true.
        let open = wanted.without(&truth.yes);
        if open.is_empty() {
            break;
        }
        let answer = term.truth(block, &open)?;
        let answer = Truth { yes: answer.yes.and(&open), null: answer.null.and(&open) };
        truth = truth.or(&answer);
    }
    Ok(truth)
}

fn one_by_one(texts: &Texts<'_>, wild: &Wild, block: Block, wanted: &Bits) -> Result<Bits, Fault> {
    let mut bits = Bits::NONE;
    for row in wanted.iter() {
        if wild.is_match(texts.get(block.start + row).ok_or(Fault::Damaged)?) {
            bits.insert(row);
        }
    }
    Ok(bits)
}

fn is_in(of: &Node<'_>, items: &Items<'_>, block: Block, wanted: &Bits) -> Result<Truth, Fault> {
    let values = of.values(block, wanted)?;
    match items {
        Items::Known(things, has_null) => each(wanted, |row| {
            Ok(match Thing::of(&values[row]) {
                Some(thing) if things.contains(&thing) => Some(true),
                Some(_) => (!has_null).then_some(false),
                // Nothing is in an empty list, not even NULL.
                None => (things.is_empty() && !has_null).then_some(false),
            })
        }),
        Items::Any(nodes) => {
            let mut truth = Truth::NO;
            for node in nodes {
                let others = node.values(block, wanted)?;
                let equal =
                    |row: usize| Ok(values[row].order(&others[row]).map(|order| order.is_eq()));
                truth = truth.or(&each(wanted, equal)?);
            }
            Ok(truth)
        }
    }
}

fn between([of, low, high]: [&Node<'_>; 3], block: Block, wanted: &Bits) -> Result<Truth, Fault> {
    let values = of.values(block, wanted)?;
    let (low, high) = (low.values(block, wanted)?, high.values(block, wanted)?);
    let at_least = each(wanted, |row| Ok(values[row].order(&low[row]).map(|order| order.is_ge())))?;
    let at_most = each(wanted, |row| Ok(values[row].order(&high[row]).map(|order| order.is_le())))?;
    Ok(at_least.and(&at_most))
}

fn matched(of: &Node<'_>, matcher: &Matcher, block: Block, wanted: &Bits) -> Result<Truth, Fault> {
    let mut values = of.values(block, wanted)?;
    each(wanted, |row| match std::mem::take(&mut values[row]) {
        Val::Text(text) => matcher.is_match(&text),
        other => match other.into_text() {
            Some(text) => matcher.is_match(&text),
            None => Ok(None),
        },
    })
}

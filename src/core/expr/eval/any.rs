//! `any(list, condition)`: the items of a block's lists as rows of their own, and the condition evaluated over them.
//!
//! Parts of the condition that do not depend on the item are evaluated once per row, and repeated for its items.

use std::borrow::Cow;
use std::sync::Arc;

use super::bind::{Binder, Node};
use super::bits::{BLOCK, Bits, Truth};
use super::kernel::Block;
use super::node::Values;
use super::value::Val;
use super::{Columns, Fault};
use crate::cancel;
use crate::expr::packed::Packed;
use crate::expr::typed::{Column, Expr, Target};
use crate::json;

/// Items evaluated together, in blocks: the condition is compiled once for them.
const TOGETHER: usize = 16 * BLOCK;

/// An `any`, ready.
pub struct Any<'a> {
    pub list: Node<'a>,
    pub level: usize,
    pub condition: &'a Expr,
    /// The parts of the condition that are the same for all items of a row.
    pub outer: Vec<(&'a Expr, Node<'a>)>,
}

/// Values that stand in for parts of a condition, one per item.
pub struct Given<'g> {
    level: usize,
    items: &'g [Val<'g>],
    outer: Vec<(&'g Expr, Vec<Val<'g>>)>,
}

impl<'g> Given<'g> {
    /// The values of a part, if they are given.
    pub fn of(&self, part: &Expr) -> Option<&[Val<'g>]> {
        if let Expr::Element(level, _) = part
            && *level == self.level
        {
            return Some(self.items);
        }
        let found = self.outer.iter().find(|(own, _)| std::ptr::eq(*own, part));
        found.map(|(_, values)| values.as_slice())
    }
}

/// The parts of a condition that do not depend on the item of `level` or on one further in.
pub fn outer<'e>(condition: &'e Expr, level: usize, found: &mut Vec<&'e Expr>) {
    if depends(condition, level) {
        condition.children().into_iter().for_each(|part| outer(part, level, found));
    } else if !matches!(condition, Expr::Value(_)) {
        found.push(condition);
    }
}

fn depends(part: &Expr, level: usize) -> bool {
    match part {
        Expr::Element(own, _) => *own >= level,
        _ => part.children().into_iter().any(|part| depends(part, level)),
    }
}

/// Every column is among what is given.
struct NoColumns;

impl Columns for NoColumns {
    fn rows(&self) -> usize {
        0
    }

    fn packed(&self, _: &Arc<Column>) -> Packed<'_> {
        Packed::Null
    }

    fn target(&self, _: &Column, _: &Target) -> Option<Vec<f64>> {
        None
    }
}

impl Any<'_> {
    /// True where an item meets the condition, false where none does, NULL where there is no list.
    pub fn truth(&self, block: Block, wanted: &Bits) -> Result<Truth, Fault> {
        let lists = self.list.raw(block, wanted)?;
        let outer = self.outer.iter().map(|(_, node)| node.values(block, wanted));
        let outer: Vec<Values<'_>> = outer.collect::<Result<_, _>>()?;
        let mut truth = Truth::NO;
        let (mut rows, mut items) = (Vec::new(), Vec::new());
        for row in wanted.iter() {
            let Some(found) = lists[row].as_ref().and_then(|list| json::items(list)) else {
                truth.put(row, None);
                continue;
            };
            rows.extend(std::iter::repeat_n(row, found.len()));
            items.extend(found.into_iter().map(|item| Val::Text(Cow::Borrowed(item))));
            if items.len() >= TOGETHER {
                self.settle(&rows, &items, &outer, &mut truth)?;
                rows.clear();
                items.clear();
            }
        }
        self.settle(&rows, &items, &outer, &mut truth)?;
        Ok(truth)
    }

    /// Evaluates the condition for some items.
    fn settle(
        &self,
        rows: &[usize],
        items: &[Val<'_>],
        outer: &[Values<'_>],
        truth: &mut Truth,
    ) -> Result<(), Fault> {
        for (rows, items) in rows.chunks(TOGETHER).zip(items.chunks(TOGETHER)) {
            let parts = self.outer.iter().map(|(part, _)| *part);
            let outer = parts.zip(outer.iter().map(|values| repeated(values, rows))).collect();
            let given = Given { level: self.level, items, outer };
            let test = Binder { columns: &NoColumns, given: Some(&given) }.test(self.condition)?;
            for start in (0..items.len()).step_by(BLOCK) {
                if cancel::is_cancelled() {
                    return Err(Fault::Cancelled);
                }
                let block = Block { start, length: BLOCK.min(items.len() - start) };
                let met = test.truth(block, &block.all())?.yes.and(&block.all());
                met.iter().for_each(|item| truth.put(rows[start + item], Some(true)));
            }
        }
        Ok(())
    }
}

/// The value of the row of every item. Texts are borrowed: one of a megabyte may have thousands of
/// items beside it.
fn repeated<'v>(values: &'v [Val<'_>], rows: &[usize]) -> Vec<Val<'v>> {
    let borrowed = |row: &usize| match &values[*row] {
        Val::Null => Val::Null,
        Val::Int(n) => Val::Int(*n),
        Val::Real(x) => Val::Real(*x),
        Val::Text(text) => Val::Text(Cow::Borrowed(&text[..])),
    };
    rows.iter().map(borrowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_repeated_without_a_copy() {
        let values = [Val::Null, Val::Text(Cow::Owned(b"long".to_vec())), Val::Int(1)];
        let found = repeated(&values, &[1, 1, 2]);
        let is_borrowed = |value: &Val<'_>| matches!(value, Val::Text(Cow::Borrowed(b"long")));
        assert!(found[..2].iter().all(is_borrowed) && found[2] == Val::Int(1), "{found:?}");
    }
}

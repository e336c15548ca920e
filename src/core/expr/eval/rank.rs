//! Sorts rows: all of them, or the first ones with a bounded heap.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use super::bind::{Binder, Node};
use super::bits::Bits;
use super::kernel::Block;
use super::value::Val;
use super::{Columns, Fault, blocks, fold_chunks, threads_for, wanted};
use crate::expr::typed::Key;

/// The most bytes that the keys of a ranking may take.
const MOST: usize = 256 << 20;

/// One row of a ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    pub row: u32,
    /// The value of the first key.
    pub key: Val<'static>,
}

/// A row with its keys, ordered by rank.
struct Entry<'k> {
    keys: Vec<Val<'static>>,
    row: u32,
    order: &'k [Key],
}

impl Entry<'_> {
    fn weight(&self) -> usize {
        let texts = self.keys.iter().map(|key| key.text().map_or(0, <[u8]>::len));
        size_of::<Self>() + self.keys.len() * size_of::<Val<'_>>() + texts.sum::<usize>()
    }
}

impl Ord for Entry<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = self.order.iter().zip(self.keys.iter().zip(&other.keys));
        let by_key = keys.map(|(key, (a, b))| order(a, b, key.down));
        by_key.fold(Ordering::Equal, Ordering::then).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Entry<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry<'_> {}

/// NULL is last in both directions.
fn order(a: &Val<'_>, b: &Val<'_>, down: bool) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (false, false) => {
            let order = a.order(b).unwrap_or(Ordering::Equal);
            if down { order.reverse() } else { order }
        }
        (a, b) => a.cmp(&b),
    }
}

/// The rows of `within` sorted by `keys`, then by row number: the first `most` of them. `None` if
/// that would take too much memory.
///
/// # Errors
/// [`Fault`].
pub fn rank(
    keys: &[Key],
    most: u64,
    columns: &dyn Columns,
    within: Option<&RoaringBitmap>,
) -> Result<Option<Vec<Ranked>>, Fault> {
    let nodes = keys.iter().map(|key| Binder { columns, given: None }.node(&key.by));
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let room = MOST / threads_for(columns.rows());
    let new = || Top { order: keys, heap: BinaryHeap::new(), weight: 0, most };
    let tops = fold_chunks(columns.rows(), new, |top, chunk| {
        for block in blocks(chunk, columns.rows()) {
            let rows = wanted(within, block);
            if !rows.is_empty() && top.weight <= room {
                top.add(&nodes, block, &rows)?;
            }
        }
        Ok(())
    })?;
    if tops.iter().any(|top| top.weight > room) {
        return Ok(None);
    }
    let mut all: Vec<Entry<'_>> = tops.into_iter().flat_map(|top| top.heap.into_vec()).collect();
    all.sort_unstable();
    all.truncate(most);
    let ranked =
        |mut entry: Entry<'_>| Ranked { row: entry.row, key: std::mem::take(&mut entry.keys[0]) };
    Ok(Some(all.into_iter().map(ranked).collect()))
}

/// The first `most` of the rows added so far, the last of them on top.
struct Top<'k> {
    order: &'k [Key],
    heap: BinaryHeap<Entry<'k>>,
    weight: usize,
    most: usize,
}

impl<'k> Top<'k> {
    /// Adds some rows of a block.
    fn add(&mut self, nodes: &[Node<'_>], block: Block, rows: &Bits) -> Result<(), Fault> {
        if self.most == 0 {
            return Ok(());
        }
        let values = nodes.iter().map(|node| node.values(block, rows));
        let mut values = values.collect::<Result<Vec<_>, _>>()?;
        for row in rows.iter() {
            let number = (block.start + row) as u32;
            if self.heap.len() == self.most
                && let Some(last) = self.heap.peek()
                && !comes_before(&values, row, number, last)
            {
                continue;
            }
            let keys =
                values.iter_mut().map(|values| std::mem::take(&mut values[row]).into_owned());
            self.push(Entry { keys: keys.collect(), row: number, order: self.order });
        }
        Ok(())
    }

    fn push(&mut self, entry: Entry<'k>) {
        self.weight += entry.weight();
        self.heap.push(entry);
        if self.heap.len() > self.most {
            self.weight -= self.heap.pop().map_or(0, |entry| entry.weight());
        }
    }
}

/// Whether a row comes before an entry, without copying its keys.
fn comes_before(values: &[Vec<Val<'_>>], row: usize, number: u32, entry: &Entry<'_>) -> bool {
    let keys = entry.order.iter().zip(values.iter().zip(&entry.keys));
    let by_key = keys.map(|(key, (values, last))| order(&values[row], last, key.down));
    by_key.fold(Ordering::Equal, Ordering::then).then(number.cmp(&entry.row)).is_lt()
}

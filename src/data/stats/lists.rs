//! Statistics of lists: their lengths, and the norms of vectors.
//!
//! Lists are not packed for this: a column of vectors may be larger than all others together, and
//! is read only once. Cells come from the catalog in chunks that threads share; the sums of the
//! chunks are added in order, so that the result does not depend on the speed of threads.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

use super::facts::{ColumnType, Flag, Measures, Norm};
use super::numbers::{Kind, key_of_int, measure};
use super::threads_for;
use crate::tables::Source;
use dcfs_core::cancel;
use dcfs_core::cell::Cell;
use dcfs_core::error::{Error, Kind as ErrorKind, Result};
use dcfs_core::json;
use dcfs_core::schema::ValueType;

/// Rows that a thread takes at a time.
const CHUNK: u32 = 1 << 13;

/// A column of lists.
#[derive(Clone, Debug)]
pub struct Lists {
    /// The database column.
    pub column: String,
    /// Whether its items are floats, so that they may be vectors.
    pub are_vectors: bool,
}

/// The statistics of one chunk.
#[derive(Clone, Debug, Default)]
struct Part {
    rows: u64,
    lengths: BTreeMap<u64, u64>,
    norms: Norms,
}

#[derive(Clone, Copy, Debug)]
struct Norms {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Default for Norms {
    fn default() -> Self {
        Self { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Part {
    fn push(&mut self, cell: Cell<'_>, are_vectors: bool) {
        self.rows += 1;
        let Cell::Text(text) = cell else { return };
        let Some((length, norm)) = list_of(text, are_vectors) else { return };
        *self.lengths.entry(length).or_default() += 1;
        if let Some(norm) = norm.filter(|norm| norm.is_finite()) {
            let Norms { count, sum, min, max } = &mut self.norms;
            *count += 1;
            *sum += norm;
            *min = min.min(norm);
            *max = max.max(norm);
        }
    }

    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        for (length, count) in &other.lengths {
            *self.lengths.entry(*length).or_default() += count;
        }
        self.norms.count += other.norms.count;
        self.norms.sum += other.norms.sum;
        self.norms.min = self.norms.min.min(other.norms.min);
        self.norms.max = self.norms.max.max(other.norms.max);
    }

    fn finish(&self, lists: &Lists) -> (ColumnType, Measures, Vec<Flag>) {
        let count: u64 = self.lengths.values().sum();
        let walk = |give: &mut dyn FnMut(u64, u64)| {
            self.lengths.iter().for_each(|(length, n)| give(key_of_int(*length as i64), *n));
        };
        // DataChain writes an empty list for a missing vector.
        let mut filled = self.lengths.keys().copied().filter(|length| *length > 0);
        let first = filled.next();
        let is_mixed = lists.are_vectors && filled.next().is_some();
        let one = first.filter(|_| !is_mixed);
        let Norms { count: norms, sum, min, max } = self.norms;
        let norm = (norms > 0).then(|| Norm { min, max, mean: sum / norms as f64 });
        let measures = Measures {
            n_unique: None,
            most_frequent: Vec::new(),
            dimension: one.filter(|_| lists.are_vectors),
            norm: norm.filter(|_| one.is_some()),
            ..measure(Kind::Int, &walk, &walk)
        };
        let nulls = Measures::nulls(self.rows - count, self.rows);
        let measures = Measures {
            nan_count: nulls.nan_count,
            nan_proportion: nulls.nan_proportion,
            ..measures
        };
        let flags = if is_mixed { vec![Flag::MixedLengths] } else { Vec::new() };
        (ColumnType::List, measures, flags)
    }
}

/// A list: its length, and its norm if it is a list of numbers.
type List = (u64, Option<f64>);

/// Parses a list; `None` if the text is not one.
fn list_of(text: &[u8], are_vectors: bool) -> Option<List> {
    if are_vectors && let Some((length, squares)) = plain_vector(text) {
        return Some((length, Some(squares.sqrt())));
    }
    Some((json::items(text)?.len() as u64, None))
}

/// Parses a list of numbers as DataChain writes it: its length, and the sum of squares.
fn plain_vector(text: &[u8]) -> Option<(u64, f64)> {
    let inside = text.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let (mut length, mut squares) = (0, 0.0);
    for item in inside.split(|byte| *byte == b',') {
        let item = item.trim_ascii();
        let is_number =
            item.iter().all(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let number: f64 = std::str::from_utf8(item).ok().filter(|_| is_number)?.parse().ok()?;
        length += 1;
        squares += number * number;
    }
    Some((length, squares))
}

/// Measures columns of lists in one pass. Calls `each` with the number of rows read.
///
/// # Errors
/// Errors of the catalog; cancellation.
pub fn lists(
    source: &Source,
    lists: &[Lists],
    each: &(dyn Fn(u64) + Sync),
) -> Result<Vec<(ColumnType, Measures, Vec<Flag>)>> {
    let chunks = source.positions().div_ceil(CHUNK) as usize;
    let names: Vec<String> = lists.iter().map(|list| list.column.clone()).collect();
    let (next, read) = (AtomicUsize::new(0), AtomicU64::new(0));
    let flag = cancel::current();
    let work = || -> Result<Vec<(usize, Vec<Part>)>> {
        let mut done = Vec::new();
        loop {
            let chunk = next.fetch_add(1, Relaxed);
            if chunk >= chunks {
                return Ok(done);
            }
            let first = chunk as u32 * CHUNK;
            let mut parts = vec![Part::default(); lists.len()];
            let within = first..=first.saturating_add(CHUNK - 1);
            source.scan(&names, within, &mut |_, _, cells| {
                for (number, (part, list)) in parts.iter_mut().zip(lists).enumerate() {
                    part.push(cells.cell(number), list.are_vectors);
                }
                Ok(ControlFlow::Continue(()))
            })?;
            let rows = parts.first().map_or(0, |part| part.rows);
            each(read.fetch_add(rows, Relaxed) + rows);
            done.push((chunk, parts));
        }
    };
    let helpers = threads_for(chunks) - 1;
    let mut done: Vec<(usize, Vec<Part>)> = thread::scope(|scope| {
        let start = || scope.spawn(|| cancel::within(flag.clone(), work));
        let running: Vec<_> = (0..helpers).map(|_| start()).collect();
        let mut done = work()?;
        for thread in running {
            let lost = |_| Error::new(ErrorKind::Broken, "a thread that reads lists died");
            done.extend(thread.join().map_err(lost)??);
        }
        Ok::<_, Error>(done)
    })?;
    done.sort_by_key(|(chunk, _)| *chunk);
    let mut all = vec![Part::default(); lists.len()];
    for (_, parts) in &done {
        all.iter_mut().zip(parts).for_each(|(all, part)| all.add(part));
    }
    Ok(all.iter().zip(lists).map(|(part, list)| part.finish(list)).collect())
}

/// Whether the items of a list are floats.
pub fn are_vectors(item: &ValueType) -> bool {
    *item == ValueType::Float
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_lengths_and_vectors_norms() {
        let cases: [(&[u8], bool, Option<List>); 9] = [
            (b"[3.0, 4]", true, Some((2, Some(5.0)))),
            (b"[3.0, 4]", false, Some((2, None))),
            (b"[]", true, Some((0, None))),
            (b"[NaN, 1.0]", true, Some((2, None))),
            (b"[\"a,b\", {\"c\": [1, 2]}]", false, Some((2, None))),
            (b"[[1,2],[3]]", true, Some((2, None))),
            (b"{}", false, None),
            (b"[1,", true, None),
            (b"[inf]", true, None),
        ];
        for (text, are_vectors, want) in cases {
            assert_eq!(list_of(text, are_vectors), want, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_dimension_is_of_all() {
        let lists = Lists { column: "emb".into(), are_vectors: true };
        let mut part = Part::default();
        [Cell::Text(b"[3,4]"), Cell::Null, Cell::Text(b"[0,1]")]
            .into_iter()
            .for_each(|cell| part.push(cell, true));
        let (_, found, flags) = part.finish(&lists);
        assert_eq!((found.dimension, found.nan_count, flags), (Some(2), 1, vec![]));
        assert_eq!(found.norm, Some(Norm { min: 1.0, max: 5.0, mean: 3.0 }));
        part.push(Cell::Text(b"[]"), true);
        assert_eq!(part.finish(&lists).1.dimension, Some(2), "an empty list is a missing vector");
        part.push(Cell::Text(b"[1]"), true);
        let (_, found, flags) = part.finish(&lists);
        assert_eq!((found.dimension, found.norm, flags), (None, None, vec![Flag::MixedLengths]));
    }
}

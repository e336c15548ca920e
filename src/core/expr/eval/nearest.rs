//! The nearest vectors of many vectors at once: for each row of one column, rows of another.
//!
//! Rows are gone through in blocks that stay in a cache while every vector of a batch is held against them; threads take
//! batches. Exact: every pair is measured, as by the distance functions of filters.

use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::value::Val;
use super::{Fault, MOST_THREADS, distance};
use crate::expr::packed::Packed;
use crate::expr::typed::Metric;

/// Vectors that a thread holds against a block of rows, at most.
const BATCH: usize = 32;

/// Bytes of a block of rows: half of a second-level cache.
const BLOCK_BYTES: usize = 256 << 10;

/// A row, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    pub row: u32,
    pub distance: f64,
}

impl Eq for Near {}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Nearer is less; of equals the first row.
impl Ord for Near {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}

/// For each row of `queries` the `k` nearest rows of `of`, nearest first; none for a row without a vector. Rows at no
/// distance (other lengths, an angle with zeros) are left out. Asks `goes_on` now and then.
///
/// # Errors
/// [`Fault::Cancelled`] if `goes_on` says no; [`Fault::Damaged`].
pub fn nearest(
    queries: &Packed<'_>,
    of: &Packed<'_>,
    metric: Metric,
    k: usize,
    goes_on: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Vec<Near>>, Fault> {
    let (Packed::Vectors(all, all_valid), Packed::Vectors(wanted, valid)) = (of, queries) else {
        return Ok(Vec::new());
    };
    let count = wanted.len();
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_THREADS);
    let batch = count.div_ceil(cores * 4).clamp(1, BATCH);
    let block = (BLOCK_BYTES / (all.width * 8).max(1)).max(1);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let take = || -> Result<Vec<(usize, Vec<Near>)>, Fault> {
        let mut found = Vec::new();
        loop {
            let first = next.fetch_add(batch, Ordering::Relaxed);
            if first >= count || failed.load(Ordering::Relaxed) {
                return Ok(found);
            }
            let rows = (first..(first + batch).min(count)).filter(|row| valid.get(*row));
            let mut heaps: Vec<(usize, Vec<f64>, BinaryHeap<Near>)> = Vec::new();
            for row in rows {
                heaps.push((row, wanted.get(row).ok_or(Fault::Damaged)?, BinaryHeap::new()));
            }
            for start in (0..all.len()).step_by(block) {
                if !goes_on() {
                    return Err(Fault::Cancelled);
                }
                for (_, to, heap) in &mut heaps {
                    for row in start..(start + block).min(all.len()) {
                        if !all_valid.get(row) {
                            continue;
                        }
                        let Val::Real(distance) = distance::of(metric, all, row, to)? else {
                            continue;
                        };
                        add(heap, Near { row: row as u32, distance }, k);
                    }
                }
            }
            found.extend(heaps.into_iter().map(|(row, _, heap)| (row, heap.into_sorted_vec())));
        }
    };
    let take = || take().inspect_err(|_| failed.store(true, Ordering::Relaxed));
    let parts = thread::scope(|scope| {
        let running: Vec<_> = (1..cores).map(|_| scope.spawn(take)).collect();
        let mut parts = vec![take()];
        for thread in running {
            parts.push(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        parts
    });
    let mut rows = vec![Vec::new(); count];
    for part in parts {
        part?.into_iter().for_each(|(row, found)| rows[row] = found);
    }
    Ok(rows)
}

fn add(heap: &mut BinaryHeap<Near>, near: Near, k: usize) {
    if heap.len() < k {
        heap.push(near);
    } else if let Some(mut worst) = heap.peek_mut()
        && near < *worst
    {
        *worst = near;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::packed::{Numbers, Valid, Vectors};

    #[test]
    fn finds_what_a_simple_loop_finds() {
        let (rows, width) = (500, 7);
        let number = |n: usize| ((n * 7919 % 1013) as f32 / 500.0 - 1.0).to_le_bytes();
        let numbers: Vec<[u8; 4]> = (0..rows * width).map(number).collect();
        let vectors = Vectors { width, numbers: Numbers::Single(&numbers) };
        let words: Vec<[u8; 8]> = (0..rows.div_ceil(64)).map(|_| (!2_u64).to_le_bytes()).collect();
        let packed = Packed::Vectors(vectors, Valid(Some(&words)));
        for metric in [Metric::Cosine, Metric::Euclidean] {
            let found = nearest(&packed, &packed, metric, 5, &|| true).expect("sound");
            assert_eq!(found.len(), rows);
            assert!(found[1].is_empty(), "a row without a vector");
            for row in [0, 2, 63, 64, 499] {
                let to = vectors.get(row).expect("a vector");
                let mut all: Vec<Near> = (0..rows)
                    .filter(|other| other % 64 != 1)
                    .map(|other| match distance::of(metric, &vectors, other, &to).expect("sound") {
                        Val::Real(distance) => Near { row: other as u32, distance },
                        other => panic!("{other:?}"),
                    })
                    .collect();
                all.sort();
                assert_eq!(found[row], all[..5]);
                assert_eq!(found[row][0].row, row as u32, "itself");
            }
        }
        assert_eq!(nearest(&packed, &packed, Metric::Cosine, 5, &|| false), Err(Fault::Cancelled));
    }
}

//! Evaluates filters: the rows for which one is true, and their order.
//!
//! Rows are processed in blocks of some thousands, whose values stay in the L1 cache. A condition
//! gives two bits per row of a block: whether it is true, and whether it is NULL. Threads take
//! chunks of 65,536 rows, the size of one container of a roaring bitmap.
//!
//! | file | what lives there |
//! |---|---|
//! | [`bits`] | the rows of one block; three-valued logic |
//! | [`bind`] | compiles a filter and its columns into loops and look-ups |
//! | [`mod@any`] | conditions on the items of a list |
//! | [`mod@beside`] | comparisons with a constant |
//! | [`kernel`] | the loops over whole columns |
//! | [`mod@test`], [`node`] | conditions and values of one block |
//! | [`value`], [`number`], [`dig`] | one value, SQLite's arithmetic, values inside JSON |
//! | [`distance`] | vectors |
//! | [`mod@rank`] | rows in order |
//! | [`mod@group`] | groups of rows, and their aggregates |

mod any;
mod beside;
mod bind;
mod bits;
mod dig;
mod distance;
mod group;
mod kernel;
mod nearest;
mod node;
mod number;
mod rank;
mod test;
mod value;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use roaring::{MultiOps, RoaringBitmap};

use self::bind::Binder;
use self::bits::{BLOCK, Bits};
use self::kernel::Block;
use super::packed::Packed;
use super::typed::{Column, Expr, Target};
use crate::cancel;

pub use self::group::{Fold, Group, Operand, Ungrouped, group};
pub use self::nearest::{Near, nearest};
pub use self::rank::{Ranked, rank};
pub use self::value::Val;

/// Rows that a thread takes at a time: one container of a roaring bitmap.
const CHUNK: usize = 1 << 16;

/// The most threads that evaluate one filter.
const MOST_THREADS: usize = 8;

/// Gives a filter its columns.
pub trait Columns: Sync {
    /// The number of rows.
    fn rows(&self) -> usize;

    /// A column in the requested form; [`Packed::Null`] if it does not exist.
    fn packed(&self, column: &Arc<Column>) -> Packed<'_>;

    /// The vector that a distance in `column` is measured to; `None` if there is none.
    fn target(&self, column: &Column, target: &Target) -> Option<Vec<f64>>;
}

/// Why a filter could not be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A packed column is damaged.
    Damaged,
    /// A regular expression backtracks too much.
    TooManySteps,
    /// The library gave up on a regular expression.
    BadPattern,
    /// The target of a distance has no vector.
    NoTarget,
    /// The query was cancelled.
    Cancelled,
}

/// The rows for which `filter` is true, out of all or of those `within`.
///
/// # Errors
/// [`Fault`]; partial results are dropped.
pub fn rows(
    filter: &Expr,
    columns: &dyn Columns,
    within: Option<&RoaringBitmap>,
) -> Result<RoaringBitmap, Fault> {
    let test = Binder { columns, given: None }.test(filter)?;
    let found = each_chunk(columns.rows(), |chunk| {
        let mut bytes = vec![0_u8; CHUNK / 8];
        for (number, block) in blocks(chunk, columns.rows()).enumerate() {
            let wanted = wanted(within, block);
            if wanted.is_empty() {
                continue;
            }
            if cancel::is_cancelled() {
                return Err(Fault::Cancelled);
            }
            let yes = test.truth(block, &wanted)?.yes.and(&wanted);
            let place = &mut bytes[number * BLOCK / 8..(number + 1) * BLOCK / 8];
            for (bytes, word) in place.chunks_exact_mut(8).zip(yes.0) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
        Ok(RoaringBitmap::from_lsb0_bytes((chunk * CHUNK) as u32, &bytes))
    })?;
    Ok(found.into_iter().union())
}

/// The rows of a block that are in `within`.
fn wanted(within: Option<&RoaringBitmap>, block: Block) -> Bits {
    let Some(within) = within else { return block.all() };
    let mut bits = Bits::NONE;
    let start = block.start as u32;
    within
        .range(start..start + block.length as u32)
        .for_each(|row| bits.insert(row as usize - block.start));
    bits
}

/// The blocks of a chunk.
fn blocks(chunk: usize, rows: usize) -> impl Iterator<Item = Block> {
    let end = ((chunk + 1) * CHUNK).min(rows);
    let starts = (chunk * CHUNK..end).step_by(BLOCK);
    starts.map(move |start| Block { start, length: BLOCK.min(end - start) })
}

/// Runs `work` on every chunk of `rows`, on all cores; results in order.
fn each_chunk<T: Send>(
    rows: usize,
    work: impl Fn(usize) -> Result<T, Fault> + Sync,
) -> Result<Vec<T>, Fault> {
    let made = fold_chunks(rows, Vec::new, |made: &mut Vec<(usize, T)>, chunk| {
        made.push((chunk, work(chunk)?));
        Ok(())
    })?;
    let mut made: Vec<(usize, T)> = made.into_iter().flatten().collect();
    made.sort_by_key(|(chunk, _)| *chunk);
    Ok(made.into_iter().map(|(_, made)| made).collect())
}

/// The number of threads for so many rows.
fn threads_for(rows: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    cores.min(MOST_THREADS).min(rows.div_ceil(CHUNK)).max(1)
}

/// Shares the chunks of `rows` out among threads, each of which folds those it takes into its own
/// `new`. Stops early on a fault.
fn fold_chunks<S: Send>(
    rows: usize,
    new: impl Fn() -> S + Sync,
    add: impl Fn(&mut S, usize) -> Result<(), Fault> + Sync,
) -> Result<Vec<S>, Fault> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let flag = cancel::current();
    let is_cancelled = || flag.as_ref().is_some_and(cancel::Flag::is_set);
    let take_all = || -> Result<S, Fault> {
        let mut all = new();
        while !failed.load(Ordering::Relaxed) {
            if is_cancelled() {
                return Err(Fault::Cancelled);
            }
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= rows.div_ceil(CHUNK) {
                break;
            }
            add(&mut all, chunk).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(all)
    };
    let take = || cancel::within(flag.clone(), take_all);
    let helpers = threads_for(rows) - 1;
    thread::scope(|scope| {
        let running: Vec<_> = (0..helpers).map(|_| scope.spawn(take)).collect();
        let own = take();
        let joined = running.into_iter().map(|thread| thread.join());
        let others =
            joined.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(own).chain(others.collect::<Vec<_>>()).collect()
    })
}

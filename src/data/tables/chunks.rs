//! Passes over rows on all cores, whose results come in the order of the rows.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use dcfs_core::cancel;
use dcfs_core::error::{Error, Kind, Result};

/// Rows that a thread takes at a time.
const CHUNK: u32 = 32_768;

/// The most threads that share a pass.
const THREADS: u32 = 4;

/// Chunks per thread that may be ahead of the slowest thread: their results are held until it is
/// their turn.
const AHEAD: u32 = 4;

/// Calls `work` with every position below `count`, a chunk at a time on all cores, and `each` with the
/// results in order. At most 16 results are held.
///
/// # Errors
/// The error of `work` for the first chunk that fails; errors of `each`.
pub fn in_order<T: Send>(
    count: u32,
    work: impl Fn(RangeInclusive<u32>) -> Result<T> + Sync,
    mut each: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let chunks = count.div_ceil(CHUNK);
    let threads =
        thread::available_parallelism().map_or(1, |cores| cores.get() as u32).min(THREADS);
    let mut start = 0;
    while start < chunks {
        let end = chunks.min(start + threads * AHEAD);
        for one in round(start, end, threads, &work) {
            each(one?)?;
        }
        start = end;
    }
    Ok(())
}

/// The results of the chunks `start..end`, in order.
fn round<T: Send>(
    start: u32,
    end: u32,
    threads: u32,
    work: &(impl Fn(RangeInclusive<u32>) -> Result<T> + Sync),
) -> Vec<Result<T>> {
    let next = AtomicU32::new(start);
    let some = || {
        let mut done = Vec::new();
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= end {
                return done;
            }
            let first = chunk * CHUNK;
            done.push((chunk, work(first..=first.saturating_add(CHUNK - 1))));
        }
    };
    let flag = cancel::current();
    let work = || cancel::within(flag.clone(), some);
    let mut done = thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.min(end - start)).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for helper in helpers {
            let died = || "a thread that reads rows died; its panic is in the log";
            // Whichever chunks it had, the pass is not whole.
            let lost = |_| vec![(0, Err(Error::new(Kind::Broken, died())))];
            done.extend(helper.join().unwrap_or_else(lost));
        }
        done
    });
    done.sort_unstable_by_key(|(chunk, _)| *chunk);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_rows_and_the_first_error_ends_it() {
        let count = 40 * CHUNK + 7;
        let mut next = 0;
        let rows = |within: RangeInclusive<u32>| Ok(within);
        in_order(count, rows, |within| {
            assert_eq!(*within.start(), next);
            next = within.end() + 1;
            Ok(())
        })
        .expect("whole");
        assert_eq!(next, 41 * CHUNK);
        let odd = |within: RangeInclusive<u32>| match within.start() / CHUNK {
            chunk @ (3 | 5) => Err(Error::new(Kind::Stale, format!("chunk {chunk}"))),
            chunk => Ok(chunk),
        };
        let mut seen = Vec::new();
        let told = in_order(count, odd, |chunk| {
            seen.push(chunk);
            Ok(())
        });
        assert_eq!(told.expect_err("some fail").to_string(), "chunk 3");
        assert_eq!(seen, [0, 1, 2]);
        in_order(0, rows, |_| unreachable!("no rows")).expect("nothing to do");
    }
}

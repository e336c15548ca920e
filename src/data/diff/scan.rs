//! The rows of a version as records, on all cores.

use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::row::{Columns, Keys};
use super::sort::{Buffer, Record, Sorted};
use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::cancel;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;

/// The fewest ids that a thread takes at a time.
const CHUNK: u64 = 1 << 15;

/// The most chunks: a stranger's ids may be far apart.
const MOST_CHUNKS: u64 = 1 << 12;

/// The most reading threads.
const MOST_THREADS: u64 = 4;

/// Rows between progress reports.
const OFTEN: u64 = 4096;

/// A record of every row, in order. `memory`: bytes of records that stay in it; what is more goes to the disk of
/// `scratch`.
pub fn records(
    catalog: &Catalog,
    of: &VersionInfo,
    columns: &Columns,
    keys: &Keys,
    (scratch, memory): (&Path, usize),
    told: &(dyn Fn(u64) + Sync),
) -> Result<Sorted> {
    let chunks = Chunks::of(catalog, of)?;
    let cores = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let threads = cores.min(MOST_THREADS).min(chunks.count).max(1) as usize;
    let next = AtomicU64::new(0);
    let flag = cancel::current();
    let some = || -> Result<Buffer> {
        let (mut buffer, mut unheard) = (Buffer::new(scratch, memory / threads), 0);
        let mut ranges = std::iter::from_fn(|| chunks.get(next.fetch_add(1, Ordering::Relaxed)));
        catalog.cells(of, &columns.names, &mut ranges, &mut |id, cells| {
            let (key, values) = keys.row(columns, cells);
            buffer.push(Record { key, id: id.key(), values })?;
            unheard += 1;
            if unheard == OFTEN {
                cancel::check()?;
                told(unheard);
                unheard = 0;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        told(unheard);
        Ok(buffer)
    };
    let work = || cancel::within(flag.clone(), some);
    let buffers: Result<Vec<Buffer>> = thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let died = || {
            Error::new(Kind::Broken, "a thread that compared rows died; its panic is in the log")
        };
        let all = helpers.into_iter().map(|helper| helper.join().unwrap_or_else(|_| Err(died())));
        // Every thread is joined, whatever the first of them says.
        let all: Vec<Result<Buffer>> = [own].into_iter().chain(all).collect();
        all.into_iter().collect()
    });
    Buffer::finish(buffers?)
}

/// Splits the ids of a version into ranges.
struct Chunks {
    first: i64,
    last: i64,
    width: u64,
    count: u64,
}

impl Chunks {
    fn of(catalog: &Catalog, of: &VersionInfo) -> Result<Self> {
        let (_, first, last) = catalog.extent(of)?;
        Ok(Self::between(first.key(), last.key()))
    }

    fn between(first: i64, last: i64) -> Self {
        let span = last.abs_diff(first);
        let width = (span / MOST_CHUNKS + 1).max(CHUNK);
        Self { first, last, width, count: span / width + 1 }
    }

    fn get(&self, number: u64) -> Option<RangeInclusive<RowId>> {
        if number >= self.count {
            return None;
        }
        let start = self.first.checked_add_unsigned(number * self.width)?;
        let end = start.saturating_add_unsigned(self.width - 1).min(self.last);
        Some(RowId::new(start)..=RowId::new(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_id_once() {
        let cases =
            [(0, 0), (1, 70_000), (-5, 1 << 40), (i64::MIN, i64::MAX), (i64::MAX, i64::MAX)];
        for (first, last) in cases {
            let chunks = Chunks::between(first, last);
            let all: Vec<_> = (0..).map_while(|n| chunks.get(n)).collect();
            assert_eq!(all.first().map(|range| range.start().key()), Some(first));
            assert_eq!(all.last().map(|range| range.end().key()), Some(last));
            let follow = |pair: &[RangeInclusive<RowId>]| {
                pair[0].end().key().checked_add(1) == Some(pair[1].start().key())
            };
            assert!(all.windows(2).all(follow), "{first} {last}");
            assert!(all.len() as u64 <= MOST_CHUNKS + 1);
        }
    }
}

//! The division of rows into shards, and the size of each: computed once, and cached beside the pack.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::ops::RangeInclusive;

use dcfs_core::error::{self, Kind as ErrorKind, Result};
use dcfs_core::loader::tar;
use dcfs_data::pack::home::Home;
use dcfs_data::tables::chunks;

use super::content::{Content, Size};
use super::options::Options;

/// The most bytes of the columns of a shard, which are in memory while it is read.
const MOST_TEXT: u64 = 64 << 20;

/// The division of rows into shards.
#[derive(Debug, Default)]
pub struct Plan {
    pub shards: Vec<Shard>,
}

/// The positions of the first and the last row of a shard, the number of samples, and its size in bytes.
#[derive(Clone, Debug)]
pub struct Shard {
    pub rows: RangeInclusive<u32>,
    pub samples: u64,
    pub size: u64,
}

/// The shard that rows are added to.
#[derive(Debug, Default)]
struct Last {
    rows: u64,
    /// Bytes of its members in the archive, and of its columns.
    taken: u64,
    texts: u64,
}

impl Plan {
    /// Computes it in one pass over the rows, on all cores.
    pub fn new(content: &Content, wanted: &Options<'_>) -> Result<Self> {
        let (mut plan, mut last) = (Self::default(), Last::default());
        chunks::in_order(
            content.positions(),
            |within| content.sizes(within),
            |sizes| {
                for size in sizes {
                    plan.add(&mut last, &size, wanted);
                }
                Ok(())
            },
        )?;
        Ok(plan)
    }

    fn add(&mut self, last: &mut Last, row: &Size, wanted: &Options<'_>) {
        let is_full = last.rows >= wanted.samples
            || tar::size(last.taken.saturating_add(row.taken)) > wanted.bytes
            || last.texts + row.text > MOST_TEXT;
        if is_full || self.shards.is_empty() {
            *last = Last::default();
            self.shards.push(Shard { rows: row.position..=row.position, samples: 0, size: 0 });
        }
        last.rows += 1;
        last.texts += row.text;
        last.taken = last.taken.saturating_add(row.taken);
        if let Some(shard) = self.shards.last_mut() {
            *shard = Shard {
                rows: *shard.rows.start()..=row.position,
                samples: shard.samples + u64::from(row.is_sample),
                size: tar::size(last.taken),
            };
        }
    }

    /// Reads a plan with a line for each shard. Its checksum has been verified.
    pub fn read(mut file: File) -> Option<Self> {
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        let shard = |line: &str| {
            let mut numbers = line.split(' ');
            let (first, last) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
            let (samples, size) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
            Some(Shard { rows: first..=last, samples, size })
        };
        Some(Self { shards: text.lines().map(shard).collect::<Option<_>>()? })
    }

    /// Caches it for later mounts, if the disk has room.
    pub fn keep(&self, home: &Home, stem: &str) {
        let kept = home.create().and_then(|mut draft| {
            for Shard { rows, samples, size } in &self.shards {
                writeln!(draft, "{} {} {samples} {size}", rows.start(), rows.end())
                    .map_err(|error| error::Error::new(ErrorKind::Broken, error))?;
            }
            home.keep(draft, stem)
        });
        // If it cannot be cached, it is computed again.
        drop(kept);
    }
}

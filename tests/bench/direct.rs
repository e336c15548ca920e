//! A client without a file system: the speed of `object_store` alone with the same server.
//!
//!     bench_direct ENDPOINT BUCKET sequential KEY SIZE
//!     bench_direct ENDPOINT BUCKET files PREFIX NAMES IN_FLIGHT
//!     bench_direct ENDPOINT BUCKET random KEY SIZE BLOCK READS IN_FLIGHT
//!
//! Prints seconds and bytes. Bodies are dropped as they arrive: no copy, no order, no file. `sequential` has 8
//! concurrent ranges of 8 MiB; NAMES is a file with a name per line, PREFIX is prepended to each.

mod bucket;
mod offsets;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The target of one GET: a key, and a range unless it is the whole object.
type Wanted = (Path, Option<Range<u64>>);

const RANGE: u64 = 8 << 20;
const RANGES: usize = 8;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [endpoint, bucket, what @ ..] = words.as_slice() else {
        return Err("see direct.rs".into());
    };
    let (wanted, in_flight) = wanted(what)?;
    let store = Arc::new(bucket::client(endpoint, bucket)?);
    let since = Instant::now();
    let bytes = fetch(store, wanted, in_flight).await?;
    println!("{} {bytes}", since.elapsed().as_secs_f64());
    Ok(())
}

/// The requests, and their maximum concurrency.
fn wanted(what: &[&str]) -> Result<(Vec<Wanted>, usize)> {
    Ok(match what {
        ["sequential", key, size] => {
            let size = size.parse()?;
            let starts = (0..size).step_by(RANGE as usize);
            let ranges = starts.map(|start| start..(start + RANGE).min(size));
            (of(key, ranges)?, RANGES)
        }
        ["files", prefix, names, in_flight] => {
            let names = std::fs::read_to_string(names)?;
            let keys =
                names.lines().map(|name| Ok((Path::parse(format!("{prefix}{name}"))?, None)));
            (keys.collect::<Result<_>>()?, in_flight.parse()?)
        }
        ["random", key, size, block, reads, in_flight] => {
            let block = block.parse()?;
            let starts = offsets::offsets(size.parse()?, block, reads.parse()?);
            let ranges = starts.into_iter().map(|start| start..start + block);
            (of(key, ranges)?, in_flight.parse()?)
        }
        _ => return Err("what is to be read? see direct.rs".into()),
    })
}

fn of(key: &str, ranges: impl Iterator<Item = Range<u64>>) -> Result<Vec<Wanted>> {
    let key = Path::parse(key)?;
    Ok(ranges.map(|range| (key.clone(), Some(range))).collect())
}

/// Fetches everything and returns the number of bytes. A task per request, so that all CPUs help.
async fn fetch(store: Arc<AmazonS3>, wanted: Vec<Wanted>, in_flight: usize) -> Result<u64> {
    let requests = wanted.into_iter().map(|wanted| tokio::spawn(one(Arc::clone(&store), wanted)));
    let counts = stream::iter(requests).buffer_unordered(in_flight);
    counts.map(|count| count?).try_fold(0, |sum, count| async move { Ok(sum + count) }).await
}

async fn one(store: Arc<AmazonS3>, (key, range): Wanted) -> Result<u64> {
    let options = GetOptions { range: range.map(Into::into), ..GetOptions::default() };
    let body = store.get_opts(&key, options).await?.into_stream();
    let pieces = body.map_ok(|piece| piece.len() as u64);
    Ok(pieces.try_fold(0, |sum, length| async move { Ok(sum + length) }).await?)
}

//! Counters of a mount: requests, bytes, waits. Counting costs an addition; nothing here is ever reset.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Number of latency buckets: each ends at twice the one before it, the first at 1/8 ms, the last at 70
/// minutes.
const BUCKETS: usize = 26;

/// The end of the first bucket, in microseconds.
const FIRST: u64 = 125;

/// Counters of one mount.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Ranges requested from stores, including raced ones.
    pub requests: Counter,
    /// Requests that ended in an error.
    pub errors: Counter,
    /// Second requests, sent because the first took too long.
    pub raced: Counter,
    /// Bytes received from stores.
    pub fetched: Counter,
    /// Bytes read from the cache on disk, and from memory.
    pub from_disk: Counter,
    pub from_memory: Counter,
    /// Opens of objects.
    pub opened: Counter,
    pub latency: Latency,
}

/// HTTP requests for objects sent by this process, including retries. One number for all mounts of a process,
/// because libraries do not report retries per request.
pub static SENT: Counter = Counter(AtomicU64::new(0));

/// A monotonic counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram of request durations.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Latency {
    pub fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// The end of the bucket that contains this percentile; `None` before the first request.
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let counts = self.counts();
        let total: u64 = counts.iter().sum();
        let mut before = 0;
        let at = counts.iter().position(|count| {
            before += count;
            total > 0 && before * 100 >= total * percent
        })?;
        Some(Duration::from_micros(end(at)))
    }

    /// The number of requests.
    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    fn counts(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed))
    }
}

fn bucket(micros: u64) -> usize {
    (0..BUCKETS - 1).find(|at| micros <= end(*at)).unwrap_or(BUCKETS - 1)
}

/// The end of a bucket in microseconds.
fn end(bucket: usize) -> u64 {
    FIRST << bucket
}

/// The part about stores in `dcfs status --json` and the mount's `_status.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    pub requests: u64,
    pub errors: u64,
    pub raced: u64,
    /// HTTP requests beyond the first for a range: retries, and checks after a refusal.
    pub retries: u64,
    pub bytes_fetched: u64,
    pub bytes_from_disk: u64,
    pub bytes_from_memory: u64,
    pub opened: u64,
    /// In milliseconds; null before the first request.
    pub latency_p50_ms: Option<f64>,
    pub latency_p99_ms: Option<f64>,
    /// Bytes of objects in memory, and the limit.
    pub memory: u64,
    pub memory_limit: u64,
}

impl Metrics {
    /// The current values.
    pub fn snapshot(&self, (memory, memory_limit): (u64, u64)) -> Snapshot {
        let percentile =
            |percent| self.latency.percentile(percent).map(|took| took.as_secs_f64() * 1000.0);
        Snapshot {
            requests: self.requests.get(),
            errors: self.errors.get(),
            raced: self.raced.get(),
            retries: SENT.get().saturating_sub(self.requests.get()),
            bytes_fetched: self.fetched.get(),
            bytes_from_disk: self.from_disk.get(),
            bytes_from_memory: self.from_memory.get(),
            opened: self.opened.get(),
            latency_p50_ms: percentile(50),
            latency_p99_ms: percentile(99),
            memory,
            memory_limit,
        }
    }

    /// The latency buckets for Prometheus: seconds, and how many requests took at most that long; then the sum
    /// in seconds.
    pub fn histogram(&self) -> (Vec<(f64, u64)>, f64) {
        let mut before = 0;
        let counts = self.latency.counts();
        let buckets = counts.iter().enumerate().map(|(at, count)| {
            before += count;
            (end(at) as f64 / 1e6, before)
        });
        (buckets.collect(), self.latency.sum.load(Ordering::Relaxed) as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ends_of_buckets() {
        let latency = Latency::default();
        assert_eq!(latency.percentile(50), None);
        for millis in 1..=100 {
            latency.add(Duration::from_millis(millis));
        }
        assert_eq!(latency.count(), 100);
        assert_eq!(latency.percentile(50), Some(Duration::from_millis(64)));
        assert_eq!(latency.percentile(99), Some(Duration::from_millis(128)));
        latency.add(Duration::MAX);
        assert_eq!(latency.percentile(100), Some(Duration::from_micros(FIRST << (BUCKETS - 1))));
    }
}

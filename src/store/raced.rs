//! A request that takes far longer than usual is raced by a second one: an epoch of small files is as slow as
//! the slowest of them, and a second request seldom meets the same trouble.
//!
//! The usual time is that of recent requests of about this size ([`FAR`] times their 95th percentile). At most
//! one request in [`SHARE`] is raced, so that a store that is slow as a whole gets no additional load.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};

use super::error::Error;
use super::metrics::{Counter, Latency, Metrics};
use super::stream::Ranges;

/// How many times the usual time counts as slow.
const FAR: u32 = 4;

/// Requests faster than this are never slow.
const FLOOR: Duration = Duration::from_millis(200);

/// Minimum of requests of a size before the usual time is known.
const ENOUGH: u64 = 32;

/// At most one request in this many is raced.
const SHARE: u64 = 10;

/// Upper bounds of the size classes, in bytes.
const SIZES: [u64; 2] = [256 << 10, 2 << 20];

/// The usual duration of requests to one server, by size.
#[derive(Debug, Default)]
pub struct Usual {
    by_size: [Latency; SIZES.len() + 1],
    asked: Counter,
    raced: Counter,
}

impl Usual {
    fn of(&self, bytes: u64) -> &Latency {
        &self.by_size[SIZES.iter().filter(|size| bytes > **size).count()]
    }

    /// The time after which a request for this many bytes is raced.
    fn patience(&self, bytes: u64) -> Option<Duration> {
        let latency = self.of(bytes);
        let usual = latency.percentile(95).filter(|_| latency.count() >= ENOUGH)?;
        Some((usual * FAR).max(FLOOR))
    }

    fn may_race(&self) -> bool {
        (self.raced.get() + 1) * SHARE <= self.asked.get()
    }
}

/// An object whose slow requests are raced; all requests are counted.
pub struct Raced {
    object: Arc<dyn Ranges>,
    usual: Arc<Usual>,
    metrics: Arc<Metrics>,
}

impl Raced {
    pub fn new(object: Arc<dyn Ranges>, usual: Arc<Usual>, metrics: Arc<Metrics>) -> Self {
        Self { object, usual, metrics }
    }

    async fn bytes(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let wanted = range.end - range.start;
        self.usual.asked.add(1);
        let first = self.ask(range.clone()).boxed();
        let Some(patience) = self.usual.patience(wanted) else { return first.await };
        let first = match select(first, tokio::time::sleep(patience).boxed()).await {
            Either::Left((answer, _)) => return answer,
            Either::Right(((), first)) => first,
        };
        if !self.usual.may_race() {
            return first.await;
        }
        self.usual.raced.add(1);
        self.metrics.raced.add(1);
        match select(first, self.ask(range).boxed()).await {
            Either::Left((Err(_), other)) | Either::Right((Err(_), other)) => other.await,
            Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
        }
    }

    async fn ask(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let (since, wanted) = (Instant::now(), range.end - range.start);
        self.metrics.requests.add(1);
        let answer = Arc::clone(&self.object).get(range).await;
        match &answer {
            Ok(bytes) => {
                let took = since.elapsed();
                self.usual.of(wanted).add(took);
                self.metrics.latency.add(took);
                self.metrics.fetched.add(bytes.len() as u64);
            }
            Err(_) => self.metrics.errors.add(1),
        }
        answer
    }
}

impl Ranges for Raced {
    fn get(self: Arc<Self>, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, Error>> {
        async move { self.bytes(range).await }.boxed()
    }

    fn place(&self) -> &str {
        self.object.place()
    }

    fn progressed(&self) -> Option<tokio::time::Instant> {
        self.object.progressed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers at once, except for some requests, which never end.
    struct Stuck {
        asked: AtomicUsize,
        stuck: Range<usize>,
    }

    impl Ranges for Stuck {
        fn get(self: Arc<Self>, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, Error>> {
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            async move {
                if self.stuck.contains(&number) {
                    std::future::pending::<()>().await;
                }
                Ok(range.map(|_| 7).collect())
            }
            .boxed()
        }

        fn place(&self) -> &str {
            "stuck"
        }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(test);
    }

    #[test]
    fn what_is_stuck_is_raced_and_the_second_answer_counts() {
        run(async {
            let stuck = Arc::new(Stuck { asked: AtomicUsize::new(0), stuck: 40..41 });
            let metrics = Arc::new(Metrics::default());
            let raced = Raced::new(stuck.clone(), Arc::default(), metrics.clone());
            let raced = Arc::new(raced);
            for _ in 0..50 {
                assert_eq!(raced.clone().get(0..3).await.expect("bytes").len(), 3);
            }
            let told = metrics.snapshot((0, 0));
            assert_eq!((told.requests, told.raced, told.bytes_fetched), (51, 1, 150));
        });
    }

    #[test]
    fn a_store_that_is_slow_as_a_whole_gets_no_second_load() {
        let usual = Usual::default();
        usual.asked.add(100);
        usual.raced.add(9);
        assert!(usual.may_race());
        usual.raced.add(1);
        assert!(!usual.may_race());
        assert_eq!(usual.patience(1), None, "nothing is usual yet");
    }
}

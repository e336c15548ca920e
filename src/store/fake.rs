//! An object for tests, whose bytes depend on their offset.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::error::Error;
use super::stream::Ranges;

/// The object, and the ranges that were requested from it.
#[derive(Default)]
pub struct Fake {
    pub asked: Mutex<Vec<Range<u64>>>,
    /// Number of further requests that fail.
    pub failures: AtomicUsize,
    pub panics: bool,
}

/// The byte at an offset.
pub fn byte(at: u64) -> u8 {
    (at % 251) as u8
}

/// The expected bytes of a read, cut at the end of an object of `size`.
pub fn expect(offset: u64, length: u64, size: u64) -> Vec<u8> {
    (offset..(offset + length).min(size)).map(byte).collect()
}

impl Fake {
    /// The number of requests, and of bytes.
    pub fn requests(&self) -> (usize, u64) {
        let asked = self.asked.lock().unwrap();
        (asked.len(), asked.iter().map(|r| r.end - r.start).sum())
    }
}

impl Ranges for Fake {
    fn get(self: Arc<Self>, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, Error>> {
        async move {
            tokio::task::yield_now().await;
            assert!(!self.panics, "as told");
            self.asked.lock().unwrap().push(range.clone());
            let fails = |n: usize| n.checked_sub(1);
            if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
                return Err(Error::Failed { place: "fake".into(), cause: "as told".into() });
            }
            Ok(range.map(byte).collect())
        }
        .boxed()
    }

    fn place(&self) -> &str {
        "fake"
    }
}

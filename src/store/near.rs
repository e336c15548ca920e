//! Small objects that another host may have fetched already: looked for in the folder that hosts share before their
//! store is asked.
//!
//! What comes from there was verified: it is what a host that reads the same catalog received for the same recorded
//! object.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::blocking;
use super::cache::Key;
use super::error::Error;
use super::stream::Ranges;
use super::window;
use dcfs_core::shared::Small;

/// How long a reader waits for the shared folder before it asks the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// Limit of threads that wait for the shared folder.
static AT_SHARED: Semaphore = Semaphore::const_new(64);

/// Whether an object of `size` bytes is shared: one that is fetched whole, and is not empty.
pub fn is_small(size: u64) -> bool {
    (1..=window::FIRST).contains(&size)
}

/// An object of a store, and its copy in the shared folder.
pub struct Near {
    object: Arc<dyn Ranges>,
    small: Arc<dyn Small>,
    key: Key,
    size: u64,
}

impl Near {
    pub fn wrap(
        object: Arc<dyn Ranges>,
        small: Arc<dyn Small>,
        key: Key,
        size: u64,
    ) -> Arc<dyn Ranges> {
        Arc::new(Self { object, small, key, size })
    }

    /// The copy; `None` if there is none, or the folder takes too long.
    async fn found(&self) -> Option<Bytes> {
        let (small, key, size) = (Arc::clone(&self.small), self.key, self.size);
        let look = blocking(&AT_SHARED, self.place(), move || Ok(small.find(&key.0, size)));
        let found = timeout(PATIENCE, look).await.ok()?.ok()??;
        (found.len() as u64 == self.size).then(|| found.into())
    }
}

impl Ranges for Near {
    fn get(self: Arc<Self>, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, Error>> {
        async move {
            if range != (0..self.size) {
                return Arc::clone(&self.object).get(range).await;
            }
            if let Some(bytes) = self.found().await {
                return Ok(bytes);
            }
            let bytes = Arc::clone(&self.object).get(range).await?;
            self.small.offer(&self.key.0, &bytes);
            Ok(bytes)
        }
        .boxed()
    }

    fn place(&self) -> &str {
        self.object.place()
    }

    fn progressed(&self) -> Option<tokio::time::Instant> {
        self.object.progressed()
    }
}

//! One memory limit for a mount's object data: windows of open files, and data fetched in advance.
//!
//! Without a grant, a reader fetches exactly what it was asked for and keeps nothing, so the limit never makes
//! anybody wait. Files that are open but idle release their memory first.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of counting, in bytes.
const UNIT: u64 = 4096;

/// Data not read for this long may be released: longer than a training step, shorter than a coffee.
const IDLE: Duration = Duration::from_secs(5);

/// The memory limit of a mount.
#[derive(Debug)]
pub struct Memory {
    limit: u64,
    free: Arc<Semaphore>,
    /// The half of it that background work may use.
    behind: Arc<Semaphore>,
    holders: Mutex<Vec<Weak<dyn Holder>>>,
    /// When holders were last asked to release memory.
    asked: Mutex<Option<Instant>>,
}

/// Time after which background work asks for memory again.
const LATER: Duration = Duration::from_millis(100);

/// Minimum time between two requests to all holders.
const PAUSE: Duration = Duration::from_secs(1);

/// A holder of memory that it can do without.
pub trait Holder: Send + Sync + std::fmt::Debug {
    /// Releases data not read since `moment`.
    fn let_go(&self, moment: Instant);
}

/// The right to hold some bytes, until dropped.
#[derive(Debug)]
pub struct Grant {
    _permit: OwnedSemaphorePermit,
    _behind: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// At most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        let units = usize::try_from(limit / UNIT).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (holders, asked) = Default::default();
        let (free, behind) = (Semaphore::new(units), Semaphore::new(units / 2));
        Self { limit, free: Arc::new(free), behind: Arc::new(behind), holders, asked }
    }

    /// A grant of `bytes`; `None` if there is no room even after idle files released theirs.
    pub fn take(&self, bytes: u64) -> Option<Grant> {
        self.try_take(bytes).or_else(|| {
            self.ask_back();
            self.try_take(bytes)
        })
    }

    /// Waits for a grant of `bytes`, or of a quarter of the limit if that is less: for background work, which
    /// never has more than half of the limit, and never competes with readers.
    pub async fn wait(&self, bytes: u64) -> Option<Grant> {
        let units = u32::try_from(bytes.div_ceil(UNIT).min(self.limit / UNIT / 4)).ok()?;
        let behind = Arc::clone(&self.behind).acquire_many_owned(units).await.ok()?;
        loop {
            if let Some(grant) = self.take(u64::from(units) * UNIT) {
                return Some(Grant { _behind: Some(behind), ..grant });
            }
            tokio::time::sleep(LATER).await;
        }
    }

    /// Makes idle files release their memory; at most once per [`PAUSE`], because it visits all of them.
    fn ask_back(&self) {
        let now = Instant::now();
        {
            let Ok(mut asked) = self.asked.try_lock() else { return };
            if asked.is_some_and(|asked| now.duration_since(asked) < PAUSE) {
                return;
            }
            *asked = Some(now);
        }
        let Some(moment) = now.checked_sub(IDLE) else { return };
        let holders: Vec<_> = self.holders().iter().filter_map(Weak::upgrade).collect();
        holders.iter().for_each(|holder| holder.let_go(moment));
    }

    fn try_take(&self, bytes: u64) -> Option<Grant> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let permit = Arc::clone(&self.free).try_acquire_many_owned(units).ok()?;
        Some(Grant { _permit: permit, _behind: None })
    }

    /// Registers a holder of memory.
    pub fn register(&self, holder: Weak<dyn Holder>) {
        let mut holders = self.holders();
        if holders.len().is_power_of_two() {
            holders.retain(|holder| holder.strong_count() > 0);
        }
        holders.push(holder);
    }

    /// Bytes held now, and the limit.
    pub fn used(&self) -> (u64, u64) {
        let free = self.free.available_permits() as u64 * UNIT;
        (self.limit.saturating_sub(free), self.limit)
    }

    fn holders(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn Holder>>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Idle(Mutex<Option<Grant>>);

    impl Holder for Idle {
        fn let_go(&self, _moment: Instant) {
            self.0.lock().unwrap().take();
        }
    }

    #[test]
    fn grants_end_at_the_limit_and_come_back() {
        let memory = Memory::new(10 * UNIT);
        let first = memory.take(6 * UNIT).expect("room");
        assert!(memory.take(5 * UNIT).is_none());
        assert_eq!(memory.used(), (6 * UNIT, 10 * UNIT));
        drop(first);
        assert!(memory.take(10 * UNIT).is_some());
    }

    #[test]
    fn who_is_idle_lets_go_when_another_asks() {
        let memory = Memory::new(10 * UNIT);
        let idle: Arc<dyn Holder> = Arc::new(Idle(Mutex::new(memory.take(10 * UNIT))));
        memory.register(Arc::downgrade(&idle));
        assert!(memory.take(UNIT).is_some());
    }
}

//! One bound for what a mount holds of objects in memory: windows of open files, and what is fetched before
//! anyone asks.
//!
//! Who gets no grant goes without: a reader then fetches exactly what it was asked for and holds nothing. So
//! the bound never makes anybody wait. Files that are open and not read let go of what they hold first.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of counting, in bytes.
const UNIT: u64 = 4096;

/// What was not read for so long may be taken: longer than a training step, shorter than a coffee.
const IDLE: Duration = Duration::from_secs(5);

/// The memory of a mount.
#[derive(Debug)]
pub struct Memory {
    limit: u64,
    free: Arc<Semaphore>,
    /// The half of it that work has which nobody waits for.
    behind: Arc<Semaphore>,
    holders: Mutex<Vec<Weak<dyn Holder>>>,
    /// When holders were last asked to let go.
    asked: Mutex<Option<Instant>>,
}

/// When work that nobody waits for asks again.
const LATER: Duration = Duration::from_millis(100);

/// Between two questions to all holders.
const PAUSE: Duration = Duration::from_secs(1);

/// Who holds memory that it can do without.
pub trait Holder: Send + Sync + std::fmt::Debug {
    /// Lets go of what was not read since `moment`.
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

    /// A grant of `bytes`; `None` where even idle files leave no room.
    pub fn take(&self, bytes: u64) -> Option<Grant> {
        self.try_take(bytes).or_else(|| {
            self.ask_back();
            self.try_take(bytes)
        })
    }

    /// A grant of `bytes`, or of a quarter of all where they are more, once there is room: for work that nobody
    /// waits for, which never has more than half of all, and never stands in the way of who asks for some now.
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

    /// Has idle files let go of what they hold; at most once in a [`PAUSE`], for it looks at all.
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

    /// Somebody who holds memory from now on.
    pub fn register(&self, holder: Weak<dyn Holder>) {
        let mut holders = self.holders();
        if holders.len().is_power_of_two() {
            holders.retain(|holder| holder.strong_count() > 0);
        }
        holders.push(holder);
    }

    /// Bytes held now, and at most.
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

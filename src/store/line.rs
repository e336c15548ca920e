//! Limits concurrent requests in the background to the number that the network connection carries.
//!
//! `dcfs warm` fetches 32 objects at a time, and several pieces of each. On a connection of 3 MB/s a hundred
//! concurrent pieces of 8 MiB take minutes each, some of them are silent for long, and an interruption leaves
//! little of any. So a piece is started only if those before it arrive soon:
//!
//! - One that arrives within [`QUICK`] raises the limit by one.
//! - One that takes longer than [`SLOW`] lowers it, in proportion, but at most by half, and only once for all
//!   requests that were in progress then.
//!
//! A store that asks clients to slow down is spared in the same way, because retries take long.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The initial limit: enough for a connection of 100 Mbit/s, and few enough for a tenth of it.
const FIRST: usize = 8;

/// The highest limit: several pieces each of as many objects as the default of `--jobs`.
const MOST: usize = 128;

/// A piece of 8 MiB arrives within it at 4 MiB/s.
const QUICK: Duration = Duration::from_secs(2);

/// A piece of 8 MiB takes this long at 0.8 MiB/s. Well below the 15 s after which a silent connection counts as
/// dead.
const SLOW: Duration = Duration::from_secs(10);

/// The limit for all stores.
#[derive(Debug)]
pub struct Line {
    state: Mutex<State>,
    room: Notify,
}

#[derive(Debug)]
struct State {
    under_way: usize,
    limit: usize,
    /// When the limit was last lowered.
    cut: Option<Instant>,
}

/// A request in progress.
#[derive(Debug)]
pub struct Turn<'a> {
    line: &'a Line,
    began: Instant,
}

impl Default for Line {
    fn default() -> Self {
        let state = State { under_way: 0, limit: FIRST, cut: None };
        Self { state: Mutex::new(state), room: Notify::new() }
    }
}

impl Line {
    /// Waits until one more request may start.
    pub async fn enter(&self) -> Turn<'_> {
        loop {
            let room = self.room.notified();
            if self.state().enter() {
                // There may be room for more than one.
                self.room.notify_one();
                return Turn { line: self, began: Instant::now() };
            }
            room.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is a single step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self) -> bool {
        let has_room = self.under_way < self.limit;
        self.under_way += usize::from(has_room);
        has_room
    }

    /// Adjusts the limit after a request that began at `began` and ended at `now`.
    fn leave(&mut self, began: Instant, now: Instant) {
        let (took, was_full) = (now - began, self.under_way >= self.limit);
        self.under_way -= 1;
        if took <= QUICK && was_full {
            self.limit = (self.limit + 1).min(MOST);
        } else if took > SLOW && self.cut.is_none_or(|cut| began >= cut) {
            self.limit = share(self.limit, took).max(self.limit / 2).max(1);
            self.cut = Some(now);
        }
    }
}

/// How many of `limit` requests would have taken [`SLOW`], if all of them took `took`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the limit"
)]
fn share(limit: usize, took: Duration) -> usize {
    (limit as f64 * SLOW.as_secs_f64() / took.as_secs_f64()) as usize
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.line.state().leave(self.began, Instant::now());
        self.line.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The limit after this many rounds on a connection that carries `rate` bytes per second, each request a
    /// piece of 8 MiB.
    fn settles(rate: f64, rounds: usize) -> usize {
        let mut state = State { under_way: 0, limit: FIRST, cut: None };
        let mut now = Instant::now();
        for _ in 0..rounds {
            while state.enter() {}
            let (began, together) = (now, state.under_way);
            now += Duration::from_secs_f64(together as f64 * f64::from(8 << 20) / rate);
            (0..together).for_each(|_| state.leave(began, now));
        }
        state.limit
    }

    #[test]
    fn as_many_are_under_way_as_the_line_carries() {
        // 400 KB/s, 3 MB/s, 30 MB/s, 10 GB/s.
        let limits = [4e5, 3e6, 3e7, 1e10].map(|rate| settles(rate, 200));
        assert_eq!(limits, [1, 3, 8, MOST]);
    }

    #[test]
    fn no_more_are_under_way_than_there_is_room_for_and_none_waits_for_ever() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build();
        let (line, now, most) = <(Arc<Line>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        runtime.expect("a runtime").block_on(async {
            let one = |_| {
                let (line, now, most) = (Arc::clone(&line), Arc::clone(&now), Arc::clone(&most));
                tokio::spawn(async move {
                    let _turn = line.enter().await;
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                })
            };
            for task in (0..1000).map(one).collect::<Vec<_>>() {
                task.await.expect("it ends");
            }
        });
        let most = most.load(Ordering::SeqCst);
        assert!(FIRST < most && most <= MOST, "{most}");
        assert_eq!(line.state().under_way, 0);
    }
}

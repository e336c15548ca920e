//! Locks of unused entries, kept for a moment in case they are opened again.
//!
//! Otherwise repeated reads of the same small files would lock and unlock at every open. Eviction by another
//! process skips locked objects, and finds them unlocked a moment later ([`WHILE`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::held::Entry;

/// How long a lock is kept after the last use: at least this long, at most twice as long.
pub const WHILE: Duration = Duration::from_millis(500);

/// Entries whose locks are kept.
#[derive(Debug, Default)]
pub struct Linger {
    queue: Mutex<Queue>,
    /// Held while locks are released, and taken before `queue`: after a wait for it, every lock is released.
    releasing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<(Instant, Weak<Entry>)>,
    /// Whether a thread is releasing them.
    is_watched: bool,
}

impl Linger {
    /// Keeps the lock of an entry for a while.
    pub fn add(self: &Arc<Self>, entry: &Arc<Entry>) {
        let mut queue = self.queue();
        queue.entries.push_back((Instant::now() + WHILE, Arc::downgrade(entry)));
        if !std::mem::replace(&mut queue.is_watched, true) {
            let linger = Arc::clone(self);
            let watch = std::thread::Builder::new().name("dcfs-linger".into());
            if watch.spawn(move || linger.watch()).is_err() {
                queue.is_watched = false;
                drop(queue);
                self.let_go();
            }
        }
    }

    /// Releases all locks of unused entries, and waits for a thread that is releasing some.
    pub fn let_go(&self) {
        let _turn = self.turn();
        let entries = std::mem::take(&mut self.queue().entries);
        entries.into_iter().for_each(|(_, entry)| leave(&entry));
    }

    /// Releases locks until none is left.
    fn watch(&self) {
        loop {
            std::thread::sleep(WHILE);
            let _turn = self.turn();
            let now = Instant::now();
            let mut queue = self.queue();
            let due = queue.entries.partition_point(|(until, _)| *until <= now);
            let due: Vec<_> = queue.entries.drain(..due).collect();
            queue.is_watched = !(due.is_empty() && queue.entries.is_empty());
            let is_over = !queue.is_watched;
            drop(queue);
            due.iter().for_each(|(_, entry)| leave(entry));
            if is_over {
                return;
            }
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.releasing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn leave(entry: &Weak<Entry>) {
    if let Some(entry) = entry.upgrade() {
        entry.leave();
    }
}

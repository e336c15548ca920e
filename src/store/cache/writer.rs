//! The queue of background writes.
//!
//! A thread for each piece would be a wake-up for each piece, and small files arrive faster than one is written. So pieces
//! are queued, and a thread takes the next one before it sleeps. Several threads write only if many bytes are queued:
//! then the disk is the bottleneck.
//!
//! A thread that finds nothing waits for [`WHILE`]: small pieces that come meanwhile do not wake it, and are written together.
//! Whoever waits for a piece wakes it ([`Writer::hurry`]).

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One more thread per this many queued bytes.
const SHARE: usize = 4 << 20;

/// Maximum of concurrent writers.
const MOST: usize = 8;

/// How long a thread waits for more.
const WHILE: Duration = Duration::from_millis(2);

/// Queued bytes that wake a thread that waits.
const MUCH: usize = 1 << 20;

/// The pending writes of one cache.
#[derive(Debug)]
pub struct Writer {
    queue: Mutex<Queue>,
    more: Condvar,
    /// See [`WHILE`].
    wait: Duration,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    /// Of all of them.
    bytes: usize,
    writing: usize,
    /// The number of these that wait for more.
    waiting: usize,
}

struct Piece {
    bytes: usize,
    work: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self { queue: Mutex::default(), more: Condvar::new(), wait: WHILE }
    }
}

impl Writer {
    /// Runs `work`, which writes `bytes` bytes, on a thread that may block. Called within the runtime.
    pub fn write(self: &Arc<Self>, bytes: usize, work: impl FnOnce() + Send + 'static) {
        let mut queue = self.queue();
        queue.pieces.push_back(Piece { bytes, work: Box::new(work) });
        queue.bytes += bytes;
        if queue.waiting > 0 && queue.bytes >= MUCH {
            drop(queue);
            self.more.notify_one();
        } else if queue.writing < (1 + queue.bytes / SHARE).min(MOST) {
            queue.writing += 1;
            drop(queue);
            let writer = Arc::clone(self);
            tokio::task::spawn_blocking(move || writer.drain());
        }
    }

    /// Writes without a delay what is queued: somebody waits for it.
    pub fn hurry(&self) {
        if self.queue().waiting > 0 {
            self.more.notify_all();
        }
    }

    /// Runs until the queue is empty. A panic ends its own piece only.
    fn drain(&self) {
        while let Some(piece) = self.next() {
            let _ = catch_unwind(AssertUnwindSafe(piece.work));
        }
    }

    fn next(&self) -> Option<Piece> {
        let mut queue = self.queue();
        if queue.pieces.is_empty() {
            queue.waiting += 1;
            let waited = self.more.wait_timeout(queue, self.wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.waiting -= 1;
        }
        let next = queue.pieces.pop_front();
        match &next {
            Some(piece) => queue.bytes -= piece.bytes,
            None => queue.writing -= 1,
        }
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change under this lock is one step.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Instant;

    use super::*;

    /// Longer than anything takes: a test that fails does not hang.
    const LONG: Duration = Duration::from_secs(20);

    /// What comes until the last sender is gone.
    fn all<T>(from: &Receiver<T>) -> Vec<T> {
        std::iter::from_fn(|| from.recv_timeout(LONG).ok()).collect()
    }

    fn wait(writer: &Writer, is_so: fn(&Queue) -> bool) {
        let began = Instant::now();
        while !is_so(&writer.queue()) {
            assert!(began.elapsed() < LONG, "it never is");
            std::thread::yield_now();
        }
    }

    #[test]
    fn pieces_are_written_in_order_by_one_thread_and_a_panic_ends_only_its_own() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let runtime = runtime.expect("a runtime");
        let _within = runtime.enter();
        let (writer, (sender, written)) = (Arc::new(Writer::default()), channel());
        for number in 0..100 {
            let sender = sender.clone();
            writer.write(10, move || {
                assert_ne!(number, 50, "as told");
                sender.send((number, std::thread::current().id())).expect("awaited");
            });
        }
        drop(sender);
        let written = all(&written);
        let numbers: Vec<_> = written.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..100).filter(|number| *number != 50).collect::<Vec<_>>());
        wait(&writer, |queue| queue.writing == 0);
        assert_eq!(writer.queue().bytes, 0);
    }

    #[test]
    fn a_thread_that_waits_is_woken_by_who_waits_and_by_much() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let runtime = runtime.expect("a runtime");
        let _within = runtime.enter();
        let writer = Arc::new(Writer { wait: 3 * LONG, ..Writer::default() });
        let (sender, written) = channel();
        let write = |bytes| {
            let sender = sender.clone();
            writer.write(bytes, move || sender.send(bytes).expect("awaited"));
        };
        let came = || written.recv_timeout(LONG);
        write(10);
        assert_eq!(came(), Ok(10));
        wait(&writer, |queue| queue.waiting == 1);
        write(11);
        writer.hurry();
        assert_eq!(came(), Ok(11));
        // Also where another thread would be due for so many bytes.
        for much in [MUCH, SHARE] {
            wait(&writer, |queue| queue.waiting == 1);
            write(12);
            write(much);
            assert_eq!(writer.queue().writing, 1);
            assert_eq!((came(), came()), (Ok(12), Ok(much)));
        }
        wait(&writer, |queue| queue.waiting == 1);
        writer.hurry();
        wait(&writer, |queue| queue.writing == 0);
    }

    #[test]
    fn much_is_written_by_several_threads_and_never_by_too_many() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let runtime = runtime.expect("a runtime");
        let _within = runtime.enter();
        let (writer, (sender, written)) = (Arc::new(Writer::default()), channel());
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().expect("no panic");
        for _ in 0..20 {
            let (sender, gate) = (sender.clone(), gate.clone());
            let (now, most) = (now.clone(), most.clone());
            writer.write(SHARE, move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                drop(gate.lock());
                now.fetch_sub(1, Ordering::SeqCst);
                sender.send(()).expect("awaited");
            });
        }
        assert_eq!(writer.queue().writing, MOST);
        drop((closed, sender));
        assert_eq!(all(&written).len(), 20);
        assert!((1..=MOST).contains(&most.load(Ordering::SeqCst)));
    }
}

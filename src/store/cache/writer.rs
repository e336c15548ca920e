//! The queue of background writes.
//!
//! A thread for each piece would be a wake-up for each piece, and small files arrive faster than one is written. So pieces
//! are queued, and a thread takes the next one before it sleeps. Several threads write only if many bytes are queued:
//! then the disk is the bottleneck.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One more thread per this many queued bytes.
const SHARE: usize = 4 << 20;

/// Maximum of concurrent writers.
const MOST: usize = 8;

/// The pending writes of one cache.
#[derive(Debug, Default)]
pub struct Writer(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    /// Of all of them.
    bytes: usize,
    writing: usize,
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

impl Writer {
    /// Runs `work`, which writes `bytes` bytes, on a thread that may block. Called within the runtime.
    pub fn write(self: &Arc<Self>, bytes: usize, work: impl FnOnce() + Send + 'static) {
        let mut queue = self.queue();
        queue.pieces.push_back(Piece { bytes, work: Box::new(work) });
        queue.bytes += bytes;
        if queue.writing < (1 + queue.bytes / SHARE).min(MOST) {
            queue.writing += 1;
            drop(queue);
            let writer = Arc::clone(self);
            tokio::task::spawn_blocking(move || writer.drain());
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
        let next = queue.pieces.pop_front();
        match &next {
            Some(piece) => queue.bytes -= piece.bytes,
            None => queue.writing -= 1,
        }
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change under this lock is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

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
        let written: Vec<_> = written.iter().collect();
        let numbers: Vec<_> = written.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..100).filter(|number| *number != 50).collect::<Vec<_>>());
        while writer.queue().writing > 0 {
            std::thread::yield_now();
        }
        assert_eq!(writer.queue().bytes, 0);
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
        assert_eq!(written.iter().count(), 20);
        assert!((1..=MOST).contains(&most.load(Ordering::SeqCst)));
    }
}

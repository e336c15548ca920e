//! Background work on complete large objects: they are synced and marked, so that the next mount can hand them
//! to the kernel without reading them first; objects that an earlier mount marked are verified.
//!
//! One thread does both, one object at a time, so that it is the only background reader of the disk. It waits a
//! while ([`LATER`]), and verification takes half of the time at most: readers come first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::entry::Blocks;
use super::held::Entry;

/// Delay before an object is worked on.
const LATER: Duration = Duration::from_secs(1);

/// The thread ends after being idle for this long.
const IDLE: Duration = Duration::from_secs(10);

/// Complete objects that wait to be marked or verified.
#[derive(Debug, Default)]
pub struct Sealer {
    thread: Mutex<Option<Sender<Ask>>>,
    /// Objects that may have to be marked.
    coming: Arc<Behind>,
}

type Job = Weak<Entry>;

/// Adds an object, or handles the queued ones at once.
enum Ask {
    Take(Job),
    Hurry,
}

/// An object to check, or to verify from a byte on.
type Todo = (Job, Option<u64>);

impl Sealer {
    /// Takes an object that is complete, or may be.
    pub fn take(&self, entry: &Arc<Entry>) {
        if entry.large().is_none_or(Blocks::is_settled) {
            return;
        }
        let job = Arc::downgrade(entry);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        self.coming.add(1);
        let is_taken = |thread: &Sender<Ask>| thread.send(Ask::Take(job.clone())).is_ok();
        if thread.as_ref().is_some_and(is_taken) {
            return;
        }
        let (sender, jobs) = mpsc::channel();
        let _ = sender.send(Ask::Take(job));
        let coming = Arc::clone(&self.coming);
        let work = move || work(&jobs, &coming);
        let made = std::thread::Builder::new().name("dcfs-seal".into()).spawn(work);
        // Without a thread, the next reader verifies the object.
        made.is_err().then(|| self.coming.done(1));
        *thread = Some(sender);
    }

    /// Marks complete objects now.
    pub async fn settled(&self) {
        if let Some(thread) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = thread.send(Ask::Hurry);
        }
        self.coming.over().await;
    }
}

fn work(asked: &Receiver<Ask>, coming: &Behind) {
    let mut later: VecDeque<(Instant, Todo)> = VecDeque::new();
    loop {
        let due = later.front().map(|(due, _)| due.saturating_duration_since(Instant::now()));
        match asked.recv_timeout(due.unwrap_or(IDLE)) {
            Ok(Ask::Take(job)) if later.iter().any(|(_, (other, _))| other.ptr_eq(&job)) => {
                coming.done(1);
            }
            Ok(Ask::Take(job)) => later.push_back((Instant::now() + LATER, (job, None))),
            Ok(Ask::Hurry) => {
                let todo = later.drain(..).map(|(_, todo)| go_on(todo, coming));
                later = todo.flatten().collect();
            }
            Err(RecvTimeoutError::Timeout) if due.is_some() => {
                let rest = later.pop_front().and_then(|(_, todo)| go_on(todo, coming));
                later.extend(rest);
            }
            Err(_) => return,
        }
    }
}

/// Does the next step for an object; returns what is left to do, and when.
fn go_on((job, start): Todo, coming: &Behind) -> Option<(Instant, Todo)> {
    let since = Instant::now();
    let next = match start {
        Some(start) => compare(&job, start)?,
        None => {
            let is_done = seal(&job);
            coming.done(1);
            (!is_done).then_some(0)?
        }
    };
    Some((Instant::now() + since.elapsed(), (job, Some(next))))
}

/// Verifies a part of a marked object, while a hold exists; returns where to continue.
fn compare(job: &Job, start: u64) -> Option<u64> {
    job.upgrade()?.large().filter(|blocks| blocks.is_sealed())?.compare(start)
}

/// Returns whether no work is left for later.
fn seal(job: &Job) -> bool {
    let Some(entry) = job.upgrade() else { return true };
    let Some(blocks) = entry.large() else { return true };
    // It may have been queued twice.
    if blocks.is_settled() {
        return true;
    }
    if !blocks.is_checked() {
        return false;
    }
    if let Err(error) = blocks.seal() {
        tracing::debug!(%error, "an object could not be marked as complete");
    }
    true
}

/// A counter of background work that can be waited for: blocks of one object that are being written, or objects
/// that are being marked.
#[derive(Debug, Default)]
pub struct Behind {
    blocks: AtomicU64,
    written: Notify,
}

impl Behind {
    pub fn count(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    pub fn add(&self, blocks: u64) {
        self.blocks.fetch_add(blocks, Ordering::Relaxed);
    }

    /// Counts blocks as done, whether they were written or not.
    pub fn done(&self, blocks: u64) {
        self.blocks.fetch_sub(blocks, Ordering::Relaxed);
        self.written.notify_waiters();
    }

    /// Waits until the count is zero.
    pub async fn over(&self) {
        loop {
            let mut written = std::pin::pin!(self.written.notified());
            written.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            written.await;
        }
    }
}

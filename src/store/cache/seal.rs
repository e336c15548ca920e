//! What is done with a large object once it is whole, behind everybody's back: it is synced and marked, so that the next
//! mount need not read it before the kernel may; and what an earlier mount marked is compared with its checksums.
//!
//! One thread does both, one object at a time, so that a disk is asked by one. It waits a while ([`LATER`]), and comparing
//! takes half of the time at most: whoever reads the object now, or again at once, comes first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::entry::Blocks;
use super::held::Entry;

/// Before anything is done with an object.
const LATER: Duration = Duration::from_secs(1);

/// A thread that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);

/// Objects that are whole, on their way to be marked or compared.
#[derive(Debug, Default)]
pub struct Sealer {
    thread: Mutex<Option<Sender<Ask>>>,
    /// Objects that may have to be marked.
    coming: Arc<Behind>,
}

type Job = Weak<Entry>;

/// Takes an object, or looks at those that it has at once.
enum Ask {
    Take(Job),
    Hurry,
}

/// An object that is to be looked at, or to be compared from a byte on.
type Todo = (Job, Option<u64>);

impl Sealer {
    /// An object is whole, or may be.
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
        // Without a thread the object is compared by its next reader.
        made.is_err().then(|| self.coming.done(1));
        *thread = Some(sender);
    }

    /// What is whole is marked: now.
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

/// Does something for an object; what is left to do, and when.
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

/// Compares some of an object that is marked, while nobody lets go of it; where to go on.
fn compare(job: &Job, start: u64) -> Option<u64> {
    job.upgrade()?.large().filter(|blocks| blocks.is_sealed())?.compare(start)
}

/// Whether nothing is left to do later.
fn seal(job: &Job) -> bool {
    let Some(entry) = job.upgrade() else { return true };
    let Some(blocks) = entry.large() else { return true };
    // Somebody may have asked twice.
    if blocks.is_settled() {
        return true;
    }
    if !blocks.is_checked() {
        return false;
    }
    if let Err(error) = blocks.seal() {
        tracing::debug!(%error, "an object is not marked as whole");
    }
    true
}

/// Work behind somebody's back that may be waited for, counted: blocks of one object that arrived and are being
/// written, objects that are being marked.
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

    /// They are written, or will not be.
    pub fn done(&self, blocks: u64) {
        self.blocks.fetch_sub(blocks, Ordering::Relaxed);
        self.written.notify_waiters();
    }

    /// Until all of it is written.
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

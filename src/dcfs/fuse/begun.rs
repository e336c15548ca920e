//! Work that begins on the thread that took the request, and goes on in a task once it has to wait for long, or for anything but a socket.
//!
//! Most answers that have to wait start by sending a request to a server, which does not block. Started in a task, each
//! costs a wake-up of another thread before anything is sent; started here it costs none. If nothing else is in progress,
//! this thread also waits for the answer ([`patience`]): then one thread does all of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use dcfs_store::patience;
use tokio::runtime::Handle;

/// How long a thread waits for work that it began. Longer waits do not notice a task more or less.
const PATIENCE: Duration = Duration::from_millis(5);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Begins work, and counts what is in progress.
#[derive(Clone, Debug)]
pub struct Begin {
    runtime: Handle,
    going: Arc<AtomicUsize>,
    /// See [`PATIENCE`].
    patience: Duration,
}

/// A request in progress, until dropped: just before it is answered, for the next one may follow while the answer is sent.
#[derive(Debug)]
pub struct Going {
    all: Arc<AtomicUsize>,
    is_alone: bool,
}

/// Work that was started, until it is a task.
struct Begun {
    runtime: Handle,
    state: Mutex<State>,
}

enum State {
    /// It is being polled.
    Polled,
    /// Woken while it was polled.
    Woken,
    Waiting(Work),
    /// A task by now, or finished.
    Gone,
}

impl Begin {
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, going: Arc::default(), patience: PATIENCE }
    }

    /// A request has come.
    pub fn enter(&self) -> Going {
        let is_alone = self.going.fetch_add(1, Ordering::Relaxed) == 0;
        Going { all: Arc::clone(&self.going), is_alone }
    }

    /// Polls `work` on this thread; if it has to wait, the rest of it runs in the runtime. A panic ends this work only, as it would
    /// in a task.
    ///
    /// If `is_alone`, as [`Going::is_alone`] tells, the thread waits with it, at most [`PATIENCE`], for sockets, and `work` may
    /// look things up on disks of this machine ([`patience::is_here`]); otherwise it never blocks. So of several threads that take
    /// requests at most one waits, and the others take the next ones.
    pub fn work(&self, is_alone: bool, work: impl Future<Output = ()> + Send + 'static) {
        let _within = self.runtime.enter();
        let work: Work = Box::pin(work);
        let begun = Begun { runtime: self.runtime.clone(), state: Mutex::new(State::Polled) };
        let begun = Arc::new(begun);
        match is_alone {
            true => begun.patiently(work, self.patience),
            false => begun.impatiently(work),
        }
    }
}

impl Going {
    /// Whether no other request was in progress when it came.
    pub const fn is_alone(&self) -> bool {
        self.is_alone
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Begun {
    fn impatiently(self: Arc<Self>, mut work: Work) {
        let waker = Waker::from(Arc::clone(&self));
        if self.poll(&mut work, &mut Context::from_waker(&waker)).is_pending() {
            self.left(work);
        }
    }

    fn patiently(self: Arc<Self>, mut work: Work, limit: Duration) {
        let waker = Waker::from(Arc::clone(&self));
        let mut context = Context::from_waker(&waker);
        let until = Instant::now() + limit;
        loop {
            let (polled, waits) = patience::within(|| self.poll(&mut work, &mut context));
            if polled.is_ready() {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            let may_wait = !waits.is_empty() && !left.is_zero();
            // Woken by something else than a socket, it has something to do already.
            let goes_on = may_wait && (self.is_woken() || waits.arrived(left));
            // In a task, too, it has to be polled: then the runtime learns of the sockets.
            waits.wake();
            if !goes_on {
                return self.left(work);
            }
            *self.state() = State::Polled;
        }
    }

    /// Polls it once. Panicked work is over.
    fn poll(&self, work: &mut Work, context: &mut Context<'_>) -> Poll<()> {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        let polled = polled.unwrap_or(Poll::Ready(()));
        if polled.is_ready() {
            *self.state() = State::Gone;
        }
        polled
    }

    fn is_woken(&self) -> bool {
        matches!(*self.state(), State::Woken)
    }

    /// It has to wait: from the next wake on it is a task.
    fn left(&self, work: Work) {
        let mut state = self.state();
        match *state {
            State::Polled => *state = State::Waiting(work),
            _ => {
                *state = State::Gone;
                drop(state);
                self.runtime.spawn(work);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Begun {
    fn wake(self: Arc<Self>) {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Gone) {
            State::Waiting(work) => {
                drop(state);
                self.runtime.spawn(work);
            }
            State::Polled | State::Woken => *state = State::Woken,
            State::Gone => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::thread::{ThreadId, current};

    use tokio::runtime::Runtime;
    use tokio::sync::oneshot;

    use super::*;

    /// Longer than anything takes: a test that fails does not hang.
    const LONG: Duration = Duration::from_secs(20);

    /// What comes until the last sender is gone.
    fn all<T>(from: &Receiver<T>) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| from.recv_timeout(LONG).ok())
    }

    fn runtime() -> Runtime {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).build().expect("a runtime")
    }

    /// Work that tells where it begins and where it ends; the end waits for `gate`.
    fn told(
        gate: impl Future<Output = ()> + Send + 'static,
    ) -> (impl Future<Output = ()> + Send, Receiver<ThreadId>) {
        let (sender, places) = channel();
        let work = async move {
            let _ = sender.send(current().id());
            gate.await;
            let _ = sender.send(current().id());
        };
        (work, places)
    }

    #[test]
    fn begins_here_and_goes_on_in_a_task_if_it_has_to_wait() {
        let runtime = runtime();
        let (open, gate) = oneshot::channel::<()>();
        let (work, places) = told(async { drop(gate.await) });
        Begin::new(runtime.handle().clone()).work(false, work);
        assert_eq!(places.recv_timeout(LONG), Ok(current().id()));
        assert!(places.try_recv().is_err(), "it waits");
        open.send(()).expect("awaited");
        assert_ne!(places.recv_timeout(LONG).expect("an end"), current().id());
    }

    /// A socket, and work that waits for a byte from it, patiently as long as it may; at each poll, after looking for the byte, it
    /// tells where it is.
    fn socket(
        sender: Sender<(ThreadId, bool)>,
    ) -> (UnixStream, impl Future<Output = ()> + Send + 'static) {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        theirs.set_nonblocking(true).expect("a socket");
        let mut came = false;
        let work = std::future::poll_fn(move |cx| {
            came |= (&theirs).read(&mut [0]).is_ok();
            let _ = sender.send((current().id(), patience::is_here()));
            if !came && !patience::wait(theirs.as_fd(), patience::For::Reading, cx.waker()) {
                cx.waker().wake_by_ref();
            }
            if came { Poll::Ready(()) } else { Poll::Pending }
        });
        (ours, work)
    }

    #[test]
    fn what_is_alone_is_waited_for_here() {
        let runtime = runtime();
        let begin = Begin { patience: 3 * LONG, ..Begin::new(runtime.handle().clone()) };
        let (sender, places) = channel();
        let (mut ours, work) = socket(sender);
        // The byte comes only after the first poll has found none.
        let sends = std::thread::spawn(move || {
            let first = places.recv_timeout(LONG);
            ours.write_all(b"x").expect("sent");
            first.into_iter().chain(all(&places)).collect::<Vec<_>>()
        });
        let going = begin.enter();
        begin.work(going.is_alone(), work);
        let polled = sends.join().expect("no panic");
        assert!(polled.len() >= 2, "{polled:?}");
        assert!(polled.iter().all(|polled| *polled == (current().id(), true)), "{polled:?}");
    }

    #[test]
    fn what_was_woken_by_something_else_does_not_wait_for_the_socket() {
        let runtime = runtime();
        let begin = Begin { patience: 3 * LONG, ..Begin::new(runtime.handle().clone()) };
        // It never says anything.
        let (_ours, theirs) = UnixStream::pair().expect("sockets");
        let (sender, places) = channel();
        let mut is_first = true;
        let work = std::future::poll_fn(move |cx| {
            let _ = sender.send(current().id());
            if !std::mem::take(&mut is_first) {
                return Poll::Ready(());
            }
            patience::wait(theirs.as_fd(), patience::For::Reading, cx.waker());
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        begin.work(true, work);
        assert_eq!(all(&places).collect::<Vec<_>>(), [current().id(); 2]);
    }

    #[test]
    fn only_one_request_is_waited_for_and_not_for_long() {
        let runtime = runtime();
        let begin = Begin::new(runtime.handle().clone());
        let (one, two) = (begin.enter(), begin.enter());
        assert!(one.is_alone() && !two.is_alone());
        for going in [one, two] {
            let (sender, places) = channel();
            let (mut ours, work) = socket(sender);
            // It returns, although nothing was sent.
            begin.work(going.is_alone(), work);
            assert_eq!(places.recv_timeout(LONG), Ok((current().id(), going.is_alone())));
            let is_task = |polled: &(ThreadId, bool)| polled.0 != current().id() && !polled.1;
            assert!(all(&places).any(|polled| is_task(&polled)));
            ours.write_all(b"x").expect("sent");
        }
        assert!(begin.enter().is_alone(), "both were answered");
    }

    #[test]
    fn ends_here_if_nothing_is_to_be_waited_for() {
        let (work, places) = told(async {});
        Begin::new(runtime().handle().clone()).work(false, work);
        assert_eq!(all(&places).collect::<Vec<_>>(), [current().id(); 2]);
    }

    #[test]
    fn a_wake_while_it_begins_is_not_lost() {
        for _ in 0..200 {
            let runtime = runtime();
            let (work, places) = told(tokio::task::yield_now());
            Begin::new(runtime.handle().clone()).work(false, work);
            assert_eq!(all(&places).count(), 2);
            let (work, places) = told(async {
                let _ = tokio::spawn(async {}).await;
            });
            Begin::new(runtime.handle().clone()).work(false, work);
            assert_eq!(all(&places).count(), 2);
        }
    }

    #[test]
    fn a_panic_ends_the_work_and_nothing_else() {
        let runtime = runtime();
        let (sender, dropped) = channel::<()>();
        Begin::new(runtime.handle().clone()).work(false, async move {
            let _held = sender;
            panic!("as told");
        });
        let dropped = dropped.recv_timeout(LONG);
        assert_eq!(dropped, Err(RecvTimeoutError::Disconnected), "what it held is dropped");
    }
}

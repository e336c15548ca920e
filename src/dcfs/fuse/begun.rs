//! A future that starts on the thread that took the request, and continues in a task once it is woken.
//!
//! Most answers that have to wait start by sending a request to a server, which does not block. Started in a task, each
//! costs a wake-up of another thread before anything is sent; started here it costs none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::Handle;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Work that was started, until it is a task.
struct Begun {
    runtime: Handle,
    state: Mutex<State>,
}

enum State {
    /// The first poll is still running.
    Beginning,
    /// Woken during the first poll.
    Woken,
    Waiting(Work),
    /// A task by now, or finished.
    Gone,
}

/// Polls `work`, which never blocks, once on this thread; the rest of it runs in `runtime`. A panic ends this work only,
/// as it would in a task.
pub fn begin(runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    let _within = runtime.enter();
    let mut work: Work = Box::pin(work);
    let begun = Arc::new(Begun { runtime: runtime.clone(), state: Mutex::new(State::Beginning) });
    let waker = Waker::from(Arc::clone(&begun));
    let mut context = Context::from_waker(&waker);
    let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context)));
    match polled {
        Ok(Poll::Pending) => begun.left(work),
        Ok(Poll::Ready(())) | Err(_) => *begun.state() = State::Gone,
    }
}

impl Begun {
    /// The first poll returned `Pending`.
    fn left(&self, work: Work) {
        let mut state = self.state();
        match *state {
            State::Beginning => *state = State::Waiting(work),
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
            State::Beginning | State::Woken => *state = State::Woken,
            State::Gone => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::thread::{ThreadId, current};

    use tokio::runtime::Runtime;
    use tokio::sync::oneshot;

    use super::*;

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
        begin(runtime.handle(), work);
        assert_eq!(places.recv(), Ok(current().id()));
        assert!(places.try_recv().is_err(), "it waits");
        open.send(()).expect("awaited");
        assert_ne!(places.recv().expect("an end"), current().id());
    }

    #[test]
    fn ends_here_if_nothing_is_to_be_waited_for() {
        let (work, places) = told(async {});
        begin(runtime().handle(), work);
        assert_eq!((places.recv(), places.recv()), (Ok(current().id()), Ok(current().id())));
    }

    #[test]
    fn a_wake_while_it_begins_is_not_lost() {
        for _ in 0..200 {
            let runtime = runtime();
            let (work, places) = told(tokio::task::yield_now());
            begin(runtime.handle(), work);
            assert_eq!(places.iter().count(), 2);
            let (work, places) = told(async {
                let _ = tokio::spawn(async {}).await;
            });
            begin(runtime.handle(), work);
            assert_eq!(places.iter().count(), 2);
        }
    }

    #[test]
    fn a_panic_ends_the_work_and_nothing_else() {
        let runtime = runtime();
        let (sender, dropped) = channel::<()>();
        begin(runtime.handle(), async move {
            let _held = sender;
            panic!("as told");
        });
        assert!(dropped.recv().is_err(), "what it held is dropped");
    }
}

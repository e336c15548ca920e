//! Waiting on the thread that took a request.
//!
//! A request that has to wait is usually continued by a task: a thread waits for its socket, wakes another that runs the
//! task, and neither is the one that took the request. If nothing else is in progress, that thread has nothing better to
//! do than to wait itself. It polls the work within [`within`]; a socket for which the work waits says so ([`wait`]), is
//! awaited right here ([`Waits::arrived`]), and the work is polled again. Work that waits for anything else, or for
//! long, is moved to a task as ever, where sockets are awaited by the runtime.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::task::Waker;
use std::time::Duration;

thread_local! {
    /// While this thread is patient: the sockets it is to wait for.
    static WAITS: RefCell<Option<Vec<Wait>>> = const { RefCell::new(None) };
}

/// What a socket has to be ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    Reading,
    Writing,
}

struct Wait {
    socket: RawFd,
    events: i16,
    waker: Waker,
}

/// The sockets for which polled work waits.
#[derive(Default)]
pub struct Waits(Vec<Wait>);

/// Whether the work that is polled may wait on this thread.
pub fn is_here() -> bool {
    WAITS.with_borrow(Option::is_some)
}

/// Tells the thread to wait for a socket, and to wake `waker` then. `false` if it does not wait.
pub fn wait(socket: BorrowedFd<'_>, what: For, waker: &Waker) -> bool {
    let events = match what {
        For::Reading => libc::POLLIN,
        For::Writing => libc::POLLOUT,
    };
    WAITS.with_borrow_mut(|waits| {
        let Some(waits) = waits else { return false };
        waits.push(Wait { socket: socket.as_raw_fd(), events, waker: waker.clone() });
        true
    })
}

/// Polls work on a patient thread; returns its result, and what it waits for.
pub fn within<T>(poll: impl FnOnce() -> T) -> (T, Waits) {
    /// A panic leaves no thread patient.
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            WAITS.take();
        }
    }
    WAITS.set(Some(Vec::new()));
    let over = Over;
    let polled = poll();
    let waits = Waits(WAITS.take().unwrap_or_default());
    drop(over);
    (polled, waits)
}

impl Waits {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until a socket is ready, or this long; returns whether one is.
    pub fn arrived(&self, limit: Duration) -> bool {
        let poll = |wait: &Wait| libc::pollfd { fd: wait.socket, events: wait.events, revents: 0 };
        let mut sockets: Vec<libc::pollfd> = self.0.iter().map(poll).collect();
        let limit = libc::timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        // SAFETY: `sockets` has as many elements as its length says. A descriptor that was closed meanwhile is reported,
        // and one that was reused at worst ends the wait early or lets it take as long as `limit`.
        let ready = unsafe {
            let count = sockets.len() as libc::nfds_t;
            libc::ppoll(sockets.as_mut_ptr(), count, &limit, std::ptr::null())
        };
        ready > 0
    }

    /// Has all of it polled again.
    pub fn wake(self) {
        self.0.into_iter().for_each(|wait| wait.waker.wake());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_a_patient_thread_waits() {
        let (mut one, other) = UnixStream::pair().expect("sockets");
        let waker = Waker::noop();
        assert!(!is_here() && !wait(other.as_fd(), For::Reading, waker));
        let (waits_here, waits) = within(|| wait(other.as_fd(), For::Reading, waker));
        assert!(waits_here && !is_here());
        assert!(!waits.arrived(Duration::from_millis(1)));
        one.write_all(b"x").expect("sent");
        assert!(waits.arrived(Duration::from_secs(20)));
        let (_, waits) = within(|| wait(other.as_fd(), For::Writing, waker));
        assert!(waits.arrived(Duration::ZERO));
    }

    #[test]
    fn a_panic_leaves_no_thread_patient() {
        assert!(std::panic::catch_unwind(|| within(|| panic!("as told"))).is_err());
        assert!(!is_here());
    }
}

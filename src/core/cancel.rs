//! Cooperative cancellation: long work checks a flag, and stops at its next check once nobody waits
//! for the result.
//!
//! A thread that does long work runs it under a [`Flag`]; the work calls [`is_cancelled`] every few
//! thousand rows. Work that starts threads of its own passes the flag on to them ([`current`],
//! [`within`]).

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::error::{Error, Kind, Result};

/// A cancellation flag. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Flag(Arc<AtomicBool>);

impl Flag {
    /// Stops the work at its next check.
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether it was cancelled.
    pub fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Flag>> = const { RefCell::new(None) };
}

/// The flag of this thread's work, to be passed on to its own threads.
pub fn current() -> Option<Flag> {
    CURRENT.with_borrow(Clone::clone)
}

/// Runs `work` under a flag; restores the previous one afterwards.
pub fn within<T>(flag: Option<Flag>, work: impl FnOnce() -> T) -> T {
    /// Restores the previous flag, also on a panic.
    struct Before(Option<Flag>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _before = Before(CURRENT.replace(flag));
    work()
}

/// Whether this thread's work was cancelled.
pub fn is_cancelled() -> bool {
    CURRENT.with_borrow(|flag| flag.as_ref().is_some_and(Flag::is_set))
}

/// Fails if this thread's work was cancelled.
///
/// # Errors
/// [`Kind::Busy`]; nobody is left to read it.
pub fn check() -> Result<()> {
    match is_cancelled() {
        true => Err(Error::new(Kind::Busy, "cancelled: nobody waits for the result any more")),
        false => Ok(()),
    }
}

thread_local! {
    static IS_HURRIED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a thread that others need soon: where it would wait for a lock, take long or change a disk, it fails. It is then done
/// again on a thread of its own, so its errors are dropped.
pub fn hurried<T>(work: impl FnOnce() -> T) -> T {
    /// Also on a panic.
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            IS_HURRIED.set(false);
        }
    }
    IS_HURRIED.set(true);
    let _over = Over;
    work()
}

/// Whether this thread's work must not wait for locks, take long or change a disk.
pub fn is_hurried() -> bool {
    IS_HURRIED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hurried_work_is_hurried() {
        assert!(hurried(is_hurried) && !is_hurried());
        assert!(std::panic::catch_unwind(|| hurried(|| panic!("as told"))).is_err());
        assert!(!is_hurried());
    }

    #[test]
    fn work_is_told_and_what_comes_after_is_not() {
        let flag = Flag::default();
        within(Some(flag.clone()), || {
            assert!(!is_cancelled());
            flag.cancel();
            assert!(is_cancelled());
            within(None, || assert!(!is_cancelled()));
            let flag = current();
            let told = std::thread::spawn(move || within(flag, is_cancelled));
            assert!(told.join().expect("no panic") && is_cancelled());
        });
        assert!(!is_cancelled());
    }
}

//! Work that nobody waits for any more: it is told so, and ends at the next place where it asks.
//!
//! A thread that does long work is given a [`Flag`] for as long as it does; work asks [`is_cancelled`] every few thousand rows. Work
//! that hands some of it to threads of its own gives them the flag ([`current`], [`within`]).

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::error::{Error, Kind, Result};

/// Whether some work is to end. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct Flag(Arc<AtomicBool>);

impl Flag {
    /// Ends the work at the next place where it asks.
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether it is to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Flag>> = const { RefCell::new(None) };
}

/// The flag of this thread's work, for threads that do some of it.
pub fn current() -> Option<Flag> {
    CURRENT.with_borrow(Clone::clone)
}

/// Does `work` under a flag; the one before it counts again afterwards.
pub fn within<T>(flag: Option<Flag>, work: impl FnOnce() -> T) -> T {
    /// Puts a flag back, however the work ends.
    struct Before(Option<Flag>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _before = Before(CURRENT.replace(flag));
    work()
}

/// Whether this thread's work is to end.
pub fn is_cancelled() -> bool {
    CURRENT.with_borrow(|flag| flag.as_ref().is_some_and(Flag::is_set))
}

/// Refuses to go on with work that is to end.
///
/// # Errors
/// [`Kind::Busy`], which nobody is there to read.
pub fn check() -> Result<()> {
    match is_cancelled() {
        true => Err(Error::new(Kind::Busy, "nobody waited for this any more, so it was ended")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

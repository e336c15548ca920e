//! Ctrl-C in the middle of long work: the last line says what was kept, and the process ends as one that nobody caught.
//!
//! Long commands leave things whole at any moment (stages, drafts, the cache), so there is nothing to clean up here; a person
//! wants to know whether what was done so far was for nothing.

use std::process;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::output::sanitized;

/// What is said; of one command at a time.
type Said = Box<dyn Fn() -> String + Send>;

static SAID: Mutex<Option<Said>> = Mutex::new(None);

/// The one thread that waits for the signal.
static LISTENER: Once = Once::new();

/// While it lives, Ctrl-C says what was kept.
#[must_use]
pub struct Interrupt(());

/// Says `what` is kept, once somebody interrupts this process.
pub fn says(what: impl Fn() -> String + Send + 'static) -> Interrupt {
    *said() = Some(Box::new(what));
    LISTENER.call_once(|| {
        // Without the signal, Ctrl-C ends the process and says nothing.
        if let Ok(mut signals) = Signals::new([SIGINT]) {
            thread::spawn(move || {
                if signals.forever().next().is_some() {
                    end();
                }
            });
        }
    });
    Interrupt(())
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        *said() = None;
    }
}

fn end() {
    if let Some(what) = &*said() {
        // Whatever line of progress stands there is written over.
        eprintln!("\r\x1b[Kdcfs: interrupted; {}", sanitized(&what()));
    }
    // So that the shell sees a process that ended by the signal.
    emulate_default_handler(SIGINT).ok();
    process::exit(130);
}

fn said() -> std::sync::MutexGuard<'static, Option<Said>> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Ctrl-C during long work: the last line says what was kept, and the process ends as if the signal were not
//! caught.
//!
//! Long commands are consistent at any moment (stages, drafts, the cache), so there is nothing to clean up
//! here; but users want to know whether the work so far is lost.

use std::process;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::output::sanitized;

/// The message; of one command at a time.
type Said = Box<dyn Fn() -> String + Send>;

static SAID: Mutex<Option<Said>> = Mutex::new(None);

/// The one thread that waits for the signal.
static LISTENER: Once = Once::new();

/// While this is alive, Ctrl-C prints what was kept.
#[must_use]
pub struct Interrupt(());

/// Prints the text of `what` if this process is interrupted.
pub fn says(what: impl Fn() -> String + Send + 'static) -> Interrupt {
    *said() = Some(Box::new(what));
    LISTENER.call_once(|| {
        // Without the handler, Ctrl-C ends the process without a message.
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
        // Overwrites a progress line.
        eprintln!("\r\x1b[Kdcfs: interrupted; {}", sanitized(&what()));
    }
    // So that the shell sees a process killed by the signal.
    emulate_default_handler(SIGINT).ok();
    process::exit(130);
}

fn said() -> std::sync::MutexGuard<'static, Option<Said>> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Messages on stderr about what a command waits for: for a store that does not answer, the cause and how long
//! it will still be tried.
//!
//! Other log messages of a mount are not for the user of a command, who sees results and errors.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::output::sanitized;
use dcfs_core::secrets::masked;
use dcfs_store::WAITS;

/// Minimum time between messages: many requests may wait for one store.
const PACE: Duration = Duration::from_secs(5);

/// Enables the messages.
pub fn tell() {
    tracing::subscriber::set_global_default(Waits { told: Mutex::new(None) }).ok();
}

struct Waits {
    told: Mutex<Option<Instant>>,
}

impl Waits {
    fn is_due(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|told| told.elapsed() >= PACE);
        if is_due {
            *told = Some(Instant::now());
        }
        is_due
    }
}

impl Subscriber for Waits {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == WAITS
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        if !message.0.is_empty() && self.is_due() {
            // Clears a progress line.
            let clear = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
            let text = sanitized(&masked(&message.0));
            // The reader may be gone.
            writeln!(io::stderr(), "{clear}dcfs: {text}").ok();
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Extracts the text of an event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

//! A progress bar for pulls of rows from Studio, whichever command needs them.

use std::sync::{Mutex, PoisonError};

use super::progress::{Progress, Unit};
use dcfs_data::catalog::{Pulling, watch_pulls};

/// Enables it.
pub fn tell() {
    let bar: Mutex<Option<Bar>> = Mutex::new(None);
    watch_pulls(move |now| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        match now {
            Some(now) => bar.get_or_insert_with(Bar::new).show(now),
            None => *bar = None,
        }
    });
}

/// One pull.
struct Bar {
    progress: Progress,
    doing: &'static str,
    bytes: u64,
}

impl Bar {
    fn new() -> Self {
        Self { progress: Progress::new(Unit::Parts), doing: "", bytes: 0 }
    }

    fn show(&mut self, now: &Pulling) {
        if self.doing != now.doing {
            self.doing = now.doing;
            match now.doing {
                "writing" => self.progress.begin("writing pulled rows", Unit::Rows, None),
                _ => self.progress.begin("pulling from Studio", Unit::Parts, None),
            }
        }
        self.progress.set_total(now.of);
        if now.doing == "fetching" {
            self.progress.add_bytes(now.bytes.saturating_sub(self.bytes));
            self.bytes = now.bytes;
        }
        self.progress.reach(now.done);
    }
}

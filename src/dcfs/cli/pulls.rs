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
            Some(now) => {
                let bar = bar.get_or_insert_with(|| Bar::new(&now.version));
                // The other pulls of this process are not shown.
                if bar.version == now.version {
                    bar.show(now);
                }
            }
            None => *bar = None,
        }
    });
}

/// One pull.
struct Bar {
    progress: Progress,
    version: String,
    doing: &'static str,
    /// The most that was told in this phase: what one thread tells may come after what another told later.
    done: u64,
    bytes: u64,
}

impl Bar {
    fn new(version: &str) -> Self {
        let progress = Progress::new(Unit::Parts);
        Self { progress, version: version.to_owned(), doing: "", done: 0, bytes: 0 }
    }

    fn show(&mut self, now: &Pulling) {
        if self.doing != now.doing {
            (self.doing, self.done) = (now.doing, 0);
            match now.doing {
                "writing" => self.progress.begin("writing pulled rows", Unit::Rows, None),
                _ => self.progress.begin("pulling from Studio", Unit::Parts, None),
            }
        }
        self.progress.set_total(now.of);
        if now.doing == "fetching" {
            self.progress.add_bytes(now.bytes.saturating_sub(self.bytes));
            self.bytes = self.bytes.max(now.bytes);
        }
        self.done = self.done.max(now.done);
        self.progress.reach(self.done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_late_takes_nothing_back() {
        let mut bar = Bar::new("pets@1.0.0");
        for (done, bytes) in [(1, 20), (3, 60), (2, 50)] {
            let (version, doing) = (bar.version.clone(), "fetching");
            bar.show(&Pulling { version, doing, done, of: 3, bytes, seconds: 0.0 });
        }
        assert_eq!((bar.progress.done(), bar.bytes), (3, 60));
    }
}

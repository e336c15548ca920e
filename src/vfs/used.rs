//! Usage records of versions that are read through the file system: each kind of use once a day.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use super::Vfs;
use dcfs_core::cancel;
use dcfs_core::expr::Query;
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::VersionInfo;
use dcfs_data::usage::{How, Usage, Use};

/// Limit of remembered uses; beyond it, some are recorded twice.
const MOST: usize = 10_000;

/// The destination of usage records, and those already written.
#[derive(Debug, Default)]
pub struct Used {
    usage: OnceLock<Usage>,
    noted: Mutex<HashSet<Use>>,
    is_shared: AtomicBool,
}

impl Vfs {
    /// Enables usage records. Nothing is recorded before; a second call has no effect.
    pub fn note_usage(&self, usage: Usage) {
        self.used.usage.set(usage).ok();
    }

    /// Declares that other users have access: what each of them does is private, so from now on nothing is
    /// recorded, and no page shows usage or running programs. Documents of the team, which their own modes may protect,
    /// are left out.
    pub fn share(&self) {
        self.pages.share();
        self.used.is_shared.store(true, Ordering::Relaxed);
    }

    /// Whether other users have access.
    pub(super) fn is_shared(&self) -> bool {
        self.used.is_shared.load(Ordering::Relaxed)
    }

    /// The usage records, if enabled.
    pub(super) fn usage(&self) -> Usage {
        self.used.usage.get().cloned().unwrap_or_default()
    }

    /// Records that a file of a version was opened. Blocks for a moment, once a day.
    pub(super) fn note_opened(&self, of: &VersionInfo) {
        self.note_use(Use::new(How::Opened, &of.dataset, of.version));
    }

    /// Records that rows of a version were filtered, like [`Vfs::note_opened`].
    pub(super) fn note_filtered(&self, of: &VersionInfo, query: &Query) {
        self.note_use(Use::filtered(of, query));
    }

    fn note_use(&self, used: Use) {
        let Some(usage) = self.used.usage.get().filter(|_| !self.is_shared()) else { return };
        let now = Timestamp::of_system(SystemTime::now());
        let used = Use { day: now.fixed().get(..10).unwrap_or_default().to_owned(), ..used };
        let mut noted = self.used.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= MOST {
            noted.clear();
        }
        let is_new = noted.insert(used.clone());
        drop(noted);
        if !is_new {
            return;
        }
        match cancel::is_hurried() {
            true => {
                let usage = usage.clone();
                tokio::task::spawn_blocking(move || usage.note(used, now));
            }
            false => usage.note(used, now),
        }
    }
}

//! Limits of open files and directories per user, so that one user cannot exhaust them for all.
//!
//! Each may take a descriptor of this process, of which there is a limited number; the catalog, packs and the
//! cache need some too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dcfs_vfs::handles::HandleId;
use fuser::Errno;
use nix::unistd::geteuid;

/// Every user may have this many open, however few descriptors there are.
const FEWEST: usize = 16;

/// Limit of open directories per user: they take memory only.
const DIRECTORIES: usize = 1 << 16;

/// The open handles, by user.
#[derive(Debug)]
pub struct Opens {
    most: Most,
    /// The user who mounted.
    owner: u32,
    table: Mutex<Table>,
}

/// The limits.
#[derive(Clone, Copy, Debug)]
struct Most {
    of_user: usize,
    of_all: usize,
}

#[derive(Debug, Default)]
struct Table {
    /// Users by handle.
    users: HashMap<HandleId, u32>,
    /// The number that each user has open or is about to open.
    counts: HashMap<u32, usize>,
    /// The sum of these.
    all: usize,
}

/// The right to open one more; returned when dropped.
#[derive(Debug)]
pub struct Reserved {
    opens: Arc<Opens>,
    user: u32,
    is_kept: bool,
}

impl Opens {
    /// Limits for files: half of this process's `descriptors` in total, and a quarter per user if several users
    /// have access.
    pub fn of_files(descriptors: u64, is_shared: bool) -> Self {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let of_user = if is_shared { descriptors / 4 } else { descriptors / 2 };
        Self::bounded(of_user.max(FEWEST), (descriptors / 2).max(FEWEST))
    }

    /// Limits for directories.
    pub fn of_directories() -> Self {
        Self::bounded(DIRECTORIES, usize::MAX)
    }

    fn bounded(of_user: usize, of_all: usize) -> Self {
        let owner = geteuid().as_raw();
        Self { most: Most { of_user, of_all }, owner, table: Mutex::default() }
    }

    /// Reserves a handle that is about to be opened.
    ///
    /// # Errors
    /// EMFILE if the user's limit is reached, ENFILE if the total limit is. Beyond the total, root and the
    /// mount's owner may use half as much again: others cannot lock them out.
    pub fn reserve(self: &Arc<Self>, user: u32) -> Result<Reserved, Errno> {
        let of_all = match user == 0 || user == self.owner {
            true => self.most.of_all.saturating_add(self.most.of_all / 2),
            false => self.most.of_all,
        };
        let mut table = self.table();
        if table.counts.get(&user).is_some_and(|count| *count >= self.most.of_user) {
            return Err(Errno::EMFILE);
        }
        if table.all >= of_all {
            return Err(Errno::ENFILE);
        }
        table.all += 1;
        *table.counts.entry(user).or_default() += 1;
        drop(table);
        Ok(Reserved { opens: self.clone(), user, is_kept: false })
    }

    /// Releases a handle.
    pub fn released(&self, handle: HandleId) {
        let mut table = self.table();
        if let Some(user) = table.users.remove(&handle) {
            table.leave(user);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Decrements the user's count.
    fn leave(&mut self, user: u32) {
        self.all = self.all.saturating_sub(1);
        let count = self.counts.entry(user).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.counts.remove(&user);
        }
    }
}

impl Reserved {
    /// Keeps the reservation until the handle is released.
    pub fn keep(mut self, handle: HandleId) {
        self.opens.table().users.insert(handle, self.user);
        self.is_kept = true;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.is_kept {
            self.opens.table().leave(self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens() -> Arc<Opens> {
        let owner = 1000;
        Arc::new(Opens { owner, ..Opens::of_files(400, true) })
    }

    fn refused(opens: &Arc<Opens>, user: u32) -> Option<Errno> {
        opens.reserve(user).err()
    }

    fn open(opens: &Arc<Opens>, user: u32, handle: HandleId) {
        opens.reserve(user).expect("room").keep(handle);
    }

    #[test]
    fn a_user_with_their_share_leaves_room_for_others() {
        let opens = opens();
        (0..100).for_each(|handle| open(&opens, 1, HandleId(handle)));
        assert_eq!(refused(&opens, 1), Some(Errno::EMFILE));
        assert_eq!(refused(&opens, 2), None);
        (100..200).for_each(|handle| open(&opens, 2, HandleId(handle)));
        assert_eq!(refused(&opens, 3), Some(Errno::ENFILE), "the rest is for this process itself");
        assert_eq!((refused(&opens, 0), refused(&opens, 1000)), (None, None));
        (0..10).for_each(|handle| opens.released(HandleId(handle)));
        assert_eq!((refused(&opens, 1), refused(&opens, 3)), (None, None));
        (0..300).for_each(|handle| opens.released(HandleId(handle)));
        assert!(opens.table().users.is_empty() && opens.table().counts.is_empty());
        assert_eq!(opens.table().all, 0);
    }

    #[test]
    fn what_is_being_opened_counts() {
        let opens = opens();
        let mut reserved: Vec<Reserved> =
            (0..100).map(|_| opens.reserve(1).expect("room")).collect();
        assert_eq!(refused(&opens, 1), Some(Errno::EMFILE));
        reserved.pop();
        assert_eq!(refused(&opens, 1), None, "one failed");
        drop(reserved);
        assert!(opens.table().counts.is_empty());
    }
}

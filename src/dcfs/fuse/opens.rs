//! How many files and directories each user keeps open: one who keeps them all must not be everybody's EIO.
//!
//! Each may take a descriptor of this process, of which there are only so many; the catalog, packs and the cache need some too.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fuser::Errno;

/// Every user may keep so many open, however few descriptors there are.
const FEWEST: usize = 16;

/// Directories a user may keep open: they take memory alone.
const DIRECTORIES: usize = 1 << 16;

/// What is open, by user.
#[derive(Debug)]
pub struct Opens {
    most: Most,
    table: Mutex<Table>,
}

/// How many may be open.
#[derive(Clone, Copy, Debug)]
struct Most {
    of_user: usize,
    of_all: usize,
}

#[derive(Debug, Default)]
struct Table {
    /// Users by handle.
    users: HashMap<u64, u32>,
    counts: HashMap<u32, usize>,
}

impl Opens {
    /// Of files: half of this process's `descriptors`, and where several users may ask a quarter for each.
    pub fn of_files(descriptors: u64, is_shared: bool) -> Self {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let of_user = if is_shared { descriptors / 4 } else { descriptors / 2 };
        Self::bounded(of_user.max(FEWEST), (descriptors / 2).max(FEWEST))
    }

    /// Of directories.
    pub fn of_directories() -> Self {
        Self::bounded(DIRECTORIES, usize::MAX)
    }

    fn bounded(of_user: usize, of_all: usize) -> Self {
        Self { most: Most { of_user, of_all }, table: Mutex::default() }
    }

    /// Refuses one more to who has too many open. What many open in one moment may exceed the bound by as many.
    ///
    /// # Errors
    /// EMFILE for who has their share, ENFILE where all together have.
    pub fn check(&self, user: u32) -> Result<(), Errno> {
        let table = self.table();
        if table.counts.get(&user).is_some_and(|count| *count >= self.most.of_user) {
            return Err(Errno::EMFILE);
        }
        if table.users.len() >= self.most.of_all { Err(Errno::ENFILE) } else { Ok(()) }
    }

    /// Counts a handle that was given out.
    pub fn opened(&self, user: u32, handle: u64) {
        let mut table = self.table();
        table.users.insert(handle, user);
        *table.counts.entry(user).or_default() += 1;
    }

    /// Forgets it.
    pub fn released(&self, handle: u64) {
        let mut table = self.table();
        let Some(user) = table.users.remove(&handle) else { return };
        let count = table.counts.entry(user).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            table.counts.remove(&user);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_their_share_leaves_room_for_others() {
        let opens = Opens::of_files(400, true);
        (0..100).for_each(|handle| opens.opened(1, handle));
        assert_eq!(opens.check(1), Err(Errno::EMFILE));
        assert_eq!(opens.check(2), Ok(()));
        (100..200).for_each(|handle| opens.opened(2, handle));
        assert_eq!(opens.check(3), Err(Errno::ENFILE), "the rest is for this process itself");
        (0..10).for_each(|handle| opens.released(handle));
        assert_eq!((opens.check(1), opens.check(3)), (Ok(()), Ok(())));
        (0..300).for_each(|handle| opens.released(handle));
        assert!(opens.table().users.is_empty() && opens.table().counts.is_empty());
    }
}

//! Chooses the open files that the kernel reads directly ("passthrough", Linux 6.9).
//!
//! The kernel binds an inode to one mode of reading, from its first open to its last release: a second mode, or
//! a second registration of the same file, makes the open fail with EIO. So the mode is chosen when an inode is
//! opened that nobody has open, and kept. An open is counted before its reply, a release when it is received:
//! the kernel never has more opens than are counted here.
//!
//! Registrations are kept after the last release, the most recent [`IDLE`] of them: that saves two system calls
//! per open in the next epoch.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lru::LruCache;

/// Limit of unused registrations. Each holds a file open within the kernel; if this process has closed the
/// file, so must the kernel ([`Modes::sweep`]).
const IDLE: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// All open inodes. `Id` is a file registered with the kernel.
#[derive(Debug)]
pub struct Modes<Id> {
    table: Mutex<Table<Id>>,
    /// Whether the kernel refuses passthrough to this process.
    is_refused: AtomicBool,
}

#[derive(Debug)]
struct Table<Id> {
    open: HashMap<u64, Mode<Id>>,
    idle: LruCache<u64, Backing<Id>>,
}

#[derive(Debug)]
struct Mode<Id> {
    opens: u64,
    /// The file that the kernel reads; `None` if it asks this process for the bytes.
    backing: Option<Backing<Id>>,
}

/// A file, and its registration in the kernel.
#[derive(Debug)]
struct Backing<Id> {
    file: Weak<File>,
    id: Arc<Id>,
}

impl<Id> Default for Modes<Id> {
    fn default() -> Self {
        let table = Table { open: HashMap::new(), idle: LruCache::new(IDLE) };
        Self { table: Mutex::new(table), is_refused: AtomicBool::new(false) }
    }
}

impl<Id> Modes<Id> {
    /// Counts an open and returns the file for the kernel to read: the current one, or `whole` if this is the
    /// first open and `register` succeeds.
    pub fn open(
        &self,
        ino: u64,
        whole: Option<&Arc<File>>,
        register: impl FnOnce(&File) -> io::Result<Id>,
    ) -> Option<Arc<Id>> {
        let mut table = self.lock();
        let Table { open, idle } = &mut *table;
        let mode = open.entry(ino).or_insert_with(|| {
            let backing = whole.and_then(|file| {
                let kept = idle.pop(&ino).filter(|kept| kept.file.as_ptr() == Arc::as_ptr(file));
                kept.or_else(|| self.backing(file, register))
            });
            Mode { opens: 0, backing }
        });
        mode.opens += 1;
        mode.backing.as_ref().map(|backing| Arc::clone(&backing.id))
    }

    /// Counts a release.
    pub fn release(&self, ino: u64) {
        let mut table = self.lock();
        let Some(mode) = table.open.get_mut(&ino) else { return };
        mode.opens -= 1;
        if mode.opens == 0
            && let Some(backing) = table.open.remove(&ino).and_then(|mode| mode.backing)
        {
            // A file that is closed here will not be reopened as the same file.
            let dropped = match backing.file.strong_count() {
                0 => Some((ino, backing)),
                _ => table.idle.push(ino, backing),
            };
            drop(table);
            drop(dropped);
        }
    }

    /// Drops registrations of files that this process has closed.
    pub fn sweep(&self) {
        let mut table = self.lock();
        let closed = table.idle.iter().filter(|(_, backing)| backing.file.strong_count() == 0);
        let closed: Vec<u64> = closed.map(|(ino, _)| *ino).collect();
        let dropped: Vec<_> = closed.iter().filter_map(|ino| table.idle.pop(ino)).collect();
        drop(table);
        drop(dropped);
    }

    fn backing(
        &self,
        file: &Arc<File>,
        register: impl FnOnce(&File) -> io::Result<Id>,
    ) -> Option<Backing<Id>> {
        if self.is_refused.load(Ordering::Relaxed) {
            return None;
        }
        let id = self.note(register(file))?;
        Some(Backing { file: Arc::downgrade(file), id: Arc::new(id) })
    }

    /// Permission errors are permanent, and so is a kernel without the feature; other errors concern only this
    /// file.
    fn note(&self, registered: io::Result<Id>) -> Option<Id> {
        registered
            .inspect_err(|error| {
                let codes = [libc::EPERM, libc::ENOTTY, libc::EOPNOTSUPP, libc::EINVAL];
                if error.raw_os_error().is_some_and(|code| codes.contains(&code)) {
                    self.is_refused.store(true, Ordering::Relaxed);
                }
                tracing::debug!("the kernel cannot read a file directly: {error}");
            })
            .ok()
    }

    fn lock(&self) -> MutexGuard<'_, Table<Id>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<File> {
        Arc::new(tempfile::tempfile().expect("a file"))
    }

    #[test]
    fn the_first_open_decides_until_the_last_release() {
        let (modes, file) = (Modes::default(), file());
        assert!(modes.open(1, None, |_| Ok(0)).is_none());
        assert!(modes.open(1, Some(&file), |_| Ok(1)).is_none(), "it is read otherwise");
        modes.release(1);
        assert!(modes.open(1, Some(&file), |_| Ok(2)).is_none());
        modes.release(1);
        modes.release(1);
        assert_eq!(modes.open(1, Some(&file), |_| Ok(3)).as_deref(), Some(&3));
        assert_eq!(modes.open(1, None, |_| Ok(4)).as_deref(), Some(&3), "one registration");
        assert_eq!(modes.open(2, Some(&file), |_| Ok(5)).as_deref(), Some(&5));
        modes.release(1);
        modes.release(1);
        assert!(modes.open(1, None, |_| Ok(6)).is_none());
    }

    #[test]
    fn a_registration_is_used_again_for_the_same_file_only() {
        let (modes, file) = (Modes::default(), file());
        assert_eq!(modes.open(1, Some(&file), |_| Ok(1)).as_deref(), Some(&1));
        modes.release(1);
        assert_eq!(modes.open(1, Some(&file), |_| Ok(2)).as_deref(), Some(&1));
        modes.release(1);
        assert_eq!(modes.open(1, Some(&super::tests::file()), |_| Ok(3)).as_deref(), Some(&3));
        modes.release(1);
        assert!(modes.open(1, None, |_| Ok(4)).is_none());
        modes.release(1);
        assert_eq!(modes.open(2, Some(&file), |_| Ok(5)).as_deref(), Some(&5));
        modes.release(2);
        drop(file);
        modes.sweep();
        assert_eq!(modes.lock().idle.len(), 0);
    }

    #[test]
    fn who_is_refused_asks_no_more() {
        let (modes, file) = (Modes::<u8>::default(), file());
        let too_deep = || Err(io::Error::from_raw_os_error(libc::ELOOP));
        let refused = || Err(io::Error::from_raw_os_error(libc::EPERM));
        assert!(modes.open(1, Some(&file), |_| too_deep()).is_none());
        assert!(modes.open(2, Some(&file), |_| Ok(1)).is_some());
        assert!(modes.open(3, Some(&file), |_| refused()).is_none());
        assert!(modes.open(4, Some(&file), |_| unreachable!("it was refused")).is_none());
    }

    /// The kernel's side of an inode: the number of opens, and the registration it reads.
    #[derive(Default)]
    struct Kernel {
        opens: u64,
        way: Option<u32>,
    }

    /// The progress of one program with a file.
    #[derive(Clone, Copy)]
    enum Step {
        Idle,
        /// Counted here; the kernel has not received the reply.
        Answered(u64, Option<u32>),
        Open(u64),
        /// The kernel has closed it, but the release has not arrived.
        Closed(u64),
    }

    /// Every call holds the lock while it runs, so threads can differ only in the order of calls: 2,000 random
    /// orders of six programs, checked against the kernel's rules.
    #[test]
    fn in_any_order_the_kernel_is_held_to_one_way_of_reading() {
        for seed in 0..2000_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut roll = |count: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % count
            };
            let modes = Modes::<u32>::default();
            let mut files = [Some(file()), None, Some(file())];
            let mut kernel = [(); 3].map(|()| Kernel::default());
            let mut programs = [Step::Idle; 6];
            let mut registered = 0;
            for _ in 0..60 {
                let at = roll(6) as usize;
                programs[at] = match programs[at] {
                    Step::Idle => {
                        let ino = roll(3);
                        let of = ino as usize;
                        if roll(4) == 0 {
                            // The cache drops the object, or it is complete by now.
                            files[of] = (roll(2) == 0).then(file);
                            modes.sweep();
                        }
                        let id = modes.open(ino, files[of].as_ref(), |_| {
                            assert_eq!(kernel[of].opens, 0, "registered while it is open, {seed}");
                            registered += 1;
                            Ok(registered)
                        });
                        Step::Answered(ino, id.as_deref().copied())
                    }
                    Step::Answered(ino, id) => {
                        let inode = &mut kernel[ino as usize];
                        if inode.opens == 0 {
                            inode.way = id;
                        }
                        assert_eq!(inode.way, id, "a second way of reading, {seed}");
                        inode.opens += 1;
                        Step::Open(ino)
                    }
                    Step::Open(ino) => {
                        kernel[ino as usize].opens -= 1;
                        Step::Closed(ino)
                    }
                    Step::Closed(ino) => {
                        modes.release(ino);
                        Step::Idle
                    }
                };
            }
        }
    }
}

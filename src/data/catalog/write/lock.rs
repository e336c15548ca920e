//! Liveness of stages: a locked file beside the database for each.
//!
//! The file is created and locked before the table is created, and removed after the table is gone,
//! so a table whose file is missing or unlocked belongs to a dead process. A sweep may remove a
//! file between its creation and its locking; its creator checks and creates another.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dcfs_disk::regular;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

use super::error::Refused;
use crate::catalog::error::Error;

/// Part of the file names: `db-dcfs-<32 hex digits>.lock`.
const MARK: &str = "-dcfs-";
const END: &str = ".lock";

/// Keeps a stage alive. Dropping it releases the lock and leaves the file.
#[derive(Debug)]
pub struct Lock {
    id: String,
    path: PathBuf,
    _held: Flock<File>,
}

impl Lock {
    /// Creates and locks a file with a new id.
    ///
    /// # Errors
    /// A folder that may not be written to, a full disk, a file system without locks.
    pub fn new(database: &Path) -> Result<Self, Error> {
        loop {
            let id = Uuid::new_v4().simple().to_string();
            let path = path(database, &id);
            let refused = |cause: String| {
                let catalog = database.display().to_string().escape_debug().to_string();
                Error::from(Refused::NoLock { catalog, cause })
            };
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let file = file.map_err(|error| refused(error.to_string()))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) if is_there(&held) => return Ok(Self { id, path, _held: held }),
                // A sweep holds or removed it: try another.
                Ok(_) | Err((_, Errno::EWOULDBLOCK)) => {}
                // A file system without locks would refuse the next one, too.
                Err((_, error)) => {
                    fs::remove_file(&path).ok();
                    return Err(refused(format!("it cannot be locked: {error}")));
                }
            }
        }
    }

    /// Takes over the dead stage `id`; `None` while it is alive.
    pub fn take_over(database: &Path, id: &str) -> Option<Self> {
        let path = path(database, id);
        let mut options = OpenOptions::new();
        // The folder may be shared: a file of another kind is not a lock.
        let file = regular::open_with(options.write(true).create(true), &path).ok()?;
        let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        is_there(&held).then(|| Self { id: id.to_owned(), path, _held: held })
    }

    /// 32 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Removes the file: the table is gone, or has become a version.
    pub fn end(self) {
        fs::remove_file(&self.path).ok();
    }
}

fn path(database: &Path, id: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(format!("{MARK}{id}{END}"));
    path.into()
}

/// Whether the file still has its name.
fn is_there(file: &Flock<File>) -> bool {
    nix::sys::stat::fstat(file.as_fd()).is_ok_and(|found| found.st_nlink > 0)
}

/// The ids of all lock files.
pub fn all(database: &Path) -> Vec<String> {
    let (Some(folder), Some(name)) = (database.parent(), database.file_name()) else {
        return Vec::new();
    };
    let begin = format!("{}{MARK}", name.to_string_lossy());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let ids = names.filter_map(|name| {
        let id = name.strip_prefix(&begin)?.strip_suffix(END)?;
        is_id(id).then(|| id.to_owned())
    });
    ids.collect()
}

/// Whether a text is an id: it becomes part of a path and of a table's name.
pub fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_told_from_the_dead() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("db");
        let lock = Lock::new(&database).expect("a lock");
        let id = lock.id().to_owned();
        assert_eq!(all(&database), std::slice::from_ref(&id));
        assert!(Lock::take_over(&database, &id).is_none());
        drop(lock);
        let taken = Lock::take_over(&database, &id).expect("a dead one");
        assert!(Lock::take_over(&database, &id).is_none());
        taken.end();
        assert!(all(&database).is_empty());
    }

    #[test]
    fn only_ids_become_paths() {
        for bad in ["", "../../x", "0123", "0123456789ABCDEF0123456789ABCDEF"] {
            assert!(!is_id(bad), "{bad}");
        }
        assert!(is_id("0123456789abcdef0123456789abcdef"));
    }
}

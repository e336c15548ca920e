//! The operations of `dcfs cache`: its size, verification, removal.

use std::io;
use std::path::Path;

use super::entry::Blocks;
use super::files;
use super::linger;
use super::map::Map;
use super::room::{self, Kept};
use super::small::Small;
use super::{Key, OBJECTS, SMALL};

/// Number and size of cached objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub objects: u64,
    /// On disk.
    pub bytes: u64,
}

/// The objects that were removed, and those that stay because a mount has them open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    pub removed: Usage,
    pub in_use: Usage,
}

/// The result of a verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub objects: u64,
    pub blocks: u64,
    /// Damaged blocks. They have been dropped, and are fetched again when somebody reads them.
    pub damaged: u64,
}

impl Usage {
    fn add(&mut self, one: &Kept) {
        self.objects += 1;
        self.bytes += one.bytes;
    }
}

/// The size of the cache below `folder`.
pub fn usage(folder: &Path) -> Usage {
    let mut usage = Usage::default();
    room::kept(&folder.join(OBJECTS)).iter().for_each(|one| usage.add(one));
    usage
}

/// Removes every object that nobody has open.
///
/// # Errors
/// The error of the last object that could not be removed; all others were.
pub fn clear(folder: &Path) -> io::Result<Cleared> {
    let (mut cleared, mut failed) = (Cleared::default(), None);
    let mut in_use = remove(room::kept(&folder.join(OBJECTS)), &mut cleared.removed, &mut failed);
    if !in_use.is_empty() {
        // A mount keeps the locks of recently closed objects for a moment.
        std::thread::sleep(linger::WHILE * 3);
        in_use = remove(in_use, &mut cleared.removed, &mut failed);
    }
    in_use.iter().for_each(|one| cleared.in_use.add(one));
    failed.map_or(Ok(cleared), Err)
}

/// Removes objects that nobody has open; returns the others.
fn remove(all: Vec<Kept>, removed: &mut Usage, failed: &mut Option<io::Error>) -> Vec<Kept> {
    let is_in_use = |one: &Kept| match files::remove_unused(&one.folder) {
        Ok(true) => {
            removed.add(one);
            false
        }
        Ok(false) => true,
        Err(error) => {
            *failed = Some(error);
            false
        }
    };
    let mut all = all;
    all.retain(is_in_use);
    all
}

/// Reads every block and compares it with its checksum; `each` is called with the size of each object in bytes.
/// Folders whose contents belong to another object than their name says are removed.
///
/// # Errors
/// The error of the last object that could not be removed.
pub fn verify(folder: &Path, each: &mut dyn FnMut(u64)) -> io::Result<Verified> {
    let (mut verified, mut failed) = (Verified::default(), None);
    for Kept { folder, bytes, .. } in room::kept(&folder.join(OBJECTS)) {
        verified.objects += 1;
        if let Some((blocks, damaged)) = compare(&folder) {
            verified.blocks += blocks;
            verified.damaged += damaged;
        } else {
            verified.damaged += 1;
            failed = files::remove_unused(&folder).err().or(failed);
        }
        each(bytes);
    }
    failed.map_or(Ok(verified), Err)
}

/// Compares an object with its checksums: the number of blocks, and of damaged ones. `None` if the contents
/// belong to another object than the name says.
fn compare(path: &Path) -> Option<(u64, u64)> {
    let key = key_of(path)?;
    if path.is_dir() {
        let size = Map::size_in(&path.join(files::MAP))?;
        return Some(Blocks::existing(path, key, size)?.verify());
    }
    let size = std::fs::symlink_metadata(path).ok()?.len();
    if size > SMALL {
        return None;
    }
    Some((1, u64::from(!Small::existing(path, key, size)?.check())))
}

/// The key in a folder's name.
fn key_of(folder: &Path) -> Option<Key> {
    let name = folder.file_name()?.to_str()?;
    let shelf = folder.parent()?.file_name()?.to_str()?;
    let digits = format!("{shelf}{name}");
    let is_key = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| is_key)?;
    Some(Key(number.to_be_bytes()))
}

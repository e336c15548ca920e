//! What a person may ask of the cache: how much is there, whether it is whole, and to be rid of it.

use std::io;
use std::path::Path;

use super::entry::{self, Entry};
use super::map::Map;
use super::room::{self, Kept};
use super::{Key, OBJECTS};

/// What is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub objects: u64,
    /// On disk.
    pub bytes: u64,
}

/// What was removed, and what stays because a mount has it open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    pub removed: Usage,
    pub in_use: Usage,
}

/// What was compared with its checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub objects: u64,
    pub blocks: u64,
    /// Blocks that are forgotten now, and fetched again when somebody reads them.
    pub damaged: u64,
}

impl Usage {
    fn add(&mut self, one: &Kept) {
        self.objects += 1;
        self.bytes += one.bytes;
    }
}

/// How much is kept below `folder`.
pub fn usage(folder: &Path) -> Usage {
    let mut usage = Usage::default();
    room::kept(&folder.join(OBJECTS)).iter().for_each(|one| usage.add(one));
    usage
}

/// Removes every object that nobody has open.
///
/// # Errors
/// The folder cannot be written.
pub fn clear(folder: &Path) -> io::Result<Cleared> {
    let mut cleared = Cleared::default();
    for one in room::kept(&folder.join(OBJECTS)) {
        match entry::remove_unused(&one.folder)? {
            true => cleared.removed.add(&one),
            false => cleared.in_use.add(&one),
        }
    }
    Ok(cleared)
}

/// Reads every block and compares it with its checksum; `each` is told the bytes of each object.
///
/// # Errors
/// The folder cannot be written.
pub fn verify(folder: &Path, each: &mut dyn FnMut(u64)) -> io::Result<Verified> {
    let mut verified = Verified::default();
    for Kept { folder, bytes, .. } in room::kept(&folder.join(OBJECTS)) {
        verified.objects += 1;
        let described = key_of(&folder).zip(Map::size_in(&folder.join(entry::MAP)));
        if let Some((key, size)) = described
            && let Some(entry) = Entry::open(&folder, key, size)?
        {
            let (blocks, damaged) = entry.verify();
            verified.blocks += blocks;
            verified.damaged += damaged;
        } else {
            entry::remove_unused(&folder)?;
            verified.damaged += 1;
        }
        each(bytes);
    }
    Ok(verified)
}

/// The key that a folder is called by.
fn key_of(folder: &Path) -> Option<Key> {
    let name = folder.file_name()?.to_str()?;
    let shelf = folder.parent()?.file_name()?.to_str()?;
    let digits = format!("{shelf}{name}");
    let is_key = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| is_key)?;
    Some(Key(number.to_be_bytes()))
}

//! The trusted blocks of a file: those whose checksum matched, until somebody else writes the file.
//!
//! A file that was synced as a whole is *sealed*: its map records its state at that time. While it is
//! unchanged, later mounts too may read it without verifying checksums, because any write moves its change time
//! (ctime), which no program can set back.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

use roaring::RoaringBitmap;

/// The metadata that changes when anybody writes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Number of links: 0 once it was removed.
    names: u64,
}

impl Stamp {
    /// `None` if the file's metadata cannot be read.
    pub fn of(file: &File) -> Option<Self> {
        let meta = file.metadata().ok()?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        let changed = (meta.ctime(), meta.ctime_nsec());
        Some(Self { size: meta.len(), modified, changed, names: meta.nlink() })
    }

    /// Whether the file was removed.
    pub fn is_gone(self) -> bool {
        self.names == 0
    }
}

/// Length of a [`Seal`] in bytes.
pub const SEAL: usize = 48;

/// The state of a file when it was complete and synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    inode: u64,
    stamp: Stamp,
}

impl Seal {
    /// `None` if the file's metadata cannot be read, or it was removed.
    pub fn of(file: &File) -> Option<Self> {
        let stamp = Stamp::of(file).filter(|stamp| stamp.names > 0)?;
        // A hard link to it elsewhere would move its change time.
        Some(Self { inode: file.metadata().ok()?.ino(), stamp: Stamp { names: 1, ..stamp } })
    }

    /// Serialises it, little-endian: inode, size, seconds and nanoseconds of both times.
    pub fn written(self) -> [u8; SEAL] {
        let Stamp { size, modified, changed, .. } = self.stamp;
        let times = [modified.0, modified.1, changed.0, changed.1].map(i64::cast_unsigned);
        let mut bytes = [0; SEAL];
        let (numbers, _) = bytes.as_chunks_mut::<8>();
        for (place, number) in numbers.iter_mut().zip([self.inode, size].into_iter().chain(times)) {
            *place = number.to_le_bytes();
        }
        bytes
    }

    pub fn read(bytes: &[u8; SEAL]) -> Self {
        let (numbers, _) = bytes.as_chunks::<8>();
        let number = |at: usize| u64::from_le_bytes(numbers[at]);
        let time = |at: usize| (number(at).cast_signed(), number(at + 1).cast_signed());
        let stamp = Stamp { size: number(1), modified: time(2), changed: time(4), names: 1 };
        Self { inode: number(0), stamp }
    }
}

/// The trusted blocks, by number. Objects beyond 256 TiB are compared at every read.
#[derive(Debug, Default)]
pub struct Verified {
    blocks: RoaringBitmap,
    /// The state of the file when this process last looked or wrote.
    stamp: Option<Stamp>,
    /// Whether this process is writing: the file's state then says nothing about others.
    is_writing: bool,
}

impl Verified {
    /// Forgets everything if somebody else wrote the file since.
    pub fn follow(&mut self, file: &File) {
        if self.is_writing {
            return;
        }
        let now = Stamp::of(file);
        if now.is_none() || self.stamp != now {
            (self.blocks, self.stamp) = (RoaringBitmap::new(), now);
        }
    }

    /// Whether this process is not writing: otherwise nobody can tell whether another is.
    pub fn is_quiet(&self) -> bool {
        !self.is_writing
    }

    /// The number of trusted blocks.
    pub fn count(&self) -> u64 {
        self.blocks.len()
    }

    pub fn has(&self, blocks: &Range<u64>) -> bool {
        small(blocks).is_some_and(|blocks| self.blocks.contains_range(blocks))
    }

    /// The number of trusted blocks among these.
    pub fn among(&self, blocks: &Range<u64>) -> u64 {
        small(blocks).map_or(0, |blocks| self.blocks.range_cardinality(blocks))
    }

    /// Trusts blocks that were read and verified, if the file has not been written since `before`.
    pub fn believe(&mut self, blocks: &Range<u64>, file: &File, before: Option<Stamp>) {
        self.follow(file);
        if !self.is_writing && before.is_some() && self.stamp == before {
            self.insert(blocks);
        }
    }

    /// Called when this process begins to write.
    pub fn write(&mut self, file: &File) {
        self.follow(file);
        self.is_writing = true;
    }

    /// Called when it has written blocks, which are trusted; `None` if the write failed.
    pub fn wrote(&mut self, blocks: Option<&Range<u64>>, file: &File) {
        (self.is_writing, self.stamp) = (false, Stamp::of(file));
        match blocks {
            Some(blocks) => self.insert(blocks),
            None => self.blocks.clear(),
        }
    }

    pub fn forget(&mut self, blocks: &Range<u64>) {
        if let Some(blocks) = small(blocks) {
            self.blocks.remove_range(blocks);
        }
    }

    fn insert(&mut self, blocks: &Range<u64>) {
        if let Some(blocks) = small(blocks) {
            self.blocks.insert_range(blocks);
        }
    }
}

/// The range in the integer type of a roaring bitmap.
fn small(blocks: &Range<u64>) -> Option<Range<u32>> {
    Some(u32::try_from(blocks.start).ok()?..u32::try_from(blocks.end).ok()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_seal_holds_until_somebody_writes_whatever_time_is_set() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let seal = Seal::of(file.as_file()).expect("a seal");
        assert_eq!(Seal::read(&seal.written()), seal);
        let modified = file.as_file().metadata().and_then(|meta| meta.modified()).expect("a time");
        file.as_file().write_all_at(b"other", 0).expect("written");
        file.as_file().set_len(0).expect("cut");
        file.as_file().set_modified(modified).expect("set back");
        assert_ne!(Seal::of(file.as_file()), Some(seal));
    }

    #[test]
    fn what_others_write_ends_belief() {
        let file = tempfile::tempfile().expect("a file");
        let mut verified = Verified::default();
        verified.write(&file);
        assert!(!verified.is_quiet());
        file.write_all_at(b"ours", 0).expect("written");
        verified.follow(&file);
        verified.wrote(Some(&(0..3)), &file);
        assert!(verified.has(&(0..3)) && !verified.has(&(0..4)));
        verified.follow(&file);
        assert!(verified.has(&(1..2)));
        let before = Stamp::of(&file);
        file.write_all_at(b"other", 0).expect("written");
        verified.believe(&(5..6), &file, before);
        assert!(!verified.has(&(5..6)) && !verified.has(&(1..2)));
        verified.believe(&(5..6), &file, Stamp::of(&file));
        assert!(verified.has(&(5..6)));
        verified.forget(&(5..6));
        assert!(!verified.has(&(5..6)) && verified.has(&(7..7)));
    }
}

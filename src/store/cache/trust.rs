//! Which blocks of a file are believed: those whose checksum held, for as long as nobody else wrote the file.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

use roaring::RoaringBitmap;

/// What changes when anybody writes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Names it has: none once it was removed.
    names: u64,
}

impl Stamp {
    /// `None` where the file cannot even be looked at.
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

/// Blocks that are believed, by number. Objects beyond 256 TiB are compared at every read.
#[derive(Debug, Default)]
pub struct Verified {
    blocks: RoaringBitmap,
    /// What the file was like when this process last looked or wrote.
    stamp: Option<Stamp>,
    /// This process is writing: what the file is like says nothing.
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

    /// Whether this process is not writing: else nobody can tell whether another is.
    pub fn is_quiet(&self) -> bool {
        !self.is_writing
    }

    pub fn has(&self, blocks: &Range<u64>) -> bool {
        small(blocks).is_some_and(|blocks| self.blocks.contains_range(blocks))
    }

    /// Believes blocks that were read and compared, if nobody wrote the file since `before`.
    pub fn believe(&mut self, blocks: &Range<u64>, file: &File, before: Option<Stamp>) {
        self.follow(file);
        if !self.is_writing && before.is_some() && self.stamp == before {
            self.insert(blocks);
        }
    }

    /// This process begins to write.
    pub fn write(&mut self, file: &File) {
        self.follow(file);
        self.is_writing = true;
    }

    /// It has written blocks, which are believed; or none, for writing failed.
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

/// As a roaring bitmap counts.
fn small(blocks: &Range<u64>) -> Option<Range<u32>> {
    Some(u32::try_from(blocks.start).ok()?..u32::try_from(blocks.end).ok()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

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

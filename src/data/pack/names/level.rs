//! One block of directories: those of one depth, in path order, which is also the order of their
//! first entries. So the directories in one directory are neighbours, whatever is below them.

use super::codec::{Bytes, odd, put, squeeze, unsqueezed};
use crate::pack::error::PackError;
use dcfs_core::name::escape;

/// The directories of one block being written.
#[derive(Debug, Default)]
pub struct LevelWriter {
    first: Option<u32>,
    count: usize,
    last: u32,
    bytes: Vec<u8>,
}

impl LevelWriter {
    /// The first entry of its first directory; `None` if it is empty.
    pub fn first(&self) -> Option<u32> {
        self.first
    }

    /// The first entry after its last directory.
    pub fn end(&self) -> u32 {
        self.last
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds the next directory: its own name, its first entry, and the first after it.
    pub fn push(&mut self, name: &[u8], first: u32, end: u32) {
        self.first.get_or_insert(first);
        put(&mut self.bytes, u64::from(first - self.last));
        put(&mut self.bytes, u64::from(end - first));
        put(&mut self.bytes, name.len() as u64);
        self.bytes.extend_from_slice(name);
        self.last = end;
        self.count += 1;
    }

    /// The bytes of the block.
    pub fn finish(self) -> std::io::Result<Vec<u8>> {
        squeeze(&self.bytes)
    }
}

/// A directory of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Below<'b> {
    pub name: &'b [u8],
    pub first: u32,
    /// The first entry after it.
    pub end: u32,
}

/// A block in memory.
#[derive(Debug)]
pub struct LevelBlock {
    /// First entry, first entry after it, end of the name.
    dirs: Vec<(u32, u32, u32)>,
    names: Vec<u8>,
}

impl LevelBlock {
    /// Reads a block, which should have `count` directories.
    pub fn read(bytes: &[u8], count: usize) -> Result<Self, PackError> {
        let mut bytes: Bytes<_> = unsqueezed(bytes);
        let (mut dirs, mut names, mut last) = (Vec::new(), Vec::new(), 0_u32);
        for _ in 0..count {
            let first = last.checked_add(bytes.small()?).ok_or_else(odd)?;
            let end = first.checked_add(bytes.small()?).ok_or_else(odd)?;
            let length: usize = bytes.small()?;
            if end == first || length == 0 || length > escape::LONGEST {
                return Err(odd());
            }
            bytes.text(length, &mut names)?;
            dirs.push((first, end, names.len() as u32));
            last = end;
        }
        bytes.end()?;
        Ok(Self { dirs, names })
    }

    /// The directory that contains an entry.
    pub fn around(&self, entry: u32) -> Option<Below<'_>> {
        let at = self.dirs.partition_point(|(first, _, _)| *first <= entry).checked_sub(1)?;
        let (first, end, name_end) = self.dirs[at];
        let name_start = at.checked_sub(1).map_or(0, |before| self.dirs[before].2);
        let name = &self.names[name_start as usize..name_end as usize];
        (entry < end).then_some(Below { name, first, end })
    }

    /// The approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        self.dirs.len() * 12 + self.names.len() + 128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_back() {
        let dirs: [(&[u8], u32, u32); 3] = [(b"a", 3, 5), (b"b", 5, 6), (b"\xff", 90, 1000)];
        let mut writer = LevelWriter::default();
        dirs.iter().for_each(|(name, first, end)| writer.push(name, *first, *end));
        assert_eq!((writer.first(), writer.count()), (Some(3), 3));
        assert_eq!(writer.end(), 1000);
        let bytes = writer.finish().expect("squeezed");
        let block = LevelBlock::read(&bytes, 3).expect("whole");
        for (name, first, end) in dirs {
            let below = Below { name, first, end };
            assert_eq!(block.around(first), Some(below));
            assert_eq!(block.around(end - 1), Some(below));
        }
        assert!([0, 2, 6, 89, 1000, u32::MAX].iter().all(|entry| block.around(*entry).is_none()));
        assert!(LevelBlock::read(&bytes, 2).is_err() && LevelBlock::read(&bytes, 4).is_err());
        for end in 0..bytes.len() {
            assert!(LevelBlock::read(&bytes[..end], 3).is_err(), "cut at {end}");
        }
    }
}

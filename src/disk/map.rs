//! Files as memory: those of a pack, and sorted runs.
//!
//! A mapping is a slice; numbers are read from it by value, so nothing depends on alignment, and an
//! index out of bounds gives `None`.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

use crate::{bus, regular};

/// A whole file, mapped for reading. Stays valid when the file is unlinked.
#[derive(Debug)]
pub struct Map {
    /// Declared before the mapping, so that it is dropped first.
    _watch: bus::Watch,
    bytes: Mmap,
}

impl Map {
    /// Maps `file`.
    ///
    /// # Errors
    /// The system refuses: not a regular file, no memory.
    pub fn of(file: &File) -> io::Result<Self> {
        // SAFETY: pack files are written once, in a folder that only this user may enter, and are
        // renamed or unlinked afterwards, never truncated or written again; scratch files have no name.
        // Another program of this user can still change bytes under us, which every reader
        // expects: each number is checked. A file that is cut short reads as zeros, which
        // `bus::cuts` tells.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self { _watch: bus::watch(&map), bytes: map })
    }

    /// Opens and maps `path`.
    ///
    /// # Errors
    /// No such file, one that is not regular, no permission.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(&regular::open(path)?)
    }

    /// The little-endian number at `index` in an array of them.
    pub fn u32_at(&self, index: usize) -> Option<u32> {
        self.array(index).map(u32::from_le_bytes)
    }

    /// The little-endian number at `index` in an array of them.
    pub fn u64_at(&self, index: usize) -> Option<u64> {
        self.array(index).map(u64::from_le_bytes)
    }

    /// The little-endian number at `index` in an array of them.
    pub fn i64_at(&self, index: usize) -> Option<i64> {
        self.array(index).map(i64::from_le_bytes)
    }

    fn array<const N: usize>(&self, index: usize) -> Option<[u8; N]> {
        let start = index.checked_mul(N)?;
        self.bytes.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_short_reads_as_zeros_and_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("numbers");
        std::fs::write(&path, vec![7; 3 << 16]).expect("written");
        let (map, before) = (Map::open(&path).expect("mapped"), bus::cuts());
        assert_eq!(map.u32_at(1 << 15), Some(0x0707_0707));
        File::options().write(true).open(&path).expect("there").set_len(5000).expect("cut");
        assert_eq!(map.u32_at(1 << 15), Some(0));
        assert_eq!(map.u32_at(0), Some(0x0707_0707));
        assert_ne!(bus::cuts(), before);
    }

    #[test]
    fn numbers_out_of_bounds_are_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("numbers");
        std::fs::write(&path, [1, 0, 0, 0, 2, 0, 0, 0, 3]).expect("written");
        let map = Map::open(&path).expect("mapped");
        assert_eq!((map.u32_at(0), map.u32_at(1), map.u32_at(2)), (Some(1), Some(2), None));
        assert_eq!((map.u64_at(0), map.i64_at(1)), (Some(2 << 32 | 1), None));
        assert_eq!(map.u64_at(usize::MAX), None);
        std::fs::write(&path, []).expect("written");
        assert_eq!(Map::open(&path).expect("an empty file maps").u32_at(0), None);
        let none = Map::open(&folder.path().join("none")).expect_err("no such file");
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }
}

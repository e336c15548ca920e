//! The `map` of a cached object: the blocks that are present in `data`, and the checksum of each.
//!
//! ```text
//! 0   magic "dcfs-map", format u32, bytes of a block u32, bytes of the object u64, key [u8; 16]
//! 40  CRC-32 of the above u32, zeros up to 64
//! 64  the mark: what `data` was like ([`Seal`], 48 bytes) when it was whole and on the disk
//! 112 CRC-32 of the key and the mark u32, zeros up to 128; all zero where there is no mark
//! 128 for every block: CRC-32 u32, its length + 1 u32; all zero where the block is not there
//! ```
//!
//! Little-endian. A map entry is written after its block. If the machine stops between the two, or keeps one
//! and loses the other, the checksum does not match, and the block counts as absent. The mark is written after
//! `data` was synced, and cleared before an entry is written.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::Key;
use super::nowait;
use super::trust::{SEAL, Seal};

/// Block size: the least that is fetched for a read of one byte. Four of the kernel's pages: a Parquet footer
/// or a zip directory costs little more than itself, and checksums take a 2,000th of the space.
pub const BLOCK: u64 = 16 << 10;

const MAGIC: [u8; 8] = *b"dcfs-map";
const FORMAT: u32 = 2;
const HEADER: usize = 64;
const MARK: usize = 64;
const SUMMED: usize = 40;
const ENTRY: usize = 8;

/// The open map of one object.
#[derive(Debug)]
pub struct Map {
    file: File,
    key: Key,
    blocks: u64,
}

/// The length and checksum of a block that is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    crc: u32,
    length: u32,
}

impl Sum {
    pub fn of(bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self { crc: crc32fast::hash(bytes), length }
    }
}

/// Number of blocks of an object; an empty one has one block, which records that it was fetched.
pub fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK).max(1)
}

/// The header of a new map, and the map's length.
pub fn header(key: Key, size: u64) -> ([u8; HEADER], u64) {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..16].copy_from_slice(&(BLOCK as u32).to_le_bytes());
    header[16..24].copy_from_slice(&size.to_le_bytes());
    header[24..SUMMED].copy_from_slice(&key.0);
    let sum = crc32fast::hash(&header[..SUMMED]);
    header[SUMMED..SUMMED + 4].copy_from_slice(&sum.to_le_bytes());
    (header, place(blocks(size)))
}

impl Map {
    /// An opened map; `None` if it belongs to another object, or is damaged.
    pub fn of(file: File, key: Key, size: u64) -> io::Result<Option<Self>> {
        let (wanted, length) = header(key, size);
        let mut found = [0; HEADER];
        let is_it = file.metadata()?.len() == length
            && file.read_exact_at(&mut found, 0).is_ok()
            && found == wanted;
        Ok(is_it.then_some(Self { file, key, blocks: blocks(size) }))
    }

    /// The length of the object of the map at `path`, if its header is valid.
    pub fn size_in(path: &Path) -> Option<u64> {
        let mut found = [0; HEADER];
        let mut how = OpenOptions::new();
        how.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        how.open(path).ok()?.read_exact_at(&mut found, 0).ok()?;
        let sum = crc32fast::hash(&found[..SUMMED]).to_le_bytes();
        let size = u64::from_le_bytes(found[16..24].try_into().ok()?);
        (found[SUMMED..SUMMED + 4] == sum).then_some(size)
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// The checksums of some blocks; `None` for absent ones.
    pub fn sums(&self, range: &Range<u64>) -> io::Result<Vec<Option<Sum>>> {
        let count = range.end.min(self.blocks).saturating_sub(range.start);
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(0) * ENTRY];
        self.file.read_exact_at(&mut bytes, place(range.start))?;
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        Ok(entries.iter().map(read).collect())
    }

    /// The same as [`Map::sums`], from the page cache; `None` if that would block.
    pub fn sums_now(&self, range: &Range<u64>) -> Option<Vec<Option<Sum>>> {
        let count = range.end.min(self.blocks).saturating_sub(range.start);
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(0) * ENTRY];
        let found = nowait::read_at(&self.file, &mut bytes, place(range.start))?;
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        (found == bytes.len()).then(|| entries.iter().map(read).collect())
    }

    /// The state of `data` when it was complete and synced; `None` if it never was, or no longer is.
    pub fn seal(&self) -> Option<Seal> {
        let mut found = [0; MARK];
        self.file.read_exact_at(&mut found, HEADER as u64).ok()?;
        let seal = found.first_chunk::<SEAL>()?;
        (found == self.mark(seal)).then(|| Seal::read(seal))
    }

    /// Records that `data` is complete and synced, or removes that record.
    pub fn set_seal(&self, seal: Option<Seal>) -> io::Result<()> {
        let mark = seal.map_or([0; MARK], |seal| self.mark(&seal.written()));
        self.file.write_all_at(&mark, HEADER as u64)
    }

    fn mark(&self, seal: &[u8; SEAL]) -> [u8; MARK] {
        let mut mark = [0; MARK];
        mark[..SEAL].copy_from_slice(seal);
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.key.0);
        sum.update(seal);
        mark[SEAL..SEAL + 4].copy_from_slice(&sum.finalize().to_le_bytes());
        mark
    }

    /// Records blocks from `first` on.
    pub fn set(&self, first: u64, sums: &[Option<Sum>]) -> io::Result<()> {
        let bytes: Vec<u8> = sums.iter().flat_map(|sum| written(*sum)).collect();
        self.file.write_all_at(&bytes, place(first))
    }
}

fn place(block: u64) -> u64 {
    (HEADER + MARK) as u64 + block * ENTRY as u64
}

fn read(entry: &[u8; ENTRY]) -> Option<Sum> {
    let (crc, length) = entry.split_at(4);
    let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Some(Sum { crc: number(crc), length: number(length).checked_sub(1)? })
}

fn written(sum: Option<Sum>) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    if let Some(Sum { crc, length }) = sum {
        entry[..4].copy_from_slice(&crc.to_le_bytes());
        entry[4..].copy_from_slice(&length.saturating_add(1).to_le_bytes());
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([7; 16]);

    fn map(size: u64) -> File {
        let file = tempfile::tempfile().expect("a file");
        let (header, length) = header(KEY, size);
        file.write_all_at(&header, 0).expect("written");
        file.set_len(length).expect("as long");
        file
    }

    #[test]
    fn keeps_what_it_is_told() {
        let size = 3 * BLOCK + 1;
        let map = Map::of(map(size), KEY, size).expect("read").expect("a map");
        let sum = Some(Sum::of(b"abc"));
        map.set(1, &[sum, sum]).expect("written");
        assert_eq!(map.sums(&(0..9)).expect("read"), [None, sum, sum, None]);
        map.set(2, &[None]).expect("written");
        assert_eq!(map.sums(&(2..3)).expect("read"), [None]);
    }

    #[test]
    fn a_mark_is_that_of_this_object_and_whole() {
        let map = Map::of(map(10), KEY, 10).expect("read").expect("a map");
        assert_eq!(map.seal(), None);
        let data = tempfile::NamedTempFile::new().expect("a file");
        let seal = Seal::of(data.as_file()).expect("a seal");
        map.set_seal(Some(seal)).expect("written");
        assert_eq!(map.seal(), Some(seal));
        for at in HEADER as u64..(HEADER + MARK) as u64 {
            let mut byte = [0];
            map.file.read_exact_at(&mut byte, at).expect("read");
            map.file.write_all_at(&[!byte[0]], at).expect("written");
            assert_eq!(map.seal(), None, "{at}");
            map.file.write_all_at(&byte, at).expect("written");
        }
        let other = Map { key: Key([8; 16]), ..map };
        assert_eq!(other.seal(), None);
        other.set_seal(None).expect("written");
        assert_eq!(other.seal(), None);
    }

    #[test]
    fn is_believed_only_if_it_is_that_of_the_object() {
        let of = |file, key, size| Map::of(file, key, size).expect("read").is_some();
        assert!(of(map(10), KEY, 10) && of(map(0), KEY, 0));
        assert!(!of(map(10), KEY, 11));
        assert!(!of(map(10), Key([8; 16]), 10));
        for at in 0..HEADER as u64 {
            let file = map(10);
            file.write_all_at(&[0xff], at).expect("written");
            assert!(!of(file, KEY, 10), "{at}");
        }
        let short = map(10);
        short.set_len(HEADER as u64).expect("shorter");
        assert!(!of(short, KEY, 10));
    }
}

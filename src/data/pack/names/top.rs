//! The top of the names of a version: where each block is, its digest, and the first name in it. It
//! is small, fetched whole, and checked against the catalog; so every block can be checked as soon as
//! it is read.

use std::io::{BufRead, Write};
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::codec::{Bytes, common, odd, put, squeeze, unsqueezed};
use crate::pack::error::PackError;
use dcfs_core::error::{Error, Kind};
use dcfs_core::tree::{DEEPEST, key};

/// The first bytes, before what is compressed.
const MAGIC: &[u8; 8] = b"dcfsnam2";

/// Half of a block's SHA-256: whoever can write the bucket would have to find other bytes with the
/// same 128 bits.
pub type Half = [u8; 16];

/// The longest block in bytes.
const LONGEST: u32 = 4 << 20;

/// The first half of the SHA-256 of some bytes.
pub fn half(bytes: &[u8]) -> Half {
    Sha256::digest(bytes)[..16].try_into().expect("a SHA-256 has 32 bytes")
}

/// Where a block is in the file of blocks, and its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    pub at: u64,
    pub length: u32,
    pub half: Half,
}

/// The blocks of one column.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ColumnTop {
    pub entries: u32,
    /// The first entry of each block.
    starts: Vec<u32>,
    /// How many directories each block's first entry shares with the entry before it.
    shared: Vec<u16>,
    /// The first key of each block, one after the other, and where each ends.
    keys: Vec<u8>,
    ends: Vec<u32>,
    spots: Vec<Spot>,
    /// By depth, 1 first.
    pub levels: Vec<Vec<LevelTop>>,
}

/// One block of directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelTop {
    /// The first entry of its first directory, and the first after its last one.
    pub first: u32,
    pub end: u32,
    pub count: u32,
    pub spot: Spot,
}

impl ColumnTop {
    /// No blocks yet, for so many entries.
    pub fn new(entries: u32) -> Self {
        Self { entries, ..Self::default() }
    }

    /// The number of blocks of entries.
    pub fn blocks(&self) -> usize {
        self.starts.len()
    }

    /// Adds the next block of entries.
    ///
    /// # Errors
    /// The first keys of all blocks together take more than 4 GiB.
    pub fn push(
        &mut self,
        start: u32,
        shared: usize,
        first: &[u8],
        spot: Spot,
    ) -> Result<(), PackError> {
        let end = u32::try_from(self.keys.len() + first.len());
        let end = end.map_err(|_| {
            let why = "the first names of its blocks take more than 4 GiB";
            PackError::Other(Error::new(Kind::Full, why))
        })?;
        self.starts.push(start);
        self.shared.push(u16::try_from(shared).unwrap_or(u16::MAX));
        self.keys.extend_from_slice(first);
        self.ends.push(end);
        self.spots.push(spot);
        Ok(())
    }

    /// The first key of a block.
    pub fn key(&self, block: usize) -> Option<&[u8]> {
        let end = *self.ends.get(block)? as usize;
        let start = block.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.keys.get(start..end)
    }

    /// How many directories a block's first entry shares with the entry before it.
    pub fn shared(&self, block: usize) -> usize {
        self.shared.get(block).map_or(0, |shared| usize::from(*shared))
    }

    /// Where a block is.
    pub fn spot(&self, block: usize) -> Option<Spot> {
        self.spots.get(block).copied()
    }

    /// The entries of a block.
    pub fn range(&self, block: usize) -> Range<u32> {
        let start = self.starts.get(block).copied().unwrap_or(self.entries);
        start..self.starts.get(block + 1).copied().unwrap_or(self.entries)
    }

    /// The block of an entry.
    pub fn block_of(&self, entry: u32) -> Option<usize> {
        let after = self.starts.partition_point(|start| *start <= entry);
        (entry < self.entries).then(|| after.checked_sub(1)).flatten()
    }

    /// The last block whose first key is not greater than `key`; `None` if all are greater.
    pub fn block_for(&self, key: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.blocks());
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle)? <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1)
    }

    /// How many blocks, `from` and those after it, begin in the directory of this key; at most `most`.
    pub fn below(&self, dir: &[u8], from: usize, most: usize) -> usize {
        let is_in = |block: &usize| {
            let rest = self.key(*block).and_then(|key| key.strip_prefix(dir));
            rest.is_some_and(|rest| rest.first() == Some(&key::SEPARATOR))
        };
        (from..).take(most).take_while(is_in).count()
    }

    /// The block of directories of `depth` that could contain an entry, and its place there.
    pub fn level(&self, depth: u16, entry: u32) -> Option<(usize, LevelTop)> {
        let level = self.levels.get(usize::from(depth).checked_sub(1)?)?;
        let at = level.partition_point(|block| block.first <= entry).checked_sub(1)?;
        Some((at, level[at])).filter(|(_, block)| entry < block.end)
    }

    fn weight(&self) -> usize {
        let levels: usize = self.levels.iter().map(Vec::len).sum();
        self.keys.len() + self.blocks() * (4 + 2 + 4 + 32) + levels * 48
    }

    fn write(&self, out: &mut Vec<u8>) {
        put(out, self.entries.into());
        put(out, self.blocks() as u64);
        let mut spots = SpotWriter::default();
        let mut last: &[u8] = &[];
        for block in 0..self.blocks() {
            let key = self.key(block).unwrap_or_default();
            let same = common(last, key);
            put(out, self.range(block).len() as u64);
            put(out, self.shared(block) as u64);
            put(out, same as u64);
            put(out, (key.len() - same) as u64);
            out.extend_from_slice(&key[same..]);
            spots.write(self.spots[block], out);
            last = key;
        }
        put(out, self.levels.len() as u64);
        for level in &self.levels {
            put(out, level.len() as u64);
            for block in level {
                put(out, block.first.into());
                put(out, block.end.into());
                put(out, block.count.into());
                spots.write(block.spot, out);
            }
        }
    }

    fn read<R: std::io::Read>(bytes: &mut Bytes<R>, of: u64) -> Result<Self, PackError> {
        let entries = bytes.small()?;
        let mut this = Self::new(entries);
        let (mut spots, mut start, mut last) = (SpotReader { next: 0, of }, 0_u32, Vec::new());
        for _ in 0..bytes.number()? {
            let count: u32 = bytes.small()?;
            let shared: usize = bytes.small()?;
            let same: usize = bytes.small()?;
            let length: usize = bytes.small()?;
            let mut key = last.get(..same).ok_or_else(odd)?.to_vec();
            if count == 0 || length > key::LONGEST || shared > usize::from(DEEPEST) {
                return Err(odd());
            }
            bytes.text(length, &mut key)?;
            if key <= last {
                return Err(odd());
            }
            this.push(start, shared, &key, spots.read(bytes)?)?;
            start = start.checked_add(count).ok_or_else(odd)?;
            last = key;
        }
        let levels: usize = bytes.small()?;
        if start != entries || levels > usize::from(DEEPEST) {
            return Err(odd());
        }
        for _ in 0..levels {
            this.levels.push(read_level(bytes, entries, &mut spots)?);
        }
        Ok(this)
    }
}

fn read_level<R: std::io::Read>(
    bytes: &mut Bytes<R>,
    entries: u32,
    spots: &mut SpotReader,
) -> Result<Vec<LevelTop>, PackError> {
    let (mut level, mut last) = (Vec::new(), 0);
    for _ in 0..bytes.number()? {
        let (first, end, count) = (bytes.small()?, bytes.small()?, bytes.small()?);
        if first < last || end <= first || end > entries || count == 0 {
            return Err(odd());
        }
        last = end;
        level.push(LevelTop { first, end, count, spot: spots.read(bytes)? });
    }
    Ok(level)
}

/// Where blocks are, as the difference from the end of the one before.
#[derive(Default)]
struct SpotWriter {
    next: u64,
}

impl SpotWriter {
    fn write(&mut self, spot: Spot, out: &mut Vec<u8>) {
        super::codec::put_step(out, self.next as i64, spot.at as i64);
        put(out, spot.length.into());
        out.extend_from_slice(&spot.half);
        self.next = spot.at + u64::from(spot.length);
    }
}

struct SpotReader {
    next: u64,
    /// The length of the file of blocks.
    of: u64,
}

impl SpotReader {
    fn read<R: std::io::Read>(&mut self, bytes: &mut Bytes<R>) -> Result<Spot, PackError> {
        let at = u64::try_from(bytes.step(self.next as i64)?).map_err(|_| odd())?;
        let (length, half) = (bytes.small()?, bytes.array()?);
        let end = at.checked_add(u64::from(length)).filter(|end| *end <= self.of);
        self.next = end.filter(|_| length <= LONGEST).ok_or_else(odd)?;
        Ok(Spot { at, length, half })
    }
}

/// The whole top.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Top {
    pub columns: Vec<ColumnTop>,
}

impl Top {
    /// The approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        self.columns.iter().map(ColumnTop::weight).sum()
    }

    /// Writes it.
    pub fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        put(&mut bytes, self.columns.len() as u64);
        self.columns.iter().for_each(|column| column.write(&mut bytes));
        out.write_all(MAGIC)?;
        out.write_all(&squeeze(&bytes)?)
    }

    /// Reads it; `of` is the length of the file of blocks.
    pub fn read(mut bytes: impl BufRead, of: u64) -> Result<Self, PackError> {
        let mut magic = [0; 8];
        bytes.read_exact(&mut magic).map_err(|_| odd())?;
        if magic != *MAGIC {
            return Err(odd());
        }
        let mut bytes = unsqueezed(bytes);
        let columns: u16 = bytes.small()?;
        let columns = (0..columns).map(|_| ColumnTop::read(&mut bytes, of));
        let this = Self { columns: columns.collect::<Result<_, _>>()? };
        bytes.end()?;
        Ok(this)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(at: u64) -> Spot {
        Spot { at, length: 10, half: half(&at.to_le_bytes()) }
    }

    fn top() -> Top {
        let mut one = ColumnTop::new(2500);
        let blocks: [(u32, usize, &[u8], u64); 3] =
            [(0, 0, b"a\0x", 0), (1024, 1, b"b\0x", 40), (2048, 0, b"b\0z", 10)];
        for (start, shared, first, at) in blocks {
            one.push(start, shared, first, spot(at)).expect("few");
        }
        let level = |first, end, at| LevelTop { first, end, count: 3, spot: spot(at) };
        one.levels = vec![vec![level(0, 1200, 20), level(1300, 2500, 30)], vec![]];
        Top { columns: vec![one, ColumnTop::default()] }
    }

    #[test]
    fn it_comes_back() {
        let (top, mut bytes) = (top(), Vec::new());
        top.write(&mut bytes).expect("written");
        assert_eq!(Top::read(&bytes[..], 50).expect("whole"), top);
        assert!(Top::read(&bytes[..], 49).is_err(), "a block beyond the end");
        let other = [&b"dcfsnam1"[..], &bytes[8..]].concat();
        assert!(
            Top::read(&other[..], 50).is_err(),
            "another form, whose blocks have ordinals for ids"
        );
        for end in 0..bytes.len() {
            assert!(Top::read(&bytes[..end], 50).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn blocks_are_found() {
        let top = &top().columns[0];
        assert_eq!((top.block_of(0), top.block_of(1023)), (Some(0), Some(0)));
        assert_eq!(
            (top.block_of(1024), top.block_of(2499), top.block_of(2500)),
            (Some(1), Some(2), None)
        );
        assert_eq!(
            (top.range(1), top.range(2), top.range(3)),
            (1024..2048, 2048..2500, 2500..2500)
        );
        let cases =
            [("a", None), ("a\0x", Some(0)), ("b", Some(0)), ("b\0y", Some(1)), ("c", Some(2))];
        for (key, block) in cases {
            assert_eq!(top.block_for(key.as_bytes()), block, "{key:?}");
        }
        let below = |dir: &str, from, most| top.below(dir.as_bytes(), from, most);
        assert_eq!((below("b", 1, 5), below("b", 1, 1), below("b", 2, 5)), (2, 1, 1));
        assert_eq!((below("a", 1, 5), below("b", 3, 5), below("b\0x", 1, 5)), (0, 0, 0));
        let level = |entry| top.level(1, entry).map(|(at, _)| at);
        assert_eq!(
            (level(0), level(1199), level(1250), level(1300)),
            (Some(0), Some(0), None, Some(1))
        );
        assert!(
            top.level(0, 5).is_none() && top.level(2, 5).is_none() && top.level(3, 5).is_none()
        );
    }
}

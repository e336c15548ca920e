//! One block of entries: some thousand consecutive files of a column, with all that a look-up, a
//! listing and an open ask of them.

use std::cmp::Ordering;

use super::codec::{Bytes, common, odd, put, put_step, squeeze, unsqueezed};
use crate::pack::Facts;
use crate::pack::error::PackError;
use crate::pack::record::{NO_SIZE, NO_TIME};
use dcfs_core::time::Timestamp;
use dcfs_core::tree::key::{self, SEPARATOR};

/// The most bytes of whole keys in a block, but for its last key: what a decoded one takes in
/// memory.
const MOST_KEYS: usize = 256 << 10;

/// The most rows of one entry that are kept in a block; there may be millions.
const MOST_ROWS: usize = 32;

/// A block being written.
#[derive(Debug, Default)]
pub struct BlockWriter {
    count: usize,
    /// Bytes of whole keys.
    keys: usize,
    last: Vec<u8>,
    last_time: i64,
    next_row: i64,
    shared: Vec<u8>,
    lengths: Vec<u8>,
    names: Vec<u8>,
    sizes: Vec<u8>,
    times: Vec<u8>,
    rows: Vec<u8>,
    identities: Vec<u8>,
    /// The length of each stamp, and all of them: mostly digests, which do not compress.
    stamp_lengths: Vec<u8>,
    stamps: Vec<u8>,
}

impl BlockWriter {
    /// The number of entries so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there is no room for more, in a block of at most `most` entries.
    pub fn is_full(&self, most: usize) -> bool {
        self.count >= most || self.keys >= MOST_KEYS
    }

    /// Adds the next entry in key order, with its size, time, identity and stamp as in the buffers of a
    /// column, and the `sys__id`s of its rows, of which there is at least one.
    pub fn push(
        &mut self,
        key: &[u8],
        (size, time, identity): (u64, i64, u64),
        stamp: &[u8],
        rows: impl Iterator<Item = i64>,
    ) {
        let shared = common(&self.last, key);
        put(&mut self.shared, shared as u64);
        put(&mut self.lengths, (key.len() - shared) as u64);
        self.names.extend_from_slice(&key[shared..]);
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
        put(&mut self.sizes, size.wrapping_add(1));
        put_step(&mut self.times, self.last_time, time);
        self.last_time = time;
        self.identities.extend_from_slice(&identity.to_le_bytes());
        self.stamp_lengths.push(stamp.len() as u8);
        self.stamps.extend_from_slice(stamp);
        let (mut total, mut kept) = (0_u64, Vec::new());
        for row in rows {
            if kept.len() < MOST_ROWS {
                kept.push(row);
            }
            total += 1;
        }
        put(&mut self.rows, total);
        for row in kept {
            put_step(&mut self.rows, self.next_row, row);
            self.next_row = row.wrapping_add(1);
        }
        self.count += 1;
        self.keys += key.len();
    }

    /// The bytes of the block.
    pub fn finish(self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        put(&mut bytes, self.count as u64);
        let parts = [
            self.shared,
            self.lengths,
            self.names,
            self.sizes,
            self.times,
            self.rows,
            self.identities,
            self.stamp_lengths,
        ];
        bytes.extend(parts.into_iter().flatten());
        let squeezed = squeeze(&bytes)?;
        let mut block = (squeezed.len() as u32).to_le_bytes().to_vec();
        block.extend(squeezed);
        block.extend(self.stamps);
        Ok(block)
    }
}

/// A block in memory.
#[derive(Debug)]
pub struct Block {
    /// The beginning of every key.
    prefix: Vec<u8>,
    /// The rest of every key, one after the other, and where each ends.
    rest: Vec<u8>,
    ends: Vec<u32>,
    sizes: Vec<u64>,
    times: Vec<i64>,
    identities: Vec<u64>,
    /// The stamps, one after the other, and where each ends.
    stamps: Vec<u8>,
    stamp_ends: Vec<u32>,
    /// The `sys__id` of the first row of each.
    rows: Vec<i64>,
    /// For each entry with several rows: its place here, their number, and the first of them.
    several: Vec<(usize, u64, Vec<i64>)>,
}

impl Block {
    /// Reads a block, which should have `count` entries.
    pub fn read(bytes: &[u8], count: usize) -> Result<Self, PackError> {
        let (length, rest) = bytes.split_first_chunk().ok_or_else(odd)?;
        let squeezed = rest.split_at_checked(u32::from_le_bytes(*length) as usize);
        let (squeezed, stamps) = squeezed.ok_or_else(odd)?;
        let mut bytes = unsqueezed(squeezed);
        if bytes.number()? != count as u64 {
            return Err(odd());
        }
        let keys = read_keys(&mut bytes, count)?;
        let prefix = match (keys.first(), keys.last()) {
            (Some(first), Some(last)) => first[..common(first, last)].to_vec(),
            _ => Vec::new(),
        };
        let (mut rest, mut ends) = (Vec::new(), Vec::with_capacity(count));
        for key in &keys {
            rest.extend_from_slice(key.get(prefix.len()..).ok_or_else(odd)?);
            ends.push(u32::try_from(rest.len()).map_err(|_| odd())?);
        }
        drop(keys);
        // A vector that grew has up to twice the room, and blocks are most of what a mount holds.
        rest.shrink_to_fit();
        let sizes = (0..count).map(|_| Ok(bytes.number()?.wrapping_sub(1)));
        let sizes = sizes.collect::<Result<_, PackError>>()?;
        let mut last = 0;
        let mut time = || {
            last = bytes.step(last)?;
            Ok(last)
        };
        let times = (0..count).map(|_| time()).collect::<Result<_, PackError>>()?;
        let (rows, several) = read_rows(&mut bytes, count)?;
        let identities = (0..count).map(|_| Ok(u64::from_le_bytes(bytes.array()?)));
        let identities = identities.collect::<Result<_, PackError>>()?;
        let mut end = 0_u32;
        let mut next = || {
            let [length] = bytes.array()?;
            end = end.checked_add(length.into()).ok_or_else(odd)?;
            Ok(end)
        };
        let stamp_ends = (0..count).map(|_| next()).collect::<Result<_, PackError>>()?;
        bytes.end()?;
        if end as usize != stamps.len() {
            return Err(odd());
        }
        let stamps = stamps.to_vec();
        Ok(Self { prefix, rest, ends, sizes, times, identities, stamps, stamp_ends, rows, several })
    }

    /// The number of entries.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let several: usize = self.several.iter().map(|(_, _, rows)| 48 + rows.len() * 8).sum();
        let texts = self.prefix.len() + self.rest.len() + self.stamps.len();
        texts + self.count() * 40 + several + 256
    }

    fn rest(&self, at: usize) -> Result<&[u8], PackError> {
        let end = *self.ends.get(at).ok_or_else(odd)? as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Ok(&self.rest[start..end])
    }

    /// The key of the entry at a place in the block.
    pub fn key(&self, at: usize) -> Result<Vec<u8>, PackError> {
        Ok([&self.prefix, self.rest(at)?].concat())
    }

    fn compare(&self, at: usize, key: &[u8]) -> Result<Ordering, PackError> {
        let own = key.len().min(self.prefix.len());
        let start = self.prefix[..own].cmp(&key[..own]);
        Ok(start.then_with(|| match key.get(self.prefix.len()..) {
            None => Ordering::Greater,
            Some(rest) => self.rest(at).map_or(Ordering::Equal, |own| own.cmp(rest)),
        }))
    }

    /// The place of the first entry whose key is not less than `key`; its number of entries if there
    /// is none.
    pub fn from(&self, key: &[u8]) -> Result<usize, PackError> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low.midpoint(high);
            match self.compare(middle, key)? {
                Ordering::Less => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The size, time and identity of the entry at a place.
    pub fn facts(&self, at: usize) -> Result<Facts, PackError> {
        let all = self.sizes.get(at).zip(self.times.get(at)).zip(self.identities.get(at));
        let ((size, time), identity) = all.ok_or_else(odd)?;
        Ok(Facts {
            size: (*size != NO_SIZE).then_some(*size),
            mtime: (*time != NO_TIME).then_some(Timestamp::from_micros(*time)),
            identity: *identity,
        })
    }

    /// The stamp of the entry at a place; empty if there is none.
    pub fn stamp(&self, at: usize) -> Result<&[u8], PackError> {
        let end = *self.stamp_ends.get(at).ok_or_else(odd)? as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.stamp_ends[before] as usize);
        self.stamps.get(start..end).ok_or_else(odd)
    }

    /// The first `most` rows of the entry at a place, by `sys__id`; `None` if they are not all here.
    pub fn rows(&self, at: usize, most: usize) -> Result<Option<Vec<i64>>, PackError> {
        let first = *self.rows.get(at).ok_or_else(odd)?;
        let Ok(found) = self.several.binary_search_by_key(&at, |(at, _, _)| *at) else {
            return Ok(Some([first].into_iter().take(most).collect()));
        };
        let (_, total, rows) = &self.several[found];
        let wanted = usize::try_from(*total).unwrap_or(usize::MAX).min(most);
        Ok(rows.get(..wanted).map(<[i64]>::to_vec))
    }

    /// The number of directories that the entry at a place shares with the one before it, which is
    /// in this block too.
    pub fn shared(&self, at: usize) -> Result<usize, PackError> {
        let before = self.rest(at.checked_sub(1).ok_or_else(odd)?)?;
        let rest = self.rest(at)?;
        let same = &rest[..common(before, rest)];
        Ok(key::depth(&self.prefix) + key::depth(same))
    }
}

fn read_keys<R: std::io::Read>(
    bytes: &mut Bytes<R>,
    count: usize,
) -> Result<Vec<Vec<u8>>, PackError> {
    let numbers = |bytes: &mut Bytes<R>| -> Result<Vec<usize>, PackError> {
        (0..count).map(|_| bytes.small()).collect()
    };
    let (shared, lengths) = (numbers(bytes)?, numbers(bytes)?);
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut total = 0;
    for (shared, length) in shared.into_iter().zip(lengths) {
        let before = keys.last().map_or(&[][..], Vec::as_slice);
        let mut key = before.get(..shared).ok_or_else(odd)?.to_vec();
        if length > key::LONGEST || total > MOST_KEYS {
            return Err(odd());
        }
        bytes.text(length, &mut key)?;
        total += key.len();
        if keys.last().is_some_and(|before| *before >= key) || key.is_empty() {
            return Err(odd());
        }
        keys.push(key);
    }
    Ok(keys)
}

type Rows = (Vec<i64>, Vec<(usize, u64, Vec<i64>)>);

fn read_rows<R: std::io::Read>(bytes: &mut Bytes<R>, count: usize) -> Result<Rows, PackError> {
    let (mut first, mut several) = (Vec::with_capacity(count), Vec::new());
    let mut next = 0;
    for at in 0..count {
        let total = bytes.number()?;
        let mut rows = Vec::new();
        for _ in 0..total.min(MOST_ROWS as u64) {
            let row = bytes.step(next)?;
            next = row.wrapping_add(1);
            rows.push(row);
        }
        first.push(*rows.first().ok_or_else(odd)?);
        if total > 1 {
            several.push((at, total, rows));
        }
    }
    Ok((first, several))
}

/// The child through which `key` is in a directory, and whether the child is a directory itself;
/// `None` if the key is elsewhere. `dir` is the directory's key with a separator after it, empty for
/// the root.
pub fn child<'k>(key: &'k [u8], dir: &[u8]) -> Option<(&'k [u8], bool)> {
    let rest = key.strip_prefix(dir)?;
    match rest.iter().position(|byte| *byte == SEPARATOR) {
        Some(end) => Some((&rest[..end], true)),
        None => Some((rest, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of different lengths.
    fn stamp_of(at: usize, key: &str) -> &[u8] {
        &key.as_bytes()[..at.min(key.len())]
    }

    fn block(keys: &[&str]) -> (Vec<u8>, Block) {
        let mut writer = BlockWriter::default();
        for (at, key) in keys.iter().enumerate() {
            let rows = (0..=at as i64 * 20).map(|row| row * 7 + at as i64);
            let facts = (at as u64 * 1000, -(at as i64), u64::MAX - at as u64);
            writer.push(key.as_bytes(), facts, stamp_of(at, key), rows);
        }
        writer.push(b"zz", (NO_SIZE, NO_TIME, 7), b"last", std::iter::once(i64::MAX));
        let bytes = writer.finish().expect("squeezed");
        let read = Block::read(&bytes, keys.len() + 1).expect("whole");
        (bytes, read)
    }

    #[test]
    fn entries_come_back() {
        let keys = ["a", "dir\0a", "dir\0b", "dir\0sub\0x", "e\u{e9}"];
        let (_, block) = block(&keys);
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(block.key(at).expect("there"), key.as_bytes());
            assert_eq!(block.from(key.as_bytes()).expect("found"), at);
            assert_eq!(block.from(&[key.as_bytes(), b"\x01"].concat()).expect("found"), at + 1);
            let facts = block.facts(at).expect("there");
            assert_eq!(
                (facts.size, facts.identity),
                (Some(at as u64 * 1000), u64::MAX - at as u64)
            );
            assert_eq!(block.rows(at, 1).expect("there"), Some(vec![at as i64]));
            assert_eq!(block.stamp(at).expect("there"), stamp_of(at, key));
        }
        assert_eq!(block.rows(1, usize::MAX).expect("there").map(|rows| rows.len()), Some(21));
        assert_eq!(block.rows(4, MOST_ROWS).expect("there").map(|rows| rows.len()), Some(32));
        assert_eq!(block.rows(4, usize::MAX).expect("there"), None, "81 are too many");
        let last = block.facts(5).expect("there");
        assert_eq!((last.size, last.mtime, last.identity), (None, None, 7));
        assert_eq!(block.stamp(5).expect("there"), b"last");
        assert!(block.stamp(6).is_err());
        assert_eq!((block.shared(2).expect("two"), block.shared(3).expect("two")), (1, 1));
        assert!(block.key(6).is_err() && block.facts(6).is_err() && block.rows(6, 1).is_err());
        assert_eq!((block.from(b"").expect("all"), block.from(b"zzz").expect("none")), (0, 6));
    }

    #[test]
    fn bytes_that_no_writer_wrote_are_an_error_and_no_panic() {
        let (bytes, _) = block(&["a", "b\0c", "b\0d"]);
        assert!(Block::read(&bytes, 3).is_err(), "another number of entries");
        for end in 0..bytes.len() {
            assert!(Block::read(&bytes[..end], 4).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                if let Ok(block) = Block::read(&changed, 4) {
                    (0..4).for_each(|at| {
                        drop((block.key(at), block.facts(at), block.stamp(at), block.rows(at, 9)))
                    });
                }
            }
        }
    }
}

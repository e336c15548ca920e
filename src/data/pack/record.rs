//! The records that are sorted: one row's object in one File column; and entries, which group rows
//! of one object.

use std::cmp::Ordering;

use super::error::PackError;
use dcfs_core::object::{Identity, Object};
use dcfs_core::time::Timestamp;

/// Marks a row without a recorded size in a buffer.
pub const NO_SIZE: u64 = u64::MAX;

/// Marks a row without a recorded time in a buffer.
pub const NO_TIME: i64 = i64::MIN;

/// The size of a record in bytes, without its key and its stamp.
pub const FIXED: usize = 41;

/// One row's object, at the key it would have alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub key: &'a [u8],
    pub ordinal: u32,
    pub identity: Identity,
    /// [`NO_SIZE`] if not recorded.
    pub size: u64,
    /// Microseconds; [`NO_TIME`] if not recorded.
    pub mtime: i64,
    /// See [`super::stamp`]; empty if there is none.
    pub stamp: &'a [u8],
}

impl<'a> Record<'a> {
    pub fn new(key: &'a [u8], ordinal: u32, object: &Object, stamp: &'a [u8]) -> Self {
        Self {
            key,
            ordinal,
            identity: object.identity(),
            size: object.size.unwrap_or(NO_SIZE),
            mtime: object.last_modified.map_or(NO_TIME, Timestamp::micros),
            stamp,
        }
    }

    /// Its size in bytes.
    pub fn length(&self) -> usize {
        FIXED + self.key.len() + self.stamp.len()
    }

    /// Appends it; the length of the key is a `u32`, because keys are at most
    /// [`dcfs_core::tree::key::LONGEST`] long, and that of the stamp a byte.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.ordinal.to_le_bytes());
        out.extend_from_slice(&self.identity.0);
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.mtime.to_le_bytes());
        out.push(self.stamp.len() as u8);
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.stamp);
    }

    /// Splits the record off the start of `bytes`.
    pub fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (length, bytes) = bytes.split_first_chunk()?;
        let (ordinal, bytes) = bytes.split_first_chunk()?;
        let (identity, bytes) = bytes.split_first_chunk()?;
        let (size, bytes) = bytes.split_first_chunk()?;
        let (mtime, bytes) = bytes.split_first_chunk()?;
        let (&stamp, bytes) = bytes.split_first()?;
        let (key, bytes) = bytes.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (stamp, rest) = bytes.split_at_checked(stamp.into())?;
        let record = Self {
            key,
            ordinal: u32::from_le_bytes(*ordinal),
            identity: Identity(*identity),
            size: u64::from_le_bytes(*size),
            mtime: i64::from_le_bytes(*mtime),
            stamp,
        };
        Some((record, rest))
    }
}

/// By key; rows of one object are adjacent, in their order.
impl Ord for Record<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let rest = |r: &Self| (r.identity, r.ordinal, r.size, r.mtime);
        self.key.cmp(other.key).then_with(|| rest(self).cmp(&rest(other)))
    }
}

impl PartialOrd for Record<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// All rows of one object.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its first row, which provides size and time.
    pub row: Record<'a>,
    /// The ordinals of the other rows, ascending.
    pub more: Vec<u32>,
}

impl Entry<'_> {
    /// The ordinals of all its rows, ascending.
    pub fn ordinals(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.row.ordinal).chain(self.more.iter().copied())
    }
}

/// Groups adjacent records with the same key and identity.
pub fn entries<'a>(
    records: impl Iterator<Item = Result<Record<'a>, PackError>>,
) -> impl Iterator<Item = Result<Entry<'a>, PackError>> {
    let mut records = records.peekable();
    std::iter::from_fn(move || {
        let row = match records.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        let same = |next: &Result<Record<'a>, PackError>| match next {
            Ok(next) => next.key == row.key && next.identity == row.identity,
            Err(_) => false,
        };
        let mut more = Vec::new();
        while let Some(Ok(next)) = records.next_if(same) {
            more.push(next.ordinal);
        }
        Some(Ok(Entry { row, more }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_short_ones_do_not() {
        let object = Object { path: b"a".to_vec(), size: Some(7), ..Object::default() };
        let record = Record::new(b"a\0b", 9, &object, b"\x00etag");
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        assert_eq!((bytes.len(), record.length()), (FIXED + 8, FIXED + 8));
        assert_eq!(Record::split(&bytes), Some((record, &b""[..])));
        for end in 0..bytes.len() {
            assert_eq!(Record::split(&bytes[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn rows_of_one_object_are_one_entry() {
        let object = |path: &str| Object { path: path.into(), ..Object::default() };
        let (one, two) = (object("1"), object("2"));
        let mut records = vec![
            Record::new(b"a", 0, &one, b""),
            Record::new(b"a", 1, &two, b""),
            Record::new(b"a", 2, &one, b""),
            Record::new(b"b", 3, &one, b""),
        ];
        records.sort();
        let entries: Vec<_> =
            entries(records.into_iter().map(Ok)).map(|e| e.expect("ok")).collect();
        let mut got: Vec<_> =
            entries.iter().map(|e| (e.row.key, e.row.ordinal, e.more.clone())).collect();
        got.sort();
        let want: [(&[u8], u32, Vec<u32>); 3] =
            [(b"a", 0, vec![2]), (b"a", 1, vec![]), (b"b", 3, vec![])];
        assert_eq!(got, want);
    }
}

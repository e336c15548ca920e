//! A virtual tar archive: the sizes of its members give the position of every byte.
//!
//! A member is a header of 512 bytes, its data, and zeros up to a multiple of 512; two blocks of
//! zeros end the archive and further ones fill it up to [`RECORD`], as in GNU tar. Headers are
//! POSIX `ustar` with the owner 0:0 and mode 0444, so equal members give equal bytes. Names are at
//! most 100 bytes: callers generate short ones.

use std::ops::Range;

const BLOCK: u64 = 512;

/// Archives are a multiple of this size, as GNU tar and Python's `tarfile` write them.
const RECORD: u64 = 20 * BLOCK;

/// The longest name of a member.
pub const LONGEST_NAME: usize = 100;

/// The largest size that eleven octal digits hold: 8 GiB less one. Larger ones are binary, as in
/// GNU tar.
const MOST_OCTAL: u64 = (1 << 33) - 1;

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<D> {
    pub name: String,
    /// The size in bytes.
    pub size: u64,
    /// Seconds since 1970; earlier times become 1970.
    pub mtime: i64,
    pub data: D,
}

/// Members with their offsets.
#[derive(Clone, Debug)]
pub struct Archive<D> {
    members: Vec<Member<D>>,
    /// The offset of each member, and the end of the last one.
    starts: Vec<u64>,
}

/// A piece of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a, D> {
    /// Bytes of the header of a member.
    Header(Vec<u8>, &'a Member<D>),
    /// Bytes of a member.
    Data(&'a Member<D>, Range<u64>),
    /// This many zeros.
    Zeros(u64),
}

/// The bytes that members of these sizes take, without the end of the archive.
pub fn taken(sizes: impl IntoIterator<Item = u64>) -> u64 {
    sizes.into_iter().fold(0, |sum, size| sum.saturating_add(member(size)))
}

fn member(size: u64) -> u64 {
    BLOCK.saturating_add(size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX))
}

/// The size in bytes of an archive whose members take this many bytes.
pub fn size(taken: u64) -> u64 {
    let ended = taken.saturating_add(2 * BLOCK);
    ended.checked_next_multiple_of(RECORD).unwrap_or(u64::MAX)
}

impl<D> Archive<D> {
    /// The archive of these members, in order.
    pub fn new(members: Vec<Member<D>>) -> Self {
        let mut starts = Vec::with_capacity(members.len() + 1);
        let mut end = 0_u64;
        starts.push(0);
        for of in &members {
            end = end.saturating_add(member(of.size));
            starts.push(end);
        }
        Self { members, starts }
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        size(self.end())
    }

    /// The members, in order.
    pub fn members(&self) -> &[Member<D>] {
        &self.members
    }

    /// The pieces of `offset..offset + length` in order, clipped at the end of the archive.
    pub fn pieces(&self, offset: u64, length: u64) -> Vec<Piece<'_, D>> {
        let end = offset.saturating_add(length).min(self.size());
        let mut pieces = Vec::new();
        let mut at = offset;
        let first = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        for (of, start) in self.members.iter().zip(&self.starts).skip(first) {
            if at >= end {
                break;
            }
            let data = start + BLOCK;
            let zeros = data.saturating_add(of.size);
            let next = start.saturating_add(member(of.size));
            if let Some(part) = part(&mut at, end, *start..data) {
                let bytes = header(of)[part.start as usize..part.end as usize].to_vec();
                pieces.push(Piece::Header(bytes, of));
            }
            pieces.extend(part(&mut at, end, data..zeros).map(|part| Piece::Data(of, part)));
            let rest = part(&mut at, end, zeros..next);
            pieces.extend(rest.map(|part| Piece::Zeros(part.end - part.start)));
        }
        let rest = part(&mut at, end, self.end()..self.size());
        pieces.extend(rest.map(|part| Piece::Zeros(part.end - part.start)));
        pieces
    }

    fn end(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }
}

/// The part of `whole` within `at..end`, relative to the start of `whole`; moves `at` past it.
fn part(at: &mut u64, end: u64, whole: Range<u64>) -> Option<Range<u64>> {
    if *at >= end || *at < whole.start || *at >= whole.end {
        return None;
    }
    let until = whole.end.min(end);
    let found = *at - whole.start..until - whole.start;
    *at = until;
    Some(found)
}

/// The header of a member, in the order of POSIX's fields.
fn header<D>(of: &Member<D>) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    let name = &of.name.as_bytes()[..of.name.len().min(LONGEST_NAME)];
    let mtime = u64::try_from(of.mtime).unwrap_or(0).min(MOST_OCTAL);
    put(&mut block, 0, name);
    put(&mut block, 100, b"0000444\0");
    put(&mut block, 108, b"0000000\0");
    put(&mut block, 116, b"0000000\0");
    put(&mut block, 136, format!("{mtime:011o}\0").as_bytes());
    if of.size <= MOST_OCTAL {
        put(&mut block, 124, format!("{:011o}\0", of.size).as_bytes());
    } else {
        put(&mut block, 124, &[0x80, 0, 0, 0]);
        put(&mut block, 128, &of.size.to_be_bytes());
    }
    put(&mut block, 148, b"        ");
    put(&mut block, 156, b"0");
    put(&mut block, 257, b"ustar\x0000");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn archive(sizes: &[u64]) -> Archive<usize> {
        let member = |(number, size): (usize, &u64)| Member {
            name: format!("{number:06}.bin"),
            size: *size,
            mtime: 1_700_000_000,
            data: number,
        };
        Archive::new(sizes.iter().enumerate().map(member).collect())
    }

    /// The bytes of a piece if all bytes of member `n` are `n + 1`.
    fn bytes(archive: &Archive<usize>, offset: u64, length: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in archive.pieces(offset, length) {
            match piece {
                Piece::Header(bytes, _) => out.extend(bytes),
                Piece::Data(of, range) => {
                    assert!(range.end <= of.size);
                    out.extend(range.map(|at| (at as u8).wrapping_add(of.data as u8)));
                }
                Piece::Zeros(count) => out.resize(out.len() + count as usize, 0),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_read_anywhere_is_a_slice_of_the_whole(
            sizes in prop::collection::vec(0_u64..3000, 0..12),
            reads in prop::collection::vec((0_u64..40_000, 0_u64..9000), 1..20),
        ) {
            let archive = archive(&sizes);
            let whole = bytes(&archive, 0, u64::MAX);
            prop_assert_eq!(whole.len() as u64, archive.size());
            prop_assert_eq!(archive.size(), size(taken(sizes)));
            for (offset, length) in reads {
                let from = (offset as usize).min(whole.len());
                let to = (from + length as usize).min(whole.len());
                prop_assert_eq!(bytes(&archive, offset, length), &whole[from..to]);
            }
        }
    }

    #[test]
    fn a_header_is_what_tar_wants() {
        let archive = archive(&[5]);
        let block = bytes(&archive, 0, 512);
        assert_eq!(&block[..10], b"000000.bin");
        assert_eq!(&block[124..136], b"00000000005\0");
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| match at {
                148..156 => 32,
                _ => u64::from(*byte),
            })
            .sum();
        assert_eq!(&block[148..156], format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(archive.size(), 10_240);
    }

    #[test]
    fn sizes_past_eight_gigabytes_are_binary() {
        let archive = archive(&[1 << 40]);
        let block = bytes(&archive, 0, 512);
        assert_eq!(block[124..136], [0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(bytes(&archive, (1 << 40) + 511, 3).len(), 3);
        assert_eq!(taken([u64::MAX, 5]), u64::MAX, "strangers' sizes do not wrap");
    }
}

//! Members of archives, read only if the archive is not compressed.
//!
//! A row records a member by its offset in the decompressed archive, so in a compressed archive that offset
//! holds other bytes. Names show compression often, but not always: the first block of the archive is examined,
//! once for all of its members. If it is neither a known magic number nor a tar header (Brotli has no magic number), the
//! block before each member must be a header.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lru::LruCache;
use tokio::sync::OnceCell;

use super::error::Error;
use super::stream::{Ranges, Rest};

/// A block of a tar: a member's header is one.
pub const BLOCK: usize = 512;

/// Number of archives that are remembered.
const ARCHIVES: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Magic numbers of compressed files: gzip, compress, bzip2, xz, lzma, zstd, lz4 (and its old form), lzip,
/// lzop, snappy, 7z, zip.
const MAGICS: [&[u8]; 13] = [
    b"\x1f\x8b",
    b"\x1f\x9d",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x5d\0\0",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"\x02\x21\x4c\x18",
    b"LZIP",
    b"\x89LZO",
    b"\xff\x06\0\0sNaPpY",
    b"7z\xbc\xaf\x27\x1c",
    b"PK\x03\x04",
];

/// What the first block of an archive tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The header of a member.
    Plain,
    /// How compressed files begin.
    Compressed,
    /// Neither: the block before a member tells of that one.
    Unknown,
}

impl Verdict {
    /// By the first block, whatever the archive's name. A plain tar begins with the name of its first member, which may look
    /// like anything; its checksum tells.
    pub fn of(beginning: &[u8]) -> Self {
        // zstd may begin with a skippable frame: any of sixteen magic numbers.
        let is_skippable = |bytes: &[u8]| matches!(bytes, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
        let is_magic = |magic: &&[u8]| beginning.starts_with(magic);
        match is_header(beginning) {
            true => Self::Plain,
            false if MAGICS.iter().any(is_magic) || is_skippable(beginning) => Self::Compressed,
            false => Self::Unknown,
        }
    }
}

/// Where the header of a member is whose bytes begin at `base`; `None` where there is no room for one.
pub fn header_of(base: u64) -> Option<Range<u64>> {
    Some(base.checked_sub(BLOCK as u64)?..base)
}

/// Whether a block is a tar header, by its checksum.
pub fn is_header(block: &[u8]) -> bool {
    const SUM: Range<usize> = 148..156;
    let Some(block) = block.get(..BLOCK) else { return false };
    let text: String = block[SUM].iter().map(|byte| char::from(*byte)).collect();
    let recorded = u32::from_str_radix(text.trim_matches([' ', '\0']), 8);
    let of = |(at, byte): (usize, &u8)| if SUM.contains(&at) { b' ' } else { *byte };
    let bytes = || block.iter().enumerate().map(of);
    // Some old programs added up signed bytes.
    recorded.is_ok_and(|recorded| {
        let signed: i32 = bytes().map(|byte| i32::from(byte.cast_signed())).sum();
        recorded == bytes().map(u32::from).sum::<u32>() || i32::try_from(recorded) == Ok(signed)
    })
}

/// The archives whose members were read recently.
pub struct Archives(Mutex<LruCache<String, Arc<OnceCell<Verdict>>>>);

impl Default for Archives {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(ARCHIVES)))
    }
}

impl Archives {
    /// The archive `object`, of `size` bytes, for a member that begins at `base`. `identity`: what its bytes are known by.
    pub fn checked(
        &self,
        object: Arc<dyn Ranges>,
        identity: String,
        (base, size): (u64, u64),
    ) -> Plain {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = Arc::clone(all.get_or_insert(identity, Arc::default));
        Plain { object, verdict, base, size, has_header: OnceCell::new() }
    }
}

/// An archive that returns bytes of its members only if it is not compressed.
pub struct Plain {
    object: Arc<dyn Ranges>,
    verdict: Arc<OnceCell<Verdict>>,
    /// Of the member.
    base: u64,
    /// Of the archive, in bytes.
    size: u64,
    /// Whether the member has one, where that is asked.
    has_header: OnceCell<bool>,
}

impl Plain {
    async fn check(&self) -> Result<(), Error> {
        let look = || async {
            let beginning = self.object.clone().get(0..self.size.min(BLOCK as u64)).await?;
            Ok::<_, Error>(Verdict::of(&beginning))
        };
        let is_plain = match self.verdict.get_or_try_init(look).await? {
            Verdict::Plain => true,
            Verdict::Compressed => false,
            Verdict::Unknown => *self.has_header.get_or_try_init(|| self.look_before()).await?,
        };
        match is_plain {
            true => Ok(()),
            false => Err(Error::Compressed { place: self.object.place().to_owned() }),
        }
    }

    async fn look_before(&self) -> Result<bool, Error> {
        let Some(header) = header_of(self.base) else { return Ok(false) };
        Ok(is_header(&self.object.clone().get(header).await?))
    }
}

impl Ranges for Plain {
    fn get(self: Arc<Self>, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, Error>> {
        async move {
            self.check().await?;
            self.object.clone().get(range).await
        }
        .boxed()
    }

    fn place(&self) -> &str {
        self.object.place()
    }

    fn progressed(&self) -> Option<tokio::time::Instant> {
        self.object.progressed()
    }

    fn rest(self: Arc<Self>, at: u64) -> Option<Rest> {
        // Only called after a read, which checked that the archive is not compressed.
        self.object.clone().rest(at)
    }
}

/// The header of an empty member of that name.
#[cfg(test)]
pub fn header(name: &[u8]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_archives_are_known_by_their_beginning() {
        for (bytes, want) in [
            (&b"\x1f\x8b\x08\0"[..], Verdict::Compressed),
            (b"BZh91AY&SY", Verdict::Compressed),
            (b"\x50\x2a\x4d\x18\x04", Verdict::Compressed),
            (b"a.txt\0\0", Verdict::Unknown),
            (b"", Verdict::Unknown),
            // A plain tar whose first member is called so.
            (&header(b"BZh.txt"), Verdict::Plain),
        ] {
            assert_eq!(Verdict::of(bytes), want, "{bytes:?}");
        }
        assert!(is_header(&header(b"a")) && !is_header(&[0; BLOCK]));
        assert_eq!((header_of(511), header_of(1536)), (None, Some(1024..1536)));
    }
}

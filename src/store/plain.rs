//! Members of archives, read only if the archive is not compressed.
//!
//! A row records a member by its offset in the decompressed archive, so in a compressed archive that offset
//! holds other bytes. Names show compression often, but not always: the first block of the archive is examined,
//! once for all of its members.

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

/// Whether an archive with this beginning is compressed, whatever its name. A plain tar begins with the name of
/// its first member, which may look like anything; its header checksum tells.
pub fn is_compressed(beginning: &[u8]) -> bool {
    // zstd may begin with a skippable frame: any of sixteen magic numbers.
    let is_skippable = |bytes: &[u8]| matches!(bytes, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    let is_magic =
        MAGICS.iter().any(|magic| beginning.starts_with(magic)) || is_skippable(beginning);
    is_magic && !is_header(beginning)
}

/// Whether a block is a tar header, by its checksum.
fn is_header(block: &[u8]) -> bool {
    const SUM: Range<usize> = 148..156;
    let Some(block) = block.get(..BLOCK) else { return false };
    let text: String = block[SUM].iter().map(|byte| char::from(*byte)).collect();
    let recorded = u32::from_str_radix(text.trim_matches([' ', '\0']), 8);
    let of = |(at, byte): (usize, &u8)| u32::from(if SUM.contains(&at) { b' ' } else { *byte });
    recorded == Ok(block.iter().enumerate().map(of).sum())
}

/// Whether an archive is plain, once known.
pub type Verdict = OnceCell<bool>;

/// The archives whose members were read recently.
pub struct Archives(Mutex<LruCache<String, Arc<Verdict>>>);

impl Default for Archives {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(ARCHIVES)))
    }
}

impl Archives {
    /// Wraps the archive `object`. `identity` is its cache key.
    pub fn checked(&self, object: Arc<dyn Ranges>, identity: String, size: u64) -> Plain {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = Arc::clone(all.get_or_insert(identity, Arc::default));
        Plain { object, verdict, size }
    }
}

/// An archive that returns bytes of its members only if it is not compressed.
pub struct Plain {
    object: Arc<dyn Ranges>,
    verdict: Arc<Verdict>,
    /// Of the archive, in bytes.
    size: u64,
}

impl Plain {
    async fn check(&self) -> Result<(), Error> {
        let look = || async {
            let beginning = self.object.clone().get(0..self.size.min(BLOCK as u64)).await?;
            Ok(!is_compressed(&beginning))
        };
        match self.verdict.get_or_try_init(look).await? {
            true => Ok(()),
            false => Err(Error::Compressed { place: self.object.place().to_owned() }),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of an empty member of that name.
    fn header(name: &[u8]) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    #[test]
    fn compressed_archives_are_known_by_their_beginning() {
        for (bytes, want) in [
            (&b"\x1f\x8b\x08\0"[..], true),
            (b"BZh91AY&SY", true),
            (b"\x50\x2a\x4d\x18\x04", true),
            (b"a.txt\0\0", false),
            (b"", false),
        ] {
            assert_eq!(is_compressed(bytes), want, "{bytes:?}");
        }
        assert!(!is_compressed(&header(b"BZh.txt")), "a plain tar whose first member is called so");
        assert!(is_header(&header(b"a")) && !is_header(&[0; BLOCK]));
    }
}

//! Files as objects of a bucket: each there when it is whole, and not written again where it is what would be written.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::sums::Sum;
use super::{Written, tells_its_version};
use crate::cli::progress::Progress;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::hex::hex;
use dcfs_store::put::Target;
use dcfs_vfs::{Attr, Vfs};

/// Bytes of a file that is held whole and written at once.
const WHOLE: u64 = 8 << 20;

/// What is noted with an object: the time of its row, and the checksum of its bytes.
const MTIME: &str = "dcfs-mtime";
const SHA256: &str = "dcfs-sha256";

/// Writes one file, unless it is there.
///
/// A row's own object that is there with the size and the time of its row stays, unread; what dcfs makes, and what has no time, is read,
/// and stays where the checksum is the same.
pub async fn file_to(
    vfs: &Arc<Vfs>,
    file: &Attr,
    target: &Target,
    key: &str,
    progress: &Progress,
) -> Result<Written> {
    let time = file.mtime.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let there = target.look(key).await?.filter(|there| there.size == file.size);
    let noted = there.as_ref().and_then(|there| unhex(there.note(SHA256)?));
    let is_same_time =
        there.as_ref().is_some_and(|there| there.note(MTIME) == Some(&time.to_string()));
    if let Some(sum) = noted.filter(|_| is_same_time && tells_its_version(file)) {
        progress.add(file.size);
        return Ok(Written { bytes: file.size, sum: Some(sum) });
    }
    let is_small = file.size <= WHOLE;
    let (mut hash, mut whole) = (Sha256::new(), Vec::new());
    let bytes = vfs
        .pour(file, |bytes| {
            hash.update(&bytes);
            if is_small {
                progress.add(bytes.len() as u64);
                whole.extend_from_slice(&bytes);
            }
            Ok(())
        })
        .await?;
    let sum: Sum = hash.finalize().into();
    let written = Written { bytes, sum: Some(sum) };
    if noted == Some(sum) && bytes == file.size {
        if !is_small {
            progress.add(bytes);
        }
        return Ok(written);
    }
    let notes = [(MTIME, time.to_string()), (SHA256, hex(&sum))];
    if is_small {
        target.put(key, whole.into(), &notes).await?;
        return Ok(written);
    }
    in_parts(vfs, file, target, key, &notes, sum, progress).await?;
    Ok(written)
}

/// Reads a large file again, from the cache mostly, and writes it as it comes.
async fn in_parts(
    vfs: &Arc<Vfs>,
    file: &Attr,
    target: &Target,
    key: &str,
    notes: &[(&'static str, String)],
    sum: Sum,
    progress: &Progress,
) -> Result<()> {
    let mut writing = target.begin(key, file.size, notes).await?;
    let mut hash = Sha256::new();
    let poured = vfs
        .pour(file, |bytes: Bytes| {
            hash.update(&bytes);
            progress.add(bytes.len() as u64);
            block_in_place(|| Handle::current().block_on(writing.add(bytes)))
        })
        .await;
    let is_same = poured.and_then(|_| match Sum::from(hash.finalize()) == sum {
        true => Ok(()),
        false => Err(Error::new(Kind::Stale, "its bytes changed while it was copied")),
    });
    match is_same {
        Ok(()) => writing.finish().await,
        Err(error) => {
            writing.abort().await;
            Err(error)
        }
    }
}

fn unhex(text: &str) -> Option<Sum> {
    let mut sum = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in sum.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read_back() {
        let sum: Sum = Sha256::digest("x").into();
        assert_eq!(unhex(&hex(&sum)), Some(sum));
        for bad in ["", "zz", &"g".repeat(64), &"\u{e9}".repeat(32)] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}

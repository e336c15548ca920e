//! Deletion vectors: the rows of a data file that are deleted, as a bitmap within the log or in a file.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use roaring::RoaringTreemap;
use uuid::Uuid;

use super::super::view::Stored;
use super::super::{Allowed, Reach, Root, wrong};
use super::decoded;
use super::log::Vector;
use crate::load::Error;
use dcfs_core::error::Result;

/// The first bytes of a bitmap.
const MAGIC: u32 = 1_681_511_377;

/// The first bytes of a bitmap of 32 bits without runs; with runs it is one more, and the lower half alone.
const WITHOUT_RUNS: u32 = 12_346;

/// The longest vectors of a table, in bytes: they are held in memory.
const MOST: u64 = 1 << 30;

/// Characters of a file's number.
const UUID: usize = 20;

/// The vectors of a table. A file that holds many is opened once.
pub struct Vectors<'t> {
    root: &'t Root,
    pub reach: &'t dyn Reach,
    pub allowed: &'t Allowed,
    files: HashMap<String, File>,
    held: u64,
}

/// A vector, as it is stored.
#[derive(Debug)]
struct Bitmap {
    bytes: Vec<u8>,
    cardinality: u64,
}

impl<'t> Vectors<'t> {
    pub fn new(root: &'t Root, reach: &'t dyn Reach, allowed: &'t Allowed) -> Self {
        Self { root, reach, allowed, files: HashMap::new(), held: 0 }
    }

    /// The bytes of a vector.
    ///
    /// # Errors
    /// A description that is damaged, a file that is; errors of the store.
    pub fn get(&mut self, vector: &Vector) -> Result<Arc<dyn Stored>> {
        let shown = self.root.shown();
        let odd =
            |what: &str| wrong(shown, format!("its deletion vector `{}`: {what}", vector.id()));
        let size = u64::try_from(vector.size_in_bytes).map_err(|_| odd("its size is negative"))?;
        let cardinality = u64::try_from(vector.cardinality).map_err(|_| odd("it is damaged"))?;
        self.held = self.held.saturating_add(size);
        if self.held > MOST {
            let what =
                "its deletion vectors are longer than 1 GiB; compact the table first (OPTIMIZE)";
            return Err(wrong(shown, what).into());
        }
        let text = &vector.path_or_inline_dv;
        let path = match vector.storage_type.as_str() {
            "i" => {
                let mut bytes = z85(text).ok_or_else(|| odd("it is damaged"))?;
                if (bytes.len() as u64) < size {
                    return Err(odd("it is shorter than it says").into());
                }
                bytes.truncate(size as usize);
                return Ok(Arc::new(Bitmap { bytes, cardinality }));
            }
            "u" => relative(text).ok_or_else(|| odd("it names no file"))?,
            "p" => decoded(text).map_err(|what| odd(&what))?,
            _ => return Err(odd("it is stored in a way that is not known").into()),
        };
        let offset = u64::try_from(vector.offset.unwrap_or(0)).map_err(|_| odd("it is damaged"))?;
        let bytes = self.of_file(&path, offset, size)?;
        Ok(Arc::new(Bitmap { bytes, cardinality }))
    }

    /// The bytes of a vector in a file, where its length stands before it and a checksum after it.
    fn of_file(&mut self, path: &str, offset: u64, size: u64) -> Result<Vec<u8>> {
        let found = match self.files.get(path) {
            Some(file) => file,
            None => {
                let file = self.root.file(path, None, self.reach, self.allowed)?;
                let opened = file.open(&|object| self.reach.fetch(object))?;
                // Few are open at a time, as vectors of one file follow each other mostly.
                if self.files.len() >= 64 {
                    self.files.clear();
                }
                self.files.entry(path.to_owned()).or_insert(opened)
            }
        };
        let unread = |cause| Error::Unread { file: path.to_owned(), cause };
        let damaged = || wrong(path, format!("its deletion vector at byte {offset} is damaged"));
        let length = found.metadata().map_err(unread)?.len();
        let end = offset.checked_add(size).and_then(|end| end.checked_add(8));
        if end.is_none_or(|end| end > length) {
            return Err(damaged().into());
        }
        let mut bytes = vec![0; size as usize + 8];
        found.read_exact_at(&mut bytes, offset).map_err(unread)?;
        let word = |at: usize| -> u32 {
            let four = bytes[at..at + 4].try_into().unwrap_or_default();
            u32::from_be_bytes(four)
        };
        let body = &bytes[4..size as usize + 4];
        let is_whole =
            u64::from(word(0)) == size && word(size as usize + 4) == crc32fast::hash(body);
        if !is_whole {
            return Err(damaged().into());
        }
        Ok(body.to_vec())
    }
}

impl Stored for Bitmap {
    fn positions(&self, rows: u64) -> Result<Arc<RoaringTreemap>, String> {
        let positions = decode(&self.bytes, rows).ok_or("its deletion vector is damaged")?;
        let is_true =
            positions.len() == self.cardinality && positions.max().is_none_or(|last| last < rows);
        match is_true {
            true => Ok(Arc::new(positions)),
            false => Err("its deletion vector tells rows that it does not have".into()),
        }
    }
}

/// The positions of a bitmap. It claims its containers at its beginning: with more than a file of so many rows can have,
/// nothing is made of it.
fn decode(bytes: &[u8], rows: u64) -> Option<RoaringTreemap> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (buckets, _) = rest.split_first_chunk::<8>()?;
    if u32::from_le_bytes(*magic) != MAGIC {
        return None;
    }
    match u64::from_le_bytes(*buckets) {
        0 => return Some(RoaringTreemap::new()),
        1 => {}
        // 4 billion rows in one file.
        _ => return None,
    }
    let cookie = u32::from_le_bytes(rest.get(12..16)?.try_into().ok()?);
    let containers = match cookie {
        WITHOUT_RUNS => u32::from_le_bytes(rest.get(16..20)?.try_into().ok()?),
        _ => (cookie >> 16) + 1,
    };
    if u64::from(containers) > rows.div_ceil(1 << 16) {
        return None;
    }
    RoaringTreemap::deserialize_from(rest).ok()
}

/// The path of a file by its number, after the name of a folder if there is one.
fn relative(text: &str) -> Option<String> {
    let (folder, number) = text.split_at_checked(text.len().checked_sub(UUID)?)?;
    let number = Uuid::from_bytes(z85(number)?.try_into().ok()?);
    Some(match folder {
        "" => format!("deletion_vector_{number}.bin"),
        folder => format!("{folder}/deletion_vector_{number}.bin"),
    })
}

/// Decodes Z85: five characters are four bytes, <https://rfc.zeromq.org/spec/32/>.
fn z85(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 85] =
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let (groups, []) = text.as_bytes().as_chunks::<5>() else { return None };
    let mut bytes = Vec::with_capacity(groups.len() * 4);
    for group in groups {
        let mut word: u32 = 0;
        for c in group {
            let digit = DIGITS.iter().position(|digit| digit == c)?;
            word = word.checked_mul(85)?.checked_add(u32::try_from(digit).ok()?)?;
        }
        bytes.extend(word.to_be_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// A bitmap as Delta writes it, and the names of files in the protocol's examples.
    #[test]
    fn vectors_as_delta_writes_them() {
        let bytes =
            z85("^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L").expect("a vector");
        let rows: Vec<u64> = decode(&bytes[..44], 30).expect("a bitmap").into_iter().collect();
        assert_eq!(rows, [3, 4, 7, 11, 18, 29]);
        let stored = |cardinality| Bitmap { bytes: bytes[..44].to_vec(), cardinality };
        assert_eq!(stored(6).positions(30).expect("all").len(), 6);
        assert!(stored(6).positions(29).is_err(), "a row that is not there");
        assert!(stored(5).positions(30).is_err(), "another number of rows");
        let path = "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin";
        assert_eq!(relative("ab^-aqEH.-t@S}K{vb[*k^").as_deref(), Some(path));
        assert_eq!(relative("^-aqEH.-t@S}K{vb[*k^").as_deref(), path.strip_prefix("ab/"));
        assert!(relative("short").is_none() && relative("\u{e9}-aqEH.-t@S}K{vb[*k^").is_none());
    }

    #[test]
    fn a_bitmap_larger_than_its_file_is_not_made() {
        let mut all = RoaringTreemap::new();
        all.insert_range(0..1 << 22);
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        all.serialize_into(&mut bytes).expect("written");
        assert!(decode(&bytes, 1 << 22).is_some());
        assert!(decode(&bytes, 1 << 20).is_none());
        for end in 0..60 {
            assert!(decode(&bytes[..end], 1 << 22).is_none(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), text in ".{0,50}") {
            let magic = MAGIC.to_le_bytes();
            let one = 1_u64.to_le_bytes();
            let _ = decode(&[&magic[..], &bytes[..]].concat(), 100_000);
            let _ = decode(&[&magic[..], &one[..], &[0; 4], &bytes[..]].concat(), 100_000);
            let _ = (z85(&text), relative(&text));
        }

        #[test]
        fn bitmaps_come_back(rows in prop::collection::btree_set(0..200_000_u64, 0..500)) {
            let all: RoaringTreemap = rows.iter().copied().collect();
            let mut bytes = MAGIC.to_le_bytes().to_vec();
            all.serialize_into(&mut bytes).expect("written");
            prop_assert_eq!(decode(&bytes, 200_000), Some(all));
        }
    }
}

//! A packed column on the disk: its manifest, and its mapped buffers.

use dcfs_disk::regular;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ColumnKey;
use super::sink::{Written, part};
use crate::pack::error::PackError;
use crate::pack::output::{Output, Sum, Sums, mapped};
use dcfs_core::expr::packed::{Numbers, Packed, Texts, Valid, Vectors, Word};
use dcfs_disk::map::Map;

/// Changes whenever the contents of the files change.
pub const FORMAT: u32 = 2;

/// The file name.
const FILE: &str = "manifest.json";

/// How values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Presence,
    Ints,
    Narrow,
    Floats,
    Bools,
    Texts,
    Words,
    Singles,
    Doubles,
}

/// The manifest of a column, written last.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    /// The database column, and the requested form.
    column: String,
    form: String,
    kind: Kind,
    rows: u32,
    /// The length of each vector.
    width: u64,
    files: Sums,
    /// CRC32 of the compact JSON of all this, with 0 here.
    checksum: u32,
}

impl Manifest {
    fn own_checksum(&self) -> u32 {
        let bare = Self { checksum: 0, ..self.clone() };
        crc32fast::hash(&serde_json::to_vec(&bare).unwrap_or_default())
    }
}

/// Writes the manifest of a column into its folder.
pub fn describe(
    folder: &Path,
    key: &ColumnKey,
    rows: u32,
    written: Written,
) -> Result<(), PackError> {
    let Written { kind, width, files } = written;
    let (column, form) = (key.0.clone(), format!("{:?}", key.1));
    let mut manifest =
        Manifest { format: FORMAT, column, form, kind, rows, width, files, checksum: 0 };
    manifest.checksum = manifest.own_checksum();
    let mut out = Output::create(folder.join(FILE))?;
    out.put(&serde_json::to_vec_pretty(&manifest).unwrap_or_default())?;
    out.finish().map(drop)
}

/// A mapped column.
#[derive(Debug)]
pub struct Stored {
    kind: Kind,
    width: usize,
    valid: Option<Map>,
    values: Option<Map>,
    offsets: Option<Map>,
    codes: Option<Map>,
}

impl Stored {
    /// Opens the column in `folder`, of `rows` rows; `None` if there is no usable one: a damaged
    /// one is removed. `is_new`: it was just written.
    pub fn open(
        folder: &Path,
        key: &ColumnKey,
        rows: u32,
        is_new: bool,
    ) -> Result<Option<Self>, PackError> {
        let why = match Self::read(folder, key, rows, is_new) {
            Ok(stored) => return Ok(Some(stored)),
            Err(PackError::Absent(_)) if !folder.exists() => return Ok(None),
            // For example too many open files: it may be readable later.
            Err(why @ PackError::Read { .. }) => return Err(why),
            Err(why) => why,
        };
        tracing::warn!(column = %folder.display(), %why, "packed column cannot be used; packing it again");
        crate::pack::folder::remove(folder)?;
        Ok(None)
    }

    fn read(folder: &Path, key: &ColumnKey, rows: u32, is_new: bool) -> Result<Self, PackError> {
        let manifest = manifest(folder)?;
        if (&manifest.column, manifest.form.as_str()) != (&key.0, &format!("{:?}", key.1)) {
            return Err(PackError::damaged("it is another column"));
        }
        if manifest.rows != rows {
            return Err(PackError::damaged("it is of other rows"));
        }
        let map = |name: &str| match manifest.files.get(name) {
            Some(sum) => whole(folder, name, sum, is_new).map(Some),
            None => Ok(None),
        };
        Ok(Self {
            kind: manifest.kind,
            width: usize::try_from(manifest.width).unwrap_or(usize::MAX),
            valid: map(part::VALID)?,
            values: map(part::VALUES)?,
            offsets: map(part::OFFSETS)?,
            codes: map(part::CODES)?,
        })
    }

    /// The column in the form that filters read.
    pub fn packed(&self) -> Packed<'_> {
        let values = bytes(&self.values);
        let valid = Valid(self.valid.as_ref().map(|map| map.as_ref().as_chunks::<8>().0));
        let eights: &[Word] = values.as_chunks().0;
        let texts = Texts { offsets: bytes(&self.offsets).as_chunks().0, bytes: values };
        let vectors = |numbers| Packed::Vectors(Vectors { width: self.width, numbers }, valid);
        match self.kind {
            Kind::Presence => Packed::Presence(valid),
            Kind::Ints => Packed::Ints(eights, valid),
            Kind::Narrow => Packed::Narrow(values.as_chunks().0, valid),
            Kind::Floats => Packed::Floats(eights, valid),
            Kind::Bools => Packed::Bools(eights, valid),
            Kind::Texts => Packed::Texts(texts, valid),
            Kind::Words => Packed::Words(bytes(&self.codes).as_chunks().0, texts, valid),
            Kind::Singles => vectors(Numbers::Single(values.as_chunks().0)),
            Kind::Doubles => vectors(Numbers::Double(eights)),
        }
    }
}

/// A file of a column, mapped and verified before use: a wrong answer could not be taken back. It is the mapping that is
/// compared, which a statement reads next anyway. A new file has just been written.
fn whole(folder: &Path, name: &str, sum: &Sum, is_new: bool) -> Result<Map, PackError> {
    let map = mapped(folder, name)?;
    let found = map.as_ref().len();
    if found as u64 != sum.length {
        let what = format!("`{name}` has {found} bytes, not {}", sum.length);
        return Err(PackError::damaged(what));
    }
    if !is_new && crc32fast::hash(map.as_ref()) != sum.crc32 {
        return Err(PackError::damaged(format!("`{name}` does not match its checksum")));
    }
    Ok(map)
}

fn bytes(map: &Option<Map>) -> &[u8] {
    map.as_ref().map_or(&[], |map| map.as_ref())
}

/// The longest manifest in bytes: it lists a few files and their checksums.
const LARGEST: u64 = 1 << 20;

/// The files of the column in `folder`.
pub fn files(folder: &Path) -> Result<Sums, PackError> {
    manifest(folder).map(|manifest| manifest.files)
}

fn manifest(folder: &Path) -> Result<Manifest, PackError> {
    let path = folder.join(FILE);
    let read = regular::read(&path, LARGEST).map_err(PackError::read(&path))?;
    let manifest: Manifest = serde_json::from_slice(&read)
        .map_err(io::Error::other)
        .map_err(|error| PackError::damaged(format!("its manifest cannot be read: {error}")))?;
    if manifest.format != FORMAT {
        return Err(PackError::Format { found: manifest.format.into(), wanted: FORMAT });
    }
    if manifest.own_checksum() != manifest.checksum {
        return Err(PackError::damaged("its manifest does not match its own checksum"));
    }
    Ok(manifest)
}

//! The manifest of a pack; written last, so that a pack that has one is complete.
//!
//! JSON for people and `jq`. It holds a checksum of itself beside those of the other files, so that
//! every byte of a pack is covered.

use dcfs_disk::regular;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::PackError;
use super::ids;
use super::output::{Output, Sums};
use dcfs_core::schema::FileColumn;

/// Changes whenever the contents of files or the rules for names change.
pub const FORMAT: u32 = 4;

/// Rows and entries are numbered with 32 bits: there are fewer than this.
pub const MOST: u64 = u32::MAX as u64;

/// The file name.
pub const FILE: &str = "manifest.json";

/// The longest manifest: 16 MiB.
const LONGEST: u64 = 16 << 20;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// The release that wrote it.
    pub dcfs: String,
    pub rows: u32,
    /// `sys__id` of the first row; the others follow without gaps unless `rows.ids` exists.
    pub first_id: i64,
    pub columns: Vec<ColumnPart>,
    /// Every other file of the pack.
    pub files: Sums,
    /// CRC32 of the compact JSON of all this, with 0 here.
    pub checksum: u32,
}

/// One listed File column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnPart {
    pub name: String,
    /// The database columns of its parts, null if a partial File lacks one.
    pub source: Option<String>,
    pub path: Option<String>,
    pub size: Option<String>,
    pub version: Option<String>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    pub location: Option<String>,
    pub entries: u32,
    /// Whether paths begin with their source.
    pub many_sources: bool,
    /// Whether any file's name differs from its recorded one.
    pub has_moved: bool,
}

impl ColumnPart {
    pub fn new(file: &FileColumn, entries: u32, many_sources: bool, has_moved: bool) -> Self {
        let file = file.clone();
        Self {
            name: file.name,
            source: file.source,
            path: file.path,
            size: file.size,
            version: file.version,
            etag: file.etag,
            last_modified: file.last_modified,
            location: file.location,
            entries,
            many_sources,
            has_moved,
        }
    }
}

impl Manifest {
    pub fn new(rows: u32, first_id: i64, columns: Vec<ColumnPart>, files: Sums) -> Self {
        let dcfs = env!("CARGO_PKG_VERSION").into();
        let mut this = Self { format: FORMAT, dcfs, rows, first_id, columns, files, checksum: 0 };
        this.checksum = this.own_checksum();
        this
    }

    fn own_checksum(&self) -> u32 {
        let bare = Self { checksum: 0, ..self.clone() };
        crc32fast::hash(&serde_json::to_vec(&bare).unwrap_or_default())
    }

    /// Writes it into `folder`.
    pub fn write(&self, folder: &Path) -> Result<(), PackError> {
        let mut out = Output::create(folder.join(FILE))?;
        out.put(&serde_json::to_vec_pretty(self).unwrap_or_default())?;
        out.finish().map(drop)
    }

    /// Reads the manifest in `folder`, which must be of this format and intact.
    pub fn read(folder: &Path) -> Result<Self, PackError> {
        let path = folder.join(FILE);
        let mut bytes = Vec::new();
        let file = regular::open(&path).map_err(PackError::read(&path))?;
        file.take(LONGEST).read_to_end(&mut bytes).map_err(PackError::read(&path))?;
        check_format(&bytes)?;
        let this: Self = serde_json::from_slice(&bytes).map_err(not_ours)?;
        if this.own_checksum() != this.checksum {
            return Err(PackError::damaged("its manifest does not match its own checksum"));
        }
        Ok(this)
    }

    /// Whether it was built for these File columns.
    pub fn is_for(&self, columns: &[FileColumn]) -> bool {
        let mut pairs = self.columns.iter().zip(columns);
        self.columns.len() == columns.len()
            && pairs.all(|(part, file)| {
                *part == ColumnPart::new(file, part.entries, part.many_sources, part.has_moved)
            })
    }

    /// Whether the ids of rows have gaps.
    pub fn has_gaps(&self) -> bool {
        self.files.contains_key(ids::FILE)
    }

    /// Compares the lengths of all files with the recorded ones.
    pub fn check_lengths(&self, folder: &Path) -> Result<(), PackError> {
        for (name, sum) in &self.files {
            let path = folder.join(name);
            let found = fs::metadata(&path).map_err(PackError::read(&path))?.len();
            if found != sum.length {
                return Err(PackError::damaged(format!(
                    "`{name}` has {found} bytes, not {}",
                    sum.length
                )));
            }
        }
        Ok(())
    }
}

/// Another release's manifest may have other fields, so the format is checked first, on its own.
fn check_format(bytes: &[u8]) -> Result<(), PackError> {
    let any: serde_json::Value = serde_json::from_slice(bytes).map_err(not_ours)?;
    match any.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found != u64::from(FORMAT) => {
            Err(PackError::Format { found, wanted: FORMAT })
        }
        _ => Ok(()),
    }
}

fn not_ours(error: serde_json::Error) -> PackError {
    PackError::damaged(format!("its manifest cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_character_is_noticed() {
        let column = ColumnPart::new(
            &FileColumn { name: "file".into(), ..FileColumn::default() },
            3,
            false,
            true,
        );
        let manifest = Manifest::new(7, 1, vec![column], Sums::new());
        let folder = tempfile::tempdir().expect("a folder");
        manifest.write(folder.path()).expect("written");
        assert_eq!(Manifest::read(folder.path()).expect("whole"), manifest);
        let path = folder.path().join(FILE);
        let bytes = fs::read(&path).expect("readable");
        for at in 0..bytes.len() {
            for other in [b'0', b'9', b' ', b'"', bytes[at] ^ 1] {
                let mut changed = bytes.clone();
                changed[at] = other;
                fs::write(&path, &changed).expect("written");
                if let Ok(read) = Manifest::read(folder.path()) {
                    assert_eq!(read, manifest, "byte {at} as {other}");
                }
            }
        }
    }

    #[test]
    fn another_format_is_told_as_such() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FILE), r#"{"format": 99, "new": true}"#).expect("written");
        assert!(matches!(Manifest::read(folder.path()), Err(PackError::Format { found: 99, .. })));
    }
}

//! Image sizes read before a run was interrupted, so that the next run of the same dataset does not
//! read them again.
//!
//! A file in the folder of runs, with fixed-size records, each with its checksum: a truncated
//! record is ignored. The key is the identity of the object, so a replaced image is read again. The
//! file is removed when the version is saved.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dcfs_core::hex::hex;
use dcfs_core::name::DatasetName;
use dcfs_core::object::{Identity, Object};
use dcfs_data::runs::{self, Life};
use dcfs_disk::regular;
use sha2::{Digest, Sha256};

use crate::image::{FORMATS, Image};

/// An identity, width, height, the index of the format, and a CRC-32 of these.
const RECORD: usize = 16 + 4 + 4 + 1 + 4;

/// Stored as the format of an object that is not an image.
const NONE: u8 = u8::MAX;

/// The most images kept: some 200 MB of memory, as a hash table that doubles. Further ones are read
/// again.
const MOST: usize = 3_600_000;

/// The images read so far.
#[derive(Debug, Default)]
pub struct Checkpoint {
    known: HashMap<Identity, Option<Image>>,
    /// `None` if nothing can be stored: that is no reason not to index.
    file: Option<(File, PathBuf, Life)>,
}

impl Checkpoint {
    /// The checkpoint of a dataset in the catalog at `database`. Without a file if another run of
    /// the dataset is at work.
    pub fn open(database: &Path, name: &DatasetName) -> Self {
        Self::try_open(database, name).unwrap_or_default()
    }

    fn try_open(database: &Path, name: &DatasetName) -> Option<Self> {
        let folder = runs::made(database).ok()?;
        // Names may contain any characters and have any length.
        let digest = Sha256::digest(name.whole());
        let path = folder.join(format!("{}.pictures", hex(&digest[..8])));
        let life = Life::take(&path).ok()??;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = regular::open_with(&options, &path).ok()?;
        let mut known = HashMap::new();
        let mut whole = 0_u64;
        let mut reader = BufReader::new(&mut file);
        let mut record = [0; RECORD];
        while known.len() < MOST && reader.read_exact(&mut record).is_ok() {
            let Some((identity, image)) = read(&record) else { break };
            known.insert(identity, image);
            whole += RECORD as u64;
        }
        // Records after a truncated one would never be read.
        if known.len() < MOST {
            file.set_len(whole).ok()?;
        }
        Some(Self { known, file: Some((file, path, life)) })
    }

    /// The result for an object: an image, or that it is none. `None` if it was not read.
    pub fn get(&self, object: &Object) -> Option<Option<Image>> {
        self.known.get(&object.identity()).copied()
    }

    /// Stores the result for an object.
    pub fn keep(&mut self, object: &Object, image: Option<Image>) {
        let identity = object.identity();
        if self.known.len() >= MOST {
            return;
        }
        if self.known.insert(identity, image).is_some() {
            return;
        }
        if let Some((file, ..)) = &mut self.file
            && file.write_all(&record(identity, image)).is_err()
        {
            // A full disk: stored records stay, and no more are added.
            self.file = None;
        }
    }

    /// Removes the file: its contents have become a version.
    pub fn done(self) {
        if let Some((_, path, _life)) = self.file {
            fs::remove_file(&path).ok();
            fs::remove_file(path.with_extension("lock")).ok();
        }
    }
}

fn record(identity: Identity, image: Option<Image>) -> [u8; RECORD] {
    let format = image.and_then(|image| FORMATS.iter().position(|known| *known == image.format));
    let format = format.and_then(|number| u8::try_from(number).ok()).unwrap_or(NONE);
    let (width, height) = image.map_or((0, 0), |image| (image.width, image.height));
    let mut record = [0; RECORD];
    record[..16].copy_from_slice(&identity.0);
    record[16..20].copy_from_slice(&width.to_le_bytes());
    record[20..24].copy_from_slice(&height.to_le_bytes());
    record[24] = format;
    let sum = crc32fast::hash(&record[..RECORD - 4]);
    record[RECORD - 4..].copy_from_slice(&sum.to_le_bytes());
    record
}

fn read(record: &[u8]) -> Option<(Identity, Option<Image>)> {
    let number = |at: usize| record[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    if number(RECORD - 4)? != crc32fast::hash(&record[..RECORD - 4]) {
        return None;
    }
    let identity = Identity(*record.first_chunk()?);
    let image = match record[24] {
        NONE => None,
        format => {
            let format = FORMATS.get(usize::from(format))?;
            Some(Image { width: number(16)?, height: number(20)?, format })
        }
    };
    Some((identity, image))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(path: &str) -> Object {
        let etag = "1".to_owned();
        Object { path: path.into(), etag, ..Object::default() }
    }

    #[test]
    fn a_later_run_knows_what_an_earlier_one_saw() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("db");
        let name: DatasetName = "pets".parse().expect("a name");
        let image = Image { width: 3, height: 4, format: "PNG" };
        let mut first = Checkpoint::open(&database, &name);
        first.keep(&object("a"), Some(image));
        first.keep(&object("b"), None);
        let beside = Checkpoint::open(&database, &name);
        assert_eq!(beside.get(&object("a")), None, "a run at work keeps it to itself");
        drop(first);
        let entries = fs::read_dir(folder.path().join("dcfs-runs")).expect("runs").flatten();
        let mut paths = entries.map(|entry| entry.path());
        let path = paths.find(|path| path.extension().is_some_and(|end| end == "pictures"));
        let path = path.expect("a file");
        // Truncated in the middle of a record, as by a kill.
        let mut file = OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(&[7; RECORD - 5]).expect("written");
        let mut second = Checkpoint::open(&database, &name);
        assert_eq!(second.get(&object("a")), Some(Some(image)));
        assert_eq!(second.get(&object("b")), Some(None));
        assert_eq!(second.get(&Object { etag: "2".into(), ..object("a") }), None, "replaced");
        second.keep(&object("c"), None);
        drop(second);
        let third = Checkpoint::open(&database, &name);
        assert_eq!(third.get(&object("c")), Some(None), "what was cut off is gone");
        third.done();
        assert!(!path.exists());
    }
}

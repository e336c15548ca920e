//! Writes files: buffered, counted, with a checksum of all bytes.

use dcfs_disk::map::Map;
use dcfs_disk::regular;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::PackError;

/// Bytes buffered before they are written and added to the checksum.
const BUFFER: usize = 128 * 1024;

/// The entry of a file in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// The length in bytes.
    pub length: u64,
    pub crc32: u32,
}

/// The files of a pack by name.
pub type Sums = BTreeMap<String, Sum>;

/// A file of a pack as memory.
///
/// # Errors
/// [`PackError::Absent`] where there is none.
pub fn mapped(folder: &Path, name: &str) -> Result<Map, PackError> {
    let path = folder.join(name);
    Map::open(&path).map_err(PackError::read(&path))
}

/// One new file.
pub struct Output {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    length: u64,
    crc: crc32fast::Hasher,
}

impl Output {
    /// Creates `path`, which must not exist.
    pub fn create(path: PathBuf) -> Result<Self, PackError> {
        let mut options = OpenOptions::new();
        let file = regular::open_with(options.read(true).write(true).create_new(true), &path);
        let file = file.map_err(PackError::write(&path))?;
        let crc = crc32fast::Hasher::new();
        Ok(Self { path, file, buffer: Vec::with_capacity(BUFFER), length: 0, crc })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends `bytes`.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.write_all(bytes).map_err(PackError::write(&self.path))
    }

    /// Writes out the buffer, and returns the file as memory and its entry for the manifest.
    pub fn map(self) -> Result<(Map, Sum), PackError> {
        let path = self.path.clone();
        let (file, sum) = self.finish()?;
        Ok((Map::of(&file).map_err(PackError::read(&path))?, sum))
    }

    /// Writes out the buffer, and returns the file for reading and its entry for the manifest.
    pub fn finish(mut self) -> Result<(File, Sum), PackError> {
        self.flush().map_err(PackError::write(&self.path))?;
        Ok((self.file, Sum { length: self.length, crc32: self.crc.finalize() }))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        self.length += bytes.len() as u64;
        if bytes.len() < BUFFER {
            self.buffer.extend_from_slice(bytes);
        } else {
            self.crc.update(bytes);
            self.file.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.crc.update(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let mut out = Output::create(path.clone()).expect("created");
        for length in [0, 1, 3, BUFFER - 1, BUFFER, BUFFER + 1, 7] {
            out.put(&vec![length as u8; length]).expect("written");
        }
        let (_, sum) = out.finish().expect("finished");
        let bytes = std::fs::read(&path).expect("readable");
        assert_eq!(sum, Sum { length: bytes.len() as u64, crc32: crc32fast::hash(&bytes) });
        let again = Output::create(path).err().expect("it exists").to_string();
        assert!(again.contains("--cache-dir"), "{again}");
    }
}

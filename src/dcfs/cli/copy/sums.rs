//! `SHA256SUMS`: the checksums of a copy, in the format of `sha256sum -c`; it exists once the copy is complete.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dcfs_core::hex::hex;
use sha2::{Digest, Sha256};

use super::Error;
use super::part::Part;

/// The file's name.
pub const NAME: &str = "SHA256SUMS";

/// The SHA-256 of a file.
pub type Sum = [u8; 32];

/// The checksums of the files written so far.
pub struct Sums {
    folder: PathBuf,
    out: Out,
}

/// The destination of lines.
enum Out {
    Disk(BufWriter<Part>),
    /// In memory, for a bucket: a hundred bytes per file.
    Memory(Vec<u8>),
}

impl Sums {
    /// Starts the checksums of a folder. Those of an earlier copy are removed, because the folder is incomplete
    /// now.
    ///
    /// # Errors
    /// The folder is not writable.
    pub fn create(folder: &Path) -> Result<Self, Error> {
        let target = folder.join(NAME);
        match fs::remove_file(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::write(&target, error));
            }
            _ => {}
        }
        let out = Out::Disk(BufWriter::new(Part::create(&target)?));
        Ok(Self { folder: folder.to_path_buf(), out })
    }

    /// Starts the checksums of a bucket, whose prefix is `folder` in the paths of copies.
    pub fn of_bucket(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), out: Out::Memory(Vec::new()) }
    }

    /// Whether this path is that of the checksums file.
    pub fn is_at(&self, path: &Path) -> bool {
        path == self.folder.join(NAME)
    }

    /// Adds a file of the folder.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn add(&mut self, path: &Path, sum: &Sum) -> Result<(), Error> {
        let line =
            line(path.strip_prefix(&self.folder).unwrap_or(path).as_os_str().as_bytes(), sum);
        let written = match &mut self.out {
            Out::Disk(part) => part.write_all(&line),
            Out::Memory(lines) => lines.write_all(&line),
        };
        written.map_err(|error| Error::write(&self.folder.join(NAME), error))
    }

    /// Renames the file to its final name; returns the lines instead, for a bucket.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        let target = self.folder.join(NAME);
        let part = match self.out {
            Out::Memory(lines) => return Ok(lines),
            Out::Disk(part) => part.into_inner(),
        };
        let part = part.map_err(|error| Error::write(&target, error.into_error()))?;
        part.finish(std::time::SystemTime::now()).map(|()| Vec::new())
    }
}

/// A line in GNU's format, which begins with a backslash if the name contains a backslash or a line break.
fn line(name: &[u8], sum: &Sum) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 70);
    if name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r')) {
        out.push(b'\\');
    }
    out.extend_from_slice(hex(sum).as_bytes());
    out.extend_from_slice(b"  ");
    for byte in name {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => out.push(*byte),
        }
    }
    out.push(b'\n');
    out
}

/// The checksum of an existing file.
///
/// # Errors
/// It cannot be read.
pub fn of(path: &Path) -> Result<Sum, Error> {
    let failed = |error| Error::write(path, error);
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hash.finalize().into()),
            some => hash.update(&buffer[..some]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_gnus() {
        let sum = [0xab; 32];
        let hex = "ab".repeat(32);
        assert_eq!(line(b"a/b c.png", &sum), format!("{hex}  a/b c.png\n").into_bytes());
        assert_eq!(line(b"a\\\nb", &sum), format!("\\{hex}  a\\\\\\nb\n").into_bytes());
    }

    #[test]
    fn it_is_there_when_it_is_whole() {
        let home = tempfile::tempdir().expect("a folder");
        let target = home.path().join(NAME);
        fs::write(&target, "old").expect("written");
        fs::write(home.path().join("a"), "x").expect("written");
        let mut sums = Sums::create(home.path()).expect("begun");
        assert!(!target.exists());
        assert!(sums.is_at(&target) && !sums.is_at(&home.path().join("a").join(NAME)));
        let path = home.path().join("a");
        sums.add(&path, &of(&path).expect("read")).expect("added");
        sums.finish().expect("finished");
        let text = fs::read_to_string(&target).expect("there");
        assert!(text.starts_with("2d711642b726b044") && text.ends_with("  a\n"), "{text}");
    }
}

//! Cache of finished files about a version, such as tables: in folders beside the buffers of its
//! pack, so that they are removed with it.
//!
//! A file is written unnamed and linked to its name once complete, so a killed writer leaves
//! nothing behind. Its name contains its length and checksum, and both are verified before use. A
//! file that cannot be kept (an old file system, a full disk) is simply missing the next time.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dcfs_disk::{private, regular, scratch, space};
use nix::fcntl::AT_FDCWD;
use nix::unistd::linkat;

use super::Pack;
use dcfs_core::error::{Error, Kind, Result};

/// Bytes read at a time to verify a checksum.
const CHUNK: usize = 1 << 20;

/// One folder of such files.
#[derive(Clone, Debug)]
pub struct Home {
    folder: PathBuf,
    /// The most bytes of all such files below `packs`.
    most: u64,
}

/// The subfolders of packs that hold such files.
pub const HOMES: [&str; 4] = ["tables", "diffs", "stats", "filters"];

/// A file being written, still unnamed.
#[derive(Debug)]
pub struct Draft {
    file: File,
    length: u64,
    crc: crc32fast::Hasher,
}

impl Home {
    /// The folder `name` for the version of `pack`.
    pub fn of(pack: &Pack, name: &str) -> Self {
        Self { folder: pack.folder().join(name), most: pack.kept() }
    }

    /// The file called `stem`, if it exists and is intact. A damaged one is removed.
    pub fn find(&self, stem: &str) -> Option<File> {
        let entries = fs::read_dir(&self.folder).ok()?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let sum = name.to_str().and_then(|name| Sum::parse(name.strip_prefix(stem)?));
            let Some(sum) = sum else { continue };
            match regular::open(&entry.path())
                .and_then(|file| sum.holds(&file).map(|ok| (file, ok)))
            {
                // Verifying has read it to the end.
                Ok((mut file, true)) => {
                    // Recently used files are removed last.
                    let _ = file.set_modified(SystemTime::now());
                    return file.rewind().is_ok().then_some(file);
                }
                _ => {
                    tracing::warn!(file = %entry.path().display(), "damaged; made anew");
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
        None
    }

    /// A new file to be written and then kept.
    ///
    /// # Errors
    /// [`Kind::NoSpace`] or [`Kind::Broken`]: the cache directory cannot be written to.
    pub fn create(&self) -> Result<Draft> {
        private::folder(&self.folder)?;
        let file =
            scratch::file(&self.folder).map_err(|error| cannot_write(&self.folder, error))?;
        Ok(Draft { file, length: 0, crc: crc32fast::Hasher::new() })
    }

    /// Keeps a complete draft under the name `stem`, and returns its file.
    ///
    /// # Errors
    /// The disk fails while writing. If the file cannot be linked to its name, that is not an
    /// error.
    pub fn keep(&self, draft: Draft, stem: &str) -> Result<File> {
        draft.file.sync_data().map_err(|error| cannot_write(&self.folder, error))?;
        if draft.length > self.most || self.is_full() {
            return Ok(draft.file);
        }
        let sum = Sum { length: draft.length, crc32: draft.crc.finalize() };
        let path = self.folder.join(format!("{stem}{sum}"));
        let nameless = format!("/proc/self/fd/{}", draft.file.as_raw_fd());
        let follow = nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW;
        if let Err(error) = linkat(AT_FDCWD, nameless.as_str(), AT_FDCWD, &path, follow) {
            tracing::debug!(file = %path.display(), %error, "not kept");
        }
        self.prune();
        Ok(draft.file)
    }

    /// Whether the disk has less free space than is to stay free.
    fn is_full(&self) -> bool {
        space::free(&self.folder).is_some_and(|free| free < space::LEAST)
    }

    /// Removes the least recently used files, over all packs beside this one, until the rest fits.
    fn prune(&self) {
        if let Some(packs) = self.folder.parent().and_then(Path::parent) {
            prune(packs, self.most);
        }
    }
}

/// Removes the least recently used of all files kept beside the packs in `packs`, until the rest
/// takes at most `most` bytes.
pub fn prune(packs: &Path, most: u64) {
    let mut files = kept(packs);
    files.sort_by_key(|file| std::cmp::Reverse(file.used));
    let mut bytes = 0_u64;
    for file in files {
        bytes = bytes.saturating_add(file.bytes);
        if bytes > most {
            let _ = fs::remove_file(&file.path);
        }
    }
}

/// A file in the cache.
#[derive(Debug)]
pub struct KeptFile {
    pub path: PathBuf,
    pub bytes: u64,
    used: SystemTime,
}

/// Every file kept beside the packs in the folder `packs`.
pub fn kept(packs: &Path) -> Vec<KeptFile> {
    let each = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let homes = each(packs).flat_map(|pack| HOMES.map(|name| pack.path().join(name)));
    let files = homes.flat_map(|home| each(&home).collect::<Vec<_>>());
    let known = files.filter_map(|entry| {
        let found = entry.metadata().ok()?;
        Some(KeptFile { path: entry.path(), bytes: found.len(), used: found.modified().ok()? })
    });
    known.collect()
}

impl Draft {
    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        self.crc.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error for a cache folder that cannot be written to.
pub fn cannot_write(folder: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
        _ => Kind::Broken,
    };
    let folder = folder.display();
    Error::new(
        kind,
        format!("cannot write below `{folder}`: {error}; choose another folder with `--cache-dir`"),
    )
}

/// The suffix of a file's name: `.<length>.<crc32>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum {
    length: u64,
    crc32: u32,
}

impl Sum {
    fn parse(rest: &str) -> Option<Self> {
        let (length, crc32) = rest.strip_prefix('.')?.split_once('.')?;
        let crc32 = u32::from_str_radix(crc32, 16).ok()?;
        Some(Self { length: length.parse().ok()?, crc32 })
    }

    fn holds(self, file: &File) -> io::Result<bool> {
        if file.metadata()?.size() != self.length {
            return Ok(false);
        }
        let (mut crc, mut file) = (crc32fast::Hasher::new(), file);
        let mut chunk = vec![0; CHUNK.min(self.length as usize)];
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(crc.finalize() == self.crc32),
                read => crc.update(&chunk[..read]),
            }
        }
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, ".{}.{:08x}", self.length, self.crc32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn home() -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home { most: u64::MAX, folder: folder.path().join("tables") };
        (folder, home)
    }

    fn kept(home: &Home, stem: &str, bytes: &[u8]) -> File {
        let mut draft = home.create().expect("a draft");
        draft.write_all(bytes).expect("written");
        home.keep(draft, stem).expect("kept")
    }

    fn bytes(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().expect("open").size() as usize];
        file.read_exact_at(&mut bytes, 0).expect("readable");
        bytes
    }

    fn names(home: &Home) -> Vec<String> {
        let entries = fs::read_dir(&home.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().expect("a name")).collect()
    }

    #[test]
    fn what_is_kept_is_found_and_nothing_else() {
        let (_folder, home) = home();
        assert!(home.find("a").is_none());
        assert_eq!(bytes(&kept(&home, "a", b"one")), b"one");
        kept(&home, "ab", b"two");
        kept(&home, "empty", b"");
        assert_eq!(bytes(&home.find("a").expect("kept")), b"one");
        let mut text = String::new();
        home.find("a").expect("kept").read_to_string(&mut text).expect("from the beginning");
        assert_eq!(text, "one");
        assert_eq!(bytes(&home.find("ab").expect("kept")), b"two");
        assert_eq!(bytes(&home.find("empty").expect("kept")), b"");
        assert!(home.find("").is_none());
        kept(&home, "a", b"one");
        assert_eq!(names(&home).len(), 3, "the same once");
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_nothing() {
        let (_folder, home) = home();
        let mut draft = home.create().expect("a draft");
        draft.write_all(b"half").expect("written");
        assert_eq!(draft.length(), 4);
        drop(draft);
        assert!(names(&home).is_empty());
    }

    #[test]
    fn a_damaged_one_is_removed() {
        let (_folder, home) = home();
        for damage in [&b"onE"[..], b"on", b"ones"] {
            kept(&home, "a", b"one");
            let path = home.folder.join(&names(&home)[0]);
            fs::write(&path, damage).expect("damaged");
            assert!(home.find("a").is_none(), "{damage:?}");
            assert!(names(&home).is_empty());
        }
    }

    #[test]
    fn a_name_says_what_it_should() {
        let sum = Sum { length: 7, crc32: 0xab };
        assert_eq!(sum.to_string(), ".7.000000ab");
        assert_eq!(Sum::parse(&sum.to_string()), Some(sum));
        for bad in ["", ".7", "7.ab", ".x.ab", ".7.xyz", ".7.ab.c"] {
            assert_eq!(Sum::parse(bad), None, "{bad}");
        }
    }
}

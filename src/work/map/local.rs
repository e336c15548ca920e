//! Gives the files of rows paths that any program can open, under the objects' own names.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::object::Object;
use dcfs_store::{Here, Reader, Stores};
use nix::fcntl::{Flock, FlockArg};

/// Bytes copied at a time.
const PIECE: u32 = 1 << 20;

/// The file in a run's folder that its process keeps locked.
const LOCK: &str = ".lock";

/// The longest file name in bytes that file systems accept.
const LONGEST: usize = 255;

/// A run's folder for files passed to programs. Removed when dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    next: AtomicU64,
    _held: Flock<fs::File>,
}

impl Folder {
    /// Creates one in the cache folder.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn new(cache: &Path, id: &str) -> Result<Self> {
        let runs = cache.join("runs");
        let path = runs.join(id);
        dcfs_disk::private::folder(&path)?;
        let lock = fs::File::create(path.join(LOCK)).map_err(|error| cannot(&error))?;
        let held = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| cannot(&error.into()))?;
        sweep(&runs);
        Ok(Self { path, next: AtomicU64::new(0), _held: held })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates an empty subfolder.
    fn slot(&self) -> std::io::Result<Slot> {
        let path = self.path.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path)?;
        Ok(Slot(path))
    }
}

/// Removes the folders of processes that are gone, on any machine: their lock is free.
fn sweep(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let Ok(lock) = dcfs_disk::regular::open(&entry.path().join(LOCK)) else { continue };
        if Flock::lock(lock, FlockArg::LockSharedNonblock).is_ok() {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).ok();
    }
}

/// A folder for one file. Removed when dropped.
#[derive(Debug)]
struct Slot(PathBuf);

impl Drop for Slot {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The file of a row, valid until dropped.
#[derive(Debug)]
pub struct Local {
    pub path: PathBuf,
    here: Option<Here>,
    _slot: Option<Slot>,
}

impl Local {
    /// Fetches an object, verifies it, and gives it a path.
    ///
    /// # Errors
    /// As [`Stores::here`]; a full disk.
    pub async fn of(stores: &Stores, object: &Object, folder: &Folder) -> Result<Self> {
        Self::at(stores.here(object).await?, object, folder).await
    }

    /// Gives a fetched object a path.
    ///
    /// # Errors
    /// A full disk.
    pub async fn at(here: Here, object: &Object, folder: &Folder) -> Result<Self> {
        let is_plain = |path: &Path| path.to_str().is_some() && path.file_name().is_some();
        match here.path() {
            // A local file already has its own name.
            Some(path) if !path.starts_with("/proc") && is_plain(path) => {
                Ok(Self { path: path.to_owned(), here: Some(here), _slot: None })
            }
            Some(path) => {
                let slot = folder.slot().map_err(|error| cannot(&error))?;
                let link = slot.0.join(name(object));
                symlink(path, &link).map_err(|error| cannot(&error))?;
                Ok(Self { path: link, here: Some(here), _slot: Some(slot) })
            }
            None => {
                let slot = folder.slot().map_err(|error| cannot(&error))?;
                let path = slot.0.join(name(object));
                if let Here::Read(reader) = &here {
                    copy(reader, &path).await?;
                }
                Ok(Self { path, here: None, _slot: Some(slot) })
            }
        }
    }

    /// Checks that the bytes passed to a program are still those of the row.
    ///
    /// # Errors
    /// `Stale` if they are not.
    pub fn compare(&self) -> Result<()> {
        self.here.as_ref().map_or(Ok(()), Here::compare)
    }
}

async fn copy(reader: &Reader, path: &Path) -> Result<()> {
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    let file = file.as_mut().map_err(|error| cannot(error))?;
    let mut at = 0;
    while at < reader.size() {
        let bytes = reader.read(at, PIECE).await?;
        if bytes.is_empty() {
            return Err(Error::new(Kind::Stale, "its bytes end before its size"));
        }
        file.write_all(&bytes).map_err(|error| cannot(&error))?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// The last part of an object's path, as a name that any file system and any JSON accepts.
pub fn name(object: &Object) -> OsString {
    let last = object.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let text: String = String::from_utf8_lossy(last)
        .chars()
        .map(|c| if c.is_control() || c == '\u{fffd}' { '_' } else { c })
        .collect();
    let name = match text.as_str() {
        "" | "." | ".." => "file".to_owned(),
        _ => text,
    };
    OsString::from_vec(shortened(name).into_bytes())
}

/// A name that is too long keeps its extension.
fn shortened(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    let ending = Path::new(&name).extension().filter(|end| end.as_bytes().len() < 16);
    let ending = ending.map_or_else(String::new, |end| format!(".{}", end.to_string_lossy()));
    let mut end = LONGEST - ending.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ending}", &name[..end])
}

fn cannot(error: &std::io::Error) -> Error {
    let kind = if dcfs_disk::space::is_full(error) { Kind::NoSpace } else { Kind::Broken };
    Error::new(kind, format!("cannot make a file for the program: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_can_be_made() {
        let long = format!("{}.tar.gz", "\u{e9}".repeat(300));
        let cases: [(&[u8], &str); 6] = [
            (b"a/b/c.jpg", "c.jpg"),
            (b"a/", "file"),
            (b"..", "file"),
            (b"x\ny", "x_y"),
            (b"\xff.txt", "_.txt"),
            (b"with space.png", "with space.png"),
        ];
        for (path, want) in cases {
            let object = Object { path: path.to_vec(), ..Object::default() };
            assert_eq!(name(&object), want);
        }
        let object = Object { path: long.into_bytes(), ..Object::default() };
        let made = name(&object);
        assert!(made.as_bytes().len() <= LONGEST && made.as_bytes().ends_with(b".gz"));
    }
}

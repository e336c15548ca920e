//! Shared objects as files in a folder.
//!
//! A file is written under a temporary name and renamed, or hard linked if it must not exist yet: nobody sees a
//! partial file, and of several writers one wins.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::shared::{Listed, Objects, Seen};
use dcfs_core::time::Timestamp;
use dcfs_disk::regular;

/// A local folder.
pub struct Folder {
    root: PathBuf,
    place: String,
}

impl Folder {
    /// `place` is for messages.
    pub fn new(root: PathBuf, place: String) -> Self {
        Self { root, place }
    }

    fn failed(&self, key: &str) -> impl Fn(io::Error) -> Error {
        let at = format!("{}/{key}", self.place);
        move |error| {
            let kind = match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Denied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
                _ => Kind::Broken,
            };
            Error::new(kind, format!("`{at}`: {error}"))
        }
    }

    /// Writes a complete temporary file beside `path`, which `finish` gives its name; it is removed afterwards.
    /// The folder itself is never created: if missing, it may be a network file system that is not mounted.
    fn draft<T>(
        &self,
        path: &Path,
        bytes: &[u8],
        finish: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<T> {
        if !self.root.is_dir() {
            let why = "the shared folder does not exist; create it, or mount its file system";
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let (process, number) = (std::process::id(), DRAFTS.next());
        let draft = folder.join(format!(".draft-{:016x}-{process}-{number}", *WHO));
        let mut options = File::options();
        // An existing one belongs to another process, and stays.
        let mut file = regular::open_with(options.write(true).create_new(true), &draft)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        drop(file);
        let done = written.and_then(|()| finish(&draft));
        let _ = fs::remove_file(&draft);
        done
    }
}

/// Distinguishes this process from those on other hosts and in containers, whose pids may be the same.
static WHO: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));

/// Counter for temporary names.
static DRAFTS: Counter = Counter(std::sync::atomic::AtomicU64::new(0));

struct Counter(std::sync::atomic::AtomicU64);

impl Counter {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

impl Objects for Folder {
    fn place(&self) -> &str {
        &self.place
    }

    fn get(&self, key: &str, most: u64) -> Result<Option<Seen>> {
        let read = || -> io::Result<Vec<u8>> {
            let file = regular::open(&self.root.join(key))?;
            let mut bytes = Vec::new();
            file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) if bytes.len() as u64 > most => {
                let at = format!("{}/{key}", self.place);
                Err(Error::new(Kind::Stale, format!("`{at}`: it is longer than expected")))
            }
            Ok(bytes) => Ok(Some(Seen { bytes, tag: String::new() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A missing folder may be a network file system that is not mounted.
                match self.root.is_dir() {
                    true => Ok(None),
                    false => Err(self.failed(key)(error)),
                }
            }
            Err(error) => Err(self.failed(key)(error)),
        }
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
        let read = regular::open(&self.root.join(key))
            .and_then(|file| file.read_exact_at(&mut bytes, range.start));
        match read {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => Ok(None),
            Err(error) => Err(self.failed(key)(error)),
        }
    }

    fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        let path = self.root.join(key);
        self.draft(&path, &bytes, |draft| fs::rename(draft, &path)).map_err(self.failed(key))
    }

    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<bool> {
        let path = self.root.join(key);
        let linked = self.draft(&path, &bytes, |draft| match fs::hard_link(draft, &path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        });
        linked.map_err(self.failed(key))
    }

    fn replace(&self, key: &str, bytes: Vec<u8>, seen: &Seen) -> Result<bool> {
        // Another writer may come between the check and the rename: two holders of a lease only waste work.
        match self.get(key, seen.bytes.len() as u64) {
            Ok(Some(now)) if now == *seen => self.put(key, bytes).map(|()| true),
            _ => Ok(false),
        }
    }

    fn remove(&self, key: &str) -> Result<()> {
        match fs::remove_file(self.root.join(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(key)(error)),
            _ => Ok(()),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        let mut open = vec![folder.trim_end_matches('/').to_owned()];
        while let Some(at) = open.pop() {
            let entries = match fs::read_dir(self.root.join(&at)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(self.failed(&at)(error)),
            };
            for entry in entries {
                let entry = entry.map_err(self.failed(&at))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let key = if at.is_empty() { name } else { format!("{at}/{name}") };
                let known = entry.metadata().map_err(self.failed(&key))?;
                if known.is_dir() {
                    open.push(key);
                } else if known.is_file() {
                    let since =
                        known.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
                    let micros = since.and_then(|since| i64::try_from(since.as_micros()).ok());
                    let written = Timestamp::from_micros(micros.unwrap_or(0));
                    found.push(Listed { key, size: known.len(), written });
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_creates_and_what_was_seen_is_replaced() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(home.path().to_path_buf(), "file:///x".into());
        assert_eq!(folder.get("a/b", 9).expect("none"), None);
        assert!(folder.create("a/b", b"one".to_vec()).expect("written"));
        assert!(!folder.create("a/b", b"two".to_vec()).expect("there is one"));
        let seen = folder.get("a/b", 9).expect("read").expect("there");
        assert_eq!(seen.bytes, b"one");
        assert!(folder.replace("a/b", b"two".to_vec(), &seen).expect("written"));
        assert!(!folder.replace("a/b", b"three".to_vec(), &seen).expect("another by now"));
        assert!(folder.get("a/b", 2).is_err(), "longer than it can be");
        let listed: Vec<_> = folder.list("").expect("listed").into_iter().map(|o| o.key).collect();
        assert_eq!(listed, ["a/b"], "no draft is left");
        folder.remove("a/b").expect("removed");
        folder.remove("a/b").expect("gone already");
        assert_eq!(folder.list("").expect("listed"), []);
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error() {
        let folder = Folder::new("/nonexistent/shared".into(), "file:///nonexistent/shared".into());
        let error = folder.get("a", 9).expect_err("gone").to_string();
        assert!(error.contains("`file:///nonexistent/shared/a`"), "{error}");
    }

    #[test]
    fn a_folder_that_is_gone_is_not_made() {
        let home = tempfile::tempdir().expect("a folder");
        let root = home.path().join("unmounted");
        let folder = Folder::new(root.clone(), "file:///x".into());
        assert!(folder.put("a/b", b"one".to_vec()).is_err());
        assert!(folder.create("a/b", b"one".to_vec()).is_err());
        assert!(!root.exists());
    }
}

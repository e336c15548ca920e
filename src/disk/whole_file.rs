//! Writes a file completely or not at all.
//!
//! The bytes go to an unnamed file (`O_TMPFILE`), which disappears with the process however it
//! dies; at the end it is linked beside the target and renamed over it. On a file system without
//! `O_TMPFILE` the file has a name, and is removed by any exit that lets a process clean up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dcfs_core::error::{Error, Kind, Result};

/// A file being written.
#[derive(Debug)]
pub struct WholeFile {
    file: File,
    /// The path that it will have.
    target: PathBuf,
    /// Its temporary name, to be removed.
    draft: Draft,
}

#[derive(Debug)]
enum Draft {
    /// Unnamed; the path is the temporary name it will pass through.
    Nameless(PathBuf),
    Named(PathBuf),
    /// A device or a pipe is written to directly, because it must not be replaced.
    Straight,
}

impl WholeFile {
    /// Starts writing `path`; its present contents stay until [`WholeFile::finish`].
    ///
    /// # Errors
    /// A directory, or a folder that may not be written to; the message names the file.
    pub fn create(path: &Path) -> Result<Self> {
        Self::open(path).map_err(|error| told(path, &error))
    }

    fn open(path: &Path) -> io::Result<Self> {
        // If it is a symbolic link, its target is replaced, not the link.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let known = fs::metadata(&target).ok();
        if known.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if known.as_ref().is_some_and(|known| !known.is_file()) {
            let file = OpenOptions::new().write(true).open(&target)?;
            return Ok(Self { file, target, draft: Draft::Straight });
        }
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let beside = folder.join(format!(".dcfs-{}", std::process::id()));
        let mut options = OpenOptions::new();
        let draft = match options.write(true).custom_flags(libc::O_TMPFILE).mode(0o666).open(folder)
        {
            Ok(file) => Self { file, target, draft: Draft::Nameless(beside) },
            Err(error) if is_unsupported(&error) => {
                let file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
                Self { file, target, draft: Draft::Named(beside) }
            }
            Err(error) => return Err(error),
        };
        // Before any byte is written: users who may not read the old file must not be able to read
        // the new one.
        if let Some(known) = known
            && draft.file.metadata()?.permissions() != known.permissions()
        {
            draft.file.set_permissions(known.permissions())?;
        }
        Ok(draft)
    }

    /// The file to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Moves it to its path.
    ///
    /// # Errors
    /// The disk is full or gone; the target is unchanged.
    pub fn finish(mut self) -> Result<()> {
        let placed = self.place();
        placed.map_err(|error| told(&self.target, &error))
    }

    fn place(&mut self) -> io::Result<()> {
        let named = match &self.draft {
            Draft::Straight => return Ok(()),
            Draft::Named(path) => path.clone(),
            Draft::Nameless(path) => {
                link(&self.file, path)?;
                path.clone()
            }
        };
        self.draft = Draft::Named(named.clone());
        self.file.sync_data()?;
        fs::rename(named, &self.target)?;
        self.draft = Draft::Straight;
        Ok(())
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Draft::Named(path) = &self.draft {
            fs::remove_file(path).ok();
        }
    }
}

/// Writes a whole file at once.
///
/// # Errors
/// As [`WholeFile::create`] and [`WholeFile::finish`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = WholeFile::create(path)?;
    draft.file().write_all(bytes).map_err(|error| told(path, &error))?;
    draft.finish()
}

/// Gives an unnamed file a name.
fn link(file: &File, path: &Path) -> io::Result<()> {
    // The way described in open(2) for processes that may not use AT_EMPTY_PATH.
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    let follow = nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW;
    let here = nix::fcntl::AT_FDCWD;
    Ok(nix::unistd::linkat(here, Path::new(&open), here, path, follow)?)
}

/// Whether the file system does not support unnamed files.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL))
}

fn told(path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => Kind::Missing,
        io::ErrorKind::IsADirectory => Kind::Invalid,
        io::ErrorKind::PermissionDenied => Kind::Denied,
        _ => Kind::Broken,
    };
    Error::new(kind, format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("readable");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn is_there_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let draft = WholeFile::create(&path).expect("begun");
        draft.file().write_all(b"half").expect("written");
        assert!(!path.exists());
        drop(draft);
        assert!(names(folder.path()).is_empty());
        for text in ["one", "two"] {
            write(&path, text.as_bytes()).expect("placed");
            assert_eq!(fs::read_to_string(&path).expect("there"), text);
        }
        assert_eq!(names(folder.path()), ["x"]);
    }

    #[test]
    fn a_link_stays_a_link_and_a_device_a_device() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        let draft = WholeFile::create(&link).expect("begun");
        draft.file().write_all(b"new").expect("written");
        draft.finish().expect("placed");
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("there"), "new");
        WholeFile::create(Path::new("/dev/null")).expect("begun").finish().expect("placed");
        assert!(!fs::metadata("/dev/null").expect("there").is_file());
    }

    #[test]
    fn who_may_read_it_stays() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        for mode in [0o600, 0o640, 0o400] {
            write(&path, b"old").expect("placed");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
            write(&path, b"new").expect("placed");
            let now = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(now & 0o7777, mode, "{now:o}");
        }
    }

    #[test]
    fn says_which_file_cannot_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let cases = [
            (folder.path().to_owned(), Kind::Invalid),
            (folder.path().join("no/x"), Kind::Missing),
        ];
        for (path, kind) in cases {
            let error = WholeFile::create(&path).expect_err("refused");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }
}

//! A temporary file: beside its target, under a unique name, removed unless it is finished.
//!
//! The name contains a random number, because the names in a tree come from strangers: the temporary name
//! cannot be predicted, so it cannot be the target of another file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Error;

/// A file in progress.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
    is_finished: bool,
}

impl Part {
    /// Creates the temporary file of `target`. If that is a link, the file it leads to is replaced, as in cp.
    ///
    /// # Errors
    /// `target` is a directory, a device or a dangling link; the directory is not writable.
    pub fn create(target: &Path) -> Result<Self, Error> {
        let target = landing(target)?;
        let path = beside(&target);
        let file = File::create_new(&path).map_err(|error| Error::write(&target, error))?;
        Ok(Self { file, path, target, is_finished: false })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| Error::write(&self.target, error))
    }

    /// Sets the file's mtime, then renames it to its target.
    ///
    /// # Errors
    /// The system refuses; the file is removed.
    pub fn finish(mut self, mtime: SystemTime) -> Result<(), Error> {
        let renamed =
            self.file.set_modified(mtime).and_then(|()| fs::rename(&self.path, &self.target));
        self.is_finished = renamed.is_ok();
        renamed.map_err(|error| Error::write(&self.target, error))
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_finished {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Makes `target` a symbolic link to `leads`, in place of an existing file or link.
///
/// # Errors
/// `target` is a directory; the directory around it is not writable; `leads` is a path, but links lead to names
/// beside them.
pub fn link(leads: &OsStr, target: &Path) -> Result<(), Error> {
    if Path::new(leads).file_name() != Some(leads) {
        let refused =
            io::Error::new(io::ErrorKind::InvalidInput, "it would lead out of its directory");
        return Err(Error::write(target, refused));
    }
    if fs::symlink_metadata(target).is_ok_and(|there| there.is_dir()) {
        return Err(Error::OverDirectory(target.display().to_string()));
    }
    let path = beside(target);
    let made = symlink(leads, &path).and_then(|()| fs::rename(&path, target));
    made.map_err(|error| {
        fs::remove_file(&path).ok();
        Error::write(target, error)
    })
}

/// The file to replace: `target`, or the file that a link there leads to.
fn landing(target: &Path) -> Result<PathBuf, Error> {
    let shown = || target.display().to_string();
    let Ok(there) = fs::symlink_metadata(target) else { return Ok(target.to_path_buf()) };
    let path = if there.is_symlink() {
        fs::canonicalize(target).map_err(|_| Error::Dangling(shown()))?
    } else {
        target.to_path_buf()
    };
    match fs::metadata(&path) {
        Ok(there) if there.is_dir() => Err(Error::OverDirectory(shown())),
        Ok(there) if !there.is_file() => Err(Error::Special(shown())),
        _ => Ok(path),
    }
}

/// An unpredictable name in the directory of `target`.
fn beside(target: &Path) -> PathBuf {
    // Hashers of the standard library have random keys from the system, different for each.
    let random = RandomState::new().build_hasher().finish();
    target.with_file_name(format!(".dcfs-{random:016x}.part"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry"));
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let home = tempfile::tempdir().expect("a folder");
        let target = home.path().join("a");
        fs::write(&target, "old").expect("written");
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let mut part = Part::create(&target).expect("room");
        part.write(b"ne").expect("written");
        assert_eq!(fs::read(&target).expect("there"), b"old");
        part.write(b"w").expect("written");
        part.finish(time).expect("renamed");
        assert_eq!(fs::read(&target).expect("there"), b"new");
        assert_eq!(fs::metadata(&target).expect("there").modified().expect("a time"), time);
        assert_eq!(names(home.path()), ["a"]);
    }

    #[test]
    fn a_file_given_up_leaves_nothing() {
        let home = tempfile::tempdir().expect("a folder");
        let long = "x".repeat(255);
        for name in ["a", long.as_str()] {
            let mut part = Part::create(&home.path().join(name)).expect("room");
            part.write(b"half").expect("written");
        }
        assert_eq!(names(home.path()), Vec::<String>::new());
    }

    #[test]
    fn what_stands_there_decides() {
        let home = tempfile::tempdir().expect("a folder");
        let path = |name: &str| home.path().join(name);
        fs::create_dir(path("dir")).expect("made");
        fs::write(path("dir/file"), "old").expect("written");
        symlink("dir/file", path("link")).expect("linked");
        symlink("dir", path("to_dir")).expect("linked");
        symlink("nothing", path("dangling")).expect("linked");
        let result = |name: &str| Part::create(&path(name)).map(|part| part.target.clone());
        assert_eq!(result("new").expect("room"), path("new"));
        let leads = fs::canonicalize(path("dir/file")).expect("there");
        assert_eq!(result("link").expect("followed"), leads);
        assert!(matches!(result("dir"), Err(Error::OverDirectory(_))));
        assert!(matches!(result("to_dir"), Err(Error::OverDirectory(_))));
        assert!(matches!(result("dangling"), Err(Error::Dangling(_))));
        assert!(matches!(result("none/new"), Err(Error::Write { .. })));
        assert!(matches!(Part::create(Path::new("/dev/null")), Err(Error::Special(_))));
    }

    #[test]
    fn a_link_leads_to_a_name_beside_it() {
        let home = tempfile::tempdir().expect("a folder");
        let path = |name: &str| home.path().join(name);
        fs::write(path("file"), "x").expect("written");
        fs::create_dir(path("dir")).expect("made");
        for target in ["new", "file", "new"] {
            link(OsStr::new("pets@1.0.0"), &path(target)).expect(target);
            assert_eq!(fs::read_link(path(target)).expect("a link"), Path::new("pets@1.0.0"));
        }
        assert!(matches!(link(OsStr::new("a"), &path("dir")), Err(Error::OverDirectory(_))));
        for leads in ["../x", "/etc", "a/b", "..", ".", "", "a/"] {
            assert!(link(OsStr::new(leads), &path("bad")).is_err(), "{leads}");
        }
        assert_eq!(names(home.path()), ["dir", "file", "new"]);
    }
}

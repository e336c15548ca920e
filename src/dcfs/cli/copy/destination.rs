//! The target path of each source of a copy, as in cp: inside an existing directory, else under the typed name.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Error;

/// The last argument of a copy.
#[derive(Debug)]
pub struct Destination {
    typed: PathBuf,
    is_directory: bool,
    /// Paths already used: two sources of one name would be mixed.
    taken: HashSet<PathBuf>,
}

impl Destination {
    /// The destination `typed`, for this many sources.
    ///
    /// # Errors
    /// Several sources and no directory.
    pub fn new(typed: &Path, sources: usize) -> Result<Self, Error> {
        let is_directory = fs::metadata(typed).is_ok_and(|there| there.is_dir());
        if sources > 1 && !is_directory {
            return Err(Error::NoDirectory(typed.display().to_string()));
        }
        Ok(Self { typed: typed.to_path_buf(), is_directory, taken: HashSet::new() })
    }

    /// The target of a file.
    ///
    /// # Errors
    /// `new/` is not valid for a file if there is no such directory; a path used before.
    pub fn file(&mut self, source: &[u8]) -> Result<PathBuf, Error> {
        if !self.is_directory && self.typed.as_os_str().as_bytes().ends_with(b"/") {
            return Err(Error::NoDirectory(self.typed.display().to_string()));
        }
        self.take(source)
    }

    /// The target of a directory. The contents of `.` and of the whole mount go into the directory itself.
    ///
    /// # Errors
    /// A path used before.
    pub fn directory(&mut self, source: &[u8]) -> Result<PathBuf, Error> {
        self.take(source)
    }

    fn take(&mut self, source: &[u8]) -> Result<PathBuf, Error> {
        let place = match own_name(source) {
            Some(name) if self.is_directory => self.typed.join(name),
            // A link to a directory counts as a directory.
            None if self.is_directory => {
                fs::canonicalize(&self.typed).map_err(|error| Error::write(&self.typed, error))?
            }
            _ => self.typed.clone(),
        };
        if !self.taken.insert(place.clone()) {
            return Err(Error::Twice(place.display().to_string()));
        }
        Ok(place)
    }
}

/// The name of a source: its last segment, unless that is `.` or the root.
fn own_name(source: &[u8]) -> Option<&OsStr> {
    let end = source.iter().rposition(|b| *b != b'/')? + 1;
    let name = source[..end].rsplit(|b| *b == b'/').next()?;
    (!matches!(name, b"" | b"." | b"..")).then(|| OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_last_name() {
        let cases = [
            ("pets@1.0.0/images/a.jpg", Some("a.jpg")),
            ("pets/", Some("pets")),
            ("pets//", Some("pets")),
            ("pets", Some("pets")),
            ("pets/.", None),
            ("pets/..", None),
            ("/", None),
            ("", None),
            (".", None),
        ];
        for (source, want) in cases {
            assert_eq!(own_name(source.as_bytes()), want.map(OsStr::new), "{source}");
        }
    }

    #[test]
    fn goes_where_cp_would_put_it() {
        let home = tempfile::tempdir().expect("a folder");
        let home = fs::canonicalize(home.path()).expect("there");
        fs::create_dir(home.join("dir")).expect("made");
        std::os::unix::fs::symlink("dir", home.join("link")).expect("linked");
        // typed, source, target of a file, target of a directory; `None` is an error
        let cases = [
            ("dir", "pets/a", Some("dir/a"), Some("dir/a")),
            ("dir/", "pets/a/", Some("dir/a"), Some("dir/a")),
            ("link", "pets/a", Some("link/a"), Some("link/a")),
            ("new", "pets/a", Some("new"), Some("new")),
            ("new/", "pets/a", None, Some("new/")),
            ("dir", "pets/.", Some("dir"), Some("dir")),
            ("link", "/", Some("dir"), Some("dir")),
            ("new", "/", Some("new"), Some("new")),
        ];
        for (typed, source, file, directory) in cases {
            let to = || Destination::new(&home.join(typed), 1).expect("one source");
            let got = to().file(source.as_bytes()).ok();
            assert_eq!(got, file.map(|path| home.join(path)), "{source} {typed}");
            let got = to().directory(source.as_bytes()).ok();
            assert_eq!(got, directory.map(|path| home.join(path)), "-r {source} {typed}");
        }
    }

    #[test]
    fn several_sources_need_a_directory_and_names_of_their_own() {
        let home = tempfile::tempdir().expect("a folder");
        let new = home.path().join("new");
        assert!(matches!(Destination::new(&new, 2), Err(Error::NoDirectory(_))));
        let mut to = Destination::new(home.path(), 3).expect("a directory");
        to.file(b"a@1.0.0/x").expect("the first");
        to.file(b"a@1.0.0/y").expect("another name");
        assert!(matches!(to.file(b"a@2.0.0/x"), Err(Error::Twice(_))));
        assert!(matches!(to.directory(b"x"), Err(Error::Twice(_))));
    }
}

//! Reads below a folder that strangers may have filled, such as one that came with a repository: no
//! link in a path below it is followed, only regular files are opened, and listings are limited in
//! length.
//!
//! The folder itself may be a link: that is the choice of whoever names it.

use std::ffi::OsString;
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// Opens the folder `path` below `folder`; `folder` itself if `path` is empty.
fn enter(folder: &Path, path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut at = options.read(true).custom_flags(libc::O_DIRECTORY).open(folder)?;
    for part in path.components() {
        let Component::Normal(name) = part else { return Err(outside()) };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        at = openat(&at, name, flags, Mode::empty())?.into();
    }
    Ok(at)
}

/// Opens the file `path` below `folder` for reading.
///
/// # Errors
/// The system's errors; `ELOOP` or `ENOTDIR` if a part of the path is a link; `InvalidInput` if it
/// is not a regular file, or the path leads outside.
pub fn open(folder: &Path, path: impl AsRef<Path>) -> io::Result<File> {
    let path = path.as_ref();
    let name = match path.components().next_back() {
        Some(Component::Normal(name)) => name,
        _ => return Err(outside()),
    };
    let above = enter(folder, path.parent().unwrap_or(Path::new("")))?;
    let flags = OFlag::O_RDONLY
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let file: File = openat(&above, name, flags, Mode::empty())?.into();
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Reads a whole file.
///
/// # Errors
/// As [`open`]; `FileTooLarge` if it holds more than `most` bytes.
pub fn read(folder: &Path, path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(folder, path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than expected")),
        false => Ok(bytes),
    }
}

/// Reads a whole file as text.
///
/// # Errors
/// As [`read`]; `InvalidData` if it is not UTF-8.
pub fn read_text(folder: &Path, path: impl AsRef<Path>, most: u64) -> io::Result<String> {
    String::from_utf8(read(folder, path, most)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The metadata of a file; `None` if [`open`] would fail.
pub fn look(folder: &Path, path: impl AsRef<Path>) -> Option<Metadata> {
    open(folder, path).ok()?.metadata().ok()
}

/// The names in the folder `path` below `folder`, sorted, with the type of each: of the first
/// `most` that the system returns. Links are reported as links.
///
/// # Errors
/// As [`open`], for a folder.
pub fn list(
    folder: &Path,
    path: impl AsRef<Path>,
    most: usize,
) -> io::Result<Vec<(OsString, FileType)>> {
    let opened = enter(folder, path.as_ref())?;
    let by_number = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    let entries = fs::read_dir(by_number)?.take(most).flatten();
    let mut found: Vec<(OsString, FileType)> =
        entries.filter_map(|entry| Some((entry.file_name(), entry.file_type().ok()?))).collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

fn outside() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the path leads out of its folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::symlink;

    use nix::unistd::mkfifo;

    #[test]
    fn no_part_below_the_folder_is_followed() {
        let base = tempfile::tempdir().expect("a folder");
        let (home, other) = (base.path().join("home"), base.path().join("other"));
        fs::create_dir_all(home.join("docs/deep")).expect("made");
        fs::create_dir(&other).expect("made");
        fs::write(home.join("docs/deep/a.md"), "text").expect("written");
        fs::write(other.join("secret.md"), "secret").expect("written");
        symlink(&other, home.join("linked")).expect("a link");
        symlink(other.join("secret.md"), home.join("docs/b.md")).expect("a link");
        mkfifo(&home.join("docs/pipe.md"), Mode::S_IRWXU).expect("a pipe");
        assert_eq!(read_text(&home, "docs/deep/a.md", 9).expect("there"), "text");
        assert!(read(&home, "docs/deep/a.md", 3).is_err(), "too large");
        for bad in ["linked/secret.md", "docs/b.md", "docs/pipe.md", "docs", "../other/secret.md"] {
            assert!(open(&home, bad).is_err(), "{bad}");
        }
        for bad in ["/etc/passwd", "", "docs/../docs/deep/a.md", "none.md"] {
            assert!(open(&home, bad).is_err(), "{bad}");
        }
        assert!(list(&home, "linked", 9).is_err());
        let names = list(&home, "docs", 9).expect("listed");
        let names: Vec<_> = names.iter().map(|(name, _)| name.to_str().expect("UTF-8")).collect();
        assert_eq!(names, ["b.md", "deep", "pipe.md"]);
        assert_eq!(list(&home, "docs", 2).expect("listed").len(), 2);
        symlink(&home, base.path().join("own")).expect("a link");
        assert!(open(&base.path().join("own"), "docs/deep/a.md").is_ok(), "named by a person");
    }
}

//! Opens names in a folder that others may write to: only regular files, without following links or
//! waiting for a pipe.
//!
//! `O_NOFOLLOW` covers only the last part of a path; the folder itself is trusted or checked by
//! [`super::private`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens `path` for reading.
///
/// # Errors
/// The system's errors; `InvalidInput` if it is a pipe, a device, a folder or a socket, `ELOOP` if
/// it is a link.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), path)
}

/// Opens `path` with `options`. A new file is accessible only to its owner.
///
/// # Errors
/// As [`open`].
pub fn open_with(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let mut options = options.clone();
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY).mode(0o600);
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(not_a_file()),
    }
}

/// Reads a whole file that should be small.
///
/// # Errors
/// As [`open`]; `FileTooLarge` if it holds more than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than expected")),
        false => Ok(bytes),
    }
}

/// Reads a whole file as text.
///
/// # Errors
/// As [`read`]; `InvalidData` if it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Rejects a link, a pipe, a socket or a device, for a library that opens the name itself. A
/// missing name passes, and so does a folder, which fails to open at once.
///
/// # Errors
/// As [`open`].
pub fn check(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_file() || found.is_dir() => Ok(()),
        Ok(found) if found.is_symlink() => Err(io::Error::from_raw_os_error(libc::ELOOP)),
        Ok(_) => Err(not_a_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "text").expect("a file");
        symlink(at("file"), at("link")).expect("a link");
        symlink(at("made"), at("dangling")).expect("a link");
        mkfifo(&at("pipe"), Mode::S_IRWXU).expect("a pipe");
        fs::create_dir(at("folder")).expect("a folder");
        assert_eq!(read_text(&at("file"), 4).expect("opens"), "text");
        for bad in ["link", "dangling", "pipe", "folder"] {
            assert!(open(&at(bad)).is_err(), "{bad}");
            assert_eq!(check(&at(bad)).is_err(), bad != "folder", "{bad}");
            let mut options = OpenOptions::new();
            assert!(open_with(options.write(true).create(true), &at(bad)).is_err(), "{bad}");
        }
        assert!(!at("made").exists(), "no file is made where a link leads");
        assert!(check(&at("none")).is_ok());
    }

    #[test]
    fn a_large_file_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, [0; 5]).expect("a file");
        assert_eq!(read(&path, 4).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
    }
}

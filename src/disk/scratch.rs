//! Scratch files: room on the disk for a while, without a name that anybody could open, follow or leave behind.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A new file on the disk of `folder`, for reading and writing. It is gone when it is closed, however the process ends,
/// unless it is given a name with `linkat`.
///
/// # Errors
/// No permission, no room, a folder that is not there.
pub fn file(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(libc::O_TMPFILE).open(folder) {
        Ok(file) => Ok(file),
        // A file system that has no such files: then one whose name goes at once.
        Err(_) => {
            let name = format!(".draft-{}", uuid::Uuid::new_v4().simple());
            let path = folder.join(name);
            let file = options.create_new(true).open(&path)?;
            fs::remove_file(&path)?;
            Ok(file)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn a_scratch_file_is_written_and_read_and_never_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut scratch = file(folder.path()).expect("made");
        scratch.write_all(b"for a while").expect("written");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0);
        scratch.rewind().expect("at its start");
        let mut text = String::new();
        scratch.read_to_string(&mut text).expect("read");
        assert_eq!(text, "for a while");
        assert!(file(&folder.path().join("none")).is_err());
    }
}

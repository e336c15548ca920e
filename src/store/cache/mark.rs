//! The mark of a small object's file: an extended attribute that says that the file is complete, with its
//! checksum.
//!
//! It is short enough to be stored in the inode, which is read and written with the file anyway.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::Key;

const NAME: &std::ffi::CStr = c"user.dcfs";

/// Distinguishes this format from later ones.
const FORM: [u8; 4] = *b"dc01";
const LENGTH: usize = 8;

/// The checksum of an object's key and bytes: the same bytes under another key are another object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u32);

/// Computes the mark of an object, piece by piece.
pub struct Summing(crc32fast::Hasher);

impl Summing {
    pub fn of(key: Key) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&key.0);
        Self(hasher)
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn mark(self) -> Mark {
        Mark(self.0.finalize())
    }
}

impl Mark {
    /// The mark of a file; `None` if it has none.
    pub fn read(file: &File) -> Option<Self> {
        let mut value = [0_u8; LENGTH];
        // SAFETY: the name ends with NUL, and `value` has as many bytes as its length says.
        let length = unsafe {
            libc::fgetxattr(file.as_raw_fd(), NAME.as_ptr(), value.as_mut_ptr().cast(), LENGTH)
        };
        let (form, sum) = value.split_at(FORM.len());
        let is_mark = usize::try_from(length) == Ok(LENGTH) && form == FORM;
        Some(Self(u32::from_le_bytes(sum.try_into().ok()?))).filter(|_| is_mark)
    }

    /// Marks a file, once it is completely written.
    ///
    /// # Errors
    /// The file system has no extended attributes ([`is_lacking`]); the disk is full.
    pub fn write(self, file: &File) -> io::Result<()> {
        let mut value = [0_u8; LENGTH];
        value[..FORM.len()].copy_from_slice(&FORM);
        value[FORM.len()..].copy_from_slice(&self.0.to_le_bytes());
        // SAFETY: the name ends with NUL, and `value` has as many bytes as its length says.
        let done = unsafe {
            libc::fsetxattr(file.as_raw_fd(), NAME.as_ptr(), value.as_ptr().cast(), LENGTH, 0)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Whether the file system has no extended attributes.
pub fn is_lacking(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code.is_some_and(|code| [libc::EOPNOTSUPP, libc::ENOSYS].contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_was_written_and_tells_keys_apart() {
        let mark = |key: u8| {
            let mut summing = Summing::of(Key([key; 16]));
            summing.add(b"some ");
            summing.add(b"bytes");
            summing.mark()
        };
        assert_ne!(mark(1), mark(2));
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(Mark::read(&file), None);
        match mark(1).write(&file) {
            Err(error) => assert!(is_lacking(&error), "{error}"),
            Ok(()) => assert_eq!(Mark::read(&file), Some(mark(1))),
        }
    }
}

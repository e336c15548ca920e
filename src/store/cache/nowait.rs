//! Reads from the page cache that never block on a disk.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Reads at `offset` like `pread`: returns the number of bytes, fewer if the rest would block. `None` if
/// nothing is available without blocking, and on file systems that cannot tell.
pub fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> Option<usize> {
    let offset = libc::off_t::try_from(offset).ok()?;
    let part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: `part` is one valid region of memory that we may write, and the descriptor is open.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, offset, libc::RWF_NOWAIT) };
    usize::try_from(read).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_was_just_written_is_in_memory() {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(b"0123456789", 0).expect("written");
        let mut bytes = [0; 4];
        if let Some(read) = read_at(&file, &mut bytes, 3) {
            assert_eq!((read, &bytes), (4, b"3456"));
            assert_eq!(read_at(&file, &mut bytes, 8), Some(2));
        }
        assert_eq!(read_at(&file, &mut bytes, u64::MAX), None);
    }
}

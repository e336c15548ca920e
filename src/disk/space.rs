//! How much room a disk has, and how much of it is left alone.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Bytes of a disk that stay free: what is kept for later must not fill it.
pub const LEAST: u64 = 2 << 30;

/// Bytes that are free to this user on the disk of `folder`; `None` where nobody knows.
pub fn free(folder: &Path) -> Option<u64> {
    let disk = statvfs(folder).ok()?;
    Some(disk.blocks_available().saturating_mul(disk.fragment_size()))
}

/// Whether a write failed because the disk is full, or the user's share of it.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

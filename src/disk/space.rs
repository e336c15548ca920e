//! Free space on a disk, and the part of it that stays free.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Bytes of a disk that stay free: caches must not fill it.
pub const LEAST: u64 = 2 << 30;

/// Bytes available to this user on the disk of `folder`; `None` if unknown.
pub fn free(folder: &Path) -> Option<u64> {
    let disk = statvfs(folder).ok()?;
    Some(disk.blocks_available().saturating_mul(disk.fragment_size()))
}

/// Whether a write failed because the disk or the user's quota is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}
